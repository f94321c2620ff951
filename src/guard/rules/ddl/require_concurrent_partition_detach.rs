//! ### What it does
//! Finds `DETACH PARTITION` without `CONCURRENTLY`.
//!
//! ### Why it hurts
//! The whole partitioned table is locked against readers and writers.
//!
//! ### Example
//! ```sql
//! ALTER TABLE measures DETACH PARTITION measures_2025;
//! ```
//!
//! ### Instead
//! Outside of a transaction:
//! ```sql
//! ALTER TABLE measures DETACH PARTITION measures_2025 CONCURRENTLY;
//! ```
//!
//! ### How to silence
//! Name those who may in the rule that finds it: `unless = { users = ["migrator"] }`.

use super::{Finding, Opt, Options, Subject, first};

pub(super) const READS: &[&str] = &["query.changes", "query.tables", "query.concurrently"];
pub(super) const OPTIONS: &[Opt] = &[];

pub(super) fn check(subject: &Subject<'_>, options: &Options) -> Option<Finding> {
    let change = first(subject, options, |change| change.what == "detach partition" && !change.concurrently)?;
    Some(Finding {
        message: format!("Nobody can read or write {} while the partition is detached.", change.object),
        hint: "Say DETACH PARTITION … CONCURRENTLY, outside of a transaction.".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{flags, passes};

    #[test]
    fn flags_it() {
        let found = flags(
            "require-concurrent-partition-detach",
            "ALTER TABLE measures DETACH PARTITION measures_2025",
        );
        assert!(format!("{} {}", found.message, found.hint).contains("write measures"), "{found:?}");
    }

    #[test]
    fn passes_others() {
        passes("require-concurrent-partition-detach", "ALTER TABLE measures DETACH PARTITION m CONCURRENTLY");
        passes("require-concurrent-partition-detach", "ALTER TABLE measures DETACH PARTITION m FINALIZE");
        passes("require-concurrent-partition-detach", "ALTER TABLE measures ATTACH PARTITION m DEFAULT");
    }
}
