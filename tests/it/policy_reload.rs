//! Policies change while clients are there: all or nothing, told, and undone when asked.

use rustix::process::Signal;

use crate::support::console::{console, refused, show, show_until, text, with_admin};
use crate::support::raw::tags;
use crate::support::{Sluice, eventually, msg, proxy};

/// A rule of that name and action about writes without WHERE.
pub fn rule(name: &str, action: &str) -> String {
    format!("[[rule]]\nname = \"{name}\"\nfinds = \"write-without-where\"\naction = \"{action}\"\n")
}

/// Files are read when the test says so.
const BY_HAND: &str = "[guard]\npolicy_check_interval = \"0s\"\npolicy_versions_kept = 3";

async fn sluice(policy: &str) -> Sluice {
    let sluice = with_admin(proxy().policy(policy).setting(BY_HAND));
    let owner = sluice.database.direct().await;
    owner.batch_execute("CREATE TABLE t (n int); INSERT INTO t VALUES (1)").await.unwrap();
    sluice
}

/// A command that says what it did.
async fn done(console: &mut crate::support::Raw, command: &str) -> String {
    let frames = console.query(command).await;
    assert_eq!(tags(&frames), "CZ", "{command}: {frames:?}");
    frames.iter().find(|frame| frame.tag == b'N').unwrap().field(b'M').unwrap()
}

#[tokio::test]
async fn a_reload_changes_the_verdicts_of_clients_that_are_there() {
    crate::needs_proxy!();
    let sluice = sluice(&rule("writes", "warn")).await;
    let client = sluice.connect().await;
    for _ in 0..3 {
        client.batch_execute("UPDATE t SET n = n").await.unwrap();
    }
    sluice.write_policy(&rule("writes", "block"));
    sluice.signal(Signal::HUP);
    eventually("what was seen before is judged anew", || async {
        client.try_text("UPDATE t SET n = n RETURNING n::text").await.is_err()
            && client.batch_execute("UPDATE t SET n = n").await.is_err()
    })
    .await;
    assert!(sluice.log().contains("generation 2 is in force: changed writes (action)"), "{}", sluice.log());
    let mut console = console(&sluice).await;
    sluice.write_policy("");
    assert_eq!(done(&mut console, "RELOAD POLICIES").await, "generation 3 is in force: removed writes");
    client.batch_execute("UPDATE t SET n = n").await.unwrap();
}

#[tokio::test]
async fn what_was_prepared_before_a_reload_is_judged_by_what_holds_now() {
    crate::needs_proxy!();
    let sluice = sluice("").await;
    let mut console = console(&sluice).await;
    let mut raw = sluice.raw().await;
    raw.send(&[msg::parse("named", "UPDATE t SET n = n", &[]), msg::sync()].concat()).await;
    assert_eq!(tags(&raw.until_ready().await), "1Z");
    raw.send(&[msg::parse("", "UPDATE t SET n = n", &[]), msg::sync()].concat()).await;
    assert_eq!(tags(&raw.until_ready().await), "1Z");
    let run = |name: &str| [msg::bind("", name, &[]), msg::execute("", 0), msg::sync()].concat();
    raw.send(&run("named")).await;
    assert_eq!(tags(&raw.until_ready().await), "2CZ");

    sluice.write_policy(&rule("writes", "block"));
    done(&mut console, "RELOAD POLICIES").await;
    for name in ["named", "", "named"] {
        raw.send(&run(name)).await;
        let frames = raw.until_ready().await;
        assert_eq!(
            (tags(&frames).as_str(), frames[0].field(b'C').as_deref()),
            ("EZ", Some("42501")),
            "{name:?}"
        );
    }
    let labels = ["rule=\"writes\"", "action=\"block\"", "mode=\"enforce\""];
    eventually("each refusal counts", || async {
        sluice.metric("pgsluice_verdicts_total", &labels).await == 3.0
    })
    .await;

    sluice.write_policy(&rule("writes", "warn"));
    done(&mut console, "RELOAD POLICIES").await;
    let notices = |frames: &[crate::support::Frame]| frames.iter().filter(|frame| frame.tag == b'N').count();
    // Told once, when it is judged anew; then as a statement that was prepared under this policy.
    for told in [1, 0] {
        raw.send(&run("named")).await;
        let frames = raw.until_ready().await;
        assert_eq!((tags(&frames).as_str(), notices(&frames)), ("2CZ", told));
    }
}

#[tokio::test]
async fn files_with_mistakes_change_nothing_and_say_why() {
    crate::needs_proxy!();
    let sluice = sluice(&rule("writes", "block")).await;
    let client = sluice.connect().await;
    let mut console = console(&sluice).await;
    sluice.write_policy(&(rule("writes", "warn") + &rule("other", "blok") + "nonsense = 1\n"));
    let (code, error) = refused(&mut console, "RELOAD POLICIES").await;
    assert_eq!(code, "58000");
    assert!(error.field(b'M').unwrap().contains("`action` cannot be \"blok\""), "{error:?}");
    assert_eq!(refused(&mut console, "RELOAD").await.0, "58000");
    assert_eq!(client.failure("UPDATE t SET n = n").await, "42501");
    let shown = show(&mut console, "SHOW POLICIES").await;
    assert_eq!(shown.rows.len(), 2);
    assert_eq!((text(&shown.rows[0], "rule"), text(&shown.rows[0], "action")), ("writes", "block"));
    assert_eq!(shown.rows[1]["rule"], None);
    assert!(text(&shown.rows[1], "error").contains("and 1 more"), "{:?}", shown.rows[1]);
    assert!(text(&shown.rows[1], "file").ends_with("policy.toml"));
    let versions = show(&mut console, "SHOW POLICY_VERSIONS").await;
    assert_eq!((text(&versions.rows[0], "state"), text(&versions.rows[1], "state")), ("failed", "in force"));
    eventually("the metric tells", || async {
        sluice.metric("pgsluice_policy_reload_success", &[]).await == 0.0
    })
    .await;
    assert!(sluice.log().contains("not loaded; generation 1 stays"));

    sluice.write_policy(&rule("writes", "block"));
    done(&mut console, "RELOAD POLICIES").await;
    assert_eq!(show(&mut console, "SHOW POLICIES").await.rows.len(), 1);
    eventually("all is well again", || async {
        sluice.metric("pgsluice_policy_reload_success", &[]).await == 1.0
    })
    .await;
}

#[tokio::test]
async fn a_rollback_returns_to_the_version_before_and_stays() {
    crate::needs_proxy!();
    let sluice = sluice(&rule("first", "warn")).await;
    let mut console = console(&sluice).await;
    let (code, _) = refused(&mut console, "ROLLBACK POLICIES").await;
    assert_eq!(code, "58000", "there is none before");
    for action in ["block", "warn"] {
        sluice.write_policy(&rule("second", action));
        done(&mut console, "RELOAD POLICIES").await;
    }
    let said = done(&mut console, "ROLLBACK POLICIES").await;
    assert_eq!(said, "generation 2 is in force again: changed second (action)");
    let client = sluice.connect().await;
    assert_eq!(client.failure("UPDATE t SET n = n").await, "42501");
    // The files are those that were rolled back.
    sluice.signal(Signal::HUP);
    assert_eq!(tags(&console.query("RELOAD").await), "CZ");
    assert_eq!(client.failure("UPDATE t SET n = n").await, "42501");
    let states = |shown: &crate::support::console::Table| {
        let each = shown.rows.iter().map(|row| format!("{} {}", text(row, "generation"), text(row, "state")));
        each.collect::<Vec<_>>().join(", ")
    };
    let shown = show(&mut console, "SHOW POLICY_VERSIONS").await;
    assert_eq!(states(&shown), "3 rolled back, 2 in force, 1 replaced");
    assert!(text(&shown.rows[0], "trigger").starts_with("RELOAD POLICIES by "));
    assert_eq!(text(&shown.rows[2], "trigger"), "start");
    // Once more, to the one before that; then what is new counts, and the oldest is forgotten.
    done(&mut console, "ROLLBACK POLICIES").await;
    client.batch_execute("UPDATE t SET n = n").await.unwrap();
    sluice.write_policy(&rule("third", "block"));
    done(&mut console, "RELOAD POLICIES").await;
    assert_eq!(client.failure("UPDATE t SET n = n").await, "42501");
    let shown = show(&mut console, "SHOW POLICY_VERSIONS").await;
    assert_eq!(states(&shown), "4 in force, 3 rolled back, 2 rolled back");
}

#[tokio::test]
async fn a_changed_file_is_noticed() {
    crate::needs_proxy!();
    let sluice = with_admin(proxy().policy("").setting("[guard]\npolicy_check_interval = \"100ms\""));
    let mut console = console(&sluice).await;
    sluice.write_policy(&rule("writes", "block"));
    show_until(&mut console, "SHOW POLICIES", |shown| shown.rows.len() == 1).await;
    sluice.write_policy("nonsense");
    show_until(&mut console, "SHOW POLICIES", |shown| shown.rows.len() == 2).await;
    sluice.write_policy("");
    show_until(&mut console, "SHOW POLICIES", |shown| shown.rows.is_empty()).await;
    let versions = show(&mut console, "SHOW POLICY_VERSIONS").await;
    assert_eq!((text(&versions.rows[0], "trigger"), versions.rows.len()), ("file change", 3));
}

#[tokio::test]
async fn names_of_rules_stay_right_when_numbers_change() {
    crate::needs_proxy!();
    let sluice = sluice(&rule("b", "warn")).await;
    let mut console = console(&sluice).await;
    let client = sluice.connect().await;
    client.batch_execute("UPDATE t SET n = n").await.unwrap();
    let other = "[[rule]]\nname = \"a\"\nfinds = \"select-star\"\naction = \"warn\"\n";
    sluice.write_policy(&(other.to_owned() + &rule("b", "warn")));
    done(&mut console, "RELOAD POLICIES").await;
    client.batch_execute("UPDATE t SET n = n").await.unwrap();
    client.batch_execute("SELECT * FROM t").await.unwrap();
    let shown = show(&mut console, "SHOW POLICIES").await;
    let hits: Vec<(&str, &str)> =
        shown.rows.iter().map(|row| (text(row, "rule"), text(row, "hits"))).collect();
    assert_eq!(hits, [("a", "1"), ("b", "2")]);
}
