//! ### What it does
//! Finds a column of type `integer` or `serial`, in a new table or a new column.
//!
//! ### Why it hurts
//! Numbers end at 2147483647, and so do the INSERTs of a table whose key has come so far. To make the column wider
//! then is to write all of the table anew, and all that point to it.
//!
//! ### Example
//! ```sql
//! CREATE TABLE orders (id int PRIMARY KEY);
//! ```
//!
//! ### Instead
//! ```sql
//! CREATE TABLE orders (id bigint PRIMARY KEY);
//! ```
//!
//! ### How to silence
//! Say which columns grow: `with = { columns = ["id", "*_id"] }`.

use super::{COLUMNS, Finding, Opt, Options, Subject, any_column_among};

pub(super) const READS: &[&str] = &["query.changes", "query.tables"];
pub(super) const OPTIONS: &[Opt] = &[COLUMNS];

pub(super) fn check(subject: &Subject<'_>, options: &Options) -> Option<Finding> {
    let change = any_column_among(subject, options, |name| matches!(name, "integer" | "serial"))?;
    Some(Finding {
        message: format!("{} cannot count beyond 2147483647.", change.subject()),
        hint: "Use bigint.".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{Around, flags, flags_in, passes, passes_in};
    use crate::guard::rules::Given;

    const NAME: &str = "prefer-bigint-over-int";

    #[test]
    fn flags_it() {
        assert!(flags(NAME, "CREATE TABLE orders (id int PRIMARY KEY)").message.contains("orders.id"));
        let _ = flags(NAME, "ALTER TABLE orders ADD COLUMN n serial4");
        let _ = flags(NAME, "ALTER TABLE orders ALTER n TYPE int4");
    }

    #[test]
    fn passes_others() {
        passes(NAME, "CREATE TABLE orders (id bigint PRIMARY KEY, n smallint, tags int[])");
        passes(NAME, "SELECT 1::int");
    }

    #[test]
    fn columns_that_are_meant() {
        let keys = || {
            Around::with(NAME, |with| {
                with.set("columns", Given::Texts(vec!["id".into(), "*_id".into()]));
            })
        };
        passes_in(NAME, "CREATE TABLE orders (id bigint, quantity int)", &keys());
        let found = flags_in(NAME, "CREATE TABLE orders (quantity int, order_id int)", &keys());
        assert!(found.message.contains("orders.order_id"), "{found:?}");
    }
}
