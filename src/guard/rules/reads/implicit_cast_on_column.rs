//! ### What it does
//! Finds a filter that casts a column before it compares (`id::text = '7'`, `placed_at::date = …`), and with a catalog
//! a number compared with a text column. With a catalog casts between text types, which cost nothing, are left alone.
//!
//! ### Why it hurts
//! The index is over the column's own type. Cast, every row is read and converted. It comes in with drivers and
//! generators that send all values as texts, and with comparisons that PostgreSQL only accepts once the column is
//! cast.
//!
//! ### Example
//! ```sql
//! SELECT id FROM orders WHERE id::text = '7';
//! SELECT id FROM orders WHERE placed_at::date = '2026-05-01';
//! ```
//!
//! ### Instead
//! ```sql
//! SELECT id FROM orders WHERE id = '7'::bigint;
//! SELECT id FROM orders WHERE placed_at >= '2026-05-01' AND placed_at < '2026-05-02';
//! ```
//!
//! ### How to silence
//! Name the tables that are small or have an index over the cast: `unless = { tables = ["orders"] }`.

use super::{Operand, Finding, Opt, Options, Subject, Kind, table};

pub(super) const READS: &[&str] = &["query.cast_columns", "query.kind", "query.tables"];
pub(super) const OPTIONS: &[Opt] = &[];

pub(super) fn check(subject: &Subject<'_>, _: &Options) -> Option<Finding> {
    if subject.facts.kind == Kind::Ddl {
        return None;
    }
    let (found, to) = subject.facts.predicates.iter().find_map(|predicate| {
        if predicate.operand == Operand::None || predicate.function.is_some() {
            return None;
        }
        let column = table(subject, &predicate.table).and_then(|table| table.column(&predicate.column));
        let texts = column.is_some_and(|column| is_text(&column.type_name));
        match predicate.cast.as_deref() {
            Some(to) => (!(texts && is_text(to))).then_some((predicate, to)),
            None => (texts && predicate.operand == Operand::Number).then_some((predicate, "a number")),
        }
    })?;
    let column = &found.column;
    Some(Finding {
        message: format!("This casts the column {column} to {to} to compare it: an index on {column} cannot help."),
        hint: format!("Cast the value instead, to the type of {column}; for a day compare with its start and its end."),
    })
}

fn is_text(name: &str) -> bool {
    name.starts_with("character varying") || matches!(name, "text" | "varchar" | "bpchar" | "citext" | "name")
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{Around, flags, flags_in, passes, passes_in};

    #[test]
    fn flags_casts_of_columns() {
        let found = flags("implicit-cast-on-column", "SELECT id FROM orders WHERE id::text = '7'");
        assert!(found.message.contains("casts the column id to text"), "{found:?}");
        let _ = flags("implicit-cast-on-column", "SELECT id FROM orders WHERE CAST(placed_at AS date) = $1");
        let texts = r#"{"tables": [{"schema": "public", "name": "customers", "columns": [{"name": "phone", "type": "character varying(20)"}]}]}"#;
        let _ = flags_in("implicit-cast-on-column", "SELECT id FROM customers WHERE phone = 123", &Around::catalog(texts));
        let _ = flags_in("implicit-cast-on-column", "SELECT id FROM customers WHERE phone::bigint = 123", &Around::catalog(texts));
    }

    #[test]
    fn passes_casts_of_values_and_between_texts() {
        passes("implicit-cast-on-column", "SELECT id FROM orders WHERE id = '7'::bigint AND placed_at > $1::date");
        passes("implicit-cast-on-column", "SELECT id::text FROM orders WHERE id = 7");
        let texts = r#"{"tables": [{"schema": "public", "name": "customers", "columns": [{"name": "phone", "type": "character varying(20)"}, {"name": "id", "type": "bigint"}]}]}"#;
        passes_in("implicit-cast-on-column", "SELECT id FROM customers WHERE phone::text = '123' AND id = 5 AND phone IN ('a')", &Around::catalog(texts));
    }
}
