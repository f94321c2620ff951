//! Several statements in one Query.

use crate::support::proxy;
use crate::support::raw::tags;

#[tokio::test]
async fn each_statement_has_its_result() {
    let sluice = proxy().start();
    let mut raw = sluice.raw().await;
    let frames =
        raw.query("SELECT 1; SELECT 'a;b'; CREATE TABLE t (n int); INSERT INTO t VALUES (1), (2);").await;
    assert_eq!(tags(&frames), "TDCTDCCCZ");
}

#[tokio::test]
async fn an_error_in_the_middle_undoes_what_came_before() {
    let sluice = proxy().start();
    let mut raw = sluice.raw().await;
    raw.query("CREATE TABLE t (n int)").await;
    let frames = raw.query("INSERT INTO t VALUES (1); SELECT 1/0; INSERT INTO t VALUES (2)").await;
    assert!(tags(&frames).ends_with("EZ"), "{frames:?}");
    assert_eq!(raw.query("SELECT count(*) FROM t").await[1].columns(), [Some("0".into())]);
}

#[tokio::test]
async fn a_transaction_opened_in_the_middle_stays_open() {
    let sluice = proxy().pool_size(1).start();
    let mut raw = sluice.raw().await;
    raw.query("CREATE TABLE t (n int)").await;
    let frames = raw.query("SELECT 1; BEGIN; INSERT INTO t VALUES (1)").await;
    assert_eq!(frames.last().unwrap().body, b"T");
    let frames = raw.query("ROLLBACK; SELECT count(*) FROM t").await;
    assert_eq!(tags(&frames), "CTDCZ");
    assert_eq!(frames[2].columns(), [Some("0".into())]);
}

#[tokio::test]
async fn a_thousand_statements_in_one_text() {
    let sluice = proxy().start();
    let mut raw = sluice.raw().await;
    let frames = raw.query(&"SELECT 1;".repeat(1000)).await;
    assert_eq!(frames.iter().filter(|f| f.tag == b'C').count(), 1000);
}
