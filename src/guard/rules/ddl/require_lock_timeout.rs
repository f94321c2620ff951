//! ### What it does
//! Finds a statement that locks a table against writers or readers (`SHARE` and stronger) in a session without a
//! `lock_timeout`. What a text says of its own tables, made in the same text, does not count.
//!
//! ### Why it hurts
//! A lock that must wait for one long query makes everybody wait who comes after it: a definition that takes a
//! millisecond stops the site for as long as somebody's report runs.
//!
//! ### Example
//! ```sql
//! ALTER TABLE orders ADD COLUMN state text;
//! ```
//!
//! ### Instead
//! ```sql
//! SET lock_timeout = '2s';
//! ALTER TABLE orders ADD COLUMN state text;
//! ```
//! Try again if it runs out. A policy can set it by itself: `action = "set"` with `lock_timeout`.
//!
//! ### How to silence
//! Set a `lock_timeout` for the role: `ALTER ROLE migrator SET lock_timeout = '2s'`.

use super::{Finding, Opt, Options, Subject, waits_for};

pub(super) const READS: &[&str] = &["query.lock", "query.changes", "session.lock_timeout_set"];
pub(super) const OPTIONS: &[Opt] = &[];

pub(super) fn check(subject: &Subject<'_>, _: &Options) -> Option<Finding> {
    if subject.around.session.is_some_and(|session| session.lock_timeout_set) {
        return None;
    }
    let lock = waits_for(subject.facts)?;
    let table = if lock.table.is_empty() { "tables" } else { &lock.table };
    let who = if lock.lock.stops_reads() { "reads or writes" } else { "writes to" };
    Some(Finding {
        message: format!(
            "This waits for a lock on {table} without a limit, and whoever {who} {table} waits behind it."
        ),
        hint: "Set lock_timeout to a few seconds first, and try again if it runs out.".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{Around, flags, flags_in, passes, passes_in};

    #[test]
    fn flags_it() {
        let found = flags("require-lock-timeout", "ALTER TABLE orders ADD COLUMN state text");
        assert!(format!("{} {}", found.message, found.hint).contains("lock on orders"), "{found:?}");
        assert!(format!("{} {}", found.message, found.hint).contains("reads or writes orders"), "{found:?}");
        let _ = flags("require-lock-timeout", "CREATE INDEX ON orders (a)");
        let _ = flags("require-lock-timeout", "TRUNCATE orders");
        let _ = flags("require-lock-timeout", "LOCK TABLE orders");
        let _ = flags("require-lock-timeout", "VACUUM FULL");
        let _ = flags("require-lock-timeout", "CREATE TABLE items (order_id int REFERENCES orders)");
        let _ = flags("require-lock-timeout", "CREATE TRIGGER t AFTER INSERT ON orders EXECUTE FUNCTION f()");
    }

    #[test]
    fn passes_others() {
        passes("require-lock-timeout", "CREATE INDEX CONCURRENTLY ON orders (a)");
        passes("require-lock-timeout", "ALTER TABLE orders VALIDATE CONSTRAINT c");
        passes("require-lock-timeout", "UPDATE orders SET a = 1");
        passes("require-lock-timeout", "CREATE TABLE t (id int)");
        passes("require-lock-timeout", "CREATE TABLE t (id int); ALTER TABLE t ADD COLUMN a int");
        passes("require-lock-timeout", "VACUUM orders");
        passes("require-lock-timeout", "ALTER TABLE m DETACH PARTITION p CONCURRENTLY");
        passes("require-lock-timeout", "COMMENT ON TABLE orders IS 'x'");
    }

    #[test]
    fn a_session_with_one() {
        let session = crate::guard::SessionFacts { lock_timeout_set: true, ..Default::default() };
        passes_in("require-lock-timeout", "ALTER TABLE orders ADD COLUMN a int", &Around::session(session));
        let session = crate::guard::SessionFacts::default();
        let _ = flags_in(
            "require-lock-timeout",
            "ALTER TABLE orders ADD COLUMN a int",
            &Around::session(session),
        );
    }
}
