//! The comments of a text: how many there are, and how the text ends.

use std::ops::Range;

use super::lexer::{Kind, Lexer, gaps, line_end, may_hold_comment};

/// What the comments of a text tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::guard) struct Comments<'a> {
    pub(in crate::guard) count: u32,
    /// The text ends in one: `--` without a line break behind it, or a block.
    pub(in crate::guard) trailing: bool,
    /// What the last block holds.
    pub(in crate::guard) last_block: Option<&'a [u8]>,
    /// What follows a `--` that ends the text, and whether it stands right behind a literal (or parentheses and
    /// semicolons behind one).
    pub(in crate::guard) line: Option<(bool, &'a [u8])>,
}

/// The comments of a text; none where the lexer refuses it.
pub(in crate::guard) fn comments(text: &[u8], standard_conforming_strings: bool) -> Comments<'_> {
    let mut found = Comments::default();
    if !may_hold_comment(text) {
        return found;
    }
    let mut lexer = Lexer::new(text, standard_conforming_strings);
    let mut before = 0;
    let mut behind_literal = false;
    loop {
        let Ok(token) = lexer.next() else { return Comments::default() };
        let Some(token) = token else { break };
        found.gap(text, before..token.start);
        before = token.end;
        let escapes = match token.kind {
            Kind::Str { escapes } => Some(escapes),
            Kind::UnicodeStr | Kind::National | Kind::Bits | Kind::Hex => Some(false),
            _ => None,
        };
        if let Some(escapes) = escapes {
            let string = text.get(token.start..token.end).unwrap_or_default();
            for gap in gaps(string, escapes) {
                found.gap(text, token.start + gap.start..token.start + gap.end);
            }
        }
        behind_literal = match token.kind {
            Kind::Punct(b')') => behind_literal,
            Kind::Punct(b';') => true,
            kind => escapes.is_some() || matches!(kind, Kind::Dollar | Kind::Integer | Kind::Number),
        };
    }
    let ends_in_line = found.gap(text, before..text.len());
    found.line = ends_in_line.map(|line| (behind_literal, line));
    found
}

impl<'a> Comments<'a> {
    /// Writes what facts tell of the comments behind a shape: texts of one such key have the same.
    pub(in crate::guard) fn add_to_key(&self, key: &mut Vec<u8>) {
        if self.count == 0 {
            return;
        }
        // Behind a byte that begins no token, each with its length.
        key.push(0);
        key.extend_from_slice(&self.count.to_le_bytes());
        key.push(u8::from(self.trailing));
        key.push(self.line.map_or(0, |(behind, _)| 1 + u8::from(behind)));
        for part in [self.last_block, self.line.map(|(_, line)| line)] {
            key.extend_from_slice(&part.map_or(0, |part| part.len() + 1).to_le_bytes());
            key.extend_from_slice(part.unwrap_or_default());
        }
    }

    /// Counts the comments between two tokens. What stands in a `--` that goes on to the text's end.
    fn gap(&mut self, text: &'a [u8], gap: Range<usize>) -> Option<&'a [u8]> {
        let Range { start: mut at, end } = gap;
        let mut line = None;
        self.trailing = false;
        while let Some(skipped) = text.get(at..end)?.iter().position(|byte| matches!(byte, b'-' | b'/')) {
            let start = at + skipped;
            let body = start + 2;
            self.count = self.count.saturating_add(1);
            if text.get(start) == Some(&b'-') {
                at = line_end(text, body).min(end);
                self.trailing = at == text.len();
                line = text.get(body..at).filter(|_| self.trailing);
            } else {
                at = block_end(text, body, end);
                self.trailing = text.get(at..end)?.iter().all(u8::is_ascii_whitespace) && end == text.len();
                self.last_block = text.get(body..at.saturating_sub(2));
            }
        }
        line
    }
}

/// Behind the end of the block whose content begins at `at`; blocks nest.
fn block_end(text: &[u8], mut at: usize, end: usize) -> usize {
    let mut depth = 1;
    while at < end {
        match text.get(at..at + 2) {
            Some(b"/*") => {
                depth += 1;
                at += 2;
            }
            Some(b"*/") => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return at;
                }
            }
            _ => at += 1,
        }
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Comments<'_> {
        comments(text.as_bytes(), true)
    }

    #[test]
    fn comments_are_counted_wherever_they_stand() {
        for (text, count, trailing) in [
            ("SELECT 1", 0, false),
            ("SELECT '--', \"/*\", $$ -- $$ - -1", 0, false),
            ("SELECT 1 -- a", 1, true),
            ("SELECT 1 -- a\n", 1, false),
            ("SELECT 1 -- a\r", 1, false),
            ("SELECT 1 --", 1, true),
            ("/* a /* b */ -- c */SELECT 1", 1, false),
            ("SELECT 1 /* a */ \n", 1, true),
            ("SELECT 1 /* a */;", 1, false),
            ("SELECT 'a' -- b\n 'c', N'd' --e\n--f\n 'g'", 3, false),
            ("/**/-- a\n/*/**/*/ SELECT/**/1/**/", 5, true),
            ("-- only", 1, true),
            ("SELECT 1 /* a", 0, false),
        ] {
            let found = of(text);
            assert_eq!((found.count, found.trailing), (count, trailing), "{text}");
        }
        let off = comments(br"SELECT 'a\' -- b' -- c", false);
        assert_eq!((off.count, off.trailing), (1, true));
    }

    #[test]
    fn the_last_block_and_what_a_line_cut_off() {
        assert_eq!(of("/*a*/SELECT 1/* b*/-- c").last_block, Some(&b" b"[..]));
        assert_eq!(of("SELECT 1 /*/*a*/b*/").last_block, Some(&b"/*a*/b"[..]));
        for (text, cut) in [
            ("SELECT 1 WHERE a = 'x' -- AND b", Some(" AND b")),
            ("SELECT 1 WHERE (a = 1))--", Some("")),
            ("SELECT a; --", Some("")),
            ("SELECT 1 WHERE a = b -- AND b", None),
            ("SELECT 1 WHERE a = 'x' -- AND b\n", None),
            ("SELECT 1 WHERE a = 'x' /* AND b */", None),
            ("SELECT 1 -- a\nWHERE b", None),
        ] {
            let line = of(text).line.filter(|(behind, _)| *behind).map(|(_, line)| line);
            assert_eq!(line, cut.map(str::as_bytes), "{text}");
        }
    }
}
