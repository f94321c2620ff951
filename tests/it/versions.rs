//! What differs between PostgreSQL's versions, on the one at hand. `PGSLUICE_POSTGRES=13` (up to 18) has this and every
//! other test run on that version; `scripts/test-versions.sh` does so for several.

use pgsluice::guard::Kind;
use pgsluice::guard::facts::{self, Facts, ReadOptions};

use crate::support::lab::{major, options};
use crate::support::pki::{Pki, in_url};
use crate::support::raw::tags;
use crate::support::{Builder, Frame, Lab, Raw, eventually, lab, msg, proxy, sqlstate};

#[tokio::test]
async fn the_server_is_of_the_version_asked_for() {
    let cluster = &lab().cluster;
    let version = major();
    let urls = [cluster.url("postgres"), cluster.replica_url("postgres").unwrap()];
    for url in urls {
        let number = &pgsluice::sandbox::sql(&url, "SHOW server_version_num").unwrap()[0][0];
        assert_eq!(number.as_ref().unwrap().parse::<u32>().unwrap() / 10_000, version);
    }
    if let Ok(asked) = std::env::var("PGSLUICE_POSTGRES").unwrap_or_default().parse::<u32>() {
        assert_eq!(asked, version);
    }
    println!("PostgreSQL {version}");
}

fn only(frames: &[Frame], tag: u8) -> Vec<&Frame> {
    frames.iter().filter(|frame| frame.tag == tag).collect()
}

/// 14 reports more settings than 13, 18 also the search path. Each client hears of its own, although they share a
/// server; what the pool changes between them nobody hears of.
#[tokio::test]
async fn each_client_is_told_of_its_own_settings_as_the_version_tells_them() {
    let sluice = proxy().pool_size(1).start();
    let (mut one, mut two, mut direct) =
        (sluice.raw().await, sluice.raw().await, sluice.database.raw_direct().await);
    assert_eq!(one.parameters, direct.parameters);
    assert_eq!(one.parameters.contains_key("in_hot_standby"), major() >= 14);
    assert_eq!(one.parameters.contains_key("search_path"), major() >= 18);
    for sql in [
        "SET search_path = pg_catalog",
        "SET default_transaction_read_only = on",
        "SET TimeZone = 'Asia/Tokyo'",
        "BEGIN; SET LOCAL search_path = public; SET LOCAL DateStyle = 'German'; ROLLBACK",
        "SELECT set_config('search_path', 'x', false)",
        "RESET search_path",
        "DISCARD ALL",
    ] {
        let (told, expected) = (one.query(sql).await, direct.query(sql).await);
        assert_eq!(told, expected, "{sql}");
        let other = two.query("SELECT current_setting('search_path'), current_setting('TimeZone')").await;
        assert_eq!(tags(&other), "TDCZ", "{sql}: {other:?}");
        assert_eq!(other[1].columns(), [r#""$user", public"#, "UTC"].map(|s| Some(s.to_owned())), "{sql}");
    }
}

/// A replica's servers report that they are in recovery; a client is not told so because of one read.
#[tokio::test]
async fn a_read_on_a_replica_does_not_report_a_standby() {
    crate::needs_proxy!();
    let policy = "[[rule]]\nname = 'reads'\nwhen = 'query.group_by'\naction = 'route'\nroute = 'replica'\n";
    let sluice = proxy().policy(policy).replica(true).start();
    sluice.database.lab.catch_up().await;
    let replica = sluice.database.lab.cluster.replicas()[0].port().to_string();
    let client = sluice.connect().await;
    let port = "SELECT setting FROM pg_settings WHERE name = 'port' GROUP BY setting";
    eventually("the replica is in use", || async { client.text(port).await == replica }).await;
    let mut raw = sluice.raw().await;
    let before = raw.parameters.clone();
    assert_eq!(before.get("in_hot_standby").map_or("off", String::as_str), "off");
    let frames = raw.query(port).await;
    assert_eq!((tags(&frames).as_str(), frames[1].columns()), ("TDCZ", vec![Some(replica)]));
    assert!(only(&raw.query("SELECT 1").await, b'S').is_empty());
}

/// What the plan rules stand on: through the extended protocol an EXPLAIN is planned with the values of its Bind,
/// however often it was run before.
#[tokio::test]
async fn an_explain_is_planned_with_the_bound_values() {
    let database = lab().database();
    let schema = "CREATE TABLE t (id int PRIMARY KEY, at int);
        INSERT INTO t SELECT n, n FROM generate_series(1, 20000) n; CREATE INDEX ON t (at); ANALYZE t";
    database.direct().await.batch_execute(schema).await.unwrap();
    let mut raw = database.raw_direct().await;
    let estimate = async |raw: &mut Raw, value: Option<&str>| {
        let explain = "EXPLAIN (FORMAT JSON) SELECT id FROM t WHERE at < $1";
        let run =
            [msg::parse("", explain, &[]), msg::bind("", "", &[value]), msg::execute("", 0), msg::sync()];
        raw.send(&run.concat()).await;
        let frames = raw.until_ready().await;
        let json = only(&frames, b'D')[0].columns()[0].clone().unwrap();
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        (
            json[0]["Plan"]["Plan Rows"].as_f64().unwrap(),
            json[0]["Plan"]["Node Type"].as_str().unwrap().to_owned(),
        )
    };
    for _ in 0..8 {
        let (few, scan) = estimate(&mut raw, Some("100")).await;
        assert!(
            (50.0..200.0).contains(&few) && scan.starts_with("Index") || scan.starts_with("Bitmap"),
            "{few} {scan}"
        );
        let (most, scan) = estimate(&mut raw, Some("19000")).await;
        assert!((18_000.0..20_000.0).contains(&most) && scan == "Seq Scan", "{most} {scan}");
        assert!(estimate(&mut raw, Some("-5")).await.0 <= 1.0, "out of the histogram");
        assert!(estimate(&mut raw, None).await.0 <= 1.0, "no row is less than NULL");
    }
}

/// Before 18 a plan that may not be used costs ten billion, from 18 on it is counted apart: it is a scan all the same.
#[tokio::test]
async fn a_scan_that_is_disabled_is_a_scan() {
    crate::needs_proxy!();
    let policy = "[[rule]]\nname = 'scan'\nfinds = 'full-scan-of-big-table'\nwith = { rows = 5000 }\naction = 'block'\n\
                  [[rule]]\nname = 'rows'\nwhen = 'plan.rows > 1000000'\naction = 'block'\n";
    let sluice = proxy().policy(policy).setting("plan.min_rows = 1000").start();
    let client = sluice.connect().await;
    let schema = "CREATE TABLE t (id int PRIMARY KEY, a int);
        INSERT INTO t SELECT n, n FROM generate_series(1, 20000) n; ANALYZE t";
    client.batch_execute(schema).await.unwrap();
    client.batch_execute("SET enable_seqscan = off").await.unwrap();
    let scan = "SELECT id FROM t WHERE a = 7";
    eventually("the table's size is known", || async { client.batch_execute(scan).await.is_err() }).await;
    let refused = client.batch_execute(scan).await.unwrap_err();
    assert_eq!(refused.as_db_error().unwrap().message(), "This reads all 20000 rows of t to filter by a.");
    assert_eq!(client.text("SELECT a FROM t WHERE id = 7").await, "7");
}

/// PostgreSQL 17 and later take TLS from the first byte on; before, the server hangs up and the client hears why.
#[tokio::test]
async fn a_server_is_reached_with_direct_tls_where_it_can() {
    crate::needs_proxy!();
    let pki = Pki::new();
    let lab = Lab::private(pgsluice::sandbox::Options { tls: Some(pki.pem("localhost")), ..options() });
    let url = |more: &str| {
        let url = lab.cluster.url("postgres");
        format!("{url}?sslmode=verify-full&sslrootcert={}{more}", in_url(&pki.ca))
    };
    let tls = "SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    let asked = Builder::new(lab).primary(url("&channel_binding=require")).start();
    assert!(asked.connect().await.text(tls).await.starts_with("TLSv1."));
    let direct = Builder::new(lab)
        .primary(url("&sslnegotiation=direct&channel_binding=require"))
        .setting("[pool]\nquery_wait_timeout = \"2s\"")
        .start();
    if major() >= 17 {
        assert!(direct.connect().await.text(tls).await.starts_with("TLSv1."));
    } else {
        let refused = direct.config().connect(tokio_postgres::NoTls).await.err().unwrap();
        assert!(refused.as_db_error().is_some(), "{refused:?}");
    }
}

/// Newer syntax: version, statement, kind, whether it is read-only, tables.
#[rustfmt::skip]
const SYNTAX: &[(u32, &str, Kind, bool, &[&str])] = &[
    (14, "SELECT a, count(*) FROM t GROUP BY DISTINCT ROLLUP (a), CUBE (a)", Kind::Select, true, &["t"]),
    (14, "SELECT a value FROM t", Kind::Select, true, &["t"]),
    (14, "WITH RECURSIVE r AS (SELECT id FROM t WHERE id = 1 UNION ALL SELECT u.id FROM u JOIN r ON u.id = r.id + 1) \
          SEARCH DEPTH FIRST BY id SET o CYCLE id SET c USING p SELECT id FROM r", Kind::Select, true, &["t", "u"]),
    (14, "CREATE FUNCTION two() RETURNS int RETURN (SELECT max(id) FROM t)", Kind::Ddl, false, &["t"]),
    (14, "ALTER TABLE t ALTER COLUMN b SET COMPRESSION pglz", Kind::Ddl, false, &["t"]),
    (15, "MERGE INTO t USING u ON t.id = u.id WHEN MATCHED THEN UPDATE SET a = u.id WHEN NOT MATCHED THEN DO NOTHING",
         Kind::Merge, false, &["t", "u"]),
    (15, "CREATE UNIQUE INDEX ON u (id) NULLS NOT DISTINCT", Kind::Ddl, false, &["u"]),
    (16, "SELECT 0x1F + 1_000 + 0b11", Kind::Select, true, &[]),
    (16, "SELECT system_user", Kind::Select, true, &[]),
    (16, "SELECT count(*) FROM (SELECT id FROM t)", Kind::Select, true, &["t"]),
    (16, "SELECT any_value(a) FROM t", Kind::Select, true, &["t"]),
    (16, "SELECT JSON_OBJECT('a': id), JSON_ARRAY(id, a), '{}' IS JSON OBJECT FROM t", Kind::Select, true, &["t"]),
    (16, "SELECT JSON_ARRAYAGG(a ORDER BY a), JSON_OBJECTAGG(id: a) FROM t", Kind::Select, true, &["t"]),
    (17, "MERGE INTO t USING u ON t.id = u.id WHEN NOT MATCHED BY SOURCE THEN DELETE RETURNING merge_action(), t.id",
         Kind::Merge, false, &["t", "u"]),
    (17, "WITH m AS (MERGE INTO t USING u ON t.id = u.id WHEN MATCHED THEN DELETE RETURNING t.id) SELECT id FROM m",
         Kind::Select, false, &["t", "u"]),
    (17, "SELECT x.id FROM JSON_TABLE((SELECT min(b)::jsonb FROM u), '$[*]' COLUMNS (id int PATH '$')) x JOIN t USING (id)",
         Kind::Select, true, &["t", "u"]),
    (17, "SELECT JSON_VALUE('{}', '$.a'), JSON_QUERY('{}', '$.a'), JSON_EXISTS('{}', '$.a'), JSON_SCALAR(1), JSON('{}')",
         Kind::Select, true, &[]),
    (17, "SELECT now() AT LOCAL", Kind::Select, true, &[]),
    (17, "EXPLAIN (ANALYZE, SERIALIZE, MEMORY) SELECT id FROM t", Kind::Utility, true, &["t"]),
    (17, "ALTER TABLE t ALTER COLUMN g SET EXPRESSION AS (a * 3)", Kind::Ddl, false, &["t"]),
    (18, "UPDATE t SET a = a + 1 WHERE id = 1 RETURNING old.a, new.a", Kind::Update, false, &["t"]),
    (18, "INSERT INTO t (id) VALUES (900) RETURNING WITH (OLD AS o, NEW AS n) n.id, o.id", Kind::Insert, false, &["t"]),
    (18, "CREATE TABLE z (a int, b int GENERATED ALWAYS AS (a * 2) VIRTUAL)", Kind::Ddl, false, &["z"]),
    (18, "CREATE TABLE z (a int CHECK (a > 0) NOT ENFORCED, t_id int REFERENCES t NOT ENFORCED)", Kind::Ddl, false, &["t", "z"]),
    (18, "CREATE TABLE z (k int4range, d daterange, PRIMARY KEY (k, d WITHOUT OVERLAPS))", Kind::Ddl, false, &["z"]),
    (18, "ALTER TABLE t ADD CONSTRAINT nn NOT NULL a NOT VALID", Kind::Ddl, false, &["t"]),
    (18, "ANALYZE ONLY t", Kind::Utility, false, &["t"]),
    (18, "SELECT casefold('X'), uuidv7(), array_sort(ARRAY[2, 1])", Kind::Select, true, &[]),
];

fn facts_of(sql: &str) -> Facts {
    let mut reading = facts::read(sql.as_bytes(), &ReadOptions::default());
    assert!(reading.refusal.is_none() && reading.statements.len() == 1, "{sql}: {:?}", reading.refusal);
    reading.statements.remove(0)
}

/// The grammar is that of 18: what an older server does not know yet is read all the same, and the server refuses it.
#[tokio::test]
async fn newer_syntax_is_read_and_the_server_decides() {
    let sluice = proxy().start();
    let client = sluice.connect().await;
    let schema = "CREATE TABLE t (id int PRIMARY KEY, a int, b text, g int GENERATED ALWAYS AS (a * 2) STORED);
        CREATE TABLE u (id int, b text); INSERT INTO t (id, a, b) VALUES (1, 1, '[1]'); INSERT INTO u VALUES (1, '[1]')";
    client.batch_execute(schema).await.unwrap();
    let mut wrong = Vec::new();
    for (since, sql, kind, read_only, tables) in SYNTAX {
        let facts = facts_of(sql);
        let mut named: Vec<_> = facts.tables.iter().map(String::as_str).collect();
        named.sort_unstable();
        if (facts.kind, facts.read_only, &named[..]) != (*kind, *read_only, tables) {
            wrong.push(format!("{sql}: {:?}, read-only {}, {named:?}", facts.kind, facts.read_only));
        }
        let mode = if *read_only { "BEGIN READ ONLY" } else { "BEGIN" };
        client.batch_execute(mode).await.unwrap();
        let outcome = client.batch_execute(sql).await;
        client.batch_execute("ROLLBACK").await.unwrap();
        if outcome.is_ok() != (major() >= *since) {
            wrong.push(format!("{sql}: since {since}, here {outcome:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// What 13 knows and 14 no longer: `unparsed`, so never read-only, and the server still answers.
#[tokio::test]
async fn older_syntax_is_unparsed_and_passes() {
    for sql in ["SELECT 5 !", "SELECT id FROM t WHERE (5 !) > 1"] {
        let reading = facts::read(sql.as_bytes(), &ReadOptions::default());
        assert!(
            reading.refusal.is_some() && reading.statements.iter().all(|facts| !facts.read_only),
            "{sql}"
        );
    }
    let policy = "[[rule]]\nname = 'reads'\nwhen = 'query.kind == \"select\"'\naction = 'block'\n";
    let sluice = proxy().policy(policy).pool_size(1).start();
    let client = sluice.connect().await;
    if major() < 14 {
        assert_eq!(client.text("SELECT 5 !").await, "120");
        assert_eq!(client.query_one("SELECT (5 !)::int4", &[]).await.unwrap().get::<_, i32>(0), 120);
    } else {
        assert_eq!(sqlstate(&client.batch_execute("SELECT 5 !").await.unwrap_err()), "42601");
    }
    // Nobody knows what it did: the client keeps its server, and the next one gets it clean.
    drop(client);
    assert_eq!(sluice.connect().await.text("SHOW search_path").await, r#""$user", public"#);
}
