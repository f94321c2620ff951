//! Named prepared statements in transaction mode: the client's names are its own, on whatever server it is.

use crate::support::raw::tags;
use crate::support::{Raw, msg, proxy};

async fn run(raw: &mut Raw, name: &str, parameters: &[Option<&str>]) -> Result<Option<String>, String> {
    raw.send(&[msg::bind("", name, parameters), msg::execute("", 0), msg::sync()].concat()).await;
    let frames = raw.until_ready().await;
    match frames.iter().find(|f| f.tag == b'E') {
        Some(error) => Err(error.field(b'C').unwrap()),
        None => Ok(frames.iter().find(|f| f.tag == b'D').and_then(|f| f.columns()[0].clone())),
    }
}

async fn parse(raw: &mut Raw, name: &str, sql: &str) -> Result<(), String> {
    raw.send(&[msg::parse(name, sql, &[]), msg::sync()].concat()).await;
    let frames = raw.until_ready().await;
    match frames.iter().find(|f| f.tag == b'E') {
        Some(error) => Err(error.field(b'C').unwrap()),
        None => {
            assert_eq!(tags(&frames), "1Z");
            Ok(())
        }
    }
}

fn some(text: &str) -> Result<Option<String>, String> {
    Ok(Some(text.to_owned()))
}

#[tokio::test]
async fn a_statement_follows_its_client_to_every_server() {
    let sluice = proxy().pool_size(3).start();
    let mut raw = sluice.raw().await;
    parse(&mut raw, "s", "SELECT $1::int * 2").await.unwrap();
    let mut held = Vec::new();
    // Each round takes one more server away, so that the statement must be found on another.
    for n in 1..=3 {
        assert_eq!(run(&mut raw, "s", &[Some("21")]).await, some("42"));
        if n < 3 {
            let other = sluice.connect().await;
            other.batch_execute("BEGIN").await.unwrap();
            held.push(other);
        }
    }
    raw.send(&[msg::describe_statement("s"), msg::sync()].concat()).await;
    assert_eq!(tags(&raw.until_ready().await), "tTZ");
}

#[tokio::test]
async fn the_same_name_means_another_statement_for_another_client() {
    let sluice = proxy().pool_size(1).start();
    let (mut one, mut two) = (sluice.raw().await, sluice.raw().await);
    parse(&mut one, "s", "SELECT 'one'").await.unwrap();
    parse(&mut two, "s", "SELECT 'two'").await.unwrap();
    for _ in 0..3 {
        assert_eq!(run(&mut one, "s", &[]).await, some("one"));
        assert_eq!(run(&mut two, "s", &[]).await, some("two"));
    }
    two.send(&[msg::close_statement("s"), msg::sync()].concat()).await;
    assert_eq!(tags(&two.until_ready().await), "3Z");
    assert_eq!(run(&mut two, "s", &[]).await, Err("26000".into()));
    assert_eq!(run(&mut one, "s", &[]).await, some("one"));
}

#[tokio::test]
async fn a_name_in_use_is_refused_until_it_is_closed() {
    let sluice = proxy().start();
    let mut raw = sluice.raw().await;
    parse(&mut raw, "s", "SELECT 'one'").await.unwrap();
    assert_eq!(parse(&mut raw, "s", "SELECT 'two'").await, Err("42P05".into()));
    assert_eq!(parse(&mut raw, "s", "SELECT 'one'").await, Err("42P05".into()));
    assert_eq!(run(&mut raw, "s", &[]).await, some("one"));
    let again = [msg::close_statement("s"), msg::parse("s", "SELECT 'two'", &[]), msg::sync()].concat();
    raw.send(&again).await;
    assert_eq!(tags(&raw.until_ready().await), "31Z");
    assert_eq!(run(&mut raw, "s", &[]).await, some("two"));
}

#[tokio::test]
async fn a_statement_that_failed_to_parse_does_not_exist() {
    let sluice = proxy().start();
    let mut raw = sluice.raw().await;
    assert_eq!(parse(&mut raw, "s", "SELECT * FROM nowhere").await, Err("42P01".into()));
    assert_eq!(run(&mut raw, "s", &[]).await, Err("26000".into()));
    parse(&mut raw, "s", "SELECT 'now'").await.unwrap();
    assert_eq!(run(&mut raw, "s", &[]).await, some("now"));
}

#[tokio::test]
async fn a_statement_skipped_after_an_error_does_not_exist() {
    let sluice = proxy().start();
    let mut raw = sluice.raw().await;
    let bytes = [msg::parse("", "SELEC", &[]), msg::parse("s", "SELECT 1", &[]), msg::sync()].concat();
    raw.send(&bytes).await;
    assert_eq!(tags(&raw.until_ready().await), "EZ");
    assert_eq!(run(&mut raw, "s", &[]).await, Err("26000".into()));
    parse(&mut raw, "s", "SELECT 'now'").await.unwrap();
}

#[tokio::test]
async fn a_statement_outlives_the_transaction_it_was_made_in() {
    let sluice = proxy().pool_size(2).start();
    let mut raw = sluice.raw().await;
    raw.query("BEGIN").await;
    parse(&mut raw, "s", "SELECT 'still here'").await.unwrap();
    raw.query("ROLLBACK").await;
    let other = sluice.connect().await;
    other.batch_execute("BEGIN").await.unwrap();
    assert_eq!(run(&mut raw, "s", &[]).await, some("still here"));
}

#[tokio::test]
async fn far_more_statements_than_a_server_keeps() {
    let sluice = proxy().pool_size(1).setting("[pool]\nmax_prepared_statements = 20").start();
    let mut raw = sluice.raw().await;
    for n in 0..200 {
        parse(&mut raw, &format!("s{n}"), &format!("SELECT {n}")).await.unwrap();
    }
    for n in (0..200).rev() {
        assert_eq!(run(&mut raw, &format!("s{n}"), &[]).await, some(&n.to_string()));
    }
    let frames = raw.query("SELECT count(*) FROM pg_prepared_statements").await;
    assert_eq!(frames[1].columns()[0].as_deref(), Some("200"), "for the client they are all there");
}

#[tokio::test]
async fn more_statements_in_one_pipeline_than_a_server_keeps() {
    let sluice = proxy().pool_size(1).setting("[pool]\nmax_prepared_statements = 5").start();
    let mut raw = sluice.raw().await;
    let mut bytes = Vec::new();
    for n in 0..30 {
        bytes.extend(msg::parse(&format!("s{n}"), &format!("SELECT {n}"), &[]));
    }
    for n in 0..30 {
        bytes.extend([msg::bind("", &format!("s{n}"), &[]), msg::execute("", 0)].concat());
    }
    bytes.extend(msg::sync());
    raw.send(&bytes).await;
    let frames = raw.until_ready().await;
    assert_eq!(tags(&frames), format!("{}{}Z", "1".repeat(30), "2DC".repeat(30)));
    let values: Vec<_> =
        frames.iter().filter(|f| f.tag == b'D').map(|f| f.columns()[0].clone().unwrap()).collect();
    assert_eq!(values, (0..30).map(|n| n.to_string()).collect::<Vec<_>>());
}

#[tokio::test]
async fn one_client_cannot_hoard_statements_without_bound() {
    crate::needs_proxy!();
    let sluice = proxy().setting("[pool]\nprepared_statement_bytes = \"100kB\"").start();
    let mut raw = sluice.raw().await;
    let sql = format!("SELECT 1 /* {} */", "x".repeat(10_000));
    let mut refused = None;
    for n in 0..20 {
        if let Err(code) =
            parse(&mut raw, &format!("s{n}"), &sql.replace("SELECT 1", &format!("SELECT {n}"))).await
        {
            refused = Some((n, code));
            break;
        }
    }
    let (n, code) = refused.expect("200 kB of statements fit into 100 kB");
    assert!((5..=10).contains(&n) && code.starts_with('5'), "refused at {n} with {code}");
    assert_eq!(run(&mut raw, "s0", &[]).await, some("0"));
    // Room is made by closing.
    raw.send(&[msg::close_statement("s0"), msg::sync()].concat()).await;
    raw.until_ready().await;
    parse(&mut raw, "again", &sql).await.unwrap();
}

#[tokio::test]
async fn a_driver_prepares_once_and_runs_often_between_other_clients() {
    let sluice = proxy().pool_size(2).start();
    let mut tasks = Vec::new();
    for n in 0..8i64 {
        let client = sluice.connect().await;
        tasks.push(tokio::spawn(async move {
            let statement = client.prepare("SELECT $1::bigint + $2::bigint").await.unwrap();
            for k in 0..50i64 {
                let row = client.query_one(&statement, &[&n, &k]).await.unwrap();
                assert_eq!(row.get::<_, i64>(0), n + k);
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
}

#[tokio::test]
async fn declared_parameter_types_are_part_of_a_statement() {
    let sluice = proxy().pool_size(1).start();
    let mut clients = [sluice.raw().await, sluice.raw().await];
    for (client, oid, expected) in [(0, 23, "integer"), (1, 20, "bigint"), (1, 25, "text")] {
        let raw = &mut clients[client];
        let name = format!("s{oid}");
        let bytes = [msg::parse(&name, "SELECT pg_typeof($1)::text", &[oid]), msg::sync()].concat();
        raw.send(&bytes).await;
        assert_eq!(tags(&raw.until_ready().await), "1Z");
        assert_eq!(run(raw, &name, &[Some("1")]).await, some(expected));
    }
}
