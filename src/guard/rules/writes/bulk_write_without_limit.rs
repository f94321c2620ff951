//! ### What it does
//! Finds writes whose number of rows another table decides (`INSERT … SELECT`, `UPDATE … FROM`, `DELETE … USING`,
//! `MERGE`), or that are bounded by nothing but ranges (`made_at < …`), without a `LIMIT` anywhere. Where the
//! catalog knows the tables, only those of `min_rows` and more count.
//!
//! ### Why it hurts
//! It locks and writes as many rows as there happen to be, in one transaction: the log, the replicas and everybody
//! who wants one of those rows wait for it.
//!
//! ### Example
//! ```sql
//! INSERT INTO archive SELECT * FROM orders WHERE made_at < '2025-01-01';
//! ```
//!
//! ### Instead
//! In batches, each a transaction of its own:
//! ```sql
//! DELETE FROM orders WHERE id IN (SELECT id FROM orders WHERE made_at < '2025-01-01' LIMIT 1000);
//! ```
//!
//! ### How to silence
//! Name those who may in the rule that finds it: `unless = { users = ["etl"] }`, or raise `min_rows`.

use super::{Finding, Kind, Opt, Options, Subject, written};
use crate::guard::facts::{Comparison, Operand};

pub(super) const READS: &[&str] =
    &["query.kind", "query.tables", "query.tables_written", "query.has_where", "query.read_only", "catalog.rows"];
pub(super) const OPTIONS: &[Opt] = &[Opt::int(
    "min_rows",
    100_000,
    "rows of the largest table, where the catalog knows it, from which on it counts",
)];

pub(super) fn check(subject: &Subject<'_>, options: &Options) -> Option<Finding> {
    let facts = subject.facts;
    if facts.any_limit || facts.read_only || facts.tables_written.is_empty() {
        return None;
    }
    // A key or another value that is given bounds it; a join does not.
    let given = |operand| {
        !matches!(operand, Operand::Column | Operand::Subquery | Operand::Expression | Operand::None)
    };
    let bounded = facts.predicates.iter().any(|predicate| {
        predicate.must_hold && predicate.comparison == Comparison::Equal && given(predicate.operand)
    });
    let ranged = matches!(facts.kind, Kind::Update | Kind::Delete) && facts.has_where;
    if bounded || !(facts.bulk_source || ranged) {
        return None;
    }
    let rows = subject.known.and_then(|known| known.rows);
    if rows.is_some_and(|rows| i64::try_from(rows).unwrap_or(i64::MAX) < options.int("min_rows")) {
        return None;
    }
    let many = rows.map_or_else(String::new, |rows| format!(", of tables of up to {rows} rows"));
    Some(Finding {
        message: format!("This writes without a bound to {}{many}.", written(facts)),
        hint: "Do it in batches: by key, or with a LIMIT in a subquery.".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{Around, flags, flags_in, passes, passes_in};

    #[test]
    fn flags_it() {
        let found = flags(
            "bulk-write-without-limit",
            "INSERT INTO archive SELECT * FROM orders WHERE made_at < '2025-01-01'",
        );
        assert!(format!("{} {}", found.message, found.hint).contains("bound to archive"), "{found:?}");
        let _ = flags(
            "bulk-write-without-limit",
            "UPDATE orders o SET state = 'x' FROM customers c WHERE c.id = o.customer_id",
        );
        let _ = flags("bulk-write-without-limit", "DELETE FROM orders USING gone WHERE gone.id = orders.id");
        let _ = flags("bulk-write-without-limit", "DELETE FROM orders WHERE made_at < now()");
        let _ =
            flags("bulk-write-without-limit", "MERGE INTO a USING b ON a.id = b.id WHEN MATCHED THEN DELETE");
    }

    #[test]
    fn passes_others() {
        passes("bulk-write-without-limit", "INSERT INTO orders (id) VALUES (1)");
        passes("bulk-write-without-limit", "INSERT INTO archive SELECT * FROM orders LIMIT 1000");
        passes(
            "bulk-write-without-limit",
            "DELETE FROM orders WHERE id IN (SELECT id FROM orders WHERE made_at < now() LIMIT 1000)",
        );
        passes("bulk-write-without-limit", "DELETE FROM orders");
        passes("bulk-write-without-limit", "INSERT INTO orders (id) SELECT 1");
        passes("bulk-write-without-limit", "SELECT * FROM orders WHERE made_at < now()");
        passes("bulk-write-without-limit", "UPDATE orders SET state = 'x' WHERE id = 7");
    }

    #[test]
    fn the_catalog_knows_what_is_big() {
        let around = Around::catalog(
            r#"{"tables": [{"schema": "public", "name": "orders", "rows": 2000000}, {"schema": "public", "name": "kinds", "rows": 12}]}"#,
        );
        passes_in("bulk-write-without-limit", "DELETE FROM kinds WHERE n < 7", &around);
        let found =
            flags_in("bulk-write-without-limit", "INSERT INTO kinds SELECT state FROM orders", &around);
        assert!(found.message.contains("up to 2000000 rows"), "{found:?}");
    }
}
