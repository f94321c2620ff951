//! ### What it does
//! Finds a `SELECT` that ran `max` times or more before with other values, in the same transaction or within the window of the
//! runtime: one and the same fingerprint.
//!
//! ### Why it hurts
//! It is the N+1 of an object mapper: a list is read with one query, then each of its lines with another. A thousand round
//! trips cost a second where one query costs a millisecond.
//!
//! ### Example
//! ```sql
//! SELECT name FROM customers WHERE id = 1;
//! SELECT name FROM customers WHERE id = 2;
//! -- and so on
//! ```
//!
//! ### Instead
//! Read them at once, by a join or a list:
//! ```sql
//! SELECT id, name FROM customers WHERE id = ANY ($1);
//! ```
//!
//! ### How to silence
//! `with = { max = 500 }`, or exempt a job that works line by line: `unless = { applications = ["import"] }`.

use super::{Finding, Kind, Opt, Options, Subject, tables};

pub(super) const READS: &[&str] = &["session.repeats", "query.kind", "query.tables"];
pub(super) const OPTIONS: &[Opt] = &[Opt::int("max", 20, "runs before this one that are too many")];

pub(super) fn check(subject: &Subject<'_>, options: &Options) -> Option<Finding> {
    let (facts, repeats) = (subject.facts, subject.around.session?.repeats);
    let looks_up = facts.kind == Kind::Select && !facts.tables.is_empty();
    (looks_up && i64::from(repeats) >= options.int("max").max(1)).then(|| Finding {
        message: format!("This query over {} ran {repeats} times before with other values.", tables(facts, "")),
        hint: "Read all of them at once: a join, or = ANY ($1).".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::Given;
    use super::super::super::testing::{Around, flags_in, passes, passes_in};
    use crate::guard::SessionFacts;

    fn after(repeats: u32) -> Around {
        Around::session(SessionFacts { repeats, ..SessionFacts::blank() })
    }

    const LOOKUP: &str = "SELECT name FROM customers WHERE id = 7";

    #[test]
    fn flags_one_by_one() {
        let flags = |sql, around: &Around| flags_in("repeated-lookup", sql, around);
        let found = flags(LOOKUP, &after(20));
        assert_eq!(found.message, "This query over customers ran 20 times before with other values.");
        let few = after(3).and_with("repeated-lookup", |options| options.set("max", Given::Int(3)));
        let _ = flags(LOOKUP, &few);
    }

    #[test]
    fn passes_a_few_and_other_statements() {
        passes("repeated-lookup", LOOKUP);
        passes_in("repeated-lookup", LOOKUP, &after(19));
        passes_in("repeated-lookup", "INSERT INTO t (a) VALUES (1)", &after(100));
        passes_in("repeated-lookup", "SELECT nextval('s')", &after(100));
    }
}
