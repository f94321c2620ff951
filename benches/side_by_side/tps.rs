//! Transactions a second and CPU time per query, by pgbench -S.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use super::peers::{DATABASE, Kind, Lab, Peer};
use super::{proc, table};

pub type Cell = (&'static str, u32);

pub const CELLS: &[Cell] = &[
    ("simple", 1),
    ("simple", 8),
    ("simple", 32),
    ("simple", 200),
    ("extended", 1),
    ("extended", 8),
    ("extended", 32),
    ("extended", 200),
    ("prepared", 1),
    ("prepared", 8),
    ("prepared", 32),
    ("prepared", 200),
];
pub const QUICK: &[Cell] = &[("simple", 8), ("extended", 8), ("prepared", 8)];

/// One pgbench run.
pub struct Sample {
    pub tps: f64,
    /// CPU time of the proxy per transaction, in microseconds.
    pub cpu: Option<f64>,
}

/// All peers take turns in each round; ratios are to PgBouncer's figure of the same round.
pub fn run(lab: &Lab, cells: &[Cell], rounds: u32, secs: u32) {
    let mut peers = vec![lab.direct()];
    peers.extend(lab.proxies().into_iter().map(|k| lab.start_peer(k)));
    for &(mode, clients) in cells {
        let mut samples: Vec<Vec<Option<Sample>>> = peers.iter().map(|_| Vec::new()).collect();
        for round in 0..rounds as usize {
            for turn in 0..peers.len() {
                let n = (turn + round) % peers.len();
                let peer = &peers[n];
                let able = mode != "prepared" || lab.can_prepare(peer.kind);
                let sample = able.then(|| pgbench(lab, peer, mode, clients, secs));
                let shown = sample.as_ref().map_or("-".into(), |s| format!("{:.0} tps", s.tps));
                eprintln!("{mode} c{clients} round {round} {}: {shown}", peer.kind.name());
                samples[n].push(sample);
            }
        }
        print(
            &format!("pgbench -S -M {mode}, {clients} clients, {rounds} rounds of {secs} s"),
            &peers,
            &samples,
        );
    }
}

fn print(heading: &str, peers: &[Peer], samples: &[Vec<Option<Sample>>]) {
    let yardstick = peers.iter().position(|p| p.kind == Kind::PgBouncer).map(|n| &samples[n]);
    let mut rows = Vec::new();
    for (peer, mine) in peers.iter().zip(samples) {
        let all = |value: fn(&Sample) -> Option<f64>| -> Vec<f64> {
            mine.iter().flatten().filter_map(value).collect()
        };
        let paired = |value: fn(&Sample) -> Option<f64>| -> Vec<f64> {
            let pairs = mine.iter().zip(yardstick.into_iter().flatten());
            pairs.filter_map(|(a, b)| Some(value(a.as_ref()?)? / value(b.as_ref()?)?)).collect()
        };
        rows.push(vec![
            peer.kind.name().into(),
            table::number(table::median(&all(|s| Some(s.tps))), 0),
            table::ratio(&paired(|s| Some(s.tps))),
            table::number(table::median(&all(|s| s.cpu)), 1),
            table::ratio(&paired(|s| s.cpu)),
        ]);
    }
    table::print(heading, &["", "TPS", "x PgBouncer", "CPU µs/query", "x PgBouncer"], &rows);
}

pub fn pgbench(lab: &Lab, peer: &Peer, mode: &str, clients: u32, secs: u32) -> Sample {
    let window = window(lab, peer, mode, clients, (secs, 0), || peer.pid().map(proc::cpu));
    let spent = window.start.zip(window.end);
    let cpu = spent.map(|(start, end)| (end - start).as_secs_f64() * 1e6 / window.transactions);
    Sample { tps: window.transactions / window.time, cpu }
}

/// What pgbench did between two readings of something.
pub struct Window<T> {
    pub transactions: f64,
    pub time: f64,
    pub start: T,
    pub end: T,
}

/// Runs pgbench; the first second is warm-up, the next are measured on the same window for all figures, and some more
/// may follow that are not.
pub fn window<T>(
    lab: &Lab,
    peer: &Peer,
    mode: &str,
    clients: u32,
    (secs, more): (u32, u32),
    read: impl Fn() -> T,
) -> Window<T> {
    let mut command = lab.client("pgbench", peer);
    let (clients, total) = (clients.to_string(), (secs + 1 + more).to_string());
    command.args(["-n", "-S", "-M", mode, "-c", &clients, "-j", "1", "-T", &total, "-P", "1", DATABASE]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let (mut start, mut end) = (None, None);
    let (mut transactions, mut time, mut before, mut lines) = (0.0, 0.0, 0.0, 0);
    let mut others = String::new();
    for line in BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok) {
        let Some((at, tps)) = progress(&line) else {
            others.push_str(&line);
            continue;
        };
        if start.is_none() {
            start = Some(read());
        } else if more == 0 || lines <= secs {
            transactions += tps * (at - before);
            time += at - before;
            end = Some(read());
        }
        (before, lines) = (at, lines + 1);
    }
    assert!(child.wait().unwrap().success(), "pgbench through {}: {others}", peer.kind.name());
    let Some((start, end)) = start.zip(end) else {
        panic!("pgbench through {} said too little: {others}", peer.kind.name())
    };
    Window { transactions, time, start, end }
}

/// `progress: 2.0 s, 15837.1 tps, lat …` -> (2.0, 15837.1)
fn progress(line: &str) -> Option<(f64, f64)> {
    let mut parts = line.strip_prefix("progress: ")?.split(", ");
    let at = parts.next()?.strip_suffix(" s")?.parse().ok()?;
    Some((at, parts.next()?.strip_suffix(" tps")?.parse().ok()?))
}
