//! ### What it does
//! Finds a column of type `varchar(n)`, in a new table or a new column. `varchar` without a length is `text`.
//!
//! ### Why it hurts
//! Who wants another length has to change the type: a lock against everybody, and for a smaller one all rows are
//! written anew. A constraint can be changed in steps.
//!
//! ### Example
//! ```sql
//! CREATE TABLE customers (email varchar(100));
//! ```
//!
//! ### Instead
//! ```sql
//! CREATE TABLE customers (email text CHECK (length(email) <= 100));
//! ```
//!
//! ### How to silence
//! Say which columns are meant: `with = { columns = ["name", "*_name"] }`.

use super::{COLUMNS, Finding, Opt, Options, Subject, any_column_among};

pub(super) const READS: &[&str] = &["query.changes", "query.tables"];
pub(super) const OPTIONS: &[Opt] = &[COLUMNS];

pub(super) fn check(subject: &Subject<'_>, options: &Options) -> Option<Finding> {
    let change = any_column_among(subject, options, |name| {
        name.starts_with("character varying(") && !name.ends_with(']')
    })?;
    Some(Finding {
        message: format!(
            "The length of {} cannot be changed without a lock against everybody.",
            change.subject()
        ),
        hint: "Use text, with a CHECK on its length.".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{flags, passes};

    const NAME: &str = "prefer-text-field";

    #[test]
    fn flags_it() {
        assert!(
            flags(NAME, "CREATE TABLE customers (email varchar(100))").message.contains("customers.email")
        );
        let _ = flags(NAME, "ALTER TABLE customers ADD COLUMN name character varying(20)");
    }

    #[test]
    fn passes_others() {
        passes(NAME, "CREATE TABLE customers (email text, name varchar)");
        passes(NAME, "SELECT 'x'::varchar(3)");
    }
}
