//! What is counted of each rule.

use std::sync::OnceLock;

use super::counters::{ACTIONS, Cell, MODES, ThreadMeters};
use super::labels::{Labels, RuleMap};
use crate::guard::Action;
use crate::session::Limit;

/// Verdicts of one rule, and behind them the limits of it that were met.
pub(super) const VERDICTS: usize = ACTIONS.len() * MODES.len();
pub(super) const CELLS: usize = VERDICTS + Limit::NAMES.len();
pub(super) const SLOTS_PER_CHUNK: usize = 64;
const CHUNKS: usize = Labels::MAX_RULES.div_ceil(SLOTS_PER_CHUNK);
type VerdictChunk = [[Cell; CELLS]; SLOTS_PER_CHUNK];
/// Grown by the owner as rules hit, never moved: the reader needs no lock.
pub(super) type Verdicts = [OnceLock<Box<VerdictChunk>>; CHUNKS];

pub(super) fn none() -> Verdicts {
    std::array::from_fn(|_| OnceLock::new())
}

impl ThreadMeters {
    /// A rule matched. `rules` is the map that came with the policies which judged the statement, so that a
    /// judgement made before a reload keeps its rule's name.
    #[inline]
    pub fn verdict(&self, rules: &RuleMap, rule: u32, action: Action, enforced: bool) {
        self.count(rules, rule, action as usize * MODES.len() + usize::from(!enforced));
    }

    /// A statement met a limit that this rule sets.
    pub fn limited(&self, rules: &RuleMap, rule: u32, limit: Limit) {
        self.count(rules, rule, VERDICTS + limit as usize);
    }

    #[inline]
    fn count(&self, rules: &RuleMap, rule: u32, cell: usize) {
        let slot = rules.slot(rule).0 as usize;
        let Some(chunk) = self.verdicts.get(slot / SLOTS_PER_CHUNK) else { return };
        let chunk =
            chunk.get_or_init(|| Box::new(std::array::from_fn(|_| std::array::from_fn(|_| Cell::default()))));
        chunk[slot % SLOTS_PER_CHUNK][cell].add(1);
    }
}
