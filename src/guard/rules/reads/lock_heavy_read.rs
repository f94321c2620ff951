//! ### What it does
//! Finds a row-locking `SELECT` that joins, or that no equality narrows. `SKIP LOCKED` or `NOWAIT` with a `LIMIT`, the
//! way a queue takes its next jobs, is innocent.
//!
//! ### Why it hurts
//! A lock over a join locks the rows of all its tables, also of the one that was only looked at, until the transaction
//! ends. Whoever writes any of them waits.
//!
//! ### Example
//! ```sql
//! SELECT o.id FROM orders o JOIN customers c ON c.id = o.customer_id WHERE o.id = 7 FOR UPDATE;
//! ```
//!
//! ### Instead
//! ```sql
//! SELECT id FROM orders WHERE id = 7 FOR UPDATE;
//! SELECT name FROM customers WHERE id = $1;
//! ```
//!
//! ### How to silence
//! Name who may in the rule that finds it: `unless = { users = ["scheduler"] }`.

use super::{Finding, Opt, Options, Subject, Kind, tables};

pub(super) const READS: &[&str] = &["query.for_update", "query.lock_no_wait", "query.has_limit", "query.joins", "query.equality_columns", "query.kind", "query.tables", "query.tables_read"];
pub(super) const OPTIONS: &[Opt] = &[];

pub(super) fn check(subject: &Subject<'_>, _: &Options) -> Option<Finding> {
    let facts = subject.facts;
    if !facts.for_update || facts.kind == Kind::Ddl || facts.tables_read.is_empty() {
        return None;
    }
    if facts.lock_no_wait && facts.has_limit {
        return None;
    }
    let message = if facts.joins > 0 {
        format!("This locks the rows of {} together.", tables(facts, "its tables"))
    } else if facts.equality_columns.is_empty() {
        format!("This locks rows of {} that no key tells.", tables(facts, "its tables"))
    } else {
        return None;
    };
    Some(Finding {
        message,
        hint: "Lock the one row by its key, read the others without, or take a few with LIMIT … FOR UPDATE SKIP LOCKED.".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{flags, passes};

    #[test]
    fn flags_wide_locks() {
        let found = flags("lock-heavy-read", "SELECT o.id FROM orders o JOIN customers c ON c.id = o.customer_id WHERE o.id = 7 FOR UPDATE");
        assert!(found.message.contains("orders and customers together"), "{found:?}");
        let _ = flags("lock-heavy-read", "SELECT id FROM orders WHERE placed_at < now() LIMIT 10 FOR UPDATE");
    }

    #[test]
    fn passes_locks_by_key_and_queues() {
        passes("lock-heavy-read", "SELECT id FROM orders WHERE id = 7 FOR UPDATE");
        passes("lock-heavy-read", "SELECT id FROM jobs WHERE run_at < now() LIMIT 10 FOR UPDATE SKIP LOCKED");
        passes("lock-heavy-read", "SELECT o.id FROM orders o JOIN customers c ON c.id = o.customer_id");
    }
}
