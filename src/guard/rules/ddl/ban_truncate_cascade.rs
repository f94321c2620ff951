//! ### What it does
//! Finds `TRUNCATE … CASCADE`.
//!
//! ### Why it hurts
//! It empties every table that points to this one, and every table that points to those, whoever they belong to.
//!
//! ### Example
//! ```sql
//! TRUNCATE orders CASCADE;
//! ```
//!
//! ### Instead
//! Name all tables that are meant; PostgreSQL says if one is missing.
//! ```sql
//! TRUNCATE orders, items;
//! ```
//!
//! ### How to silence
//! Name those who may in the rule that finds it: `unless = { users = ["migrator"] }`.

use super::{Finding, Opt, Options, Subject, first};

pub(super) const READS: &[&str] = &["query.changes", "query.tables"];
pub(super) const OPTIONS: &[Opt] = &[];

pub(super) fn check(subject: &Subject<'_>, options: &Options) -> Option<Finding> {
    let change = first(subject, options, |change| change.what == "truncate" && change.cascade)?;
    Some(Finding {
        message: format!("This empties {} and every table that points to it.", change.object),
        hint: "Name the tables to empty instead of CASCADE.".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{flags, passes};

    #[test]
    fn flags_it() {
        let found = flags("ban-truncate-cascade", "TRUNCATE TABLE orders CASCADE");
        assert!(format!("{} {}", found.message, found.hint).contains("empties orders"), "{found:?}");
    }

    #[test]
    fn passes_others() {
        passes("ban-truncate-cascade", "TRUNCATE orders, items");
        passes("ban-truncate-cascade", "DROP TABLE orders CASCADE");
    }
}
