//! Writes that reach more rows than meant.

use super::names::{bare, is_like};
use super::{Finding, Kind, Opt, Options, Subject, rules, tables};
use crate::guard::facts::Facts;

rules! {
    "writes":
    "write-without-where" => write_without_where,
    "write-with-always-true-where" => write_with_always_true_where,
    "write-without-key" => write_without_key,
    "bulk-write-without-limit" => bulk_write_without_limit,
    "insert-without-columns" => insert_without_columns,
    "multi-row-insert-too-large" => multi_row_insert_too_large,
    "truncate" => truncate,
    "update-of-key" => update_of_key,
    "foreign-table-write" => foreign_table_write,
}

/// The tables that are written, in words.
fn written(facts: &Facts) -> String {
    match facts.tables_written.as_slice() {
        [] => "a table".to_owned(),
        [only] => only.clone(),
        [first, rest @ ..] => format!("{first} and {} more", rest.len()),
    }
}

/// A table of a list: `orders` is that table in any schema, `shop.*` needs the text to name the schema.
fn is_table(pattern: &str, table: &str) -> bool {
    if pattern.contains('.') {
        return is_like(pattern, table);
    }
    is_like(pattern, bare(table))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_of_a_list() {
        assert!(is_table("orders", "shop.orders") && is_table("shop.*", "shop.orders"));
        assert!(!is_table("shop.*", "orders") && !is_table("orders", "shop.orders_old"));
    }
}
