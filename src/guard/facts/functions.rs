//! What is known of a function by its name.
//!
//! A name resolves by `search_path` and argument types, which a text does not tell. `pg_catalog` comes
//! first unless the session says otherwise, so an unqualified built-in name is taken for the built-in.

use super::catalog::{AGGREGATES, READ_ONLY, VOLATILE};
use super::effects::of_setting;
use super::names::Qualified;
use super::walk::Found;
use crate::guard::Effects;
use crate::guard::sql::parse::{CoercionForm, ConstValue, JsonExprOp, Node, nodes};

/// Known to change nothing on any server.
pub(super) fn is_read_only(function: Qualified<'_>) -> bool {
    function.is_builtin() && READ_ONLY.binary_search(&function.name).is_ok()
}

/// Known to give one value for all rows of a statement.
pub(super) fn is_stable(function: Qualified<'_>) -> bool {
    is_read_only(function) && VOLATILE.binary_search(&function.name).is_err()
}

pub(super) fn is_aggregate(call: &nodes::FuncCall, function: Qualified<'_>) -> bool {
    if call.over().is_some() {
        return false;
    }
    let written_so = call.agg_star
        || call.agg_distinct
        || call.agg_within_group
        || !call.agg_order().is_empty()
        || !matches!(call.agg_filter(), Node::None);
    written_so || (function.is_builtin() && AGGREGATES.binary_search(&function.name).is_ok())
}

/// Whether the text names the function: `EXTRACT(… FROM …)` and its like are syntax, though the grammar
/// makes calls of them.
pub(super) fn is_written_as_call(call: &nodes::FuncCall) -> bool {
    call.funcformat != CoercionForm::COERCE_SQL_SYNTAX
}

/// The function that this is on a server too old to know it as syntax: `JSON_VALUE(a, b)` before 17 calls whatever has
/// that name.
pub(super) fn was_a_call(node: Node<'_>) -> Option<&'static str> {
    Some(match node {
        Node::JsonFuncExpr(json) => match json.op {
            JsonExprOp::JSON_EXISTS_OP => "json_exists",
            JsonExprOp::JSON_QUERY_OP => "json_query",
            JsonExprOp::JSON_VALUE_OP => "json_value",
            _ => "json_table",
        },
        Node::JsonTable(_) => "json_table",
        Node::JsonScalarExpr(_) => "json_scalar",
        Node::JsonSerializeExpr(_) => "json_serialize",
        Node::JsonParseExpr(_) => "json",
        Node::JsonObjectConstructor(_) => "json_object",
        Node::JsonArrayConstructor(_) | Node::JsonArrayQueryConstructor(_) => "json_array",
        Node::JsonObjectAgg(_) => "json_objectagg",
        Node::JsonArrayAgg(_) => "json_arrayagg",
        Node::MergeSupportFunc(_) => "merge_action",
        _ => return None,
    })
}

/// One of PostgreSQL's own that leaves nothing in the session but what [`effects`] tells.
pub(super) fn is_stateless(function: Qualified<'_>) -> bool {
    function.is_builtin()
        && (READ_ONLY.binary_search(&function.name).is_ok()
            || AGGREGATES.binary_search(&function.name).is_ok()
            || ["pg_", "lo_", "txid_", "inet_", "binary_upgrade_"]
                .iter()
                .any(|p| function.name.starts_with(p))
            || matches!(
                function.name,
                "nextval"
                    | "setval"
                    | "currval"
                    | "lastval"
                    | "set_config"
                    | "setseed"
                    | "row_security_active"
            ))
}

/// What the call may do to the session. Any function may do anything; these are those known to.
pub(super) fn effects(function: Qualified<'_>, call: &nodes::FuncCall, found: &mut Found) -> Effects {
    let name = function.name;
    match name {
        "set_config" => set_config(call, &mut found.settings),
        "current_setting" => {
            if let Some(Node::A_Const(name)) = call.args().get(0)
                && let Some(ConstValue::String(name)) = name.val()
            {
                read_setting(name, found);
            }
            Effects::NONE
        }
        "dblink_connect"
        | "dblink_connect_u"
        | "dblink_disconnect"
        | "dblink_open"
        | "dblink_send_query"
        | "pg_replication_origin_session_setup"
        | "setseed" => Effects::OPAQUE,
        "pg_advisory_unlock_all" | "pg_advisory_unlock" | "pg_advisory_unlock_shared" => Effects::ENDS,
        "pg_prepared_statement" => Effects::READS_PREPARED,
        "currval" | "lastval" => Effects::SEQUENCE,
        "nextval" | "setval" => Effects::MOVES_SEQUENCE,
        _ if name.starts_with("pg_advisory_") || name.starts_with("pg_try_advisory_") => {
            if name.contains("_xact_") { Effects::NONE } else { Effects::ADVISORY_LOCK }
        }
        _ => Effects::NONE,
    }
}

/// A setting is looked at: of the application's own, it is remembered.
pub(super) fn read_setting(name: &str, found: &mut Found) {
    if name.contains('.') {
        found.custom_settings.push(name.to_ascii_lowercase().into());
    }
}

/// `set_config(name, value, is_local)`: local only where the text says `true`; any setting or a role where it does
/// not say which.
fn set_config(call: &nodes::FuncCall, settings: &mut Vec<String>) -> Effects {
    let local = matches!(
        call.args().get(2),
        Some(Node::A_Const(value)) if !value.isnull && value.val().and_then(|value| value.bool_value()) == Some(true)
    );
    if local {
        return Effects::LOCAL_SETTING;
    }
    match call.args().get(0) {
        Some(Node::A_Const(name)) if !name.isnull => match name.val() {
            Some(ConstValue::String(name)) => of_setting(name, settings),
            _ => UNKNOWN_SETTING,
        },
        _ => UNKNOWN_SETTING,
    }
}

/// A name that the text does not show may be one that the server does not list.
const UNKNOWN_SETTING: Effects =
    Effects::SETTING.and(Effects::ROLE).and(Effects::ANY_SETTING).and(Effects::OPAQUE);

/// Settings' names know no case.
pub(super) fn is_role_setting(name: &str) -> bool {
    name.eq_ignore_ascii_case("role") || name.eq_ignore_ascii_case("session_authorization")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lists_are_sorted_for_the_binary_search() {
        assert!(READ_ONLY.is_sorted_by(|a, b| a < b));
        assert!(AGGREGATES.is_sorted_by(|a, b| a < b));
        assert!(VOLATILE.is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn what_writes_or_tells_servers_apart_is_not_read_only() {
        for name in [
            "nextval",
            "setval",
            "set_config",
            "txid_current",
            "pg_read_file",
            "lo_get",
            "query_to_xml",
            "table_to_xml",
            "dblink",
            "pg_is_in_recovery",
            "pg_backend_pid",
            "inet_server_addr",
            "pg_notify",
            "pg_sleep",
            "pg_advisory_lock",
            "pg_terminate_backend",
            "currval",
            "ts_stat",
            "pg_export_snapshot",
        ] {
            assert!(!is_read_only(Qualified { schema: None, name }), "{name}");
        }
        assert!(is_read_only(Qualified { schema: Some("pg_catalog"), name: "count" }));
        assert!(!is_read_only(Qualified { schema: Some("public"), name: "count" }));
    }
}
