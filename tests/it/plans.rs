//! Rules that read the planner's view: asked ahead of a statement, on its own server, without anybody noticing.

use std::time::Duration;

use crate::support::{Session, Sluice, eventually, msg, proxy, sqlstate};

const POLICY: &str =
    "[[rule]]\nname = 'scan'\nfinds = 'full-scan-of-big-table'\nwith = { rows = 5000 }\naction = 'block'\n";

const SCHEMA: &str = "CREATE TABLE orders (id int PRIMARY KEY, email text, at int);
    INSERT INTO orders SELECT n, 'a' || n, n FROM generate_series(1, 20000) n;
    CREATE TABLE small (id int, email text);
    ANALYZE orders, small";

const SCAN: &str = "SELECT id FROM orders WHERE email = 'a7'";

/// With the catalog known, so that sizes are.
async fn start(policy: &str) -> (Sluice, Session) {
    let sluice = proxy().policy(policy).setting("plan.min_rows = 1000").start();
    let client = sluice.connect().await;
    client.batch_execute(SCHEMA).await.unwrap();
    eventually("the table's size is known", || async { client.batch_execute(SCAN).await.is_err() }).await;
    (sluice, client)
}

async fn plans(sluice: &Sluice, result: &str) -> f64 {
    sluice.metric("pgsluice_plans_total", &[&format!("result=\"{result}\"")]).await
}

#[tokio::test]
async fn a_burst_waits_for_one_answer() {
    crate::needs_proxy!();
    let sluice = proxy()
        .policy(POLICY)
        .setting("plan.min_rows = 1000")
        .setting("plan.deadline = '5s'")
        .setting("threads = 1")
        .start();
    let client = sluice.connect().await;
    client.batch_execute(SCHEMA).await.unwrap();
    eventually("the table's size is known", || async { client.batch_execute(SCAN).await.is_err() }).await;
    let mut clients = Vec::new();
    for _ in 0..12 {
        clients.push(sluice.connect().await);
    }
    // The planner waits for that.
    let locker = sluice.database.direct().await;
    locker.batch_execute("BEGIN; LOCK TABLE orders").await.unwrap();
    let before = plans(&sluice, "ok").await;
    let burst = clients.iter().enumerate().map(|(n, client)| async move {
        match n % 2 {
            0 => client.batch_execute("SELECT id FROM orders WHERE at = 9").await.unwrap_err(),
            _ => client.query("SELECT id FROM orders WHERE at = 8", &[]).await.unwrap_err(),
        }
    });
    let unlock = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        locker.batch_execute("COMMIT").await.unwrap();
    };
    let (refused, ()) = tokio::join!(futures_util::future::join_all(burst), unlock);
    for refused in refused {
        assert_eq!(sqlstate(&refused), "42501", "{refused:?}");
    }
    eventually("it was counted", || async { plans(&sluice, "ok").await > before }).await;
    // As a text and with values a statement may be planned differently.
    assert!(plans(&sluice, "ok").await - before <= 2.0, "one answer does for all");
}

#[tokio::test]
async fn a_scan_of_a_big_table_is_blocked_until_there_is_an_index() {
    crate::needs_proxy!();
    let (sluice, client) = start(POLICY).await;
    let refused = client.batch_execute(SCAN).await.unwrap_err();
    assert_eq!(sqlstate(&refused), "42501");
    let refused = refused.as_db_error().unwrap();
    assert_eq!(refused.message(), "This reads all 20000 rows of orders to filter by email.");
    assert_eq!(refused.hint(), Some("CREATE INDEX CONCURRENTLY ON orders (email) (not checked)."));
    let bound = "SELECT id FROM orders WHERE email = $1";
    assert_eq!(sqlstate(&client.query(bound, &[&"a7"]).await.unwrap_err()), "42501");
    // By key, by the small one, or nothing at all: planned and let through.
    assert_eq!(client.text("SELECT email FROM orders WHERE id = 7").await, "a7");
    assert_eq!(client.query("SELECT email FROM orders WHERE id = $1", &[&7]).await.unwrap().len(), 1);
    client.batch_execute("SELECT id FROM small WHERE email = 'x'; SELECT 1").await.unwrap();
    // Through the proxy: known at once.
    client.batch_execute("CREATE INDEX ON orders (email)").await.unwrap();
    assert_eq!(client.text(SCAN).await, "7");
    assert_eq!(client.query(bound, &[&"a7"]).await.unwrap().len(), 1);
    eventually("they were counted", || async { plans(&sluice, "ok").await >= 4.0 }).await;
    // Later sights cost nothing.
    let before = plans(&sluice, "ok").await;
    for n in 0..20 {
        client.query(bound, &[&format!("a{n}")]).await.unwrap();
        client.batch_execute(&format!("SELECT id FROM orders WHERE email = 'b{n}'")).await.unwrap();
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(plans(&sluice, "ok").await, before);
}

#[tokio::test]
async fn a_transaction_does_not_notice() {
    crate::needs_proxy!();
    let (_sluice, client) = start(POLICY).await;
    client.batch_execute("BEGIN; CREATE TEMP TABLE mine AS SELECT 1 AS x").await.unwrap();
    client.batch_execute("SAVEPOINT pgsluice_plan").await.unwrap();
    assert_eq!(client.text("SELECT email FROM orders WHERE id = 8").await, "a8");
    assert_eq!(
        client.query("SELECT email FROM orders WHERE id = $1 AND at > 0", &[&8]).await.unwrap().len(),
        1
    );
    assert_eq!(client.text("SHOW statement_timeout").await, "0");
    client.batch_execute("ROLLBACK TO pgsluice_plan").await.unwrap();
    assert_eq!(client.text("SELECT x FROM mine").await, "1");
    // Blocked in a transaction: both sides agree that it has failed.
    assert_eq!(sqlstate(&client.batch_execute(SCAN).await.unwrap_err()), "42501");
    assert_eq!(sqlstate(&client.batch_execute("SELECT 1").await.unwrap_err()), "25P02");
    client.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(client.text("SELECT 1").await, "1");
}

#[tokio::test]
async fn what_goes_wrong_in_planning_goes_wrong_as_it_would() {
    crate::needs_proxy!();
    let (sluice, client) = start(POLICY).await;
    for (sql, state) in [
        ("SELECT nothing FROM orders", "42703"),
        ("SELECT 1 FROM nowhere", "42P01"),
        ("SELECT id FROM orders WHERE email = 7 / 0 AND id = 1", "42883"),
        ("SELECT count(*) FROM pg_authid, orders WHERE id = 5", "42501"),
    ] {
        let error = client.batch_execute(sql).await.unwrap_err();
        assert_eq!(sqlstate(&error), state, "{sql}: {error:?}");
        assert!(!error.to_string().contains("This reads"), "{sql}");
        client.batch_execute("BEGIN").await.unwrap();
        assert_eq!(sqlstate(&client.batch_execute(sql).await.unwrap_err()), state, "{sql}");
        client.batch_execute("ROLLBACK").await.unwrap();
        assert_eq!(sqlstate(&client.query(sql, &[]).await.unwrap_err()), state, "{sql}");
    }
    eventually("they were counted", || async { plans(&sluice, "failed").await >= 1.0 }).await;
}

#[tokio::test]
async fn a_lock_delays_a_statement_as_long_as_it_would() {
    crate::needs_proxy!();
    let (sluice, client) = start(POLICY).await;
    let other = sluice.database.direct().await;
    other.batch_execute("BEGIN; LOCK TABLE orders").await.unwrap();
    let waits = async { client.text("SELECT at FROM orders WHERE id = 9").await };
    let frees = async {
        tokio::time::sleep(Duration::from_millis(400)).await;
        other.batch_execute("ROLLBACK").await.unwrap();
    };
    let (at, ()) = tokio::join!(waits, frees);
    assert_eq!(at, "9");
    eventually("given up", || async { plans(&sluice, "failed").await >= 1.0 }).await;
}

#[tokio::test]
async fn parameters_decide() {
    crate::needs_proxy!();
    let policy = "[[rule]]\nname = 'rows'\nwhen = 'plan.rows > 4000'\naction = 'block'\n\
                  [[rule]]\nname = 'scan'\nfinds = 'full-scan-of-big-table'\nwith = { rows = 5000 }\naction = 'warn'\n";
    let sluice = proxy().policy(policy).setting("plan.min_rows = 1000").start();
    let client = sluice.connect().await;
    client.batch_execute(SCHEMA).await.unwrap();
    client.batch_execute("CREATE INDEX ON orders (email text_pattern_ops); ANALYZE orders").await.unwrap();
    let like = "SELECT id FROM orders WHERE email LIKE $1";
    assert_eq!(client.query(like, &[&"a77%"]).await.unwrap().len(), 111);
    let refused = client.query(like, &[&"%"]).await.unwrap_err();
    assert_eq!(sqlstate(&refused), "42501", "a plan of its own for a pattern that starts with a wildcard");
    assert_eq!(client.query(like, &[&"a77%"]).await.unwrap().len(), 111);
    assert_eq!(client.query(like, &[&None::<&str>]).await.unwrap().len(), 0);
}

#[tokio::test]
async fn a_recent_and_an_ancient_date_do_not_share_a_plan() {
    crate::needs_proxy!();
    let sluice = proxy().policy(POLICY).setting("[plan]\nmin_rows = 1000\ndeadline = '5s'").start();
    let client = sluice.connect().await;
    client
        .batch_execute(
            "CREATE TABLE orders (id int, created timestamptz, day date);
             INSERT INTO orders SELECT n, '2026-01-01'::timestamptz - n * '1 hour'::interval,
                                       '2026-01-01'::date - n / 24 FROM generate_series(1, 20000) n;
             CREATE INDEX ON orders (created); CREATE INDEX ON orders (day); ANALYZE orders",
        )
        .await
        .unwrap();
    eventually("the table's values are known", || async {
        client.batch_execute("SELECT id FROM orders WHERE id = 7").await.is_err()
    })
    .await;
    let since = client.prepare("SELECT count(*) FROM orders WHERE created > $1").await.unwrap();
    let at = |seconds: i64| std::time::UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap());
    // 2026-01-01 is 20454 days after 1970-01-01.
    let recent = at(20_453 * 86_400);
    for _ in 0..2 {
        assert_eq!(client.query_one(&since, &[&recent]).await.unwrap().get::<_, i64>(0), 23);
        let refused = client.query_one(&since, &[&at(1)]).await.unwrap_err();
        assert_eq!(sqlstate(&refused), "42501", "all of it is read");
    }
    // As text, from whoever binds so, and by another type.
    let mut raw = sluice.raw().await;
    for (value, expected) in [("2025-12-31 00:00:00+00", '2'), ("1970-01-01", 'E'), ("2025-12-30", '2')] {
        let run = msg::extended("SELECT count(*) FROM orders WHERE day >= $1", &[Some(value)]);
        raw.send(&[run, msg::sync()].concat()).await;
        let heard = crate::support::raw::tags(&raw.until_ready().await);
        assert!(heard.contains(expected), "{value}: {heard}");
    }
    let asked = plans(&sluice, "ok").await;
    for n in 0..10i64 {
        client.query_one(&since, &[&at(20_453 * 86_400 + n)]).await.unwrap();
        client.query_one(&since, &[&at(n)]).await.unwrap_err();
    }
    tokio::time::sleep(Duration::from_millis(1200)).await;
    assert_eq!(plans(&sluice, "ok").await, asked, "values of one class share their plan");
}

#[tokio::test]
async fn a_planner_that_takes_too_long_or_a_table_that_is_gone_changes_nothing() {
    crate::needs_proxy!();
    let (sluice, client) = start(POLICY).await;
    client
        .batch_execute(
            "CREATE FUNCTION slow(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS
             $$ BEGIN PERFORM pg_sleep(0.4); RETURN $1; END $$; CREATE TABLE gone AS SELECT * FROM orders; ANALYZE gone",
        )
        .await
        .unwrap();
    let failed = plans(&sluice, "failed").await;
    assert_eq!(client.text("SELECT at FROM orders WHERE id = slow(9)").await, "9");
    // Its own deadline is the client's again.
    client.batch_execute("SET statement_timeout = '150ms'").await.unwrap();
    let late = client.batch_execute("SELECT email FROM orders WHERE id = slow(9)").await.unwrap_err();
    let told = late.as_db_error().unwrap().message();
    assert_eq!((sqlstate(&late), told), ("57014", "canceling statement due to statement timeout"));
    client.batch_execute("RESET statement_timeout; BEGIN").await.unwrap();
    assert_eq!(client.text("SELECT at + 1 FROM orders WHERE id = slow(9)").await, "10");
    assert_eq!(client.text("SHOW statement_timeout").await, "0");
    client.batch_execute("COMMIT").await.unwrap();
    eventually("they were given up", || async { plans(&sluice, "failed").await >= failed + 3.0 }).await;
    // Prepared while it was there.
    let of_gone = client.prepare("SELECT id FROM gone WHERE id = $1").await.unwrap();
    sluice.database.direct().await.batch_execute("DROP TABLE gone").await.unwrap();
    let error = client.query(&of_gone, &[&1]).await.unwrap_err();
    assert_eq!(sqlstate(&error), "42P01", "{error:?}");
}
