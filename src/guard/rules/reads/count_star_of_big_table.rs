//! ### What it does
//! Finds `count(*)` over a whole table: without a `WHERE` as far as the text tells; with a catalog, over a table of at
//! least `rows` rows that no equality narrows.
//!
//! ### Why it hurts
//! PostgreSQL keeps no count: it visits every row, or every entry of an index, each time. As the total of a paginated
//! list it costs more than all of its pages.
//!
//! ### Example
//! ```sql
//! SELECT count(*) FROM orders;
//! ```
//!
//! ### Instead
//! ```sql
//! SELECT reltuples::bigint FROM pg_class WHERE oid = 'orders'::regclass;
//! SELECT count(*) FROM (SELECT 1 FROM orders WHERE state = 'open' LIMIT 1000) first;
//! ```
//!
//! ### How to silence
//! Name the small tables: `unless = { tables = ["countries"] }`; with a catalog raise `with = { rows = … }`.

use super::{Finding, Opt, Options, Subject, Kind, tables};

pub(super) const READS: &[&str] = &["query.count_star", "query.kind", "query.has_where", "query.always_true", "query.equality_columns", "query.group_by", "query.subqueries", "query.unions", "query.tables", "query.tables_read", "catalog.rows"];
pub(super) const OPTIONS: &[Opt] = &[Opt::int("rows", 100_000, "Rows from which a table is big, where the catalog knows it.")];

pub(super) fn check(subject: &Subject<'_>, options: &Options) -> Option<Finding> {
    let facts = subject.facts;
    if !facts.count_star || facts.group_by || facts.tables_read.is_empty() || facts.kind == Kind::Ddl {
        return None;
    }
    let rows = subject.known.and_then(|known| known.rows);
    let whole = match rows {
        Some(rows) => {
            i64::try_from(rows).unwrap_or(i64::MAX) >= options.int("rows") && facts.equality_columns.is_empty()
        }
        None => (!facts.has_where || facts.always_true) && facts.subqueries == 0 && facts.unions == 0,
    };
    whole.then(|| Finding {
        message: match rows {
            Some(rows) => format!("This counts about {rows} rows of {} one by one.", tables(facts, "its tables")),
            None => format!("This counts all rows of {} one by one.", tables(facts, "its tables")),
        },
        hint: "Take the estimate of pg_class.reltuples, count up to a limit, or keep a count.".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{Around, flags, flags_in, passes, passes_in};

    #[test]
    fn flags_counts_of_whole_tables() {
        let found = flags("count-star-of-big-table", "SELECT count(*) FROM orders");
        assert_eq!(found.message, "This counts all rows of orders one by one.");
        let _ = flags("count-star-of-big-table", "SELECT count(1) FROM orders WHERE true");
        let big = r#"{"tables": [{"schema": "public", "name": "orders", "rows": 3000000}]}"#;
        let _ = flags_in("count-star-of-big-table", "SELECT count(*) FROM orders WHERE placed_at > '2020-01-01'", &Around::catalog(big));
    }

    #[test]
    fn passes_narrow_and_small_counts() {
        passes("count-star-of-big-table", "SELECT count(*) FROM orders WHERE customer_id = 7");
        passes("count-star-of-big-table", "SELECT count(*) FROM (SELECT 1 FROM orders LIMIT 1000) x");
        passes("count-star-of-big-table", "SELECT state, count(*) FROM orders GROUP BY state");
        passes("count-star-of-big-table", "SELECT count(*) FROM generate_series(1, 3)");
        let catalog = r#"{"tables": [{"schema": "public", "name": "orders", "rows": 3000000}, {"schema": "public", "name": "countries", "rows": 250}]}"#;
        passes_in("count-star-of-big-table", "SELECT count(*) FROM orders WHERE customer_id = 7", &Around::catalog(catalog));
        passes_in("count-star-of-big-table", "SELECT count(*) FROM countries", &Around::catalog(catalog));
    }
}
