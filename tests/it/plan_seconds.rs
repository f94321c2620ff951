//! Plans of large tables: refused until there is an index, and refused for the time they would take.

use std::time::{Duration, Instant};

use crate::support::{Session, eventually, proxy, sqlstate};

/// `PGSLUICE_PLAN_ROWS=10000000 cargo test --test it plan_seconds` for the size of the bench.
fn rows() -> u64 {
    std::env::var("PGSLUICE_PLAN_ROWS").map_or(1_000_000, |n| n.parse().unwrap())
}

const SCAN: &str = "SELECT id FROM events WHERE email = 'a77@example.com'";
const INDEX: &str = "CREATE INDEX events_email ON events (email)";

async fn is_refused(client: &Session) -> bool {
    match client.batch_execute(SCAN).await {
        Ok(()) => false,
        Err(error) => {
            assert_eq!(sqlstate(&error), "42501", "{error:?}");
            true
        }
    }
}

#[tokio::test]
async fn a_scan_of_millions_is_refused_until_its_index_is_made_by_whomever() {
    crate::needs_proxy!();
    const TTL: Duration = Duration::from_secs(3);
    let policy = "[[rule]]\nname = 'scan'\nfinds = 'full-scan-of-big-table'\naction = 'block'\n";
    let sluice = proxy()
        .policy(policy)
        .setting("plan.ttl = \"3s\"\nplan.deadline = \"2s\"\ncatalog.refresh = \"1s\"")
        .start();
    let (client, direct) = (sluice.connect().await, sluice.database.direct().await);
    let rows = rows();
    direct
        .batch_execute(&format!(
            "CREATE TABLE events (id bigint PRIMARY KEY, email text);
             INSERT INTO events SELECT n, 'a' || n || '@example.com' FROM generate_series(1, {rows}) n;
             ANALYZE events"
        ))
        .await
        .unwrap();
    eventually("refused once its size is known", || is_refused(&client)).await;
    let started = Instant::now();
    assert!(is_refused(&client).await);
    assert!(started.elapsed() < Duration::from_millis(500), "a refusal waits for nothing");
    // Through the proxy: the next statement is planned anew.
    client.batch_execute(INDEX).await.unwrap();
    assert!(!is_refused(&client).await, "let through at once");
    client.batch_execute("DROP INDEX events_email").await.unwrap();
    assert!(is_refused(&client).await, "and refused at once");
    // Behind its back: as soon as the plan is too old.
    direct.batch_execute(INDEX).await.unwrap();
    let made = Instant::now();
    eventually("let through", || async { !is_refused(&client).await }).await;
    assert!(made.elapsed() < TTL + Duration::from_secs(2), "{:?}", made.elapsed());
}

#[tokio::test]
async fn what_would_take_long_is_refused_before_it_ever_ran() {
    crate::needs_proxy!();
    let policy = "[[rule]]\nname = 'slow'\nwhen = 'plan.expected_seconds > 5'\naction = 'block'\n\
                  message = 'This would take {plan.expected_seconds} seconds.'\n";
    let sluice = proxy().policy(policy).setting("plan.min_rows = 1000\nplan.deadline = \"2s\"").start();
    let client = sluice.connect().await;
    client
        .batch_execute(
            "CREATE TABLE numbers AS SELECT n, n % 100 AS kind FROM generate_series(1, 50000) n; ANALYZE numbers;
             SET statement_timeout = '15s'",
        )
        .await
        .unwrap();
    // What the server is like: two dozen statements that are quick.
    for n in 0..8 {
        for sql in [
            format!("SELECT count(*) AS c{n} FROM numbers"),
            format!("SELECT kind, sum(n) AS s{n} FROM numbers GROUP BY kind"),
            format!("SELECT count(*) AS j{n} FROM numbers a JOIN numbers b ON a.n = b.n + {n}"),
        ] {
            client.batch_execute(&sql).await.unwrap();
        }
    }
    // Two and a half thousand million comparisons.
    let refused =
        client.batch_execute("SELECT count(*) FROM numbers a JOIN numbers b ON a.n < b.n * 2").await;
    let refused = refused.unwrap_err();
    assert_eq!(sqlstate(&refused), "42501", "{refused:?}");
    let message = refused.as_db_error().unwrap().message().to_owned();
    let told = message.strip_prefix("This would take ").and_then(|m| m.strip_suffix(" seconds."));
    assert!(told.and_then(|t| t.parse::<f64>().ok()).is_some_and(|seconds| seconds > 5.0), "{message}");
    client.batch_execute("SELECT count(*) AS again FROM numbers WHERE kind = 7").await.unwrap();
}

/// In a transaction the savepoint's answer comes long before the plan; elsewhere a long plan comes in pieces.
#[tokio::test]
async fn a_statement_waits_until_all_of_its_plan_is_there() {
    crate::needs_proxy!();
    let policy = "[[rule]]\nname = 'scan'\nfinds = 'full-scan-of-big-table'\nwith = { rows = 5000 }\naction = 'block'\n";
    let sluice = proxy().policy(policy).setting("plan.min_rows = 1000\nplan.deadline = \"5s\"").start();
    let client = sluice.connect().await;
    // Planning calls what is immutable.
    client
        .batch_execute(
            "CREATE TABLE events (id int PRIMARY KEY, email text);
             INSERT INTO events SELECT n, 'a' || n FROM generate_series(1, 20000) n; ANALYZE events;
             CREATE FUNCTION slowly(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS
               'BEGIN PERFORM pg_sleep(0.3); RETURN $1; END'",
        )
        .await
        .unwrap();
    eventually("its size is known", || async {
        client.batch_execute("SELECT id FROM events WHERE email = 'a1'").await.is_err()
    })
    .await;
    client.batch_execute("BEGIN").await.unwrap();
    let slow = "SELECT id FROM events WHERE email = slowly('a7')";
    assert_eq!(client.failure(slow).await, "42501");
    client.batch_execute("ROLLBACK").await.unwrap();
    // More than a packet of plan.
    let many: Vec<String> =
        (0..60).map(|n| format!("SELECT id FROM events WHERE email = 'a{n}' OR id < 0")).collect();
    for _ in 0..3 {
        client.batch_execute("SET application_name = 'again'; ANALYZE events").await.unwrap();
        assert_eq!(client.failure(&many.join(" UNION ALL ")).await, "42501");
    }
}
