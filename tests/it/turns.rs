//! Statements that wait for their turn, and what they hold meanwhile; limits of a FunctionCall; the console's view.

use std::time::{Duration, Instant};

use crate::support::console::{Table, console, show_until, text, with_admin};
use crate::support::raw::{code, tags};
use crate::support::sluice::sum_of;
use crate::support::{Frame, Raw, Sluice, eventually, msg, proxy};

const POLICY: &str = r#"
[[rule]]
name = "one-by-one"
when = '"lonely" in query.tables'
action = "limit"
limit = { concurrency = 1 }

[[rule]]
name = "seldom"
when = '"seldom" in query.tables'
action = "limit"
limit = { rate = "2/h", per = "user", rows = 10, timeout = "5s" }
"#;
const SLOW: &str = "SELECT count(*), pg_sleep_for('1500ms') FROM lonely";

async fn start(policy: &str, size: u32, settings: &str) -> Sluice {
    let sluice = with_admin(proxy().policy(policy).pool_size(size).setting(settings));
    let tables = "CREATE TABLE lonely (n int); CREATE TABLE seldom (n int); CREATE TABLE t AS SELECT 1 AS n";
    sluice.database.direct().await.batch_execute(tables).await.unwrap();
    sluice
}

fn batch(parts: &[Vec<u8>]) -> Vec<u8> {
    [parts.concat(), msg::sync()].concat()
}

/// One runs, one waits for its turn: the second server of two is free for everybody else.
#[tokio::test]
async fn who_waits_for_a_turn_holds_no_server() {
    crate::needs_proxy!();
    let sluice = start(POLICY, 2, "").await;
    let (mut runs, mut waits, mut other) = (sluice.raw().await, sluice.raw().await, sluice.raw().await);
    waits.send(&batch(&[msg::parse("named", SLOW, &[])])).await;
    assert_eq!(tags(&waits.until_ready().await), "1Z");
    let named = batch(&[msg::bind("", "named", &[]), msg::execute("", 0)]);
    let unnamed = batch(&[msg::extended(SLOW, &[])]);
    for waiting in [unnamed, named, msg::query(SLOW)] {
        let started = Instant::now();
        runs.send(&batch(&[msg::extended(SLOW, &[])])).await;
        tokio::time::sleep(Duration::from_millis(150)).await;
        waits.send(&waiting).await;
        tokio::time::sleep(Duration::from_millis(150)).await;
        for _ in 0..5 {
            assert_eq!(tags(&other.query("SELECT n FROM t").await), "TDCZ");
        }
        assert!(started.elapsed() < Duration::from_millis(1300), "{:?}", started.elapsed());
        assert_eq!(code(&runs.until_ready().await), None);
        assert_eq!(code(&waits.until_ready().await), None);
        assert!(started.elapsed() >= Duration::from_millis(2900), "one by one: {:?}", started.elapsed());
    }
}

/// Amid a batch and in a transaction it waits with its server, and gets its turn all the same.
#[tokio::test]
async fn with_a_server_in_hand_it_waits_too() {
    crate::needs_proxy!();
    let sluice = start(POLICY, 3, "").await;
    let (mut a, mut b, mut c) = (sluice.raw().await, sluice.raw().await, sluice.raw().await);
    b.query("BEGIN").await;
    let started = Instant::now();
    a.send(&batch(&[msg::extended(SLOW, &[])])).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    b.send(&batch(&[msg::extended(SLOW, &[])])).await;
    c.send(&batch(&[msg::extended("SELECT n FROM t", &[]), msg::extended(SLOW, &[])])).await;
    for raw in [&mut a, &mut b, &mut c] {
        assert_eq!(code(&raw.until_ready().await), None);
    }
    assert!(started.elapsed() >= Duration::from_millis(4400), "{:?}", started.elapsed());
    b.query("COMMIT").await;
}

/// A turn that was taken ahead is given back, however the batch goes on.
#[tokio::test]
async fn turns_taken_ahead_are_given_back() {
    crate::needs_proxy!();
    let settings = "[pool]\nquery_wait_timeout = \"700ms\"";
    let sluice = start(POLICY, 2, settings).await;
    let mut raw = sluice.raw().await;
    let quick = "SELECT count(*) FROM lonely";
    for bad in [
        vec![msg::parse("", quick, &[]), msg::bind("", "nobody", &[]), msg::execute("", 0)],
        vec![msg::parse("", "SELECT nonsense FROM lonely", &[]), msg::bind("", "", &[]), msg::execute("", 0)],
        vec![msg::parse("", quick, &[]), msg::bind("", "", &[Some("1")]), msg::execute("", 0)],
        vec![msg::parse("", quick, &[]), msg::bind("p", "", &[]), msg::execute("q", 0)],
    ] {
        raw.send(&batch(&bad)).await;
        assert!(code(&raw.until_ready().await).is_some());
        raw.send(&batch(&[msg::extended(quick, &[])])).await;
        assert_eq!(code(&raw.until_ready().await), None);
    }
    // In vain: refused where it stands, and the client goes on.
    let mut holder = sluice.raw().await;
    holder.send(&batch(&[msg::extended(SLOW, &[])])).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    raw.send(&batch(&[msg::extended(quick, &[])])).await;
    let frames = raw.until_ready().await;
    assert_eq!((code(&frames).as_deref(), tags(&frames).as_str()), (Some("53300"), "EZ"));
    assert_eq!(tags(&raw.query("SELECT n FROM t").await), "TDCZ");
    // Who leaves while it waits leaves nothing behind.
    let mut leaves = sluice.raw().await;
    leaves.send(&batch(&[msg::extended(quick, &[])])).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    drop(leaves);
    holder.until_ready().await;
    raw.send(&batch(&[msg::extended(quick, &[])])).await;
    assert_eq!(code(&raw.until_ready().await), None);
}

/// A FunctionCall by the function's number, with text arguments.
fn call(oid: u32, arguments: &[&str]) -> Vec<u8> {
    let mut body = oid.to_be_bytes().to_vec();
    body.extend([0, 0]);
    body.extend(u16::try_from(arguments.len()).unwrap().to_be_bytes());
    for argument in arguments {
        body.extend(u32::try_from(argument.len()).unwrap().to_be_bytes());
        body.extend(argument.as_bytes());
    }
    body.extend([0, 0]);
    msg::frame(b'F', &body)
}

async fn called(raw: &mut Raw, oid: u32, arguments: &[&str]) -> Vec<Frame> {
    raw.send(&call(oid, arguments)).await;
    raw.until_ready().await
}

const SLEEP: u32 = 2626;
const REPEAT: u32 = 1622;

fn about_calls(limit: &str) -> String {
    format!("[[rule]]\nname = \"calls\"\nwhen = 'query.opaque'\naction = \"limit\"\nlimit = {{ {limit} }}\n")
}

#[tokio::test]
async fn a_function_call_has_its_limits() {
    crate::needs_proxy!();
    let sluice = start(&about_calls("timeout = \"400ms\", bytes = \"1kB\""), 1, "").await;
    let mut raw = sluice.raw().await;
    assert_eq!(tags(&called(&mut raw, SLEEP, &["0.05"]).await), "VZ");
    let started = Instant::now();
    let frames = called(&mut raw, SLEEP, &["20"]).await;
    assert_eq!((tags(&frames).as_str(), code(&frames).as_deref()), ("EZ", Some("57014")));
    assert!(started.elapsed() < Duration::from_secs(5));
    assert!(frames[0].field(b'D').unwrap().starts_with("Rule calls limits its timeout"), "{frames:?}");
    assert_eq!(tags(&called(&mut raw, REPEAT, &["x", "100"]).await), "VZ");
    for size in ["2000", "2000000"] {
        let frames = called(&mut raw, REPEAT, &["x", size]).await;
        let told = (tags(&frames), code(&frames));
        assert_eq!(told, ("EZ".to_owned(), Some("54000".to_owned())), "{size}: {frames:?}");
    }
    raw.query("BEGIN").await;
    let frames = called(&mut raw, REPEAT, &["x", "2000"]).await;
    assert_eq!((code(&frames).as_deref(), &*frames.last().unwrap().body), (Some("54000"), &b"E"[..]));
    assert_eq!(raw.query("COMMIT").await[0].text(), "ROLLBACK");
    assert_eq!(tags(&raw.query("SELECT n FROM t").await), "TDCZ");
}

#[tokio::test]
async fn a_function_call_waits_for_its_turn_and_has_its_rate() {
    crate::needs_proxy!();
    let sluice = start(&about_calls("concurrency = 1, rate = \"4/h\""), 2, "").await;
    let (mut a, mut b, mut c) = (sluice.raw().await, sluice.raw().await, sluice.raw().await);
    let started = Instant::now();
    a.send(&call(SLEEP, &["0.8"])).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    b.send(&call(SLEEP, &["0.8"])).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(tags(&c.query("SELECT n FROM t").await), "TDCZ");
    assert!(started.elapsed() < Duration::from_millis(700), "{:?}", started.elapsed());
    assert_eq!((tags(&a.until_ready().await), tags(&b.until_ready().await)), ("VZ".into(), "VZ".into()));
    assert!(started.elapsed() >= Duration::from_millis(1550), "{:?}", started.elapsed());
    drop(a); // a call may leave anything behind, so that it keeps its server
    for expected in [None, None, Some("53400"), Some("53400")] {
        assert_eq!(code(&called(&mut c, SLEEP, &["0"]).await).as_deref(), expected);
    }
}

#[tokio::test]
async fn a_function_call_is_judged_at_its_moment_and_counted() {
    crate::needs_proxy!();
    let policy = "[[rule]]\nname = \"calls\"\nwhen = 'query.opaque && session.in_transaction'\naction = \"block\"\n\
                  [[rule]]\nname = \"never\"\nwhen = 'query.opaque && client.user == \"nobody\"'\naction = \"block\"\n";
    let sluice = start(policy, 1, "").await;
    let mut raw = sluice.raw().await;
    assert_eq!(tags(&called(&mut raw, SLEEP, &["0"]).await), "VZ");
    raw.query("BEGIN").await;
    assert_eq!(code(&called(&mut raw, SLEEP, &["0"]).await).as_deref(), Some("42501"));
    raw.query("ROLLBACK").await;
    assert_eq!(tags(&called(&mut raw, SLEEP, &["0"]).await), "VZ");
    let sluice =
        start("[[rule]]\nname = \"calls\"\nwhen = 'query.opaque'\naction = \"block\"\n", 1, "").await;
    let mut raw = sluice.raw().await;
    let frames = called(&mut raw, SLEEP, &["0"]).await;
    assert_eq!((tags(&frames).as_str(), code(&frames).as_deref()), ("EZ", Some("42501")));
    eventually("it is counted, though no server was asked for", || async {
        sluice.metric("pgsluice_verdicts_total", &["rule=\"calls\"", "action=\"block\""]).await == 1.0
    })
    .await;
}

fn lines(shown: &Table) -> Vec<[&str; 7]> {
    let columns = ["rule", "limit", "per", "used", "allowed", "waiting", "refused"];
    shown.rows.iter().map(|row| columns.map(|column| row[column].as_deref().unwrap_or("-"))).collect()
}

#[tokio::test]
async fn the_console_shows_what_is_counted() {
    crate::needs_proxy!();
    let sluice = start(POLICY, 3, "").await;
    let mut console = console(&sluice).await;
    let (mut runs, mut waits, mut raw) = (sluice.raw().await, sluice.raw().await, sluice.raw().await);
    for expected in [None, None, Some("53400"), Some("53400"), Some("53400")] {
        assert_eq!(code(&raw.query("SELECT n FROM seldom").await).as_deref(), expected);
    }
    runs.send(&msg::query(SLOW)).await;
    tokio::time::sleep(Duration::from_millis(150)).await;
    waits.send(&batch(&[msg::extended(SLOW, &[])])).await;
    let shown = show_until(&mut console, "SHOW LIMITS", |shown| {
        lines(shown).contains(&["one-by-one", "concurrency", "rule", "1", "1", "1", "0"])
    })
    .await;
    assert_eq!(
        lines(&shown),
        [
            ["one-by-one", "concurrency", "rule", "-", "1", "-", "0"],
            ["one-by-one", "concurrency", "rule", "1", "1", "1", "0"],
            ["seldom", "timeout", "-", "-", "5000", "-", "0"],
            ["seldom", "rows", "-", "-", "10", "-", "0"],
            ["seldom", "rate", "user", "-", "2", "-", "3"],
            ["seldom", "rate", "user", "2", "2", "0", "3"],
        ]
    );
    assert_eq!(text(&shown.rows[5], "of"), sluice.database.user);
    assert_eq!(text(&shown.rows[5], "within"), "3600000");
    for raw in [&mut runs, &mut waits] {
        assert_eq!(code(&raw.until_ready().await), None);
    }
}

/// What runs when other policies come keeps its own rule's name, in its error and in the metrics.
#[tokio::test]
async fn a_limit_that_is_met_after_a_reload_names_its_own_rule() {
    crate::needs_proxy!();
    let rule = "[[rule]]\nname = \"quick\"\nwhen = '\"pg_sleep\" in query.functions'\naction = \"limit\"\nlimit = { timeout = \"1s\" }\n";
    let first = "[[rule]]\nname = \"star\"\nfinds = \"select-star\"\naction = \"warn\"\n";
    let settings = "[guard]\npolicy_check_interval = \"0s\"";
    let sluice = start(rule, 2, settings).await;
    let mut console = console(&sluice).await;
    let mut raw = sluice.raw().await;
    for new in [first.to_owned() + rule, first.to_owned()] {
        sluice.write_policy(rule);
        assert_eq!(tags(&console.query("RELOAD POLICIES").await), "CZ");
        raw.send(&batch(&[msg::extended("SELECT pg_sleep(20)", &[])])).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        sluice.write_policy(&new);
        assert_eq!(tags(&console.query("RELOAD POLICIES").await), "CZ");
        let frames = raw.until_ready().await;
        let error = frames.iter().find(|f| f.tag == b'E').unwrap();
        assert!(error.field(b'D').unwrap().starts_with("Rule quick limits its timeout"), "{error:?}");
    }
    eventually("under its name, as long as there is such a rule", || async {
        let page = sluice.get("/metrics").await.1;
        let of = |rule: &str| sum_of(&page, "pgsluice_limits_total", &[&format!("rule=\"{rule}\"")]);
        (of("quick"), of("other"), of("star")) == (1.0, 1.0, 0.0)
    })
    .await;
}
