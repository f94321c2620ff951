//! ### What it does
//! Finds `ALTER TYPE … RENAME VALUE`.
//!
//! ### Why it hurts
//! Programs that run know the old name: what they write and compare with fails from this moment on.
//!
//! ### Example
//! ```sql
//! ALTER TYPE order_state RENAME VALUE 'packed' TO 'wrapped';
//! ```
//!
//! ### Instead
//! Add the new value, let the programs write and read both, then let the old one be. What is shown to people is the
//! programs' business.
//!
//! ### How to silence
//! Name those who may in the rule that finds it: `unless = { users = ["migrator"] }`.

use super::{Finding, Opt, Options, Subject};

pub(super) const READS: &[&str] = &["query.changes"];
pub(super) const OPTIONS: &[Opt] = &[];

pub(super) fn check(subject: &Subject<'_>, _: &Options) -> Option<Finding> {
    let change = subject.facts.ddl.iter().find(|change| change.what == "rename enum value")?;
    Some(Finding {
        message: format!("Programs that run know a value of {} by its old name.", change.object),
        hint: "Add a new value, and let the programs know both before the old one goes out of use.".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{flags, passes};

    const NAME: &str = "renaming-enum-value";

    #[test]
    fn flags_it() {
        let found = flags(NAME, "ALTER TYPE shop.order_state RENAME VALUE 'packed' TO 'wrapped'");
        assert!(found.message.contains("shop.order_state"), "{found:?}");
    }

    #[test]
    fn passes_others() {
        passes(NAME, "ALTER TYPE order_state ADD VALUE 'packed' AFTER 'paid'");
        passes(NAME, "ALTER TYPE order_state RENAME TO state_of_order");
    }
}
