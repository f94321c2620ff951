//! Slow readers and large results: one buffer each, never a result.

use std::time::Duration;

use crate::support::{eventually, msg, proxy};

const MIB: u64 = 1 << 20;
const BIG: &str = "SELECT repeat('x', 1000) FROM generate_series(1, 200000)";

#[tokio::test]
async fn a_client_that_does_not_read_costs_next_to_nothing() {
    let sluice = proxy().pool_size(3).start();
    let (mut slow, other) = (sluice.raw().await, sluice.connect().await);
    other.text("SELECT 1").await;
    let before = if crate::support::direct() { 0 } else { sluice.memory() };
    slow.send(&msg::query(BIG)).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    if !crate::support::direct() {
        let grown = sluice.memory().saturating_sub(before);
        assert!(grown < 4 * MIB, "{grown} bytes for a client that does not read");
    }
    for _ in 0..20 {
        assert_eq!(other.text("SELECT 1").await, "1");
    }
    // When it reads at last, everything is there.
    let mut rows = 0;
    while let Some(frame) = slow.frame().await {
        match frame.tag {
            b'D' => rows += 1,
            b'Z' => break,
            _ => {}
        }
    }
    assert_eq!(rows, 200_000);
}

#[tokio::test]
async fn a_client_that_leaves_a_result_unread_frees_its_server() {
    let sluice = proxy().pool_size(1).start();
    let mut slow = sluice.raw().await;
    slow.send(&msg::query("SELECT repeat('x', 1000) FROM generate_series(1, 100000000)")).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    drop(slow);
    assert_eq!(sluice.connect().await.text("SELECT 1").await, "1");
}

#[tokio::test]
async fn a_client_that_sends_faster_than_the_server_takes() {
    crate::needs_proxy!();
    let sluice = proxy().pool_size(1).start();
    let mut raw = sluice.raw().await;
    raw.query("CREATE TABLE t (s text)").await;
    // A trigger makes the server slow.
    raw.query("CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.002); RETURN NEW; END'").await;
    raw.query("CREATE TRIGGER wait BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION wait()").await;
    raw.send(&msg::query("COPY t FROM STDIN")).await;
    assert_eq!(raw.frame().await.unwrap().tag, b'G');
    let before = sluice.memory();
    let line = msg::copy_data(format!("{}\n", "x".repeat(100_000)).as_bytes());
    let mut most = 0;
    for _ in 0..500 {
        raw.send(&line).await;
        most = most.max(sluice.memory().saturating_sub(before));
    }
    assert!(most < 4 * MIB, "{most} bytes while 50 MB were sent");
    raw.send(&msg::copy_done()).await;
    assert_eq!(raw.until_ready().await[0].text(), "COPY 500");
}

#[tokio::test]
async fn small_queries_beside_bulk_results() {
    let sluice = proxy().pool_size(3).start();
    let mut readers = Vec::new();
    for _ in 0..2 {
        let mut raw = sluice.raw().await;
        readers.push(tokio::spawn(async move { raw.query(BIG).await.len() }));
    }
    let client = sluice.connect().await;
    let mut answered = 0;
    while readers.iter().any(|r| !r.is_finished()) {
        assert_eq!(client.text("SELECT 1").await, "1");
        answered += 1;
    }
    assert!(answered > 5, "only {answered} small queries beside 400 MB");
    for reader in readers {
        assert_eq!(reader.await.unwrap(), 200_003);
    }
}

#[tokio::test]
async fn memory_comes_back_after_a_large_statement() {
    crate::needs_proxy!();
    let sluice = proxy().start();
    let mut raw = sluice.raw().await;
    raw.query("SELECT 1").await;
    let before = sluice.memory();
    for _ in 0..3 {
        raw.query(&format!("SELECT length('{}')", "x".repeat(8 << 20))).await;
    }
    eventually("memory is given back", || async { sluice.memory() < before + 16 * MIB }).await;
}
