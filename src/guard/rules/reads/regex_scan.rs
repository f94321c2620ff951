//! ### What it does
//! Finds `~`, `~*`, `SIMILAR TO` or a `regexp_…` function over a column in a `WHERE` or `ON`. With a catalog it leaves
//! small tables alone, and columns with a GIN or GiST index (pg_trgm serves regular expressions too).
//!
//! ### Why it hurts
//! A b-tree cannot look up an expression (one anchored at the start and in the C collation excepted), so every row is
//! read, and each is matched at many times the price of an equality. Patterns from users can be made to take seconds
//! per row.
//!
//! ### Example
//! ```sql
//! SELECT id FROM customers WHERE email ~* '@example\.(com|org)$';
//! ```
//!
//! ### Instead
//! ```sql
//! ALTER TABLE customers ADD COLUMN email_domain text GENERATED ALWAYS AS (split_part(email, '@', 2)) STORED;
//! SELECT id FROM customers WHERE email_domain IN ('example.com', 'example.org');
//! ```
//!
//! ### How to silence
//! Name the tables where it is known to be cheap in the rule: `unless = { tables = ["job_types"] }`.

use super::{Comparison, Predicate, Finding, Opt, Options, Subject, Kind, is_small, table, tables};

pub(super) const READS: &[&str] = &["query.regex", "query.kind", "query.tables", "query.filter_columns", "catalog.rows"];
pub(super) const OPTIONS: &[Opt] = &[Opt::int("rows", 10_000, "Tables of fewer rows are left alone, where the catalog knows them.")];

pub(super) fn check(subject: &Subject<'_>, options: &Options) -> Option<Finding> {
    let facts = subject.facts;
    if !facts.regex || facts.tables.is_empty() || facts.kind == Kind::Ddl || is_small(subject, options) {
        return None;
    }
    let of_regex = |predicate: &&Predicate| {
        predicate.comparison == Comparison::Regex
            || predicate.function.as_deref().is_some_and(|name| name.starts_with("regexp_"))
    };
    let predicates: Vec<&Predicate> = facts.predicates.iter().filter(of_regex).collect();
    let served = |predicate: &&Predicate| {
        table(subject, &predicate.table).is_some_and(|table| {
            let mut indexes = table.indexes.iter().filter(|index| matches!(index.method.as_str(), "gin" | "gist"));
            indexes.any(|index| index.columns.contains(&predicate.column))
        })
    };
    if !predicates.is_empty() && predicates.iter().all(served) {
        return None;
    }
    let column = predicates.first().map_or("a column", |predicate| predicate.column.as_str());
    Some(Finding {
        message: format!(
            "This matches {column} against a regular expression: every row of {} is read and matched.",
            tables(facts, "the table")
        ),
        hint: "Compare with = or a prefix LIKE, keep what you look for in a column of its own, or give the column a trigram index (extension pg_trgm)."
            .into(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{Around, flags, flags_in, passes, passes_in};

    #[test]
    fn flags_regular_expressions_in_filters() {
        let found = flags("regex-scan", "SELECT id FROM customers WHERE email ~* 'x$'");
        assert!(found.message.contains("matches email") && found.message.contains("customers"), "{found:?}");
        let _ = flags("regex-scan", "SELECT id FROM customers WHERE name SIMILAR TO '(a|b)%'");
        let _ = flags("regex-scan", "DELETE FROM customers WHERE regexp_replace(phone, '[^0-9]', '') = $1");
    }

    #[test]
    fn passes_other_comparisons_small_tables_and_trigram_indexes() {
        passes("regex-scan", "SELECT id FROM customers WHERE email = 'x'");
        passes("regex-scan", "SELECT email ~ 'x' FROM customers WHERE id = 7");
        passes("regex-scan", "SELECT regexp_matches('a', 'b')");
        let small = r#"{"tables": [{"schema": "public", "name": "kinds", "rows": 50}, {"schema": "public", "name": "customers", "rows": 5000000, "indexes": [{"name": "i", "columns": ["email"], "method": "gin", "valid": true}]}]}"#;
        passes_in("regex-scan", "SELECT id FROM kinds WHERE name ~ 'x'", &Around::catalog(small));
        passes_in("regex-scan", "SELECT id FROM customers WHERE email ~ 'x'", &Around::catalog(small));
        let _ = flags_in("regex-scan", "SELECT id FROM customers WHERE name ~ 'x'", &Around::catalog(small));
    }
}
