//! ### What it does
//! Finds `CONCURRENTLY` (of an index that is built, dropped or rebuilt, of a partition that is detached) within a
//! transaction block, or in a text of several statements, which is a transaction, too. `REFRESH MATERIALIZED VIEW
//! CONCURRENTLY` may stand there.
//!
//! ### Why it hurts
//! PostgreSQL refuses it, and with it all that the transaction did before.
//!
//! ### Example
//! ```sql
//! BEGIN;
//! CREATE INDEX CONCURRENTLY orders_state ON orders (state);
//! COMMIT;
//! ```
//!
//! ### Instead
//! Send it alone, outside of a transaction.
//!
//! ### How to silence
//! Leave the rule out: PostgreSQL refuses the statement in any case.

use super::{Finding, Opt, Options, Subject};

pub(super) const READS: &[&str] =
    &["query.concurrently", "query.changes", "query.statements", "session.in_transaction"];
pub(super) const OPTIONS: &[Opt] = &[];

pub(super) fn check(subject: &Subject<'_>, _: &Options) -> Option<Finding> {
    let change = subject
        .facts
        .ddl
        .iter()
        .find(|change| change.concurrently && change.what != "refresh materialized view")?;
    let in_block = subject.around.session.is_some_and(|session| session.in_transaction);
    if !in_block && subject.facts.statements < 2 {
        return None;
    }
    Some(Finding {
        message: format!("This runs in a transaction, where {} CONCURRENTLY is refused.", change.what),
        hint: "Send it alone, outside of a transaction.".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{Around, flags, flags_in, passes, passes_in};

    #[test]
    fn flags_it() {
        let found = flags(
            "ban-concurrent-index-creation-in-transaction",
            "BEGIN; CREATE INDEX CONCURRENTLY i ON orders (a); COMMIT",
        );
        assert!(
            format!("{} {}", found.message, found.hint).contains("create index CONCURRENTLY"),
            "{found:?}"
        );
        let _ = flags("ban-concurrent-index-creation-in-transaction", "SELECT 1; DROP INDEX CONCURRENTLY i");
    }

    #[test]
    fn passes_others() {
        passes("ban-concurrent-index-creation-in-transaction", "CREATE INDEX CONCURRENTLY i ON orders (a)");
        passes(
            "ban-concurrent-index-creation-in-transaction",
            "BEGIN; REFRESH MATERIALIZED VIEW CONCURRENTLY v; COMMIT",
        );
        passes("ban-concurrent-index-creation-in-transaction", "BEGIN; CREATE INDEX i ON orders (a); COMMIT");
    }

    #[test]
    fn a_block_that_is_open() {
        let session = crate::guard::SessionFacts { in_transaction: true, ..Default::default() };
        let around = Around::session(session);
        let _ = flags_in(
            "ban-concurrent-index-creation-in-transaction",
            "REINDEX TABLE CONCURRENTLY orders",
            &around,
        );
        passes_in("ban-concurrent-index-creation-in-transaction", "CREATE INDEX i ON orders (a)", &around);
    }
}
