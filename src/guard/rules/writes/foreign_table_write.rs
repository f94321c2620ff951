//! ### What it does
//! Finds a write to, or a definition of, a table that another service owns: one that is not in `owned` (where that
//! is given), or that is in `forbidden`. A name without a schema is that table in any schema. Nothing is found
//! while both lists are empty.
//!
//! ### Why it hurts
//! Two services that write one table must change together for ever, and each can break what the other takes for
//! granted.
//!
//! ### Example
//! ```sql
//! UPDATE billing.invoices SET paid = true WHERE id = 7;  -- by the shop
//! ```
//!
//! ### Instead
//! Ask the service that owns the table.
//!
//! ### How to silence
//! Put the table on the list: `with = { owned = ["shop.*", "audit_log"] }`.

use super::{Finding, Opt, Options, Subject, is_table};

pub(super) const READS: &[&str] = &["query.tables_written", "query.kind", "query.read_only"];
pub(super) const OPTIONS: &[Opt] = &[
    Opt::texts(
        "owned",
        &[],
        "tables that may be written, and no other: `shop.*`, `orders`; `*` stands for any characters",
    ),
    Opt::texts("forbidden", &[], "tables that may not be written"),
];

pub(super) fn check(subject: &Subject<'_>, options: &Options) -> Option<Finding> {
    let facts = subject.facts;
    if facts.read_only {
        return None;
    }
    let (owned, forbidden) = (options.texts("owned"), options.texts("forbidden"));
    let listed = |list: &[String], table: &str| list.iter().any(|pattern| is_table(pattern, table));
    // For what is allowed, doubt does not count: a pattern with a schema needs the text to name one.
    let table = facts.tables_written.iter().find(|table| {
        (!owned.is_empty() && !listed(owned, table))
            || forbidden.iter().any(|pattern| is_table(pattern, table) || may_be(pattern, table))
    })?;
    Some(Finding {
        message: format!("This writes to {table}, which belongs to another service."),
        hint: "Ask the service that owns the table.".into(),
    })
}

/// A name without a schema may be that table in the pattern's schema.
fn may_be(pattern: &str, table: &str) -> bool {
    !table.contains('.') && pattern.rsplit_once('.').is_some_and(|(_, name)| is_table(name, table))
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{Around, flags_in, passes, passes_in};

    #[test]
    fn passes_others() {
        passes("foreign-table-write", "UPDATE billing.invoices SET paid = true WHERE id = 7");
    }

    fn given(name: &str, tables: &[&str]) -> Around {
        Around::with("foreign-table-write", |with| {
            let tables = tables.iter().map(|table| (*table).to_owned()).collect();
            with.set(
                if name == "owned" { "owned" } else { "forbidden" },
                crate::guard::rules::Given::Texts(tables),
            );
        })
    }

    #[test]
    fn tables_of_others() {
        let name = "foreign-table-write";
        let own = given("owned", &["shop.*", "log"]);
        for sql in [
            "UPDATE billing.invoices SET paid = true",
            "INSERT INTO orders (id) VALUES (1)",
            "WITH x AS (DELETE FROM billing.invoices RETURNING id) INSERT INTO shop.orders SELECT id FROM x",
            "TRUNCATE billing.invoices",
            "ALTER TABLE billing.invoices ADD COLUMN a int",
            "COPY billing.invoices FROM STDIN",
            "DROP TABLE shop.orders, billing.invoices",
        ] {
            let _ = flags_in(name, sql, &own);
        }
        for sql in [
            "UPDATE shop.orders SET a = 1",
            "DELETE FROM audit.log",
            "SELECT * FROM billing.invoices",
            "EXPLAIN UPDATE billing.invoices SET paid = true",
            "INSERT INTO shop.orders SELECT * FROM billing.invoices",
        ] {
            passes_in(name, sql, &own);
        }
        let not = given("forbidden", &["billing.*"]);
        let _ = flags_in(name, "UPDATE billing.invoices SET paid = true", &not);
        let _ = flags_in(name, "UPDATE invoices SET paid = true", &not);
        passes_in(name, "UPDATE shop.orders SET paid = true", &not);
    }
}
