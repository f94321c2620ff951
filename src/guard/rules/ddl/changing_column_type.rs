//! ### What it does
//! Finds `ALTER COLUMN … TYPE`. With the catalog at hand, a change that costs nothing passes: a wider `varchar`,
//! `varchar` to `text`, a `numeric` of more digits and the same scale.
//!
//! ### Why it hurts
//! The table and its indexes are written anew while nobody can read or write it, and programs that run may not know
//! the new type.
//!
//! ### Example
//! ```sql
//! ALTER TABLE orders ALTER COLUMN id TYPE bigint;
//! ```
//!
//! ### Instead
//! Add a new column, keep it filled by a trigger, fill the old rows in batches, then let the programs use the new
//! one:
//! ```sql
//! ALTER TABLE orders ADD COLUMN id_new bigint;
//! ```
//!
//! ### How to silence
//! Name those who may in the rule that finds it: `unless = { users = ["migrator"] }`; `with = { min_rows = 10000 }`
//! leaves small tables alone where the catalog is known.

use super::{Finding, MIN_ROWS, Opt, Options, Subject, first, rewrites, size};

pub(super) const READS: &[&str] = &["query.changes", "query.tables"];
pub(super) const OPTIONS: &[Opt] = &[MIN_ROWS];

pub(super) fn check(subject: &Subject<'_>, options: &Options) -> Option<Finding> {
    let change =
        first(subject, options, |change| change.what == "alter column type" && rewrites(subject, change))?;
    let becomes = change.type_name.as_deref().unwrap_or("another type");
    Some(Finding {
        message: format!(
            "Making {} {becomes} writes all of {}{} anew while nobody can read or write it.",
            change.subject(),
            change.object,
            size(subject, change)
        ),
        hint: "Add a new column of that type, fill it in batches, then let the programs use it.".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{Around, flags, flags_in, passes, passes_in};

    #[test]
    fn flags_it() {
        let found = flags("changing-column-type", "ALTER TABLE orders ALTER COLUMN id TYPE bigint");
        assert!(format!("{} {}", found.message, found.hint).contains("Making orders.id bigint"), "{found:?}");
        let _ = flags("changing-column-type", "ALTER TABLE orders ALTER name SET DATA TYPE text");
    }

    #[test]
    fn passes_others() {
        passes("changing-column-type", "ALTER TABLE orders ADD COLUMN id_new bigint");
        passes("changing-column-type", "ALTER TABLE orders ALTER COLUMN id SET DEFAULT 3");
        passes(
            "changing-column-type",
            "CREATE TABLE orders (id int); ALTER TABLE orders ALTER id TYPE bigint",
        );
    }

    #[test]
    fn the_catalog_tells_what_costs_nothing() {
        let around = Around::catalog(
            r#"{"tables": [{"schema": "shop", "name": "orders", "columns": [{"name": "total", "type": "numeric(10,2)"}]}]}"#,
        );
        let change = |to: &str| format!("ALTER TABLE shop.orders ALTER total TYPE {to}");
        passes_in("changing-column-type", &change("decimal(14, 2)"), &around);
        let _ = flags_in("changing-column-type", &change("numeric(14, 4)"), &around);
        let _ =
            flags_in("changing-column-type", "ALTER TABLE orders ALTER total TYPE decimal(14, 2)", &around);
    }
}
