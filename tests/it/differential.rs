//! The guard's facts against a second reading of the same statements by another parser.

use std::collections::BTreeSet;

use pgsluice::guard::facts::{self, Facts, ReadOptions};

use crate::second_reader::{self, Reading};

/// Statements both read, of which the second parser says something else, and what. Each of these differs
/// today; one that no longer does fails the test, so that the list stays true.
const MISREAD: &[(&str, &[&str])] = &[
    ("from only", &["tables"]),
    ("update only", &["tables"]),
    ("delete only", &["tables"]),
    ("join only", &["tables"]),
    ("from only in parentheses", &["tables"]),
    ("union table", &["tables", "star"]),
    ("except table", &["tables", "star"]),
    ("select into without list", &["tables"]),
    ("select into", &["tables"]),
    ("select into temp", &["tables"]),
    ("from current_date", &["tables"]),
    ("grant", &["tables"]),
    ("revoke", &["tables"]),
    ("vacuum", &["tables"]),
    ("comment on table", &["tables"]),
    ("comment on column", &["tables"]),
    ("trigger", &["tables"]),
    ("drop trigger", &["tables"]),
    ("references", &["tables"]),
    ("foreign key", &["tables"]),
    ("inherits", &["tables"]),
    ("create sequence", &["tables"]),
    ("alter index", &["tables"]),
];

/// Statements that PostgreSQL accepts and the second parser refuses.
#[rustfmt::skip]
const REFUSED: &[&str] = &[
    "xmlelement", "bare select", "begin deferrable", "merge only", "table command",
    "table command in parentheses", "unicode table name", "vacuum analyze", "reindex", "cluster",
    "refresh", "create table like", "attach partition", "rule", "alter sequence", "foreign table",
    "publication", "statistics", "begin atomic", "create schema with a table", "do", "checkpoint",
    "set constraints", "prepare transaction", "commit prepared", "move", "where current of",
    "no key update", "for update of two", "composite star", "variadic", "rows from",
    "column definition list", "array assignment", "frame exclude", "cte search", "cte cycle",
    "on conflict where", "on conflict expression", "overriding", "join using alias", "between symmetric",
    "isnull", "at local", "group by distinct", "old inheritance star", "explain in parentheses",
    "record operators", "copy from where", "create table of", "alter default privileges", "alter system",
    "drop owned", "reassign owned", "import foreign schema", "select from only as alias",
];

/// A statement of the fixture: its name, or its text where it has none.
struct Case<'a> {
    name: &'a str,
    sql: &'a str,
}

fn cases() -> Vec<Case<'static>> {
    let fixture = include_str!("../fixtures/sql/statements.sql");
    let paragraphs = fixture.split("\n\n").skip(1).map(|paragraph| paragraph.trim_matches('\n'));
    paragraphs
        .map(|paragraph| match paragraph.strip_prefix("-- ").and_then(|named| named.split_once('\n')) {
            Some((name, sql)) => Case { name, sql },
            None => Case { name: paragraph, sql: paragraph },
        })
        .collect()
}

fn first_reading(sql: &str) -> Facts {
    let mut reading = facts::read(sql.as_bytes(), &ReadOptions::default());
    assert_eq!(reading.refusal, None, "{sql}");
    assert_eq!(reading.statements.len(), 1, "{sql}");
    reading.statements.remove(0)
}

/// The facts in which the second reading differs.
fn differences(first: &Facts, second: &Reading) -> Vec<&'static str> {
    let tables: BTreeSet<String> = first.tables.iter().cloned().collect();
    let checks = [
        ("kind", first.kind.as_str() == second.kind),
        ("tables", tables == second.tables),
        ("where", first.has_where == second.has_where),
        ("star", first.select_star == second.select_star),
    ];
    checks.into_iter().filter(|(_, same)| !same).map(|(name, _)| name).collect()
}

#[test]
fn both_readers_agree_but_for_the_known_misreads() {
    let cases = cases();
    assert!(cases.len() > 300, "{} statements in the fixture", cases.len());
    let mut surprises = Vec::new();
    let mut misread = BTreeSet::new();
    let mut refused = BTreeSet::new();
    for Case { name, sql } in &cases {
        let first = first_reading(sql);
        match second_reader::read(sql) {
            Ok(second) => {
                let found = differences(&first, &second);
                let known =
                    MISREAD.iter().find(|(known, _)| known == name).map_or(&[][..], |(_, facts)| facts);
                if !known.is_empty() {
                    misread.insert(*name);
                }
                if found != known {
                    surprises.push(format!("{name}: differs in {found:?}, known {known:?}\n  {second:?}"));
                }
            }
            Err(error) => {
                refused.insert(*name);
                if !REFUSED.contains(name) {
                    surprises.push(format!("{name}: refused: {error}"));
                }
            }
        }
    }
    let stale = MISREAD.iter().map(|(name, _)| *name).filter(|name| !misread.contains(name));
    let stale = stale.chain(REFUSED.iter().copied().filter(|name| !refused.contains(name)));
    surprises.extend(stale.map(|name| format!("{name}: listed as known, but reads alike now")));
    assert!(surprises.is_empty(), "{} surprises:\n{}", surprises.len(), surprises.join("\n"));
}
