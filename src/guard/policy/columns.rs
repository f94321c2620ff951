//! Writes `*` as the columns that the catalog knows.

use std::ops::ControlFlow;

use sqlparser::ast::{
    Expr, Ident, JoinConstraint, JoinOperator, Query, Select, SelectItem, SelectItemQualifiedWildcardKind,
    Statement, TableFactor, VisitMut, VisitorMut,
};

use super::predicate::{shown_as, written};
use super::rewrite::folded;
use crate::guard::catalog::{Catalog, Table};

/// Everywhere where all tables are known; elsewhere the `*` stays, and the facts will tell.
pub(super) fn expand(tree: &mut Statement, catalog: &Catalog) {
    let _: ControlFlow<()> = VisitMut::visit(tree, &mut Expander { catalog, with: Vec::new() });
}

struct Expander<'c> {
    catalog: &'c Catalog,
    /// Names of WITH queries: no tables, whatever the catalog says.
    with: Vec<String>,
}

impl VisitorMut for Expander<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        let names = query.with.iter().flat_map(|with| &with.cte_tables);
        self.with.extend(names.map(|cte| folded(&cte.alias.name)));
        ControlFlow::Continue(())
    }

    fn post_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        let Some(tables) = self.tables(select) else { return ControlFlow::Continue(()) };
        let mut items = Vec::with_capacity(select.projection.len());
        for item in std::mem::take(&mut select.projection) {
            let of = match &item {
                SelectItem::Wildcard(options) if *options == Default::default() => Some(tables.as_slice()),
                SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), options)
                    if *options == Default::default() && name.0.len() == 1 =>
                {
                    let called = name.0.first().and_then(|part| part.as_ident()).map(folded);
                    let at = tables.iter().position(|(ident, _)| Some(folded(ident)) == called);
                    at.map(|at| &tables[at..=at])
                }
                _ => None,
            };
            match of {
                Some(of) => items.extend(of.iter().flat_map(|(ident, table)| columns(ident, table))),
                None => items.push(item),
            }
        }
        select.projection = items;
        ControlFlow::Continue(())
    }
}

impl<'c> Expander<'c> {
    /// The tables of a FROM, in order, if `*` is all of their columns one after the other.
    fn tables(&self, select: &Select) -> Option<Vec<(Ident, &'c Table)>> {
        let mut tables = Vec::new();
        for from in &select.from {
            tables.push(self.table(&from.relation)?);
            for join in &from.joins {
                let plain = match &join.join_operator {
                    JoinOperator::Join(constraint)
                    | JoinOperator::Inner(constraint)
                    | JoinOperator::Left(constraint)
                    | JoinOperator::LeftOuter(constraint)
                    | JoinOperator::Right(constraint)
                    | JoinOperator::RightOuter(constraint)
                    | JoinOperator::FullOuter(constraint)
                    | JoinOperator::CrossJoin(constraint) => {
                        matches!(constraint, JoinConstraint::On(_) | JoinConstraint::None)
                    }
                    _ => false,
                };
                tables.push(self.table(&join.relation).filter(|_| plain)?);
            }
        }
        Some(tables)
    }

    fn table(&self, factor: &TableFactor) -> Option<(Ident, &'c Table)> {
        let TableFactor::Table { name, alias, args: None, .. } = factor else { return None };
        if alias.as_ref().is_some_and(|alias| !alias.columns.is_empty()) {
            return None;
        }
        let name_written = written(name).filter(|name| !self.with.contains(name))?;
        let table = self.catalog.table(&name_written)?;
        if table.columns.is_empty() || table.columns.iter().any(|column| column.name.contains('"')) {
            return None;
        }
        Some((shown_as(name, alias.as_ref().map(|alias| &alias.name))?, table))
    }
}

fn columns<'t>(called: &'t Ident, table: &'t Table) -> impl Iterator<Item = SelectItem> + 't {
    table.columns.iter().map(move |column| {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        // Behind a dot every word is a column's name.
        let simple = column.name.chars().all(plain) && !column.name.starts_with(|c: char| c.is_ascii_digit());
        let name = if simple {
            Ident::new(column.name.clone())
        } else {
            Ident::with_quote('"', column.name.clone())
        };
        SelectItem::UnnamedExpr(Expr::CompoundIdentifier(vec![called.clone(), name]))
    })
}
