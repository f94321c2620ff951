//! What a statement may do to its session.

use super::functions::{is_role_setting, read_setting};
use super::names::{Qualified, is_temporary_schema};
use super::walk::Found;
use crate::guard::sql::parse::{
    CURSOR_OPT_HOLD, DiscardMode, Node, VariableSetKind, as_foreign_table, nodes,
};
use crate::guard::{Effects, Kind};

/// How the names begin under which a server knows protocol-level statements of all clients.
const RESERVED: &str = "pgsluice_";

/// `RangeVar.relpersistence` of a temporary relation.
const TEMPORARY: u8 = b't';

/// Of a text that was not read: anything.
pub(super) const UNREAD: Effects = Effects::UNPARSED.and(ANYTHING);

/// What code that is not seen may do: state of any kind that the server shows, settings of any name.
const ANYTHING: Effects =
    Effects::SHOWN.and(Effects::SETTING).and(Effects::ANY_SETTING).and(Effects::ENDS).and(Effects::SCHEMA);

/// The effects of this statement itself, without those of the statements and calls in it, and the settings it names.
pub(super) fn of_statement(statement: Node<'_>, found: &mut Found) -> Effects {
    match statement {
        Node::VariableSetStmt(set) => of_set(set, &mut found.settings),
        Node::VariableShowStmt(show) => {
            show.name().into_iter().for_each(|name| read_setting(name, found));
            Effects::NONE
        }
        Node::ListenStmt(_) => Effects::LISTEN,
        Node::LoadStmt(_) => Effects::LIBRARY.and(Effects::SETTING).and(Effects::ANY_SETTING),
        Node::DoStmt(block) => of_block(block),
        Node::CallStmt(_) => ANYTHING,
        Node::PrepareStmt(prepare) => Effects::SQL_PREPARE.and(named(prepare.name(), false, found)),
        Node::ExecuteStmt(execute) => named(execute.name(), false, found),
        Node::DeallocateStmt(deallocate) => Effects::ENDS.and(named(deallocate.name(), true, found)),
        Node::UnlistenStmt(_) | Node::ClosePortalStmt(_) | Node::DropStmt(_) => Effects::ENDS,
        Node::DeclareCursorStmt(declare) if declare.options & CURSOR_OPT_HOLD != 0 => Effects::HOLD_CURSOR,
        Node::DiscardStmt(discard) => match discard.target {
            DiscardMode::DISCARD_ALL => Effects::DISCARD_ALL.and(Effects::ENDS),
            _ => Effects::ENDS,
        },
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
            as_foreign_table(statement).map_or(Effects::NONE, |create| of_target(create.relation()))
        }
        _ => Effects::NONE,
    }
}

/// What only the whole statement tells.
pub(super) fn of_whole(kind: Kind, found: &Found) -> Effects {
    let mut effects = Effects::NONE;
    if found.writes || found.calls || matches!(kind, Kind::Copy) {
        effects = effects.and(Effects::CALLS);
    }
    if matches!(kind, Kind::Ddl) {
        // Event triggers.
        effects = effects.and(Effects::SCHEMA).and(Effects::CALLS);
    }
    if found.tables.has_builtin("pg_prepared_statements") {
        effects = effects.and(Effects::READS_PREPARED);
    }
    if found.effects.has(Effects::TEMP_TABLE) {
        effects = effects.and(Effects::SCHEMA); // it may stand before another of its name
    }
    effects
}

/// `SET` lasts longer than its transaction unless `LOCAL`; `SET TRANSACTION` does not.
fn of_set(set: &nodes::VariableSetStmt, settings: &mut Vec<String>) -> Effects {
    if set.is_local {
        return Effects::LOCAL_SETTING;
    }
    match set.kind {
        VariableSetKind::VAR_SET_MULTI => {
            if matches!(set.name(), Some("TRANSACTION" | "TRANSACTION SNAPSHOT")) {
                return Effects::NONE;
            }
            let characteristics = ["isolation", "read_only", "deferrable"];
            settings.extend(characteristics.map(|name| format!("default_transaction_{name}")));
            Effects::SETTING
        }
        VariableSetKind::VAR_RESET_ALL => Effects::RESET_ALL,
        kind => {
            let resets = matches!(kind, VariableSetKind::VAR_RESET | VariableSetKind::VAR_SET_DEFAULT);
            let effects = set.name().map_or(Effects::NONE, |name| of_setting(name, settings));
            if effects.has(Effects::ROLE) {
                return if resets { Effects::ENDS } else { effects.and(Effects::ENDS) };
            }
            if resets && effects.has(Effects::SETTING) { effects.and(Effects::RESET) } else { effects }
        }
    }
}

/// Of giving this setting another value for the rest of the session.
pub(super) fn of_setting(name: &str, settings: &mut Vec<String>) -> Effects {
    let name = name.to_ascii_lowercase();
    match name.as_str() {
        _ if is_role_setting(&name) => Effects::ROLE,
        // A state of the generator, not a value that could be read and set again.
        "seed" => Effects::OPAQUE,
        // Of the running transaction.
        "transaction_isolation" | "transaction_read_only" | "transaction_deferrable" => Effects::NONE,
        _ => {
            settings.push(name);
            Effects::SETTING
        }
    }
}

/// A block's settings can be learned but for those of an extension's own names, which the server does not list:
/// a block that may make one is taken at its word.
fn of_block(block: &nodes::DoStmt) -> Effects {
    let body = block.args().iter().find(|element| element.defname() == Some("as"));
    let body = body.and_then(|element| match element.arg() {
        Node::String(text) => text.sval(),
        _ => None,
    });
    if body.is_some_and(|body| !hides_settings(body)) { ANYTHING } else { ANYTHING.and(Effects::OPAQUE) }
}

/// Whether code may make settings whose names the server does not list (`SET app.user`), or runs SQL that it puts
/// together. Rather too often than too seldom.
fn hides_settings(body: &str) -> bool {
    let mut words = body.split(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '.' | '"'))).peekable();
    while let Some(word) = words.next() {
        let is = |names: &[&str]| names.iter().any(|name| word.eq_ignore_ascii_case(name));
        if is(&["set_config", "pg_catalog.set_config", "execute"]) {
            return true;
        }
        if is(&["set", "reset", "session"])
            && words.by_ref().find(|w| !w.is_empty()).is_some_and(|w| w.contains('.'))
        {
            return true;
        }
    }
    false
}

/// Of naming a prepared statement; all of them, where there is no name.
fn named(name: Option<&str>, gone: bool, found: &mut Found) -> Effects {
    let Some(name) = name else { return Effects::NAMES_PREPARED };
    found.prepared.push((name.into(), gone));
    let reserved = if name.starts_with(RESERVED) { Effects::RESERVED_NAME } else { Effects::NONE };
    Effects::NAMES_PREPARED.and(reserved)
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
