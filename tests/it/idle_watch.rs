//! Clients that hold a server and say nothing: policies speak of them while no statement comes.

use std::time::{Duration, Instant};

use crate::support::{Frame, Sluice, eventually, proxy};

const LEFT: &str = r#"
[[rule]]
name = "left"
finds = "transaction-left-open"
with = { idle_seconds = 1, transaction_seconds = 0 }
"#;
const PIN: &str = r#"
[[rule]]
name = "pin"
finds = "idle-pin"
with = { pinned_seconds = 1 }
"#;

fn start(rules: &[(&str, &str)], more: &str) -> Sluice {
    let policy: String =
        rules.iter().map(|(rule, action)| format!("{rule}action = \"{action}\"\n")).collect();
    proxy().policy(&policy).pool_size(2).setting(more).start()
}

/// The last words before the other side closes.
async fn last_words(raw: &mut crate::support::Raw) -> Frame {
    raw.until_closed().await.pop().unwrap_or_else(|| panic!("closed without a word"))
}

async fn verdicts(sluice: &Sluice, rule: &str) -> f64 {
    sluice.metric("pgsluice_verdicts_total", &[&format!("rule=\"{rule}\"")]).await
}

#[tokio::test]
async fn a_transaction_left_open_is_ended_without_another_statement() {
    crate::needs_proxy!();
    let sluice = start(&[(LEFT, "block")], "");
    sluice.database.direct().await.batch_execute("CREATE TABLE t (n int)").await.unwrap();
    for begin in ["BEGIN; INSERT INTO t VALUES (1)", "BEGIN; SELECT nonsense"] {
        let mut raw = sluice.raw().await;
        raw.query(begin).await;
        let started = Instant::now();
        let error = last_words(&mut raw).await;
        assert!(started.elapsed() >= Duration::from_millis(900), "{:?}", started.elapsed());
        assert_eq!(
            (error.field(b'S').as_deref(), error.field(b'C').as_deref()),
            (Some("FATAL"), Some("25P03"))
        );
        let message = error.field(b'M').unwrap();
        assert!(
            message.starts_with("terminating connection: The transaction has been idle for "),
            "{message}"
        );
        assert!(error.field(b'D').unwrap().starts_with("Rule left of policy.toml: transaction open for "));
        assert!(error.field(b'H').unwrap().contains("end them early"));
    }
    let client = sluice.connect().await;
    assert_eq!(client.text("SELECT count(*) FROM t").await, "0", "rolled back, and its server is used again");
    eventually("both are counted", || async { verdicts(&sluice, "left").await == 2.0 }).await;
    let log = sluice.log();
    for part in ["a client holds its server and is silent", &sluice.database.name, "rule=left", "client left"]
    {
        assert!(log.contains(part), "{part}: {log}");
    }
}

#[tokio::test]
async fn a_warning_comes_once_a_pause_and_whoever_works_hears_nothing() {
    crate::needs_proxy!();
    let sluice = start(&[(LEFT, "warn")], "");
    let (idle, busy, free) = (sluice.connect().await, sluice.connect().await, sluice.connect().await);
    idle.batch_execute("BEGIN").await.unwrap();
    let work = async {
        busy.batch_execute("BEGIN").await.unwrap();
        for _ in 0..10 {
            busy.text("SELECT pg_sleep(0.3)").await;
        }
        busy.batch_execute("SELECT pg_sleep(1.5); COMMIT").await.unwrap();
    };
    let wait = async {
        eventually("it is told", || async { idle.notices().len() == 1 }).await;
        tokio::time::sleep(Duration::from_millis(2200)).await;
        assert_eq!(idle.notices().len(), 1, "once");
    };
    tokio::join!(work, wait);
    assert!(idle.notices()[0].message().starts_with("The transaction has been idle"), "{:?}", idle.notices());
    assert_eq!((busy.notices().len(), free.notices().len()), (0, 0));
    // The statement that comes is told of the pause as it always was; the next pause is another.
    idle.text("SELECT 1").await;
    assert_eq!(idle.notices().len(), 2);
    eventually("it is told again", || async { idle.notices().len() == 3 }).await;
    idle.batch_execute("ROLLBACK").await.unwrap();
    tokio::time::sleep(Duration::from_millis(2200)).await;
    assert_eq!(idle.notices().len(), 3, "outside of a transaction it is no pause");
}

#[tokio::test]
async fn a_pin_is_seen_while_nothing_happens() {
    crate::needs_proxy!();
    let observed = "[[rule]]\nname = \"seen\"\nwhen = 'session.pinned_seconds > 0.5'\nmode = \"observe\"\n";
    let sluice = start(&[(PIN, "block"), (observed, "block")], "");
    let mut raw = sluice.raw().await;
    raw.query("CREATE TEMP TABLE mine (n int)").await;
    let error = last_words(&mut raw).await;
    assert_eq!(error.field(b'C').as_deref(), Some("57P05"), "{error:?}");
    assert!(error.field(b'D').unwrap().contains("(temp_table)"), "{error:?}");
    eventually("what is only observed is counted", || async {
        sluice.metric("pgsluice_verdicts_total", &["rule=\"seen\"", "mode=\"observe\""]).await >= 1.0
    })
    .await;
    // Who holds nothing is left alone.
    let client = sluice.connect().await;
    client.text("SELECT 1").await;
    tokio::time::sleep(Duration::from_millis(2200)).await;
    client.text("SELECT 1").await;
}

/// The rule comes when the harm is done already: it counts from then on.
#[tokio::test]
async fn a_rule_that_comes_later_finds_who_is_there() {
    crate::needs_proxy!();
    let sluice = proxy().policy("").setting("[guard]\npolicy_check_interval = \"100ms\"").start();
    let mut raw = sluice.raw().await;
    raw.query("BEGIN").await;
    sluice.write_policy(&format!("{LEFT}action = \"block\"\nsqlstate = \"57014\"\n"));
    let error = last_words(&mut raw).await;
    assert_eq!(error.field(b'C').as_deref(), Some("57014"), "{error:?}");
}

/// Threads that have no clients of their own look all the same; in session mode it is the transaction that counts.
#[tokio::test]
async fn on_every_thread_and_in_session_mode() {
    crate::needs_proxy!();
    let policy = format!("{LEFT}action = \"block\"\nunless = {{ applications = [\"etl\"] }}\n");
    let sluice = proxy().policy(&policy).mode("session").setting("threads = 2").start();
    let (mut a, mut b) = (sluice.raw().await, sluice.raw().await);
    let mut config = sluice.config();
    config.application_name("etl");
    let (exempt, _) = crate::support::Session::with(&config).await.unwrap();
    exempt.batch_execute("BEGIN").await.unwrap();
    for raw in [&mut a, &mut b] {
        raw.query("BEGIN").await;
    }
    for raw in [&mut a, &mut b] {
        assert_eq!(last_words(raw).await.field(b'C').as_deref(), Some("25P03"));
    }
    exempt.batch_execute("COMMIT").await.unwrap();
}
