//! ### What it does
//! Finds a column of type `json`, in a new table or a new column.
//!
//! ### Why it hurts
//! `json` has no equality: `SELECT DISTINCT` and `GROUP BY` over the table's rows, and `UNION`, fail once the column
//! is there. It cannot be indexed, and is parsed anew at each look.
//!
//! ### Example
//! ```sql
//! ALTER TABLE orders ADD COLUMN details json;
//! ```
//!
//! ### Instead
//! ```sql
//! ALTER TABLE orders ADD COLUMN details jsonb;
//! ```
//!
//! ### How to silence
//! Say which columns are meant: `with = { columns = ["details"] }`; `json` keeps the text as it came, `jsonb` does not.

use super::{COLUMNS, Finding, Opt, Options, Subject, any_column_among};

pub(super) const READS: &[&str] = &["query.changes", "query.tables"];
pub(super) const OPTIONS: &[Opt] = &[COLUMNS];

pub(super) fn check(subject: &Subject<'_>, options: &Options) -> Option<Finding> {
    let change = any_column_among(subject, options, |name| name == "json")?;
    Some(Finding {
        message: format!("{} has no equality: DISTINCT, GROUP BY and UNION over it fail.", change.subject()),
        hint: "Use jsonb.".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{flags, passes};

    const NAME: &str = "prefer-jsonb";

    #[test]
    fn flags_it() {
        assert!(flags(NAME, "ALTER TABLE orders ADD COLUMN details json").message.contains("orders.details"));
        let _ = flags(NAME, "CREATE TABLE orders (id bigint, details json)");
    }

    #[test]
    fn passes_others() {
        passes(NAME, "ALTER TABLE orders ADD COLUMN details jsonb");
        passes(NAME, "SELECT '{}'::json");
    }
}
