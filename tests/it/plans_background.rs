//! `plan.mode = "background"`: the planner is asked beside the statements, and no statement waits for it.

use std::time::{Duration, Instant};

use crate::support::{Session, Sluice, eventually, proxy, sqlstate};

const POLICY: &str =
    "[[rule]]\nname = 'scan'\nfinds = 'full-scan-of-big-table'\nwith = { rows = 5000 }\naction = 'block'\n";
const BACKGROUND: &str = "[plan]\nmode = 'background'\nmin_rows = 1000\ndeadline = '200ms'";
const SCHEMA: &str = "CREATE TABLE orders (id int PRIMARY KEY, email text, at int);
    INSERT INTO orders SELECT n, 'a' || n, n FROM generate_series(1, 20000) n;
    ANALYZE orders";
const SCAN: &str = "SELECT id FROM orders WHERE email = 'a7'";

async fn start(policy: &str, settings: &str) -> (Sluice, Session) {
    let sluice = proxy().policy(policy).setting(settings).start();
    let client = sluice.connect().await;
    client.batch_execute(SCHEMA).await.unwrap();
    (sluice, client)
}

async fn plans(sluice: &Sluice, result: &str) -> f64 {
    sluice.metric("pgsluice_plans_total", &[&format!("result=\"{result}\"")]).await
}

async fn is_blocked(client: &Session, sql: &str) -> bool {
    match client.batch_execute(sql).await {
        Ok(()) => false,
        Err(error) => sqlstate(&error) == "42501",
    }
}

#[tokio::test]
async fn the_first_sights_pass_and_the_later_ones_are_judged_on_every_thread() {
    crate::needs_proxy!();
    let (sluice, client) = start(POLICY, &format!("threads = 2\n{BACKGROUND}")).await;
    assert_eq!(
        client.text("SELECT id FROM orders WHERE email = 'a9'").await,
        "9",
        "nobody knows its plan yet"
    );
    eventually("it is known", || is_blocked(&client, SCAN)).await;
    // Connections are dealt to the threads in turn: both know it, and nobody asks again.
    let mut others = Vec::new();
    for _ in 0..4 {
        others.push(sluice.connect().await);
    }
    for other in &others {
        eventually("its thread knows it", || is_blocked(other, SCAN)).await;
    }
    let bound = "SELECT id FROM orders WHERE email = $1";
    eventually("bound, too", || async {
        client.query(bound, &[&"a7"]).await.is_err_and(|error| sqlstate(&error) == "42501")
    })
    .await;
    assert_eq!(client.text("SELECT email FROM orders WHERE id = 7").await, "a7");
    client.batch_execute("CREATE INDEX ON orders (email)").await.unwrap();
    eventually("the index is there", || async { !is_blocked(&client, SCAN).await }).await;
    eventually("by its plan", || async { plans(&sluice, "ok").await >= 4.0 }).await;
    assert!(!is_blocked(&client, SCAN).await);
    let asked = plans(&sluice, "ok").await;
    for n in 0..20 {
        client.query(bound, &[&format!("a{n}")]).await.unwrap();
        others[n % 4].batch_execute(&format!("SELECT id FROM orders WHERE email = 'b{n}'")).await.unwrap();
    }
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let again = plans(&sluice, "ok").await;
    // The bound form was new with the index, and the other thread may have asked at the same moment.
    assert!(again <= asked + 2.0, "{asked}, then {again}");
}

#[tokio::test]
async fn a_rule_says_for_itself_whether_its_statements_wait() {
    crate::needs_proxy!();
    let policy = "plan = 'background'\n\
        [[rule]]\nname = 'scan'\nfinds = 'full-scan-of-big-table'\nwith = { rows = 5000 }\naction = 'block'\nonly = { tables = ['orders'] }\n\
        [[rule]]\nname = 'dear'\nwhen = 'plan.rows > 4000'\naction = 'block'\nonly = { tables = ['other'] }\nplan = 'inline'\n";
    let (_sluice, client) = start(policy, "plan.min_rows = 1000").await;
    client.batch_execute("CREATE TABLE other AS SELECT * FROM orders; ANALYZE other").await.unwrap();
    assert!(is_blocked(&client, "SELECT id FROM other").await, "it waited for its plan");
    assert!(!is_blocked(&client, SCAN).await);
    eventually("it is known", || is_blocked(&client, SCAN)).await;
}

#[tokio::test]
async fn the_plan_is_the_clients_own() {
    crate::needs_proxy!();
    let (_sluice, client) = start(POLICY, BACKGROUND).await;
    // The same text in two schemas, told apart by the search path alone.
    client
        .batch_execute(
            "CREATE SCHEMA two; CREATE TABLE two.orders AS SELECT * FROM orders; CREATE INDEX ON two.orders (email);
             ANALYZE two.orders; SET search_path = two",
        )
        .await
        .unwrap();
    for _ in 0..30 {
        assert!(!is_blocked(&client, SCAN).await, "an index serves it there");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    client.batch_execute("RESET search_path").await.unwrap();
    eventually("not here", || is_blocked(&client, SCAN)).await;
    // Who has a temporary table of that name means it, and nobody else can ask for its plan.
    client.batch_execute("CREATE TEMP TABLE orders AS SELECT 1 AS id, 'a7' AS email").await.unwrap();
    for _ in 0..20 {
        assert!(!is_blocked(&client, SCAN).await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn nothing_waits_and_nothing_runs_whatever_becomes_of_the_question() {
    crate::needs_proxy!();
    let (sluice, client) = start(POLICY, BACKGROUND).await;
    let direct = sluice.database.direct().await;
    // A planner that thinks for a second, and would write if it could.
    direct
        .batch_execute(
            "CREATE SEQUENCE seen;
             CREATE FUNCTION slow(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(1); RETURN $1; END $$;
             CREATE FUNCTION writes(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN PERFORM nextval('seen'); RETURN $1; END $$",
        )
        .await
        .unwrap();
    let failed = plans(&sluice, "failed").await;
    client.batch_execute("EXPLAIN SELECT id FROM orders WHERE id = 5").await.unwrap();
    let started = Instant::now();
    client.batch_execute("PREPARE p AS SELECT 1").await.unwrap();
    let mut raw = sluice.raw().await;
    let slow = raw.query("SELECT id FROM orders WHERE id = 1 AND at = slow(1)").await;
    drop(slow);
    assert!(
        started.elapsed() < Duration::from_millis(1900),
        "it waited for more than itself: {:?}",
        started.elapsed()
    );
    eventually("given up", || async { plans(&sluice, "failed").await > failed }).await;
    // A table that is gone by the time, and one that the client may not read.
    for (sql, state) in
        [("SELECT 1 FROM nowhere", "42P01"), ("SELECT count(*) FROM pg_authid, orders WHERE id = 5", "42501")]
    {
        let error = client.batch_execute(sql).await.unwrap_err();
        assert_eq!(sqlstate(&error), state, "{sql}: {error:?}");
        assert!(!error.to_string().contains("This reads"));
    }
    eventually("they failed, too", || async { plans(&sluice, "failed").await >= failed + 3.0 }).await;
    // Planning calls a function that writes: in a read-only transaction it fails.
    let written = async || direct.text("SELECT last_value FROM seen").await.parse::<u64>().unwrap();
    let writes = "SELECT id FROM orders WHERE id = writes(3)";
    direct.batch_execute(writes).await.unwrap();
    let once = written().await;
    client.batch_execute(writes).await.unwrap();
    eventually("it failed", || async { plans(&sluice, "failed").await >= failed + 4.0 }).await;
    assert_eq!(written().await, 2 * once, "only the client's own run has written");
    let pids = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pgsluice plans' AND datname = current_database()";
    let open: u32 = direct.text(pids).await.parse().unwrap();
    assert!(open <= 2, "{open} connections beside the pool");
    assert_eq!(direct.text("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pgsluice plans' AND usename <> current_user AND datname = current_database()").await, "0", "as the client's own user");
}

#[tokio::test]
async fn a_lock_delays_the_question_and_not_the_next_statement() {
    crate::needs_proxy!();
    let (sluice, client) = start(POLICY, BACKGROUND).await;
    client.batch_execute("CREATE TABLE more AS SELECT * FROM orders; ANALYZE more").await.unwrap();
    let other = sluice.database.direct().await;
    other.batch_execute("BEGIN; LOCK TABLE more").await.unwrap();
    let waits = async { client.text("SELECT id FROM more WHERE email = 'a9'").await };
    let frees = async {
        eventually("given up", || async { plans(&sluice, "failed").await >= 1.0 }).await;
        other.batch_execute("ROLLBACK").await.unwrap();
    };
    let (id, ()) = tokio::join!(waits, frees);
    assert_eq!(id, "9");
    let (started, next) = (Instant::now(), sluice.connect().await);
    assert_eq!(next.text("SELECT at FROM orders WHERE id = 9").await, "9");
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn where_too_many_wait_in_line_the_rest_is_dropped_and_counted() {
    crate::needs_proxy!();
    let (sluice, client) = start(POLICY, &format!("{BACKGROUND}\nside_rate = 1\nside_connections = 1")).await;
    for n in 0..400 {
        let columns: Vec<String> = (0..=n % 20).map(|c| format!("id + {c}")).collect();
        let sql = format!("SELECT {} FROM orders t{} WHERE id = {n}", columns.join(", "), n / 20);
        client.batch_execute(&sql).await.unwrap();
    }
    eventually("dropped", || async { plans(&sluice, "dropped").await >= 50.0 }).await;
    assert!(plans(&sluice, "ok").await < 30.0, "they come one a second");
}
