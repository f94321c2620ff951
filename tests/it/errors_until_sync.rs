//! After an error everything is skipped up to Sync.

use crate::support::raw::tags;
use crate::support::{msg, proxy};

#[tokio::test]
async fn one_error_then_silence_then_ready() {
    let sluice = proxy().start();
    let mut raw = sluice.raw().await;
    let bad: [(&str, Vec<u8>); 5] = [
        ("42601", msg::parse("", "SELEC 1", &[])),
        ("42P01", msg::parse("", "SELECT 1 FROM nowhere", &[])),
        ("26000", msg::bind("", "absent", &[])),
        ("34000", msg::execute("absent", 0)),
        ("26000", msg::describe_statement("absent")),
    ];
    for (code, message) in bad {
        let rest = [msg::extended("SELECT 'skipped'", &[]), msg::flush(), msg::close_statement("x")].concat();
        raw.send(&[message, rest, msg::sync()].concat()).await;
        let frames = raw.until_ready().await;
        assert_eq!(tags(&frames), "EZ", "{code}");
        assert_eq!(frames[0].field(b'C').as_deref(), Some(code));
        raw.send(&[msg::extended("SELECT 'works'", &[]), msg::sync()].concat()).await;
        assert_eq!(tags(&raw.until_ready().await), "12TDCZ");
    }
}

#[tokio::test]
async fn a_query_sent_before_the_sync_is_skipped_too() {
    let sluice = proxy().start();
    let mut raw = sluice.raw().await;
    raw.query("CREATE TABLE t (n int)").await;
    let bytes = [msg::parse("", "SELEC", &[]), msg::query("INSERT INTO t VALUES (1)"), msg::sync()].concat();
    raw.send(&bytes).await;
    assert_eq!(tags(&raw.until_ready().await), "EZ");
    assert_eq!(raw.query("SELECT count(*) FROM t").await[1].columns(), [Some("0".into())]);
}

#[tokio::test]
async fn a_wrong_number_of_parameters() {
    let sluice = proxy().start();
    let mut raw = sluice.raw().await;
    let bytes =
        [msg::parse("", "SELECT $1::int", &[]), msg::bind("", "", &[]), msg::execute("", 0), msg::sync()];
    raw.send(&bytes.concat()).await;
    let frames = raw.until_ready().await;
    assert_eq!(tags(&frames), "1EZ");
    assert_eq!(frames[1].field(b'C').as_deref(), Some("08P01"));
}

#[tokio::test]
async fn an_error_at_execute_inside_a_transaction() {
    let sluice = proxy().pool_size(1).start();
    let mut raw = sluice.raw().await;
    raw.query("BEGIN").await;
    raw.send(&[msg::extended("SELECT 1/0", &[]), msg::sync()].concat()).await;
    let frames = raw.until_ready().await;
    assert_eq!(frames.last().unwrap().body, b"E");
    raw.send(&[msg::extended("SELECT 1", &[]), msg::sync()].concat()).await;
    assert_eq!(raw.until_ready().await[0].field(b'C').as_deref(), Some("25P02"));
    assert_eq!(raw.query("ROLLBACK").await.last().unwrap().body, b"I");
}
