//! Attempts to get past the guard that need the protocol: what is judged is what the server runs.

use crate::support::raw::tags;
use crate::support::{Frame, Raw, Sluice, msg, proxy};

const POLICY: &str = r#"
[[rule]]
name    = "secret"
only    = { tables = ["secret"] }
action  = "block"
message = "The table is secret."

[[rule]]
name    = "hidden"
when    = "query.opaque"
action  = "block"
message = "What this does cannot be seen."
"#;

async fn start() -> Sluice {
    let sluice = proxy().policy(POLICY).pool_size(2).start();
    let owner = sluice.database.direct().await;
    owner
        .batch_execute(
            "CREATE TABLE secret (a text); INSERT INTO secret VALUES ('hush'); \
             CREATE TABLE t (a text); INSERT INTO t VALUES ('open')",
        )
        .await
        .unwrap();
    sluice
}

/// An error of the guard, and not one row of the secret.
fn is_stopped(frames: &[Frame], what: &str) {
    assert!(
        frames.iter().any(|frame| frame.tag == b'E' && frame.field(b'C').as_deref() == Some("42501")),
        "{what}: {frames:?}"
    );
    assert!(!reaches(frames), "{what}: {frames:?}");
}

fn reaches(frames: &[Frame]) -> bool {
    frames.iter().any(|frame| frame.body.windows(4).any(|part| part == b"hush"))
}

#[tokio::test]
async fn each_message_of_a_text_is_judged_for_itself() {
    crate::needs_proxy!();
    let sluice = start().await;
    let mut raw = sluice.raw().await;
    // The unnamed statement is another one by the time it is bound.
    let batch = [
        msg::parse("", "TABLE t", &[]),
        msg::parse("", "TABLE secret", &[]),
        msg::bind("", "", &[]),
        msg::execute("", 0),
        msg::sync(),
    ];
    raw.send(&batch.concat()).await;
    is_stopped(&raw.until_ready().await, "parse after parse");
    // A name that was given up and taken again.
    let batch = [msg::parse("p", "TABLE t", &[]), msg::sync()];
    raw.send(&batch.concat()).await;
    raw.until_ready().await;
    let batch = [
        msg::close_statement("p"),
        msg::parse("p", "TABLE secret", &[]),
        msg::bind("", "p", &[]),
        msg::execute("", 0),
        msg::sync(),
    ];
    raw.send(&batch.concat()).await;
    is_stopped(&raw.until_ready().await, "a name taken again");
    // Behind a harmless one in the same segment, and behind an error.
    raw.send(&[msg::query("TABLE t"), msg::query("TABLE secret")].concat()).await;
    assert!(!reaches(&raw.until_ready().await));
    is_stopped(&raw.until_ready().await, "the second of two queries");
    raw.send(&[msg::query("SELECT 1/0"), msg::query("table\x0cSECRET")].concat()).await;
    raw.until_ready().await;
    is_stopped(&raw.until_ready().await, "behind an error");
}

#[tokio::test]
async fn texts_within_texts_are_judged() {
    crate::needs_proxy!();
    let sluice = start().await;
    for sql in [
        "PREPARE p AS TABLE secret",
        "BEGIN; DECLARE c CURSOR FOR TABLE secret; FETCH ALL FROM c; COMMIT",
        "COPY secret TO STDOUT",
        "COPY (SELECT a FROM secret) TO STDOUT",
        "COPY secret FROM STDIN",
        "EXPLAIN (ANALYZE, VERBOSE) TABLE secret",
        "DO $$ BEGIN RAISE NOTICE '%', (SELECT a FROM secret); END $$",
        "SELECT query_to_xml('TABLE secret', true, true, '')",
        "TABLE U&\"\\0073ecret\"",
        "CREATE VIEW v AS TABLE secret; TABLE v",
        "SELECT 1; SELECT 2; TABLE secret",
    ] {
        let mut raw = sluice.raw().await;
        is_stopped(&raw.query(sql).await, sql);
    }
    let mut raw = sluice.raw().await;
    let frames = raw.query("EXECUTE p").await;
    assert!(!reaches(&frames) && frames[0].tag == b'E', "{frames:?}");
}

fn function_call(oid: u32, argument: &[u8]) -> Vec<u8> {
    let mut body = oid.to_be_bytes().to_vec();
    body.extend_from_slice(&[0, 0, 0, 1]);
    body.extend_from_slice(&u32::try_from(argument.len()).unwrap().to_be_bytes());
    body.extend_from_slice(argument);
    body.extend_from_slice(&[0, 0]);
    msg::frame(b'F', &body)
}

#[tokio::test]
async fn a_function_call_message_is_opaque() {
    let sluice = start().await;
    let owner = sluice.database.direct().await;
    let oid: u32 = owner.text("SELECT 'length(text)'::regprocedure::oid").await.parse().unwrap();
    let call = function_call(oid, b"abc");
    let mut direct = sluice.database.raw_direct().await;
    direct.send(&call).await;
    assert_eq!(tags(&direct.until_ready().await), "VZ", "the message is right");
    crate::needs_proxy!();
    let mut raw = sluice.raw().await;
    raw.send(&call).await;
    is_stopped(&raw.until_ready().await, "FunctionCall");
    assert_eq!(tags(&raw.query("TABLE t").await), "TDCZ", "the session goes on");
}

#[tokio::test]
async fn strings_are_read_as_the_session_has_them() {
    crate::needs_proxy!();
    let sluice = start().await;
    let mut raw = sluice.raw().await;
    let hidden = r"SELECT '\'' AS x, a FROM secret --'";
    let shown = r"SELECT '\' AS x, a FROM secret --'";
    is_stopped(&raw.query(shown).await, "on");
    raw.query("SET standard_conforming_strings = off").await;
    is_stopped(&raw.query(hidden).await, "off");
    // Now the rest is within the string, for the server, too.
    assert!(!reaches(&raw.query(shown).await));
    // In one text with the SET the server reads all of it as it was before.
    raw.query("SET standard_conforming_strings = on").await;
    let both = format!("SET standard_conforming_strings = off; {hidden}");
    assert!(!reaches(&raw.query(&both).await));
    raw.query("SET standard_conforming_strings = on").await;
    let both = format!("SET standard_conforming_strings = off; {shown}");
    is_stopped(&raw.query(&both).await, "in one text");
}

#[tokio::test]
async fn a_backslash_that_is_half_a_letter_escapes_nothing() {
    crate::needs_proxy!();
    let sluice = start().await;
    let database = &sluice.database;
    let more = [("client_encoding", "SJIS")];
    let mut raw =
        Raw::login(sluice.port, &database.user, &database.password, &database.name, &more).await.unwrap();
    let text = [&b"SELECT E'\x95\x5c' AS x, a FROM secret --'"[..], b"\0"].concat();
    raw.send(&msg::frame(b'Q', &text)).await;
    is_stopped(&raw.until_ready().await, "SJIS");
    assert_eq!(tags(&raw.query("TABLE t").await), "TDCZ");
}

/// It is refused before the server sees it, and the client is told why and what to do.
fn is_explained(frames: &[Frame], what: &str) {
    is_stopped(frames, what);
    let error = frames.iter().find(|frame| frame.tag == b'E').unwrap();
    assert!(error.field(b'M').is_some_and(|message| !message.starts_with("Rule ")), "{what}: {error:?}");
    assert!(error.field(b'H').is_some_and(|hint| hint.len() > 10), "{what}: {error:?}");
}

#[tokio::test]
async fn the_strict_pack_refuses_what_cannot_be_seen() {
    let sluice = proxy().without_policies().flag("--policies", "strict").pool_size(2).start();
    let owner = sluice.database.direct().await;
    let tables = "CREATE TABLE secret (a text); INSERT INTO secret VALUES ('hush');
                  CREATE PROCEDURE p() LANGUAGE sql AS 'SELECT 1'";
    owner.batch_execute(tables).await.unwrap();
    let oid: u32 = owner.text("SELECT 'length(text)'::regprocedure::oid").await.parse().unwrap();
    crate::needs_proxy!();
    let hidden = [
        "DO $$ BEGIN RAISE NOTICE '%', (SELECT a FROM secret); END $$",
        "CALL p()",
        "CREATE FUNCTION f() RETURNS SETOF text LANGUAGE sql AS 'TABLE secret'",
        "SELECT query_to_xml('TABLE secret', true, true, '')",
        "SELECT a FROM ts_stat('SELECT a FROM secret') a",
        "LOAD 'plpgsql'",
        "CREATE EXTENSION dblink",
        "SELECT 1; DO $$ BEGIN NULL; END $$",
        "TABLE secret /* open",
        "SELECT E'\\'",
        "TABLE\u{a0}secret",
        "SELEC a FROM secret",
    ];
    let mut raw = sluice.raw().await;
    for sql in hidden {
        is_explained(&raw.query(sql).await, sql);
        let batch = [msg::parse("", sql, &[]), msg::bind("", "", &[]), msg::execute("", 0), msg::sync()];
        raw.send(&batch.concat()).await;
        is_explained(&raw.until_ready().await, sql);
    }
    let deep = format!("SELECT {}1{}", "(".repeat(5_000), ")".repeat(5_000));
    is_explained(&raw.query(&deep).await, "too deep");
    raw.send(&function_call(oid, b"abc")).await;
    is_explained(&raw.until_ready().await, "FunctionCall");
    assert_eq!(owner.text("SELECT count(*)::text FROM pg_proc WHERE proname = 'f'").await, "0");
    // What can be seen, and is what an application says, goes on.
    assert_eq!(tags(&raw.query("SELECT a FROM secret WHERE a = 'x' LIMIT 1").await), "TCZ");
    assert_eq!(tags(&raw.query("BEGIN").await), "CZ");
}
