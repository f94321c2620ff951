//! What soundness of the key means: texts of one key have the same facts, whatever stands in their conditions.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::tests::facts_of;
use super::{Wanted, keyed_shape_of};

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, ..ProptestConfig::default() })]

    #[test]
    fn one_key_means_the_same_facts_of_conditions((one, other) in conditions()) {
        assert_same_facts(&one, &other)?;
    }
}

pub(super) fn assert_same_facts(one: &str, other: &str) -> Result<(), TestCaseError> {
    let key = |text: &str| {
        let (mut shape, mut extras) = (Vec::new(), Vec::new());
        let info = keyed_shape_of(text.as_bytes(), true, Wanted::ALL, &mut shape, &mut extras);
        info.is_ok_and(|info| info.cacheable).then_some((shape, extras))
    };
    let (first, second) = (facts_of(one), facts_of(other));
    // A text that the server would refuse (a bad escape) is read as nothing, whatever its shape.
    if let (Some(key_of_one), Some(first), Some(second)) = (key(one), first, second)
        && Some(key_of_one) == key(other)
    {
        prop_assert_eq!(first, second, "{} | {}", one, other);
    }
    Ok(())
}

/// What conditions are made of; `?` is a literal.
const TERMS: &[&str] = &[
    "? = ?",
    "id = ?",
    "id = id",
    "? = id",
    "?",
    "?::int = ?",
    "bool ?",
    "CAST(? AS int) = ?",
    "true",
    "(? = ?) = (? = ?)",
    "(id = id) = (? = ?)",
    "id BETWEEN ? AND ?",
    "? BETWEEN ? AND ?",
    "id IN (?, ?)",
    "? IN (?, ?)",
    "? NOT IN (?)",
    "name LIKE ?",
    "? LIKE ?",
    "EXISTS (SELECT ?)",
    "(SELECT ?) = ?",
    "(SELECT ? AS x) = ?",
    "(SELECT ? x) = ?",
    "- ? < ?",
    "? + ? = ?",
    "pg_catalog.int4 ? = ?",
    "int ? = ?",
    "double precision ? = ?",
    "f(?) = ?",
    "t.or = ?",
    "CASE WHEN ? = ? THEN ? END = ?",
    "? IS NOT DISTINCT FROM ?",
    "? = ANY (ARRAY[?])",
    "$1 = $1",
    "$1 = ?",
    "(? = ?) IS TRUE",
    "? IS NULL",
    "x BETWEEN (SELECT ? WHERE a AND ? = ?) AND ?",
    "\"bool\" ?",
    "numeric(3,1) ? = ?",
    "id = ? COLLATE \"C\"",
    "? COLLATE \"C\" = ?",
    "? || ? = ?",
    "ROW(?) = ROW(?)",
    "? = ALL (SELECT ?)",
];

fn condition() -> impl Strategy<Value = String> {
    let term = prop::sample::select(TERMS);
    let joined = prop::collection::vec(
        (term, prop::sample::select(&[" AND ", " OR ", " AND NOT ", " OR NOT ", ") AND (", ") OR ("][..])),
        1..5,
    );
    joined.prop_map(|terms| {
        let mut text = String::from("(");
        for (at, (term, join)) in terms.iter().enumerate() {
            if at > 0 {
                text += join;
            }
            text += term;
        }
        text + ")"
    })
}

/// Two statements with one condition, bounds, and literals of their own, of few values, so that keys are often equal.
fn conditions() -> impl Strategy<Value = (String, String)> {
    let statement = prop::sample::select(
        &[
            "DELETE FROM t WHERE {}",
            "SELECT a AS between FROM t JOIN u ON {} WHERE id = id AND {}",
            "UPDATE t SET a = ?, b = ? WHERE {}",
            "SELECT ? AS x FROM t WHERE {} ORDER BY ? LIMIT ? OFFSET ?",
            "WITH w AS (DELETE FROM t WHERE {} RETURNING ?) SELECT a, ? FROM w WHERE {} FETCH FIRST (?) ROWS ONLY",
            "INSERT INTO t VALUES (?, ?) ON CONFLICT (a) DO UPDATE SET b = ? WHERE {}",
        ][..],
    );
    let small = prop::sample::select(&["1", "2", "'1'", "'t'", "'f'", "'%'", "'%%'", "'%a'"][..]);
    (statement, condition(), condition()).prop_flat_map(move |(statement, one, other)| {
        let text = statement.replacen("{}", &one, 1).replace("{}", &other);
        let slots = text.matches('?').count();
        let literals = || prop::collection::vec(small.clone(), slots);
        (Just(text), literals(), literals(), prop::collection::vec(any::<bool>(), slots)).prop_map(
            |(text, one, other, same)| {
                let fill = |literals: &dyn Fn(usize) -> &'static str| {
                    let mut parts = text.split('?');
                    let first = parts.next().unwrap_or_default().to_owned();
                    parts.enumerate().fold(first, |all, (at, part)| all + literals(at) + part)
                };
                (fill(&|at| one[at]), fill(&|at| if same[at] { one[at] } else { other[at] }))
            },
        )
    })
}

/// Statements to break and to put other literals into, as the fuzzer of `fuzz/` does without end.
const SEEDS: &[&str] = &[
    "SELECT a, count(*) FROM t WHERE id = 5 AND b LIKE 'x%' GROUP BY a ORDER BY 1 LIMIT 10 OFFSET 20",
    "SELECT a FROM t WHERE id IN (1, 2, 3) OR 1 = 1 FETCH FIRST 5 ROWS ONLY",
    "INSERT INTO t (a, b) VALUES (1, 'x'), (2, E'y\\n') ON CONFLICT (a) DO UPDATE SET b = 'z' WHERE t.a > 5",
    "UPDATE t SET a = a + 1, b = 'x' WHERE id BETWEEN 1 AND 9 AND c = ANY ('{%a,b}') RETURNING 1",
    "WITH w AS (DELETE FROM t WHERE a = B'01' OR a = X'1f') SELECT $$x$$, N'y' FROM w WHERE int '5' = 5",
    "MERGE INTO t USING u ON t.a = 1 WHEN MATCHED AND 2 = 2 THEN DELETE",
];
const PIECES: &[&str] = &[
    "'",
    "''",
    "'%'",
    "'_a'",
    "\"",
    "E'",
    "U&'",
    "N'",
    "B'1'",
    "$$",
    "/*",
    "*/",
    "-- \n",
    "\n",
    "(",
    ")",
    ",",
    ";",
    "::",
    "||",
    "~~",
    " LIKE ",
    " NOT ",
    " OR ",
    " AND ",
    "1",
    "1.5",
    "0x1f",
    "$1",
    " bool ",
    " LIMIT 1",
    "1=1",
    "set_config",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, ..ProptestConfig::default() })]

    #[test]
    fn one_key_means_the_same_facts_of_broken_statements(
        seed in prop::sample::select(SEEDS),
        breaks in prop::collection::vec((any::<prop::sample::Index>(), 0..4_usize, prop::sample::select(PIECES)), 0..4),
        step in 1..9_u8,
    ) {
        let mut text = seed.to_owned();
        for (at, length, piece) in breaks {
            let at = at.index(text.len() + 1);
            text.replace_range(at..(at + length).min(text.len()), piece);
        }
        assert_same_facts(&text, &with_other_literals(&text, step))?;
    }
}

/// Each digit moves on, and so does each letter within single quotes.
fn with_other_literals(text: &str, step: u8) -> String {
    let mut quoted = false;
    let change = |letter: char| match letter {
        '\'' => {
            quoted = !quoted;
            letter
        }
        '0'..='9' => char::from(b'0' + (letter as u8 - b'0' + step) % 10),
        'a'..='z' if quoted => char::from(b'a' + (letter as u8 - b'a' + step) % 26),
        _ => letter,
    };
    text.chars().map(change).collect()
}
