//! Server connections come, grow old and die.

use crate::support::{eventually, proxy, sqlstate};

#[tokio::test]
async fn a_server_connection_killed_while_idle_is_its_last_clients_problem() {
    crate::needs_proxy!();
    let sluice = proxy().pool_size(1).start();
    let client = sluice.connect().await;
    let admin = sluice.database.admin().await;
    for _ in 0..5 {
        let other = sluice.connect().await;
        let backend = client.backend().await;
        assert_eq!(other.backend().await, backend, "they share it");
        admin.text(&format!("SELECT pg_terminate_backend({backend})")).await;
        eventually("it is gone", || async {
            admin.text(&format!("SELECT count(*) FROM pg_stat_activity WHERE pid = {backend}")).await == "0"
        })
        .await;
        assert_ne!(client.backend().await, backend);
        assert!(other.try_text("SELECT 1").await.is_err(), "who used it last is told");
    }
}

#[tokio::test]
async fn one_killed_in_a_query_is_an_error_and_the_client_stays() {
    crate::needs_proxy!();
    let sluice = proxy().pool_size(1).start();
    let client = sluice.connect().await;
    let admin = sluice.database.admin().await;
    let kill = async {
        let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(60)'
            AND datname = current_database()";
        eventually("it runs", || async { admin.text(sql).await == "t" }).await;
    };
    let (outcome, ()) = tokio::join!(async { client.batch_execute("SELECT pg_sleep(60)").await }, kill);
    let error = outcome.unwrap_err();
    assert!(["57P01", "08006"].contains(&sqlstate(&error)), "{error:?}");
    // Whether the client is kept is the proxy's choice; the pool must be whole either way.
    assert_eq!(sluice.connect().await.text("SELECT 1").await, "1");
}

#[tokio::test]
async fn unused_connections_are_closed() {
    crate::needs_proxy!();
    let sluice = proxy().setting("[pool]\nserver_idle_timeout = \"1s\"").start();
    let client = sluice.connect().await;
    client.text("SELECT 1").await;
    let (lab, name) = (sluice.database.lab, &sluice.database.name);
    assert_eq!(lab.backends(name), 1);
    eventually("the server connection is closed", || async { lab.backends(name) == 0 }).await;
    assert_eq!(client.text("SELECT 2").await, "2");
}

#[tokio::test]
async fn old_connections_are_replaced() {
    crate::needs_proxy!();
    let sluice = proxy().pool_size(1).setting("[pool]\nserver_lifetime = \"1s\"").start();
    let client = sluice.connect().await;
    let first = client.backend().await;
    eventually("another server connection", || async { client.backend().await != first }).await;
}

#[tokio::test]
async fn a_few_are_kept_ready() {
    crate::needs_proxy!();
    let sluice = proxy().setting("[pool]\nmin_pool_size = 3").start();
    sluice.connect().await.text("SELECT 1").await;
    let (lab, name) = (sluice.database.lab, &sluice.database.name);
    eventually("three server connections", || async { lab.backends(name) == 3 }).await;
}

#[tokio::test]
async fn a_database_that_does_not_exist_says_so_and_hurts_nobody() {
    crate::needs_proxy!();
    let sluice = proxy().pool_size(1).start();
    let mut config = sluice.config();
    config.dbname("absent");
    let error = match crate::support::Session::with(&config).await {
        Ok((session, _)) => session.batch_execute("SELECT 1").await.unwrap_err(),
        Err(error) => error,
    };
    assert_eq!(sqlstate(&error), "3D000");
    assert_eq!(sluice.connect().await.text("SELECT 1").await, "1");
}
