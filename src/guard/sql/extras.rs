//! Literals that a fact reads, verbatim: what a shape leaves out and a verdict may yet depend on.
//!
//! Most literals stand beside a column (`id = 5`, `IN (…)`, `VALUES (…)`) and mean nothing to a fact. Two kinds do: the
//! bounds of `LIMIT`, `OFFSET`, `FETCH FIRST`, and what makes a condition hold for every row (`1 = 1`). A constant
//! condition names no column, so a literal belongs to one only if no name stands between it and the beginning of its
//! term: the last `WHERE`, `AND`, `OR` and their like. Rather too many are taken than too few.

use super::lexer::{Kind, Token};
use super::words::{self, packed_end};

/// The literals that are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Of `LIMIT`, `OFFSET` and `FETCH FIRST`.
    pub bounds: bool,
    /// Of conditions that name nothing.
    pub constants: bool,
}

impl Wanted {
    /// All that any fact may read.
    pub const ALL: Self = Self { bounds: true, constants: true };

    pub(super) fn any(self) -> bool {
        self.bounds || self.constants
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Term {
    /// No condition has begun.
    Off,
    /// No name has been met: its literals are taken.
    Open,
    Named,
}

/// `BETWEEN`s whose `AND` is still to come that are told apart.
const MAX_BETWEENS: usize = 8;

/// Takes the literals of one text.
pub(super) struct Extras<'a> {
    out: &'a mut Vec<u8>,
    wanted: Wanted,
    term: Term,
    /// A name went before; a string right behind it makes it a type: `bool 't'`.
    pending: bool,
    /// A dot went before: no keyword follows.
    dot: bool,
    /// In the name of a type, behind `::` or `AS`.
    in_type: bool,
    /// A closing parenthesis went before.
    closed: bool,
    /// `DISTINCT` went before.
    distinct: bool,
    depth: u32,
    /// Depths of parentheses at which a `BETWEEN` waits for its `AND`.
    betweens: [u32; MAX_BETWEENS],
    waiting: usize,
}

impl<'a> Extras<'a> {
    pub(super) fn new(wanted: Wanted, out: &'a mut Vec<u8>) -> Self {
        Self {
            out,
            wanted,
            term: Term::Off,
            pending: false,
            dot: false,
            in_type: false,
            closed: false,
            distinct: false,
            depth: 0,
            betweens: [0; MAX_BETWEENS],
            waiting: 0,
        }
    }

    /// A token, and what was written of it: a word stands there in lower case. False: only the grammar can tell what it
    /// means.
    #[inline]
    pub(super) fn token(&mut self, token: Token, bytes: &[u8], written: &[u8]) -> bool {
        let dot = std::mem::take(&mut self.dot);
        let closed = std::mem::take(&mut self.closed);
        let distinct = std::mem::take(&mut self.distinct);
        match token.kind {
            Kind::Word if dot => {}
            Kind::Word => self.word(written, bytes.len(), distinct),
            Kind::Quoted | Kind::UnicodeQuoted if dot => {}
            Kind::Quoted | Kind::UnicodeQuoted => self.name(),
            Kind::Punct(b'.') => self.dot = true,
            Kind::Punct(byte) => {
                self.settle();
                match byte {
                    b'(' => self.depth += 1,
                    b')' => {
                        self.depth = self.depth.saturating_sub(1);
                        self.closed = true;
                    }
                    _ => {}
                }
            }
            Kind::Op => {
                self.settle();
                self.in_type = bytes == b"::";
            }
            Kind::Param => {
                self.settle();
                self.named();
            }
            Kind::Integer | Kind::Number | Kind::Bits | Kind::Hex => {
                self.settle();
                self.literal(bytes);
            }
            Kind::Str { .. } | Kind::National | Kind::Dollar | Kind::UnicodeStr => {
                // `bool 't'`: the name was a type's.
                self.pending = false;
                self.in_type = false;
                self.literal(bytes);
                // `varchar(5) 'x'`.
                return !closed;
            }
        }
        true
    }

    /// No literal holds a NUL, so that lists of them are told apart.
    fn push(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
        self.out.push(0);
    }

    fn literal(&mut self, bytes: &[u8]) {
        if self.term == Term::Open {
            self.push(bytes);
        }
    }

    fn named(&mut self) {
        if self.term == Term::Open {
            self.term = Term::Named;
        }
    }

    /// What went before was a name, not a type in front of its literal.
    fn settle(&mut self) {
        self.in_type = false;
        if std::mem::take(&mut self.pending) {
            self.named();
        }
    }

    fn name(&mut self) {
        if self.in_type {
            return;
        }
        if std::mem::replace(&mut self.pending, true) {
            self.named();
        }
    }

    /// A term begins where its literals are wanted.
    fn begin(&mut self, wanted: bool) {
        self.settle();
        self.term = if wanted { Term::Open } else { Term::Named };
        // Whatever was between its bounds here or deeper is so no more.
        while self
            .waiting
            .checked_sub(1)
            .and_then(|at| self.betweens.get(at))
            .is_some_and(|d| *d >= self.depth)
        {
            self.waiting -= 1;
        }
    }

    /// The word that was written last, of so many bytes.
    fn word(&mut self, written: &[u8], len: usize, distinct: bool) {
        match packed_end(written, len) {
            0 => self.long_word(written.get(written.len().saturating_sub(len)..).unwrap_or_default()),
            words::WHERE | words::ON | words::HAVING | words::WHEN | words::OR | words::SELECT => {
                self.begin(self.wanted.constants)
            }
            words::AND => {
                let at = self.waiting.checked_sub(1).and_then(|at| self.betweens.get(at));
                if at == Some(&self.depth) {
                    self.settle();
                    self.waiting -= 1;
                } else {
                    self.begin(self.wanted.constants);
                }
            }
            words::LIMIT | words::OFFSET | words::FETCH => self.begin(self.wanted.bounds),
            words::BETWEEN => {
                self.settle();
                if let Some(place) = self.betweens.get_mut(self.waiting) {
                    *place = self.depth;
                    self.waiting += 1;
                }
            }
            words::FROM if distinct => self.settle(),
            words::FROM | words::SET | words::VALUES | words::BY => {
                self.settle();
                self.named();
            }
            words::AS => {
                self.settle();
                self.in_type = true;
            }
            words::DISTINCT => {
                self.settle();
                self.distinct = true;
            }
            words::NOT
            | words::TRUE
            | words::FALSE
            | words::NULL
            | words::IS
            | words::IN
            | words::LIKE
            | words::ILIKE
            | words::EXISTS
            | words::ALL
            | words::CAST
            | words::ISNULL
            | words::NOTNULL
            | words::UNKNOWN
            | words::FIRST
            | words::NEXT
            | words::ROW
            | words::ROWS
            | words::ONLY => {
                self.settle();
            }
            // The second word of a type.
            words::VARYING if self.pending => {}
            _ => self.name(),
        }
    }

    /// Of more than eight bytes.
    fn long_word(&mut self, word: &[u8]) {
        match word {
            b"returning" => {
                self.settle();
                self.named();
            }
            b"symmetric" | b"asymmetric" => self.settle(),
            b"precision" if self.pending => {}
            _ => self.name(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::shape::keyed_shape;
    use super::*;

    fn extras(text: &str, wanted: Wanted) -> Vec<String> {
        let (mut shape, mut extras) = (Vec::new(), Vec::new());
        keyed_shape(text.as_bytes(), true, wanted, &mut shape, &mut extras).unwrap();
        let mut all: Vec<String> =
            extras.split(|byte| *byte == 0).map(|part| String::from_utf8(part.to_vec()).unwrap()).collect();
        assert_eq!(all.pop().as_deref(), Some(""));
        all
    }

    #[test]
    fn literals_beside_a_column_are_left_out() {
        for text in [
            "SELECT a FROM t WHERE id = 5",
            "SELECT a FROM t WHERE id IN (1, 2, 3) AND b NOT IN ('x') AND c BETWEEN 1 AND 2 AND d = 7",
            "SELECT a FROM t JOIN u ON t.id = u.id AND u.kind = 'x' WHERE t.a LIKE 'x%' OR t.b IS NOT DISTINCT FROM 5",
            "INSERT INTO t (a, b) VALUES (1, 'x'), (2, 'y') ON CONFLICT (a) DO UPDATE SET b = 7 WHERE t.a > 5",
            "UPDATE t SET a = 5, b = 'x' WHERE id = 5 RETURNING 5",
            "SELECT a FROM t WHERE \"text\" = 'x' AND t.between = 5 AND at > timestamp '2026-01-01'",
            "SELECT a FROM t WHERE $1 = 5 GROUP BY 1 ORDER BY 2",
            "SELECT a FROM t WHERE f(1) = 2 AND (x = 1 OR y = 2)",
        ] {
            assert_eq!(extras(text, Wanted::ALL), [""; 0], "{text}");
        }
    }

    #[test]
    fn literals_of_bounds_and_constant_terms_are_kept() {
        for (text, kept) in [
            ("SELECT a FROM t WHERE id = 5 LIMIT 10 OFFSET 20", &["10", "20"][..]),
            ("SELECT a FROM t FETCH FIRST (7) ROWS ONLY", &["7"]),
            ("SELECT a FROM t LIMIT '10'::int", &["'10'"]),
            ("SELECT a FROM t WHERE 1=1 AND id = 5", &["1", "1"]),
            ("SELECT a FROM t WHERE id = 5 OR ('a') = 'b'", &["'a'", "'b'"]),
            ("SELECT a FROM t WHERE 1::int = 2 OR bool 't' OR CAST('f' AS bool)", &["1", "2", "'t'", "'f'"]),
            ("SELECT a FROM t WHERE pg_catalog.int4 '5' = 6", &["'5'", "6"]),
            ("SELECT a FROM t WHERE double precision '5' = 6", &["'5'", "6"]),
            ("SELECT a FROM t WHERE x BETWEEN 1 AND 2 AND 3 BETWEEN 2 AND 4", &["3", "2", "4"]),
            ("SELECT a FROM t WHERE NOT 1 = 2 AND (1 IN (1, 2))", &["1", "2", "1", "1", "2"]),
            ("SELECT a AS between FROM t WHERE a = a AND 1 = 1", &["1", "1"]),
            ("SELECT a FROM t WHERE (SELECT 't') AND 1 IS NOT DISTINCT FROM 1", &["'t'", "1", "1"]),
        ] {
            assert_eq!(extras(text, Wanted::ALL), kept, "{text}");
        }
        let text = "SELECT a FROM t WHERE 1=1 AND id = 5 LIMIT 10 -- x";
        assert_eq!(extras(text, Wanted { bounds: true, ..Wanted::default() }), ["10"]);
        assert_eq!(extras(text, Wanted { constants: true, ..Wanted::default() }), ["1", "1"]);
        assert_eq!(extras(text, Wanted::default()), [""; 0]);
    }

    #[test]
    fn what_only_the_grammar_can_tell_is_not_shared() {
        let cacheable = |text: &str| {
            let (mut shape, mut extras) = (Vec::new(), Vec::new());
            keyed_shape(text.as_bytes(), true, Wanted::ALL, &mut shape, &mut extras).unwrap().cacheable
        };
        assert!(!cacheable("SELECT a FROM t WHERE varchar(1) 'ab' = 'a'"));
        assert!(cacheable("SELECT a FROM t WHERE b IN ('x') AND c = f('y')"));
    }
}
