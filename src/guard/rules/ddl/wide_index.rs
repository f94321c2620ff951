//! ### What it does
//! Finds an index of more than `columns` columns that is not unique.
//!
//! ### Why it hurts
//! Every write of the table pays for each column of it, and a search seldom uses more than the first ones. What the
//! others are for is often an index of its own.
//!
//! ### Example
//! ```sql
//! CREATE INDEX CONCURRENTLY orders_all ON orders (customer_id, state, day, total);
//! ```
//!
//! ### Instead
//! ```sql
//! CREATE INDEX CONCURRENTLY orders_open ON orders (customer_id, day) WHERE state = 'open';
//! ```
//!
//! ### How to silence
//! `with = { columns = 5 }`.

use super::{Finding, Opt, Options, Subject};

pub(super) const READS: &[&str] = &["query.changes"];
pub(super) const OPTIONS: &[Opt] =
    &[Opt::int("columns", 3, "columns that are not too many; those of INCLUDE do not count")];

pub(super) fn check(subject: &Subject<'_>, options: &Options) -> Option<Finding> {
    let wide = |columns: u16| i64::from(columns) > options.int("columns");
    let change = subject
        .facts
        .ddl
        .iter()
        .find(|change| change.what == "create index" && !change.unique && wide(change.columns))?;
    Some(Finding {
        message: format!(
            "An index of {} columns on {} is more than searches use.",
            change.columns, change.object
        ),
        hint: "Keep the columns that searches name, the most selective first.".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{Around, flags, passes, passes_in};
    use crate::guard::rules::Given;

    const NAME: &str = "wide-index";

    #[test]
    fn flags_it() {
        let found = flags(NAME, "CREATE INDEX CONCURRENTLY ON orders (a, b, lower(c), d)");
        assert!(found.message.contains("4 columns on orders"), "{found:?}");
    }

    #[test]
    fn passes_others() {
        passes(NAME, "CREATE INDEX ON orders (a, b, c) INCLUDE (d, e)");
        passes(NAME, "CREATE UNIQUE INDEX ON orders (a, b, c, d)");
        let five = Around::with(NAME, |with| with.set("columns", Given::Int(5)));
        passes_in(NAME, "CREATE INDEX ON orders (a, b, c, d, e)", &five);
    }
}
