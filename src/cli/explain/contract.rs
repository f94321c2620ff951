//! What `explain` says of a statement, as a value: the contract of `--json`.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::guard::facts::Facts;
use crate::guard::plan::{Advice, PlanFacts};
use crate::guard::policy::{Match, Policies};
use crate::guard::rules::{Options, detectors};
use crate::guard::{
    CatalogFacts, Circumstances, Class, ClientFacts, Evaluation, Judgement, Limits, Per, Subject,
    main_statement,
};

/// A statement, and all that was found out.
pub(super) struct Explained<'a> {
    pub(super) sql: &'a str,
    pub(super) evaluation: &'a Evaluation,
    pub(super) policies: &'a Policies,
    pub(super) class: &'a Class,
    pub(super) around: &'a Circumstances<'a>,
    /// Indexes that would help a statement whose plan is known.
    pub(super) advice: &'a [Advice],
    /// Why the planner did not answer, if it was asked.
    pub(super) no_plan: Option<&'a str>,
}

/// A statement's explanation: the contract of `--json`.
#[derive(Serialize)]
pub(super) struct Explanation<'a> {
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
    /// What those read that changes from run to run.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    depends: Vec<Dependence<'a>>,
    /// Settings in force for it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    set: BTreeMap<&'a str, &'a str>,
    /// The text that runs instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    rewrite: Option<&'a str>,
    /// What the planner expects.
    #[serde(skip_serializing_if = "Option::is_none")]
    plan: Option<&'a PlanFacts>,
    /// Why it did not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    plan_error: Option<&'a str>,
    /// Indexes that would help.
    #[serde(skip_serializing_if = "<[Advice]>::is_empty")]
    advice: &'a [Advice],
}

/// A rule, and what its answer depends on.
#[derive(Serialize)]
pub(super) struct Dependence<'a> {
    pub(super) rule: &'a str,
    pub(super) on: Vec<&'static str>,
}

/// What the statement may cost at most; what is absent is not bounded.
#[derive(Default, Serialize)]
pub(super) struct Bounds {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) timeout: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) rows: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) bytes: Option<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) rates: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) concurrency: Vec<String>,
}

#[derive(Serialize)]
pub(super) struct Finding {
    pub(super) rule: String,
    pub(super) message: String,
    pub(super) hint: String,
    /// What the rule does; absent for a detector that no rule asks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) action: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) mode: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) because: Option<String>,
}

#[derive(Serialize)]
pub(super) struct Verdict<'a> {
    pub(super) action: &'static str,
    pub(super) rule: Option<&'a str>,
    pub(super) route: &'a str,
    pub(super) limits: Option<Bounds>,
}

pub(super) fn explanation<'a>(subject: &Explained<'a>, nothing: &'a Facts) -> Explanation<'a> {
    let Evaluation { judgement, reading, decision } = subject.evaluation;
    let statements = &reading.statements;
    Explanation {
        sql: subject.sql,
        parsed: reading.refusal.is_none(),
        error: reading.refusal.as_ref().map(ToString::to_string),
        fingerprint: format!("{:016x}", judgement.fingerprint),
        normalized: &judgement.normalized,
        facts: main_statement(statements).unwrap_or(nothing),
        statements: if statements.len() > 1 { statements } else { &[] },
        findings: findings(subject),
        verdict: verdict(judgement, subject.policies),
        verdict_with_wildcard: judgement
            .with_wildcard
            .as_deref()
            .map(|other| verdict(other, subject.policies)),
        unanswered: decision.unanswered.iter().map(|name| &**name).collect(),
        depends: depends(subject),
        set: judgement.set.iter().map(|(name, value)| (&**name, &**value)).collect(),
        rewrite: judgement.rewrite.as_deref(),
        plan: subject.around.plan,
        plan_error: subject.no_plan,
        advice: subject.advice,
    }
}

/// Rules without an answer, and what of that is known at a run only.
pub(super) fn depends<'a>(subject: &Explained<'a>) -> Vec<Dependence<'a>> {
    let unanswered = &subject.evaluation.decision.unanswered;
    let rules = subject.policies.rules().iter().filter(|rule| unanswered.contains(&rule.name));
    let each = rules.map(|rule| Dependence { rule: &rule.name, on: rule.depends_on() });
    each.filter(|dependence| !dependence.on.is_empty()).collect()
}

/// What the rules that matched say, then the detectors that no matching rule speaks for.
pub(super) fn findings(subject: &Explained<'_>) -> Vec<Finding> {
    let of_rule = |found: &Match| Finding {
        rule: found.rule.name.to_string(),
        message: found.message.clone(),
        hint: found.hint.clone(),
        action: Some(found.rule.act.action().name()),
        mode: Some(if found.rule.enforced { "enforce" } else { "observe" }),
        because: Some(found.because.clone()),
    };
    let Evaluation { reading, decision, .. } = subject.evaluation;
    let mut findings: Vec<Finding> = decision.matches.iter().map(of_rule).collect();
    let client = ClientFacts::from(subject.class);
    let known: Vec<Option<CatalogFacts>> = reading
        .statements
        .iter()
        .map(|facts| subject.around.catalog.map(|catalog| CatalogFacts::of(catalog, facts)))
        .collect();
    for detector in detectors()
        .filter(|detector| !findings.iter().any(|found| found.rule == detector.name))
        .collect::<Vec<_>>()
    {
        let options = Options::defaults(detector.options);
        let found = reading.statements.iter().zip(&known).find_map(|(facts, known)| {
            let subject = Subject { facts, client: &client, around: subject.around, known: known.as_ref() };
            (detector.check)(&subject, &options)
        });
        findings.extend(found.map(|found| Finding {
            rule: detector.name.to_owned(),
            message: found.message,
            hint: found.hint,
            action: None,
            mode: None,
            because: None,
        }));
    }
    findings
}

pub(super) fn verdict<'a>(judgement: &Judgement, policies: &'a Policies) -> Verdict<'a> {
    let enforced = judgement.hits.iter().filter(|hit| hit.enforced && hit.action == judgement.action);
    let rule = enforced.filter_map(|hit| policies.rules().get(hit.rule as usize)).next();
    Verdict {
        action: judgement.action.name(),
        rule: rule.map(|rule| &*rule.name),
        route: policies.lanes().name(judgement.lane),
        limits: judgement.limits.as_deref().map(bounds),
    }
}

fn bounds(limits: &Limits) -> Bounds {
    let whom = |per: Per| match per {
        Per::Rule => "",
        Per::User => " per user",
        Per::Database => " per database",
        Per::Application => " per application",
        Per::Client => " per client",
        Per::Address => " per address",
        Per::Fingerprint => " per fingerprint",
    };
    let rates = limits.rates.iter().map(|bound| bound.at);
    let concurrency = limits.concurrency.iter().map(|bound| bound.at);
    Bounds {
        timeout: limits.timeout.map(|bound| format!("{:?}", bound.at)),
        rows: limits.rows.map(|bound| bound.at),
        bytes: limits.bytes.map(|bound| bound.at),
        rates: rates.map(|rate| format!("{} in {:?}{}", rate.count, rate.within, whom(rate.per))).collect(),
        concurrency: concurrency.map(|most| format!("{}{}", most.most, whom(most.per))).collect(),
    }
}
