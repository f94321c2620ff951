//! A primary that may be at one of several hosts.

use crate::support::{Lab, eventually, lab, proxy};
use pgsluice::sandbox::Options;

/// A port where nobody listens.
fn nobody() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn url(ports: &[u16], parameters: &str) -> String {
    let hosts: Vec<_> = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
    let whole = lab().cluster.url("postgres");
    let (login, _) = whole.rsplit_once('@').unwrap();
    format!("{login}@{}/postgres{parameters}", hosts.join(","))
}

#[tokio::test]
async fn the_first_that_is_there_and_a_primary_is_used() {
    crate::needs_proxy!();
    let (primary, replica) = (lab().cluster.server().port(), lab().cluster.replicas()[0].port());
    for parameters in ["", "?target_session_attrs=read-write", "?load_balance_hosts=random"] {
        let sluice = proxy().pool_size(3).primary(url(&[nobody(), replica, primary], parameters)).start();
        lab().catch_up().await; // the replica is asked, too, and must know the database
        let client = sluice.connect().await;
        client.batch_execute("CREATE TABLE t (n int)").await.unwrap();
        let mut held = Vec::new();
        for _ in 0..3 {
            let session = sluice.connect().await;
            session.batch_execute("BEGIN").await.unwrap();
            assert_eq!(session.text("SELECT pg_is_in_recovery()").await, "f", "{parameters}");
            held.push(session);
        }
        drop(held);
        // A cancel goes where the connection is.
        let token = client.cancel_token();
        let cancel = async {
            tokio::time::sleep(std::time::Duration::from_millis(300)).await;
            token.cancel_query(tokio_postgres::NoTls).await.unwrap();
        };
        let (outcome, ()) = tokio::join!(client.batch_execute("SELECT pg_sleep(60)"), cancel);
        assert_eq!(crate::support::sqlstate(&outcome.unwrap_err()), "57014");
        eventually("it is up", || async {
            sluice.metric("pgsluice_server_up", &["server=\"primary\""]).await == 1.0
        })
        .await;
    }
}

#[tokio::test]
async fn any_takes_the_first_that_is_there() {
    crate::needs_proxy!();
    let (primary, replica) = (lab().cluster.server().port(), lab().cluster.replicas()[0].port());
    let database = lab().database();
    lab().catch_up().await;
    let hosts = url(&[nobody(), replica, primary], "?target_session_attrs=any");
    let sluice = proxy().primary(hosts).start_for(database);
    assert_eq!(sluice.connect().await.text("SELECT pg_is_in_recovery()").await, "t");
}

#[tokio::test]
async fn where_none_is_a_primary_the_client_is_told() {
    crate::needs_proxy!();
    let replica = lab().cluster.replicas()[0].port();
    let database = lab().database();
    lab().catch_up().await;
    let settings = "[pool]\nquery_wait_timeout = \"500ms\"";
    let sluice = proxy().primary(url(&[replica, nobody()], "")).setting(settings).start_for(database);
    let error = sluice.config().connect(tokio_postgres::NoTls).await.map(drop).unwrap_err();
    assert!(["08001", "57P03"].contains(&crate::support::sqlstate(&error)), "{error:?}");
}

#[tokio::test]
async fn after_a_failover_the_next_is_found_and_clients_stay() {
    crate::needs_proxy!();
    let lab = Lab::private(Options::default());
    let (primary, replica) = (lab.cluster.server().port(), lab.cluster.replicas()[0].port());
    let database = lab.database();
    lab.catch_up().await;
    let whole = lab.cluster.url("postgres");
    let (login, _) = whole.rsplit_once('@').unwrap();
    let hosts = format!("{login}@127.0.0.1:{primary},127.0.0.1:{replica}/postgres");
    let sluice = crate::support::Builder::new(lab).primary(hosts).start_for(database.clone());
    let client = sluice.connect().await;
    client.batch_execute("CREATE TABLE t (n int)").await.unwrap();
    lab.catch_up().await;
    lab.cluster.server().stop().unwrap();
    database.on_replica().await; // it answers
    let admin = {
        let url = lab.cluster.replica_url("postgres").unwrap();
        crate::support::Session::open(&url).await.0
    };
    assert_eq!(admin.text("SELECT pg_promote()").await, "t");
    eventually("the client writes to the new primary", || async {
        client.batch_execute("INSERT INTO t VALUES (1)").await.is_ok()
    })
    .await;
    assert_eq!(client.text("SELECT inet_server_port()").await, replica.to_string());
    eventually("it is up again", || async {
        sluice.metric("pgsluice_server_up", &["server=\"primary\""]).await == 1.0
    })
    .await;
}
