//! A blocked statement is blocked on every path, and both sides agree on what happened to the transaction.

use crate::support::raw::tags;
use crate::support::{Frame, Session, Sluice, eventually, msg, proxy};

const POLICY: &str = r#"
[[rule]]
name = "no-bare-writes"
finds = "write-without-where"
action = "block"
message = "This changes every row."
hint = "Say which rows: add a WHERE."

[[rule]]
name = "no-wild-search"
finds = "leading-wildcard-like"
action = "block"
message = "This cannot use an index."
hint = "Search by prefix."
"#;

async fn start() -> Sluice {
    let sluice = proxy().policy(POLICY).pool_size(1).start();
    let owner = sluice.database.direct().await;
    owner
        .batch_execute(
            "CREATE TABLE t (n int, s text); INSERT INTO t SELECT g, 'row' FROM generate_series(1, 10) g",
        )
        .await
        .unwrap();
    sluice
}

async fn unchanged(sluice: &Sluice) -> bool {
    let owner = sluice.database.direct().await;
    owner.text("SELECT count(*) || ' ' || sum(n) FROM t").await == "10 55"
}

fn is_block(frame: &Frame) {
    assert_eq!(frame.tag, b'E', "{frame:?}");
    assert_eq!(frame.field(b'C').as_deref(), Some("42501"));
    assert_eq!(frame.field(b'M').as_deref(), Some("This changes every row."));
    assert_eq!(frame.field(b'H').as_deref(), Some("Say which rows: add a WHERE."));
    assert!(frame.field(b'D').unwrap().contains("no-bare-writes"));
    assert!(frame.field(b'S').is_some() && frame.field(b'V').as_deref() == Some("ERROR"));
}

/// Every form in which a write of all rows may be hidden.
const HIDDEN: [&str; 14] = [
    "DELETE FROM t",
    "UPDATE t SET n = 0",
    "delete/**/from\nt;",
    "-- harmless\nDELETE FROM ONLY t",
    "WITH gone AS (DELETE FROM t RETURNING *) SELECT count(*) FROM gone",
    "SELECT 1; DELETE FROM t",
    "DELETE FROM t; SELECT 1",
    "EXPLAIN ANALYZE DELETE FROM t",
    "EXPLAIN (ANALYZE true) UPDATE t SET n = 0",
    "PREPARE p AS DELETE FROM t",
    "COPY (DELETE FROM t RETURNING *) TO STDOUT",
    "BEGIN; DELETE FROM t; COMMIT",
    "UPDATE t SET n = 1 FROM generate_series(1, 2) g",
    r#"DELETE FROM "t""#,
];

#[tokio::test]
async fn the_same_verdict_on_the_simple_and_the_extended_protocol() {
    crate::needs_proxy!();
    let sluice = start().await;
    for sql in HIDDEN {
        let mut raw = sluice.raw().await;
        let frames = raw.query(sql).await;
        assert_eq!(tags(&frames), "EZ", "{sql}");
        is_block(&frames[0]);
        if sql.trim_end_matches(';').contains(';') {
            continue; // Parse takes one statement only.
        }
        raw.send(&[msg::extended(sql, &[]), msg::sync()].concat()).await;
        let frames = raw.until_ready().await;
        assert_eq!(tags(&frames), "EZ", "extended: {sql}");
        is_block(&frames[0]);
        raw.send(&[msg::parse("named", sql, &[]), msg::sync()].concat()).await;
        is_block(&raw.until_ready().await[0]);
        raw.send(&[msg::bind("", "named", &[]), msg::execute("", 0), msg::sync()].concat()).await;
        assert_eq!(raw.until_ready().await[0].field(b'C').as_deref(), Some("26000"), "{sql}");
    }
    assert!(unchanged(&sluice).await);
}

#[tokio::test]
async fn what_is_not_matched_passes() {
    crate::needs_proxy!();
    let sluice = start().await;
    let client = sluice.connect().await;
    for sql in [
        "DELETE FROM t WHERE n = 99",
        "UPDATE t SET n = n WHERE n > 0",
        "INSERT INTO t SELECT 1, 'x' WHERE false",
        "SELECT * FROM t",
        "EXPLAIN DELETE FROM t WHERE n = 1",
    ] {
        client.batch_execute(sql).await.unwrap_or_else(|e| panic!("{sql}: {e:?}"));
    }
    assert!(client.notices().is_empty());
}

#[tokio::test]
async fn a_blocked_statement_aborts_its_transaction_on_both_sides() {
    crate::needs_proxy!();
    let sluice = start().await;
    for extended in [false, true] {
        let mut raw = sluice.raw().await;
        raw.query("BEGIN").await;
        raw.query("INSERT INTO t VALUES (1000, 'lost')").await;
        let bytes = if extended {
            [msg::extended("DELETE FROM t", &[]), msg::sync()].concat()
        } else {
            msg::query("DELETE FROM t")
        };
        raw.send(&bytes).await;
        let frames = raw.until_ready().await;
        is_block(&frames[0]);
        assert_eq!(frames.last().unwrap().body, b"E");
        for sql in ["SELECT 1", "INSERT INTO t VALUES (1001, 'lost too')"] {
            let frames = raw.query(sql).await;
            assert_eq!(frames[0].field(b'C').as_deref(), Some("25P02"), "{sql}");
            assert_eq!(frames.last().unwrap().body, b"E");
        }
        let frames = raw.query("COMMIT").await;
        assert_eq!((frames[0].text().as_str(), frames[1].body.as_slice()), ("ROLLBACK", b"I".as_slice()));
        assert_eq!(tags(&raw.query("SELECT 1").await), "TDCZ");
        assert!(unchanged(&sluice).await);
    }
}

#[tokio::test]
async fn a_savepoint_brings_the_transaction_back() {
    crate::needs_proxy!();
    let sluice = start().await;
    let client = sluice.connect().await;
    client.batch_execute("BEGIN; CREATE TABLE kept (n int); SAVEPOINT here").await.unwrap();
    assert_eq!(client.failure("DELETE FROM t").await, "42501");
    assert_eq!(client.failure("SELECT 1").await, "25P02");
    client.batch_execute("ROLLBACK TO SAVEPOINT here").await.unwrap();
    client.batch_execute("INSERT INTO kept VALUES (1); COMMIT").await.unwrap();
    assert_eq!(client.text("SELECT count(*) FROM kept").await, "1");
}

#[tokio::test]
async fn in_a_pipeline_what_came_before_is_answered_and_the_rest_skipped() {
    crate::needs_proxy!();
    let sluice = start().await;
    let mut raw = sluice.raw().await;
    let batch = [
        msg::extended("SELECT 'before'", &[]),
        msg::extended("INSERT INTO t VALUES (1000, 'same transaction')", &[]),
        msg::extended("DELETE FROM t", &[]),
        msg::extended("INSERT INTO t VALUES (1001, 'after')", &[]),
        msg::sync(),
        msg::extended("SELECT 'next batch'", &[]),
        msg::sync(),
    ];
    raw.send(&batch.concat()).await;
    let frames = raw.until_ready().await;
    assert_eq!(tags(&frames), "12TDC12nCEZ");
    is_block(&frames[frames.len() - 2]);
    assert_eq!(frames.last().unwrap().body, b"I");
    let frames = raw.until_ready().await;
    assert_eq!(tags(&frames), "12TDCZ");
    assert!(unchanged(&sluice).await, "the batch was one transaction");
}

#[tokio::test]
async fn a_pipelining_driver_sees_one_error_and_goes_on() {
    crate::needs_proxy!();
    let sluice = start().await;
    let client = sluice.connect().await;
    let (before, blocked, after) = tokio::join!(
        client.query_one("SELECT 1", &[]),
        client.execute("DELETE FROM t", &[]),
        client.query_one("SELECT 2", &[])
    );
    assert_eq!(before.unwrap().get::<_, i32>(0), 1);
    assert_eq!(crate::support::sqlstate(&blocked.unwrap_err()), "42501");
    assert_eq!(after.unwrap().get::<_, i32>(0), 2);
    assert!(unchanged(&sluice).await);
}

/// `LIKE $1` is innocent until the parameter is known.
#[tokio::test]
async fn a_parameter_decides_at_bind() {
    crate::needs_proxy!();
    let sluice = start().await;
    let client: Session = sluice.connect().await;
    let search = client.prepare("SELECT count(*) FROM t WHERE s LIKE $1").await.unwrap();
    for (pattern, blocked) in [("row%", false), ("%ow", true), ("ro%", false), ("_ow", true)] {
        let outcome = client.query_one(&search, &[&pattern]).await;
        match (blocked, outcome) {
            (false, Ok(row)) => assert_eq!(row.get::<_, i64>(0), 10),
            (true, Err(error)) => assert_eq!(crate::support::sqlstate(&error), "42501"),
            (_, outcome) => panic!("{pattern}: {outcome:?}"),
        }
    }
    assert_eq!(client.failure("SELECT * FROM t WHERE s LIKE '%ow'").await, "42501");
    client.batch_execute("SELECT * FROM t WHERE s LIKE 'ro%'").await.unwrap();
}

#[tokio::test]
async fn psql_shows_error_detail_and_hint() {
    crate::needs_proxy!();
    let sluice = start().await;
    let out = crate::support::programs::psql(&sluice, &["DELETE FROM t"]);
    assert!(!out.ok);
    for part in ["42501", "This changes every row.", "DETAIL:", "no-bare-writes", "HINT:  Say which rows"] {
        assert!(out.stderr.contains(part), "no {part} in {}", out.stderr);
    }
}

#[tokio::test]
async fn verdicts_are_counted() {
    crate::needs_proxy!();
    let sluice = start().await;
    let client = sluice.connect().await;
    for _ in 0..3 {
        client.failure("DELETE FROM t").await;
    }
    let labels = [r#"rule="no-bare-writes""#, r#"action="block""#, r#"mode="enforce""#];
    eventually("three blocks", || async { sluice.metric("pgsluice_verdicts_total", &labels).await == 3.0 })
        .await;
}

#[tokio::test]
async fn observing_counts_and_lets_pass() {
    crate::needs_proxy!();
    let policy = POLICY.replace("action = \"block\"", "action = \"block\"\nmode = \"observe\"");
    let sluice = proxy().policy(&policy).start();
    let client = sluice.connect().await;
    client.batch_execute("CREATE TABLE t (n int); INSERT INTO t VALUES (1)").await.unwrap();
    client.batch_execute("DELETE FROM t").await.unwrap();
    assert_eq!(client.text("SELECT count(*) FROM t").await, "0");
    assert!(client.notices().is_empty());
    let labels = [r#"mode="observe""#];
    eventually("one match", || async { sluice.metric("pgsluice_verdicts_total", &labels).await == 1.0 })
        .await;
}
