//! ### What it does
//! Finds an `UPDATE` or `DELETE` whose `WHERE` holds for every row: `true`, `1 = 1`, `id = id`.
//!
//! ### Why it hurts
//! It writes to every row as if there were no `WHERE`, and slips past whoever looks for one.
//!
//! ### Example
//! ```sql
//! DELETE FROM orders WHERE 1 = 1;
//! ```
//!
//! ### Instead
//! ```sql
//! DELETE FROM orders WHERE id = 7;
//! ```
//!
//! ### How to silence
//! Name those who may in the rule that finds it: `unless = { users = ["migrator"] }`.

use super::{Finding, Opt, Options, Subject, written};

pub(super) const READS: &[&str] =
    &["query.always_true", "query.kind", "query.tables_written", "query.read_only"];
pub(super) const OPTIONS: &[Opt] = &[];

pub(super) fn check(subject: &Subject<'_>, _: &Options) -> Option<Finding> {
    let facts = subject.facts;
    if !facts.always_true || facts.read_only || facts.tables_written.is_empty() {
        return None;
    }
    Some(Finding {
        message: format!("The WHERE holds for every row: this writes to all of {}.", written(facts)),
        hint: "Add a WHERE that names the rows.".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{flags, passes};

    #[test]
    fn flags_it() {
        let found = flags("write-with-always-true-where", "DELETE FROM orders WHERE 1 = 1");
        assert!(format!("{} {}", found.message, found.hint).contains("all of orders"), "{found:?}");
        let _ = flags("write-with-always-true-where", "UPDATE orders SET state = 'x' WHERE true");
    }

    #[test]
    fn passes_others() {
        passes("write-with-always-true-where", "DELETE FROM orders WHERE id = 1");
        passes("write-with-always-true-where", "SELECT 1 FROM orders WHERE true");
        passes("write-with-always-true-where", "DELETE FROM orders");
    }
}
