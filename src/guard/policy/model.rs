//! Policies that cannot hold a mistake: only `load.rs` makes them, and it has checked all of it.

use std::sync::Arc;

use super::check::Reads;
use super::condition::Condition;
use super::select::Selector;
use crate::guard::facts::Facts;
use crate::guard::rules::{Detector, Options};
use crate::guard::sql::Wanted;
use crate::guard::{Action, Lane};

/// What a rule does where it matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// The statement runs, the client gets a NOTICE.
    Warn,
    /// The client gets an error.
    Block,
    /// The statement may run there.
    Route(Lane),
}

impl Act {
    #[must_use]
    pub fn action(self) -> Action {
        match self {
            Self::Warn => Action::Warn,
            Self::Block => Action::Block,
            Self::Route(_) => Action::Route,
        }
    }
}

/// One rule.
#[derive(Debug)]
pub struct Rule {
    pub name: Arc<str>,
    /// Name of its file, without directories: for the DETAIL of errors.
    pub file: Arc<str>,
    pub act: Act,
    /// False in `mode = "observe"`: it is counted, and nothing else happens.
    pub enforced: bool,
    pub(super) finds: Option<&'static Detector>,
    /// The detector's options.
    pub(super) with: Options,
    pub(super) when: Option<Condition>,
    /// One of them must include the statement; none given includes all.
    pub(super) only: Box<[Selector]>,
    /// None of them may exempt it.
    pub(super) unless: Box<[Selector]>,
    pub(super) message: Option<Template>,
    pub(super) hint: Option<Template>,
    pub(super) sqlstate: [u8; 5],
    /// `on_unknown = "match"`: a condition that cannot be answered counts as met.
    pub(super) match_unknown: bool,
}

/// Every rule of every file, checked, and what they need to be asked.
pub struct Policies {
    pub(super) rules: Box<[Rule]>,
    pub(super) env: Arc<cel::Env>,
    /// All that any condition reads.
    pub(super) reads: Reads,
    pub(super) reads_application: bool,
}

impl std::fmt::Debug for Policies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.rules.iter().map(|rule| &rule.name)).finish()
    }
}

impl Policies {
    /// In the order of files and of rules in them; [`crate::guard::Hit::rule`] is an index into this.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// A verdict may depend on `application_name`. If not, leave it out of [`crate::guard::Class`].
    #[must_use]
    pub fn reads_application(&self) -> bool {
        self.reads_application
    }

    /// Some rule sends statements to a replica.
    #[must_use]
    pub fn routes(&self) -> bool {
        self.rules.iter().any(|rule| matches!(rule.act, Act::Route(Lane::Replica)) && rule.enforced)
    }

    /// The literals of a text that a verdict may depend on.
    pub(in crate::guard) fn reads_literals(&self) -> Wanted {
        let detected = |fact: &str| {
            let mut detectors = self.rules.iter().filter_map(|rule| rule.finds);
            detectors
                .any(|detector| detector.reads.iter().any(|read| read.strip_prefix("query.") == Some(fact)))
        };
        let any = |facts: &[&str]| facts.iter().any(|fact| self.reads.has("query", fact) || detected(fact));
        Wanted {
            bounds: any(&["limit", "offset"]),
            constants: any(&["always_true", "tautology"]),
            comments: any(&["comments", "trailing_comment", "tags"]),
        }
    }

    /// A verdict may depend on the length of the text, so that texts of one shape may differ in it.
    pub(in crate::guard) fn reads_bytes(&self) -> bool {
        self.reads.has("query", "bytes")
    }
}

/// A message with placeholders: `{table}`, `{column}`, `{rule}`; `{{` and `}}` are braces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Box<[Piece]>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(Box<str>),
    Table,
    Column,
    Rule,
}

impl Template {
    pub(super) const PLACEHOLDERS: [&'static str; 3] = ["table", "column", "rule"];

    /// Reads a template; the unknown or unfinished placeholder if there is one.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            plain.push_str(&rest[..at]);
            let brace = &rest[at..=at];
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix(brace) {
                plain.push_str(brace);
                rest = after;
                continue;
            }
            let Some((name, after)) = rest.split_once('}').filter(|_| brace == "{") else {
                return Err(format!("a lone `{brace}`: write `{brace}{brace}` for a brace"));
            };
            let piece = match name {
                "table" => Piece::Table,
                "column" => Piece::Column,
                "rule" => Piece::Rule,
                other => return Err(format!("unknown placeholder `{{{}}}`", crate::document::short(other))),
            };
            pieces.push(Piece::Text(std::mem::take(&mut plain).into()));
            pieces.push(piece);
            rest = after;
        }
        plain.push_str(rest);
        pieces.push(Piece::Text(plain.into()));
        Ok(Self(pieces.into()))
    }

    pub(super) fn fill(&self, rule: &str, facts: &Facts) -> String {
        let mut out = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => out.push_str(text),
                Piece::Rule => out.push_str(rule),
                Piece::Table => out.push_str(&named(facts.tables.first(), "the table")),
                Piece::Column => out.push_str(&named(facts.like_column.as_ref(), "the column")),
            }
        }
        out
    }
}

fn named(name: Option<&String>, nothing: &str) -> String {
    name.map_or_else(|| nothing.to_owned(), |name| crate::document::short(name))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn templates_fill_their_placeholders() {
        let facts = Facts {
            tables: vec!["shop.orders".into(), "b".into()],
            like_column: Some("email".into()),
            ..Facts::unparsed(1)
        };
        let template = Template::parse("{rule}: {{{column}}} of {table}!").unwrap();
        assert_eq!(template.fill("r", &facts), "r: {email} of shop.orders!");
        assert_eq!(template.fill("r", &Facts::unparsed(1)), "r: {the column} of the table!");
    }

    #[test]
    fn templates_refuse_what_they_cannot_fill() {
        assert!(Template::parse("{rows}").unwrap_err().contains("unknown placeholder `{rows}`"));
        for text in ["{", "a } b", "{table", "}{"] {
            assert!(Template::parse(text).unwrap_err().contains("a lone"), "{text}");
        }
    }
}
