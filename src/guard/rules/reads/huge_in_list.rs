//! ### What it does
//! Finds an `IN (…)` list or an `ANY (ARRAY[…])` with more than `max` elements.
//!
//! ### Why it hurts
//! Each list length is a statement of its own: it is parsed and planned anew, fills prepared statements, statistics
//! and logs, and its text alone is larger than the answer. Long ones come from a program that joins by itself.
//!
//! ### Example
//! ```sql
//! SELECT id, name FROM customers WHERE id IN (1, 2, 3, …);
//! ```
//!
//! ### Instead
//! ```sql
//! SELECT id, name FROM customers WHERE id = ANY ($1::bigint[]);
//! ```
//!
//! ### How to silence
//! Raise `with = { max = 5000 }`, or name who may: `unless = { users = ["etl"] }`.

use super::{Finding, Opt, Options, Subject, Kind};

pub(super) const READS: &[&str] = &["query.in_list", "query.kind", "query.tables"];
pub(super) const OPTIONS: &[Opt] = &[Opt::int("max", 500, "Elements that are not too many.")];

pub(super) fn check(subject: &Subject<'_>, options: &Options) -> Option<Finding> {
    let facts = subject.facts;
    if i64::from(facts.in_list) <= options.int("max") || facts.kind == Kind::Ddl {
        return None;
    }
    Some(Finding {
        message: format!("This compares with a list of {} elements.", facts.in_list),
        hint: "Send the list as one array parameter: = ANY ($1); or join with the table or query it comes from.".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::Given;
    use super::super::super::testing::{Around, flags, flags_in, passes};

    #[test]
    fn flags_long_lists() {
        let list = vec!["7"; 501].join(", ");
        let found = flags("huge-in-list", &format!("SELECT id FROM customers WHERE id IN ({list})"));
        assert!(found.message.contains("501 elements"), "{found:?}");
        let _ = flags("huge-in-list", &format!("DELETE FROM customers WHERE id = ANY (ARRAY[{list}])"));
        let _ = flags_in("huge-in-list", "SELECT 1 FROM t WHERE a IN (1, 2)", &Around::with("huge-in-list", |with| with.set("max", Given::Int(1))));
    }

    #[test]
    fn passes_short_lists_and_arrays() {
        passes("huge-in-list", "SELECT id FROM customers WHERE id IN (1, 2, 3)");
        passes("huge-in-list", "SELECT id FROM customers WHERE id = ANY ($1)");
        passes("huge-in-list", "SELECT id FROM customers WHERE id IN (SELECT customer_id FROM orders)");
    }
}
