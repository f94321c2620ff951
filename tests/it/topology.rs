//! What the probes say of real servers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pgsluice::control::snapshot::{ReplicaState, Shared, Topology};
use pgsluice::control::topology::{Server, Watch, run};

use crate::support::lab::{Lab, options};
use crate::support::{Session, eventually};

const WATCH: Watch = Watch {
    check_interval: Duration::from_millis(400),
    max_lag: Duration::from_secs(2),
    connect_timeout: Duration::from_secs(5),
};

/// Probes that end with the test.
struct Probes {
    shared: Shared,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Probes {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn server(name: &str, url: &str) -> Server {
    Server::new(name, url.parse().unwrap(), &pgsluice::config::ServerTlsSettings::default()).unwrap()
}

impl Probes {
    fn start(primary: &str, replicas: &[&str]) -> Self {
        let shared = Shared::default();
        let replicas =
            replicas.iter().enumerate().map(|(n, url)| server(&format!("replica{}", n + 1), url)).collect();
        let watch = run(Arc::clone(&shared), server("primary", primary), replicas, WATCH, Arc::default());
        Self { shared, task: tokio::spawn(watch) }
    }

    fn topology(&self) -> Topology {
        self.shared.load().topology.clone()
    }

    fn replica(&self, place: usize) -> Option<ReplicaState> {
        self.topology().replicas.get(place).cloned()
    }

    /// Whether it may be used, as a data thread would decide.
    fn usable(&self, place: usize) -> bool {
        self.replica(place).is_some_and(|replica| replica.usable_at(Instant::now()))
    }

    async fn until_usable(&self, place: usize, usable: bool) {
        let what = format!("replica {place} usable = {usable}: {:?}", self.topology());
        eventually(&what, || async { self.usable(place) == usable }).await;
    }

    fn why_not(&self, place: usize) -> String {
        self.replica(place).and_then(|replica| replica.why_not).unwrap_or_default().to_string()
    }
}

/// Something for a replica to be behind on.
fn write(lab: &Lab) {
    lab.cluster
        .sql("postgres", "CREATE TABLE IF NOT EXISTS ticks (n int); INSERT INTO ticks VALUES (1)")
        .unwrap();
}

#[tokio::test]
async fn a_replica_is_used_while_it_keeps_up() {
    let lab = Lab::private(options());
    let (primary, replica) = (lab.cluster.url("postgres"), lab.cluster.replica_url("postgres").unwrap());
    // As a role without privileges: they are not needed to tell clusters apart.
    let other = crate::support::lab();
    let stranger = other.database().url(other.cluster.replicas()[0].port());
    let probes = Probes::start(&primary, &[&replica, &stranger]);
    probes.until_usable(0, true).await;
    eventually("a replica of another cluster is told", || async {
        probes.why_not(1).contains("of another cluster") && !probes.usable(1)
    })
    .await;
    let patience = WATCH.patience();
    eventually("the primary answers", || async {
        probes.topology().primary.ready(Instant::now(), patience).is_ok()
    })
    .await;

    // An idle primary makes no lag.
    let idle_until = Instant::now() + WATCH.max_lag * 2;
    while Instant::now() < idle_until {
        assert!(!probes.why_not(0).contains("behind"), "{}", probes.why_not(0));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    let (on_replica, _) = Session::open(&replica).await;
    on_replica.batch_execute("SELECT pg_wal_replay_pause()").await.unwrap();
    write(lab);
    probes.until_usable(0, false).await;
    assert!(probes.why_not(0).contains("behind, more than max_lag = 2.0 s"), "{}", probes.why_not(0));
    let lag = || probes.replica(0).and_then(|replica| replica.lag).unwrap_or_default();
    let before = lag();
    eventually("the lag grows", || async { lag() > before + WATCH.max_lag }).await;

    on_replica.batch_execute("SELECT pg_wal_replay_resume()").await.unwrap();
    probes.until_usable(0, true).await;

    let probe = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pgsluice topology'";
    assert_eq!(on_replica.text(probe).await, "1");

    lab.cluster.replicas()[0].stop().unwrap();
    probes.until_usable(0, false).await;
    lab.cluster.replicas()[0].start().unwrap();
    if lab.cluster.replica_url("postgres").unwrap() == replica {
        probes.until_usable(0, true).await;
    }

    // Without a primary nobody knows how fresh a replica is: it serves until max_lag and no longer.
    lab.cluster.server().stop().unwrap();
    eventually("the primary is missed", || async { probes.topology().primary.why_not.is_some() }).await;
    probes.until_usable(0, false).await;
}

#[tokio::test]
async fn a_primary_is_no_replica_and_a_replica_no_primary() {
    let lab = crate::support::lab();
    let (primary, replica) = (lab.cluster.url("postgres"), lab.cluster.replica_url("postgres").unwrap());
    let probes = Probes::start(&replica, &[&primary, &replica]);
    eventually("both are told from the other", || async {
        let why = probes.topology().primary.why_not.unwrap_or_default();
        why.starts_with("in recovery") && probes.why_not(0).starts_with("not in recovery")
    })
    .await;
    assert!(!probes.usable(0));
    // Nothing is known of the primary, so nothing of a replica's lag.
    assert!(!probes.usable(1));
}

#[tokio::test]
async fn a_server_that_goes_silent_is_not_used_for_longer_than_promised() {
    let lab = crate::support::lab();
    let (primary, replica) = (lab.cluster.url("postgres"), lab.cluster.replica_url("postgres").unwrap());
    let port = lab.cluster.replicas()[0].port();
    // A wire that can go dead without closing.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let through = listener.local_addr().unwrap().port();
    let (dead, alive) = tokio::sync::watch::channel(false);
    let wire = tokio::spawn(async move {
        let mut wires = Vec::new();
        while let Ok((mut near, _)) = listener.accept().await {
            let mut alive = alive.clone();
            wires.push(tokio::spawn(async move {
                let mut far = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                let cut = async { alive.wait_for(|dead| *dead).await.map(drop) };
                tokio::select! {
                    _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                    _ = cut => std::future::pending().await,
                }
            }));
        }
    });
    let probes = Probes::start(&primary, &[&replica.replace(&format!(":{port}/"), &format!(":{through}/"))]);
    probes.until_usable(0, true).await;
    dead.send(true).unwrap();
    probes.until_usable(0, false).await;
    eventually("the reason is told", || async { probes.why_not(0).contains("no answer within 400ms") }).await;
    wire.abort();
}
