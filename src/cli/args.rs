//! The command line.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Parser, Subcommand};

use crate::config::Override;

/// A query guard and connection-pool sidecar for PostgreSQL.
#[derive(Debug, Parser)]
#[command(name = "pgsluice", version, arg_required_else_help = true)]
pub struct Args {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Stand between clients and PostgreSQL.
    Run(SettingsArgs),
    /// Show every error of settings and policies at once; exit code 1 if there is one.
    Check(CheckArgs),
    /// Show what a statement is, what is wrong with it, and what the policies make of it.
    Explain(ExplainArgs),
    /// Show what policies would have done to what servers have logged.
    Replay(Box<super::replay::ReplayArgs>),
    /// Start a primary and a replica of its own, load data, and play the incidents; needs no set-up.
    Demo(super::demo::DemoArgs),
}

/// A settings file, and flags that override it.
#[derive(Debug, Default, ClapArgs)]
pub struct SettingsArgs {
    /// Settings file (TOML).
    pub config: Option<PathBuf>,
    /// Where clients connect: host:port, or the path of a unix socket. Can be repeated.
    #[arg(long, value_name = "ADDR")]
    pub listen: Vec<String>,
    /// The primary: postgres://user:password@host:port/database.
    #[arg(long, value_name = "URL")]
    pub primary: Option<String>,
    /// A streaming replica of it. Can be repeated.
    #[arg(long, value_name = "URL")]
    pub replica: Vec<String>,
    /// A policy file or a directory of them. Can be repeated; `baseline` is the built-in one. Without any it only observes.
    #[arg(long, value_name = "PATH")]
    pub policies: Vec<String>,
    /// Where /metrics, /healthz and /readyz are served; an empty string for nowhere.
    #[arg(long, value_name = "ADDR")]
    pub http: Option<String>,
    /// Most connections to one server.
    #[arg(long, value_name = "N")]
    pub pool_size: Option<u32>,
    /// When a server connection goes back to the pool: transaction, session or statement.
    #[arg(long, value_name = "MODE")]
    pub pool_mode: Option<String>,
}

impl SettingsArgs {
    /// The flags that were given, as settings.
    #[must_use]
    pub fn overrides(&self) -> Vec<Override> {
        let mut given = Vec::new();
        let mut put = |flag, setting, value: Option<toml::Value>| {
            given.extend(value.map(|value| Override { flag, setting, value }));
        };
        let list = |texts: &[String]| (!texts.is_empty()).then(|| texts.to_vec().into());
        let one = |text: &Option<String>| text.clone().map(toml::Value::String);
        put("--listen", "listen", list(&self.listen));
        put("--primary", "primary", one(&self.primary));
        put("--replica", "replicas", list(&self.replica));
        put("--policies", "policies", list(&self.policies));
        put("--http", "http", one(&self.http));
        put("--pool-size", "pool.pool_size", self.pool_size.map(|n| toml::Value::Integer(n.into())));
        put("--pool-mode", "pool.pool_mode", one(&self.pool_mode));
        given
    }
}

#[derive(Debug, ClapArgs)]
pub struct CheckArgs {
    #[command(flatten)]
    pub settings: SettingsArgs,
    /// Print every setting with the origin of its value.
    #[arg(long)]
    pub print: bool,
}

#[derive(Debug, ClapArgs)]
pub struct ExplainArgs {
    /// A policy file or a directory of them. Can be repeated. Without any, the built-in baseline holds.
    #[arg(long, value_name = "PATH")]
    pub policies: Vec<PathBuf>,
    /// Judge as if this user had sent it.
    #[arg(long, value_name = "U", default_value = "")]
    pub user: String,
    /// One JSON object a statement.
    #[arg(long)]
    pub json: bool,
    /// The statement; `-` reads one a line as JSON, {"sql": …}.
    #[arg(value_name = "SQL | -", allow_hyphen_values = true)]
    pub sql: String,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Args::command().debug_assert();
    }

    #[test]
    fn flags_become_settings_that_exist() {
        let line = "pgsluice run c.toml --listen *:1 --listen /x --primary postgres://h --replica a --replica b \
                    --policies p --http  --pool-size 7 --pool-mode session";
        let Command::Run(args) = Args::parse_from(line.split(' ')).command else { panic!("not run") };
        let given = args.overrides();
        assert_eq!(given.len(), 7);
        for flag in &given {
            let (section, key) = flag.setting.split_once('.').unwrap_or(("", flag.setting));
            assert!(crate::config::SETTINGS.iter().any(|s| (s.section, s.key) == (section, key)), "{flag:?}");
        }
        assert_eq!(given.iter().find(|flag| flag.flag == "--http").unwrap().value.as_str(), Some(""));
    }
}
