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
mod select;

pub use case::{Case, Failure, load_cases, run_cases};
pub use decide::{Decision, Match, decide};
pub use model::{Act, Policies, Rule, Template};

/// The facts that conditions read as `query.…`.
pub const QUERY_FIELDS: &[&str] = &{
    let mut names = [""; condition::QUERY.len()];
    let mut at = 0;
    while at < names.len() {
        names[at] = condition::QUERY[at].name;
        at += 1;
    }
    names
};

#[cfg(test)]
mod tests;
