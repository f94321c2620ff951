//! Policies: which findings and facts lead to which action, for whom.
//!
//! `load.rs` reads files into `model.rs`; `condition.rs` and `check.rs` are the CEL part of a rule, `select.rs` its
//! `only` and `unless`; `decide.rs` asks all rules about a text; `case.rs` runs the cases beside a policy.

mod case;
mod check;
mod condition;
mod decide;
mod load;
mod model;
mod packs;
mod select;

pub use case::{Case, Failure, load_cases, run_cases};
pub use decide::{Decision, Match, decide};
pub use model::{Act, Policies, Rule, Template};
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
