//! Limits of a policy while a statement runs: time, rows, bytes, rates and turns.

use std::time::{Duration, Instant};

use crate::support::raw::tags;
use crate::support::{Frame, Raw, Sluice, eventually, msg, proxy};

const POLICY: &str = r#"
[[rule]]
name = "few-rows"
when = '"few" in query.tables'
action = "limit"
limit = { rows = 10 }

[[rule]]
name = "few-bytes"
when = '"wide" in query.tables'
action = "limit"
limit = { bytes = "64kB" }

[[rule]]
name = "quick"
when = '"pg_sleep" in query.functions'
action = "limit"
limit = { timeout = "300ms" }
message = "Sleep at home."
hint = "Go to bed."

[[rule]]
name = "now-and-then"
when = '"seldom" in query.tables'
action = "limit"
limit = { rate = "3/h", per = "user" }

[[rule]]
name = "one-by-one"
when = '"lonely" in query.tables'
action = "limit"
limit = { concurrency = 1 }
"#;

async fn start(size: u32, settings: &str) -> Sluice {
    let sluice = proxy().policy(POLICY).pool_size(size).setting(settings).start();
    let tables = "CREATE TABLE few AS SELECT n, repeat('x', 200) AS t FROM generate_series(1, 50000) n;
                  CREATE TABLE wide AS SELECT n, repeat('x', 20000) AS t FROM generate_series(1, 100) n;
                  CREATE TABLE seldom (n int); CREATE TABLE lonely (n int); CREATE TABLE marks (n int)";
    sluice.database.direct().await.batch_execute(tables).await.unwrap();
    sluice
}

fn rows(frames: &[Frame]) -> usize {
    frames.iter().filter(|f| f.tag == b'D' || f.tag == b'd').count()
}

/// The only error in an answer: its SQLSTATE.
fn code(frames: &[Frame]) -> String {
    let errors: Vec<&Frame> = frames.iter().filter(|f| f.tag == b'E').collect();
    assert_eq!(errors.len(), 1, "{frames:?}");
    errors[0].field(b'C').unwrap()
}

async fn is_well(raw: &mut Raw) {
    assert_eq!(raw.query("SELECT 41 + 1").await[1].columns(), [Some("42".to_owned())]);
}

/// One at a time; nothing of one ends up in another.
#[tokio::test]
async fn exactly_so_many_rows_on_each_protocol() {
    crate::needs_proxy!();
    let sluice = start(1, "").await;
    let mut raw = sluice.raw().await;
    for n in [0, 1, 9, 10] {
        assert_eq!(rows(&raw.query(&format!("SELECT * FROM few LIMIT {n}")).await), n);
    }
    for sql in [
        "SELECT * FROM few",
        "SELECT * FROM few LIMIT 11",
        "COPY few TO STDOUT",
        "COPY (SELECT n FROM few) TO STDOUT (FORMAT binary)",
    ] {
        let frames = raw.query(sql).await;
        assert_eq!((rows(&frames), code(&frames).as_str()), (10, "54000"), "{sql}");
        assert_eq!(frames.last().unwrap().body, b"I");
        is_well(&mut raw).await;
        if sql.starts_with("COPY") {
            continue;
        }
        raw.send(&[msg::extended(sql, &[]), msg::sync()].concat()).await;
        let frames = raw.until_ready().await;
        assert_eq!((rows(&frames), code(&frames).as_str()), (10, "54000"), "{sql}");
        is_well(&mut raw).await;
    }
    let error = raw.query("SELECT * FROM few").await.into_iter().find(|f| f.tag == b'E').unwrap();
    assert_eq!(error.field(b'M').unwrap(), "the statement returns more than 10 rows");
    assert!(error.field(b'D').unwrap().starts_with("Rule few-rows limits its rows"), "{error:?}");
    eventually("it is counted", || async {
        sluice.metric("pgsluice_limits_total", &["rule=\"few-rows\"", "limit=\"rows\""]).await == 7.0
    })
    .await;
}

#[tokio::test]
async fn so_many_bytes_and_a_binary_copy_that_just_fits() {
    crate::needs_proxy!();
    let sluice = start(1, "").await;
    let mut raw = sluice.raw().await;
    let frames = raw.query("SELECT * FROM wide").await;
    assert_eq!((rows(&frames), code(&frames).as_str()), (3, "54000"), "{frames:?}");
    let frames = raw.query("SELECT * FROM wide LIMIT 3").await;
    assert_eq!(tags(&frames), "TDDDCZ");
    let frames = raw.query("COPY (SELECT n FROM few LIMIT 10) TO STDOUT (FORMAT binary)").await;
    assert_eq!(tags(&frames).trim_matches('d'), tags(&frames), "{frames:?}");
    assert!(frames.iter().all(|f| f.tag != b'E'), "{frames:?}");
    is_well(&mut raw).await;
}

#[tokio::test]
async fn a_transaction_has_failed_on_both_sides() {
    crate::needs_proxy!();
    let sluice = start(1, "").await;
    let mut raw = sluice.raw().await;
    // Eleven rows end before any cancel can reach them; fifty thousand do not.
    for limit in [11, 50_000] {
        let sql = format!("SELECT * FROM few LIMIT {limit}");
        for bytes in [msg::query(&sql), [msg::extended(&sql, &[]), msg::sync()].concat()] {
            raw.query("BEGIN; INSERT INTO marks VALUES (1)").await;
            raw.send(&[bytes, msg::query("INSERT INTO marks VALUES (2)")].concat()).await;
            let frames = raw.until_ready().await;
            assert_eq!((rows(&frames), code(&frames).as_str()), (10, "54000"));
            assert_eq!(frames.last().unwrap().body, b"E");
            assert_eq!(code(&raw.until_ready().await), "25P02");
            assert_eq!(raw.query("COMMIT").await[0].text(), "ROLLBACK");
        }
    }
    assert_eq!(raw.query("SELECT count(*) FROM marks").await[1].columns(), [Some("0".to_owned())]);
}

#[tokio::test]
async fn in_a_pipeline_what_stands_behind_it_does_not_run() {
    crate::needs_proxy!();
    let sluice = start(1, "").await;
    let mut raw = sluice.raw().await;
    for limit in [11, 50_000] {
        let batch = [
            msg::extended("INSERT INTO marks VALUES (1)", &[]),
            msg::extended(&format!("SELECT * FROM few LIMIT {limit}"), &[]),
            msg::extended("INSERT INTO marks VALUES (2)", &[]),
            msg::sync(),
            msg::extended("SELECT count(*) FROM marks", &[]),
            msg::sync(),
        ];
        raw.send(&batch.concat()).await;
        let frames = raw.until_ready().await;
        assert_eq!((rows(&frames), code(&frames).as_str()), (10, "54000"));
        let frames = raw.until_ready().await;
        let count = frames.iter().find(|f| f.tag == b'D').unwrap();
        assert_eq!(count.columns(), [Some("0".to_owned())], "the batch is one transaction");
    }
}

#[tokio::test]
async fn a_portal_counts_from_its_first_execute_to_its_last() {
    crate::needs_proxy!();
    let sluice = start(1, "").await;
    let mut raw = sluice.raw().await;
    raw.query("BEGIN").await;
    let open = [
        msg::parse("s", "SELECT * FROM few", &[]),
        msg::bind("p", "s", &[]),
        msg::execute("p", 6),
        msg::sync(),
    ];
    raw.send(&open.concat()).await;
    let frames = raw.until_ready().await;
    assert_eq!(tags(&frames), "12DDDDDDsZ");
    raw.send(&[msg::execute("p", 6), msg::sync()].concat()).await;
    let frames = raw.until_ready().await;
    assert_eq!((rows(&frames), code(&frames).as_str()), (4, "54000"));
    assert_eq!(raw.query("ROLLBACK").await[0].text(), "ROLLBACK");
    // The statement itself is as good as before.
    raw.send(&[msg::bind("", "s", &[]), msg::execute("", 10), msg::sync()].concat()).await;
    assert_eq!(rows(&raw.until_ready().await), 10);
}

#[tokio::test]
async fn time_runs_out_with_the_rules_own_words() {
    crate::needs_proxy!();
    let sluice = start(2, "").await;
    let mut raw = sluice.raw().await;
    for bytes in
        [msg::query("SELECT pg_sleep(20)"), [msg::extended("SELECT pg_sleep(20)", &[]), msg::sync()].concat()]
    {
        let started = Instant::now();
        raw.send(&[bytes, msg::query("SELECT 'next'")].concat()).await;
        let frames = raw.until_ready().await;
        assert_eq!(code(&frames), "57014");
        let error = frames.iter().find(|f| f.tag == b'E').unwrap();
        assert_eq!(error.field(b'M').unwrap(), "Sleep at home.");
        assert_eq!(error.field(b'H').unwrap(), "Go to bed.");
        assert!(error.field(b'D').unwrap().contains("it runs longer than 300 ms"), "{error:?}");
        let took = started.elapsed();
        assert!(took > Duration::from_millis(290) && took < Duration::from_secs(5), "{took:?}");
        assert_eq!(raw.until_ready().await[1].columns(), [Some("next".to_owned())]);
    }
    assert_eq!(tags(&raw.query("SELECT pg_sleep(0.05)").await), "TDCZ");
}

/// A statement that ends as its time does: whoever comes next, on this server or as this client, is not hit.
#[tokio::test]
async fn a_limit_that_comes_late_hits_nobody_else() {
    crate::needs_proxy!();
    let sluice = start(1, "").await;
    let (mut a, mut b) = (sluice.raw().await, sluice.raw().await);
    let mut both = [0, 0];
    for n in 0..25 {
        let sleep = 0.295 + f64::from(n % 5) * 0.002;
        a.send(
            &[msg::query(&format!("SELECT pg_sleep({sleep})")), msg::query("SELECT pg_backend_pid()")]
                .concat(),
        )
        .await;
        b.send(
            &[msg::extended("SELECT count(*) FROM generate_series(1, 100000)", &[]), msg::sync()].concat(),
        )
        .await;
        let frames = a.until_ready().await;
        both[usize::from(frames.iter().any(|f| f.tag == b'E'))] += 1;
        assert!(a.until_ready().await.iter().all(|f| f.tag != b'E'), "the next statement");
        assert!(b.until_ready().await.iter().all(|f| f.tag != b'E'), "another client");
    }
    println!("ended in time and not: {both:?}");
}

#[tokio::test]
async fn a_rate_is_refused_at_once_whoever_asks() {
    crate::needs_proxy!();
    let sluice = start(2, "threads = 2").await;
    let mut codes = Vec::new();
    for n in 0..6 {
        let mut raw = sluice.raw().await;
        let frames = if n % 2 == 0 {
            raw.query("SELECT * FROM seldom").await
        } else {
            raw.send(&[msg::extended("SELECT * FROM seldom", &[]), msg::sync()].concat()).await;
            raw.until_ready().await
        };
        codes.push(frames.iter().find(|f| f.tag == b'E').map(|_| code(&frames)).unwrap_or_default());
        is_well(&mut raw).await;
    }
    assert_eq!(codes, ["", "", "", "53400", "53400", "53400"]);
}

#[tokio::test]
async fn turns_come_one_by_one_and_are_given_back_however_it_ends() {
    crate::needs_proxy!();
    let sluice = start(5, "threads = 2\n[pool]\nquery_wait_timeout = \"2s\"").await;
    let slow = "SELECT count(*), pg_sleep_for('400ms') FROM lonely";
    // Two at once take twice as long.
    let (a, b) = (sluice.connect().await, sluice.connect().await);
    let started = Instant::now();
    let (one, two) = tokio::join!(a.batch_execute(slow), b.batch_execute(slow));
    one.and(two).unwrap();
    assert!(started.elapsed() >= Duration::from_millis(790), "{:?}", started.elapsed());
    // A client that leaves, a server that dies, a statement that fails: the turn is free again.
    let long = "SELECT count(*), pg_sleep_for('60s') FROM lonely";
    let mut gone = sluice.raw().await;
    gone.send(&msg::query(long)).await;
    let direct = sluice.database.direct().await;
    let runs = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%60s% FROM lonely' AND state = 'active' AND pid <> pg_backend_pid()";
    eventually("it runs", || async { direct.text(runs).await == "1" }).await;
    let late = b.failure(slow).await;
    assert_eq!(late, "53300");
    drop(gone);
    eventually("its turn is free", || async { a.batch_execute(slow).await.is_ok() }).await;
    let mut dies = sluice.raw().await;
    dies.send(&msg::query(long)).await;
    eventually("it runs", || async { direct.text(runs).await == "1" }).await;
    let kill = runs.replace("count(*)", "pg_terminate_backend(pid)");
    direct.batch_execute(&kill).await.unwrap();
    dies.until_closed().await;
    a.batch_execute(slow).await.unwrap();
    assert_eq!(a.failure("SELECT 1 / n FROM (SELECT count(*) AS n FROM lonely) t").await, "22012");
    a.batch_execute(slow).await.unwrap();
    // Who waits may be cancelled.
    let mut holder = sluice.raw().await;
    holder.send(&msg::query("SELECT count(*), pg_sleep_for('1s') FROM lonely")).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let token = b.cancel_token();
    let cancel = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        token.cancel_query(tokio_postgres::NoTls).await.unwrap();
    };
    let (code, ()) = tokio::join!(b.failure(slow), cancel);
    assert_eq!(code, "57014");
    assert_eq!(code_of(&holder.until_ready().await), None);
}

fn code_of(frames: &[Frame]) -> Option<String> {
    frames.iter().find(|f| f.tag == b'E').and_then(|f| f.field(b'C'))
}
