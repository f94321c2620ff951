//! Policies: which findings and facts lead to which action, for whom.
//!
//! `load.rs` reads files into `model.rs`; `condition.rs` and `check.rs` are the CEL part of a rule, `select.rs` its
//! `only` and `unless`, `schedule.rs` its times and share; `decide.rs` asks all rules about a text, `decision.rs` says
//! what follows, `live.rs` asks again at each run; `case.rs` runs the cases beside a policy.

mod case;
mod check;
mod condition;
mod decide;
mod decision;
mod live;
mod load;
mod load_actions;
mod load_select;
mod model;
mod packs;
mod quick;
mod schedule;
mod select;
mod settings;
mod template;
mod units;

pub use case::{Case, Failure, load_cases, run_cases};
pub use decide::decide;
pub(super) use decide::{Asked, catalog_facts, decide_when};
pub use decision::{Decision, Match};
pub use live::{Live, settle};
pub use model::{Act, Policies, Rule, RuleLimit};
pub use packs::{PACKS, Pack};

/// docs/FACTS.md.
#[must_use]
pub fn facts_documentation() -> String {
    condition::documentation()
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
