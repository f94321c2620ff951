//! Judged runs, added up in bounded room: by action, rule, statement and application.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::judge::Judged;
use super::{Entry, PolicySet};
use crate::guard::plan::{Advice, PlanFacts};
use crate::guard::{Action, Kind};

/// Rows that are kept; the rest is added up under `other`.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub fingerprints: usize,
    pub applications: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { fingerprints: 10_000, applications: 2_000 }
    }
}

/// Runs and their time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Cost {
    pub(super) calls: u64,
    /// Of those whose time is known.
    pub(super) seconds: f64,
}

impl Cost {
    fn add(&mut self, other: Self) {
        self.calls += other.calls;
        self.seconds += other.seconds;
    }
}

/// By action, in the order of [`ACTIONS`].
pub(super) type ByAction = [Cost; ACTIONS.len()];

/// Actions, the strictest first.
pub const ACTIONS: [Action; 7] =
    [Action::Block, Action::Route, Action::Warn, Action::Rewrite, Action::Limit, Action::Set, Action::Allow];

pub(super) fn place(action: Action) -> usize {
    ACTIONS.iter().position(|known| *known == action).unwrap_or(ACTIONS.len() - 1)
}

/// Fingerprints that a rule is remembered to have met.
pub(super) const MAX_MET: usize = 10_000;

#[derive(Debug, Default)]
pub(super) struct RuleTally {
    pub(super) cost: Cost,
    pub(super) fingerprints: HashSet<u64, ahash::RandomState>,
    /// Beyond the rule's limit.
    pub(super) exceeded: Cost,
    /// Runs of which it could not say whether it matches.
    pub(super) unanswered: u64,
    /// Runs that it matches if a parameter starts with a wildcard.
    pub(super) with_wildcard: u64,
}

#[derive(Debug, Default)]
pub(super) struct SetTally {
    pub(super) actions: ByAction,
    pub(super) rules: Vec<RuleTally>,
}

/// What one set of policies says of a fingerprint.
#[derive(Clone, Debug, Default)]
pub(super) struct RowSet {
    pub(super) actions: ByAction,
    pub(super) rules: Vec<u32>,
    /// The strictest rule's words.
    pub(super) message: Option<Box<str>>,
    pub(super) hint: Option<Box<str>>,
}

/// What the planner said of a fingerprint.
#[derive(Clone, Debug)]
pub(super) struct Planned {
    pub(super) facts: Arc<PlanFacts>,
    pub(super) advice: Arc<[Advice]>,
}

#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) normalized: Arc<str>,
    pub(super) kind: Kind,
    pub(super) cost: Cost,
    pub(super) failed: u64,
    pub(super) longest: f64,
    pub(super) sets: Vec<RowSet>,
    /// Runs of which the two sets decide otherwise.
    pub(super) differs: Cost,
    pub(super) planned: Option<Planned>,
}

#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) user: Box<str>,
    pub(super) database: Box<str>,
    pub(super) application: Box<str>,
    pub(super) cost: Cost,
    pub(super) sets: Vec<ByAction>,
}

/// All that was judged.
#[derive(Debug)]
pub struct Tally {
    bounds: Bounds,
    pub(super) total: Cost,
    pub(super) timed: u64,
    pub(super) failed: u64,
    pub(super) unparsed: Cost,
    pub(super) first: Option<i64>,
    pub(super) last: Option<i64>,
    pub(super) sets: Vec<SetTally>,
    pub(super) rows: HashMap<u64, Row, ahash::RandomState>,
    pub(super) other: Row,
    /// Fingerprints that were moved to `other`.
    pub(super) moved: u64,
    pub(super) groups: HashMap<u64, Group, ahash::RandomState>,
    pub(super) other_group: Group,
    /// From what to what.
    pub(super) moves: HashMap<(usize, usize), Cost>,
}

impl Tally {
    #[must_use]
    pub fn new(sets: &[PolicySet], bounds: Bounds) -> Self {
        let tally = |set: &PolicySet| SetTally {
            rules: set.policies.rules().iter().map(|_| RuleTally::default()).collect(),
            ..SetTally::default()
        };
        let group = |name: &str| Group {
            user: name.into(),
            database: "".into(),
            application: "".into(),
            cost: Cost::default(),
            sets: vec![ByAction::default(); sets.len()],
        };
        Self {
            bounds,
            total: Cost::default(),
            timed: 0,
            failed: 0,
            unparsed: Cost::default(),
            first: None,
            last: None,
            sets: sets.iter().map(tally).collect(),
            rows: HashMap::default(),
            other: row("other".into(), Kind::Utility, sets.len()),
            moved: 0,
            groups: HashMap::default(),
            other_group: group("other"),
            moves: HashMap::new(),
        }
    }

    /// A run, and what each set says of it.
    pub fn add(&mut self, entry: &Entry, judged: &[Judged]) {
        let Some(first) = judged.first() else { return };
        let cost = Cost { calls: entry.calls, seconds: entry.seconds.unwrap_or(0.0) };
        self.total.add(cost);
        self.timed += if entry.seconds.is_some() { entry.calls } else { 0 };
        self.failed += if entry.failed { entry.calls } else { 0 };
        if first.judgement.kind == Kind::Unparsed {
            self.unparsed.add(cost);
        }
        if let Some(time) = entry.time {
            self.first = Some(self.first.map_or(time, |first| first.min(time)));
            self.last = Some(self.last.map_or(time, |last| last.max(time)));
        }
        let fingerprint = first.judgement.fingerprint;
        for (set, judged) in self.sets.iter_mut().zip(judged) {
            set.add(fingerprint, cost, judged);
        }
        let differs = match judged {
            [one, other] => {
                let (from, to) = (place(other.judgement.action), place(one.judgement.action));
                self.moves.entry((from, to)).or_default().add(cost);
                from != to
            }
            _ => false,
        };
        self.add_row(entry, cost, judged, differs);
        self.add_group(entry, cost, judged);
    }

    fn add_row(&mut self, entry: &Entry, cost: Cost, judged: &[Judged], differs: bool) {
        let Some(first) = judged.first() else { return };
        let fingerprint = first.judgement.fingerprint;
        if self.rows.len() >= self.bounds.fingerprints.saturating_mul(2)
            && !self.rows.contains_key(&fingerprint)
        {
            self.make_room();
        }
        let row = self.rows.entry(fingerprint).or_insert_with(|| {
            row(Arc::clone(&first.judgement.normalized), first.judgement.kind, judged.len())
        });
        row.cost.add(cost);
        row.failed += if entry.failed { entry.calls } else { 0 };
        row.longest = row.longest.max(cost.seconds / cost.calls.max(1) as f64);
        if differs {
            row.differs.add(cost);
        }
        for (set, judged) in row.sets.iter_mut().zip(judged) {
            set.actions[place(judged.judgement.action)].add(cost);
            for hit in &judged.judgement.hits {
                if !set.rules.contains(&hit.rule) {
                    set.rules.push(hit.rule);
                }
            }
            if let (None, Some(complaint)) = (&set.message, judged.judgement.complaints.first()) {
                set.message = Some(complaint.message.as_str().into());
                set.hint = Some(complaint.hint.as_str().into()).filter(|_| !complaint.hint.is_empty());
            }
        }
    }

    /// The planner's answer about a fingerprint that was added.
    pub fn plan(&mut self, fingerprint: u64, facts: &Arc<PlanFacts>, advice: &Arc<[Advice]>) {
        if let Some(row) = self.rows.get_mut(&fingerprint)
            && row.planned.is_none()
        {
            row.planned = Some(Planned { facts: Arc::clone(facts), advice: Arc::clone(advice) });
        }
    }

    /// The lesser half goes to `other`: what no rule speaks of, what took least time, what came least often.
    fn make_room(&mut self) {
        let rank = |row: &Row| {
            let spoken = row.sets.iter().any(|set| !set.rules.is_empty());
            (spoken, row.cost.seconds, row.cost.calls)
        };
        let mut ranks: Vec<_> = self.rows.iter().map(|(id, row)| (rank(row), *id)).collect();
        ranks.sort_by(|a, b| b.0.partial_cmp(&a.0).unwrap_or(std::cmp::Ordering::Equal));
        for (_, id) in ranks.into_iter().skip(self.bounds.fingerprints) {
            let Some(row) = self.rows.remove(&id) else { continue };
            self.moved += 1;
            self.other.cost.add(row.cost);
            self.other.failed += row.failed;
            self.other.differs.add(row.differs);
            self.other.longest = self.other.longest.max(row.longest);
            for (other, set) in self.other.sets.iter_mut().zip(&row.sets) {
                other.actions.iter_mut().zip(set.actions).for_each(|(sum, cost)| sum.add(cost));
            }
        }
    }

    fn add_group(&mut self, entry: &Entry, cost: Cost, judged: &[Judged]) {
        let key = self.groups.hasher().hash_one((&entry.user, &entry.database, &entry.application));
        let full = self.groups.len() >= self.bounds.applications;
        let group = match self.groups.get_mut(&key) {
            Some(group) => group,
            None if full => &mut self.other_group,
            None => self.groups.entry(key).or_insert(Group {
                user: entry.user.clone(),
                database: entry.database.clone(),
                application: entry.application.clone(),
                cost: Cost::default(),
                sets: vec![ByAction::default(); judged.len()],
            }),
        };
        group.cost.add(cost);
        for (actions, judged) in group.sets.iter_mut().zip(judged) {
            actions[place(judged.judgement.action)].add(cost);
        }
    }

    /// Runs of that action by the first set.
    #[must_use]
    pub fn calls(&self, action: Action) -> u64 {
        self.sets.first().map_or(0, |set| set.actions[place(action)].calls)
    }

    /// Runs in all.
    #[must_use]
    pub fn total_calls(&self) -> u64 {
        self.total.calls
    }
}

fn row(normalized: Arc<str>, kind: Kind, sets: usize) -> Row {
    Row {
        normalized,
        kind,
        cost: Cost::default(),
        failed: 0,
        longest: 0.0,
        sets: vec![RowSet::default(); sets],
        differs: Cost::default(),
        planned: None,
    }
}

impl SetTally {
    fn add(&mut self, fingerprint: u64, cost: Cost, judged: &Judged) {
        let judgement = &judged.judgement;
        self.actions[place(judgement.action)].add(cost);
        let rules = &mut self.rules;
        let mut with = |index: u32, change: &mut dyn FnMut(&mut RuleTally)| {
            if let Some(rule) = rules.get_mut(index as usize) {
                change(rule);
            }
        };
        for hit in &judgement.hits {
            with(hit.rule, &mut |rule| {
                rule.cost.add(cost);
                if rule.fingerprints.len() < MAX_MET {
                    rule.fingerprints.insert(fingerprint);
                }
            });
        }
        for index in &judged.exceeded {
            with(*index, &mut |rule| rule.exceeded.add(cost));
        }
        for index in judged.unanswered.iter() {
            with(*index, &mut |rule| rule.unanswered += cost.calls);
        }
        for hit in judged.with_wildcard.iter().flat_map(|wild| &wild.hits) {
            if !judgement.hits.iter().any(|known| known.rule == hit.rule) {
                with(hit.rule, &mut |rule| rule.with_wildcard += cost.calls);
            }
        }
    }
}
