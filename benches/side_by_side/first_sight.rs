//! What asking the planner adds to a statement that was never seen, and to one that was.

use std::time::Instant;

use super::clients::runtime;
use super::peers::{DATABASE, Lab, PASSWORD, Peer, USER};
use super::raw::{Raw, msg};
use super::{proc, table};

/// All that reads plans, with its own bounds: none of the statements here offends it.
const RULES: &str = "
[[rule]]
name = 'scan'
finds = 'full-scan-of-big-table'
action = 'block'
[[rule]]
name = 'index'
finds = 'missing-index'
action = 'block'
[[rule]]
name = 'product'
finds = 'cartesian-product'
action = 'block'
[[rule]]
name = 'spill'
finds = 'sort-spill'
action = 'block'
[[rule]]
name = 'partitions'
finds = 'unpruned-partitions'
action = 'block'
[[rule]]
name = 'cost'
finds = 'plan-cost-too-high'
action = 'block'
[[rule]]
name = 'slow'
when = 'plan.expected_seconds > 5'
action = 'block'
";

/// A statement of its own fingerprint for each `n`, over a table of a million rows.
struct Kind {
    name: &'static str,
    make: fn(usize) -> Vec<u8>,
}

const KINDS: [Kind; 3] = [
    Kind { name: "a row by key, simple", make: |n| msg::query(&by_key(n, &key(n))) },
    Kind {
        name: "a row by key, extended",
        make: |n| [msg::extended(&by_key(n, "$1"), &[Some(key(n).as_str())]), msg::sync()].concat(),
    },
    Kind { name: "three tables joined, simple", make: |n| msg::query(&joined(n)) },
];

fn key(n: usize) -> String {
    (n * 331 + 1).to_string()
}

fn by_key(n: usize, key: &str) -> String {
    format!("SELECT abalance AS balance_{n} FROM pgbench_accounts WHERE aid = {key}")
}

fn joined(n: usize) -> String {
    format!(
        "SELECT a.abalance AS balance_{n}, b.bbalance, t.tbalance FROM pgbench_accounts a \
         JOIN pgbench_branches b ON b.bid = a.bid JOIN pgbench_tellers t ON t.bid = b.bid \
         WHERE a.aid = {} ORDER BY t.tid LIMIT 3",
        key(n)
    )
}

/// Later sights of one round: enough that steps of 10 ms of CPU do not matter.
const LATER: usize = 6_000;

/// One side: latencies in microseconds of first and later sights, and CPU per later one.
#[derive(Default)]
struct Side {
    first: Vec<f64>,
    later: Vec<f64>,
    cpu: Vec<f64>,
}

pub fn run(lab: &Lab, statements: usize, rounds: u32) {
    let peers = [
        lab.start_ruled("unplanned", RULES, "[plan]\nmode = \"off\"\n"),
        lab.start_ruled("planned", RULES, "[plan]\nmode = \"inline\"\ndeadline = \"1s\"\n"),
    ];
    let (mut first, mut later) = (Vec::new(), Vec::new());
    for kind in &KINDS {
        eprintln!("first sight: {}", kind.name);
        let texts: Vec<Vec<u8>> = (0..statements).map(kind.make).collect();
        let [off, on] = runtime().block_on(measure(&peers, &texts, rounds));
        let micros = |values: &[f64], share| table::number(table::quantile(values, share), 0);
        let added: Vec<f64> = on.first.iter().zip(&off.first).map(|(on, off)| on - off).collect();
        first.push(vec![
            kind.name.into(),
            micros(&off.first, 0.5),
            micros(&on.first, 0.5),
            micros(&off.first, 0.99),
            micros(&on.first, 0.99),
            micros(&added, 0.5),
            micros(&added, 0.99),
        ]);
        let ratio = |share| {
            let pair = table::quantile(&on.later, share).zip(table::quantile(&off.later, share));
            table::number(pair.map(|(on, off)| on / off), 2)
        };
        let cpu: Vec<f64> = on.cpu.iter().zip(&off.cpu).map(|(on, off)| on / off).collect();
        later.push(vec![
            kind.name.into(),
            micros(&off.later, 0.5),
            micros(&on.later, 0.5),
            ratio(0.5),
            ratio(0.99),
            table::number(table::median(&off.cpu), 1),
            table::number(table::median(&on.cpu), 1),
            table::ratio(&cpu),
        ]);
    }
    let head = ["", "p50 off", "p50 on", "p99 off", "p99 on", "added p50", "added p99"];
    let heading = format!("First sight with plan rules off and on, µs, {statements} fingerprints each");
    table::print(&heading, &head, &first);
    let head = ["", "p50 off", "p50 on", "x p50", "x p99", "proxy's CPU/statement off", "on", "x CPU"];
    table::print(&format!("Later sights of the same, µs, {rounds} rounds"), &head, &later);
}

/// Both sides see each statement for the first time one after the other; later they take turns by rounds.
async fn measure(peers: &[Peer; 2], texts: &[Vec<u8>], rounds: u32) -> [Side; 2] {
    let mut sides = [Side::default(), Side::default()];
    let mut clients = Vec::new();
    for peer in peers {
        let mut client = Raw::login(peer.port, USER, PASSWORD, DATABASE, &[]).await.unwrap();
        // The table's size is known from here on, and the server has its caches.
        client.query("SELECT count(*) FROM pgbench_tellers").await;
        clients.push(client);
    }
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    for (n, text) in texts.iter().enumerate() {
        for turn in 0..2 {
            let at = (n + turn) % 2;
            let took = timed(&mut clients[at], text).await;
            sides[at].first.push(took);
        }
    }
    for round in 0..rounds as usize {
        for turn in 0..2 {
            let at = (round + turn) % 2;
            let pid = peers[at].pid().unwrap();
            let before = proc::cpu(pid);
            for text in texts.iter().cycle().take(LATER) {
                let took = timed(&mut clients[at], text).await;
                sides[at].later.push(took);
            }
            let spent = proc::cpu(pid).saturating_sub(before).as_secs_f64();
            #[allow(clippy::cast_precision_loss)]
            sides[at].cpu.push(spent * 1e6 / LATER as f64);
        }
    }
    sides
}

async fn timed(client: &mut Raw, text: &[u8]) -> f64 {
    let start = Instant::now();
    client.send(text).await;
    let frames = client.until_ready().await;
    let took = start.elapsed().as_secs_f64() * 1e6;
    assert!(frames.iter().all(|f| f.tag != b'E'), "a statement failed: {:?}", frames[0].field(b'M'));
    took
}
