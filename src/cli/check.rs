//! `pgsluice check`: every error of settings and policies at once.

use std::io::{self, Write};
use std::process::ExitCode;

use super::args::CheckArgs;
use crate::config;

pub fn command(args: &CheckArgs) -> ExitCode {
    // Without a file and without servers only the policies are in question.
    let only_policies = args.settings.config.is_none() && args.settings.primary.is_none();
    let checked = super::read(&args.settings, !only_policies);
    let mut out = io::stdout().lock();
    if args.print {
        let _ = out.write_all(config::print(&checked.shown).as_bytes());
    }
    if !checked.problems.is_empty() {
        let _ = out.flush();
        super::complain(&checked.problems);
        return ExitCode::FAILURE;
    }
    if !args.print {
        let rules = checked.policies.map_or(0, |loaded| loaded.policies.rules().len());
        let of = if checked.settings.policies.is_empty() {
            " of the built-in baseline, which only observe"
        } else {
            ""
        };
        let _ = writeln!(out, "no errors; {rules} rules{of}");
    }
    ExitCode::SUCCESS
}
