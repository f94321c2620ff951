//! Adds a required predicate to every place where a statement reads or changes one of its tables.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use sqlparser::ast::{
    BinaryOperator, Delete, Expr, FromTable, Ident, JoinConstraint, JoinOperator, ObjectName, Query, Select,
    Statement, TableFactor, TableObject, TableWithJoins, Update, UpdateTableFromKind, VisitMut, VisitorMut,
};

use super::rewrite::{Required, folded};
use crate::guard::facts::Facts;

/// Adds it everywhere, or says where that is not possible.
pub(super) fn add(tree: &mut Statement, required: &Required, facts: &Facts) -> Result<(), String> {
    let mut adder = Adder { required, names: BTreeSet::new(), seen: 0, done: 0 };
    // The target of an INSERT is not read.
    let target = match tree {
        Statement::Insert(insert) => match &insert.table {
            TableObject::TableName(name) => written(name).is_some_and(|name| required.is_about(&name)),
            _ => false,
        },
        _ => false,
    };
    if let ControlFlow::Break(reason) = VisitMut::visit(tree, &mut adder) {
        return Err(*reason);
    }
    let known: BTreeSet<String> =
        facts.tables.iter().filter(|table| required.is_about(table)).cloned().collect();
    if adder.names != known || adder.seen != adder.done + usize::from(target) {
        return Err("a table stands where no predicate can be added".into());
    }
    Ok(())
}

struct Adder<'r> {
    required: &'r Required,
    /// The tables it is about, as written.
    names: BTreeSet<String>,
    /// Places where they stand, and places where the predicate was added.
    seen: usize,
    done: usize,
}

type Reason = Box<String>;

impl VisitorMut for Adder<'_> {
    type Break = Reason;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Reason> {
        let names = query.with.iter().flat_map(|with| &with.cte_tables).map(|cte| folded(&cte.alias.name));
        for name in names {
            if self.required.is_about(&name) && !self.required.tables.is_empty() {
                return broken("a WITH query has the name of such a table");
            }
            if self.required.tables.is_empty() {
                return broken("it has a WITH, so that not every name is a table's");
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, name: &mut ObjectName) -> ControlFlow<Reason> {
        match written(name) {
            Some(name) if self.required.is_about(&name) => {
                self.names.insert(name);
                self.seen += 1;
                ControlFlow::Continue(())
            }
            Some(_) => ControlFlow::Continue(()),
            None => broken("a table's name is computed"),
        }
    }

    // After the children, so that what is added is not visited itself.
    fn post_visit_select(&mut self, select: &mut Select) -> ControlFlow<Reason> {
        let mut added = Vec::new();
        for from in &mut select.from {
            self.from(from, &mut added)?;
        }
        and(&mut select.selection, added);
        ControlFlow::Continue(())
    }

    fn post_visit_statement(&mut self, statement: &mut Statement) -> ControlFlow<Reason> {
        let mut added = Vec::new();
        match statement {
            Statement::Update(Update { table, from, selection, .. }) => {
                self.from(table, &mut added)?;
                let others = match from {
                    Some(UpdateTableFromKind::AfterSet(tables) | UpdateTableFromKind::BeforeSet(tables)) => {
                        tables.as_mut_slice()
                    }
                    None => &mut [],
                };
                for other in others {
                    self.from(other, &mut added)?;
                }
                and(selection, added);
            }
            Statement::Delete(Delete { from, using, selection, .. }) => {
                let (FromTable::WithFromKeyword(tables) | FromTable::WithoutKeyword(tables)) = from;
                for table in tables.iter_mut().chain(using.iter_mut().flatten()) {
                    self.from(table, &mut added)?;
                }
                and(selection, added);
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

impl Adder<'_> {
    /// Predicates for one item of a FROM: for the `WHERE`, or put into the `ON` of an outer join.
    fn from(&mut self, from: &mut TableWithJoins, added: &mut Vec<Expr>) -> ControlFlow<Reason> {
        let mut pending: Vec<Expr> = self.about(&from.relation)?.into_iter().collect();
        for join in &mut from.joins {
            let of_joined = self.about(&join.relation)?;
            match &mut join.join_operator {
                JoinOperator::Join(_) | JoinOperator::Inner(_) | JoinOperator::CrossJoin(_) => {
                    pending.extend(of_joined);
                }
                JoinOperator::Left(constraint) | JoinOperator::LeftOuter(constraint) => {
                    let Some(predicate) = of_joined else { continue };
                    // Rows that fail it are as if they were not there; in the WHERE they would take others with them.
                    let JoinConstraint::On(on) = constraint else {
                        return broken("such a table is joined by an outer join without ON");
                    };
                    *on = both(std::mem::replace(on, predicate.clone()), predicate);
                }
                _ if of_joined.is_some() || !pending.is_empty() => {
                    return broken("such a table stands in a right or full join");
                }
                _ => {}
            }
        }
        added.append(&mut pending);
        ControlFlow::Continue(())
    }

    fn about(&mut self, factor: &TableFactor) -> ControlFlow<Reason, Option<Expr>> {
        let TableFactor::Table { name, alias, args: None, .. } = factor else {
            return ControlFlow::Continue(None);
        };
        let about = written(name).is_some_and(|name| self.required.is_about(&name));
        if !about {
            return ControlFlow::Continue(None);
        }
        if alias.as_ref().is_some_and(|alias| !alias.columns.is_empty()) {
            return ControlFlow::Break(Box::new("such a table's columns have other names".to_owned()));
        }
        let Some(shown) = shown_as(name, alias.as_ref().map(|alias| &alias.name)) else {
            return ControlFlow::Continue(None);
        };
        self.done += 1;
        ControlFlow::Continue(Some(self.required.of(&shown)))
    }
}

fn broken(reason: &str) -> ControlFlow<Reason> {
    ControlFlow::Break(Box::new(reason.to_owned()))
}

/// By which name the rest of the statement calls it.
pub(super) fn shown_as(name: &ObjectName, alias: Option<&Ident>) -> Option<Ident> {
    alias.or_else(|| name.0.last()?.as_ident()).cloned()
}

/// As facts write it.
pub(super) fn written(name: &ObjectName) -> Option<String> {
    let parts: Option<Vec<String>> = name.0.iter().map(|part| part.as_ident().map(folded)).collect();
    parts.map(|parts| parts.join("."))
}

fn and(selection: &mut Option<Expr>, added: Vec<Expr>) {
    for predicate in added {
        *selection = Some(match selection.take() {
            Some(given) => both(given, predicate),
            None => predicate,
        });
    }
}

/// `(given) AND predicate`, so that no OR of the one takes in the other.
fn both(given: Expr, predicate: Expr) -> Expr {
    let given = match given {
        Expr::Nested(_) => given,
        other => Expr::Nested(Box::new(other)),
    };
    Expr::BinaryOp { left: Box::new(given), op: BinaryOperator::And, right: Box::new(predicate) }
}
