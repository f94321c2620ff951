//! What the guard says of definitions against what PostgreSQL does: the strongest lock on a relation, and whether a
//! table is written anew. A lock claimed weaker than it is, or a rewrite not seen, is never right.

use pgsluice::guard::facts::{self, ColumnDefault, Facts, Lock, ReadOptions, widens};

use crate::support::lab::major;
use crate::support::{Session, eventually, lab};

/// What they are made to.
const SCHEMA: &str = include_str!("../fixtures/sql/ddl_schema.sql");

/// Each is run in a transaction of its own and taken back. Those that begin with a version, `17:`, are known from there
/// on.
fn definitions() -> Vec<&'static str> {
    let lines = include_str!("../fixtures/sql/ddl.sql").lines();
    lines.filter(|line| !line.is_empty() && !line.starts_with("--")).filter_map(known_here).collect()
}

/// Without its version; `None` if the server is older.
fn known_here(line: &'static str) -> Option<&'static str> {
    match line.split_once(": ") {
        Some((since, sql)) if since.len() == 2 => (since.parse::<u32>().unwrap() <= major()).then_some(sql),
        _ => Some(line),
    }
}

/// Where the facts say more than the server does: what the text does not show (what a type is, where a table lies),
/// relations that are no tables, and what is not there. Each must stay so.
const STRICTER: &[&str] = &[
    "ALTER TABLE t ADD COLUMN z plain DEFAULT 3",
    "ALTER TABLE t ADD COLUMN z mood DEFAULT 'sad'",
    "ALTER TABLE t ADD COLUMN z pair",
    "ALTER TABLE t ALTER COLUMN v TYPE varchar(40)",
    "ALTER DOMAIN plain SET NOT NULL",
    "ALTER TABLE t SET TABLESPACE pg_default",
    "ALTER TABLE t SET ACCESS METHOD heap",
    "ALTER TABLE ALL IN TABLESPACE pg_default SET TABLESPACE pg_default",
    "ALTER SEQUENCE seq INCREMENT 5",
    "ALTER TYPE pair ADD ATTRIBUTE c int",
    "COMMENT ON CONSTRAINT a_positive ON t IS 'x'",
    "DROP TABLE IF EXISTS nothing_there",
    "DROP SEQUENCE seq",
    "ALTER TABLE t SET ACCESS METHOD DEFAULT",
];

/// Before 18 these take no lock on the table.
const STRICTER_BEFORE_18: &[&str] =
    &["GRANT SELECT ON t TO public", "REVOKE ALL ON t FROM public", "GRANT MAINTAIN ON t TO public"];

fn read(sql: &str) -> Vec<Facts> {
    let reading = facts::read(sql.as_bytes(), &ReadOptions::default());
    assert_eq!(reading.refusal, None, "{sql}");
    reading.statements
}

fn lock_of(name: &str) -> Option<Lock> {
    Lock::ALL.into_iter().find(|lock| lock.name() == name)
}

/// `AccessExclusiveLock` as pg_locks writes it.
fn mode(mode: &str) -> Option<Lock> {
    let words: String = mode.trim_end_matches("Lock").to_owned();
    Lock::ALL.into_iter().find(|lock| lock.name().replace(' ', "") == words.to_lowercase())
}

const FILES: &str = "SELECT coalesce(string_agg(c.oid || ':' || pg_relation_filenode(c.oid), ',' ORDER BY c.oid), '') \
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
    WHERE c.relkind IN ('r', 'm') AND n.nspname IN ('public', 'box')";

/// Relations of the test that stood there before, and are locked now.
const LOCKED: &str = "SELECT coalesce(string_agg(DISTINCT l.mode, ','), '') FROM pg_locks l JOIN existing e ON e.oid = l.relation \
    WHERE l.pid = pg_backend_pid() AND l.locktype = 'relation' AND l.granted";

async fn prepared() -> Session {
    let database = lab().database();
    let admin = database.admin().await;
    admin.batch_execute(SCHEMA).await.unwrap();
    admin
        .batch_execute(
            "CREATE TEMP TABLE existing AS SELECT oid FROM pg_class WHERE relkind IN ('r', 'p', 'm', 'v', 'i', 'I') \
             AND relnamespace IN ('public'::regnamespace, 'box'::regnamespace)",
        )
        .await
        .unwrap();
    admin
}

fn files(text: &str) -> Vec<&str> {
    text.split(',').filter(|file| !file.is_empty()).collect()
}

#[tokio::test]
async fn locks_and_rewrites_are_as_the_server_does_them() {
    let admin = prepared().await;
    let (mut dangerous, mut stricter, mut refused) = (Vec::new(), Vec::new(), Vec::new());
    for sql in definitions() {
        let statements = read(sql);
        let claimed = statements.iter().filter_map(|facts| lock_of(&facts.lock)).max();
        let rewrites = statements.iter().any(|facts| facts.rewrites);
        let empties = statements.iter().any(|facts| facts.changes.iter().any(|what| what == "truncate"));
        admin.batch_execute("BEGIN").await.unwrap();
        let before = admin.text(FILES).await;
        if let Err(error) = admin.batch_execute(sql).await {
            refused.push(format!("{sql}: {error:?}"));
            admin.batch_execute("ROLLBACK").await.unwrap();
            continue;
        }
        let done = admin.text(LOCKED).await.split(',').filter_map(mode).max();
        let after = admin.text(FILES).await;
        admin.batch_execute("ROLLBACK").await.unwrap();
        let old = files(&before);
        let oid = |file: &str| file.split(':').next().unwrap_or_default().to_owned();
        let rewrote = files(&after)
            .iter()
            .any(|file| !old.contains(file) && old.iter().any(|known| oid(known) == oid(file)));
        let line = format!("{sql}: claimed {claimed:?}, is {done:?}; rewrites {rewrites}, is {rewrote}");
        if done > claimed || (rewrote && !rewrites && !empties) {
            dangerous.push(line);
        } else if done < claimed || rewrites != (rewrote && !empties) {
            println!("stricter: {line}");
            stricter.push(sql);
        }
    }
    println!("{} definitions", definitions().len());
    assert!(refused.is_empty(), "they show nothing: {refused:#?}");
    assert!(dangerous.is_empty(), "{dangerous:#?}");
    let expected = definitions()
        .into_iter()
        .filter(|sql| STRICTER.contains(sql) || (major() < 18 && STRICTER_BEFORE_18.contains(sql)));
    assert_eq!(stricter, expected.collect::<Vec<_>>());
}

#[tokio::test]
async fn every_volatile_function_of_the_server_is_a_volatile_default() {
    let admin = lab().database().admin().await;
    let names = admin
        .text(
            "SELECT string_agg(DISTINCT proname::text, ',') FROM pg_proc \
             WHERE pronamespace = 'pg_catalog'::regnamespace AND provolatile = 'v' AND proname ~ '^[a-z_0-9]+$'",
        )
        .await;
    let wrong: Vec<&str> = names
        .split(',')
        .filter(|name| {
            let sql = format!("ALTER TABLE t ADD COLUMN z text DEFAULT pg_catalog.{name}()");
            read(&sql)[0].ddl[0].default != ColumnDefault::Volatile
        })
        // In 13 one form of it is, for `timetz`: not worth a warning about each AT TIME ZONE.
        .filter(|name| !(major() < 14 && *name == "timezone"))
        .collect();
    assert!(names.split(',').count() > 100, "{names}");
    assert!(wrong.is_empty(), "{wrong:?}");
}

/// Statements that run in no transaction are stopped at their first lock, and asked what they wait for.
#[tokio::test]
async fn the_first_lock_of_what_runs_in_no_transaction() {
    const OUTSIDE: &[&str] = &[
        "VACUUM t",
        "VACUUM (FULL false) t",
        "VACUUM FULL t",
        "VACUUM (FULL, ANALYZE) t",
        "CREATE INDEX CONCURRENTLY ON t (b)",
        "REINDEX TABLE CONCURRENTLY t",
        "14: REINDEX (CONCURRENTLY) INDEX t_a",
        "DROP INDEX CONCURRENTLY t_a",
        "14: ALTER TABLE parted DETACH PARTITION part_1 CONCURRENTLY",
        "REFRESH MATERIALIZED VIEW CONCURRENTLY mv",
    ];
    let database = lab().database();
    let (admin, holder, runner) = (database.admin().await, database.admin().await, database.admin().await);
    admin.batch_execute(SCHEMA).await.unwrap();
    let pid = runner.backend().await;
    for sql in OUTSIDE.iter().copied().filter_map(known_here) {
        let claimed = lock_of(&read(sql)[0].lock).unwrap();
        // Weak enough to let those pass who only look the name up.
        holder
            .batch_execute("BEGIN; LOCK TABLE t, parted, part_1 IN SHARE UPDATE EXCLUSIVE MODE")
            .await
            .unwrap();
        holder.batch_execute("COMMENT ON MATERIALIZED VIEW mv IS 'held'").await.unwrap();
        let waits = format!("SELECT coalesce(max(mode), '') FROM pg_locks WHERE pid = {pid} AND NOT granted");
        let run = runner.batch_execute(sql);
        let look = async {
            eventually("it waits", || async { !admin.text(&waits).await.is_empty() }).await;
            let mode = admin.text(&waits).await;
            admin.text(&format!("SELECT pg_cancel_backend({pid})")).await;
            mode
        };
        let (outcome, waited) = tokio::join!(run, look);
        assert!(outcome.is_err(), "{sql}");
        assert_ne!(waited, "AccessShareLock", "{sql}: it shows nothing");
        let waited = mode(&waited).unwrap_or_else(|| panic!("{sql}: {waited}"));
        println!("{sql}: claimed {claimed:?}, waits for {waited:?}");
        assert!(claimed >= waited, "{sql}: claimed {claimed:?}, waits for {waited:?}");
        holder.batch_execute("ROLLBACK").await.unwrap();
    }
}

#[rustfmt::skip]
const TYPES: &[&str] = &[
    "varchar(10)", "varchar(20)", "varchar", "text", "char(5)", "char(10)", "numeric", "numeric(8)",
    "numeric(8,0)", "numeric(10)", "numeric(10,2)", "numeric(12,2)", "numeric(12,4)", "int", "bigint",
    "smallint", "timestamp", "timestamp(3)", "timestamp(6)", "timestamptz", "timestamptz(3)", "time",
    "time(3)", "timetz", "date", "cidr", "inet", "xml", "json", "jsonb", "varbit", "varbit(5)", "varbit(9)",
    "bit(5)", "interval", "interval(3)", "oid", "positive", "plain", "int[]", "bigint[]", "bytea", "bool",
    "name",
];

/// Changes of type that cost nothing, against the server.
#[tokio::test]
async fn types_that_hold_what_was_there_are_not_written_anew() {
    let admin = prepared().await;
    admin.batch_execute("SET timezone = 'Europe/Berlin'").await.unwrap();
    let (mut pairs, mut dangerous, mut stricter) = (0, Vec::new(), Vec::new());
    for from in TYPES {
        for to in TYPES {
            admin
                .batch_execute(&format!("BEGIN; CREATE TABLE changed (z {from}); SAVEPOINT here"))
                .await
                .unwrap();
            let file = "SELECT pg_relation_filenode('changed')";
            let before = admin.text(file).await;
            let sql = format!("ALTER TABLE changed ALTER COLUMN z TYPE {to}");
            if admin.batch_execute(&sql).await.is_ok() {
                pairs += 1;
                let rewrote = admin.text(file).await != before;
                let was = read(&format!("ALTER TABLE changed ADD COLUMN z {from}"))[0].ddl[0]
                    .type_name
                    .clone()
                    .unwrap();
                let becomes = read(&sql)[0].ddl[0].type_name.clone().unwrap();
                let free = widens(&was, &becomes);
                if free && rewrote {
                    dangerous.push(format!("{was} to {becomes}"));
                } else if !free && !rewrote {
                    stricter.push(format!("{was} to {becomes}"));
                }
            }
            admin.batch_execute("ROLLBACK").await.unwrap();
        }
    }
    println!("{pairs} changes of type; stricter than the server: {stricter:?}");
    assert!(pairs > 200 && dangerous.is_empty(), "{dangerous:?}");
}
