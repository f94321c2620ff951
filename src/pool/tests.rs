use super::*;
use crate::config::{Host, Secret};
use crate::proxy::tls::ServerTls;

/// A node of one connection, with more settings.
pub(super) fn node_with(port: u16, pool_size: usize, settings: &str) -> Arc<Node> {
    let second = Duration::from_secs(1);
    let limits = Limits {
        pool_size_setting: "pool.pool_size".into(),
        pool_size,
        max_pinned: pool_size,
        server_connect_timeout: second,
        server_idle_timeout: None,
        server_login_retry: second,
        max_prepared_statements: 0,
    };
    let source = crate::document::Source::new("t.toml", settings);
    let loaded = crate::config::load_text(&source, std::path::Path::new(""), &[]);
    assert!(loaded.problems.is_empty(), "{:?}", loaded.problems);
    let host = Host::Tcp("127.0.0.1".to_owned(), port);
    let target = Target { host, tls: ServerTls::disabled(), connect_timeout: second };
    Node::new("primary", target, Lane::Primary, limits, &Arc::new(loaded.settings), 1)
}

pub(super) fn node(port: u16) -> Arc<Node> {
    node_with(port, 1, "")
}

#[test]
fn a_refused_key_is_forgotten_and_a_newer_one_is_not() {
    let pool = node(1).pool("ann", "shop");
    let key = || LoginKey::Password(Arc::new(key::Password::new(Secret::new("secret"))));
    let (refused, newer) = (key(), key());
    pool.set_login(&refused);
    pool.set_login(&newer);
    pool.unset_login(&refused);
    assert!(pool.login().is(&newer));
    pool.unset_login(&newer);
    assert!(pool.login().is(&LoginKey::None));
}

#[test]
fn dedicated_connections_are_counted_with_the_others_and_never_kept_ready() {
    let node = node(1);
    let (shared, own) = (node.pool("ann", "shop"), node.pool_for("ann", "shop", Purpose::Dedicated));
    assert!(!Arc::ptr_eq(&shared, &own));
    let permit = own.spare_permit();
    assert!(permit.is_some());
    assert_eq!(node.census().len(), 1);
    assert_eq!(node.census()[0].active, 1);
    assert_eq!(own.missing(), 0);
    assert!(shared.spare_permit().is_none(), "they count under the cap");
}

#[test]
fn the_census_keeps_its_order() {
    let node = node(1);
    let names: Vec<_> = (0..500).rev().map(|n| format!("user{n}")).collect();
    for name in &names {
        let _ = node.pool(name, "shop");
    }
    assert!(node.census().iter().map(|row| &*row.user).eq(names.iter()));
}
