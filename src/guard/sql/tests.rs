#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::key_tests::assert_same_facts;
use super::lexer::{Kind, Lexer};
use super::{Refusal, fingerprint, normalized, shape_of};
use crate::guard::facts::{self, Facts, ReadOptions};

fn tokens(text: &str) -> Vec<(Kind, &str)> {
    tokens_with(text, true)
}

fn tokens_with(text: &str, standard_conforming_strings: bool) -> Vec<(Kind, &str)> {
    let mut lexer = Lexer::new(text.as_bytes(), standard_conforming_strings);
    let mut tokens = Vec::new();
    while let Some(token) = lexer.next().unwrap() {
        tokens.push((token.kind, &text[token.start..token.end]));
    }
    tokens
}

fn words(text: &str) -> Vec<&str> {
    tokens(text).into_iter().map(|(_, text)| text).collect()
}

fn refusal(text: &str) -> Option<Refusal> {
    shape_of(text.as_bytes(), true, &mut Vec::new()).err()
}

fn shape(text: &str) -> String {
    let mut out = Vec::new();
    shape_of(text.as_bytes(), true, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn cacheable(text: &str) -> bool {
    shape_of(text.as_bytes(), true, &mut Vec::new()).unwrap().cacheable
}

fn statements(text: &str) -> u32 {
    shape_of(text.as_bytes(), true, &mut Vec::new()).unwrap().statements
}

#[test]
fn operators_are_as_long_as_the_server_makes_them() {
    assert_eq!(words("a<-1"), ["a", "<", "-", "1"]);
    assert_eq!(words("a< -1"), words("a<-1"));
    assert_eq!(words("a@-1"), ["a", "@-", "1"]);
    assert_eq!(words("a*-1"), ["a", "*", "-", "1"]);
    assert_eq!(words("a->-1"), ["a", "->", "-", "1"]);
    assert_eq!(words("a->>b#>>c"), ["a", "->>", "b", "#>>", "c"]);
    assert_eq!(words("a::b:=c=>d..e"), ["a", "::", "b", ":=", "c", "=>", "d", "..", "e"]);
    assert_eq!(words("a=--b\n1/*c*/+/*d*/2"), ["a", "=", "1", "+", "2"]);
    assert_eq!(words("count(*)"), ["count", "(", "*", ")"]);
}

#[test]
fn numbers() {
    use Kind::{Integer, Number};
    for (text, kind) in [
        ("0", Integer),
        ("2147483647", Integer),
        ("2147483648", Number),
        ("99999999999999999999", Number),
        ("1_000", Integer),
        ("0x7fffffff", Integer),
        ("0x_80000000", Number),
        ("0b101", Integer),
        ("0o17", Integer),
        ("1.5", Number),
        ("1.", Number),
        (".5", Number),
        ("1e10", Number),
        ("1.5E-3", Number),
    ] {
        assert_eq!(tokens(text), [(kind, text)]);
    }
    assert_eq!(words("1..10"), ["1", "..", "10"]);
    assert_eq!(words("a.1"), ["a", ".1"]);
    for junk in ["1a", "0x", "1__0", "1_", "1e", "0b2", "1.5x"] {
        assert!(matches!(refusal(junk), Some(Refusal::BadToken { .. })), "{junk}");
    }
}

#[test]
fn strings_of_every_kind() {
    use Kind::*;
    let plain = Str { escapes: false };
    assert_eq!(tokens("'it''s'"), [(plain, "'it''s'")]);
    assert_eq!(tokens(r"'a\' 'b'")[0], (plain, r"'a\'"));
    assert_eq!(tokens(r"E'a\'b'"), [(Str { escapes: true }, r"E'a\'b'")]);
    assert_eq!(tokens("b'1' X'f' n'x'").iter().map(|t| t.0).collect::<Vec<_>>(), [Bits, Hex, National]);
    assert_eq!(
        tokens("U&'\\0041' u&\"b\"").iter().map(|t| t.0).collect::<Vec<_>>(),
        [UnicodeStr, UnicodeQuoted]
    );
    assert_eq!(tokens("$$a'b$$ $t$a $$ b$t$").iter().map(|t| t.0).collect::<Vec<_>>(), [Dollar, Dollar]);
    assert_eq!(tokens("$1a$"), [(Param, "$1"), (Word, "a$")]);
    assert_eq!(tokens("aE'b'").iter().map(|t| t.0).collect::<Vec<_>>(), [Word, plain]);
    // Where the setting is off, a backslash escapes in a plain string too.
    assert_eq!(tokens_with(r"'a\'b'", false), [(Str { escapes: true }, r"'a\'b'")]);
}

#[test]
fn a_string_goes_on_after_a_newline_only() {
    assert_eq!(tokens("'a' \n 'b'").len(), 1);
    assert_eq!(tokens("'a' -- c\n -- 'd'\n 'b'").len(), 1);
    assert_eq!(tokens("E'a\\''\n'b\\''").len(), 1);
    assert_eq!(tokens("'a' 'b'").len(), 2);
    assert_eq!(tokens("'a' /* \n */ 'b'").len(), 2);
}

#[test]
fn comments_vanish_and_nest() {
    assert_eq!(words("a/*b/*c*/d*/e--f\rg"), ["a", "e", "g"]);
    let fine = format!("{}{} SELECT 1", "/* ".repeat(32), "*/ ".repeat(32));
    assert_eq!(refusal(&fine), None);
    let deep = format!("{}{} SELECT 1", "/* ".repeat(33), "*/ ".repeat(33));
    assert!(matches!(refusal(&deep), Some(Refusal::CommentDepth { .. })));
}

#[test]
fn what_costs_the_grammar_quadratic_time_is_refused() {
    let long = |text: &str| matches!(refusal(text), Some(Refusal::OperatorLength { .. }));
    assert!(!long(&format!("SELECT 1 {} 2", "@".repeat(63))));
    assert!(long(&format!("SELECT 1 {} 2", "@".repeat(64))));
    assert!(long(&format!("SELECT 1 {}2", "+".repeat(64))));
    assert!(long(&format!("SELECT 1 {} 2", "+/**/".repeat(64))));
    assert!(long(&format!("/*{}*/ SELECT 1", "/**/".repeat(64))));
    // A rule of dashes or stars is one comment.
    assert!(!long(&format!("SELECT 1 +{}\n 2", "-".repeat(500))));
    assert!(!long(&format!("/{}/ SELECT 1", "*".repeat(500))));
}

#[test]
fn what_has_no_end_is_refused() {
    for text in ["'a", "E'a\\'", "\"a", "$$a", "$x$a$y$", "/* a", "U&\"a", "b'1"] {
        assert!(matches!(refusal(text), Some(Refusal::Unterminated { .. })), "{text}");
    }
    for text in ["\"\"", "SELECT \u{1}", "a $ b", "{"] {
        assert!(matches!(refusal(text), Some(Refusal::BadToken { .. })), "{text}");
    }
    assert_eq!(refusal("a \0"), Some(Refusal::NulByte { at: 2 }));
    assert_eq!(refusal("E'\\\0'"), Some(Refusal::NulByte { at: 3 }));
}

#[test]
fn the_shape_forgets_literals_case_and_white_space() {
    let same = shape("SELECT a FROM t WHERE b = 1 AND c = 'x'");
    for text in [
        "select A from T where B=42 and C='it''s';",
        "\n/* c */ SELECT a FROM t -- d\nWHERE b = 7 AND c = $$y$$ ; ;",
        "SELECT a FROM t WHERE b = 0x1f AND c = E'\\n' \n 'z'",
        "SELECT a FROM t WHERE b = 1 AND c = '%x'",
    ] {
        assert_eq!(shape(text), same, "{text}");
    }
    for text in [
        "SELECT \"A\" FROM t WHERE b = 1 AND c = 'x'",
        "SELECT a FROM t WHERE b = 1.0 AND c = 'x'",
        "SELECT a FROM t WHERE b = 3000000000 AND c = 'x'",
        "SELECT a FROM t WHERE b = $1 AND c = 'x'",
        "SELECT a FROM t WHERE b = 1 AND c = N'x'",
        "SELECT a FROM t WHERE b = 1 AND c = B'1'",
    ] {
        assert_ne!(shape(text), same, "{text}");
    }
    assert_ne!(shape("SELECT $1"), shape("SELECT $2"));
    // One identifier with a blank in it is not two.
    assert_ne!(shape("SELECT \"a b\""), shape("SELECT \"a\" \"b\""));
    // Letters beyond ASCII keep their case, as in the server.
    assert_ne!(shape("SELECT é"), shape("SELECT É"));
}

#[test]
fn a_pattern_that_starts_with_a_wildcard_has_another_shape() {
    let prefix = shape("SELECT 1 FROM t WHERE a LIKE 'x%'");
    for pattern in ["'%x'", "'_x'", "E'%x'", "$$%x$$"] {
        assert_ne!(shape(&format!("SELECT 1 FROM t WHERE a LIKE {pattern}")), prefix, "{pattern}");
        assert_ne!(
            shape(&format!("SELECT 1 FROM t WHERE a ~~* ({pattern} || b)")),
            shape("SELECT 1 FROM t WHERE a ~~* ('x' || b)")
        );
    }
    assert_ne!(
        shape("SELECT 1 FROM t WHERE a LIKE ANY ('{x,%y}')"),
        shape("SELECT 1 FROM t WHERE a LIKE ANY ('{x,y}')")
    );
    // What the lexer cannot tell is not shared.
    assert!(!cacheable("SELECT 1 FROM t WHERE a LIKE E'\\x25x'"));
    assert!(!cacheable("SELECT 1 FROM t WHERE a LIKE ''\n'%x'"));
}

#[test]
fn only_queries_whose_literals_mean_nothing_share_facts() {
    for text in [
        "SELECT 1",
        "((SELECT 1))",
        "INSERT INTO t VALUES (1)",
        "UPDATE t SET a = 1",
        "DELETE FROM t",
        "VALUES (1)",
        "WITH a AS (SELECT 1) SELECT * FROM a",
        "TABLE t",
        "SELECT reg FROM t",
        "MERGE INTO t USING u ON a = b WHEN MATCHED THEN DELETE",
    ] {
        assert_eq!(cacheable(text), !text.contains("reg"), "{text}");
    }
    for text in [
        "",
        ";",
        "SET a = 1",
        "DO $$$$",
        "COPY t FROM STDIN",
        "CALL f()",
        "EXECUTE p",
        "PREPARE p AS SELECT 1",
        "EXPLAIN SELECT 1",
        "BEGIN",
        "CREATE TABLE t ()",
        "SELECT 1; SELECT 2",
        "SELECT set_config('a', 'b', true)",
        "SELECT \"set_config\"('a', 'b', true)",
        "SELECT dblink_exec('x')",
        "SELECT query_to_xml('x')",
        "SELECT lo_import('x')",
        "SELECT pg_read_file('x')",
        "SELECT NextVal('s')",
        "SELECT 'x'::regclass",
        "SELECT 'x'::\"regrole\"",
        "SELECT U&'x'",
        "SELECT U&\"x\"",
        "SELECT ts_stat('SELECT 1')",
    ] {
        assert!(!cacheable(text), "{text}");
    }
    let info = shape_of(b"SELECT 'a'", false, &mut Vec::new()).unwrap();
    assert!(!info.cacheable, "standard_conforming_strings off");
}

#[test]
fn statements_are_told_apart_at_top_level_semicolons() {
    for (text, count) in [
        ("", 0),
        (" ;; -- nothing", 0),
        ("SELECT 1", 1),
        ("SELECT ';'; /* ; */ SELECT $$;$$;", 2),
        ("CREATE RULE r AS ON INSERT TO t DO (DELETE FROM a; DELETE FROM b); SELECT 1", 2),
        (
            "CREATE OR REPLACE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT CASE WHEN a THEN 1 END; SELECT 2; END; SELECT 3",
            2,
        ),
        ("CREATE PROCEDURE f() BEGIN ATOMIC END; BEGIN; END", 3),
        ("BEGIN; SELECT 1; END", 3),
    ] {
        assert_eq!(statements(text), count, "{text}");
        let reading = facts::read(text.as_bytes(), &ReadOptions::default());
        assert_eq!(reading.statements.len(), count as usize, "{text}: {:?}", reading.refusal);
    }
    assert_eq!(shape("SELECT 1;;SELECT 2;"), shape("SELECT 3 ; SELECT 4"));
    assert_ne!(shape("SELECT 1; SELECT 2"), shape("SELECT 1 SELECT 2"));
}

#[test]
fn the_normal_text_shows_no_literal() {
    let normal = |text: &str| normalized(text.as_bytes(), true, 1024);
    assert_eq!(
        normal("SELECT  a,\n b FROM t /* c */ WHERE x = 'secret' AND y=-1 AND z = $2;"),
        "SELECT a, b FROM t WHERE x = $3 AND y=-$4 AND z = $2"
    );
    assert_eq!(normal("ALTER ROLE a PASSWORD 'secret'; SELECT 1"), "ALTER ROLE a PASSWORD $1; SELECT $2");
    assert_eq!(normal("SELECT 'secret"), "SELECT…");
    assert_eq!(normalized(b"SELECT 'caf\xe9', caf\xe9", true, 1024), "SELECT $1, caf\u{fffd}");
    assert_eq!(normalized("SELECT aaaa, éééé".as_bytes(), true, 12), "SELECT aa…");
    assert_eq!(normalized(b"SELECT 1", true, 0), "");
}

#[test]
fn the_fingerprint_is_the_same_for_ever() {
    // From another implementation of SHA-256: it names statements in logs and metrics.
    assert_eq!(fingerprint(b""), 0xe3b0_c442_98fc_1c14);
    assert_eq!(fingerprint(b"abc"), 0xba78_16bf_8f01_cfea);
    assert_eq!(fingerprint(shape("SELECT 1").as_bytes()), fingerprint(shape("select  42;").as_bytes()));
}

/// Pieces that trip lexers.
const PIECES: &[&str] = &[
    "'",
    "''",
    "\"",
    "$",
    "$$",
    "$a$",
    "$1",
    "--",
    "/*",
    "*/",
    "\\",
    "\n",
    " ",
    ";",
    "(",
    ")",
    "[",
    "]",
    ",",
    ".",
    "..",
    ":",
    "::",
    "E'",
    "U&'",
    "U&\"",
    "N'",
    "B'",
    "X'",
    "e",
    "0x",
    "1",
    "1.",
    "1e",
    "_",
    "@",
    "+",
    "-",
    "<",
    "|",
    "%",
    "é",
    "\u{1}",
    "{",
    "SELECT",
    "a",
    "FROM",
    "BEGIN",
    "ATOMIC",
    "CASE",
    "END",
    "CREATE FUNCTION",
];

fn garbage() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(PIECES), 0..40).prop_map(|pieces| pieces.concat())
}

/// Statements with slots: `?` any literal, `~` a pattern.
const TEMPLATES: &[&str] = &[
    "SELECT a FROM t WHERE b = ? LIMIT ?",
    "SELECT * FROM s . t WHERE a LIKE ~ AND b IN ( ? , ? )",
    "SELECT count ( * ) FROM t WHERE a NOT LIKE ~ OR b ILIKE ~ || ?",
    "SELECT a FROM t WHERE b ~~ concat ( ~ , ? ) GROUP BY a",
    "SELECT a FROM t WHERE b LIKE ANY ( ARRAY [ ~ , ~ ] )",
    "SELECT a FROM t WHERE b LIKE ANY ( ~ )",
    "SELECT ? :: text , lower ( ? ) FROM t AS x JOIN u ON x . a = u . a",
    "INSERT INTO t ( a ) VALUES ( ? ) , ( ? ) ON CONFLICT DO NOTHING RETURNING *",
    "UPDATE t SET a = ? WHERE b < - ?",
    "DELETE FROM t WHERE a LIKE ~ ESCAPE '!'",
    "WITH x AS ( SELECT * FROM t WHERE a = ? ) SELECT a FROM x , u",
    "VALUES ( ? , ? )",
];

fn literal() -> impl Strategy<Value = String> {
    let body =
        prop::sample::select(&["", "x", "%", "_a", "{%a}", "{a,_b}", "{a}", "it''s", "1", " %", "x%"][..]);
    prop_oneof![
        (0_u64..5_000_000_000).prop_map(|n| n.to_string()),
        Just("1.5".to_owned()),
        Just("0x1f".to_owned()),
        (body.clone(), prop::sample::select(&["'", "E'", "N'"][..]))
            .prop_map(|(body, open)| format!("{open}{body}'")),
        (body.clone(), body.clone()).prop_map(|(a, b)| format!("'{a}' \n '{b}'")),
        prop::sample::select(&["\\x25", "\\%", "a\\'", "\\\\"][..]).prop_map(|body| format!("E'{body}'")),
        body.prop_map(|body| format!("$q${body}$q$")),
    ]
}

fn blank() -> impl Strategy<Value = &'static str> {
    prop::sample::select(&[" ", "\n", "\t", " /* ' */ ", " -- \"\n", "  "][..])
}

/// Two texts of one template, with literals and blanks of their own.
fn twins() -> impl Strategy<Value = (String, String)> {
    let text = |template: &'static str| {
        let slots = template.split(' ').count();
        let parts = (prop::collection::vec(literal(), slots), prop::collection::vec(blank(), slots));
        parts.prop_map(move |(literals, blanks)| {
            let words = template.split(' ').zip(literals.iter().zip(blanks));
            words
                .map(|(word, (literal, blank))| {
                    let word = if matches!(word, "?" | "~") { literal } else { word };
                    format!("{word}{blank}")
                })
                .collect::<String>()
        })
    };
    prop::sample::select(TEMPLATES).prop_flat_map(move |template| (text(template), text(template)))
}

pub(super) fn facts_of(text: &str) -> Option<Facts> {
    let mut reading = facts::read(text.as_bytes(), &ReadOptions::default());
    let mut facts = reading.statements.pop()?;
    // Neither the length nor the comments are part of a shape.
    facts = Facts {
        bytes: 0,
        comments: 0,
        trailing_comment: false,
        tags: Vec::new(),
        line_comment: None,
        ..facts
    };
    reading.refusal.is_none().then_some(facts)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), scs in any::<bool>(), max in 0_usize..100) {
        let _ = shape_of(&bytes, scs, &mut Vec::new());
        prop_assert!(normalized(&bytes, scs, max).len() <= max);
    }

    #[test]
    fn no_garbage_makes_it_panic_and_statements_are_counted_as_the_grammar_does(text in garbage(), scs in any::<bool>()) {
        let info = shape_of(text.as_bytes(), scs, &mut Vec::new());
        prop_assert!(normalized(text.as_bytes(), scs, 64).len() <= 64);
        let options = ReadOptions { standard_conforming_strings: scs, ..ReadOptions::default() };
        let reading = facts::read(text.as_bytes(), &options);
        prop_assert_ne!(reading.refusal, Some(Refusal::ParserFailed));
        if let (Ok(info), None) = (info, facts::read(text.as_bytes(), &options).refusal) {
            prop_assert_eq!(info.statements as usize, reading.statements.len());
        }
    }

    /// The grammar sees the same tokens: writing them apart changes nothing it reads.
    #[test]
    fn tokens_written_apart_mean_the_same((text, _) in twins()) {
        let apart: Vec<&str> = words(&text);
        prop_assert_eq!(facts_of(&text), facts_of(&apart.join(" ")));
    }

    #[test]
    fn one_key_means_the_same_facts((one, other) in twins()) {
        assert_same_facts(&one, &other)?;
    }
}
