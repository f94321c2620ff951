//! ### What it does
//! Finds a primary key that is added to a table that is there, unless it takes over an index (`USING INDEX`).
//!
//! ### Why it hurts
//! The index is built, and every row looked at for NULLs, while nobody can read or write the table.
//!
//! ### Example
//! ```sql
//! ALTER TABLE orders ADD PRIMARY KEY (id);
//! ```
//!
//! ### Instead
//! ```sql
//! CREATE UNIQUE INDEX CONCURRENTLY orders_pkey ON orders (id);
//! ALTER TABLE orders ADD CONSTRAINT orders_pkey PRIMARY KEY USING INDEX orders_pkey;
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
        (change.what == "add primary key" && !change.using_index)
            || (change.what == "add column" && change.primary)
    })?;
    Some(Finding {
        message: format!(
            "This builds a primary key on {}{} while nobody can read or write it.",
            change.object,
            size(subject, change)
        ),
        hint: "Build a unique index CONCURRENTLY, then ADD PRIMARY KEY USING INDEX.".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{flags, passes};

    #[test]
    fn flags_it() {
        let found = flags("adding-serial-primary-key-field", "ALTER TABLE orders ADD PRIMARY KEY (id)");
        assert!(format!("{} {}", found.message, found.hint).contains("on orders"), "{found:?}");
        let _ = flags(
            "adding-serial-primary-key-field",
            "ALTER TABLE orders ADD COLUMN id bigserial PRIMARY KEY",
        );
    }

    #[test]
    fn passes_others() {
        passes(
            "adding-serial-primary-key-field",
            "ALTER TABLE orders ADD CONSTRAINT p PRIMARY KEY USING INDEX orders_id",
        );
        passes("adding-serial-primary-key-field", "CREATE TABLE orders (id int PRIMARY KEY)");
        passes("adding-serial-primary-key-field", "ALTER TABLE orders ADD COLUMN id bigint");
    }
}
