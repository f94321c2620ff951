//! ### What it does
//! Finds `NOT IN (SELECT …)` and `<> ALL (SELECT …)`. Lists written out are innocent.
//!
//! ### Why it hurts
//! One NULL in the subquery's answer, and `NOT IN` is true for no row at all: the program shows nothing, without any
//! error. And PostgreSQL cannot turn it into an anti join: without a hashed subplan it runs the subquery again for
//! each row.
//!
//! ### Example
//! ```sql
//! SELECT id FROM customers WHERE id NOT IN (SELECT customer_id FROM orders);
//! ```
//!
//! ### Instead
//! ```sql
//! SELECT id FROM customers c WHERE NOT EXISTS (SELECT 1 FROM orders o WHERE o.customer_id = c.id);
//! ```
//!
//! ### How to silence
//! Name who may in the rule that finds it: `unless = { users = ["report"] }`.

use super::{Finding, Opt, Options, Subject, Kind};

pub(super) const READS: &[&str] = &["query.not_in_subquery", "query.kind", "query.tables"];
pub(super) const OPTIONS: &[Opt] = &[];

pub(super) fn check(subject: &Subject<'_>, _: &Options) -> Option<Finding> {
    if !subject.facts.not_in_subquery || subject.facts.kind == Kind::Ddl {
        return None;
    }
    Some(Finding {
        message: "NOT IN (SELECT …) finds nothing once the subquery gives a NULL, and cannot become an anti join.".into(),
        hint: "Write NOT EXISTS (SELECT 1 FROM … WHERE …) instead.".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{flags, passes};

    #[test]
    fn flags_not_in_over_queries() {
        let _ = flags("not-in-subquery", "SELECT id FROM customers WHERE id NOT IN (SELECT customer_id FROM orders)");
        let _ = flags("not-in-subquery", "DELETE FROM customers WHERE id <> ALL (SELECT customer_id FROM orders)");
    }

    #[test]
    fn passes_lists_and_not_exists() {
        passes("not-in-subquery", "SELECT id FROM customers WHERE id NOT IN (1, 2)");
        passes("not-in-subquery", "SELECT id FROM customers c WHERE NOT EXISTS (SELECT 1 FROM orders o WHERE o.customer_id = c.id)");
        passes("not-in-subquery", "SELECT id FROM customers WHERE id IN (SELECT customer_id FROM orders)");
    }
}
