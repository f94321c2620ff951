//! `rewrite = { limit = 1000 }`: the statement as a rule wants it.
//!
//! The text is read by sqlparser, which must print it in a way that PostgreSQL's grammar reads as the same statement;
//! then it is changed, printed, read by the grammar again, and refused if anything but what was asked for differs.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use sqlparser::ast::{Expr, Fetch, Ident, LimitClause, Query, Statement, Value, visit_expressions_mut};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;

use super::model::Rule;
use super::select::TablePattern;
use super::{columns, predicate};
use crate::guard::catalog::Catalog;
use crate::guard::facts::{Facts, ReadOptions, read, with_views};
use crate::guard::{Kind, sql};

/// What one rule wants.
#[derive(Clone, Debug, Default)]
pub(super) struct Rewrite {
    pub(super) limit: Option<u64>,
    pub(super) predicate: Option<Required>,
    pub(super) columns: bool,
    /// `otherwise = "run"`: what cannot be rewritten runs as it is; else it is blocked.
    pub(super) lenient: bool,
}

/// A predicate that must hold of every row of some tables.
#[derive(Clone, Debug)]
pub(super) struct Required {
    pub(super) text: Box<str>,
    pub(super) expr: Expr,
    /// Its columns, without a table.
    pub(super) columns: BTreeSet<String>,
    /// Empty for every table.
    pub(super) tables: Vec<TablePattern>,
    /// Those of a statement that filters by it alone.
    pub(super) facts: Facts,
}

impl Required {
    /// Reads a predicate over one table's columns, or says what is wrong with it.
    pub(super) fn parse(text: &str, tables: Vec<TablePattern>) -> Result<Self, String> {
        let probe = format!("SELECT 1 FROM t WHERE ({text})");
        let reading = read(probe.as_bytes(), &ReadOptions::default());
        let [facts] = reading.statements.as_slice() else {
            return Err("it is no single condition".into());
        };
        if let Some(refusal) = &reading.refusal {
            return Err(refusal.to_string());
        }
        let plain = facts.tables == ["t"]
            && facts.kind == Kind::Select
            && facts.subqueries == 0
            && facts.aggregates == 0
            && facts.windows == 0
            && facts.params == 0
            && !facts.has_limit
            && !facts.group_by
            && !facts.order_by;
        if !plain {
            return Err("it may hold columns, constants and functions only".into());
        }
        if !facts.read_only {
            return Err(format!("it is not provably read-only: {}", facts.not_read_only.join(", ")));
        }
        let mut parser =
            Parser::new(&PostgreSqlDialect {}).try_with_sql(text).map_err(|error| error.to_string())?;
        let mut expr = parser.parse_expr().map_err(|error| error.to_string())?;
        let columns = columns(&mut expr)?;
        if faithful(&probe).is_none() || parser.peek_token().token != sqlparser::tokenizer::Token::EOF {
            return Err("it cannot be written again as it stands".into());
        }
        Ok(Self {
            text: text.into(),
            expr: Expr::Nested(Box::new(expr)),
            columns,
            tables,
            facts: facts.clone(),
        })
    }

    pub(super) fn is_about(&self, table: &str) -> bool {
        self.tables.is_empty() || self.tables.iter().any(|pattern| pattern.may_be(table))
    }

    /// The predicate about one table of a statement.
    pub(super) fn of(&self, table: &Ident) -> Expr {
        let mut expr = self.expr.clone();
        let _: ControlFlow<()> = visit_expressions_mut(&mut expr, |part| {
            if let Expr::Identifier(column) = part
                && self.columns.contains(&folded(column))
            {
                *part = Expr::CompoundIdentifier(vec![table.clone(), column.clone()]);
            }
            ControlFlow::Continue(())
        });
        expr
    }
}

/// What stands without parentheses and is no column.
const VALUES: [&str; 11] = [
    "current_catalog",
    "current_date",
    "current_role",
    "current_schema",
    "current_time",
    "current_timestamp",
    "current_user",
    "localtime",
    "localtimestamp",
    "session_user",
    "user",
];

/// The columns of an expression, each written without a table, and at least one.
fn columns(expr: &mut Expr) -> Result<BTreeSet<String>, String> {
    let mut columns = BTreeSet::new();
    let visited = visit_expressions_mut(expr, |part| match part {
        Expr::Identifier(name) => {
            let name = folded(name);
            if !VALUES.contains(&name.as_str()) {
                columns.insert(name);
            }
            ControlFlow::Continue(())
        }
        Expr::CompoundIdentifier(_) => ControlFlow::Break("it must name columns without their table"),
        Expr::Subquery(_) | Expr::Exists { .. } | Expr::InSubquery { .. } => {
            ControlFlow::Break("it may hold columns, constants and functions only")
        }
        _ => ControlFlow::Continue(()),
    });
    match visited {
        ControlFlow::Break(reason) => Err(reason.to_owned()),
        ControlFlow::Continue(()) if columns.is_empty() => Err("it must read columns of the table".into()),
        ControlFlow::Continue(()) => Ok(columns),
    }
}

/// An identifier as PostgreSQL stores it.
pub(super) fn folded(ident: &Ident) -> String {
    if ident.quote_style.is_some() { ident.value.clone() } else { ident.value.to_ascii_lowercase() }
}

/// What all rules that matched want together.
#[derive(Debug, Default)]
pub(super) struct Wanted<'r> {
    limit: Option<u64>,
    predicates: Vec<&'r Required>,
    columns: bool,
    /// The first by name of those that would rather have the statement blocked than as it is.
    pub(super) strict: Option<&'r Rule>,
}

impl<'r> Wanted<'r> {
    /// `None` if no rule wants anything.
    pub(super) fn of(rules: impl Iterator<Item = &'r Rule>) -> Option<Self> {
        let mut rules: Vec<(&Rule, &Rewrite)> =
            rules.filter_map(|rule| Some((rule, rule.rewrite.as_ref()?))).collect();
        rules.sort_by(|(a, _), (b, _)| a.name.cmp(&b.name));
        let mut wanted = Self::default();
        for (rule, rewrite) in &rules {
            wanted.limit = match (wanted.limit, rewrite.limit) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
            wanted.predicates.extend(&rewrite.predicate);
            wanted.columns |= rewrite.columns;
            if !rewrite.lenient && wanted.strict.is_none() {
                wanted.strict = Some(rule);
            }
        }
        wanted.predicates.sort_by(|a, b| a.text.cmp(&b.text));
        (!rules.is_empty()).then_some(wanted)
    }
}

/// A text that may be rewritten.
#[derive(Clone, Copy, Debug)]
pub(in crate::guard) struct Text<'a> {
    pub(in crate::guard) bytes: &'a [u8],
    pub(in crate::guard) standard_conforming_strings: bool,
    pub(in crate::guard) catalog: Option<&'a Catalog>,
}

/// The text to run instead and its facts, `None` if it is as it should be, or why it cannot be rewritten.
pub(super) fn rewrite(
    wanted: &Wanted<'_>,
    text: Option<&Text<'_>>,
    statements: &[Facts],
) -> Result<Option<(String, Facts)>, String> {
    let facts = match statements {
        [] => return Ok(None),
        [facts] => facts,
        _ => return Err("the text holds several statements".into()),
    };
    let todo = Todo::of(wanted, facts)?;
    if todo.is_nothing() {
        return Ok(None);
    }
    let unreadable = || "it is not plain UTF-8 with standard strings".to_owned();
    let text = text.ok_or("it is too large")?;
    let old = std::str::from_utf8(text.bytes).ok().filter(|_| text.standard_conforming_strings);
    let mut tree = faithful(old.ok_or_else(unreadable)?).ok_or("it cannot be written again as it stands")?;
    let before = tree.to_string();
    for required in &todo.predicates {
        predicate::add(&mut tree, required, facts)?;
    }
    if todo.columns {
        columns::expand(&mut tree, text.catalog.ok_or("the tables' columns are not known")?);
    }
    if let Some(most) = todo.limit {
        let Statement::Query(query) = &mut tree else { return Err("it is no plain query".into()) };
        limit(query, most)?;
    }
    let new = tree.to_string();
    // A `*` that stayed, or a predicate that went nowhere, is for the comparison to refuse.
    if new == before && todo.predicates.is_empty() && !todo.columns {
        return Ok(None);
    }
    let reading = read(new.as_bytes(), &ReadOptions::default());
    let mut found = reading.statements;
    if let Some(catalog) = text.catalog {
        with_views(&mut found, catalog);
    }
    match (reading.refusal, found.as_slice()) {
        (None, [found]) => {
            todo.compare(facts, found)?;
            Ok(Some((new, found.clone())))
        }
        _ => Err("what comes out is no statement".into()),
    }
}

/// The statement in sqlparser's words, if PostgreSQL's grammar reads what they print as what was written.
fn faithful(text: &str) -> Option<Statement> {
    let mut statements = Parser::parse_sql(&PostgreSqlDialect {}, text).ok()?;
    let only = statements.pop().filter(|_| statements.is_empty())?;
    let canonical = sql::canonical(text)?;
    (sql::canonical(&only.to_string())? == canonical).then_some(only)
}

/// What has to be done to one statement.
struct Todo<'w> {
    limit: Option<u64>,
    predicates: Vec<&'w Required>,
    columns: bool,
}

impl<'w> Todo<'w> {
    fn of(wanted: &Wanted<'w>, facts: &Facts) -> Result<Self, String> {
        if facts.kind == Kind::Unparsed {
            return Err("it was not parsed".into());
        }
        let shown = facts.explain && !facts.analyze;
        let bounded = facts.has_limit && facts.limit.is_some_and(|at| Some(at) <= wanted.limit);
        let limit = wanted.limit.filter(|_| facts.kind == Kind::Select && !shown && !bounded);
        // What an EXPLAIN, a cursor, a PREPARE or a CREATE TABLE AS carries counts as its own; the target of an INSERT
        // is not read.
        let all = matches!(facts.kind, Kind::Select | Kind::Update | Kind::Delete | Kind::Merge | Kind::Copy);
        let written: &[String] = if facts.kind == Kind::Insert { &[] } else { &facts.tables_written };
        let about = |required: &&Required| {
            let mut read = facts.tables_read.iter().chain(written);
            read.any(|table| required.is_about(table))
                || (all && facts.tables.iter().any(|table| required.is_about(table)))
        };
        let predicates = wanted.predicates.iter().copied().filter(about);
        Ok(Self { limit, predicates: predicates.collect(), columns: wanted.columns && facts.select_star })
    }

    fn is_nothing(&self) -> bool {
        self.limit.is_none() && self.predicates.is_empty() && !self.columns
    }

    /// Nothing but what was asked for may differ.
    fn compare(&self, old: &Facts, new: &Facts) -> Result<(), String> {
        let mut expected = new.clone();
        // The size; comments go.
        expected.bytes = old.bytes;
        expected.comments = old.comments;
        expected.trailing_comment = old.trailing_comment;
        expected.line_comment.clone_from(&old.line_comment);
        expected.tags.clone_from(&old.tags);
        if let Some(most) = self.limit {
            if !new.has_limit || new.limit.is_some_and(|limit| limit > most) {
                return Err("its LIMIT did not become what it should".into());
            }
            (expected.has_limit, expected.limit) = (old.has_limit, old.limit);
            expected.any_limit = old.any_limit;
        }
        if self.columns {
            if new.select_star {
                return Err("a `*` stands where the columns are not known".into());
            }
            expected.select_star = old.select_star;
        }
        if self.columns || !self.predicates.is_empty() {
            holds_all(&old.columns, &new.columns)?;
            expected.columns.clone_from(&old.columns);
        }
        if !self.predicates.is_empty() {
            self.compare_filters(old, new)?;
            filters(&mut expected, old);
        }
        if expected == *old { Ok(()) } else { Err("it would become another statement".into()) }
    }

    fn compare_filters(&self, old: &Facts, new: &Facts) -> Result<(), String> {
        for (before, after) in [
            (&old.filter_columns, &new.filter_columns),
            (&old.equality_columns, &new.equality_columns),
            (&old.functions, &new.functions),
            (&old.settings_named, &new.settings_named),
        ] {
            holds_all(before, after)?;
        }
        let known = |name: &String| {
            old.functions.contains(name) || self.predicates.iter().any(|p| p.facts.functions.contains(name))
        };
        let effects = self.predicates.iter().fold(old.effects, |all, p| all.and(p.facts.effects));
        if !new.functions.iter().all(known) || new.effects != effects {
            return Err("it would call other functions".into());
        }
        Ok(())
    }
}

/// What a predicate may change of a statement's facts, set back.
fn filters(expected: &mut Facts, old: &Facts) {
    expected.has_where = old.has_where;
    expected.unfiltered_write = old.unfiltered_write;
    expected.cross_joins = old.cross_joins;
    expected.in_list = old.in_list;
    expected.or_across_columns = old.or_across_columns;
    expected.leading_wildcard = old.leading_wildcard;
    expected.regex = old.regex;
    expected.always_true = old.always_true;
    expected.tautology = old.tautology;
    expected.effects = old.effects;
    expected.functions.clone_from(&old.functions);
    expected.like_column.clone_from(&old.like_column);
    expected.function_columns.clone_from(&old.function_columns);
    expected.cast_columns.clone_from(&old.cast_columns);
    expected.equality_columns.clone_from(&old.equality_columns);
    expected.filter_columns.clone_from(&old.filter_columns);
    expected.predicates.clone_from(&old.predicates);
    expected.settings_named.clone_from(&old.settings_named);
    expected.custom_settings.clone_from(&old.custom_settings);
}

fn holds_all(before: &[String], after: &[String]) -> Result<(), String> {
    let all = before.iter().all(|name| after.contains(name));
    if all { Ok(()) } else { Err("it would read less than it did".into()) }
}

/// Adds a LIMIT, or lowers it.
fn limit(query: &mut Query, most: u64) -> Result<(), String> {
    let number = || Expr::Value(Value::Number(most.to_string(), false).into());
    if let Some(Fetch { with_ties, percent, quantity }) = &mut query.fetch {
        if *with_ties || *percent {
            return Err("its FETCH FIRST is no plain number of rows".into());
        }
        return match quantity {
            // FETCH FIRST ROW ONLY
            None => Ok(()),
            Some(quantity) => lower(quantity, most),
        };
    }
    match &mut query.limit_clause {
        None => {
            query.limit_clause =
                Some(LimitClause::LimitOffset { limit: Some(number()), offset: None, limit_by: Vec::new() });
            Ok(())
        }
        Some(LimitClause::LimitOffset { limit, limit_by, .. }) if limit_by.is_empty() => match limit {
            None => {
                *limit = Some(number());
                Ok(())
            }
            Some(limit) => lower(limit, most),
        },
        Some(_) => Err("its LIMIT is not PostgreSQL's".into()),
    }
}

fn lower(expr: &mut Expr, most: u64) -> Result<(), String> {
    let low = match expr {
        Expr::Value(value) => match &value.value {
            Value::Number(digits, _) => digits.parse::<u64>().is_ok_and(|given| given <= most),
            Value::Null => false,
            _ => return Err("its LIMIT is not a plain number".into()),
        },
        _ => return Err("its LIMIT is not a plain number".into()),
    };
    if !low {
        *expr = Expr::Value(Value::Number(most.to_string(), false).into());
    }
    Ok(())
}
