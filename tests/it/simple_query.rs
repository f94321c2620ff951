//! The simple protocol.

use crate::support::raw::tags;
use crate::support::{msg, programs, proxy, sqlstate};

#[tokio::test]
async fn rows_nulls_and_the_command_tag_arrive() {
    let sluice = proxy().start();
    let mut raw = sluice.raw().await;
    let frames = raw.query("SELECT 1 AS one, NULL, 'äöü€' UNION ALL SELECT 2, 'x', ''").await;
    assert_eq!(tags(&frames), "TDDCZ");
    assert_eq!(frames[1].columns(), [Some("1".into()), None, Some("äöü€".into())]);
    assert_eq!(frames[2].columns(), [Some("2".into()), Some("x".into()), Some(String::new())]);
    assert_eq!(frames[3].text(), "SELECT 2");
    assert_eq!(frames[4].body, b"I");
}

#[tokio::test]
async fn an_empty_query_is_answered_as_such() {
    let sluice = proxy().start();
    let mut raw = sluice.raw().await;
    for text in ["", " ", ";", "-- nothing", "/* nothing */"] {
        assert_eq!(tags(&raw.query(text).await), "IZ", "{text:?}");
    }
}

#[tokio::test]
async fn an_error_arrives_whole_and_the_next_query_works() {
    let sluice = proxy().start();
    let client = sluice.connect().await;
    let error = client.batch_execute("SELECT * FROM nowhere").await.unwrap_err();
    assert_eq!(sqlstate(&error), "42P01");
    let error = error.as_db_error().unwrap();
    assert!(error.message().contains("nowhere"));
    assert!(error.position().is_some());
    assert_eq!(client.text("SELECT 1").await, "1");
}

#[tokio::test]
async fn a_transaction_by_hand() {
    let sluice = proxy().start();
    let mut raw = sluice.raw().await;
    raw.query("CREATE TABLE t (n int)").await;
    let mut status = Vec::new();
    for text in
        ["BEGIN", "INSERT INTO t VALUES (1)", "SELECT 1/0", "SELECT 1", "ROLLBACK", "SELECT count(*) FROM t"]
    {
        let frames = raw.query(text).await;
        status.push(frames.last().unwrap().body[0] as char);
        if text == "SELECT 1" {
            assert_eq!(frames[0].field(b'C').as_deref(), Some("25P02"));
        }
        if text.starts_with("SELECT count") {
            assert_eq!(frames[1].columns(), [Some("0".into())]);
        }
    }
    assert_eq!(status.iter().collect::<String>(), "TTEEII");
}

#[tokio::test]
async fn texts_and_values_larger_than_any_buffer_pass() {
    let sluice = proxy().start();
    let mut raw = sluice.raw().await;
    let value = "x".repeat(3_000_000);
    let frames = raw.query(&format!("SELECT '{value}'")).await;
    assert_eq!(tags(&frames), "TDCZ");
    assert_eq!(frames[1].columns()[0].as_deref(), Some(value.as_str()));
}

#[tokio::test]
async fn two_queries_sent_at_once_are_answered_one_after_the_other() {
    let sluice = proxy().start();
    let mut raw = sluice.raw().await;
    raw.send(
        &[msg::query("SELECT 'first'"), msg::query("SELECT 1/0"), msg::query("SELECT 'third'")].concat(),
    )
    .await;
    let (first, second, third) = (raw.until_ready().await, raw.until_ready().await, raw.until_ready().await);
    assert_eq!(first[1].columns(), [Some("first".into())]);
    assert_eq!(second.iter().find(|f| f.tag == b'E').unwrap().field(b'C').as_deref(), Some("22012"));
    assert_eq!(third[1].columns(), [Some("third".into())]);
}

#[tokio::test]
async fn psql_and_pgbench_work() {
    let sluice = proxy().start();
    let out = programs::psql(
        &sluice,
        &["CREATE TABLE shop (n int)", "INSERT INTO shop VALUES (7)", "TABLE shop", r"\d shop"],
    );
    assert!(out.ok && out.stdout.contains('7') && out.stdout.contains("integer"), "{out:?}");
    let out = programs::pgbench(&sluice, &["-i", "-q", "-s", "1"]);
    assert!(out.ok, "{out:?}");
    for mode in ["simple", "extended", "prepared"] {
        let out = programs::pgbench(&sluice, &["-n", "-M", mode, "-c", "4", "-t", "50"]);
        assert!(out.ok && out.stdout.contains("actually processed: 200/200"), "{mode}: {out:?}");
    }
}
