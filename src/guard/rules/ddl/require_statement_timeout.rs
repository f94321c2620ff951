//! ### What it does
//! Finds a statement that locks a table against writers or readers (`SHARE` and stronger) in a session without a
//! `statement_timeout`. What a text says of its own tables, made in the same text, does not count.
//!
//! ### Why it hurts
//! `lock_timeout` bounds how long a definition waits, not how long it works while everybody else waits for it.
//!
//! ### Example
//! ```sql
//! ALTER TABLE orders ALTER COLUMN total TYPE bigint;
//! ```
//!
//! ### Instead
//! ```sql
//! SET statement_timeout = '30s';
//! ALTER TABLE orders ALTER COLUMN total TYPE bigint;
//! ```
//! A policy can set it by itself: `action = "set"` with `statement_timeout`.
//!
//! ### How to silence
//! Set a `statement_timeout` for the role: `ALTER ROLE migrator SET statement_timeout = '30s'`.

use super::{Finding, Opt, Options, Subject, waits_for};

pub(super) const READS: &[&str] = &["query.lock", "query.changes", "session.statement_timeout_set"];
pub(super) const OPTIONS: &[Opt] = &[];

pub(super) fn check(subject: &Subject<'_>, _: &Options) -> Option<Finding> {
    if subject.around.session.is_some_and(|session| session.statement_timeout_set) {
        return None;
    }
    let lock = waits_for(subject.facts)?;
    let table = if lock.table.is_empty() { "tables" } else { &lock.table };
    Some(Finding {
        message: format!("This may work on {table} for any time, while others wait for it."),
        hint: "Set statement_timeout to what the statement may take, and try again if it runs out.".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{Around, flags, flags_in, passes, passes_in};
    use crate::guard::SessionFacts;

    const NAME: &str = "require-statement-timeout";

    #[test]
    fn flags_it() {
        assert!(flags(NAME, "ALTER TABLE orders ADD COLUMN state text").message.contains("work on orders"));
        let session = SessionFacts { lock_timeout_set: true, ..Default::default() };
        let _ = flags_in(NAME, "CREATE INDEX ON orders (a)", &Around::session(session));
    }

    #[test]
    fn passes_others() {
        passes(NAME, "CREATE INDEX CONCURRENTLY ON orders (a)");
        passes(NAME, "UPDATE orders SET a = 1");
        passes(NAME, "CREATE TABLE t (id int)");
        let session = SessionFacts { statement_timeout_set: true, ..Default::default() };
        passes_in(NAME, "ALTER TABLE orders ADD COLUMN a int", &Around::session(session));
    }
}
