//! ### What it does
//! Finds what changes roles, rights or owners: `GRANT`, `REVOKE`, `CREATE`, `ALTER` and `DROP ROLE`, `SET ROLE`, `SET SESSION
//! AUTHORIZATION` (also through `set_config`), `ALTER DEFAULT PRIVILEGES`, `ALTER … OWNER TO`, `REASSIGN OWNED`, functions with
//! `SECURITY DEFINER`, row security and user mappings. `allow` names those that may be, as `query.privileges` has them.
//!
//! ### Why it hurts
//! An application that may change rights has no rights worth the name. Where it never does so, one that tries is somebody
//! else.
//!
//! ### Example
//! ```sql
//! GRANT ALL ON ALL TABLES IN SCHEMA public TO web;
//! SELECT set_config('role', 'admin', false);
//! ```
//!
//! ### Instead
//! Change rights in a migration, by a login of its own.
//!
//! ### How to silence
//! Exempt that login: `unless = { users = ["migrator"] }`. A program that works under `SET ROLE`:
//! `with = { allow = ["set role"] }`.

use super::{Finding, Opt, Options, Subject};

pub(super) const READS: &[&str] = &["query.privileges"];
pub(super) const OPTIONS: &[Opt] =
    &[Opt::texts("allow", &[], "changes that may be, in the words of `query.privileges`")];

pub(super) fn check(subject: &Subject<'_>, options: &Options) -> Option<Finding> {
    let allowed = options.texts("allow");
    let change = subject.facts.privileges.iter().find(|change| !allowed.contains(change))?;
    Some(Finding {
        message: format!("This changes roles or rights: {change}."),
        hint: "Do it in a migration, by a login of its own.".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::Given;
    use super::super::super::testing::{Around, flags, flags_in, passes, passes_in};

    #[test]
    fn flags_changes_of_rights() {
        let found = flags("role-or-privilege-change", "GRANT SELECT ON t TO web");
        assert_eq!(found.message, "This changes roles or rights: grant.");
        let _ = flags("role-or-privilege-change", "ALTER USER web SUPERUSER");
        let _ = flags("role-or-privilege-change", "SELECT set_config('role', 'admin', false)");
        let _ = flags("role-or-privilege-change", "ALTER TABLE t OWNER TO web");
        let _ = flags("role-or-privilege-change", "ALTER FUNCTION f() SECURITY DEFINER");
    }

    #[test]
    fn passes_other_definitions() {
        passes("role-or-privilege-change", "CREATE TABLE grants (role text)");
        passes("role-or-privilege-change", "SELECT 'GRANT ALL'");
        let lax = Around::with("role-or-privilege-change", |o| o.set("allow", Given::Texts(vec!["set role".into()])));
        passes_in("role-or-privilege-change", "SET LOCAL ROLE tenant_7", &lax);
        let _ = flags_in("role-or-privilege-change", "SET SESSION AUTHORIZATION tenant_7", &lax);
    }
}
