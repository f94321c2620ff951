//! The extended protocol: Parse, Bind, Describe, Execute, Close.

use tokio_postgres::types::Type;

use crate::support::raw::tags;
use crate::support::{msg, proxy, sqlstate};

#[tokio::test]
async fn prepared_statements_with_typed_parameters() {
    let sluice = proxy().start();
    let client = sluice.connect().await;
    client.batch_execute("CREATE TABLE item (id bigint, name text, price numeric)").await.unwrap();
    let insert = client.prepare("INSERT INTO item VALUES ($1, $2, 1.5)").await.unwrap();
    for id in 0..10i64 {
        assert_eq!(client.execute(&insert, &[&id, &format!("item {id}")]).await.unwrap(), 1);
    }
    let select = client.prepare_typed("SELECT name FROM item WHERE id = $1", &[Type::INT8]).await.unwrap();
    assert_eq!(select.columns()[0].type_(), &Type::TEXT);
    let row = client.query_one(&select, &[&7i64]).await.unwrap();
    assert_eq!(row.get::<_, &str>(0), "item 7");
}

#[tokio::test]
async fn an_error_does_not_spoil_the_statement_or_the_connection() {
    let sluice = proxy().start();
    let client = sluice.connect().await;
    let divide = client.prepare("SELECT 10 / $1::int").await.unwrap();
    let error = client.query_one(&divide, &[&0i32]).await.unwrap_err();
    assert_eq!(sqlstate(&error), "22012");
    assert_eq!(client.query_one(&divide, &[&5i32]).await.unwrap().get::<_, i32>(0), 2);
}

#[tokio::test]
async fn a_portal_with_a_row_limit_goes_on_where_it_stopped() {
    let sluice = proxy().start();
    let mut raw = sluice.raw().await;
    raw.query("BEGIN").await;
    let open = [msg::parse("", "SELECT generate_series(1, 5)", &[]), msg::bind("p", "", &[])].concat();
    raw.send(&[open, msg::execute("p", 2), msg::sync()].concat()).await;
    assert_eq!(tags(&raw.until_ready().await), "12DDsZ");
    raw.send(&[msg::execute("p", 2), msg::sync()].concat()).await;
    assert_eq!(tags(&raw.until_ready().await), "DDsZ");
    raw.send(&[msg::execute("p", 2), msg::close_portal("p"), msg::sync()].concat()).await;
    assert_eq!(tags(&raw.until_ready().await), "DC3Z");
    raw.send(&[msg::execute("p", 2), msg::sync()].concat()).await;
    let frames = raw.until_ready().await;
    assert_eq!(frames[0].field(b'C').as_deref(), Some("34000"));
    raw.query("ROLLBACK").await;
}

#[tokio::test]
async fn row_limits_within_one_batch_without_a_transaction() {
    let sluice = proxy().start();
    let mut raw = sluice.raw().await;
    let batch = [
        msg::parse("", "SELECT generate_series(1, 3)", &[]),
        msg::bind("", "", &[]),
        msg::execute("", 2),
        msg::execute("", 2),
        msg::sync(),
    ];
    raw.send(&batch.concat()).await;
    assert_eq!(tags(&raw.until_ready().await), "12DDsDCZ");
}

#[tokio::test]
async fn describe_says_what_a_statement_takes_and_gives() {
    let sluice = proxy().start();
    let mut raw = sluice.raw().await;
    let parse = msg::parse("s", "SELECT $1::int + 1 AS next", &[]);
    raw.send(&[parse, msg::describe_statement("s"), msg::sync()].concat()).await;
    let frames = raw.until_ready().await;
    assert_eq!(tags(&frames), "1tTZ");
    assert_eq!(frames[1].body, [0, 1, 0, 0, 0, 23]);

    raw.send(&[msg::describe_statement("s"), msg::sync()].concat()).await;
    assert_eq!(tags(&raw.until_ready().await), "tTZ");
    raw.send(&[msg::bind("", "s", &[Some("41")]), msg::describe_portal(""), msg::sync()].concat()).await;
    assert_eq!(tags(&raw.until_ready().await), "2TZ");
    raw.send(&[msg::describe_statement("absent"), msg::sync()].concat()).await;
    assert_eq!(raw.until_ready().await[0].field(b'C').as_deref(), Some("26000"));
}

#[tokio::test]
async fn a_statement_without_rows_is_described_as_such() {
    let sluice = proxy().start();
    let mut raw = sluice.raw().await;
    raw.send(&[msg::extended("CREATE TABLE t (n int)", &[]), msg::sync()].concat()).await;
    assert_eq!(tags(&raw.until_ready().await), "12nCZ");
    raw.send(&[msg::extended("", &[]), msg::sync()].concat()).await;
    assert_eq!(tags(&raw.until_ready().await), "12nIZ");
}

#[tokio::test]
async fn closing_what_does_not_exist_is_no_error() {
    let sluice = proxy().start();
    let mut raw = sluice.raw().await;
    raw.send(&[msg::close_statement("absent"), msg::close_portal("absent"), msg::sync()].concat()).await;
    assert_eq!(tags(&raw.until_ready().await), "33Z");
}

#[tokio::test]
async fn flush_brings_answers_before_sync() {
    let sluice = proxy().start();
    let mut raw = sluice.raw().await;
    raw.send(&[msg::parse("", "SELECT 1", &[]), msg::describe_statement(""), msg::flush()].concat()).await;
    for tag in [b'1', b't', b'T'] {
        assert_eq!(raw.frame().await.unwrap().tag, tag);
    }
    raw.send(&[msg::bind("", "", &[]), msg::execute("", 0), msg::flush()].concat()).await;
    for tag in [b'2', b'D', b'C'] {
        assert_eq!(raw.frame().await.unwrap().tag, tag);
    }
    raw.send(&msg::sync()).await;
    assert_eq!(tags(&raw.until_ready().await), "Z");
}

#[tokio::test]
async fn parameters_in_binary_and_null() {
    let sluice = proxy().start();
    let client = sluice.connect().await;
    let sql = "SELECT $1::bytea, $2::float8, $3::text[], $4::int";
    let row =
        client.query_one(sql, &[&vec![0u8, 255], &1.5f64, &vec!["a", "b"], &None::<i32>]).await.unwrap();
    assert_eq!(row.get::<_, Vec<u8>>(0), [0, 255]);
    assert_eq!(row.get::<_, f64>(1), 1.5);
    assert_eq!(row.get::<_, Vec<String>>(2), ["a", "b"]);
    assert_eq!(row.get::<_, Option<i32>>(3), None);
}

#[tokio::test]
async fn two_syncs_in_a_row_give_two_ready() {
    let sluice = proxy().start();
    let mut raw = sluice.raw().await;
    raw.send(&[msg::sync(), msg::sync()].concat()).await;
    assert_eq!(tags(&raw.until_ready().await), "Z");
    assert_eq!(tags(&raw.until_ready().await), "Z");
}
