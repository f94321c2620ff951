//! Large results: fast, never read, and beside small queries.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::io::AsyncReadExt;

use super::clients::runtime;
use super::peers::{DATABASE, Kind, Lab, PASSWORD, USER, WIDE_ROWS};
use super::raw::{Raw, msg};
use super::{proc, table};

const SELECT: &str = "SELECT s FROM wide";
const COPY: &str = "COPY wide TO STDOUT";

async fn log_in(port: u16) -> Raw {
    Raw::login(port, USER, PASSWORD, DATABASE, &[]).await.unwrap()
}

/// Runs a query and throws its answer away as fast as it comes. -> bytes
async fn drain(raw: &mut Raw, sql: &str) -> u64 {
    raw.send(&msg::query(sql)).await;
    let mut buffer = vec![0; 256 * 1024];
    let mut total = 0;
    // A frame's header may be split over two reads; `skip` bytes of its body are still to come.
    let (mut header, mut skip) = (Vec::with_capacity(5), 0);
    loop {
        let n = raw.stream.read(&mut buffer).await.unwrap();
        assert!(n > 0, "the connection ended in a result");
        total += n as u64;
        let mut rest = &buffer[..n];
        while !rest.is_empty() {
            let body = skip.min(rest.len());
            skip -= body;
            rest = &rest[body..];
            while header.len() < 5 && !rest.is_empty() {
                header.push(rest[0]);
                rest = &rest[1..];
            }
            if header.len() == 5 {
                let length = u32::from_be_bytes([header[1], header[2], header[3], header[4]]);
                assert_ne!(header[0], b'E', "{sql} failed");
                if header[0] == b'Z' {
                    return total;
                }
                skip = length as usize - 4;
                header.clear();
            }
        }
    }
}

#[allow(clippy::cast_precision_loss)]
pub fn streams(lab: &Lab, rounds: usize) {
    let mut kinds = vec![Kind::Direct];
    kinds.extend(lab.proxies());
    for (what, sql) in [("SELECT", SELECT), ("COPY", COPY)] {
        let peers: Vec<_> = kinds.iter().map(|k| lab.start_peer(*k)).collect();
        let mut results: Vec<Vec<[f64; 3]>> = peers.iter().map(|_| Vec::new()).collect();
        for _ in 0..rounds {
            for (peer, results) in peers.iter().zip(&mut results) {
                eprintln!("{what} of {WIDE_ROWS} kB: {}", peer.kind.name());
                results.push(runtime().block_on(async {
                    let mut raw = log_in(peer.port).await;
                    raw.query("SELECT 1").await;
                    let pid = peer.pid();
                    pid.into_iter().for_each(proc::reset_peak);
                    let before = pid.map(|p| (proc::cpu(p), proc::rss(p)));
                    let start = Instant::now();
                    let megabytes = drain(&mut raw, sql).await as f64 / 1e6;
                    let seconds = start.elapsed().as_secs_f64();
                    let (cpu, growth) = pid.zip(before).map_or((f64::NAN, f64::NAN), |(p, (cpu, rss))| {
                        let grown = proc::peak(p).saturating_sub(rss) as f64 / 1024.0;
                        ((proc::cpu(p) - cpu).as_secs_f64() * 1e3 / megabytes, grown)
                    });
                    [megabytes / seconds, cpu, growth]
                }));
            }
        }
        let mut rows = Vec::new();
        for (peer, results) in peers.iter().zip(&results) {
            let column = |i: usize| table::median(&results.iter().map(|r| r[i]).collect::<Vec<_>>());
            let cells =
                [table::number(column(0), 0), table::number(column(1), 2), table::number(column(2), 0)];
            rows.push([vec![peer.kind.name().into()], cells.to_vec()].concat());
        }
        let heading = format!("{what} of {} MB in rows of 1 kB, {rounds} rounds", WIDE_ROWS / 1000);
        table::print(&heading, &["", "MB/s", "CPU ms/MB", "peak memory growth, KiB"], &rows);
    }
}

#[allow(clippy::cast_precision_loss)]
pub fn slow(lab: &Lab) {
    let mut rows = Vec::new();
    for kind in lab.proxies() {
        eprintln!("a client that never reads: {}", kind.name());
        let peer = lab.start_peer(kind);
        let pid = peer.pid().unwrap();
        rows.push(runtime().block_on(async {
            let mut raw = log_in(peer.port).await;
            raw.query("SELECT 1").await;
            let (before, cpu) = (proc::pss(pid), proc::cpu(pid));
            raw.send(&msg::query("SELECT s FROM wide, generate_series(1, 3)")).await;
            tokio::time::sleep(Duration::from_secs(10)).await;
            let grown = proc::pss(pid).saturating_sub(before) as f64 / 1024.0;
            let cpu = (proc::cpu(pid) - cpu).as_secs_f64() * 1e3;
            vec![kind.name().into(), format!("{grown:.0}"), format!("{cpu:.0}")]
        }));
    }
    let head = ["", "memory growth, KiB", "CPU ms in 10 s"];
    table::print("A client asks for 600 MB and reads nothing", &head, &rows);
}

/// Four clients with small queries beside two that read the wide table over and over.
pub fn mixed(lab: &Lab, secs: u64) {
    let mut kinds = vec![Kind::Direct];
    kinds.extend(lab.proxies());
    let mut rows = Vec::new();
    for kind in kinds {
        eprintln!("small queries beside two bulk streams: {}", kind.name());
        let peer = lab.start_peer(kind);
        let stop = AtomicBool::new(false);
        let latencies = std::thread::scope(|scope| {
            // Readers have threads of their own, so that the small clients are not measured waiting for them.
            for _ in 0..2 {
                scope.spawn(|| {
                    runtime().block_on(async {
                        let mut raw = log_in(peer.port).await;
                        while !stop.load(Ordering::Relaxed) {
                            drain(&mut raw, SELECT).await;
                        }
                    });
                });
            }
            let small = scope.spawn(|| runtime().block_on(small_queries(peer.port, secs)));
            let latencies = small.join();
            stop.store(true, Ordering::Relaxed);
            latencies.unwrap()
        });
        let at = |share| table::number(table::quantile(&latencies, share).map(|s| s * 1e3), 2);
        rows.push(vec![kind.name().into(), latencies.len().to_string(), at(0.5), at(0.99), at(1.0)]);
    }
    let head = ["", "queries", "p50 ms", "p99 ms", "max ms"];
    table::print(&format!("Small queries of 4 clients beside two bulk streams, {secs} s"), &head, &rows);
}

async fn small_queries(port: u16, secs: u64) -> Vec<f64> {
    tokio::time::sleep(Duration::from_millis(500)).await;
    let end = Instant::now() + Duration::from_secs(secs);
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..4u64 {
        tasks.spawn(async move {
            let mut raw = log_in(port).await;
            let mut latencies = Vec::new();
            let mut key = n * 1000 + 1;
            while Instant::now() < end {
                key = (key * 7919 + 13) % 1_000_000;
                let start = Instant::now();
                raw.query(&format!("SELECT abalance FROM pgbench_accounts WHERE aid = {}", key + 1)).await;
                latencies.push(start.elapsed().as_secs_f64());
            }
            latencies
        });
    }
    tasks.join_all().await.concat()
}
