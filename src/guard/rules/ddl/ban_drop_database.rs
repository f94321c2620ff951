//! ### What it does
//! Finds `DROP DATABASE`.
//!
//! ### Why it hurts
//! All tables of it are gone at once. There is no way back but a backup.
//!
//! ### Example
//! ```sql
//! DROP DATABASE shop;
//! ```
//!
//! ### Instead
//! Do it by hand, past the pool, with a backup that was tried.
//!
//! ### How to silence
//! Name those who may in the rule that finds it: `unless = { users = ["migrator"] }`.

use super::{Finding, Opt, Options, Subject, first};

pub(super) const READS: &[&str] = &["query.changes"];
pub(super) const OPTIONS: &[Opt] = &[];

pub(super) fn check(subject: &Subject<'_>, options: &Options) -> Option<Finding> {
    let change = first(subject, options, |change| change.what == "drop database")?;
    Some(Finding {
        message: format!("This drops the database {} with all that is in it.", change.subject()),
        hint: "Do it by hand on the server, with a backup that was tried.".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{flags, passes};

    #[test]
    fn flags_it() {
        let found = flags("ban-drop-database", "DROP DATABASE IF EXISTS shop");
        assert!(format!("{} {}", found.message, found.hint).contains("database shop"), "{found:?}");
        let _ = flags("ban-drop-database", "DROP DATABASE shop WITH (FORCE)");
    }

    #[test]
    fn passes_others() {
        passes("ban-drop-database", "CREATE DATABASE shop");
        passes("ban-drop-database", "DROP TABLE shop");
    }
}
