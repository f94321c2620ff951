//! Protocol 3.2: cancel keys longer than four bytes.

use std::time::Duration;

use crate::support::{Raw, Sluice, msg, proxy};

async fn login(sluice: &Sluice, version: u32) -> Raw {
    let database = &sluice.database;
    let mut raw = Raw::connect(sluice.port).await.unwrap();
    raw.send(&msg::startup(version, &[("user", &database.user), ("database", &database.name)])).await;
    raw.authenticate(&database.user, &database.password).await.unwrap();
    raw
}

async fn cancel(sluice: &Sluice, pid: i32, key: &[u8]) {
    let mut raw = Raw::connect(sluice.port).await.unwrap();
    raw.send(&msg::cancel_request(pid, key)).await;
    // Right or wrong, the answer is the end of the connection.
    assert_eq!(raw.until_closed().await, []);
}

#[tokio::test]
async fn a_long_key_cancels_and_only_the_whole_of_it() {
    crate::needs_proxy!();
    let sluice = proxy().pool_size(1).start();
    let mut raw = login(&sluice, 196_610).await;
    let key = raw.secret.clone();
    assert_eq!(key.len(), 32);
    raw.send(&msg::query("SELECT pg_sleep(60)")).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let mut wrong = key.clone();
    wrong[31] ^= 1;
    let longer = [&key[..], &[0]].concat();
    for bad in [&wrong[..], &key[..4], &key[..31], &longer, &[0; 256], &[]] {
        cancel(&sluice, raw.process_id, bad).await;
    }
    raw.patience = Duration::from_millis(300);
    let waited = tokio::time::timeout(Duration::from_millis(200), raw.frame()).await;
    assert!(waited.is_err(), "a wrong key has cancelled it");
    raw.patience = Duration::from_secs(20);
    cancel(&sluice, raw.process_id, &key).await;
    let frames = raw.until_ready().await;
    assert_eq!(
        frames[0].field(b'C').or_else(|| frames[1].field(b'C')).as_deref(),
        Some("57014"),
        "{frames:?}"
    );
}

#[tokio::test]
async fn older_clients_keep_their_four_bytes() {
    let sluice = proxy().start();
    for version in [196_608, 196_609] {
        let raw = login(&sluice, version).await;
        assert_eq!(raw.secret.len(), 4, "{version}");
    }
}

/// Lengths beyond what the protocol allows are not read at all.
#[tokio::test]
async fn oversized_keys_are_refused() {
    crate::needs_proxy!();
    let sluice = proxy().start();
    cancel(&sluice, 1, &[0; 257]).await;
    cancel(&sluice, 1, &[0; 9000]).await;
    cancel(&sluice, 1, &[0; 60_000]).await;
    assert_eq!(sluice.connect().await.text("SELECT 1").await, "1");
}

#[tokio::test]
async fn the_applications_name_is_carried() {
    let sluice = proxy().pool_size(1).start();
    let database = &sluice.database;
    let own = "SELECT application_name FROM pg_stat_activity WHERE pid = pg_backend_pid()";
    let mut one = Raw::login(
        sluice.port,
        &database.user,
        &database.password,
        &database.name,
        &[("application_name", "shop")],
    )
    .await
    .unwrap();
    let mut two =
        Raw::login(sluice.port, &database.user, &database.password, &database.name, &[]).await.unwrap();
    for _ in 0..2 {
        assert_eq!(one.query(own).await[1].columns(), [Some("shop".to_owned())]);
        assert_eq!(two.query(own).await[1].columns(), [Some(String::new())]);
    }
    assert_eq!(one.parameters["application_name"], "shop");
}
