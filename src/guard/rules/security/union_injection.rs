//! ### What it does
//! Finds a query with a `WHERE` whose `UNION` goes on with an arm that reads no table (`UNION SELECT version()`), that reads a
//! catalog, or that is padded: `padding` or more constants in its list beside something that is none
//! (`UNION SELECT NULL, NULL, password FROM users`).
//!
//! ### Why it hurts
//! It is how an injection brings foreign rows out: the arm behind the value must have as many columns as the query before it,
//! and whoever does not know their types fills them with NULL.
//!
//! ### Example
//! ```sql
//! SELECT id, name, price FROM products WHERE id = -1 UNION SELECT NULL, password, NULL FROM users
//! ```
//!
//! ### Instead
//! Send values as parameters:
//! ```sql
//! SELECT id, name, price FROM products WHERE id = $1;
//! ```
//!
//! ### How to silence
//! Reports that add a line of totals look alike: `with = { padding = 0 }` leaves padding alone, or
//! `unless = { applications = ["reports"] }`.

use super::{Finding, Opt, Options, Subject};

pub(super) const READS: &[&str] = &["query.unions", "query.catalog"];
pub(super) const OPTIONS: &[Opt] = &[
    Opt::int("padding", 2, "constants in the further arm that are too many; 0: any number may be"),
    Opt::bool("bare", true, "also a further arm that reads no table"),
];

pub(super) fn check(subject: &Subject<'_>, options: &Options) -> Option<Finding> {
    let arms = subject.facts.union_arms;
    let padding = options.int("padding");
    let what = match () {
        () if !arms.filtered => return None,
        () if arms.catalog => "reads the catalogs",
        () if arms.bare && options.bool("bare") => "reads no table",
        () if padding > 0 && i64::from(arms.padding) >= padding => "is padded with constants",
        () => return None,
    };
    Some(Finding {
        message: format!("A filtered query goes on with a UNION that {what}."),
        hint: "Send values as parameters, so that they cannot add a query.".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::Given;
    use super::super::super::testing::{Around, flags, passes, passes_in};

    const PADDED: &str =
        "SELECT id, name, price FROM products WHERE id = -1 UNION SELECT NULL, password, NULL FROM users";

    #[test]
    fn flags_arms_that_do_not_belong() {
        let found = flags("union-injection", PADDED);
        assert_eq!(found.message, "A filtered query goes on with a UNION that is padded with constants.");
        let _ = flags("union-injection", "SELECT name FROM t WHERE id = 1 UNION ALL SELECT version()");
        let _ = flags("union-injection", "SELECT name FROM t WHERE id = 1 UNION SELECT rolname FROM pg_roles");
        let _ = flags("union-injection", "SELECT a FROM (SELECT a FROM t WHERE b = '' UNION VALUES (1)) x");
    }

    #[test]
    fn passes_unions_of_alike() {
        passes("union-injection", "SELECT id, 'a' FROM a WHERE x = 1 UNION ALL SELECT id, 'b' FROM b WHERE x = 1");
        passes("union-injection", "SELECT id FROM a UNION SELECT 0");
        let lax = Around::with("union-injection", |options| options.set("padding", Given::Int(0)));
        passes_in("union-injection", PADDED, &lax);
    }
}
