//! ### What it does
//! Finds `*` or `t.*` in a target list or in `RETURNING`, where the statement reads a table. `count(*)` and the
//! `*` under `EXISTS` are something else, and DDL (`CREATE VIEW`) sends no rows.
//!
//! ### Why it hurts
//! Every column crosses the network, also the wide ones that the program throws away; an index-only scan becomes
//! impossible; and the program's result changes shape with the next `ALTER TABLE … ADD COLUMN`.
//!
//! ### Example
//! ```sql
//! SELECT * FROM orders WHERE id = 7;
//! ```
//!
//! ### Instead
//! ```sql
//! SELECT id, state, total FROM orders WHERE id = 7;
//! ```
//!
//! ### How to silence
//! Name those who may in the rule that finds it: `unless = { users = ["report"] }`.

use super::{Finding, Kind, Opt, Options, Subject, tables};

pub(super) const READS: &[&str] = &["query.select_star", "query.kind", "query.tables"];
pub(super) const OPTIONS: &[Opt] = &[];

pub(super) fn check(subject: &Subject<'_>, _: &Options) -> Option<Finding> {
    let facts = subject.facts;
    // Without a table the star stands for a function's or a VALUES list's columns: as many as written.
    if !facts.select_star || facts.tables.is_empty() || facts.kind == Kind::Ddl {
        return None;
    }
    Some(Finding {
        message: format!("This reads every column of {}.", tables(facts, "it")),
        hint: "Name the columns you need instead of *.".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{flags, passes};

    #[test]
    fn flags_stars_over_tables() {
        let found = flags("select-star", "SELECT * FROM orders WHERE id = 7");
        assert_eq!(found.message, "This reads every column of orders.");
        let _ = flags("select-star", "SELECT o.* FROM shop.orders o JOIN items i ON i.order_id = o.id");
        let _ = flags("select-star", "DELETE FROM orders WHERE id = 7 RETURNING *");
    }

    #[test]
    fn passes_other_stars() {
        passes("select-star", "SELECT id, total FROM orders");
        passes("select-star", "SELECT count(*) FROM orders");
        passes("select-star", "SELECT id FROM orders o WHERE EXISTS (SELECT * FROM items WHERE order_id = o.id)");
        passes("select-star", "SELECT * FROM generate_series(1, 3)");
        passes("select-star", "SELECT 2 * total FROM orders");
        passes("select-star", "CREATE VIEW v AS SELECT * FROM orders");
    }
}
