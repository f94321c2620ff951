//! Many messages in flight.

use crate::support::raw::tags;
use crate::support::{msg, proxy};

#[tokio::test]
async fn a_driver_that_does_not_wait_for_answers() {
    let sluice = proxy().pool_size(2).start();
    let client = std::sync::Arc::new(sluice.connect().await);
    let statement = client.prepare("SELECT $1::int * 2").await.unwrap();
    let tasks: Vec<_> = (0..200)
        .map(|n| {
            let (client, statement) = (client.clone(), statement.clone());
            tokio::spawn(async move { client.query_one(&statement, &[&n]).await.unwrap().get::<_, i32>(0) })
        })
        .collect();
    for (n, task) in (0..).zip(tasks) {
        assert_eq!(task.await.unwrap(), n * 2);
    }
}

#[tokio::test]
async fn several_statements_under_one_sync_are_one_transaction() {
    let sluice = proxy().start();
    let mut raw = sluice.raw().await;
    raw.query("CREATE TABLE t (n int)").await;
    let batch = [
        msg::extended("INSERT INTO t VALUES (1)", &[]),
        msg::extended("SELECT 1/0", &[]),
        msg::extended("INSERT INTO t VALUES (2)", &[]),
        msg::sync(),
    ];
    raw.send(&batch.concat()).await;
    assert_eq!(tags(&raw.until_ready().await), "12nC1EZ");
    assert_eq!(raw.query("SELECT count(*) FROM t").await[1].columns(), [Some("0".into())]);
}

#[tokio::test]
async fn several_syncs_in_one_write_are_answered_in_order() {
    let sluice = proxy().pool_size(1).start();
    let mut raw = sluice.raw().await;
    let mut bytes = Vec::new();
    for n in 0..20 {
        let sql = if n == 7 { "SELECT 1/0".to_owned() } else { format!("SELECT {n}") };
        bytes.extend([msg::extended(&sql, &[]), msg::sync()].concat());
    }
    raw.send(&bytes).await;
    for n in 0..20 {
        let frames = raw.until_ready().await;
        if n == 7 {
            assert!(tags(&frames).ends_with("EZ"), "{frames:?}");
        } else {
            assert_eq!(tags(&frames), "12TDCZ");
            assert_eq!(frames[3].columns(), [Some(n.to_string())]);
        }
    }
}

#[tokio::test]
async fn simple_and_extended_mixed() {
    let sluice = proxy().pool_size(1).start();
    let mut raw = sluice.raw().await;
    let bytes = [
        msg::extended("SELECT 1", &[]),
        msg::sync(),
        msg::query("SELECT 2"),
        msg::extended("SELECT 3", &[]),
        msg::sync(),
    ];
    raw.send(&bytes.concat()).await;
    assert_eq!(tags(&raw.until_ready().await), "12TDCZ");
    assert_eq!(tags(&raw.until_ready().await), "TDCZ");
    assert_eq!(tags(&raw.until_ready().await), "12TDCZ");
}

#[tokio::test]
async fn a_pipeline_far_larger_than_the_buffers_does_not_lock_up() {
    let sluice = proxy().pool_size(1).start();
    let mut raw = sluice.raw().await;
    let one = [msg::extended("SELECT repeat('x', 10000)", &[]), msg::sync()].concat();
    let bytes = one.repeat(2000);
    let (mut reader, mut writer) = raw.stream.split();
    // 20 MB come back while we are still writing.
    let read = async {
        let mut total = 0usize;
        let mut buffer = vec![0; 65536];
        let wanted = 2000 * 10_000;
        while total < wanted {
            let n = tokio::io::AsyncReadExt::read(&mut reader, &mut buffer).await.unwrap();
            assert!(n > 0, "closed after {total} bytes");
            total += n;
        }
    };
    let write = async { tokio::io::AsyncWriteExt::write_all(&mut writer, &bytes).await.unwrap() };
    tokio::time::timeout(crate::support::SOON * 3, async { tokio::join!(read, write) }).await.unwrap();
}
