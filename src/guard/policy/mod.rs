//! Policies: which findings and facts lead to which action, for whom.
//!
//! `load.rs` reads files into `model.rs`; `condition.rs` and `check.rs` are the CEL part of a rule, `select.rs` its
//! `only` and `unless`, `schedule.rs` its times and share; `decide.rs` asks all rules about a text, `decision.rs` says
//! what follows, `live.rs` asks again at each run, `rewrite.rs` changes texts, `allow.rs` knows those that may run; `case.rs` runs the cases beside a policy.

mod allow;
mod case;
mod case_load;
mod check;
mod columns;
mod condition;
mod decide;
mod decision;
mod live;
mod load;
mod load_actions;
mod load_rewrite;
mod load_schedule;
mod load_select;
mod model;
mod packs;
mod predicate;
mod quick;
mod rewrite;
mod schedule;
mod select;
mod settings;
mod template;
mod units;

pub(super) use allow::key as allow_key;
pub use allow::{AllowList, Learned, ListMode, read_learned, write_learned};
pub use case::{Case, ExpectedLimits, Failure, Outcome, run_case, run_cases};
pub use case_load::{CASE_KEYS, EXPECTED_ACTIONS, LIMIT_KEYS, load_cases, load_cases_with, moment};
pub use decide::decide;
pub(super) use decide::{Asked, catalog_facts, decide_by_list, decide_when};
pub use decision::{Decision, Match};
pub use live::{Live, settle, settle_by_plan};
pub use load::RULE_KEYS;
pub use model::{Act, PlanAsk, Policies, Rule, RuleLimit};
pub use packs::{PACKS, Pack};
pub(super) use rewrite::Text;

/// docs/FACTS.md.
#[must_use]
pub fn facts_documentation() -> String {
    condition::documentation()
}

/// Every fact that conditions may read: its root and its name.
pub fn facts() -> impl Iterator<Item = (&'static str, &'static str)> {
    condition::ROOTS.iter().flat_map(|root| (root.fields)().into_iter().map(|(name, _)| (root.name, name)))
}

/// Whether a condition could read it: `query.tables`.
#[must_use]
pub fn is_fact(name: &str) -> bool {
    name.split_once('.').is_some_and(|(root, field)| {
        let fields = condition::ROOTS.iter().find(|known| known.name == root).map(|root| (root.fields)());
        fields.is_some_and(|fields| fields.iter().any(|(name, _)| *name == field))
    })
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod rewrite_tests;
#[cfg(test)]
mod allow_tests;
#[cfg(test)]
mod needs_tests;
#[cfg(test)]
mod properties;
