//! ### What it does
//! Finds a definition outside of a transaction, alone in its text, that fails when it is run a second time:
//! `CREATE` without `IF NOT EXISTS`, `DROP` without `IF EXISTS`, `ADD COLUMN` and `DROP COLUMN` without either.
//!
//! ### Why it hurts
//! A migration of several steps that fails half-way is run again, and now fails at its first step, which was done.
//!
//! ### Example
//! ```sql
//! ALTER TABLE orders ADD COLUMN state text;
//! CREATE INDEX CONCURRENTLY orders_state ON orders (state);
//! ```
//!
//! ### Instead
//! ```sql
//! ALTER TABLE orders ADD COLUMN IF NOT EXISTS state text;
//! CREATE INDEX CONCURRENTLY IF NOT EXISTS orders_state ON orders (state);
//! ```
//! Or in one transaction, where there is nothing half done. An index that failed half-way is there, too, and invalid:
//! drop it first.
//!
//! ### How to silence
//! Say whose definitions are meant: `only = { users = ["migrator"] }`.

use super::{Finding, Opt, Options, Subject};
use crate::guard::Effects;

pub(super) const READS: &[&str] = &["query.changes", "query.statements", "session.in_transaction"];
pub(super) const OPTIONS: &[Opt] = &[];

/// Definitions that can say it.
const CAN_SAY: [&str; 16] = [
    "add column",
    "create extension",
    "create index",
    "create materialized view",
    "create schema",
    "create sequence",
    "create statistics",
    "create table",
    "drop column",
    "drop constraint",
    "drop index",
    "drop materialized view",
    "drop sequence",
    "drop table",
    "drop type",
    "drop view",
];

pub(super) fn check(subject: &Subject<'_>, _: &Options) -> Option<Finding> {
    let facts = subject.facts;
    let in_transaction = subject.around.session.is_some_and(|session| session.in_transaction);
    if in_transaction || facts.statements > 1 || facts.effects.has(Effects::TEMP_TABLE) {
        return None;
    }
    let change = facts.ddl.iter().find(|change| CAN_SAY.contains(&change.what) && !change.if_exists)?;
    let guard = if change.what.starts_with("drop") { "IF EXISTS" } else { "IF NOT EXISTS" };
    Some(Finding {
        message: format!("Run again, this {} fails: {} was done already.", change.what, change.subject()),
        hint: format!("Say {guard}, or run the whole migration in one transaction."),
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{Around, flags, passes, passes_in};

    const NAME: &str = "prefer-robust-stmts";

    #[test]
    fn flags_it() {
        let found = flags(NAME, "ALTER TABLE orders ADD COLUMN state text");
        assert!(found.message.contains("add column") && found.message.contains("orders.state"), "{found:?}");
        assert!(found.hint.contains("IF NOT EXISTS"), "{found:?}");
        for sql in [
            "CREATE INDEX CONCURRENTLY i ON orders (a)",
            "CREATE TABLE t (id bigint)",
            "CREATE TABLE t AS SELECT 1 AS a",
            "CREATE SCHEMA s",
            "CREATE SEQUENCE s",
            "CREATE EXTENSION hstore",
            "ALTER TABLE orders DROP CONSTRAINT c",
        ] {
            let _ = flags(NAME, sql);
        }
        assert!(flags(NAME, "DROP TABLE orders").hint.contains("IF EXISTS"));
    }

    #[test]
    fn passes_others() {
        for sql in [
            "ALTER TABLE orders ADD COLUMN IF NOT EXISTS state text",
            "ALTER TABLE orders DROP CONSTRAINT IF EXISTS c",
            "CREATE INDEX CONCURRENTLY IF NOT EXISTS i ON orders (a)",
            "CREATE TABLE IF NOT EXISTS t (id bigint)",
            "CREATE TABLE IF NOT EXISTS t AS SELECT 1 AS a",
            "CREATE SCHEMA IF NOT EXISTS s",
            "CREATE SEQUENCE IF NOT EXISTS s",
            "CREATE EXTENSION IF NOT EXISTS hstore",
            "DROP TABLE IF EXISTS orders",
            "CREATE TEMP TABLE t (id bigint)",
            "BEGIN; ALTER TABLE orders ADD COLUMN state text; COMMIT",
            "CREATE OR REPLACE VIEW v AS SELECT 1 AS a",
            "UPDATE orders SET state = 'open' WHERE id = 7",
        ] {
            passes(NAME, sql);
        }
        let session = crate::guard::SessionFacts { in_transaction: true, ..Default::default() };
        passes_in(NAME, "ALTER TABLE orders ADD COLUMN state text", &Around::session(session));
    }
}
