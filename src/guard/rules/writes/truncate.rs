//! ### What it does
//! Finds `TRUNCATE`, but for tables that the same text made.
//!
//! ### Why it hurts
//! It empties the table at once, whatever a `WHERE` rule says, locks out even those who only read, and does not
//! show in triggers or row by row on a replica.
//!
//! ### Example
//! ```sql
//! TRUNCATE orders;
//! ```
//!
//! ### Instead
//! For a table that programs use: `DELETE` in batches by key. To empty one at night: let those do it who may.
//!
//! ### How to silence
//! Name the tables that are made to be emptied: `unless = { tables = ["staging.*"] }`.

use super::{Finding, Opt, Options, Subject};

pub(super) const READS: &[&str] = &["query.changes", "query.tables"];
pub(super) const OPTIONS: &[Opt] = &[];

pub(super) fn check(subject: &Subject<'_>, _: &Options) -> Option<Finding> {
    let change = subject.facts.ddl.iter().find(|change| change.what == "truncate" && !change.new_object)?;
    Some(Finding {
        message: format!("This empties {} and locks out all that use it.", change.object),
        hint: "Use DELETE in batches, or let a migration do it.".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{flags, passes};

    #[test]
    fn flags_it() {
        let found = flags("truncate", "TRUNCATE shop.orders, items");
        assert!(format!("{} {}", found.message, found.hint).contains("empties shop.orders"), "{found:?}");
        let _ = flags("truncate", "TRUNCATE TABLE ONLY orders RESTART IDENTITY");
    }

    #[test]
    fn passes_others() {
        passes("truncate", "DELETE FROM orders WHERE id = 7");
        passes("truncate", "CREATE TEMP TABLE scratch (id int); TRUNCATE scratch");
        passes("truncate", "DROP TABLE orders");
    }
}
