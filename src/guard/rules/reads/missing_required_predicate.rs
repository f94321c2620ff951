//! ### What it does
//! Finds a read, update or delete of a table without an equality on a column that every statement over it must name:
//! `tenant_id`, `deleted_at IS NULL`. Each place where a table is named needs its own, in every subquery, and both of a
//! self join. An equality counts where it must hold (not under `OR` or `NOT`, nor on the kept side of an outer join), with a
//! literal, a parameter or a value without columns, or with a column that is itself held so: `o.tenant_id = c.tenant_id AND
//! c.tenant_id = $1` holds both. `INSERT` brings its values along and is left alone; `COPY` of a whole table is found, and so
//! is `MERGE`, whose condition does not narrow its target. With a catalog, tables without the column are left alone. A view
//! counts as a table of its own. Without the option `columns` it finds nothing.
//!
//! ### Why it hurts
//! One forgotten condition shows one customer's rows to another. Nothing fails: the answer only has more rows.
//!
//! ### Example
//! ```sql
//! SELECT id, total FROM orders WHERE state = 'open';
//! ```
//!
//! ### Instead
//! ```sql
//! SELECT id, total FROM orders WHERE tenant_id = $1 AND state = 'open';
//! ```
//! Row security in the database stops what no guard in the path can see (views, functions).
//!
//! ### How to silence
//! Name the tables that have it, `with = { tables = ["orders", "items"] }`, or those that do not, `with = { except =
//! ["countries"] }`, and those who may see all in the rule: `unless = { users = ["admin"] }`.

use std::collections::BTreeSet;

use super::{Comparison, Finding, Kind, Operand, Opt, Options, Predicate, Subject, table};

pub(super) const READS: &[&str] = &["query.equality_columns", "query.kind", "query.tables", "query.tables_read", "query.copy"];
pub(super) const OPTIONS: &[Opt] = &[
    Opt::texts("columns", &[], "Columns of which each needs an equality."),
    Opt::texts("tables", &[], "Tables that have them, `*` at the end stands for anything; none named: all."),
    Opt::texts("except", &[], "Tables that do not."),
];

pub(super) fn check(subject: &Subject<'_>, options: &Options) -> Option<Finding> {
    let facts = subject.facts;
    let missing = options.texts("columns").iter().find_map(|column| {
        let held = held(&facts.predicates, column);
        let mut relations = facts.relations.iter().enumerate();
        let named = relations.find(|(at, relation)| {
            relation.role != crate::guard::facts::Role::Insert
                && !held.contains(&(*at as u32, column.as_str()))
                && is_concerned(subject, options, &relation.table, column)
        });
        // COPY of a table reads or fills all of it.
        let copied = || {
            let whole = facts.kind == Kind::Copy && facts.relations.is_empty() && !facts.copy.starts_with("from");
            let mut tables = facts.tables.iter().filter(|_| whole);
            tables.find(|table| is_concerned(subject, options, table, column))
        };
        named.map(|(_, relation)| &relation.table).or_else(copied).map(|table| (table, column))
    });
    let (table, column) = missing?;
    Some(Finding {
        message: format!("This asks {table} without saying which {column}."),
        hint: format!("Add {column} = … to the condition on {table}."),
    })
}

/// The columns that are held to a value, by relation: directly, or by way of one that is.
fn held<'a>(predicates: &'a [Predicate], column: &'a str) -> BTreeSet<(u32, &'a str)> {
    let equal = |predicate: &&Predicate| predicate.is_equality() && predicate.relation.is_some();
    let is_value = |predicate: &Predicate| {
        matches!(
            predicate.operand,
            Operand::Number | Operand::Literal | Operand::Text | Operand::Parameter | Operand::Value
        ) || (predicate.operand == Operand::None && predicate.comparison == Comparison::Null)
    };
    let mut held: BTreeSet<(u32, &str)> = predicates
        .iter()
        .filter(equal)
        .filter(|predicate| is_value(predicate))
        .filter_map(|predicate| Some((predicate.relation?, predicate.column.as_str())))
        .collect();
    // Each round holds one relation more, and a chain of joins is seldom written backwards.
    for _ in 0..MAX_CHAIN {
        let before = held.len();
        for predicate in predicates.iter().filter(equal) {
            let Some((relation, (theirs, name))) = predicate.relation.zip(predicate.other.as_ref()) else { continue };
            let mine = (relation, predicate.column.as_str());
            if (mine.1 == column || name == column) && held.contains(&(*theirs, name.as_str())) {
                held.insert(mine);
            }
        }
        if held.len() == before {
            break;
        }
    }
    held
}

/// Joins through which a value is followed against the order of the text.
const MAX_CHAIN: usize = 8;

fn is_concerned(subject: &Subject<'_>, options: &Options, written: &str, column: &str) -> bool {
    let (schema, name) = written.rsplit_once('.').map_or((None, written), |(schema, name)| (Some(schema), name));
    let of_server = matches!(schema, Some("pg_catalog" | "information_schema"))
        || (schema.is_none() && name.starts_with("pg_"));
    let among = |option: &str| options.texts(option).iter().any(|pattern| is_named(pattern, schema, name));
    if of_server || among("except") || !(options.texts("tables").is_empty() || among("tables")) {
        return false;
    }
    table(subject, written).is_none_or(|table| table.columns.is_empty() || table.column(column).is_some())
}

/// May the table be the one of the pattern? Without a schema on either side it may.
fn is_named(pattern: &str, schema: Option<&str>, name: &str) -> bool {
    let (of, pattern) = pattern.rsplit_once('.').map_or((None, pattern), |(of, pattern)| (Some(of), pattern));
    let same = match pattern.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => name == pattern,
    };
    same && (of.is_none() || schema.is_none() || of == schema)
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{Around, flags_in, passes, passes_in};
    use super::super::{Given, Options};

    const NAME: &str = "missing-required-predicate";

    fn tenant(option: &'static str, values: &[&str]) -> Around {
        Around::default().and_with(NAME, |with| {
            with.set("columns", Given::Texts(vec!["tenant_id".into()]));
            with.set(option, Given::Texts(values.iter().map(|&text| text.to_owned()).collect()));
        })
    }

    #[test]
    fn flags_every_place_without_it() {
        let required = tenant("except", &[]);
        let found = flags_in(NAME, "SELECT id FROM orders WHERE state = 'open'", &required);
        assert_eq!(found.message, "This asks orders without saying which tenant_id.");
        for text in [
            "UPDATE orders SET state = 'x' WHERE id = 7",
            "DELETE FROM orders WHERE tenant_id = 1 OR id = 7",
            "DELETE FROM orders WHERE NOT tenant_id = 1",
            "SELECT 1 FROM orders WHERE tenant_id = tenant_id",
            "SELECT 1 FROM orders WHERE tenant_id = coalesce($1, tenant_id)",
            "SELECT 1 FROM orders WHERE tenant_id IN (SELECT id FROM tenants WHERE tenant_id = 1)",
            "SELECT 1 FROM orders WHERE lower(tenant_id) = 'x'",
            "SELECT 1 FROM orders a, orders b WHERE a.tenant_id = 1 AND a.id = b.id",
            "SELECT 1 FROM orders o LEFT JOIN items i ON o.tenant_id = 1 AND i.tenant_id = 1",
            "SELECT 1 FROM orders o JOIN items i ON i.tenant_id = o.tenant_id",
            "SELECT 1 FROM orders WHERE tenant_id = 1 UNION SELECT 1 FROM orders",
            "SELECT (SELECT count(*) FROM items) FROM orders WHERE tenant_id = 1",
            "SELECT 1 FROM orders WHERE tenant_id = 1 AND EXISTS (SELECT 1 FROM items WHERE items.order_id = orders.id)",
            "SELECT 1 FROM orders o WHERE EXISTS (SELECT 1 WHERE o.tenant_id = 1)",
            "SELECT 1 FROM orders AS x(a, b) WHERE a = 1",
            "WITH x AS (DELETE FROM orders RETURNING id) SELECT 1 FROM x",
            "INSERT INTO archive SELECT * FROM orders",
            "COPY orders TO STDOUT",
            "COPY (SELECT id FROM orders) TO STDOUT",
            "TABLE orders",
            "MERGE INTO orders o USING (VALUES (1)) v(id) ON o.tenant_id = 1 WHEN NOT MATCHED THEN DO NOTHING",
            "SELECT 1 FROM orders WHERE tenant_id > 0",
        ] {
            let _ = flags_in(NAME, text, &required);
        }
        let deleted = tenant("columns", &["tenant_id", "deleted_at"]);
        let _ = flags_in(NAME, "SELECT 1 FROM orders WHERE tenant_id = 1", &deleted);
        passes_in(NAME, "SELECT 1 FROM orders WHERE tenant_id = 1 AND deleted_at IS NULL", &deleted);
    }

    #[test]
    fn passes_where_each_has_it() {
        passes(NAME, "SELECT 1 FROM orders");
        for text in [
            "SELECT id FROM orders WHERE tenant_id = $1 AND state = 'open'",
            "SELECT id FROM orders WHERE tenant_id IN (1, 2)",
            "SELECT id FROM orders WHERE tenant_id = ANY ($1)",
            "SELECT id FROM orders WHERE tenant_id = current_setting('app.tenant')::int",
            "UPDATE orders SET state = 'x' WHERE (tenant_id, id) = ($1, $2)",
            "SELECT 1 FROM items i JOIN orders o ON i.tenant_id = o.tenant_id WHERE o.tenant_id = $1",
            "SELECT 1 FROM orders o JOIN items i USING (tenant_id) WHERE o.tenant_id = $1",
            "SELECT 1 FROM orders o LEFT JOIN items i ON i.tenant_id = o.tenant_id WHERE o.tenant_id = $1",
            "SELECT 1 FROM tenants t JOIN orders o ON o.tenant_id = t.tenant_id WHERE t.tenant_id = $1",
            "SELECT 1 FROM orders o WHERE tenant_id = 1 AND EXISTS (SELECT 1 FROM items i WHERE i.tenant_id = o.tenant_id)",
            "WITH x AS (SELECT id FROM orders WHERE tenant_id = 1) SELECT id FROM x",
            "INSERT INTO orders (tenant_id) VALUES (1)",
            "SELECT relname FROM pg_class",
            "SELECT 1",
        ] {
            passes_in(NAME, text, &tenant("except", &[]));
        }
        let some = tenant("tables", &["shop.orders", "audit_*"]);
        passes_in(NAME, "SELECT 1 FROM countries", &some);
        passes_in(NAME, "SELECT 1 FROM other.orders", &some);
        let _ = flags_in(NAME, "SELECT 1 FROM orders", &some);
        let _ = flags_in(NAME, "SELECT 1 FROM audit_log", &some);
        let except = tenant("except", &["countries"]);
        passes_in(NAME, "SELECT 1 FROM countries", &except);
        let catalog = r#"{"tables": [{"schema": "public", "name": "countries", "columns": [{"name": "code"}]},
            {"schema": "public", "name": "orders", "columns": [{"name": "tenant_id"}]}]}"#;
        let required = |with: &mut Options| with.set("columns", Given::Texts(vec!["tenant_id".into()]));
        passes_in(NAME, "SELECT 1 FROM countries", &Around::catalog(catalog).and_with(NAME, required));
        let _ = flags_in(NAME, "SELECT 1 FROM orders", &Around::catalog(catalog).and_with(NAME, required));
    }
}
