#![allow(clippy::unwrap_used)]

use super::{Facts, ReadOptions, read};
use crate::guard::{Effects, Kind};

pub(super) fn facts(text: &str) -> Facts {
    let mut reading = read(text.as_bytes(), &ReadOptions::default());
    assert_eq!(reading.refusal, None, "{text}");
    assert_eq!(reading.statements.len(), 1, "{text}");
    reading.statements.remove(0)
}

fn tables(text: &str) -> Vec<String> {
    facts(text).tables
}

#[test]
fn kinds() {
    for (text, kind) in [
        ("SELECT 1", Kind::Select),
        ("VALUES (1)", Kind::Select),
        ("TABLE t", Kind::Select),
        ("SELECT 1 INTO t", Kind::Select),
        ("WITH x AS (SELECT 1) INSERT INTO t SELECT 1", Kind::Insert),
        ("WITH x AS (SELECT 1) UPDATE t SET a = 1", Kind::Update),
        ("WITH x AS (SELECT 1) DELETE FROM t", Kind::Delete),
        ("WITH x AS (SELECT 1) MERGE INTO t USING x ON true WHEN MATCHED THEN DELETE", Kind::Merge),
        ("COPY (DELETE FROM t RETURNING 1) TO STDOUT", Kind::Copy),
        ("CREATE TABLE t AS SELECT 1", Kind::Ddl),
        ("TRUNCATE t", Kind::Ddl),
        ("GRANT SELECT ON t TO x", Kind::Ddl),
        ("COMMENT ON TABLE t IS 'x'", Kind::Ddl),
        ("PREPARE TRANSACTION 'x'", Kind::Transaction),
        ("END", Kind::Transaction),
        ("RESET ALL", Kind::Set),
        ("SET CONSTRAINTS ALL DEFERRED", Kind::Set),
        ("SHOW ALL", Kind::Show),
        ("EXPLAIN DELETE FROM t", Kind::Utility),
        ("DECLARE c CURSOR FOR SELECT 1", Kind::Utility),
        ("VACUUM", Kind::Utility),
        ("DO ''", Kind::Utility),
    ] {
        assert_eq!(facts(text).kind, kind, "{text}");
    }
}

#[test]
fn relations_of_every_statement() {
    let none: [&str; 0] = [];
    assert_eq!(
        tables("SELECT a, (SELECT 1 FROM u) FROM t JOIN s.v ON true, w WHERE EXISTS (SELECT FROM x)"),
        ["u", "t", "s.v", "w", "x"]
    );
    assert_eq!(tables("SELECT FROM db.s.\"T x\", ONLY (t), t *"), ["s.T x", "t"]);
    assert_eq!(tables("SELECT 1 UNION ALL TABLE secret"), ["secret"]);
    assert_eq!(tables("SELECT INTO new FROM old"), ["new", "old"]);
    assert_eq!(tables("SELECT FROM U&\"\\0073ecret\""), ["secret"]);
    assert_eq!(tables("SELECT FROM t FOR UPDATE OF t"), ["t"]);
    assert_eq!(tables("SELECT FROM f(1), CURRENT_DATE"), none);
    assert_eq!(
        tables("MERGE INTO ONLY t USING u ON true WHEN MATCHED THEN UPDATE SET a = (SELECT 1 FROM v)"),
        ["t", "u", "v"]
    );
    assert_eq!(
        tables("INSERT INTO t SELECT FROM u ON CONFLICT (a) DO UPDATE SET b = (SELECT 1 FROM v)"),
        ["t", "u", "v"]
    );
    assert_eq!(
        tables("UPDATE t SET a = 1 FROM u WHERE b IN (SELECT 1 FROM v) RETURNING (SELECT 1 FROM w)"),
        ["t", "u", "v", "w"]
    );
    assert_eq!(tables("COPY secret TO STDOUT"), ["secret"]);
    assert_eq!(tables("EXPLAIN (ANALYZE) CREATE TABLE t AS EXECUTE p"), ["t"]);
    assert_eq!(tables("PREPARE p AS DELETE FROM t"), ["t"]);
    assert_eq!(tables("DECLARE c CURSOR FOR SELECT FROM t"), ["t"]);
    assert_eq!(
        tables("CREATE TABLE a (b int DEFAULT f((SELECT 1 FROM x)) REFERENCES c, LIKE d) INHERITS (e)"),
        ["a", "x", "c", "d", "e"]
    );
    assert_eq!(tables("CREATE FOREIGN TABLE t (a int) SERVER s"), ["t"]);
    assert_eq!(tables("ALTER TABLE t ATTACH PARTITION u DEFAULT"), ["t", "u"]);
    assert_eq!(tables("ALTER TABLE t INHERIT u, ADD FOREIGN KEY (a) REFERENCES v"), ["t", "u", "v"]);
    assert_eq!(
        tables("CREATE RULE r AS ON INSERT TO t DO (DELETE FROM u; INSERT INTO v SELECT FROM w)"),
        ["t", "u", "v", "w"]
    );
    assert_eq!(
        tables("CREATE FUNCTION f() RETURNS int BEGIN ATOMIC DELETE FROM t; SELECT 1 FROM u; END"),
        ["t", "u"]
    );
    assert_eq!(tables("CREATE SCHEMA s CREATE TABLE t () CREATE VIEW v AS SELECT FROM u"), ["t", "v", "u"]);
    assert_eq!(
        tables("CREATE CONSTRAINT TRIGGER g AFTER INSERT ON t FROM u FOR EACH ROW EXECUTE FUNCTION f()"),
        ["t", "u"]
    );
    assert_eq!(tables("DROP TABLE a, s.b, db.s.c"), ["a", "s.b", "s.c"]);
    assert_eq!(tables("DROP TRIGGER g ON s.t"), ["s.t"]);
    assert_eq!(tables("COMMENT ON COLUMN s.t.a IS ''"), ["s.t"]);
    assert_eq!(tables("GRANT SELECT ON t, s.u TO x"), ["t", "s.u"]);
    assert_eq!(tables("GRANT USAGE ON SCHEMA s TO x"), none);
    assert_eq!(tables("GRANT EXECUTE ON FUNCTION f(int) TO x"), none);
    assert_eq!(tables("LOCK a, ONLY b"), ["a", "b"]);
    assert_eq!(tables("VACUUM a, s.b"), ["a", "s.b"]);
    assert_eq!(tables("CREATE PUBLICATION p FOR TABLE a WHERE (b > 1), TABLES IN SCHEMA s"), ["a"]);
    assert_eq!(tables("CREATE POLICY p ON t USING (EXISTS (SELECT FROM u))"), ["t", "u"]);
}

#[test]
fn with_names_are_no_tables_where_they_are_visible() {
    let none: [&str; 0] = [];
    assert_eq!(tables("WITH a AS (SELECT 1), b AS (SELECT FROM a) SELECT FROM a, b"), none);
    assert_eq!(tables("WITH t AS (SELECT FROM t) SELECT FROM t"), ["t"]);
    assert_eq!(tables("WITH a AS (SELECT FROM b), b AS (SELECT 1) SELECT FROM b"), ["b"]);
    assert_eq!(tables("WITH RECURSIVE a AS (SELECT FROM b), b AS (SELECT FROM b) SELECT FROM a"), none);
    assert_eq!(tables("WITH a AS (SELECT 1) SELECT FROM s.a"), ["s.a"]);
    assert_eq!(tables("SELECT FROM (WITH a AS (SELECT 1) SELECT FROM a) x, a"), ["a"]);
    assert_eq!(tables("WITH a AS (WITH b AS (SELECT 1) SELECT FROM b) SELECT FROM a, b"), ["b"]);
    assert_eq!(tables("WITH t AS (SELECT 1) DELETE FROM t USING t AS x"), ["t"]);
    assert_eq!(tables("WITH t AS (SELECT 1) UPDATE u SET a = (SELECT 1 FROM t)"), ["u"]);
    assert_eq!(
        tables("WITH t AS (SELECT 1) MERGE INTO t USING t AS x ON true WHEN MATCHED THEN DELETE"),
        ["t"]
    );
    assert_eq!(tables("WITH t AS (INSERT INTO t SELECT FROM t RETURNING 1) SELECT FROM t"), ["t"]);
}

#[test]
fn stars_that_return_rows() {
    for text in [
        "SELECT *",
        "SELECT t.* FROM t",
        "SELECT (f()).*",
        "TABLE t",
        "SELECT a FROM (SELECT * FROM t) x",
        "WITH x AS (SELECT * FROM t) SELECT a FROM x",
        "SELECT 1 UNION SELECT * FROM t",
        "SELECT * INTO u FROM t",
        "DELETE FROM t RETURNING *",
        "INSERT INTO t VALUES (1) RETURNING t.*",
        "EXPLAIN SELECT * FROM t",
        "INSERT INTO t SELECT a FROM (SELECT * FROM u) x",
        "COPY (SELECT * FROM t) TO STDOUT",
        "MERGE INTO t USING u ON true WHEN MATCHED THEN DELETE RETURNING *",
        "SELECT 1 WHERE a IN (SELECT b FROM (SELECT * FROM t) x)",
    ] {
        assert!(facts(text).select_star, "{text}");
    }
    for text in [
        "SELECT count(*)",
        "SELECT count(t.*) FROM t",
        "SELECT 1 WHERE EXISTS (SELECT * FROM t)",
        "SELECT 1 WHERE EXISTS (SELECT 1 FROM (SELECT * FROM t) x)",
        "SELECT 2 * 3",
        "SELECT 1 WHERE EXISTS (WITH x AS (SELECT * FROM t) SELECT FROM x)",
        "INSERT INTO t SELECT * FROM u",
        "SELECT 1 WHERE a IN (SELECT * FROM t)",
        "CREATE TABLE t AS SELECT * FROM u",
        "CREATE RULE r AS ON DELETE TO t DO INSTEAD SELECT * FROM u",
        "SELECT a FROM t *",
    ] {
        assert!(!facts(text).select_star, "{text}");
    }
}

#[test]
fn where_and_limit_of_the_statement_itself() {
    for (text, has) in [
        ("SELECT 1 WHERE a", true),
        ("SELECT 1 FROM (SELECT 1 WHERE a) x", false),
        ("SELECT 1 WHERE a UNION SELECT 2 WHERE b", false),
        ("(SELECT 1 WHERE a)", true),
        ("WITH x AS (SELECT 1 WHERE a) UPDATE t SET a = 1", false),
        ("WITH x AS (SELECT 1) UPDATE t SET a = 1 WHERE b", true),
        ("DELETE FROM t WHERE CURRENT OF c", true),
        ("INSERT INTO t SELECT 1 WHERE a", false),
        ("EXPLAIN DELETE FROM t WHERE a", true),
        ("CREATE TABLE t AS SELECT 1 WHERE a", false),
        ("COPY t FROM STDIN WHERE a", true),
    ] {
        assert_eq!(facts(text).has_where, has, "{text}");
    }
    for (text, has) in [
        ("SELECT 1 LIMIT 1", true),
        ("SELECT 1 LIMIT $1", true),
        ("SELECT 1 FETCH FIRST ROW ONLY", true),
        ("SELECT 1 UNION SELECT 2 LIMIT 1", true),
        ("SELECT 1 LIMIT ALL", false),
        ("SELECT 1 LIMIT NULL", false),
        ("SELECT 1 LIMIT NULL::int", false),
        ("SELECT 1 OFFSET 1", false),
        ("SELECT 1 FROM (SELECT 1 LIMIT 1) x", false),
    ] {
        assert_eq!(facts(text).has_limit, has, "{text}");
    }
}

#[test]
fn writes_without_where_are_found_wherever_they_run() {
    for text in [
        "DELETE FROM t",
        "UPDATE t SET a = 1",
        "WITH x AS (DELETE FROM t RETURNING 1) SELECT FROM x WHERE a",
        "EXPLAIN ANALYZE UPDATE t SET a = 1",
        "PREPARE p AS DELETE FROM t",
        "COPY (DELETE FROM t RETURNING 1) TO STDOUT",
        "WITH x AS (SELECT 1) UPDATE t SET a = 1 FROM x",
        "DELETE FROM t USING u",
    ] {
        assert!(facts(text).unfiltered_write, "{text}");
    }
    for text in [
        "DELETE FROM t WHERE a",
        "UPDATE t SET a = 1 WHERE CURRENT OF c",
        "INSERT INTO t VALUES (1)",
        "MERGE INTO t USING u ON a = b WHEN MATCHED THEN DELETE",
        "SELECT 1",
        "TRUNCATE t",
        "INSERT INTO t VALUES (1) ON CONFLICT (a) DO UPDATE SET b = 1",
        "CREATE RULE r AS ON INSERT TO t DO DELETE FROM u",
        "CREATE FUNCTION f() RETURNS void BEGIN ATOMIC DELETE FROM t; END",
    ] {
        assert!(!facts(text).unfiltered_write, "{text}");
    }
}

#[test]
fn read_only_is_proved_or_denied() {
    for text in [
        "SELECT a FROM t JOIN u USING (b) WHERE c = lower($1) GROUP BY a HAVING count(*) > 1",
        "VALUES (1)",
        "TABLE t",
        "SELECT now(), pg_catalog.upper('a'), extract(year FROM a), 'x'::regclass FROM t",
        "SHOW search_path",
        "EXPLAIN DELETE FROM t",
        "EXPLAIN (ANALYZE off) DELETE FROM t",
        "EXPLAIN ANALYZE SELECT 1",
        "EXPLAIN (ANALYZE, ANALYZE false) DELETE FROM t",
        "SELECT a OPERATOR(pg_catalog.+) b FROM t",
        "SELECT a FROM t TABLESAMPLE system (1)",
        "SELECT random(), clock_timestamp(), gen_random_uuid()",
        "WITH x AS (SELECT 1) SELECT a || b FROM x",
        "SELECT current_user, coalesce(a, b), jsonb_build_object('a', 1)",
        "SELECT JSON_OBJECT('a': 1), JSON_ARRAYAGG(b) FROM t, JSON_TABLE(c, '$' COLUMNS (d int)) j",
    ] {
        assert!(facts(text).read_only, "{text}");
    }
    for text in [
        "SELECT 1 INTO t",
        "SELECT a FROM t FOR KEY SHARE",
        "SELECT a FROM (SELECT a FROM t FOR UPDATE) x",
        "WITH x AS (DELETE FROM t RETURNING 1) SELECT 1",
        "SELECT my_function()",
        "SELECT public.lower('a')",
        "SELECT nextval('s')",
        "SELECT U&\"pg\\005fread_file\"('/etc/passwd')",
        "SELECT * FROM dblink('a', 'b') AS t(a int)",
        "SELECT query_to_xml('DELETE FROM t', true, true, '')",
        "SELECT set_config('a', 'b', true)",
        "SELECT txid_current()",
        "SELECT 1 ORDER BY my_function()",
        "SELECT count(*) FILTER (WHERE my_function()) FROM t",
        "SELECT sum(a) OVER (ORDER BY my_function()) FROM t",
        "SELECT a FROM t LIMIT my_function()",
        "SELECT CASE WHEN my_function() THEN 1 END",
        "SELECT a[my_function()] FROM t",
        "VALUES (my_function())",
        "SELECT a FROM t TABLESAMPLE my_method (1)",
        "SELECT a OPERATOR(public.+) b FROM t",
        "EXPLAIN ANALYZE DELETE FROM t WHERE a",
        "EXPLAIN (ANALYZE 'on') DELETE FROM t",
        "EXPLAIN ANALYZE EXECUTE p",
        "EXPLAIN SELECT my_function()",
        "EXPLAIN SELECT 1 FOR UPDATE",
        "COPY t TO STDOUT",
        "DECLARE c CURSOR FOR SELECT 1",
        "PREPARE p AS SELECT 1",
        "EXECUTE p",
        "BEGIN",
        "SET a = 1",
        "INSERT INTO t VALUES (1)",
        "LOCK t",
        "NOTIFY x",
        "CREATE TABLE t AS SELECT 1",
        "DO ''",
        "FETCH c",
        "DISCARD ALL",
        "SELECT pg_advisory_lock(1)",
    ] {
        assert!(!facts(text).read_only, "{text}");
    }
}

#[test]
fn session_state_left_behind() {
    const E: fn(&[Effects]) -> Effects = |all| all.iter().fold(Effects::NONE, |a, b| a.and(*b));
    let unknown = E(&[Effects::SETTING, Effects::ROLE, Effects::ANY_SETTING, Effects::OPAQUE]);
    let ddl = Effects::SCHEMA.and(Effects::CALLS);
    let temp = Effects::TEMP_TABLE.and(ddl);
    for (text, effects) in [
        ("SELECT 1", Effects::NONE),
        ("SET a.b = 1", Effects::SETTING.and(Effects::CUSTOM_SETTING)),
        ("SET SESSION a.b TO DEFAULT", E(&[Effects::SETTING, Effects::RESET, Effects::CUSTOM_SETTING])),
        ("SET TIME ZONE 'UTC'", Effects::SETTING),
        ("SET LOCAL a.b = 1", Effects::LOCAL_SETTING),
        ("SET TRANSACTION READ ONLY", Effects::NONE),
        ("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY", Effects::SETTING),
        ("SET CONSTRAINTS ALL DEFERRED", Effects::NONE),
        ("SET ROLE x", Effects::ROLE.and(Effects::ENDS)),
        ("SET \"Role\" = x", Effects::ROLE.and(Effects::ENDS)),
        ("SET LOCAL ROLE x", Effects::LOCAL_SETTING),
        ("RESET ROLE", Effects::ENDS),
        ("SET SESSION AUTHORIZATION x", Effects::ROLE.and(Effects::ENDS)),
        ("SET seed = 0.5", Effects::OPAQUE),
        ("SELECT setseed(0.5)", Effects::OPAQUE),
        ("SELECT set_config('a.b', '1', true)", Effects::LOCAL_SETTING),
        ("SELECT pg_catalog.set_config('a.b', '1', false)", Effects::SETTING.and(Effects::CUSTOM_SETTING)),
        ("SELECT set_config('a.b', '1', $1)", Effects::SETTING.and(Effects::CUSTOM_SETTING)),
        ("SELECT current_setting('a.b'), current_setting('a')", Effects::CUSTOM_SETTING),
        ("SHOW a.b", Effects::CUSTOM_SETTING),
        ("SELECT set_config('ROLE', 'x', false)", Effects::ROLE),
        ("UPDATE t SET a = set_config(b, 'x', false) WHERE c", unknown.and(Effects::CALLS)),
        ("CREATE TEMP TABLE t ()", temp),
        ("CREATE TABLE pg_temp.t ()", temp),
        ("CREATE TEMP VIEW v AS SELECT 1", temp),
        ("CREATE TEMP SEQUENCE s", temp),
        ("CREATE TEMP TABLE t AS SELECT 1", temp),
        ("EXPLAIN ANALYZE CREATE TEMP TABLE t AS SELECT 1", Effects::TEMP_TABLE.and(Effects::SCHEMA)),
        ("SELECT 1 INTO TEMP t", temp),
        ("CREATE FUNCTION pg_temp.f() RETURNS int RETURN 1", temp),
        ("CREATE TYPE pg_temp.e AS ENUM ()", temp),
        ("CREATE TABLE t ()", ddl),
        ("DROP TABLE t", ddl.and(Effects::ENDS)),
        ("INSERT INTO t VALUES (1)", Effects::CALLS),
        ("SELECT f(1)", Effects::CALLS),
        ("SELECT lower('a'), count(*), nextval('s')", Effects::MOVES_SEQUENCE),
    ] {
        assert_eq!(facts(text).effects, effects, "{text}: {:b} {:b}", facts(text).effects.0, effects.0);
    }
}

#[test]
fn session_state_left_behind_by_utilities() {
    const E: fn(&[Effects]) -> Effects = |all| all.iter().fold(Effects::NONE, |a, b| a.and(*b));
    let any = E(&[Effects::SHOWN, Effects::SETTING, Effects::ANY_SETTING, Effects::ENDS, Effects::SCHEMA]);
    let named = Effects::NAMES_PREPARED;
    for (text, effects) in [
        ("LISTEN a", Effects::LISTEN),
        ("UNLISTEN a", Effects::ENDS),
        ("NOTIFY a", Effects::NONE),
        ("SELECT pg_advisory_lock(1)", Effects::ADVISORY_LOCK),
        ("SELECT a FROM t WHERE pg_try_advisory_lock_shared(a)", Effects::ADVISORY_LOCK),
        ("SELECT pg_advisory_unlock_all()", Effects::ENDS),
        ("SELECT pg_advisory_unlock(1)", Effects::ENDS),
        ("UNLISTEN *", Effects::ENDS),
        ("RESET ALL", Effects::RESET_ALL),
        ("SET timezone TO DEFAULT", Effects::SETTING.and(Effects::RESET)),
        ("SET SESSION AUTHORIZATION DEFAULT", Effects::ENDS),
        ("EXECUTE pgsluice_1_1", named.and(Effects::RESERVED_NAME)),
        ("SELECT pg_advisory_xact_lock(1), pg_try_advisory_xact_lock(2)", Effects::NONE),
        ("PREPARE p AS SELECT 1", Effects::SQL_PREPARE.and(named)),
        ("EXECUTE p", named),
        ("EXPLAIN EXECUTE p", named),
        ("DEALLOCATE ALL", named.and(Effects::ENDS)),
        ("TABLE pg_catalog.pg_prepared_statements", Effects::READS_PREPARED),
        ("SELECT lastval()", Effects::SEQUENCE),
        ("DECLARE c CURSOR FOR SELECT 1", Effects::NONE),
        (
            "DECLARE c CURSOR WITH HOLD FOR SELECT set_config('a', 'b', false)",
            Effects::HOLD_CURSOR.and(Effects::SETTING),
        ),
        ("LOAD 'x'", Effects::LIBRARY.and(Effects::SETTING).and(Effects::ANY_SETTING)),
        ("DO ''", any),
        ("DO $$BEGIN UPDATE t SET a = 1; SET work_mem = 1; END$$", any),
        ("DO $$BEGIN SET app.user = 1; END$$", any.and(Effects::OPAQUE)),
        ("DO $$BEGIN EXECUTE 'x'; END$$", any.and(Effects::OPAQUE)),
        ("CALL f()", any.and(Effects::CALLS)),
        ("DISCARD ALL", Effects::DISCARD_ALL.and(Effects::ENDS)),
        ("DISCARD TEMP", Effects::ENDS),
    ] {
        assert_eq!(facts(text).effects, effects, "{text}: {:b} {:b}", facts(text).effects.0, effects.0);
    }
    let unread = read(b"SELEC 1", &ReadOptions::default()).statements[0].effects;
    assert_eq!(unread, any.and(Effects::UNPARSED));
}

#[test]
fn settings_by_name() {
    for (text, names) in [
        ("SET TIME ZONE 'UTC'", &["timezone"][..]),
        ("SET NAMES 'LATIN1'", &["client_encoding"]),
        ("SET SCHEMA 'a'", &["search_path"]),
        ("RESET \"App.User\"", &["app.user"]),
        (
            "SELECT set_config('A', '1', false), set_config('b', '1', true), set_config('c', '1', $1)",
            &["a", "c"],
        ),
        ("SET LOCAL a = 1", &[]),
        ("SET ROLE x", &[]),
    ] {
        assert_eq!(facts(text).settings, names, "{text}");
    }
}

#[test]
fn patterns_that_start_with_a_wildcard() {
    for pattern in [
        "a LIKE '%x'",
        "a ILIKE '_x'",
        "a ~~ '%'",
        "a ~~* E'\\x25x'",
        "a LIKE '%' || $1",
        "a LIKE '%'::text || b || '%'",
        "a LIKE concat('%', b)",
        "a LIKE lower('%X')",
        "a LIKE ('%x' COLLATE \"C\")",
        "a LIKE '%x' ESCAPE '!'",
        "a LIKE ANY (ARRAY['x', '%y'])",
        "a LIKE ANY ('{x,%y}')",
        "NOT (a LIKE '%x')",
        "b = 1 AND (c OR a LIKE N'%x')",
        "a OPERATOR(pg_catalog.~~) '%x'",
        "a LIKE U&'\\0025x'",
        "a LIKE ''\n'%x'",
    ] {
        let found = facts(&format!("SELECT 1 FROM t WHERE {pattern}"));
        assert!(found.leading_wildcard, "{pattern}");
        assert_eq!(found.like_column.as_deref(), Some("a"), "{pattern}");
    }
    for pattern in [
        "a LIKE 'x%'",
        "a NOT LIKE '%x'",
        "a !~~ '%x'",
        "a LIKE $1",
        "a LIKE b",
        "a ~ '%x'",
        "a = '%x'",
        "a SIMILAR TO '%x'",
        "'%x' LIKE a",
        "a LIKE 'x' || '%'",
        "a LIKE '\\%x'",
        "a LIKE ANY (ARRAY['x', 'y%'])",
        "a LIKE NULL",
        "a OPERATOR(other.~~) '%x'",
    ] {
        assert!(!facts(&format!("SELECT 1 FROM t WHERE {pattern}")).leading_wildcard, "{pattern}");
    }
    let found = facts(
        "SELECT 1 FROM t WHERE lower(t.Note)::text LIKE $2::text OR b LIKE upper($1) || '%' OR c LIKE $2",
    );
    assert_eq!(
        (found.like_params, found.like_column.as_deref(), found.params),
        (vec![2, 1], Some("note"), 2)
    );
}

#[test]
fn counts() {
    let found = facts(
        "SELECT DISTINCT a, count(*), s.Sum(b), array_agg(b ORDER BY c), max(b) OVER () FROM t, u JOIN v ON true, w
         GROUP BY a ORDER BY my_aggregate(DISTINCT d) FOR NO KEY UPDATE",
    );
    assert_eq!((found.joins, found.aggregates), (3, 3));
    assert!(found.distinct && found.group_by && found.for_update);
    assert_eq!(found.functions, ["count", "s.sum", "array_agg", "max", "my_aggregate"]);
    assert_eq!(facts("SELECT $3, $1").params, 3);
    assert_eq!(facts("SELECT 1").bytes, 8);
    assert_eq!(facts("SELECT extract(year FROM a), pg_catalog.now()").functions, ["pg_catalog.now"]);
}
