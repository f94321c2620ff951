//! `pgsluice test`: runs the cases beside policies, says what differs, and which rules no case makes speak.

use std::io::{self, Write};
use std::process::ExitCode;

use serde::Serialize;

use super::args::TestArgs;
use super::mistake::Mistake;
use super::suite::{self, Suite};
use crate::guard::Lanes;
use crate::guard::policy::run_case;

pub fn command(args: &TestArgs) -> ExitCode {
    let (suites, problems) = suite::read(&args.paths, &Lanes::any());
    let mut report = Report::of(&suites);
    report.problems = problems.iter().map(Mistake::from).collect();
    let enough = args.coverage.is_none_or(|least| report.percent >= f64::from(least));
    let mut out = io::stdout().lock();
    let written = if args.json {
        serde_json::to_writer(&mut out, &report).map_err(io::Error::from).and_then(|()| writeln!(out))
    } else {
        if !problems.is_empty() {
            super::complain(&problems);
        }
        report.for_people(&mut out)
    };
    if !enough && !args.json {
        let least = args.coverage.unwrap_or_default();
        let _ = writeln!(io::stderr(), "coverage is {:.0} %, {least} % are asked for", report.percent);
    }
    let good = written.is_ok() && problems.is_empty() && report.failures.is_empty() && enough;
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// All that was found: with `--json` as it is.
#[derive(Serialize)]
struct Report {
    passed: usize,
    failed: usize,
    failures: Vec<Failed>,
    rules: Vec<Covered>,
    /// Rules that fire in a case, in percent of all.
    percent: f64,
    problems: Vec<Mistake>,
}

#[derive(Serialize)]
struct Failed {
    /// File and line.
    place: String,
    case: String,
    differences: Vec<String>,
}

/// How often a rule speaks in the cases beside it, and how often it is silent.
#[derive(Serialize)]
struct Covered {
    rule: String,
    file: String,
    fires: usize,
    silent: usize,
}

impl Report {
    fn of(suites: &[Suite]) -> Self {
        let mut report = Self {
            passed: 0,
            failed: 0,
            failures: Vec::new(),
            rules: Vec::new(),
            percent: 100.0,
            problems: Vec::new(),
        };
        for suite in suites {
            report.add(suite);
        }
        report.failed = report.failures.len();
        let fires = report.rules.iter().filter(|rule| rule.fires > 0).count();
        if !report.rules.is_empty() {
            report.percent = 100.0 * fires as f64 / report.rules.len() as f64;
        }
        report
    }

    fn add(&mut self, suite: &Suite) {
        let mut fires = vec![0; suite.policies.rules().len()];
        for case in &suite.cases {
            let outcome = run_case(&suite.policies, case);
            outcome.fired.iter().filter_map(|rule| fires.get_mut(*rule).map(|count| *count += 1)).count();
            match outcome.failure {
                None => self.passed += 1,
                Some(failure) => self.failures.push(Failed {
                    place: failure.place,
                    case: failure.case,
                    differences: failure.differences,
                }),
            }
        }
        self.rules.extend(suite.policies.rules().iter().zip(fires).map(|(rule, fires)| Covered {
            rule: rule.name.to_string(),
            file: suite.name.clone(),
            fires,
            silent: suite.cases.len() - fires,
        }));
    }

    fn for_people(&self, out: &mut impl Write) -> io::Result<()> {
        for Failed { place, case, differences } in &self.failures {
            writeln!(out, "{place}: {case}")?;
            differences.iter().try_for_each(|difference| writeln!(out, "    {difference}"))?;
        }
        if !self.failures.is_empty() {
            writeln!(out)?;
        }
        let width = self.rules.iter().map(|rule| rule.rule.len()).max().unwrap_or(0).max("rule".len());
        if !self.rules.is_empty() {
            writeln!(out, "{:<width$}  fires  silent", "rule")?;
        }
        for Covered { rule, fires, silent, .. } in &self.rules {
            writeln!(out, "{rule:<width$}  {fires:>5}  {silent:>6}")?;
        }
        for Covered { rule, file, .. } in self.rules.iter().filter(|rule| rule.fires == 0) {
            writeln!(out, "no case makes {rule} of {file} speak")?;
        }
        let failed = if self.failed > 0 { format!(", {} failed", self.failed) } else { String::new() };
        let fires = self.rules.iter().filter(|rule| rule.fires > 0).count();
        let rules = self.rules.len();
        writeln!(
            out,
            "{} cases passed{failed}; {fires} of {rules} rules speak in a case ({:.0} %)",
            self.passed, self.percent
        )
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::scratch::Scratch;
    use super::*;
    use std::path::PathBuf;

    fn report(paths: &[PathBuf]) -> (Report, Vec<String>) {
        let (suites, problems) = suite::read(paths, &Lanes::any());
        (Report::of(&suites), problems.iter().map(ToString::to_string).collect())
    }

    const RULES: &str = "[[rule]]\nname = 'star'\nfinds = 'select-star'\naction = 'warn'\n\
                         [[rule]]\nname = 'big'\nwhen = 'catalog.rows > 10'\naction = 'block'\n\
                         [[rule]]\nname = 'never'\nwhen = 'query.joins > 99'\naction = 'block'\n";
    const CASES: &str = "catalog = 'tables.toml'\n\
                         [[case]]\nsql = 'SELECT * FROM t'\nexpect = [{ rule = 'star', action = 'warn' }, { rule = 'big', action = 'block' }]\n\
                         [[case]]\nname = 'wrong'\nsql = 'SELECT a FROM u'\nexpect = [{ rule = 'star', action = 'warn' }]\n";

    #[test]
    fn cases_run_beside_their_policy_and_cover_rules() {
        let scratch = Scratch::new("test");
        let policy = scratch.write("p.toml", RULES);
        let cases = scratch.write("p.test.toml", CASES);
        scratch.write("tables.toml", "[[tables]]\nname = 't'\nrows = 50\n");
        for path in [policy.clone(), cases.clone(), scratch.path().join(".")] {
            // tables.toml is no policy: a directory with it is refused, and says so.
            let (report, problems) = report(std::slice::from_ref(&path));
            assert_eq!(problems.is_empty(), path == policy || path == cases, "{problems:?}");
            assert_eq!((report.passed, report.failed), (1, 1));
            let place = report.failures[0].place.replace("/./", "/");
            assert_eq!(place, format!("{}:5", cases.display()));
            let counts: Vec<(usize, usize)> =
                report.rules.iter().map(|rule| (rule.fires, rule.silent)).collect();
            assert_eq!(counts, [(1, 1), (1, 1), (0, 2)]);
            let mut out = Vec::new();
            report.for_people(&mut out).unwrap();
            let text = String::from_utf8(out).unwrap();
            assert!(text.contains(": wrong\n    rule star: expected warn, but it did not match\n"), "{text}");
            assert!(text.contains("no case makes never of"), "{text}");
            assert!(
                text.ends_with("1 cases passed, 1 failed; 2 of 3 rules speak in a case (67 %)\n"),
                "{text}"
            );
        }
    }

    #[test]
    fn mistakes_of_policies_and_cases_are_all_told() {
        let scratch = Scratch::new("test-mistakes");
        scratch.write("a.toml", "[[rule]]\nname = 'x'\n");
        scratch.write("b.toml", RULES);
        scratch.write("b.test.toml", "[[case]]\nsql = 'x'\nexpect = [{ rule = 'stra', action = 'warn' }]\n");
        scratch.write("c.test.toml", "");
        let (_, problems) = report(&[scratch.path().to_owned()]);
        let text = problems.join("\n");
        for part in [
            "a.toml:1:1: the rule has no `action`",
            "b.test.toml:3:20: there is no rule `stra` (did you mean `star`?)",
            "c.toml: ",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!report(&[scratch.path().join("c.test.toml")]).1.is_empty(), "no policy beside it");
        assert!(!report(&["/none".into()]).1.is_empty());
    }

    #[test]
    fn every_pack_passes_and_is_covered() {
        let names: Vec<PathBuf> = crate::guard::policy::PACKS.iter().map(|pack| pack.name.into()).collect();
        let (report, problems) = report(&names);
        assert_eq!((report.failed, problems.len()), (0, 0));
        assert!(report.percent > 99.9, "{}", report.percent);
    }
}
