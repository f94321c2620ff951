//! Clients that wait for a server connection.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::proxy;

#[tokio::test]
async fn at_the_deadline_there_is_a_clear_error_and_the_client_may_try_again() {
    crate::needs_proxy!();
    let sluice = proxy().pool_size(1).setting("[pool]\nquery_wait_timeout = \"500ms\"").start();
    let (holder, waiter) = (sluice.connect().await, sluice.connect().await);
    holder.batch_execute("BEGIN").await.unwrap();
    assert_eq!(waiter.failure("SELECT 1").await, "53300");
    assert_eq!(waiter.query("SELECT 1", &[]).await.unwrap_err().code().unwrap().code(), "53300");
    holder.batch_execute("COMMIT").await.unwrap();
    assert_eq!(waiter.text("SELECT 1").await, "1");
}

#[tokio::test]
async fn a_notice_says_why_nothing_happens() {
    crate::needs_proxy!();
    let sluice = proxy().pool_size(1).setting("[pool]\nquery_wait_notify = \"200ms\"").start();
    let (holder, waiter) = (sluice.connect().await, sluice.connect().await);
    holder.batch_execute("BEGIN").await.unwrap();
    let release = async {
        tokio::time::sleep(Duration::from_millis(1000)).await;
        assert_eq!(waiter.notices().len(), 1, "while it waits");
        holder.batch_execute("COMMIT").await.unwrap();
    };
    let (answer, ()) = tokio::join!(waiter.text("SELECT 'at last'"), release);
    assert_eq!(answer, "at last");
}

#[tokio::test]
async fn who_came_first_is_served_first() {
    crate::needs_proxy!();
    let sluice = proxy().pool_size(1).start();
    let holder = sluice.connect().await;
    holder.batch_execute("BEGIN").await.unwrap();
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut tasks = Vec::new();
    for n in 0..10 {
        let (client, order) = (sluice.connect().await, order.clone());
        tasks.push(tokio::spawn(async move {
            client.batch_execute("BEGIN").await.unwrap();
            order.lock().unwrap().push(n);
            client.batch_execute("COMMIT").await.unwrap();
        }));
        // Each is in the queue before the next comes.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    holder.batch_execute("COMMIT").await.unwrap();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(*order.lock().unwrap(), (0..10).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_waiter_that_leaves_the_queue_takes_nothing_with_it() {
    crate::needs_proxy!();
    let sluice = proxy().pool_size(1).start();
    let holder = sluice.connect().await;
    let mut waiters = Vec::new();
    for _ in 0..5 {
        waiters.push(sluice.raw().await);
    }
    holder.batch_execute("BEGIN").await.unwrap();
    for mut raw in waiters {
        raw.send(&crate::support::msg::query("SELECT 1")).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
        drop(raw);
    }
    holder.batch_execute("COMMIT").await.unwrap();
    assert_eq!(sluice.connect().await.text("SELECT 1").await, "1");
}

#[tokio::test]
async fn more_clients_than_allowed_are_refused_politely() {
    crate::needs_proxy!();
    let sluice = proxy().setting("[pool]\nmax_client_conn = 3").start();
    let clients = [sluice.connect().await, sluice.connect().await, sluice.connect().await];
    let error = sluice.config().connect(tokio_postgres::NoTls).await.map(drop).unwrap_err();
    assert_eq!(crate::support::sqlstate(&error), "53300");
    drop(clients);
    crate::support::eventually("a place is free again", || async {
        sluice.config().connect(tokio_postgres::NoTls).await.is_ok()
    })
    .await;
}
