//! The query log: what it has of statements, what it never has, and that `pgsluice replay` reads it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::Signal;
use serde_json::Value;

use crate::support::{Session, Sluice, eventually, lab, msg, proxy};

const POLICY: &str = "[[rule]]\nname = 'where'\nfinds = 'write-without-where'\naction = 'block'\n\
                      [[rule]]\nname = 'wild'\nfinds = 'leading-wildcard-like'\naction = 'block'\n\
                      [[rule]]\nname = 'star'\nfinds = 'select-star'\naction = 'warn'\nmode = 'observe'\n";

/// A file that is nobody else's.
fn file() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    lab().cluster.home().path().join(format!("queries{n}.log"))
}

fn start(path: &Path, more: &str) -> Sluice {
    proxy()
        .policy(POLICY)
        .setting(&format!("[query_log]\npath = \"{}\"\n{more}", path.display()))
        .pool_size(2)
        .start()
}

fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    // The last one may be on its way.
    text.split_inclusive('\n')
        .filter(|line| line.ends_with('\n'))
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// All that came before is written.
async fn written(path: &Path, session: &Session) {
    session.batch_execute("SELECT 1 AS the_end").await.unwrap();
    let there =
        || async { lines(path).iter().any(|line| line["sql"].as_str().unwrap().ends_with("the_end")) };
    eventually("the log is written", there).await;
}

fn replay(path: &Path) -> Value {
    let policy = path.with_extension("toml");
    std::fs::write(&policy, POLICY).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_pgsluice"));
    let output = command.args(["replay", "--json", "--policies"]).args([&policy, path]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    serde_json::from_str(&text)
        .unwrap_or_else(|e| panic!("{e}: {text} {}", String::from_utf8_lossy(&output.stderr)))
}

/// Eleven statements.
async fn play(session: &Session) {
    let run = async |sql: &str| session.batch_execute(sql).await;
    run("CREATE TABLE t (id int, name text)").await.unwrap();
    run("INSERT INTO t SELECT g, 'visible' || g FROM generate_series(1, 100) g").await.unwrap();
    run("SELECT * FROM t WHERE name = 'visible7'").await.unwrap();
    let by_id = session.prepare("SELECT name FROM t WHERE id > $1").await.unwrap();
    for id in [1, 50] {
        session.query(&by_id, &[&id]).await.unwrap();
    }
    run("SELECT 1 / 0").await.unwrap_err();
    run("SELEC 1").await.unwrap_err();
    run("DELETE FROM t").await.unwrap_err();
    run("SELECT id FROM t WHERE name LIKE '%x'").await.unwrap_err();
    session.prepare("UPDATE t SET id = 0").await.unwrap_err();
    run("BEGIN; SELECT 'two'; COMMIT").await.unwrap();
}

#[tokio::test]
async fn replay_counts_what_ran_through_the_proxy() {
    crate::needs_proxy!();
    for text in ["normalized", "full"] {
        let path = file();
        let sluice = start(&path, &format!("text = \"{text}\""));
        let mut config = sluice.config();
        config.application_name("played");
        let (session, _) = Session::with(&config).await.unwrap();
        play(&session).await;
        written(&path, &session).await;
        let found = replay(&path);
        assert_eq!(
            (&found["logs"][0]["format"], &found["logs"][0]["broken"]),
            (&"pgsluice".into(), &0.into())
        );
        assert_eq!((&found["total"]["calls"], &found["failed"]), (&12.into(), &5.into()), "{text}: {found}");
        let applications = found["applications"].as_array().unwrap();
        assert_eq!((applications.len(), &applications[0]["application"]), (1, &"played".into()));
        // A pattern is a literal.
        let blocked = if text == "full" { 3 } else { 2 };
        assert_eq!(applications[0]["actions"]["block"]["calls"], blocked, "{text}: {found}");
        let lines = lines(&path);
        let of = |start: &str| {
            let found = lines.iter().find(|line| line["sql"].as_str().unwrap().starts_with(start));
            found.unwrap_or_else(|| panic!("{start}: {lines:?}"))
        };
        let insert = of("INSERT");
        assert_eq!(
            (&insert["rows"], &insert["server"], &insert["action"]),
            (&100.into(), &"primary".into(), &"allow".into())
        );
        assert!(insert["seconds"].as_f64().unwrap() > 0.0 && insert["failed"].is_null());
        assert_eq!(
            (&insert["user"], &insert["database"]),
            (&sluice.database.user.as_str().into(), &sluice.database.name.as_str().into())
        );
        assert_eq!(of("SELECT *")["observed"], serde_json::json!(["star"]));
        let failed = of(if text == "full" { "SELECT 1 / 0" } else { "SELECT $1 / $2" });
        assert_eq!((&failed["failed"], &failed["sqlstate"]), (&true.into(), &"22012".into()));
        let refused = of("DELETE");
        assert_eq!(
            (&refused["action"], &refused["sqlstate"], &refused["server"]),
            (&"block".into(), &"42501".into(), &Value::Null)
        );
        assert_eq!(refused["rules"], serde_json::json!(["where"]));
        let all = std::fs::read_to_string(&path).unwrap();
        assert_eq!(all.contains("visible"), text == "full", "{all}");
        let counted =
            || async { sluice.metric("pgsluice_query_log_lines_total", &["written"]).await >= 12.0 };
        eventually("counted", counted).await;
    }
}

#[tokio::test]
async fn a_password_is_in_no_log() {
    crate::needs_proxy!();
    let path = file();
    let sluice = start(&path, "text = \"full\"\nparameters = true");
    let session = sluice.connect().await;
    let user = format!("{}_x", sluice.database.user);
    lab().cluster.sql("postgres", &format!("ALTER ROLE {} CREATEROLE", sluice.database.user)).unwrap();
    for (sql, works) in [
        (format!("CREATE ROLE {user} PASSWORD 'topsecret0'"), true),
        (format!("ALTER ROLE {user} PASSWORD 'topsecret1'"), true),
        (format!("ALTER ROLE {user} PASSWORD \"topsecret2\""), false),
        (format!("SELECT 1; ALTER ROLE {user} WITH ENCRYPTED PASSWORD 'topsecret3'"), true),
        (format!("DO $x$ BEGIN EXECUTE 'ALTER ROLE {user} PASSWORD ''topsecret4'''; END $x$"), true),
        ("CREATE TABLE users (name text, password text)".to_owned(), true),
        ("INSERT INTO users VALUES ('a', 'seen')".to_owned(), true),
        ("UPDATE users SET password = 'topsecret5' WHERE name = 'a'".to_owned(), true),
    ] {
        assert_eq!(session.batch_execute(&sql).await.is_ok(), works, "{sql}");
    }
    let mut raw = sluice.raw().await;
    for (sql, values) in [
        ("UPDATE users SET password = $1 WHERE name = $2", [Some("topsecret6"), Some("a")]),
        ("SELECT name FROM users WHERE name = $1 OR $2::text IS NULL", [Some("shown"), None]),
    ] {
        raw.send(&[msg::extended(sql, &values), msg::sync()].concat()).await;
        raw.until_ready().await;
    }
    written(&path, &session).await;
    let all = std::fs::read_to_string(&path).unwrap();
    assert!(!all.contains("topsecret"), "{all}");
    assert!(all.contains("'seen'"), "{all}");
    let params = lines(&path).into_iter().find(|line| !line["params"].is_null()).unwrap();
    assert_eq!(params["params"], serde_json::json!(["shown", null]));
}

#[tokio::test]
async fn a_log_that_was_moved_away_begins_anew_at_a_hangup() {
    crate::needs_proxy!();
    let path = file();
    let sluice = start(&path, "");
    let session = sluice.connect().await;
    written(&path, &session).await;
    let aside = path.with_extension("aside");
    std::fs::rename(&path, &aside).unwrap();
    sluice.signal(Signal::HUP);
    let goes_on = || async {
        session.batch_execute("SELECT 2 AS after").await.unwrap();
        lines(&path).iter().any(|line| line["sql"].as_str().unwrap().ends_with("after"))
    };
    eventually("a new file", goes_on).await;
    assert!(lines(&aside).iter().any(|line| line["sql"].as_str().unwrap().ends_with("the_end")));
}

#[tokio::test]
async fn a_full_disk_is_nobodys_business_but_the_metrics() {
    crate::needs_proxy!();
    let sluice = start(Path::new("/dev/full"), "");
    let session = sluice.connect().await;
    for n in 0..200 {
        assert_eq!(session.text(&format!("SELECT {n}")).await, n.to_string());
    }
    let counted = || async { sluice.metric("pgsluice_query_log_lines_total", &["disk"]).await > 0.0 };
    eventually("lost lines are counted", counted).await;
    assert!(sluice.log().contains("query log: not written"), "{}", sluice.log());
}

#[tokio::test]
async fn a_portal_that_is_read_in_parts_is_one_run() {
    crate::needs_proxy!();
    let path = file();
    let sluice = start(&path, "");
    let mut raw = sluice.raw().await;
    raw.query("BEGIN").await;
    let first = [
        msg::parse("", "SELECT generate_series(1, 10)", &[]),
        msg::bind("", "", &[]),
        msg::execute("", 4),
        msg::execute("", 4),
        msg::sync(),
    ];
    raw.send(&first.concat()).await;
    raw.until_ready().await;
    raw.send(&[msg::execute("", 0), msg::sync()].concat()).await;
    raw.until_ready().await;
    raw.query("COMMIT").await;
    written(&path, &sluice.connect().await).await;
    let parts: Vec<Value> =
        lines(&path).into_iter().filter(|line| line["sql"].as_str().unwrap().contains("series")).collect();
    assert_eq!(
        parts.iter().map(|line| line["continued"] == true).collect::<Vec<_>>(),
        [false, true, true],
        "{parts:?}"
    );
    assert_eq!(replay(&path)["total"]["calls"], 4);
}
