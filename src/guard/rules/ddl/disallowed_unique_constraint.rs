//! ### What it does
//! Finds a `UNIQUE` or `EXCLUDE` constraint that is added to a table that is there, unless it takes over an index
//! (`USING INDEX`).
//!
//! ### Why it hurts
//! Its index is built while nobody can read or write the table.
//!
//! ### Example
//! ```sql
//! ALTER TABLE orders ADD CONSTRAINT one_code UNIQUE (code);
//! ```
//!
//! ### Instead
//! ```sql
//! CREATE UNIQUE INDEX CONCURRENTLY one_code ON orders (code);
//! ALTER TABLE orders ADD CONSTRAINT one_code UNIQUE USING INDEX one_code;
//! ```
//!
//! ### How to silence
//! Name those who may in the rule that finds it: `unless = { users = ["migrator"] }`; `with = { min_rows = 10000 }`
//! leaves small tables alone where the catalog is known.

use super::{Finding, MIN_ROWS, Opt, Options, Subject, first, size};

pub(super) const READS: &[&str] = &["query.changes", "query.tables"];
pub(super) const OPTIONS: &[Opt] = &[MIN_ROWS];

pub(super) fn check(subject: &Subject<'_>, options: &Options) -> Option<Finding> {
    let change = first(subject, options, |change| match change.what {
        "add unique" => !change.using_index,
        "add exclusion" => true,
        "add column" => change.unique && !change.primary,
        _ => false,
    })?;
    Some(Finding {
        message: format!(
            "This builds an index on {}{} while nobody can read or write it.",
            change.object,
            size(subject, change)
        ),
        hint: "Build a unique index CONCURRENTLY, then ADD CONSTRAINT … UNIQUE USING INDEX.".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{flags, passes};

    #[test]
    fn flags_it() {
        let found =
            flags("disallowed-unique-constraint", "ALTER TABLE orders ADD CONSTRAINT one_code UNIQUE (code)");
        assert!(format!("{} {}", found.message, found.hint).contains("on orders"), "{found:?}");
        let _ = flags("disallowed-unique-constraint", "ALTER TABLE orders ADD COLUMN code text UNIQUE");
        let _ = flags(
            "disallowed-unique-constraint",
            "ALTER TABLE stays ADD EXCLUDE USING gist (during WITH &&)",
        );
    }

    #[test]
    fn passes_others() {
        passes(
            "disallowed-unique-constraint",
            "ALTER TABLE orders ADD CONSTRAINT one_code UNIQUE USING INDEX one_code",
        );
        passes("disallowed-unique-constraint", "CREATE TABLE orders (code text UNIQUE)");
        passes("disallowed-unique-constraint", "CREATE UNIQUE INDEX CONCURRENTLY one_code ON orders (code)");
    }
}
