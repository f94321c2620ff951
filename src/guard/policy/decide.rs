//! Asks the rules about a text. Every rule that matches speaks, and order never matters.

use std::sync::Arc;

use super::condition::{Answer, Condition, context, show};
use super::decision::{Candidate, Decision, Match};
use super::model::{Act, Policies, Rule};
use super::select::Selected;
use crate::guard::facts::Facts;
use crate::guard::rules::Finding;
use crate::guard::{CatalogFacts, Circumstances, Class, ClientFacts, Subject, TimeFacts};

/// Whether all is known that will be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::guard) enum Asked {
    /// What is not known never will be: a rule that needs it has no answer.
    Now,
    /// The text is judged before its run: rules that wait for the session, the time or parameters become candidates.
    Ahead,
}

/// Asks every rule about every statement of a text.
#[must_use]
pub fn decide(
    policies: &Policies,
    class: &Class,
    statements: &[Facts],
    around: &Circumstances<'_>,
) -> Decision {
    let client = ClientFacts::from(class);
    let known = catalog_facts(around, statements);
    decide_when(policies, (&client, 0), statements, &known, around, Asked::Now)
}

/// Of each statement, if there is a catalog.
pub(in crate::guard) fn catalog_facts(around: &Circumstances<'_>, statements: &[Facts]) -> Vec<CatalogFacts> {
    let catalog = around.catalog.into_iter();
    catalog.flat_map(|catalog| statements.iter().map(|facts| CatalogFacts::of(catalog, facts))).collect()
}

pub(in crate::guard) fn decide_when(
    policies: &Policies,
    (client, fingerprint): (&ClientFacts, u64),
    statements: &[Facts],
    known: &[CatalogFacts],
    around: &Circumstances<'_>,
    asked: Asked,
) -> Decision {
    let mut decision = Decision::default();
    let mut matched = vec![false; policies.rules.len()];
    for (at, facts) in statements.iter().enumerate() {
        // The rules have said already what they say of the same statement.
        if at.checked_sub(1).and_then(|before| statements.get(before)) == Some(facts) {
            continue;
        }
        let subject = Subject { facts, client, around, known: known.get(at) };
        let mut asking = Asking::new(&policies.env, &policies.reads);
        for (index, rule) in policies.rules.iter().enumerate() {
            if matched[index] {
                continue;
            }
            let rule_index = u32::try_from(index).unwrap_or(u32::MAX);
            match asking.ask(rule, &subject, asked) {
                Outcome::Silent => {}
                Outcome::Unanswered => decision.unanswered(&rule.name),
                Outcome::Later => decision.candidates.push(Candidate {
                    statement: at,
                    index: rule_index,
                    rule: Arc::clone(rule),
                }),
                Outcome::Speaks(finding) => {
                    matched[index] = true;
                    decision.matches.push(speak((rule_index, at), rule, &subject, fingerprint, finding));
                }
            }
        }
    }
    decision.matches.sort_by_key(|found| found.index);
    decision
}

/// What a rule says of a statement.
pub(super) enum Outcome {
    Silent,
    /// It reads what is not known of this statement.
    Unanswered,
    Later,
    Speaks(Option<Finding>),
}

/// The rules' common work about one statement.
pub(super) struct Asking<'e> {
    env: &'e Arc<cel::Env>,
    reads: &'e super::check::Reads,
    /// Made for the first condition that asks; most statements get no further than a detector.
    context: Option<cel::Context<'static, 'static>>,
    /// The same for a rule with a zone of its own.
    zoned: Option<(jiff::tz::TimeZone, cel::Context<'static, 'static>)>,
}

impl<'e> Asking<'e> {
    pub(super) fn new(env: &'e Arc<cel::Env>, reads: &'e super::check::Reads) -> Self {
        Self { env, reads, context: None, zoned: None }
    }

    pub(super) fn ask(&mut self, rule: &Rule, subject: &Subject<'_>, asked: Asked) -> Outcome {
        if rule.is_list || rule.is_foreign_to(subject.facts) {
            return Outcome::Silent;
        }
        // Ahead of a run there is no time, and most rules are asked then.
        let now = subject.around.now.filter(|_| subject.around.time.is_none());
        let time = now.filter(|_| rule.reads_time());
        let time = time.and_then(|now| TimeFacts::at(now, &rule.schedule.zone));
        let told = subject.around.time;
        let around = Circumstances { time: time.as_ref().or(told), ..*subject.around };
        let subject = &Subject { around: &around, ..*subject };
        let narrowed = selected(rule, subject);
        if narrowed == Answer::No {
            return Outcome::Silent;
        }
        let ahead = asked == Asked::Ahead;
        let mut open = ahead && (rule.schedule.is_live() || rule.shows_live());
        let scheduled =
            if ahead && rule.schedule.is_live() { Answer::Yes } else { rule.schedule.holds(&around) };
        if scheduled == Answer::No {
            return Outcome::Silent;
        }
        let mut finding = None;
        if let Some(detector) = rule.finds {
            if ahead && rule.finds_live() {
                open = true;
            } else {
                match (detector.check)(subject, &rule.with) {
                    Some(found) => finding = Some(found),
                    None => return Outcome::Silent,
                }
            }
        }
        let met = self.condition(rule, subject, told);
        let waits = || {
            // What is known already may decide alone; `has(…)` would take what is not known yet for an answer.
            let open = |condition: &Condition| met == Answer::Unknown || condition.reads.tests;
            rule.when.as_ref().is_some_and(|condition| open(condition) && condition.reads.is_live())
        };
        if ahead && waits() {
            return Outcome::Later;
        }
        match narrowed.and(scheduled).and(met) {
            Answer::No => Outcome::Silent,
            _ if open => Outcome::Later,
            Answer::Unknown if !rule.match_unknown => Outcome::Unanswered,
            Answer::Yes | Answer::Unknown => Outcome::Speaks(finding),
        }
    }

    /// `told`: the time, if somebody said one.
    fn condition(&mut self, rule: &Rule, subject: &Subject<'_>, told: Option<&TimeFacts>) -> Answer {
        let Some(condition) = &rule.when else { return Answer::Yes };
        if let Some(answer) = condition.ask_quickly(subject) {
            return answer;
        }
        if condition.reads.has_root("time") && rule.schedule.zone != jiff::tz::TimeZone::UTC {
            let zone = &rule.schedule.zone;
            if self.zoned.as_ref().is_none_or(|(known, _)| known != zone) {
                self.zoned = Some((zone.clone(), context(self.env, subject, self.reads)));
            }
            return self.zoned.as_ref().map_or(Answer::Unknown, |(_, context)| condition.ask(context));
        }
        let (env, reads) = (self.env, self.reads);
        condition.ask(self.context.get_or_insert_with(|| {
            // For all rules without a zone, whichever of them comes first.
            let now = subject.around.now.filter(|_| reads.has_root("time"));
            let time = now.and_then(|now| TimeFacts::at(now, &jiff::tz::TimeZone::UTC));
            let around = Circumstances { time: told.or(time.as_ref()), ..*subject.around };
            context(env, &Subject { around: &around, ..*subject }, reads)
        }))
    }
}

/// `only` and `unless`.
fn selected(rule: &Rule, subject: &Subject<'_>) -> Answer {
    let mut answer = Answer::Yes;
    if !rule.only.is_empty() {
        let mut best = Answer::No;
        for selector in &rule.only {
            match selector.includes(subject.client, subject.facts) {
                Selected::Yes => best = Answer::Yes,
                Selected::Unknown if best == Answer::No => best = Answer::Unknown,
                Selected::Unknown | Selected::No => {}
            }
        }
        answer = best;
    }
    if rule.unless.iter().any(|selector| selector.exempts(subject.client, subject.facts)) {
        return Answer::No;
    }
    answer
}

/// Adds what the allow-list says of a text.
pub(in crate::guard) fn decide_by_list(
    policies: &Policies,
    client: &ClientFacts,
    key: Option<u64>,
    statements: &[Facts],
    decision: &mut Decision,
) {
    let Some((list, index)) = &policies.allow_list else { return };
    let Some(rule) = policies.rules.get(*index as usize).filter(|_| list.refuses(client, key, statements))
    else {
        return;
    };
    let why = match key {
        Some(_) => "it is not in the allow-list",
        None => "it cannot be read, so it is in no list",
    };
    decision.matches.push(Match {
        index: *index,
        statement: 0,
        rule: Arc::clone(rule),
        message: "A statement like this was never seen while the allow-list was learned.".to_owned(),
        hint: format!(
            "Let it run while the list has `mode = \"learn\"`, or add its fingerprint to {}.",
            list.file
        ),
        because: why.to_owned(),
    });
    decision.matches.sort_by_key(|found| found.index);
}

pub(super) fn speak(
    (index, statement): (u32, usize),
    rule: &Arc<Rule>,
    subject: &Subject<'_>,
    fingerprint: u64,
    finding: Option<Finding>,
) -> Match {
    let (said, hinted) = finding.map_or((None, None), |finding| (Some(finding.message), Some(finding.hint)));
    let filled = |template: &Option<super::template::Template>| {
        template.as_ref().map(|template| template.fill(rule, subject, fingerprint))
    };
    let message = filled(&rule.message).or(said).unwrap_or_else(|| match rule.act {
        Act::Block => format!("Rule {} does not allow this statement.", rule.name),
        _ => format!("Rule {} matches this statement.", rule.name),
    });
    let mut names: Vec<&str> = rule.finds.map_or(Vec::new(), |detector| {
        detector.reads.iter().filter_map(|fact| fact.strip_prefix("query.")).collect()
    });
    names.extend(rule.when.iter().flat_map(|condition| condition.reads.of_query()));
    if names.is_empty() {
        names.extend(["kind", "tables"]);
    }
    let mut because: Vec<String> = Vec::new();
    for fact in names.iter().filter_map(|name| show(subject, name)) {
        if !because.contains(&fact) {
            because.push(fact);
        }
    }
    Match {
        index,
        statement,
        rule: Arc::clone(rule),
        message,
        hint: filled(&rule.hint).or(hinted).unwrap_or_default(),
        because: because.join(", "),
    }
}
