//! ### What it does
//! Finds `CREATE INDEX` without `CONCURRENTLY`.
//!
//! ### Why it hurts
//! Nobody can write to the table until the index is built.
//!
//! ### Example
//! ```sql
//! CREATE INDEX orders_state ON orders (state);
//! ```
//!
//! ### Instead
//! Outside of a transaction:
//! ```sql
//! CREATE INDEX CONCURRENTLY orders_state ON orders (state);
//! ```
//!
//! ### How to silence
//! Name those who may in the rule that finds it: `unless = { users = ["migrator"] }`; `with = { min_rows = 10000 }`
//! leaves small tables alone where the catalog is known.

use super::{Finding, MIN_ROWS, Opt, Options, Subject, first, size};

pub(super) const READS: &[&str] = &["query.changes", "query.tables", "query.concurrently"];
pub(super) const OPTIONS: &[Opt] = &[MIN_ROWS];

pub(super) fn check(subject: &Subject<'_>, options: &Options) -> Option<Finding> {
    let change = first(subject, options, |change| change.what == "create index" && !change.concurrently)?;
    Some(Finding {
        message: format!(
            "Nobody can write to {}{} while this index is built.",
            change.object,
            size(subject, change)
        ),
        hint: "Say CREATE INDEX CONCURRENTLY, outside of a transaction.".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{Around, flags, flags_in, passes, passes_in};

    #[test]
    fn flags_it() {
        let found =
            flags("require-concurrent-index-creation", "CREATE UNIQUE INDEX i ON shop.orders (state)");
        assert!(format!("{} {}", found.message, found.hint).contains("write to shop.orders"), "{found:?}");
        let _ = flags(
            "require-concurrent-index-creation",
            "CREATE TABLE IF NOT EXISTS t (id int); CREATE INDEX ON t (id)",
        );
    }

    #[test]
    fn passes_others() {
        passes("require-concurrent-index-creation", "CREATE INDEX CONCURRENTLY i ON orders (state)");
        passes("require-concurrent-index-creation", "CREATE TABLE t (id int); CREATE INDEX ON t (id)");
    }

    #[test]
    fn small_tables_may_be_left_alone() {
        let around = Around::catalog(r#"{"tables": [{"schema": "public", "name": "orders", "rows": 12}]}"#)
            .and_with("require-concurrent-index-creation", |with| {
                with.set("min_rows", crate::guard::rules::Given::Int(1000));
            });
        passes_in("require-concurrent-index-creation", "CREATE INDEX ON orders (state)", &around);
        let _ = flags_in("require-concurrent-index-creation", "CREATE INDEX ON items (state)", &around);
    }
}
