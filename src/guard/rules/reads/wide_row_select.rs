//! ### What it does
//! Finds `*` over a table that the catalog knows to be wide: in columns, or in average bytes of a row. Without a
//! catalog it finds nothing; `select-star` does.
//!
//! ### Why it hurts
//! The wide columns are mostly the ones that a program throws away, and the ones that PostgreSQL keeps outside of the
//! row: each costs another look-up, is decompressed, sent and parsed. A list of twenty rows becomes a megabyte.
//!
//! ### Example
//! ```sql
//! SELECT * FROM documents WHERE owner_id = 7 LIMIT 20;
//! ```
//!
//! ### Instead
//! ```sql
//! SELECT id, title, changed_at FROM documents WHERE owner_id = 7 LIMIT 20;
//! ```
//!
//! ### How to silence
//! Raise what counts as wide, `with = { width = 8000, columns = 100 }`, or name the table: `unless = { tables =
//! ["documents"] }`.

use super::{Finding, Opt, Options, Subject, Kind, tables};

pub(super) const READS: &[&str] = &["query.select_star", "query.kind", "query.tables", "catalog.star_width", "catalog.star_columns"];
pub(super) const OPTIONS: &[Opt] = &[Opt::int("width", 2_000, "Average bytes of a row above which it is wide."), Opt::int("columns", 40, "Columns above which it is wide.")];

pub(super) fn check(subject: &Subject<'_>, options: &Options) -> Option<Finding> {
    let (facts, known) = (subject.facts, subject.known?);
    if !facts.select_star || facts.kind == Kind::Ddl {
        return None;
    }
    let above = |value: Option<u64>, option: &str| {
        value.filter(|value| i64::try_from(*value).unwrap_or(i64::MAX) > options.int(option))
    };
    let how = match (above(known.star_width, "width"), above(known.star_columns, "columns")) {
        (Some(width), _) => format!("rows of {width} bytes on average"),
        (None, Some(columns)) => format!("all {columns} columns"),
        (None, None) => return None,
    };
    Some(Finding {
        message: format!("This reads {how} of {}.", tables(facts, "its tables")),
        hint: "Name the columns you need instead of *, and leave the wide ones for the row that is looked at.".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::Given;
    use super::super::super::testing::{Around, flags_in, passes, passes_in};

    #[test]
    fn flags_wide_rows() {
        let wide = r#"{"tables": [{"schema": "public", "name": "documents", "columns": [{"name": "id", "width": 8}, {"name": "body", "width": 9000}]}]}"#;
        let found = flags_in("wide-row-select", "SELECT * FROM documents WHERE id = 7", &Around::catalog(wide));
        assert_eq!(found.message, "This reads rows of 9008 bytes on average of documents.");
        let columns = Around::catalog(wide).and_with("wide-row-select", |with| {
            with.set("width", Given::Int(10_000));
            with.set("columns", Given::Int(1));
        });
        let _ = flags_in("wide-row-select", "SELECT d.* FROM documents d", &columns);
        
        passes_in("wide-row-select", "SELECT id FROM documents", &columns);
    }

    #[test]
    fn passes_narrow_rows_and_what_nobody_knows() {
        let narrow = r#"{"tables": [{"schema": "public", "name": "orders", "columns": [{"name": "id", "width": 8}]}]}"#;
        passes_in("wide-row-select", "SELECT * FROM orders", &Around::catalog(narrow));
        passes("wide-row-select", "SELECT * FROM orders");
    }
}
