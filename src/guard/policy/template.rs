//! Messages and hints with placeholders.

use crate::guard::facts::Facts;

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
