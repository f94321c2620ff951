//! ### What it does
//! Finds an `OR` whose sides compare different columns, and none is in all of them. Sides that only test a parameter
//! (`$1 IS NULL OR a = $1`) are innocent. With a catalog it is silent where one table's columns all have an index of
//! their own, which a bitmap can combine.
//!
//! ### Why it hurts
//! No one index serves both sides. At best two are combined; over two tables none is: they are joined whole, and the
//! `OR` filters what comes out.
//!
//! ### Example
//! ```sql
//! SELECT o.id FROM orders o JOIN customers c ON c.id = o.customer_id WHERE o.reference = $1 OR c.email = $1;
//! ```
//!
//! ### Instead
//! ```sql
//! SELECT id FROM orders WHERE reference = $1
//! UNION
//! SELECT o.id FROM orders o JOIN customers c ON c.id = o.customer_id WHERE c.email = $1;
//! ```
//!
//! ### How to silence
//! Name the tables where it is known to be cheap: `unless = { tables = ["orders"] }`.

use super::{Comparison, Finding, Opt, Options, Subject, Kind, table};

pub(super) const READS: &[&str] = &["query.or_across_columns", "query.filter_columns", "query.kind", "query.tables"];
pub(super) const OPTIONS: &[Opt] = &[];

pub(super) fn check(subject: &Subject<'_>, _: &Options) -> Option<Finding> {
    let facts = subject.facts;
    if !facts.or_across_columns || facts.kind == Kind::Ddl || facts.tables.is_empty() || is_served(subject) {
        return None;
    }
    let columns: Vec<&str> = facts.filter_columns.iter().take(4).map(String::as_str).collect();
    Some(Finding {
        message: format!("An OR compares different columns ({}): no one index serves both sides.", columns.join(", ")),
        hint: "Ask each side in a SELECT of its own and put them together with UNION.".into(),
    })
}

/// Every column under an `OR` is of one table and has an index.
fn is_served(subject: &Subject<'_>) -> bool {
    let mut alternatives = subject.facts.predicates.iter().filter(|predicate| !predicate.must_hold).peekable();
    let Some(first) = alternatives.peek().and_then(|predicate| table(subject, &predicate.table)) else { return false };
    alternatives.all(|predicate| {
        predicate.function.is_none()
            && predicate.cast.is_none()
            && predicate.comparison != Comparison::Other
            && first.is_indexed(&predicate.column)
            && table(subject, &predicate.table).is_some_and(|table| std::ptr::eq(table, first))
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{Around, flags, flags_in, passes, passes_in};

    #[test]
    fn flags_ors_over_columns() {
        let found = flags("or-across-columns", "SELECT id FROM orders WHERE reference = $1 OR email = $1");
        assert!(found.message.contains("orders.reference, orders.email"), "{found:?}");
        let _ = flags("or-across-columns", "SELECT o.id FROM orders o JOIN customers c ON c.id = o.customer_id WHERE o.reference = $1 OR c.email = $1");
    }

    #[test]
    fn passes_one_column_optional_parameters_and_served_ones() {
        passes("or-across-columns", "SELECT id FROM orders WHERE state = 'a' OR state = 'b'");
        passes("or-across-columns", "SELECT id FROM orders WHERE ($1 IS NULL OR state = $1) AND id = 7");
        passes("or-across-columns", "SELECT id FROM orders WHERE (state = 'a' AND x = 1) OR (state = 'b' AND y = 2)");
        let indexed = r#"{"tables": [{"schema": "public", "name": "orders", "indexes": [{"name": "i", "columns": ["reference"], "method": "btree", "valid": true}, {"name": "j", "columns": ["email"], "method": "btree", "valid": true}]}]}"#;
        passes_in("or-across-columns", "SELECT id FROM orders WHERE reference = $1 OR email = $1", &Around::catalog(indexed));
        let _ = flags_in("or-across-columns", "SELECT id FROM orders WHERE reference = $1 OR state = $1", &Around::catalog(indexed));
    }
}
