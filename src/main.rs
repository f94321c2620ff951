//! Reads the arguments, calls one command, returns its exit code.

use std::process::ExitCode;

use clap::Parser;
use pgsluice::cli::{self, args::Args, args::Command};

fn main() -> ExitCode {
    match Args::parse().command {
        Command::Run(args) => cli::run::command(&args),
        Command::Check(args) => cli::check::command(&args),
        Command::Explain(args) => cli::explain::command(&args),
        Command::Test(args) => cli::test::command(&args),
        Command::Schema(args) => cli::schema::command(&args),
        Command::Replay(args) => cli::replay::command(&args),
        Command::Demo(args) => cli::demo::command(&args),
    }
}
