//! Statements that a rule sends to the replica, and the ones that must not go there.

use std::time::Duration;

use crate::support::lab::options;
use crate::support::{Builder, Lab, Session, Sluice, eventually, proxy};

const POLICY: &str = r#"
[[rule]]
name = "analytics"
when = 'query.kind == "select" && query.group_by'
action = "route"
route = "replica"
"#;

/// Which server ran it, told by its port; no function is called, so that it is plainly read-only.
const WHERE_AM_I: &str = "SELECT setting FROM pg_settings WHERE name = 'port' GROUP BY setting";
const NOT_MATCHED: &str = "SELECT setting FROM pg_settings WHERE name = 'port'";

fn ports(sluice: &Sluice) -> (String, String) {
    let cluster = &sluice.database.lab.cluster;
    (cluster.server().port().to_string(), cluster.replicas()[0].port().to_string())
}

/// In front of a replica that has the database already, and known to be fresh.
async fn start(builder: Builder) -> (Sluice, Session) {
    let sluice = builder.policy(POLICY).replica(true).start();
    sluice.database.lab.catch_up().await;
    let client = sluice.connect().await;
    let (_, replica) = ports(&sluice);
    eventually("the replica is in use", || async { client.text(WHERE_AM_I).await == replica }).await;
    (sluice, client)
}

#[tokio::test]
async fn matched_reads_run_on_the_replica_on_either_protocol() {
    crate::needs_proxy!();
    let (sluice, client) = start(proxy()).await;
    let (primary, replica) = ports(&sluice);
    for _ in 0..3 {
        assert_eq!(client.text(WHERE_AM_I).await, replica);
        let row = client.query_one(WHERE_AM_I, &[]).await.unwrap();
        assert_eq!(row.get::<_, &str>(0), replica);
        assert_eq!(client.text(NOT_MATCHED).await, primary);
    }
    let statement = client.prepare(WHERE_AM_I).await.unwrap();
    assert_eq!(client.query_one(&statement, &[]).await.unwrap().get::<_, &str>(0), replica);
    let labels = [r#"server="replica1""#];
    eventually("counted for the replica", || async {
        sluice.metric("pgsluice_queries_total", &labels).await >= 3.0
    })
    .await;
}

#[tokio::test]
async fn a_transaction_stays_on_the_primary() {
    crate::needs_proxy!();
    let (sluice, client) = start(proxy()).await;
    let (primary, replica) = ports(&sluice);
    client.batch_execute("BEGIN").await.unwrap();
    assert_eq!(client.text(WHERE_AM_I).await, primary);
    assert_eq!(client.query_one(WHERE_AM_I, &[]).await.unwrap().get::<_, &str>(0), primary);
    client.batch_execute("COMMIT").await.unwrap();
    assert_eq!(client.text(WHERE_AM_I).await, replica);
}

#[tokio::test]
async fn what_may_write_stays_on_the_primary() {
    crate::needs_proxy!();
    let (sluice, client) = start(proxy()).await;
    let (primary, _) = ports(&sluice);
    client.batch_execute("CREATE TABLE t (port text); CREATE SEQUENCE s").await.unwrap();
    // Each of these would fail on a replica, or tell its port.
    let insert =
        "WITH i AS (INSERT INTO t SELECT setting FROM pg_settings WHERE name = 'port' RETURNING port)
        SELECT port FROM i GROUP BY port";
    assert_eq!(client.text(insert).await, primary);
    client.batch_execute("SELECT nextval('s'), count(*) FROM t GROUP BY 1").await.unwrap();
    client.batch_execute("SELECT port, count(*) INTO copy FROM t GROUP BY port").await.unwrap();
    client
        .batch_execute(
            "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'INSERT INTO t VALUES (1) RETURNING 1'",
        )
        .await
        .unwrap();
    client.batch_execute("SELECT f(), count(*) FROM t GROUP BY 1").await.unwrap();
}

#[tokio::test]
async fn without_the_replica_the_primary_does_it() {
    crate::needs_proxy!();
    let lab = Lab::private(options());
    let builder = Builder::new(lab).setting("[replica]\ncheck_interval = \"200ms\"");
    let (sluice, client) = start(builder).await;
    let (primary, replica) = ports(&sluice);
    lab.cluster.replicas()[0].stop().unwrap();
    // The first ones may still be on their way there; none may hang.
    eventually("the primary takes over", || async {
        client.try_text(WHERE_AM_I).await.is_ok_and(|port| port == primary)
    })
    .await;
    for _ in 0..5 {
        assert_eq!(client.text(WHERE_AM_I).await, primary);
    }
    lab.cluster.replicas()[0].start().unwrap();
    eventually("the replica is used again", || async {
        client.try_text(WHERE_AM_I).await.is_ok_and(|port| port == replica)
    })
    .await;
}

#[tokio::test]
async fn a_replica_that_lags_too_far_behind_is_left_out() {
    crate::needs_proxy!();
    let lab = Lab::private(options());
    let builder = Builder::new(lab).setting("[replica]\nmax_lag = \"1s\"\ncheck_interval = \"200ms\"");
    let (sluice, client) = start(builder).await;
    let (primary, replica) = ports(&sluice);
    let (on_replica, _) = Session::open(&lab.cluster.replica_url("postgres").unwrap()).await;
    on_replica.batch_execute("SELECT pg_wal_replay_pause()").await.unwrap();
    let admin = sluice.database.admin().await;
    admin.batch_execute("CREATE TABLE behind (n int)").await.unwrap();
    eventually("the lag is noticed", || async {
        admin.batch_execute("INSERT INTO behind VALUES (1)").await.unwrap();
        client.text(WHERE_AM_I).await == primary
    })
    .await;
    eventually("the lag is shown", || async {
        sluice.metric("pgsluice_replica_lag_seconds", &[]).await >= 1.0
    })
    .await;
    on_replica.batch_execute("SELECT pg_wal_replay_resume()").await.unwrap();
    eventually("it is used again", || async { client.text(WHERE_AM_I).await == replica }).await;
}

#[tokio::test]
async fn an_idle_primary_is_no_lag() {
    crate::needs_proxy!();
    let builder = proxy().setting("[replica]\nmax_lag = \"1s\"\ncheck_interval = \"200ms\"");
    let (sluice, client) = start(builder).await;
    let (_, replica) = ports(&sluice);
    // Nothing is written meanwhile, so the last replayed transaction grows old without any lag.
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert_eq!(client.text(WHERE_AM_I).await, replica);
}
