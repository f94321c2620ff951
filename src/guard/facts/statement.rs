//! From one statement's tree to its facts.

use std::collections::BTreeSet;

use super::constants;
use super::filters;
use super::kinds;
use super::walk::{Found, Walk};
use super::{Facts, effects, readonly, security};
use crate::guard::Effects;
use crate::guard::sql::parse::{ConstValue, Node};

/// The facts of a statement in a text of `bytes` bytes.
pub(super) fn facts(statement: Node<'_>, bytes: usize) -> Facts {
    let mut found = Walk::over(statement);
    let subject = subject(statement);
    readonly::tell(statement, &mut found);
    security::tell(statement, &mut found);
    let effects = found.effects.and(effects::of_whole(kinds::of(statement), &found));
    let effects = if found.custom_settings.is_empty() && !found.settings.iter().any(|name| name.contains('.'))
    {
        effects
    } else {
        effects.and(Effects::CUSTOM_SETTING)
    };
    let select = match subject {
        Node::SelectStmt(select) => Some(select),
        _ => None,
    };
    let Found { tables, functions, columns, tables_read, mut like_params, .. } = found;
    let mut seen = BTreeSet::new();
    like_params.retain(|number| seen.insert(*number));
    Facts {
        kind: kinds::of(statement),
        transaction: kinds::transaction(statement),
        tables: tables.into_vec(),
        tables_read: tables_read.into_vec(),
        columns: columns.into_vec(),
        select_star: found.select_star,
        unfiltered_write: found.unfiltered_write,
        has_where: has_where(subject),
        has_limit: has_limit(subject),
        limit: bound(select.map_or(Node::None, |select| select.limit_count())).flatten(),
        offset: bound(select.map_or(Node::None, |select| select.limit_offset())).unwrap_or(Some(0)),
        order_by: select.is_some_and(|select| !select.sort_clause().is_empty()),
        count_star: select.is_some_and(|select| {
            select.target_list().iter().any(|target| filters::is_count_star(target.val()))
        }),
        always_true: found.facts.always_true
            || select.is_some_and(|select| constants::truth(select.where_clause()) == Some(true)),
        joins: found.joins,
        aggregates: found.aggregates,
        group_by: found.group_by,
        distinct: found.distinct,
        functions: functions.into_vec(),
        for_update: found.for_update,
        lock_no_wait: found.for_update && !found.lock_waits,
        leading_wildcard: found.leading_wildcard,
        like_column: found.like_column,
        like_params,
        params: found.params,
        bytes: u32::try_from(bytes).unwrap_or(u32::MAX),
        custom_settings: custom_settings(&found.settings, found.custom_settings),
        settings: found.settings,
        prepared: found.prepared,
        effects,
        ..found.facts
    }
}

/// Those that are set and those that are read.
fn custom_settings(set: &[String], mut read: Vec<Box<str>>) -> Vec<Box<str>> {
    read.extend(set.iter().filter(|name| name.contains('.')).map(|name| name.as_str().into()));
    read
}

/// The statement whose `WHERE` and `LIMIT` count: the one carried, where a statement carries one.
fn subject(mut statement: Node<'_>) -> Node<'_> {
    loop {
        statement = match statement {
            Node::ExplainStmt(explain) => explain.query(),
            Node::PrepareStmt(prepare) => prepare.query(),
            Node::DeclareCursorStmt(declare) => declare.query(),
            _ => return statement,
        }
    }
}

/// A `UNION` and its like has none of its own, whatever its arms have.
fn has_where(statement: Node<'_>) -> bool {
    let condition = match statement {
        Node::SelectStmt(select) => select.where_clause(),
        Node::UpdateStmt(update) => update.where_clause(),
        Node::DeleteStmt(delete) => delete.where_clause(),
        Node::CopyStmt(copy) => copy.where_clause(),
        Node::IndexStmt(index) => index.where_clause(),
        _ => Node::None,
    };
    !matches!(condition, Node::None)
}

/// A `LIMIT` or `OFFSET`: outer `None` without one, inner `None` where it is no plain number.
fn bound(mut node: Node<'_>) -> Option<Option<u64>> {
    loop {
        node = match node {
            Node::None => return None,
            Node::A_Const(value) if value.isnull => return None,
            Node::A_Const(value) => {
                return Some(match value.val() {
                    Some(ConstValue::Integer(number)) => u64::try_from(number).ok(),
                    Some(ConstValue::Float(number) | ConstValue::String(number)) => {
                        number.trim().parse().ok()
                    }
                    _ => None,
                });
            }
            Node::TypeCast(cast) => cast.arg(),
            _ => return Some(None),
        }
    }
}

/// `LIMIT ALL` and `LIMIT NULL` are none.
fn has_limit(statement: Node<'_>) -> bool {
    let Node::SelectStmt(select) = statement else { return false };
    let mut count = select.limit_count();
    while let Node::TypeCast(cast) = count {
        count = cast.arg();
    }
    match count {
        Node::None => false,
        Node::A_Const(value) => !value.isnull,
        _ => true,
    }
}
