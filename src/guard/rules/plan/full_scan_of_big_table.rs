//! ### What it does
//! Finds a statement for which the planner reads a big table from end to end.
//!
//! ### Why it hurts
//! It reads the table from the disk, pushes everybody else's pages out of memory, and takes longer with each row that is
//! added. One that takes a second today takes ten in a year.
//!
//! ### Example
//! ```sql
//! SELECT id FROM customers WHERE lower(email) = 'anna@example.com';   -- no index on lower(email)
//! ```
//!
//! ### Instead
//! An index on what it filters by; the hint names one where the statement tells it. A report that has to read all of a
//! table belongs on a replica.
//!
//! ### How to silence
//! `with = { rows = 10000000 }` for a larger bound, or `unless = { users = ["etl"] }` for those who may.

use super::{Finding, Opt, Options, Subject, best_index};

pub(super) const READS: &[&str] =
    &["plan.seq_scan_rows", "plan.seq_scan_table", "plan.seq_scan_columns", "catalog.rows"];
pub(super) const OPTIONS: &[Opt] = &[Opt::int("rows", 100_000, "Tables with at least so many rows are big.")];

pub(super) fn check(subject: &Subject<'_>, options: &Options) -> Option<Finding> {
    let plan = subject.around.plan?;
    let bound = u64::try_from(options.int("rows")).unwrap_or(0);
    if plan.seq_scan_table.is_empty() || plan.seq_scan_rows < bound.max(1) {
        return None;
    }
    let by = match plan.seq_scan_columns.as_slice() {
        [] => String::new(),
        columns => format!(" to filter by {}", columns.join(", ")),
    };
    Some(Finding {
        message: format!("This reads all {} rows of {}{by}.", plan.seq_scan_rows, plan.seq_scan_table),
        hint: best_index(subject).unwrap_or_else(|| "Filter by an indexed column, or run it on a replica.".into()),
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{Around, flags_in, passes, passes_in};
    use crate::guard::plan::PlanFacts;

    const NAME: &str = "full-scan-of-big-table";

    #[test]
    fn flags_a_scan_of_a_big_table() {
        let plan = || PlanFacts {
            seq_scan_rows: 200_000,
            seq_scan_table: "orders".into(),
            seq_scan_columns: vec!["email".into()],
            ..PlanFacts::blank()
        };
        let found = flags_in(NAME, "SELECT id FROM orders WHERE email = 'a'", &Around::plan(plan()));
        assert_eq!(found.message, "This reads all 200000 rows of orders to filter by email.");
    }

    #[test]
    fn passes_a_scan_of_a_small_one_and_what_was_not_planned() {
        let plan = || PlanFacts {
            seq_scan_rows: 200_000,
            seq_scan_table: "orders".into(),
            seq_scan_columns: vec!["email".into()],
            ..PlanFacts::blank()
        };
        let small = PlanFacts { seq_scan_rows: 99_999, ..plan() };
        passes_in(NAME, "SELECT id FROM orders", &Around::plan(small));
        passes_in(NAME, "SELECT id FROM orders", &Around::plan(PlanFacts::blank()));
        passes("full-scan-of-big-table", "SELECT id FROM orders WHERE email = 'a'");
    }
}
