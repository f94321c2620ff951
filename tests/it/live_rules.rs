//! Rules that are asked at each run: by what the session did, by values, by the time of day.

use std::time::Duration;

use crate::support::raw::{code, tags};
use crate::support::{Frame, Raw, Session, Sluice, eventually, msg, proxy, sqlstate};

async fn start(policy: &str, size: u32) -> Sluice {
    let sluice = proxy().policy(policy).pool_size(size).start();
    let tables = "CREATE TABLE t AS SELECT n, 'x' || n AS name FROM generate_series(1, 50) n;
                  CREATE TABLE late (n int); CREATE TABLE held (n int)";
    sluice.database.direct().await.batch_execute(tables).await.unwrap();
    sluice
}

fn block(name: &str, when: &str) -> String {
    format!("[[rule]]\nname = \"{name}\"\nwhen = '''{when}'''\naction = \"block\"\n")
}

async fn run(raw: &mut Raw, parts: &[Vec<u8>]) -> Vec<Frame> {
    raw.send(&[parts.concat(), msg::sync()].concat()).await;
    raw.until_ready().await
}

/// Bind with a format for each parameter (1: binary).
fn bind(statement: &str, parameters: &[(u16, Option<&[u8]>)]) -> Vec<u8> {
    let mut body = [b"\0", statement.as_bytes(), b"\0"].concat();
    let count = u16::try_from(parameters.len()).unwrap().to_be_bytes();
    body.extend(count);
    parameters.iter().for_each(|(format, _)| body.extend(format.to_be_bytes()));
    body.extend(count);
    for (_, value) in parameters {
        let length = value.map_or(-1, |value| i32::try_from(value.len()).unwrap());
        body.extend(length.to_be_bytes());
        body.extend(value.unwrap_or_default());
    }
    body.extend([0, 0]);
    msg::frame(b'B', &body)
}

async fn fails(
    client: &Session,
    sql: &str,
    value: &(dyn tokio_postgres::types::ToSql + Sync),
) -> Option<String> {
    client.query(sql, &[value]).await.err().map(|error| sqlstate(&error).to_owned())
}

#[tokio::test]
async fn what_holds_the_session_is_known_at_the_next_statement() {
    crate::needs_proxy!();
    let policy = block("pinned", r#""held" in query.tables && session.pins.exists(p, p == "temp_table")"#)
        + &block("pinned-long", r#""late" in query.tables && session.pinned_seconds >= 1.0"#);
    let sluice = start(&policy, 2).await;
    let client = sluice.connect().await;
    client.text("SELECT count(*) FROM held").await;
    client.batch_execute("CREATE TEMP TABLE mine (n int)").await.unwrap();
    eventually("the server was asked what holds it", || async {
        client.batch_execute("SELECT n FROM held").await.is_err()
    })
    .await;
    assert_eq!(sqlstate(&client.query("SELECT n FROM held", &[]).await.unwrap_err()), "42501");
    client.text("SELECT count(*) FROM late").await;
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert_eq!(client.failure("SELECT n FROM late").await, "42501");
    client.batch_execute("DROP TABLE mine").await.unwrap();
    eventually("it is free again", || async { client.batch_execute("SELECT n FROM held").await.is_ok() })
        .await;
    client.text("SELECT count(*) FROM late").await;
}

#[tokio::test]
async fn pauses_and_age_of_a_transaction() {
    crate::needs_proxy!();
    let policy = block("idle", r#""held" in query.tables && session.idle_seconds >= 0.8"#)
        + &block("old", r#""late" in query.tables && session.transaction_seconds >= 0.8"#);
    let sluice = start(&policy, 2).await;
    let client = sluice.connect().await;
    // Outside of a transaction no pause counts.
    client.text("SELECT 1").await;
    tokio::time::sleep(Duration::from_millis(900)).await;
    client.text("SELECT count(*) FROM held").await;
    let prepared = client.prepare("SELECT n FROM held").await.unwrap();
    for extended in [false, true] {
        client.batch_execute("BEGIN").await.unwrap();
        client.text("SELECT count(*) FROM held").await;
        tokio::time::sleep(Duration::from_millis(900)).await;
        client.text("SELECT 1").await;
        client.text("SELECT count(*) FROM held").await; // the pause was before that one
        assert_eq!(client.failure("SELECT n FROM late").await, "42501", "the transaction is old in any case");
        client.batch_execute("ROLLBACK; BEGIN").await.unwrap();
        client.text("SELECT count(*) FROM late").await;
        tokio::time::sleep(Duration::from_millis(900)).await;
        let code = if extended {
            sqlstate(&client.query(&prepared, &[]).await.unwrap_err()).to_owned()
        } else {
            client.failure("SELECT n FROM held").await
        };
        assert_eq!(code, "42501");
        client.batch_execute("ROLLBACK").await.unwrap();
    }
}

#[tokio::test]
async fn lookups_one_by_one_count_within_a_transaction_and_within_a_window() {
    crate::needs_proxy!();
    let policy =
        "[[rule]]\nname = \"n1\"\nfinds = \"repeated-lookup\"\nwith = { max = 3 }\naction = \"block\"\n";
    let sluice = start(policy, 2).await;
    let sql = "SELECT name FROM t WHERE n = $1";
    // A window, by values in binary, by values in text, by literals.
    let client = sluice.connect().await;
    for n in 1..=3 {
        assert_eq!(fails(&client, sql, &n).await, None, "{n}");
        assert_eq!(fails(&client, sql, &n).await, None, "the same again");
    }
    assert_eq!(fails(&client, sql, &4).await.as_deref(), Some("42501"));
    assert_eq!(fails(&client, "SELECT name FROM t WHERE n > $1", &4).await, None, "another statement");
    let mut raw = sluice.raw().await;
    for n in 1..=4 {
        let frames = run(&mut raw, &[msg::extended(sql, &[Some(&n.to_string())])]).await;
        assert_eq!(code(&frames).as_deref(), (n == 4).then_some("42501"), "{n}");
    }
    // In a transaction the count is not that of the window before it; its end is a new beginning.
    let client = sluice.connect().await;
    client.batch_execute("BEGIN").await.unwrap();
    for n in 1..=4 {
        let failed = client.batch_execute(&format!("SELECT name FROM t WHERE n = {n}")).await.is_err();
        assert_eq!(failed, n == 4, "{n}");
    }
    client.batch_execute("ROLLBACK").await.unwrap();
    // One statement of a pipeline counts for the next.
    let mut raw = sluice.raw().await;
    let four: Vec<Vec<u8>> = (1..=4).map(|n| msg::extended(sql, &[Some(&n.to_string())])).collect();
    let frames = run(&mut raw, &four).await;
    assert_eq!(
        (code(&frames).as_deref(), frames.iter().filter(|f| f.tag == b'D').count()),
        (Some("42501"), 3)
    );
}

#[tokio::test]
async fn values_are_read_in_either_format() {
    crate::needs_proxy!();
    let policy = block("wild", r#"query.tables == ["t"] && params.values[0].startsWith("%")"#)
        + &block("big", r#""late" in query.tables && size(params.values[0]) >= 6"#);
    let sluice = start(&policy, 2).await;
    let client = sluice.connect().await;
    let like = "SELECT n FROM t WHERE name LIKE $1";
    assert_eq!(fails(&client, like, &"x1%").await, None);
    assert_eq!(fails(&client, like, &"%1").await.as_deref(), Some("42501"));
    assert_eq!(fails(&client, like, &"x%").await, None, "refused for its value, not for good");
    let numbers = "SELECT n FROM late WHERE n = $1";
    assert_eq!(fails(&client, numbers, &99_999).await, None);
    assert_eq!(fails(&client, numbers, &100_000).await.as_deref(), Some("42501"), "an int4 in binary");
    let prepared = client.prepare(numbers).await.unwrap();
    assert_eq!(sqlstate(&client.query(&prepared, &[&2_000_000]).await.unwrap_err()), "42501");
    client.query(&prepared, &[&7]).await.unwrap();
    let mut raw = sluice.raw().await;
    for (format, bytes, refused) in [
        (0, Some(&b"%x"[..]), true),
        (1, Some(&b"%x"[..]), true),
        (0, Some(b"x"), false),
        (1, Some(b"x"), false),
        (0, None, false),
    ] {
        let parts = [msg::parse("", like, &[25]), bind("", &[(format, bytes)]), msg::execute("", 0)];
        let frames = run(&mut raw, &parts).await;
        assert_eq!(code(&frames).is_some(), refused, "{format} {bytes:?}: {frames:?}");
    }
    // A NULL leaves the others known.
    let two = "SELECT n FROM t WHERE name LIKE $1 AND name <> $2";
    let parts = [msg::parse("", two, &[25, 25]), msg::bind("", "", &[Some("%x"), None]), msg::execute("", 0)];
    assert_eq!(code(&run(&mut raw, &parts).await).as_deref(), Some("42501"));
    // With types declared, without having been told of any.
    let parts = [
        msg::parse("", numbers, &[20]),
        bind("", &[(1, Some(&123_456i64.to_be_bytes()))]),
        msg::execute("", 0),
    ];
    assert_eq!(code(&run(&mut raw, &parts).await).as_deref(), Some("42501"));
}

#[tokio::test]
async fn a_leading_wildcard_in_a_value_is_found_by_its_detector() {
    crate::needs_proxy!();
    let policy = "[[rule]]\nname = \"like\"\nfinds = \"leading-wildcard-like\"\naction = \"block\"\n";
    let sluice = start(policy, 2).await;
    let client = sluice.connect().await;
    let like = client.prepare("SELECT n FROM t WHERE name LIKE $1 AND n > $2").await.unwrap();
    for (pattern, refused) in [("x%", false), ("%x", true), ("_x", true), ("x", false), ("", false)] {
        assert_eq!(client.query(&like, &[&pattern, &0]).await.is_err(), refused, "{pattern}");
    }
    assert!(client.query(&like, &[&None::<&str>, &0]).await.unwrap().is_empty());
    // In a transaction it fails with it.
    client.batch_execute("BEGIN").await.unwrap();
    assert!(client.query(&like, &[&"%x", &0]).await.is_err());
    assert_eq!(client.failure("SELECT 1").await, "25P02");
    client.batch_execute("ROLLBACK").await.unwrap();
}

#[tokio::test]
async fn windows_that_are_open_and_shut_now() {
    crate::needs_proxy!();
    let hour =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() / 3600 % 24;
    let window = |from: u64, to: u64| format!("hours = \"{:02}:00-{:02}:00\"\n", from % 24, to % 24);
    let open = window(hour + 22, hour + 2);
    let shut = window(hour + 8, hour + 12);
    let rule =
        |name: &str, table: &str, more: &str| block(name, &format!("\"{table}\" in query.tables")) + more;
    let policy = rule("open", "t", &open)
        + &rule("shut", "late", &shut)
        + &block("by-fact", &format!("\"held\" in query.tables && time.hour != {}", (hour + 8) % 24))
        + &rule("over", "pg_class", "valid_until = 2020-01-01\n");
    let sluice = start(&policy, 2).await;
    let client = sluice.connect().await;
    for _ in 0..2 {
        assert_eq!(client.failure("SELECT n FROM t").await, "42501");
        assert_eq!(fails(&client, "SELECT n FROM t WHERE n = $1", &1).await.as_deref(), Some("42501"));
        client.batch_execute("SELECT n FROM late").await.unwrap();
        assert_eq!(fails(&client, "SELECT n FROM late WHERE n = $1", &1).await, None);
        assert_eq!(client.failure("SELECT n FROM held").await, "42501");
        client.batch_execute("SELECT oid FROM pg_class LIMIT 1").await.unwrap();
    }
    let mut raw = sluice.raw().await;
    let frames =
        run(&mut raw, &[msg::extended("SELECT 1", &[]), msg::extended("SELECT n FROM t", &[])]).await;
    assert_eq!(code(&frames).as_deref(), Some("42501"), "{}", tags(&frames));
    eventually("it is counted", || async {
        sluice.metric("pgsluice_verdicts_total", &["rule=\"open\""]).await >= 5.0
    })
    .await;
}
