//! `make bench`: pgsluice beside PgBouncer and PostgreSQL itself, on one server, in one interleaved run.
//! `benches/README.md` says how each figure is taken.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a bench may fail loudly and prints its tables")]
#![allow(unreachable_pub, reason = "nothing leaves a bench binary")]

use clap::Parser;

#[path = "../../tests/it/support/raw.rs"]
#[allow(dead_code, reason = "the tests use the rest of it")]
mod raw;

#[path = "../../tests/workloads/mod.rs"]
mod workloads;

mod bulk;
mod calibration;
mod clients;
mod counts;
mod first_sight;
mod index;
mod peers;
mod proc;
mod server_cpu;
mod table;
mod tps;

/// What to measure and how long.
#[derive(Debug, Parser)]
struct Args {
    /// Fewer cells, shorter runs: some five minutes.
    #[arg(long)]
    quick: bool,
    /// Parts to run: tps, server-cpu, memory, storm, bulk, slow, mixed, syscalls, instructions, calibration, first-sight,
    /// index.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Rounds of the tps and server-cpu cells.
    #[arg(long)]
    rounds: Option<u32>,
    /// Measured seconds of one pgbench run, after one second of warm-up.
    #[arg(long)]
    secs: Option<u32>,
    /// Scale of TPC-H in the calibration: 1 has six million lines.
    #[arg(long)]
    scale: Option<f64>,
    /// Cargo says so.
    #[arg(long, hide = true)]
    bench: bool,
}

const PARTS: [&str; 12] = [
    "tps",
    "server-cpu",
    "memory",
    "storm",
    "bulk",
    "slow",
    "mixed",
    "syscalls",
    "instructions",
    "calibration",
    "first-sight",
    "index",
];

fn main() {
    let args = Args::parse();
    if let Some(part) = args.only.iter().find(|p| !PARTS.contains(&p.as_str())) {
        eprintln!("there is no part `{part}`; there are {}", PARTS.join(", "));
        std::process::exit(2);
    }
    proc::raise_file_limit();
    let lab = peers::Lab::start();
    println!("{}\n", proc::machine(&lab));
    let wanted = |part: &str| args.only.is_empty() || args.only.iter().any(|p| p == part);
    if wanted("tps") {
        let cells = if args.quick { tps::QUICK } else { tps::CELLS };
        let rounds = args.rounds.unwrap_or(if args.quick { 2 } else { 5 });
        tps::run(&lab, cells, rounds, args.secs.unwrap_or(if args.quick { 3 } else { 8 }));
    }
    if wanted("server-cpu") {
        let cells = if args.quick { server_cpu::QUICK } else { server_cpu::CELLS };
        let rounds = args.rounds.unwrap_or(if args.quick { 3 } else { 7 });
        server_cpu::run(&lab, cells, rounds, args.secs.unwrap_or(if args.quick { 2 } else { 3 }));
    }
    if wanted("memory") {
        clients::memory(&lab, if args.quick { 2_000 } else { 10_000 });
    }
    if wanted("storm") {
        clients::storm(&lab, 2_000, if args.quick { 1 } else { 3 });
    }
    if wanted("bulk") {
        bulk::streams(&lab, if args.quick { 1 } else { 3 });
    }
    if wanted("slow") {
        bulk::slow(&lab);
    }
    if wanted("mixed") {
        bulk::mixed(&lab, if args.quick { 4 } else { 10 });
    }
    if wanted("syscalls") {
        counts::syscalls(&lab);
    }
    if wanted("instructions") {
        counts::instructions(&lab);
    }
    if wanted("first-sight") {
        first_sight::run(&lab, if args.quick { 300 } else { 2_000 }, args.rounds.unwrap_or(5));
    }
    if wanted("index") {
        index::run(&lab, if args.quick { 1_000_000 } else { 10_000_000 });
    }
    if wanted("calibration") {
        let scale = args.scale.unwrap_or(if args.quick { 0.1 } else { 1.0 });
        calibration::run(&lab, scale, args.rounds.unwrap_or(4));
    }
}
