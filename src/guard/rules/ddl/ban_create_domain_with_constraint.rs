//! ### What it does
//! Finds `CREATE DOMAIN` with a `CHECK` or `NOT NULL`.
//!
//! ### Why it hurts
//! To change the constraint later is to read every table with a column of that domain, under a lock; to add such a
//! column is to write its table anew, since each value must be looked at.
//!
//! ### Example
//! ```sql
//! CREATE DOMAIN amount AS numeric CHECK (VALUE > 0);
//! ```
//!
//! ### Instead
//! Use the type itself, and constrain the columns:
//! ```sql
//! CREATE TABLE orders (total numeric CHECK (total > 0));
//! ```
//!
//! ### How to silence
//! Name those who may in the rule that finds it: `unless = { users = ["migrator"] }`.

use super::{Finding, Opt, Options, Subject};

pub(super) const READS: &[&str] = &["query.changes"];
pub(super) const OPTIONS: &[Opt] = &[];

pub(super) fn check(subject: &Subject<'_>, _: &Options) -> Option<Finding> {
    let mut changes = subject.facts.ddl.iter();
    let change = changes.find(|change| change.what == "create domain" && change.bound)?;
    Some(Finding {
        message: format!(
            "Columns of {} make their tables be read or written anew when it changes.",
            change.object
        ),
        hint: "Use the type itself, with a CHECK on the columns that need one.".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{flags, passes};

    const NAME: &str = "ban-create-domain-with-constraint";

    #[test]
    fn flags_it() {
        assert!(
            flags(NAME, "CREATE DOMAIN amount AS numeric CHECK (VALUE > 0)").message.contains("of amount")
        );
        let _ = flags(NAME, "CREATE DOMAIN shop.amount numeric NOT NULL");
    }

    #[test]
    fn passes_others() {
        passes(NAME, "CREATE DOMAIN amount AS numeric");
        passes(NAME, "CREATE DOMAIN amount AS numeric DEFAULT 0");
        passes(NAME, "CREATE TABLE orders (total numeric CHECK (total > 0))");
    }
}
