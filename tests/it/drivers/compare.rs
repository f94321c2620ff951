//! Runs a program on PostgreSQL and through pgsluice at the same time, and compares what it saw.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::noise::Noise;
use crate::support::{Sluice, direct, programs, proxy};

/// Longest a program may take.
const PATIENCE: Duration = Duration::from_secs(150);

/// Fewer server connections than the programs have clients, and as many as one of them holds at a time.
const SERVERS: u32 = 4;

const KNOWN: &str = include_str!("../../drivers/known.txt");

/// What a run saw, check by check and in their order.
pub type Seen = Vec<(String, String)>;

/// The two runs of a client, and what their databases are called there.
pub struct Both {
    // Before the servers, which it needs to the end.
    _noise: [Noise; 2],
    pub direct: Sluice,
    pub through: Sluice,
}

impl Both {
    pub fn start() -> Self {
        let through = proxy().pool_size(SERVERS).start();
        let direct = proxy().start_without();
        for sluice in [&direct, &through] {
            let grant = format!("GRANT pg_monitor TO {}", sluice.database.user);
            sluice.database.lab.cluster.sql("postgres", &grant).unwrap();
        }
        let noise = [Noise::start(&direct), Noise::start(&through)];
        Self { _noise: noise, direct, through }
    }
}

/// Fails unless a program sees the same both ways, but for what `known.txt` says of it.
pub fn same(name: &str, command: impl Fn() -> Command + Sync) {
    if direct() {
        return;
    }
    let both = Both::start();
    let (direct, through) = std::thread::scope(|scope| {
        let direct = scope.spawn(|| run(command(), &both.direct));
        let through = run(command(), &both.through);
        (direct.join().unwrap(), through)
    });
    judge(name, &direct, &through);
}

/// Fails if two runs differ otherwise than `known.txt` says.
pub fn judge(name: &str, direct: &Seen, through: &Seen) {
    let mut complaints = wrong_in_itself(direct);
    let theirs: BTreeMap<_, _> = through.iter().cloned().collect();
    let mut known = known(name);
    let mut differ = 0;
    for (check, expected) in direct {
        let seen = theirs.get(check).map_or("(did not come to it)", String::as_str);
        match (seen == expected, known.remove(check.as_str())) {
            (true, None) => {}
            (true, Some(reason)) if reason.starts_with("sometimes") => {}
            (true, Some(_)) => {
                complaints.push(format!("{check}: no difference any more; its line in known.txt can go\n"))
            }
            (false, Some(reason)) => {
                differ += 1;
                println!("{name}: {check} differs, as known: {reason}\n{}", difference(expected, seen));
            }
            (false, None) => complaints.push(format!("{check}:\n{}", difference(expected, seen))),
        }
    }
    complaints
        .extend(known.keys().map(|check| format!("{check}: in known.txt, but there is no such check\n")));
    println!("{name}: {} checks, {differ} known to differ", direct.len());
    assert!(complaints.is_empty(), "{name}: a client can tell\n\n{}", complaints.join("\n"));
}

/// A check has to hold on PostgreSQL before it says anything of pgsluice.
fn wrong_in_itself(direct: &Seen) -> Vec<String> {
    let mut complaints = Vec::new();
    if direct.is_empty() {
        complaints.push("the program said nothing on PostgreSQL itself\n".to_owned());
    }
    for (check, seen) in direct.iter().filter(|(_, seen)| seen.starts_with("raised")) {
        complaints.push(format!("{check}: wrong on PostgreSQL itself: {seen}\n"));
    }
    complaints
}

/// The two texts from shortly before the first character in which they differ.
fn difference(expected: &str, seen: &str) -> String {
    let same = expected.bytes().zip(seen.bytes()).take_while(|(a, b)| a == b).count();
    let mut text = String::new();
    for (label, side) in [("direct", expected), ("through", seen)] {
        let start = side.floor_char_boundary(same.saturating_sub(60).min(side.len()));
        let before = if start > 0 { "…" } else { "" };
        let end = side.floor_char_boundary((start + 500).min(side.len()));
        let _ = writeln!(text, "  {label:8}{before}{}", &side[start..end]);
    }
    text
}

/// Checks of a program that are known to differ, with the reason.
fn known(name: &str) -> BTreeMap<&'static str, &'static str> {
    let lines = KNOWN.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let parsed = lines.map(|line| {
        let mut parts = line.splitn(3, '\t');
        let program = parts.next().unwrap();
        (
            program,
            parts.next().unwrap_or_default(),
            parts.next().expect("known.txt: three parts with tabs between"),
        )
    });
    parsed.filter(|(program, ..)| *program == name).map(|(_, check, reason)| (check, reason)).collect()
}

/// Runs a program to its end. -> what it saw, without what differs from database to database.
fn run(mut command: Command, sluice: &Sluice) -> Seen {
    let directory = sluice.database.lab.cluster.home().path().join(format!("run-{}", sluice.database.name));
    std::fs::create_dir(&directory).unwrap();
    let (out, errors) = (directory.join("stdout"), directory.join("stderr"));
    programs::environment(&mut command, sluice);
    command.arg(&directory).stdin(Stdio::null());
    command.stdout(std::fs::File::create(&out).unwrap()).stderr(std::fs::File::create(&errors).unwrap());
    let mut child = command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let started = Instant::now();
    let status = loop {
        match child.try_wait().unwrap() {
            Some(status) => break Some(status),
            None if started.elapsed() > PATIENCE => break None,
            None => std::thread::sleep(Duration::from_millis(20)),
        }
    };
    if status.is_none() {
        let _ = child.kill();
        let _ = child.wait();
    }
    let text = std::fs::read_to_string(&out).unwrap();
    if !status.is_some_and(|s| s.success()) {
        println!("{command:?} ended with {status:?} after {:?}\n{}", started.elapsed(), tail(&errors));
    }
    let _ = std::fs::remove_dir_all(&directory);
    lines(&text, sluice)
}

fn tail(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let skip = text.lines().count().saturating_sub(20);
    text.lines().skip(skip).collect::<Vec<_>>().join("\n")
}

fn lines(text: &str, sluice: &Sluice) -> Seen {
    let split = text.lines().filter_map(|line| line.split_once('\t'));
    split.map(|(check, seen)| (check.to_owned(), impersonal(seen, sluice))).collect()
}

/// Without names of the database and the role: whole words only, they are short.
pub fn impersonal(seen: &str, sluice: &Sluice) -> String {
    let mut text = String::with_capacity(seen.len());
    let word = |c: char| c.is_alphanumeric();
    let mut rest = seen;
    while let Some(first) = rest.chars().next() {
        let end = rest.find(|c| word(c) != word(first)).unwrap_or(rest.len());
        let (piece, after) = rest.split_at(end);
        text.push_str(match piece {
            _ if piece == sluice.database.name => "{database}",
            _ if piece == sluice.database.user => "{user}",
            _ => piece,
        });
        rest = after;
    }
    text
}
