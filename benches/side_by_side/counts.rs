//! Figures that a busy machine does not change: system calls and instructions per query.

use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::peers::{DATABASE, Kind, Lab, Peer};
use super::table;

const CLIENTS: u32 = 8;

fn present(program: &str) -> bool {
    let found = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if found.is_err() {
        eprintln!("{program} was not found: its figures are left out");
    }
    found.is_ok()
}

pub fn syscalls(lab: &Lab) {
    if !present("strace") {
        return;
    }
    let mut rows = Vec::new();
    for kind in lab.proxies() {
        let peer = lab.start_peer(kind);
        let mut row = vec![kind.name().to_owned()];
        for mode in ["simple", "extended"] {
            eprintln!("system calls, {mode}: {}", kind.name());
            row.push(table::number(syscalls_per_query(lab, &peer, mode), 2));
        }
        rows.push(row);
    }
    let heading = format!("System calls per query, pgbench -S, {CLIENTS} clients (strace -c)");
    table::print(&heading, &["", "simple", "extended"], &rows);
}

/// strace counts while pgbench runs; both windows are a little apart, on either side of many thousand queries.
fn syscalls_per_query(lab: &Lab, peer: &Peer, mode: &str) -> Option<f64> {
    let file = lab.cluster.home().path().join("strace");
    let mut pgbench = lab.client("pgbench", peer);
    let clients = CLIENTS.to_string();
    pgbench.args(["-n", "-S", "-M", mode, "-c", &clients, "-j", "1", "-t", "4000", DATABASE]);
    let mut strace = Command::new("strace");
    strace.args(["-f", "-c", "-p", &peer.pid()?.to_string(), "-o"]).arg(&file);
    let mut strace = strace.stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok()?;
    std::thread::sleep(Duration::from_secs(1));
    let output = pgbench.output().ok()?;
    let _ = kill_process(Pid::from_child(&strace), Signal::INT);
    let _ = strace.wait();
    let done = processed(&String::from_utf8_lossy(&output.stdout))?;
    let text = std::fs::read_to_string(&file).ok()?;
    let total = text.lines().find(|l| l.ends_with(" total"))?;
    // % time, seconds, usecs/call, calls, [errors,] total
    let calls = total.split_whitespace().nth(3)?.parse::<f64>().ok()?;
    Some(calls / done)
}

/// `number of transactions actually processed: 32000/32000` -> 32000
fn processed(output: &str) -> Option<f64> {
    let (_, rest) = output.split_once("actually processed: ")?;
    rest.split(['/', '\n']).next()?.trim().parse().ok()
}

pub fn instructions(lab: &Lab) {
    if !present("valgrind") {
        return;
    }
    let mut rows = Vec::new();
    for kind in lab.proxies() {
        let mut row = vec![kind.name().to_owned()];
        for mode in ["simple", "extended", "prepared"] {
            if mode == "prepared" && !lab.can_prepare(kind) {
                row.push("-".into());
                continue;
            }
            eprintln!("instructions, {mode}: {}", kind.name());
            row.push(table::number(instructions_per_query(lab, kind, mode), 0));
        }
        rows.push(row);
    }
    let heading = format!("User-space instructions per query, pgbench -S, {CLIENTS} clients (cachegrind)");
    table::print(&heading, &["", "simple", "extended", "prepared"], &rows);
}

/// The difference of a long and a short run: start-up, logins and caches being filled fall out.
fn instructions_per_query(lab: &Lab, kind: Kind, mode: &str) -> Option<f64> {
    let mut runs = Vec::new();
    for per_client in [200u32, 1000] {
        let file = lab.cluster.home().path().join(format!("cachegrind.{}.{mode}.{per_client}", kind.name()));
        let out = format!("--cachegrind-out-file={}", file.display());
        let wrapper = ["valgrind", "-q", "--tool=cachegrind", "--cache-sim=no", &out].map(str::to_owned);
        let peer = lab.start_wrapped(kind, &wrapper);
        let mut pgbench = lab.client("pgbench", &peer);
        let (clients, each) = (CLIENTS.to_string(), per_client.to_string());
        pgbench.args(["-n", "-S", "-M", mode, "-c", &clients, "-j", "1", "-t", &each, DATABASE]);
        let output = pgbench.output().ok()?;
        peer.finish();
        let done = processed(&String::from_utf8_lossy(&output.stdout))?;
        let text = std::fs::read_to_string(&file).ok()?;
        let total = text.lines().find_map(|l| l.strip_prefix("summary:"))?;
        runs.push((done, total.split_whitespace().next()?.parse::<f64>().ok()?));
    }
    let [(short, few), (long, many)] = runs.as_slice() else { return None };
    Some((many - few) / (long - short))
}
