//! While there are connections enough, a client has a server of its own; beyond that, clients share.

use crate::support::raw::tags;
use crate::support::{Raw, Sluice, eventually, msg, proxy};

/// A raw client, and the process id it was told at login.
async fn told(sluice: &Sluice) -> (Raw, i32) {
    let raw = sluice.raw().await;
    let pid = raw.process_id;
    (raw, pid)
}

async fn value(raw: &mut Raw, sql: &str) -> String {
    let frames = raw.query(sql).await;
    match frames.iter().find(|f| f.tag == b'E') {
        Some(error) => format!("E {}", error.field(b'C').unwrap()),
        None => frames.iter().find(|f| f.tag == b'D').unwrap().columns()[0].clone().unwrap_or_default(),
    }
}

const PID: &str = "SELECT pg_backend_pid()";

#[tokio::test]
async fn the_process_id_told_at_login_is_the_servers() {
    let sluice = proxy().pool_size(4).start();
    let mut clients = Vec::new();
    for _ in 0..4 {
        clients.push(told(&sluice).await);
    }
    for _ in 0..3 {
        for (raw, pid) in clients.iter_mut().rev() {
            assert_eq!(value(raw, PID).await, pid.to_string());
        }
    }
    // One's own notification comes from oneself.
    let (raw, pid) = &mut clients[0];
    raw.query("LISTEN me").await;
    let frames = raw.query("NOTIFY me").await;
    let note = frames.iter().find(|f| f.tag == b'A').expect("a notification");
    assert_eq!(note.body[..4], pid.to_be_bytes());
}

#[tokio::test]
async fn beyond_the_pools_size_clients_share() {
    crate::needs_proxy!();
    let sluice = proxy().pool_size(2).start();
    let mut clients = Vec::new();
    for _ in 0..6 {
        clients.push(told(&sluice).await);
    }
    let mut seen = std::collections::BTreeSet::new();
    for (raw, _) in &mut clients {
        seen.insert(value(raw, PID).await);
    }
    assert_eq!(seen.len(), 2);
    let numbers: std::collections::BTreeSet<_> = clients.iter().map(|(_, pid)| *pid).collect();
    assert_eq!(numbers.len(), 6, "each has a number of its own");
}

#[tokio::test]
async fn who_ends_the_process_ends_the_client() {
    let sluice = proxy().pool_size(3).start();
    let ((mut one, pid), (mut other, _)) = (told(&sluice).await, told(&sluice).await);
    assert_eq!(value(&mut one, PID).await, pid.to_string());
    assert_eq!(value(&mut other, &format!("SELECT pg_terminate_backend({pid})")).await, "t");
    // Nobody asks for anything: it is told at once.
    let frames = one.until_closed().await;
    assert_eq!(tags(&frames), "E");
    assert_eq!(frames[0].field(b'C').as_deref(), Some("57P01"));
    assert_eq!(frames[0].field(b'S').as_deref(), Some("FATAL"));
    assert_eq!(value(&mut other, "SELECT 1").await, "1");
}

#[tokio::test]
async fn a_cancel_by_process_id_reaches_the_query() {
    let sluice = proxy().pool_size(3).start();
    let ((mut one, pid), (mut other, _)) = (told(&sluice).await, told(&sluice).await);
    one.send(&msg::query("SELECT pg_sleep(30)")).await;
    let cancel = format!(
        "SELECT pg_cancel_backend({pid}) FROM pg_stat_activity WHERE pid = {pid} AND state = 'active'"
    );
    loop {
        let frames = other.query(&cancel).await;
        if frames.iter().any(|f| f.tag == b'D') {
            break;
        }
    }
    let frames = one.until_ready().await;
    assert_eq!(frames.iter().find(|f| f.tag == b'E').unwrap().field(b'C').as_deref(), Some("57014"));
}

#[tokio::test]
async fn a_sequences_last_value_is_the_clients_own() {
    let sluice = proxy().pool_size(2).start();
    sluice
        .database
        .direct()
        .await
        .batch_execute("CREATE SEQUENCE s; CREATE TABLE t (n serial)")
        .await
        .unwrap();
    let ((mut one, _), (mut two, _)) = (told(&sluice).await, told(&sluice).await);
    assert_eq!(value(&mut one, "SELECT lastval()").await, "E 55000");
    assert_eq!(value(&mut one, "SELECT nextval('s')").await, "1");
    assert_eq!(value(&mut two, "SELECT nextval('s')").await, "2");
    assert_eq!(value(&mut one, "SELECT currval('s')").await, "1");
    two.query("INSERT INTO t DEFAULT VALUES").await;
    two.query("INSERT INTO t DEFAULT VALUES").await;
    assert_eq!(value(&mut two, "SELECT lastval()").await, "2");
    assert_eq!(value(&mut one, "SELECT lastval()").await, "1");
}

#[tokio::test]
async fn a_sequences_last_value_is_nobody_elses() {
    crate::needs_proxy!();
    let sluice = proxy().pool_size(1).start();
    sluice.database.direct().await.batch_execute("CREATE SEQUENCE s").await.unwrap();
    let ((mut one, _), (mut two, _)) = (told(&sluice).await, told(&sluice).await);
    assert_eq!(value(&mut one, "SELECT nextval('s')").await, "1");
    assert_eq!(value(&mut two, "SELECT lastval()").await, "E 55000", "the same server, another client");
    drop(two);
    assert_eq!(value(&mut one, "SELECT 1").await, "1");
}

/// A temporary schema stays for a server's life: the next client would not be as in a new session.
#[tokio::test]
async fn a_server_with_traces_of_its_client_is_closed_behind_it() {
    crate::needs_proxy!();
    let sluice = proxy().pool_size(1).start();
    let (mut one, pid) = told(&sluice).await;
    one.query("CREATE TEMP TABLE t (n int)").await;
    one.query("DROP TABLE t").await;
    one.send(&msg::terminate()).await;
    one.until_closed().await;
    let (mut two, _) = told(&sluice).await;
    assert_ne!(value(&mut two, PID).await, pid.to_string());
    assert_eq!(value(&mut two, "SELECT pg_my_temp_schema()").await, "0");
    let without_traces = value(&mut two, PID).await;
    two.send(&msg::terminate()).await;
    two.until_closed().await;
    let same = async || value(&mut told(&sluice).await.0, PID).await == without_traces;
    eventually("the same server again", same).await;
}

/// An empty query is how drivers ask whether their server is there.
#[tokio::test]
async fn an_empty_query_finds_a_server_that_is_gone() {
    let sluice = proxy().pool_size(3).start();
    let ((mut one, pid), (mut other, _)) = (told(&sluice).await, told(&sluice).await);
    other.send(&msg::query(&format!("SELECT pg_terminate_backend({pid})"))).await;
    other.until_ready().await;
    let _ = one.try_send(&msg::query("")).await;
    let frames = one.until_closed().await;
    assert_eq!(frames.first().and_then(|f| f.field(b'C')).as_deref(), Some("57P01"), "{}", tags(&frames));
}

/// As a new connection's is another than that of the one just closed.
#[tokio::test]
async fn the_next_client_is_told_another_process_id() {
    let sluice = proxy().pool_size(3).start();
    let mut before = 0;
    for _ in 0..12 {
        let (mut raw, pid) = told(&sluice).await;
        assert_ne!(pid, before);
        before = pid;
        raw.send(&msg::terminate()).await;
        raw.until_closed().await;
    }
}
