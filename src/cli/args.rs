//! The command line.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};

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
    /// Run the cases beside policies; exit code 1 if one goes otherwise.
    Test(TestArgs),
    /// Print the JSON Schema of a kind of file, for editors.
    Schema(SchemaArgs),
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
    /// A policy file, a directory of them, or the name of a pack (`baseline`). Can be repeated. Without any the baseline
    /// only observes.
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
    /// One JSON object a mistake, for editors.
    #[arg(long, conflicts_with = "print")]
    pub json: bool,
    /// Print the JSON Schema of policy files instead; `pgsluice schema` has the others.
    #[arg(long)]
    pub schema: bool,
}

/// The mildest action that makes `explain` fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FailOn {
    Warn,
    Block,
}

#[derive(Debug, ClapArgs)]
pub struct TestArgs {
    /// A case file (x.test.toml), its policy (x.toml), a directory of them, or the name of a pack. Without any:
    /// policies/, or the packs that are built in.
    #[arg(value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// Fail if less than this share of the rules fires in a case, in percent.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(0..=100))]
    pub coverage: Option<u8>,
    /// One JSON object with all that was found.
    #[arg(long)]
    pub json: bool,
}

/// What a JSON Schema is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Schema {
    /// Policy files.
    Policies,
    /// Case files (x.test.toml).
    Cases,
    /// The settings file.
    Config,
}

#[derive(Debug, ClapArgs)]
pub struct SchemaArgs {
    pub of: Schema,
}

#[derive(Debug, ClapArgs)]
pub struct ExplainArgs {
    /// A policy file, a directory of them, or the name of a pack. Can be repeated. Without any, the built-in baseline
    /// holds.
    #[arg(long, value_name = "PATH")]
    pub policies: Vec<PathBuf>,
    /// Judge as if this user had sent it.
    #[arg(long, value_name = "U", default_value = "")]
    pub user: String,
    /// Judge as if it were sent to this database.
    #[arg(long, value_name = "D", default_value = "")]
    pub database: String,
    /// Judge as if this application had sent it.
    #[arg(long, value_name = "A", default_value = "")]
    pub application: String,
    /// Tables with their sizes, columns and indexes: JSON or TOML.
    #[arg(long, value_name = "FILE")]
    pub catalog: Option<PathBuf>,
    /// What the session did before: `in_transaction = true, repeats = 20` (docs/FACTS.md, `session`).
    #[arg(long, value_name = "FACTS")]
    pub session: Option<String>,
    /// What the planner would say: `rows = 1000000, seq_scan_rows = 3000000` (docs/FACTS.md, `plan`).
    #[arg(long, value_name = "FACTS")]
    pub plan: Option<String>,
    /// When it is: 2026-05-31T14:30:00+02:00.
    #[arg(long, value_name = "TIME")]
    pub time: Option<String>,
    /// Values of its parameters, `$1` first: `'%x', 7`; `{}` is NULL.
    #[arg(long, value_name = "VALUES")]
    pub params: Option<String>,
    /// Ask this server what it holds and what its planner thinks: postgres://user:password@host:port/database. Nothing
    /// runs; parameters are those of --params, else any.
    #[arg(long, value_name = "URL")]
    pub primary: Option<String>,
    /// Exit with 1 if a statement is blocked, or even if one is warned of. Without it only errors count.
    #[arg(long, value_name = "ACTION")]
    pub fail_on: Option<FailOn>,
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
