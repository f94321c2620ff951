//! ### What it does
//! Finds a statement in a transaction that has been open for `transaction_seconds` or more, or whose last statement ended
//! `idle_seconds` ago or more. 0 switches either off. A client that says nothing is looked at every second; `block` ends it.
//!
//! ### Why it hurts
//! An open transaction holds its locks, its server connection and the oldest row version that may be cleaned up. Nearly
//! always the program does something else meanwhile: a call to another service, a person's coffee.
//!
//! ### Example
//! ```sql
//! BEGIN;
//! UPDATE orders SET state = 'paid' WHERE id = 7;
//! -- a minute passes
//! COMMIT;
//! ```
//!
//! ### Instead
//! Do the slow thing first, then open the transaction; keep it to the statements that belong together.
//!
//! ### How to silence
//! Exempt jobs that must be long: `unless = { users = ["etl"] }`, or give them more: `with = { transaction_seconds = 600 }`.

use super::{Finding, Kind, Opt, Options, Subject};

pub(super) const READS: &[&str] =
    &["session.in_transaction", "session.transaction_seconds", "session.idle_seconds", "query.kind"];
pub(super) const OPTIONS: &[Opt] = &[
    Opt::int("transaction_seconds", 60, "longest that a transaction may be open; 0: any"),
    Opt::int("idle_seconds", 10, "longest pause between two statements of a transaction; 0: any"),
];

pub(super) fn check(subject: &Subject<'_>, options: &Options) -> Option<Finding> {
    let session = subject.around.session?;
    // A transaction that ends now needs no telling.
    if !session.in_transaction || subject.facts.kind == Kind::Transaction {
        return None;
    }
    let over = |seconds: f64, option: &str| {
        let most = options.int(option);
        most > 0 && seconds >= most as f64
    };
    let message = if over(session.idle_seconds, "idle_seconds") {
        format!("The transaction has been idle for {:.0} seconds.", session.idle_seconds)
    } else if over(session.transaction_seconds, "transaction_seconds") {
        format!("The transaction has been open for {:.0} seconds.", session.transaction_seconds)
    } else {
        return None;
    };
    Some(Finding { message, hint: "Keep slow work out of transactions, and end them early.".into() })
}

#[cfg(test)]
mod tests {
    use super::super::super::Given;
    use super::super::super::testing::{Around, flags_in, passes, passes_in};
    use crate::guard::SessionFacts;

    fn after(transaction_seconds: f64, idle_seconds: f64) -> Around {
        Around::session(SessionFacts {
            in_transaction: true,
            transaction_seconds,
            idle_seconds,
            ..SessionFacts::blank()
        })
    }

    #[test]
    fn flags_transactions_that_wait() {
        let flags = |sql, around: &Around| flags_in("transaction-left-open", sql, around);
        let found = flags("UPDATE t SET a = 1 WHERE id = 1", &after(30.0, 12.0));
        assert_eq!(found.message, "The transaction has been idle for 12 seconds.");
        let found = flags("SELECT 1", &after(60.0, 0.1));
        assert_eq!(found.message, "The transaction has been open for 60 seconds.");
    }

    #[test]
    fn passes_short_ones() {
        passes("transaction-left-open", "SELECT 1");
        passes_in("transaction-left-open", "SELECT 1", &after(59.0, 9.0));
        passes_in("transaction-left-open", "COMMIT", &after(500.0, 400.0));
        passes_in("transaction-left-open", "SELECT 1", &Around::session(SessionFacts::blank()));
        let patient = after(500.0, 400.0).and_with("transaction-left-open", |options| {
            options.set("transaction_seconds", Given::Int(0));
            options.set("idle_seconds", Given::Int(0));
        });
        passes_in("transaction-left-open", "SELECT 1", &patient);
    }
}
