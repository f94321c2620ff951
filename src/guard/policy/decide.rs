//! What the policies say of a text. Every rule that matches speaks, the strictest action wins (block, then route,
//! then warn), and order never matters.

use std::sync::Arc;

use super::condition::{Answer, context, show};
use super::model::{Act, Policies, Rule};
use super::select::Selected;
use crate::guard::facts::Facts;
use crate::guard::rules::Finding;
use crate::guard::{Action, CatalogFacts, Circumstances, Class, ClientFacts, Complaint, Hit, Lane, Subject};

/// A rule that matched, with its words filled in.
#[derive(Clone, Debug)]
pub struct Match<'p> {
    pub index: u32,
    pub rule: &'p Rule,
    pub message: String,
    pub hint: String,
    /// `tables = orders, select_star = true`: the facts it went by.
    pub because: String,
}

/// All that matched of one text.
#[derive(Debug, Default)]
pub struct Decision<'p> {
    /// In the order of the rules; each at most once a text.
    pub matches: Vec<Match<'p>>,
    /// Rules that could not be answered and therefore did not match.
    pub unanswered: Vec<Arc<str>>,
}

/// Asks every rule about every statement of a text.
#[must_use]
pub fn decide<'p>(
    policies: &'p Policies,
    class: &Class,
    statements: &[Facts],
    around: &Circumstances<'_>,
) -> Decision<'p> {
    let mut decision = Decision::default();
    let mut matched = vec![false; policies.rules.len()];
    let client = ClientFacts::from(class);
    for facts in statements {
        let known = around.catalog.map(|catalog| CatalogFacts::of(catalog, facts));
        let subject = Subject { facts, client: &client, around, known: known.as_ref() };
        // Made for the first rule that asks; most statements get no further than a detector.
        let mut asked = None;
        for (index, rule) in policies.rules.iter().enumerate() {
            if matched[index] {
                continue;
            }
            let finding = match rule.finds.map(|detector| (detector.check)(&subject, &rule.with)) {
                Some(None) => continue,
                Some(Some(finding)) => Some(finding),
                None => None,
            };
            match answer(rule, &subject, policies, &mut asked) {
                Answer::No => {}
                Answer::Unknown if !rule.match_unknown => {
                    if !decision.unanswered.contains(&rule.name) {
                        decision.unanswered.push(Arc::clone(&rule.name));
                    }
                }
                Answer::Yes | Answer::Unknown => {
                    matched[index] = true;
                    decision.matches.push(speak(index, rule, &subject, finding));
                }
            }
        }
    }
    decision.matches.sort_by_key(|found| found.index);
    decision
}

fn answer<'a>(
    rule: &Rule,
    subject: &Subject<'_>,
    policies: &Policies,
    asked: &mut Option<cel::Context<'a, 'a>>,
) -> Answer {
    let mut unknown = false;
    if !rule.only.is_empty() {
        let each = rule.only.iter().map(|selector| selector.includes(subject.client, subject.facts));
        match each.max_by_key(|selected| {
            [Selected::No, Selected::Unknown, Selected::Yes].iter().position(|s| s == selected)
        }) {
            Some(Selected::Yes) => {}
            Some(Selected::Unknown) => unknown = true,
            Some(Selected::No) | None => return Answer::No,
        }
    }
    if rule.unless.iter().any(|selector| selector.exempts(subject.client, subject.facts)) {
        return Answer::No;
    }
    let answer = rule.when.as_ref().map_or(Answer::Yes, |condition| {
        let context = asked.get_or_insert_with(|| context(&policies.env, subject, &policies.reads));
        condition.ask(context)
    });
    if unknown && answer == Answer::Yes { Answer::Unknown } else { answer }
}

fn speak<'p>(index: usize, rule: &'p Rule, subject: &Subject<'_>, finding: Option<Finding>) -> Match<'p> {
    let (said, hinted) = finding.map_or((None, None), |finding| (Some(finding.message), Some(finding.hint)));
    let filled = |template: &Option<super::model::Template>| {
        template.as_ref().map(|template| template.fill(&rule.name, subject.facts))
    };
    let message = filled(&rule.message).or(said).unwrap_or_else(|| match rule.act {
        Act::Block => format!("Rule {} does not allow this statement.", rule.name),
        Act::Warn | Act::Route(_) => format!("Rule {} matches this statement.", rule.name),
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
        index: u32::try_from(index).unwrap_or(u32::MAX),
        rule,
        message,
        hint: filled(&rule.hint).or(hinted).unwrap_or_default(),
        because: because.join(", "),
    }
}

impl Decision<'_> {
    /// The strictest enforced action.
    #[must_use]
    pub fn action(&self) -> Action {
        self.enforced().map(|found| found.rule.act.action()).max().unwrap_or(Action::Allow)
    }

    fn enforced(&self) -> impl Iterator<Item = &Match<'_>> {
        self.matches.iter().filter(|found| found.rule.enforced)
    }

    /// The rule whose action holds: the first of the strictest.
    #[must_use]
    pub fn strictest(&self) -> Option<&Match<'_>> {
        let action = self.action();
        self.enforced().find(|found| found.rule.act.action() == action)
    }

    /// Where the rules wish the text to run. Of two wishes the primary is the safe one.
    #[must_use]
    pub fn wish(&self) -> Option<Lane> {
        let lanes = self.enforced().filter_map(|found| match found.rule.act {
            Act::Route(lane) => Some(lane),
            Act::Warn | Act::Block => None,
        });
        lanes.reduce(|a, b| if a == Lane::Primary { a } else { b })
    }

    #[must_use]
    pub fn hits(&self) -> Box<[Hit]> {
        let hit = |found: &Match<'_>| Hit {
            rule: found.index,
            action: found.rule.act.action(),
            enforced: found.rule.enforced,
        };
        self.matches.iter().map(hit).collect()
    }

    /// What the client is told, strictest first. `fingerprint` stands in the DETAIL, to find the statement again.
    #[must_use]
    pub fn complaints(&self, fingerprint: u64) -> Box<[Complaint]> {
        let told = self.enforced().filter(|found| !matches!(found.rule.act, Act::Route(_)));
        let mut complaints: Vec<Complaint> = told
            .map(|found| Complaint {
                rule: Arc::clone(&found.rule.name),
                action: found.rule.act.action(),
                sqlstate: found.rule.sqlstate,
                message: found.message.clone(),
                detail: format!(
                    "Rule {} of {}, fingerprint {fingerprint:016x}: {}.",
                    found.rule.name, found.rule.file, found.because
                ),
                hint: found.hint.clone(),
            })
            .collect();
        complaints.sort_by_key(|complaint| std::cmp::Reverse(complaint.action));
        complaints.into()
    }
}
