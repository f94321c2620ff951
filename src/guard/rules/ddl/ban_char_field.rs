//! ### What it does
//! Finds a column of type `char(n)`, in a new table or a new column.
//!
//! ### Why it hurts
//! It is padded with blanks to its length, in the table and in each result, and compares in ways that surprise.
//!
//! ### Example
//! ```sql
//! CREATE TABLE orders (code char(10));
//! ```
//!
//! ### Instead
//! ```sql
//! CREATE TABLE orders (code text CHECK (length(code) <= 10));
//! ```
//!
//! ### How to silence
//! Name those who may in the rule that finds it: `unless = { users = ["migrator"] }`.

use super::{Finding, Opt, Options, Subject, any_column};

pub(super) const READS: &[&str] = &["query.changes", "query.tables"];
pub(super) const OPTIONS: &[Opt] = &[];

pub(super) fn check(subject: &Subject<'_>, _: &Options) -> Option<Finding> {
    let change = any_column(subject, |name| name == "character" || name.starts_with("character("))?;
    Some(Finding {
        message: format!("{} is padded with blanks to its full length.", change.subject()),
        hint: "Use text, with a CHECK on its length if there must be one.".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{flags, passes};

    #[test]
    fn flags_it() {
        let found = flags("ban-char-field", "CREATE TABLE orders (code char(10))");
        assert!(format!("{} {}", found.message, found.hint).contains("orders.code"), "{found:?}");
        let _ = flags("ban-char-field", "ALTER TABLE orders ADD COLUMN code character");
        let _ = flags("ban-char-field", "ALTER TABLE orders ALTER code TYPE bpchar");
    }

    #[test]
    fn passes_others() {
        passes("ban-char-field", "CREATE TABLE orders (code varchar(10), b text)");
        passes("ban-char-field", "CREATE TABLE orders (code \"char\")");
    }
}
