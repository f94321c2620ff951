//! ### What it does
//! Finds `LIKE`, `ILIKE` or `~~` with a pattern that starts with `%` or `_`: as a literal, or as the value bound to
//! a parameter. DDL (`CREATE VIEW`, `CREATE POLICY`) only stores the comparison.
//!
//! ### Why it hurts
//! No b-tree can look up a text by its end or its middle, so PostgreSQL reads and compares every row, on every
//! call. It is fast on the developer's hundred rows and takes seconds on the real table.
//!
//! ### Example
//! ```sql
//! SELECT id FROM customers WHERE email LIKE '%@example.com';
//! ```
//!
//! ### Instead
//! A pattern that starts with its fixed part, or an index for the middle of texts:
//! ```sql
//! SELECT id FROM customers WHERE email LIKE 'anna@%';
//! CREATE EXTENSION pg_trgm;
//! CREATE INDEX CONCURRENTLY ON customers USING gin (email gin_trgm_ops);
//! ```
//!
//! ### How to silence
//! Once the trigram index is there, or where the table is small, name it in the rule that finds it:
//! `unless = { tables = ["customers"] }`.

use super::{Finding, Kind, Opt, Options, Subject, tables};

pub(super) const READS: &[&str] = &["query.leading_wildcard", "query.kind", "query.tables"];
pub(super) const OPTIONS: &[Opt] = &[];

pub(super) fn check(subject: &Subject<'_>, _: &Options) -> Option<Finding> {
    let facts = subject.facts;
    if !facts.leading_wildcard || facts.kind == Kind::Ddl {
        return None;
    }
    let column = facts.like_column.as_deref();
    // With one table the index can be named; with several the column's table is not known from the text.
    let index = match (facts.tables.as_slice(), column) {
        ([table], Some(column)) => format!(
            "give it a trigram index: CREATE EXTENSION pg_trgm; CREATE INDEX CONCURRENTLY ON {table} USING gin ({column} gin_trgm_ops)"
        ),
        _ => "give the column a trigram index (extension pg_trgm, operator class gin_trgm_ops)".into(),
    };
    Some(Finding {
        message: format!(
            "This searches {} for a pattern that starts with a wildcard: no b-tree index can help, every row of {} is read.",
            column.unwrap_or("a column"),
            tables(facts, "the table")
        ),
        hint: format!("Start the pattern with its fixed part, or {index}."),
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{flags, passes};

    #[test]
    fn flags_patterns_that_start_with_a_wildcard() {
        let found = flags("leading-wildcard-like", "SELECT id FROM customers WHERE email LIKE '%@example.com'");
        assert!(found.message.contains("searches email") && found.message.contains("customers"), "{found:?}");
        assert!(found.hint.contains("ON customers USING gin (email gin_trgm_ops)"), "{found:?}");
        let _ = flags("leading-wildcard-like", "SELECT id FROM customers WHERE name ILIKE '_nna'");
        let _ = flags("leading-wildcard-like", "DELETE FROM customers WHERE name LIKE '%x'");
        let _ = flags("leading-wildcard-like", "SELECT 1 FROM a, b WHERE a.id = b.id AND a.t LIKE '%x'");
    }

    #[test]
    fn passes_patterns_with_a_fixed_start() {
        passes("leading-wildcard-like", "SELECT id FROM customers WHERE email LIKE 'anna@%'");
        passes("leading-wildcard-like", "SELECT id FROM customers WHERE email = '%'");
        passes("leading-wildcard-like", r"SELECT id FROM customers WHERE email LIKE '\%x'");
        passes("leading-wildcard-like", "SELECT id FROM customers WHERE email LIKE $1");
        passes("leading-wildcard-like", "CREATE VIEW v AS SELECT id FROM customers WHERE email LIKE '%x'");
    }
}
