//! ### What it does
//! Finds a statement that reads one of `tables` (passwords, logins, host rules, mappings to other servers), or that reads a
//! catalog (`pg_catalog`, `information_schema`) beside tables of its own or behind a `UNION`. A statement over catalogs alone
//! passes: psql, migrations and drivers ask such.
//!
//! ### Why it hurts
//! An application knows its tables. Who injects does not, and asks the catalog through the application's own query; the
//! answer comes back as rows of customers.
//!
//! ### Example
//! ```sql
//! SELECT name FROM products WHERE id = 1 UNION SELECT table_name FROM information_schema.tables
//! ```
//!
//! ### Instead
//! Ask the catalog for itself, from a tool, not in a query over data.
//!
//! ### How to silence
//! `with = { own = false }` leaves joins of catalogs and tables alone; or exempt tools: `unless = { applications = ["pgAdmin*"] }`.

use super::{Finding, Opt, Options, Subject, bare, is_like};

pub(super) const READS: &[&str] = &["query.catalog", "query.tables", "query.unions"];
pub(super) const OPTIONS: &[Opt] = &[
    Opt::texts(
        "tables",
        &[
            "pg_authid",
            "pg_shadow",
            "pg_auth_members",
            "pg_user_mapping",
            "pg_user_mappings",
            "pg_hba_file_rules",
            "pg_ident_file_mappings",
            "pg_file_settings",
            "pg_subscription",
            "pg_largeobject",
            "pg_statistic",
            "pg_db_role_setting",
        ],
        "catalogs that nobody may read",
    ),
    Opt::bool("own", true, "also a catalog beside a table of one's own, or behind a union"),
];

pub(super) fn check(subject: &Subject<'_>, options: &Options) -> Option<Finding> {
    let facts = subject.facts;
    if !facts.catalog {
        return None;
    }
    let is_catalog = |name: &&String| crate::guard::facts::is_catalog_name(name);
    let guarded = facts.tables.iter().filter(is_catalog);
    let secret = guarded.map(|name| bare(name)).find(|name| {
        options.texts("tables").iter().any(|pattern| is_like(pattern, name))
    });
    if let Some(name) = secret {
        return Some(Finding {
            message: format!("This reads {name}."),
            hint: "Leave it to an operator's login.".into(),
        });
    }
    let own = facts.tables.iter().any(|name| !is_catalog(&name));
    (options.bool("own") && (own || facts.union_arms.catalog || facts.union_arms.bare)).then(|| Finding {
        message: "This reads the catalogs in a query over data.".into(),
        hint: "Ask the catalogs for themselves; send values as parameters.".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::Given;
    use super::super::super::testing::{Around, flags, passes, passes_in};

    #[test]
    fn flags_secrets_and_catalogs_beside_data() {
        assert_eq!(flags("catalog-snooping", "SELECT a FROM pg_shadow").message, "This reads pg_shadow.");
        let _ = flags("catalog-snooping", "SELECT rolpassword FROM \"pg_catalog\".\"pg_authid\"");
        let _ = flags(
            "catalog-snooping",
            "SELECT name FROM products WHERE id = 1 UNION SELECT table_name FROM information_schema.tables",
        );
        let _ = flags("catalog-snooping", "SELECT a FROM t WHERE b = (SELECT relname FROM pg_class LIMIT 1)");
    }

    #[test]
    fn passes_tools_and_tables() {
        passes("catalog-snooping", "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace");
        passes("catalog-snooping", "SELECT a FROM shop.pg_shadow");
        passes("catalog-snooping", "SELECT a FROM t JOIN u ON t.b = u.b");
        let lax = Around::with("catalog-snooping", |options| options.set("own", Given::Bool(false)));
        passes_in("catalog-snooping", "SELECT a FROM t, pg_class", &lax);
    }
}
