//! What a statement *is*. One field, one doc line; absent knowledge is never a default that looks safe.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::sql::{Comments, Refusal, comments, parse};

mod alter;
mod catalog;
mod change;
mod constants;
mod ddl;
#[cfg(test)]
mod ddl_tests;
mod effects;
mod filters;
mod functions;
#[cfg(test)]
mod hostile_tests;
mod kinds;
mod levels;
mod locks;
mod names;
mod new_objects;
mod patterns;
mod predicates;
mod queries;
#[cfg(test)]
mod read_tests;
mod readonly;
mod relations;
mod scope;
mod security;
#[cfg(test)]
mod security_tests;
mod statement;
mod table;
mod tags;
#[cfg(test)]
mod tests;
mod types;
mod views;
mod walk;
mod writes;

pub use change::{Change, ColumnDefault, WORDS};
pub use locks::{Lock, TableLock};
pub use predicates::{Comparison, Operand, Predicate, Relation, Role};
pub use security::Unions;
pub(in crate::guard) use security::is_catalog_name;
pub use table::Facts;
pub use types::widens;
pub(in crate::guard) use views::with_views;

/// How a text is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadOptions {
    /// Largest text in bytes that is parsed.
    pub max_bytes: usize,
    /// The session's `standard_conforming_strings`: off makes a backslash an escape in `'…'`.
    pub standard_conforming_strings: bool,
}

impl Default for ReadOptions {
    fn default() -> Self {
        Self { max_bytes: 1 << 20, standard_conforming_strings: true }
    }
}

/// What was read of one text.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// One entry a statement; none for an empty text; exactly one `unparsed` entry if refused.
    pub statements: Vec<Facts>,
    pub refusal: Option<Refusal>,
}

/// Reads a text: every statement's facts, or the reason why there are none.
#[must_use]
pub fn read(text: &[u8], options: &ReadOptions) -> Reading {
    let ReadOptions { max_bytes, standard_conforming_strings } = *options;
    let statements = parse::parse(text, standard_conforming_strings, max_bytes).and_then(|tree| {
        // A belt around the tree's accessors, which panic on a node they do not expect.
        catch_unwind(AssertUnwindSafe(|| {
            let mut statements: Vec<Facts> =
                tree.statements().map(|node| statement::facts(node, text.len())).collect();
            let count = u32::try_from(statements.len()).unwrap_or(u32::MAX);
            statements.iter_mut().for_each(|facts| facts.statements = count);
            new_objects::mark(&mut statements);
            remarks(&mut statements, &comments(text, standard_conforming_strings));
            statements
        }))
        .map_err(|_| Refusal::ParserFailed)
    });
    match statements {
        Ok(statements) => Reading { statements, refusal: None },
        Err(refusal) => Reading { statements: vec![Facts::unparsed(text.len())], refusal: Some(refusal) },
    }
}

/// Gives each statement what the comments of the text tell.
fn remarks(statements: &mut [Facts], comments: &Comments<'_>) {
    let Comments { count, trailing, last_block, line } = *comments;
    if count == 0 {
        return;
    }
    let tags = last_block.map(tags::of).unwrap_or_default();
    for facts in statements {
        facts.comments = count;
        facts.trailing_comment = trailing;
        facts.tags.clone_from(&tags);
        facts.line_comment =
            line.map(|(behind, line)| (behind, tags::bounded(&String::from_utf8_lossy(line))));
    }
}
