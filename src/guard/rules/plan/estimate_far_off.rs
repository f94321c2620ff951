//! ### What it does
//! Finds a statement that last yielded far more or far fewer rows than the planner expects now.
//!
//! ### Why it hurts
//! A plan is as good as its estimates. One that is a thousand times off reads a table row by row that it should have
//! read at once, or the other way round.
//!
//! ### Example
//! ```sql
//! SELECT id FROM orders WHERE state = 'open' AND country = 'CH';   -- the two belong together
//! ```
//!
//! ### Instead
//! `ANALYZE` the table; `CREATE STATISTICS` for columns that belong together.
//!
//! ### How to silence
//! `with = { factor = 10000 }` for a larger bound.

use super::{Finding, Opt, Options, Subject};

pub(super) const READS: &[&str] = &["plan.estimate_off"];
pub(super) const OPTIONS: &[Opt] = &[Opt::int("factor", 100, "Estimates that are off by at least this factor are found.")];

pub(super) fn check(subject: &Subject<'_>, options: &Options) -> Option<Finding> {
    let plan = subject.around.plan?;
    let off = plan.estimate_off.filter(|off| *off >= options.int("factor") as f64)?;
    Some(Finding {
        message: format!("Its row estimate was off by a factor of {off:.0} when it last ran."),
        hint: "Run ANALYZE on its tables, or CREATE STATISTICS for columns that belong together.".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{Around, flags_in, passes, passes_in};
    use crate::guard::plan::PlanFacts;

    const NAME: &str = "estimate-far-off";

    #[test]
    fn flags_it() {
        let plan = || PlanFacts { estimate_off: Some(1000.0), ..PlanFacts::blank() };
        let found = flags_in(NAME, "SELECT a FROM t", &Around::plan(plan()));
        assert_eq!(found.message, "Its row estimate was off by a factor of 1000 when it last ran.");
    }

    #[test]
    fn passes_less_than_that_and_what_was_not_planned() {
        passes_in(NAME, "SELECT a FROM t", &Around::plan(PlanFacts { estimate_off: Some(99.0), ..PlanFacts::blank() }));
        passes(NAME, "SELECT a FROM t");
    }
}
