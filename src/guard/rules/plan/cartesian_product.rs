//! ### What it does
//! Finds a join that the planner can only make by pairing every row of one side with every row of the other.
//!
//! ### Why it hurts
//! A thousand rows times a million are a billion comparisons, for a condition that was nearly always forgotten.
//!
//! ### Example
//! ```sql
//! SELECT o.id FROM orders o, customers c WHERE o.state = 'open';
//! ```
//!
//! ### Instead
//! ```sql
//! SELECT o.id FROM orders o JOIN customers c ON c.id = o.customer WHERE o.state = 'open';
//! ```
//!
//! ### How to silence
//! `with = { rows = 100000000 }` for a larger bound.

use super::{Finding, Opt, Options, Subject};

pub(super) const READS: &[&str] = &["plan.cartesian_rows"];
pub(super) const OPTIONS: &[Opt] = &[Opt::int("rows", 1_000_000, "Products of at least so many rows are found.")];

pub(super) fn check(subject: &Subject<'_>, options: &Options) -> Option<Finding> {
    let plan = subject.around.plan?;
    if plan.cartesian_rows < u64::try_from(options.int("rows")).unwrap_or(0).max(1) {
        return None;
    }
    Some(Finding {
        message: format!("This pairs every row of one side with every row of the other: {} rows.", plan.cartesian_rows),
        hint: "Join the two by a condition.".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{Around, flags_in, passes, passes_in};
    use crate::guard::plan::PlanFacts;

    const NAME: &str = "cartesian-product";

    #[test]
    fn flags_it() {
        let plan = || PlanFacts { cartesian_rows: 57_400_000, ..PlanFacts::blank() };
        let found = flags_in(NAME, "SELECT a FROM t", &Around::plan(plan()));
        assert_eq!(found.message, "This pairs every row of one side with every row of the other: 57400000 rows.");
    }

    #[test]
    fn passes_less_than_that_and_what_was_not_planned() {
        passes_in(NAME, "SELECT a FROM t", &Around::plan(PlanFacts { cartesian_rows: 999_999, ..PlanFacts::blank() }));
        passes(NAME, "SELECT a FROM t");
    }
}
