//! ### What it does
//! Finds a `VALUES` of more than `max` rows in a statement that writes.
//!
//! ### Why it hurts
//! The whole text is held, read and planned before the first row is written; each number of rows is a statement of
//! its own to prepare; and beyond 65,535 parameters it fails.
//!
//! ### Example
//! ```sql
//! INSERT INTO orders (id) VALUES (1), (2), (3);  -- and ten thousand more
//! ```
//!
//! ### Instead
//! `COPY orders (id) FROM STDIN`, or `INSERT … SELECT unnest($1)` with an array; else smaller batches.
//!
//! ### How to silence
//! Raise the bound: `with = { max = 5000 }`.

use super::{Finding, Opt, Options, Subject, written};

pub(super) const READS: &[&str] = &["query.rows", "query.tables_written"];
pub(super) const OPTIONS: &[Opt] = &[Opt::int("max", 1000, "rows that may stand in one VALUES")];

pub(super) fn check(subject: &Subject<'_>, options: &Options) -> Option<Finding> {
    let facts = subject.facts;
    if i64::from(facts.rows) <= options.int("max") || facts.tables_written.is_empty() {
        return None;
    }
    Some(Finding {
        message: format!("This writes {} rows to {} in one text.", facts.rows, written(facts)),
        hint: "Use COPY, an array and unnest, or smaller batches.".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{Around, flags_in, passes, passes_in};

    #[test]
    fn passes_others() {
        passes("multi-row-insert-too-large", "INSERT INTO orders (id) VALUES (1), (2)");
        passes("multi-row-insert-too-large", "VALUES (1), (2), (3)");
    }

    #[test]
    fn many_rows() {
        let rows = |count: usize| format!("INSERT INTO orders (id) VALUES {}", vec!["(1)"; count].join(", "));
        let found = flags_in("multi-row-insert-too-large", &rows(1001), &Around::default());
        assert!(found.message.contains("1001 rows to orders"), "{found:?}");
        passes_in("multi-row-insert-too-large", &rows(1000), &Around::default());
        let few = Around::with("multi-row-insert-too-large", |with| {
            with.set("max", crate::guard::rules::Given::Int(2));
        });
        let _ = flags_in("multi-row-insert-too-large", &rows(3), &few);
        passes_in("multi-row-insert-too-large", &rows(2), &few);
    }
}
