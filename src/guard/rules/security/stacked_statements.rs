//! ### What it does
//! Finds a text that holds more statements than `max`, told by PostgreSQL's own grammar: a `;` in a string, a comment or a
//! function's body separates nothing.
//!
//! ### Why it hurts
//! A program sends its statements one by one. Where a value ends up in the text unescaped, `'; DELETE FROM users; --` is the
//! next thing it says, and everything behind the `;` runs with the program's rights.
//!
//! ### Example
//! ```sql
//! SELECT id FROM users WHERE name = ''; DROP TABLE users; --'
//! ```
//!
//! ### Instead
//! Send values as parameters, each statement for itself:
//! ```sql
//! SELECT id FROM users WHERE name = $1;
//! ```
//!
//! ### How to silence
//! Migrations and psql scripts send several on purpose: `unless = { users = ["migrator"] }`, or `with = { max = 3 }` for a
//! program that puts `BEGIN; …; COMMIT` into one text.

use super::{Finding, Opt, Options, Subject};

pub(super) const READS: &[&str] = &["query.statements"];
pub(super) const OPTIONS: &[Opt] = &[Opt::int("max", 1, "statements that a text may hold")];

pub(super) fn check(subject: &Subject<'_>, options: &Options) -> Option<Finding> {
    let (count, max) = (subject.facts.statements, options.int("max"));
    (i64::from(count) > max).then(|| Finding {
        message: format!("This text holds {count} statements."),
        hint: "Send one statement at a time, with its values as parameters.".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::Given;
    use super::super::super::testing::{Around, flags, passes, passes_in};

    #[test]
    fn flags_several_statements() {
        let found = flags("stacked-statements", "SELECT id FROM users WHERE name = ''; DROP TABLE users; --'");
        assert_eq!(found.message, "This text holds 2 statements.");
        let _ = flags("stacked-statements", "SELECT 1;SELECT 2");
    }

    #[test]
    fn passes_one_statement() {
        passes("stacked-statements", "SELECT ';' AS a, $$;$$ /* ; */ FROM t; -- ;");
        passes(
            "stacked-statements",
            "CREATE FUNCTION f() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT 1; SELECT 2; END",
        );
        let three = Around::with("stacked-statements", |options| options.set("max", Given::Int(3)));
        passes_in("stacked-statements", "BEGIN; UPDATE t SET a = 1 WHERE id = 1; COMMIT", &three);
    }
}
