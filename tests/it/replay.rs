//! `pgsluice replay` over logs that a real server has just written.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use pgsluice::sandbox::{Cluster, Options};
use serde_json::Value;

use crate::support::{Session, eventually};

const POLICY: &str = "[[rule]]\nname = 'where'\nfinds = 'write-without-where'\naction = 'block'\n\
                      [[rule]]\nname = 'wild'\nfinds = 'leading-wildcard-like'\naction = 'block'\n\
                      [[rule]]\nname = 'star'\nfinds = 'select-star'\naction = 'warn'\nonly = { applications = ['replayed'] }\n\
                      [[rule]]\nname = 'scan'\nwhen = 'plan.seq_scan_rows > 10000'\naction = 'block'\n";

/// A server that writes a log in every format it has.
struct Logging {
    cluster: Cluster,
    directory: PathBuf,
    formats: Vec<(&'static str, PathBuf)>,
}

impl Logging {
    fn start() -> Self {
        let options = |destination: &str| {
            Options::default()
                .setting("logging_collector", "on")
                .setting("log_destination", destination)
                .setting("log_directory", "log")
                .setting("log_filename", "pg.log")
                .setting("log_min_duration_statement", "0")
        };
        let old = pgsluice::sandbox::Binaries::find().unwrap().major() < 15;
        let destination = if old { "stderr,csvlog" } else { "stderr,csvlog,jsonlog" };
        let cluster = Cluster::primary(&options(destination)).unwrap();
        let directory = cluster.home().path().to_owned();
        let log = cluster.server().log().parent().unwrap().join("data/log");
        let mut formats = vec![("stderr", log.join("pg.log")), ("csvlog", log.join("pg.csv"))];
        if !old {
            formats.push(("jsonlog", log.join("pg.json")));
        }
        Self { cluster, directory, formats }
    }

    async fn session(&self) -> Session {
        let url = format!("{}?application_name=replayed", self.cluster.url("postgres"));
        Session::open(&url).await.0
    }

    /// The collector is another process.
    async fn written(&self, mark: &str) {
        for (_, path) in &self.formats {
            let has = || async { std::fs::read_to_string(path).is_ok_and(|text| text.contains(mark)) };
            eventually("the log is written", has).await;
        }
    }

    fn file(&self, name: &str, text: &[u8]) -> PathBuf {
        let path = self.directory.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

/// What the program wrote, and its exit code.
fn replay(arguments: &[&str], input: Option<&[u8]>) -> (String, String, i32) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pgsluice"));
    command.arg("replay").args(arguments).stdin(Stdio::piped());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.map(<[u8]>::to_vec).unwrap_or_default();
    let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr), output.status.code().unwrap())
}

fn report(arguments: &[&str], input: Option<&[u8]>) -> Value {
    let (out, error, _) = replay(&[&["--json"], arguments].concat(), input);
    serde_json::from_str(&out).unwrap_or_else(|fault| panic!("{fault}: {out} {error}"))
}

/// Of the application `replayed`, whose statements alone are counted.
fn ours(report: &Value) -> &Value {
    let groups = report["applications"].as_array().unwrap();
    groups.iter().find(|group| group["application"] == "replayed").unwrap_or_else(|| panic!("{report}"))
}

fn rule<'a>(report: &'a Value, name: &str) -> &'a Value {
    let rules = report["policies"]["rules"].as_array().unwrap();
    rules.iter().find(|rule| rule["rule"] == name).unwrap_or_else(|| panic!("{name}: {report}"))
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// What a session does: 14 statements in all.
async fn play(session: &Session) {
    let run = async |sql: &str| session.batch_execute(sql).await;
    run("CREATE TABLE t (id int, name text)").await.unwrap();
    run("INSERT INTO t\n  SELECT g, 'n' || g\n\tFROM generate_series(1, 100) g").await.unwrap();
    run("SELECT *\nFROM t -- it's a \"comment\"\nWHERE name = 'a,\nb\"c'").await.unwrap();
    let like = session.prepare("SELECT id FROM t WHERE name LIKE $1 AND id > $2").await.unwrap();
    for pattern in ["n%", "%it's\n9", "_"] {
        session.query(&like, &[&pattern, &5]).await.unwrap();
    }
    run("SELECT 1/0").await.unwrap_err();
    run("SELEC 1").await.unwrap_err();
    run("DELETE FROM t").await.unwrap();
    // The other way to log: the statement when it begins, its duration when it ends.
    run("SET log_statement = 'all'").await.unwrap();
    session.query(&like, &[&"n%", &5]).await.unwrap();
    run("SELECT 1/0").await.unwrap_err();
    run("SELECT 'the\nend'").await.unwrap();
    run("SELECT 'really the end'").await.unwrap();
}

#[tokio::test]
async fn logs_of_all_formats_are_counted_exactly() {
    let server = Logging::start();
    play(&server.session().await).await;
    server.written("really the end").await;
    let policy = server.file("policy.toml", POLICY.as_bytes());
    let loose = server
        .file("loose.toml", b"[[rule]]\nname = 'where'\nfinds = 'write-without-where'\naction = 'warn'\n");
    let policies = ["--policies", path(&policy)];
    for (format, log) in &server.formats {
        let found = report(&[&policies[..], &[path(log)]].concat(), None);
        assert_eq!(
            (&found["logs"][0]["format"], &found["logs"][0]["broken"]),
            (&(*format).into(), &0.into()),
            "{found}"
        );
        assert_eq!(ours(&found)["calls"], 14, "{format}: {found}");
        assert_eq!((&found["failed"], &found["unparsed"]["calls"]), (&3.into(), &1.into()), "{format}");
        // DELETE, and two patterns that only the parameters tell.
        assert_eq!(ours(&found)["actions"]["block"]["calls"], 3, "{format}: {found}");
        assert_eq!((&rule(&found, "wild")["calls"], &rule(&found, "where")["calls"]), (&2.into(), &1.into()));
        assert_eq!(rule(&found, "star")["calls"], 1);
        assert!(rule(&found, "scan")["unanswered"].as_u64().unwrap() > 5, "no plan was asked for");
        // As a file that was compressed, as standard input, and by name of its format.
        let bytes = std::fs::read(log).unwrap();
        let mut zip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        zip.write_all(&bytes).unwrap();
        let zipped = server.file(&format!("{format}.gz"), &zip.finish().unwrap());
        let again = [
            report(&[&policies[..], &[path(&zipped)]].concat(), None),
            report(&[&policies[..], &["--format", format, "-"]].concat(), Some(&bytes)),
        ];
        for again in again {
            assert_eq!(
                (&again["total"]["calls"], &again["policies"]),
                (&found["total"]["calls"], &found["policies"])
            );
        }
        let later = report(&[&policies[..], &["--since", "2100-01-01", path(log)]].concat(), None);
        assert_eq!(
            (&later["total"]["calls"], &later["logs"][0]["left_out"]),
            (&0.into(), &found["total"]["calls"])
        );
    }
    let log = &server.formats[1].1;
    let compared = report(&[&policies[..], &["--compare", path(&loose), path(log)]].concat(), None);
    let moved = compared["moves"].as_array().unwrap();
    assert!(
        moved.iter().any(|m| m["compare"] == "warn" && m["policies"] == "block" && m["calls"] == 1),
        "{moved:?}"
    );
    assert_eq!(compared["differences"].as_array().unwrap().len(), 3);
    // For people, and for CI.
    let all = [&policies[..], &["--compare", path(&loose), "--fail-on", "block", path(log)]].concat();
    let (out, error, code) = replay(&all, None);
    assert_eq!((code, error.contains("--fail-on block: 3 statements")), (1, true), "{error}");
    for part in
        ["What would have been done", "blocked", "By rule", "What differs", "By application", "DELETE FROM t"]
    {
        assert!(out.contains(part), "{part}: {out}");
    }
    let (_, error, code) = replay(&["--policies", path(&loose), "--fail-on", "block", path(log)], None);
    assert_eq!((code, error.as_str()), (0, ""));
}

#[tokio::test]
async fn plans_come_from_the_primary_and_nothing_runs() {
    let server = Logging::start();
    let session = server.session().await;
    session
        .batch_execute("CREATE TABLE big AS SELECT g AS id, g % 1000 AS k, 'n' || g AS name FROM generate_series(1, 50000) g; ANALYZE big")
        .await
        .unwrap();
    let log = "{\"database\":\"postgres\",\"user\":\"u\",\"application\":\"replayed\",\"sql\":\"SELECT name FROM big WHERE k = 7\",\"seconds\":2}\n\
               {\"database\":\"postgres\",\"user\":\"u\",\"application\":\"replayed\",\"sql\":\"SELECT name FROM big WHERE id = $1\",\"params\":[\"5\"],\"seconds\":1}\n\
               {\"database\":\"postgres\",\"user\":\"u\",\"application\":\"replayed\",\"sql\":\"UPDATE big SET name = 'x' WHERE id = $1\",\"seconds\":1}\n\
               {\"database\":\"postgres\",\"user\":\"u\",\"application\":\"replayed\",\"sql\":\"DELETE FROM big\",\"seconds\":1}\n\
               {\"database\":\"postgres\",\"user\":\"u\",\"application\":\"replayed\",\"sql\":\"SELECT name FROM big WHERE k = 8\",\"seconds\":2}\n\
               {\"database\":\"postgres\",\"user\":\"u\",\"application\":\"replayed\",\"sql\":\"SELECT 1 FROM gone\",\"seconds\":1}\n\
               {\"database\":\"postgres\",\"user\":\"u\",\"application\":\"replayed\",\"sql\":\"TRUNCATE big\",\"seconds\":1}\n\
               {\"database\":\"postgres\",\"user\":\"u\",\"application\":\"replayed\",\"sql\":\"SELECT 1; DROP TABLE big\",\"seconds\":1}\n";
    let log = server.file("own.jsonl", log.as_bytes());
    let policy = server.file("policy.toml", POLICY.as_bytes());
    let url = server.cluster.url("postgres");
    let flags = ["--policies", path(&policy), "--primary", &url, "--explain-rate", "200", path(&log)];
    let found = report(&flags, None);
    let asked = &found["explain"];
    assert_eq!(
        (&asked["statements"], &asked["generic"], &asked["failed"]),
        (&5.into(), &1.into(), &1.into()),
        "{asked}"
    );
    assert!(asked["faults"][0].as_str().unwrap().contains("gone"), "{asked}");
    assert_eq!(rule(&found, "scan")["calls"], 5, "{found}");
    let plans = found["plans"].as_array().unwrap();
    let advice = plans[0]["advice"][0]["statement"].as_str().unwrap_or_else(|| panic!("{found}"));
    assert!(advice.contains("CREATE INDEX") && advice.contains("(k)"), "{advice}");
    assert_eq!(plans[0]["plan"]["seq_scan_rows"], 50_000);
    let rows: i64 =
        session.query_one("SELECT count(*) FROM big WHERE name <> 'x'", &[]).await.unwrap().get(0);
    assert_eq!(rows, 50_000);
    let (out, _, code) = replay(&flags, None);
    assert!(code == 0 && out.contains("What the planner says") && out.contains("CREATE INDEX"), "{out}");
}

#[test]
fn what_cannot_be_done_is_said_at_once() {
    let (_, error, code) =
        replay(&["--since", "soon", "--log-line-prefix", "%z", "/nowhere/a.log", "/"], None);
    assert_eq!(code, 2);
    for part in ["--since", "--log-line-prefix", "/nowhere/a.log", "is a directory"] {
        assert!(error.contains(part), "{part}: {error}");
    }
    let (_, error, code) = replay(&["-"], Some(b"nothing that is a log\n"));
    assert!(code == 2 && error.contains("--format"), "{error}");
    let (_, error, code) =
        replay(&["-"], Some(b"2026-11-21 10:00:00.000 UTC [1] LOG:  checkpoint starting: time\n"));
    assert!(code == 2 && error.contains("log_min_duration_statement"), "{error}");
}
