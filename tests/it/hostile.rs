//! Clients that mean harm. Whatever they get, nobody else notices and memory stays bounded.

use tokio::io::AsyncWriteExt;

use crate::support::raw::tags;
use crate::support::{Frame, Sluice, msg, proxy};

const MIB: u64 = 1 << 20;

/// An answer is an ErrorResponse, a result, or the end of the connection; never silence.
fn answered(frames: &[Frame]) -> bool {
    frames.is_empty() || frames.iter().any(|f| b"EZ".contains(&f.tag))
}

/// Memory growth over a piece of work, in bytes.
async fn growth(sluice: &Sluice, work: impl Future<Output = ()>) -> u64 {
    let before = sluice.memory();
    work.await;
    sluice.memory().saturating_sub(before)
}

#[tokio::test]
async fn malformed_frames_end_their_own_connection_only() {
    let sluice = proxy().pool_size(2).start();
    let bystander = sluice.connect().await;
    bystander.batch_execute("CREATE TABLE t (n int)").await.unwrap();
    let huge = |tag: u8| [&[tag], 0x7fff_ffffu32.to_be_bytes().as_slice()].concat();
    let short = |tag: u8, length: u32| [&[tag], length.to_be_bytes().as_slice()].concat();
    let bytes: Vec<(&str, Vec<u8>)> = vec![
        ("oversized query", huge(b'Q')),
        ("oversized parse", huge(b'P')),
        ("oversized sync", huge(b'S')),
        ("oversized unknown", huge(b'z')),
        ("length 3", short(b'Q', 3)),
        ("length 0", short(b'Q', 0)),
        ("negative length", short(b'Q', 0xffff_ffff)),
        ("unknown tag", msg::frame(b'z', b"")),
        ("zero tag", msg::frame(0, b"")),
        ("password after login", msg::frame(b'p', b"x\0")),
        ("query without end", msg::frame(b'Q', b"SELECT 1")),
        ("empty query frame", msg::frame(b'Q', b"")),
        ("query with more behind its end", msg::frame(b'Q', b"SELECT 1\0INSERT INTO t VALUES (1)\0")),
        ("parse cut short", msg::frame(b'P', b"name\0SELECT 1")),
        ("parse with too many types", msg::frame(b'P', b"\0SELECT 1\0\xff\xff")),
        ("bind cut short", msg::frame(b'B', b"\0\0\0\x01")),
        ("bind past its end", msg::frame(b'B', b"\0\0\0\0\0\x01\x7f\xff\xff\xff")),
        ("bind with negative length", msg::frame(b'B', b"\0\0\0\0\0\x01\x80\0\0\0")),
        ("describe of nothing", msg::frame(b'D', b"")),
        ("describe of an unknown kind", msg::frame(b'D', b"X\0")),
        ("execute cut short", msg::frame(b'E', b"\0\0")),
        ("close of nothing", msg::frame(b'C', b"")),
        ("sync with a body", msg::frame(b'S', b"x")),
        ("function call", msg::frame(b'F', b"\0\0\0\0")),
        ("copy data out of place", msg::copy_data(b"stray")),
        ("copy done out of place", msg::copy_done()),
        ("half a frame", b"Q\0\0\0\x20SELECT".to_vec()),
        ("http", b"GET / HTTP/1.1\r\n\r\n".to_vec()),
    ];
    for (what, bytes) in bytes {
        let mut raw = sluice.raw().await;
        raw.send(&[bytes, msg::sync()].concat()).await;
        raw.stream.shutdown().await.unwrap();
        let frames = raw.until_closed().await;
        assert!(answered(&frames), "{what}: {frames:?}");
        assert_eq!(bystander.text("SELECT count(*) FROM t").await, "0", "after {what}");
    }
}

#[tokio::test]
async fn oversized_frames_are_refused_before_they_are_stored() {
    crate::needs_proxy!();
    let sluice = proxy().start();
    let bystander = sluice.connect().await;
    let grown = growth(&sluice, async {
        for _ in 0..50 {
            let mut raw = sluice.raw().await;
            raw.send(&[b"Q", 0x7fff_ffffu32.to_be_bytes().as_slice(), &[b'x'; 10_000]].concat()).await;
            assert!(answered(&raw.until_closed().await));
        }
    })
    .await;
    assert!(grown < 16 * MIB, "{grown} bytes");
    assert_eq!(bystander.text("SELECT 1").await, "1");
}

#[tokio::test]
async fn ten_megabytes_of_sql_get_a_clear_verdict() {
    let sluice = proxy().pool_size(2).start();
    let bystander = sluice.connect().await;
    let list = (0..1_500_000).map(|n| n.to_string()).collect::<Vec<_>>().join(",");
    for sql in
        [format!("SELECT count(*) FROM pg_class WHERE oid IN ({list})"), format!("SELECT 1 /* {list} */")]
    {
        assert!(sql.len() > 10_000_000);
        let mut raw = sluice.raw().await;
        for bytes in [msg::query(&sql), [msg::extended(&sql, &[]), msg::sync()].concat()] {
            raw.send(&bytes).await;
            let frames = raw.until_ready().await;
            let tags = tags(&frames);
            assert!(tags.ends_with("DCZ") || tags.ends_with("EZ"), "{tags}");
            assert_eq!(bystander.text("SELECT 1").await, "1");
        }
    }
}

#[tokio::test]
async fn deep_nesting_gets_a_clear_verdict() {
    let sluice = proxy().pool_size(2).start();
    let bystander = sluice.connect().await;
    let deep = |open: &str, middle: &str, close: &str, n| {
        format!("SELECT {}{middle}{}", open.repeat(n), close.repeat(n))
    };
    let texts = [
        deep("(", "1", ")", 10_000),
        deep("(SELECT ", "1", ")", 5_000),
        deep("-", "1", "", 50_000).replace("--", "- -"),
        deep("/*", "1", "*/ 1", 2_000),
        deep("ARRAY[", "1", "]", 5_000),
        format!("SELECT 1 {}", "+ 1 ".repeat(20_000)),
        format!("SELECT 1 {}+ 2", "+".repeat(2_000)),
        "(".repeat(100_000),
    ];
    for sql in texts {
        let mut raw = sluice.raw().await;
        let frames = raw.query(&sql).await;
        assert!(answered(&frames), "{}: {frames:?}", &sql[..20]);
        raw.send(&[msg::extended(&sql, &[]), msg::sync()].concat()).await;
        assert!(answered(&raw.until_ready().await));
        assert_eq!(bystander.text("SELECT 1").await, "1", "after {}", &sql[..20]);
    }
}

#[tokio::test]
async fn texts_that_never_repeat_do_not_fill_the_memory() {
    crate::needs_proxy!();
    let sluice = proxy().setting("[guard]\ncache_bytes = \"4MB\"").start();
    let mut raw = sluice.raw().await;
    let padding = "x".repeat(2_000);
    let warm = async |raw: &mut crate::support::Raw, from: usize| {
        for n in from..from + 5_000 {
            // Neither the text nor its shape was ever seen.
            raw.query(&format!("SELECT 1 AS column_{n} /* {padding} */")).await;
        }
    };
    warm(&mut raw, 0).await;
    let before = sluice.memory();
    warm(&mut raw, 5_000).await;
    let grown = sluice.memory().saturating_sub(before);
    assert!(grown < 8 * MIB, "{grown} bytes for 10 MB of statements");
}

#[tokio::test]
async fn a_client_that_leaves_in_the_middle_of_a_frame() {
    let sluice = proxy().pool_size(1).start();
    let whole = [msg::extended("SELECT 1", &[]), msg::sync()].concat();
    for cut in 1..whole.len() {
        let mut raw = sluice.raw().await;
        raw.send(&whole[..cut]).await;
    }
    assert_eq!(sluice.connect().await.text("SELECT 1").await, "1");
}

#[tokio::test]
async fn frames_split_at_every_byte_are_read_whole() {
    let sluice = proxy().pool_size(1).start();
    let mut raw = sluice.raw().await;
    let whole = [msg::query("SELECT 1"), msg::extended("SELECT 2", &[]), msg::sync()].concat();
    for cut in 1..whole.len() {
        raw.send(&whole[..cut]).await;
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        raw.send(&whole[cut..]).await;
        assert_eq!(tags(&raw.until_ready().await), "TDCZ");
        assert_eq!(tags(&raw.until_ready().await), "12TDCZ");
    }
}

#[tokio::test]
async fn encodings_other_than_utf8_pass_unchanged() {
    // One each: a text that is no UTF-8 cannot be read, so its server connection is kept apart.
    let sluice = proxy().pool_size(2).start();
    let database = &sluice.database;
    let latin = [("client_encoding", "LATIN1")];
    let mut raw =
        crate::support::Raw::login(sluice.port, &database.user, &database.password, &database.name, &latin)
            .await
            .unwrap();
    raw.send(&msg::frame(b'Q', b"SELECT '\xe4\xf6', length('\xe4')\0")).await;
    let frames = raw.until_ready().await;
    let row = frames.iter().find(|f| f.tag == b'D').unwrap();
    assert_eq!(row.body, b"\0\x02\0\0\0\x02\xe4\xf6\0\0\0\x011");
    // The same bytes are an error for a client that speaks UTF-8, and the guard must not choke on them.
    let mut utf8 = sluice.raw().await;
    utf8.send(&msg::frame(b'Q', b"SELECT '\xe4\xf6'\0")).await;
    let frames = utf8.until_ready().await;
    assert_eq!(frames[0].field(b'C').as_deref(), Some("22021"));
}
