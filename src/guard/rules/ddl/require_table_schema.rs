//! ### What it does
//! Finds a definition that creates, changes or drops a table or view without naming its schema. Temporary ones have
//! none to name.
//!
//! ### Why it hurts
//! Which table it is depends on the `search_path` of whoever runs it: the migration works on one machine, and changes
//! another table on the next.
//!
//! ### Example
//! ```sql
//! DROP TABLE orders;
//! ```
//!
//! ### Instead
//! ```sql
//! DROP TABLE shop.orders;
//! ```
//!
//! ### How to silence
//! Name those that may: `with = { except = ["schema_migrations"] }`.

use super::{Finding, Opt, Options, Subject, is_like};
use crate::guard::{Effects, Kind};

pub(super) const READS: &[&str] = &["query.kind", "query.tables_written"];
pub(super) const OPTIONS: &[Opt] =
    &[Opt::texts("except", &[], "tables that are left alone; `*` stands for any characters")];

pub(super) fn check(subject: &Subject<'_>, options: &Options) -> Option<Finding> {
    let facts = subject.facts;
    if facts.kind != Kind::Ddl || facts.effects.has(Effects::TEMP_TABLE) {
        return None;
    }
    let except = |name: &str| options.texts("except").iter().any(|pattern| is_like(pattern, name));
    let table = facts.tables_written.iter().find(|name| !name.contains('.') && !except(name))?;
    Some(Finding {
        message: format!("Which {table} this is depends on the search_path of whoever runs it."),
        hint: format!("Name its schema: public.{table}, for example."),
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{Around, flags, passes, passes_in};
    use crate::guard::rules::Given;

    const NAME: &str = "require-table-schema";

    #[test]
    fn flags_it() {
        assert!(flags(NAME, "DROP TABLE orders").message.contains("Which orders"));
        for sql in [
            "CREATE TABLE orders (id bigint)",
            "CREATE TABLE orders AS SELECT 1 AS a",
            "CREATE VIEW v AS SELECT a FROM shop.orders",
            "ALTER TABLE orders ADD COLUMN a int",
            "CREATE INDEX ON orders (a)",
            "TRUNCATE orders",
        ] {
            let _ = flags(NAME, sql);
        }
    }

    #[test]
    fn passes_others() {
        for sql in [
            "DROP TABLE shop.orders",
            "CREATE TABLE shop.orders (id bigint)",
            "CREATE TEMP TABLE work (id bigint)",
            "CREATE SCHEMA shop",
            "UPDATE orders SET a = 1 WHERE id = 7",
        ] {
            passes(NAME, sql);
        }
        let own = Around::with(NAME, |with| with.set("except", Given::Texts(vec!["schema_*".into()])));
        passes_in(NAME, "CREATE TABLE schema_migrations (version text)", &own);
    }
}
