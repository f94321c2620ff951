//! What only a look at rights, settings and code tells: roles changed, settings named, code that nobody sees.

use super::constants;
use super::functions::is_role_setting;
use super::names::Qualified;
use super::walk::Found;
use crate::guard::sql::parse::{
    AlterTableType, BoolExprType, ConstValue, Node, ObjectType, SetOperation, VariableSetKind, nodes,
};

/// Stands for a setting whose name the text does not show.
const UNNAMED: &str = "?";

/// Writes down what was gathered.
pub(super) fn tell(statement: Node<'_>, found: &mut Found) {
    let facts = &mut found.facts;
    facts.opaque = found.opaque;
    facts.privileges = std::mem::take(&mut found.privileges).into_vec();
    facts.settings_named = std::mem::take(&mut found.settings_named).into_vec();
    facts.catalog =
        found.tables.iter().any(is_catalog_name) || found.functions.iter().any(is_catalog_function);
    facts.copy = copy(statement);
}

/// What a statement that is no query tells, and parts of one.
pub(super) fn statement(statement: Node<'_>, found: &mut Found) {
    match statement {
        Node::VariableSetStmt(set) => setting(set, found),
        Node::VariableShowStmt(show) => show.name().into_iter().for_each(|name| name_setting(name, found)),
        Node::DoStmt(_) | Node::CallStmt(_) | Node::LoadStmt(_) | Node::CreateExtensionStmt(_) => {
            found.opaque = true;
        }
        Node::CreateFunctionStmt(create) => {
            found.opaque |= matches!(create.sql_body(), Node::None);
            routine_options(create.options().iter(), found);
        }
        Node::AlterFunctionStmt(alter) => routine_options(alter.actions().iter(), found),
        Node::AlterRoleSetStmt(alter) => {
            found.privileges.add("alter role");
            alter.setstmt().into_iter().for_each(|set| setting(set, found));
        }
        Node::AlterDatabaseSetStmt(alter) => alter.setstmt().into_iter().for_each(|set| setting(set, found)),
        Node::AlterSystemStmt(alter) => alter.setstmt().into_iter().for_each(|set| setting(set, found)),
        _ => {}
    }
    privilege(statement).into_iter().for_each(|what| found.privileges.add(what));
}

/// The change of roles or rights that a statement is, in words.
fn privilege(statement: Node<'_>) -> Option<&'static str> {
    Some(match statement {
        Node::GrantStmt(grant) if grant.is_grant => "grant",
        Node::GrantStmt(_) => "revoke",
        Node::GrantRoleStmt(grant) if grant.is_grant => "grant",
        Node::GrantRoleStmt(_) => "revoke",
        Node::AlterDefaultPrivilegesStmt(_) => "alter default privileges",
        Node::CreateRoleStmt(_) => "create role",
        Node::AlterRoleStmt(_) => "alter role",
        Node::DropRoleStmt(_) => "drop role",
        Node::RenameStmt(rename) if rename.rename_type == ObjectType::OBJECT_ROLE => "alter role",
        Node::DropOwnedStmt(_) => "drop owned",
        Node::ReassignOwnedStmt(_) => "alter owner",
        Node::AlterOwnerStmt(_) => "alter owner",
        Node::CreateUserMappingStmt(_) | Node::AlterUserMappingStmt(_) | Node::DropUserMappingStmt(_) => {
            "user mapping"
        }
        Node::CreatePolicyStmt(_) | Node::AlterPolicyStmt(_) => "row security",
        Node::DropStmt(drop) if drop.remove_type == ObjectType::OBJECT_POLICY => "row security",
        Node::AlterTableCmd(command) => match command.subtype {
            AlterTableType::AT_ChangeOwner => "alter owner",
            AlterTableType::AT_EnableRowSecurity
            | AlterTableType::AT_DisableRowSecurity
            | AlterTableType::AT_ForceRowSecurity
            | AlterTableType::AT_NoForceRowSecurity => "row security",
            _ => return None,
        },
        _ => return None,
    })
}

/// `SECURITY DEFINER`, and `SET x = …` on a function.
fn routine_options<'a>(options: impl Iterator<Item = &'a nodes::DefElem>, found: &mut Found) {
    for option in options {
        match (option.defname(), option.arg()) {
            (Some("security"), Node::Boolean(definer)) if definer.boolval => {
                found.privileges.add("security definer");
            }
            (Some("set"), Node::VariableSetStmt(set)) => setting(set, found),
            _ => {}
        }
    }
}

fn setting(set: &nodes::VariableSetStmt, found: &mut Found) {
    match (set.kind, set.name()) {
        (VariableSetKind::VAR_RESET_ALL, _) => name_setting("all", found),
        (VariableSetKind::VAR_SET_MULTI, Some("TRANSACTION SNAPSHOT")) => {}
        (VariableSetKind::VAR_SET_MULTI, name) => {
            let prefix = if name == Some("TRANSACTION") { "transaction" } else { "default_transaction" };
            for option in set.args() {
                if let Node::DefElem(option) = option
                    && let Some(option) = option.defname().and_then(|name| name.strip_prefix("transaction_"))
                {
                    name_setting(&format!("{prefix}_{option}"), found);
                }
            }
        }
        (_, Some(name)) => name_setting(name, found),
        (_, None) => {}
    }
    if let Some(name) = set.name().filter(|name| is_role_setting(name)) {
        change_role(name, found);
    }
}

fn change_role(setting: &str, found: &mut Found) {
    let what = if setting.eq_ignore_ascii_case("role") { "set role" } else { "set session authorization" };
    found.privileges.add(what);
}

fn name_setting(name: &str, found: &mut Found) {
    found.settings_named.add(&name.to_ascii_lowercase());
}

/// What a call tells.
pub(super) fn call(function: Qualified<'_>, call: &nodes::FuncCall, found: &mut Found) {
    found.opaque |= runs_text(function.name);
    if matches!(function.name, "set_config" | "current_setting") {
        let name = match call.args().get(0) {
            Some(Node::A_Const(name)) => match name.val() {
                Some(ConstValue::String(name)) => name,
                _ => UNNAMED,
            },
            _ => UNNAMED,
        };
        name_setting(name, found);
        if function.name == "set_config" && is_role_setting(name) {
            change_role(name, found);
        }
    }
}

/// Where a `COPY` goes.
fn copy(statement: Node<'_>) -> String {
    let Node::CopyStmt(copy) = statement else { return String::new() };
    let direction = if copy.is_from { "from" } else { "to" };
    let end = match (copy.is_program, copy.filename()) {
        (true, _) => "program",
        (false, Some(_)) => "file",
        (false, None) if copy.is_from => "stdin",
        (false, None) => "stdout",
    };
    format!("{direction} {end}")
}

/// `UPDATE pg_settings` sets what its rows name.
pub(super) fn update(update: &nodes::UpdateStmt, found: &mut Found) {
    let target = update.relation().and_then(Qualified::of_relation);
    if target.is_some_and(|target| target.is_builtin() && target.name == "pg_settings") {
        name_setting(UNNAMED, found);
    }
}

/// Functions that run SQL given as text, or read relations that a text names: PostgreSQL's own and those of its
/// contributed modules.
fn runs_text(name: &str) -> bool {
    matches!(
        name,
        "query_to_xml"
            | "query_to_xmlschema"
            | "query_to_xml_and_xmlschema"
            | "cursor_to_xml"
            | "cursor_to_xmlschema"
            | "table_to_xml"
            | "table_to_xmlschema"
            | "table_to_xml_and_xmlschema"
            | "schema_to_xml"
            | "schema_to_xmlschema"
            | "schema_to_xml_and_xmlschema"
            | "database_to_xml"
            | "database_to_xmlschema"
            | "database_to_xml_and_xmlschema"
            | "ts_stat"
            | "ts_rewrite"
            | "connectby"
            | "xpath_table"
    ) || name.starts_with("crosstab")
        || (name.starts_with("dblink") && !matches!(name, "dblink_get_connections" | "dblink_error_message"))
}

/// An `OR` with a side that holds whatever the rows. A side that is an `OR` itself is looked at for itself.
pub(super) fn alternatives(expression: &nodes::BoolExpr, found: &mut Found) {
    if expression.boolop != BoolExprType::OR_EXPR || found.facts.tautology {
        return;
    }
    let nested =
        |side: &Node<'_>| matches!(side, Node::BoolExpr(inner) if inner.boolop == BoolExprType::OR_EXPR);
    let mut sides = expression.args().iter().filter(|side| !nested(side));
    found.facts.tautology = sides.any(|side| constants::truth(side) == Some(true));
}

/// Which arms the unions of a statement have: what an injected one looks like beside the one it was put behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Unions {
    /// A first arm reads a relation with a `WHERE`.
    pub filtered: bool,
    /// A further arm reads no relation at all.
    pub bare: bool,
    /// A further arm reads a catalog.
    pub catalog: bool,
    /// Constants in the list of the further arm that has most of them, beside something that is none.
    pub padding: u32,
}

/// Looks at a set operation's arms; each is looked at once, whatever the depth.
pub(super) fn set_operation(select: &nodes::SelectStmt, found: &mut Found) {
    if select.op != SetOperation::SETOP_UNION {
        return;
    }
    let unions = &mut found.facts.union_arms;
    if let Some(first) = select.larg().filter(|arm| arm.op == SetOperation::SETOP_NONE) {
        unions.filtered |= !first.from_clause().is_empty() && !matches!(first.where_clause(), Node::None);
    }
    let mut further = select.rarg();
    while let Some(arm) = further.filter(|arm| arm.op != SetOperation::SETOP_NONE) {
        further = arm.larg();
    }
    let Some(further) = further else { return };
    unions.bare |= further.from_clause().is_empty();
    unions.catalog |= further.from_clause().iter().any(reads_catalog);
    let count = further.target_list().len();
    let constants = further.target_list().iter().filter(|target| is_constant(target.val())).count();
    if constants < count {
        unions.padding = unions.padding.max(u32::try_from(constants).unwrap_or(u32::MAX));
    }
}

fn is_constant(mut node: Node<'_>) -> bool {
    while let Node::TypeCast(cast) = node {
        node = cast.arg();
    }
    matches!(node, Node::A_Const(_))
}

/// A `FROM` item is a catalog relation, or a join that begins or ends with one.
fn reads_catalog(mut item: Node<'_>) -> bool {
    while let Node::JoinExpr(join) = item {
        if matches!(join.rarg(), Node::RangeVar(relation) if is_catalog_relation(relation)) {
            return true;
        }
        item = join.larg();
    }
    matches!(item, Node::RangeVar(relation) if is_catalog_relation(relation))
}

fn is_catalog_relation(relation: &nodes::RangeVar) -> bool {
    match (relation.schemaname(), relation.relname()) {
        (schema, Some(name)) => is_catalog(schema, name),
        _ => false,
    }
}

fn is_catalog(schema: Option<&str>, name: &str) -> bool {
    match schema {
        Some(schema) => matches!(schema, "pg_catalog" | "information_schema" | "pg_toast"),
        None => name.starts_with("pg_"),
    }
}

/// A relation as facts write it is one of the catalogs'.
pub(in crate::guard) fn is_catalog_name(written: &str) -> bool {
    match written.rsplit_once('.') {
        Some((schema, name)) => is_catalog(Some(schema), name),
        None => is_catalog(None, written),
    }
}

/// A function as facts write it tells of the catalogs.
fn is_catalog_function(written: &str) -> bool {
    let (schema, name) = match written.rsplit_once('.') {
        Some((schema, name)) => (Some(schema), name),
        None => (None, written),
    };
    match schema {
        Some("information_schema") => true,
        None | Some("pg_catalog") => {
            ["pg_get_", "pg_describe_", "pg_identify_", "pg_stat_get_", "pg_show_all_", "pg_options_to_"]
                .iter()
                .any(|prefix| name.starts_with(prefix))
                || (name.starts_with("pg_") && name.ends_with("_is_visible"))
                || matches!(
                    name,
                    "obj_description"
                        | "col_description"
                        | "shobj_description"
                        | "aclexplode"
                        | "pg_hba_file_rules"
                )
        }
        Some(_) => false,
    }
}
