//! ### What it does
//! Finds a filter that compares a column through a function or an operator (`lower(email) = …`, `created_at::date` is
//! `implicit-cast-on-column`'s). With a catalog it speaks only of columns that have an index, and where no index is
//! over such an expression; without one, of every such column. JSON operators and functions that are the whole
//! condition (`ST_DWithin(…)`) are left alone.
//!
//! ### Why it hurts
//! An index on `email` says nothing of `lower(email)`: PostgreSQL reads every row and calls the function for each,
//! though the index stands beside it. Nobody notices before the table is large.
//!
//! ### Example
//! ```sql
//! SELECT id FROM orders WHERE date_trunc('day', placed_at) = '2026-05-01';
//! SELECT id FROM customers WHERE lower(email) = 'anna@example.com';
//! ```
//!
//! ### Instead
//! ```sql
//! SELECT id FROM orders WHERE placed_at >= '2026-05-01' AND placed_at < '2026-05-02';
//! CREATE INDEX CONCURRENTLY ON customers (lower(email));
//! ```
//!
//! ### How to silence
//! Once an expression index is there the catalog shows it. Without a catalog name the table: `unless = { tables =
//! ["customers"] }`, or the functions that are indexed: `with = { except = ["lower"] }`.

use super::{Index, Operand, Predicate, Finding, Opt, Options, Subject, Kind, table};

pub(super) const READS: &[&str] = &["query.function_columns", "query.kind", "query.tables"];
pub(super) const OPTIONS: &[Opt] = &[Opt::texts("except", &[], "Functions that are left alone.")];

/// They look into a value that no plain index knows anyway.
const LOOKS_INTO: [&str; 6] = ["->", "->>", "#>", "#>>", "[]", "@>"];

pub(super) fn check(subject: &Subject<'_>, options: &Options) -> Option<Finding> {
    if subject.facts.kind == Kind::Ddl {
        return None;
    }
    let found = subject.facts.predicates.iter().find(|predicate| {
        predicate.function.as_deref().is_some_and(|name| {
            !LOOKS_INTO.contains(&name)
                && predicate.operand != Operand::None
                && !options.texts("except").iter().any(|except| except == name)
                && is_wasted(subject, predicate, name)
        })
    })?;
    let Predicate { table, column, function, .. } = found;
    let function = function.as_deref().unwrap_or_default();
    let of = if table.is_empty() { String::new() } else { format!(" of {table}") };
    Some(Finding {
        message: format!("This compares {column}{of} through {function}: an index on {column} cannot help."),
        hint: format!(
            "Compare {column} itself (for a day: {column} >= its start AND {column} < its end), or create an index over the expression."
        ),
    })
}

/// There is an index on the column, and none over the expression; or nobody knows.
fn is_wasted(subject: &Subject<'_>, predicate: &Predicate, function: &str) -> bool {
    if subject.around.catalog.is_none() {
        return true;
    }
    table(subject, &predicate.table).is_some_and(|table| {
        let over = |key: &String| key.contains(function) && key.contains(predicate.column.as_str());
        let expression = |index: &Index| index.columns.first().is_some_and(|key| key != &predicate.column && over(key));
        table.is_indexed(&predicate.column) && !table.indexes.iter().any(expression)
    })
}

#[cfg(test)]
mod tests {
    use super::super::Given;
    use super::super::super::testing::{Around, flags, flags_in, passes, passes_in};

    #[test]
    fn flags_columns_inside_functions() {
        let found = flags("function-over-indexed-column", "SELECT id FROM customers WHERE lower(email) = 'x'");
        assert!(found.message.contains("compares email of customers through lower"), "{found:?}");
        let _ = flags("function-over-indexed-column", "SELECT id FROM orders WHERE date_trunc('day', placed_at) = $1");
        let _ = flags("function-over-indexed-column", "SELECT id FROM orders o JOIN customers c ON c.id = o.customer_id WHERE o.total * 2 > 5");
        let indexed = r#"{"tables": [{"schema": "public", "name": "customers", "indexes": [{"name": "i", "columns": ["email"], "method": "btree", "valid": true}]}]}"#;
        let _ = flags_in("function-over-indexed-column", "SELECT id FROM customers WHERE upper(email) = 'x'", &Around::catalog(indexed));
    }

    #[test]
    fn passes_bare_columns_and_served_expressions() {
        passes("function-over-indexed-column", "SELECT id FROM customers WHERE email = lower($1)");
        passes("function-over-indexed-column", "SELECT lower(email) FROM customers WHERE id = 7");
        passes("function-over-indexed-column", "SELECT id FROM events WHERE data->>'kind' = 'x'");
        passes("function-over-indexed-column", "SELECT id FROM places WHERE st_dwithin(geom, $1, 100)");
        let served = r#"{"tables": [{"schema": "public", "name": "customers", "indexes": [{"name": "i", "columns": ["email"], "method": "btree", "valid": true}, {"name": "j", "columns": ["lower(email)"], "method": "btree", "valid": true}]}]}"#;
        passes_in("function-over-indexed-column", "SELECT id FROM customers WHERE lower(email) = 'x'", &Around::catalog(served));
        // No index is there to be wasted.
        passes_in("function-over-indexed-column", "SELECT id FROM customers WHERE lower(name) = 'x'", &Around::catalog(served));
        passes_in("function-over-indexed-column", "SELECT id FROM strangers WHERE lower(name) = 'x'", &Around::catalog(served));
        let except = Around::with("function-over-indexed-column", |with| with.set("except", Given::Texts(vec!["lower".into()])));
        passes_in("function-over-indexed-column", "SELECT id FROM customers WHERE lower(email) = 'x'", &except);
    }
}
