//! Statements of SQL `PREPARE` go with their client: whatever server it is given, it sees what it would see alone.

use crate::support::{Frame, Raw, eventually, msg, proxy};

enum Say {
    Sql(&'static str),
    /// The same by the extended protocol.
    Extended(&'static str),
    /// Without asking for the columns.
    Run(&'static str),
    /// Bind and Execute of a name, with a value for each parameter.
    Bind(&'static str, &'static [&'static str]),
    Describe(&'static str),
    Close(&'static str),
    Parse(&'static str, &'static str),
}
use Say::{Bind, Close, Describe, Extended, Parse, Run, Sql};

impl Say {
    fn bytes(&self) -> Vec<u8> {
        let batch = match self {
            Sql(sql) => return msg::query(sql),
            Extended(sql) => msg::extended(sql, &[]),
            Run(sql) => [msg::parse("", sql, &[]), msg::bind("", "", &[]), msg::execute("", 0)].concat(),
            Bind(name, values) => {
                let values: Vec<_> = values.iter().map(|value| Some(*value)).collect();
                [msg::bind("", name, &values), msg::describe_portal(""), msg::execute("", 0)].concat()
            }
            Describe(name) => msg::describe_statement(name),
            Close(name) => msg::close_statement(name),
            Parse(name, sql) => msg::parse(name, sql, &[]),
        };
        [batch, msg::sync()].concat()
    }
}

const LISTED: &str = "SELECT name, statement, parameter_types, from_sql FROM pg_prepared_statements ORDER BY prepare_time, name";

const FORMS: [Say; 50] = [
    Sql("PREPARE p(int, text) AS SELECT $1 + 1, $2 || 'x'"),
    Sql("EXECUTE p(1, 'a')"),
    Extended("EXECUTE p(1, 'a')"),
    Sql("EXPLAIN (COSTS OFF) EXECUTE p(1, 'a')"),
    Sql("CREATE TABLE made AS EXECUTE p(2, 'b')"),
    Sql("SELECT * FROM made"),
    Describe("p"),
    Bind("p", &["3", "c"]),
    Bind("p", &["x", "c"]),
    Sql("EXECUTE p(1)"),
    Sql("PREPARE p AS SELECT 1"),
    Parse("p", "SELECT 2"),
    Sql("EXECUTE nope"),
    Sql("PREPARE bad AS SELECT * FROM nope"),
    Sql("EXECUTE bad"),
    Sql("BEGIN"),
    Sql("PREPARE \"Q\"\"\" AS SELECT 'q', $1::int"),
    Sql("ROLLBACK"),
    Sql("EXECUTE \"Q\"\"\"(4)"),
    Sql(LISTED),
    Extended(LISTED),
    Sql("BEGIN"),
    Sql("SELECT 1/0"),
    Sql("EXECUTE p(1, 'a')"),
    Sql("ROLLBACK"),
    Sql("CREATE FUNCTION f() RETURNS void LANGUAGE plpgsql AS $$BEGIN EXECUTE 'EXECUTE p(1, ''a'')'; END$$"),
    Sql("SELECT f()"),
    Close("Q\""),
    Bind("Q\"", &["4"]),
    Sql("EXECUTE \"Q\"\"\"(4)"),
    Extended("PREPARE \"Q\"\"\" AS SELECT 'again'"),
    Sql("EXECUTE \"Q\"\"\""),
    Sql(LISTED),
    Parse("proto", "SELECT 'proto'"),
    Sql("EXECUTE proto"),
    Sql("PREPARE proto AS SELECT 1"),
    Sql("DEALLOCATE p"),
    Sql("EXECUTE p(1, 'a')"),
    Bind("p", &["3", "c"]),
    Parse("p", "SELECT 'protocol''s'"),
    Sql("EXECUTE p"),
    Sql("BEGIN; DEALLOCATE \"Q\"\"\"; ROLLBACK"),
    Sql("EXECUTE \"Q\"\"\""),
    Sql("DEALLOCATE ALL"),
    Sql(LISTED),
    Sql("PREPARE e AS SELECT 'e'"),
    Sql("EXECUTE e"),
    Sql("DISCARD ALL"),
    Sql("EXECUTE e"),
    Sql(LISTED),
];

/// Everything under the statements changes.
const CHANGES: [Say; 37] = [
    Sql("CREATE TABLE c AS SELECT 1 AS a"),
    Sql("PREPARE c AS SELECT * FROM c"),
    Sql("EXECUTE c"),
    Sql("ALTER TABLE c ADD b int"),
    Sql("EXECUTE c"),
    Sql("EXECUTE c"),
    Run("EXECUTE c"),
    Sql("ALTER TABLE c DROP b"),
    Sql("EXECUTE c"),
    Sql("DROP TABLE c"),
    Sql("EXECUTE c"),
    Sql("EXPLAIN EXECUTE c"),
    Sql("SELECT 1"),
    Sql("CREATE TABLE c AS SELECT 2 AS a"),
    Sql("EXECUTE c"),
    Extended("EXECUTE c"),
    Sql("DROP TABLE c"),
    Sql("EXECUTE c"),
    Sql("DEALLOCATE c"),
    Sql("SET datestyle = 'ISO, DMY'"),
    Sql("PREPARE d AS SELECT extract(month FROM date '01/02/2003')::text"),
    Sql("SET datestyle = 'ISO, MDY'"),
    Sql("EXECUTE d"),
    Sql("SHOW datestyle"),
    Sql("CREATE SCHEMA s1"),
    Sql("CREATE SCHEMA s2"),
    Sql("CREATE TABLE s1.z AS SELECT 1 AS n"),
    Sql("CREATE TABLE s2.z AS SELECT 2 AS n"),
    Sql("SET search_path = s1"),
    Sql("PREPARE z AS SELECT n FROM z"),
    Sql("SET search_path = s2"),
    Sql("EXECUTE z"),
    Sql("SHOW search_path"),
    Sql("PREPARE w AS SELECT set_config('work_mem', '77kB', false)"),
    Sql("EXECUTE w"),
    Sql("SHOW work_mem"),
    Sql("DISCARD ALL"),
];

fn visible(frame: &Frame) -> Option<String> {
    match frame.tag {
        b'N' | b'S' => None,
        b'E' => Some(format!("E {:?} {:?}", frame.field(b'C'), frame.field(b'M'))),
        b'D' => Some(format!("D {:?}", frame.columns())),
        b'C' => Some(format!("C {}", frame.text())),
        b'Z' => Some(format!("Z {}", char::from(frame.body[0]))),
        tag => Some(char::from(tag).to_string()),
    }
}

async fn say(raw: &mut Raw, say: &Say) -> Vec<String> {
    raw.send(&say.bytes()).await;
    raw.until_ready().await.iter().filter_map(visible).collect()
}

/// Another client has the only server between any two statements, with statements of the same names.
async fn as_alone(script: &[Say]) {
    let sluice = proxy().pool_size(1).start();
    let (mut raw, mut other) = (sluice.raw().await, sluice.raw().await);
    let mut direct = sluice.database.raw_direct().await;
    let mut expected = Vec::new();
    for step in script {
        expected.push(say(&mut direct, step).await);
    }
    // Through the same tables.
    let clean = "DROP TABLE IF EXISTS made, c; DROP FUNCTION IF EXISTS f; DROP SCHEMA IF EXISTS s1, s2 CASCADE; DISCARD ALL";
    for part in clean.split("; ") {
        direct.query(part).await;
    }
    say(&mut other, &Sql("PREPARE p AS SELECT 'other'")).await;
    say(&mut other, &Sql("PREPARE c AS SELECT 'other'")).await;
    for (n, (step, expected)) in script.iter().zip(&expected).enumerate() {
        let seen = say(&mut raw, step).await;
        assert_eq!(&seen, expected, "step {n}: {}", String::from_utf8_lossy(&step.bytes()));
        let open = seen.last().is_some_and(|ready| ready != "Z I");
        if !open {
            let heard =
                say(&mut other, if n % 2 == 0 { &Extended("EXECUTE p") } else { &Sql("SELECT 'other'") });
            assert!(heard.await.contains(&"D [Some(\"other\")]".to_owned()), "step {n}");
        }
    }
    let pins = sluice.metric("pgsluice_pins_total", &["reason=\"sql_prepare\""]).await;
    assert!(pins == 0.0, "{pins} pins");
}

#[tokio::test]
async fn every_form_is_as_on_a_server_of_its_own() {
    crate::needs_proxy!();
    as_alone(&FORMS).await;
}

#[tokio::test]
async fn what_changes_underneath_shows_as_it_would_alone() {
    crate::needs_proxy!();
    as_alone(&CHANGES).await;
}

/// What can't be told apart from its text, or from the settings it was read under, holds the server.
#[tokio::test]
async fn what_can_not_be_prepared_again_holds_its_server() {
    crate::needs_proxy!();
    let sluice = proxy().pool_size(2).start();
    let mut raw = sluice.raw().await;
    let held = [
        "PREPARE a AS SELECT 'a'; PREPARE b AS SELECT 'b'",
        "DO $$BEGIN EXECUTE 'PREPARE a AS SELECT ''a'''; EXECUTE 'PREPARE b AS SELECT ''b'''; END$$",
    ];
    for (n, text) in held.iter().enumerate() {
        raw.query(text).await;
        let pinned = async || {
            sluice.metric("pgsluice_pins_total", &["reason=\"sql_prepare\""]).await == (n + 1) as f64
        };
        eventually("held", pinned).await;
        for name in ["a", "b"] {
            assert_eq!(raw.query(&format!("EXECUTE {name}")).await[1].columns(), [Some(name.to_owned())]);
        }
        raw.send(&[msg::parse("a", "SELECT 1", &[]), msg::sync()].concat()).await;
        assert_eq!(raw.until_ready().await[0].field(b'C').unwrap(), "42P05");
        raw.query("DEALLOCATE a").await;
        raw.query("DEALLOCATE b").await;
    }
}

/// A name of the protocol's that one text deallocates and prepares anew is SQL's from then on; if the text fails, what the
/// server has done of it holds.
#[tokio::test]
async fn a_name_that_changes_hands_within_one_text() {
    crate::needs_proxy!();
    let sluice = proxy().pool_size(1).start();
    for (text, mine) in [
        ("DEALLOCATE p; PREPARE p AS SELECT 2", Some("2")),
        ("DEALLOCATE p; PREPARE p AS SELECT 2; EXECUTE p", Some("2")),
        ("DEALLOCATE p; PREPARE p AS SELECT nonsense", None),
        ("SELECT nonsense; DEALLOCATE p; PREPARE p AS SELECT 2", Some("1")),
    ] {
        let (mut raw, mut other) = (sluice.raw().await, sluice.raw().await);
        raw.send(&[msg::parse("p", "SELECT 1", &[]), msg::sync()].concat()).await;
        raw.until_ready().await;
        raw.query(text).await;
        for bytes in [
            msg::query("EXECUTE p"),
            [msg::bind("", "p", &[]), msg::execute("", 0), msg::sync()].concat(),
            msg::query("EXECUTE p"),
        ] {
            raw.send(&bytes).await;
            let frames = raw.until_ready().await;
            let found = frames.iter().find(|f| f.tag == b'D').and_then(|f| f.columns()[0].clone());
            assert_eq!(found.as_deref(), mine, "{text}: {frames:?}");
        }
        drop(raw);
        let frames = other.query("EXECUTE p").await;
        assert_eq!(frames[0].field(b'C').as_deref(), Some("26000"), "{text}: {frames:?}");
    }
}
