//! Many clients: what an idle one costs, and what it costs to let them all in at once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::peers::{DATABASE, Lab, PASSWORD, Peer, USER};
use super::raw::Raw;
use super::{proc, table};

/// Logs in `n` clients, at most `at_once` on the way. -> clients, seconds each took, and the failures
async fn log_in(port: u16, n: usize, at_once: usize) -> (Vec<Raw>, Vec<f64>, Vec<String>) {
    let places = Arc::new(Semaphore::new(at_once));
    let mut tasks = JoinSet::new();
    for _ in 0..n {
        let places = places.clone();
        tasks.spawn(async move {
            let _place = places.acquire().await.unwrap();
            let start = Instant::now();
            let outcome = Raw::login(port, USER, PASSWORD, DATABASE, &[]).await;
            (outcome, start.elapsed().as_secs_f64())
        });
    }
    let (mut clients, mut took, mut failures) = (Vec::new(), Vec::new(), Vec::new());
    while let Some(outcome) = tasks.join_next().await {
        match outcome {
            Ok((Ok(client), seconds)) => {
                clients.push(client);
                took.push(seconds);
            }
            Ok((Err(frame), _)) => failures.push(frame.field(b'M').unwrap_or_default()),
            Err(panic) => failures.push(panic.to_string()),
        }
    }
    (clients, took, failures)
}

pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

#[allow(clippy::cast_precision_loss)]
pub fn memory(lab: &Lab, n: usize) {
    let mut rows = Vec::new();
    for kind in lab.proxies() {
        eprintln!("memory of {n} idle clients: {}", kind.name());
        let peer = lab.start_peer(kind);
        let pid = peer.pid().unwrap();
        rows.push(runtime().block_on(async {
            // One client first: pools, caches and code pages are not what an idle client costs.
            let (first, ..) = log_in(peer.port, 1, 1).await;
            let before = proc::pss(pid);
            let (mut clients, _, failures) = log_in(peer.port, n, 200).await;
            settle().await;
            let idle = proc::pss(pid);
            for client in &mut clients {
                client.query("SELECT 1").await;
            }
            settle().await;
            let used = proc::pss(pid);
            let each = |now: u64| format!("{:.0}", now.saturating_sub(before) as f64 / clients.len() as f64);
            drop(first);
            let problem = failures.first().cloned().unwrap_or_default();
            vec![kind.name().into(), clients.len().to_string(), each(idle), each(used), problem]
        }));
    }
    let head = ["", "clients", "bytes each, idle", "bytes each, after a query", "problems"];
    table::print(&format!("Memory (PSS) per client without TLS, {n} clients"), &head, &rows);
}

async fn settle() {
    tokio::time::sleep(Duration::from_secs(2)).await;
}

#[allow(clippy::cast_precision_loss)]
pub fn storm(lab: &Lab, n: usize, rounds: usize) {
    let peers: Vec<Peer> = lab.proxies().into_iter().map(|k| lab.start_peer(k)).collect();
    let mut results: Vec<Vec<[f64; 5]>> = peers.iter().map(|_| Vec::new()).collect();
    for round in 0..rounds {
        for (peer, results) in peers.iter().zip(&mut results) {
            eprintln!("{n} logins at once, round {round}: {}", peer.kind.name());
            let pid = peer.pid().unwrap();
            let (cpu, start) = (proc::cpu(pid), Instant::now());
            let (clients, took, failures) = runtime().block_on(log_in(peer.port, n, n));
            let (wall, cpu) = (start.elapsed().as_secs_f64(), (proc::cpu(pid) - cpu).as_secs_f64());
            for failure in failures.iter().take(1) {
                eprintln!("{}: {failure}", peer.kind.name());
            }
            let quantile = |share| table::quantile(&took, share).unwrap_or(f64::NAN) * 1e3;
            results.push([clients.len() as f64, wall, quantile(0.5), quantile(0.99), cpu * 1e6 / n as f64]);
        }
    }
    let mut rows = Vec::new();
    for (peer, results) in peers.iter().zip(&results) {
        let column = |i: usize| table::median(&results.iter().map(|r| r[i]).collect::<Vec<_>>());
        let fewest = results.iter().map(|r| r[0]).fold(f64::INFINITY, f64::min);
        rows.push(vec![
            peer.kind.name().into(),
            format!("{fewest:.0} of {n}"),
            table::number(column(1), 2),
            table::number(column(2), 0),
            table::number(column(3), 0),
            table::number(column(4), 0),
        ]);
    }
    let head = ["", "logged in", "seconds", "p50 ms", "p99 ms", "CPU µs/login"];
    table::print(&format!("{n} SCRAM logins at once, {rounds} rounds"), &head, &rows);
}
