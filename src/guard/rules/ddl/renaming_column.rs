//! ### What it does
//! Finds a column that gets another name.
//!
//! ### Why it hurts
//! Programs that run know the old name: from this moment on their statements fail.
//!
//! ### Example
//! ```sql
//! ALTER TABLE orders RENAME COLUMN state TO status;
//! ```
//!
//! ### Instead
//! Add a new column, write both, fill the old rows, read the new one, and drop the old one last.
//!
//! ### How to silence
//! Name those who may in the rule that finds it: `unless = { users = ["migrator"] }`.

use super::{Finding, Opt, Options, Subject, first};

pub(super) const READS: &[&str] = &["query.changes", "query.tables"];
pub(super) const OPTIONS: &[Opt] = &[];

pub(super) fn check(subject: &Subject<'_>, options: &Options) -> Option<Finding> {
    let change = first(subject, options, |change| change.what == "rename column")?;
    Some(Finding {
        message: format!(
            "Programs that run know {} by its old name, and fail from now on.",
            change.subject()
        ),
        hint: "Add a column of the new name, keep both filled until no program uses the old one.".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{flags, passes};

    #[test]
    fn flags_it() {
        let found = flags("renaming-column", "ALTER TABLE orders RENAME COLUMN state TO status");
        assert!(format!("{} {}", found.message, found.hint).contains("know orders.state"), "{found:?}");
        let _ = flags("renaming-column", "ALTER TABLE orders RENAME state TO status");
        let _ = flags("renaming-column", "ALTER VIEW v RENAME COLUMN a TO b");
    }

    #[test]
    fn passes_others() {
        passes("renaming-column", "ALTER TABLE orders RENAME CONSTRAINT a TO b");
        passes("renaming-column", "ALTER INDEX a RENAME TO b");
        passes("renaming-column", "CREATE TABLE orders (a int); ALTER TABLE orders RENAME a TO b");
    }
}
