//! ### What it does
//! Finds a sort, hash or aggregation that will not fit into `work_mem`, as the planner expects it.
//!
//! ### Why it hurts
//! What does not fit goes to the disk and comes back: it is slower by a factor, and many at once fill the disk.
//!
//! ### Example
//! ```sql
//! SELECT customer, count(*) FROM events GROUP BY customer, url;
//! ```
//!
//! ### Instead
//! Fewer rows or columns before the sort, an index in its order, or `SET LOCAL work_mem` for this report.
//!
//! ### How to silence
//! `with = { mb = 1000 }` for a larger bound.

use super::{Finding, Opt, Options, Subject};

pub(super) const READS: &[&str] = &["plan.spill_bytes", "plan.spills"];
pub(super) const OPTIONS: &[Opt] = &[Opt::int("mb", 100, "Spills of at least so many megabytes are found.")];

pub(super) fn check(subject: &Subject<'_>, options: &Options) -> Option<Finding> {
    let plan = subject.around.plan?;
    let bound = u64::try_from(options.int("mb")).unwrap_or(0).saturating_mul(1 << 20);
    if plan.spill_bytes < bound.max(1) {
        return None;
    }
    Some(Finding {
        message: format!("Its {} will write {} MB to the disk.", plan.spills.join(" and "), plan.spill_bytes >> 20),
        hint: "Sort fewer rows, or raise work_mem for this statement.".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{Around, flags_in, passes, passes_in};
    use crate::guard::plan::PlanFacts;

    const NAME: &str = "sort-spill";

    #[test]
    fn flags_it() {
        let plan = || PlanFacts { spill_bytes: 300 << 20, spills: vec!["sort".into()], ..PlanFacts::blank() };
        let found = flags_in(NAME, "SELECT a FROM t", &Around::plan(plan()));
        assert_eq!(found.message, "Its sort will write 300 MB to the disk.");
    }

    #[test]
    fn passes_less_than_that_and_what_was_not_planned() {
        passes_in(NAME, "SELECT a FROM t", &Around::plan(PlanFacts { spill_bytes: 99 << 20, spills: vec!["sort".into()], ..PlanFacts::blank() }));
        passes(NAME, "SELECT a FROM t");
    }
}
