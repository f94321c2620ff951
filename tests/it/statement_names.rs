//! Statements have our names on the servers. Nobody can tell: not by SQL that names them, not by what changes
//! underneath them.

use crate::support::raw::tags;
use crate::support::{Frame, Raw, msg, proxy};

fn rows(frames: &[Frame]) -> Vec<Vec<String>> {
    let row = |f: &Frame| f.columns().into_iter().map(Option::unwrap_or_default).collect();
    frames.iter().filter(|f| f.tag == b'D').map(row).collect()
}

fn outcome(frames: &[Frame]) -> Result<Vec<Vec<String>>, String> {
    match frames.iter().find(|f| f.tag == b'E') {
        Some(error) => Err(error.field(b'C').unwrap()),
        None => Ok(rows(frames)),
    }
}

async fn query(raw: &mut Raw, sql: &str) -> Result<Vec<Vec<String>>, String> {
    outcome(&raw.query(sql).await)
}

/// Parse, Bind, Describe, Execute, Sync of the unnamed statement.
async fn unnamed(raw: &mut Raw, sql: &str) -> Result<Vec<Vec<String>>, String> {
    raw.send(&[msg::extended(sql, &[]), msg::sync()].concat()).await;
    outcome(&raw.until_ready().await)
}

async fn named(raw: &mut Raw, name: &str) -> Result<Vec<Vec<String>>, String> {
    raw.send(&[msg::bind("", name, &[]), msg::execute("", 0), msg::sync()].concat()).await;
    outcome(&raw.until_ready().await)
}

/// Bind, Describe, Execute, Sync.
async fn described(raw: &mut Raw, name: &str) -> Result<Vec<Vec<String>>, String> {
    let batch = [msg::bind("", name, &[]), msg::describe_portal(""), msg::execute("", 0), msg::sync()];
    raw.send(&batch.concat()).await;
    outcome(&raw.until_ready().await)
}

async fn prepare(raw: &mut Raw, name: &str, sql: &str) {
    raw.send(&[msg::parse(name, sql, &[]), msg::sync()].concat()).await;
    assert_eq!(tags(&raw.until_ready().await), "1Z");
}

fn one(value: &str) -> Result<Vec<Vec<String>>, String> {
    Ok(vec![vec![value.to_owned()]])
}

#[tokio::test]
async fn sql_may_name_what_the_protocol_prepared() {
    let sluice = proxy().pool_size(2).start();
    let mut raw = sluice.raw().await;
    prepare(&mut raw, "Mine", "SELECT 7").await;
    assert_eq!(query(&mut raw, "EXECUTE \"Mine\"").await, one("7"));
    assert_eq!(unnamed(&mut raw, "EXECUTE \"Mine\"").await, one("7"));
    assert_eq!(query(&mut raw, "EXPLAIN EXECUTE \"Mine\"").await.unwrap().len(), 1);
    assert_eq!(query(&mut raw, "PREPARE \"Mine\" AS SELECT 8").await, Err("42P05".to_owned()));
    assert_eq!(query(&mut raw, "BEGIN; SELECT 1/0").await, Err("22012".to_owned()));
    assert_eq!(query(&mut raw, "DEALLOCATE \"Mine\"").await, Err("25P02".to_owned()), "not in a failed one");
    query(&mut raw, "ROLLBACK").await.unwrap();
    assert_eq!(named(&mut raw, "Mine").await, one("7"));
    assert_eq!(query(&mut raw, "DEALLOCATE \"Mine\"").await, Ok(vec![]));
    assert_eq!(named(&mut raw, "Mine").await, Err("26000".to_owned()));
    prepare(&mut raw, "Mine", "SELECT 9").await;
    assert_eq!(unnamed(&mut raw, "DEALLOCATE PREPARE \"Mine\"").await, Ok(vec![]));
    assert_eq!(query(&mut raw, "EXECUTE \"Mine\"").await, Err("26000".to_owned()));
    prepare(&mut raw, "a", "SELECT 1").await;
    prepare(&mut raw, "b", "SELECT 2").await;
    assert_eq!(query(&mut raw, "DEALLOCATE a; SELECT 1/0; DEALLOCATE b").await, Err("22012".to_owned()));
    assert_eq!(named(&mut raw, "a").await, Err("26000".to_owned()));
    assert_eq!(named(&mut raw, "b").await, one("2"));
}

const LISTED: &str = "SELECT name, statement, parameter_types, from_sql FROM pg_prepared_statements ORDER BY prepare_time, name";

#[tokio::test]
async fn the_view_of_prepared_statements_shows_the_clients_own() {
    let sluice = proxy().pool_size(1).start();
    let (mut raw, mut other) = (sluice.raw().await, sluice.raw().await);
    prepare(&mut other, "other", "SELECT 'other'").await;
    for _ in 0..3 {
        unnamed(&mut raw, "SELECT 'unnamed'").await.unwrap();
    }
    assert_eq!(query(&mut raw, LISTED).await, Ok(vec![]));
    prepare(&mut raw, "z", "SELECT 1").await;
    prepare(&mut raw, "a", "SELECT $1::int + 1").await;
    let mine = [["z", "SELECT 1", "{}", "f"], ["a", "SELECT $1::int + 1", "{integer}", "f"]];
    let mine = mine.map(|row| row.map(str::to_owned).to_vec()).to_vec();
    for _ in 0..3 {
        assert_eq!(query(&mut raw, LISTED).await.as_ref(), Ok(&mine));
        assert_eq!(unnamed(&mut raw, LISTED).await.as_ref(), Ok(&mine));
        assert_eq!(named(&mut other, "other").await, one("other"));
        assert_eq!(named(&mut raw, "z").await, one("1"));
    }
    prepare(&mut raw, "list", LISTED).await;
    assert_eq!(named(&mut raw, "list").await.unwrap().len(), 3);
    query(&mut raw, "PREPARE s AS SELECT 's'").await.unwrap();
    assert_eq!(query(&mut raw, LISTED).await.unwrap().len(), 4);
    query(&mut raw, "DEALLOCATE ALL").await.unwrap();
    assert_eq!(query(&mut raw, LISTED).await, Ok(vec![]));
}

#[tokio::test]
async fn an_unnamed_statement_is_always_read_anew() {
    let sluice = proxy().pool_size(2).start();
    let mut raw = sluice.raw().await;
    query(&mut raw, "CREATE TABLE t (a int); INSERT INTO t VALUES (1)").await.unwrap();
    let all = "SELECT * FROM t";
    for _ in 0..3 {
        assert_eq!(unnamed(&mut raw, all).await, one("1"));
    }
    // By the same client, by another one, past us: in the same transaction and in another.
    query(&mut raw, "ALTER TABLE t ADD b int DEFAULT 2").await.unwrap();
    assert_eq!(unnamed(&mut raw, all).await.unwrap(), [["1", "2"]]);
    unnamed(&mut raw, all).await.unwrap();
    query(&mut raw, "BEGIN; ALTER TABLE t ADD c int DEFAULT 3").await.unwrap();
    assert_eq!(unnamed(&mut raw, all).await.unwrap(), [["1", "2", "3"]]);
    query(&mut raw, "ROLLBACK").await.unwrap();
    for _ in 0..3 {
        assert_eq!(unnamed(&mut raw, all).await.unwrap(), [["1", "2"]]);
    }
    let other = sluice.connect().await;
    other.batch_execute("ALTER TABLE t ALTER a TYPE text USING 'x'").await.unwrap();
    for _ in 0..3 {
        assert_eq!(unnamed(&mut raw, all).await.unwrap(), [["x", "2"]]);
    }
    let direct = sluice.database.direct().await;
    direct.batch_execute("ALTER TABLE t DROP b").await.unwrap();
    for _ in 0..3 {
        assert_eq!(unnamed(&mut raw, all).await.unwrap(), [["x"]]);
    }
    // Another table of the same name stands before it.
    query(&mut raw, "CREATE SCHEMA s; CREATE TABLE s.t AS SELECT 5 AS n").await.unwrap();
    query(&mut raw, "BEGIN; SET LOCAL search_path = s, public").await.unwrap();
    assert_eq!(unnamed(&mut raw, all).await, one("5"));
    query(&mut raw, "COMMIT").await.unwrap();
    assert_eq!(unnamed(&mut raw, all).await, one("x"));
    query(&mut raw, "CREATE TEMP TABLE t AS SELECT true AS yes").await.unwrap();
    assert_eq!(unnamed(&mut raw, all).await, one("t"));
    query(&mut raw, "DROP TABLE pg_temp.t").await.unwrap();
    assert_eq!(unnamed(&mut raw, all).await, one("x"));
}

#[tokio::test]
async fn a_constant_is_read_under_the_settings_of_the_moment() {
    let sluice = proxy().pool_size(1).start();
    let mut raw = sluice.raw().await;
    let day = "SELECT extract(month FROM date '01/02/2003')::text";
    for _ in 0..3 {
        assert_eq!(unnamed(&mut raw, day).await, one("1"));
    }
    query(&mut raw, "SET datestyle = 'ISO, DMY'").await.unwrap();
    assert_eq!(unnamed(&mut raw, day).await, one("2"));
    query(&mut raw, "BEGIN; SET LOCAL datestyle = 'ISO, MDY'").await.unwrap();
    assert_eq!(unnamed(&mut raw, day).await, one("1"));
    query(&mut raw, "ROLLBACK; RESET datestyle").await.unwrap();
    for _ in 0..3 {
        assert_eq!(unnamed(&mut raw, day).await, one("1"));
    }
}

/// PostgreSQL refuses a named statement whose result has changed; here it may be another server's first sight of it.
#[tokio::test]
async fn a_stale_plan_is_mended_where_nothing_was_shown() {
    crate::needs_proxy!();
    let sluice = proxy().pool_size(1).start();
    let mut raw = sluice.raw().await;
    query(&mut raw, "CREATE TABLE t (a int); INSERT INTO t VALUES (1)").await.unwrap();
    prepare(&mut raw, "s", "SELECT * FROM t").await;
    assert_eq!(named(&mut raw, "s").await, one("1"));
    let direct = sluice.database.direct().await;
    direct.batch_execute("ALTER TABLE t ADD b int DEFAULT 2").await.unwrap();
    // A driver that does not ask for the columns has kept the old ones.
    assert_eq!(named(&mut raw, "s").await, Err("0A000".to_owned()));
    assert_eq!(described(&mut raw, "s").await.unwrap(), [["1", "2"]]);
    direct.batch_execute("ALTER TABLE t DROP b").await.unwrap();
    raw.send(
        &[msg::describe_statement("s"), msg::bind("", "s", &[]), msg::execute("", 0), msg::sync()].concat(),
    )
    .await;
    let frames = raw.until_ready().await;
    assert_eq!(tags(&frames), "tT2DCZ");
    // In a transaction the error stands.
    direct.batch_execute("ALTER TABLE t ADD b int DEFAULT 2").await.unwrap();
    query(&mut raw, "BEGIN").await.unwrap();
    assert_eq!(described(&mut raw, "s").await, Err("0A000".to_owned()));
    assert_eq!(described(&mut raw, "s").await, Err("25P02".to_owned()));
    query(&mut raw, "ROLLBACK").await.unwrap();
    assert_eq!(described(&mut raw, "s").await.unwrap(), [["1", "2"]]);
}

/// A driver that keeps the columns gets the error also where the server has the statement no more, or never had.
#[tokio::test]
async fn kept_columns_are_not_others_where_a_statement_is_prepared_anew() {
    crate::needs_proxy!();
    let sluice = proxy().pool_size(1).setting("[pool]\nmax_prepared_statements = 1").start();
    let mut raw = sluice.raw().await;
    query(&mut raw, "CREATE TABLE t (a int); INSERT INTO t VALUES (1)").await.unwrap();
    raw.send(&[msg::parse("s", "SELECT * FROM t", &[]), msg::describe_statement("s"), msg::sync()].concat())
        .await;
    assert_eq!(tags(&raw.until_ready().await), "1tTZ");
    prepare(&mut raw, "other", "SELECT 'other'").await;
    assert_eq!(named(&mut raw, "s").await, one("1"));
    let direct = sluice.database.direct().await;
    direct.batch_execute("ALTER TABLE t ADD b int DEFAULT 2").await.unwrap();
    for _ in 0..2 {
        assert_eq!(named(&mut raw, "other").await, one("other"));
        for _ in 0..2 {
            assert_eq!(named(&mut raw, "s").await, Err("0A000".to_owned()));
        }
    }
    // In one batch with others, in a transaction.
    query(&mut raw, "BEGIN").await.unwrap();
    let batch =
        [msg::bind("", "other", &[]), msg::execute("", 0), msg::bind("", "s", &[]), msg::execute("", 0)];
    raw.send(&[batch.concat(), msg::sync()].concat()).await;
    assert_eq!(tags(&raw.until_ready().await), "2DCEZ");
    assert_eq!(named(&mut raw, "other").await, Err("25P02".to_owned()));
    query(&mut raw, "ROLLBACK").await.unwrap();
    // As they were, and asked for again.
    direct.batch_execute("ALTER TABLE t DROP b").await.unwrap();
    for _ in 0..2 {
        assert_eq!(named(&mut raw, "s").await, one("1"));
        assert_eq!(named(&mut raw, "other").await, one("other"));
    }
    direct.batch_execute("ALTER TABLE t ADD b int DEFAULT 2").await.unwrap();
    assert_eq!(described(&mut raw, "s").await.unwrap(), [["1", "2"]]);
    assert_eq!(named(&mut raw, "other").await, one("other"));
    assert_eq!(named(&mut raw, "s").await.unwrap(), [["1", "2"]]);
    // What can't be prepared any more says why.
    direct.batch_execute("DROP TABLE t").await.unwrap();
    assert_eq!(named(&mut raw, "other").await, one("other"));
    assert_eq!(named(&mut raw, "s").await, Err("42P01".to_owned()));
    assert_eq!(named(&mut raw, "other").await, one("other"));
}
