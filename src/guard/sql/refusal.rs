//! Why a text was not read. A refused text is `unparsed`: never guessed, never read-only.

use std::fmt;

/// Why the guard does not read a text. [`fmt::Display`] says it in words fit for a log line or a DETAIL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// More bytes than the setting allows.
    TooLarge { bytes: usize, max: usize },
    /// A NUL byte: the wire protocol ends a text there, the grammar would too.
    NulByte { at: usize },
    /// Bytes that are not UTF-8: the grammar's interface takes UTF-8 only.
    NotUtf8 { at: usize },
    /// A string, quoted identifier, dollar quote or comment without its end.
    Unterminated { what: &'static str, at: usize },
    /// A token that is none: `'abc` with a bad escape, `1x`, an empty `""`.
    BadToken { what: &'static str, at: usize },
    /// Comments nested deeper than 32: the grammar's lexer takes quadratic time there.
    CommentDepth { at: usize },
    /// An operator of more than 63 bytes: the grammar's lexer takes quadratic time there.
    OperatorLength { at: usize },
    /// Parentheses, brackets or expressions nested deeper than the cap.
    Nesting { max: u32 },
    /// So many statements, names and calls that reading them would hold up others.
    Effort { at: usize },
    /// A `U&"…"` or `U&'…'` form, which only the grammar reads.
    UnicodeEscape { at: usize },
    /// The grammar's own message: `syntax error at or near "x"`.
    Syntax(String),
    /// The parser failed in a way it should not; the statement is not read, the connection lives on.
    ParserFailed,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { bytes, max } => write!(f, "{bytes} bytes are more than the {max} that are read"),
            Self::NulByte { at } => write!(f, "NUL byte at byte {at}"),
            Self::NotUtf8 { at } => write!(f, "not UTF-8 at byte {at}"),
            Self::Unterminated { what, at } => write!(f, "unterminated {what} that starts at byte {at}"),
            Self::BadToken { what, at } => write!(f, "{what} at byte {at}"),
            Self::CommentDepth { at } => write!(f, "comments nested deeper than 32 at byte {at}"),
            Self::OperatorLength { at } => write!(f, "operator longer than 63 bytes at byte {at}"),
            Self::Nesting { max } => write!(f, "nested deeper than {max} levels"),
            Self::Effort { at } => {
                write!(f, "more statements, names and calls than are read in one text (up to byte {at})")
            }
            Self::UnicodeEscape { at } => write!(f, "U& escape at byte {at}"),
            Self::Syntax(message) => f.write_str(message),
            Self::ParserFailed => f.write_str("the parser failed on this statement"),
        }
    }
}

impl std::error::Error for Refusal {}
