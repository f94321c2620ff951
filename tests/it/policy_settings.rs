//! Settings that a policy puts in force, texts that it rewrites, and rules that read the session.

use crate::support::raw::tags;
use crate::support::{Sluice, msg, proxy};

const POLICY: &str = r#"
[[rule]]
name = "patience"
when = '"guarded" in query.tables'
action = "set"
set = { lock_timeout = "1500ms", work_mem = "5MB" }

[[rule]]
name = "indexes"
when = 'query.kind == "ddl"'
action = "set"
set = { lock_timeout = "2s" }

[[rule]]
name = "n-plus-one"
when = '"items" in query.tables && session.repeats >= 3'
action = "block"
message = "One by one."

[[rule]]
name = "long-transaction"
when = '"late" in query.tables && session.in_transaction && session.transaction_statements >= 2'
action = "block"
message = "Too late."
"#;
const SHOW: &str =
    "SELECT current_setting('lock_timeout') || ' ' || current_setting('work_mem') FROM guarded";

async fn start(size: u32) -> Sluice {
    let sluice = proxy().policy(POLICY).pool_size(size).start();
    let tables =
        "CREATE TABLE guarded AS SELECT 1 AS n; CREATE TABLE items AS SELECT n FROM generate_series(1, 9) n;
                  CREATE TABLE late (n int)";
    sluice.database.direct().await.batch_execute(tables).await.unwrap();
    sluice
}

#[tokio::test]
async fn they_are_in_force_for_the_statement_and_nobody_sees_them_afterwards() {
    crate::needs_proxy!();
    let sluice = start(1).await;
    let (a, b) = (sluice.connect().await, sluice.connect().await);
    for _ in 0..3 {
        assert_eq!(a.text(SHOW).await, "1500ms 5MB");
        assert_eq!(a.text("SHOW lock_timeout").await, "0");
        assert_eq!(b.text("SHOW work_mem").await, "4MB");
        assert_eq!(a.query_one(SHOW, &[]).await.unwrap().get::<_, &str>(0), "1500ms 5MB");
        assert_eq!(a.text("SHOW work_mem").await, "4MB");
    }
    // In one write with what follows.
    let mut raw = sluice.raw().await;
    let batch = [msg::extended(SHOW, &[]), msg::sync(), msg::query("SHOW work_mem")].concat();
    raw.send(&batch).await;
    assert_eq!(
        raw.until_ready().await.iter().find(|f| f.tag == b'D').unwrap().columns(),
        [Some("1500ms 5MB".into())]
    );
    assert_eq!(raw.until_ready().await[1].columns(), [Some("4MB".into())]);
    // Amid a batch they end with its transaction.
    let batch =
        [msg::extended("SELECT 1", &[]), msg::extended(SHOW, &[]), msg::sync(), msg::query("SHOW work_mem")];
    raw.send(&batch.concat()).await;
    let frames = raw.until_ready().await;
    assert_eq!(tags(&frames), "12TDC12TDCZ");
    assert_eq!(frames.iter().rfind(|f| f.tag == b'D').unwrap().columns(), [Some("1500ms 5MB".into())]);
    assert_eq!(raw.until_ready().await[1].columns(), [Some("4MB".into())]);
}

#[tokio::test]
async fn the_clients_own_settings_stay_and_the_stricter_timeout_wins() {
    crate::needs_proxy!();
    let sluice = start(1).await;
    let (a, b) = (sluice.connect().await, sluice.connect().await);
    a.batch_execute("SET lock_timeout = '200ms'; SET work_mem = '7MB'").await.unwrap();
    assert_eq!(a.text(SHOW).await, "200ms 5MB");
    assert_eq!(b.text(SHOW).await, "1500ms 5MB");
    assert_eq!(a.text("SHOW work_mem").await, "7MB");
    assert_eq!(a.text("SHOW lock_timeout").await, "200ms");
    a.batch_execute("SET lock_timeout = '1h'").await.unwrap();
    assert_eq!(a.text(SHOW).await, "1500ms 5MB");
    assert_eq!(a.text("SHOW lock_timeout").await, "1h");
    // In a transaction, with values of its own.
    a.batch_execute("BEGIN; SET LOCAL work_mem = '9MB'").await.unwrap();
    assert_eq!(a.text(SHOW).await, "1500ms 5MB");
    assert_eq!(a.text("SHOW work_mem").await, "9MB");
    assert_eq!(a.text("SHOW lock_timeout").await, "1h");
    a.batch_execute("COMMIT").await.unwrap();
    assert_eq!(a.text("SHOW work_mem").await, "7MB");
    // A failed one.
    a.batch_execute("BEGIN").await.unwrap();
    assert_eq!(a.failure("SELECT 1 / (n - 1) FROM guarded").await, "22012");
    a.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(a.text("SHOW work_mem").await, "7MB");
    assert_eq!(b.text("SHOW work_mem").await, "4MB");
}

#[tokio::test]
async fn what_refuses_a_transaction_block_runs() {
    crate::needs_proxy!();
    let sluice = start(1).await;
    let a = sluice.connect().await;
    a.batch_execute("CREATE INDEX CONCURRENTLY i ON guarded (n)").await.unwrap();
    a.execute("DROP INDEX CONCURRENTLY i", &[]).await.unwrap();
    assert_eq!(a.text("SHOW lock_timeout").await, "0");
    // A lock that is not to be had: the policy's patience, not the client's.
    let holder = sluice.database.direct().await;
    holder.batch_execute("BEGIN; LOCK TABLE guarded").await.unwrap();
    let started = std::time::Instant::now();
    assert_eq!(a.failure("ALTER TABLE guarded ADD COLUMN x int").await, "55P03");
    assert!(started.elapsed() < std::time::Duration::from_secs(6));
    holder.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(a.text("SHOW lock_timeout").await, "0");
}

#[tokio::test]
async fn session_mode_gives_back_what_was_there() {
    crate::needs_proxy!();
    let sluice = proxy().policy(POLICY).mode("session").start();
    let a = sluice.connect().await;
    a.batch_execute("CREATE TEMP TABLE guarded AS SELECT 1 AS n; SET work_mem = '6MB'").await.unwrap();
    assert_eq!(a.text(SHOW).await, "1500ms 5MB");
    assert_eq!(a.text("SHOW work_mem").await, "6MB");
    assert_eq!(a.text("SHOW lock_timeout").await, "0");
}

#[tokio::test]
async fn the_same_with_other_values_again_and_again() {
    crate::needs_proxy!();
    let sluice = start(2).await;
    let (a, b) = (sluice.connect().await, sluice.connect().await);
    for n in 1..=3 {
        assert_eq!(a.text(&format!("SELECT n FROM items WHERE n = {n}")).await, n.to_string());
        assert_eq!(b.text("SELECT n FROM items WHERE n = 7").await, "7");
    }
    assert_eq!(a.failure("SELECT n FROM items WHERE n = 4").await, "42501");
    assert_eq!(b.text("SELECT n FROM items WHERE n = 7").await, "7", "the same values are no repeat");
    let c = sluice.connect().await;
    let statement = c.prepare("SELECT n FROM items WHERE n = $1").await.unwrap();
    for n in 1..=3 {
        assert_eq!(c.query(&statement, &[&n]).await.unwrap().len(), 1);
    }
    let error = c.query(&statement, &[&4]).await.unwrap_err();
    assert_eq!(crate::support::sqlstate(&error), "42501");
}

#[tokio::test]
async fn what_a_transaction_did_before() {
    crate::needs_proxy!();
    let sluice = start(2).await;
    let a = sluice.connect().await;
    for _ in 0..3 {
        a.text("SELECT n FROM late").await;
    }
    a.batch_execute("BEGIN").await.unwrap();
    a.text("SELECT 1").await;
    a.text("SELECT n FROM late").await;
    assert_eq!(a.failure("SELECT n FROM late").await, "42501");
    a.batch_execute("ROLLBACK").await.unwrap();
    a.text("SELECT n FROM late").await;
}

/// What `lock_timeout` was while the definition ran.
async fn seen_by_a_definition(client: &crate::support::Session, column: &str) -> String {
    let add = format!("ALTER TABLE guarded ADD COLUMN {column} text DEFAULT current_setting('lock_timeout')");
    client.batch_execute(&add).await.unwrap();
    client.text(&format!("SELECT {column} FROM guarded")).await
}

/// Seconds until a definition gives up the wait for its lock.
async fn waits_in_vain(client: &crate::support::Session, column: &str) -> f64 {
    let started = std::time::Instant::now();
    let add = format!("ALTER TABLE guarded ADD COLUMN {column} int");
    let failed = tokio::time::timeout(std::time::Duration::from_secs(30), client.failure(&add)).await;
    assert_eq!(failed.unwrap_or_else(|_| panic!("it waits on: {column}")), "55P03");
    started.elapsed().as_secs_f64()
}

#[tokio::test]
async fn the_pack_for_definitions_bounds_how_long_they_wait_for_a_lock() {
    crate::needs_proxy!();
    let sluice = proxy().without_policies().flag("--policies", "ddl-safety").pool_size(1).start();
    let owner = sluice.database.direct().await;
    owner.batch_execute("CREATE TABLE guarded AS SELECT 1 AS n").await.unwrap();
    let a = sluice.connect().await;
    assert_eq!(seen_by_a_definition(&a, "none").await, "5s");
    assert_eq!(a.text("SHOW lock_timeout").await, "0");
    // One of the session's own, stricter or not, is its own.
    for (column, own) in [("long", "7s"), ("short", "300ms")] {
        a.batch_execute(&format!("SET lock_timeout = '{own}'")).await.unwrap();
        assert_eq!(seen_by_a_definition(&a, column).await, own);
        assert_eq!(a.text("SHOW lock_timeout").await, own);
    }
    // Behind a lock.
    owner.batch_execute("BEGIN; LOCK TABLE guarded").await.unwrap();
    let waited = waits_in_vain(&a, "own").await;
    assert!(waited < 4.0, "its own 300 ms: {waited}");
    assert_eq!(a.text("SHOW lock_timeout").await, "300ms");
    a.batch_execute("RESET lock_timeout").await.unwrap();
    let waited = waits_in_vain(&a, "none_again").await;
    assert!((4.0..15.0).contains(&waited), "{waited}");
    assert_eq!(a.text("SHOW lock_timeout").await, "0");
    owner.batch_execute("ROLLBACK").await.unwrap();
    // In a transaction: until the statement is done.
    a.batch_execute("BEGIN").await.unwrap();
    assert_eq!(seen_by_a_definition(&a, "in_block").await, "5s");
    assert_eq!(a.text("SHOW lock_timeout").await, "0");
    a.batch_execute("SET LOCAL lock_timeout = '7s'").await.unwrap();
    assert_eq!(seen_by_a_definition(&a, "local").await, "7s");
    assert_eq!(a.text("SHOW lock_timeout").await, "7s");
    a.batch_execute("COMMIT").await.unwrap();
    assert_eq!(a.text("SHOW lock_timeout").await, "0");
}
