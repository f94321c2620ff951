//! ### What it does
//! Finds a column of type `smallint` or `smallserial`, in a new table or a new column.
//!
//! ### Why it hurts
//! Numbers end at 32767. The two bytes that are saved are often padding before the next column in any case.
//!
//! ### Example
//! ```sql
//! CREATE TABLE items (id smallserial PRIMARY KEY);
//! ```
//!
//! ### Instead
//! ```sql
//! CREATE TABLE items (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY);
//! ```
//!
//! ### How to silence
//! Say which columns grow: `with = { columns = ["id", "*_id"] }`.

use super::{COLUMNS, Finding, Opt, Options, Subject, any_column_among};

pub(super) const READS: &[&str] = &["query.changes", "query.tables"];
pub(super) const OPTIONS: &[Opt] = &[COLUMNS];

pub(super) fn check(subject: &Subject<'_>, options: &Options) -> Option<Finding> {
    let change = any_column_among(subject, options, |name| matches!(name, "smallint" | "smallserial"))?;
    Some(Finding {
        message: format!("{} cannot count beyond 32767.", change.subject()),
        hint: "Use bigint.".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{Around, flags, passes, passes_in};
    use crate::guard::rules::Given;

    const NAME: &str = "prefer-bigint-over-smallint";

    #[test]
    fn flags_it() {
        assert!(flags(NAME, "CREATE TABLE items (id smallserial)").message.contains("items.id"));
        let _ = flags(NAME, "ALTER TABLE items ADD COLUMN n int2");
    }

    #[test]
    fn passes_others() {
        passes(NAME, "CREATE TABLE items (id int, n bigint)");
        let keys = Around::with(NAME, |with| with.set("columns", Given::Texts(vec!["id".into()])));
        passes_in(NAME, "CREATE TABLE items (id bigint, weekday smallint)", &keys);
    }
}
