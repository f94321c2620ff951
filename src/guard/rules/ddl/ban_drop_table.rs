//! ### What it does
//! Finds `DROP TABLE`, and what takes tables along: `DROP SCHEMA`, `DROP OWNED`.
//!
//! ### Why it hurts
//! It is gone, with all of its rows, and programs that name it fail. There is no way back but a backup.
//!
//! ### Example
//! ```sql
//! DROP TABLE orders;
//! ```
//!
//! ### Instead
//! Rename it, wait until nobody misses it, keep a dump, and let a migration drop it.
//!
//! ### How to silence
//! Name those who may in the rule that finds it: `unless = { users = ["migrator"] }`.

use super::{Finding, Opt, Options, Subject, first};

pub(super) const READS: &[&str] = &["query.changes", "query.tables"];
pub(super) const OPTIONS: &[Opt] = &[];

pub(super) fn check(subject: &Subject<'_>, options: &Options) -> Option<Finding> {
    let change =
        first(subject, options, |change| matches!(change.what, "drop table" | "drop schema" | "drop owned"))?;
    let target = match change.what {
        "drop table" => change.object.clone(),
        "drop schema" => format!("schema {}", change.name.as_deref().unwrap_or_default()),
        _ => "all that a role owns".to_owned(),
    };
    Some(Finding {
        message: format!("This drops {target}: all that is in it is gone for good."),
        hint: "Keep a dump, and let a migration do it once no program needs it.".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{flags, passes};

    #[test]
    fn flags_it() {
        let found = flags("ban-drop-table", "DROP TABLE IF EXISTS shop.orders CASCADE");
        assert!(format!("{} {}", found.message, found.hint).contains("drops shop.orders"), "{found:?}");
        let found = flags("ban-drop-table", "DROP SCHEMA shop");
        assert!(format!("{} {}", found.message, found.hint).contains("schema shop"), "{found:?}");
        let _ = flags("ban-drop-table", "DROP OWNED BY shop");
        let _ = flags("ban-drop-table", "DROP FOREIGN TABLE f");
    }

    #[test]
    fn passes_others() {
        passes("ban-drop-table", "DROP INDEX CONCURRENTLY i");
        passes("ban-drop-table", "DROP VIEW v");
        passes("ban-drop-table", "TRUNCATE orders");
        passes("ban-drop-table", "CREATE TABLE scratch (id int); DROP TABLE scratch");
    }
}
