//! From a case file to its cases: every mistake at once.

use std::ops::Range;
use std::sync::Arc;

use serde_spanned::Spanned;
use toml::de::{DeTable, DeValue};

use super::case::{Case, ExpectedLimits};
use super::units;
use crate::document::{Problem, Problems, Source, closest, entry, short, string, tables, wrong_type};
use crate::guard::catalog::Catalog;
use crate::guard::fact::{Field, Type};
use crate::guard::plan::PlanFacts;
use crate::guard::{Action, Class, SessionFacts, TimeFacts, catalog_text};

/// What may stand in a case.
pub const CASE_KEYS: [&str; 15] = [
    "name",
    "sql",
    "user",
    "database",
    "application",
    "catalog",
    "session",
    "time",
    "params",
    "plan",
    "expect",
    "route",
    "limits",
    "set",
    "rewrite",
];
/// Actions that a case may expect.
pub const EXPECTED_ACTIONS: [Action; 6] =
    [Action::Warn, Action::Block, Action::Route, Action::Limit, Action::Set, Action::Rewrite];
/// What may stand in `limits`.
pub const LIMIT_KEYS: [&str; 5] = ["timeout", "rows", "bytes", "rate", "concurrency"];

/// Gives the text of a file that a case names, beside the case file.
pub(super) type ReadFile<'a> = &'a dyn Fn(&str) -> Result<String, String>;

/// Reads a case file that names no other files.
///
/// # Errors
/// Every mistake in it.
pub fn load_cases(source: &Arc<Source>) -> Result<Vec<Case>, Vec<Problem>> {
    load_cases_with(source, &|_| Err("write the catalog into the case".to_owned()))
}

/// Reads a case file.
///
/// # Errors
/// Every mistake in it.
pub fn load_cases_with(source: &Arc<Source>, read: ReadFile<'_>) -> Result<Vec<Case>, Vec<Problem>> {
    let mut problems = Problems::new(source);
    let document = problems.parse(&source.text);
    let top = document.get_ref();
    problems.refuse_unknown_keys(top, "key", &["case", "catalog"], |key| {
        CASE_KEYS.contains(&key).then(|| format!("`{key}` stands in a [[case]]"))
    });
    let of_all = catalog(top, read, &mut problems);
    let mut cases = Vec::new();
    for (span, table) in tables(top, "case", &mut problems) {
        problems.refuse_unknown_keys(table, "key of a case", &CASE_KEYS, |_| None);
        cases.push(case(span, table, of_all.as_ref(), read, &mut problems));
    }
    if problems.is_empty() { Ok(cases) } else { Err(problems.finish()) }
}

fn case(
    span: Range<usize>,
    table: &DeTable<'_>,
    of_all: Option<&Arc<Catalog>>,
    read: ReadFile<'_>,
    problems: &mut Problems,
) -> Case {
    for key in ["sql", "expect"].into_iter().filter(|key| entry(table, key).is_none()) {
        let problem = problems.add(span.clone(), format!("the case has no `{key}`"));
        problem.cure = (key == "expect").then(|| "`expect = []` if nothing may fire".to_owned());
    }
    let mut text = |key: &str| string(table, key, problems).map(|text| (*text.get_ref()).to_owned());
    let (name, sql, rewrite) = (text("name"), text("sql"), text("rewrite"));
    let class = Class {
        user: text("user").unwrap_or_default().into(),
        database: text("database").unwrap_or_default().into(),
        application: text("application").unwrap_or_default().into(),
        standard_conforming_strings: true,
        ascii_safe_encoding: true,
    };
    let source = Arc::clone(&problems.source);
    let (expect, spans) = expectations(table, problems);
    let (time, now) = time(table, problems);
    Case {
        place: format!("{}:{}", source.name, source.place(span.start).0),
        source,
        name,
        sql: sql.unwrap_or_default(),
        class,
        catalog: catalog(table, read, problems).or_else(|| of_all.map(Arc::clone)),
        session: entry(table, "session")
            .and_then(|value| facts(value, "session", SessionFacts::FIELDS, problems)),
        time,
        now,
        params: params(table, problems),
        plan: entry(table, "plan").and_then(|value| facts(value, "plan", PlanFacts::FIELDS, problems)),
        expect,
        spans,
        route: route(table, problems),
        limits: limits(table, problems),
        set: set(table, problems),
        rewrite,
    }
}

/// A TOML value as JSON.
fn json(value: &DeValue<'_>) -> serde_json::Value {
    match value {
        DeValue::String(text) => text.to_string().into(),
        DeValue::Boolean(yes) => (*yes).into(),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix()).ok().into(),
        DeValue::Float(number) => number.as_str().parse::<f64>().ok().into(),
        DeValue::Datetime(time) => time.to_string().into(),
        DeValue::Array(list) => list.iter().map(|item| json(item.get_ref())).collect(),
        DeValue::Table(table) => {
            let each = table.iter().map(|(key, value)| (key.get_ref().to_string(), json(value.get_ref())));
            serde_json::Value::Object(each.collect())
        }
    }
}

/// `catalog`: tables, or the name of a file that has them.
fn catalog(table: &DeTable<'_>, read: ReadFile<'_>, problems: &mut Problems) -> Option<Arc<Catalog>> {
    let value = entry(table, "catalog")?;
    let read = match value.get_ref() {
        DeValue::String(name) => read(name).and_then(|text| catalog_text::parse(&text)),
        other => catalog_text::from_json(json(other)),
    };
    match read {
        Ok(catalog) => Some(Arc::new(catalog)),
        Err(why) => {
            problems.add(value.span(), format!("`catalog`: {why}"));
            None
        }
    }
}

/// A table of facts of one root.
fn facts<T: serde::de::DeserializeOwned>(
    value: &Spanned<DeValue<'_>>,
    root: &str,
    fields: &'static [Field<T>],
    problems: &mut Problems,
) -> Option<T> {
    let Some(table) = value.get_ref().as_table() else {
        let example = fields.first().map_or("", |field| field.name);
        wrong_type(problems, value, root, &format!("a table such as {{ {example} = … }}"));
        return None;
    };
    let names: Vec<&str> = fields.iter().map(|field| field.name).collect();
    problems.refuse_unknown_keys(table, &format!("fact of `{root}`"), &names, |_| None);
    let mut given = serde_json::Map::new();
    for field in fields {
        let Some(value) = entry(table, field.name) else { continue };
        let fits = match (field.ty, value.get_ref()) {
            (Type::Bool, DeValue::Boolean(_)) | (Type::Text, DeValue::String(_)) => true,
            (Type::Int, DeValue::Integer(_)) | (Type::Float, DeValue::Integer(_) | DeValue::Float(_)) => true,
            (Type::Texts, DeValue::Array(list)) => list.iter().all(|item| item.get_ref().is_str()),
            _ => false,
        };
        if fits {
            given.insert(field.name.to_owned(), json(value.get_ref()));
        } else {
            wrong_type(problems, value, field.name, &crate::document::a(field.ty.name()));
        }
    }
    match serde_json::from_value(serde_json::Value::Object(given)) {
        Ok(facts) => Some(facts),
        Err(error) => {
            problems.add(value.span(), format!("`{root}`: {error}"));
            None
        }
    }
}

/// `time`: a moment, or some of its facts.
fn time(table: &DeTable<'_>, problems: &mut Problems) -> (Option<TimeFacts>, Option<i64>) {
    let Some(value) = entry(table, "time") else { return (None, None) };
    let text = match value.get_ref() {
        DeValue::Table(_) => return (facts(value, "time", TimeFacts::FIELDS, problems), None),
        DeValue::Datetime(time) => time.to_string(),
        DeValue::String(text) => text.to_string(),
        _ => String::new(),
    };
    match moment(&text) {
        Some(now) => (None, Some(now)),
        None => {
            let problem = problems.add(value.span(), "`time` is no moment");
            problem.cure = Some("write 2026-05-31T14:30:00+02:00, or { hour = 14 }".into());
            (None, None)
        }
    }
}

/// Seconds since 1970 of `2026-05-31T14:30:00+02:00`; UTC if no offset is given.
#[must_use]
pub fn moment(text: &str) -> Option<i64> {
    let parsed = text.parse::<jiff::Timestamp>().or_else(|_| format!("{text}Z").parse());
    parsed.ok().map(jiff::Timestamp::as_second)
}

fn params(table: &DeTable<'_>, problems: &mut Problems) -> Option<Vec<Option<String>>> {
    let value = entry(table, "params")?;
    const EXPECTED: &str = "an array of texts, numbers and booleans, with {} for NULL";
    let Some(list) = value.get_ref().as_array() else {
        wrong_type(problems, value, "params", EXPECTED);
        return None;
    };
    let mut params = Vec::new();
    for item in list.iter() {
        match item.get_ref() {
            DeValue::Table(table) if table.is_empty() => params.push(None),
            DeValue::Table(_) | DeValue::Array(_) => wrong_type(problems, item, "params", EXPECTED),
            other => params.push(Some(match json(other) {
                serde_json::Value::String(text) => text,
                number => number.to_string(),
            })),
        }
    }
    Some(params)
}

fn route(table: &DeTable<'_>, problems: &mut Problems) -> Option<(Box<str>, Range<usize>)> {
    let text = string(table, "route", problems)?;
    Some(((*text.get_ref()).into(), text.span()))
}

fn limits(table: &DeTable<'_>, problems: &mut Problems) -> Option<ExpectedLimits> {
    let value = entry(table, "limits")?;
    let Some(given) = value.get_ref().as_table() else {
        wrong_type(problems, value, "limits", "a table such as { timeout = \"5s\", rows = 1000 }");
        return None;
    };
    problems.refuse_unknown_keys(given, "key of `limits`", &LIMIT_KEYS, |_| None);
    let mut expected = ExpectedLimits::default();
    for key in LIMIT_KEYS {
        let Some(value) = entry(given, key) else { continue };
        let text = value.get_ref().as_str().unwrap_or_default();
        let number = json(value.get_ref()).as_u64();
        let known = match key {
            "timeout" => units::duration(text).map(|time| expected.timeout = Some(time)).is_some(),
            "rows" => number.map(|rows| expected.rows = Some(rows)).is_some(),
            "bytes" => number.or_else(|| units::bytes(text)).map(|n| expected.bytes = Some(n)).is_some(),
            "rate" => units::rate(text).map(|rate| expected.rate = Some(rate)).is_some(),
            _ => {
                let most = number.and_then(|most| u32::try_from(most).ok());
                most.map(|most| expected.concurrency = Some(most)).is_some()
            }
        };
        if !known {
            problems.add(value.span(), format!("`{key}` cannot be read")).cure =
                Some("write it as the rule does: \"5s\", 1000, \"64MB\", \"100/s\"".into());
        }
    }
    Some(expected)
}

fn set(table: &DeTable<'_>, problems: &mut Problems) -> Option<Vec<(String, String)>> {
    let value = entry(table, "set")?;
    let Some(given) = value.get_ref().as_table() else {
        wrong_type(problems, value, "set", "a table such as { lock_timeout = \"2000ms\" }");
        return None;
    };
    let mut set: Vec<(String, String)> = Vec::new();
    for (name, value) in given.iter() {
        let text = match json(value.get_ref()) {
            serde_json::Value::String(text) => text,
            other => other.to_string(),
        };
        set.push((name.get_ref().to_string(), text));
    }
    set.sort();
    Some(set)
}

type Expected = (Vec<(String, Action)>, Vec<Range<usize>>);

fn expectations(table: &DeTable<'_>, problems: &mut Problems) -> Expected {
    const EXAMPLE: &str = "an array such as [{ rule = \"…\", action = \"block\" }]";
    let (mut expected, mut spans) = (Vec::new(), Vec::new());
    let Some(value) = entry(table, "expect") else { return (expected, spans) };
    let Some(list) = value.get_ref().as_array() else {
        wrong_type(problems, value, "expect", EXAMPLE);
        return (expected, spans);
    };
    for item in list.iter() {
        let Some(table) = item.get_ref().as_table() else {
            wrong_type(problems, item, "expect", EXAMPLE);
            continue;
        };
        problems.refuse_unknown_keys(table, "key of an expectation", &["rule", "action"], |_| None);
        let rule = string(table, "rule", problems);
        let action = string(table, "action", problems).and_then(|text| action(&text, problems));
        match (rule, action) {
            (Some(rule), Some(action)) => {
                expected.push(((*rule.get_ref()).to_owned(), action));
                spans.push(rule.span());
            }
            _ if ["rule", "action"].iter().any(|key| entry(table, key).is_none()) => {
                problems.add(item.span(), "an expectation has `rule` and `action`");
            }
            _ => {}
        }
    }
    (expected, spans)
}

fn action(text: &Spanned<&str>, problems: &mut Problems) -> Option<Action> {
    let found = EXPECTED_ACTIONS.into_iter().find(|action| action.name() == *text.get_ref());
    if found.is_none() {
        let names = EXPECTED_ACTIONS.map(Action::name);
        let message = format!("`action` cannot be \"{}\"", short(text.get_ref()));
        problems.add(text.span(), message).cure = Some(match closest(text.get_ref(), names) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => format!("it is one of {}", names.join(", ")),
        });
    }
    found
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::{Policies, run_cases};
    use super::*;

    fn run(policy: &str, cases: &str) -> Vec<String> {
        let policies = Policies::load(&[Source::new("p.toml", policy)]).unwrap();
        let cases = load_cases(&Source::new("p.test.toml", cases)).unwrap();
        assert!(cases.iter().all(|case| case.unknown_names(&policies).is_empty()));
        run_cases(&policies, &cases).into_iter().flat_map(|failure| failure.differences).collect()
    }

    fn mistakes(cases: &str) -> Vec<String> {
        load_cases(&Source::new("c", cases)).unwrap_err().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_case_says_what_is_known_around_its_statement() {
        let rules = "[[rule]]\nname = 'big'\nwhen = 'catalog.rows > 1000'\naction = 'block'\n\
                     [[rule]]\nname = 'long'\nwhen = 'session.transaction_seconds > 5.0'\naction = 'warn'\n\
                     [[rule]]\nname = 'scan'\nwhen = 'plan.rows > 9000'\naction = 'block'\n\
                     [[rule]]\nname = 'night'\nwhen = 'query.read_only && time.hour < 6'\naction = 'warn'\n\
                     [[rule]]\nname = 'like'\nfinds = 'leading-wildcard-like'\naction = 'block'\n";
        let case = |keys: &str, expect: &str| {
            format!("[[case]]\nsql = 'SELECT a FROM t WHERE b LIKE $1'\n{keys}\nexpect = [{expect}]\n")
        };
        let fires = |rule: &str, action: &str| format!("{{ rule = '{rule}', action = '{action}' }}");
        let table = "catalog = [{ name = 't', rows = 5000, columns = ['a', 'b'], indexes = ['b'] }]";
        let all = [
            case("", ""),
            case(table, &fires("big", "block")),
            case("session = { transaction_seconds = 9 }", &fires("long", "warn")),
            case("session = { transaction_seconds = 1.5 }", ""),
            case("time = 2026-05-31T04:30:00Z", &fires("night", "warn")),
            case("time = { hour = 5 }", &fires("night", "warn")),
            case("time = '2026-05-31T04:30:00-05:00'", ""),
            case("params = ['%x']", &fires("like", "block")),
            case("params = ['x%']", ""),
            case("params = [{}]", ""),
            case("plan = { rows = 10000 }", &fires("scan", "block")),
        ];
        assert_eq!(run(rules, &all.concat()), Vec::<String>::new());
        let for_all = format!("{table}\n{}", case("", &fires("big", "block")));
        assert_eq!(run(rules, &for_all), Vec::<String>::new());
        assert_eq!(
            run(rules, &case("params = ['_']", "")),
            ["rule like: matched (block), which was not expected"]
        );
    }

    #[test]
    fn a_case_says_what_the_statement_may_cost() {
        let rules = "[[rule]]\nname = 'l'\nfinds = 'select-star'\naction = 'limit'\n\
                     limit = { timeout = '5s', rows = 100, rate = '10/s', per = 'user' }\n\
                     [[rule]]\nname = 's'\nfinds = 'select-star'\naction = 'set'\nset = { lock_timeout = '2s' }\n";
        let case = |keys: &str| {
            format!(
                "[[case]]\nsql = 'SELECT * FROM t'\n{keys}\n\
                 expect = [{{ rule = 'l', action = 'limit' }}, {{ rule = 's', action = 'set' }}]\n"
            )
        };
        assert!(run(rules, &case("limits = { timeout = '5s', rows = 100, rate = '10/s' }")).is_empty());
        assert!(run(rules, &case("set = { lock_timeout = '2000ms' }\nrewrite = ''")).is_empty());
        assert_eq!(
            run(rules, &case("limits = { timeout = '6s', concurrency = 2, rate = '1/s' }\nset = {}")),
            [
                "timeout: got 5s",
                "rate: got 10 in 1s",
                "concurrency: got none",
                "settings: got lock_timeout = 2000ms"
            ]
        );
    }

    #[test]
    fn mistakes_in_cases_have_a_place_and_a_cure() {
        let found = mistakes(
            "[[case]]\nsql = 'x'\nexpect = []\nplan = { rows = 'x' }\nsession = { in_transction = true, repeats = 'x' }\n\
             time = 'noon'\nparams = [[1]]\nlimits = { timeout = 5 }\ncatalog = 'file.json'\n",
        );
        let all = found.join("\n");
        for part in [
            "c:4:17: `rows` must be",
            "c:5:13: unknown fact of `session` `in_transction` (did you mean `in_transaction`?)",
            "`repeats` must be",
            "c:6:8: `time` is no moment",
            "c:7:11: `params` must be",
            "`timeout` cannot be read",
            "write the catalog into the case",
        ] {
            assert!(all.contains(part), "{part}: {all}");
        }
        let unknown = mistakes("[[case]]\nsql = 'x'\nexpect = [{ rule = 'r', action = 'blok' }]\n");
        assert_eq!(unknown, ["c:3:34: `action` cannot be \"blok\" (did you mean \"block\"?)"]);
        let policies = Policies::baseline();
        let cases = "[[case]]\nsql = 'x'\nexpect = [{ rule = 'select-sta', action = 'warn' }]\n";
        let case = &load_cases(&Source::new("c", cases)).unwrap()[0];
        let unknown: Vec<String> = case.unknown_names(&policies).iter().map(ToString::to_string).collect();
        assert_eq!(unknown, ["c:3:20: there is no rule `select-sta` (did you mean `select-star`?)"]);
    }
}
