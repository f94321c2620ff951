//! Messages and hints with placeholders: `{table}`, `{rule}`, and any fact as `{query.joins}`.

use super::check::Reads;
use super::condition::{Place, shown};
use super::model::Rule;
use crate::document::short;
use crate::guard::Subject;

/// A message with placeholders; `{{` and `}}` are braces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template {
    pieces: Box<[Piece]>,
    reads: Vec<(&'static str, &'static str)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(Box<str>),
    Table,
    Column,
    Rule,
    /// The rule's own.
    Limit,
    Fingerprint,
    Fact(Place),
}

/// What a placeholder of one word stands for, where that is a fact.
const SHORT: [(&str, &str, &str); 5] = [
    ("tables", "query", "tables"),
    ("user", "client", "user"),
    ("database", "client", "database"),
    ("application", "client", "application"),
    ("rows", "catalog", "rows"),
];

impl Template {
    pub(super) const PLACEHOLDERS: &'static str = "{table}, {tables}, {column}, {rows}, {limit}, {rule}, {user}, \
        {database}, {application}, {fingerprint} and any fact such as {query.joins}";

    /// Reads a template; the unknown or unfinished placeholder if there is one.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut reads = Vec::new();
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
            let piece = Piece::of(name, &mut reads)
                .ok_or_else(|| format!("unknown placeholder `{{{}}}`", short(name)))?;
            pieces.push(Piece::Text(std::mem::take(&mut plain).into()));
            pieces.push(piece);
            rest = after;
        }
        plain.push_str(rest);
        pieces.push(Piece::Text(plain.into()));
        Ok(Self { pieces: pieces.into(), reads })
    }

    /// It names the rule's limit.
    pub(super) fn names_limit(&self) -> bool {
        self.pieces.contains(&Piece::Limit)
    }

    /// The facts it shows.
    pub(super) fn reads(&self, into: &mut Reads) {
        self.reads.iter().for_each(|(root, field)| into.insert(root, field));
    }

    pub(super) fn fill(&self, rule: &Rule, subject: &Subject<'_>, fingerprint: u64) -> String {
        let mut out = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => out.push_str(text),
                Piece::Rule => out.push_str(&rule.name),
                Piece::Table => out.push_str(&named(subject.facts.tables.first(), "the table")),
                Piece::Column => out.push_str(&named(subject.facts.like_column.as_ref(), "the column")),
                Piece::Limit => out += &rule.limit.as_ref().map(ToString::to_string).unwrap_or_default(),
                Piece::Fingerprint => out += &format!("{fingerprint:016x}"),
                Piece::Fact(place) => {
                    out +=
                        &shown(place.get(subject)).map_or_else(|| "unknown".to_owned(), |text| long(&text));
                }
            }
        }
        out
    }
}

impl Piece {
    fn of(name: &str, reads: &mut Vec<(&'static str, &'static str)>) -> Option<Self> {
        match name {
            "table" => return Some(Self::Table),
            "column" => return Some(Self::Column),
            "rule" => return Some(Self::Rule),
            "limit" => return Some(Self::Limit),
            "fingerprint" => return Some(Self::Fingerprint),
            _ => {}
        }
        let shortened =
            SHORT.iter().find(|(short, ..)| *short == name).map(|(_, root, field)| (*root, *field));
        let (root, field) = shortened.or_else(|| name.split_once('.'))?;
        let (place, root, field) = Place::of(root, field)?;
        reads.push((root, field));
        Some(Self::Fact(place))
    }
}

fn named(name: Option<&String>, nothing: &str) -> String {
    name.map_or_else(|| nothing.to_owned(), |name| short(name))
}

/// Names come from clients; a few of them fit, a flood does not.
fn long(text: &str) -> String {
    if text.chars().count() <= 400 {
        text.to_owned()
    } else {
        text.chars().take(400).chain(['…']).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn templates_refuse_what_they_cannot_fill() {
        for (text, name) in
            [("{roww}", "{roww}"), ("{query.join}", "{query.join}"), ("{plane.rows}", "{plane.rows}")]
        {
            assert!(Template::parse(text).unwrap_err().contains(&format!("unknown placeholder `{name}`")));
        }
        for text in ["{", "a } b", "{table", "}{"] {
            assert!(Template::parse(text).unwrap_err().contains("a lone"), "{text}");
        }
    }
}
