//! Writes that reach more rows than meant.

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

/// `*` stands for any characters.
fn is_like(pattern: &str, name: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut name) = name.strip_prefix(start) else { return false };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let end = parts.pop().unwrap_or_default();
    for part in parts {
        let Some(at) = name.find(part) else { return false };
        name = name.get(at + part.len()..).unwrap_or_default();
    }
    name.ends_with(end)
}

/// A table of a list: `orders` is that table in any schema, `shop.*` needs the text to name the schema.
fn is_table(pattern: &str, table: &str) -> bool {
    if pattern.contains('.') {
        return is_like(pattern, table);
    }
    is_like(pattern, table.rsplit('.').next().unwrap_or(table))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, name) in
            [("id", "id"), ("*_id", "order_id"), ("*", ""), ("a*b*c", "axxbyyc"), ("*a*", "bab"), ("a*", "a")]
        {
            assert!(is_like(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [("id", "ids"), ("*_id", "id"), ("a*a", "a"), ("a*b*c", "acb"), ("", "a")] {
            assert!(!is_like(pattern, name), "{pattern} {name}");
        }
        assert!(is_table("orders", "shop.orders") && is_table("shop.*", "shop.orders"));
        assert!(!is_table("shop.*", "orders") && !is_table("orders", "shop.orders_old"));
    }
}
