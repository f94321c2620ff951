//! Caps by user and by database: of clients, and of server connections; the reserve.

use std::time::{Duration, Instant};

use crate::support::{Session, Sluice, eventually, lab, proxy, sqlstate};

/// A client of `user` (made for it) on `database`.
async fn client(sluice: &Sluice, user: &str, database: &str) -> Result<Session, tokio_postgres::Error> {
    let mut config = sluice.config();
    config.user(user).dbname(database);
    Session::with(&config).await.map(|(session, _)| session)
}

/// One more role, with the password of the database's owner.
fn role(database: &crate::support::Database<'_>, name: &str) -> String {
    let name = format!("{name}_{}", database.user);
    let sql = format!("CREATE ROLE {name} LOGIN PASSWORD '{}'", database.password);
    database.lab.cluster.sql("postgres", &sql).unwrap();
    name
}

#[tokio::test]
async fn more_clients_of_a_user_or_a_database_than_allowed_are_refused_with_the_settings_name() {
    crate::needs_proxy!();
    let database = lab().database();
    let other = role(&database, "other");
    let settings = format!(
        "[pool]\nmax_user_client_connections = 2\n[databases.{}]\nmax_db_client_connections = 3",
        database.name
    );
    let sluice = proxy().setting(&settings).start_for(database.clone());
    let (me, db) = (&database.user, &database.name);
    let mine = [client(&sluice, me, db).await.unwrap(), client(&sluice, me, db).await.unwrap()];
    let refused = async |user: &str, database: &str, word: &str| {
        let error = client(&sluice, user, database).await.map(drop).unwrap_err();
        let db = error.as_db_error().unwrap();
        assert_eq!((db.code().code(), db.severity()), ("53300", "FATAL"));
        assert!(db.message().contains(word), "{}", db.message());
    };
    refused(me, db, "max_user_client_connections").await;
    refused(me, "postgres", "max_user_client_connections").await;
    let third = client(&sluice, &other, db).await.unwrap();
    refused(&other, db, "max_db_client_connections").await;
    let elsewhere = client(&sluice, &other, "postgres").await.unwrap();
    assert_eq!(elsewhere.text("SELECT 1").await, "1");
    drop((mine, third));
    eventually("places are free again", || async { client(&sluice, me, db).await.is_ok() }).await;
}

#[tokio::test]
async fn a_user_at_its_cap_of_server_connections_keeps_nobody_else() {
    crate::needs_proxy!();
    let database = lab().database();
    let other = role(&database, "quick");
    let settings = format!("[users.{}]\nmax_user_connections = 2", database.user);
    let sluice = proxy().pool_size(4).setting(&settings).start_for(database.clone());
    let (me, db) = (database.user.clone(), database.name.clone());
    let mut holders = Vec::new();
    for _ in 0..2 {
        let holder = client(&sluice, &me, &db).await.unwrap();
        holder.batch_execute("BEGIN").await.unwrap();
        holders.push(holder);
    }
    let mut blocked = Vec::new();
    for _ in 0..20 {
        let session = client(&sluice, &me, &db).await.unwrap();
        blocked.push(tokio::spawn(async move { session.text("SELECT pg_backend_pid()").await }));
    }
    let quick = client(&sluice, &other, &db).await.unwrap();
    for _ in 0..50 {
        assert_eq!(quick.text("SELECT 1").await, "1");
    }
    assert!(blocked.iter().all(|b| !b.is_finished()), "none goes beyond the cap");
    let sql = format!("SELECT count(*) FROM pg_stat_activity WHERE usename = '{me}'");
    assert_eq!(database.admin().await.text(&sql).await, "2");
    for holder in holders {
        holder.batch_execute("COMMIT").await.unwrap();
    }
    for one in blocked {
        one.await.unwrap();
    }
    assert_eq!(database.admin().await.text(&sql).await, "2");
}

#[tokio::test]
async fn a_database_at_its_cap_takes_turns_among_its_users() {
    crate::needs_proxy!();
    let database = lab().database();
    let other = role(&database, "turn");
    let settings = format!("[databases.{}]\nmax_db_connections = 1", database.name);
    let sluice = proxy().pool_size(4).setting(&settings).start_for(database.clone());
    let (one, two) = (
        client(&sluice, &database.user, &database.name).await.unwrap(),
        client(&sluice, &other, &database.name).await.unwrap(),
    );
    for _ in 0..5 {
        // Each closes the other's idle connection to have one.
        assert_eq!(one.text("SELECT current_user::text").await, database.user);
        assert_eq!(two.text("SELECT current_user::text").await, other);
        assert_eq!(database.lab.backends(&database.name), 1);
    }
    let both = async |session: &Session| {
        for _ in 0..20 {
            session.text("SELECT pg_sleep(0.002)").await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), async { tokio::join!(both(&one), both(&two)) })
        .await
        .expect("neither starves");
}

#[tokio::test]
async fn a_pair_has_its_own_pool_size_and_the_error_names_it() {
    crate::needs_proxy!();
    let database = lab().database();
    let settings = format!(
        "[databases.{}]\npool_size = 1\nquery_wait_timeout = \"300ms\"\n[pool]\nquery_wait_notify = \"100ms\"",
        database.name
    );
    let sluice = proxy().pool_size(5).setting(&settings).start_for(database.clone());
    let (holder, waiter) = (sluice.connect().await, sluice.connect().await);
    holder.batch_execute("BEGIN").await.unwrap();
    let error = waiter.batch_execute("SELECT 1").await.unwrap_err();
    assert_eq!(sqlstate(&error), "53300");
    let message = error.as_db_error().unwrap().message();
    assert!(message.contains("pool_size of user") && message.contains(&database.name), "{message}");
    let notice = waiter.notices()[0].detail().unwrap_or_default().to_owned();
    assert!(notice.contains("pool_size of user"), "{notice}");
    let elsewhere = client(&sluice, &database.user, "postgres").await.unwrap();
    assert_eq!(elsewhere.text("SELECT 1").await, "1");
    eventually("the wait that ran out is counted", || async {
        sluice.metric("pgsluice_timeouts_total", &["timeout=\"query_wait\""]).await == 1.0
    })
    .await;
}

#[tokio::test]
async fn who_waits_long_enough_gets_a_connection_of_the_reserve() {
    crate::needs_proxy!();
    let settings =
        "[pool]\nreserve_pool_size = 1\nreserve_pool_timeout = \"500ms\"\nquery_wait_timeout = \"2s\"";
    let sluice = proxy().pool_size(1).setting(settings).start();
    let (holder, patient, third) = (sluice.connect().await, sluice.connect().await, sluice.connect().await);
    holder.batch_execute("BEGIN").await.unwrap();
    let started = Instant::now();
    patient.batch_execute("BEGIN").await.unwrap();
    let waited = started.elapsed();
    assert!(waited >= Duration::from_millis(450) && waited < Duration::from_millis(1900), "{waited:?}");
    assert_eq!(third.failure("SELECT 1").await, "53300", "the reserve is used up");
    patient.batch_execute("COMMIT").await.unwrap();
    assert_eq!(third.text("SELECT 1").await, "1");
}

#[tokio::test]
async fn a_login_that_needs_a_server_may_use_the_reserve_too() {
    crate::needs_proxy!();
    let settings =
        "[pool]\nreserve_pool_size = 1\nreserve_pool_timeout = \"300ms\"\nquery_wait_timeout = \"5s\"";
    let sluice = proxy().pool_size(1).setting(settings).start();
    let holder = sluice.connect().await;
    holder.batch_execute("BEGIN").await.unwrap();
    let mut config = sluice.config();
    config.options("-c work_mem=3MB");
    let (late, _) = Session::with(&config).await.unwrap();
    assert_eq!(late.text("SHOW work_mem").await, "3MB");
    holder.batch_execute("COMMIT").await.unwrap();
}

#[tokio::test]
async fn an_alias_a_mode_and_a_login_by_database() {
    crate::needs_proxy!();
    let database = lab().database();
    let settings = format!(
        "[databases.front]\ndbname = \"{}\"\npool_mode = \"session\"\nmin_pool_size = 2\nserver_lifetime = \"1h\"",
        database.name
    );
    let sluice = proxy().pool_size(4).setting(&settings).start_for(database.clone());
    let front = client(&sluice, &database.user, "front").await.unwrap();
    assert_eq!(front.text("SELECT current_database()::text").await, database.name);
    // Session mode: the connection stays, with what is set on it.
    front.batch_execute("SET work_mem = '3MB'").await.unwrap();
    let backend = front.backend().await;
    let other = client(&sluice, &database.user, "front").await.unwrap();
    assert_ne!(other.backend().await, backend);
    assert_eq!(front.text("SHOW work_mem").await, "3MB");
    eventually("the minimum is kept", || async { lab().backends(&database.name) >= 2 }).await;
    drop((front, other));
    eventually("what was set is gone", || async {
        let next = client(&sluice, &database.user, "front").await.unwrap();
        next.text("SHOW work_mem").await == "4MB"
    })
    .await;
}
