//! Replication connections: walsenders through pgsluice, physical and logical, with PostgreSQL's own programs.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::raw::tags;
use crate::support::{Raw, Sluice, eventually, lab, msg, programs, proxy};

/// A pgsluice whose test role may replicate.
async fn start(builder: crate::support::Builder) -> Sluice {
    let sluice = builder.start();
    let alter = format!("ALTER ROLE {} REPLICATION", sluice.database.user);
    sluice.database.admin().await.batch_execute(&alter).await.unwrap();
    sluice
}

/// A directory of a test's own.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("pgsluice-repl-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn ok(mut command: Command, arguments: &[&str]) -> programs::Outcome {
    command.args(arguments);
    let out = programs::run(command);
    assert!(out.ok, "{arguments:?}: {out:?}");
    out
}

async fn walsender(sluice: &Sluice, replication: &str) -> Result<Raw, crate::support::Frame> {
    let database = &sluice.database;
    let more = [("replication", replication), ("application_name", "tester")];
    Raw::login(sluice.port, &database.user, &database.password, &database.name, &more).await
}

fn one(text: &str) -> Option<String> {
    lab().cluster.sql("postgres", text).unwrap().first().and_then(|row| row[0].clone())
}

fn walsenders(sluice: &Sluice) -> String {
    one(&format!(
        "SELECT count(*) FROM pg_stat_activity WHERE usename = '{}' AND backend_type = 'walsender'",
        sluice.database.user
    ))
    .unwrap()
}

#[tokio::test]
async fn a_physical_walsender_answers_commands_and_refuses_sql() {
    let sluice = start(proxy()).await;
    let mut raw = walsender(&sluice, "true").await.unwrap();
    let identified = raw.query("IDENTIFY_SYSTEM").await;
    assert_eq!(tags(&identified), "TDCZ");
    assert_eq!(identified[1].columns()[0], one("SELECT system_identifier FROM pg_control_system()"));
    assert_eq!(tags(&raw.query("SHOW application_name").await), "TDCZ");
    assert_eq!(raw.query("SHOW application_name").await[1].columns(), [Some("tester".to_owned())]);
    // The next is no SQL for our grammar; the one after is, and the server's to refuse.
    assert!(tags(&raw.query("TIMELINE_HISTORY 99").await).ends_with("EZ"));
    let refused = raw.query("SELECT 1").await;
    assert!(tags(&refused).ends_with("EZ"), "{refused:?}");
    assert_eq!(tags(&raw.query("IDENTIFY_SYSTEM").await), "TDCZ");
    assert_eq!(walsenders(&sluice), "1");
    raw.send(&msg::terminate()).await;
    eventually("it goes with its client", || async { walsenders(&sluice) == "0" }).await;
}

#[tokio::test]
async fn a_logical_walsender_takes_sql_and_startup_settings() {
    let sluice = start(proxy()).await;
    let database = &sluice.database;
    let more = [("replication", "database"), ("options", "-c work_mem=1234kB -c search_path=a,b")];
    let mut raw =
        Raw::login(sluice.port, &database.user, &database.password, &database.name, &more).await.unwrap();
    assert_eq!(raw.query("SELECT current_database()").await[1].columns(), [Some(database.name.clone())]);
    for (setting, value) in [("work_mem", "1234kB"), ("search_path", "a,b")] {
        assert_eq!(raw.query(&format!("SHOW {setting}")).await[1].columns(), [Some(value.to_owned())]);
    }
    // What is left on it is nobody else's.
    assert_eq!(tags(&raw.query("SET work_mem = '2MB'; RESET ALL").await), "CCZ");
    assert_eq!(raw.query("SHOW work_mem").await[1].columns(), [Some("1234kB".to_owned())]);
    assert_eq!(tags(&raw.query("DISCARD ALL").await), "CZ");
    assert_eq!(raw.query("SHOW work_mem").await[1].columns(), [Some("1234kB".to_owned())]);
    raw.send(&msg::query("SELECT pg_sleep(60)")).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let mut cancel = Raw::connect(sluice.port).await.unwrap();
    cancel.send(&msg::cancel_request(raw.process_id, &raw.secret)).await;
    let frames = raw.until_ready().await;
    assert_eq!(frames.iter().find_map(|f| f.field(b'C')).as_deref(), Some("57014"), "{frames:?}");
}

#[tokio::test]
async fn refusals_are_the_servers_own() {
    let sluice = proxy().start();
    let error = walsender(&sluice, "true").await.map(drop).unwrap_err();
    assert_eq!((error.field(b'S').as_deref(), error.field(b'C').as_deref()), (Some("FATAL"), Some("42501")));
    let error = walsender(&sluice, "maybe").await.map(drop).unwrap_err();
    assert_eq!(error.field(b'C').as_deref(), Some("22023"));
    assert_eq!(error.field(b'M').as_deref(), Some("invalid value for parameter \"replication\": \"maybe\""));
    for no in ["false", "off", "0", "no"] {
        let mut raw = walsender(&sluice, no).await.unwrap();
        assert_eq!(tags(&raw.query("SELECT 1").await), "TDCZ");
        assert_eq!(walsenders(&sluice), "0");
    }
}

/// `COPY BOTH`, in both directions: WAL down, positions up.
#[tokio::test]
async fn pg_receivewal_streams() {
    crate::only_if!(
        programs::is_new_enough("pg_receivewal"),
        "the pg_receivewal at hand is older than the server"
    );
    let sluice = start(proxy()).await;
    let (directory, slot) = (Directory::new("receivewal"), format!("wal_{}", sluice.database.user));
    let program = || programs::program("pg_receivewal", &sluice);
    ok(program(), &["-S", &slot, "--create-slot"]);
    assert_eq!(
        one(&format!("SELECT slot_type FROM pg_replication_slots WHERE slot_name = '{slot}'")).as_deref(),
        Some("physical")
    );
    let path = directory.0.display().to_string();
    let end = later(&one("SELECT pg_current_wal_insert_lsn()").unwrap());
    let mut streaming = program();
    streaming.args(["-S", &slot, "-D", &path, "-E", &end, "--no-loop", "--synchronous", "-s", "1"]);
    let streaming = tokio::task::spawn_blocking(|| programs::run(streaming));
    let active = format!("SELECT active FROM pg_replication_slots WHERE slot_name = '{slot}'");
    eventually("it streams", || async { one(&active).as_deref() == Some("t") }).await;
    let client = sluice.connect().await;
    client
        .batch_execute("CREATE TABLE t AS SELECT repeat(i::text, 100) FROM generate_series(1, 50000) i")
        .await
        .unwrap();
    one("SELECT pg_switch_wal()");
    one("SELECT pg_logical_emit_message(false, 'it', repeat('x', 1000)) FROM generate_series(1, 1000)");
    let out = streaming.await.unwrap();
    assert!(out.ok, "{out:?}");
    let files: Vec<_> = std::fs::read_dir(&directory.0).unwrap().flatten().collect();
    assert!(!files.is_empty());
    let size: u64 = files.iter().map(|file| file.metadata().unwrap().len()).sum();
    assert!(size >= 16 << 20, "{size} bytes");
    let flushed =
        format!("SELECT restart_lsn IS NOT NULL FROM pg_replication_slots WHERE slot_name = '{slot}'");
    assert_eq!(one(&flushed).as_deref(), Some("t"));
    ok(program(), &["-S", &slot, "--drop-slot"]);
    assert_eq!(one(&flushed), None);
    eventually("no walsender is left", || async { walsenders(&sluice) == "0" }).await;
}

#[tokio::test]
async fn pg_recvlogical_streams() {
    let sluice = start(proxy()).await;
    let (directory, slot) = (Directory::new("recvlogical"), format!("logical_{}", sluice.database.user));
    let (file, database) = (directory.0.join("changes"), sluice.database.name.clone());
    let program = || {
        let mut command = programs::program("pg_recvlogical", &sluice);
        command.args(["-d", &database, "-S", &slot]);
        command
    };
    ok(program(), &["--create-slot", "-P", "test_decoding"]);
    let client = sluice.connect().await;
    client.batch_execute("CREATE TABLE t (i int, word text)").await.unwrap();
    client
        .batch_execute("INSERT INTO t SELECT i, repeat('sluice', 100) FROM generate_series(1, 5000) i")
        .await
        .unwrap();
    let end = one("SELECT pg_current_wal_insert_lsn()").unwrap();
    let path = file.display().to_string();
    ok(program(), &["--start", "-f", &path, "-E", &end, "--no-loop", "-s", "1", "-F", "1"]);
    let text = std::fs::read_to_string(&file).unwrap();
    assert_eq!(text.matches("table public.t: INSERT: i[integer]:").count(), 5000);
    let confirmed =
        format!("SELECT confirmed_flush_lsn >= '{end}' FROM pg_replication_slots WHERE slot_name = '{slot}'");
    assert_eq!(one(&confirmed).as_deref(), Some("t"), "what the client confirmed has come through");
    ok(program(), &["--drop-slot"]);
    assert_eq!(one(&confirmed), None);
}

/// 20 MB behind a position of the log.
fn later(position: &str) -> String {
    let (high, low) = position.split_once('/').unwrap();
    let number = |text| u64::from_str_radix(text, 16).unwrap();
    let end = (number(high) << 32) + number(low) + 20_000_000;
    format!("{:X}/{:X}", end >> 32, end & 0xffff_ffff)
}

/// Two connections at once: the files by one, the WAL meanwhile by the other.
#[tokio::test]
async fn pg_basebackup_copies_a_cluster() {
    crate::only_if!(
        programs::is_new_enough("pg_basebackup"),
        "the pg_basebackup at hand is older than the server"
    );
    let sluice = start(proxy().pool_size(4)).await;
    let directory = Directory::new("basebackup");
    let path = directory.0.join("copy").display().to_string();
    let out = ok(
        programs::program("pg_basebackup", &sluice),
        &["-D", &path, "-X", "stream", "-c", "fast", "--no-sync", "-P", "-v"],
    );
    assert!(out.stderr.contains("base backup completed"), "{out:?}");
    let mut verify = Command::new(lab().cluster.home().binaries().path("pg_verifybackup"));
    verify.env("LC_ALL", "C");
    ok(verify, &["-n", &path]);
}

#[tokio::test]
async fn every_statement_is_judged() {
    crate::needs_proxy!();
    let policy = "
        [[rule]]
        name = \"no-streams\"
        when = 'query.kind == \"unparsed\"'
        action = \"block\"
        message = \"nobody streams\"
        [[rule]]
        name = \"no-sleep\"
        when = '\"pg_sleep\" in query.functions'
        action = \"block\"
        message = \"nobody sleeps\"
    ";
    let sluice = start(proxy().policy(policy)).await;
    let mut raw = walsender(&sluice, "database").await.unwrap();
    for (text, message) in [
        ("IDENTIFY_SYSTEM", "nobody streams"),
        ("START_REPLICATION SLOT s LOGICAL 0/0", "nobody streams"),
        ("SELECT pg_sleep(0)", "nobody sleeps"),
    ] {
        let frames = raw.query(text).await;
        assert_eq!(frames[0].field(b'M').as_deref(), Some(message), "{frames:?}");
    }
    assert_eq!(tags(&raw.query("SELECT 1").await), "TDCZ");
}

#[tokio::test]
async fn it_counts_under_the_cap_and_waits_its_turn() {
    crate::needs_proxy!();
    let sluice = start(proxy().pool_size(1).setting("[pool]\nquery_wait_timeout = \"500ms\"")).await;
    let client = sluice.connect().await;
    client.text("SELECT 1").await;
    // An idle connection makes room.
    let raw = walsender(&sluice, "true").await.unwrap();
    assert_eq!(client.failure("SELECT 1").await, "53300");
    let error = walsender(&sluice, "true").await.map(drop).unwrap_err();
    assert_eq!(error.field(b'C').as_deref(), Some("53300"), "{error:?}");
    eventually("it is counted", || async {
        sluice.metric("pgsluice_server_connections", &["state=\"active\"", "database=\"replication\""]).await
            >= 1.0
    })
    .await;
    drop(raw);
    eventually("the place is free", || async { walsenders(&sluice) == "0" }).await;
    assert_eq!(client.text("SELECT 1").await, "1");
    // A busy one is waited for.
    client.batch_execute("BEGIN").await.unwrap();
    let (raw, ()) = tokio::join!(walsender(&sluice, "true"), async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        client.batch_execute("COMMIT").await.unwrap();
    });
    raw.unwrap();
}

#[tokio::test]
async fn a_stream_does_not_hold_up_a_shutdown() {
    crate::needs_proxy!();
    let mut sluice = start(proxy()).await;
    let mut raw = walsender(&sluice, "true").await.unwrap();
    let start = one("SELECT pg_current_wal_flush_lsn()").unwrap();
    raw.send(&msg::query(&format!("START_REPLICATION PHYSICAL {start}"))).await;
    assert_eq!(raw.frame().await.unwrap().tag, b'W');
    let asked = Instant::now();
    sluice.signal(rustix::process::Signal::TERM);
    assert!(sluice.exit().await.success());
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
    let last = raw.until_closed().await;
    assert_eq!(last.last().and_then(|f| f.field(b'C')).as_deref(), Some("57P01"), "{last:?}");
}

/// A reader that does not read stops its walsender, and fills nobody's memory.
#[tokio::test]
async fn a_slow_reader_is_waited_for() {
    crate::needs_proxy!();
    let sluice = start(proxy()).await;
    let mut raw = walsender(&sluice, "true").await.unwrap();
    let slot = format!("slow_{}", sluice.database.user);
    let made = raw.query(&format!("CREATE_REPLICATION_SLOT {slot} TEMPORARY PHYSICAL RESERVE_WAL")).await;
    assert_eq!(tags(&made), "TDCZ", "{made:?}");
    let start = one("SELECT pg_current_wal_flush_lsn()").unwrap();
    let noise =
        "SELECT pg_logical_emit_message(false, 'it', repeat('x', 100000)) FROM generate_series(1, 600)";
    sluice.database.admin().await.batch_execute(noise).await.unwrap();
    let before = sluice.memory();
    raw.send(&msg::query(&format!("START_REPLICATION SLOT {slot} PHYSICAL {start}"))).await;
    assert_eq!(raw.frame().await.unwrap().tag, b'W');
    tokio::time::sleep(Duration::from_secs(1)).await;
    let more = sluice.memory().saturating_sub(before);
    assert!(more < 16 << 20, "{more} bytes more");
    let mut bytes = 0;
    while bytes < 50_000_000 {
        let frame = raw.frame().await.unwrap();
        assert_eq!(frame.tag, b'd', "{frame:?}");
        bytes += frame.body.len();
    }
}

/// A walsender knows the simple protocol only, and says so.
#[tokio::test]
async fn the_extended_protocol_is_the_servers_to_refuse() {
    let sluice = start(proxy()).await;
    let mut raw = walsender(&sluice, "database").await.unwrap();
    raw.send(&[msg::extended("SELECT 1", &[]), msg::sync()].concat()).await;
    let frames = raw.until_ready().await;
    assert_eq!(
        (tags(&frames).as_str(), frames[0].field(b'C').as_deref()),
        ("EZ", Some("08P01")),
        "{frames:?}"
    );
    assert_eq!(tags(&raw.query("SELECT 1").await), "TDCZ");
}

/// Both sides may end a stream; the walsender then takes commands again.
#[tokio::test]
async fn after_a_stream_come_commands() {
    let sluice = start(proxy()).await;
    let mut raw = walsender(&sluice, "true").await.unwrap();
    for _ in 0..2 {
        let start = one("SELECT pg_current_wal_flush_lsn()").unwrap();
        raw.send(&msg::query(&format!("START_REPLICATION PHYSICAL {start}"))).await;
        assert_eq!(raw.frame().await.unwrap().tag, b'W');
        // A status update that asks for an answer: 'r', three positions, a time, 1.
        let mut update = vec![b'r'];
        update.extend([0; 32]);
        update.push(1);
        raw.send(&msg::copy_data(&update)).await;
        let mut answered = false;
        while !answered {
            let frame = raw.frame().await.unwrap();
            assert_eq!(frame.tag, b'd');
            answered = frame.body[0] == b'k';
        }
        raw.send(&msg::copy_done()).await;
        let rest: String = tags(&raw.until_ready().await).chars().filter(|t| *t != 'd').collect();
        assert_eq!(rest, "cCCZ"); // COPY and START_REPLICATION
        assert_eq!(tags(&raw.query("IDENTIFY_SYSTEM").await), "TDCZ");
    }
}

#[tokio::test]
async fn a_client_that_vanishes_takes_its_walsender_along() {
    let sluice = start(proxy()).await;
    let mut raw = walsender(&sluice, "true").await.unwrap();
    let start = one("SELECT pg_current_wal_flush_lsn()").unwrap();
    raw.send(&msg::query(&format!("START_REPLICATION PHYSICAL {start}"))).await;
    assert_eq!(raw.frame().await.unwrap().tag, b'W');
    drop(raw);
    eventually("no walsender is left", || async { walsenders(&sluice) == "0" }).await;
}
