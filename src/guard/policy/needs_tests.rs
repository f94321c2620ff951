//! Whatever part of a rule reads a fact, whoever asks the policies is told to bring it.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use super::model::Policies;
use super::{condition, facts};
use crate::document::Source;
use crate::guard::needs::Needs;
use crate::guard::rules::Detector;

fn load(text: &str) -> Policies {
    Policies::load(&[Source::new("p.toml", text)]).unwrap_or_else(|problems| panic!("{text}: {problems:?}"))
}

fn rule(more: &str) -> Policies {
    load(&format!("[[rule]]\nname = 'x'\naction = 'warn'\n{more}\n"))
}

/// A condition that reads the fact.
fn condition_on(root: &str, field: &str) -> String {
    let fields =
        condition::ROOTS.iter().find(|known| known.name == root).map(|known| (known.fields)()).unwrap();
    let (_, ty) = fields.into_iter().find(|(name, _)| *name == field).unwrap();
    let fact = format!("{root}.{field}");
    match (ty, fact.as_str()) {
        (_, "query.kind") => "query.kind == \"select\"".to_owned(),
        (super::check::Type::Bool, _) => fact,
        (super::check::Type::Int, _) => format!("{fact} > 1"),
        (super::check::Type::Float, _) => format!("{fact} > 1.5"),
        (super::check::Type::Text, _) => format!("{fact} == \"a\""),
        _ => format!("size({fact}) > 1"),
    }
}

/// What must be brought for a fact, and is not for others.
fn brings(policies: &Policies, root: &str, field: &str) -> bool {
    let needs = Needs::of(policies);
    match (root, field) {
        ("session", "repeats" | "repeat_seconds") => needs.session && needs.repeats,
        ("session", _) => needs.session && !needs.repeats,
        ("time", _) => needs.time,
        ("params", _) => needs.params,
        ("plan", _) => policies.reads_plan(),
        ("client", "application") => policies.reads_application(),
        ("query", "bytes") => policies.reads_bytes(),
        ("query", "comments" | "trailing_comment" | "tags") => policies.reads_comments(),
        ("query", "limit" | "offset") => policies.reads_literals().bounds,
        ("query", "always_true" | "tautology") => policies.reads_literals().constants,
        _ => needs == Needs::default() && !policies.reads_plan() && !policies.reads_application(),
    }
}

#[test]
fn whatever_part_of_a_rule_reads_a_fact_it_is_brought() {
    let mut asked = 0;
    for (root, field) in facts() {
        let fact = format!("{root}.{field}");
        let mut ways = vec![("when", rule(&format!("when = '{}'", condition_on(root, field))))];
        // Values of parameters are in no template: they may be secrets.
        if root != "params" {
            for key in ["message", "hint"] {
                ways.push((key, rule(&format!("finds = 'select-star'\n{key} = 'is {{{fact}}}'"))));
            }
        }
        let mut found = rule("finds = 'select-star'");
        let reads: &'static [&'static str] =
            Box::leak(Box::new([&*Box::leak(fact.clone().into_boxed_str())]));
        let detector: &'static Detector = Box::leak(Box::new(Detector::that_reads(reads)));
        Arc::get_mut(&mut found.rules[0]).unwrap().finds = Some(detector);
        ways.push(("finds", found));
        for (way, policies) in ways {
            assert!(brings(&policies, root, field), "{way} reads {fact}: {:?}", Needs::of(&policies));
            asked += 1;
        }
    }
    assert!(asked > 300, "{asked}");
}

#[test]
fn what_a_rule_is_narrowed_to_is_brought() {
    for key in ["only", "unless"] {
        let with = |selector: &str| rule(&format!("finds = 'select-star'\n{key} = {{ {selector} }}"));
        assert!(with("applications = ['x']").reads_application(), "{key}");
        assert!(with("users = ['u'], applications = ['x']").reads_application(), "{key}");
        for selector in ["users = ['x']", "databases = ['x']", "tables = ['x']"] {
            let policies = with(selector);
            assert!(!policies.reads_application() && Needs::of(&policies) == Needs::default(), "{selector}");
        }
    }
}

#[test]
fn schedules_and_shares_are_brought() {
    for (text, expected) in [
        ("hours = '08:00-18:00'", Needs { time: true, ..Needs::default() }),
        ("days = ['monday']", Needs { time: true, ..Needs::default() }),
        ("valid_from = 2020-01-01", Needs { time: true, ..Needs::default() }),
        ("share = 0.5", Needs { share: true, ..Needs::default() }),
        ("", Needs::default()),
    ] {
        assert_eq!(Needs::of(&rule(&format!("finds = 'select-star'\n{text}"))), expected, "{text}");
    }
}
