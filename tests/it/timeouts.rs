//! How long clients may take, and what becomes of their servers.

use std::time::{Duration, Instant};

use crate::support::{Frame, Raw, eventually, msg, proxy, sqlstate};

/// The last frame before the other side closes must be this error.
async fn ends_with(raw: &mut Raw, code: &str, message: &str) {
    let frames = raw.until_closed().await;
    let last = frames.last().unwrap_or_else(|| panic!("closed without a word"));
    assert_eq!((last.tag, last.field(b'C').as_deref()), (b'E', Some(code)), "{frames:?}");
    assert_eq!((last.field(b'S').as_deref(), last.field(b'M').as_deref()), (Some("FATAL"), Some(message)));
}

fn only_error(frames: &[Frame]) -> &Frame {
    let mut errors = frames.iter().filter(|f| f.tag == b'E');
    let error = errors.next().unwrap_or_else(|| panic!("no error: {frames:?}"));
    assert!(errors.next().is_none(), "{frames:?}");
    error
}

#[tokio::test]
async fn an_idle_client_is_closed_and_one_that_is_not_idle_is_not() {
    crate::needs_proxy!();
    let sluice = proxy().pool_size(1).setting("[timeouts]\nclient_idle_timeout = \"600ms\"").start();
    let started = Instant::now();
    let (mut idle, mut busy) = (sluice.raw().await, sluice.raw().await);
    let work = async {
        // Longer than the timeout in all, and one statement longer than it.
        for _ in 0..5 {
            assert_eq!(busy.query("SELECT pg_sleep(0.2)").await.last().unwrap().tag, b'Z');
        }
        assert_eq!(busy.query("SELECT pg_sleep(1)").await.last().unwrap().tag, b'Z');
        busy.query("BEGIN").await;
        tokio::time::sleep(Duration::from_millis(1200)).await;
        assert_eq!(
            busy.query("COMMIT").await[0].text(),
            "COMMIT",
            "inside a transaction it is not this timeout"
        );
    };
    let end = async {
        ends_with(&mut idle, "57P05", "terminating connection due to idle-session timeout").await;
        started.elapsed()
    };
    let (took, ()) = tokio::join!(end, work);
    assert!(took >= Duration::from_millis(590) && took < Duration::from_secs(3), "{took:?}");
    eventually("it is counted", || async {
        sluice.metric("pgsluice_timeouts_total", &["timeout=\"client_idle\""]).await == 1.0
    })
    .await;
}

#[tokio::test]
async fn a_client_idle_in_a_transaction_is_closed_and_its_server_is_used_again() {
    crate::needs_proxy!();
    let sluice = proxy().pool_size(1).setting("[timeouts]\nidle_transaction_timeout = \"300ms\"").start();
    sluice.connect().await.batch_execute("CREATE TABLE t (n int)").await.unwrap();
    for failed in [false, true] {
        let mut raw = sluice.raw().await;
        let backend = raw.query("SELECT pg_backend_pid()").await[1].columns();
        raw.query("BEGIN; INSERT INTO t VALUES (1)").await;
        // One that goes on is left alone.
        for _ in 0..4 {
            tokio::time::sleep(Duration::from_millis(150)).await;
            assert_eq!(raw.query("SELECT 1").await.last().unwrap().body, b"T");
        }
        if failed {
            raw.query("SELECT 1/0").await;
        }
        ends_with(&mut raw, "25P03", "terminating connection due to idle-in-transaction timeout").await;
        let mut next = sluice.raw().await;
        assert_eq!(next.query("SELECT pg_backend_pid()").await[1].columns(), backend, "reused");
        assert_eq!(
            next.query("SELECT count(*) FROM t").await[1].columns(),
            [Some("0".into())],
            "rolled back"
        );
    }
}

#[tokio::test]
async fn a_transaction_that_lasts_too_long_is_closed_idle_or_running() {
    crate::needs_proxy!();
    let sluice = proxy().pool_size(1).setting("[timeouts]\ntransaction_timeout = \"700ms\"").start();
    let mut busy = sluice.raw().await;
    busy.query("BEGIN").await;
    let frames = async {
        loop {
            // Never idle for long, but it does not end.
            busy.send(&msg::query("SELECT pg_sleep(0.05)")).await;
            let frames = busy.until_ready().await;
            if frames.last().is_none_or(|f| f.tag != b'Z') {
                return frames;
            }
        }
    };
    assert_eq!(only_error(&frames.await).field(b'C').as_deref(), Some("25P04"));
    let mut running = sluice.raw().await;
    running.send(&msg::query("SELECT pg_sleep(60)")).await;
    ends_with(&mut running, "25P04", "terminating connection due to transaction timeout").await;
    // Many short ones are not one long one, though the client sends ahead and the server never rests.
    let mut short = sluice.raw().await;
    short.send(&msg::query("SELECT pg_sleep(0.01)").repeat(150)).await;
    for _ in 0..150 {
        assert_eq!(short.until_ready().await.last().unwrap().tag, b'Z');
    }
}

#[tokio::test]
async fn a_statement_that_runs_too_long_is_cancelled_and_the_client_stays() {
    crate::needs_proxy!();
    let sluice = proxy().pool_size(1).setting("[timeouts]\nquery_timeout = \"300ms\"").start();
    let client = sluice.connect().await;
    let backend = client.backend().await;
    for _ in 0..3 {
        let started = Instant::now();
        let error = client.batch_execute("SELECT pg_sleep(60)").await.unwrap_err();
        assert!(started.elapsed() < Duration::from_secs(5));
        let db = error.as_db_error().unwrap();
        assert_eq!(db.code().code(), "57014");
        assert_eq!((db.severity(), db.message()), ("ERROR", "canceling statement due to statement timeout"));
        assert_eq!(client.text("SELECT 'next'").await, "next");
    }
    assert_eq!(client.backend().await, backend);
    let error = client.query("SELECT pg_sleep($1::float8)", &[&60f64]).await.unwrap_err();
    assert_eq!(sqlstate(&error), "57014");
    // In a transaction it is the statement's time that counts, and the transaction fails as it would directly.
    client.batch_execute("BEGIN").await.unwrap();
    for _ in 0..4 {
        client.text("SELECT pg_sleep(0.15)").await;
    }
    assert_eq!(client.failure("SELECT pg_sleep(60)").await, "57014");
    assert_eq!(client.failure("SELECT 1").await, "25P02");
    client.batch_execute("ROLLBACK").await.unwrap();
    eventually("they are counted", || async {
        sluice.metric("pgsluice_timeouts_total", &["timeout=\"query\""]).await == 5.0
    })
    .await;
}

#[tokio::test]
async fn a_cancel_of_ones_own_is_still_called_so() {
    crate::needs_proxy!();
    let sluice = proxy().pool_size(1).setting("[timeouts]\nquery_timeout = \"30s\"").start();
    let client = sluice.connect().await;
    let token = client.cancel_token();
    let cancel = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        token.cancel_query(tokio_postgres::NoTls).await.unwrap();
    };
    let (outcome, ()) = tokio::join!(client.batch_execute("SELECT pg_sleep(60)"), cancel);
    assert_eq!(
        outcome.unwrap_err().as_db_error().unwrap().message(),
        "canceling statement due to user request"
    );
}

#[tokio::test]
async fn a_statement_of_a_pipeline_that_runs_too_long_fails_alone() {
    crate::needs_proxy!();
    let sluice = proxy().pool_size(1).setting("[timeouts]\nquery_timeout = \"300ms\"").start();
    let mut raw = sluice.raw().await;
    let texts = ["SELECT pg_sleep(0.2)", "SELECT pg_sleep(60)", "SELECT 'after'"];
    raw.send(&texts.map(msg::query).concat()).await;
    assert!(raw.until_ready().await.iter().all(|f| f.tag != b'E'));
    assert_eq!(only_error(&raw.until_ready().await).field(b'C').as_deref(), Some("57014"));
    assert_eq!(raw.until_ready().await[1].columns(), [Some("after".into())]);
}

#[tokio::test]
async fn a_statement_that_does_not_obey_loses_its_server() {
    crate::needs_proxy!();
    let settings = "[timeouts]\nquery_timeout = \"300ms\"\ncancel_wait_timeout = \"500ms\"";
    let sluice = proxy().pool_size(1).setting(settings).start();
    let mut raw = sluice.raw().await;
    let stubborn = "DO $$ BEGIN FOR i IN 1..40 LOOP BEGIN PERFORM pg_sleep(0.2);
        EXCEPTION WHEN query_canceled THEN NULL; END; END LOOP; END $$";
    raw.send(&msg::query(stubborn)).await;
    ends_with(&mut raw, "57014", "canceling statement due to statement timeout").await;
    assert_eq!(sluice.connect().await.text("SELECT 1").await, "1", "the place is free");
    assert_eq!(sluice.metric("pgsluice_timeouts_total", &["timeout=\"cancel_wait\""]).await, 1.0);
}

#[tokio::test]
async fn a_reader_that_takes_nothing_gives_up_its_server_and_a_slow_one_does_not() {
    crate::needs_proxy!();
    let sluice = proxy().pool_size(1).setting("[timeouts]\nclient_write_timeout = \"800ms\"").start();
    let mut slow = sluice.raw().await;
    slow.send(&msg::query("SELECT repeat('x', 1000) FROM generate_series(1, 30000)")).await;
    let mut rows = 0;
    while let Some(frame) = slow.frame().await {
        rows += usize::from(frame.tag == b'D');
        if rows % 3000 == 0 && frame.tag == b'D' {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        if frame.tag == b'Z' {
            break;
        }
    }
    assert_eq!(rows, 30_000);
    slow.send(&msg::query("SELECT repeat('x', 1000) FROM generate_series(1, 1000000)")).await;
    let next = async { assert_eq!(sluice.connect().await.text("SELECT 1").await, "1") };
    tokio::time::timeout(Duration::from_secs(10), next).await.expect("the server comes free");
    assert_eq!(sluice.metric("pgsluice_timeouts_total", &["timeout=\"client_write\""]).await, 1.0);
}

#[tokio::test]
async fn a_pinned_client_that_idles_is_closed_and_leaves_nothing() {
    crate::needs_proxy!();
    let sluice = proxy().pool_size(1).setting("[timeouts]\nclient_idle_timeout = \"300ms\"").start();
    let mut raw = sluice.raw().await;
    raw.query("CREATE TEMP TABLE mine (n int)").await;
    ends_with(&mut raw, "57P05", "terminating connection due to idle-session timeout").await;
    assert_eq!(sluice.connect().await.failure("SELECT * FROM mine").await, "42P01");
}

#[tokio::test]
async fn each_user_and_database_may_have_its_own() {
    crate::needs_proxy!();
    let database = crate::support::lab().database();
    let settings = format!(
        "[timeouts]\nquery_timeout = \"200ms\"\nclient_idle_timeout = \"300ms\"\n[databases.{}]\nquery_timeout = 0\n\
         [users.{}]\nclient_idle_timeout = \"1h\"",
        database.name, database.user
    );
    let sluice = proxy().pool_size(2).setting(&settings).start_for(database);
    let client = sluice.connect().await;
    client.text("SELECT pg_sleep(1)").await;
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert_eq!(client.text("SELECT 1").await, "1");
    // Another database of the same user is not excepted.
    let mut config = sluice.config();
    config.dbname("postgres");
    let (other, _) = crate::support::Session::with(&config).await.unwrap();
    assert_eq!(other.failure("SELECT pg_sleep(1)").await, "57014");
}

#[tokio::test]
async fn a_cancel_that_comes_too_late_hits_nothing_else() {
    crate::needs_proxy!();
    let sluice = proxy().pool_size(1).setting("[timeouts]\nquery_timeout = \"100ms\"").start();
    let mut raw = sluice.raw().await;
    let mut cancelled = 0;
    for n in 0..60 {
        raw.query("BEGIN").await;
        // Ends about when its time does; what follows it does not wait for its answer.
        let long = format!("SELECT pg_sleep({})", 0.1 + f64::from(n) * 0.0005);
        raw.send(&msg::query(&long)).await;
        let failed = raw.until_ready().await.iter().any(|f| f.tag == b'E');
        let after = raw.query("SELECT pg_sleep(0.01)").await;
        let code = after.iter().find(|f| f.tag == b'E').and_then(|f| f.field(b'C'));
        assert_eq!(code.as_deref(), failed.then_some("25P02"), "{after:?}");
        cancelled += usize::from(failed);
        raw.query("ROLLBACK").await;
    }
    assert!(cancelled > 0, "no statement was cancelled: the test shows nothing");
}
