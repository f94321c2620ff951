//! PostgreSQL's lexical rules over bytes, without allocation.
//!
//! The rules are those of the server's `scan.l` (PostgreSQL 18): what is one token there is one token
//! here. The lexer runs before the grammar and refuses what would cost the grammar quadratic time.

use std::ops::Range;

use super::Refusal;

/// Deepest nesting of `/* /* … */ */` that is read.
pub(crate) const MAX_COMMENT_DEPTH: u32 = 32;
/// Longest operator in bytes (NAMEDATALEN - 1), and most tokens within one run of operator characters:
/// the server's lexer scans the rest of such a run again for every token in it.
const MAX_OPERATOR: usize = 63;

/// What a token is. Its text is the byte range beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// An unquoted identifier or keyword.
    Word,
    /// `"…"`.
    Quoted,
    /// `U&"…"`.
    UnicodeQuoted,
    /// `'…'`, with its continuation lines; `escapes`: a backslash escapes (`E'…'`, or `'…'` where
    /// `standard_conforming_strings` is off).
    Str { escapes: bool },
    /// `U&'…'`.
    UnicodeStr,
    /// `N'…'`.
    National,
    /// `B'…'`.
    Bits,
    /// `X'…'`.
    Hex,
    /// `$tag$…$tag$`.
    Dollar,
    /// An integer of at most 31 bits.
    Integer,
    /// Any other number.
    Number,
    /// `$1`.
    Param,
    /// An operator, as long as the server makes it; also `::`, `:=`, `..`, `=>`.
    Op,
    /// One of `( ) [ ] , ; . :`.
    Punct(u8),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    pub(crate) start: usize,
    pub(crate) end: usize,
}

const SPACE: u8 = 1;
const IDENT_START: u8 = 2;
const IDENT_CONT: u8 = 4;
const DIGIT: u8 = 8;
const OPERATOR: u8 = 16;
/// Operators of more than one character end in `+` or `-` only if they hold one of these.
const OPERATOR_STRONG: u8 = 32;

const CLASS: [u8; 256] = {
    let mut table = [0; 256];
    let mut i = 0;
    while i < 256 {
        let byte = i as u8;
        table[i] = match byte {
            b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c => SPACE,
            b'0'..=b'9' => DIGIT | IDENT_CONT,
            b'A'..=b'Z' | b'a'..=b'z' | b'_' | 0x80..=0xff => IDENT_START | IDENT_CONT,
            b'$' => IDENT_CONT,
            b'~' | b'!' | b'@' | b'#' | b'^' | b'&' | b'|' | b'`' | b'?' | b'%' => OPERATOR | OPERATOR_STRONG,
            b'+' | b'-' | b'*' | b'/' | b'<' | b'>' | b'=' => OPERATOR,
            _ => 0,
        };
        i += 1;
    }
    table
};

const fn is(byte: u8, class: u8) -> bool {
    CLASS[byte as usize] & class != 0
}

/// Yields the tokens of a text; white space and comments vanish.
pub(crate) struct Lexer<'a> {
    text: &'a [u8],
    at: usize,
    standard_conforming_strings: bool,
    /// End of the run of operator characters last measured, and the tokens begun in it.
    run_end: usize,
    run_tokens: usize,
    /// A comment may have been passed.
    pub(super) commented: bool,
}

impl<'a> Lexer<'a> {
    pub(crate) fn new(text: &'a [u8], standard_conforming_strings: bool) -> Self {
        Self { text, at: 0, standard_conforming_strings, run_end: 0, run_tokens: 0, commented: false }
    }

    /// The next token, `None` at the end of the text.
    #[inline]
    pub(crate) fn next(&mut self) -> Result<Option<Token>, Refusal> {
        self.skip_blank()?;
        let start = self.at;
        let Some(byte) = self.peek(0) else { return Ok(None) };
        let kind = match byte {
            b'\'' => self.quoted_string(1, !self.standard_conforming_strings, "string")?,
            b'"' => self.quoted_identifier(1)?,
            b'(' | b')' | b'[' | b']' | b',' | b';' => self.take(1, Kind::Punct(byte)),
            b'.' => match self.peek(1) {
                Some(next) if is(next, DIGIT) => self.number()?,
                Some(b'.') => self.take(2, Kind::Op),
                _ => self.take(1, Kind::Punct(b'.')),
            },
            b':' => match self.peek(1) {
                Some(b':' | b'=') => self.take(2, Kind::Op),
                _ => self.take(1, Kind::Punct(b':')),
            },
            b'$' => self.dollar()?,
            _ if is(byte, IDENT_START) => self.word(byte)?,
            _ if is(byte, DIGIT) => self.number()?,
            _ if is(byte, OPERATOR) => self.operator()?,
            0 => return Err(Refusal::NulByte { at: start }),
            _ => return Err(Refusal::BadToken { what: "character that starts no token", at: start }),
        };
        Ok(Some(Token { kind, start, end: self.at }))
    }

    #[inline]
    fn peek(&self, ahead: usize) -> Option<u8> {
        self.text.get(self.at + ahead).copied()
    }

    #[inline]
    fn take(&mut self, bytes: usize, kind: Kind) -> Kind {
        self.at += bytes;
        kind
    }

    #[inline]
    fn skip_while(&mut self, class: u8) {
        self.skip_to(|byte| !is(byte, class));
    }

    /// To the next byte that stops, or to the text's end.
    #[inline]
    fn skip_to(&mut self, stops: impl Fn(u8) -> bool) {
        let rest = self.text.get(self.at..).unwrap_or_default();
        self.at += rest.iter().position(|byte| stops(*byte)).unwrap_or(rest.len());
    }

    #[inline]
    fn skip_blank(&mut self) -> Result<(), Refusal> {
        loop {
            match self.peek(0) {
                Some(byte) if is(byte, SPACE) => self.skip_while(SPACE),
                Some(b'-') if self.peek(1) == Some(b'-') => self.skip_line(),
                Some(b'/') if self.peek(1) == Some(b'*') => self.skip_comment()?,
                _ => return Ok(()),
            }
        }
    }

    /// To the line's end, which is left.
    fn skip_line(&mut self) {
        self.commented = true;
        self.at = line_end(self.text, self.at);
    }

    fn skip_comment(&mut self) -> Result<(), Refusal> {
        let start = self.at;
        self.commented = true;
        let mut depth = 0;
        loop {
            self.skip_to(|byte| matches!(byte, b'/' | b'*' | 0));
            let Some(byte) = self.peek(0) else { break };
            match (byte, self.peek(1)) {
                (b'/', Some(b'*')) => {
                    self.count_in_run()?;
                    depth += 1;
                    if depth > MAX_COMMENT_DEPTH {
                        return Err(Refusal::CommentDepth { at: self.at });
                    }
                    self.at += 2;
                }
                (b'*', Some(b'/')) => {
                    self.at += 2;
                    depth -= 1;
                    if depth == 0 {
                        return Ok(());
                    }
                }
                (0, _) => return Err(Refusal::NulByte { at: self.at }),
                _ => self.at += 1,
            }
        }
        Err(Refusal::Unterminated { what: "comment", at: start })
    }

    /// Counts a token that begins in the run of operator characters at the current place.
    fn count_in_run(&mut self) -> Result<(), Refusal> {
        if self.at >= self.run_end {
            let rest = self.text.get(self.at..).unwrap_or_default();
            self.run_end = self.at + rest.iter().take_while(|byte| is(**byte, OPERATOR)).count();
            self.run_tokens = 0;
        }
        self.run_tokens += 1;
        if self.run_tokens > MAX_OPERATOR {
            return Err(Refusal::OperatorLength { at: self.at });
        }
        Ok(())
    }

    fn operator(&mut self) -> Result<Kind, Refusal> {
        self.count_in_run()?;
        let start = self.at;
        let mut end = start;
        let mut strong = false;
        while let Some(&byte) = self.text.get(end) {
            let comment = matches!((byte, self.text.get(end + 1)), (b'-', Some(b'-')) | (b'/', Some(b'*')));
            if !is(byte, OPERATOR) || comment {
                break;
            }
            strong |= is(byte, OPERATOR_STRONG);
            end += 1;
            if end - start > MAX_OPERATOR {
                return Err(Refusal::OperatorLength { at: start });
            }
        }
        // The server's rule for `a<-1` and `a*-1`: SQL's own operators never end in a sign.
        while !strong && end - start > 1 && matches!(self.text.get(end - 1), Some(b'+' | b'-')) {
            end -= 1;
        }
        self.at = end;
        Ok(Kind::Op)
    }

    #[inline]
    fn word(&mut self, first: u8) -> Result<Kind, Refusal> {
        if matches!(self.peek(1), Some(b'\'' | b'&')) {
            return self.prefixed(first);
        }
        self.skip_while(IDENT_CONT);
        Ok(Kind::Word)
    }

    /// A word right before a quote or `&`, which may be a string's prefix.
    #[cold]
    fn prefixed(&mut self, first: u8) -> Result<Kind, Refusal> {
        match (first, self.peek(1), self.peek(2)) {
            (b'E' | b'e', Some(b'\''), _) => return self.quoted_string(2, true, "string"),
            (b'N' | b'n', Some(b'\''), _) => {
                self.quoted_string(2, !self.standard_conforming_strings, "string")?;
                return Ok(Kind::National);
            }
            (b'B' | b'b', Some(b'\''), _) => {
                self.quoted_string(2, false, "bit string")?;
                return Ok(Kind::Bits);
            }
            (b'X' | b'x', Some(b'\''), _) => {
                self.quoted_string(2, false, "bit string")?;
                return Ok(Kind::Hex);
            }
            (b'U' | b'u', Some(b'&'), Some(b'\'')) => {
                self.quoted_string(3, false, "string")?;
                return Ok(Kind::UnicodeStr);
            }
            (b'U' | b'u', Some(b'&'), Some(b'"')) => {
                self.quoted_identifier(3)?;
                return Ok(Kind::UnicodeQuoted);
            }
            _ => {}
        }
        self.skip_while(IDENT_CONT);
        Ok(Kind::Word)
    }

    fn quoted_identifier(&mut self, open: usize) -> Result<Kind, Refusal> {
        let start = self.at;
        let body = start + open;
        self.at = body;
        loop {
            self.skip_to(|byte| matches!(byte, b'"' | 0));
            match self.peek(0) {
                Some(b'"') if self.peek(1) == Some(b'"') => self.at += 2,
                Some(b'"') => break,
                Some(_) => return Err(Refusal::NulByte { at: self.at }),
                None => return Err(Refusal::Unterminated { what: "quoted identifier", at: start }),
            }
        }
        if self.at == body {
            return Err(Refusal::BadToken { what: "zero-length quoted identifier", at: start });
        }
        Ok(self.take(1, Kind::Quoted))
    }

    /// From the opening quote (`open` bytes ahead, its prefix included) past the closing one, over
    /// `'a' ⏎ 'b'` continuations.
    fn quoted_string(&mut self, open: usize, escapes: bool, what: &'static str) -> Result<Kind, Refusal> {
        let start = self.at;
        self.at += open;
        loop {
            if !self.string_part(escapes)? {
                return Err(Refusal::Unterminated { what, at: start });
            }
            match continuation(self.text, self.at) {
                Some(next) => {
                    self.commented = true; // there may be one between the parts
                    self.at = next;
                }
                None => return Ok(Kind::Str { escapes }),
            }
        }
    }

    /// Past the next closing quote; false where there is none.
    fn string_part(&mut self, escapes: bool) -> Result<bool, Refusal> {
        loop {
            self.skip_to(|byte| matches!(byte, b'\'' | b'\\' | 0));
            match self.peek(0) {
                Some(b'\'') if self.peek(1) == Some(b'\'') => self.at += 2,
                Some(b'\'') => {
                    self.at += 1;
                    return Ok(true);
                }
                Some(b'\\') if escapes && self.peek(1) != Some(0) => self.at += 2,
                Some(0) => return Err(Refusal::NulByte { at: self.at }),
                Some(_) => self.at += 1,
                None => return Ok(false),
            }
        }
    }

    fn dollar(&mut self) -> Result<Kind, Refusal> {
        let start = self.at;
        if self.peek(1).is_some_and(|byte| is(byte, DIGIT)) {
            self.at += 1;
            self.skip_while(DIGIT);
            return Ok(Kind::Param);
        }
        let rest = self.text.get(start..).unwrap_or_default();
        let tag = rest.iter().skip(1).take_while(|byte| is(**byte, IDENT_CONT) && **byte != b'$').count();
        let (Some(b'$'), Some(delimiter)) = (rest.get(tag + 1), rest.get(..tag + 2)) else {
            return Err(Refusal::BadToken { what: "character that starts no token", at: start });
        };
        self.at += delimiter.len();
        loop {
            self.skip_to(|byte| matches!(byte, b'$' | 0));
            let Some(byte) = self.peek(0) else { break };
            if byte == b'$' && self.text.get(self.at..).is_some_and(|rest| rest.starts_with(delimiter)) {
                return Ok(self.take(delimiter.len(), Kind::Dollar));
            }
            if byte == 0 {
                return Err(Refusal::NulByte { at: self.at });
            }
            self.at += 1;
        }
        Err(Refusal::Unterminated { what: "dollar-quoted string", at: start })
    }

    #[inline]
    fn number(&mut self) -> Result<Kind, Refusal> {
        // Nearly all are short and plain.
        let rest = self.text.get(self.at..).unwrap_or_default();
        let digits = rest.iter().take_while(|byte| is(**byte, DIGIT)).count();
        let ends = rest.get(digits).is_none_or(|next| *next != b'.' && !is(*next, IDENT_CONT));
        if (1..=9).contains(&digits) && ends {
            return Ok(self.take(digits, Kind::Integer));
        }
        self.any_number()
    }

    fn any_number(&mut self) -> Result<Kind, Refusal> {
        let start = self.at;
        let radix = match (self.peek(0), self.peek(1)) {
            (Some(b'0'), Some(b'x' | b'X')) => 16,
            (Some(b'0'), Some(b'o' | b'O')) => 8,
            (Some(b'0'), Some(b'b' | b'B')) => 2,
            _ => 10,
        };
        let mut value = Some(0_u32);
        let mut kind = Kind::Integer;
        if radix == 10 {
            self.digits(10, &mut value);
            // `1..10` is an integer, then `..`.
            if self.peek(0) == Some(b'.') && self.peek(1) != Some(b'.') {
                self.at += 1;
                self.digits(10, &mut None);
                kind = Kind::Number;
            }
            if matches!(self.peek(0), Some(b'e' | b'E')) {
                let sign = usize::from(matches!(self.peek(1), Some(b'+' | b'-')));
                if self.peek(1 + sign).is_some_and(|byte| is(byte, DIGIT)) {
                    self.at += 1 + sign;
                    self.digits(10, &mut None);
                    kind = Kind::Number;
                }
            }
        } else {
            self.at += 2;
            if self.digits(radix, &mut value) == 0 {
                return Err(Refusal::BadToken { what: "integer without digits", at: start });
            }
        }
        if self.peek(0).is_some_and(|byte| is(byte, IDENT_START)) {
            return Err(Refusal::BadToken { what: "trailing junk after a number", at: start });
        }
        let fits = value.is_some_and(|value| i32::try_from(value).is_ok());
        Ok(if kind == Kind::Integer && !fits { Kind::Number } else { kind })
    }

    /// Digits with single underscores between them; how many bytes. `value` is `None` once it overflows.
    fn digits(&mut self, radix: u32, value: &mut Option<u32>) -> usize {
        let start = self.at;
        // After a radix prefix an underscore may stand first (`0x_1f`), else never.
        let mut underscore = radix != 10;
        loop {
            let skip = usize::from(underscore && self.peek(0) == Some(b'_'));
            let Some(digit) = self.peek(skip).and_then(|byte| char::from(byte).to_digit(radix)) else {
                break;
            };
            *value = value.and_then(|value| value.checked_mul(radix)?.checked_add(digit));
            self.at += skip + 1;
            underscore = true;
        }
        self.at - start
    }
}

pub(crate) fn line_end(text: &[u8], from: usize) -> usize {
    let rest = text.get(from..).unwrap_or_default();
    rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')).map_or(text.len(), |n| from + n)
}

/// Whether there is a comment, or what looks like one.
pub(super) fn may_hold_comment(text: &[u8]) -> bool {
    memchr::memchr2_iter(b'-', b'/', text).any(|at| matches!(text.get(at..at + 2), Some(b"--" | b"/*")))
}

/// Where a string goes on after its closing quote: white space with a newline in it, `--` comments
/// allowed, then another quote. The place behind that quote.
fn continuation(text: &[u8], mut at: usize) -> Option<usize> {
    let mut newline = false;
    loop {
        match text.get(at)? {
            b'\n' | b'\r' => {
                newline = true;
                at += 1;
            }
            byte if is(*byte, SPACE) => at += 1,
            b'-' if text.get(at + 1) == Some(&b'-') => at = line_end(text, at),
            b'\'' if newline => return Some(at + 1),
            _ => return None,
        }
    }
}

/// Where the parts of a continued string are apart: what stands between one part's closing quote and the
/// next one's opening quote. `string` is the text of one such token.
pub(crate) fn gaps(string: &[u8], escapes: bool) -> Vec<Range<usize>> {
    let mut lexer = Lexer::new(string, true);
    let mut gaps = Vec::new();
    lexer.skip_to(|byte| byte == b'\'');
    lexer.at += 1;
    while let Ok(true) = lexer.string_part(escapes) {
        let Some(next) = continuation(string, lexer.at) else { break };
        gaps.push(lexer.at..next - 1);
        lexer.at = next;
    }
    gaps
}
