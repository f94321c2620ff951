//! `pgsluice replay`: what policies would have done to what servers have logged.

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

mod input;
mod people;
mod plans;
mod words;

use crate::document::Problem;
use crate::guard::Action;
use crate::guard::catalog::Catalog;
use crate::guard::policy::Policies;
use crate::replay::{
    Bounds, Clock, Entry, Format, Judges, Options, PolicySet, Prefix, Report, Tally, moment, parse_zone,
};
use input::{Inputs, Read};
use plans::{Asked, Planner};

/// Flags of `pgsluice replay`.
#[derive(Clone, Debug, clap::Args)]
pub struct ReplayArgs {
    /// A policy file or a directory of them. Can be repeated. Without any, the built-in baseline holds.
    #[arg(long, value_name = "PATH")]
    pub policies: Vec<PathBuf>,
    /// Policies to compare those with, such as the ones in force. Can be repeated.
    #[arg(long, value_name = "PATH")]
    pub compare: Vec<PathBuf>,
    /// What the databases hold, for rules that read `catalog`: a catalog in TOML or JSON.
    #[arg(long, value_name = "FILE")]
    pub catalog: Option<PathBuf>,
    /// Read catalogs and plans here: postgres://user:password@host:port/database. Nothing is run, only EXPLAIN.
    #[arg(long, value_name = "URL")]
    pub primary: Option<String>,
    /// Most questions to the planner a second.
    #[arg(long, value_name = "N", default_value_t = 5.0, value_parser = rate)]
    pub explain_rate: f64,
    /// Most statements to ask the planner about.
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub explain_max: usize,
    /// Longest wait for a plan, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 2000, value_parser = clap::value_parser!(u64).range(1..=600_000))]
    pub explain_timeout: u64,
    /// Format of all logs: csvlog, jsonlog, stderr, pg_stat_statements or pgsluice. Without it each file tells.
    #[arg(long, value_name = "FORMAT", value_parser = format)]
    pub format: Option<Format>,
    /// `log_line_prefix` of stderr logs. Without it those in use are tried.
    #[arg(long, value_name = "PREFIX")]
    pub log_line_prefix: Option<String>,
    /// `log_timezone` of the logs, where its abbreviation does not tell: Asia/Kolkata, +02:00.
    #[arg(long, value_name = "ZONE")]
    pub log_timezone: Option<String>,
    /// Leave out what was logged before: 2026-11-21, "2026-11-21 10:00", 2026-11-21T10:00:00Z, or 12h ago.
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Leave out what was logged then or later.
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// Lines of each list.
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub top: usize,
    /// Different statements that are told apart; the rest is added up.
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub fingerprints: u32,
    /// Exit code 1 if a statement would have been treated so by --policies: block, route, warn, limit. Can be repeated.
    #[arg(long, value_name = "ACTION", value_parser = action)]
    pub fail_on: Vec<Action>,
    /// The report as one JSON object.
    #[arg(long)]
    pub json: bool,
    /// Logs of PostgreSQL (csvlog, jsonlog, stderr), pg_stat_statements as CSV, or pgsluice's query log; also .gz. `-` is
    /// standard input.
    #[arg(value_name = "LOG", required = true)]
    pub logs: Vec<PathBuf>,
}

fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse::<f64>().ok().filter(|rate| rate.is_finite() && *rate > 0.0);
    rate.ok_or_else(|| "a number above 0, such as 5 or 0.5".to_owned())
}

fn format(text: &str) -> Result<Format, String> {
    let found = Format::NAMES.iter().find(|(name, _)| *name == text).map(|(_, format)| *format);
    found.ok_or_else(|| format!("it is one of {}", Format::NAMES.map(|(name, _)| name).join(", ")))
}

fn action(text: &str) -> Result<Action, String> {
    let known = [Action::Block, Action::Route, Action::Warn, Action::Limit];
    let found = known.into_iter().find(|action| action.name() == text);
    found.ok_or_else(|| format!("it is one of {}", known.map(Action::name).join(", ")))
}

/// Nothing could be said.
const UNABLE: u8 = 2;

pub fn command(args: &ReplayArgs) -> ExitCode {
    let plan = match Plan::of(args) {
        Ok(plan) => plan,
        Err(problems) => {
            super::complain(&problems);
            return ExitCode::from(UNABLE);
        }
    };
    match plan.run(args) {
        Ok(outcome) => finish(args, &outcome),
        Err(problem) => {
            super::complain(&[problem]);
            ExitCode::from(UNABLE)
        }
    }
}

/// Everything that can be wrong before the first byte is read.
struct Plan {
    sets: Vec<PolicySet>,
    options: Options,
    since: Option<i64>,
    until: Option<i64>,
    catalog: Option<Arc<Catalog>>,
    planner: Option<Planner>,
    inputs: Inputs,
}

/// What came of it.
struct Outcome {
    report: Report,
    inputs: Vec<Read>,
    asked: Option<Asked>,
    failing: Vec<(Action, u64)>,
    took: Duration,
}

impl Plan {
    fn of(args: &ReplayArgs) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut sets = Vec::new();
        let compared = (!args.compare.is_empty()).then_some(("--compare", &args.compare));
        for (name, paths) in [("--policies", &args.policies)].into_iter().chain(compared) {
            match crate::control::policies::read(paths, &crate::guard::Lanes::any()) {
                Ok(loaded) => sets.push(set(name, paths, loaded.policies)),
                Err(mut found) => problems.append(&mut found),
            }
        }
        let mut note = |problem: String| problems.push(Problem::new(problem));
        let mut time = |flag: &str, text: &Option<String>| {
            let read = text.as_ref().map(|text| moment(text, now()));
            read.transpose().map_err(|why| note(format!("{flag}: {why}"))).ok().flatten()
        };
        let (since, until) = (time("--since", &args.since), time("--until", &args.until));
        let zone = args.log_timezone.as_deref().map(parse_zone).transpose();
        let zone = zone.map_err(|why| note(format!("--log-timezone: {why}"))).ok().flatten();
        let prefix = args.log_line_prefix.as_deref().map(Prefix::parse).transpose();
        let prefix = prefix.map_err(|why| note(format!("--log-line-prefix: {why}"))).ok().flatten();
        let options = Options { clock: Clock::new(zone), prefix };
        let catalog = args.catalog.as_deref().map(catalog).transpose();
        let catalog = catalog.map_err(|problem| problems.push(problem)).ok().flatten();
        let inputs = Inputs::open(&args.logs).map_err(|mut found| problems.append(&mut found)).ok();
        // Only a replay that can begin bothers a server.
        let (true, Some(inputs)) = (problems.is_empty(), inputs) else { return Err(problems) };
        let planner = args.primary.as_deref().map(|url| Planner::connect(url, args)).transpose();
        let planner = planner.map_err(|problem| vec![problem])?;
        Ok(Self { sets, options, since, until, catalog: catalog.map(Arc::new), planner, inputs })
    }

    fn run(mut self, args: &ReplayArgs) -> Result<Outcome, Problem> {
        let started = std::time::Instant::now();
        let mut judges = Judges::new(&self.sets);
        let bounds = Bounds { fingerprints: args.fingerprints as usize, ..Bounds::default() };
        let mut tally = Tally::new(&self.sets, bounds);
        let progress = self.inputs.progress();
        let (since, until) = (self.since, self.until);
        let outside = |time: Option<i64>| {
            time.is_some_and(|time| since.is_some_and(|at| time < at) || until.is_some_and(|at| time >= at))
        };
        let mut read = Vec::new();
        for input in std::mem::take(&mut self.inputs.files) {
            let (catalog, planner) = (&self.catalog, &mut self.planner);
            let mut take = |entry: &Entry| {
                if outside(entry.time) {
                    return false;
                }
                judge(entry, &mut judges, &mut tally, catalog.as_ref(), planner.as_mut());
                true
            };
            read.push(input.read(args.format, &self.options, &progress, &mut take)?);
        }
        progress.finish_and_clear();
        let failing = args.fail_on.iter().map(|action| (*action, tally.calls(*action)));
        Ok(Outcome {
            failing: failing.filter(|(_, calls)| *calls > 0).collect(),
            report: tally.report(&self.sets, args.top),
            inputs: read,
            asked: self.planner.map(|planner| planner.asked),
            took: started.elapsed(),
        })
    }
}

/// One statement of a log, from its first look to the books.
fn judge(
    entry: &Entry,
    judges: &mut Judges,
    tally: &mut Tally,
    catalog: Option<&Arc<Catalog>>,
    planner: Option<&mut Planner>,
) {
    let Some(planner) = planner else {
        if !judges.knows(&entry.database) {
            judges.learn(&entry.database, catalog.map(Arc::clone));
        }
        let looked = judges.look(entry);
        let judged = judges.judge(entry, &looked, None);
        tally.add(entry, &judged);
        return;
    };
    if !judges.knows(&entry.database) {
        let known = catalog.map(Arc::clone).or_else(|| planner.catalog(&entry.database));
        judges.learn(&entry.database, known);
    }
    let looked = judges.look(entry);
    let planned = planner.plan(entry, &looked, judges);
    let judged = judges.judge(entry, &looked, planned.as_ref().map(|(facts, _)| &**facts));
    tally.add(entry, &judged);
    if let Some((facts, advice)) = planned {
        tally.plan(looked.fingerprint, &facts, &advice);
    }
}

fn set(name: &'static str, paths: &[PathBuf], policies: Policies) -> PolicySet {
    let paths = paths.iter().map(|path| path.display().to_string());
    let mut paths: Vec<String> = paths.collect();
    if paths.is_empty() {
        paths.push("baseline".to_owned());
    }
    PolicySet { name, paths, policies: Arc::new(policies) }
}

fn catalog(path: &Path) -> Result<Catalog, Problem> {
    let source = crate::config::text_file(path)?;
    crate::guard::catalog_text::parse(&source.text)
        .map_err(|why| Problem::new(format!("{}: {why}", path.display())))
}

/// Microseconds since 1970.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

fn finish(args: &ReplayArgs, outcome: &Outcome) -> ExitCode {
    let mut out = io::BufWriter::new(io::stdout().lock());
    let written = if args.json {
        people::json(outcome, &mut out)
    } else {
        let terminal = io::stdout().is_terminal();
        people::write(outcome, terminal.then(words::terminal_width), args.top, &mut out)
    };
    if let Err(error) = written.and_then(|()| out.flush()) {
        // Who reads us had enough.
        if error.kind() != io::ErrorKind::BrokenPipe {
            let _ = writeln!(io::stderr(), "error: {error}");
            return ExitCode::from(UNABLE);
        }
    }
    drop(out);
    let statements: u64 = outcome.inputs.iter().map(|input| input.statements).sum();
    if statements == 0 {
        let cure = "set log_min_duration_statement = 0 or log_statement = 'all' on the server, and lc_messages = 'C'; \
                    if the format was taken for another, give --format";
        super::complain(&[Problem::new("no statement was found in the logs").cure(cure)]);
        return ExitCode::from(UNABLE);
    }
    for (action, calls) in &outcome.failing {
        let _ =
            writeln!(io::stderr(), "--fail-on {}: {} statements", action.name(), words::thousands(*calls));
    }
    if outcome.failing.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
