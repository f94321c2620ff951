//! Session state may be refused, and may take only so much of the pool.

use crate::support::{eventually, proxy};

#[tokio::test]
async fn kinds_of_state_are_refused_where_the_settings_say_so() {
    crate::needs_proxy!();
    let sluice = proxy().pool_size(2).setting("[pool]\nrefuse_pins = [\"listen\", \"temp_table\"]").start();
    let client = sluice.connect().await;
    for text in ["LISTEN a", "CREATE TEMP TABLE t (n int)", "SELECT 1 AS a INTO TEMP t"] {
        let error = client.batch_execute(text).await.unwrap_err();
        let error = error.as_db_error().unwrap();
        assert_eq!(error.code().code(), "0A000", "{text}");
        assert!(error.hint().unwrap().contains("pool.refuse_pins"), "{error:?}");
    }
    client.batch_execute("SELECT pg_advisory_lock(1); SELECT pg_advisory_unlock(1)").await.unwrap();
    client.batch_execute("DO $$BEGIN PERFORM 1; END$$").await.unwrap();
    client.batch_execute("CREATE TABLE t (n int)").await.unwrap();
    // A transaction fails with it.
    client.batch_execute("BEGIN").await.unwrap();
    assert_eq!(client.failure("LISTEN a").await, "0A000");
    assert_eq!(client.failure("SELECT 1").await, "25P02");
    client.batch_execute("ROLLBACK").await.unwrap();
}

#[tokio::test]
async fn state_may_hold_a_share_of_the_pool() {
    crate::needs_proxy!();
    let sluice = proxy().pool_size(4).setting("[pool]\nmax_pinned_percent = 50").start();
    let (one, two, three) = (sluice.connect().await, sluice.connect().await, sluice.connect().await);
    one.batch_execute("LISTEN a").await.unwrap();
    two.batch_execute("CREATE TEMP TABLE t (n int)").await.unwrap();
    let refused = async || three.failure("LISTEN a").await == "53300";
    // The two hold theirs as soon as their servers have said so.
    assert_eq!(one.text("SELECT 1").await, "1");
    assert_eq!(two.text("SELECT 1").await, "1");
    eventually("no more room", refused).await;
    one.batch_execute("LISTEN b").await.unwrap();
    assert_eq!(three.text("SELECT 'goes on'").await, "goes on");
    two.batch_execute("DROP TABLE t").await.unwrap();
    let allowed = async || three.batch_execute("LISTEN a").await.is_ok();
    eventually("room again", allowed).await;
}

#[tokio::test]
async fn a_wrong_kind_is_a_mistake_with_its_place() {
    crate::needs_proxy!();
    let (mut command, home) = proxy().setting("[pool]\nrefuse_pins = [\"lisen\", \"setting\"]").command();
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(said.contains("did you mean `listen`?") && said.contains("refuse_pins"), "{said}");
    drop(home);
}
