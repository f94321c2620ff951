//! What follows from the rules that matched: the strictest action (block, then route, then warn), the smallest limits,
//! the strictest settings. Order never matters.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::model::{Act, Rule, RuleLimit};
use super::rewrite::{Text, Wanted, rewrite};
use super::settings;
use crate::guard::facts::Facts;
use crate::guard::{Action, Bound, Complaint, Hit, Lane, Limits};

/// A rule that matched, with its words filled in.
#[derive(Clone, Debug)]
pub struct Match {
    pub index: u32,
    /// Which statement of the text it speaks of, from 0.
    pub statement: usize,
    pub rule: Arc<Rule>,
    pub message: String,
    pub hint: String,
    /// `tables = orders, select_star = true`: the facts it went by.
    pub because: String,
}

/// A rule that may match at the run.
#[derive(Clone, Debug)]
pub(in crate::guard) struct Candidate {
    pub(super) statement: usize,
    pub(super) index: u32,
    pub(super) rule: Arc<Rule>,
}

/// All that matched of one text.
#[derive(Clone, Debug, Default)]
pub struct Decision {
    /// In the order of the rules; each at most once a text.
    pub matches: Vec<Match>,
    /// Rules that could not be answered and therefore did not match.
    pub unanswered: Vec<Arc<str>>,
    /// By statement. Empty if nothing was left for later.
    pub(in crate::guard) candidates: Vec<Candidate>,
}

impl Decision {
    /// Some rule that holds, or may hold at the run, wants another text: the verdict is of this very text.
    pub(in crate::guard) fn rewrites(&self) -> bool {
        let rules = self.matches.iter().map(|found| &found.rule);
        let mut rules = rules.chain(self.candidates.iter().map(|candidate| &candidate.rule));
        rules.any(|rule| rule.enforced && rule.rewrite.is_some())
    }

    /// The text to run instead and its facts; what cannot be rewritten is blocked if a rule wants it so.
    pub(in crate::guard) fn rewritten(
        &self,
        text: Option<&Text<'_>>,
        statements: &[Facts],
        fingerprint: u64,
    ) -> (Option<(String, Facts)>, Option<Complaint>) {
        let Some(wanted) = Wanted::of(self.enforced().map(|found| &*found.rule)) else { return (None, None) };
        match rewrite(&wanted, text, statements) {
            Ok(new) => (new, None),
            Err(reason) => (None, wanted.strict.map(|rule| refused(rule, &reason, fingerprint))),
        }
    }

    pub(super) fn unanswered(&mut self, rule: &Arc<str>) {
        if !self.unanswered.contains(rule) {
            self.unanswered.push(Arc::clone(rule));
        }
    }

    /// The strictest enforced action.
    #[must_use]
    pub fn action(&self) -> Action {
        self.enforced().map(|found| found.rule.act.action()).max().unwrap_or(Action::Allow)
    }

    fn enforced(&self) -> impl Iterator<Item = &Match> {
        self.matches.iter().filter(|found| found.rule.enforced)
    }

    /// The rule whose action holds: of the strictest the first by name.
    #[must_use]
    pub fn strictest(&self) -> Option<&Match> {
        self.enforced().min_by_key(|found| (std::cmp::Reverse(found.rule.act.action()), &found.rule.name))
    }

    /// Where the rules wish the text to run. Of two wishes the primary is the safe one, and a lane of its own was made
    /// to keep others' servers free: it goes before the replicas.
    #[must_use]
    pub fn wish(&self) -> Option<Lane> {
        let lanes = self.enforced().filter_map(|found| match found.rule.act {
            Act::Route(lane) => Some(lane),
            _ => None,
        });
        lanes.min()
    }

    #[must_use]
    pub fn hits(&self) -> Box<[Hit]> {
        let hit = |found: &Match| Hit {
            rule: found.index,
            action: found.rule.act.action(),
            enforced: found.rule.enforced,
        };
        self.matches.iter().map(hit).collect()
    }

    /// What the client is told, strictest first. `fingerprint` stands in the DETAIL, to find the statement again.
    #[must_use]
    pub fn complaints(&self, fingerprint: u64) -> Box<[Complaint]> {
        // A limit has its words ready for when it is met; nobody hears them before.
        let limits = |rule: &Rule| rule.limit.is_some() && rule.message.is_some();
        let told = self
            .enforced()
            .filter(|found| matches!(found.rule.act, Act::Warn | Act::Block) || limits(&found.rule));
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
        complaints.sort_by(|a, b| b.action.cmp(&a.action).then_with(|| a.rule.cmp(&b.rule)));
        complaints.into()
    }

    /// What the text may cost: the smallest of each bound. Of equal ones the rule that comes first by name set it.
    #[must_use]
    pub fn limits(&self) -> Option<Arc<Limits>> {
        let mut found: Vec<(&RuleLimit, u32)> = Vec::new();
        let mut rules: Vec<&Match> = self.enforced().filter(|found| found.rule.limit.is_some()).collect();
        rules.sort_by(|a, b| a.rule.name.cmp(&b.rule.name));
        found.extend(rules.iter().filter_map(|found| Some((found.rule.limit.as_ref()?, found.index))));
        let limits = Limits {
            timeout: smallest(&found, |limit| limit.timeout),
            rows: smallest(&found, |limit| limit.rows),
            bytes: smallest(&found, |limit| limit.bytes),
            rates: each(&found, |limit| limit.rate),
            concurrency: each(&found, |limit| limit.concurrency),
            names: rules.iter().map(|found| (found.index, Arc::clone(&found.rule.name))).collect(),
        };
        (!limits.is_empty()).then(|| Arc::new(limits))
    }

    /// Settings in force for the text, by name; of two values the stricter.
    #[must_use]
    pub fn set(&self) -> Box<[(Box<str>, Box<str>)]> {
        let mut all: BTreeMap<&str, &str> = BTreeMap::new();
        for (name, value) in self.enforced().flat_map(|found| &found.rule.set) {
            let held = all.entry(name).or_insert(value);
            if settings::laxity(name, value) < settings::laxity(name, held) {
                *held = value;
            }
        }
        all.into_iter().map(|(name, value)| (name.into(), value.into())).collect()
    }
}

/// The rule's own words are about what it rewrites; why this one cannot be is ours to say.
fn refused(rule: &Rule, reason: &str, fingerprint: u64) -> Complaint {
    let sqlstate = if rule.act == Act::Rewrite { rule.sqlstate } else { *b"42501" };
    Complaint {
        rule: Arc::clone(&rule.name),
        action: Action::Block,
        sqlstate,
        message: format!("Rule {} cannot rewrite this statement: {reason}.", rule.name),
        detail: format!("Rule {} of {}, fingerprint {fingerprint:016x}.", rule.name, rule.file),
        hint: "Write it as the rule asks, or let the rule have `otherwise = \"run\"`.".to_owned(),
    }
}

fn smallest<T: Ord + Copy>(of: &[(&RuleLimit, u32)], bound: fn(&RuleLimit) -> Option<T>) -> Option<Bound<T>> {
    let bounds = of.iter().filter_map(|(limit, rule)| Some(Bound { at: bound(limit)?, rule: *rule }));
    bounds.min_by_key(|bound| bound.at)
}

fn each<T>(of: &[(&RuleLimit, u32)], bound: fn(&RuleLimit) -> Option<T>) -> Box<[Bound<T>]> {
    of.iter().filter_map(|(limit, rule)| Some(Bound { at: bound(limit)?, rule: *rule })).collect()
}
