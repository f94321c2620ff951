//! ### What it does
//! Finds a statement that reads every partition of a table, because nothing in it tells which ones it needs.
//!
//! ### Why it hurts
//! Partitions are there so that most of them need not be read. Such a statement locks and plans all of them, and takes
//! longer with each month that is added.
//!
//! ### Example
//! ```sql
//! SELECT sum(v) FROM measurements WHERE sensor = 7;   -- partitioned by date
//! ```
//!
//! ### Instead
//! ```sql
//! SELECT sum(v) FROM measurements WHERE sensor = 7 AND at >= now() - interval '1 day';
//! ```
//!
//! ### How to silence
//! `with = { partitions = 50 }` for a larger bound.

use super::{Finding, Opt, Options, Subject};

pub(super) const READS: &[&str] = &["plan.unpruned", "plan.partitions_read"];
pub(super) const OPTIONS: &[Opt] = &[Opt::int("partitions", 4, "Tables of which at least so many partitions are read are found.")];

pub(super) fn check(subject: &Subject<'_>, options: &Options) -> Option<Finding> {
    let plan = subject.around.plan?;
    let bound = u32::try_from(options.int("partitions")).unwrap_or(0);
    let table = plan.unpruned.first().filter(|_| plan.partitions_read >= bound)?;
    Some(Finding {
        message: format!("This reads all {} partitions of {table}.", plan.partitions_read),
        hint: "Filter by the column it is partitioned by.".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{Around, flags_in, passes, passes_in};
    use crate::guard::plan::PlanFacts;

    const NAME: &str = "unpruned-partitions";

    #[test]
    fn flags_it() {
        let plan = || PlanFacts { unpruned: vec!["public.parts".into()], partitions_read: 12, ..PlanFacts::blank() };
        let found = flags_in(NAME, "SELECT a FROM t", &Around::plan(plan()));
        assert_eq!(found.message, "This reads all 12 partitions of public.parts.");
    }

    #[test]
    fn passes_less_than_that_and_what_was_not_planned() {
        passes_in(NAME, "SELECT a FROM t", &Around::plan(PlanFacts { unpruned: vec!["public.parts".into()], partitions_read: 3, ..PlanFacts::blank() }));
        passes(NAME, "SELECT a FROM t");
    }
}
