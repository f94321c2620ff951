//! What statements write, change and lock, told from their texts.

#![allow(clippy::unwrap_used)]

use super::tests::facts;
use super::{ColumnDefault, Facts, ReadOptions, read};

fn all(text: &str) -> Vec<Facts> {
    let reading = read(text.as_bytes(), &ReadOptions::default());
    assert_eq!(reading.refusal, None, "{text}");
    reading.statements
}

#[test]
fn tables_and_columns_that_are_written() {
    for (text, tables, columns) in [
        ("INSERT INTO s.t (a, b) VALUES (1, 2)", "s.t", "s.t.a s.t.b"),
        ("INSERT INTO t (a) VALUES (1) ON CONFLICT (a) DO UPDATE SET b = 2", "t", "t.a t.b"),
        ("UPDATE t x SET a = 1, (b, c) = (2, 3) FROM u WHERE u.id = x.id", "t", "t.a t.b t.c"),
        ("DELETE FROM ONLY t USING u", "t", ""),
        (
            "MERGE INTO t USING u ON true WHEN MATCHED THEN UPDATE SET a = 1 WHEN NOT MATCHED THEN INSERT (b) VALUES (1)",
            "t",
            "t.a t.b",
        ),
        ("COPY t (a, b) FROM STDIN", "t", "t.a t.b"),
        ("COPY t TO STDOUT", "", ""),
        ("TRUNCATE t, s.u", "t s.u", ""),
        ("SELECT a INTO n FROM t", "n", ""),
        ("CREATE TABLE n AS SELECT * FROM t", "n", ""),
        ("WITH d AS (DELETE FROM t RETURNING a) INSERT INTO u (a) SELECT a FROM d", "u t", "u.a"),
        ("EXPLAIN ANALYZE UPDATE t SET a = 1", "t", "t.a"),
        ("PREPARE p AS DELETE FROM t", "t", ""),
        ("ALTER TABLE s.t ADD COLUMN a int REFERENCES u", "s.t", ""),
        ("CREATE INDEX ON t (a)", "t", ""),
        ("DROP TABLE t, s.u", "t s.u", ""),
        ("ALTER TABLE p ATTACH PARTITION q DEFAULT", "p q", ""),
        ("CREATE RULE r AS ON UPDATE TO t DO ALSO DELETE FROM u", "t", ""),
        ("GRANT SELECT ON t TO x", "", ""),
        ("SELECT * FROM t FOR UPDATE", "", ""),
    ] {
        let facts = facts(text);
        assert_eq!(facts.tables_written.join(" "), tables, "{text}");
        assert_eq!(facts.columns_written.join(" "), columns, "{text}");
    }
}

#[test]
fn what_an_insert_says() {
    assert_eq!(facts("INSERT INTO t (a) VALUES (1), (2), (3)").rows, 3);
    assert_eq!(facts("SELECT * FROM (VALUES (1), (2)) v").rows, 2);
    assert!(facts("INSERT INTO t VALUES (1)").insert_without_columns);
    assert!(!facts("INSERT INTO t DEFAULT VALUES").insert_without_columns);
    assert!(facts("INSERT INTO t (a) VALUES (1) ON CONFLICT DO NOTHING").on_conflict);
    for text in ["INSERT INTO t (a) VALUES (1) RETURNING a", "DELETE FROM t RETURNING 1"] {
        assert!(facts(text).returning, "{text}");
    }
    assert!(!facts("UPDATE t SET a = 1").returning);
}

#[test]
fn where_a_copy_goes() {
    for (text, copy) in [
        ("COPY t TO STDOUT", "to stdout"),
        ("COPY t FROM STDIN", "from stdin"),
        ("COPY t TO '/tmp/x'", "to file"),
        ("COPY t FROM '/tmp/x'", "from file"),
        ("COPY t TO PROGRAM 'cat'", "to program"),
        ("COPY t FROM PROGRAM 'cat'", "from program"),
        ("COPY (SELECT 1) TO STDOUT", "to stdout"),
        ("SELECT 1", ""),
    ] {
        assert_eq!(facts(text).copy, copy, "{text}");
    }
}

#[test]
fn changes_in_words() {
    for (text, words) in [
        ("ALTER TABLE t ADD a int, DROP b, ALTER c SET NOT NULL", "add column,drop column,set not null"),
        ("CREATE TABLE t (a int, b text)", "create table,define column"),
        ("CREATE SCHEMA s CREATE TABLE t (a int)", "create schema,create table,define column"),
        ("DROP INDEX CONCURRENTLY i", "drop index"),
        ("DROP DATABASE d", "drop database"),
        ("ALTER TYPE m ADD VALUE 'x'", "add enum value"),
        ("ALTER TYPE m RENAME VALUE 'x' TO 'y'", "rename enum value"),
        ("ALTER INDEX i RENAME TO j", "rename index"),
        ("VACUUM (FULL off) t", ""),
        ("VACUUM FULL", "vacuum full"),
        ("LOCK t", ""),
        ("UPDATE t SET a = 1", ""),
        ("CREATE FUNCTION f() RETURNS void LANGUAGE sql BEGIN ATOMIC DELETE FROM t; END", "create function"),
    ] {
        assert_eq!(facts(text).changes.join(","), words, "{text}");
    }
}

#[test]
fn a_change_in_its_particulars() {
    let of = |text: &str| facts(text).ddl.remove(0);
    let change = of("ALTER TABLE s.t ADD COLUMN IF NOT EXISTS c varchar(20) NOT NULL DEFAULT 'x'");
    assert_eq!((change.object.as_str(), change.name.as_deref()), ("s.t", Some("c")));
    assert_eq!(change.type_name.as_deref(), Some("character varying(20)"));
    assert!(change.not_null && change.if_exists && !change.rewrites && !change.scans, "{change:?}");
    assert_eq!(change.default, ColumnDefault::Constant);
    for (text, default) in [
        ("DEFAULT now()", ColumnDefault::Constant),
        ("DEFAULT current_date", ColumnDefault::Constant),
        ("DEFAULT NULL::int", ColumnDefault::None),
        ("DEFAULT -1", ColumnDefault::Constant),
        ("DEFAULT lower('A') || 'b'", ColumnDefault::Constant),
        ("DEFAULT random()", ColumnDefault::Volatile),
        ("DEFAULT public.now()", ColumnDefault::Volatile),
        ("DEFAULT 1 OPERATOR(public.+) 2", ColumnDefault::Volatile),
        ("DEFAULT coalesce(NULL, ours())", ColumnDefault::Volatile),
        ("GENERATED ALWAYS AS (1) STORED", ColumnDefault::Generated),
        ("GENERATED BY DEFAULT AS IDENTITY", ColumnDefault::Generated),
    ] {
        let change = of(&format!("ALTER TABLE t ADD c int {text}"));
        assert_eq!(change.default, default, "{text}");
        let differs = matches!(default, ColumnDefault::Volatile | ColumnDefault::Generated);
        assert_eq!(change.rewrites, differs, "{text}");
    }
    let change = of("CREATE UNIQUE INDEX CONCURRENTLY i ON t USING gin (a)");
    assert!(
        change.unique && change.concurrently && change.scans && change.type_name.as_deref() == Some("gin")
    );
    let change = of("ALTER TABLE t ADD CONSTRAINT k FOREIGN KEY (a) REFERENCES s.u NOT VALID");
    assert!(change.not_valid && !change.scans && change.other.as_deref() == Some("s.u"));
    assert_eq!(change.name.as_deref(), Some("k"));
}

#[test]
fn types_are_written_as_the_server_writes_them() {
    for (text, shown) in [
        ("int", "integer"),
        ("int8[]", "bigint[]"),
        ("varchar(20)", "character varying(20)"),
        ("decimal(10, 2)", "numeric(10,2)"),
        ("timestamp(3) with time zone", "timestamp(3) with time zone"),
        ("timestamptz", "timestamp with time zone"),
        ("time", "time without time zone"),
        ("double precision", "double precision"),
        ("char", "character(1)"),
        ("shop.state", "shop.state"),
        ("serial8", "bigserial"),
        ("geometry(Point, 4326)", "geometry(point,4326)"),
    ] {
        let change = facts(&format!("ALTER TABLE t ADD c {text}")).ddl.remove(0);
        assert_eq!(change.type_name.as_deref(), Some(shown), "{text}");
    }
}

#[test]
fn what_the_same_text_makes_locks_nobody_out() {
    let last = |text: &str| all(text).pop().unwrap();
    for text in [
        "CREATE TABLE t (id int); CREATE INDEX ON t (id)",
        "BEGIN; CREATE TABLE t (id int); ALTER TABLE t ADD a serial",
        "CREATE TABLE t AS SELECT 1; VACUUM FULL t",
        "CREATE TABLE n (id int); ALTER TABLE n RENAME TO t; ALTER TABLE t ADD a serial",
    ] {
        let facts = last(text);
        assert!(facts.ddl[0].new_object && facts.lock.is_empty() && !facts.rewrites, "{text}: {facts:?}");
    }
    for text in [
        "CREATE TABLE IF NOT EXISTS t (id int); ALTER TABLE t ADD a serial",
        "CREATE TABLE s.t (id int); ALTER TABLE t ADD a serial",
        "CREATE TABLE t (id int); ROLLBACK; ALTER TABLE t ADD a serial",
        "CREATE TABLE t (id int); SET search_path = s; ALTER TABLE t ADD a serial",
        "CREATE TABLE t (id int); SELECT set_config('search_path', 's', false); ALTER TABLE t ADD a serial",
        "CREATE TABLE t (id int); DROP TABLE t; ALTER TABLE t ADD a serial",
        "CREATE TABLE t (id int); DROP TABLE t; ALTER TABLE big RENAME TO t; ALTER TABLE t ADD a serial",
        "CREATE SCHEMA s CREATE TABLE t (id int); ALTER TABLE t ADD a serial",
        "CREATE TABLE t (id int); DO 'BEGIN END'; ALTER TABLE t ADD a serial",
    ] {
        let facts = last(text);
        assert!(facts.lock == "access exclusive" && facts.rewrites, "{text}: {facts:?}");
    }
    let facts = last("CREATE TABLE t (id int); ALTER TABLE t ADD FOREIGN KEY (id) REFERENCES u");
    assert_eq!(facts.lock, "share row exclusive");
}

#[test]
fn a_statement_of_many_changes_takes_no_time() {
    let adds: Vec<String> = (0..40_000).map(|at| format!("ADD c{at} int")).collect();
    let text = format!("ALTER TABLE t {}", adds.join(", "));
    let started = std::time::Instant::now();
    assert_eq!(facts(&text).ddl.len(), 40_000);
    // Quadratic work would take minutes.
    assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
}
