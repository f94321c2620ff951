//! Cases beside a policy: statements and what its rules must say of them. Nothing may fire that is not expected.

use std::fmt;
use std::sync::Arc;

use toml::de::DeTable;

use super::decide::decide;
use super::model::Policies;
use crate::document::{Problem, Problems, Source, entry, short, string, tables, wrong_type};
use crate::guard::facts::{ReadOptions, read};
use crate::guard::{Action, Circumstances, Class, Lane, route};

/// One statement, who sends it, and what must follow.
#[derive(Clone, Debug)]
pub struct Case {
    /// File and line.
    pub place: String,
    pub name: Option<String>,
    pub sql: String,
    pub class: Class,
    /// Rules that match, with their actions, observed ones too. Order does not matter.
    pub expect: Vec<(String, Action)>,
    /// Where it runs, if the case says so.
    pub route: Option<Lane>,
}

impl Case {
    /// The rule is among those that must match.
    #[must_use]
    pub fn expects(&self, rule: &str) -> bool {
        self.expect.iter().any(|(name, _)| name == rule)
    }

    /// Nothing may match.
    #[must_use]
    pub fn expects_nothing(&self) -> bool {
        self.expect.is_empty()
    }
}

/// A case that went otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub place: String,
    /// The case's name, or its statement.
    pub case: String,
    /// One sentence for each difference.
    pub differences: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.case)?;
        self.differences.iter().try_for_each(|difference| write!(f, "\n    {difference}"))
    }
}

/// Reads a case file.
///
/// # Errors
/// Every mistake in it.
pub fn load_cases(source: &Arc<Source>) -> Result<Vec<Case>, Vec<Problem>> {
    let mut problems = Problems::new(source);
    let document = problems.parse(&source.text);
    problems.refuse_unknown_keys(document.get_ref(), "key", &["case"], |_| None);
    let mut cases = Vec::new();
    for (span, table) in tables(document.get_ref(), "case", &mut problems) {
        const KEYS: [&str; 7] = ["name", "sql", "user", "database", "application", "expect", "route"];
        problems.refuse_unknown_keys(table, "key of a case", &KEYS, |_| None);
        let mut text = |key: &str| string(table, key, &mut problems).map(|text| (*text.get_ref()).to_owned());
        let (name, sql) = (text("name"), text("sql"));
        let class = Class {
            user: text("user").unwrap_or_default().into(),
            database: text("database").unwrap_or_default().into(),
            application: text("application").unwrap_or_default().into(),
            standard_conforming_strings: true,
            ascii_safe_encoding: true,
        };
        let place = format!("{}:{}", source.name, source.place(span.start).0);
        for key in ["sql", "expect"].into_iter().filter(|key| entry(table, key).is_none()) {
            let problem = problems.add(span.clone(), format!("the case has no `{key}`"));
            problem.cure = (key == "expect").then(|| "`expect = []` if nothing may fire".to_owned());
        }
        let route = route_of(table, &mut problems);
        let expect = expectations(table, &mut problems);
        cases.push(Case { place, name, sql: sql.unwrap_or_default(), class, expect, route });
    }
    if problems.is_empty() { Ok(cases) } else { Err(problems.finish()) }
}

fn route_of(table: &DeTable<'_>, problems: &mut Problems) -> Option<Lane> {
    let text = string(table, "route", problems)?;
    match *text.get_ref() {
        "replica" => Some(Lane::Replica),
        "primary" => Some(Lane::Primary),
        _ => {
            problems.add(text.span(), "`route` is \"replica\" or \"primary\"");
            None
        }
    }
}

fn expectations(table: &DeTable<'_>, problems: &mut Problems) -> Vec<(String, Action)> {
    let mut expected = Vec::new();
    let Some(value) = entry(table, "expect") else { return expected };
    let Some(list) = value.get_ref().as_array() else {
        wrong_type(problems, value, "expect", "an array such as [{ rule = \"…\", action = \"block\" }]");
        return expected;
    };
    for item in list.iter() {
        let Some(table) = item.get_ref().as_table() else {
            wrong_type(problems, item, "expect", "an array such as [{ rule = \"…\", action = \"block\" }]");
            continue;
        };
        problems.refuse_unknown_keys(table, "key of an expectation", &["rule", "action"], |_| None);
        let rule = string(table, "rule", problems).map(|text| (*text.get_ref()).to_owned());
        let action = string(table, "action", problems).map(|text| (text.span(), *text.get_ref()));
        let action = match action {
            Some((_, "warn")) => Some(Action::Warn),
            Some((_, "block")) => Some(Action::Block),
            Some((_, "route")) => Some(Action::Route),
            Some((_, "limit")) => Some(Action::Limit),
            Some((_, "set")) => Some(Action::Set),
            Some((_, "rewrite")) => Some(Action::Rewrite),
            Some((span, other)) => {
                let message = format!("`action` cannot be \"{}\"", short(other));
                problems.add(span, message).cure =
                    Some("it is one of warn, block, route, limit, set, rewrite".into());
                None
            }
            None => None,
        };
        match (rule, action) {
            (Some(rule), Some(action)) => expected.push((rule, action)),
            _ if ["rule", "action"].iter().any(|key| entry(table, key).is_none()) => {
                problems.add(item.span(), "an expectation has `rule` and `action`");
            }
            _ => {}
        }
    }
    expected
}

/// Runs cases; those that went otherwise.
#[must_use]
pub fn run_cases(policies: &Policies, cases: &[Case]) -> Vec<Failure> {
    cases.iter().filter_map(|case| run_case(policies, case)).collect()
}

fn run_case(policies: &Policies, case: &Case) -> Option<Failure> {
    let reading = read(case.sql.as_bytes(), &ReadOptions::default());
    let decision = decide(policies, &case.class, &reading.statements, &Circumstances::default());
    let matched: Vec<(&str, Action)> =
        decision.matches.iter().map(|found| (&*found.rule.name, found.rule.act.action())).collect();
    let mut differences = Vec::new();
    for (rule, action) in &case.expect {
        match matched.iter().find(|(name, _)| name == rule) {
            Some((_, done)) if done == action => {}
            Some((_, done)) => {
                differences.push(format!("rule {rule}: expected {}, got {}", action.name(), done.name()))
            }
            None => {
                differences.push(format!("rule {rule}: expected {}, but it did not match", action.name()))
            }
        }
    }
    for (name, action) in &matched {
        if !case.expect.iter().any(|(rule, _)| rule == name) {
            differences.push(format!("rule {name}: matched ({}), which was not expected", action.name()));
        }
    }
    let lane = route::lane(decision.wish(), &reading.statements);
    if case.route.is_some_and(|expected| expected != lane) {
        differences.push(format!("runs on the {}", lane.name()));
    }
    if !differences.is_empty()
        && let Some(refusal) = &reading.refusal
    {
        differences.push(format!("the statement was not parsed: {refusal}"));
    }
    let name = case.name.clone().unwrap_or_else(|| short(&case.sql));
    (!differences.is_empty()).then(|| Failure { place: case.place.clone(), case: name, differences })
}
