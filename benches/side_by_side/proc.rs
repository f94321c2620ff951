//! What the kernel says of a process.

use std::process::Command;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::peers::{Lab, POOL_SIZE};

/// User and system time of a process with all its threads; 10 ms steps.
pub fn cpu(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let rest = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    let ticks: u64 = rest.split(' ').skip(11).take(2).filter_map(|f| f.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second())
}

/// The processes that a process has started and that are there.
pub fn children(pid: u32) -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|child| parent(*child) == Some(pid)).collect()
}

fn parent(pid: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(") ")?;
    rest.split(' ').nth(1)?.parse().ok()
}

/// Proportional set size in bytes: memory that would come back if the process ended.
pub fn pss(pid: u32) -> u64 {
    kilobytes(&format!("/proc/{pid}/smaps_rollup"), "Pss:")
}

/// Resident memory in bytes.
pub fn rss(pid: u32) -> u64 {
    kilobytes(&format!("/proc/{pid}/status"), "VmRSS:")
}

/// Highest resident memory since [`reset_peak`], in bytes.
pub fn peak(pid: u32) -> u64 {
    kilobytes(&format!("/proc/{pid}/status"), "VmHWM:")
}

pub fn reset_peak(pid: u32) {
    let _ = std::fs::write(format!("/proc/{pid}/clear_refs"), "5");
}

fn kilobytes(path: &str, name: &str) -> u64 {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let value = text.lines().find_map(|l| l.strip_prefix(name)).unwrap_or_default();
    value.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(0) * 1024
}

/// Ten thousand clients need as many files, here and in the proxies, which inherit the limit.
pub fn raise_file_limit() {
    let now = getrlimit(Resource::Nofile);
    let hard = now.maximum.map_or(65_536, |m| m.max(65_536));
    for wanted in [hard, now.maximum.unwrap_or(hard)] {
        if setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: Some(wanted) }).is_ok() {
            return;
        }
    }
}

/// Machine, date and versions, for the head of the results.
pub fn machine(lab: &Lab) -> String {
    let first = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output().ok();
        output.map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned()).unwrap_or_default()
    };
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo.lines().find_map(|l| l.strip_prefix("model name")?.split(": ").nth(1));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let major = lab.cluster.home().binaries().major();
    let pgbouncer = lab.pgbouncer.as_ref().map_or("no PgBouncer".into(), |(_, v)| format!("PgBouncer {v}"));
    format!(
        "{}; {cores} x {}, Linux {}; PostgreSQL {major}, {pgbouncer}, pgsluice {}; {POOL_SIZE} server connections each; \
         pgsluice's guard on with the baseline policies",
        first("date", &["-u", "+%Y-%m-%d %H:%M UTC"]),
        model.unwrap_or("unknown processor"),
        first("uname", &["-r"]),
        env!("CARGO_PKG_VERSION"),
    )
}
