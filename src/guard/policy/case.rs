//! Cases beside a policy: statements and what its rules must say of them. Nothing may fire that is not expected.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use super::model::Policies;
use crate::document::{Problem, Source, closest, short};
use crate::guard::catalog::Catalog;
use crate::guard::plan::PlanFacts;
use crate::guard::{
    Action, Circumstances, Class, GuardLimits, Judgement, Limits, SessionFacts, TimeFacts, client_key,
    evaluate,
};

/// One statement, who sends it, what is known around it, and what must follow.
#[derive(Clone, Debug)]
pub struct Case {
    pub source: Arc<Source>,
    /// File and line.
    pub place: String,
    pub name: Option<String>,
    pub sql: String,
    pub class: Class,
    pub catalog: Option<Arc<Catalog>>,
    pub session: Option<SessionFacts>,
    pub time: Option<TimeFacts>,
    /// Seconds since 1970.
    pub now: Option<i64>,
    pub plan: Option<PlanFacts>,
    /// As text, `$1` first; `None` is NULL.
    pub params: Option<Vec<Option<String>>>,
    /// Rules that match, with their actions, observed ones too. Order does not matter.
    pub expect: Vec<(String, Action)>,
    /// Where the names of these rules stand.
    pub(super) spans: Vec<Range<usize>>,
    /// The lane it runs in, if the case says so, and where its name stands.
    pub route: Option<(Box<str>, Range<usize>)>,
    /// What it may cost, as far as the case says so.
    pub limits: Option<ExpectedLimits>,
    /// Settings in force for it, all of them.
    pub set: Option<Vec<(String, String)>>,
    /// The text that runs instead; an empty one: none does.
    pub rewrite: Option<String>,
}

/// Bounds that a case expects; those it does not name may be any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExpectedLimits {
    pub timeout: Option<Duration>,
    pub rows: Option<u64>,
    pub bytes: Option<u64>,
    pub rate: Option<(u32, Duration)>,
    pub concurrency: Option<u32>,
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

    /// Expectations of rules and lanes that these policies do not have.
    #[must_use]
    pub fn unknown_names(&self, policies: &Policies) -> Vec<Problem> {
        let names = || policies.rules().iter().map(|rule| &*rule.name);
        let unknown =
            self.expect.iter().zip(&self.spans).filter(|((rule, _), _)| !names().any(|name| name == rule));
        let problem = |((rule, _), span): (&(String, Action), &Range<usize>)| {
            let problem =
                Problem::at(&self.source, span.clone(), format!("there is no rule `{}`", short(rule)));
            match closest(rule, names()) {
                Some(near) => problem.cure(format!("did you mean `{near}`?")),
                None => problem.cure("the policy beside this file has no such rule"),
            }
        };
        unknown.map(problem).chain(self.unknown_lane(policies)).collect()
    }

    fn unknown_lane(&self, policies: &Policies) -> Option<Problem> {
        let (name, span) = self.route.as_ref().filter(|(name, _)| policies.lanes().find(name).is_none())?;
        let message = format!("no rule can lead to the lane `{}`", short(name));
        let known: Vec<&str> = policies.lanes().names().collect();
        let cure = match closest(name, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("known are {}", known.join(", ")),
        };
        Some(Problem::at(&self.source, span.clone(), message).cure(cure))
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

/// What became of a case.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Indices of the rules that matched.
    pub fired: Vec<usize>,
    pub failure: Option<Failure>,
}

/// Runs cases; those that went otherwise.
#[must_use]
pub fn run_cases(policies: &Policies, cases: &[Case]) -> Vec<Failure> {
    cases.iter().filter_map(|case| run_case(policies, case).failure).collect()
}

/// Runs one case.
#[must_use]
pub fn run_case(policies: &Policies, case: &Case) -> Outcome {
    let params: Option<Vec<Option<&[u8]>>> = case
        .params
        .as_ref()
        .map(|params| params.iter().map(|value| value.as_deref().map(str::as_bytes)).collect());
    let around = Circumstances {
        catalog: case.catalog.as_deref(),
        session: case.session.as_ref(),
        time: case.time.as_ref(),
        now: case.now,
        who: Some(client_key(&case.class.user, &case.class.application, "")),
        params: params.as_deref(),
        plan: case.plan.as_ref(),
        advice: None,
    };
    let evaluation = evaluate(policies, &case.class, case.sql.as_bytes(), &GuardLimits::default(), &around);
    let judgement = with_params(&evaluation.judgement, params.as_deref().unwrap_or_default());
    let mut differences = rules(policies, case, judgement);
    differences.extend(consequences(policies, case, judgement));
    if !differences.is_empty()
        && let Some(refusal) = &evaluation.reading.refusal
    {
        differences.push(format!("the statement was not parsed: {refusal}"));
    }
    let name = case.name.clone().unwrap_or_else(|| short(&case.sql));
    let failure = Failure { place: case.place.clone(), case: name, differences };
    Outcome {
        fired: judgement.hits.iter().map(|hit| hit.rule as usize).collect(),
        failure: (!failure.differences.is_empty()).then_some(failure),
    }
}

/// The judgement that holds with these values.
fn with_params<'a>(judgement: &'a Judgement, params: &[Option<&[u8]>]) -> &'a Judgement {
    let wild = |&n: &u16| {
        let value = params.get(usize::from(n).wrapping_sub(1)).copied().flatten();
        value.is_some_and(|value| matches!(value.first(), Some(b'%' | b'_')))
    };
    match judgement.with_wildcard.as_deref() {
        Some(other) if judgement.like_params.iter().any(wild) => other,
        _ => judgement,
    }
}

/// Rules that should have matched, or should not.
fn rules(policies: &Policies, case: &Case, judgement: &Judgement) -> Vec<String> {
    let matched: Vec<(&str, Action)> = judgement
        .hits
        .iter()
        .filter_map(|hit| Some((&*policies.rules().get(hit.rule as usize)?.name, hit.action)))
        .collect();
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
    differences
}

/// What else the case says.
fn consequences(policies: &Policies, case: &Case, judgement: &Judgement) -> Vec<String> {
    let mut differences = Vec::new();
    let lane = policies.lanes().name(judgement.lane);
    if case.route.as_ref().is_some_and(|(expected, _)| **expected != *lane) {
        differences.push(format!("runs on the {lane}"));
    }
    if let Some(expected) = &case.limits {
        differences.extend(limits(expected, judgement.limits.as_deref()));
    }
    if let Some(expected) = &case.set {
        let set: Vec<(String, String)> =
            judgement.set.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        if set != *expected {
            let shown: Vec<String> = set.iter().map(|(name, value)| format!("{name} = {value}")).collect();
            differences.push(format!("settings: got {}", none_if_empty(&shown.join(", "))));
        }
    }
    if let Some(expected) = &case.rewrite {
        let done = judgement.rewrite.as_deref().unwrap_or_default();
        if done != expected {
            differences.push(format!("rewritten to: {}", none_if_empty(done)));
        }
    }
    differences
}

fn none_if_empty(text: &str) -> &str {
    if text.is_empty() { "nothing" } else { text }
}

fn limits(expected: &ExpectedLimits, limits: Option<&Limits>) -> Vec<String> {
    let none = Limits::default();
    let limits = limits.unwrap_or(&none);
    let mut differences = Vec::new();
    let mut compare = |what: &str, as_expected: bool, got: Option<String>| {
        if !as_expected {
            differences.push(format!("{what}: got {}", got.unwrap_or_else(|| "none".to_owned())));
        }
    };
    let timeout = limits.timeout.map(|bound| bound.at);
    compare(
        "timeout",
        expected.timeout.is_none_or(|wanted| Some(wanted) == timeout),
        timeout.map(|time| format!("{time:?}")),
    );
    for (what, wanted, got) in [("rows", expected.rows, limits.rows), ("bytes", expected.bytes, limits.bytes)]
    {
        let got = got.map(|bound| bound.at);
        compare(what, wanted.is_none_or(|wanted| Some(wanted) == got), got.map(|n| n.to_string()));
    }
    let rates = || limits.rates.iter().map(|bound| (bound.at.count, bound.at.within));
    let shown: Vec<String> = rates().map(|(count, within)| format!("{count} in {within:?}")).collect();
    compare(
        "rate",
        expected.rate.is_none_or(|wanted| rates().any(|rate| rate == wanted)),
        (!shown.is_empty()).then(|| shown.join(", ")),
    );
    let most = || limits.concurrency.iter().map(|bound| bound.at.most);
    compare(
        "concurrency",
        expected.concurrency.is_none_or(|wanted| most().any(|most| most == wanted)),
        most().min().map(|most| most.to_string()),
    );
    differences
}
