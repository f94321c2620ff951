//! ### What it does
//! Finds a statement that locks a table against writers or readers in a transaction that has been open for longer
//! than `seconds`, or that ran more than `statements` statements before.
//!
//! ### Why it hurts
//! The lock is held until the transaction ends, which will not be soon, and a transaction that did much before may
//! hold locks that others want in the other order: a deadlock.
//!
//! ### Example
//! ```sql
//! BEGIN;
//! UPDATE orders SET state = 'open' WHERE id < 100000; -- takes a minute
//! ALTER TABLE orders ADD COLUMN note text;
//! COMMIT;
//! ```
//!
//! ### Instead
//! Give the definition a short transaction of its own.
//!
//! ### How to silence
//! Set the bounds: `with = { seconds = 60, statements = 100 }`; a bound of 0 is none.

use super::{Finding, Opt, Options, Subject};

pub(super) const READS: &[&str] = &[
    "query.lock",
    "session.in_transaction",
    "session.transaction_seconds",
    "session.transaction_statements",
];
pub(super) const OPTIONS: &[Opt] = &[
    Opt::int("seconds", 5, "a transaction open for longer is long; 0: however long"),
    Opt::int("statements", 0, "a transaction of more statements is long; 0: however many"),
];

pub(super) fn check(subject: &Subject<'_>, options: &Options) -> Option<Finding> {
    let session = subject.around.session.filter(|session| session.in_transaction)?;
    let lock = subject
        .facts
        .table_locks
        .iter()
        .filter(|lock| lock.lock.stops_writes())
        .max_by_key(|lock| lock.lock)?;
    let (seconds, statements) = (options.int("seconds"), options.int("statements"));
    let long = (seconds > 0 && session.transaction_seconds > seconds as f64)
        || (statements > 0 && i64::from(session.transaction_statements) > statements);
    let table = if lock.table.is_empty() { "tables" } else { &lock.table };
    long.then(|| Finding {
        message: format!(
            "This locks {table} in a transaction that is open for {:.0} s already, and holds the lock to its end.",
            session.transaction_seconds
        ),
        hint: "Give it a transaction of its own.".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{Around, flags_in, passes, passes_in};
    use super::Finding;

    #[test]
    fn passes_others() {
        passes("ddl-in-long-transaction", "ALTER TABLE orders ADD COLUMN a int");
    }

    fn flags(sql: &str, around: &Around) -> Finding {
        flags_in("ddl-in-long-transaction", sql, around)
    }

    fn open(seconds: f64) -> Around {
        let session = crate::guard::SessionFacts {
            in_transaction: true,
            transaction_seconds: seconds,
            transaction_statements: 7,
            ..Default::default()
        };
        Around::session(session)
    }

    #[test]
    fn in_long_transactions() {
        let name = "ddl-in-long-transaction";
        let found = flags("ALTER TABLE orders ADD COLUMN a int", &open(61.2));
        assert!(found.message.contains("locks orders") && found.message.contains("61 s"), "{found:?}");
        passes_in(name, "ALTER TABLE orders ADD COLUMN a int", &open(2.0));
        passes_in(name, "UPDATE orders SET a = 1", &open(61.2));
        passes_in(name, "CREATE TABLE fresh (a int)", &open(61.2));
        let strict =
            open(0.1).and_with(name, |with| with.set("statements", crate::guard::rules::Given::Int(3)));
        let _ = flags("LOCK TABLE orders", &strict);
    }
}
