//! The console: PgBouncer's commands and columns, who may run what, and what they show.

use std::time::{Duration, Instant};

use tokio_postgres::SimpleQueryMessage;

use crate::support::console::{Row, console, enter, id_of, refused, show, show_until, text, with_admin};
use crate::support::raw::tags;
use crate::support::{Raw, Session, Sluice, eventually, lab, msg, programs, proxy, sqlstate};

const SOCKET: &str = "type user database replication state addr port local_addr local_port connect_time request_time \
    wait wait_us close_needed ptr link remote_pid tls application_name prepared_statements id";

/// PgBouncer 1.25's columns, and ours behind them.
const COLUMNS: [(&str, &str, &str); 12] = [
    ("SHOW CLIENTS", SOCKET, "pins pinned_since server_pid"),
    ("SHOW SERVERS", SOCKET, "server client pins"),
    (
        "SHOW POOLS",
        "database user cl_active cl_waiting cl_active_cancel_req cl_waiting_cancel_req sv_active \
         sv_active_cancel sv_being_canceled sv_idle sv_used sv_tested sv_login maxwait maxwait_us pool_mode \
         load_balance_hosts",
        "pinned",
    ),
    (
        "SHOW DATABASES",
        "name host port database force_user pool_size min_pool_size reserve_pool_size server_lifetime pool_mode \
         load_balance_hosts max_connections current_connections max_client_connections \
         current_client_connections paused disabled",
        "",
    ),
    (
        "SHOW USERS",
        "name pool_size reserve_pool_size pool_mode max_user_connections current_connections \
         max_user_client_connections current_client_connections",
        "",
    ),
    (
        "SHOW STATS",
        "database total_server_assignment_count total_xact_count total_query_count total_received total_sent \
         total_xact_time total_query_time total_wait_time total_client_parse_count total_server_parse_count \
         total_bind_count total_client_login_count avg_server_assignment_count avg_xact_count avg_query_count \
         avg_recv avg_sent avg_xact_time avg_query_time avg_wait_time avg_client_parse_count \
         avg_server_parse_count avg_bind_count avg_client_login_count",
        "",
    ),
    (
        "SHOW STATS_TOTALS",
        "database server_assignment_count xact_count query_count bytes_received bytes_sent xact_time query_time \
         wait_time client_parse_count server_parse_count bind_count client_login_count",
        "",
    ),
    (
        "SHOW STATS_AVERAGES",
        "database server_assignment_count xact_count query_count bytes_received bytes_sent xact_time query_time \
         wait_time avg_client_parse_count avg_server_parse_count avg_bind_count avg_client_login_count",
        "",
    ),
    ("SHOW LISTS", "list items", ""),
    ("SHOW CONFIG", "key value default changeable", ""),
    ("SHOW STATE", "key value", ""),
    ("SHOW VERSION", "version", ""),
];

#[tokio::test]
async fn lists_have_pgbouncers_columns_in_its_order_and_ours_behind() {
    crate::needs_proxy!();
    let sluice = with_admin(proxy());
    sluice.connect().await.text("SELECT 1").await;
    let mut console = console(&sluice).await;
    for (command, theirs, ours) in COLUMNS {
        let expected: Vec<_> = theirs.split_whitespace().chain(ours.split_whitespace()).collect();
        let shown = show(&mut console, command).await;
        assert_eq!(shown.names(), expected, "{command}");
        assert!(!shown.rows.is_empty() || command == "SHOW SERVERS", "{command}");
        for (name, kind) in &shown.columns {
            // Telegraf and the exporter take text for labels, and numbers for what they measure.
            let expected = match command {
                _ if ["database", "user", "pool_mode", "name", "host", "key", "value"]
                    .contains(&name.as_str()) =>
                {
                    25
                }
                "SHOW STATS" | "SHOW STATS_TOTALS" | "SHOW STATS_AVERAGES" => 1700,
                "SHOW POOLS" if name != "load_balance_hosts" => 23,
                _ if ["port", "wait_us", "items", "pool_size", "paused"].contains(&name.as_str())
                    && command != "SHOW USERS" =>
                {
                    23
                }
                _ => continue,
            };
            assert_eq!(*kind, expected, "{command}: {name}");
        }
    }
}

#[tokio::test]
async fn psql_takes_it_for_pgbouncer() {
    crate::needs_proxy!();
    let sluice = with_admin(proxy());
    for (database, command) in
        [("pgsluice", "show lists"), ("pgbouncer", "Show Lists;"), ("pgbouncer", "SELECT LISTS ;")]
    {
        let mut psql = programs::program("psql", &sluice);
        psql.env("PGDATABASE", database).args(["-X", "-A", "-t", "-c", command]);
        let out = programs::run(psql);
        assert!(out.ok && out.stdout.starts_with("databases|1\nusers|1\n"), "{command}: {out:?}");
        assert!(out.stdout.contains("\nused_clients|1\nlogin_clients|0\n"), "{out:?}");
    }
}

#[tokio::test]
async fn a_driver_of_the_simple_protocol_is_served() {
    crate::needs_proxy!();
    let sluice = with_admin(proxy());
    let mut config = sluice.config();
    config.dbname("pgbouncer").application_name("exporter");
    let (client, _) = Session::with(&config).await.unwrap();
    let answer = client.simple_query("SHOW CLIENTS").await.unwrap();
    let row = answer.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    assert_eq!(row.unwrap().get("application_name"), Some("exporter"));
    // The extended protocol is refused in words, and costs nothing else.
    let error = client.query("SHOW CLIENTS", &[]).await.unwrap_err();
    assert_eq!(sqlstate(&error), "0A000");
    assert!(error.as_db_error().unwrap().hint().unwrap().contains("simple_protocol"));
    assert_eq!(client.text("SHOW VERSION").await, concat!("pgsluice ", env!("CARGO_PKG_VERSION")));
}

/// lib/pq sends these when it connects, and a semicolon as its ping; pgx sends a comment.
#[tokio::test]
async fn what_exporters_send_first_is_taken() {
    crate::needs_proxy!();
    let sluice = with_admin(proxy());
    let own = &sluice.database;
    let parameters = [
        ("extra_float_digits", "2"),
        ("client_encoding", "UTF8"),
        ("datestyle", "ISO, MDY"),
        ("options", "-c x.y=z"),
    ];
    let mut raw = Raw::login(sluice.port, &own.user, &own.password, "pgbouncer", &parameters).await.unwrap();
    for (name, value) in
        [("client_encoding", "UTF8"), ("standard_conforming_strings", "on"), ("DateStyle", "ISO")]
    {
        assert_eq!(raw.parameters[name], value);
    }
    for nothing in ["", ";", "-- ping"] {
        assert_eq!(tags(&raw.query(nothing).await), "IZ", "{nothing:?}");
    }
    assert_eq!(tags(&raw.query("SET datestyle TO 'ISO'").await), "CZ");
    assert_eq!(
        show(&mut raw, "SHOW client_encoding").await.rows[0]["client_encoding"].as_deref(),
        Some("UTF8")
    );
    // What pgbouncer_exporter asks, with what it makes numbers of.
    for command in
        ["SHOW STATS", "SHOW DATABASES;", "SHOW STATS_TOTALS;", "SHOW POOLS;", "SHOW LISTS;", "SHOW VERSION;"]
    {
        show(&mut raw, command).await;
    }
    let config = show(&mut raw, "SHOW CONFIG;").await;
    assert_eq!(text(config.with("key", "max_client_conn")[0], "value"), "10000");
    assert_eq!(text(config.with("key", "pool_mode")[0], "value"), "transaction");
    assert!(!format!("{:?}", config.rows).contains(lab().cluster.password()), "a secret is shown");
}

#[tokio::test]
async fn each_role_gets_what_it_may() {
    crate::needs_proxy!();
    let (admin, stats, nobody) = (lab().database(), lab().database(), lab().database());
    let setting = format!("[admin]\nadmin_users = [\"{}\"]\nstats_users = [\"{}\"]", admin.user, stats.user);
    let sluice = proxy().setting(&setting).start_for(admin);
    // Who is in neither list learns which lists there are, once the password is right.
    let error = enter(&sluice, &nobody).await.map(drop).unwrap_err();
    assert_eq!((error.field(b'S').as_deref(), error.field(b'C').as_deref()), (Some("FATAL"), Some("42501")));
    let hint = error.field(b'H').unwrap();
    assert!(hint.contains("admin.admin_users") && hint.contains("admin.stats_users"), "{hint}");
    let wrong =
        Raw::login(sluice.port, &sluice.database.user, "wrong", "pgsluice", &[]).await.map(drop).unwrap_err();
    assert_eq!(wrong.field(b'C').as_deref(), Some("28P01"));

    let victim = sluice.connect().await;
    let mut stats = enter(&sluice, &stats).await.unwrap();
    let help = show(&mut stats, "HELP").await;
    assert_eq!(help.names(), ["command", "help"]);
    assert!(!help.with("command", "SHOW CLIENTS").is_empty() && help.with("command", "RELOAD").is_empty());
    let clients = show(&mut stats, "SHOW CLIENTS").await;
    let id = text(clients.with("database", &sluice.database.name)[0], "id").to_owned();
    for forbidden in [&format!("KILL_CLIENT {id}"), "RELOAD", "reload;", "\"RELOAD\""] {
        assert_eq!(refused(&mut stats, forbidden).await.0, "42501", "{forbidden}");
    }
    assert_eq!(victim.text("SELECT 1").await, "1", "nothing happened to it");
    let (code, unknown) = refused(&mut stats, "SHOW NONSENSE").await;
    assert_eq!(code, "42601");
    let hint = unknown.field(b'H').unwrap();
    assert!(hint.contains("SHOW POOLS") && !hint.contains("KILL_CLIENT"), "{hint}");

    let mut admin = console(&sluice).await;
    assert!(!show(&mut admin, "SHOW HELP").await.with("command", "KILL_CLIENT id").is_empty());
    assert_eq!(tags(&admin.query("RELOAD").await), "CZ");
    let (_, unknown) = refused(&mut admin, "nonsense").await;
    assert!(unknown.field(b'H').unwrap().contains("KILL_CLIENT id"));
}

#[tokio::test]
async fn every_pin_is_shown_with_its_reason_and_its_server() {
    crate::needs_proxy!();
    let sluice = with_admin(proxy().pool_size(2));
    let mut console = console(&sluice).await;
    let (client, other) = (sluice.connect().await, sluice.connect().await);
    client.batch_execute("CREATE TEMP TABLE t (x int); LISTEN here").await.unwrap();
    other.text("SELECT 1").await;
    let backend = client.backend().await;
    let database = sluice.database.name.as_str();
    let clients = show_until(&mut console, "SHOW CLIENTS", |t| t.with("state", "idle").len() == 2).await;
    let pinned = clients.with("pins", "temp_table,listen");
    let [pinned] = pinned.as_slice() else { panic!("one is pinned: {:?}", clients.rows) };
    assert_eq!((text(pinned, "state"), text(pinned, "server_pid")), ("active", backend.to_string().as_str()));
    assert!(text(pinned, "pinned_since").ends_with(" UTC"));
    let free = clients.with("pins", "").into_iter().find(|row| text(row, "database") == database).unwrap();
    assert_eq!((text(free, "state"), text(free, "link"), &free["server_pid"]), ("idle", "", &None));

    let servers = show_until(&mut console, "SHOW SERVERS", |t| t.with("state", "idle").len() == 1).await;
    let server = servers.with("remote_pid", &backend.to_string())[0];
    assert_eq!((text(server, "state"), text(server, "client")), ("active", text(pinned, "id")));
    assert_eq!((text(server, "link"), text(server, "ptr")), (text(pinned, "ptr"), text(pinned, "link")));
    assert_eq!((text(server, "pins"), text(server, "server")), ("temp_table,listen", "primary"));
    let pools = show(&mut console, "SHOW POOLS").await;
    let counts = ["cl_active", "cl_waiting", "sv_active", "sv_idle", "pinned"];
    assert_eq!(counts.map(|name| text(pools.with("database", database)[0], name)), ["2", "0", "1", "1", "1"]);

    client.batch_execute("DISCARD ALL").await.unwrap();
    let clients = show_until(&mut console, "SHOW CLIENTS", |t| t.with("state", "idle").len() == 3).await;
    assert_eq!(clients.with("pins", "").len(), 3, "{:?}", clients.rows);
    assert!(clients.rows.iter().all(|row| row["pinned_since"].is_none() && row["server_pid"].is_none()));
    show_until(&mut console, "SHOW SERVERS", |t| t.with("state", "idle").len() == 2).await;
    drop((client, other));
    show_until(&mut console, "SHOW CLIENTS", |t| t.with("database", database).is_empty()).await;
}

#[tokio::test]
async fn who_waits_is_shown_waiting() {
    crate::needs_proxy!();
    let sluice = with_admin(proxy().pool_size(1));
    let mut console = console(&sluice).await;
    let holder = sluice.connect().await;
    holder.batch_execute("BEGIN").await.unwrap();
    let waiter = sluice.connect().await;
    let waiting = tokio::spawn(async move { waiter.text("SELECT 1").await });
    let one_waits = |pool: &Row| text(pool, "cl_waiting") == "1" && text(pool, "maxwait") != "0";
    show_until(&mut console, "SHOW POOLS", |t| t.rows.iter().any(one_waits)).await;
    let clients = show(&mut console, "SHOW CLIENTS").await;
    let row = clients.with("state", "waiting")[0];
    assert!(text(row, "wait").parse::<u32>().unwrap() >= 1, "{row:?}");
    holder.batch_execute("COMMIT").await.unwrap();
    assert_eq!(waiting.await.unwrap(), "1");
}

#[tokio::test]
async fn a_killed_client_ends_and_its_server_goes_on() {
    crate::needs_proxy!();
    let sluice = with_admin(proxy().pool_size(1));
    let mut console = console(&sluice).await;
    let (mut idle, mut open, mut waits) = (sluice.raw().await, sluice.raw().await, sluice.raw().await);
    open.query("BEGIN; CREATE TABLE t (x int)").await;
    waits.send(&msg::query("SELECT 1")).await;
    for client in [&mut waits, &mut idle, &mut open] {
        let id = id_of(&mut console, client).await;
        let answer = console.query(&format!("kill_client {id}")).await;
        assert_eq!(tags(&answer), "CZ", "{answer:?}");
        let last = client.until_closed().await.pop().unwrap();
        assert_eq!((last.tag, last.field(b'C').as_deref()), (b'E', Some("57P01")));
    }
    // What it had begun is rolled back, and the one connection serves the next.
    let next = sluice.connect().await;
    assert_eq!(next.text("SELECT to_regclass('t') IS NULL").await, "t");
    // In the middle of a statement, too.
    let mut busy = sluice.raw().await;
    busy.send(&msg::query("SELECT pg_sleep(60)")).await;
    eventually("it runs", || async { next.lab_active(&sluice).await }).await;
    let id = id_of(&mut console, &busy).await;
    let answer = console.query(&format!("KILL_CLIENT {id}")).await;
    assert_eq!(tags(&answer), "CZ");
    assert_eq!(busy.until_closed().await.pop().unwrap().field(b'C').as_deref(), Some("57P01"));
    assert_eq!(next.text("SELECT 2").await, "2");
    for (id, code) in
        [("2147483647", "42704"), ("x", "22023"), ("-1", "42601"), ("99999999999999999999", "22023")]
    {
        assert_eq!(refused(&mut console, &format!("KILL_CLIENT {id}")).await.0, code);
    }
    let port = console.stream.local_addr().unwrap().port().to_string();
    let own = text(show(&mut console, "SHOW CLIENTS").await.with("port", &port)[0], "id").to_owned();
    console.send(&msg::query(&format!("KILL_CLIENT {own}"))).await;
    assert_eq!(console.until_closed().await.pop().unwrap().field(b'C').as_deref(), Some("57P01"));
}

impl Session {
    /// Whether the test's database has a statement running now, as PostgreSQL sees it.
    async fn lab_active(&self, sluice: &Sluice) -> bool {
        let sql = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = '{}' AND query LIKE '%pg_sleep%' AND state = 'active'",
            sluice.database.name
        );
        lab().cluster.sql("postgres", &sql).unwrap()[0][0].as_deref() == Some("1")
    }
}

#[tokio::test]
async fn reload_says_what_it_could_not_read() {
    crate::needs_proxy!();
    let path = lab().cluster.home().path().join("console-userlist");
    std::fs::write(&path, "\"nobody\" \"x\"\n").unwrap();
    let sluice = with_admin(proxy().setting(&format!("[auth]\nauth_file = \"{}\"", path.display())));
    let mut console = console(&sluice).await;
    assert_eq!(tags(&console.query("RELOAD").await), "CZ");
    std::fs::write(&path, "no userlist\n").unwrap();
    let (code, error) = refused(&mut console, "RELOAD;").await;
    assert!(code == "58000" && error.field(b'M').unwrap().contains("auth_file"), "{error:?}");
}

#[tokio::test]
async fn there_is_room_for_an_administrator_when_there_is_none() {
    crate::needs_proxy!();
    let sluice = with_admin(proxy().setting("[pool]\nmax_client_conn = 1"));
    let first = sluice.connect().await;
    let error = sluice.config().connect(tokio_postgres::NoTls).await.map(drop).unwrap_err();
    assert_eq!(sqlstate(&error), "53300");
    let mut console = console(&sluice).await;
    let lists = show(&mut console, "SHOW LISTS").await;
    assert_eq!(text(lists.with("list", "used_clients")[0], "items"), "2");
    assert_eq!(first.text("SELECT 1").await, "1");
    // But nobody else comes in by that door.
    let nobody = lab().database();
    assert_eq!(enter(&sluice, &nobody).await.map(drop).unwrap_err().field(b'C').as_deref(), Some("42501"));
}

#[tokio::test]
async fn names_are_shown_as_they_are() {
    crate::needs_proxy!();
    let sluice = with_admin(proxy());
    let name = "d\"'\n\\é|;--\u{1F418}";
    let quoted = format!("\"{}\"", name.replace('"', "\"\""));
    let cluster = &lab().cluster;
    cluster.sql("postgres", &format!("CREATE ROLE {quoted} LOGIN PASSWORD 'secret'")).unwrap();
    cluster.sql("postgres", &format!("CREATE DATABASE {quoted} OWNER {quoted}")).unwrap();
    let mut config = sluice.config();
    config.user(name).password("secret").dbname(name).application_name("\u{1b}[2J\tx");
    let (client, _) = Session::with(&config).await.unwrap();
    client.batch_execute("BEGIN").await.unwrap();
    let mut console = console(&sluice).await;
    for command in ["SHOW CLIENTS", "SHOW SERVERS"] {
        let shown = show(&mut console, command).await;
        let row = shown.with("user", name)[0];
        assert_eq!(
            (text(row, "database"), text(row, "application_name")),
            (name, "\\x1b[2J\\x09x"),
            "{command}"
        );
    }
    for (command, column) in [
        ("SHOW POOLS", "user"),
        ("SHOW USERS", "name"),
        ("SHOW DATABASES", "name"),
        ("SHOW STATS", "database"),
    ] {
        assert_eq!(show(&mut console, command).await.with(column, name).len(), 1, "{command}");
    }
    // A role called like an administrator but for its case is none.
    let mut config = sluice.config();
    let upper = sluice.database.user.to_uppercase();
    cluster.sql("postgres", &format!("CREATE ROLE \"{upper}\" LOGIN PASSWORD 'secret'")).unwrap();
    config.user(&upper).password("secret").dbname("pgsluice");
    let error = config.connect(tokio_postgres::NoTls).await.map(drop).unwrap_err();
    assert_eq!(sqlstate(&error), "42501");
    client.batch_execute("COMMIT").await.unwrap();
    drop(client);
    cluster.sql("postgres", &format!("DROP DATABASE {quoted} WITH (FORCE)")).unwrap();
}

#[tokio::test]
async fn statistics_count_what_happened() {
    crate::needs_proxy!();
    let sluice = with_admin(proxy().pool_size(2));
    let client = sluice.connect().await;
    for _ in 0..3 {
        client.text("SELECT 1").await;
    }
    client.batch_execute("BEGIN; SELECT 1").await.unwrap();
    client.batch_execute("COMMIT").await.unwrap();
    client.query_one("SELECT 1", &[]).await.unwrap();
    let mut console = console(&sluice).await;
    let stats = show(&mut console, "SHOW STATS").await;
    let row = stats.with("database", &sluice.database.name)[0];
    let number = |name: &str| text(row, name).parse::<u64>().unwrap();
    // Prepare and execute are a transaction each.
    assert_eq!((number("total_xact_count"), number("total_query_count")), (6, 6), "{row:?}");
    assert!(number("total_server_assignment_count") >= 6);
    assert_eq!(number("total_client_login_count"), 1);
    assert!(number("total_received") > 100 && number("total_sent") > 300 && number("total_query_time") > 0);
    assert_eq!(row["total_xact_time"], None, "not counted is not 0");
}

#[tokio::test]
async fn five_hundred_clients_are_listed_and_nobody_waits_for_it() {
    crate::needs_proxy!();
    let sluice = with_admin(proxy().pool_size(2));
    let mut clients = Vec::new();
    for n in 0..500 {
        let own = &sluice.database;
        let application = format!("client {n}");
        let parameters = [("application_name", application.as_str())];
        let mut raw =
            Raw::login(sluice.port, &own.user, &own.password, &own.name, &parameters).await.unwrap();
        if n % 100 == 0 {
            raw.query("SELECT 1").await;
        }
        clients.push(raw);
    }
    let mut console = console(&sluice).await;
    let worker = sluice.connect().await;
    let done = tokio::spawn(async move {
        let mut worst = Duration::ZERO;
        for _ in 0..200 {
            let begun = Instant::now();
            worker.text("SELECT 1").await;
            worst = worst.max(begun.elapsed());
        }
        (worst, worker)
    });
    for _ in 0..20 {
        let shown = show(&mut console, "SHOW CLIENTS").await;
        assert_eq!(shown.rows.len(), 502);
        assert_eq!(shown.with("application_name", "client 499").len(), 1);
    }
    let (worst, _worker) = done.await.unwrap();
    assert!(worst < Duration::from_secs(2), "a statement took {worst:?} beside the lists");
    drop(clients);
}

#[tokio::test]
async fn the_console_ends_with_pgsluice() {
    crate::needs_proxy!();
    let mut sluice = with_admin(proxy());
    let mut console = console(&sluice).await;
    sluice.signal(rustix::process::Signal::TERM);
    assert_eq!(console.until_closed().await.pop().unwrap().field(b'C').as_deref(), Some("57P01"));
    assert!(sluice.exit().await.success());
}

#[tokio::test]
async fn broken_messages_end_the_visit_and_nothing_else() {
    crate::needs_proxy!();
    let sluice = with_admin(proxy());
    let long = msg::query(&"x".repeat(20_000));
    for bytes in [long, msg::frame(b'Q', b"SHOW LISTS\0Q"), msg::frame(b'p', b"x\0")] {
        let mut raw = console(&sluice).await;
        raw.send(&bytes).await;
        assert_eq!(raw.until_closed().await.pop().unwrap().field(b'C').as_deref(), Some("08P01"));
    }
    // Several at once, in pieces.
    let mut raw = console(&sluice).await;
    let all =
        [msg::query("SHOW STATE"), msg::extended("SHOW LISTS", &[]), msg::sync(), msg::query("show state")]
            .concat();
    for piece in all.chunks(7) {
        raw.send(piece).await;
    }
    assert_eq!(tags(&raw.until_ready().await), "TDDDCZ");
    assert_eq!(tags(&raw.until_ready().await), "EZ");
    assert_eq!(tags(&raw.until_ready().await), "TDDDCZ");
}
