//! Client encodings in which the second byte of a letter may look like ASCII, a backslash or a quote among them.
//!
//! A text in one of them is judged with such bytes masked: whatever they look like, they are letters. What is not valid
//! in its encoding is not read at all (the server refuses it, too).

use std::borrow::Cow;
use std::sync::Arc;

use super::Ledger;
use super::client::{Env, Session};
use crate::guard::Judgement;

/// How long a letter is, as PostgreSQL counts (wchar.c).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wide {
    /// One byte for half-width kana, else two.
    Sjis,
    /// Two bytes.
    Two,
    /// Two, or four where the second is a digit.
    Gb18030,
    /// Two; what older servers read as three is not read.
    Johab,
}

impl Wide {
    /// `None`: every byte below 0x80 is ASCII in this encoding (PostgreSQL manual, "Supported Character Sets").
    pub(super) fn of(encoding: &str) -> Option<Self> {
        const WIDE: [(&str, Wide); 14] = [
            ("sjis", Wide::Sjis),
            ("mskanji", Wide::Sjis),
            ("shiftjis", Wide::Sjis),
            ("win932", Wide::Sjis),
            ("windows932", Wide::Sjis),
            ("shiftjis2004", Wide::Sjis),
            ("big5", Wide::Two),
            ("win950", Wide::Two),
            ("windows950", Wide::Two),
            ("gbk", Wide::Two),
            ("win936", Wide::Two),
            ("windows936", Wide::Two),
            ("gb18030", Wide::Gb18030),
            ("johab", Wide::Johab),
        ];
        // PostgreSQL reads names without regard to case and punctuation.
        let plain = |encoding: &str| {
            encoding
                .bytes()
                .filter(u8::is_ascii_alphanumeric)
                .map(|b| b.to_ascii_lowercase())
                .collect::<Vec<_>>()
        };
        let name = plain(encoding);
        if matches!(&name[..], b"uhc" | b"win949" | b"windows949") {
            return Some(Self::Two);
        }
        WIDE.iter().find(|(known, _)| known.as_bytes() == name).map(|(_, wide)| *wide)
    }

    /// Bytes of the letter that the text begins with; `None`: there is no such letter.
    fn length(self, text: &[u8]) -> Option<usize> {
        let trail = |at: usize| text.get(at).is_some_and(|&b| b >= 0x40 && b != 0x7f);
        let digit = |at: usize| text.get(at).is_some_and(u8::is_ascii_digit);
        match (self, *text.first()?) {
            (_, 0..0x80) | (Self::Sjis, 0xa1..=0xdf) => Some(1),
            (_, 0x80 | 0xff) | (Self::Johab, 0x8e | 0x8f) => None,
            (Self::Gb18030, _) if digit(1) => {
                let third = text.get(2).is_some_and(|b| (0x81..0xff).contains(b));
                (third && digit(3)).then_some(4)
            }
            _ => trail(1).then_some(2),
        }
    }

    /// The same text, where no byte below 0x80 is a part of a letter; `None`: it is not valid.
    pub(super) fn masked(self, text: &[u8]) -> Option<Vec<u8>> {
        let mut masked = Vec::with_capacity(text.len());
        let mut rest = text;
        while !rest.is_empty() {
            let (letter, behind) = rest.split_at_checked(self.length(rest)?)?;
            if letter.len() == 1 {
                masked.extend_from_slice(letter);
            } else {
                masked.extend(letter.iter().map(|b| b | 0x80));
            }
            rest = behind;
        }
        Some(masked)
    }
}

impl Session {
    /// The client's encoding is this one from now on.
    pub fn speak(&mut self, encoding: &str) {
        self.wide = Wide::of(encoding);
    }

    /// The judgement of a text of the client's.
    pub(super) fn judge<L: Ledger>(&self, env: &mut Env<'_, L>, text: &[u8]) -> Arc<Judgement> {
        let text = match self.wide {
            Some(wide) if !text.is_ascii() => match wide.masked(text) {
                Some(masked) => Cow::Owned(masked),
                None => return env.guard.judge_oversized(&self.class),
            },
            _ => Cow::Borrowed(text),
        };
        env.guard.judge(&text, &self.class)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn masked(encoding: &str, text: &[u8]) -> Option<Vec<u8>> {
        Wide::of(encoding).unwrap().masked(text)
    }

    #[test]
    fn a_letters_second_byte_is_no_backslash() {
        assert_eq!(masked("SJIS", b"'\x95\x5c' \xb1\\").unwrap(), b"'\x95\xdc' \xb1\\");
        assert_eq!(masked("BIG5", b"'\xa5\x5c'").unwrap(), b"'\xa5\xdc'");
        assert_eq!(
            masked("GB18030", b"'\x81\x39\xee\x39' \xd5\x5c'").unwrap(),
            b"'\x81\xb9\xee\xb9' \xd5\xdc'"
        );
        for encoding in ["Shift_JIS_2004", "windows-949", "UHC", "gbk", "JOHAB"] {
            assert_eq!(
                masked(encoding, b"a\xc1\x41'").unwrap(),
                if encoding.starts_with('S') { b"a\xc1A'" } else { b"a\xc1\xc1'" }
            );
        }
        assert!(["UTF8", "LATIN1", "EUC_JP", "SQL_ASCII", ""].iter().all(|name| Wide::of(name).is_none()));
    }

    #[test]
    fn what_is_no_letter_is_not_read() {
        for text in [&b"\x95"[..], b"\x95'", b"\x95\0", b"\x80a", b"\xff\xff", b"\x95\x7f"] {
            assert_eq!(masked("SJIS", text), None, "{text:?}");
        }
        for text in [&b"\x81\x30"[..], b"\x81\x30\x30\x30", b"\x81\x30\x81'", b"\x81'"] {
            assert_eq!(masked("GB18030", text), None, "{text:?}");
        }
        assert_eq!(masked("JOHAB", b"\x8f\xa1\xa1"), None);
    }
}
