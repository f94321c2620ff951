//! The first packets, from clients of every manner.

use std::time::Duration;

use tokio::io::AsyncWriteExt;

use crate::support::raw::tags;
use crate::support::{Raw, Sluice, eventually, msg, proxy};

const V3_0: u32 = 196_608;
const V3_2: u32 = 196_610;

fn hello(sluice: &Sluice, version: u32, more: &[(&str, &str)]) -> Vec<u8> {
    let own = [("user", sluice.database.user.as_str()), ("database", sluice.database.name.as_str())];
    msg::startup(version, &[&own, more].concat())
}

async fn login(sluice: &Sluice, raw: &mut Raw) {
    raw.authenticate(&sluice.database.user, &sluice.database.password).await.unwrap();
    assert_eq!(tags(&raw.query("SELECT 1").await), "TDCZ");
}

#[tokio::test]
async fn one_byte_at_a_time() {
    let sluice = proxy().start();
    let mut raw = Raw::connect(sluice.port).await.unwrap();
    for byte in hello(&sluice, V3_0, &[]) {
        raw.send(&[byte]).await;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    login(&sluice, &mut raw).await;
    for byte in msg::query("SELECT 'slow'") {
        raw.send(&[byte]).await;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(tags(&raw.until_ready().await), "TDCZ");
}

#[tokio::test]
async fn encryption_is_declined_and_the_login_goes_on() {
    crate::needs_proxy!();
    let sluice = proxy().start();
    for requests in [
        vec![msg::ssl_request()],
        vec![msg::gssenc_request()],
        vec![msg::gssenc_request(), msg::ssl_request()],
        vec![msg::ssl_request(), msg::gssenc_request()],
    ] {
        let mut raw = Raw::connect(sluice.port).await.unwrap();
        for request in requests {
            raw.send(&request).await;
            assert_eq!(raw.byte().await, Some(b'N'));
        }
        raw.send(&hello(&sluice, V3_0, &[])).await;
        login(&sluice, &mut raw).await;
    }
}

#[tokio::test]
async fn encryption_requests_without_end_are_not_answered_for_ever() {
    crate::needs_proxy!();
    let sluice = proxy().start();
    let mut raw = Raw::connect(sluice.port).await.unwrap();
    let mut answers = 0;
    for _ in 0..100 {
        raw.send(&msg::ssl_request()).await;
        match raw.byte().await {
            Some(b'N') => answers += 1,
            _ => break,
        }
    }
    assert!(answers < 100);
}

#[tokio::test]
async fn newer_versions_and_unknown_protocol_options_are_negotiated() {
    let sluice = proxy().start();
    let cases: [(u32, &[(&str, &str)]); 4] = [
        (V3_2, &[]),
        (V3_0 + 9999, &[]),
        (V3_0, &[("_pq_.future", "1")]),
        (V3_2, &[("_pq_.a", "1"), ("_pq_.b", "2")]),
    ];
    for (version, options) in cases {
        let mut raw = Raw::connect(sluice.port).await.unwrap();
        raw.send(&hello(&sluice, version, options)).await;
        if !options.is_empty() || version == V3_0 + 9999 {
            let frame = raw.frame().await.unwrap();
            assert_eq!(frame.tag, b'v', "{version} {options:?}: {frame:?}");
            let names: Vec<_> = frame.body[8..].split(|b| *b == 0).filter(|n| !n.is_empty()).collect();
            assert_eq!(names, options.iter().map(|(n, _)| n.as_bytes()).collect::<Vec<_>>());
        }
        login(&sluice, &mut raw).await;
    }
}

#[tokio::test]
async fn unknown_protocols_are_refused() {
    let sluice = proxy().start();
    for version in [0, 1, 131_072, 262_144, 0x7fff_ffff] {
        let mut raw = Raw::connect(sluice.port).await.unwrap();
        raw.send(&hello(&sluice, version, &[])).await;
        let frames = raw.until_closed().await;
        assert!(frames.iter().all(|f| f.tag == b'E'), "{version}: {frames:?}");
    }
}

#[tokio::test]
async fn garbage_is_refused_at_once_and_hurts_nobody() {
    let sluice = proxy().start();
    let bystander = sluice.connect().await;
    let mut odd = msg::startup(V3_0, &[("user", "x")]);
    odd.truncate(odd.len() - 2);
    let odd_length = u32::try_from(odd.len()).unwrap().to_be_bytes();
    odd[..4].copy_from_slice(&odd_length);
    let garbage: Vec<(&str, Vec<u8>)> = vec![
        ("http", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec()),
        ("zeros", vec![0; 64]),
        ("ones", vec![0xff; 64]),
        ("oversized", [0x7fff_ffffu32.to_be_bytes(), V3_0.to_be_bytes()].concat()),
        ("just too large", [20_000u32.to_be_bytes(), V3_0.to_be_bytes()].concat()),
        ("too short", [7u32.to_be_bytes(), V3_0.to_be_bytes()].concat()),
        ("cut in a parameter", odd),
        ("no user", msg::startup(V3_0, &[("database", "x")])),
        ("empty user", msg::startup(V3_0, &[("user", "")])),
        ("a Query before the login", msg::query("SELECT 1")),
        ("short cancel", [12u32.to_be_bytes(), 80_877_102u32.to_be_bytes(), [0; 4]].concat()),
    ];
    for (what, bytes) in garbage {
        let mut raw = Raw::connect(sluice.port).await.unwrap();
        raw.send(&bytes).await;
        raw.stream.shutdown().await.unwrap();
        let frames = raw.until_closed().await;
        assert!(frames.iter().all(|f| f.tag == b'E'), "{what}: {frames:?}");
        assert_eq!(bystander.text("SELECT 1").await, "1", "after {what}");
    }
}

#[tokio::test]
async fn oversized_start_up_packets_are_refused_without_waiting_for_them() {
    crate::needs_proxy!();
    let sluice = proxy().start();
    let mut raw = Raw::connect(sluice.port).await.unwrap();
    raw.send(&[0x7fff_ffffu32.to_be_bytes(), V3_0.to_be_bytes()].concat()).await;
    // We keep our side open: the refusal must not wait for more bytes.
    assert!(raw.until_closed().await.iter().all(|f| f.tag == b'E'));
}

#[tokio::test]
async fn who_does_not_log_in_is_closed_at_the_deadline() {
    crate::needs_proxy!();
    let sluice = proxy().setting("[pool]\nclient_login_timeout = \"1s\"").start();
    let whole = hello(&sluice, V3_0, &[]);
    let beginnings: [&[u8]; 4] = [b"", &whole[..3], &whole[..20], &whole];
    let mut open = Vec::new();
    for bytes in beginnings {
        let mut raw = Raw::connect(sluice.port).await.unwrap();
        raw.send(bytes).await;
        open.push(raw);
    }
    for mut raw in open {
        let frames = raw.until_closed().await;
        assert!(frames.iter().all(|f| b"RE".contains(&f.tag)), "{frames:?}");
    }
    sluice.connect().await.text("SELECT 1").await;
}

#[tokio::test]
async fn dribbling_does_not_extend_the_deadline() {
    crate::needs_proxy!();
    let sluice = proxy().setting("[pool]\nclient_login_timeout = \"1s\"").start();
    let mut raw = Raw::connect(sluice.port).await.unwrap();
    let bytes = hello(&sluice, V3_0, &[("application_name", &"x".repeat(500))]);
    let mut sent = 0;
    for byte in bytes {
        if raw.try_send(&[byte]).await.is_err() {
            break;
        }
        sent += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(sent < 400, "still open after {sent} bytes in 20 ms each");
}

#[tokio::test]
async fn options_are_in_force() {
    let sluice = proxy().pool_size(1).start();
    let mut raw = Raw::connect(sluice.port).await.unwrap();
    let options = [("options", r"-c work_mem=1234kB --search_path=a,b -c application_name=two\ words")];
    raw.send(&hello(&sluice, V3_0, &options)).await;
    login(&sluice, &mut raw).await;
    let mut plain = sluice.raw().await;
    for _ in 0..2 {
        for (name, value) in
            [("work_mem", "1234kB"), ("search_path", "a,b"), ("application_name", "two words")]
        {
            let frames = raw.query(&format!("SHOW {name}")).await;
            assert_eq!(
                frames.iter().find(|f| f.tag == b'D').unwrap().columns(),
                [Some(value.into())],
                "{name}"
            );
        }
        let frames = plain.query("SHOW work_mem").await;
        assert_ne!(frames.iter().find(|f| f.tag == b'D').unwrap().columns(), [Some("1234kB".into())]);
    }
}

#[tokio::test]
async fn what_is_sent_together_with_the_login_is_not_lost() {
    let sluice = proxy().start();
    let mut raw = Raw::connect(sluice.port).await.unwrap();
    raw.send(&hello(&sluice, V3_0, &[])).await;
    // The query waits in the same buffer as the last SCRAM message's acknowledgement.
    raw.authenticate(&sluice.database.user, &sluice.database.password).await.unwrap();
    raw.send(&[msg::query("SELECT 1"), msg::query("SELECT 2")].concat()).await;
    assert_eq!(tags(&raw.until_ready().await), "TDCZ");
    assert_eq!(tags(&raw.until_ready().await), "TDCZ");
}

#[tokio::test]
async fn half_open_clients_do_not_pile_up() {
    crate::needs_proxy!();
    let sluice = proxy().setting("[pool]\nclient_login_timeout = \"1s\"").start();
    let count = || std::fs::read_dir(format!("/proc/{}/fd", sluice.pid())).unwrap().count();
    sluice.connect().await.text("SELECT 1").await;
    let before = count();
    let mut open = Vec::new();
    for _ in 0..200 {
        open.push(Raw::connect(sluice.port).await.unwrap());
    }
    eventually("all are accepted", || async { count() >= before + 150 }).await;
    eventually("all are closed", || async { count() <= before + 5 }).await;
}
