//! What a statement *is*. One field, one doc line; absent knowledge is never a default that looks safe.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::sql::{Refusal, parse};
use super::{Effects, Kind};

mod catalog;
mod effects;
mod functions;
#[cfg(test)]
mod hostile_tests;
mod kinds;
mod names;
mod patterns;
mod readonly;
mod relations;
mod scope;
mod statement;
#[cfg(test)]
mod tests;
mod walk;

/// The facts of one statement. Names are PostgreSQL's; lists hold each name once, in order of appearance.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Facts {
    /// `select`, `insert`, `update`, `delete`, `merge`, `copy`, `ddl`, `transaction`, `set`, `show`, `utility`, `unparsed`.
    pub kind: Kind,
    /// Provably changes nothing: no data-modifying CTE, `INTO`, row lock, function not known to be harmless.
    pub read_only: bool,
    /// Relations as written, schema-qualified where the text does so; CTE names left out.
    pub tables: Vec<String>,
    /// `*` or `t.*` in a target list or `RETURNING`; not `count(*)`, not inside `EXISTS`.
    pub select_star: bool,
    /// An `UPDATE` or `DELETE` without `WHERE` anywhere in it: in a `WITH`, under `EXPLAIN`, `PREPARE`, `COPY (…)`.
    pub unfiltered_write: bool,
    /// The statement itself (not a subquery) has a `WHERE` clause.
    pub has_where: bool,
    /// The statement itself has a `LIMIT` or `FETCH FIRST` other than `ALL` or `NULL`.
    pub has_limit: bool,
    /// Joins written as `JOIN`, plus one for each further comma-separated relation in a `FROM`.
    pub joins: u32,
    /// Calls of aggregate functions.
    pub aggregates: u32,
    /// Any query level has a `GROUP BY`.
    pub group_by: bool,
    /// Any query level has `DISTINCT`.
    pub distinct: bool,
    /// Functions called, lower case as PostgreSQL folds them, schema-qualified where the text does so.
    pub functions: Vec<String>,
    /// Row locks: `FOR UPDATE`, `FOR NO KEY UPDATE`, `FOR SHARE`, `FOR KEY SHARE`.
    pub for_update: bool,
    /// A `LIKE`, `ILIKE` or `~~` whose pattern is a literal that starts with `%` or `_`.
    pub leading_wildcard: bool,
    /// Column compared in the first such pattern, or with the first of `like_params`; for messages.
    pub like_column: Option<String>,
    /// Parameters ($n) that stand as `LIKE` patterns.
    pub like_params: Vec<u16>,
    /// Highest parameter number.
    pub params: u16,
    /// Size of the text in bytes.
    pub bytes: u32,
    /// Settings of the session that the statement sets or resets by name, lower case; not those of `SET LOCAL`.
    pub settings: Vec<String>,
    /// Settings of the application's own that it names, to set or to read.
    #[serde(skip)]
    pub custom_settings: Vec<Box<str>>,
    /// Names in SQL `PREPARE`, `EXECUTE`, `DEALLOCATE`; true: deallocated.
    #[serde(skip)]
    pub prepared: Vec<(Box<str>, bool)>,
    /// Session state the statement may leave behind.
    #[serde(skip)]
    pub effects: Effects,
}

impl Facts {
    /// Nothing is known of it: not read-only, may leave any session state.
    #[must_use]
    pub fn unparsed(bytes: usize) -> Self {
        Self {
            kind: Kind::Unparsed,
            read_only: false,
            tables: Vec::new(),
            select_star: false,
            unfiltered_write: false,
            has_where: false,
            has_limit: false,
            joins: 0,
            aggregates: 0,
            group_by: false,
            distinct: false,
            functions: Vec::new(),
            for_update: false,
            leading_wildcard: false,
            like_column: None,
            like_params: Vec::new(),
            params: 0,
            bytes: u32::try_from(bytes).unwrap_or(u32::MAX),
            settings: Vec::new(),
            custom_settings: Vec::new(),
            prepared: Vec::new(),
            effects: effects::UNREAD,
        }
    }
}

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
#[derive(Clone, Debug, PartialEq, Eq)]
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
            tree.statements().map(|node| statement::facts(node, text.len())).collect()
        }))
        .map_err(|_| Refusal::ParserFailed)
    });
    match statements {
        Ok(statements) => Reading { statements, refusal: None },
        Err(refusal) => Reading { statements: vec![Facts::unparsed(text.len())], refusal: Some(refusal) },
    }
}
