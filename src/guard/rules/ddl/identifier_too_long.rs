//! ### What it does
//! Finds a definition with a name of more than `max` bytes, 62 at first: PostgreSQL keeps 63, and cuts off what is
//! longer, so a name of 63 bytes is as long as can be, or was cut.
//!
//! ### Why it hurts
//! The name in the database is another than the one in the migration. Two names that begin alike become one.
//!
//! ### Example
//! ```sql
//! CREATE INDEX orders_by_customer_and_state_and_payment_and_delivery_address_and_day ON orders (day);
//! ```
//!
//! ### Instead
//! Give it a shorter name.
//!
//! ### How to silence
//! `with = { max = 63 }` finds nothing; leave the rule out.

use super::{Change, Finding, Opt, Options, Subject, bare};

pub(super) const READS: &[&str] = &["query.changes"];
pub(super) const OPTIONS: &[Opt] = &[Opt::int("max", 62, "bytes that a name may have")];

pub(super) fn check(subject: &Subject<'_>, options: &Options) -> Option<Finding> {
    let max = usize::try_from(options.int("max")).unwrap_or(0);
    let names = |change: &'_ Change| {
        let made = change.what.starts_with("create") || change.what.starts_with("define");
        let object = Some(change.object.clone()).filter(|_| made);
        let drops = change.what.starts_with("drop");
        [object, change.name.clone().filter(|_| !drops)]
    };
    let mut all = subject.facts.ddl.iter().flat_map(names).flatten();
    let name = all.find(|name| bare(name).len() > max)?;
    Some(Finding {
        message: format!(
            "The name {} has {} bytes, or more that are cut off.",
            bare(&name),
            bare(&name).len()
        ),
        hint: "Give it a shorter name.".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{Around, flags, flags_in, passes};
    use crate::guard::rules::Given;

    const NAME: &str = "identifier-too-long";

    #[test]
    fn flags_it() {
        for length in [63, 64, 200] {
            let name = "n".repeat(length);
            let found = flags(NAME, &format!("CREATE INDEX {name} ON orders (day)"));
            assert!(found.message.contains("has 63 bytes"), "{found:?}");
            let _ = flags(NAME, &format!("CREATE TABLE shop.{name} (id bigint)"));
            let _ = flags(NAME, &format!("ALTER TABLE orders ADD COLUMN {name} text"));
            let _ = flags(NAME, &format!("ALTER TABLE orders RENAME TO {name}"));
        }
        let short = Around::with(NAME, |with| with.set("max", Given::Int(30)));
        let _ = flags_in(NAME, &format!("CREATE TABLE {} (id bigint)", "n".repeat(31)), &short);
    }

    #[test]
    fn passes_others() {
        let (name, long) = ("n".repeat(62), "n".repeat(63));
        passes(NAME, &format!("CREATE TABLE a_schema.{name} (id bigint)"));
        passes(NAME, &format!("DROP TABLE {long}"));
        passes(NAME, &format!("SELECT id FROM {long}"));
    }
}
