//! ### What it does
//! Finds a foreign key that is added and checked at once, without `NOT VALID`.
//!
//! ### Why it hurts
//! Every row is looked up in the other table while nobody can write to either of the two.
//!
//! ### Example
//! ```sql
//! ALTER TABLE items ADD CONSTRAINT items_order FOREIGN KEY (order_id) REFERENCES orders;
//! ```
//!
//! ### Instead
//! In two statements, each committed: the second lets writers pass.
//! ```sql
//! ALTER TABLE items ADD CONSTRAINT items_order FOREIGN KEY (order_id) REFERENCES orders NOT VALID;
//! ALTER TABLE items VALIDATE CONSTRAINT items_order;
//! ```
//!
//! ### How to silence
//! Name those who may in the rule that finds it: `unless = { users = ["migrator"] }`; `with = { min_rows = 10000 }`
//! leaves small tables alone where the catalog is known.

use super::{Finding, MIN_ROWS, Opt, Options, Subject, first, size};

pub(super) const READS: &[&str] = &["query.changes", "query.tables"];
pub(super) const OPTIONS: &[Opt] = &[MIN_ROWS];

pub(super) fn check(subject: &Subject<'_>, options: &Options) -> Option<Finding> {
    let change = first(subject, options, |change| {
        (change.what == "add foreign key" && change.scans)
            || (change.what == "add column" && change.scans && change.other.is_some())
    })?;
    Some(Finding {
        message: format!(
            "This checks every row of {}{} against {} while nobody can write to either.",
            change.object,
            size(subject, change),
            change.other.as_deref().unwrap_or("another table")
        ),
        hint: "Add it NOT VALID, commit, then VALIDATE CONSTRAINT.".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{flags, passes};

    #[test]
    fn flags_it() {
        let found = flags(
            "adding-foreign-key-constraint",
            "ALTER TABLE items ADD CONSTRAINT k FOREIGN KEY (order_id) REFERENCES shop.orders",
        );
        assert!(
            format!("{} {}", found.message, found.hint).contains("of items against shop.orders"),
            "{found:?}"
        );
        let _ = flags(
            "adding-foreign-key-constraint",
            "ALTER TABLE items ADD COLUMN order_id int DEFAULT 1 REFERENCES orders",
        );
    }

    #[test]
    fn passes_others() {
        passes(
            "adding-foreign-key-constraint",
            "ALTER TABLE items ADD CONSTRAINT k FOREIGN KEY (order_id) REFERENCES orders NOT VALID",
        );
        passes("adding-foreign-key-constraint", "ALTER TABLE items VALIDATE CONSTRAINT k");
        passes("adding-foreign-key-constraint", "CREATE TABLE items (order_id int REFERENCES orders)");
        passes(
            "adding-foreign-key-constraint",
            "ALTER TABLE items ADD COLUMN order_id int REFERENCES orders",
        );
    }
}
