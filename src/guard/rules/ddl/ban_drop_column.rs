//! ### What it does
//! Finds `DROP COLUMN`.
//!
//! ### Why it hurts
//! Programs that run may still name the column, and fail from this moment on; what was in it does not come back.
//!
//! ### Example
//! ```sql
//! ALTER TABLE orders DROP COLUMN state;
//! ```
//!
//! ### Instead
//! First take the column out of all programs, and wait until none of the old ones runs.
//!
//! ### How to silence
//! Name those who may in the rule that finds it: `unless = { users = ["migrator"] }`.

use super::{Finding, Opt, Options, Subject, first};

pub(super) const READS: &[&str] = &["query.changes", "query.tables"];
pub(super) const OPTIONS: &[Opt] = &[];

pub(super) fn check(subject: &Subject<'_>, options: &Options) -> Option<Finding> {
    let change = first(subject, options, |change| change.what == "drop column")?;
    Some(Finding {
        message: format!(
            "This drops {}: programs that name it fail, and its values are gone.",
            change.subject()
        ),
        hint: "Make sure that no program names the column, then let a migration drop it.".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{flags, passes};

    #[test]
    fn flags_it() {
        let found = flags("ban-drop-column", "ALTER TABLE orders DROP COLUMN state");
        assert!(format!("{} {}", found.message, found.hint).contains("drops orders.state"), "{found:?}");
        let _ = flags("ban-drop-column", "ALTER TABLE orders DROP state CASCADE");
    }

    #[test]
    fn passes_others() {
        passes("ban-drop-column", "ALTER TABLE orders DROP CONSTRAINT c");
        passes("ban-drop-column", "ALTER TABLE orders ALTER COLUMN state DROP DEFAULT");
        passes("ban-drop-column", "CREATE TABLE orders (a int, b int); ALTER TABLE orders DROP a");
    }
}
