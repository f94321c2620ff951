//! ### What it does
//! Finds a change that makes PostgreSQL write the whole table anew: a column with a volatile or generated default,
//! another type, `SET LOGGED` or `UNLOGGED`, another tablespace or access method. With the catalog at hand, types
//! that hold every stored value as it is (`varchar(20)` to `text`) pass. A type that is not PostgreSQL's own may be
//! a domain with a check, which makes a new column a rewrite.
//!
//! ### Why it hurts
//! The table is locked against readers and writers from the first row to the last, the disk needs room for a second
//! copy, every index is built again, and all of it goes to every replica.
//!
//! ### Example
//! ```sql
//! ALTER TABLE orders ADD COLUMN token uuid DEFAULT gen_random_uuid();
//! ALTER TABLE orders SET UNLOGGED;
//! ```
//!
//! ### Instead
//! Add the column without that default, set the default for new rows, and fill the old ones in batches:
//! ```sql
//! ALTER TABLE orders ADD COLUMN token uuid;
//! ALTER TABLE orders ALTER COLUMN token SET DEFAULT gen_random_uuid();
//! UPDATE orders SET token = gen_random_uuid() WHERE id BETWEEN 1 AND 10000;
//! ```
//!
//! ### How to silence
//! Name those who may in the rule that finds it: `unless = { users = ["migrator"] }`; `with = { min_rows = 10000 }`
//! leaves small tables alone where the catalog is known.

use super::{Finding, MIN_ROWS, Opt, Options, Subject, first, rewrites, size};

pub(super) const READS: &[&str] = &["query.rewrites", "query.changes", "query.tables"];
pub(super) const OPTIONS: &[Opt] = &[MIN_ROWS];

pub(super) fn check(subject: &Subject<'_>, options: &Options) -> Option<Finding> {
    let treats = ["vacuum full", "cluster", "refresh materialized view"];
    let change =
        first(subject, options, |change| !treats.contains(&change.what) && rewrites(subject, change))?;
    Some(Finding {
        message: format!(
            "This writes all of {}{} anew while nobody can read or write it ({} {}).",
            change.object,
            size(subject, change),
            change.what,
            change.subject()
        ),
        hint: "Add what is new empty, and fill it in batches.".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{Around, flags, flags_in, passes, passes_in};

    #[test]
    fn flags_it() {
        let found =
            flags("table-rewrite", "ALTER TABLE orders ADD COLUMN token uuid DEFAULT gen_random_uuid()");
        assert!(format!("{} {}", found.message, found.hint).contains("all of orders anew"), "{found:?}");
        assert!(format!("{} {}", found.message, found.hint).contains("orders.token"), "{found:?}");
        let _ = flags("table-rewrite", "ALTER TABLE orders SET UNLOGGED");
        let _ = flags("table-rewrite", "ALTER TABLE orders ALTER COLUMN id TYPE bigint");
        let _ = flags("table-rewrite", "ALTER TABLE orders ADD COLUMN n serial");
        let _ = flags("table-rewrite", "ALTER TABLE orders ADD COLUMN p our_domain");
        let _ = flags("table-rewrite", "ALTER TABLE orders SET TABLESPACE fast");
    }

    #[test]
    fn passes_others() {
        passes("table-rewrite", "ALTER TABLE orders ADD COLUMN state text DEFAULT 'open'");
        passes("table-rewrite", "ALTER TABLE orders ADD COLUMN at timestamptz DEFAULT now()");
        passes("table-rewrite", "CREATE TABLE orders (id serial)");
        passes("table-rewrite", "CREATE TABLE orders (id int); ALTER TABLE orders ADD COLUMN n serial");
        passes("table-rewrite", "VACUUM FULL orders");
        passes("table-rewrite", "UPDATE orders SET state = 'x'");
    }

    #[test]
    fn the_catalog_tells_types_and_sizes() {
        let around = Around::catalog(
            r#"{"tables": [{"schema": "public", "name": "orders", "rows": 500, "columns": [{"name": "code", "type": "character varying(20)"}]}]}"#,
        );
        passes_in("table-rewrite", "ALTER TABLE orders ALTER COLUMN code TYPE text", &around);
        let _ = flags_in(
            "table-rewrite",
            "ALTER TABLE orders ALTER COLUMN code TYPE text USING lower(code)",
            &around,
        );
        let found =
            flags_in("table-rewrite", "ALTER TABLE orders ALTER COLUMN code TYPE varchar(10)", &around);
        assert!(found.message.contains("orders (about 500 rows) anew"), "{found:?}");
        let around = around
            .and_with("table-rewrite", |with| with.set("min_rows", crate::guard::rules::Given::Int(1000)));
        passes_in("table-rewrite", "ALTER TABLE orders ALTER COLUMN code TYPE varchar(10)", &around);
        let _ = flags_in("table-rewrite", "ALTER TABLE items ALTER COLUMN code TYPE varchar(10)", &around);
    }
}
