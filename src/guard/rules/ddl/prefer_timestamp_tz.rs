//! ### What it does
//! Finds a column of type `timestamp` (without time zone), in a new table or a new column.
//!
//! ### Why it hurts
//! It does not say which moment it means: each session reads its own zone into it, and an hour a year exists twice.
//!
//! ### Example
//! ```sql
//! CREATE TABLE orders (made_at timestamp);
//! ```
//!
//! ### Instead
//! ```sql
//! CREATE TABLE orders (made_at timestamptz);
//! ```
//!
//! ### How to silence
//! Name those who may in the rule that finds it: `unless = { users = ["migrator"] }`.

use super::{Finding, Opt, Options, Subject, any_column};

pub(super) const READS: &[&str] = &["query.changes", "query.tables"];
pub(super) const OPTIONS: &[Opt] = &[];

pub(super) fn check(subject: &Subject<'_>, _: &Options) -> Option<Finding> {
    let change =
        any_column(subject, |name| name.starts_with("timestamp") && name.contains("without time zone"))?;
    Some(Finding {
        message: format!("{} is a time of no zone: it does not say which moment it means.", change.subject()),
        hint: "Use timestamptz.".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{flags, passes};

    #[test]
    fn flags_it() {
        let found = flags("prefer-timestamp-tz", "CREATE TABLE orders (made_at timestamp(3))");
        assert!(format!("{} {}", found.message, found.hint).contains("orders.made_at"), "{found:?}");
        let _ = flags("prefer-timestamp-tz", "ALTER TABLE orders ADD COLUMN made_at timestamp DEFAULT now()");
    }

    #[test]
    fn passes_others() {
        passes("prefer-timestamp-tz", "CREATE TABLE orders (made_at timestamptz, day date)");
        passes("prefer-timestamp-tz", "ALTER TABLE orders ADD COLUMN at timestamp with time zone");
        passes("prefer-timestamp-tz", "SELECT now()::timestamp");
    }
}
