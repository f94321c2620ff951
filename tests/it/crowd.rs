//! More clients than there is room for: each hears why, and the log stays short.

use crate::support::raw::tags;
use crate::support::{Raw, Sluice, eventually, msg, proxy};

const V3_0: u32 = 196_608;

fn hello(sluice: &Sluice) -> Vec<u8> {
    msg::startup(V3_0, &[("user", &sluice.database.user), ("database", &sluice.database.name)])
}

/// The SQLSTATE that a client hears which asks for encryption first, as libpq does.
async fn refusal(sluice: &Sluice) -> Option<String> {
    let mut raw = Raw::connect(sluice.port).await.unwrap();
    raw.send(&msg::ssl_request()).await;
    assert_eq!(raw.byte().await, Some(b'N'));
    raw.send(&hello(sluice)).await;
    raw.until_closed().await.last().and_then(|frame| frame.field(b'C'))
}

#[tokio::test]
async fn one_client_too_many_hears_so() {
    crate::needs_proxy!();
    let sluice = proxy().setting("[pool]\nmax_client_conn = 1").start();
    let first = sluice.connect().await;
    assert_eq!(refusal(&sluice).await.as_deref(), Some("53300"));
    let error = sluice.config().connect(tokio_postgres::NoTls).await.map(drop).unwrap_err();
    assert_eq!(error.code().map(|code| code.code()), Some("53300"), "{error:?}");
    assert_eq!(first.text("SELECT 1").await, "1");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn out_of_files_a_client_hears_so_and_the_others_go_on() {
    use rustix::process::{Pid, Resource, Rlimit, prlimit};
    crate::needs_proxy!();
    let sluice = proxy().start();
    let mut first = sluice.raw().await;
    let pid = Pid::from_raw(i32::try_from(sluice.pid()).unwrap());
    let open = std::fs::read_dir(format!("/proc/{}/fd", sluice.pid())).unwrap().count() as u64;
    let limit = |files| {
        let limit = Rlimit { current: Some(files), maximum: Some(4096) };
        prlimit(pid, Resource::Nofile, limit).unwrap();
    };
    limit(open + 2);
    let mut others = Vec::new();
    for _ in 0..8 {
        others.push(Raw::connect(sluice.port).await.unwrap());
    }
    assert_eq!(refusal(&sluice).await.as_deref(), Some("53300"));
    assert_eq!(tags(&first.query("SELECT 1").await), "TDCZ");
    drop(others);
    limit(4096);
    eventually("there is room again", || async {
        sluice.config().connect(tokio_postgres::NoTls).await.is_ok()
    })
    .await;
    assert!(sluice.log().matches("could not accept a client").count() < 10, "{}", sluice.log());
}

#[tokio::test]
async fn too_few_files_are_told_at_the_start() {
    crate::needs_proxy!();
    let sluice = proxy().setting("[pool]\nmax_client_conn = 2000000000").start();
    let warning = "clients (pool.max_client_conn), 1 x 20 server connections";
    eventually("the warning", || async { sluice.log().contains(warning) }).await;
}

#[tokio::test]
async fn who_comes_and_goes_is_logged_and_a_storm_is_not() {
    crate::needs_proxy!();
    let sluice = proxy().start();
    drop(sluice.connect().await);
    let user = format!("user={}", sluice.database.user);
    let line = |message: &str, field: &str| {
        let log = sluice.log();
        log.lines()
            .any(|line| [message, field, &user, "peer=127.0.0.1:"].iter().all(|part| line.contains(part)))
    };
    eventually("both lines", || async {
        line("client logged in", "tls=false") && line("client left", "the client closed the connection")
    })
    .await;
    for _ in 0..300 {
        let mut raw = Raw::connect(sluice.port).await.unwrap();
        raw.send(&msg::startup(V3_0, &[("database", "x")])).await;
        raw.until_closed().await;
    }
    eventually("refusals are counted", || async {
        let mut raw = Raw::connect(sluice.port).await.unwrap();
        raw.send(&msg::startup(V3_0, &[("database", "x")])).await;
        raw.until_closed().await;
        sluice.log().contains("suppressed=")
    })
    .await;
}

#[tokio::test]
async fn nobody_is_logged_where_nobody_is_to_be() {
    crate::needs_proxy!();
    let sluice = proxy().setting("[log]\nlog_connections = false\nlog_disconnections = false").start();
    sluice.connect().await.text("SELECT 1").await;
    eventually("the client is gone", || async {
        sluice.metric("pgsluice_client_connections", &[]).await == 0.0
    })
    .await;
    assert!(!sluice.log().contains("client logged in") && !sluice.log().contains("client left"));
}
