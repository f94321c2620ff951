//! The registry: who counts, and the sums.

use std::sync::atomic::{AtomicI64, AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use super::advice::AdviceTable;
use super::counters::ThreadMeters;
use super::fingerprints::{Ranking, Sample, Shown};
use super::labels::{Labels, RuleLabel, RuleMap};
use super::locked;
use super::totals::Totals;

/// How much the metrics may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Distinct (database, user) pairs with series of their own, per server; also distinct databases.
    pub label_pairs: usize,
    /// Fingerprints remembered per data thread, and over all threads.
    pub tracked_fingerprints: usize,
    /// Fingerprints with series of their own, at most half of the tracked ones.
    pub top_fingerprints: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { label_pairs: 200, tracked_fingerprints: 1_000, top_fingerprints: 50 }
    }
}

/// All counters of the process.
#[derive(Debug)]
pub struct Meters {
    bounds: Bounds,
    labels: Arc<Labels>,
    threads: Mutex<Vec<Arc<ThreadMeters>>>,
    ranking: Mutex<Ranking>,
    advice: AdviceTable,
    /// 0 nothing loaded yet, 1 the last load succeeded, 2 it failed.
    policies: AtomicU8,
    policies_loaded: AtomicI64,
    policy_generation: AtomicI64,
}

/// The outcome of the last load of the policies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PolicyLoad {
    pub success: bool,
    /// Seconds since 1970 of the last load that succeeded; 0 if none did.
    pub timestamp: i64,
    /// The version in force.
    pub generation: i64,
}

/// What fingerprints cost, each with its database's name.
#[derive(Clone, Debug)]
pub struct Fingerprints {
    /// The dearest, dearest first.
    pub top: Vec<(Arc<str>, Shown)>,
    /// The rest, per database.
    pub other: Vec<(Arc<str>, Sample)>,
}

impl Meters {
    #[must_use]
    pub fn new(bounds: Bounds) -> Arc<Self> {
        Arc::new(Self {
            bounds,
            labels: Arc::new(Labels::new(bounds.label_pairs)),
            threads: Mutex::default(),
            ranking: Mutex::new(Ranking::new(bounds.tracked_fingerprints, bounds.top_fingerprints)),
            advice: AdviceTable::default(),
            policies: AtomicU8::new(0),
            policies_loaded: AtomicI64::new(0),
            policy_generation: AtomicI64::new(0),
        })
    }

    /// Cells for one data thread, which alone may write to them. Kept for ever: call it once per thread.
    #[must_use]
    pub fn thread(&self) -> Arc<ThreadMeters> {
        let thread = ThreadMeters::new(Arc::clone(&self.labels), self.bounds.tracked_fingerprints);
        let thread = Arc::new(thread);
        locked(&self.threads).push(Arc::clone(&thread));
        thread
    }

    /// Indexes that would help.
    #[must_use]
    pub fn advice(&self) -> &AdviceTable {
        &self.advice
    }

    /// The counters for the rules of freshly loaded policies, in the order of their numbers. A name keeps its
    /// total over reloads; beyond 1,023 names ever seen, further ones count as `other`.
    #[must_use]
    pub fn rules(&self, rules: &[RuleLabel]) -> RuleMap {
        self.labels.map(rules)
    }

    /// Policies were loaded, or refused.
    pub fn policy_load(&self, success: bool, at: SystemTime) {
        if success {
            let seconds = at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64);
            self.policies_loaded.store(seconds, Ordering::Relaxed);
        }
        self.policies.store(if success { 1 } else { 2 }, Ordering::Relaxed);
    }

    /// This version of the policies is in force.
    pub fn policy_generation(&self, generation: u32) {
        self.policy_generation.store(generation.into(), Ordering::Relaxed);
    }

    /// None before the first load.
    #[must_use]
    pub fn last_policy_load(&self) -> Option<PolicyLoad> {
        let success = match self.policies.load(Ordering::Relaxed) {
            0 => return None,
            state => state == 1,
        };
        let timestamp = self.policies_loaded.load(Ordering::Relaxed);
        let generation = self.policy_generation.load(Ordering::Relaxed);
        Some(PolicyLoad { success, timestamp, generation })
    }

    pub(super) fn label_pairs(&self) -> usize {
        self.bounds.label_pairs
    }

    fn threads(&self) -> Vec<Arc<ThreadMeters>> {
        locked(&self.threads).clone()
    }

    #[must_use]
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        self.threads().iter().for_each(|thread| totals.add(thread));
        totals
    }

    /// Rules by slot; the first is `other`.
    pub(super) fn rule_labels(&self) -> Vec<RuleLabel> {
        self.labels.rules()
    }

    /// What fingerprints cost, up to now.
    #[must_use]
    pub fn fingerprints(&self) -> Fingerprints {
        let threads = self.threads();
        let mut ranking = locked(&self.ranking);
        ranking.harvest(threads.iter().map(|thread| thread.fingerprints()));
        let databases = self.labels.databases();
        let name = |id: super::labels::DatabaseId| {
            databases.get(id.0 as usize).map_or_else(|| super::labels::OTHER.into(), Arc::clone)
        };
        Fingerprints {
            top: ranking.shown().into_iter().map(|row| (name(row.database), row)).collect(),
            other: ranking.other().map(|(database, cost)| (name(database), cost)).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::guard::Action;
    use std::time::Duration;

    #[test]
    fn verdicts_are_kept_by_rule_name_over_a_reload() {
        let meters = Meters::new(Bounds::default());
        let thread = meters.thread();
        let rule = |name: &str| RuleLabel { name: name.into(), action: Action::Block, enforced: true };
        let before = meters.rules(&[rule("a"), rule("b")]);
        thread.verdict(&before, 1, Action::Block, true);
        let after = meters.rules(&[rule("b")]);
        thread.verdict(&after, 0, Action::Block, true);
        thread.verdict(&after, 0, Action::Warn, false);
        thread.verdict(&before, 0, Action::Block, true);
        let totals = meters.totals().verdicts;
        assert_eq!(totals[&after.slot(0)][Action::Block as usize * 2], 2);
        assert_eq!(totals[&after.slot(0)][Action::Warn as usize * 2 + 1], 1);
        assert_eq!(totals[&before.slot(0)].iter().sum::<u64>(), 1);
    }

    #[test]
    fn a_failed_load_keeps_the_time_of_the_good_one() {
        let meters = Meters::new(Bounds::default());
        assert_eq!(meters.last_policy_load(), None);
        meters.policy_load(true, UNIX_EPOCH + Duration::from_secs(7));
        meters.policy_load(false, UNIX_EPOCH + Duration::from_secs(9));
        assert_eq!(
            meters.last_policy_load(),
            Some(PolicyLoad { success: false, timestamp: 7, generation: 0 })
        );
    }
}
