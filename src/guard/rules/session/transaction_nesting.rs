//! ### What it does
//! Finds `BEGIN` in a transaction that is open already, and `COMMIT`, `ROLLBACK` or `SAVEPOINT` outside of one.
//! Texts of several statements are left alone: what their first ones do to the transaction is not known ahead.
//!
//! ### Why it hurts
//! PostgreSQL has no transactions in transactions. It warns, and goes on: the inner `COMMIT` ends the outer
//! transaction, and what comes after it is on its own, each statement for itself. Half of the work cannot be taken back.
//!
//! ### Example
//! ```sql
//! BEGIN;
//! UPDATE accounts SET balance = balance - 10 WHERE id = 1;
//! BEGIN;
//! UPDATE accounts SET balance = balance + 10 WHERE id = 2;
//! COMMIT; -- ends both
//! COMMIT;
//! ```
//!
//! ### Instead
//! Leave transactions to one layer of the program. A part that may fail for itself stands behind a `SAVEPOINT`.
//!
//! ### How to silence
//! Drivers that send a `ROLLBACK` in any case are exempt with `with = { outside = false }`.

use super::{Finding, Opt, Options, Subject};

pub(super) const READS: &[&str] = &["query.transaction", "query.statements", "session.in_transaction"];
pub(super) const OPTIONS: &[Opt] =
    &[Opt::bool("outside", true, "also what ends a transaction, or part of one, where none is open")];

pub(super) fn check(subject: &Subject<'_>, options: &Options) -> Option<Finding> {
    let facts = subject.facts;
    // What came before in the same text is not known here.
    if facts.transaction.is_empty() || facts.statements > 1 {
        return None;
    }
    let open = subject.around.session?.in_transaction;
    match facts.transaction {
        "begin" if open => Some(Finding {
            message: "This begins a transaction in a transaction, which PostgreSQL does not have.".into(),
            hint: "Leave it out, or use SAVEPOINT for a part that may fail for itself.".into(),
        }),
        "commit"
        | "rollback"
        | "savepoint"
        | "release savepoint"
        | "rollback to savepoint"
        | "prepare transaction"
            if !open && options.bool("outside") =>
        {
            Some(Finding {
                message: format!("There is no transaction here: this {} has none.", facts.transaction),
                hint: "Begin the transaction first, or see what ended it before.".into(),
            })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::Given;
    use super::super::super::testing::{Around, flags_in, passes, passes_in};
    use crate::guard::SessionFacts;

    const NAME: &str = "transaction-nesting";

    fn session(in_transaction: bool) -> Around {
        Around::session(SessionFacts { in_transaction, ..SessionFacts::blank() })
    }

    #[test]
    fn flags_what_has_no_place() {
        for sql in ["BEGIN", "START TRANSACTION READ ONLY"] {
            let found = flags_in(NAME, sql, &session(true));
            assert!(found.hint.contains("SAVEPOINT"), "{found:?}");
        }
        for sql in ["COMMIT", "END", "ROLLBACK", "ABORT", "SAVEPOINT a", "ROLLBACK TO a"] {
            let _ = flags_in(NAME, sql, &session(false));
        }
    }

    #[test]
    fn passes_what_has() {
        for sql in ["BEGIN", "SELECT 1", "COMMIT PREPARED 'x'"] {
            passes_in(NAME, sql, &session(false));
        }
        for sql in ["COMMIT", "ROLLBACK", "SAVEPOINT a", "RELEASE a", "SELECT 1", "COMMIT; BEGIN"] {
            passes_in(NAME, sql, &session(true));
        }
        passes(NAME, "COMMIT");
        let lax = session(false).and_with(NAME, |with| with.set("outside", Given::Bool(false)));
        passes_in(NAME, "ROLLBACK", &lax);
    }
}
