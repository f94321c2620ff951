//! From a text to its shape, its fingerprint and PostgreSQL's own tree.

mod comments;
mod depth;
mod effort;
mod extras;
#[cfg(test)]
mod key_tests;
mod lexer;
mod normalize;
pub(in crate::guard) mod parse;
mod refusal;
mod shape;
#[cfg(test)]
mod tests;
mod words;

pub(in crate::guard) use comments::{Comments, comments};
pub use extras::Wanted;
pub use refusal::Refusal;
pub(in crate::guard) use shape::array_has_wildcard;

/// What the lexer says of a whole text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShapeInfo {
    /// Two texts of this shape and the same extras that the grammar accepts have the same facts but for their size, so
    /// that one verdict serves both. A refusal may lie in a literal (a bad escape, bytes that are not UTF-8):
    /// what was refused must not be remembered by shape.
    pub cacheable: bool,
    /// Statements between top-level semicolons, empty ones not counted.
    pub statements: u32,
    /// There may be a comment, which the shape does not show.
    pub comments: bool,
}

/// Writes the text's shape to `out` (cleared first): its tokens, literals as class tags, no white space,
/// no comments, no semicolon at its end. Allocates only where `out` must grow.
pub fn shape_of(
    text: &[u8],
    standard_conforming_strings: bool,
    out: &mut Vec<u8>,
) -> Result<ShapeInfo, Refusal> {
    shape::shape_of(text, standard_conforming_strings, out)
}

/// As [`shape_of`], and writes to `extras` (cleared first) the literals that facts read: texts of one shape and the same
/// extras have the same facts.
pub fn keyed_shape_of(
    text: &[u8],
    standard_conforming_strings: bool,
    wanted: Wanted,
    out: &mut Vec<u8>,
    extras: &mut Vec<u8>,
) -> Result<ShapeInfo, Refusal> {
    shape::keyed_shape(text, standard_conforming_strings, wanted, out, extras)
}

/// First 8 bytes of SHA-256 of the shape: the same on every machine and in every run.
#[must_use]
pub fn fingerprint(shape: &[u8]) -> u64 {
    let digest = ring::digest::digest(&ring::digest::SHA256, shape);
    digest.as_ref().iter().take(8).fold(0, |number, byte| (number << 8) | u64::from(*byte))
}

/// The text for people: one line, literals as `$n`, at most `max_len` bytes.
#[must_use]
pub fn normalized(text: &[u8], standard_conforming_strings: bool, max_len: usize) -> String {
    normalize::normalized(text, standard_conforming_strings, max_len)
}

/// The text as PostgreSQL's own printer writes what the grammar read: two texts that it writes alike are the same
/// statements. `None` for what is not read.
#[must_use]
pub(in crate::guard) fn canonical(text: &str) -> Option<String> {
    parse::canonical(text)
}
