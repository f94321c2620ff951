//! ### What it does
//! Finds a column added as `NOT NULL` without a default.
//!
//! ### Why it hurts
//! It fails on any table that has a row. And programs that do not know the column yet fail with every `INSERT` from
//! then on.
//!
//! ### Example
//! ```sql
//! ALTER TABLE orders ADD COLUMN state text NOT NULL;
//! ```
//!
//! ### Instead
//! Give it a default, or add it without `NOT NULL`, fill it, and require it last:
//! ```sql
//! ALTER TABLE orders ADD COLUMN state text NOT NULL DEFAULT 'open';
//! ```
//!
//! ### How to silence
//! Name those who may in the rule that finds it: `unless = { users = ["migrator"] }`.

use super::{ColumnDefault, Finding, Opt, Options, Subject, first};

pub(super) const READS: &[&str] = &["query.changes", "query.tables"];
pub(super) const OPTIONS: &[Opt] = &[];

pub(super) fn check(subject: &Subject<'_>, options: &Options) -> Option<Finding> {
    let change = first(subject, options, |change| {
        change.what == "add column" && change.not_null && change.default == ColumnDefault::None
    })?;
    Some(Finding {
        message: format!(
            "{} must not be NULL and has no default: this fails if {} has a row.",
            change.subject(),
            change.object
        ),
        hint: "Give the column a default, or add it without NOT NULL and require it once it is filled."
            .into(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{flags, passes};

    #[test]
    fn flags_it() {
        let found = flags("adding-required-field", "ALTER TABLE orders ADD COLUMN state text NOT NULL");
        assert!(format!("{} {}", found.message, found.hint).contains("orders.state"), "{found:?}");
        let _ = flags("adding-required-field", "ALTER TABLE orders ADD state text DEFAULT NULL NOT NULL");
    }

    #[test]
    fn passes_others() {
        passes("adding-required-field", "ALTER TABLE orders ADD COLUMN state text NOT NULL DEFAULT 'open'");
        passes("adding-required-field", "ALTER TABLE orders ADD COLUMN state text");
        passes("adding-required-field", "ALTER TABLE orders ADD COLUMN n int GENERATED ALWAYS AS IDENTITY");
        passes("adding-required-field", "CREATE TABLE orders (id int NOT NULL)");
    }
}
