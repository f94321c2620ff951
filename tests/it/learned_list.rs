//! An allow-list: learned from what comes, then all that may run.

use std::path::PathBuf;
use std::time::Duration;

use crate::support::console::{console, with_admin};
use crate::support::raw::tags;
use crate::support::{Raw, Sluice, eventually, msg, proxy};

const BY_HAND: &str = "[guard]\npolicy_check_interval = \"0s\"";

/// A place for the list, gone with the test.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("pgsluice-list-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
    fn file(&self) -> PathBuf {
        self.0.join("seen.allowed.toml")
    }
    fn policy(&self, mode: &str) -> String {
        format!("[allow_list]\nmode = \"{mode}\"\nfile = \"{}\"\n", self.file().display())
    }
    fn text(&self) -> String {
        std::fs::read_to_string(self.file()).unwrap_or_default()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

async fn start(policy: &str) -> Sluice {
    let sluice = with_admin(proxy().policy(policy).setting(BY_HAND));
    let owner = sluice.database.direct().await;
    owner.batch_execute("CREATE TABLE t AS SELECT n FROM generate_series(1, 9) n").await.unwrap();
    sluice
}

async fn reload(console: &mut Raw, sluice: &Sluice, policy: &str) {
    sluice.write_policy(policy);
    assert_eq!(tags(&console.query("RELOAD POLICIES").await), "CZ");
}

#[tokio::test]
async fn what_was_learned_runs_and_nothing_else() {
    crate::needs_proxy!();
    let place = Place::new("learn");
    let sluice = start(&place.policy("learn")).await;
    let mut console = console(&sluice).await;
    let client = sluice.connect().await;
    assert_eq!(client.text("SELECT n FROM t WHERE n = 3").await, "3");
    let bound = client.prepare("SELECT n FROM t WHERE n < $1").await.unwrap();
    client.query(&bound, &[&4]).await.unwrap();
    client.batch_execute("BEGIN; UPDATE t SET n = n WHERE n = 1; COMMIT").await.unwrap();
    client.batch_execute("SET work_mem = '5MB'").await.unwrap();
    eventually("the file has all of them", || async {
        let text = place.text();
        ["WHERE n = $1", "WHERE n < $1", "UPDATE t", "work_mem"].iter().all(|words| text.contains(words))
    })
    .await;
    assert!(place.text().contains(&format!("database = \"{}\"", sluice.database.name)));

    reload(&mut console, &sluice, &place.policy("enforce")).await;
    assert_eq!(client.text("SELECT n FROM t WHERE n = 4").await, "4", "other literals, the same statement");
    assert_eq!(client.query(&bound, &[&7]).await.unwrap().len(), 6);
    client.batch_execute("BEGIN; UPDATE t SET n = n WHERE n = 1; COMMIT").await.unwrap();
    client.batch_execute("SET work_mem = '5MB'").await.unwrap();
    for unseen in [
        "SELECT n FROM t WHERE n = 4 OR true",
        "SET work_mem = '6MB'",
        "BEGIN; UPDATE t SET n = n WHERE n = 2; COMMIT",
        "SELECT n FROM t WHERE n = 3; SELECT 1",
        "no statement at all",
    ] {
        assert_eq!(client.failure(unseen).await, "42501", "{unseen}");
    }
    let error = client.query("SELECT n FROM t WHERE n > $1", &[&4]).await.unwrap_err();
    let error = error.as_db_error().unwrap();
    assert!(error.detail().unwrap().contains("allow-list"), "{error:?}");
    client.batch_execute("BEGIN; ROLLBACK").await.unwrap();
    // Another user of the same database has learned nothing.
    let labels = ["rule=\"allow-list\"", "action=\"block\""];
    eventually("it is counted", || async { sluice.metric("pgsluice_verdicts_total", &labels).await == 6.0 })
        .await;

    // To observe is to count.
    reload(&mut console, &sluice, &place.policy("observe")).await;
    client.batch_execute("SELECT n FROM t WHERE n = 4 OR true").await.unwrap();
}

#[tokio::test]
async fn a_list_that_comes_with_a_reload_learns_too() {
    crate::needs_proxy!();
    let place = Place::new("later");
    let sluice = start("").await;
    let mut console = console(&sluice).await;
    let mut raw = sluice.raw().await;
    raw.send(&[msg::parse("s", "SELECT n FROM t WHERE n = $1", &[]), msg::sync()].concat()).await;
    raw.until_ready().await;
    reload(&mut console, &sluice, &place.policy("learn")).await;
    // Prepared before, run now.
    let run = [msg::bind("", "s", &[Some("3")]), msg::execute("", 0), msg::sync()].concat();
    raw.send(&run).await;
    assert_eq!(tags(&raw.until_ready().await), "2DCZ");
    raw.query("SELECT count(*) FROM t").await;
    eventually("the file is written", || async {
        let text = place.text();
        text.contains("count(*)") && text.contains("n = $1")
    })
    .await;
    reload(&mut console, &sluice, &place.policy("enforce")).await;
    raw.send(&run).await;
    assert_eq!(tags(&raw.until_ready().await), "2DCZ");
    assert_eq!(raw.query("SELECT max(n) FROM t").await[0].field(b'C').as_deref(), Some("42501"));
}

/// In a directory of policies the list is no policy, and what it learns is no change of them.
#[tokio::test]
async fn the_list_may_stand_beside_its_policy() {
    crate::needs_proxy!();
    let place = Place::new("beside");
    let policy = "[allow_list]\nmode = \"learn\"\nfile = \"seen.allowed.toml\"\n";
    std::fs::write(place.0.join("list.toml"), policy).unwrap();
    let builder = proxy().without_policies().flag("--policies", place.0.display());
    let sluice = builder.setting("[guard]\npolicy_check_interval = \"100ms\"").start();
    let client = sluice.connect().await;
    client.batch_execute("SELECT 1 AS one").await.unwrap();
    eventually("it is learned", || async { place.text().contains("AS one") }).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!sluice.log().contains("generation 2"), "{}", sluice.log());
    std::fs::write(place.0.join("list.toml"), policy.replace("learn", "enforce")).unwrap();
    eventually("it is in force", || async { client.batch_execute("SELECT 2 AS two").await.is_err() }).await;
    client.batch_execute("SELECT 7 AS one").await.unwrap();
}
