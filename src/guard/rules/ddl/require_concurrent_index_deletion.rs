//! ### What it does
//! Finds `DROP INDEX` without `CONCURRENTLY`.
//!
//! ### Why it hurts
//! It needs the table for itself: it waits for every query that reads the table, and all others wait behind it.
//!
//! ### Example
//! ```sql
//! DROP INDEX orders_state;
//! ```
//!
//! ### Instead
//! Outside of a transaction:
//! ```sql
//! DROP INDEX CONCURRENTLY orders_state;
//! ```
//!
//! ### How to silence
//! Name those who may in the rule that finds it: `unless = { users = ["migrator"] }`.

use super::{Finding, Opt, Options, Subject, first};

pub(super) const READS: &[&str] = &["query.changes", "query.tables", "query.concurrently"];
pub(super) const OPTIONS: &[Opt] = &[];

pub(super) fn check(subject: &Subject<'_>, options: &Options) -> Option<Finding> {
    let change = first(subject, options, |change| change.what == "drop index" && !change.concurrently)?;
    Some(Finding {
        message: format!("Dropping {} locks its table against readers and writers.", change.subject()),
        hint: "Say DROP INDEX CONCURRENTLY, outside of a transaction.".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{flags, passes};

    #[test]
    fn flags_it() {
        let found = flags("require-concurrent-index-deletion", "DROP INDEX IF EXISTS orders_state");
        assert!(format!("{} {}", found.message, found.hint).contains("orders_state"), "{found:?}");
    }

    #[test]
    fn passes_others() {
        passes("require-concurrent-index-deletion", "DROP INDEX CONCURRENTLY orders_state");
        passes("require-concurrent-index-deletion", "DROP TABLE orders");
    }
}
