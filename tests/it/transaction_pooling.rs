//! Many clients over few server connections.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::{Session, proxy};

/// One client's work: transactions that must each stay on one server connection.
async fn transfer(client: Session) {
    for _ in 0..10 {
        client.batch_execute("BEGIN").await.unwrap();
        let first = client.backend().await;
        client.execute("INSERT INTO t VALUES (1)", &[]).await.unwrap();
        assert_eq!(client.backend().await, first);
        client.batch_execute("COMMIT").await.unwrap();
    }
}

#[tokio::test]
async fn sixty_clients_of_two_databases_over_three_server_connections() {
    crate::needs_proxy!();
    let sluice = proxy().pool_size(3).start();
    let lab = sluice.database.lab;
    let databases = [sluice.database.clone(), lab.database()];
    let names = databases.each_ref().map(|d| format!("'{}'", d.name)).join(", ");
    for database in &databases {
        sluice.connect_as(database).await.batch_execute("CREATE TABLE t (n int)").await.unwrap();
    }
    let count = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE datname IN ({names}) AND backend_type = 'client backend' \
         AND application_name <> 'pgsluice catalog'"
    );
    let done = AtomicBool::new(false);
    let watch = async {
        let mut most = 0;
        let (admin, _) = Session::open(&lab.cluster.url("postgres")).await;
        while !done.load(Ordering::Relaxed) {
            most = most.max(admin.text(&count).await.parse().unwrap());
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        most
    };
    let work = async {
        let mut tasks = Vec::new();
        for n in 0..60 {
            tasks.push(tokio::spawn(transfer(sluice.connect_as(&databases[n % 2]).await)));
        }
        for task in tasks {
            task.await.unwrap();
        }
        done.store(true, Ordering::Relaxed);
    };
    let (most, ()): (usize, ()) = tokio::join!(watch, work);
    assert!((1..=3).contains(&most), "{most} server connections");
    for database in &databases {
        assert_eq!(database.direct().await.text("SELECT count(*) FROM t").await, "300");
    }
}

#[tokio::test]
async fn a_server_connection_is_shared_between_transactions_but_never_within_one() {
    crate::needs_proxy!();
    let sluice = proxy().pool_size(2).start();
    let (one, two) = (sluice.connect().await, sluice.connect().await);
    one.batch_execute("BEGIN").await.unwrap();
    let held = one.backend().await;
    for _ in 0..5 {
        assert_ne!(two.backend().await, held);
    }
    one.batch_execute("COMMIT").await.unwrap();
    // A third client finds a free one although both clients are still connected.
    let three = sluice.connect().await;
    one.batch_execute("BEGIN").await.unwrap();
    three.batch_execute("BEGIN").await.unwrap();
    assert_ne!(one.backend().await, three.backend().await);
}

#[tokio::test]
async fn a_pipeline_keeps_its_server_until_its_last_sync() {
    let sluice = proxy().pool_size(1).start();
    let (mut one, two) = (sluice.raw().await, sluice.connect().await);
    use crate::support::msg;
    one.query("CREATE TABLE t (n int)").await;
    // No Sync yet: the transaction is open although the server never said so.
    one.send(&[msg::extended("INSERT INTO t VALUES (1)", &[]), msg::flush()].concat()).await;
    for tag in [b'1', b'2', b'n', b'C'] {
        assert_eq!(one.frame().await.unwrap().tag, tag);
    }
    let count = tokio::spawn(async move { two.text("SELECT count(*) FROM t").await });
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    if !crate::support::direct() {
        assert!(!count.is_finished(), "the only server connection was given away in a transaction");
    }
    one.send(&msg::sync()).await;
    assert_eq!(one.until_ready().await.len(), 1);
    if !crate::support::direct() {
        assert_eq!(count.await.unwrap(), "1");
    }
}

#[tokio::test]
async fn a_client_that_vanishes_in_a_transaction_is_rolled_back() {
    let sluice = proxy().pool_size(1).start();
    let (one, two) = (sluice.connect().await, sluice.connect().await);
    one.batch_execute("CREATE TABLE t (n int)").await.unwrap();
    one.batch_execute("BEGIN; INSERT INTO t VALUES (1)").await.unwrap();
    drop(one);
    assert_eq!(two.text("SELECT count(*) FROM t").await, "0");
    two.batch_execute("INSERT INTO t VALUES (2)").await.unwrap();
    assert_eq!(two.text("SELECT count(*) FROM t").await, "1");
}

#[tokio::test]
async fn a_client_that_vanishes_in_a_query_frees_its_server() {
    let sluice = proxy().pool_size(1).start();
    let mut one = sluice.raw().await;
    one.send(&crate::support::msg::query("SELECT pg_sleep(600)")).await;
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    drop(one);
    assert_eq!(sluice.connect().await.text("SELECT 1").await, "1");
}
