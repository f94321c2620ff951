//! Indexes that would help: in `SHOW ADVICE`, in the HINT of a refusal, checked by the planner where it can be.

use crate::support::console::{console, show, show_until, text, with_admin};
use crate::support::{Session, Sluice, eventually, lab, proxy, sqlstate};

const POLICY: &str = "[[rule]]\nname = 'scan'\nfinds = 'full-scan-of-big-table'\nwith = { rows = 5000 }\naction = 'warn'\n\
     [[rule]]\nname = 'no'\nfinds = 'full-scan-of-big-table'\nwith = { rows = 5000 }\naction = 'block'\nonly = { tables = ['refused'] }\n";
const SCHEMA: &str = "CREATE TABLE orders (id int PRIMARY KEY, email text, state text, at int);
    INSERT INTO orders SELECT n, 'a' || n, 'open', n FROM generate_series(1, 20000) n;
    CREATE TABLE refused AS SELECT * FROM orders;
    ANALYZE orders, refused";

async fn start(settings: &str) -> (Sluice, Session) {
    let sluice = with_admin(proxy().policy(POLICY).setting(&format!("[plan]\nmin_rows = 1000\n{settings}")));
    let client = sluice.connect().await;
    client.batch_execute(SCHEMA).await.unwrap();
    (sluice, client)
}

/// Whether the extension can be had here; says so if not.
async fn has_hypopg(client: &Session) -> bool {
    let there =
        client.text("SELECT count(*) FROM pg_available_extensions WHERE name = 'hypopg'").await == "1";
    if !there {
        println!("skipped: the extension hypopg is not installed");
    }
    there
}

#[tokio::test]
async fn the_console_lists_what_would_help_until_it_is_there() {
    crate::needs_proxy!();
    let (sluice, client) = start("").await;
    let mut console = console(&sluice).await;
    eventually("sizes are known", || async {
        client.batch_execute("SELECT id FROM refused WHERE email = 'x'").await.is_err()
    })
    .await;
    for n in 0..5 {
        client.query("SELECT id FROM orders WHERE email = $1", &[&format!("a{n}")]).await.unwrap();
    }
    for _ in 0..2 {
        let refused = client.batch_execute("SELECT id FROM refused WHERE state = 'shut' AND at > 5").await;
        let refused = refused.unwrap_err();
        assert_eq!(sqlstate(&refused), "42501");
        let hint = "CREATE INDEX CONCURRENTLY ON refused (state, at) (not checked).";
        assert_eq!(refused.as_db_error().unwrap().hint(), Some(hint));
    }
    let email = "CREATE INDEX CONCURRENTLY ON orders (email)";
    let refused = "CREATE INDEX CONCURRENTLY ON refused (state, at)";
    let table = show_until(&mut console, "SHOW ADVICE", |table| {
        let rows = table.with("statement", email);
        rows.first().is_some_and(|row| text(row, "calls").parse::<u64>().unwrap() >= 4)
    })
    .await;
    let row = table.with("statement", email)[0];
    assert_eq!(text(row, "database"), sluice.database.name);
    assert_eq!((text(row, "table"), text(row, "checked")), ("orders", "not checked"));
    assert_eq!(text(row, "query"), "SELECT id FROM orders WHERE email = $1");
    assert_eq!(row["gain"], None);
    let table = show_until(&mut console, "SHOW ADVICE", |table| {
        table.with("statement", refused).first().is_some_and(|row| text(row, "blocked") == "2")
    })
    .await;
    assert_eq!(text(table.with("statement", refused)[0], "calls"), "0");
    assert_eq!(text(&table.rows[0], "table"), "orders", "what lost time comes first");
    assert!(sluice.metric("pgsluice_index_advice", &["checked=\"no\""]).await >= 2.0);

    client.batch_execute("CREATE INDEX ON orders (email)").await.unwrap();
    show_until(&mut console, "SHOW ADVICE", |table| table.with("statement", email).is_empty()).await;
    // One that did not come to its end is not an index that is there.
    client.batch_execute("CREATE INDEX broken ON refused (state, at)").await.unwrap();
    let admin = sluice.database.admin().await;
    admin
        .batch_execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'broken'::regclass")
        .await
        .unwrap();
    client.batch_execute("COMMENT ON TABLE refused IS 'read the catalog'").await.unwrap();
    let mend = "REINDEX INDEX CONCURRENTLY public.broken (not checked).";
    eventually("it is told to be invalid", || async {
        let refused = client.batch_execute("SELECT id FROM refused WHERE state = 'shut' AND at > 5").await;
        refused.is_err_and(|error| error.as_db_error().and_then(|error| error.hint()) == Some(mend))
    })
    .await;
}

async fn is_checked(mode: &str) {
    let (sluice, client) = start(&format!("mode = '{mode}'")).await;
    if !has_hypopg(&client).await {
        return;
    }
    let admin = sluice.database.admin().await;
    admin.batch_execute("CREATE SCHEMA \"a hypo\"; CREATE EXTENSION hypopg SCHEMA \"a hypo\"; GRANT USAGE ON SCHEMA \"a hypo\" TO PUBLIC").await.unwrap();
    let mut console = console(&sluice).await;
    console.query("RELOAD CATALOG").await;
    let refused = async |sql: &str| client.batch_execute(sql).await.err();
    let scan = "SELECT id FROM refused WHERE email = 'a7'";
    eventually("the planner would use it, and the hint says so", || async {
        let error = refused(scan).await;
        let hint = error.as_ref().and_then(|error| error.as_db_error()).and_then(|error| error.hint());
        hint.is_some_and(|hint| {
            hint.starts_with("CREATE INDEX CONCURRENTLY ON refused (email) (checked: cost ")
        })
    })
    .await;
    let table = show_until(&mut console, "SHOW ADVICE", |table| {
        table.with("table", "refused").first().is_some_and(|row| text(row, "checked") != "not checked")
    })
    .await;
    let row = table.with("table", "refused")[0];
    assert!(text(row, "gain").ends_with(" %"), "{row:?}");
    // All rows are joined: the planner would not look them up.
    let open = "SELECT count(*) FROM refused r JOIN orders o ON r.email = o.email";
    eventually("no advice is left", || async {
        let error = refused(open).await;
        let hint = error.as_ref().and_then(|error| error.as_db_error()).and_then(|error| error.hint());
        hint == Some("Filter by an indexed column, or run it on a replica.")
    })
    .await;
    assert_eq!(show(&mut console, "SHOW ADVICE").await.with("table", "refused").len(), 1);
    assert_eq!(admin.text("SELECT count(*) FROM pg_index WHERE indrelid = 'refused'::regclass").await, "0");
}

#[tokio::test]
async fn what_the_planner_would_not_use_is_not_advised_inline() {
    crate::needs_proxy!();
    is_checked("inline").await;
}

#[tokio::test]
async fn what_the_planner_would_not_use_is_not_advised_in_the_background() {
    crate::needs_proxy!();
    is_checked("background").await;
}

#[tokio::test]
async fn explain_asks_the_planner_too() {
    let database = lab().database();
    let session = database.direct().await;
    if !has_hypopg(&session).await {
        return;
    }
    session.batch_execute(SCHEMA).await.unwrap();
    database.admin().await.batch_execute("CREATE EXTENSION hypopg").await.unwrap();
    let url = database.url(database.lab.cluster.server().port());
    let advice = |sql: &str| -> serde_json::Value {
        let arguments = ["explain", "--primary", &url, "--json", sql];
        let output =
            std::process::Command::new(env!("CARGO_BIN_EXE_pgsluice")).args(arguments).output().unwrap();
        let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        found["advice"].clone()
    };
    let found = advice("SELECT id FROM orders WHERE email = 'a7'");
    let costs: Vec<f64> =
        found[0]["checked"].as_array().unwrap().iter().map(|cost| cost.as_f64().unwrap()).collect();
    assert!(costs[0] > 300.0 && costs[1] < 20.0, "{costs:?}");
    assert!(advice("SELECT count(*) FROM refused r JOIN orders o ON r.email = o.email").is_null());
}
