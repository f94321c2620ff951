//! ### What it does
//! Finds `ALTER SCHEMA … RENAME` and `ALTER DATABASE … RENAME`.
//!
//! ### Why it hurts
//! Programs that run know the old name, in statements and in their `search_path`: nothing that is in it is found.
//!
//! ### Example
//! ```sql
//! ALTER SCHEMA shop RENAME TO store;
//! ```
//!
//! ### Instead
//! Make the new schema, with views of the old one's tables; move the tables once no program uses the old name.
//!
//! ### How to silence
//! Name those who may in the rule that finds it: `unless = { users = ["migrator"] }`.

use super::{Finding, Opt, Options, Subject};

pub(super) const READS: &[&str] = &["query.changes"];
pub(super) const OPTIONS: &[Opt] = &[];

pub(super) fn check(subject: &Subject<'_>, _: &Options) -> Option<Finding> {
    let mut changes = subject.facts.ddl.iter();
    let change = changes.find(|change| matches!(change.what, "rename schema" | "rename database"))?;
    let kind = if change.what == "rename schema" { "schema" } else { "database" };
    Some(Finding {
        message: format!("Programs that run know the {kind} by its old name, and find nothing there."),
        hint: format!("Leave the {kind} its name, or make a new one beside it and move what is in it."),
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{flags, passes};

    const NAME: &str = "renaming-schema";

    #[test]
    fn flags_it() {
        assert!(flags(NAME, "ALTER SCHEMA shop RENAME TO store").message.contains("the schema"));
        assert!(flags(NAME, "ALTER DATABASE shop RENAME TO store").message.contains("the database"));
    }

    #[test]
    fn passes_others() {
        passes(NAME, "ALTER SCHEMA shop OWNER TO owner");
        passes(NAME, "ALTER TABLE shop.orders RENAME TO purchases");
    }
}
