//! Which index would help a statement: from what it compares, what the plan reads from end to end, and what is there.

use super::PlanFacts;
use super::hypothetical::grouped;
use super::read::{SELECTIVE, last};
use crate::guard::catalog::{Catalog, Index, Table};
use crate::guard::facts::{Comparison, Facts, Operand, Predicate};

/// An index that would help.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Advice {
    /// As the plan names it.
    pub table: String,
    /// Key columns or expressions, in order, as they stand in a `CREATE INDEX`.
    pub columns: Vec<String>,
    /// `btree` or `gin`.
    pub method: &'static str,
    /// The statement that makes it, or that mends the one that is there.
    pub statement: String,
    /// Why.
    pub why: String,
    /// What the planner says of it: cost before and after, where `hypopg` was asked. `None`: not checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checked: Option<(f64, f64)>,
    /// So many of the columns, the first ones, are compared by equality: their order is free.
    #[serde(skip)]
    pub equal: usize,
}

impl Advice {
    /// For a HINT: the statement, and whether the planner was asked.
    #[must_use]
    pub fn hint(&self) -> String {
        format!("{} ({})", self.statement, self.check())
    }

    /// `checked: cost 12,345 → 8`, or that it is not.
    #[must_use]
    pub fn check(&self) -> String {
        match self.checked {
            Some((before, after)) => format!("checked: cost {} → {}", grouped(before), grouped(after)),
            None => "not checked".to_owned(),
        }
    }

    /// Share of the cost that it saves; unknown unless it was checked.
    #[must_use]
    pub fn gain(&self) -> Option<f64> {
        self.checked.map(|(before, after)| (1.0 - after / before.max(f64::MIN_POSITIVE)).clamp(0.0, 1.0))
    }

    /// The index without `CONCURRENTLY` or a name: what `hypopg` is given.
    #[must_use]
    pub fn definition(&self) -> String {
        format!("CREATE INDEX ON {} {}", name(&self.table), keys(self.method, &self.columns))
    }

    /// An index that serves as well is there by now.
    #[must_use]
    pub fn is_done(&self, catalog: &Catalog) -> bool {
        catalog.table(&self.table).is_some_and(|table| table.indexes.iter().any(|index| serves(index, self)))
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
            let (columns, equal) = columns(facts, name, &predicates, unselective);
            (!columns.is_empty()).then(|| btree(name, (columns, equal), &predicates, rows))
        });
        let Some(found) = found else { continue };
        let indexes = table.map_or(&[][..], |table| table.indexes.as_slice());
        if indexes.iter().any(|index| serves(index, &found)) {
            continue;
        }
        let broken = indexes.iter().find(|index| serves(&Index { valid: true, ..(*index).clone() }, &found));
        advice.push(match broken {
            Some(index) => mend(found, index, table),
            None => found,
        });
    }
    advice
}

/// The index is there, but a `CREATE INDEX CONCURRENTLY` that failed has left it invalid.
fn mend(found: Advice, index: &Index, table: Option<&Table>) -> Advice {
    let schema = table.map(|table| format!("{}.", ident(&table.schema))).unwrap_or_default();
    Advice {
        statement: format!("REINDEX INDEX CONCURRENTLY {schema}{}", ident(&index.name)),
        why: format!("{}; the index {} is there, but invalid", found.why, index.name),
        ..found
    }
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
fn trigram(table: &str, facts: &Facts, predicates: &[&Predicate]) -> Option<Advice> {
    let like = predicates.iter().find(|p| p.comparison == Comparison::Like)?;
    let others = predicates.iter().any(|p| p.comparison == Comparison::Equal && p.operand != Operand::Column);
    if !facts.leading_wildcard || others {
        return None;
    }
    let columns = vec![format!("{} gin_trgm_ops", key(like))];
    Some(Advice {
        statement: format!("CREATE INDEX CONCURRENTLY ON {} {}", name(table), keys("gin", &columns)),
        why: format!(
            "{} is searched by a pattern that starts with a wildcard (needs the extension pg_trgm)",
            like.column
        ),
        table: table.to_owned(),
        columns,
        method: "gin",
        checked: None,
        equal: 0,
    })
}

/// What is compared by equality, then what joins, then one range or prefix, then the order; and how many of them are
/// compared by equality.
fn columns(facts: &Facts, name: &str, predicates: &[&Predicate], unselective: bool) -> (Vec<String>, usize) {
    let mut columns: Vec<String> = Vec::new();
    let add = |columns: &mut Vec<String>, column: String| {
        if columns.len() < MAX_COLUMNS && !columns.contains(&column) {
            columns.push(column);
        }
    };
    let value = |p: &&&Predicate| !matches!(p.operand, Operand::Column | Operand::Expression);
    let equal = |p: &&&Predicate| p.comparison == Comparison::Equal;
    // A filter that lets most rows pass is none to look rows up by; a join or an order still may be.
    if !unselective {
        predicates.iter().filter(equal).filter(value).for_each(|p| add(&mut columns, key(p)));
    }
    let joins = predicates.iter().filter(equal).filter(|p| p.operand == Operand::Column);
    joins.for_each(|p| add(&mut columns, key(p)));
    let fixed = columns.len();
    if !unselective {
        let range = |p: &&&Predicate| {
            p.comparison == Comparison::Range || (p.comparison == Comparison::Like && !facts.leading_wildcard)
        };
        if let Some(p) = predicates.iter().filter(value).find(range) {
            let pattern = if p.comparison == Comparison::Like { " text_pattern_ops" } else { "" };
            add(&mut columns, format!("{}{pattern}", key(p)));
            return (columns, fixed);
        }
    }
    if facts.has_limit && !facts.group_by {
        for column in
            facts.order_columns.iter().filter(|column| table_of(column).is_none_or(|t| last(t) == last(name)))
        {
            add(&mut columns, ident(last(column)));
        }
    }
    (columns, fixed)
}

fn table_of(column: &str) -> Option<&str> {
    column.rsplit_once('.').map(|(table, _)| table)
}

/// As it stands in an index: the column, or the function over it.
fn key(predicate: &Predicate) -> String {
    let column = ident(&predicate.column);
    match (&predicate.function, &predicate.cast) {
        (Some(function), _) => format!("{function}({column})"),
        (None, Some(cast)) => format!("(({column})::{cast})"),
        (None, None) => column,
    }
}

fn keys(method: &str, columns: &[String]) -> String {
    let method = if method == "btree" { String::new() } else { format!("USING {method} ") };
    format!("{method}({})", columns.join(", "))
}

/// A table as the plan names it, with its schema where that is told.
fn name(table: &str) -> String {
    table
        .split_once('.')
        .map_or_else(|| ident(table), |(schema, name)| format!("{}.{}", ident(schema), ident(name)))
}

/// In quotes where PostgreSQL wants it so.
fn ident(name: &str) -> String {
    let letter = |c: char| c == '_' || c.is_ascii_lowercase();
    let plain = name.starts_with(letter) && name.chars().all(|c| letter(c) || c.is_ascii_digit() || c == '$');
    if plain && !RESERVED.contains(&name) {
        name.to_owned()
    } else {
        format!("\"{}\"", name.replace('"', "\"\""))
    }
}

/// Words that name nothing unless quoted (PostgreSQL manual, appendix C: reserved, also where they can be functions or
/// types).
const RESERVED: [&str; 102] = [
    "all",
    "analyse",
    "analyze",
    "and",
    "any",
    "array",
    "as",
    "asc",
    "asymmetric",
    "authorization",
    "between",
    "binary",
    "both",
    "case",
    "cast",
    "check",
    "collate",
    "collation",
    "column",
    "concurrently",
    "constraint",
    "create",
    "cross",
    "current_catalog",
    "current_date",
    "current_role",
    "current_schema",
    "current_time",
    "current_timestamp",
    "current_user",
    "default",
    "deferrable",
    "desc",
    "distinct",
    "do",
    "else",
    "end",
    "except",
    "exists",
    "extract",
    "false",
    "fetch",
    "for",
    "foreign",
    "freeze",
    "from",
    "full",
    "grant",
    "group",
    "having",
    "ilike",
    "in",
    "initially",
    "inner",
    "intersect",
    "into",
    "is",
    "isnull",
    "join",
    "lateral",
    "leading",
    "left",
    "like",
    "limit",
    "localtime",
    "localtimestamp",
    "natural",
    "not",
    "notnull",
    "null",
    "offset",
    "on",
    "only",
    "or",
    "order",
    "outer",
    "overlaps",
    "placing",
    "position",
    "primary",
    "references",
    "returning",
    "right",
    "row",
    "select",
    "session_user",
    "similar",
    "some",
    "symmetric",
    "table",
    "tablesample",
    "then",
    "to",
    "trailing",
    "true",
    "union",
    "unique",
    "user",
    "using",
    "variadic",
    "when",
    "where",
];

fn btree(
    table: &str,
    (columns, equal): (Vec<String>, usize),
    predicates: &[&Predicate],
    rows: u64,
) -> Advice {
    let mut compared: Vec<&str> = Vec::new();
    for predicate in predicates.iter().filter(|p| !matches!(p.comparison, Comparison::Other)) {
        if compared.len() < MAX_COLUMNS && !compared.contains(&predicate.column.as_str()) {
            compared.push(&predicate.column);
        }
    }
    let why = if compared.is_empty() {
        format!("{rows} rows are sorted for a few of them")
    } else {
        format!("{rows} rows are read to find some by {}", compared.join(", "))
    };
    Advice {
        statement: format!("CREATE INDEX CONCURRENTLY ON {} {}", name(table), keys("btree", &columns)),
        table: table.to_owned(),
        columns,
        method: "btree",
        why,
        checked: None,
        equal,
    }
}

/// The index does what is advised: it begins with these keys, those of equalities in any order. The planner knew it and
/// chose not to use it.
fn serves(index: &Index, advice: &Advice) -> bool {
    let plain = |key: &str| -> String {
        let key = key.trim_end_matches(" text_pattern_ops").trim_end_matches(" gin_trgm_ops");
        key.chars().filter(|c| !c.is_whitespace() && !matches!(c, '(' | ')' | '"')).collect()
    };
    // `lower(email::text)` in the catalog is `lower(email)` in the statement.
    let uncast = |key: &str| plain(key.split("::").next().unwrap_or(key));
    let wanted: Vec<String> = advice.columns.iter().map(|key| plain(key)).collect();
    let equal = |has: &str, want: &String| plain(has) == *want || uncast(has) == *want;
    let Some(first) = index.columns.get(..wanted.len()) else { return false };
    let (free, fixed) = wanted.split_at(advice.equal.min(wanted.len()));
    let (any, then) = first.split_at(free.len());
    index.valid
        && index.predicate.is_none()
        && index.method == advice.method
        && free.iter().all(|want| any.iter().any(|has| equal(has, want)))
        && then.iter().zip(fixed).all(|(has, want)| equal(has, want))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_where_they_must_be() {
        for (name, expected) in [
            ("orders", "orders"),
            ("Orders", "\"Orders\""),
            ("user", "\"user\""),
            ("a\"b", "\"a\"\"b\""),
            ("1a", "\"1a\""),
        ] {
            assert_eq!(ident(name), expected);
        }
        assert_eq!(super::name("My Shop.orders"), "\"My Shop\".orders");
        assert!(RESERVED.windows(2).all(|pair| pair[0] < pair[1]));
    }

    fn advice(columns: &[&str], equal: usize) -> Advice {
        btree("orders", (columns.iter().map(|&column| column.to_owned()).collect(), equal), &[], 5)
    }

    #[test]
    fn an_index_that_begins_as_advised_serves() {
        let index = |columns: &[&str]| Index {
            columns: columns.iter().map(|&column| column.to_owned()).collect(),
            method: "btree".into(),
            valid: true,
            ..Index::default()
        };
        let served = |has: &[&str], columns: &[&str], equal| serves(&index(has), &advice(columns, equal));
        assert!(served(&["a", "b"], &["a"], 1));
        assert!(served(&["b", "a", "c"], &["a", "b"], 2), "equalities in any order");
        assert!(!served(&["b", "a"], &["a", "b"], 1), "a range comes behind them");
        assert!(!served(&["a"], &["a", "b"], 2));
        assert!(!served(&["c", "a"], &["a"], 1));
        assert!(served(&["lower(email::text)"], &["lower(email)"], 1));
        let partial = Index { predicate: Some("a > 5".into()), ..index(&["a"]) };
        assert!(!serves(&partial, &advice(&["a"], 1)));
        assert!(!serves(&Index { valid: false, ..index(&["a"]) }, &advice(&["a"], 1)));
    }

    #[test]
    fn what_was_checked_is_said() {
        let checked = Advice { checked: Some((12_345.4, 8.0)), ..advice(&["a"], 1) };
        assert_eq!(checked.hint(), "CREATE INDEX CONCURRENTLY ON orders (a) (checked: cost 12,345 → 8)");
        assert!(checked.gain().is_some_and(|gain| (0.999..1.0).contains(&gain)));
        assert_eq!(advice(&["a"], 1).check(), "not checked");
        assert_eq!(advice(&["a"], 1).gain(), None);
    }
}
