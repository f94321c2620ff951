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

/// A rule that is asked at each run is compared at each run, and only the runs in which it says something else count.
#[tokio::test]
async fn rules_that_a_run_decides_are_compared_at_each_run() {
    crate::needs_proxy!();
    let sluice = sluice("0s").await;
    let mut console = console(&sluice).await;
    let client = sluice.connect().await;
    let prepared = client.prepare("SELECT n FROM t WHERE n = $1").await.unwrap();
    client.query(&prepared, &[&1]).await.unwrap();
    let hour =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() / 3600 % 24;
    let live = |name: &str, when: &str| {
        format!("[[rule]]\nname = \"{name}\"\nwhen = '''{when}'''\naction = \"block\"\n")
    };
    let canary = rule("writes", "warn")
        + &live("in-transactions", r#"query.kind == "select" && session.in_transaction"#)
        + &live("by-value", r#"query.tables == ["t"] && params.values[0] == "13""#)
        + &live("not-now", &format!("query.kind == \"select\" && time.hour == {}", (hour + 12) % 24));
    sluice.write_policy(&canary);
    assert_eq!(tags(&console.query("RELOAD POLICIES CANARY").await), "CZ");
    for n in [1, 13, 13] {
        client.query(&prepared, &[&n]).await.unwrap();
    }
    client.batch_execute("BEGIN").await.unwrap();
    for _ in 0..3 {
        client.batch_execute("SELECT n FROM t").await.unwrap();
    }
    client.batch_execute("ROLLBACK").await.unwrap();
    client.batch_execute("SELECT n FROM t").await.unwrap();
    let shown = show_until(&mut console, "SHOW POLICY_CANARY", |shown| {
        shown.rows.first().is_some_and(|row| text(row, "statement").starts_with("5 differ"))
    })
    .await;
    assert_eq!(
        differences(&shown),
        [["in-transactions", "nothing", "block", "3"], ["by-value", "nothing", "block", "2"]]
    );
    // In force, the other way round: what would be gone.
    assert_eq!(tags(&console.query("PROMOTE POLICIES").await), "CZ");
    let error = client.query(&prepared, &[&13]).await.unwrap_err();
    assert_eq!(crate::support::sqlstate(&error), "42501");
    sluice.write_policy(&rule("writes", "warn"));
    assert_eq!(tags(&console.query("RELOAD POLICIES CANARY").await), "CZ");
    assert!(client.query(&prepared, &[&13]).await.is_err());
    let shown = show_until(&mut console, "SHOW POLICY_CANARY", |shown| shown.rows.len() > 1).await;
    assert_eq!(differences(&shown), [["by-value", "block", "nothing", "1"]]);
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
