//! ### What it does
//! Finds relations of one `FROM` that no condition of `ON`, `USING` or `WHERE` connects: `CROSS JOIN`, `ON true`, a
//! comma with a forgotten condition. Functions, `VALUES`, `LATERAL` and queries of one row count as connected.
//!
//! ### Why it hurts
//! Every row of one is paired with every row of the other: two tables of ten thousand rows make a hundred million.
//! Mostly a condition was forgotten, and `DISTINCT` hides it.
//!
//! ### Example
//! ```sql
//! SELECT o.id, c.name FROM orders o, customers c WHERE o.state = 'open';
//! ```
//!
//! ### Instead
//! ```sql
//! SELECT o.id, c.name FROM orders o JOIN customers c ON c.id = o.customer_id WHERE o.state = 'open';
//! ```
//!
//! ### How to silence
//! Raise `with = { rows = … }`, below which the catalog's tables are left alone, or name the table that is meant to be
//! paired with everything: `unless = { tables = ["calendar", "orders"] }`.

use super::{Finding, Opt, Options, Subject, Kind, is_small, tables};

pub(super) const READS: &[&str] = &["query.cross_joins", "query.kind", "query.tables", "catalog.rows"];
pub(super) const OPTIONS: &[Opt] = &[Opt::int("rows", 1_000, "Tables of fewer rows are left alone, where the catalog knows all of them.")];

pub(super) fn check(subject: &Subject<'_>, options: &Options) -> Option<Finding> {
    let facts = subject.facts;
    if facts.cross_joins == 0 || facts.kind == Kind::Ddl || is_small(subject, options) {
        return None;
    }
    Some(Finding {
        message: format!("Nothing connects {}: every row of one is paired with every row of the other.", tables(facts, "its relations")),
        hint: "Add the condition that relates them to ON or WHERE.".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{Around, flags, passes, passes_in};

    #[test]
    fn flags_what_nothing_connects() {
        let found = flags("cross-join", "SELECT o.id, c.name FROM orders o, customers c WHERE o.state = 'open'");
        assert!(found.message.starts_with("Nothing connects orders and customers"), "{found:?}");
        let _ = flags("cross-join", "SELECT 1 FROM orders CROSS JOIN customers");
        let _ = flags("cross-join", "UPDATE orders SET state = 'x' FROM customers WHERE customers.id = 7");
    }

    #[test]
    fn passes_what_is_connected_or_small() {
        passes("cross-join", "SELECT o.id FROM orders o JOIN customers c ON c.id = o.customer_id");
        passes("cross-join", "SELECT o.id FROM orders o, customers c WHERE c.id = o.customer_id");
        passes("cross-join", "SELECT o.id, n FROM orders o, generate_series(1, 3) n");
        passes("cross-join", "SELECT o.id, x.total FROM orders o CROSS JOIN LATERAL (SELECT sum(a) AS total FROM items) x");
        let small = r#"{"tables": [{"schema": "public", "name": "a", "rows": 50}, {"schema": "public", "name": "b", "rows": 7}]}"#;
        passes_in("cross-join", "SELECT 1 FROM a, b", &Around::catalog(small));
    }
}
