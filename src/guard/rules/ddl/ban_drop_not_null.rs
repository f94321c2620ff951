//! ### What it does
//! Finds `ALTER COLUMN … DROP NOT NULL`.
//!
//! ### Why it hurts
//! Programs that run were written for a column that always has a value, and may fail on the first NULL they read.
//!
//! ### Example
//! ```sql
//! ALTER TABLE orders ALTER COLUMN state DROP NOT NULL;
//! ```
//!
//! ### Instead
//! Change all that read the column first.
//!
//! ### How to silence
//! Name those who may in the rule that finds it: `unless = { users = ["migrator"] }`.

use super::{Finding, Opt, Options, Subject, first};

pub(super) const READS: &[&str] = &["query.changes", "query.tables"];
pub(super) const OPTIONS: &[Opt] = &[];

pub(super) fn check(subject: &Subject<'_>, options: &Options) -> Option<Finding> {
    let change = first(subject, options, |change| change.what == "drop not null")?;
    Some(Finding {
        message: format!(
            "{} may be NULL from now on, which programs that read it may not expect.",
            change.subject()
        ),
        hint: "Make sure that all that read the column take a NULL.".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{flags, passes};

    #[test]
    fn flags_it() {
        let found = flags("ban-drop-not-null", "ALTER TABLE orders ALTER COLUMN state DROP NOT NULL");
        assert!(format!("{} {}", found.message, found.hint).contains("orders.state"), "{found:?}");
    }

    #[test]
    fn passes_others() {
        passes("ban-drop-not-null", "ALTER TABLE orders ALTER COLUMN state SET NOT NULL");
        passes("ban-drop-not-null", "ALTER TABLE orders ALTER COLUMN state DROP DEFAULT");
    }
}
