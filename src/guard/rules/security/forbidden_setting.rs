//! ### What it does
//! Finds statements that set, reset or read one of `settings`: by `SET`, `SET LOCAL`, `RESET`, `SHOW`, `set_config`, `ALTER ROLE`,
//! `ALTER DATABASE` and `ALTER SYSTEM`. `RESET ALL` counts, and so do a `set_config` whose name is not in the text and an
//! `UPDATE` of `pg_settings`.
//!
//! ### Why it hurts
//! Some settings switch protection off: `row_security`, `session_replication_role` (no triggers, no foreign keys),
//! `default_transaction_read_only`, or a house's own `app.tenant` that row security policies go by.
//!
//! ### Example
//! ```sql
//! SET session_replication_role = replica
//! ```
//!
//! ### Instead
//! Give the role the setting it needs once, by an operator: `ALTER ROLE etl SET …`.
//!
//! ### How to silence
//! Name another list, `with = { settings = ["row_security"] }`, or exempt who may: `unless = { users = ["restore"] }`.

use super::{Finding, Opt, Options, Subject, is_like};

pub(super) const READS: &[&str] = &["query.settings_named", "query.kind"];
pub(super) const OPTIONS: &[Opt] = &[
    Opt::texts(
        "settings",
        &[
            "row_security",
            "session_replication_role",
            "default_transaction_read_only",
            "transaction_read_only",
            "session_preload_libraries",
            "local_preload_libraries",
            "dynamic_library_path",
            "allow_system_table_mods",
            "zero_damaged_pages",
            "ignore_checksum_failure",
            "archive_command",
            "restore_command",
            "ssl_*",
            "log_statement",
            "lo_compat_privileges",
        ],
        "settings nobody may touch; `*` at the end stands for any rest",
    ),
    Opt::bool("unnamed", true, "also `RESET ALL`, and where the text does not show the name"),
];

pub(super) fn check(subject: &Subject<'_>, options: &Options) -> Option<Finding> {
    let facts = subject.facts;
    if facts.kind == super::Kind::Show {
        return None;
    }
    let forbidden = |name: &&String| match name.as_str() {
        "?" | "all" => options.bool("unnamed"),
        name => options.texts("settings").iter().any(|pattern| is_like(pattern, name)),
    };
    let name = facts.settings_named.iter().find(forbidden)?;
    let what = match name.as_str() {
        "?" => "a setting whose name is not in the text",
        "all" => "all settings",
        name => name,
    };
    Some(Finding {
        message: format!("This touches {what}."),
        hint: "Leave the setting as the operator made it.".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::Given;
    use super::super::super::testing::{Around, flags, flags_in, passes, passes_in};

    #[test]
    fn flags_settings_however_they_are_set() {
        let found = flags("forbidden-setting", "SET Session_Replication_Role = replica");
        assert_eq!(found.message, "This touches session_replication_role.");
        let _ = flags("forbidden-setting", "SET LOCAL row_security = off");
        let _ = flags("forbidden-setting", "SELECT set_config('row_security', 'off', true)");
        let _ = flags("forbidden-setting", "SELECT set_config($1, $2, true)");
        let _ = flags("forbidden-setting", "ALTER ROLE web SET row_security = off");
        let _ = flags("forbidden-setting", "ALTER SYSTEM SET archive_command = 'x'");
        let _ = flags("forbidden-setting", "UPDATE pg_settings SET setting = 'off' WHERE name = 'row_security'");
        let _ = flags("forbidden-setting", "RESET ALL");
        let own = Around::with("forbidden-setting", |o| o.set("settings", Given::Texts(vec!["app.*".into()])));
        let _ = flags_in("forbidden-setting", "SET app.tenant = '7'", &own);
    }

    #[test]
    fn passes_other_settings() {
        passes("forbidden-setting", "SET work_mem = '64MB'");
        passes("forbidden-setting", "SHOW row_security");
        passes("forbidden-setting", "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE");
        let named = Around::with("forbidden-setting", |o| o.set("unnamed", Given::Bool(false)));
        passes_in("forbidden-setting", "RESET ALL", &named);
    }
}
