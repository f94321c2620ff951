//! ### What it does
//! Finds `VACUUM FULL` and `CLUSTER`.
//!
//! ### Why it hurts
//! Both write the table anew while nobody can read or write it: hours for a big one.
//!
//! ### Example
//! ```sql
//! VACUUM FULL orders;
//! ```
//!
//! ### Instead
//! Plain `VACUUM` makes room for new rows while everybody works; to give space back to the disk, the extensions
//! pg_repack and pg_squeeze need their lock for moments only.
//!
//! ### How to silence
//! Name those who may in the rule that finds it: `unless = { users = ["migrator"] }`; `with = { min_rows = 10000 }`
//! leaves small tables alone where the catalog is known.

use super::{Finding, MIN_ROWS, Opt, Options, Subject, first, size};

pub(super) const READS: &[&str] = &["query.changes", "query.tables"];
pub(super) const OPTIONS: &[Opt] = &[MIN_ROWS];

pub(super) fn check(subject: &Subject<'_>, options: &Options) -> Option<Finding> {
    let change = first(subject, options, |change| matches!(change.what, "vacuum full" | "cluster"))?;
    Some(Finding {
        message: format!(
            "This writes {}{} anew while nobody can read or write.",
            change.object_or("all tables"),
            size(subject, change)
        ),
        hint: "Use plain VACUUM, or pg_repack to give space back.".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{flags, passes};

    #[test]
    fn flags_it() {
        let found = flags("prefer-repack", "VACUUM FULL orders");
        assert!(format!("{} {}", found.message, found.hint).contains("writes orders anew"), "{found:?}");
        let _ = flags("prefer-repack", "VACUUM (FULL, ANALYZE)");
        let _ = flags("prefer-repack", "CLUSTER orders USING orders_pkey");
        let _ = flags("prefer-repack", "CLUSTER");
    }

    #[test]
    fn passes_others() {
        passes("prefer-repack", "VACUUM orders");
        passes("prefer-repack", "VACUUM (FULL off) orders");
        passes("prefer-repack", "ANALYZE orders");
        passes("prefer-repack", "ALTER TABLE orders CLUSTER ON i");
    }
}
