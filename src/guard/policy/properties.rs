#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use proptest::prelude::*;

use super::Policies;
use crate::document::Source;
use crate::guard::{
    Action, Circumstances, Class, Guard, GuardLimits, Judgement, Limits, SessionFacts, evaluate, settle,
};

/// Rules of every sort, each a file of its own.
const RULES: [&str; 14] = [
    "finds = 'select-star'\naction = 'warn'",
    "finds = 'select-star'\naction = 'block'\nmessage = '{tables} {user} {query.joins}'",
    "when = 'query.kind == \"delete\"'\naction = 'block'\nsqlstate = '54001'",
    "when = 'query.read_only'\naction = 'route'\nroute = 'replica'",
    "when = 'query.joins > 0'\naction = 'route'\nroute = 'primary'",
    "when = 'query.kind == \"select\"'\naction = 'limit'\nlimit = { timeout = '5s', rows = 100 }",
    "when = 'query.read_only'\naction = 'warn'\nlimit = { timeout = '5s', rate = '7/s' }\nset = { jit = 'off' }",
    "when = 'true'\naction = 'set'\nset = { lock_timeout = '2s', work_mem = '1MB' }",
    "when = 'true'\naction = 'set'\nset = { lock_timeout = '1s', work_mem = '2MB' }",
    "when = 'query.kind == \"select\"'\naction = 'rewrite'\nrewrite = { limit = 10 }",
    "when = 'query.kind == \"select\"'\naction = 'rewrite'\nrewrite = { limit = 20, otherwise = 'run' }",
    "when = 'session.repeats > 3 || query.group_by'\naction = 'block'\nmessage = '{session.repeats}'",
    "when = 'params.values.exists(p, p == \"x\")'\naction = 'warn'\non_unknown = 'match'",
    "finds = 'leading-wildcard-like'\naction = 'block'\nhours = '08:00-18:00'\nshare = 0.5",
];

const TEXTS: [&str; 11] = [
    "SELECT * FROM a",
    "SELECT a FROM t WHERE b = 1 LIMIT 100",
    "SELECT a FROM t LIMIT $1",
    "SELECT a, count(*) FROM a JOIN b USING (id) GROUP BY a",
    "DELETE FROM t WHERE id = 1",
    "SELECT a FROM t WHERE n LIKE '%x'",
    "SELECT a FROM t WHERE n LIKE $1",
    "SELECT * FROM a; DELETE FROM b; SELECT * FROM c",
    "BEGIN",
    "SELEC 1",
    "UPDATE t SET a = 1 RETURNING *",
];

fn load(rules: impl Iterator<Item = (usize, bool)>) -> Policies {
    let sources: Vec<_> = rules
        .map(|(n, enforced)| {
            let mode = if enforced { "enforce" } else { "observe" };
            Source::new(
                format!("{n}.toml"),
                format!("[[rule]]\nname = 'r{n}'\n{}\nmode = '{mode}'\n", RULES[n]),
            )
        })
        .collect();
    Policies::load(&sources).unwrap_or_else(|problems| panic!("{problems:?}"))
}

pub(super) fn class() -> Arc<Class> {
    Arc::new(Class {
        user: "app".into(),
        database: "shop".into(),
        application: "".into(),
        standard_conforming_strings: true,
        ascii_safe_encoding: true,
    })
}

/// What a judgement does, rules by their names.
fn effect(judgement: &Judgement, policies: &Policies) -> String {
    let name = |rule: u32| policies.rules()[rule as usize].name.to_string();
    let none = Limits::default();
    let limits = judgement.limits.as_deref().unwrap_or(&none);
    let mut rates: Vec<_> =
        limits.rates.iter().map(|bound| (name(bound.rule), format!("{:?}", bound.at))).collect();
    rates.sort();
    format!(
        "{:?} {:?} {:?} {:?} {:?} {rates:?} {:?} {:?}",
        judgement.action,
        judgement.lane,
        judgement.complaints,
        limits.timeout.map(|bound| (bound.at, name(bound.rule))),
        limits.rows.map(|bound| (bound.at, name(bound.rule))),
        judgement.set,
        judgement.rewrite
    )
}

fn around<'a>(session: &'a SessionFacts, params: &'a [Option<&'a [u8]>], now: i64) -> Circumstances<'a> {
    Circumstances {
        session: Some(session),
        params: Some(params),
        now: Some(now),
        who: Some(7),
        ..Circumstances::default()
    }
}

fn some_rules() -> impl Strategy<Value = Vec<(usize, bool)>> {
    let all: Vec<usize> = (0..RULES.len()).collect();
    proptest::sample::subsequence(all, 1..RULES.len())
        .prop_shuffle()
        .prop_flat_map(|rules| {
            let len = rules.len();
            (Just(rules), proptest::collection::vec(any::<bool>(), len))
        })
        .prop_map(|(rules, enforced)| rules.into_iter().zip(enforced).collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn order_of_rules_and_files_changes_no_verdict(rules in some_rules(), repeats in 0u32..6, now in 0i64..200_000) {
        let sorted = {
            let mut sorted = rules.clone();
            sorted.sort_unstable();
            load(sorted.into_iter())
        };
        let shuffled = load(rules.into_iter());
        let session = SessionFacts { repeats, ..SessionFacts::blank() };
        for text in TEXTS {
            let around = around(&session, &[Some(b"x")], now);
            let judged = |policies: &Policies| {
                let found = evaluate(policies, &class(), text.as_bytes(), &GuardLimits::default(), &around);
                effect(&found.judgement, policies)
            };
            prop_assert_eq!(judged(&sorted), judged(&shuffled), "{}", text);
        }
    }

    /// An observed rule is counted, and but for that it is as if it were not there.
    #[test]
    fn observed_rules_change_nothing_that_happens(rules in some_rules(), repeats in 0u32..6) {
        let enforced = load(rules.iter().copied().filter(|(_, enforced)| *enforced));
        let all = load(rules.iter().copied());
        let session = SessionFacts { repeats, ..SessionFacts::blank() };
        for text in TEXTS {
            let around = around(&session, &[Some(b"x")], 40_000);
            let judged = |policies: &Policies| {
                let found = evaluate(policies, &class(), text.as_bytes(), &GuardLimits::default(), &around);
                effect(&found.judgement, policies)
            };
            prop_assert_eq!(judged(&enforced), judged(&all), "{}", text);
        }
        let observed = all.observing();
        for text in TEXTS {
            let found = evaluate(&observed, &class(), text.as_bytes(), &GuardLimits::default(), &Circumstances::default());
            prop_assert_eq!(found.judgement.action, Action::Allow);
        }
    }

    /// Judged ahead, from a cache or not, and settled at the run: as if it were judged at the run.
    #[test]
    fn what_is_judged_ahead_is_what_would_be_judged_at_the_run(
        rules in some_rules(),
        runs in proptest::collection::vec((0..TEXTS.len(), 0u32..6, 0i64..200_000, any::<bool>()), 1..30),
    ) {
        let mut guard = Guard::new(Arc::new(load(rules.into_iter())), GuardLimits::default(), [1, 2, 3, 4]);
        for (text, repeats, now, bound) in runs {
            let text = TEXTS[text];
            let session = SessionFacts { repeats, ..SessionFacts::blank() };
            let params: [Option<&[u8]>; 1] = [bound.then_some(b"x")];
            let around = around(&session, &params, now);
            let settled = settle(&guard.judge(text.as_bytes(), &class()), &around);
            let policies = Arc::clone(guard.policies());
            let fresh = evaluate(&policies, &class(), text.as_bytes(), &GuardLimits::default(), &around);
            prop_assert_eq!(effect(&settled, &policies), effect(&fresh.judgement, &policies), "{}", text);
            prop_assert_eq!(format!("{:?}", settled.hits), format!("{:?}", fresh.judgement.hits), "{}", text);
        }
    }
}
