#![allow(clippy::unwrap_used)]
use super::*;

const WATCH: Watch = Watch {
    check_interval: Duration::from_secs(1),
    max_lag: Duration::from_secs(5),
    connect_timeout: Duration::from_secs(1),
};

#[test]
fn pauses_grow_to_a_bound_and_differ() {
    let mut pause = Backoff::default();
    let pauses: Vec<_> = (0..20).map(|_| pause.next()).collect();
    assert!(pauses[0] <= Duration::from_millis(50) && pauses[0] >= Duration::from_millis(25));
    assert!(pauses[10..].iter().all(|p| *p >= Duration::from_secs(1) && *p <= Duration::from_secs(2)));
    assert!(pauses[10..].windows(2).any(|pair| pair[0] != pair[1]));
}

#[test]
fn a_url_becomes_a_connection_with_our_name_and_timeout() {
    let url = "postgres://u:p@db.example:6000/shop?sslmode=require&options=-c%20geqo%3Doff";
    let config = |url: &str| client_config(&server("primary", url), &WATCH);
    let socket = config("postgres:///x?host=/run/pg&sslmode=require");
    let config = config(url);
    assert_eq!(config.get_application_name(), Some("pgsluice topology"));
    assert_eq!(config.get_options(), Some("-c geqo=off -c statement_timeout=1000"));
    assert_eq!(config.get_ssl_mode(), tokio_postgres::config::SslMode::Require);
    assert_eq!((config.get_ports(), config.get_password()), ([6000].as_slice(), Some(b"p".as_slice())));
    assert_eq!(socket.get_hosts(), [tokio_postgres::config::Host::Unix("/run/pg".into())]);
    assert_eq!(socket.get_ssl_mode(), tokio_postgres::config::SslMode::Disable, "as libpq does");
}

fn server(name: &str, url: &str) -> Server {
    Server::new(name, url.parse().unwrap(), &ServerTlsSettings::default()).unwrap()
}

#[tokio::test]
async fn a_server_that_is_not_there_is_not_used_and_the_reason_says_so() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = closed.local_addr().unwrap().port();
    drop(closed);
    let server = |name: &str| server(name, &format!("postgres://u:geheim@127.0.0.1:{port}/x"));
    let shared = Shared::default();
    let run = run(Arc::clone(&shared), server("primary"), vec![server("replica1")], WATCH, Arc::default());
    let told = async {
        loop {
            let topology = shared.load().topology.clone();
            let why = topology.replicas.first().and_then(|replica| replica.why_not.clone());
            if let Some(why) = why.filter(|why| why.contains("refused")) {
                break (topology, why);
            }
            sleep(Duration::from_millis(5)).await;
        }
    };
    let (topology, why) = tokio::select! { told = told => told, () = run => unreachable!() };
    assert!(!topology.replicas[0].usable && !why.contains("geheim"), "{why}");
}

#[test]
fn the_next_record_of_a_page_stands_behind_its_header_and_the_last_one_ended_before() {
    for (next, end) in [(0x5000_0028, 0x5000_0000), (0x5000_2018, 0x5000_2000), (0x5000_2000, 0x5000_2000)] {
        assert_eq!(end_of_record(next), end, "{next:x}");
    }
    for inside in [0x5000_2030, 0x5000_3fff, 0x5000_0030] {
        assert_eq!(end_of_record(inside), inside, "{inside:x}");
    }
}
