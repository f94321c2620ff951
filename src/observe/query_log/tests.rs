#![allow(clippy::unwrap_used)]
use super::*;
use crate::guard::Kind;
use std::path::PathBuf;
use std::time::UNIX_EPOCH;

fn terms() -> Terms {
    Terms {
        which: QueryLogWhich::All,
        sample: 1 << 32,
        min_nanos: 1_000,
        text: QueryLogText::Normalized,
        params: false,
        room: 1 << 16,
    }
}

fn path(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("pgsluice-query-log-{}-{name}.log", std::process::id()));
    let _ = std::fs::remove_file(&path);
    path
}

fn line(sql: &str) -> Line<'_> {
    let rules = |enforced| Rules { hits: &[], enforced, policies: None };
    Line {
        ts: Shown(Moment(UNIX_EPOCH + Duration::from_micros(1_000_000_000_000_007))),
        database: "shop",
        user: "a\"pp",
        application: "",
        client: Shown(&"10.0.0.7:5000"),
        session: 3,
        fingerprint: Shown(Fingerprint(0xab)),
        kind: Kind::Select,
        sql: sql.into(),
        cut: false,
        params: None,
        continued: false,
        seconds: 0.25,
        rows: 1,
        bytes: 64,
        failed: false,
        sqlstate: None,
        action: "allow",
        rules: rules(true),
        observed: rules(false),
        server: Some("primary"),
    }
}

fn counts(log: &QueryLog) -> [u64; 3] {
    log.stats().lines().map(|(_, lines)| lines)
}

#[test]
fn a_line_is_what_replay_reads() {
    let path = path("form");
    let guard = begin(terms(), Rotating::new(path.clone(), 1 << 20, 2)).unwrap();
    let pen = guard.log().pen(7);
    pen.write(&line("SELECT \"a\"\nFROM t"));
    drop(guard);
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(
        text,
        "{\"ts\":\"2001-09-09T01:46:40.000007Z\",\"database\":\"shop\",\"user\":\"a\\\"pp\",\"application\":\"\",\
         \"client\":\"10.0.0.7:5000\",\"session\":3,\"fingerprint\":\"00000000000000ab\",\"kind\":\"select\",\
         \"sql\":\"SELECT \\\"a\\\"\\nFROM t\",\"seconds\":0.25,\"rows\":1,\"bytes\":64,\"action\":\"allow\",\
         \"server\":\"primary\"}\n"
    );
    let mut reader = crate::replay::Reader::new(crate::replay::Format::Pgsluice, &Default::default());
    reader.push(text.as_bytes());
    reader.end();
    let Some(crate::replay::Item::Entry(entry)) = reader.next() else { panic!("{text}") };
    assert_eq!(
        (&*entry.user, &*entry.address, entry.time),
        ("a\"pp", "10.0.0.7", Some(1_000_000_000_000_007))
    );
    assert_eq!((entry.seconds, entry.rows, entry.failed), (Some(0.25), Some(1), false));
    std::fs::remove_file(path).unwrap();
}

#[test]
fn a_full_buffer_drops_and_counts_and_never_grows() {
    let path = path("bounded");
    let room = 4096;
    // A pipe that nobody reads: the disk is stuck.
    let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(made.success());
    let reader = std::fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
    let guard = begin(Terms { room, ..terms() }, Rotating::new(path.clone(), u64::MAX, 2)).unwrap();
    let log = guard.log();
    let pen = log.pen(7);
    let before = Instant::now();
    for _ in 0..50_000 {
        pen.write(&line("SELECT 1"));
    }
    assert!(before.elapsed() < Duration::from_secs(20), "it did not wait");
    let [_, full, disk] = counts(&log);
    assert!(full > 10_000 && disk == 0, "{full} {disk}");
    assert!(locked(&pen.buffer).bytes.capacity() < 4 * room);
    let before = Instant::now();
    drop(guard);
    assert!(before.elapsed() < LAST_LINES * 3, "the end does not wait for ever");
    drop(reader);
    std::fs::remove_file(path).unwrap();
}

#[test]
fn what_the_disk_does_not_take_is_counted() {
    let guard = begin(terms(), Rotating::new("/dev/full".into(), 1 << 20, 2)).unwrap();
    let log = guard.log();
    let pen = log.pen(7);
    (0..10).for_each(|_| pen.write(&line("SELECT 1")));
    drop(guard);
    assert_eq!(counts(&log), [0, 0, 10]);
}

#[test]
fn statements_are_chosen_and_sampled() {
    let pen = |terms| begin(terms, Rotating::new("/dev/null".into(), 1 << 20, 1)).unwrap().log().pen(7);
    assert!(pen(terms()).takes(false, 0));
    let judged = pen(Terms { which: QueryLogWhich::Judged, ..terms() });
    assert!(judged.takes(true, 0) && !judged.takes(false, 1 << 40));
    let slow = pen(Terms { which: QueryLogWhich::Slow, ..terms() });
    assert!(slow.takes(false, 1_000) && !slow.takes(true, 999));
    let tenth = pen(Terms { sample: (1 << 32) / 10, ..terms() });
    let taken = (0..10_000).filter(|_| tenth.takes(false, 0)).count();
    assert!((900..1_100).contains(&taken), "{taken}");
    assert!(!pen(Terms { sample: 0, ..terms() }).takes(true, 0));
}
