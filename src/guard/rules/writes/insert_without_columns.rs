//! ### What it does
//! Finds an `INSERT` (or one in a `MERGE`) that does not name its columns. `DEFAULT VALUES` has nothing to name.
//!
//! ### Why it hurts
//! It means the columns by their order: one that is added, dropped or moved by a restore makes it fail, or puts
//! values where they do not belong.
//!
//! ### Example
//! ```sql
//! INSERT INTO orders VALUES (7, 'open');
//! ```
//!
//! ### Instead
//! ```sql
//! INSERT INTO orders (id, state) VALUES (7, 'open');
//! ```
//!
//! ### How to silence
//! Name those who may in the rule that finds it: `unless = { users = ["restore"] }`.

use super::{Finding, Opt, Options, Subject, written};

pub(super) const READS: &[&str] = &["query.insert_without_columns", "query.tables_written"];
pub(super) const OPTIONS: &[Opt] = &[];

pub(super) fn check(subject: &Subject<'_>, _: &Options) -> Option<Finding> {
    subject.facts.insert_without_columns.then(|| Finding {
        message: format!("This puts values into {} by the order of its columns.", written(subject.facts)),
        hint: "Name the columns: INSERT INTO t (a, b) VALUES (…).".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{flags, passes};

    #[test]
    fn flags_it() {
        let found = flags("insert-without-columns", "INSERT INTO orders VALUES (7, 'open')");
        assert!(format!("{} {}", found.message, found.hint).contains("into orders"), "{found:?}");
        let _ = flags("insert-without-columns", "INSERT INTO orders SELECT * FROM old");
        let _ = flags(
            "insert-without-columns",
            "WITH x AS (INSERT INTO orders VALUES (1) RETURNING id) SELECT id FROM x",
        );
        let _ = flags(
            "insert-without-columns",
            "MERGE INTO orders o USING n ON o.id = n.id WHEN NOT MATCHED THEN INSERT VALUES (n.id)",
        );
    }

    #[test]
    fn passes_others() {
        passes("insert-without-columns", "INSERT INTO orders (id) VALUES (7)");
        passes("insert-without-columns", "INSERT INTO orders DEFAULT VALUES");
        passes(
            "insert-without-columns",
            "MERGE INTO orders o USING n ON o.id = n.id WHEN NOT MATCHED THEN INSERT (id) VALUES (n.id)",
        );
    }
}
