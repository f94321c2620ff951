//! What a query costs the server itself: user and system time of all its processes, directly and through each proxy.

use std::collections::HashMap;
use std::time::Duration;

use super::peers::{Kind, Lab, Peer};
use super::tps::{Cell, window};
use super::{proc, table};

pub const CELLS: &[Cell] =
    &[("extended", 1), ("extended", 8), ("extended", 32), ("simple", 1), ("simple", 8), ("prepared", 8)];
pub const QUICK: &[Cell] = &[("extended", 8), ("simple", 8)];

/// What each process of the server has spent.
type Spent = HashMap<u32, Duration>;

/// All peers take turns in each round; ratios are to the direct figure of the same round.
pub fn run(lab: &Lab, cells: &[Cell], rounds: u32, secs: u32) {
    let kinds = lab.proxies().into_iter().chain([Kind::PgsluiceLocal]);
    let peers: Vec<Peer> = [lab.direct()].into_iter().chain(kinds.map(|kind| lab.start_peer(kind))).collect();
    let mut rows = Vec::new();
    for &(mode, clients) in cells {
        let mut samples: Vec<Vec<Option<f64>>> = peers.iter().map(|_| Vec::new()).collect();
        for round in 0..rounds as usize {
            for turn in 0..peers.len() {
                let n = (turn + round) % peers.len();
                let able = mode != "prepared" || lab.can_prepare(peers[n].kind);
                let sample = able.then(|| per_query(lab, &peers[n], mode, clients, secs));
                let name = peers[n].kind.name();
                eprintln!("server CPU, {mode} c{clients} round {round} {name}: {}", table::number(sample, 1));
                samples[n].push(sample);
            }
        }
        rows.push(row(&format!("{mode}, {clients}"), &samples));
    }
    let mut head = vec!["mode, clients".to_owned(), "direct, µs".to_owned()];
    head.extend(peers.iter().skip(1).flat_map(|p| [format!("{}, µs", p.kind.name()), "x direct".to_owned()]));
    let head: Vec<&str> = head.iter().map(String::as_str).collect();
    let heading =
        format!("CPU of all processes of the server per query, pgbench -S, {rounds} rounds of {secs} s");
    table::print(&heading, &head, &rows);
}

fn row(name: &str, samples: &[Vec<Option<f64>>]) -> Vec<String> {
    let median = |all: &[Option<f64>]| {
        table::number(table::median(&all.iter().copied().flatten().collect::<Vec<_>>()), 1)
    };
    let mut row = vec![name.to_owned()];
    let Some((direct, proxies)) = samples.split_first() else { return row };
    row.push(median(direct));
    for mine in proxies {
        let ratios: Vec<f64> = mine.iter().zip(direct).filter_map(|(a, b)| Some((*a)? / (*b)?)).collect();
        row.extend([median(mine), table::ratio(&ratios)]);
    }
    row
}

/// Microseconds per query. The last second of the run is left out: direct connections' processes end with it.
fn per_query(lab: &Lab, peer: &Peer, mode: &str, clients: u32, secs: u32) -> f64 {
    let read = || -> Spent {
        let server = lab.cluster.server().pid().unwrap();
        proc::children(server).into_iter().chain([server]).map(|pid| (pid, proc::cpu(pid))).collect()
    };
    let window = window(lab, peer, mode, clients, (secs, 1), read);
    let before = |pid| window.start.get(pid).copied().unwrap_or_default();
    let spent: Duration = window.end.iter().map(|(pid, now)| now.saturating_sub(before(pid))).sum();
    spent.as_secs_f64() * 1e6 / window.transactions
}
