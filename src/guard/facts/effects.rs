//! What session state a statement may leave on its server.

use super::functions::is_role_setting;
use super::names::{Qualified, is_temporary_schema};
use crate::guard::Effects;
use crate::guard::sql::parse::{self, CURSOR_OPT_HOLD, DiscardMode, Node, VariableSetKind, nodes};

/// How the names begin under which a server knows protocol-level statements of all clients.
const RESERVED: &str = "pgsluice_";

/// `RangeVar.relpersistence` of a temporary relation.
const TEMPORARY: u8 = b't';

/// The effects of this statement itself, without those of the statements and calls in it.
pub(super) fn of_statement(statement: Node<'_>) -> Effects {
    match statement {
        Node::VariableSetStmt(set) => of_set(set),
        Node::ListenStmt(_) => Effects::LISTEN,
        Node::LoadStmt(_) => Effects::LIBRARY,
        Node::DoStmt(_) | Node::CallStmt(_) => Effects::OPAQUE,
        Node::PrepareStmt(prepare) => of_prepared(prepare.name()),
        Node::ExecuteStmt(execute) => of_prepared(execute.name()),
        Node::DeallocateStmt(deallocate) => of_prepared(deallocate.name()),
        Node::UnlistenStmt(unlisten) if unlisten.conditionname().is_none() => Effects::UNLISTEN_ALL,
        Node::DeclareCursorStmt(declare) if declare.options & CURSOR_OPT_HOLD != 0 => Effects::HOLD_CURSOR,
        Node::DiscardStmt(discard) if discard.target == DiscardMode::DISCARD_ALL => Effects::DISCARD_ALL,
        Node::CreateStmt(create) => of_target(create.relation()),
        Node::CreateTableAsStmt(create) => of_target(create.into().and_then(nodes::IntoClause::rel)),
        Node::ViewStmt(view) => of_target(view.view()),
        Node::CreateSeqStmt(create) => of_target(create.sequence()),
        Node::CompositeTypeStmt(create) => of_target(create.typevar()),
        Node::CreateFunctionStmt(create) => of_name(create.funcname().iter()),
        Node::CreateEnumStmt(create) => of_name(create.type_name().iter().map(Node::String)),
        Node::CreateRangeStmt(create) => of_name(create.type_name().iter().map(Node::String)),
        Node::CreateDomainStmt(create) => of_name(create.domainname().iter().map(Node::String)),
        Node::DefineStmt(create) => of_name(create.defnames().iter().map(Node::String)),
        Node::Invalid(_) => {
            parse::as_foreign_table(statement).map_or(Effects::NONE, |create| of_target(create.relation()))
        }
        _ => Effects::NONE,
    }
}

/// `SET` lasts longer than its transaction unless `LOCAL`; `SET TRANSACTION` does not.
fn of_set(set: &nodes::VariableSetStmt) -> Effects {
    if set.is_local {
        return Effects::NONE;
    }
    match set.kind {
        VariableSetKind::VAR_SET_MULTI => match set.name() {
            Some("TRANSACTION" | "TRANSACTION SNAPSHOT") => Effects::NONE,
            _ => Effects::SETTING,
        },
        VariableSetKind::VAR_RESET_ALL => Effects::RESET_ALL.and(Effects::UNALIGNED),
        // Back to what the connection logged in as.
        VariableSetKind::VAR_RESET | VariableSetKind::VAR_SET_DEFAULT => {
            if set.name().is_some_and(is_role_setting) { Effects::NONE } else { Effects::UNALIGNED }
        }
        _ if set.name().is_some_and(is_role_setting) => Effects::ROLE,
        _ => Effects::SETTING,
    }
}

/// Of a statement about a prepared statement of this name; all of them, where it has none.
fn of_prepared(name: Option<&str>) -> Effects {
    let reserved = name.is_some_and(|name| name.starts_with(RESERVED));
    Effects::SQL_PREPARE.and(if reserved { Effects::RESERVED_NAME } else { Effects::NONE })
}

/// Of creating this relation.
pub(super) fn of_target(relation: Option<&nodes::RangeVar>) -> Effects {
    let temporary = relation.is_some_and(|relation| {
        relation.relpersistence as u8 == TEMPORARY
            || Qualified::of_relation(relation).is_some_and(Qualified::is_temporary)
    });
    if temporary { Effects::TEMP_TABLE } else { Effects::NONE }
}

/// Of creating another object of this name.
fn of_name<'a>(parts: impl Iterator<Item = Node<'a>>) -> Effects {
    let schema = Qualified::of_parts(parts).and_then(|name| name.schema);
    if schema.is_some_and(is_temporary_schema) { Effects::TEMP_TABLE } else { Effects::NONE }
}
