//! Lanes of the settings: servers of their own for what rules send there.

use std::time::{Duration, Instant};

use pgsluice::sandbox::SUPERUSER;

use crate::support::console::{console, show, show_until, text};
use crate::support::lab::options;
use crate::support::{Builder, Lab, Session, Sluice, eventually, lab, proxy, sqlstate};

const POLICY: &str = r#"
[[rule]]
name = "reports"
when = 'query.group_by'
action = "route"
route = "analytics"

[[rule]]
name = "reads"
when = 'query.kind == "select" && query.order_by'
action = "route"
route = "replica"
"#;

/// Which server ran it, told by its port; no function is called, so that it is plainly read-only.
const REPORT: &str = "SELECT setting FROM pg_settings WHERE name = 'port' GROUP BY setting";
const READ: &str = "SELECT setting FROM pg_settings WHERE name = 'port' ORDER BY name";
const PLAIN: &str = "SELECT setting FROM pg_settings WHERE name = 'port'";

fn url(lab: &Lab, replica: usize) -> String {
    let cluster = &lab.cluster;
    cluster.replicas()[replica].url(SUPERUSER, cluster.password(), "postgres")
}

/// A lane with that replica for its server.
fn lane(name: &str, lab: &Lab, replica: usize, more: &str) -> String {
    format!("[lanes.{name}]\nservers = [\"{}\"]\n{more}", url(lab, replica))
}

fn port(sluice: &Sluice, replica: usize) -> String {
    sluice.database.lab.cluster.replicas()[replica].port().to_string()
}

fn primary(sluice: &Sluice) -> String {
    sluice.database.lab.cluster.server().port().to_string()
}

async fn runs_on(client: &Session, sql: &str, port: &str) {
    eventually(&format!("{sql} runs on {port}"), || async {
        client.try_text(sql).await.is_ok_and(|found| found == port)
    })
    .await;
}

/// In front of a lane that has the database already.
async fn start(lab: &'static Lab, builder: Builder) -> (Sluice, Session) {
    let database = lab.database();
    let admin = format!("[admin]\nadmin_users = [\"{}\"]", database.user);
    let sluice = builder.policy(POLICY).setting(&admin).start_for(database);
    sluice.database.lab.catch_up().await;
    let client = sluice.connect().await;
    runs_on(&client, REPORT, &port(&sluice, 0)).await;
    (sluice, client)
}

#[tokio::test]
async fn what_rules_send_there_runs_in_the_lane_on_either_protocol() {
    crate::needs_proxy!();
    let (sluice, client) = start(lab(), with_lane("")).await;
    let (primary, lane) = (primary(&sluice), port(&sluice, 0));
    let statement = client.prepare(REPORT).await.unwrap();
    for _ in 0..3 {
        assert_eq!(client.text(REPORT).await, lane);
        assert_eq!(client.query_one(REPORT, &[]).await.unwrap().get::<_, &str>(0), lane);
        assert_eq!(client.query_one(&statement, &[]).await.unwrap().get::<_, &str>(0), lane);
        // There is no replica for reads; the lane is not theirs.
        assert_eq!(client.text(READ).await, primary);
        assert_eq!(client.text(PLAIN).await, primary);
    }
    eventually("counted for the lane's server", || async {
        sluice.metric("pgsluice_queries_total", &[r#"server="analytics1""#]).await >= 9.0
    })
    .await;
    assert_eq!(sluice.metric("pgsluice_server_up", &[r#"server="analytics1""#]).await, 1.0);
}

fn with_lane(more: &str) -> Builder {
    proxy().setting(&lane("analytics", lab(), 0, more))
}

#[tokio::test]
async fn transactions_pinned_clients_and_what_may_write_stay_on_the_primary() {
    crate::needs_proxy!();
    let (sluice, client) = start(lab(), with_lane("")).await;
    let (primary, lane) = (primary(&sluice), port(&sluice, 0));
    client.batch_execute("BEGIN").await.unwrap();
    assert_eq!(client.text(REPORT).await, primary);
    assert_eq!(client.query_one(REPORT, &[]).await.unwrap().get::<_, &str>(0), primary);
    client.batch_execute("COMMIT").await.unwrap();
    assert_eq!(client.text(REPORT).await, lane);
    // Each of these would fail on a standby.
    client.batch_execute("CREATE TABLE t (port text); CREATE SEQUENCE s").await.unwrap();
    let insert = "WITH i AS (INSERT INTO t SELECT setting FROM pg_settings WHERE name = 'port' RETURNING port) \
                  SELECT port FROM i GROUP BY port";
    assert_eq!(client.text(insert).await, primary);
    client.batch_execute("SELECT nextval('s'), count(*) FROM t GROUP BY 1").await.unwrap();
    client.batch_execute("SELECT port FROM t GROUP BY port FOR UPDATE").await.unwrap_err();
    client
        .batch_execute(
            "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'INSERT INTO t VALUES (1) RETURNING 1'",
        )
        .await
        .unwrap();
    client.batch_execute("SELECT f(), count(*) FROM t GROUP BY 1").await.unwrap();
    runs_on(&client, REPORT, &lane).await;
    client.batch_execute("CREATE TEMP TABLE mine (n int)").await.unwrap();
    assert_eq!(client.text(REPORT).await, primary);
    client.batch_execute("DROP TABLE mine").await.unwrap();
    runs_on(&client, REPORT, &lane).await;
}

#[tokio::test]
async fn the_cap_of_a_lane_holds_and_takes_nothing_from_others() {
    crate::needs_proxy!();
    let builder = with_lane("pool_size = 1\n")
        .setting("[pool]\nquery_wait_timeout = \"1500ms\"\nquery_wait_notify = \"200ms\"");
    let (sluice, client) = start(lab(), builder).await;
    let lane = port(&sluice, 0);
    let long = sluice.connect().await;
    let cancel = long.cancel_token();
    let running = tokio::spawn(async move {
        let sql = "SELECT g % 2, count(*) FROM generate_series(1, 2000000000) g GROUP BY 1";
        let ended = long.batch_execute(sql).await;
        (long, ended)
    });
    let mut console = console(&sluice).await;
    show_until(&mut console, "SHOW SERVERS", |servers| {
        servers.with("server", "analytics1").iter().any(|row| text(row, "state") == "active")
    })
    .await;

    let refused = client.batch_execute(REPORT).await.unwrap_err();
    let refused = refused.as_db_error().unwrap();
    assert_eq!(refused.code().code(), "53300");
    assert!(refused.message().contains("lanes.analytics.pool_size is 1"), "{refused:?}");
    let notices = client.notices();
    assert!(notices[0].message().contains("waiting for a connection to analytics1"), "{notices:?}");
    assert!(notices[0].hint().unwrap().contains("lanes.analytics.pool_size"), "{notices:?}");
    // Others have all of their own meanwhile.
    for _ in 0..20 {
        let others = [sluice.connect().await, sluice.connect().await];
        let began = Instant::now();
        tokio::join!(others[0].text(PLAIN), others[1].text(PLAIN));
        assert!(began.elapsed() < Duration::from_secs(1));
    }
    let lanes = show(&mut console, "SHOW LANES").await;
    let row = lanes.with("server", "analytics1")[0];
    assert_eq!((text(row, "pool_size"), text(row, "connections")), ("1", "1"));

    cancel.cancel_query(tokio_postgres::NoTls).await.unwrap();
    let (_, ended) = running.await.unwrap();
    assert_eq!(sqlstate(&ended.unwrap_err()), "57014");
    assert_eq!(client.text(REPORT).await, lane);
}

#[tokio::test]
async fn a_lane_that_is_down_says_so_and_comes_back() {
    crate::needs_proxy!();
    let lab = Lab::private(options());
    let builder = Builder::new(lab).setting(&lane("analytics", lab, 0, "")).setting(FAST);
    let (sluice, client) = start(lab, builder).await;
    let (primary, lane) = (primary(&sluice), port(&sluice, 0));
    lab.cluster.replicas()[0].stop().unwrap();
    // Whoever comes first may find its connection broken.
    eventually("the lane is known to be down", || async {
        client.try_text(REPORT).await.is_err_and(|error| sqlstate(&error) == "57P03")
    })
    .await;
    for _ in 0..3 {
        let began = Instant::now();
        let error = client.query(REPORT, &[]).await.unwrap_err();
        let error = error.as_db_error().unwrap();
        assert!(began.elapsed() < Duration::from_secs(2), "nobody waits for it");
        assert!(error.message().starts_with("no server of the lane analytics can be used now: analytics1: "));
        assert!(error.hint().unwrap().contains("`fallback`"), "{error:?}");
        assert_eq!(client.text(PLAIN).await, primary, "the client goes on");
    }
    let mut console = console(&sluice).await;
    let lanes = show_until(&mut console, "SHOW LANES", |lanes| {
        lanes.with("lane", "analytics").iter().any(|row| text(row, "usable") == "no")
    })
    .await;
    let row = lanes.with("lane", "analytics")[0];
    assert_eq!(text(row, "fallback"), "none");
    assert!(!text(row, "why_not").is_empty());
    lab.cluster.replicas()[0].start().unwrap();
    runs_on(&client, REPORT, &lane).await;
}

const FAST: &str = "[replica]\ncheck_interval = \"200ms\"";

#[tokio::test]
async fn others_stand_in_as_the_settings_say() {
    crate::needs_proxy!();
    let mut lab = Lab::start(&options());
    lab.cluster.add_replica().unwrap();
    let lab: &'static Lab = Box::leak(Box::new(lab));
    let export =
        "[[rule]]\nname = \"export\"\nwhen = 'query.limit == 7'\naction = \"route\"\nroute = \"export\"\n";
    const EXPORT: &str = "SELECT setting FROM pg_settings WHERE name = 'port' LIMIT 7";
    let sluice = Builder::new(lab)
        .policy(&format!("{POLICY}{export}"))
        .replica(true)
        .setting(&lane("analytics", lab, 1, "fallback = \"replica\"\n"))
        .setting(&lane("export", lab, 1, "fallback = \"primary\"\n"))
        .setting(FAST)
        .start();
    let (client, primary) = (sluice.connect().await, primary(&sluice));
    let [replica, own] = [0, 1].map(|at| port(&sluice, at));
    for (sql, place) in [(REPORT, &own), (EXPORT, &own), (READ, &replica)] {
        runs_on(&client, sql, place).await;
    }
    lab.cluster.replicas()[1].stop().unwrap();
    for (sql, place) in [(REPORT, &replica), (EXPORT, &primary), (READ, &replica)] {
        runs_on(&client, sql, place).await;
    }
    lab.cluster.replicas()[0].stop().unwrap();
    for (sql, place) in [(EXPORT, &primary), (READ, &primary)] {
        runs_on(&client, sql, place).await;
    }
    eventually("nobody is left for reports", || async {
        client.batch_execute(REPORT).await.is_err_and(|error| {
            error.as_db_error().is_some_and(|error| {
                error.code().code() == "57P03"
                    && error.message().contains("lane analytics, and no replica can")
            })
        })
    })
    .await;
    lab.cluster.replicas()[1].start().unwrap();
    for (sql, place) in [(REPORT, &own), (EXPORT, &own), (READ, &primary)] {
        runs_on(&client, sql, place).await;
    }
}

#[tokio::test]
async fn a_client_reads_what_it_wrote_itself() {
    crate::needs_proxy!();
    let (sluice, client) = start(lab(), with_lane("")).await;
    let lane = port(&sluice, 0);
    client.batch_execute("CREATE TABLE t (n int)").await.unwrap();
    let sql = "SELECT max(n) || ' ' || setting FROM t, pg_settings WHERE name = 'port' GROUP BY setting";
    for n in 0..20 {
        if n % 2 == 0 {
            client.batch_execute(&format!("INSERT INTO t VALUES ({n})")).await.unwrap();
        } else {
            client.execute("INSERT INTO t VALUES ($1)", &[&n]).await.unwrap();
        }
        assert_eq!(client.text(sql).await, format!("{n} {lane}"));
    }
}

#[tokio::test]
async fn a_server_that_has_not_what_a_client_wrote_is_not_for_that_client() {
    crate::needs_proxy!();
    let lab = Lab::private(options());
    let builder =
        Builder::new(lab).replica(true).setting(&lane("analytics", lab, 0, "max_lag = \"1h\"\n")).setting(
            "[replica]\ncheck_interval = \"200ms\"\nmax_lag = \"1h\"\n[pool]\nquery_wait_timeout = \"1s\"",
        );
    let (sluice, writer) = start(lab, builder).await;
    let (primary, replica) = (primary(&sluice), port(&sluice, 0));
    let reader = sluice.connect().await;
    let (on_replica, _) = Session::open(&lab.cluster.replica_url("postgres").unwrap()).await;
    on_replica.batch_execute("SELECT pg_wal_replay_pause()").await.unwrap();
    writer.batch_execute("CREATE TABLE t (n int)").await.unwrap();
    let refused = writer.batch_execute(REPORT).await.unwrap_err();
    let refused = refused.as_db_error().unwrap();
    assert_eq!(refused.code().code(), "57P03");
    assert!(refused.message().contains("it has not got yet what this client wrote"), "{refused:?}");
    assert_eq!(writer.text(READ).await, primary);
    // Who has written nothing reads on.
    for _ in 0..3 {
        assert_eq!(reader.text(REPORT).await, replica);
        assert_eq!(reader.text(READ).await, replica);
    }
    on_replica.batch_execute("SELECT pg_wal_replay_resume()").await.unwrap();
    assert_eq!(writer.text("SELECT count(*) FROM t GROUP BY 1 + 0").await, "");
    runs_on(&writer, REPORT, &replica).await;
    runs_on(&writer, READ, &replica).await;
}

#[tokio::test]
async fn what_the_planner_says_leads_to_the_lane_at_once() {
    crate::needs_proxy!();
    let costly = "[[rule]]\nname = \"costly\"\nwhen = 'plan.total_cost > 0.0 && query.has_limit'\naction = \"route\"\n\
                  route = \"analytics\"\n";
    let builder = with_lane("").policy(costly).setting("[plan]\nmin_rows = 0\ndeadline = \"5s\"");
    let (sluice, client) = start(lab(), builder).await;
    let (primary, lane) = (primary(&sluice), port(&sluice, 0));
    for more in ["name > 'a'", "name > 'b' AND unit IS NULL", "name <> 'x' OR unit IS NULL"] {
        let sql = format!("SELECT setting FROM pg_settings WHERE name = 'port' AND ({more}) LIMIT 1");
        assert_eq!(client.text(&sql).await, lane, "{sql}");
        assert_eq!(client.text(&sql).await, lane, "{sql}");
    }
    // Who keeps a server stays there.
    client.batch_execute("CREATE TEMP TABLE mine (n int)").await.unwrap();
    assert_eq!(client.text("SELECT setting FROM pg_settings WHERE name IN ('port') LIMIT 1").await, primary);
}

#[tokio::test]
async fn the_planner_of_the_lane_is_asked() {
    crate::needs_proxy!();
    let plan = "[[rule]]\nname = \"many-rows\"\nwhen = 'plan.total_cost > 0.0'\naction = \"warn\"\n\
                message = \"It costs {plan.total_cost}.\"\n";
    let (sluice, client) =
        start(lab(), with_lane("").policy(plan).setting("[plan]\nmin_rows = 0\ndeadline = \"5s\"")).await;
    let lane = port(&sluice, 0);
    let sql = "SELECT setting FROM pg_settings WHERE name = 'port' AND setting <> 'x' GROUP BY setting";
    assert_eq!(client.text(sql).await, lane);
    let notices = client.notices();
    assert!(notices.iter().any(|notice| notice.message().starts_with("It costs ")), "{notices:?}");
    assert_eq!(client.query_one(sql, &[]).await.unwrap().get::<_, &str>(0), lane);
}
