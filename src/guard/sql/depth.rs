//! How deep the grammar's tree of a text can get, told from its tokens.
//!
//! The grammar itself keeps its stack on the heap, but some of its actions recurse over the tree: in
//! `(SELECT … ORDER BY x) ORDER BY a||a||…` the error's location is looked up down the whole chain, at
//! 240 bytes of stack a level without optimisation, with no check. A few hundred kilobytes of text would
//! overflow a 2 MiB thread stack and end the process. So a text is refused before the grammar sees it.

use super::Refusal;
use super::effort::Effort;
use super::lexer::{Kind, Lexer, Token};

/// Most parentheses, brackets and CASEs open at once.
pub(crate) const MAX_NESTING: u32 = 1_000;
/// Most levels the tree may have: 4,000 use 1 MiB of stack without optimisation, 0.2 MiB with.
/// PostgreSQL's own limit (`max_stack_depth` of 2 MB) is reached near 7,000.
pub(crate) const MAX_DEPTH: u32 = 4_000;

/// Refuses what is nested too deeply or would be after parsing, and what is too much.
pub(crate) fn check(text: &[u8], standard_conforming_strings: bool) -> Result<(), Refusal> {
    let mut lexer = Lexer::new(text, standard_conforming_strings);
    let mut depth = Depth { open: Vec::new(), top: Level::default(), below: 0 };
    let mut effort = Effort::default();
    while let Some(token) = lexer.next()? {
        depth.token(text, token)?;
        let bytes = text.get(token.start..token.end).unwrap_or_default();
        effort.token(token.kind, bytes, token.start)?;
    }
    Ok(())
}

/// One open parenthesis, bracket or CASE.
#[derive(Clone, Copy, Default)]
struct Level {
    case: bool,
    /// Set operations and joins: they chain over everything at this level.
    spine: u32,
    /// Operators since the last comma, AND, OR or other separator: an expression is no deeper.
    chain: u32,
    /// The longest chain before that.
    longest: u32,
}

impl Level {
    fn depth(self) -> u32 {
        self.spine + self.chain.max(self.longest)
    }
    fn separate(&mut self) {
        self.longest = self.longest.max(self.chain);
        self.chain = 0;
    }
}

struct Depth {
    open: Vec<Level>,
    top: Level,
    /// Depth of all levels below the top one.
    below: u32,
}

impl Depth {
    fn token(&mut self, text: &[u8], token: Token) -> Result<(), Refusal> {
        match token.kind {
            Kind::Punct(b'(' | b'[') => self.push(false)?,
            Kind::Punct(b')' | b']') => {
                while self.top.case {
                    self.pop();
                }
                self.pop();
            }
            Kind::Punct(b',') => self.top.separate(),
            Kind::Punct(b';') if self.open.is_empty() => self.top = Level::default(),
            Kind::Op => self.top.chain += 1,
            Kind::Word => self.word(text.get(token.start..token.end).unwrap_or_default())?,
            _ => {}
        }
        if self.below + self.top.depth() > MAX_DEPTH {
            return Err(Refusal::Nesting { max: MAX_DEPTH });
        }
        Ok(())
    }

    fn word(&mut self, word: &[u8]) -> Result<(), Refusal> {
        let mut buffer = [0; 9];
        let Some(lower) = buffer.get_mut(..word.len()) else { return Ok(()) };
        lower.copy_from_slice(word);
        lower.make_ascii_lowercase();
        match &*lower {
            b"and" | b"or" => self.top.separate(),
            b"when" | b"then" | b"else" if self.top.case => self.top.separate(),
            b"case" => self.push(true)?,
            b"end" if self.top.case => self.pop(),
            b"union" | b"except" | b"intersect" | b"join" => {
                self.top.spine += 1;
                self.top.separate();
            }
            // Two levels: the operation and the list of its operands.
            b"not" => self.top.chain += 2,
            b"is" | b"isnull" | b"notnull" | b"like" | b"ilike" | b"similar" | b"between" | b"in"
            | b"collate" | b"at" | b"overlaps" | b"operator" | b"escape" => self.top.chain += 1,
            _ => {}
        }
        Ok(())
    }

    fn push(&mut self, case: bool) -> Result<(), Refusal> {
        if self.open.len() >= MAX_NESTING as usize {
            return Err(Refusal::Nesting { max: MAX_NESTING });
        }
        self.below += self.top.depth();
        self.open.push(self.top);
        self.top = Level { case, ..Level::default() };
        Ok(())
    }

    fn pop(&mut self) {
        let inner = self.top.depth() + 1;
        match self.open.pop() {
            Some(outer) => {
                self.below -= outer.depth();
                self.top = outer;
                self.top.chain += inner;
            }
            // A closing parenthesis too many: the grammar will say so.
            None => self.top = Level { chain: self.top.depth(), ..Level::default() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> bool {
        matches!(check(text.as_bytes(), true), Err(Refusal::Nesting { .. }))
    }

    #[test]
    fn long_lists_are_no_depth() {
        assert!(!refused(&format!("INSERT INTO t VALUES {}(1)", "(1, -2, 'x' || 'y'), ".repeat(20_000))));
        assert!(!refused(&format!("SELECT 1 WHERE a = 1{}", " OR (a = 2 AND b IS NULL)".repeat(20_000))));
        assert!(!refused(&format!("SELECT f(1){}", " UNION ALL SELECT f(-2)".repeat(3_000))));
        let whens = "WHEN id = 1 THEN a + 1 ".repeat(20_000);
        assert!(!refused(&format!("UPDATE t SET x = CASE {whens} END WHERE id IN (1)")));
    }

    #[test]
    fn chains_and_nests_are() {
        assert!(refused(&format!("SELECT {}", vec!["a"; 5_000].join("||"))));
        assert!(refused(&format!("SELECT {}1", "- ".repeat(5_000))));
        assert!(refused(&format!("SELECT 1, 2{}", " UNION SELECT 1, 2".repeat(5_000))));
        assert!(refused(&format!("{}1{}", "(".repeat(1_001), ")".repeat(1_001))));
        assert!(refused(&format!("SELECT {}1{}", "CASE WHEN a THEN ".repeat(1_001), " END".repeat(1_001))));
        // Every level short, together deep: the inner chain hangs at the outer one's left end.
        assert!(refused(&format!("{}a{}", "(".repeat(900), format!("){}", "||a".repeat(9)).repeat(900))));
        assert!(refused(&format!("{}a{}", "- - - - - (".repeat(900), ")".repeat(900))));
    }
}
