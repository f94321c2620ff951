//! ### What it does
//! Finds a `SELECT` over a table without `WHERE` (or with one that always holds), `LIMIT`, aggregate or grouping: it
//! reads and sends the whole table. Queries with subqueries or `UNION` are left alone; with a catalog, small tables
//! too.
//!
//! ### Why it hurts
//! The answer grows with the table for ever. What is a list of forty entries in the first year is the outage of the
//! third, when each of a hundred clients holds all of it in memory.
//!
//! ### Example
//! ```sql
//! SELECT id, name FROM customers ORDER BY name;
//! ```
//!
//! ### Instead
//! ```sql
//! SELECT id, name FROM customers WHERE name > $1 ORDER BY name LIMIT 100;
//! ```
//!
//! ### How to silence
//! Name the tables that stay small: `unless = { tables = ["countries", "settings"] }`; with a catalog raise `with = {
//! rows = … }`.

use super::{Finding, Opt, Options, Subject, Kind, is_small, tables};

pub(super) const READS: &[&str] = &["query.kind", "query.has_where", "query.always_true", "query.has_limit", "query.aggregates", "query.group_by", "query.subqueries", "query.unions", "query.tables", "query.tables_read", "catalog.rows"];
pub(super) const OPTIONS: &[Opt] = &[Opt::int("rows", 1_000, "Tables of fewer rows are left alone, where the catalog knows them.")];

pub(super) fn check(subject: &Subject<'_>, options: &Options) -> Option<Finding> {
    let facts = subject.facts;
    let bounded = (facts.has_where && !facts.always_true)
        || facts.has_limit
        || facts.aggregates > 0
        || facts.group_by
        || facts.subqueries > 0
        || facts.unions > 0;
    if facts.kind != Kind::Select || bounded || facts.tables_read.is_empty() || is_small(subject, options) {
        return None;
    }
    Some(Finding {
        message: format!("This reads and sends all of {}.", tables(facts, "its tables")),
        hint: "Add a WHERE, or a LIMIT and go on from the last row read.".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{Around, flags, flags_in, passes, passes_in};

    #[test]
    fn flags_whole_tables() {
        let found = flags("unbounded-select", "SELECT id, name FROM customers ORDER BY name");
        assert_eq!(found.message, "This reads and sends all of customers.");
        let _ = flags("unbounded-select", "SELECT o.id FROM orders o JOIN customers c ON c.id = o.customer_id");
        let _ = flags("unbounded-select", "SELECT id FROM customers WHERE 1 = 1");
        let _ = flags("unbounded-select", "TABLE customers");
    }

    #[test]
    fn passes_what_has_a_bound_or_is_small() {
        passes("unbounded-select", "SELECT id FROM customers WHERE id = 7");
        passes("unbounded-select", "SELECT id FROM customers LIMIT 10");
        passes("unbounded-select", "SELECT count(*) FROM customers");
        passes("unbounded-select", "SELECT state FROM orders GROUP BY state");
        passes("unbounded-select", "SELECT 1");
        passes("unbounded-select", "SELECT n FROM generate_series(1, 3) n");
        passes("unbounded-select", "SELECT id FROM (SELECT id FROM customers WHERE id = 7) x");
        let catalog = r#"{"tables": [{"schema": "public", "name": "countries", "rows": 250}, {"schema": "public", "name": "orders", "rows": 3000000}]}"#;
        passes_in("unbounded-select", "SELECT code FROM countries", &Around::catalog(catalog));
        let _ = flags_in("unbounded-select", "SELECT id FROM orders", &Around::catalog(catalog));
    }
}
