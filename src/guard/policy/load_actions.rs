//! What a rule does, out of its table: `action` and what belongs to it.

use std::ops::Range;
use std::time::Duration;

use serde_spanned::Spanned;
use toml::de::{DeTable, DeValue};

use super::load::choice;
use super::model::{Act, RuleLimit};
use super::template::Template;
use super::{settings, units};
use crate::document::{Problems, closest, entry, short, string, strings, wrong_type};
use crate::guard::{Concurrency, Lane, Lanes, Per, Rate};

pub(super) const ACTIONS: [&str; 6] = ["warn", "block", "route", "limit", "set", "rewrite"];

/// The action, if all that belongs to it is there and nothing that does not.
pub(super) fn act(
    span: &Range<usize>,
    table: &DeTable<'_>,
    lanes: &mut Lanes,
    problems: &mut Problems,
) -> Option<Act> {
    let action = choice(table, "action", &ACTIONS, problems);
    if action.is_none() && entry(table, "action").is_none() {
        problems.add(span.clone(), "the rule has no `action`").cure =
            Some(format!("it is one of {}", ACTIONS.join(", ")));
    }
    let lane = route(table, lanes, problems);
    let action = ACTIONS[action?];
    let needs = |key: &str, example: &str, problems: &mut Problems| {
        if entry(table, key).is_none() {
            let at = entry(table, "action").map_or(span.clone(), Spanned::span);
            problems.add(at, format!("`action = \"{action}\"` needs a `{key}`")).cure =
                Some(format!("add `{example}`"));
            return None;
        }
        Some(())
    };
    if let Some(lane) = entry(table, "route").filter(|_| action != "route") {
        problems.add(lane.span(), "`route` has no effect here").cure =
            Some("it needs `action = \"route\"`".into());
    }
    match action {
        "warn" => Some(Act::Warn),
        "block" => Some(Act::Block),
        "route" => needs("route", "route = \"replica\"", problems).and(lane).map(Act::Route),
        "limit" => needs("limit", "limit = { timeout = \"5s\" }", problems).map(|()| Act::Limit),
        "rewrite" => needs("rewrite", "rewrite = { limit = 1000 }", problems).map(|()| Act::Rewrite),
        _ => needs("set", "set = { lock_timeout = \"2s\" }", problems).map(|()| Act::Set),
    }
}

/// `route`: a lane, or several of which the first that is there is meant.
fn route(table: &DeTable<'_>, lanes: &mut Lanes, problems: &mut Problems) -> Option<Lane> {
    let value = entry(table, "route")?;
    let names: Vec<Spanned<&str>> = match value.get_ref().as_array() {
        Some(_) => strings(table, "route", problems)?,
        None => vec![string(table, "route", problems)?],
    };
    let there = names.iter().find_map(|name| lanes.find(name.get_ref()));
    if let Some(lane) = there.or_else(|| names.iter().find_map(|name| lanes.resolve(name.get_ref()))) {
        return Some(lane);
    }
    let (Some(first), known) = (names.first(), lanes.names().collect::<Vec<_>>()) else {
        if value.get_ref().as_array().is_some_and(|list| list.is_empty()) {
            problems.add(value.span(), "`route` leads nowhere: it names no lane").cure =
                Some("name one, or several in order of preference".into());
        }
        return None;
    };
    let name = short(first.get_ref());
    let known = known.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ");
    let cure = match (closest(first.get_ref(), lanes.names()), Lanes::misnamed(first.get_ref())) {
        (Some(near), _) => format!("did you mean \"{near}\"?"),
        (None, Some(_)) => format!("known are {known}"),
        (None, None) => format!("known are {known}; one more is declared in the settings, as [lanes.{name}]"),
    };
    let message = format!("the route `{name}` leads nowhere: no such lane is configured");
    problems.add(first.span(), message).cure = Some(cure);
    None
}

/// `limit`, beside any action that lets the statement run.
pub(super) fn limit(table: &DeTable<'_>, act: Option<Act>, problems: &mut Problems) -> Option<RuleLimit> {
    const KEYS: [&str; 6] = ["timeout", "rows", "bytes", "rate", "concurrency", "per"];
    const EXAMPLE: &str = "a table such as { timeout = \"5s\", rows = 1000 }";
    let value = entry(table, "limit")?;
    let Some(given) = value.get_ref().as_table() else {
        wrong_type(problems, value, "limit", EXAMPLE);
        return None;
    };
    problems.refuse_unknown_keys(given, "key of `limit`", &KEYS, |_| None);
    if act == Some(Act::Block) {
        problems.add(value.span(), "`limit` has no effect here").cure =
            Some("a blocked statement costs nothing; leave it out".into());
    }
    let per = per(given, problems);
    let rate = quantity(given, "rate", "a rate such as \"100/s\"", units::rate, problems);
    let concurrency = count(given, "concurrency", problems);
    if let Some(per) = entry(given, "per")
        && rate.is_none()
        && concurrency.is_none()
    {
        problems.add(per.span(), "`per` has no effect here").cure =
            Some("it belongs to `rate` and `concurrency`".into());
    }
    if !KEYS[..5].iter().any(|key| entry(given, key).is_some()) {
        problems.add(value.span(), "`limit` bounds nothing").cure =
            Some(format!("known are {}", KEYS.join(", ")));
    }
    Some(RuleLimit {
        timeout: quantity(given, "timeout", "a duration such as \"5s\"", nonzero, problems),
        rows: count(given, "rows", problems),
        bytes: quantity(given, "bytes", "a size such as \"64MB\"", units::bytes, problems),
        rate: rate.map(|(count, within)| Rate { count, within, per }),
        concurrency: concurrency
            .map(|most| Concurrency { most: u32::try_from(most).unwrap_or(u32::MAX), per }),
    })
}

fn nonzero(text: &str) -> Option<Duration> {
    units::duration(text).filter(|time| !time.is_zero())
}

fn per(table: &DeTable<'_>, problems: &mut Problems) -> Per {
    const NAMES: [&str; 7] = ["rule", "user", "database", "application", "client", "address", "fingerprint"];
    match choice(table, "per", &NAMES, problems) {
        Some(1) => Per::User,
        Some(2) => Per::Database,
        Some(3) => Per::Application,
        Some(4) => Per::Client,
        Some(5) => Per::Address,
        Some(6) => Per::Fingerprint,
        _ => Per::Rule,
    }
}

/// A string with a unit.
pub(super) fn quantity<T>(
    table: &DeTable<'_>,
    key: &str,
    expected: &str,
    read: fn(&str) -> Option<T>,
    problems: &mut Problems,
) -> Option<T> {
    let value = entry(table, key)?;
    let Some(text) = value.get_ref().as_str() else {
        wrong_type(problems, value, key, expected);
        return None;
    };
    let found = read(text);
    if found.is_none() {
        problems.add(value.span(), format!("`{key}` cannot be \"{}\"", short(text))).cure =
            Some(format!("it is {expected}"));
    }
    found
}

/// A whole number above 0.
pub(super) fn count(table: &DeTable<'_>, key: &str, problems: &mut Problems) -> Option<u64> {
    let value = entry(table, key)?;
    let number = integer(value.get_ref()).and_then(|number| u64::try_from(number).ok()).filter(|n| *n > 0);
    if number.is_none() {
        wrong_type(problems, value, key, "a whole number above 0");
    }
    number
}

pub(super) fn integer(value: &DeValue<'_>) -> Option<i64> {
    value.as_integer().and_then(|n| i64::from_str_radix(&n.as_str().replace('_', ""), n.radix()).ok())
}

/// `set`: settings in force for the statement.
pub(super) fn set(
    table: &DeTable<'_>,
    act: Option<Act>,
    problems: &mut Problems,
) -> Box<[(Box<str>, Box<str>)]> {
    let Some(value) = entry(table, "set") else { return Box::default() };
    let Some(given) = value.get_ref().as_table() else {
        wrong_type(problems, value, "set", "a table such as { lock_timeout = \"2s\" }");
        return Box::default();
    };
    let names: Vec<&str> = settings::names().collect();
    problems.refuse_unknown_keys(given, "setting that a rule may set:", &names, |_| None);
    if act == Some(Act::Block) {
        problems.add(value.span(), "`set` has no effect here").cure =
            Some("a blocked statement needs no settings; leave it out".into());
    }
    if given.is_empty() {
        problems.add(value.span(), "`set` sets nothing").cure = Some("leave it out".into());
    }
    let mut found = Vec::new();
    for name in names {
        let Some(value) = entry(given, name) else { continue };
        let text = match value.get_ref() {
            DeValue::String(text) => text.to_string(),
            DeValue::Boolean(flag) => flag.to_string(),
            other => match integer(other) {
                Some(number) => number.to_string(),
                None => {
                    wrong_type(problems, value, name, "a string");
                    continue;
                }
            },
        };
        match settings::value(name, &text) {
            Ok(text) => found.push((name.into(), text.into())),
            Err(expected) => {
                let message = format!("`{name}` cannot be \"{}\"", short(&text));
                problems.add(value.span(), message).cure = Some(format!("it is {expected}"));
            }
        }
    }
    found.into()
}

pub(super) fn template(table: &DeTable<'_>, key: &str, problems: &mut Problems) -> Option<Template> {
    let text = string(table, key, problems)?;
    match Template::parse(text.get_ref()) {
        Ok(template) => Some(template),
        Err(message) => {
            problems.add(text.span(), message).cure = Some(format!("known are {}", Template::PLACEHOLDERS));
            None
        }
    }
}

pub(super) fn sqlstate(table: &DeTable<'_>, act: Option<Act>, problems: &mut Problems) -> Option<[u8; 5]> {
    let text = string(table, "sqlstate", problems)?;
    let code: Option<[u8; 5]> = text.get_ref().as_bytes().try_into().ok();
    let code = code.filter(|code| code.iter().all(|byte| byte.is_ascii_digit() || byte.is_ascii_uppercase()));
    let success = code.is_some_and(|code| [*b"00", *b"01", *b"02"].contains(&[code[0], code[1]]));
    let complaint = match (code, act) {
        (None, _) => Some(("`sqlstate` is five of 0-9 and A-Z", "for example \"42501\"")),
        (_, Some(Act::Route(_) | Act::Limit | Act::Set)) => {
            Some(("`sqlstate` has no effect here", "only warn and block say something to the client"))
        }
        (_, Some(Act::Block | Act::Rewrite)) if success => {
            Some(("this `sqlstate` is none of an error", "classes 00, 01 and 02 are success and warnings"))
        }
        (_, Some(Act::Warn)) if !success => {
            Some(("this `sqlstate` is none of a warning", "warnings are of class 01, for example \"01000\""))
        }
        _ => None,
    };
    match complaint {
        Some((message, cure)) => {
            problems.add(text.span(), message).cure = Some(cure.into());
            None
        }
        None => code,
    }
}
