//! Texts that are several statements, none, refused, or made to hurt.
#![allow(clippy::unwrap_used)]

use super::tests::facts;
use super::{Facts, ReadOptions, read};
use crate::guard::Kind;
use crate::guard::sql::Refusal;

fn refusal(text: &[u8]) -> Refusal {
    let reading = read(text, &ReadOptions::default());
    assert_eq!(reading.statements, [Facts::unparsed(text.len())]);
    reading.refusal.unwrap()
}

#[test]
fn several_statements_and_none() {
    let kinds = |text: &str| -> Vec<Kind> {
        read(text.as_bytes(), &ReadOptions::default()).statements.iter().map(|facts| facts.kind).collect()
    };
    assert_eq!(kinds("BEGIN; DELETE FROM t; COMMIT"), [Kind::Transaction, Kind::Delete, Kind::Transaction]);
    assert_eq!(kinds(" -- nothing\n;;"), []);
    assert_eq!(kinds("SELECT 1; SELEC 2"), [Kind::Unparsed]);
}

#[test]
fn what_only_the_server_refuses_is_read() {
    // The grammar takes any FROM list here.
    for text in [
        "CREATE STATISTICS s ON a, b FROM t JOIN u ON true",
        "CREATE STATISTICS s ON a FROM (SELECT 1) x, f(1)",
    ] {
        assert_eq!(facts(text).kind, Kind::Ddl, "{text}");
    }
}

#[test]
fn refusals_say_why() {
    let small = ReadOptions { max_bytes: 4, ..ReadOptions::default() };
    let reading = read(b"SELECT 1", &small);
    assert_eq!(reading.refusal, Some(Refusal::TooLarge { bytes: 8, max: 4 }));
    assert_eq!(refusal(b"SELECT \0 1"), Refusal::NulByte { at: 7 });
    assert_eq!(refusal(b"-- \0\nSELECT 1"), Refusal::NulByte { at: 3 });
    assert_eq!(refusal(b"SELECT 1 FRO t").to_string(), "syntax error at or near \"t\"");
    let long = format!("SELECT 1 {}", "x".repeat(10_000));
    assert!(refusal(format!("{long} {long}").as_bytes()).to_string().len() < 1_000);
    // Escapes that the grammar alone reads.
    assert!(matches!(refusal(b"SELECT E'\\u12'"), Refusal::Syntax(_)));
    assert!(matches!(refusal(b"SELECT E'\\377'"), Refusal::Syntax(_)));
}

#[test]
fn a_comment_is_a_blank_wherever_it_stands() {
    for text in [
        "SELECT 1 FROM t WHERE a NOT /* c */ LIKE '%x' AND b NOT -- c\nIN (1) AND c NOT /**/ BETWEEN 1 AND 2",
        "SELECT a FROM t ORDER BY a NULLS /* c */ FIRST -- c",
        "SELECT a::timestamp WITH /* c */ TIME ZONE FROM t, unnest(b) WITH /* c */ ORDINALITY",
        "SELECT U&'!0041' /* c */ UESCAPE '!' FROM t",
        "/* c */SELECT/* c */1/* c */FROM/* c */t/* c */;/* c */",
        "SELECT 'a' -- c\n 'b', E'a\\'' -- 'c'\n -- d\n 'b', b'1'\n--c\n'0' FROM t",
        "SELECT 'a--b', \"c/*d\", $$--$$ FROM t",
    ] {
        assert_eq!(facts(text).tables, ["t"], "{text}");
    }
    // A block comment with a newline in it joins no strings.
    assert!(matches!(refusal(b"SELECT 'a' /* \n */ 'b'"), Refusal::Syntax(_)));
    assert!(matches!(refusal(b"SELECT 'a' -- c\n /* c */ 'b'"), Refusal::Syntax(_)));
    assert_eq!(read(b"-- nothing", &ReadOptions::default()).statements, []);
}

#[test]
fn without_standard_conforming_strings_a_backslash_escapes() {
    let options = ReadOptions { standard_conforming_strings: false, ..ReadOptions::default() };
    let facts = |text: &str| read(text.as_bytes(), &options);
    // One string to the server, two statements to a reader that does not know the setting.
    let trick = r"SELECT 'a\' ; DELETE FROM t; --'";
    assert_eq!(facts(trick).statements.len(), 1);
    assert_eq!(facts(trick).statements[0].kind, Kind::Select);
    assert_eq!(read(trick.as_bytes(), &ReadOptions::default()).statements[1].kind, Kind::Delete);
    assert!(facts(r"SELECT 1 WHERE a LIKE'\045x'").statements[0].leading_wildcard);
    assert!(facts(r"SELECT E'\'', b'1', 'x', 'a\\' ").refusal.is_none());
    assert!(facts(r"SELECT U&'\0041'").refusal.is_some());
    assert!(facts(r"SELECT N'\''").refusal.is_some());
}

/// Deep, long and large texts: each ends in facts or in a clear refusal, on the 2 MiB stack of this test's
/// thread and without being quadratic.
#[test]
fn hostile_sizes() {
    let chain = |n: usize| vec!["a"; n].join(" || ");
    let nesting = |text: &str| matches!(refusal(text.as_bytes()), Refusal::Nesting { .. });
    assert!(nesting(&format!("SELECT {}1{}", "(".repeat(10_000), ")".repeat(10_000))));
    assert!(nesting(&format!("SELECT {}1{}", "(SELECT ".repeat(2_000), ")".repeat(2_000))));
    assert!(nesting(&format!("SELECT {}", chain(10_000))));
    assert!(nesting(&format!("SELECT {}1", "- ".repeat(5_000))));
    // The server's own location lookup would recurse once a term here.
    assert!(nesting(&format!("(SELECT 1 ORDER BY b) ORDER BY {}", chain(100_000))));
    assert!(matches!(
        refusal(format!("(SELECT 1 ORDER BY b) ORDER BY {}", chain(3_999)).as_bytes()),
        Refusal::Syntax(_)
    ));
    assert!(matches!(
        refusal(format!("(SELECT 1 ORDER BY b) ORDER BY {}a", "NOT ".repeat(1_999)).as_bytes()),
        Refusal::Syntax(_)
    ));
    assert!(matches!(refusal("/*".repeat(100_000).as_bytes()), Refusal::CommentDepth { .. }));
    assert!(matches!(refusal("/* ".repeat(100_000).as_bytes()), Refusal::CommentDepth { .. }));
    assert!(matches!(
        refusal(format!("SELECT 1 {}2", "+".repeat(100_000)).as_bytes()),
        Refusal::OperatorLength { .. }
    ));

    assert!(facts(&format!("SELECT {}", chain(3_999))).read_only);
    assert!(facts(&format!("SELECT a{}", " AND b LIKE '%x'".repeat(10_000))).leading_wildcard);
    assert_eq!(facts(&format!("SELECT {}1 FROM t{}", "(SELECT ".repeat(900), ")".repeat(900))).tables, ["t"]);
    assert_eq!(
        facts(&format!("SELECT 1 FROM t{}", " UNION SELECT 1 FROM u".repeat(3_000))).tables,
        ["t", "u"]
    );
    let many = (0..20_000).map(|n| format!(", t{n}")).collect::<String>();
    assert_eq!(facts(&format!("SELECT 1 FROM t{many}")).tables.len(), 20_001);
    let ctes = (0..10_000).map(|n| format!(", c{n} AS (SELECT FROM c0, x)")).collect::<String>();
    assert_eq!(facts(&format!("WITH c AS (SELECT 1){ctes} SELECT 1")).tables, ["c0", "x"]);
    assert_eq!(facts(&format!("INSERT INTO t VALUES {}(1, 'x')", "(1, 'x'), ".repeat(20_000))).tables, ["t"]);
    assert_eq!(facts(&format!("SELECT \"{}\"", "é".repeat(100))).kind, Kind::Select);
}
