//! ### What it does
//! Finds `ALTER DOMAIN` with `ADD CONSTRAINT` or `SET NOT NULL`, `NOT VALID` or not.
//!
//! ### Why it hurts
//! Every table with a column of that domain is read, whole, under a lock against writers. With `NOT VALID` that comes
//! later, and each column that is added with such a domain from now on has its table written anew.
//!
//! ### Example
//! ```sql
//! ALTER DOMAIN amount ADD CHECK (VALUE > 0);
//! ```
//!
//! ### Instead
//! Constrain the columns, table by table:
//! ```sql
//! ALTER TABLE orders ADD CONSTRAINT positive CHECK (total > 0) NOT VALID;
//! ```
//!
//! ### How to silence
//! Name those who may in the rule that finds it: `unless = { users = ["migrator"] }`.

use super::{Finding, Opt, Options, Subject};

pub(super) const READS: &[&str] = &["query.changes"];
pub(super) const OPTIONS: &[Opt] = &[];

pub(super) fn check(subject: &Subject<'_>, _: &Options) -> Option<Finding> {
    let adds = ["add check", "set not null"];
    let change = subject.facts.ddl.iter().find(|change| change.domain && adds.contains(&change.what))?;
    Some(Finding {
        message: format!("Every table with a column of {} is read while nobody can write it.", change.object),
        hint: "Constrain the columns, table by table, NOT VALID first.".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{flags, passes};

    const NAME: &str = "ban-alter-domain-with-add-constraint";

    #[test]
    fn flags_it() {
        assert!(
            flags(NAME, "ALTER DOMAIN shop.amount ADD CHECK (VALUE > 0)").message.contains("shop.amount")
        );
        let _ = flags(NAME, "ALTER DOMAIN amount ADD CHECK (VALUE > 0) NOT VALID");
        let _ = flags(NAME, "ALTER DOMAIN amount SET NOT NULL");
    }

    #[test]
    fn passes_others() {
        passes(NAME, "ALTER DOMAIN amount SET DEFAULT 0");
        passes(NAME, "ALTER DOMAIN amount DROP CONSTRAINT positive");
        passes(NAME, "ALTER TABLE orders ADD CHECK (total > 0)");
    }
}
