//! Which label values may appear: names a client can choose become labels only up to a bound.
//!
//! The first names seen keep their own series for the life of the process; later ones share `other`. Names are
//! never given up: a series that changed its meaning would be worse than a coarse one.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

use super::locked;
use crate::guard::Action;

/// The label of all that came after the bound was reached.
pub const OTHER: &str = "other";

/// Longest label value in bytes. PostgreSQL's names have at most 63; the rest is somebody trying.
const MAX_LABEL: usize = 128;

/// A database's number in the fingerprint tables. 0 is [`OTHER`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DatabaseId(pub(super) u32);

/// A rule name's place in the verdict counters. 0 is [`OTHER`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot(pub(super) u32);

/// A rule as the metrics know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleLabel {
    pub name: Arc<str>,
    pub action: Action,
    /// False in `mode = "observe"`.
    pub enforced: bool,
}

/// From the rule numbers of one set of policies to counters that outlive it. Made by
/// [`Meters::rules`](super::Meters::rules) at load; travels with the policies.
#[derive(Clone, Debug, Default)]
pub struct RuleMap(Arc<[(Slot, Arc<str>)]>);

impl RuleMap {
    #[inline]
    #[must_use]
    pub fn slot(&self, rule: u32) -> Slot {
        self.0.get(rule as usize).map(|(slot, _)| *slot).unwrap_or_default()
    }

    /// The number here of a rule that had this one, perhaps in other policies; one that is gone counts as `other`.
    #[must_use]
    pub fn number(&self, rule: u32, name: &str) -> u32 {
        if self.0.get(rule as usize).is_some_and(|(_, known)| **known == *name) {
            return rule;
        }
        let at = self.0.iter().position(|(_, known)| **known == *name);
        at.and_then(|at| u32::try_from(at).ok()).unwrap_or(u32::MAX)
    }
}

#[derive(Debug)]
pub struct Labels {
    limit: usize,
    state: Mutex<State>,
}

/// Database and user.
type Pair = (Arc<str>, Arc<str>);

#[derive(Debug, Default)]
struct State {
    /// Admitted (database, user) pairs per server; the empty name stands for the clients.
    pairs: HashMap<Box<str>, HashSet<Pair>>,
    databases: Vec<Arc<str>>,
    rules: Vec<RuleLabel>,
}

impl Labels {
    pub const MAX_RULES: usize = 1024;

    pub(super) fn new(limit: usize) -> Self {
        let other = RuleLabel { name: OTHER.into(), action: Action::Allow, enforced: true };
        let state = State { databases: vec![OTHER.into()], rules: vec![other], ..State::default() };
        Self { limit, state: Mutex::new(state) }
    }

    /// The pair as it may appear beside this server.
    pub(super) fn pair(&self, server: &str, database: &str, user: &str) -> Pair {
        let pair: Pair = (cut(database, MAX_LABEL).into(), cut(user, MAX_LABEL).into());
        let mut state = locked(&self.state);
        let admitted = state.pairs.entry(server.into()).or_default();
        if admitted.contains(&pair) {
            return pair;
        }
        if admitted.len() >= self.limit {
            return (OTHER.into(), OTHER.into());
        }
        admitted.insert(pair.clone());
        pair
    }

    pub(super) fn database(&self, name: &str) -> DatabaseId {
        let name = cut(name, MAX_LABEL);
        let mut state = locked(&self.state);
        if let Some(id) = state.databases.iter().position(|known| **known == *name) {
            return DatabaseId(id as u32);
        }
        if state.databases.len() > self.limit {
            return DatabaseId::default();
        }
        state.databases.push(name.into());
        DatabaseId(state.databases.len() as u32 - 1)
    }

    pub(super) fn databases(&self) -> Vec<Arc<str>> {
        locked(&self.state).databases.clone()
    }

    /// Same name, same counters, whatever its number in the new policies.
    pub(super) fn map(&self, rules: &[RuleLabel]) -> RuleMap {
        let mut state = locked(&self.state);
        let slots = rules.iter().map(|rule| {
            let name = cut(&rule.name, MAX_LABEL);
            let slot = if let Some(slot) = state.rules.iter().position(|known| *known.name == *name) {
                state.rules[slot].clone_from(&RuleLabel { name: name.into(), ..rule.clone() });
                Slot(slot as u32)
            } else if state.rules.len() >= Self::MAX_RULES {
                Slot::default()
            } else {
                state.rules.push(RuleLabel { name: name.into(), ..rule.clone() });
                Slot(state.rules.len() as u32 - 1)
            };
            (slot, Arc::clone(&rule.name))
        });
        RuleMap(slots.collect())
    }

    /// Rules by slot, each as it was last loaded.
    pub(super) fn rules(&self) -> Vec<RuleLabel> {
        locked(&self.state).rules.clone()
    }
}

/// The longest start of `text` that fits, whole characters only.
pub(super) fn cut(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn rule(name: &str) -> RuleLabel {
        RuleLabel { name: name.into(), action: Action::Warn, enforced: true }
    }

    #[test]
    fn pairs_beyond_the_bound_share_other() {
        let labels = Labels::new(2);
        assert_eq!(&*labels.pair("primary", "a", "x").0, "a");
        assert_eq!(&*labels.pair("primary", "b", "x").0, "b");
        assert_eq!(&*labels.pair("primary", "c", "x").0, OTHER);
        assert_eq!(&*labels.pair("primary", "a", "x").0, "a", "an admitted pair stays");
        assert_eq!(&*labels.pair("replica", "c", "x").0, "c", "each server has its own bound");
    }

    #[test]
    fn long_names_are_cut_at_a_character() {
        let labels = Labels::new(10);
        let long = "é".repeat(5_000);
        assert_eq!(labels.pair("", &long, "u").0.len(), MAX_LABEL);
        assert_eq!(cut("aé", 2), "a");
        assert_eq!(cut("aé", 3), "aé");
    }

    #[test]
    fn databases_are_numbered_and_bounded() {
        let labels = Labels::new(2);
        let (a, b, c) = (labels.database("a"), labels.database("b"), labels.database("c"));
        assert_eq!((a.0, b.0, c.0), (1, 2, 0));
        assert_eq!(labels.database("b"), b);
    }

    #[test]
    fn a_rule_keeps_its_slot_when_policies_are_loaded_again() {
        let labels = Labels::new(10);
        let before = labels.map(&[rule("first"), rule("second")]);
        let after = labels.map(&[rule("new"), rule("second")]);
        assert_eq!(before.slot(1), after.slot(1));
        assert_ne!(before.slot(0), after.slot(0));
        assert_eq!(after.slot(99), Slot::default(), "an unknown number is other");
        let many: Vec<_> = (0..2_000).map(|n| rule(&format!("r{n}"))).collect();
        let map = labels.map(&many);
        assert_eq!(map.slot(1_999), Slot::default());
        assert_eq!(labels.rules().len(), Labels::MAX_RULES);
    }
}
