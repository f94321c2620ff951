//! Which index would help a statement: from what it compares, what the plan reads from end to end, and what is there.

use super::PlanFacts;
use super::read::{SELECTIVE, last};
use crate::guard::catalog::{Catalog, Table};
use crate::guard::facts::{Comparison, Facts, Operand, Predicate};

/// An index that would help.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Advice {
    /// As the plan names it.
    pub table: String,
    /// Key columns or expressions, in order.
    pub columns: Vec<String>,
    /// `btree` or `gin`.
    pub method: &'static str,
    /// The statement that makes it.
    pub statement: String,
    /// Why.
    pub why: String,
    /// What the planner says of it: cost before and after, where `hypopg` was asked. `None`: not checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checked: Option<(f64, f64)>,
}

impl Advice {
    /// For a HINT: the statement, and whether the planner was asked.
    #[must_use]
    pub fn hint(&self) -> String {
        match self.checked {
            Some((before, after)) => {
                format!("{} (checked with hypopg: cost {before:.0} becomes {after:.0})", self.statement)
            }
            None => format!("{} (not checked)", self.statement),
        }
    }
}

/// A table smaller than this is read faster than an index on it.
const WORTH_AN_INDEX: u64 = 10_000;
/// More key columns than this cost more than they bring.
const MAX_COLUMNS: usize = 4;

/// Indexes for the tables that the plan reads from end to end. Never one that is there already.
#[must_use]
pub fn advise(facts: &Facts, plan: &PlanFacts, catalog: Option<&Catalog>) -> Vec<Advice> {
    let mut advice: Vec<Advice> = Vec::new();
    for name in &plan.seq_scans {
        let table = catalog.and_then(|catalog| catalog.table(name));
        let rows = table.and_then(|table| table.rows);
        let largest = *name == plan.seq_scan_table;
        let rows = rows.or(largest.then_some(plan.seq_scan_rows)).unwrap_or(0);
        let unselective = match largest {
            true => plan.seq_scan_share.is_some_and(|share| share > SELECTIVE),
            false => !plan.selective_scans.contains(name),
        };
        if rows < WORTH_AN_INDEX {
            continue;
        }
        let predicates: Vec<&Predicate> = facts
            .predicates
            .iter()
            .filter(|p| p.must_hold && is_of(p, name) && is_column(p, table) && is_writable(p))
            // By a column that an index begins with the planner could have looked up, and did not.
            .filter(|p| {
                p.operand != Operand::Column || plan.selective_joins.contains(name) && !leads(p, table)
            })
            .collect();
        let found = trigram(name, facts, &predicates).or_else(|| {
            let columns = columns(facts, name, &predicates, unselective);
            (!columns.is_empty()).then(|| btree(name, columns, &predicates, rows))
        });
        if let Some(found) = found.filter(|found| !exists(found, table)) {
            advice.push(found);
        }
    }
    advice
}

/// The predicate's table as written is the one the plan names.
fn is_of(predicate: &Predicate, name: &str) -> bool {
    predicate.table.is_empty() || last(&predicate.table) == last(name)
}

/// An index over it can be written from what is known: of a function its other arguments are not.
fn is_writable(predicate: &Predicate) -> bool {
    predicate.function.as_deref().is_none_or(|name| {
        matches!(name, "lower" | "upper" | "md5" | "abs" | "length" | "reverse" | "initcap")
    })
}

/// An index begins with its column.
fn leads(predicate: &Predicate, table: Option<&Table>) -> bool {
    table.is_some_and(|table| {
        let whole = table.indexes.iter().filter(|index| index.valid && index.predicate.is_none());
        whole.filter_map(|index| index.columns.first()).any(|first| *first == predicate.column)
    })
}

/// Written without a table it may be another's column.
fn is_column(predicate: &Predicate, table: Option<&Table>) -> bool {
    table.map_or(!predicate.table.is_empty(), |table| table.column(&predicate.column).is_some())
}

/// A pattern that starts with a wildcard has no order to look in; trigrams do.
fn trigram(name: &str, facts: &Facts, predicates: &[&Predicate]) -> Option<Advice> {
    let like = predicates.iter().find(|p| p.comparison == Comparison::Like)?;
    let others = predicates.iter().any(|p| p.comparison == Comparison::Equal && p.operand != Operand::Column);
    if !facts.leading_wildcard || others {
        return None;
    }
    let key = format!("{} gin_trgm_ops", key(like));
    Some(Advice {
        statement: format!("CREATE INDEX CONCURRENTLY ON {name} USING gin ({key})"),
        why: format!(
            "{} is searched by a pattern that starts with a wildcard (needs the extension pg_trgm)",
            like.column
        ),
        table: name.to_owned(),
        columns: vec![key],
        method: "gin",
        checked: None,
    })
}

/// What is compared by equality, then what joins, then one range or prefix, then the order.
fn columns(facts: &Facts, name: &str, predicates: &[&Predicate], unselective: bool) -> Vec<String> {
    let mut columns: Vec<String> = Vec::new();
    let mut add = |column: String| {
        if columns.len() < MAX_COLUMNS && !columns.contains(&column) {
            columns.push(column);
        }
    };
    let value = |p: &&&Predicate| !matches!(p.operand, Operand::Column | Operand::Expression);
    let equal = |p: &&&Predicate| p.comparison == Comparison::Equal;
    // A filter that lets most rows pass is none to look rows up by; a join or an order still may be.
    if !unselective {
        predicates.iter().filter(equal).filter(value).for_each(|p| add(key(p)));
    }
    predicates.iter().filter(equal).filter(|p| p.operand == Operand::Column).for_each(|p| add(key(p)));
    if !unselective {
        let range = |p: &&&Predicate| {
            p.comparison == Comparison::Range || (p.comparison == Comparison::Like && !facts.leading_wildcard)
        };
        if let Some(p) = predicates.iter().filter(value).find(range) {
            let pattern = if p.comparison == Comparison::Like { " text_pattern_ops" } else { "" };
            add(format!("{}{pattern}", key(p)));
            return columns;
        }
    }
    if facts.has_limit && !facts.group_by {
        for column in
            facts.order_columns.iter().filter(|column| table_of(column).is_none_or(|t| last(t) == last(name)))
        {
            add(last(column).to_owned());
        }
    }
    columns
}

fn table_of(column: &str) -> Option<&str> {
    column.rsplit_once('.').map(|(table, _)| table)
}

/// As it stands in an index: the column, or the function over it.
fn key(predicate: &Predicate) -> String {
    match (&predicate.function, &predicate.cast) {
        (Some(function), _) => format!("{function}({})", predicate.column),
        (None, Some(cast)) => format!("(({})::{cast})", predicate.column),
        (None, None) => predicate.column.clone(),
    }
}

fn btree(name: &str, columns: Vec<String>, predicates: &[&Predicate], rows: u64) -> Advice {
    let compared: Vec<&str> = predicates.iter().map(|p| p.column.as_str()).take(MAX_COLUMNS).collect();
    let why = if compared.is_empty() {
        format!("{rows} rows are sorted for a few of them")
    } else {
        format!("{rows} rows are read to find some by {}", compared.join(", "))
    };
    Advice {
        statement: format!("CREATE INDEX CONCURRENTLY ON {name} ({})", columns.join(", ")),
        table: name.to_owned(),
        columns,
        method: "btree",
        why,
        checked: None,
    }
}

/// An index that begins with these keys is there: the planner knew it and chose not to use it.
fn exists(advice: &Advice, table: Option<&Table>) -> bool {
    let plain = |key: &str| -> String {
        let key = key.trim_end_matches(" text_pattern_ops").trim_end_matches(" gin_trgm_ops");
        key.chars().filter(|c| !c.is_whitespace() && !matches!(c, '(' | ')')).collect()
    };
    // `lower(email::text)` in the catalog is `lower(email)` in the statement.
    let uncast = |key: &str| plain(key.split("::").next().unwrap_or(key));
    let wanted: Vec<String> = advice.columns.iter().map(|key| plain(key)).collect();
    table.is_some_and(|table| {
        table.indexes.iter().any(|index| {
            let begins = index
                .columns
                .iter()
                .zip(&wanted)
                .all(|(has, want)| plain(has) == *want || uncast(has) == *want);
            index.valid
                && index.predicate.is_none()
                && index.method == advice.method
                && index.columns.len() >= wanted.len()
                && begins
        })
    })
}
