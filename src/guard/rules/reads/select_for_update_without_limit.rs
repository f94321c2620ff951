//! ### What it does
//! Finds a row-locking `SELECT` (`FOR UPDATE`, `FOR SHARE` and their like) with neither a `LIMIT` nor an equality that
//! narrows it.
//!
//! ### Why it hurts
//! Every row it finds is locked, and written for that, until the transaction ends: all other writers of these rows
//! wait, and two such statements that meet the rows in different orders end in a deadlock.
//!
//! ### Example
//! ```sql
//! SELECT id FROM jobs WHERE run_at < now() FOR UPDATE;
//! ```
//!
//! ### Instead
//! ```sql
//! SELECT id FROM jobs WHERE run_at < now() ORDER BY run_at LIMIT 10 FOR UPDATE SKIP LOCKED;
//! ```
//!
//! ### How to silence
//! Name who may in the rule that finds it: `unless = { users = ["scheduler"] }`.

use super::{Finding, Opt, Options, Subject, Kind, tables};

pub(super) const READS: &[&str] = &["query.for_update", "query.kind", "query.has_limit", "query.equality_columns", "query.tables", "query.tables_read"];
pub(super) const OPTIONS: &[Opt] = &[];

pub(super) fn check(subject: &Subject<'_>, _: &Options) -> Option<Finding> {
    let facts = subject.facts;
    let unbounded = facts.for_update && !facts.has_limit && facts.equality_columns.is_empty();
    if !unbounded || facts.tables_read.is_empty() || facts.kind == Kind::Ddl {
        return None;
    }
    Some(Finding {
        message: format!("This locks every row of {} that it finds, however many.", tables(facts, "its tables")),
        hint: "Add ORDER BY and LIMIT, with SKIP LOCKED for a queue, or lock by key.".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{flags, passes};

    #[test]
    fn flags_locks_without_bound() {
        let found = flags("select-for-update-without-limit", "SELECT id FROM jobs WHERE run_at < now() FOR UPDATE");
        assert!(found.message.contains("jobs"), "{found:?}");
        let _ = flags("select-for-update-without-limit", "SELECT id FROM jobs FOR SHARE SKIP LOCKED");
    }

    #[test]
    fn passes_bounded_locks() {
        passes("select-for-update-without-limit", "SELECT id FROM jobs WHERE run_at < now() LIMIT 10 FOR UPDATE SKIP LOCKED");
        passes("select-for-update-without-limit", "SELECT id FROM jobs WHERE id = 7 FOR UPDATE");
        passes("select-for-update-without-limit", "SELECT id FROM jobs WHERE id = ANY ($1) FOR NO KEY UPDATE");
        passes("select-for-update-without-limit", "SELECT id FROM jobs WHERE run_at < now()");
    }
}
