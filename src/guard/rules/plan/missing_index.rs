//! ### What it does
//! Finds a statement that reads a big table from end to end though an index would serve it: one that is not there yet.
//!
//! ### Why it hurts
//! Each run pays for the index that nobody made, and all of them together keep the disk busy.
//!
//! ### Example
//! ```sql
//! SELECT id FROM orders WHERE email = 'anna@example.com';
//! ```
//!
//! ### Instead
//! ```sql
//! CREATE INDEX CONCURRENTLY ON orders (email);
//! ```
//!
//! ### How to silence
//! `with = { rows = 10000000 }` for a larger bound, or the tables in `unless = { tables = ["audit.*"] }`.

use super::{Finding, Opt, Options, Subject, advice};

pub(super) const READS: &[&str] =
    &["plan.seq_scan_rows", "plan.seq_scan_table", "plan.seq_scan_columns", "catalog.rows"];
pub(super) const OPTIONS: &[Opt] = &[Opt::int("rows", 100_000, "Tables with at least so many rows are big.")];

pub(super) fn check(subject: &Subject<'_>, options: &Options) -> Option<Finding> {
    let plan = subject.around.plan?;
    if plan.seq_scan_rows < u64::try_from(options.int("rows")).unwrap_or(0) {
        return None;
    }
    let advice = advice(subject)?;
    Some(Finding { message: format!("An index on {} is missing: {}.", advice.table, advice.why), hint: format!("{}.", advice.hint()) })
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{Around, flags_in, passes, passes_in};
    use crate::guard::plan::PlanFacts;

    const NAME: &str = "missing-index";

    const CATALOG: &str = r#"{"tables": [{"schema": "public", "name": "orders", "rows": 200000,
        "columns": [{"name": "id", "type": "bigint"}, {"name": "email", "type": "text"}]}]}"#;

    #[test]
    fn flags_what_an_index_would_serve() {
        let plan = || PlanFacts {
            seq_scan_rows: 200_000,
            seq_scan_table: "orders".into(),
            seq_scans: vec!["orders".into()],
            ..PlanFacts::blank()
        };
        let around = Around { plan: Some(plan()), ..Around::catalog(CATALOG) };
        let found = flags_in(NAME, "SELECT id FROM orders WHERE email = 'a'", &around);
        assert_eq!(found.hint, "CREATE INDEX CONCURRENTLY ON orders (email) (not checked).");
    }

    #[test]
    fn passes_what_no_index_would_serve() {
        let plan = || PlanFacts {
            seq_scan_rows: 200_000,
            seq_scan_table: "orders".into(),
            seq_scans: vec!["orders".into()],
            ..PlanFacts::blank()
        };
        passes_in(NAME, "SELECT id FROM orders", &Around { plan: Some(plan()), ..Around::catalog(CATALOG) });
        passes("missing-index", "SELECT id FROM orders WHERE email = 'a'");
    }
}
