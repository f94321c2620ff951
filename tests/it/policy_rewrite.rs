//! Texts that a policy rewrites: what runs, what the client is told of it, and what is refused instead.

use crate::support::console::{console, with_admin};
use crate::support::raw::tags;
use crate::support::{Frame, Raw, Session, Sluice, eventually, msg, proxy, sqlstate};

const LIMIT: &str = r#"
[[rule]]
name = "bounded"
when = 'query.kind == "select" && "many" in query.tables'
action = "rewrite"
rewrite = { limit = 5 }
"#;
const TENANT: &str = r#"
[[rule]]
name = "tenant"
only = { tables = ["orders", "parts"] }
action = "rewrite"
rewrite = { where = "tenant = current_setting('app.tenant')::int", tables = ["orders", "parts"] }
"#;
const LENIENT: &str = r#"
[[rule]]
name = "if-you-can"
when = 'query.kind == "select" && "loose" in query.tables'
action = "rewrite"
rewrite = { limit = 2, otherwise = "run" }
"#;
const COLUMNS: &str = r#"
[[rule]]
name = "named-columns"
when = 'query.select_star && "wide" in query.tables'
action = "rewrite"
rewrite = { columns = true }
"#;
const BY_HAND: &str = "[guard]\npolicy_check_interval = \"0s\"";

const SCHEMA: &str = "CREATE TABLE many AS SELECT n, 'x' || n AS t FROM generate_series(1, 100) n;
    CREATE TABLE loose AS SELECT n FROM generate_series(1, 10) n;
    CREATE TABLE orders AS SELECT n, n % 3 AS tenant FROM generate_series(1, 30) n;
    CREATE TABLE parts AS SELECT n, n % 3 AS tenant FROM generate_series(1, 30) n;
    CREATE TABLE wide (id int, \"Odd name\" text, note text);
    INSERT INTO wide VALUES (1, 'a', 'b')";

async fn start(size: u32) -> Sluice {
    let policy = [LIMIT, TENANT, LENIENT, COLUMNS].concat();
    let sluice = with_admin(proxy().policy(&policy).setting(BY_HAND).pool_size(size));
    sluice.database.direct().await.batch_execute(SCHEMA).await.unwrap();
    sluice
}

async fn rows(client: &Session, sql: &str) -> usize {
    let messages = client.simple_query(sql).await.unwrap_or_else(|e| panic!("{sql}: {e:?}"));
    messages.iter().filter(|m| matches!(m, tokio_postgres::SimpleQueryMessage::Row(_))).count()
}

fn values(frames: &[Frame]) -> Vec<String> {
    let rows = frames.iter().filter(|f| f.tag == b'D');
    rows.map(|f| f.columns().into_iter().map(Option::unwrap_or_default).collect::<Vec<_>>().join(","))
        .collect()
}

async fn run(raw: &mut Raw, parts: &[Vec<u8>]) -> Vec<Frame> {
    raw.send(&[parts.concat(), msg::sync()].concat()).await;
    raw.until_ready().await
}

#[tokio::test]
async fn a_limit_is_added_or_lowered_on_each_protocol() {
    crate::needs_proxy!();
    let sluice = start(1).await;
    let client = sluice.connect().await;
    for (sql, expected) in [
        ("SELECT n FROM many", 5),
        ("SELECT n FROM many LIMIT 50", 5),
        ("SELECT n FROM many LIMIT 3", 3),
        ("SELECT n FROM many ORDER BY n OFFSET 98", 2),
        ("SELECT n FROM many FETCH FIRST 20 ROWS ONLY", 5),
        ("SELECT n FROM loose", 2),
        ("SELECT n FROM loose LIMIT 1 + 3", 4),
    ] {
        for _ in 0..3 {
            assert_eq!(rows(&client, sql).await, expected, "{sql}");
            assert_eq!(client.query(sql, &[]).await.unwrap().len(), expected, "{sql}");
        }
    }
    let statement = client.prepare("SELECT n, t FROM many WHERE n > $1 ORDER BY n").await.unwrap();
    let names: Vec<&str> = statement.columns().iter().map(|column| column.name()).collect();
    assert_eq!((names, statement.params().len()), (vec!["n", "t"], 1));
    for from in [0, 50, 97] {
        let found = client.query(&statement, &[&from]).await.unwrap();
        let found: Vec<i32> = found.iter().map(|row| row.get(0)).collect();
        assert_eq!(found, (from + 1..=100).take(5).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn what_cannot_be_rewritten_is_refused_and_says_why() {
    crate::needs_proxy!();
    let sluice = start(1).await;
    let client = sluice.connect().await;
    for sql in [
        "TABLE many",
        "SELECT n FROM many LIMIT 1 + 1",
        "SELECT n FROM many; SELECT 1",
        "SELECT n FROM orders; SELECT 1",
    ] {
        let error = client.batch_execute(sql).await.unwrap_err();
        let error = error.as_db_error().unwrap();
        assert_eq!(error.code().code(), "42501", "{sql}");
        assert!(error.message().contains("cannot rewrite this statement"), "{error:?}");
    }
    let error = client.query("SELECT n FROM many LIMIT $1", &[&3i64]).await.unwrap_err();
    assert_eq!(sqlstate(&error), "42501");
    // The transaction fails with it, on both sides; without one the client goes on.
    client.batch_execute("BEGIN").await.unwrap();
    assert_eq!(client.failure("SELECT n FROM many LIMIT 1 + 1").await, "42501");
    assert_eq!(client.failure("SELECT 1").await, "25P02");
    client.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(
        client.query("SELECT n FROM loose LIMIT $1", &[&3i64]).await.unwrap().len(),
        3,
        "it runs as it is"
    );
    assert_eq!(rows(&client, "SELECT n FROM many").await, 5);
}

#[tokio::test]
async fn a_required_predicate_holds_wherever_the_table_stands() {
    crate::needs_proxy!();
    let sluice = start(1).await;
    let client = sluice.connect().await;
    client.batch_execute("SET app.tenant = '1'").await.unwrap();
    assert_eq!(client.text("SELECT count(*) FROM orders").await, "10");
    let joined = "SELECT count(*) FROM orders o LEFT JOIN parts p ON p.n = o.n + 1";
    assert_eq!(client.text(joined).await, "10");
    let nested = "SELECT count(*) FROM many WHERE n IN (SELECT n FROM orders WHERE n > $1)";
    let count = |row: &tokio_postgres::Row| row.get::<_, i64>(0);
    assert_eq!(count(&client.query_one(nested, &[&0]).await.unwrap()), 10);
    assert_eq!(client.execute("UPDATE orders SET n = n + 100 WHERE n > $1", &[&15]).await.unwrap(), 5);
    assert_eq!(client.execute("DELETE FROM parts", &[]).await.unwrap(), 10);
    client.batch_execute("BEGIN; SET LOCAL app.tenant = '2'").await.unwrap();
    assert_eq!(client.text("SELECT count(*) FROM parts").await, "10");
    client.batch_execute("COMMIT").await.unwrap();
    assert_eq!(client.text("SELECT count(*) FROM parts").await, "0");
    // In a pipeline each is rewritten for itself, and what follows is not.
    let mut raw = sluice.raw().await;
    raw.query("SET app.tenant = '2'").await;
    let frames = run(
        &mut raw,
        &[
            msg::extended("SELECT count(*) FROM orders", &[]),
            msg::extended("SELECT count(*) FROM loose", &[]),
            msg::extended("SELECT count(*) FROM parts WHERE n < $1", &[Some("16")]),
        ],
    )
    .await;
    assert_eq!(values(&frames), ["10", "10", "5"], "{frames:?}");
    let direct = sluice.database.direct().await;
    assert_eq!(direct.text("SELECT count(*) FROM orders WHERE n > 100").await, "5");
}

#[tokio::test]
async fn a_star_becomes_the_columns_that_the_client_is_told_of() {
    crate::needs_proxy!();
    let sluice = start(1).await;
    let client = sluice.connect().await;
    eventually("the catalog is known", || async { client.batch_execute("SELECT * FROM wide").await.is_ok() })
        .await;
    let statement = client.prepare("SELECT * FROM wide WHERE id = $1").await.unwrap();
    let names: Vec<&str> = statement.columns().iter().map(|column| column.name()).collect();
    assert_eq!(names, ["id", "Odd name", "note"]);
    let row = client.query_one(&statement, &[&1]).await.unwrap();
    assert_eq!((row.get::<_, &str>(1), row.get::<_, &str>(2)), ("a", "b"));
    let mut raw = sluice.raw().await;
    let frames = raw.query("SELECT w.* FROM wide w").await;
    assert_eq!(values(&frames), ["1,a,b"]);
    // What the catalog does not know cannot be named.
    assert_eq!(client.failure("SELECT * FROM wide, generate_series(1, 2) g").await, "42501");
}

#[tokio::test]
async fn errors_of_a_rewritten_text_point_nowhere_in_it() {
    crate::needs_proxy!();
    let sluice = start(1).await;
    let mut raw = sluice.raw().await;
    for frames in [
        raw.query("SELECT nonsense FROM many").await,
        run(&mut raw, &[msg::extended("SELECT nonsense FROM many", &[])]).await,
    ] {
        let error = frames.iter().find(|f| f.tag == b'E').unwrap();
        assert_eq!((error.field(b'C').as_deref(), error.field(b'P')), (Some("42703"), None));
    }
    let frames = raw.query("SELECT nonsense FROM loose, many LIMIT 1").await;
    assert_eq!(frames[0].field(b'C').as_deref(), Some("42703"));
    let frames = raw.query("SELECT nonsense").await;
    assert_eq!(frames[0].field(b'P').as_deref(), Some("8"), "the client's own text");
}

/// The rule is changed, and then gone: what was prepared under it is the client's own text again.
#[tokio::test]
async fn what_was_prepared_runs_as_the_rules_of_the_moment_want_it() {
    crate::needs_proxy!();
    let sluice = start(2).await;
    let mut console = console(&sluice).await;
    let mut raw = sluice.raw().await;
    let prepare = [msg::parse("named", "SELECT n FROM many", &[]), msg::describe_statement("named")];
    assert_eq!(tags(&run(&mut raw, &prepare).await), "1tTZ");
    run(&mut raw, &[msg::parse("", "SELECT n FROM many", &[])]).await;
    let portal =
        |name: &str| [msg::bind("", name, &[]), msg::describe_portal(""), msg::execute("", 0)].concat();
    for (policy, expected) in [
        (None, 5),
        (Some(LIMIT.replace("limit = 5", "limit = 7")), 7),
        (Some(String::new()), 100),
        (Some(LIMIT.to_owned()), 5),
        (Some(LIMIT.replace("limit = 5", "limit = 9")), 9),
        (Some(String::new()), 100),
    ] {
        if let Some(policy) = policy {
            sluice.write_policy(&policy);
            assert_eq!(tags(&console.query("RELOAD POLICIES").await), "CZ");
        }
        for name in ["named", "", "named"] {
            let frames = run(&mut raw, &[portal(name)]).await;
            assert_eq!(values(&frames).len(), expected, "{name:?}: {frames:?}");
        }
    }
    assert_eq!(tags(&run(&mut raw, &[msg::close_statement("named")]).await), "3Z");
}

#[tokio::test]
async fn a_rewrite_that_waits_for_the_moment() {
    crate::needs_proxy!();
    let policy = r#"
[[rule]]
name = "in-transactions"
when = '"many" in query.tables && session.in_transaction'
action = "rewrite"
rewrite = { limit = 4 }
"#;
    let sluice = proxy().policy(policy).pool_size(1).start();
    sluice.database.direct().await.batch_execute(SCHEMA).await.unwrap();
    let client = sluice.connect().await;
    let statement = client.prepare("SELECT n FROM many WHERE n <> $1").await.unwrap();
    for _ in 0..2 {
        assert_eq!(client.query(&statement, &[&1]).await.unwrap().len(), 99);
        assert_eq!(rows(&client, "SELECT n FROM many").await, 100);
        client.batch_execute("BEGIN").await.unwrap();
        assert_eq!(client.query(&statement, &[&1]).await.unwrap().len(), 4);
        assert_eq!(rows(&client, "SELECT n FROM many").await, 4);
        assert_eq!(client.query("SELECT n FROM many WHERE n <> $1", &[&1]).await.unwrap().len(), 4);
        client.batch_execute("COMMIT").await.unwrap();
    }
}

/// The statement of a SQL `PREPARE` is rewritten where it is prepared, and goes with its client as any other.
#[tokio::test]
async fn sql_prepare_takes_the_rewritten_text_along() {
    crate::needs_proxy!();
    let sluice = start(1).await;
    let (a, b) = (sluice.connect().await, sluice.connect().await);
    for client in [&a, &b] {
        client.batch_execute("SET app.tenant = '1'").await.unwrap();
        client.batch_execute("PREPARE p AS SELECT count(*) FROM orders WHERE n < $1").await.unwrap();
    }
    for _ in 0..2 {
        // One server for both: a statement that held it would let nobody else in.
        assert_eq!(a.text("EXECUTE p (16)").await, "5");
        assert_eq!(b.text("EXECUTE p (31)").await, "10");
    }
}
