//! The commands: one file each. `args.rs` is the only list of commands and flags.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;

use crate::config::{self, Settings, Shown};
use crate::control::policies::{self, Loaded};
use crate::document::{Problem, render};

pub mod args;
pub mod check;
pub mod demo;
pub mod explain;
mod mistake;
mod nofile;
mod primary;
mod reload;
pub mod replay;
pub mod run;
pub mod schema;
#[cfg(test)]
mod scratch;
mod suite;
pub mod test;

/// What settings and policies became, and all that is wrong with them.
pub(crate) struct Checked {
    pub(crate) settings: Settings,
    /// The built-in baseline, observing only, if none are named; `None` if they have mistakes.
    pub(crate) policies: Option<Loaded>,
    pub(crate) shown: Vec<Shown>,
    pub(crate) problems: Vec<Problem>,
}

/// Reads settings and policies, every mistake of both. `primary_required`: without a primary nothing can run.
pub(crate) fn read(args: &args::SettingsArgs, primary_required: bool) -> Checked {
    let loaded = config::load(args.config.as_deref(), &args.overrides());
    let mut problems = loaded.problems;
    problems.extend(loaded.primary_missing.filter(|_| primary_required));
    let paths: Vec<PathBuf> = loaded.settings.policies.iter().map(|policy| policy.0.clone()).collect();
    let observes = loaded.settings.policy_mode == config::PolicyMode::Observe;
    let policies = match policies::read_or_observe(&paths, &loaded.settings.known_lanes(), observes) {
        Ok(policies) => Some(policies),
        Err(mut found) => {
            problems.append(&mut found);
            None
        }
    };
    Checked { settings: loaded.settings, policies, shown: loaded.shown, problems }
}

/// Writes problems to standard error, coloured on a terminal.
pub(crate) fn complain(problems: &[Problem]) {
    let mut out = io::stderr().lock();
    let colour = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    // With standard error closed there is nobody left to tell.
    let _ = out.write_all(render(problems, colour).as_bytes());
    let count = match problems.len() {
        1 => "1 error".to_owned(),
        n => format!("{n} errors"),
    };
    let _ = writeln!(out, "{count}");
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::args::Schema;

    /// Compares a page of the manual with what the code says; `UPDATE=1` writes it again.
    fn page(name: &str, expected: &str) {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(name);
        if std::env::var_os("UPDATE").is_some() {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, expected).unwrap();
        }
        let written = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(written, expected, "docs/{name} is out of date: UPDATE=1 cargo test pages_of_the_manual");
    }

    /// The table of kinds stands where the page says so.
    fn session_page() -> String {
        include_str!("session_page.md").replace("{kinds}", &crate::session::kinds::table())
    }

    #[test]
    fn pages_of_the_manual() {
        page("CONFIG.md", &crate::config::documentation());
        page("CONSOLE.md", &crate::admin::sheet::documentation());
        page("SESSION.md", &session_page());
        page("FACTS.md", &crate::guard::policy::facts_documentation());
        page("RULES.md", &crate::guard::rules::documentation());
        page("policy.schema.json", &super::schema::text(Schema::Policies));
        page("cases.schema.json", &super::schema::text(Schema::Cases));
        page("config.schema.json", &super::schema::text(Schema::Config));
    }
}
