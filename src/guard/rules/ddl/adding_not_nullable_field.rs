//! ### What it does
//! Finds `ALTER COLUMN … SET NOT NULL`.
//!
//! ### Why it hurts
//! PostgreSQL reads the whole table to see whether a NULL is there, and nobody can read or write it meanwhile. It
//! does not have to if a valid `CHECK (… IS NOT NULL)` says so already; a text does not show whether there is one.
//!
//! ### Example
//! ```sql
//! ALTER TABLE orders ALTER COLUMN state SET NOT NULL;
//! ```
//!
//! ### Instead
//! ```sql
//! ALTER TABLE orders ADD CONSTRAINT state_there CHECK (state IS NOT NULL) NOT VALID;
//! ALTER TABLE orders VALIDATE CONSTRAINT state_there;
//! ALTER TABLE orders ALTER COLUMN state SET NOT NULL;
//! ALTER TABLE orders DROP CONSTRAINT state_there;
//! ```
//!
//! ### How to silence
//! Let those pass who go by way of the constraint: `unless = { users = ["migrator"] }`; `with = { min_rows = 10000
//! }` leaves small tables alone where the catalog is known.

use super::{Finding, MIN_ROWS, Opt, Options, Subject, first, size};

pub(super) const READS: &[&str] = &["query.changes", "query.tables"];
pub(super) const OPTIONS: &[Opt] = &[MIN_ROWS];

pub(super) fn check(subject: &Subject<'_>, options: &Options) -> Option<Finding> {
    let change = first(subject, options, |change| change.what == "set not null")?;
    Some(Finding {
        message: format!(
            "This reads all of {}{} for NULLs while nobody can read or write it.",
            change.object_or("the table"),
            size(subject, change)
        ),
        hint: "Add a CHECK (… IS NOT NULL) NOT VALID and validate it first; then SET NOT NULL has nothing to read."
            .into(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{flags, passes};

    #[test]
    fn flags_it() {
        let found = flags("adding-not-nullable-field", "ALTER TABLE orders ALTER COLUMN state SET NOT NULL");
        assert!(format!("{} {}", found.message, found.hint).contains("all of orders"), "{found:?}");
    }

    #[test]
    fn passes_others() {
        passes("adding-not-nullable-field", "ALTER TABLE orders ALTER COLUMN state DROP NOT NULL");
        passes("adding-not-nullable-field", "ALTER TABLE orders ADD COLUMN state text NOT NULL DEFAULT 'x'");
        passes(
            "adding-not-nullable-field",
            "CREATE TABLE orders (id int); ALTER TABLE orders ALTER COLUMN id SET NOT NULL",
        );
    }
}
