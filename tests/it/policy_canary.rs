//! A new version of the policies is tried beside the one in force before it takes over.

use crate::policy_reload::rule;
use crate::support::console::{Table, console, refused, show, show_until, text, with_admin};
use crate::support::raw::tags;
use crate::support::{Sluice, eventually, proxy};

async fn sluice(canary: &str) -> Sluice {
    let setting = format!("[guard]\npolicy_check_interval = \"0s\"\npolicy_canary = \"{canary}\"");
    let sluice = with_admin(proxy().policy(&rule("writes", "warn")).setting(&setting));
    let owner = sluice.database.direct().await;
    owner.batch_execute("CREATE TABLE t (n int)").await.unwrap();
    sluice
}

fn differences(shown: &Table) -> Vec<[&str; 4]> {
    let columns = |row| ["rule", "now", "canary", "statements"].map(|column| text(row, column));
    shown.rows.iter().skip(1).map(columns).collect()
}

#[tokio::test]
async fn a_canary_decides_nothing_and_says_what_it_would() {
    crate::needs_proxy!();
    let sluice = sluice("0s").await;
    let mut console = console(&sluice).await;
    let client = sluice.connect().await;
    // Known before: it is compared all the same.
    for _ in 0..3 {
        client.batch_execute("UPDATE t SET n = 1").await.unwrap();
    }
    assert!(show(&mut console, "SHOW POLICY_CANARY").await.rows.is_empty());
    assert_eq!(refused(&mut console, "PROMOTE POLICIES").await.0, "58000");
    sluice.write_policy(&rule("writes", "block"));
    assert_eq!(tags(&console.query("RELOAD POLICIES CANARY").await), "CZ");
    client.batch_execute("UPDATE t SET n = 1").await.unwrap();
    client.batch_execute("UPDATE t SET n = n + 1").await.unwrap();
    client.batch_execute("SELECT n FROM t").await.unwrap();
    let shown = show_until(&mut console, "SHOW POLICY_CANARY", |shown| {
        shown.rows.first().is_some_and(|row| text(row, "statements") == "3")
    })
    .await;
    assert_eq!(differences(&shown), [["writes", "warn", "block", "2"]]);
    assert_eq!(text(&shown.rows[1], "statement"), "UPDATE t SET n = $1");
    assert!(text(&shown.rows[0], "statement").starts_with("2 differ"), "{:?}", shown.rows[0]);
    let versions = show(&mut console, "SHOW POLICY_VERSIONS").await;
    assert_eq!(["state", "generation"].map(|column| text(&versions.rows[0], column)), ["canary", "2"]);

    assert_eq!(tags(&console.query("PROMOTE POLICIES").await), "CZ");
    assert_eq!(client.failure("UPDATE t SET n = 1").await, "42501");
    assert!(show(&mut console, "SHOW POLICY_CANARY").await.rows.is_empty());
    // As any other version it can be taken back.
    assert_eq!(tags(&console.query("ROLLBACK POLICIES").await), "CZ");
    client.batch_execute("UPDATE t SET n = 1").await.unwrap();
}

#[tokio::test]
async fn a_canary_that_is_rolled_back_never_decides() {
    crate::needs_proxy!();
    let sluice = sluice("1h").await;
    let mut console = console(&sluice).await;
    let client = sluice.connect().await;
    sluice.write_policy(&rule("writes", "block"));
    let frames = console.query("RELOAD POLICIES").await;
    assert!(
        frames.iter().any(|f| f.field(b'M').is_some_and(|said| said.contains("is tried beside 1"))),
        "{frames:?}"
    );
    client.batch_execute("UPDATE t SET n = 1").await.unwrap();
    assert_eq!(tags(&console.query("ROLLBACK POLICIES").await), "CZ");
    assert_eq!(tags(&console.query("RELOAD").await), "CZ");
    client.batch_execute("UPDATE t SET n = 1").await.unwrap();
    let versions = show(&mut console, "SHOW POLICY_VERSIONS").await;
    let states: Vec<&str> = versions.rows.iter().map(|row| text(row, "state")).collect();
    assert_eq!(states, ["dropped", "in force"]);
}

#[tokio::test]
async fn a_canary_takes_over_when_its_time_is_up() {
    crate::needs_proxy!();
    let sluice = sluice("1s").await;
    let client = sluice.connect().await;
    sluice.write_policy(&rule("writes", "block"));
    sluice.signal(rustix::process::Signal::HUP);
    eventually("it is tried", || async { sluice.log().contains("generation 2 is tried beside 1") }).await;
    eventually("it decides", || async { client.batch_execute("UPDATE t SET n = 1").await.is_err() }).await;
    eventually("it is told", || async { sluice.log().contains("generation 2 is in force; as the canary") })
        .await;
}
