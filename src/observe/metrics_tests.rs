#![allow(clippy::unwrap_used)]

use super::*;
use crate::control::snapshot::ReplicaState;
use crate::guard::{Action, Kind};
use crate::observe::exposition::reader;
use crate::observe::{Bounds, RuleLabel};

fn sources(bounds: Bounds) -> Sources {
    Sources {
        census: Census(Arc::new(|| vec![connections("primary", "shop", "app")])),
        meters: Meters::new(bounds),
        snapshot: snapshot::Shared::default(),
        log: Arc::default(),
        query_log: Some(Arc::default()),
        certificate_expiry: Some(Arc::new(AtomicI64::new(1_800_000_000))),
        started: UNIX_EPOCH + Duration::from_secs(1_000),
    }
}

fn connections(server: &str, database: &str, user: &str) -> Connections {
    let (server, database, user) = (server.into(), database.into(), user.into());
    Connections { server, database, user, states: [0, 1, 2], logins: [5, 1] }
}

#[test]
fn the_page_says_what_was_counted() {
    let sources = sources(Bounds::default());
    let thread = sources.meters.thread();
    let pool = thread.pool("primary", "shop", "app");
    pool.query(Kind::Select, 200_000, 3, 90);
    pool.query(Kind::Update, 3_000_000_000, 0, 10);
    pool.waited(0);
    pool.error();
    let rules = [RuleLabel { name: "no-star".into(), action: Action::Warn, enforced: true }];
    let rules = sources.meters.rules(&rules);
    let clients = thread.clients("shop", "app");
    let _client = clients.client();
    thread.fingerprint(clients.database(), 0xab, &"SELECT $1".into(), 200_000, 3, 90);
    snapshot::publish(&sources.snapshot, |next| {
        let mut replica = ReplicaState::unknown("replica1".into());
        replica.lag = Some(Duration::from_millis(1_500));
        next.topology.replicas = vec![replica, ReplicaState::unknown("replica2".into())];
    });

    let page = reader::read(&render(&sources)).unwrap();
    let app = [("database", "shop"), ("user", "app"), ("server", "primary")];
    let with = |name, value| [app.as_slice(), &[(name, value)]].concat();
    assert_eq!(page.value("pgsluice_queries_total", &with("kind", "update")), Some(1.0));
    assert_eq!(page.value("pgsluice_queries_total", &with("kind", "delete")), None);
    assert_eq!(page.value("pgsluice_query_rows_total", &app), Some(3.0));
    assert_eq!(page.value("pgsluice_query_errors_total", &app), Some(1.0));
    assert_eq!(page.value("pgsluice_query_seconds_bucket", &with("le", "0.0001")), Some(0.0));
    assert_eq!(page.value("pgsluice_query_seconds_bucket", &with("le", "0.00025")), Some(1.0));
    assert_eq!(page.value("pgsluice_query_seconds_bucket", &with("le", "+Inf")), Some(2.0));
    assert_eq!(page.value("pgsluice_query_seconds_sum", &app), Some(3.0002));
    assert_eq!(page.value("pgsluice_pool_wait_seconds_count", &app), Some(1.0));
    let verdict = |action| [("rule", "no-star"), ("action", action), ("mode", "enforce")];
    assert_eq!(page.value("pgsluice_verdicts_total", &verdict("warn")), Some(0.0), "there before it hits");
    let client = [("database", "shop"), ("user", "app"), ("state", "idle")];
    assert_eq!(page.value("pgsluice_client_connections", &client), Some(1.0));
    let fingerprint = [("database", "shop"), ("fingerprint", "00000000000000ab")];
    assert_eq!(page.value("pgsluice_fingerprint_calls_total", &fingerprint), Some(1.0));
    assert_eq!(page.value("pgsluice_fingerprint_seconds_total", &fingerprint), Some(0.0002));
    assert_eq!(page.value("pgsluice_replica_lag_seconds", &[("server", "replica1")]), Some(1.5));
    assert_eq!(page.value("pgsluice_replica_lag_seconds", &[("server", "replica2")]), None);
    assert_eq!(page.value("pgsluice_process_start_time_seconds", &[]), Some(1_000.0));
    assert_eq!(page.value("pgsluice_tls_certificate_expiry_seconds", &[]), Some(1_800_000_000.0));
    let login = |result| [&[("result", result)], app.as_slice()].concat();
    assert_eq!(page.value("pgsluice_server_logins_total", &login("ok")), Some(5.0));
    assert_eq!(page.value("pgsluice_server_logins_total", &login("failed")), Some(1.0));

    thread.verdict(&rules, 0, Action::Block, true);
    thread.limited(&rules, 0, crate::session::Limit::Rows);
    let page = reader::read(&render(&sources)).unwrap();
    assert_eq!(page.value("pgsluice_verdicts_total", &verdict("block")), Some(1.0));
}

#[test]
fn names_types_and_labels_are_as_declared() {
    let sources = sources(Bounds::default());
    let thread = sources.meters.thread();
    let pool = thread.pool("primary", "shop", "app");
    let _client = thread.clients("shop", "app").client();
    let rules =
        sources.meters.rules(&[RuleLabel { name: "r".into(), action: Action::Block, enforced: false }]);
    thread.limited(&rules, 0, crate::session::Limit::Rows);
    sources.meters.policy_load(true, SystemTime::now());
    pool.query(Kind::Select, 1, 1, 1);
    thread.fingerprint(thread.clients("shop", "app").database(), 1, &"x".into(), 1, 1, 1);
    snapshot::publish(&sources.snapshot, |next| {
        let mut replica = ReplicaState::unknown("replica1".into());
        replica.lag = Some(Duration::ZERO);
        next.topology.replicas = vec![replica];
    });
    let page = reader::read(&render(&sources)).unwrap();
    for metric in ALL {
        assert!(metric.name.starts_with("pgsluice_") && !metric.help.contains('\n'));
        let counter = metric.kind == MetricKind::Counter;
        assert_eq!(counter, metric.name.ends_with("_total"), "{}", metric.name);
        assert_eq!(
            page.types.get(metric.name).map(String::as_str),
            Some(metric.kind.label()),
            "{}",
            metric.name
        );
        let suffix = if metric.kind == MetricKind::Histogram { "_sum" } else { "" };
        let full = format!("{}{suffix}", metric.name);
        let found: Vec<_> = page.samples.keys().filter(|(name, _)| *name == full).collect();
        assert!(!found.is_empty(), "{full} has no sample");
        for (_, labels) in found {
            let mut declared = metric.labels.to_vec();
            declared.sort_unstable();
            assert_eq!(labels.keys().map(String::as_str).collect::<Vec<_>>(), declared, "{full}");
        }
    }
    assert_eq!(page.types.len(), ALL.len(), "a metric on the page is not declared");
}

#[test]
fn hostile_names_break_neither_the_page_nor_each_other() {
    let sources = sources(Bounds::default());
    let thread = sources.meters.thread();
    let names = [
        "a\"} 1\npgsluice_fake 1",
        "a\"",
        "a\\\"",
        "a\\",
        "a\\\\",
        "a\\n",
        "a\n",
        "\\\n",
        "",
        "\u{0}\r\t",
        "é\u{2028}",
    ];
    for (n, name) in names.iter().enumerate() {
        let pool = thread.pool("primary", name, name);
        pool.query(Kind::Select, 1, n as u64, 1);
        let clients = thread.clients(name, name);
        thread.fingerprint(clients.database(), n as u64, &(*name).into(), 1, 1, 1);
    }
    let _ = thread.pool("primary", &"x".repeat(10_000), "u");
    let text = render(&sources);
    assert!(text.lines().all(|line| line.len() < 1_000));
    let page = reader::read(&text).unwrap();
    assert!(!page.types.contains_key("pgsluice_fake"));
    for (n, name) in names.iter().enumerate() {
        let labels = [("database", *name), ("user", *name), ("server", "primary")];
        assert_eq!(page.value("pgsluice_query_rows_total", &labels), Some(n as f64), "{name:?}");
        assert_eq!(page.value("pgsluice_query_seconds_count", &labels), Some(1.0), "{name:?}");
        let fingerprint = fingerprint_label(n as u64);
        let labels = [("database", *name), ("fingerprint", fingerprint.as_str())];
        assert_eq!(page.value("pgsluice_fingerprint_calls_total", &labels), Some(1.0), "{name:?}");
    }
}

#[test]
fn a_flood_of_names_ends_in_other() {
    let mut sources = sources(Bounds { label_pairs: 5, tracked_fingerprints: 10, top_fingerprints: 3 });
    let names = || (0..20).map(|n| format!("db{n}"));
    let pools = |server: &str| names().map(|name| connections(server, &name, "u")).collect::<Vec<_>>();
    let pools = [pools("primary"), pools("replica1")].concat();
    sources.census = Census(Arc::new(move || pools.clone()));
    let thread = sources.meters.thread();
    for n in 0..100u64 {
        let name = format!("db{n}");
        thread.pool("primary", &name, "u").query(Kind::Select, 1_000, 1, 1);
        let clients = thread.clients(&name, "u");
        thread.fingerprint(clients.database(), n, &"x".into(), 1_000, 1, 1);
    }
    let page = reader::read(&render(&sources)).unwrap();
    let series = |name: &str| -> Vec<f64> {
        page.samples.iter().filter(|((n, _), _)| n == name).map(|(_, value)| *value).collect()
    };
    let rows = series("pgsluice_query_rows_total");
    assert_eq!((rows.len(), rows.iter().sum()), (6, 100.0));
    let logins = series("pgsluice_server_logins_total");
    assert_eq!((logins.len(), logins.iter().sum()), (2 * 2 * (5 + 1), 2.0 * 20.0 * 6.0));
    let other = [("server", "replica1"), ("database", "other"), ("user", "other"), ("result", "ok")];
    assert_eq!(page.value("pgsluice_server_logins_total", &other), Some(15.0 * 5.0));
    let calls = series("pgsluice_fingerprint_calls_total");
    assert!(calls.len() <= 3 + 6);
    assert_eq!(calls.iter().sum::<f64>(), 100.0);
}

#[test]
fn a_page_is_made_once_a_second() {
    let page = Page::new(sources(Bounds::default()));
    assert!(Arc::ptr_eq(&page.get(), &page.get()));
    let long_ago = Instant::now().checked_sub(PAGE_LIFE).unwrap();
    locked(&page.last).as_mut().unwrap().0 = long_ago;
    let old = Arc::clone(&locked(&page.last).as_ref().unwrap().1);
    assert!(!Arc::ptr_eq(&page.get(), &old));
}

#[test]
fn metrics_page_of_the_manual() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/METRICS.md");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::create_dir_all(concat!(env!("CARGO_MANIFEST_DIR"), "/docs")).unwrap();
        std::fs::write(path, manual()).unwrap();
    }
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert_eq!(
        written,
        manual(),
        "docs/METRICS.md is out of date: UPDATE=1 cargo test metrics_page_of_the_manual"
    );
}
