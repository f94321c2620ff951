//! ### What it does
//! Finds a column of type `serial` and its like, in a new table or a new column.
//!
//! ### Why it hurts
//! Its sequence has an owner and rights of its own, which are forgotten when the table's are given, and a value
//! written by hand is not noticed until the sequence comes to it.
//!
//! ### Example
//! ```sql
//! CREATE TABLE orders (id bigserial PRIMARY KEY);
//! ```
//!
//! ### Instead
//! ```sql
//! CREATE TABLE orders (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY);
//! ```
//!
//! ### How to silence
//! Name those who may in the rule that finds it: `unless = { users = ["migrator"] }`.

use super::{Finding, Opt, Options, Subject, any_column};

pub(super) const READS: &[&str] = &["query.changes", "query.tables"];
pub(super) const OPTIONS: &[Opt] = &[];

pub(super) fn check(subject: &Subject<'_>, _: &Options) -> Option<Finding> {
    let change = any_column(subject, |name| matches!(name, "serial" | "smallserial" | "bigserial"))?;
    Some(Finding {
        message: format!("{} is a serial, whose sequence has rights of its own.", change.subject()),
        hint: "Use GENERATED ALWAYS AS IDENTITY.".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{flags, passes};

    #[test]
    fn flags_it() {
        let found = flags("prefer-identity", "CREATE TABLE orders (id bigserial PRIMARY KEY)");
        assert!(format!("{} {}", found.message, found.hint).contains("orders.id"), "{found:?}");
        let _ = flags("prefer-identity", "ALTER TABLE orders ADD COLUMN n serial4");
    }

    #[test]
    fn passes_others() {
        passes("prefer-identity", "CREATE TABLE orders (id bigint GENERATED ALWAYS AS IDENTITY)");
        passes("prefer-identity", "CREATE SEQUENCE s");
    }
}
