//! ### What it does
//! Finds a table or view that gets another name or another schema. PostgreSQL lets `ALTER INDEX` rename a table,
//! too; that is seen where the catalog is known.
//!
//! ### Why it hurts
//! Programs that run know the old name: from this moment on their statements fail.
//!
//! ### Example
//! ```sql
//! ALTER TABLE orders RENAME TO purchases;
//! ```
//!
//! ### Instead
//! In one transaction, rename it and leave a view of the old name, until no program uses that:
//! ```sql
//! BEGIN;
//! ALTER TABLE orders RENAME TO purchases;
//! CREATE VIEW orders AS SELECT * FROM purchases;
//! COMMIT;
//! ```
//!
//! ### How to silence
//! Name those who may in the rule that finds it: `unless = { users = ["migrator"] }`.

use super::{Finding, Opt, Options, Subject, first};

pub(super) const READS: &[&str] = &["query.changes", "query.tables", "query.tables_written"];
pub(super) const OPTIONS: &[Opt] = &[];

pub(super) fn check(subject: &Subject<'_>, options: &Options) -> Option<Finding> {
    let is_table = |name: &str| subject.around.catalog.is_some_and(|catalog| catalog.table(name).is_some());
    let change = first(subject, options, |change| match change.what {
        "rename table" | "rename view" | "rename materialized view" => true,
        "rename index" => is_table(&change.object),
        "set schema" => subject.facts.tables_written.contains(&change.object),
        _ => false,
    })?;
    Some(Finding {
        message: format!("Programs that run know {} by its old name, and fail from now on.", change.object),
        hint: "Leave a view of the old name behind until no program uses it.".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{Around, flags, flags_in, passes, passes_in};

    #[test]
    fn flags_it() {
        let found = flags("renaming-table", "ALTER TABLE shop.orders RENAME TO purchases");
        assert!(format!("{} {}", found.message, found.hint).contains("know shop.orders"), "{found:?}");
        let _ = flags("renaming-table", "ALTER VIEW v RENAME TO w");
        let _ = flags("renaming-table", "ALTER TABLE orders SET SCHEMA archive");
    }

    #[test]
    fn passes_others() {
        passes("renaming-table", "ALTER INDEX a RENAME TO b");
        passes("renaming-table", "ALTER TABLE orders RENAME COLUMN a TO b");
        passes("renaming-table", "ALTER FUNCTION f() SET SCHEMA s");
        passes("renaming-table", "CREATE TABLE orders_new (id int); ALTER TABLE orders_new RENAME TO orders");
    }

    #[test]
    fn a_table_renamed_as_an_index() {
        let around = Around::catalog(r#"{"tables": [{"schema": "public", "name": "orders"}]}"#);
        let _ = flags_in("renaming-table", "ALTER INDEX orders RENAME TO purchases", &around);
        passes_in("renaming-table", "ALTER INDEX orders_state RENAME TO other", &around);
    }
}
