//! Cancel requests.

use std::time::Duration;

use tokio_postgres::NoTls;

use crate::support::{Raw, eventually, msg, proxy, sqlstate};

#[tokio::test]
async fn a_driver_cancels_its_own_query() {
    let sluice = proxy().pool_size(2).start();
    let client = sluice.connect().await;
    let token = client.cancel_token();
    let query = async { client.batch_execute("SELECT pg_sleep(60)").await };
    let cancel = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        token.cancel_query(NoTls).await.unwrap();
    };
    let (outcome, ()) = tokio::join!(query, cancel);
    assert_eq!(sqlstate(&outcome.unwrap_err()), "57014");
    assert_eq!(client.text("SELECT 1").await, "1");
}

#[tokio::test]
async fn it_works_while_every_server_connection_is_busy() {
    let sluice = proxy().pool_size(1).start();
    let client = sluice.connect().await;
    client.batch_execute("BEGIN").await.unwrap();
    let token = client.cancel_token();
    let query = async { client.batch_execute("SELECT pg_sleep(60)").await };
    let cancel = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        token.cancel_query(NoTls).await.unwrap();
    };
    let (outcome, ()) = tokio::join!(query, cancel);
    assert_eq!(sqlstate(&outcome.unwrap_err()), "57014");
    assert_eq!(client.failure("SELECT 1").await, "25P02");
    client.batch_execute("ROLLBACK").await.unwrap();
}

async fn send_cancel(port: u16, process_id: i32, secret: &[u8]) {
    let mut raw = Raw::connect(port).await.unwrap();
    raw.send(&msg::cancel_request(process_id, secret)).await;
    assert_eq!(raw.until_closed().await, []);
}

#[tokio::test]
async fn a_wrong_key_cancels_nothing() {
    let sluice = proxy().start();
    let mut raw = sluice.raw().await;
    raw.send(&msg::query("SELECT pg_sleep(1), 'done'")).await;
    let mut secret = raw.secret.clone();
    secret[0] ^= 1;
    send_cancel(sluice.port, raw.process_id, &secret).await;
    send_cancel(sluice.port, raw.process_id.wrapping_add(1), &raw.secret).await;
    send_cancel(sluice.port, 0, &[0; 4]).await;
    let frames = raw.until_ready().await;
    assert_eq!(frames[1].columns()[1].as_deref(), Some("done"));
}

/// The server connection an idle client used last may be running somebody else's query by now.
#[tokio::test]
async fn an_idle_clients_cancel_hits_nobody_else() {
    crate::needs_proxy!();
    let sluice = proxy().pool_size(1).start();
    let mut idle = sluice.raw().await;
    idle.query("SELECT 1").await;
    let mut busy = sluice.raw().await;
    busy.send(&msg::query("SELECT pg_sleep(1.5), 'done'")).await;
    let admin = sluice.database.admin().await;
    let running =
        "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'SELECT pg_sleep(1.5)%'
        AND datname = current_database()";
    eventually("the query runs", || async { admin.text(running).await == "1" }).await;
    send_cancel(sluice.port, idle.process_id, &idle.secret).await;
    let frames = busy.until_ready().await;
    assert_eq!(frames[1].columns()[1].as_deref(), Some("done"));
}

/// Cancelling late must not hit the next query of the same client either way: it fails or it runs, whole.
#[tokio::test]
async fn cancels_racing_with_the_end_of_queries_keep_the_connection_whole() {
    let sluice = proxy().pool_size(1).start();
    let mut raw = sluice.raw().await;
    let (port, process_id, secret) = (sluice.port, raw.process_id, raw.secret.clone());
    let storm = tokio::spawn(async move {
        for _ in 0..100 {
            send_cancel(port, process_id, &secret).await;
        }
    });
    let mut answered = 0;
    while !storm.is_finished() {
        let frames = raw.query("SELECT 'whole'").await;
        let error = frames.iter().find(|f| f.tag == b'E');
        if let Some(error) = error {
            assert_eq!(error.field(b'C').as_deref(), Some("57014"));
        } else {
            assert_eq!(frames[1].columns(), [Some("whole".into())]);
        }
        answered += 1;
    }
    assert!(answered > 0);
    storm.await.unwrap();
}
