//! Clients that go at the worst moment: whatever they were at, the server is clean for the next one, and soon.

use std::time::Duration;

use pgsluice::sandbox::Options;

use crate::support::{Builder, Lab, Raw, Sluice, eventually, msg, proxy};

/// The pool's only server does what a new client asks, is in no transaction, and has nothing of the one before.
async fn is_whole(sluice: &Sluice) {
    let next = async {
        let mut raw = sluice.raw().await;
        let frames = raw.query("SELECT count(*) FROM t").await;
        assert_eq!(frames[1].columns(), [Some("0".into())], "{frames:?}");
        assert_eq!(frames.last().unwrap().body, b"I");
        raw.query("INSERT INTO t VALUES (1); DELETE FROM t").await;
    };
    tokio::time::timeout(Duration::from_secs(10), next).await.expect("the server comes free");
    let sql =
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
        AND (state LIKE 'idle in%' OR state = 'active')";
    let admin = sluice.database.admin().await;
    eventually("nothing is left running or open", || async { admin.text(sql).await == "0" }).await;
}

async fn with_table() -> Sluice {
    let sluice = proxy().pool_size(1).start();
    sluice.connect().await.batch_execute("CREATE TABLE t (n int)").await.unwrap();
    sluice
}

async fn vanishes(before: impl AsyncFnOnce(&mut Raw)) {
    let sluice = with_table().await;
    let mut raw = sluice.raw().await;
    before(&mut raw).await;
    drop(raw);
    is_whole(&sluice).await;
}

#[tokio::test]
async fn in_a_transaction() {
    vanishes(async |raw| drop(raw.query("BEGIN; INSERT INTO t VALUES (1)").await)).await;
}

#[tokio::test]
async fn in_a_failed_transaction() {
    vanishes(async |raw| drop(raw.query("BEGIN; INSERT INTO t VALUES (1); SELECT 1/0").await)).await;
}

#[tokio::test]
async fn the_server_of_one_that_was_idle_in_a_transaction_is_used_again() {
    crate::needs_proxy!();
    let sluice = with_table().await;
    let mut raw = sluice.raw().await;
    let backend = raw.query("SELECT pg_backend_pid()").await[1].columns();
    raw.query("BEGIN; INSERT INTO t VALUES (1)").await;
    drop(raw);
    assert_eq!(sluice.raw().await.query("SELECT pg_backend_pid()").await[1].columns(), backend);
    is_whole(&sluice).await;
}

#[tokio::test]
async fn in_a_query() {
    vanishes(async |raw| {
        raw.send(&msg::query("INSERT INTO t SELECT 1 FROM pg_sleep(60)")).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
    })
    .await;
}

#[tokio::test]
async fn between_parse_and_sync() {
    vanishes(async |raw| {
        raw.query("BEGIN; INSERT INTO t VALUES (1)").await;
        let parts =
            [msg::parse("", "SELECT 1", &[]), msg::bind("", "", &[]), msg::execute("", 0), msg::flush()];
        raw.send(&parts.concat()).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
    })
    .await;
}

#[tokio::test]
async fn in_copy_in() {
    vanishes(async |raw| {
        raw.send(&msg::query("COPY t FROM STDIN")).await;
        assert_eq!(raw.frame().await.unwrap().tag, b'G');
        raw.send(&msg::copy_data(b"1\n2\n")).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
    })
    .await;
}

#[tokio::test]
async fn in_the_middle_of_a_message_of_copy_in() {
    vanishes(async |raw| {
        raw.send(&msg::query("COPY t FROM STDIN")).await;
        assert_eq!(raw.frame().await.unwrap().tag, b'G');
        let data = msg::copy_data("1\n".repeat(500_000).as_bytes());
        raw.send(&data[..data.len() / 2]).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
    })
    .await;
}

#[tokio::test]
async fn in_copy_out() {
    vanishes(async |raw| {
        raw.send(&msg::query("COPY (SELECT repeat('x', 1000) FROM generate_series(1, 1000000)) TO STDOUT"))
            .await;
        assert_eq!(raw.frame().await.unwrap().tag, b'H');
        raw.frame().await;
    })
    .await;
}

#[tokio::test]
async fn in_the_middle_of_a_statement() {
    vanishes(async |raw| {
        raw.query("BEGIN; INSERT INTO t VALUES (1)").await;
        let text = msg::query(&format!("SELECT '{}'", "x".repeat(200_000)));
        raw.send(&text[..100_000]).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
    })
    .await;
}

#[tokio::test]
async fn in_the_middle_of_a_row() {
    vanishes(async |raw| {
        raw.send(&msg::query("SELECT repeat('x', 50000000)")).await;
        assert_eq!(raw.frame().await.unwrap().tag, b'T');
    })
    .await;
}

#[tokio::test]
async fn during_login() {
    crate::needs_proxy!();
    let sluice = with_table().await;
    let (user, database) = (sluice.database.user.clone(), sluice.database.name.clone());
    let startup = msg::startup(196_608, &[("user", &user), ("database", &database)]);
    for cut in [0, 1, 7, startup.len() - 1, startup.len()] {
        let mut raw = Raw::connect(sluice.port).await.unwrap();
        raw.send(&startup[..cut]).await;
        if cut == startup.len() {
            assert_eq!(raw.frame().await.unwrap().tag, b'R');
        }
    }
    is_whole(&sluice).await;
    // One that waits for its first server.
    let holder = sluice.connect().await;
    holder.batch_execute("BEGIN").await.unwrap();
    let mut config = sluice.config();
    config.options("-c work_mem=3MB");
    let left = || sluice.log().matches("reason=\"the client closed the connection\"").count();
    let before = left();
    let login = tokio::spawn(async move { drop(config.connect(tokio_postgres::NoTls).await) });
    tokio::time::sleep(Duration::from_millis(300)).await;
    login.abort();
    let _ = login.await;
    eventually("its place is free, though the server is not", || async { left() > before }).await;
    holder.batch_execute("COMMIT").await.unwrap();
    is_whole(&sluice).await;
}

/// How many clients wait for a server.
async fn waiting(sluice: &Sluice) -> f64 {
    sluice.metric("pgsluice_client_connections", &["state=\"waiting\""]).await
}

#[tokio::test]
async fn in_the_queue_and_its_place_is_free_at_once() {
    crate::needs_proxy!();
    let sluice = with_table().await;
    let holder = sluice.connect().await;
    let mut waiters = Vec::new();
    for n in 0..3 {
        let mut raw = sluice.raw().await;
        holder.batch_execute("BEGIN").await.unwrap();
        // One sends no more, one a little ahead, one more than is kept for it.
        let ahead = [0, 5, 50_000][n];
        raw.send(&msg::query("INSERT INTO t VALUES (1)")).await;
        raw.send(&msg::query("SELECT 1").repeat(ahead)).await;
        waiters.push(raw);
    }
    eventually("they wait", || async { waiting(&sluice).await == 3.0 }).await;
    drop(waiters);
    eventually("their places are free, though the server is not", || async { waiting(&sluice).await == 0.0 })
        .await;
    holder.batch_execute("COMMIT").await.unwrap();
    is_whole(&sluice).await;
}

#[tokio::test]
async fn what_a_waiting_client_sends_ahead_is_not_lost() {
    crate::needs_proxy!();
    let sluice = with_table().await;
    let holder = sluice.connect().await;
    let mut raw = sluice.raw().await;
    holder.batch_execute("BEGIN").await.unwrap();
    let texts: Vec<_> = (0..5000).map(|n| msg::query(&format!("SELECT {n}"))).collect();
    let work = async {
        // In pieces that are no messages.
        for piece in texts.concat().chunks(777) {
            raw.send(piece).await;
        }
        for n in 0..5000 {
            assert_eq!(raw.until_ready().await[1].columns(), [Some(n.to_string())]);
        }
    };
    let release = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        holder.batch_execute("COMMIT").await.unwrap();
    };
    tokio::join!(work, release);
}

#[tokio::test]
async fn a_server_that_is_killed_is_one_error_wherever_the_client_is() {
    crate::needs_proxy!();
    let sluice = with_table().await;
    let admin = sluice.database.admin().await;
    let kill = async || {
        let sql = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
            WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'";
        assert_eq!(admin.text(sql).await, "1");
    };
    for text in ["BEGIN", "SELECT pg_sleep(60)", "BEGIN; SELECT pg_sleep(60)", "COPY t FROM STDIN"] {
        let mut raw = sluice.raw().await;
        raw.send(&msg::query(text)).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        kill().await;
        let frames = raw.until_closed().await;
        let errors: Vec<_> = frames.iter().filter(|f| f.tag == b'E').collect();
        assert_eq!(errors.len(), 1, "{text}: {frames:?}");
        assert_eq!(errors[0].field(b'C').as_deref(), Some("57P01"), "{text}: {frames:?}");
        is_whole(&sluice).await;
    }
}

#[tokio::test]
async fn a_server_that_goes_without_a_word_is_one_error_too() {
    crate::needs_proxy!();
    let lab = Lab::private(Options::default());
    let sluice = Builder::new(lab).pool_size(1).start();
    let mut raw = sluice.raw().await;
    let backend = raw.query("SELECT pg_backend_pid()").await[1].columns()[0].clone().unwrap();
    raw.send(&msg::query("SELECT pg_sleep(60)")).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(std::process::Command::new("kill").args(["-9", &backend]).status().unwrap().success());
    let frames = raw.until_closed().await;
    let errors: Vec<_> = frames.iter().filter(|f| f.tag == b'E').collect();
    assert_eq!(errors.len(), 1, "{frames:?}");
    assert_eq!(errors[0].field(b'C').as_deref(), Some("08006"));
    // The server starts again by itself, and nobody has to do anything here.
    assert_eq!(sluice.connect().await.text("SELECT 1").await, "1");
}
