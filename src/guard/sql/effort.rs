//! How much work a text is for those who read it, told from its tokens before anybody begins.
//!
//! The grammar, the facts and the rules take time for every statement, name and call. A thread that reads a megabyte of
//! them serves nobody else meanwhile, so what would take longer than about 50 ms is refused. The clock is no judge of
//! that: one text must have one answer. A token is weighed by what its like took where they were measured
//! (`cargo bench --bench guard -- megabyte`).

use super::Refusal;
use super::lexer::Kind;

/// Most of it in one text: a unit is about 65 ns of an optimised build, with the built-in policy's verdict.
const MOST: u32 = 700_000;

/// Of a statement, beside its tokens: the rules are asked about each.
const STATEMENT: u32 = 140;
/// Of a query in another, beside its tokens.
const QUERY: u32 = 10;
/// Of a parenthesis right behind a name: a call, most of the time.
const CALL: u32 = 10;
const OPERATOR: u32 = 3;
/// Of a name or keyword in a query.
const WORD: u32 = 4;
/// And in another statement, where many stand for a change of their own.
const WORD_OF_DEFINITION: u32 = 5;
/// Of a literal or a comma.
const TOKEN: u32 = 1;

/// What was weighed so far.
pub(super) struct Effort {
    spent: u32,
    word: u32,
    /// No token of the statement was met.
    first: bool,
    /// A name went before.
    named: bool,
}

impl Default for Effort {
    fn default() -> Self {
        Self { spent: 0, word: WORD, first: true, named: false }
    }
}

impl Effort {
    /// Weighs a token that begins at `at`.
    #[inline]
    pub(super) fn token(&mut self, kind: Kind, bytes: &[u8], at: usize) -> Result<(), Refusal> {
        let named = std::mem::replace(&mut self.named, false);
        let cost = match kind {
            Kind::Word => self.word(bytes),
            Kind::Quoted | Kind::UnicodeQuoted => {
                self.named = true;
                self.word
            }
            Kind::Op => OPERATOR,
            Kind::Punct(b'(') if named => CALL,
            // Weighed with the one that it closes.
            Kind::Punct(b')') => 0,
            Kind::Punct(b';') => {
                self.first = true;
                TOKEN
            }
            _ => TOKEN,
        };
        self.spent += cost;
        if self.spent > MOST { Err(Refusal::Effort { at }) } else { Ok(()) }
    }

    fn word(&mut self, word: &[u8]) -> u32 {
        let is = |keyword: &[u8]| word.eq_ignore_ascii_case(keyword);
        if std::mem::replace(&mut self.first, false) {
            let query = [&b"select"[..], b"insert", b"update", b"delete", b"merge", b"with", b"values"];
            self.word = if query.into_iter().any(is) { WORD } else { WORD_OF_DEFINITION };
            return STATEMENT + self.word;
        }
        if [&b"null"[..], b"true", b"false", b"default"].into_iter().any(is) {
            return TOKEN;
        }
        self.named = true;
        if is(b"select") { QUERY + self.word } else { self.word }
    }
}

#[cfg(test)]
mod tests {
    use super::super::depth::check;
    use super::*;

    fn refused(text: &str) -> bool {
        match check(text.as_bytes(), true) {
            Ok(()) => false,
            Err(Refusal::Effort { at }) => at < text.len(),
            Err(other) => panic!("{other}"),
        }
    }

    fn many(begin: &str, piece: &str, times: usize) -> String {
        format!("{begin}{}", piece.repeat(times))
    }

    #[test]
    fn what_programs_send_is_read() {
        assert!(!refused(&many("SELECT a FROM t WHERE b IN (1", ", 1", 340_000)));
        assert!(!refused(&many("INSERT INTO t VALUES (1)", ", (1, 'x', NULL, true)", 47_000)));
        assert!(!refused(&many("INSERT INTO t VALUES (1)", ", (1, now(), 'x', 1.5, E'y', -1)", 20_000)));
        assert!(!refused(&many("", "INSERT INTO t VALUES (1, 'x', NULL);\n", 4_000)));
        assert!(!refused(&many("SELECT a FROM t WHERE b = 1", " OR b = 1 AND c = 'x'", 23_000)));
        assert!(!refused(&many("ALTER TABLE t ADD a int", ", ADD b int", 40_000)));
        assert!(!refused(&many("WITH a AS (SELECT 1)", ", b AS (SELECT FROM a, b)", 10_000)));
    }

    #[test]
    fn what_would_take_too_long_is_not() {
        assert!(refused(&many("", "SELECT 1;", 5_000)));
        assert!(refused(&many("", "BEGIN;", 5_000)));
        assert!(refused(&many("SELECT f(1)", ", f(1)", 50_000)));
        assert!(refused(&many("SELECT a", ", a", 150_000)));
        assert!(refused(&many("SELECT \"a\"", ", \"a\"", 150_000)));
        assert!(refused(&many("SELECT 1", ", (SELECT 1)", 50_000)));
        assert!(refused(&many("CREATE TABLE t (a int", ", a int", 80_000)));
        assert!(refused(&many("SELECT 1 WHERE a", " AND a = 1", 70_000)));
    }
}
