//! ### What it does
//! Finds calls of functions that no application needs: `dblink*`, `pg_sleep*`, `pg_terminate_backend`, `pg_cancel_backend`,
//! `pg_reload_conf`, `pg_rotate_logfile`, `pg_promote`, `pg_switch_wal`, the `query_to_xml` family, large objects (`lo_*`),
//! `pg_advisory_lock` is not among them. `functions` adds more, `allow` takes some out. A name counts in `pg_catalog` and
//! without a schema; `dblink` and what `functions` adds in any.
//!
//! ### Why it hurts
//! They reach other servers, stop other sessions, wait for seconds (which tells an attacker the answer to a question), or run
//! SQL that stands in a string, where no rule sees it.
//!
//! ### Example
//! ```sql
//! SELECT CASE WHEN (SELECT admin FROM users WHERE id = 1) THEN pg_sleep(5) END;
//! ```
//!
//! ### Instead
//! What an operator does belongs to an operator's login; what reaches another server belongs to a foreign table.
//!
//! ### How to silence
//! `with = { allow = ["pg_cancel_backend"] }`, or exempt who may: `unless = { users = ["dba"] }`.

use super::{Finding, Opt, Options, Subject, own_function};

pub(super) const READS: &[&str] = &["query.functions"];
pub(super) const OPTIONS: &[Opt] = &[
    Opt::texts("functions", &[], "further functions; `*` at the end stands for any rest"),
    Opt::texts("allow", &[], "functions that may be called though they are listed"),
];

const FUNCTIONS: &[&str] = &[
    "*.dblink*",
    "pg_sleep*",
    "pg_terminate_backend",
    "pg_cancel_backend",
    "pg_reload_conf",
    "pg_rotate_logfile*",
    "pg_promote",
    "pg_switch_wal",
    "pg_create_restore_point",
    "pg_backup_start",
    "pg_backup_stop",
    "pg_wal_replay_*",
    "pg_create_*_replication_slot",
    "pg_drop_replication_slot",
    "pg_logical_emit_message",
    "pg_replication_origin_*",
    "pg_stat_reset*",
    "query_to_xml*",
    "cursor_to_xml*",
    "table_to_xml*",
    "schema_to_xml*",
    "database_to_xml*",
    "lo_*",
    "loread",
    "lowrite",
    "pg_log_backend_memory_contexts",
    "pg_import_system_collations",
];

pub(super) fn check(subject: &Subject<'_>, options: &Options) -> Option<Finding> {
    let name = own_function(subject.facts, FUNCTIONS, options)?;
    Some(Finding {
        message: format!("This calls {name}."),
        hint: "Leave it to an operator, or allow the function in the rule if the program needs it.".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::Given;
    use super::super::super::testing::{Around, flags, flags_in, passes, passes_in};

    #[test]
    fn flags_listed_functions_however_they_are_written() {
        assert_eq!(flags("dangerous-function", "SELECT PG_SLEEP(5)").message, "This calls pg_sleep.");
        let _ = flags("dangerous-function", "SELECT a FROM t WHERE b = 1 AND pg_catalog.pg_sleep(1) IS NULL");
        let _ = flags("dangerous-function", "SELECT \"pg_sleep\"(1)");
        let _ = flags("dangerous-function", "SELECT U&\"pg!005fsleep\" UESCAPE '!' (1)");
        let _ = flags("dangerous-function", "SELECT a FROM public.dblink('h', 'SELECT 1') AS d(a int)");
        let _ = flags("dangerous-function", "SELECT query_to_xml('SELECT 1', true, true, '')");
        let _ = flags("dangerous-function", "SELECT pg_create_logical_replication_slot('a', 'b')");
        let more = Around::with("dangerous-function", |o| o.set("functions", Given::Texts(vec!["audit_*".into()])));
        let _ = flags_in("dangerous-function", "SELECT shop.audit_reset()", &more);
    }

    #[test]
    fn passes_other_functions() {
        passes("dangerous-function", "SELECT lower(a), 'pg_sleep(1)' FROM t");
        passes("dangerous-function", "SELECT shop.pg_sleep(1)");
        passes("dangerous-function", "SELECT pg_advisory_xact_lock(1), low(1)");
        let less = Around::with("dangerous-function", |o| o.set("allow", Given::Texts(vec!["pg_sleep*".into()])));
        passes_in("dangerous-function", "SELECT pg_sleep(1)", &less);
    }
}
