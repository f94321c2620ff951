//! Queries that read too much, or in a way no index helps.

#[cfg(test)]
use super::Given;
use super::{Finding, Kind, Opt, Options, Subject, rules, tables};
use crate::guard::catalog::{Index, Table};
use crate::guard::facts::{Comparison, Operand, Predicate};

rules! {
    "reads":
    "analytics-shape" => analytics_shape,
    "count-star-of-big-table" => count_star_of_big_table,
    "cross-join" => cross_join,
    "deep-offset" => deep_offset,
    "function-over-indexed-column" => function_over_indexed_column,
    "huge-in-list" => huge_in_list,
    "implicit-cast-on-column" => implicit_cast_on_column,
    "leading-wildcard-like" => leading_wildcard_like,
    "lock-heavy-read" => lock_heavy_read,
    "missing-required-predicate" => missing_required_predicate,
    "not-in-subquery" => not_in_subquery,
    "or-across-columns" => or_across_columns,
    "order-by-random" => order_by_random,
    "regex-scan" => regex_scan,
    "select-for-update-without-limit" => select_for_update_without_limit,
    "select-star" => select_star,
    "too-many-joins" => too_many_joins,
    "unbounded-select" => unbounded_select,
    "wide-row-select" => wide_row_select,
}

/// What the catalog says of a table as it is written; nothing without a catalog.
fn table<'a>(subject: &Subject<'a>, written: &str) -> Option<&'a Table> {
    subject.around.catalog?.table(written)
}

/// The catalog knows all of its tables, and each has fewer rows than the option `rows`.
fn is_small(subject: &Subject<'_>, options: &Options) -> bool {
    subject.known.is_some_and(|known| {
        known.unknown_tables.is_empty()
            && known.rows.is_some_and(|rows| i64::try_from(rows).unwrap_or(i64::MAX) < options.int("rows"))
    })
}
