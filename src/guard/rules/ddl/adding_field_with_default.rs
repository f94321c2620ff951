//! ### What it does
//! Finds a column added with a default that differs from row to row: a volatile function, one that nobody knows,
//! `serial`, an identity, `GENERATED … STORED`. A constant, and what is the same for all rows of a statement
//! (`now()`), is stored once and costs nothing (PostgreSQL 11 and later).
//!
//! ### Why it hurts
//! Every row must get its own value, so the table is written anew while nobody can read or write it.
//!
//! ### Example
//! ```sql
//! ALTER TABLE orders ADD COLUMN token uuid DEFAULT gen_random_uuid();
//! ```
//!
//! ### Instead
//! ```sql
//! ALTER TABLE orders ADD COLUMN token uuid;
//! ALTER TABLE orders ALTER COLUMN token SET DEFAULT gen_random_uuid();
//! ```
//! Then fill the old rows in batches.
//!
//! ### How to silence
//! Name those who may in the rule that finds it: `unless = { users = ["migrator"] }`; `with = { min_rows = 10000 }`
//! leaves small tables alone where the catalog is known.

use super::{ColumnDefault, Finding, MIN_ROWS, Opt, Options, Subject, first, size};

pub(super) const READS: &[&str] = &["query.changes", "query.tables"];
pub(super) const OPTIONS: &[Opt] = &[MIN_ROWS];

pub(super) fn check(subject: &Subject<'_>, options: &Options) -> Option<Finding> {
    let change = first(subject, options, |change| {
        change.what == "add column"
            && matches!(change.default, ColumnDefault::Volatile | ColumnDefault::Generated)
    })?;
    Some(Finding {
        message: format!(
            "The default of {} differs from row to row, so all of {}{} is written anew under a lock.",
            change.subject(),
            change.object,
            size(subject, change)
        ),
        hint:
            "Add the column without it, then set the default for new rows and fill the old ones in batches."
                .into(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{flags, passes};

    #[test]
    fn flags_it() {
        let found = flags(
            "adding-field-with-default",
            "ALTER TABLE orders ADD COLUMN token uuid DEFAULT gen_random_uuid()",
        );
        assert!(format!("{} {}", found.message, found.hint).contains("orders.token"), "{found:?}");
        let _ = flags("adding-field-with-default", "ALTER TABLE orders ADD COLUMN n bigserial");
        let _ = flags(
            "adding-field-with-default",
            "ALTER TABLE orders ADD COLUMN n int GENERATED ALWAYS AS IDENTITY",
        );
        let _ = flags(
            "adding-field-with-default",
            "ALTER TABLE orders ADD COLUMN total int GENERATED ALWAYS AS (a + b) STORED",
        );
        let _ = flags("adding-field-with-default", "ALTER TABLE orders ADD COLUMN n int DEFAULT our_own()");
    }

    #[test]
    fn passes_others() {
        passes(
            "adding-field-with-default",
            "ALTER TABLE orders ADD COLUMN state text NOT NULL DEFAULT 'open'",
        );
        passes("adding-field-with-default", "ALTER TABLE orders ADD COLUMN at timestamptz DEFAULT now()");
        passes(
            "adding-field-with-default",
            "ALTER TABLE orders ALTER COLUMN token SET DEFAULT gen_random_uuid()",
        );
        passes("adding-field-with-default", "CREATE TABLE orders (token uuid DEFAULT gen_random_uuid())");
    }
}
