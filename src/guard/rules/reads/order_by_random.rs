//! ### What it does
//! Finds `ORDER BY random()` (or `gen_random_uuid()`) over a table. With a catalog small tables are left alone.
//!
//! ### Why it hurts
//! Every row is read, numbered and sorted to take one of them. A thousand times the table costs ten thousand times the
//! query.
//!
//! ### Example
//! ```sql
//! SELECT id FROM products ORDER BY random() LIMIT 1;
//! ```
//!
//! ### Instead
//! ```sql
//! SELECT id FROM products WHERE id >= $1 ORDER BY id LIMIT 1;
//! SELECT id FROM products TABLESAMPLE system_rows(10);
//! ```
//!
//! ### How to silence
//! Name the small tables: `unless = { tables = ["quotes"] }`.

use super::{Finding, Opt, Options, Subject, Kind, is_small, tables};

pub(super) const READS: &[&str] = &["query.order_by_random", "query.kind", "query.tables", "query.tables_read", "catalog.rows"];
pub(super) const OPTIONS: &[Opt] = &[Opt::int("rows", 1_000, "Tables of fewer rows are left alone, where the catalog knows them.")];

pub(super) fn check(subject: &Subject<'_>, options: &Options) -> Option<Finding> {
    let facts = subject.facts;
    let over_table = facts.order_by_random && !facts.tables_read.is_empty();
    if !over_table || facts.kind == Kind::Ddl || is_small(subject, options) {
        return None;
    }
    Some(Finding {
        message: format!("This sorts all rows of {} by a random number.", tables(facts, "its tables")),
        hint: "Choose a random key in the program and look it up, or use TABLESAMPLE.".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{Around, flags, passes, passes_in};

    #[test]
    fn flags_shuffled_tables() {
        let found = flags("order-by-random", "SELECT id FROM products ORDER BY random() LIMIT 1");
        assert!(found.message.contains("products"), "{found:?}");
        let _ = flags("order-by-random", "SELECT id FROM products ORDER BY random() * weight DESC LIMIT 3");
    }

    #[test]
    fn passes_other_orders() {
        passes("order-by-random", "SELECT id, random() FROM products ORDER BY id");
        passes("order-by-random", "SELECT n FROM generate_series(1, 10) n ORDER BY random()");
        passes_in("order-by-random", "SELECT id FROM quotes ORDER BY random()", &Around::catalog(r#"{"tables": [{"schema": "public", "name": "quotes", "rows": 12}]}"#));
    }
}
