//! ### What it does
//! Finds `ALTER TYPE … ADD VALUE` without `BEFORE` or `AFTER`.
//!
//! ### Why it hurts
//! The value comes behind all others, and comparisons go by that order: `state < 'shipped'` means other rows than it
//! should. The order of values cannot be changed later.
//!
//! ### Example
//! ```sql
//! ALTER TYPE order_state ADD VALUE 'packed';
//! ```
//!
//! ### Instead
//! ```sql
//! ALTER TYPE order_state ADD VALUE 'packed' BEFORE 'shipped';
//! ```
//!
//! ### How to silence
//! Name those who may in the rule that finds it: `unless = { users = ["migrator"] }`.

use super::{Finding, Opt, Options, Subject};

pub(super) const READS: &[&str] = &["query.changes"];
pub(super) const OPTIONS: &[Opt] = &[];

pub(super) fn check(subject: &Subject<'_>, _: &Options) -> Option<Finding> {
    let mut changes = subject.facts.ddl.iter();
    let change = changes.find(|change| change.what == "add enum value" && !change.bound)?;
    Some(Finding {
        message: format!("{} comes behind all other values, in comparisons, too.", change.subject()),
        hint: "Say BEFORE or AFTER which value it comes.".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{flags, passes};

    const NAME: &str = "require-enum-value-ordering";

    #[test]
    fn flags_it() {
        assert!(
            flags(NAME, "ALTER TYPE order_state ADD VALUE 'packed'").message.contains("order_state.packed")
        );
        let _ = flags(NAME, "ALTER TYPE order_state ADD VALUE IF NOT EXISTS 'packed'");
    }

    #[test]
    fn passes_others() {
        passes(NAME, "ALTER TYPE order_state ADD VALUE 'packed' BEFORE 'shipped'");
        passes(NAME, "ALTER TYPE order_state ADD VALUE 'packed' AFTER 'paid'");
        passes(NAME, "ALTER TYPE order_state RENAME VALUE 'packed' TO 'wrapped'");
        passes(NAME, "CREATE TYPE order_state AS ENUM ('open', 'paid')");
    }
}
