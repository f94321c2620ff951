//! `/metrics`, `/healthz`, `/readyz`.

use crate::support::{eventually, proxy};

#[tokio::test]
async fn health_and_readiness() {
    crate::needs_proxy!();
    let sluice = proxy().start();
    assert_eq!(sluice.get("/healthz").await.0, 200);
    eventually("ready", || async { sluice.get("/readyz").await.0 == 200 }).await;
    assert_eq!(sluice.get("/absent").await.0, 404);
}

#[tokio::test]
async fn the_numbers_move_with_what_happens() {
    crate::needs_proxy!();
    let sluice = proxy().pool_size(2).start();
    let client = sluice.connect().await;
    let database = format!("database=\"{}\"", sluice.database.name);
    let labels = [database.as_str()];
    let queries = async || sluice.metric("pgsluice_queries_total", &labels).await;
    let before = queries().await;
    for _ in 0..5 {
        client.text("SELECT 1").await;
    }
    client.query_one("SELECT 2", &[]).await.unwrap();
    client.failure("SELECT 1/0").await;
    // A thread publishes its numbers a moment later.
    let seven = [("pgsluice_query_seconds_count", &[][..]), ("pgsluice_fingerprint_calls_total", &labels)];
    eventually("the queries are counted", || async { queries().await - before >= 7.0 }).await;
    for (name, labels) in seven {
        eventually(name, || async { sluice.metric(name, labels).await >= 7.0 }).await;
    }
    client.batch_execute("SELEC 1").await.unwrap_err();
    for name in ["pgsluice_client_connections", "pgsluice_server_connections"] {
        eventually(name, || async { sluice.metric(name, &labels).await >= 1.0 }).await;
    }
    for name in ["pgsluice_pool_wait_seconds_count", "pgsluice_parse_failures_total"] {
        eventually(name, || async { sluice.metric(name, &[]).await >= 1.0 }).await;
    }
    drop(client);
    eventually("no client left", || async {
        sluice.metric("pgsluice_client_connections", &labels).await == 0.0
    })
    .await;
}

#[tokio::test]
async fn every_promised_name_is_there() {
    crate::needs_proxy!();
    let policy = "[[rule]]\nname = \"x\"\nfinds = \"select-star\"\naction = \"warn\"\n";
    let sluice = proxy().policy(policy).replica(true).start();
    sluice.connect().await.text("SELECT 1").await;
    eventually("the replica is known", || async {
        sluice.get("/metrics").await.1.contains("pgsluice_replica_lag_seconds{")
    })
    .await;
    let (_, body) = sluice.get("/metrics").await;
    let names = [
        "client_connections",
        "server_connections",
        "pool_wait_seconds_bucket",
        "queries_total",
        "query_seconds_bucket",
        "verdicts_total",
        "fingerprint_calls_total",
        "fingerprint_seconds_total",
        "fingerprint_rows_total",
        "fingerprint_bytes_total",
        "replica_lag_seconds",
        "pins_total",
        "parse_failures_total",
        "cache_hits_total",
        "cache_misses_total",
    ];
    // A family may have no sample yet; it is announced all the same.
    for name in names {
        let family = name.trim_end_matches("_bucket");
        let announced = body.contains(&format!("# TYPE pgsluice_{family} "));
        assert!(announced || body.contains(&format!("pgsluice_{name}")), "{name} is missing");
    }
    assert!(
        body.contains("process_resident_memory_bytes") || body.contains("pgsluice_process_"),
        "process_*"
    );
}

#[tokio::test]
async fn no_client_can_make_series_without_bound() {
    crate::needs_proxy!();
    let sluice = proxy().setting("[metrics]\ntop_fingerprints = 10\ntracked_fingerprints = 50").start();
    let client = sluice.connect().await;
    for n in 0..300 {
        client.text(&format!("SELECT 1 AS column_{n}")).await;
    }
    let calls = "pgsluice_fingerprint_calls_total";
    // Nothing is lost, and it is all there a moment later.
    eventually("300 calls", || async { sluice.metric(calls, &[]).await >= 300.0 }).await;
    let (_, body) = sluice.get("/metrics").await;
    let series = body.lines().filter(|l| l.starts_with("pgsluice_fingerprint_calls_total{")).count();
    assert!((2..=12).contains(&series), "{series} series");
    assert!(body.contains(r#"fingerprint="other""#));
}

#[tokio::test]
async fn no_secret_and_no_statement_text_is_shown() {
    crate::needs_proxy!();
    let sluice = proxy().start();
    sluice.connect().await.text("SELECT 'a very private text'").await;
    let (_, body) = sluice.get("/metrics").await;
    for secret in [sluice.database.password.as_str(), sluice.database.lab.cluster.password(), "very private"]
    {
        assert!(!body.contains(secret));
        assert!(!sluice.log().contains(secret), "in the log");
    }
}
