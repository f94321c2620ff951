//! What holds where no policy is named, and how the built-in one is.

use crate::support::{eventually, proxy};

const BAD: &str = "UPDATE t SET n = n";

#[tokio::test]
async fn without_policies_nothing_changes_and_all_is_counted() {
    let sluice = proxy().without_policies().start();
    let client = sluice.connect().await;
    client.batch_execute("CREATE TABLE t (n text)").await.unwrap();
    client.batch_execute(BAD).await.unwrap();
    client.batch_execute("SELECT * FROM t WHERE n LIKE '%x'").await.unwrap();
    assert!(client.notices().is_empty());
    if !crate::support::direct() {
        let labels = ["rule=\"write-without-where\"", "action=\"block\"", "mode=\"observe\""];
        let counted = async || sluice.metric("pgsluice_verdicts_total", &labels).await == 1.0;
        eventually("one verdict that was only counted", counted).await;
    }
}

#[tokio::test]
async fn the_built_in_policy_is_enforced_where_it_is_named() {
    crate::needs_proxy!();
    for sluice in [
        proxy().without_policies().flag("--policies", "baseline").start(),
        proxy().without_policies().setting("policies = [\"baseline\"]").start(),
    ] {
        let client = sluice.connect().await;
        client.batch_execute("CREATE TABLE t (n text)").await.unwrap();
        assert_eq!(client.failure(BAD).await, "42501");
    }
}
