//! ### What it does
//! Finds `REINDEX` without `CONCURRENTLY`.
//!
//! ### Why it hurts
//! Nobody can write to the table meanwhile, and a query that might use the index waits, too: the planner locks them
//! all.
//!
//! ### Example
//! ```sql
//! REINDEX TABLE orders;
//! ```
//!
//! ### Instead
//! Outside of a transaction:
//! ```sql
//! REINDEX TABLE CONCURRENTLY orders;
//! ```
//!
//! ### How to silence
//! Name those who may in the rule that finds it: `unless = { users = ["migrator"] }`; `with = { min_rows = 10000 }`
//! leaves small tables alone where the catalog is known.

use super::{Finding, MIN_ROWS, Opt, Options, Subject, first};

pub(super) const READS: &[&str] = &["query.changes", "query.tables", "query.concurrently"];
pub(super) const OPTIONS: &[Opt] = &[MIN_ROWS];

pub(super) fn check(subject: &Subject<'_>, options: &Options) -> Option<Finding> {
    let change = first(subject, options, |change| change.what == "reindex" && !change.concurrently)?;
    Some(Finding {
        message: format!("Rebuilding the index of {} locks out all that use the table.", change.subject()),
        hint: "Say REINDEX … CONCURRENTLY, outside of a transaction.".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{flags, passes};

    #[test]
    fn flags_it() {
        let found = flags("require-concurrent-reindex", "REINDEX TABLE orders");
        assert!(format!("{} {}", found.message, found.hint).contains("index of orders"), "{found:?}");
        let _ = flags("require-concurrent-reindex", "REINDEX INDEX orders_state");
        let _ = flags("require-concurrent-reindex", "REINDEX DATABASE shop");
        let _ = flags("require-concurrent-reindex", "REINDEX (CONCURRENTLY off) TABLE orders");
    }

    #[test]
    fn passes_others() {
        passes("require-concurrent-reindex", "REINDEX TABLE CONCURRENTLY orders");
        passes("require-concurrent-reindex", "REINDEX (CONCURRENTLY) INDEX i");
        passes("require-concurrent-reindex", "CREATE INDEX CONCURRENTLY i ON orders (a)");
    }
}
