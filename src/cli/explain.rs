//! `pgsluice explain`: facts, findings, verdict and why, for people and (one JSON object a line) for tools.

use std::io::{self, BufRead, BufWriter, Write};
use std::process::ExitCode;

use serde::{Deserialize, Serialize};

use super::args::ExplainArgs;
use crate::guard::facts::Facts;
use crate::guard::policy::{Decision, Policies};
use crate::guard::rules::{Options, detectors};
use crate::guard::{
    Circumstances, Class, ClientFacts, Evaluation, GuardLimits, Judgement, Kind, Subject, evaluate,
    main_statement,
};

pub fn command(args: &ExplainArgs) -> ExitCode {
    let policies = match super::read_policies(&args.policies) {
        Ok(policies) => policies,
        Err(problems) => {
            super::complain(&problems);
            return ExitCode::FAILURE;
        }
    };
    let explainer = Explainer { policies, class: class(&args.user), json: args.json };
    let out = BufWriter::with_capacity(1 << 16, io::stdout().lock());
    let done = if args.sql == "-" {
        explainer.lines(&mut io::BufReader::with_capacity(1 << 16, io::stdin().lock()), out)
    } else {
        explainer.one(&args.sql, out)
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        // Who reads us had enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn class(user: &str) -> Class {
    Class {
        user: user.into(),
        database: "".into(),
        application: "".into(),
        standard_conforming_strings: true,
        ascii_safe_encoding: true,
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

/// A statement's explanation: the contract of `--json`.
#[derive(Serialize)]
struct Explanation<'a> {
    sql: &'a str,
    parsed: bool,
    /// Why it was not parsed.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    fingerprint: String,
    normalized: &'a str,
    facts: &'a Facts,
    /// Every statement's, where there is more than one.
    #[serde(skip_serializing_if = "<[Facts]>::is_empty")]
    statements: &'a [Facts],
    findings: Vec<Finding>,
    verdict: Verdict<'a>,
    /// If a parameter of a `LIKE` is bound to a value that starts with a wildcard.
    #[serde(skip_serializing_if = "Option::is_none")]
    verdict_with_wildcard: Option<Verdict<'a>>,
    /// Rules that read what is not known of this statement, and therefore did not match.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unanswered: Vec<&'a str>,
}

#[derive(Serialize)]
struct Finding {
    rule: String,
    message: String,
    hint: String,
    /// What the rule does; absent for a detector that no rule asks.
    #[serde(skip_serializing_if = "Option::is_none")]
    action: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mode: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    because: Option<String>,
}

#[derive(Serialize)]
struct Verdict<'a> {
    action: &'static str,
    rule: Option<&'a str>,
    route: &'static str,
    limits: Option<()>,
}

struct Explainer {
    policies: Policies,
    class: Class,
    json: bool,
}

impl Explainer {
    fn one(&self, sql: &str, mut out: impl Write) -> io::Result<bool> {
        self.explain(sql, &mut out)?;
        out.flush()?;
        Ok(true)
    }

    /// Each line's explanation; false if a line was none. A reader that waits for answers gets them: what is
    /// written leaves as soon as no more input is at hand.
    fn lines<R: io::Read>(&self, input: &mut io::BufReader<R>, mut out: impl Write) -> io::Result<bool> {
        let (mut line, mut number, mut good) = (Vec::new(), 0, true);
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
                Ok(Line { sql }) => self.explain(&sql, &mut out)?,
                Err(error) => {
                    good = false;
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
        Ok(good)
    }

    fn explain(&self, sql: &str, out: &mut impl Write) -> io::Result<()> {
        let evaluation = evaluate(
            &self.policies,
            &self.class,
            sql.as_bytes(),
            &GuardLimits::default(),
            &Circumstances::default(),
        );
        if self.json {
            let nothing = Facts { kind: Kind::Utility, ..Facts::unparsed(sql.len()) };
            serde_json::to_writer(&mut *out, &explanation(sql, &evaluation, &self.policies, &nothing))?;
            writeln!(out)
        } else {
            for_people(&evaluation, &self.policies, out)
        }
    }
}

fn explanation<'a>(
    sql: &'a str,
    evaluation: &'a Evaluation,
    policies: &'a Policies,
    nothing: &'a Facts,
) -> Explanation<'a> {
    let Evaluation { judgement, reading, decision } = evaluation;
    let statements = &reading.statements;
    Explanation {
        sql,
        parsed: reading.refusal.is_none(),
        error: reading.refusal.as_ref().map(ToString::to_string),
        fingerprint: format!("{:016x}", judgement.fingerprint),
        normalized: &judgement.normalized,
        facts: main_statement(statements).unwrap_or(nothing),
        statements: if statements.len() > 1 { statements } else { &[] },
        findings: findings(statements, decision),
        verdict: verdict(judgement, policies),
        verdict_with_wildcard: judgement.with_wildcard.as_deref().map(|other| verdict(other, policies)),
        unanswered: decision.unanswered.iter().map(|name| &**name).collect(),
    }
}

/// What the rules that matched say, then the detectors that no matching rule speaks for.
fn findings(statements: &[Facts], decision: &Decision) -> Vec<Finding> {
    let of_rule = |found: &crate::guard::policy::Match| Finding {
        rule: found.rule.name.to_string(),
        message: found.message.clone(),
        hint: found.hint.clone(),
        action: Some(found.rule.act.action().name()),
        mode: Some(if found.rule.enforced { "enforce" } else { "observe" }),
        because: Some(found.because.clone()),
    };
    let mut findings: Vec<Finding> = decision.matches.iter().map(of_rule).collect();
    let client = ClientFacts::blank();
    for detector in detectors() {
        let options = Options::defaults(detector.options);
        let found = statements.iter().find_map(|facts| {
            let around = Circumstances::default();
            (detector.check)(&Subject { facts, client: &client, around: &around, known: None }, &options)
        });
        if let Some(found) = found.filter(|_| !findings.iter().any(|finding| finding.rule == detector.name)) {
            findings.push(Finding {
                rule: detector.name.to_owned(),
                message: found.message,
                hint: found.hint,
                action: None,
                mode: None,
                because: None,
            });
        }
    }
    findings
}

fn verdict<'a>(judgement: &Judgement, policies: &'a Policies) -> Verdict<'a> {
    let enforced = judgement.hits.iter().filter(|hit| hit.enforced && hit.action == judgement.action);
    let rule = enforced.map(|hit| &policies.rules()[hit.rule as usize]).next();
    Verdict {
        action: judgement.action.name(),
        rule: rule.map(|rule| &*rule.name),
        route: judgement.lane.name(),
        limits: None,
    }
}

fn for_people(evaluation: &Evaluation, policies: &Policies, out: &mut impl Write) -> io::Result<()> {
    let Evaluation { judgement, reading, decision } = evaluation;
    let mut line = |name: &str, text: &str| writeln!(out, "{name:<12} {text}");
    line("statement", &judgement.normalized)?;
    line("fingerprint", &format!("{:016x}", judgement.fingerprint))?;
    if let Some(refusal) = &reading.refusal {
        line("not parsed", &refusal.to_string())?;
    }
    for facts in &reading.statements {
        line("facts", &facts_in_words(facts))?;
    }
    for finding in findings(&reading.statements, decision) {
        let mode = if finding.mode == Some("observe") { ", observed only" } else { "" };
        let action = finding.action.map_or("no rule".to_owned(), |action| format!("{action}{mode}"));
        line("finding", &format!("{} ({action}): {}", finding.rule, finding.message))?;
        for text in
            [finding.hint, finding.because.map(|facts| format!("because {facts}")).unwrap_or_default()]
        {
            if !text.is_empty() {
                line("", &text)?;
            }
        }
    }
    for rule in &decision.unanswered {
        line("no answer", &format!("{rule} reads what is not known of this statement"))?;
    }
    line("verdict", &verdict_in_words(&verdict(judgement, policies)))?;
    if let Some(other) = judgement.with_wildcard.as_deref() {
        let text = verdict_in_words(&verdict(other, policies));
        line("", &format!("{text} if a LIKE parameter starts with a wildcard"))?;
    }
    writeln!(out)
}

fn verdict_in_words(verdict: &Verdict<'_>) -> String {
    let by = verdict.rule.map_or_else(String::new, |rule| format!(" by {rule}"));
    match verdict.action {
        "block" => format!("block{by}"),
        action => format!("{action}{by}, on the {}", verdict.route),
    }
}

/// The facts that say something: names, numbers above zero, and what is true.
fn facts_in_words(facts: &Facts) -> String {
    let value = serde_json::to_value(facts).unwrap_or_default();
    let mut words = Vec::new();
    for (name, value) in value.as_object().into_iter().flatten() {
        match value {
            serde_json::Value::Bool(true) => words.push(name.clone()),
            serde_json::Value::String(text) => words.push(format!("{name} {text}")),
            serde_json::Value::Number(number) if number.as_u64() != Some(0) => {
                words.push(format!("{name} {number}"))
            }
            serde_json::Value::Array(list) if !list.is_empty() => {
                let items =
                    list.iter().map(|item| item.as_str().map_or_else(|| item.to_string(), str::to_owned));
                words.push(format!("{name} {}", items.collect::<Vec<_>>().join(" ")));
            }
            _ => {}
        }
    }
    words.join(", ")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::Value;

    fn explain(input: &str, json: bool) -> (String, bool) {
        let explainer = Explainer { policies: Policies::baseline(), class: class("app"), json };
        let mut out = Vec::new();
        let good = explainer.lines(&mut io::BufReader::new(input.as_bytes()), &mut out).unwrap();
        (String::from_utf8(out).unwrap(), good)
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
}
