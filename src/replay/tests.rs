#![allow(clippy::unwrap_used)]

use super::*;

fn read(format: Format, text: &[u8], piece: usize) -> (Vec<Entry>, Vec<Broken>, u64) {
    let mut reader = Reader::new(format, &Options::default());
    let (mut entries, mut broken) = (Vec::new(), Vec::new());
    let mut take = |reader: &mut Reader| {
        while let Some(item) = reader.next() {
            match item {
                Item::Entry(entry) => entries.push(entry),
                Item::Broken(fault) => broken.push(fault),
            }
        }
    };
    for piece in text.chunks(piece) {
        reader.push(piece);
        take(&mut reader);
    }
    reader.end();
    take(&mut reader);
    (entries, broken, reader.lines())
}

/// One psql (durations of statements), one `pgbench -M prepared` (`log_statement` and durations), one `pgbench -M
/// extended` (`log_duration`), as PostgreSQL 15 logged them in three formats at once.
const LOGS: [(Format, &[u8]); 3] = [
    (Format::Csvlog, include_bytes!("fixtures/pg15.csvlog")),
    (Format::Jsonlog, include_bytes!("fixtures/pg15.jsonlog")),
    (Format::Stderr, include_bytes!("fixtures/pg15.stderr")),
];

fn texts(entries: &[Entry]) -> Vec<String> {
    entries.iter().map(|entry| String::from_utf8_lossy(&entry.sql).into_owned()).collect()
}

#[test]
fn the_three_formats_of_one_log_say_the_same() {
    let mut first: Option<Vec<Entry>> = None;
    for (format, log) in LOGS {
        assert_eq!(detect(log), Some(format));
        let (entries, broken, lines) = read(format, log, 1 << 20);
        assert_eq!((entries.len(), broken.len()), (33, 0), "{format:?} {broken:?}");
        assert_eq!(lines as usize, log.iter().filter(|byte| **byte == b'\n').count(), "{format:?}");
        for piece in [1, 7, 1000] {
            assert_eq!(read(format, log, piece).0, entries, "{format:?} in pieces of {piece}");
        }
        // Where it stands, the session's number and what the prefix leaves out are the format's own.
        let same =
            |entry: Entry| Entry { line: 0, session: 0, address: "".into(), application: "".into(), ..entry };
        let entries: Vec<Entry> = entries.into_iter().map(same).collect();
        match &first {
            None => first = Some(entries),
            Some(first) => assert_eq!(*first, entries, "{format:?}"),
        }
    }
    let entries = first.unwrap();
    assert!(entries.iter().all(|e| e.calls == 1 && e.time.is_some() && &*e.user == "postgres"));
    assert_eq!(entries.iter().filter(|entry| entry.failed).count(), 3);
    assert_eq!(entries.iter().filter(|entry| entry.seconds.is_some()).count(), 30);
    assert_eq!(texts(&entries)[2], "SELECT *\n  FROM t\n WHERE name LIKE '%9\n9';");
    assert_eq!((entries[2].seconds, entries[2].time), (Some(0.000_433), Some(1_795_289_695_257_000)));
    assert_eq!((texts(&entries)[6].as_str(), entries[6].failed), ("SELEC 1;", true));
    let update = entries.iter().find(|entry| entry.sql.starts_with(b"UPDATE pgbench_accounts")).unwrap();
    assert_eq!(update.params, Some(vec![Some(b"687".to_vec()), Some(b"95071".to_vec())]));
    assert!(update.seconds.is_some_and(|seconds| (seconds - 0.000_169).abs() < 1e-9));
}

#[test]
fn a_csvlog_that_was_torn_goes_on_at_the_next_record() {
    let log = LOGS[0].1;
    let at = log.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    for cut in [1, at - 30, at + 200] {
        let (entries, broken, lines) = read(Format::Csvlog, &log[cut..], 4096);
        let lost = if cut < at { 1 } else { 2 };
        assert_eq!((entries.len(), broken.len()), (33 - lost, 1), "{cut}: {broken:?}");
        assert_eq!(broken[0].line, 1);
        assert_eq!(lines as usize, log[cut..].iter().filter(|byte| **byte == b'\n').count());
    }
    // In the middle of a quoted text, as a crash leaves it.
    let torn = [&log[..at + 150], b"\n", &log[at..]].concat();
    let (entries, broken, _) = read(Format::Csvlog, &torn, 4096);
    assert_eq!((entries.len(), broken.len()), (33, 1), "{broken:?}");
    assert_eq!(broken[0].line, 2);
    // A quote that never ends costs what follows, not the reader.
    let open = [log, b"2026-11-21 19:34:55.244 UTC,\"x"].concat();
    let (entries, broken, _) = read(Format::Csvlog, &open, 1 << 20);
    assert_eq!((entries.len(), broken.len()), (33, 1));
}

#[test]
fn columns_of_all_versions_are_read() {
    for more in ["", ",\"client backend\"", ",\"client backend\",,0", ",\"client backend\",,0,,\"later\""] {
        let line = format!(
            "2026-11-21 10:00:00.000 CET,\"u\",\"d\",7,\"10.0.0.1:99\",65a.4d2,1,\"SELECT\",2026-11-21 10:00:00 CET,\
             3/0,0,LOG,00000,\"duration: 2.000 ms  statement: SELECT 1\",,,,,,,,,\"app\"{more}\n"
        );
        let (entries, broken, _) = read(Format::Csvlog, line.as_bytes(), 1 << 20);
        assert!(broken.is_empty(), "{more}: {broken:?}");
        let entry = &entries[0];
        assert_eq!((&*entry.user, &*entry.application, &*entry.address), ("u", "app", "10.0.0.1"));
        assert_eq!((entry.time, entry.seconds), (Some(1_795_251_600_000_000), Some(0.002)));
    }
    let (entries, broken, _) = read(Format::Csvlog, b"2026-11-21 10:00:00.000 UTC,a,b\n", 1 << 20);
    assert_eq!((entries.len(), broken.len()), (0, 1));
}

#[test]
fn lines_that_are_nothing_are_counted_with_their_places() {
    let log = [b"garbage\n".as_slice(), LOGS[1].1, b"{\"timestamp\": 7}\n\n{\n"].concat();
    let (entries, broken, _) = read(Format::Jsonlog, &log, 999);
    let places: Vec<u64> = broken.iter().map(|broken| broken.line).collect();
    let lines = LOGS[1].1.iter().filter(|byte| **byte == b'\n').count() as u64;
    assert_eq!((entries.len(), places), (33, vec![1, lines + 2, lines + 4]));
    let log = [b"no prefix at all\n".as_slice(), LOGS[2].1, b"more of it\n"].concat();
    let (entries, broken, _) = read(Format::Stderr, &log, 999);
    assert_eq!((entries.len(), broken.len()), (33, 2));
}

#[test]
fn statistics_and_our_own_log_are_read() {
    let csv = "userid,dbid,toplevel,queryid,query,plans,calls,total_exec_time,rows,rolname,datname\r\n\
               10,5,t,1,\"SELECT *\nFROM \"\"t\"\" WHERE a > $1\",0,4,2000.5,40,app,shop\r\n\
               10,5,f,2,\"SELECT inner\",0,4,1,1,app,shop\r\n\
               10,5,t,3,<insufficient privilege>,0,4,1,1,app,shop\r\n\
               10,5,t,4,SELECT 1,0,x,1,1,app,shop\r\n";
    assert_eq!(detect(csv.as_bytes()), Some(Format::Statements));
    let (entries, broken, _) = read(Format::Statements, csv.as_bytes(), 11);
    assert_eq!((entries.len(), broken.iter().map(|b| b.line).collect::<Vec<_>>()), (1, vec![5, 6]));
    let entry = &entries[0];
    assert_eq!((entry.calls, entry.seconds, entry.rows), (4, Some(2.0005), Some(40)));
    assert_eq!((&*entry.user, &*entry.database, entry.params.is_none()), ("app", "shop", true));
    let own = "{\"ts\":\"2026-11-21T10:00:00.5Z\",\"database\":\"d\",\"user\":\"u\",\"application\":\"a\",\"sql\":\
               \"SELECT $1\",\"params\":[\"x\",null],\"seconds\":0.25,\"rows\":3,\"bytes\":99}\n{\"sql\":7}\n";
    assert_eq!(detect(own.as_bytes()), Some(Format::Pgsluice));
    let (entries, broken, _) = read(Format::Pgsluice, own.as_bytes(), 11);
    assert_eq!((entries.len(), broken.len()), (1, 1));
    let entry = &entries[0];
    assert_eq!((entry.time, entry.seconds, entry.bytes), (Some(1_795_255_200_500_000), Some(0.25), Some(99)));
    assert_eq!(entry.params, Some(vec![Some(b"x".to_vec()), None]));
    assert_eq!(detect(b"hello\nworld\n"), None);
}

fn set(name: &'static str, text: &str) -> PolicySet {
    let policies =
        crate::guard::policy::Policies::load(&[crate::document::Source::new("p.toml", text)]).unwrap();
    PolicySet { name, paths: vec!["p.toml".to_owned()], policies: std::sync::Arc::new(policies) }
}

fn replayed(sets: &[PolicySet], entries: &[Entry], bounds: Bounds) -> Report {
    let (mut judges, mut tally) = (Judges::new(sets), Tally::new(sets, bounds));
    for entry in entries {
        let looked = judges.look(entry);
        let judged = judges.judge(entry, &looked, None);
        tally.add(entry, &judged);
    }
    tally.report(sets, 100)
}

fn run(sql: &str, seconds: f64) -> Entry {
    Entry {
        sql: sql.as_bytes().to_vec(),
        seconds: Some(seconds),
        calls: 1,
        time: Some(1_795_255_200_000_000),
        application: "web".into(),
        ..Entry::default()
    }
}

#[test]
fn two_sets_of_policies_stand_side_by_side() {
    let strict = "[[rule]]\nname = 'where'\nfinds = 'write-without-where'\naction = 'block'\n\
                  [[rule]]\nname = 'star'\nfinds = 'select-star'\naction = 'warn'\nonly = { applications = ['web'] }\n\
                  [[rule]]\nname = 'slow'\nwhen = 'query.read_only'\naction = 'limit'\nlimit = { timeout = '2s', rate = '2/s' }\n\
                  [[rule]]\nname = 'wild'\nfinds = 'leading-wildcard-like'\naction = 'block'\n\
                  [[rule]]\nname = 'held'\nwhen = 'session.transaction_statements > 1'\naction = 'block'\nmode = 'observe'\n\
                  [[rule]]\nname = 'plan'\nwhen = 'plan.total_cost > 1.0'\naction = 'block'\n";
    let loose = "[[rule]]\nname = 'where'\nfinds = 'write-without-where'\naction = 'warn'\n";
    let sets = [set("--policies", strict), set("--compare", loose)];
    let like = |value: &str| Entry {
        params: Some(vec![Some(value.as_bytes().to_vec())]),
        ..run("SELECT a FROM t WHERE b LIKE $1", 0.5)
    };
    let unknown = Entry { params: None, ..like("") };
    let mut entries =
        vec![run("DELETE FROM t", 1.0), run("SELECT * FROM t WHERE a = 1", 3.0), run("SELECT 1", 0.0)];
    entries.extend([like("x%"), like("%x"), unknown, run("SELECT b", 1.0)]);
    for sql in [
        "BEGIN",
        "UPDATE t SET a = 1 WHERE b = 1",
        "UPDATE t SET a = 1 WHERE b = 2",
        "SELECT 7 AS x",
        "COMMIT",
    ] {
        entries.push(run(sql, 0.1));
    }
    let report = replayed(&sets, &entries, Bounds::default());
    let calls = |set: &SetReport, action: &str| set.actions.get(action).map_or(0, |share| share.calls);
    assert_eq!((report.total.calls, report.timed_calls), (12, 12));
    assert_eq!((calls(&report.policies, "block"), calls(&report.policies, "warn")), (2, 1));
    let compare = report.compare.as_ref().unwrap();
    assert_eq!((calls(compare, "block"), calls(compare, "warn")), (0, 1));
    let rule = |name: &str| report.policies.rules.iter().find(|rule| rule.rule == name).unwrap();
    // Seven reads at once: two pass the rate, five do not; and one of the two took too long.
    let slow = rule("slow");
    assert!(slow.exceeded.is_some_and(|share| share.calls == 6), "{slow:?}");
    assert_eq!((rule("wild").share.calls, rule("wild").if_wildcard), (1, 1));
    // The third statement and the COMMIT.
    assert_eq!((rule("held").share.calls, rule("held").mode), (2, "observe"));
    assert!(rule("plan").unanswered > 0 && rule("plan").share.calls == 0);
    let moved: Vec<_> = report.moves.iter().map(|m| (m.compare, m.policies, m.share.calls)).collect();
    assert!(moved.contains(&("warn", "block", 1)) && moved.contains(&("allow", "block", 1)), "{moved:?}");
    let delete = report.differences.iter().find(|row| row.normalized == "DELETE FROM t").unwrap();
    assert_eq!(
        (delete.policies_rules.join(","), delete.compare_rules.join(",")),
        ("where".into(), "where".into())
    );
    assert_eq!(report.applications[0].application, "web");
}

#[test]
fn a_plan_answers_what_the_text_cannot() {
    let sets =
        [set("--policies", "[[rule]]\nname = 'plan'\nwhen = 'plan.total_cost > 10.0'\naction = 'block'\n")];
    let (mut judges, mut tally) = (Judges::new(&sets), Tally::new(&sets, Bounds::default()));
    let plan =
        |cost| crate::guard::plan::PlanFacts { total_cost: cost, ..crate::guard::plan::PlanFacts::blank() };
    for (cost, sql) in
        [(5.0, "SELECT a FROM cheap"), (50.0, "SELECT a FROM dear"), (50.0, "SELECT a FROM dear")]
    {
        let entry = run(sql, 1.0);
        let looked = judges.look(&entry);
        let judged = judges.judge(&entry, &looked, Some(&plan(cost)));
        tally.add(&entry, &judged);
    }
    let report = tally.report(&sets, 10);
    assert_eq!(report.policies.rules[0].share.calls, 2);
    assert_eq!(report.policies.actions["block"].share_of_time, Some(2.0 / 3.0));
}

#[test]
fn tables_stay_bounded_and_lose_nothing() {
    let sets = [set("--policies", "[[rule]]\nname = 'star'\nfinds = 'select-star'\naction = 'warn'\n")];
    let mut entries: Vec<Entry> = (0..500).map(|n| run(&format!("SELECT a{n} FROM t"), 0.001)).collect();
    entries.insert(3, run("SELECT * FROM t", 0.0));
    entries.insert(400, run("SELECT heavy FROM t", 100.0));
    for (n, entry) in entries.iter_mut().enumerate() {
        entry.application = format!("app{n}").into();
    }
    let report = replayed(&sets, &entries, Bounds { fingerprints: 20, applications: 10 });
    assert_eq!((report.total.calls, report.statements), (502, 502));
    assert_eq!(report.fingerprints[0].normalized, "SELECT * FROM t");
    assert!(report.other.as_ref().is_some_and(|other| other.share.calls >= 450 && other.share.calls < 502));
    assert_eq!(report.applications.iter().map(|group| group.share.calls).sum::<u64>(), 502);
}

#[test]
fn placeholders_where_the_grammar_wants_a_literal_are_read() {
    let sets = [set("--policies", "[[rule]]\nname = 'star'\nfinds = 'select-star'\naction = 'warn'\n")];
    let report =
        replayed(&sets, &[run("SELECT * FROM t WHERE a > now() - interval $1", 1.0)], Bounds::default());
    assert_eq!((report.unparsed.calls, report.policies.rules[0].share.calls), (0, 1));
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(200))]
    /// Whatever a file holds, it is read to its end, in the same way whatever the pieces.
    #[test]
    fn any_bytes_are_read_to_their_end(
        parts in proptest::collection::vec(
            "(2026-11-21 10:00:00.000 UTC,|\"|,|\n|\t|\\{|\\}|LOG:  |duration: 1 ms  statement: |x|parameters: \\$1 = '|é|\\[7\\] a@b |query,calls){1,12}", 0..12),
        piece in 1..40usize,
    ) {
        let text = parts.concat();
        for (_, format) in Format::NAMES {
            let whole = read(format, text.as_bytes(), 1 << 20);
            proptest::prop_assert_eq!(&read(format, text.as_bytes(), piece), &whole, "{:?}", format);
            proptest::prop_assert_eq!(whole.2 as usize, text.lines().count().max(text.split('\n').count() - usize::from(text.is_empty() || text.ends_with('\n'))), "{:?}", format);
        }
    }
}
