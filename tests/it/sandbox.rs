//! The harness itself, straight to PostgreSQL: if this fails, look here before looking at the proxy.

use crate::support::{lab, msg};

#[tokio::test]
async fn a_test_has_a_database_and_a_role_of_its_own() {
    let database = lab().database();
    let client = database.direct().await;
    let row = client.query_one("SELECT current_user::text, current_database()::text", &[]).await.unwrap();
    assert_eq!((row.get(0), row.get(1)), (database.user.as_str(), database.name.as_str()));
}

#[tokio::test]
async fn the_replica_has_what_the_primary_has() {
    let database = lab().database();
    database.direct().await.batch_execute("CREATE TABLE seen AS SELECT 42 AS answer").await.unwrap();
    lab().catch_up().await;
    let client = database.on_replica().await;
    let row = client.query_one("SELECT answer, pg_is_in_recovery() FROM seen", &[]).await.unwrap();
    assert_eq!((row.get::<_, i32>(0), row.get::<_, bool>(1)), (42, true));
}

#[tokio::test]
async fn the_raw_client_logs_in_and_reads_frames() {
    let database = lab().database();
    let mut raw = database.raw_direct().await;
    raw.send(&msg::query("SELECT 'a', NULL")).await;
    let frames = raw.until_ready().await;
    assert_eq!(frames.iter().map(|f| f.tag as char).collect::<String>(), "TDCZ");
    assert_eq!(frames[1].columns(), [Some("a".to_owned()), None]);
    assert_ne!(raw.process_id, 0);
}
