//! `pgsluice explain`: facts, findings, verdict and why, for people (`people.rs`) and, one JSON object a line, for tools
//! (`contract.rs`).

mod asked;
mod contract;
mod people;

use std::io::{self, BufRead, BufWriter, IsTerminal as _, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use self::asked::Asked;
use super::args::{ExplainArgs, FailOn};
use crate::config;
use crate::control::policies;
use crate::document::{Problem, Source};
use crate::guard::catalog::Catalog;
use crate::guard::facts::Facts;
use crate::guard::plan::advise;
use crate::guard::policy::{Case, Policies, load_cases};
use crate::guard::{
    Action, Circumstances, Class, GuardLimits, Kind, Lanes, catalog_text, client_key, evaluate,
};

pub fn command(args: &ExplainArgs) -> ExitCode {
    let explainer = match Explainer::new(args) {
        Ok(explainer) => explainer,
        Err(problems) => {
            super::complain(&problems);
            return ExitCode::FAILURE;
        }
    };
    let out = BufWriter::with_capacity(1 << 16, io::stdout().lock());
    let done = if args.sql == "-" {
        explainer.lines(&mut io::BufReader::with_capacity(1 << 16, io::stdin().lock()), out)
    } else {
        explainer.one(&args.sql, out)
    };
    match done {
        Ok(Seen { good: true, worst }) if args.fail_on.is_none_or(|fail_on| worst < fail_on.action()) => {
            ExitCode::SUCCESS
        }
        // Who reads us had enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// A line of input.
#[derive(Deserialize)]
struct Line {
    sql: String,
}

#[derive(Serialize)]
struct BadLine {
    line: u64,
    error: String,
}

/// What came by.
struct Seen {
    /// Every line was one.
    good: bool,
    /// The strictest action.
    worst: Action,
}

impl FailOn {
    fn action(self) -> Action {
        match self {
            Self::Warn => Action::Warn,
            Self::Block => Action::Block,
        }
    }
}

struct Explainer {
    policies: Policies,
    class: Class,
    catalog: Option<Catalog>,
    /// Asked for plans.
    server: Option<Asked>,
    /// Session, time and parameters that the flags give.
    given: Option<Case>,
    json: bool,
    colour: bool,
}

impl Explainer {
    fn new(args: &ExplainArgs) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let server = args.primary.as_deref().map(Asked::connect).transpose();
        let server = server.map_err(|problem| problems.push(problem)).ok().flatten();
        let catalog = args
            .catalog
            .as_deref()
            .and_then(|path| catalog(path).map_err(|problem| problems.push(problem)).ok())
            .or_else(|| server.as_ref().and_then(|server| server.catalog.clone()));
        let given = given(args).unwrap_or_else(|mut found| {
            problems.append(&mut found);
            None
        });
        let policies =
            policies::read(&args.policies, &Lanes::any()).map_err(|mut found| problems.append(&mut found));
        match policies {
            Ok(loaded) if problems.is_empty() => Ok(Self {
                policies: loaded.policies,
                class: Class {
                    user: args.user.as_str().into(),
                    database: args.database.as_str().into(),
                    application: args.application.as_str().into(),
                    standard_conforming_strings: true,
                    ascii_safe_encoding: true,
                },
                catalog,
                server,
                given,
                json: args.json,
                colour: io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
            }),
            _ => Err(problems),
        }
    }

    fn one(&self, sql: &str, mut out: impl Write) -> io::Result<Seen> {
        let worst = self.explain(sql, &mut out)?;
        out.flush()?;
        Ok(Seen { good: true, worst })
    }

    /// Each line's explanation. A reader that waits for answers gets them: what is written leaves as soon as no more
    /// input is at hand.
    fn lines<R: io::Read>(&self, input: &mut io::BufReader<R>, mut out: impl Write) -> io::Result<Seen> {
        let (mut line, mut number) = (Vec::new(), 0);
        let mut seen = Seen { good: true, worst: Action::Allow };
        loop {
            if input.buffer().is_empty() {
                out.flush()?;
            }
            line.clear();
            if input.read_until(b'\n', &mut line)? == 0 {
                break;
            }
            number += 1;
            if line.trim_ascii().is_empty() {
                continue;
            }
            match serde_json::from_slice::<Line>(&line) {
                Ok(Line { sql }) => seen.worst = seen.worst.max(self.explain(&sql, &mut out)?),
                Err(error) => {
                    seen.good = false;
                    let bad = BadLine { line: number, error: error.to_string() };
                    if self.json {
                        serde_json::to_writer(&mut out, &bad)?;
                        writeln!(out)?;
                    } else {
                        writeln!(out, "line {number}: {error}\n")?;
                    }
                }
            }
        }
        out.flush()?;
        Ok(seen)
    }

    fn explain(&self, sql: &str, out: &mut impl Write) -> io::Result<Action> {
        let given = self.given.as_ref();
        let params: Option<Vec<Option<&[u8]>>> = given
            .and_then(|given| given.params.as_ref())
            .map(|params| params.iter().map(|value| value.as_deref().map(str::as_bytes)).collect());
        let around = Circumstances {
            catalog: self.catalog.as_ref(),
            session: given.and_then(|given| given.session.as_ref()),
            time: given.and_then(|given| given.time.as_ref()),
            now: given.and_then(|given| given.now),
            who: Some(client_key(&self.class.user, &self.class.application, "")),
            params: params.as_deref(),
            plan: given.and_then(|given| given.plan.as_ref()),
            advice: None,
        };
        let judged = |around: &Circumstances<'_>| {
            evaluate(&self.policies, &self.class, sql.as_bytes(), &GuardLimits::default(), around)
        };
        let mut evaluation = judged(&around);
        let asked = self.server.as_ref().filter(|_| around.plan.is_none());
        let plan = asked.and_then(|server| server.plan(sql, &evaluation.reading, around.params));
        let around =
            Circumstances { plan: plan.as_ref().and_then(|p| p.as_ref().ok()).or(around.plan), ..around };
        let advice = match (around.plan, evaluation.reading.statements.as_slice()) {
            (Some(plan), [only]) => advise(only, plan, around.catalog),
            _ => Vec::new(),
        };
        let advice = match asked {
            Some(server) => server.check(sql, &around, advice),
            None => advice,
        };
        let around = Circumstances { advice: around.plan.map(|_| &*advice), ..around };
        if let Some(Ok(_)) = plan {
            evaluation = judged(&around);
        }
        let nothing = Facts { kind: Kind::Utility, ..Facts::unparsed(sql.len()) };
        let subject = contract::Explained {
            sql,
            evaluation: &evaluation,
            policies: &self.policies,
            class: &self.class,
            around: &around,
            advice: &advice,
            no_plan: plan.as_ref().and_then(|plan| plan.as_ref().err()).map(String::as_str),
        };
        if self.json {
            serde_json::to_writer(&mut *out, &contract::explanation(&subject, &nothing))?;
            writeln!(out)?;
        } else {
            people::write(&subject, self.colour, out)?;
        }
        Ok(evaluation.judgement.action)
    }
}

fn catalog(path: &Path) -> Result<Catalog, Problem> {
    let source = config::text_file(path)?;
    catalog_text::parse(&source.text).map_err(|why| Problem::new(format!("{}: {why}", path.display())))
}

/// What the flags say of session, time and parameters, read as a case's.
fn given(args: &ExplainArgs) -> Result<Option<Case>, Vec<Problem>> {
    let mut text = String::new();
    let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
    if let Some(session) = &args.session {
        text += &format!("session = {{ {session} }}\n");
    }
    if let Some(plan) = &args.plan {
        text += &format!("plan = {{ {plan} }}\n");
    }
    if let Some(time) = &args.time {
        text += &format!("time = {}\n", quoted(time));
    }
    if let Some(params) = &args.params {
        text += &format!("params = [{params}]\n");
    }
    if text.is_empty() {
        return Ok(None);
    }
    let source: Arc<Source> = Source::new(
        "--session, --plan, --time, --params",
        format!("[[case]]\nsql = ''\nexpect = []\n{text}"),
    );
    Ok(load_cases(&source)?.pop())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::Value;

    fn explain(input: &str, json: bool) -> (String, bool) {
        explain_as(&["--user", "app"], input, json)
    }

    fn explain_as(flags: &[&str], input: &str, json: bool) -> (String, bool) {
        let explainer = Explainer { json, ..explainer(flags).unwrap() };
        let mut out = Vec::new();
        let seen = explainer.lines(&mut io::BufReader::new(input.as_bytes()), &mut out).unwrap();
        (String::from_utf8(out).unwrap(), seen.good)
    }

    fn explainer(flags: &[&str]) -> Result<Explainer, Vec<Problem>> {
        use clap::Parser as _;
        let line = ["pgsluice", "explain", "-"].iter().chain(flags);
        match crate::cli::args::Args::parse_from(line).command {
            crate::cli::args::Command::Explain(args) => Explainer::new(&args),
            _ => panic!("not explain"),
        }
    }

    fn object(sql: &str) -> Value {
        let (text, good) = explain(&serde_json::json!({ "sql": sql }).to_string(), true);
        assert!(good);
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn an_object_has_all_that_tools_rely_on() {
        let found = object("UPDATE orders SET state = 'open'");
        assert_eq!(found["sql"], "UPDATE orders SET state = 'open'");
        assert_eq!(found["parsed"], true);
        assert_eq!(found["fingerprint"].as_str().unwrap().len(), 16);
        assert!(found["normalized"].as_str().unwrap().contains("orders"));
        assert_eq!(
            (&found["facts"]["kind"], &found["facts"]["tables"][0]),
            (&"update".into(), &"orders".into())
        );
        for fact in ["read_only", "select_star", "has_where", "has_limit", "group_by", "for_update"] {
            assert_eq!(found["facts"][fact], false, "{fact}");
        }
        for fact in ["joins", "aggregates"] {
            assert_eq!(found["facts"][fact], 0, "{fact}");
        }
        assert_eq!(found["facts"]["functions"], serde_json::json!([]));
        let finding = &found["findings"][0];
        assert_eq!(finding["rule"], "write-without-where");
        assert!(finding["message"].is_string() && finding["hint"].is_string());
        assert_eq!(
            found["verdict"],
            serde_json::json!({ "action": "block", "rule": "write-without-where", "route": "primary", "limits": null })
        );
        assert!(found.get("statements").is_none());
    }

    #[test]
    fn several_statements_are_one_object_with_the_strictest_verdict() {
        let found = object("BEGIN; SELECT * FROM a; DELETE FROM b; COMMIT");
        assert_eq!(found["facts"]["kind"], "select");
        assert_eq!(found["statements"].as_array().unwrap().len(), 4);
        assert_eq!(found["verdict"]["action"], "block");
        let rules: Vec<&str> =
            found["findings"].as_array().unwrap().iter().map(|f| f["rule"].as_str().unwrap()).collect();
        assert!(rules.contains(&"select-star") && rules.contains(&"write-without-where"), "{rules:?}");
    }

    #[test]
    fn what_is_not_parsed_is_said_to_be() {
        let found = object("SELEC 1");
        assert_eq!((&found["parsed"], &found["facts"]["kind"]), (&false.into(), &"unparsed".into()));
        assert!(found["error"].as_str().unwrap().contains("SELEC"));
        assert_eq!(found["verdict"]["action"], "allow");
        assert!(found.get("unanswered").is_none());
        assert_eq!(object("")["verdict"]["action"], "allow");
    }

    #[test]
    fn detectors_speak_without_a_rule_too() {
        let found = object("SELECT * FROM pg_class WHERE relname LIKE '%x'");
        let rules: Vec<&str> = found["findings"]
            .as_array()
            .unwrap()
            .iter()
            .map(|finding| finding["rule"].as_str().unwrap())
            .collect();
        assert_eq!(rules, ["leading-wildcard-like", "select-star"]);
        assert_eq!(found["verdict"]["action"], "allow");
    }

    #[test]
    fn a_line_that_is_none_is_told_and_the_rest_goes_on() {
        let (text, good) =
            explain("{\"sql\": \"SELECT 1\"}\n{\"sq\": 1}\n\nnonsense\n{\"sql\": \"SELECT 2\"}", true);
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert!(!good);
        assert_eq!(lines.len(), 4);
        assert_eq!((&lines[1]["line"], &lines[2]["line"]), (&2.into(), &4.into()));
        assert_eq!(lines[3]["sql"], "SELECT 2");
    }

    #[test]
    fn people_read_verdict_and_reason() {
        let (text, _) = explain("{\"sql\": \"SELECT id FROM c WHERE name LIKE $1\"}", false);
        assert!(text.contains("verdict      allow, on the primary"), "{text}");
        assert!(
            text.contains("block by leading-wildcard-like if a LIKE parameter starts with a wildcard"),
            "{text}"
        );
    }

    #[test]
    fn flags_say_what_is_known_around_a_statement() {
        let scratch = crate::cli::scratch::Scratch::new("explain");
        let rules = "[[rule]]\nname = 'held'\nwhen = 'query.read_only && session.transaction_seconds > 5.0'\naction = 'block'\n\
                     [[rule]]\nname = 'night'\nwhen = 'query.read_only && time.hour < 6'\naction = 'warn'\n\
                     [[rule]]\nname = 'plan'\nwhen = 'plan.rows == 5'\naction = 'warn'\n\
                     [[rule]]\nname = 'big'\nwhen = 'catalog.rows > 10'\naction = 'limit'\nlimit = { timeout = '5s' }\n\
                     set = { lock_timeout = '1s' }\n";
        let file = scratch.write("p.toml", rules);
        let catalog = scratch.write("c.json", "[{\"name\": \"t\", \"rows\": 100}]");
        let policies = file.to_str().unwrap();
        let flags = ["--policies", policies];
        let sql = "{\"sql\": \"SELECT a FROM t\"}";
        let of = |more: &[&str]| -> Value {
            let (text, _) = explain_as(&[&flags[..], more].concat(), sql, true);
            serde_json::from_str(&text).unwrap()
        };
        let nothing = of(&[]);
        assert_eq!(nothing["verdict"]["action"], "allow");
        assert_eq!(nothing["unanswered"], serde_json::json!(["held", "night", "plan", "big"]));
        assert_eq!(nothing["depends"][0], serde_json::json!({ "rule": "held", "on": ["session"] }));
        let session = of(&["--session", "transaction_seconds = 9"]);
        assert_eq!(session["verdict"]["rule"], "held");
        assert_eq!(of(&["--time", "2026-05-31T03:00:00Z"])["verdict"]["rule"], "night");
        assert_eq!(of(&["--plan", "rows = 5"])["verdict"]["rule"], "plan");
        let big = of(&["--catalog", catalog.to_str().unwrap()]);
        assert_eq!(big["verdict"]["limits"], serde_json::json!({ "timeout": "5s" }));
        assert_eq!(big["set"], serde_json::json!({ "lock_timeout": "1000ms" }));
        let (text, _) =
            explain_as(&[&flags[..], &["--catalog", catalog.to_str().unwrap()]].concat(), sql, false);
        assert!(
            text.contains("limits       timeout 5s\n")
                && text.contains("settings     lock_timeout = 1000ms\n"),
            "{text}"
        );
        assert!(text.contains("held depends on session"), "{text}");
        for wrong in
            [["--session", "x = 1"], ["--time", "noon"], ["--primary", "nonsense"], ["--catalog", "/none"]]
        {
            assert!(explainer(&wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn people_see_where_a_statement_cannot_be_read() {
        let (text, _) = explain("{\"sql\": \"SELECT a FROM t\\nWHERE a = = 1\"}", false);
        assert!(
            text.contains("2 | WHERE a = = 1\n               |           ^ syntax error at or near \"=\"\n"),
            "{text}"
        );
        let (text, _) = explain("{\"sql\": \"SELECT 'abc\"}", false);
        assert!(text.contains("1 | SELECT 'abc\n               |        ^ unterminated"), "{text}");
    }

    #[test]
    fn the_worst_of_all_lines_is_kept() {
        let explainer = explainer(&[]).unwrap();
        let lines = "{\"sql\": \"SELECT 1\"}\n{\"sql\": \"DELETE FROM t\"}\n{\"sql\": \"SELECT 1\"}\n";
        let seen = explainer.lines(&mut io::BufReader::new(lines.as_bytes()), Vec::new()).unwrap();
        assert!(seen.good && seen.worst == Action::Block);
    }
}
