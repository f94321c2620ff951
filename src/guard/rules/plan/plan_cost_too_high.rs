//! ### What it does
//! Finds a statement whose estimated cost is beyond a bound.
//!
//! ### Why it hurts
//! The planner knows before it starts what would take minutes. A statement that was meant to be quick and is not is
//! better refused than cancelled.
//!
//! ### Example
//! ```sql
//! SELECT * FROM events a JOIN events b ON a.url <> b.url;
//! ```
//!
//! ### Instead
//! What the plan shows: `pgsluice explain --primary URL` tells which part costs most.
//!
//! ### How to silence
//! `with = { cost = 50000000 }` for a larger bound, or `unless = { users = ["report"] }`.

use super::{Finding, Opt, Options, Subject};

pub(super) const READS: &[&str] = &["plan.total_cost"];
pub(super) const OPTIONS: &[Opt] = &[Opt::int("cost", 10_000_000, "Costs above it are found, in the planner's units.")];

pub(super) fn check(subject: &Subject<'_>, options: &Options) -> Option<Finding> {
    let plan = subject.around.plan?;
    let bound = options.int("cost") as f64;
    if plan.total_cost <= bound {
        return None;
    }
    Some(Finding {
        message: format!("The planner expects a cost of {:.0}, more than {bound:.0}.", plan.total_cost),
        hint: "Look at its plan, and make it cheaper or run it where it may take long.".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{Around, flags_in, passes, passes_in};
    use crate::guard::plan::PlanFacts;

    const NAME: &str = "plan-cost-too-high";

    #[test]
    fn flags_it() {
        let plan = || PlanFacts { total_cost: 20_000_000.0, ..PlanFacts::blank() };
        let found = flags_in(NAME, "SELECT a FROM t", &Around::plan(plan()));
        assert_eq!(found.message, "The planner expects a cost of 20000000, more than 10000000.");
    }

    #[test]
    fn passes_less_than_that_and_what_was_not_planned() {
        passes_in(NAME, "SELECT a FROM t", &Around::plan(PlanFacts { total_cost: 10_000_000.0, ..PlanFacts::blank() }));
        passes(NAME, "SELECT a FROM t");
    }
}
