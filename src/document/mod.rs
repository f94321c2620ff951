//! A TOML text read with every mistake at once. Each mistake has its place and, where there is one, its cure.
//!
//! Settings and policies are both read through this, so that they refuse unknown keys in the same words.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use serde_spanned::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

mod mask;
mod suggest;

pub use suggest::closest;

/// A text and the name to call it by in messages (a path as the user wrote it).
#[derive(Debug, PartialEq, Eq)]
pub struct Source {
    pub name: Box<str>,
    pub text: Box<str>,
}

impl Source {
    #[must_use]
    pub fn new(name: impl Into<Box<str>>, text: impl Into<Box<str>>) -> Arc<Self> {
        Arc::new(Self { name: name.into(), text: text.into() })
    }

    /// Line and column of a byte offset, both from 1; columns count characters.
    #[must_use]
    pub fn place(&self, offset: usize) -> (usize, usize) {
        let before = self.text.get(..offset).unwrap_or(&self.text);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }
}

/// One mistake. `Display` gives it on one line, [`render`] with the source line and a caret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where; `None` if it is in no file (a flag, a file that cannot be read).
    pub at: Option<(Arc<Source>, Range<usize>)>,
    pub message: String,
    /// What to do about it.
    pub cure: Option<String>,
}

impl Problem {
    pub fn new(message: impl Into<String>) -> Self {
        Self { at: None, message: message.into(), cure: None }
    }

    #[must_use]
    pub fn at(source: &Arc<Source>, span: Range<usize>, message: impl Into<String>) -> Self {
        Self { at: Some((Arc::clone(source), span)), message: message.into(), cure: None }
    }

    #[must_use]
    pub fn cure(mut self, cure: impl Into<String>) -> Self {
        self.cure = Some(cure.into());
        self
    }

    /// Line and column, both from 1.
    #[must_use]
    pub fn place(&self) -> Option<(usize, usize)> {
        self.at.as_ref().map(|(source, span)| source.place(span.start))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let (Some((source, _)), Some((line, column))) = (&self.at, self.place()) {
            write!(f, "{}:{line}:{column}: ", source.name)?;
        }
        f.write_str(&self.message)?;
        match &self.cure {
            Some(cure) => write!(f, " ({cure})"),
            None => Ok(()),
        }
    }
}

/// Problems for people: source line, caret and cure, as rustc shows them. Passwords in the shown lines are
/// starred out.
#[must_use]
pub fn render(problems: &[Problem], colour: bool) -> String {
    use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
    let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
    let mut out = String::new();
    for problem in problems {
        let masked = problem.at.as_ref().map(|(source, span)| (source, mask::passwords(&source.text), span));
        let title = Level::ERROR.primary_title(problem.message.as_str());
        let mut group = Group::with_title(title);
        if let Some((source, text, span)) = &masked {
            let snippet = Snippet::source(text.as_str())
                .path(&*source.name)
                .annotation(AnnotationKind::Primary.span((*span).clone()));
            group = group.element(snippet);
        }
        if let Some(cure) = &problem.cure {
            group = group.element(Level::HELP.message(cure.as_str()));
        }
        out.push_str(&renderer.render(&[group]));
        out.push_str("\n\n");
    }
    out
}

/// Collects what is wrong with one source.
pub struct Problems {
    pub source: Arc<Source>,
    found: Vec<Problem>,
    syntax_lines: Vec<usize>,
}

impl Problems {
    #[must_use]
    pub fn new(source: &Arc<Source>) -> Self {
        Self { source: Arc::clone(source), found: Vec::new(), syntax_lines: Vec::new() }
    }

    /// Notes a mistake; returns it to add a cure.
    pub fn add(&mut self, span: Range<usize>, message: impl Into<String>) -> &mut Problem {
        self.found.push(Problem::at(&self.source, span, message));
        let last = self.found.len() - 1;
        &mut self.found[last]
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// All of them in the order of the text. What stands on a line that is not TOML is left out but for the
    /// syntax error itself: the reader went on by guessing there.
    #[must_use]
    pub fn finish(mut self) -> Vec<Problem> {
        let syntax = std::mem::take(&mut self.syntax_lines);
        let mut of_syntax = syntax.len();
        self.found.retain(|problem| {
            if of_syntax > 0 {
                of_syntax -= 1;
                return true;
            }
            problem.place().is_none_or(|(line, _)| !syntax.contains(&line))
        });
        self.found.sort_by_key(|problem| problem.at.as_ref().map_or(0, |(_, span)| span.start));
        self.found
    }

    /// Reads the text as TOML as far as it goes.
    pub fn parse<'a>(&mut self, text: &'a str) -> Spanned<DeTable<'a>> {
        let (table, errors) = DeTable::parse_recoverable(text);
        for error in errors {
            let span = error.span().unwrap_or(0..0);
            self.syntax_lines.push(self.source.place(span.start).0);
            self.add(span, format!("not TOML: {}", error.message()));
        }
        table
    }

    /// Reports each key of `table` that is not among `known`. `elsewhere` may know where a key belongs.
    pub fn refuse_unknown_keys(
        &mut self,
        table: &DeTable<'_>,
        what: &str,
        known: &[&str],
        elsewhere: impl Fn(&str) -> Option<String>,
    ) {
        for key in table.keys() {
            let name: &str = key.get_ref();
            if known.contains(&name) {
                continue;
            }
            let cure = elsewhere(name).or_else(|| {
                closest(name, known.iter().copied()).map(|near| format!("did you mean `{near}`?"))
            });
            let problem = self.add(key.span(), format!("unknown {what} `{}`", short(name)));
            problem.cure = cure.or_else(|| Some(format!("known are {}", known.join(", "))));
        }
    }
}

/// Notes that a value has the wrong type.
pub fn wrong_type(problems: &mut Problems, value: &Spanned<DeValue<'_>>, key: &str, expected: &str) {
    problems.add(value.span(), format!("`{key}` must be {expected}, not {}", a(value.get_ref().type_str())));
}

/// A table's entry, if it is there.
#[must_use]
pub fn entry<'a, 'i>(table: &'a DeTable<'i>, key: &str) -> Option<&'a Spanned<DeValue<'i>>> {
    table.iter().find(|(name, _)| name.get_ref() == key).map(|(_, value)| value)
}

/// A string, if it is there and is one.
pub fn string<'a>(table: &'a DeTable<'_>, key: &str, problems: &mut Problems) -> Option<Spanned<&'a str>> {
    let value = entry(table, key)?;
    let text = value.get_ref().as_str();
    if text.is_none() {
        wrong_type(problems, value, key, "a string");
    }
    text.map(|text| Spanned::new(value.span(), text))
}

/// An array of strings, if it is there; entries that are not strings are reported and left out.
pub fn strings<'a>(
    table: &'a DeTable<'_>,
    key: &str,
    problems: &mut Problems,
) -> Option<Vec<Spanned<&'a str>>> {
    let value = entry(table, key)?;
    let Some(list) = value.get_ref().as_array() else {
        wrong_type(problems, value, key, "an array of strings");
        return None;
    };
    let mut texts = Vec::new();
    for item in list.iter() {
        match item.get_ref().as_str() {
            Some(text) => texts.push(Spanned::new(item.span(), text)),
            None => wrong_type(problems, item, key, "an array of strings"),
        }
    }
    Some(texts)
}

/// The tables of an array of tables (`[[key]]`); others are reported and left out.
pub fn tables<'a, 'i>(
    table: &'a DeTable<'i>,
    key: &str,
    problems: &mut Problems,
) -> Vec<(Range<usize>, &'a DeTable<'i>)> {
    let Some(value) = entry(table, key) else { return Vec::new() };
    let Some(list) = value.get_ref().as_array() else {
        wrong_type(problems, value, key, &format!("written as [[{key}]]"));
        return Vec::new();
    };
    only_tables(list, key, problems)
}

fn only_tables<'a, 'i>(
    list: &'a DeArray<'i>,
    key: &str,
    problems: &mut Problems,
) -> Vec<(Range<usize>, &'a DeTable<'i>)> {
    let mut found = Vec::new();
    for item in list.iter() {
        match item.get_ref().as_table() {
            Some(table) => found.push((item.span(), table)),
            None => wrong_type(problems, item, key, &format!("written as [[{key}]]")),
        }
    }
    found
}

/// `a string`, `an integer`.
#[must_use]
pub fn a(noun: &str) -> String {
    let article = if noun.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    format!("{article} {noun}")
}

/// A name out of a file, cut so that it cannot flood a message.
#[must_use]
pub fn short(name: &str) -> String {
    if name.chars().count() <= 60 {
        return name.to_owned();
    }
    name.chars().take(60).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn places_count_lines_and_characters_from_one() {
        let source = Source::new("f", "äb = 1\nc = 2\n");
        assert_eq!(source.place(0), (1, 1));
        assert_eq!(source.place(2), (1, 2));
        assert_eq!(source.place(8), (2, 1));
        assert_eq!(source.place(9999), (3, 1));
    }

    #[test]
    fn unknown_keys_come_with_a_cure() {
        let source = Source::new("p.toml", "pool_sise = 1\nx = 2");
        let mut problems = Problems::new(&source);
        let table = problems.parse(&source.text);
        problems.refuse_unknown_keys(table.get_ref(), "setting", &["pool_size"], |_| None);
        let found: Vec<String> = problems.finish().iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            [
                "p.toml:1:1: unknown setting `pool_sise` (did you mean `pool_size`?)",
                "p.toml:2:1: unknown setting `x` (known are pool_size)"
            ]
        );
    }

    #[test]
    fn a_line_that_is_not_toml_hides_only_itself() {
        let source = Source::new("p.toml", "a = = 1\nwrong = 2\n");
        let mut problems = Problems::new(&source);
        let table = problems.parse(&source.text);
        problems.refuse_unknown_keys(table.get_ref(), "key", &["b"], |_| None);
        let found = problems.finish();
        assert!(found[0].message.starts_with("not TOML"), "{found:?}");
        assert!(found.iter().any(|problem| problem.message.contains("`wrong`")), "{found:?}");
        assert!(!found.iter().any(|problem| problem.message.contains("`a`")), "{found:?}");
    }

    #[test]
    fn the_rendered_line_shows_caret_and_cure_and_no_password() {
        let source = Source::new("p.toml", "primary = \"postgres://u:geheim@h:0/d\"\n");
        let text = render(&[Problem::at(&source, 10..37, "the port is wrong").cure("use 5432")], false);
        assert!(text.contains("p.toml:1:11"), "{text}");
        assert!(text.contains("^^^^") && text.contains("use 5432"), "{text}");
        assert!(!text.contains("geheim"), "{text}");
    }
}
