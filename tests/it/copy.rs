//! COPY, both ways, in both protocols, with errors at every point.

use std::pin::pin;

use futures_util::{SinkExt, TryStreamExt};

use crate::support::raw::tags;
use crate::support::{Raw, Sluice, msg, proxy};

async fn with_table() -> (Sluice, Raw) {
    let sluice = proxy().pool_size(1).start();
    let mut raw = sluice.raw().await;
    raw.query("CREATE TABLE t (n int, s text)").await;
    (sluice, raw)
}

async fn count(raw: &mut Raw) -> String {
    raw.query("SELECT count(*) FROM t").await[1].columns()[0].clone().unwrap()
}

#[tokio::test]
async fn in_and_out_with_a_driver() {
    let (sluice, _raw) = with_table().await;
    let client = sluice.connect().await;
    {
        let mut sink = pin!(client.copy_in::<_, bytes::Bytes>("COPY t FROM STDIN").await.unwrap());
        for n in 0..1000 {
            sink.send(format!("{n}\t{}\n", "x".repeat(1000)).into()).await.unwrap();
        }
        assert_eq!(sink.finish().await.unwrap(), 1000);
    }
    let mut out = pin!(client.copy_out("COPY (SELECT * FROM t ORDER BY n) TO STDOUT").await.unwrap());
    let (mut bytes, mut last) = (0, bytes::Bytes::new());
    while let Some(chunk) = out.try_next().await.unwrap() {
        bytes += chunk.len();
        last = chunk;
    }
    assert!(bytes > 1_000_000 && last.starts_with(b"999\t"));
    assert_eq!(client.text("SELECT 1").await, "1");
}

#[tokio::test]
async fn the_client_gives_up() {
    let (_sluice, mut raw) = with_table().await;
    raw.send(&msg::query("COPY t FROM STDIN")).await;
    assert_eq!(raw.frame().await.unwrap().tag, b'G');
    raw.send(&[msg::copy_data(b"1\ta\n"), msg::copy_fail("changed my mind")].concat()).await;
    let frames = raw.until_ready().await;
    assert_eq!(tags(&frames), "EZ");
    assert_eq!(frames[0].field(b'C').as_deref(), Some("57014"));
    assert_eq!(count(&mut raw).await, "0");
}

#[tokio::test]
async fn bad_data_ends_it_and_late_data_is_swallowed() {
    let (_sluice, mut raw) = with_table().await;
    raw.send(&msg::query("COPY t FROM STDIN")).await;
    assert_eq!(raw.frame().await.unwrap().tag, b'G');
    raw.send(&msg::copy_data(b"not a number\tx\n")).await;
    let frames = raw.until_ready().await;
    assert_eq!(tags(&frames), "EZ");
    assert_eq!(frames[0].field(b'C').as_deref(), Some("22P02"));
    // The client learns of the error only now: what it has sent meanwhile belongs to no COPY any more.
    raw.send(&[msg::copy_data(b"2\tb\n").repeat(100), msg::copy_done()].concat()).await;
    assert_eq!(count(&mut raw).await, "0");
}

#[tokio::test]
async fn late_data_never_reaches_another_client() {
    let (sluice, mut raw) = with_table().await;
    let mut other = sluice.raw().await;
    raw.send(&msg::query("COPY t FROM STDIN")).await;
    assert_eq!(raw.frame().await.unwrap().tag, b'G');
    raw.send(&msg::copy_data(b"bad\tx\n")).await;
    assert_eq!(tags(&raw.until_ready().await), "EZ");
    other.send(&msg::query("COPY t FROM STDIN")).await;
    assert_eq!(other.frame().await.unwrap().tag, b'G');
    raw.send(&[msg::copy_data(b"9\tstray\n"), msg::copy_done()].concat()).await;
    other.send(&[msg::copy_data(b"1\tmine\n"), msg::copy_done()].concat()).await;
    assert_eq!(tags(&other.until_ready().await), "CZ");
    assert_eq!(other.query("SELECT s FROM t").await[1].columns(), [Some("mine".into())]);
    assert_eq!(count(&mut raw).await, "1");
}

#[tokio::test]
async fn extended_copy_in_with_an_error_skips_to_sync() {
    let (_sluice, mut raw) = with_table().await;
    let open =
        [msg::parse("", "COPY t FROM STDIN", &[]), msg::bind("", "", &[]), msg::execute("", 0), msg::sync()];
    raw.send(&open.concat()).await;
    for tag in [b'1', b'2', b'G'] {
        assert_eq!(raw.frame().await.unwrap().tag, tag);
    }
    // The Sync above was part of the COPY and is lost there; after the error the server waits for another.
    raw.send(
        &[msg::copy_data(b"bad\tx\n"), msg::copy_data(b"1\ty\n"), msg::copy_done(), msg::sync()].concat(),
    )
    .await;
    let frames = raw.until_ready().await;
    assert_eq!(tags(&frames), "EZ");
    assert_eq!(count(&mut raw).await, "0");
}

#[tokio::test]
async fn extended_copy_in_and_out() {
    let (_sluice, mut raw) = with_table().await;
    raw.send(
        &[msg::parse("", "COPY t FROM STDIN", &[]), msg::bind("", "", &[]), msg::execute("", 0)].concat(),
    )
    .await;
    raw.send(&[msg::copy_data(b"1\ta\n2\tb\n"), msg::copy_done(), msg::sync()].concat()).await;
    assert_eq!(tags(&raw.until_ready().await), "12GCZ");
    raw.send(&[msg::extended("COPY t TO STDOUT", &[]), msg::sync()].concat()).await;
    assert_eq!(tags(&raw.until_ready().await), "12nHddcCZ");
}

#[tokio::test]
async fn out_with_an_error_in_the_middle() {
    let (_sluice, mut raw) = with_table().await;
    let frames = raw.query("COPY (SELECT 1 / (5000 - n) FROM generate_series(1, 10000) n) TO STDOUT").await;
    let tags = tags(&frames);
    assert!(tags.starts_with("Hd") && tags.ends_with("dEZ"), "{}", &tags[tags.len() - 10..]);
    assert_eq!(count(&mut raw).await, "0");
}

#[tokio::test]
async fn two_copies_in_one_text() {
    let (_sluice, mut raw) = with_table().await;
    raw.send(&msg::query("COPY t FROM STDIN; COPY t FROM STDIN; SELECT count(*) FROM t")).await;
    for n in ["1", "2"] {
        let frame = loop {
            let frame = raw.frame().await.unwrap();
            if frame.tag != b'C' {
                break frame;
            }
        };
        assert_eq!(frame.tag, b'G');
        raw.send(&[msg::copy_data(format!("{n}\tx\n").as_bytes()), msg::copy_done()].concat()).await;
    }
    let frames = raw.until_ready().await;
    assert_eq!(tags(&frames), "CTDCZ");
    assert_eq!(frames[2].columns(), [Some("2".into())]);
}

#[tokio::test]
async fn a_client_that_vanishes_in_a_copy_leaves_nothing() {
    let (sluice, mut raw) = with_table().await;
    raw.send(&[msg::query("COPY t FROM STDIN"), msg::copy_data(b"1\ta\n")].concat()).await;
    assert_eq!(raw.frame().await.unwrap().tag, b'G');
    drop(raw);
    let mut other = sluice.raw().await;
    assert_eq!(count(&mut other).await, "0");
}
