//! `pool_mode = "statement"`: a server connection for one statement, so no transactions.

use crate::support::proxy;

#[tokio::test]
async fn statements_run_and_transactions_are_refused() {
    crate::needs_proxy!();
    let sluice = proxy().mode("statement").pool_size(1).start();
    let client = sluice.connect().await;
    assert_eq!(client.text("SELECT 1").await, "1");
    for text in ["BEGIN", "START TRANSACTION", "SELECT 1; BEGIN"] {
        let client = sluice.connect().await;
        let error = client.batch_execute(text).await.unwrap_err();
        assert!(error.as_db_error().is_some(), "{text}: an answer, not a dropped connection: {error:?}");
    }
    let other = sluice.connect().await;
    assert_eq!(other.text("SELECT 2").await, "2");
    assert_eq!(client.text("SELECT 3").await, "3");
}
