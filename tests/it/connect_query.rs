//! `connect_query`: runs once on each new server connection, and what it sets stays.

use crate::support::{lab, proxy, sqlstate};

const QUERY: &str = "SET work_mem = '7MB'; SET search_path = special, public";

fn settings(query: &str) -> String {
    format!("[pool]\nconnect_query = \"{query}\"")
}

#[tokio::test]
async fn it_runs_once_for_each_connection_before_its_first_client() {
    crate::needs_proxy!();
    let database = lab().database();
    database.direct().await.batch_execute("CREATE TABLE met (pid int)").await.unwrap();
    let sluice = proxy()
        .pool_size(2)
        .setting(&settings("INSERT INTO met VALUES (pg_backend_pid())"))
        .start_for(database);
    let (one, two) = (sluice.connect().await, sluice.connect().await);
    one.batch_execute("BEGIN").await.unwrap();
    for _ in 0..5 {
        two.text("SELECT 1").await;
    }
    one.batch_execute("COMMIT").await.unwrap();
    assert_eq!(one.text("SELECT count(*) = 2 AND count(DISTINCT pid) = 2 FROM met").await, "t");
}

#[tokio::test]
async fn what_it_sets_outlives_every_client() {
    crate::needs_proxy!();
    let sluice = proxy().pool_size(1).setting(&settings(QUERY)).start();
    let check = async |after: &str| {
        let client = sluice.connect().await;
        assert_eq!(client.text("SHOW work_mem").await, "7MB", "{after}");
        assert_eq!(client.text("SHOW search_path").await, "special, public", "{after}");
    };
    check("login").await;
    let backend = sluice.connect().await.backend().await;
    for text in [
        "SET work_mem = '3MB'",
        "SET search_path = pg_catalog",
        "RESET ALL",
        "RESET work_mem",
        "DISCARD ALL",
        "SELECT set_config('work_mem', '3MB', false)",
        "BEGIN; RESET ALL; COMMIT",
    ] {
        sluice.connect().await.batch_execute(text).await.unwrap();
        check(text).await;
    }
    // Clients with settings of their own, of the same name and of others.
    for options in
        ["-c work_mem=2MB", "-c work_mem=2MB -c geqo=off", "-c geqo=off", "-c search_path=pg_catalog"]
    {
        let mut config = sluice.config();
        config.options(options);
        let (own, _) = crate::support::Session::with(&config).await.unwrap();
        let expected = if options.contains("work_mem") { "2MB" } else { "7MB" };
        assert_eq!(own.text("SHOW work_mem").await, expected, "{options}");
        let expected = if options.contains("search_path") { "pg_catalog" } else { "special, public" };
        assert_eq!(own.text("SHOW search_path").await, expected, "{options}");
        check(options).await;
    }
    assert_eq!(sluice.connect().await.backend().await, backend, "all on one connection");
}

#[tokio::test]
async fn its_failure_closes_the_connection_and_the_client_is_told() {
    crate::needs_proxy!();
    let database = lab().database();
    let sluice = proxy().pool_size(1).setting(&settings("SELECT 1 / 0")).start_for(database.clone());
    for _ in 0..3 {
        let error = sluice.config().connect(tokio_postgres::NoTls).await.map(drop).unwrap_err();
        assert_eq!(sqlstate(&error), "22012");
        let message = error.as_db_error().unwrap().message();
        assert!(message.starts_with("connect_query: "), "{message}");
    }
    crate::support::eventually("no connection stays", || async { lab().backends(&database.name) == 0 }).await;
    assert!(sluice.log().contains("connect_query failed"));
}

#[tokio::test]
async fn one_that_leaves_a_transaction_open_is_refused() {
    crate::needs_proxy!();
    let sluice = proxy().pool_size(1).setting(&settings("BEGIN")).start();
    let error = sluice.config().connect(tokio_postgres::NoTls).await.map(drop).unwrap_err();
    assert_eq!(sqlstate(&error), "08006");
}
