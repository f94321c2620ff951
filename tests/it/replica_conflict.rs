//! A replica that cancels, waits, stops or dies while it is asked for a plan: the client gets what it would have got.

use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::lab::options;
use crate::support::{Builder, Lab, Session, Sluice, eventually, sqlstate};

/// Everything over `reports` is read on the replica, and planned before.
const POLICY: &str = "[[rule]]\nname = 'reports'\nwhen = '\"reports\" in query.tables && query.kind == \"select\"'\n\
                      action = 'route'\nroute = 'replica'\n\
                      [[rule]]\nname = 'dear'\nwhen = 'plan.total_cost > 1e30'\naction = 'block'\n";

/// A replica that waits for nobody, and a client whose reads go there.
async fn start(settings: &str) -> (&'static Lab, Sluice, Session) {
    let lab = Lab::private(options().setting("max_standby_streaming_delay", "0"));
    let settings = format!("plan.min_rows = 0\npool.pool_size = 1\n{settings}");
    let sluice = Builder::new(lab).policy(POLICY).setting(&settings).replica(true).start();
    let client = sluice.connect().await;
    client
        .batch_execute(
            "CREATE TABLE reports AS SELECT n AS id FROM generate_series(1, 3000) n; ANALYZE reports",
        )
        .await
        .unwrap();
    lab.catch_up().await;
    let on_replica = || async {
        let port =
            "SELECT s.setting FROM pg_settings s WHERE s.name = 'port' AND EXISTS (SELECT 1 FROM reports)";
        client.text(port).await == lab.cluster.replicas()[0].port().to_string()
    };
    eventually("the replica is in use", on_replica).await;
    (lab, sluice, client)
}

/// The processes of the test's role on the replica that run a text like this now (or whatever they do, for none).
async fn backends(lab: &Lab, sluice: &Sluice, running: Option<&str>) -> Vec<i32> {
    let (replica, _) = Session::open(&lab.cluster.replica_url("postgres").unwrap()).await;
    let state = match running {
        Some(like) => format!("state = 'active' AND query LIKE '{like}'"),
        None => "true".to_owned(),
    };
    let sql = format!(
        "SELECT pid FROM pg_stat_activity WHERE usename = '{}' AND datname = '{}' AND {state}",
        sluice.database.user, sluice.database.name
    );
    replica.query(&sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
}

async fn plans(sluice: &Sluice, result: &str) -> f64 {
    sluice.metric("pgsluice_plans_total", &[&format!("result=\"{result}\"")]).await
}

fn signal(pid: i32, signal: Signal) {
    kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
}

#[tokio::test]
async fn a_statement_that_recovery_cancels_ends_as_it_would() {
    crate::needs_proxy!();
    let (lab, sluice, client) = start("").await;
    let long = "SELECT count(*) FROM reports a, reports b, reports c WHERE a.id + b.id + c.id < 0";
    let conflict = async {
        eventually("both run", || async {
            backends(lab, &sluice, Some("SELECT count(*)%")).await.len() == 2
        })
        .await;
        sluice.database.direct().await.batch_execute("TRUNCATE reports").await.unwrap();
    };
    let direct = sluice.database.on_replica().await;
    let (through, directly, ()) = tokio::join!(client.try_text(long), direct.try_text(long), conflict);
    assert_eq!(sqlstate(&through.unwrap_err()), "40001");
    assert_eq!(sqlstate(&directly.unwrap_err()), "40001");
    // The client goes on, and so does the server connection.
    let (text, bound) = ("SELECT count(*) FROM reports", "SELECT id FROM reports WHERE id > $1");
    assert_eq!(client.text(text).await, "0");
    assert_eq!(client.query(bound, &[&1]).await.unwrap().len(), 0);
}

#[tokio::test]
async fn a_question_that_recovery_cancels_is_unknown_and_nobody_hears_of_it() {
    crate::needs_proxy!();
    let (lab, sluice, client) = start("plan.deadline = \"60s\"").await;
    // Planning takes seconds: every order of twelve tables that are all joined with each other.
    client
        .batch_execute("SET geqo = off; SET join_collapse_limit = 100; SET from_collapse_limit = 100")
        .await
        .unwrap();
    let tables: Vec<String> = (1..=12).map(|n| format!("reports r{n}")).collect();
    let joins: Vec<String> = (2..=12).map(|n| format!("r1.id = r{n}.id")).collect();
    let dear = format!("SELECT count(*) FROM {} WHERE {}", tables.join(", "), joins.join(" AND "));
    let before = plans(&sluice, "failed").await;
    let conflict = async {
        eventually("it is planned", || async { !backends(lab, &sluice, Some("%EXPLAIN%")).await.is_empty() })
            .await;
        sluice.database.direct().await.batch_execute("TRUNCATE reports").await.unwrap();
    };
    let (through, ()) = tokio::join!(client.try_text(&dear), conflict);
    assert_eq!(through.unwrap(), "0");
    eventually("counted", || async { plans(&sluice, "failed").await > before }).await;
    assert!(client.notices().is_empty());
    assert_eq!(client.text("SELECT count(*) FROM reports").await, "0");
}

#[tokio::test]
async fn a_lock_that_is_replayed_delays_a_statement_as_long_as_it_would() {
    crate::needs_proxy!();
    let (lab, sluice, client) = start("").await;
    let other = sluice.database.direct().await;
    other.batch_execute("BEGIN; LOCK TABLE reports; INSERT INTO reports VALUES (0)").await.unwrap();
    let locked = || async {
        let (replica, _) = Session::open(&lab.cluster.replica_url(&sluice.database.name).unwrap()).await;
        let sql = "SELECT count(*) FROM pg_locks WHERE relation = 'reports'::regclass AND mode = 'AccessExclusiveLock'";
        replica.text(sql).await == "1"
    };
    eventually("the lock is replayed", locked).await;
    let before = plans(&sluice, "failed").await;
    let waits = client.text("SELECT max(id) FROM reports");
    let frees = async {
        eventually("it waits", || async { !backends(lab, &sluice, Some("SELECT max%")).await.is_empty() })
            .await;
        other.batch_execute("ROLLBACK").await.unwrap();
    };
    let (max, ()) = tokio::join!(waits, frees);
    assert_eq!(max, "3000");
    eventually("given up", || async { plans(&sluice, "failed").await > before }).await;
}

#[tokio::test]
async fn a_replica_that_stops_while_it_is_asked_goes_on_where_it_was() {
    crate::needs_proxy!();
    let (lab, sluice, client) = start("").await;
    let pid = backends(lab, &sluice, None).await[0];
    signal(pid, Signal::STOP);
    let asks = async { client.text("SELECT min(id) FROM reports").await };
    let goes_on = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        signal(pid, Signal::CONT);
    };
    assert_eq!(tokio::join!(asks, goes_on).0, "1");
}

#[tokio::test]
async fn a_replica_that_stops_for_good_is_given_up_at_the_query_timeout() {
    crate::needs_proxy!();
    let settings = "timeouts.query_timeout = \"1s\"\ntimeouts.cancel_wait_timeout = \"1s\"";
    let (lab, sluice, client) = start(settings).await;
    let pid = backends(lab, &sluice, None).await[0];
    signal(pid, Signal::STOP);
    let asked = tokio::time::timeout(Duration::from_secs(20), client.try_text("SELECT min(id) FROM reports"));
    let outcome = asked.await;
    signal(pid, Signal::CONT);
    assert!(outcome.expect("it does not hang").is_err());
    let again = sluice.connect().await;
    assert_eq!(again.text("SELECT min(id) FROM reports").await, "1");
}

#[tokio::test]
async fn a_replica_that_dies_while_it_is_asked_ends_the_connection_as_it_would() {
    crate::needs_proxy!();
    let (lab, sluice, client) = start("").await;
    let pid = backends(lab, &sluice, None).await[0];
    signal(pid, Signal::STOP);
    let asks = async { client.try_text("SELECT min(id) FROM reports").await };
    let dies = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        signal(pid, Signal::KILL);
    };
    let asked = tokio::time::timeout(Duration::from_secs(20), async { tokio::join!(asks, dies).0 });
    assert!(asked.await.expect("it does not hang").is_err());
    // Others are served, by the primary meanwhile.
    let served = || async {
        match Session::with(&sluice.config()).await {
            Ok((session, _)) => {
                session.try_text("SELECT min(id) FROM reports").await.is_ok_and(|min| min == "1")
            }
            Err(_) => false,
        }
    };
    eventually("others are served", served).await;
}
