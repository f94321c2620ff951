//! ### What it does
//! Finds an `OR` with a side that is true whatever the rows: `OR 1=1`, `OR 'a'='a'`, `OR true`, `OR id = id`; in any `WHERE`,
//! `ON` or `HAVING`, however deep. `WHERE 1=1 AND …`, which query builders write, is not meant.
//!
//! ### Why it hurts
//! It is the oldest injection: it turns the condition before it off, so that a login finds a user without a password and a
//! filter by customer gives everybody's rows. No program writes it on purpose.
//!
//! ### Example
//! ```sql
//! SELECT id FROM users WHERE name = 'x' OR 1=1
//! ```
//!
//! ### Instead
//! Send values as parameters, so that they cannot become conditions:
//! ```sql
//! SELECT id FROM users WHERE name = $1;
//! ```
//!
//! ### How to silence
//! Exempt the report tool that writes such conditions: `unless = { applications = ["reports"] }`.

use super::{Finding, Opt, Options, Subject, tables};

pub(super) const READS: &[&str] = &["query.tautology", "query.tables"];
pub(super) const OPTIONS: &[Opt] = &[];

pub(super) fn check(subject: &Subject<'_>, _: &Options) -> Option<Finding> {
    let facts = subject.facts;
    facts.tautology.then(|| Finding {
        message: format!("A condition on {} is always true behind an OR.", tables(facts, "no table")),
        hint: "Send values as parameters; drop the side of the OR that is always true.".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{flags, passes};

    #[test]
    fn flags_what_switches_a_condition_off() {
        let found = flags("tautology-predicate", "SELECT id FROM users WHERE name = 'x' OR 1=1");
        assert_eq!(found.message, "A condition on users is always true behind an OR.");
        let _ = flags("tautology-predicate", "SELECT id FROM users WHERE name = '' OR 'a'='a' -- '");
        let _ = flags("tautology-predicate", "UPDATE users SET admin = true WHERE id = 7 OR true");
        let _ = flags("tautology-predicate", "SELECT 1 FROM (SELECT id FROM t WHERE (a = 1 OR (b = 2 OR 2>1))) x");
    }

    #[test]
    fn passes_conditions() {
        passes("tautology-predicate", "SELECT id FROM users WHERE 1=1 AND name = 'x'");
        passes("tautology-predicate", "SELECT id FROM users WHERE name = 'x' OR name = 'y'");
        passes("tautology-predicate", "SELECT id FROM users WHERE name = $1 OR $2");
    }
}
