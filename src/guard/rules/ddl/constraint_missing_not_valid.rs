//! ### What it does
//! Finds a `CHECK` (or, from PostgreSQL 18 on, a `NOT NULL` constraint) that is added and checked at once, without
//! `NOT VALID`; also one of a domain. Foreign keys have a rule of their own.
//!
//! ### Why it hurts
//! Every row is read and checked while nobody can read or write the table.
//!
//! ### Example
//! ```sql
//! ALTER TABLE orders ADD CONSTRAINT positive CHECK (total >= 0);
//! ```
//!
//! ### Instead
//! In two statements, each committed: the second lets readers and writers pass.
//! ```sql
//! ALTER TABLE orders ADD CONSTRAINT positive CHECK (total >= 0) NOT VALID;
//! ALTER TABLE orders VALIDATE CONSTRAINT positive;
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
        matches!(change.what, "add check" | "add not null") && change.scans
    })?;
    Some(Finding {
        message: format!(
            "This checks every row of {}{} while nobody can use it.",
            change.object,
            size(subject, change)
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
            "constraint-missing-not-valid",
            "ALTER TABLE orders ADD CONSTRAINT positive CHECK (total >= 0)",
        );
        assert!(format!("{} {}", found.message, found.hint).contains("row of orders"), "{found:?}");
        let _ = flags("constraint-missing-not-valid", "ALTER DOMAIN amount ADD CHECK (VALUE > 0)");
    }

    #[test]
    fn passes_others() {
        passes(
            "constraint-missing-not-valid",
            "ALTER TABLE orders ADD CONSTRAINT positive CHECK (total >= 0) NOT VALID",
        );
        passes("constraint-missing-not-valid", "ALTER TABLE orders VALIDATE CONSTRAINT positive");
        passes("constraint-missing-not-valid", "CREATE TABLE orders (total int CHECK (total >= 0))");
        passes(
            "constraint-missing-not-valid",
            "CREATE TABLE orders (total int); ALTER TABLE orders ADD CHECK (total > 0)",
        );
    }
}
