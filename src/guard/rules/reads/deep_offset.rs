//! ### What it does
//! Finds an `OFFSET` above `max`, written as a number. One that is a parameter cannot be seen in the text.
//!
//! ### Why it hurts
//! PostgreSQL reads and throws away every row before the offset, sorted: page ten thousand costs ten thousand pages.
//! And rows that come or go between two pages are shown twice, or never.
//!
//! ### Example
//! ```sql
//! SELECT id, title FROM posts ORDER BY created_at DESC LIMIT 20 OFFSET 200000;
//! ```
//!
//! ### Instead
//! ```sql
//! SELECT id, title FROM posts WHERE (created_at, id) < ($1, $2) ORDER BY created_at DESC, id DESC LIMIT 20;
//! ```
//!
//! ### How to silence
//! Raise `with = { max = 100000 }`.

use super::{Finding, Opt, Options, Subject, Kind};

pub(super) const READS: &[&str] = &["query.offset", "query.kind", "query.tables"];
pub(super) const OPTIONS: &[Opt] = &[Opt::int("max", 1_000, "Deepest offset that passes.")];

pub(super) fn check(subject: &Subject<'_>, options: &Options) -> Option<Finding> {
    let facts = subject.facts;
    let offset = facts.offset.filter(|offset| i64::try_from(*offset).unwrap_or(i64::MAX) > options.int("max"))?;
    if facts.kind == Kind::Ddl {
        return None;
    }
    Some(Finding {
        message: format!("This reads {offset} rows and throws them away before the first one it sends."),
        hint: "Go on from the last row read: WHERE (sort columns) > (its values) ORDER BY … LIMIT.".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::Given;
    use super::super::super::testing::{Around, flags, flags_in, passes};

    #[test]
    fn flags_deep_offsets() {
        let found = flags("deep-offset", "SELECT id FROM posts ORDER BY id LIMIT 20 OFFSET 200000");
        assert!(found.message.contains("200000 rows"), "{found:?}");
        let strict = Around::with("deep-offset", |with| with.set("max", Given::Int(0)));
        let _ = flags_in("deep-offset", "SELECT id FROM posts OFFSET 1", &strict);
    }

    #[test]
    fn passes_near_and_unknown_ones() {
        passes("deep-offset", "SELECT id FROM posts ORDER BY id LIMIT 20 OFFSET 1000");
        passes("deep-offset", "SELECT id FROM posts ORDER BY id LIMIT 20 OFFSET $1");
        passes("deep-offset", "SELECT id FROM posts WHERE id > 200000 LIMIT 20");
    }
}
