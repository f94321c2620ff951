//! ### What it does
//! Finds questions of a report: a grouping, an aggregate or a window over rows that no equality narrows, or an
//! aggregate over many joins. With a catalog only those over a table of at least `rows` rows.
//!
//! ### Why it hurts
//! Such a statement reads large parts of tables, fills the cache with pages nobody else wants, and holds back vacuum
//! as long as it runs. It is right in its place: a replica, or a lane with few servers of its own.
//!
//! ### Example
//! ```sql
//! SELECT date_trunc('month', placed_at), sum(total) FROM orders GROUP BY 1;
//! ```
//!
//! ### Instead
//! The same statement on a replica (`route`), a materialised view that is refreshed at night, or a table of totals
//! that is kept up to date.
//!
//! ### How to silence
//! Send it there: `action = "route"`, `route = "replica"`; or name those who may run it here: `unless = { users =
//! ["report"] }`.

use super::{Operand, Finding, Opt, Options, Subject, Kind, is_small, tables};

pub(super) const READS: &[&str] = &["query.kind", "query.aggregates", "query.group_by", "query.windows", "query.distinct", "query.joins", "query.equality_columns", "query.tables", "query.tables_read", "catalog.rows"];
pub(super) const OPTIONS: &[Opt] = &[Opt::int("rows", 100_000, "Rows from which a table is big, where the catalog knows it."), Opt::int("joins", 5, "Joins that make an aggregate a report whatever narrows it.")];

pub(super) fn check(subject: &Subject<'_>, options: &Options) -> Option<Finding> {
    let facts = subject.facts;
    if facts.kind != Kind::Select || facts.tables_read.is_empty() || is_small(subject, options) {
        return None;
    }
    let sums_up = facts.group_by || facts.aggregates > 0 || facts.windows > 0;
    let narrowed = facts.predicates.iter().any(|predicate| {
        predicate.is_equality() && !matches!(predicate.operand, Operand::Column | Operand::Expression | Operand::None)
    });
    let many = i64::from(facts.joins) >= options.int("joins");
    if !(sums_up && (many || !narrowed)) {
        return None;
    }
    Some(Finding {
        message: format!("This sums up {}: a question of a report.", tables(facts, "its tables")),
        hint: "Ask it of a replica or in the lane for reports, or keep the answer in a materialized view.".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{Around, flags, passes, passes_in};

    #[test]
    fn flags_reports() {
        let found = flags("analytics-shape", "SELECT date_trunc('month', placed_at), sum(total) FROM orders GROUP BY 1");
        assert_eq!(found.message, "This sums up orders: a question of a report.");
        let _ = flags("analytics-shape", "SELECT avg(total) FROM orders WHERE placed_at > now() - interval '1 year'");
        let _ = flags("analytics-shape", "SELECT id, rank() OVER (ORDER BY total) FROM orders");
        let _ = flags("analytics-shape", "SELECT c.country, sum(o.total) FROM orders o JOIN customers c ON c.id = o.customer_id GROUP BY 1");
        let joins = (0..5).map(|n| format!(" JOIN t{n} ON t{n}.id = a.id")).collect::<String>();
        let _ = flags("analytics-shape", &format!("SELECT sum(x) FROM a{joins} WHERE a.id = 7"));
    }

    #[test]
    fn passes_look_ups_and_small_tables() {
        passes("analytics-shape", "SELECT sum(total) FROM orders WHERE customer_id = 7");
        passes("analytics-shape", "SELECT id FROM orders WHERE placed_at > now()");
        passes("analytics-shape", "SELECT max(n) FROM generate_series(1, 3) n");
        passes("analytics-shape", "INSERT INTO totals SELECT sum(total) FROM orders");
        passes_in("analytics-shape", "SELECT kind, count(*) FROM kinds GROUP BY 1", &Around::catalog(r#"{"tables": [{"schema": "public", "name": "kinds", "rows": 12}]}"#));
    }
}
