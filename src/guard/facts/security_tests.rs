//! What speaks against a statement, and what its comments, roles and settings tell.
#![allow(clippy::unwrap_used)]

use super::tests::facts;
use super::{Facts, ReadOptions, read};
use crate::guard::Kind;

fn reasons(text: &str) -> Vec<String> {
    let facts = facts(text);
    assert_eq!(facts.read_only, facts.not_read_only.is_empty(), "{text}");
    facts.not_read_only
}

#[test]
fn what_is_not_read_only_says_why() {
    for (text, expected) in [
        ("SELECT a FROM t", &[][..]),
        ("SHOW search_path", &[]),
        ("EXPLAIN DELETE FROM t", &[]),
        ("EXPLAIN ANALYZE SELECT 1", &[]),
        ("INSERT INTO t VALUES (1)", &["insert"]),
        ("UPDATE t SET a = 1", &["update"]),
        ("DELETE FROM t", &["delete"]),
        ("MERGE INTO t USING u ON true WHEN MATCHED THEN DELETE", &["merge"]),
        ("SELECT a INTO u FROM t", &["select into"]),
        ("SELECT a FROM t FOR SHARE", &["row lock"]),
        ("WITH g AS (DELETE FROM t RETURNING a) SELECT a FROM g", &["data-modifying with", "delete"]),
        ("SELECT f(1), public.count(2), lower('a')", &["function f", "function public.count"]),
        ("SELECT nextval('s'), s.nextval('x')", &["sequence nextval", "function s.nextval"]),
        ("SELECT pg_try_advisory_xact_lock(1)", &["advisory lock pg_try_advisory_xact_lock"]),
        ("SELECT pg_catalog.lastval()", &["sequence pg_catalog.lastval"]),
        ("SELECT 1 OPERATOR(public.+) 2", &["operator"]),
        ("SELECT a FROM t TABLESAMPLE mine(1)", &["sampling method"]),
        ("COPY t FROM STDIN", &["copy from"]),
        ("COPY t FROM PROGRAM 'x'", &["copy from"]),
        ("COPY t TO '/tmp/x'", &["copy to file"]),
        ("COPY t TO PROGRAM 'x'", &["copy to program"]),
        ("COPY (SELECT f(1)) TO STDOUT", &["copy to stdout", "function f"]),
        ("COPY (DELETE FROM t RETURNING a) TO STDOUT", &["copy to stdout", "delete"]),
        ("EXPLAIN ANALYZE DELETE FROM t", &["explain analyze", "delete"]),
        ("EXPLAIN ANALYZE SELECT f(1)", &["explain analyze", "function f"]),
        ("EXPLAIN SELECT f(1) FROM t FOR UPDATE", &["row lock", "function f"]),
        ("DO 'x'", &["do"]),
        ("CALL p(f(1))", &["call", "function p", "function f"]),
        ("EXECUTE p", &["execute"]),
        ("CREATE TABLE t AS SELECT 1", &["ddl"]),
        ("CREATE RULE r AS ON INSERT TO t DO INSTEAD DELETE FROM u", &["ddl"]),
        ("BEGIN", &["transaction"]),
        ("SET x = 1", &["set"]),
        ("LISTEN x", &["other"]),
        ("PREPARE p AS DELETE FROM t", &["delete"]),
    ] {
        assert_eq!(reasons(text), expected, "{text}");
    }
    assert_eq!(Facts::unparsed(1).not_read_only, ["unparsed"]);
    let call = Facts::function_call(1);
    assert_eq!((call.kind, call.opaque, call.read_only), (Kind::Unparsed, true, false));
    assert_eq!(call.not_read_only, ["function call"]);
}

#[test]
fn explain_and_whether_it_runs() {
    for (text, expected) in [
        ("SELECT 1", (false, false)),
        ("EXPLAIN SELECT 1", (true, false)),
        ("EXPLAIN (ANALYZE off) SELECT 1", (true, false)),
        ("EXPLAIN (ANALYZE, VERBOSE) SELECT 1", (true, true)),
        ("EXPLAIN (ANALYZE off, ANALYZE 1) SELECT 1", (true, true)),
        ("EXPLAIN ANALYZE CREATE TABLE t AS SELECT 1", (true, true)),
    ] {
        let facts = facts(text);
        assert_eq!((facts.explain, facts.analyze), expected, "{text}");
    }
}

#[test]
fn code_that_is_not_seen_is_opaque() {
    for text in [
        "DO $$ BEGIN DELETE FROM t; END $$",
        "CALL p()",
        "LOAD 'x'",
        "CREATE EXTENSION x",
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE SCHEMA s CREATE TABLE t (a xml DEFAULT query_to_xml('SELECT 1', true, true, ''))",
        "SELECT a FROM dblink('h', 'DELETE FROM t') AS d(a int)",
        "SELECT public.dblink_exec('DELETE FROM t')",
        "SELECT pg_catalog.query_to_xml('SELECT 1', true, true, '')",
        "EXPLAIN SELECT a FROM crosstab2('SELECT 1') c(a)",
        "PREPARE p AS SELECT ts_stat('SELECT 1')",
    ] {
        assert!(facts(text).opaque, "{text}");
    }
    for text in [
        "SELECT f(1)",
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql RETURN 1",
        "EXECUTE p",
        "SELECT 'dblink(x)'",
        "ALTER FUNCTION f() STABLE",
    ] {
        assert!(!facts(text).opaque, "{text}");
    }
}

#[test]
fn catalogs_are_known_by_their_names() {
    for text in [
        "SELECT a FROM pg_class",
        "TABLE pg_catalog.pg_authid",
        "SELECT a FROM t, information_schema.tables",
        "SELECT pg_get_functiondef(1)",
        "SELECT obj_description(1, 'pg_class')",
        "SELECT 1 UNION SELECT rolname FROM \"pg_roles\"",
    ] {
        assert!(facts(text).catalog, "{text}");
    }
    for text in [
        "SELECT pg_sleep(1) FROM pgx",
        "SELECT a FROM shop.pg_class",
        "WITH pg_class AS (SELECT 1 a) SELECT a FROM pg_class",
        "SELECT pg_advisory_lock(1)",
    ] {
        assert!(!facts(text).catalog, "{text}");
    }
}

#[test]
fn changes_of_roles_and_rights() {
    for (text, expected) in [
        ("GRANT SELECT ON t TO a", &["grant"][..]),
        ("REVOKE a FROM b", &["revoke"]),
        ("CREATE USER a", &["create role"]),
        ("ALTER ROLE a SUPERUSER", &["alter role"]),
        ("ALTER ROLE a RENAME TO b", &["alter role"]),
        ("ALTER ROLE a SET work_mem = 1", &["alter role"]),
        ("DROP GROUP a", &["drop role"]),
        ("SET ROLE a", &["set role"]),
        ("SET LOCAL role = 'a'", &["set role"]),
        ("RESET ROLE", &["set role"]),
        ("SET SESSION AUTHORIZATION a", &["set session authorization"]),
        ("SELECT set_config('Role', 'a', true)", &["set role"]),
        ("ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO a", &["alter default privileges"]),
        ("ALTER TABLE t OWNER TO a, ADD b int, DISABLE ROW LEVEL SECURITY", &["alter owner", "row security"]),
        ("ALTER SCHEMA s OWNER TO a", &["alter owner"]),
        ("REASSIGN OWNED BY a TO b", &["alter owner"]),
        ("DROP OWNED BY a", &["drop owned"]),
        ("CREATE FUNCTION f() RETURNS int LANGUAGE sql SECURITY DEFINER RETURN 1", &["security definer"]),
        ("ALTER FUNCTION f() SECURITY DEFINER", &["security definer"]),
        ("ALTER FUNCTION f() SECURITY INVOKER", &[]),
        ("DROP POLICY p ON t", &["row security"]),
        ("CREATE SCHEMA s GRANT SELECT ON t TO a", &["grant"]),
        ("SELECT 1", &[]),
        ("DROP TABLE t", &[]),
    ] {
        assert_eq!(facts(text).privileges, expected, "{text}");
    }
}

#[test]
fn settings_are_named_however_they_are_touched() {
    for (text, expected) in [
        ("SET Work_Mem = 1", &["work_mem"][..]),
        ("SET LOCAL a.b = 1", &["a.b"]),
        ("SET TIME ZONE 'UTC'", &["timezone"]),
        ("RESET work_mem", &["work_mem"]),
        ("RESET ALL", &["all"]),
        ("SHOW work_mem", &["work_mem"]),
        ("SET TRANSACTION READ ONLY", &["transaction_read_only"]),
        (
            "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE",
            &["default_transaction_isolation"],
        ),
        ("SELECT set_config('A', 'b', true), current_setting('c')", &["a", "c"]),
        ("SELECT set_config($1, 'b', true)", &["?"]),
        ("UPDATE pg_settings SET setting = 'off' WHERE name = 'x'", &["?"]),
        ("WITH u AS (UPDATE pg_catalog.pg_settings SET setting = 'off') SELECT 1", &["?"]),
        ("UPDATE shop.pg_settings SET setting = 'off'", &[]),
        ("ALTER SYSTEM SET fsync = off", &["fsync"]),
        ("ALTER DATABASE d RESET fsync", &["fsync"]),
        ("ALTER ROLE a IN DATABASE d SET fsync = on", &["fsync"]),
        ("CREATE FUNCTION f() RETURNS int LANGUAGE sql SET search_path = a RETURN 1", &["search_path"]),
        ("SELECT 1", &[]),
    ] {
        assert_eq!(facts(text).settings_named, expected, "{text}");
    }
}

#[test]
fn comments_and_tags_belong_to_every_statement_of_a_text() {
    let text = b"SELECT 1; SELECT 'x' /*route='%2Fa',db='pg'*/";
    for facts in read(text, &ReadOptions::default()).statements {
        assert_eq!((facts.comments, facts.trailing_comment, facts.statements), (1, true, 2));
        assert_eq!(facts.tags, ["route=/a", "db=pg"]);
    }
    let cut = facts("SELECT a FROM t WHERE b = 'x' -- ' AND c = 'y'");
    assert_eq!(cut.line_comment, Some((true, " ' AND c = 'y'".to_owned())));
    assert!(facts("SELECT 1").comments == 0 && facts("SELECT 1").line_comment.is_none());
}

#[test]
fn arms_of_unions() {
    let arms = |text| {
        let arms = facts(text).union_arms;
        (arms.filtered, arms.bare, arms.catalog, arms.padding)
    };
    assert_eq!(arms("SELECT a, b FROM t WHERE c = 1 UNION SELECT d, 1 FROM u"), (true, false, false, 1));
    assert_eq!(arms("SELECT a FROM t WHERE c = 1 UNION ALL SELECT version()"), (true, true, false, 0));
    assert_eq!(
        arms("SELECT a FROM t WHERE c = 1 UNION SELECT rolname FROM pg_roles"),
        (true, false, true, 0)
    );
    assert_eq!(
        arms("SELECT a, b, c FROM t WHERE c = 1 UNION SELECT NULL::int, 'x', d FROM u"),
        (true, false, false, 2)
    );
    assert!(arms("SELECT a FROM t WHERE b = 1 UNION (SELECT 1 UNION SELECT a FROM t)").1);
    assert_eq!(arms("SELECT a FROM t UNION SELECT a FROM u"), (false, false, false, 0));
    assert_eq!(arms("SELECT a FROM t WHERE b = 1 EXCEPT SELECT 1"), (false, false, false, 0));
}

#[test]
fn an_or_with_a_side_that_is_always_true() {
    for text in [
        "SELECT a FROM t WHERE b = 'x' OR 1=1",
        "SELECT a FROM t WHERE b = 'x' OR 'a'='a' AND 2 > 1",
        "SELECT a FROM t WHERE b = $1 AND (c = 1 OR (d = 2 OR true))",
        "DELETE FROM t WHERE b = '' OR ''=''",
        "SELECT a FROM t WHERE b = 1 OR b = b",
        "SELECT a FROM t JOIN u ON t.b = u.b OR NOT false",
    ] {
        assert!(facts(text).tautology, "{text}");
    }
    for text in [
        "SELECT a FROM t WHERE b = 'x' OR 1=2",
        "SELECT a FROM t WHERE 1=1 AND b = 'x'",
        "SELECT a FROM t WHERE b = 1 OR c = 1",
        "SELECT a FROM t WHERE b = 1 OR $1",
    ] {
        assert!(!facts(text).tautology, "{text}");
    }
}
