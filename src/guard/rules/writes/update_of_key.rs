//! ### What it does
//! Finds an `UPDATE` (also `ON CONFLICT DO UPDATE` and `MERGE`) that sets a column of the primary key, where the
//! catalog is known; else one that is named like a key (`columns`).
//!
//! ### Why it hurts
//! A key that changes is no key: what points to it, in other tables, caches and programs, points to nothing or to
//! another row. Every index has to be written, too.
//!
//! ### Example
//! ```sql
//! UPDATE orders SET id = 8 WHERE id = 7;
//! ```
//!
//! ### Instead
//! Insert the row anew and delete the old one, or give what must change a column of its own.
//!
//! ### How to silence
//! Say how your keys are called: `with = { columns = ["id", "uuid"] }`.

use super::{Finding, Kind, Opt, Options, Subject, is_like};

pub(super) const READS: &[&str] = &["query.kind", "query.columns_written", "query.tables_written"];
pub(super) const OPTIONS: &[Opt] =
    &[Opt::texts("columns", &["id", "uuid"], "names of key columns; `*` stands for any characters")];

pub(super) fn check(subject: &Subject<'_>, options: &Options) -> Option<Finding> {
    let facts = subject.facts;
    // What an INSERT names is given once, not changed.
    if facts.kind != Kind::Update {
        return None;
    }
    let is_key = |written: &&String| {
        let (table, column) = written.rsplit_once('.').unwrap_or(("", written.as_str()));
        match subject.around.catalog.and_then(|catalog| catalog.table(table)) {
            Some(table) => table
                .indexes
                .iter()
                .any(|index| index.primary && index.columns.iter().any(|key| key == column)),
            None => options.texts("columns").iter().any(|pattern| is_like(pattern, column)),
        }
    };
    let key = facts.columns_written.iter().find(is_key)?;
    Some(Finding {
        message: format!("This changes {key}, by which others know the row."),
        hint: "Insert the row anew, or give what changes a column of its own.".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{Around, flags, flags_in, passes, passes_in};

    #[test]
    fn flags_it() {
        let found = flags("update-of-key", "UPDATE shop.orders SET id = 8 WHERE id = 7");
        assert!(format!("{} {}", found.message, found.hint).contains("changes shop.orders.id"), "{found:?}");
        let _ = flags("update-of-key", "UPDATE orders o SET (state, id) = ('x', 8)");
    }

    #[test]
    fn passes_others() {
        passes("update-of-key", "UPDATE orders SET state = 'x' WHERE id = 7");
        passes("update-of-key", "INSERT INTO orders (id) VALUES (7)");
        passes("update-of-key", "UPDATE orders SET customer_id = 3 WHERE id = 7");
    }

    #[test]
    fn the_catalog_knows_the_key() {
        let around = Around::catalog(
            r#"{"tables": [{"schema": "public", "name": "orders", "indexes": [
                {"name": "p", "columns": ["number"], "unique": true, "primary": true, "valid": true}]}]}"#,
        );
        let _ = flags_in("update-of-key", "UPDATE orders SET number = 8 WHERE number = 7", &around);
        passes_in("update-of-key", "UPDATE orders SET id = 8 WHERE number = 7", &around);
    }
}
