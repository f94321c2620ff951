//! What a statement writes: tables, columns, how many rows a `VALUES` has.

use super::locks::Lock;
use super::names::{Names, Qualified};
use super::walk::{Context, Found};
use crate::guard::sql::parse::{CmdType, Node, NodeList, nodes};

/// Gathered over a statement.
#[derive(Default)]
pub(super) struct Written {
    tables: Names,
    columns: Names,
}

impl Written {
    pub(super) fn table(&mut self, relation: Option<&nodes::RangeVar>) {
        if let Some(Qualified { schema, name }) = relation.and_then(Qualified::of_relation) {
            self.tables.add_qualified(schema, name);
        }
    }

    pub(super) fn named(&mut self, table: &str) {
        self.tables.add(table);
    }

    fn column(&mut self, table: &str, column: &str) {
        if table.is_empty() {
            self.columns.add(column);
        } else {
            self.columns.add_qualified(Some(table), column);
        }
    }
}

/// A relation as written.
pub(super) fn as_written(relation: Option<&nodes::RangeVar>) -> String {
    match relation.and_then(Qualified::of_relation) {
        Some(Qualified { schema: Some(schema), name }) => format!("{schema}.{name}"),
        Some(Qualified { schema: None, name }) => name.to_owned(),
        None => String::new(),
    }
}

/// Columns of a target list: `INSERT (…)`, `SET …`.
fn targets<'a>(found: &mut Found, table: &str, targets: impl Iterator<Item = Node<'a>>) {
    for target in targets {
        if let Node::ResTarget(target) = target
            && let Some(column) = target.name()
        {
            found.written.column(table, column);
        }
    }
}

fn target(found: &mut Found, relation: Option<&nodes::RangeVar>) -> String {
    found.written.table(relation);
    found.query_lock = found.query_lock.max(Some(Lock::RowExclusive));
    as_written(relation)
}

pub(super) fn insert(found: &mut Found, insert: &nodes::InsertStmt, context: Context) {
    if context.body {
        return;
    }
    let table = target(found, insert.relation());
    targets(found, &table, insert.cols().iter());
    // DEFAULT VALUES has neither columns nor a query.
    let bare = insert.cols().is_empty() && !matches!(insert.select_stmt(), Node::None);
    found.facts.insert_without_columns |= bare;
    found.facts.bulk_source |=
        matches!(insert.select_stmt(), Node::SelectStmt(select) if reads_relations(select));
    found.facts.returning |= insert.returning_clause().is_some();
    if let Some(conflict) = insert.on_conflict_clause() {
        found.facts.on_conflict = true;
        targets(found, &table, conflict.target_list().iter().map(Node::ResTarget));
    }
}

/// Its rows come from somewhere: not only from `VALUES`, or from expressions alone.
fn reads_relations(select: &nodes::SelectStmt) -> bool {
    !select.from_clause().is_empty() || select.larg().is_some()
}

pub(super) fn update(found: &mut Found, update: &nodes::UpdateStmt, context: Context) {
    if !context.body {
        let table = target(found, update.relation());
        targets(found, &table, update.target_list().iter().map(Node::ResTarget));
        found.facts.bulk_source |= !update.from_clause().is_empty();
        found.facts.returning |= update.returning_clause().is_some();
    }
}

pub(super) fn delete(found: &mut Found, delete: &nodes::DeleteStmt, context: Context) {
    if !context.body {
        let _ = target(found, delete.relation());
        found.facts.bulk_source |= !delete.using_clause().is_empty();
        found.facts.returning |= delete.returning_clause().is_some();
    }
}

pub(super) fn merge(found: &mut Found, merge: &nodes::MergeStmt, context: Context) {
    if context.body {
        return;
    }
    let table = target(found, merge.relation());
    found.facts.bulk_source = true;
    found.facts.returning |= merge.returning_clause().is_some();
    for when in merge.merge_when_clauses() {
        targets(found, &table, when.target_list().iter());
        found.facts.insert_without_columns |= when.command_type == CmdType::CMD_INSERT
            && when.target_list().is_empty()
            && !when.values().is_empty();
    }
}

pub(super) fn select(found: &mut Found, select: &nodes::SelectStmt, context: Context) {
    let rows = u32::try_from(select.values_lists().len()).unwrap_or(u32::MAX);
    found.facts.rows = found.facts.rows.max(rows);
    found.facts.any_limit |= !matches!(select.limit_count(), Node::None);
    if context.body {
        return;
    }
    if let Some(into) = select.into_clause() {
        found.written.table(into.rel());
    }
    if !select.locking_clause().is_empty() {
        found.query_lock = found.query_lock.max(Some(Lock::RowShare));
    }
}

pub(super) fn copy(found: &mut Found, copy: &nodes::CopyStmt) {
    found.facts.copy = match (copy.is_from, copy.is_program, copy.filename()) {
        (true, true, _) => "from program",
        (false, true, _) => "to program",
        (true, false, Some(_)) => "from file",
        (false, false, Some(_)) => "to file",
        (true, false, None) => "from stdin",
        (false, false, None) => "to stdout",
    }
    .to_owned();
    if copy.is_from {
        let table = target(found, copy.relation());
        for column in copy.attlist().iter().filter_map(Node::as_str) {
            found.written.column(&table, column);
        }
    } else if copy.relation().is_some() {
        found.query_lock = found.query_lock.max(Some(Lock::AccessShare));
    }
}

/// Relations of a list.
pub(super) fn relations(list: &NodeList) -> impl Iterator<Item = &nodes::RangeVar> {
    list.iter().filter_map(|node| match node {
        Node::RangeVar(relation) => Some(relation),
        _ => None,
    })
}

pub(super) fn finish(found: &mut Found) {
    let Written { tables, columns } = std::mem::take(&mut found.written);
    found.facts.tables_written = tables.into_vec();
    found.facts.columns_written = columns.into_vec();
}
