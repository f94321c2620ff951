//! What a server says while it lets a client in.

use crate::support::{Raw, Session, eventually, proxy};

/// A setting that no longer exists is a warning at each login, as a password that expires soon is, or a collation
/// that has changed.
#[tokio::test]
async fn every_client_hears_them_also_over_a_connection_opened_for_another() {
    let sluice = proxy().pool_size(1).start();
    let alter = format!("ALTER ROLE {} SET default_text_search_config = 'absent'", sluice.database.user);
    sluice.database.admin().await.batch_execute(&alter).await.unwrap();
    for n in 0..3 {
        let client = sluice.connect().await;
        eventually(&format!("client {n} is told"), || async { client.notices().len() == 1 }).await;
        let notice = client.notices().remove(0);
        assert_eq!(notice.severity(), "WARNING");
        assert!(notice.message().contains("default_text_search_config"), "{notice:?}");
        assert_eq!(client.text("SELECT 1").await, "1");
        assert_eq!(client.notices().len(), 1, "once");
    }
    let mut quiet = sluice.config();
    quiet.options("-c client_min_messages=error");
    let (client, _) = Session::with(&quiet).await.unwrap();
    client.text("SELECT 1").await;
    assert_eq!(client.notices().len(), 0);
}

#[tokio::test]
async fn they_come_before_the_server_is_ready() {
    let sluice = proxy().start();
    let alter = format!("ALTER ROLE {} SET default_text_search_config = 'absent'", sluice.database.user);
    sluice.database.admin().await.batch_execute(&alter).await.unwrap();
    let database = &sluice.database;
    let mut raw = Raw::connect(sluice.port).await.unwrap();
    let names = [("user", database.user.as_str()), ("database", &database.name)];
    raw.send(&crate::support::msg::startup(196_608, &names)).await;
    raw.authenticate(&database.user, &database.password).await.unwrap();
    // Nothing is left for the first query to be confused by.
    let frames = raw.query("SELECT 1").await;
    assert!(frames.iter().all(|f| f.tag != b'N'), "{frames:?}");
}
