//! ### What it does
//! Finds an `UPDATE` or `DELETE` without `WHERE`: at the top, in a `WITH`, or under `EXPLAIN ANALYZE` and `PREPARE`. A plain
//! `EXPLAIN` writes nothing.
//!
//! ### Why it hurts
//! It changes or deletes every row. That is nearly always a forgotten line, and when it is meant it still locks
//! each row until the transaction ends, doubles the table on disk and writes all of it to every replica.
//!
//! ### Example
//! ```sql
//! UPDATE orders SET state = 'open';
//! ```
//!
//! ### Instead
//! ```sql
//! UPDATE orders SET state = 'open' WHERE id = 7;
//! ```
//! To empty a table: `TRUNCATE`. To change all of a big one: in batches by key.
//!
//! ### How to silence
//! Name those who may in the rule that finds it: `unless = { users = ["migrator"] }`, or the tables that are small
//! by nature: `unless = { tables = ["job_lock"] }`.

use super::{Finding, Opt, Options, Subject, tables};

pub(super) const READS: &[&str] = &["query.unfiltered_write", "query.read_only", "query.kind", "query.tables"];
pub(super) const OPTIONS: &[Opt] = &[];

pub(super) fn check(subject: &Subject<'_>, _: &Options) -> Option<Finding> {
    let facts = subject.facts;
    // Read-only though it holds a write: an EXPLAIN that only plans it.
    if !facts.unfiltered_write || facts.read_only {
        return None;
    }
    Some(Finding {
        message: format!("This writes to every row of {}.", tables(facts, "the table")),
        hint: "Add a WHERE that names the rows.".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{flags, passes};

    #[test]
    fn flags_writes_to_all_rows() {
        let found = flags("write-without-where", "UPDATE shop.orders SET state = 'open'");
        assert_eq!(found.message, "This writes to every row of shop.orders.");
        let _ = flags("write-without-where", "DELETE FROM orders");
        let _ = flags("write-without-where", "DELETE FROM orders RETURNING id");
        let _ = flags("write-without-where", "WITH gone AS (DELETE FROM orders RETURNING id) SELECT count(*) FROM gone");
        let _ = flags("write-without-where", "EXPLAIN ANALYZE UPDATE orders SET state = 'open'");
    }

    #[test]
    fn passes_writes_to_named_rows() {
        passes("write-without-where", "UPDATE orders SET state = 'open' WHERE id = 7");
        passes("write-without-where", "DELETE FROM orders WHERE id IN (SELECT id FROM old)");
        passes("write-without-where", "INSERT INTO orders (id) VALUES (1)");
        passes("write-without-where", "SELECT id FROM orders FOR UPDATE");
        passes("write-without-where", "TRUNCATE orders");
        passes("write-without-where", "EXPLAIN UPDATE orders SET state = 'open'");
    }
}
