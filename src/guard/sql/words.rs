//! Words as numbers: a word among forty is found in a few comparisons, not in forty.

/// The bytes of a word of at most eight, as a number; 0 for a longer one.
pub(super) const fn packed(word: &[u8]) -> u64 {
    if word.len() > 8 {
        return 0;
    }
    let (mut number, mut at) = (0, word.len());
    while at > 0 {
        at -= 1;
        number = (number << 8) | word[at] as u64;
    }
    number
}

/// The same of the last `len` bytes of what was written.
#[inline]
pub(super) fn packed_end(written: &[u8], len: usize) -> u64 {
    match written.last_chunk::<8>() {
        Some(last) if len <= 8 && len > 0 => u64::from_le_bytes(*last) >> (8 * (8 - len)),
        _ => packed(written.get(written.len().saturating_sub(len)..).unwrap_or_default()),
    }
}

macro_rules! words {
    ($($name:ident = $word:literal;)+) => {
        $(pub(super) const $name: u64 = {
            assert!($word.len() <= 8);
            packed($word)
        };)+
    };
}

words! {
    ALL = b"all"; AND = b"and"; AS = b"as"; BETWEEN = b"between"; BY = b"by"; CAST = b"cast"; DISTINCT = b"distinct";
    EXISTS = b"exists"; FALSE = b"false"; FETCH = b"fetch"; FIRST = b"first"; FROM = b"from"; HAVING = b"having";
    ILIKE = b"ilike"; IN = b"in"; IS = b"is"; ISNULL = b"isnull"; LIKE = b"like"; LIMIT = b"limit"; NEXT = b"next";
    NOT = b"not"; NOTNULL = b"notnull"; NULL = b"null"; OFFSET = b"offset"; ON = b"on"; ONLY = b"only"; OR = b"or";
    ROW = b"row"; ROWS = b"rows"; SELECT = b"select"; SET = b"set"; TRUE = b"true"; UNKNOWN = b"unknown";
    VALUES = b"values"; VARYING = b"varying"; WHEN = b"when"; WHERE = b"where";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_the_same_number_wherever_it_stands() {
        for word in ["a", "on", "where", "distinct", "returning", "asymmetric"] {
            for before in ["", "x", "select a "] {
                let written = format!("{before}{word}");
                assert_eq!(packed_end(written.as_bytes(), word.len()), packed(word.as_bytes()), "{written}");
            }
        }
        assert_eq!(packed(b"returning"), 0);
        assert_ne!(packed(b"on"), packed(b"no"));
    }
}
