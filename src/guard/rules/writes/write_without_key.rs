//! ### What it does
//! Finds an `UPDATE` or `DELETE` whose `WHERE` compares no key for equality: not the whole of a unique index where
//! the catalog is known, else no column that is named like a key (`columns`).
//!
//! ### Why it hurts
//! How many rows it reaches depends on the data: it may be one today and a million tomorrow, each locked until the
//! transaction ends.
//!
//! ### Example
//! ```sql
//! DELETE FROM orders WHERE state = 'done';
//! ```
//!
//! ### Instead
//! By key, in batches:
//! ```sql
//! DELETE FROM orders WHERE id IN (SELECT id FROM orders WHERE state = 'done' LIMIT 1000);
//! ```
//!
//! ### How to silence
//! Say how your keys are called: `with = { columns = ["id", "*_id", "sku"] }`.

use super::{Finding, Kind, Opt, Options, Subject, bare, is_like, written};

pub(super) const READS: &[&str] =
    &["query.kind", "query.equality_columns", "query.has_where", "query.tables_written", "query.read_only"];
pub(super) const OPTIONS: &[Opt] = &[Opt::texts(
    "columns",
    &["id", "*_id", "uuid", "key"],
    "names of key columns; `*` stands for any characters",
)];

pub(super) fn check(subject: &Subject<'_>, options: &Options) -> Option<Finding> {
    let facts = subject.facts;
    if !matches!(facts.kind, Kind::Update | Kind::Delete) || !facts.has_where || facts.read_only {
        return None;
    }
    let keyed = by_unique_index(subject).unwrap_or_else(|| {
        let patterns = options.texts("columns");
        facts.equality_columns.iter().any(|name| {
            patterns.iter().any(|pattern| is_like(pattern, bare(name)))
        })
    });
    if keyed {
        return None;
    }
    Some(Finding {
        message: format!("This writes to however many rows of {} its WHERE happens to find.", written(facts)),
        hint: "Name the rows by their key, in batches if they are many.".into(),
    })
}

/// All columns of a unique index of the table that is written are compared, where the catalog knows it.
fn by_unique_index(subject: &Subject<'_>) -> Option<bool> {
    let facts = subject.facts;
    let [written] = facts.tables_written.as_slice() else { return None };
    let table = subject.around.catalog?.table(written)?;
    let compared = |column: &String| {
        facts.equality_columns.iter().any(|name| *name == format!("{written}.{column}") || name == column)
    };
    let mut unique =
        table.indexes.iter().filter(|index| index.unique && index.valid && index.predicate.is_none());
    Some(unique.any(|index| index.columns.iter().all(compared)))
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{Around, flags, flags_in, passes, passes_in};

    #[test]
    fn flags_it() {
        let found = flags("write-without-key", "DELETE FROM orders WHERE state = 'done'");
        assert!(format!("{} {}", found.message, found.hint).contains("rows of orders"), "{found:?}");
        let _ = flags("write-without-key", "UPDATE shop.orders SET state = 'x' WHERE made_at < now()");
        let _ = flags("write-without-key", "UPDATE orders SET state = 'x' WHERE id > 7");
    }

    #[test]
    fn passes_others() {
        passes("write-without-key", "DELETE FROM orders WHERE id = 7");
        passes("write-without-key", "DELETE FROM orders WHERE order_id = $1 AND state = 'x'");
        passes("write-without-key", "DELETE FROM orders");
        passes("write-without-key", "INSERT INTO orders (id) VALUES (1)");
        passes(
            "write-without-key",
            "DELETE FROM orders WHERE id IN (SELECT id FROM orders WHERE state = 'done' LIMIT 1000)",
        );
    }

    #[test]
    fn the_catalog_knows_the_keys() {
        let around = Around::catalog(
            r#"{"tables": [{"schema": "public", "name": "orders", "indexes": [
                {"name": "p", "columns": ["shop", "number"], "unique": true, "primary": true, "valid": true},
                {"name": "i", "columns": ["id"], "unique": false, "valid": true}]}]}"#,
        );
        passes_in("write-without-key", "DELETE FROM orders WHERE number = 7 AND shop = 'a'", &around);
        let _ = flags_in("write-without-key", "DELETE FROM orders WHERE number = 7", &around);
        let _ = flags_in("write-without-key", "DELETE FROM orders WHERE id = 7", &around);
    }
}
