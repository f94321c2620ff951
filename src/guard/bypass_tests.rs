//! Attempts to get past a rule, one list for each known class. Each is judged as what it is, or is honestly opaque or
//! unparsed; a policy that refuses these two refuses all of them, and the pack `strict` is one.
#![allow(clippy::unwrap_used)]

use std::sync::OnceLock;

use super::*;
use crate::document::Source;
use policy::{Pack, Policies};

/// Nobody may reach `secret`, and nothing may be hidden.
const POLICY: &str = r#"
[[rule]]
name   = "secret"
only   = { tables = ["public.secret"] }
action = "block"

[[rule]]
name   = "hidden"
when   = "query.opaque"
action = "block"
"#;

fn class() -> Class {
    Class {
        user: "app".into(),
        database: "shop".into(),
        application: "".into(),
        standard_conforming_strings: true,
        ascii_safe_encoding: true,
    }
}

fn strict() -> Arc<Policies> {
    static STRICT: OnceLock<Arc<Policies>> = OnceLock::new();
    let load = || Arc::new(Policies::load(&[Pack::find("strict").unwrap().source()]).unwrap());
    Arc::clone(STRICT.get_or_init(load))
}

/// Rules of the pack that are about what cannot be seen.
const OF_THE_UNSEEN: [&str; 2] = ["strict-unparsed", "strict-opaque"];

/// The pack refuses what cannot be seen, says why, and what to do instead.
fn is_refused_by_strict(judgement: &Judgement, what: &str) {
    assert_eq!(judgement.action, Action::Block, "{what}");
    let unseen = judgement.complaints.iter().find(|complaint| OF_THE_UNSEEN.contains(&&*complaint.rule));
    let unseen = unseen.unwrap_or_else(|| panic!("{what}: {:?}", judgement.complaints));
    assert!(unseen.message.ends_with('.') && unseen.hint.ends_with('.'), "{what}: {unseen:?}");
}

/// Whatever of the text is opaque or unparsed, the pack refuses; nothing else is refused for that reason.
fn strict_agrees(text: &[u8], class: &Class) {
    let evaluation = evaluate(&strict(), class, text, &GuardLimits::default(), &Circumstances::default());
    let shown = String::from_utf8_lossy(text.get(..200).unwrap_or(text)).into_owned();
    if evaluation.reading.statements.iter().any(|facts| facts.opaque) {
        is_refused_by_strict(&evaluation.judgement, &shown);
    } else {
        let complaints = &evaluation.judgement.complaints;
        assert!(!complaints.iter().any(|found| OF_THE_UNSEEN.contains(&&*found.rule)), "{shown}");
    }
}

/// The rules that stop the text.
fn stopped_as(text: &[u8], class: &Class) -> Vec<String> {
    strict_agrees(text, class);
    let policies = Policies::load(&[Source::new("p.toml", POLICY)]).unwrap();
    let limits = GuardLimits::default();
    let evaluation = evaluate(&policies, class, text, &limits, &Circumstances::default());
    assert_eq!(
        evaluation.reading.refusal.is_some(),
        evaluation.reading.statements.iter().any(|facts| facts.kind == Kind::Unparsed)
    );
    evaluation.judgement.complaints.iter().map(|complaint| complaint.rule.to_string()).collect()
}

fn all_stopped_as(rule: &str, texts: &[&str]) {
    for text in texts {
        let rules = stopped_as(text.as_bytes(), &class());
        assert!(rules.iter().any(|name| name == rule), "{rule} does not stop {text:?}: {rules:?}");
    }
}

fn all_pass(texts: &[&str]) {
    for text in texts {
        assert_eq!(stopped_as(text.as_bytes(), &class()), [""; 0], "{text:?}");
    }
}

#[test]
fn comments_hide_nothing() {
    all_stopped_as(
        "secret",
        &[
            "SELECT a FROM/**/secret",
            "SELECT a FROM /* /* */ FROM t */ secret",
            "SELECT a FROM -- t\nsecret",
            "SELECT a FROM -- t\rsecret",
            "/*!50000 SELECT 1 */ TABLE secret -- ' \"",
            "SELECT '--', a FROM secret",
            "SELECT 1 -/**/-1 AS a FROM secret",
            "SELECT a FROM t, /* */ secret /* ' */",
        ],
    );
    all_stopped_as("hidden", &["TABLE t /* secret", "TABLE t /*/* */", "TA/**/BLE secret"]);
    all_pass(&[
        "TABLE t -- , secret",
        "TABLE t /* , secret */",
        "SELECT 'FROM secret', \"FROM secret\" FROM t",
    ]);
}

#[test]
fn names_are_what_they_mean_however_they_are_written() {
    all_stopped_as(
        "secret",
        &[
            "TABLE SECRET",
            "tAbLe SeCrEt",
            "TABLE \"secret\"",
            "TABLE public.\"secret\"",
            "TABLE shop . \"public\" . secret",
            "TABLE U&\"\\0073ecret\"",
            "TABLE u&\"!0073ecre!+000074\" UESCAPE '!'",
            "TABLE U&\"secret\" UESCAPE /* c */ '!'",
        ],
    );
    // Other relations: the server would not read the secret one either.
    all_pass(&[
        "TABLE \"SECRET\"",
        "TABLE \"secret \"",
        "TABLE other.secret",
        "TABLE ſecret",
        "TABLE \"se\"\"cret\"",
    ]);
    all_stopped_as("hidden", &["TABLE U&\"\\00zz\"", "TABLE U&\"s\" UESCAPE 'ab'", "TABLE \"\""]);
}

#[test]
fn strings_end_where_the_server_ends_them() {
    all_stopped_as(
        "secret",
        &[
            "SELECT '\\' FROM secret --'",
            "SELECT E'\\'' FROM secret",
            "SELECT E'\\\\' FROM secret --'",
            "SELECT $$'$$ FROM secret --'",
            "SELECT $a$ $$ $b$ $a$ FROM secret",
            "SELECT 'a'\n'b' FROM secret",
            "SELECT U&'\\0027' FROM secret",
            "SELECT N'\\' FROM secret --'",
            "SELECT B'1' FROM secret",
        ],
    );
    all_pass(&["SELECT E'\\' FROM secret --'", "SELECT $a$ FROM secret $a$", "SELECT $é$ FROM secret $é$"]);
    all_stopped_as(
        "hidden",
        &["SELECT $a$ FROM t $A$", "SELECT E'\\xff' FROM t", "SELECT 'a' 'b' FROM t", "SELECT E'\\'"],
    );
    let off = Class { standard_conforming_strings: false, ..class() };
    assert_eq!(stopped_as(b"SELECT '\\'' FROM secret", &off), ["secret"]);
    assert_eq!(stopped_as(b"SELECT '\\' FROM secret --'", &off), [""; 0]);
    assert_eq!(stopped_as(b"SELECT U&'\\0027' FROM t", &off), ["hidden"], "the server refuses it, too");
}

#[test]
fn white_space_is_what_the_server_takes_for_it() {
    all_stopped_as(
        "secret",
        &["TABLE\x0csecret", "TABLE\x0bsecret", "TABLE\rsecret", "\t TABLE\n\r\n secret\x0c;"],
    );
    // To the server these are letters of a name, or the text's end.
    all_stopped_as(
        "hidden",
        &[
            "TABLE\u{a0}secret",
            "TABLE\u{2003}secret",
            "\u{feff}TABLE secret",
            "TABLE secret\0",
            "\0TABLE t",
            "TABLE t \x1a",
        ],
    );
}

#[test]
fn every_place_of_a_relation_is_seen() {
    all_stopped_as(
        "secret",
        &[
            "SELECT 1; TABLE secret",
            "SELECT (SELECT a FROM secret)",
            "SELECT a FROM ONLY secret",
            "SELECT a FROM ONLY (secret)",
            "SELECT a FROM secret *",
            "SELECT a FROM t, LATERAL (SELECT b FROM secret) x",
            "SELECT a FROM (t CROSS JOIN secret) x",
            "SELECT 1 UNION ALL TABLE secret",
            "VALUES ((SELECT a FROM secret))",
            "SELECT a FROM t ORDER BY (SELECT b FROM secret) LIMIT (SELECT c FROM secret)",
            "SELECT f(a => (SELECT b FROM secret)) FILTER (WHERE EXISTS (TABLE secret)) FROM t",
            "SELECT a FROM secret TABLESAMPLE system (1)",
            "WITH secret AS (SELECT 1) SELECT a FROM public.secret",
            "WITH secret AS (TABLE secret) TABLE secret",
            "WITH RECURSIVE x AS (SELECT 1 UNION SELECT a FROM secret) SELECT 1",
            "INSERT INTO t TABLE secret",
            "INSERT INTO t VALUES (1) ON CONFLICT (a) DO UPDATE SET b = (SELECT c FROM secret)",
            "UPDATE t SET a = 1 FROM secret",
            "DELETE FROM t USING secret",
            "DELETE FROM t WHERE a = 1 RETURNING (SELECT b FROM secret)",
            "MERGE INTO t USING secret ON true WHEN MATCHED THEN DELETE",
            "COPY secret TO STDOUT",
            "COPY (TABLE secret) TO STDOUT",
            "COPY secret FROM STDIN",
            "DECLARE c CURSOR FOR TABLE secret",
            "PREPARE p AS TABLE secret",
            "EXPLAIN ANALYZE TABLE secret",
            "EXPLAIN (ANALYZE, FORMAT json) CREATE TABLE x AS TABLE secret",
            "CREATE VIEW v AS TABLE secret",
            "CREATE MATERIALIZED VIEW v AS TABLE secret",
            "CREATE TABLE x (LIKE secret)",
            "CREATE TABLE x () INHERITS (secret)",
            "CREATE RULE r AS ON INSERT TO t DO ALSO SELECT a FROM secret",
            "CREATE POLICY p ON t USING (EXISTS (TABLE secret))",
            "CREATE FUNCTION f() RETURNS int LANGUAGE sql RETURN (SELECT a FROM secret)",
            "CREATE FUNCTION f() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT 1; SELECT a FROM secret; END",
            "CREATE TRIGGER r AFTER INSERT ON secret EXECUTE FUNCTION f()",
            "ALTER TABLE secret RENAME TO open",
            "ALTER TABLE t ATTACH PARTITION secret DEFAULT",
            "LOCK TABLE secret",
            "GRANT SELECT ON secret TO PUBLIC",
            "SELECT a INTO secret FROM t",
        ],
    );
}

#[test]
fn code_that_cannot_be_seen_is_opaque() {
    all_stopped_as(
        "hidden",
        &[
            "DO $$ BEGIN EXECUTE 'TABLE ' || 'secret'; END $$",
            "CALL p()",
            "CREATE FUNCTION f() RETURNS SETOF text LANGUAGE sql AS 'TABLE secret'",
            "CREATE OR REPLACE PROCEDURE p() LANGUAGE plpgsql AS $$ BEGIN TABLE secret; END $$",
            "SELECT query_to_xml('TABLE secret', true, true, '')",
            "SELECT pg_catalog.table_to_xml('secret', true, true, '')",
            "SELECT a FROM public.dblink('dbname=shop', 'TABLE secret') AS d(a text)",
            "SELECT a FROM ts_stat('SELECT a FROM secret')",
            "SELECT U&\"query_to\\005fxml\"('TABLE secret', true, true, '')",
            "LOAD 'x'",
            "CREATE EXTENSION x",
        ],
    );
    let mut guard = Guard::new(
        Arc::new(Policies::load(&[Source::new("p.toml", POLICY)]).unwrap()),
        GuardLimits::default(),
        [1, 2, 3, 4],
    );
    let class = Arc::new(class());
    assert_eq!(guard.judge_function_call(20, &class).action, Action::Block);
    assert_eq!(guard.judge_oversized(&class).action, Action::Block);
    assert!(!guard.judge_function_call(20, &class).read_only);
    guard.set_policies(strict());
    let call = guard.judge_function_call(20, &class);
    is_refused_by_strict(&call, "FunctionCall");
    assert!(call.complaints[0].hint.contains("SELECT"), "{:?}", call.complaints);
    is_refused_by_strict(&guard.judge_oversized(&class), "oversized");
}

#[test]
fn what_is_too_long_or_too_deep_is_unparsed() {
    let long = format!("SELECT '{}'", "x".repeat(2 << 20));
    let deep = format!("SELECT {}1{}", "(".repeat(5_000), ")".repeat(5_000));
    let nested = format!("{} TABLE t {}", "/*".repeat(100), "*/".repeat(100));
    all_stopped_as("hidden", &[&long, &deep, &nested]);
    let padded = format!("SELECT '{}' FROM secret", "x".repeat(900_000));
    all_stopped_as("secret", &[&padded]);
}

#[test]
fn encodings_that_hide_a_backslash_are_unparsed() {
    // In SJIS 0x95 0x5c is one letter, in ASCII a letter and a backslash.
    let sjis = Class { ascii_safe_encoding: false, standard_conforming_strings: false, ..class() };
    assert_eq!(stopped_as(b"SELECT '\x95\x5c' FROM secret --'", &sjis), ["hidden"]);
    assert_eq!(stopped_as(b"SELECT a FROM secret", &sjis), ["secret"]);
    // No UTF-8: read byte by byte, its structure is the same in every encoding of this kind.
    assert_eq!(stopped_as(b"SELECT 'caf\xe9' FROM secret", &class()), ["secret"]);
    assert_eq!(stopped_as(b"SELECT '\xc3' FROM secret --'", &class()), ["secret"]);
}

#[test]
fn what_was_judged_without_a_comment_is_not_taken_for_the_same_with_one() {
    let policy = "[[rule]]\nname = 'cut'\nfinds = 'comment-truncation'\naction = 'block'\n";
    let policies = || Arc::new(Policies::load(&[Source::new("p.toml", policy)]).unwrap());
    let class = Arc::new(class());
    let texts: [(&[u8], Action); 4] = [
        (b"SELECT a FROM t WHERE b = 'x'", Action::Allow),
        (b"SELECT a FROM t WHERE b = 'y' -- AND c = 'z'", Action::Block),
        (b"SELECT a FROM t WHERE -- AND c = 'z'\n b = 'y'", Action::Allow),
        (b"SELECT a FROM t WHERE b = 'y' -- the first of them", Action::Allow),
    ];
    for first in 0..texts.len() {
        let mut guard = Guard::new(policies(), GuardLimits::default(), [1, 2, 3, 4]);
        for _ in 0..3 {
            for at in 0..texts.len() {
                let (text, action) = texts[(first + at) % texts.len()];
                assert_eq!(guard.judge(text, &class).action, action, "{}", String::from_utf8_lossy(text));
            }
        }
    }
}

/// What docs/GUARD.md says that no look at a text can find. If one of these is found one day, the page is to change.
#[test]
fn what_a_text_does_not_show() {
    all_pass(&[
        "SELECT a FROM a_view_over_secret",
        "SELECT a_function_that_reads_secret()",
        "SET search_path = a_schema_where_t_is_a_view",
        "EXECUTE prepared_by_somebody_else",
        "INSERT INTO a_table_with_a_trigger VALUES (1)",
        "FETCH ALL FROM a_cursor_that_a_function_opened",
    ]);
}
