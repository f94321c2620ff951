//! The shape of a text: its tokens, with every literal replaced by a tag of its class.
//!
//! Two texts of one cacheable shape have the same facts (except [`crate::guard::facts::Facts::bytes`]),
//! so that one verdict serves both. What a fact reads of a literal is therefore in its tag, or the literal itself is kept
//! beside the shape (`extras.rs`): two texts of one shape and the same such literals have the same facts.

use super::extras::{Extras, Wanted};
use super::lexer::{Kind, Lexer, Token};
use super::words::{self, packed_end};
use super::{Refusal, ShapeInfo};

/// Tags are control characters, which no other token starts with.
mod tag {
    pub(super) const STRING: u8 = 0x01;
    /// A string after a LIKE that starts with `%` or `_`.
    pub(super) const STRING_WILDCARD: u8 = 0x02;
    /// A string after a LIKE that reads as an array with such an element: `LIKE ANY ('{%a}')`.
    pub(super) const STRING_WILDCARD_ARRAY: u8 = 0x03;
    pub(super) const BITS: u8 = 0x04;
    pub(super) const HEX: u8 = 0x05;
    pub(super) const INTEGER: u8 = 0x06;
    pub(super) const NUMBER: u8 = 0x07;
    /// Before one of the string tags: `N'…'` is a cast.
    pub(super) const NATIONAL: u8 = 0x08;
    pub(super) const UNICODE: u8 = 0x0e;
    /// A string after a LIKE of nothing but `%`: it matches all.
    pub(super) const STRING_ALL: u8 = 0x0f;
}

/// Each byte with ASCII letters in lower case: a table is quicker for a short word than a vector.
const FOLDED: [u8; 256] = {
    let mut table = [0; 256];
    let mut i = 0;
    while i < 256 {
        table[i] = (i as u8).to_ascii_lowercase();
        i += 1;
    }
    table
};

/// Writes the text's shape to `out` (cleared first).
pub(super) fn shape_of(
    text: &[u8],
    standard_conforming_strings: bool,
    out: &mut Vec<u8>,
) -> Result<ShapeInfo, Refusal> {
    keyed_shape(text, standard_conforming_strings, Wanted::default(), out, &mut Vec::new())
}

/// Writes the text's shape to `out`, and the literals that facts read to `extras` (both cleared first).
pub(super) fn keyed_shape(
    text: &[u8],
    standard_conforming_strings: bool,
    wanted: Wanted,
    out: &mut Vec<u8>,
    extras: &mut Vec<u8>,
) -> Result<ShapeInfo, Refusal> {
    out.clear();
    extras.clear();
    let mut extras = wanted.any().then(|| Extras::new(wanted, extras));
    let mut lexer = Lexer::new(text, standard_conforming_strings);
    let mut split = Split::default();
    let mut query = false;
    let mut writer = Writer { out, like: false, literal_matters: !standard_conforming_strings };
    while let Some(token) = lexer.next()? {
        let bytes = text.get(token.start..token.end).unwrap_or_default();
        match split.token(token, bytes) {
            Place::Separator => continue,
            Place::First if split.statements > 1 => writer.out.extend_from_slice(b"; "),
            Place::First | Place::Inside => {}
        }
        if split.words == 1 && token.kind == Kind::Word && !query {
            query = starts_query(bytes);
            writer.literal_matters |= !query;
        }
        writer.token(token, bytes);
        if let Some(extras) = &mut extras {
            let told = extras.token(token, bytes, writer.out);
            writer.literal_matters |= !told;
        }
        writer.out.push(b' ');
    }
    writer.out.pop();
    let cacheable = split.statements == 1 && query && !writer.literal_matters;
    Ok(ShapeInfo { cacheable, statements: split.statements, comments: lexer.commented })
}

struct Writer<'a> {
    out: &'a mut Vec<u8>,
    /// A LIKE went before: from here on a string may be its pattern.
    like: bool,
    /// The text's meaning may depend on a literal in a way its shape does not show.
    literal_matters: bool,
}

impl Writer<'_> {
    #[inline]
    fn token(&mut self, token: Token, bytes: &[u8]) {
        match token.kind {
            Kind::Word => {
                let from = self.out.len();
                self.out.extend(bytes.iter().map(|byte| FOLDED[*byte as usize]));
                let word = self.out.get(from..).unwrap_or_default();
                self.like |= matches!(packed_end(word, word.len()), words::LIKE | words::ILIKE);
                self.literal_matters |= reads_literals(word);
            }
            Kind::Quoted => {
                self.out.extend_from_slice(bytes);
                // A quoted function name is the same function.
                let name = bytes.get(1..bytes.len().saturating_sub(1)).unwrap_or_default();
                self.literal_matters |= reads_literals(name);
            }
            Kind::UnicodeQuoted => {
                self.out.extend_from_slice(bytes);
                self.literal_matters = true;
            }
            Kind::Op => {
                self.out.extend_from_slice(bytes);
                self.like |= bytes.windows(2).any(|pair| pair == b"~~");
            }
            Kind::Param => self.out.extend_from_slice(bytes),
            Kind::Punct(byte) => self.out.push(byte),
            Kind::Integer => self.out.push(tag::INTEGER),
            Kind::Number => self.out.push(tag::NUMBER),
            Kind::Bits => self.out.push(tag::BITS),
            Kind::Hex => self.out.push(tag::HEX),
            Kind::UnicodeStr => {
                self.out.push(tag::UNICODE);
                self.literal_matters = true;
            }
            Kind::Str { .. } | Kind::National | Kind::Dollar => {
                if token.kind == Kind::National {
                    self.out.push(tag::NATIONAL);
                }
                let class = if self.like {
                    wildcard_class(token, bytes, &mut self.literal_matters)
                } else {
                    tag::STRING
                };
                self.out.push(class);
            }
        }
    }
}

/// The class of a string that may be a LIKE pattern.
fn wildcard_class(token: Token, bytes: &[u8], literal_matters: &mut bool) -> u8 {
    let body = match token.kind {
        Kind::Dollar => {
            let tag = bytes.iter().skip(1).position(|byte| *byte == b'$').map_or(0, |n| n + 2);
            bytes.get(tag..bytes.len().saturating_sub(tag)).unwrap_or_default()
        }
        _ => {
            let open = bytes.iter().position(|byte| *byte == b'\'').map_or(0, |n| n + 1);
            bytes.get(open..bytes.len().saturating_sub(1)).unwrap_or_default()
        }
    };
    match body.first() {
        Some(b'%') if body.iter().all(|byte| *byte == b'%') => tag::STRING_ALL,
        Some(b'%' | b'_') => {
            // A string that goes on in the next line may yet be of nothing else.
            *literal_matters |= body.iter().any(|byte| matches!(byte, b'\n' | b'\r'));
            tag::STRING_WILDCARD
        }
        // An escape may stand for either (`E'\x25'`), a quote begins a continuation (`'' ⏎ '%'`): only
        // the grammar tells.
        Some(b'\\' | b'\'') => {
            *literal_matters = true;
            tag::STRING
        }
        Some(b'{') => {
            *literal_matters |= matches!(token.kind, Kind::Str { escapes: true }) || body.contains(&b'\'');
            if array_has_wildcard(body) { tag::STRING_WILDCARD_ARRAY } else { tag::STRING }
        }
        _ => tag::STRING,
    }
}

/// Whether the text of an array has an element that begins with `%` or `_`. An element is taken to begin
/// after any brace, comma, quote or space: rather too often than too seldom.
pub(in crate::guard) fn array_has_wildcard(array: &[u8]) -> bool {
    array.first() == Some(&b'{')
        && array
            .windows(2)
            .any(|pair| matches!(pair, [b'{' | b',' | b'"' | b' ' | b'\t' | b'\n' | b'\r', b'%' | b'_']))
}

/// Only these statements may share facts by shape; any other is read anew.
fn starts_query(word: &[u8]) -> bool {
    [&b"select"[..], b"insert", b"update", b"delete", b"merge", b"with", b"values", b"table"]
        .iter()
        .any(|keyword| word.eq_ignore_ascii_case(keyword))
}

/// Names whose arguments or operands a rule may read: settings, files, SQL in strings, sequences, casts
/// of a literal to an object's name. The name is as PostgreSQL folds it.
#[inline]
fn reads_literals(name: &[u8]) -> bool {
    let begins = |prefixes: &[&[u8]]| prefixes.iter().any(|prefix| name.starts_with(prefix));
    match name {
        [b'c', ..] => begins(&[b"currval", b"current_setting", b"cursor_to_xml", b"crosstab", b"connectby"]),
        [b'd', ..] => begins(&[b"dblink", b"database_to_xml"]),
        [b'l', ..] => begins(&[b"lo_", b"lastval"]),
        [b'n', ..] => begins(&[b"nextval"]),
        [b'p', b'g', b'_', ..] => {
            begins(&[b"pg_read_", b"pg_ls_", b"pg_stat_file", b"pg_file_", b"pg_logical", b"pg_replication"])
        }
        [b'q', ..] => begins(&[b"query_to_xml"]),
        [b'r', ..] => begins(&[b"reg"]),
        [b's', ..] => begins(&[b"set_config", b"setval", b"schema_to_xml"]),
        [b't', ..] => begins(&[b"table_to_xml", b"ts_stat", b"ts_rewrite"]),
        _ => false,
    }
}

/// Where a token stands in the text.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// First of its statement.
    First,
    Inside,
    /// A top-level semicolon.
    Separator,
}

/// Tells statements apart: at semicolons outside parentheses and outside a function's `BEGIN ATOMIC`.
#[derive(Default)]
pub(super) struct Split {
    /// Statements begun so far.
    pub(super) statements: u32,
    /// Words of the current statement so far.
    pub(super) words: u32,
    inside: bool,
    parens: u32,
    /// The statement creates a function or procedure; only there `BEGIN ATOMIC` holds semicolons.
    creates_routine: bool,
    begun: u32,
    begin_before: bool,
}

impl Split {
    #[inline]
    pub(super) fn token(&mut self, token: Token, bytes: &[u8]) -> Place {
        match token.kind {
            Kind::Punct(b';') if self.parens == 0 && self.begun == 0 => {
                *self = Self { statements: self.statements, ..Self::default() };
                return Place::Separator;
            }
            Kind::Punct(b'(') => self.parens += 1,
            Kind::Punct(b')') => self.parens = self.parens.saturating_sub(1),
            Kind::Word => {
                self.words += 1;
                // Words of a query cannot matter here, and there are many of them.
                if self.words <= 4 || self.creates_routine {
                    self.word(bytes);
                }
            }
            _ => {}
        }
        if self.inside {
            return Place::Inside;
        }
        self.inside = true;
        self.statements += 1;
        Place::First
    }

    /// As the server's own client splits: `CREATE [OR REPLACE] FUNCTION|PROCEDURE … BEGIN ATOMIC … END`,
    /// with `CASE … END` inside.
    fn word(&mut self, word: &[u8]) {
        let is = |keyword: &[u8]| word.eq_ignore_ascii_case(keyword);
        let begin_before = std::mem::take(&mut self.begin_before);
        if self.words <= 4 && !self.creates_routine {
            match self.words {
                1 => self.begin_before = is(b"create"),
                2 | 3 => {
                    self.creates_routine = begin_before && (is(b"function") || is(b"procedure"));
                    self.begin_before = begin_before && (is(b"or") || is(b"replace"));
                }
                _ => self.creates_routine = begin_before && (is(b"function") || is(b"procedure")),
            }
        } else if self.parens > 0 {
            // Neither `BEGIN` nor its `END` stands in parentheses.
        } else if is(b"begin") {
            self.begin_before = true;
        } else if (is(b"atomic") && begin_before) || (is(b"case") && self.begun > 0) {
            self.begun += 1;
        } else if is(b"end") {
            self.begun = self.begun.saturating_sub(1);
        }
    }
}
