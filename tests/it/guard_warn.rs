//! A warned statement runs, and a NOTICE says what is wrong with it.

use crate::support::{Sluice, msg, proxy};

const POLICY: &str = r#"
[[rule]]
name = "no-star"
finds = "select-star"
action = "warn"
message = "This reads every column."
hint = "Name the columns."
"#;

async fn start() -> Sluice {
    let sluice = proxy().policy(POLICY).pool_size(1).start();
    sluice.database.direct().await.batch_execute("CREATE TABLE t AS SELECT 1 AS n").await.unwrap();
    sluice
}

fn is_warning(notice: &tokio_postgres::error::DbError) {
    assert_eq!(notice.message(), "This reads every column.");
    assert_eq!(notice.hint(), Some("Name the columns."));
    assert!(notice.detail().unwrap().contains("no-star"), "{notice:?}");
}

#[tokio::test]
async fn a_notice_on_each_protocol_and_the_result_as_well() {
    crate::needs_proxy!();
    let sluice = start().await;
    let client = sluice.connect().await;
    assert_eq!(client.text("SELECT * FROM t").await, "1");
    assert_eq!(client.notices().len(), 1);
    is_warning(&client.notices()[0]);

    let row = client.query_one("SELECT * FROM t", &[]).await.unwrap();
    assert_eq!(row.get::<_, i32>(0), 1);
    assert_eq!(client.notices().len(), 2);
    is_warning(&client.notices()[1]);

    assert_eq!(client.text("SELECT n, count(*) FROM t GROUP BY n").await, "1");
    assert_eq!(client.notices().len(), 2);
}

#[tokio::test]
async fn the_notice_comes_before_the_end_of_the_answer() {
    crate::needs_proxy!();
    let sluice = start().await;
    let mut raw = sluice.raw().await;
    for bytes in
        [msg::query("SELECT * FROM t"), [msg::extended("SELECT * FROM t", &[]), msg::sync()].concat()]
    {
        raw.send(&bytes).await;
        let frames = raw.until_ready().await;
        assert_eq!(frames.iter().filter(|f| f.tag == b'N').count(), 1, "{frames:?}");
        assert!(frames.iter().any(|f| f.tag == b'D'));
    }
    // Nothing comes late.
    assert!(raw.query("SELECT 1").await.iter().all(|f| f.tag != b'N'));
}

#[tokio::test]
async fn in_a_pipeline_and_in_a_transaction_too() {
    crate::needs_proxy!();
    let sluice = start().await;
    let mut raw = sluice.raw().await;
    raw.query("BEGIN").await;
    let bytes = [msg::extended("SELECT 1", &[]), msg::extended("SELECT * FROM t", &[]), msg::sync()].concat();
    raw.send(&bytes).await;
    let frames = raw.until_ready().await;
    assert_eq!(frames.iter().filter(|f| f.tag == b'N').count(), 1);
    assert_eq!(frames.last().unwrap().body, b"T");
    raw.query("COMMIT").await;
}
