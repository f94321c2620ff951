//! `pool_mode = "session"`: a server connection for as long as the client stays.

use crate::support::{eventually, proxy};

#[tokio::test]
async fn everything_of_a_session_stays_and_nothing_remains_for_the_next() {
    let sluice = proxy().mode("session").pool_size(1).start();
    let one = sluice.connect().await;
    let backend = one.backend().await;
    one.batch_execute("SET work_mem = '1234kB'; CREATE TEMP TABLE mine (n int); PREPARE q AS SELECT 7")
        .await
        .unwrap();
    one.batch_execute("LISTEN news").await.unwrap();
    assert_eq!(one.text("SHOW work_mem").await, "1234kB");
    assert_eq!(one.text("EXECUTE q").await, "7");
    assert_eq!(one.text("SELECT count(*) FROM mine").await, "0");
    assert_eq!(one.backend().await, backend);
    drop(one);
    let two = sluice.connect().await;
    assert_ne!(two.text("SHOW work_mem").await, "1234kB");
    assert_eq!(two.text("SELECT to_regclass('mine') IS NULL").await, "t");
    assert_eq!(two.text("SELECT count(*) FROM pg_prepared_statements").await, "0");
    assert_eq!(two.text("SELECT count(*) FROM pg_listening_channels()").await, "0");
}

#[tokio::test]
async fn the_next_client_waits_until_the_first_leaves() {
    crate::needs_proxy!();
    let sluice = proxy().mode("session").pool_size(1).start();
    let one = sluice.connect().await;
    assert_eq!(one.text("SELECT 1").await, "1");
    let config = sluice.url();
    let next =
        tokio::spawn(async move { crate::support::Session::open(&config).await.0.text("SELECT 2").await });
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    assert!(!next.is_finished());
    drop(one);
    assert_eq!(next.await.unwrap(), "2");
    eventually("one server connection", || async {
        sluice.database.lab.backends(&sluice.database.name) <= 1
    })
    .await;
}
