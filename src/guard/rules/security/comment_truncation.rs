//! ### What it does
//! Finds a text that ends in `--` right behind a literal (parentheses and semicolons between them do not matter), where what
//! follows the marks is empty or looks like the rest of a statement: a quote, a parenthesis, a keyword. With `any = true` it
//! finds every text that ends in a `--` comment.
//!
//! ### Why it hurts
//! An injected value ends the string it was put into and comments out what the program wrote behind it: the password check,
//! the tenant, the `LIMIT`. Tools put their remarks into `/* … */`, and people end a line.
//!
//! ### Example
//! ```sql
//! SELECT id FROM users WHERE name = 'admin' --' AND password = 'x'
//! ```
//!
//! ### Instead
//! Send values as parameters:
//! ```sql
//! SELECT id FROM users WHERE name = $1 AND password = $2;
//! ```
//!
//! ### How to silence
//! Exempt people's tools: `unless = { applications = ["psql", "DBeaver*"] }`.

use super::{Finding, Opt, Options, Subject};

pub(super) const READS: &[&str] = &["query.trailing_comment"];
pub(super) const OPTIONS: &[Opt] =
    &[Opt::bool("any", false, "every text that ends in a `--` comment, whatever stands in it and before it")];

pub(super) fn check(subject: &Subject<'_>, options: &Options) -> Option<Finding> {
    let facts = subject.facts;
    let cut = match &facts.line_comment {
        Some((true, rest)) => options.bool("any") || is_rest(rest),
        Some((false, _)) => options.bool("any"),
        None => false,
    };
    cut.then(|| Finding {
        message: "This text ends in a comment that may hide the rest of the statement.".into(),
        hint: "Send values as parameters; write remarks as /* … */ or end the line.".into(),
    })
}

/// Nothing, or something of a statement.
fn is_rest(comment: &str) -> bool {
    const WORDS: [&str; 14] = [
        "and", "or", "where", "limit", "offset", "order", "group", "having", "returning", "union", "for", "is",
        "select", "from",
    ];
    let mut words = comment.split_ascii_whitespace().map(|word| word.trim_matches(';'));
    comment.trim().is_empty()
        || comment.contains(['\'', '"', '(', ')', ';', '='])
        || words.next().is_some_and(|first| WORDS.iter().any(|word| first.eq_ignore_ascii_case(word)))
}

#[cfg(test)]
mod tests {
    use super::super::super::Given;
    use super::super::super::testing::{Around, flags, flags_in, passes};

    #[test]
    fn flags_what_is_cut_off() {
        let text = "SELECT id FROM users WHERE name = 'admin' --' AND password = 'x'";
        assert!(flags("comment-truncation", text).message.contains("comment"));
        let _ = flags("comment-truncation", "SELECT id FROM users WHERE (name = 'a' OR 1=1)--");
        let _ = flags("comment-truncation", "SELECT id FROM users WHERE id = 7 -- AND tenant_id = 3");
        let _ = flags("comment-truncation", "DELETE FROM users; -- ");
    }

    #[test]
    fn passes_remarks() {
        passes("comment-truncation", "SELECT id FROM users WHERE id = 7 /* AND one */");
        passes("comment-truncation", "SELECT id -- AND so on\nFROM users WHERE id = 7");
        passes("comment-truncation", "SELECT id FROM users WHERE id = 7 -- the first customer");
        passes("comment-truncation", "SELECT '-- AND' FROM users");
        let any = Around::with("comment-truncation", |options| options.set("any", Given::Bool(true)));
        let _ = flags_in("comment-truncation", "SELECT id FROM users -- all of them", &any);
    }
}
