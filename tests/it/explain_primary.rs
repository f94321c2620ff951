//! `pgsluice explain --primary`: what a server holds and what its planner thinks, without running anything.

use std::process::{Command, Output};

use crate::support::lab;

fn explain(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_pgsluice")).arg("explain").args(arguments).output().unwrap()
}

#[tokio::test]
async fn plans_sizes_and_missing_indexes_come_from_the_server_and_nothing_runs() {
    let database = lab().database();
    let session = database.direct().await;
    session
        .batch_execute(
            "CREATE TABLE orders (id int PRIMARY KEY, email text);
             INSERT INTO orders SELECT n, 'a' || n FROM generate_series(1, 20000) n; ANALYZE orders",
        )
        .await
        .unwrap();
    let url = database.url(database.lab.cluster.server().port());
    let json = |sql: &str, more: &[&str]| -> serde_json::Value {
        let arguments = [&["--primary", &url, "--json"], more, &[sql]].concat();
        let output = explain(&arguments);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let scan = json("SELECT id FROM orders WHERE email = 'a7'", &[]);
    assert_eq!(scan["plan"]["seq_scan_rows"], 20_000);
    assert_eq!(scan["advice"][0]["statement"], "CREATE INDEX CONCURRENTLY ON orders (email)");
    let bound = json("SELECT email FROM orders WHERE id = $1", &["--params", "7"]);
    assert_eq!(bound["plan"]["indexes"], serde_json::json!(["orders_pkey"]));
    assert!(bound.get("advice").is_none());
    let any = json("SELECT email FROM orders WHERE id = $1", &[]);
    assert_eq!(any["plan"]["rows"], 1);
    let write = json("DELETE FROM orders WHERE email = 'a7'", &[]);
    assert_eq!(write["plan"]["seq_scan_rows"], 20_000);
    let missing = json("SELECT 1 FROM nowhere", &[]);
    assert!(missing["plan_error"].as_str().unwrap().contains("nowhere"), "{missing}");
    assert_eq!(session.text("SELECT count(*) FROM orders").await, "20000");

    let people = explain(&["--primary", &url, "SELECT id FROM orders WHERE email = 'a7'"]);
    let people = String::from_utf8(people.stdout).unwrap();
    assert!(people.contains("reads all 20000 rows of orders"), "{people}");
    assert!(people.contains("CREATE INDEX CONCURRENTLY ON orders (email) (not checked)"), "{people}");
    let refused = explain(&["--primary", "postgres://nobody@127.0.0.1:1/x", "SELECT 1"]);
    assert!(!refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("--primary"));
}
