#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::time::Duration;

use super::*;
use crate::document::Source;

fn load_str(text: &str) -> Loaded {
    load_text(&Source::new("t.toml", text), Path::new("/tmp"), &[])
}

fn problems(text: &str) -> Vec<String> {
    load_str(text).problems.iter().map(ToString::to_string).collect()
}

#[test]
fn every_default_can_be_read_and_nothing_else_is_missing() {
    let loaded = load_str("");
    assert!(loaded.problems.is_empty(), "{:?}", loaded.problems);
    assert!(loaded.primary_missing.is_some());
    assert_eq!(loaded.shown.len(), SETTINGS.len());
    assert!(loaded.shown.iter().all(|shown| shown.origin == Origin::Default));
    assert_eq!(loaded.settings.pool.pool_size, 20);
    assert_eq!(loaded.settings.pool.query_wait_timeout, Duration::from_secs(120));
    assert_eq!(loaded.settings.http, Some(ListenAddr::Tcp("127.0.0.1".into(), 9632)));
    assert_eq!(loaded.settings.client_tls.mode(), ClientSslMode::Disable);
    assert!(loaded.settings.auth.auth_query.contains("OPERATOR(pg_catalog.=) $1"));
}

#[test]
fn values_of_a_file() {
    let loaded = load_str(
        "listen = ['*:1', '/tmp/.s.PGSQL.7']\nprimary = 'postgres://a:b@h/d'\nhttp = ''\n\
         [pool]\npool_mode = 'session'\npool_size = 0x10\nquery_wait_timeout = '250ms'\n\
         [guard]\ncache_bytes = '2MB'\n",
    );
    assert!(loaded.problems.is_empty(), "{:?}", loaded.problems);
    let settings = loaded.settings;
    assert_eq!(settings.listen.len(), 2);
    assert_eq!(settings.http, None);
    assert_eq!(settings.pool.pool_mode, PoolMode::Session);
    assert_eq!(settings.pool.pool_size, 16);
    assert_eq!(settings.pool.query_wait_timeout, Duration::from_millis(250));
    assert_eq!(settings.guard.cache_bytes.as_usize(), 2 << 20);
    assert_eq!(settings.primary.password.unwrap().expose(), "b");
    let pool_size = loaded.shown.iter().find(|shown| shown.key == "pool_size").unwrap();
    assert_eq!(pool_size.origin, Origin::File("t.toml".into(), 6));
}

#[test]
fn every_error_comes_at_once_with_place_and_cure() {
    let found = problems(
        "pool_size = 3\nlisten = ['x', '127.0.0.1:1', 7]\nprimary = 'postgres://u:geheim@h:0/d'\n\
         [pool]\npool_sise = 1\nmin_pool_size = 50\npool_size = 'many'\n\
         [guard]\nmax_statement_bytes = '1 furlong'\n[pol]\nx = 1\n",
    );
    let expected = [
        "t.toml:1:1: unknown setting `pool_size` (`pool_size` belongs in [pool])",
        "t.toml:2:11: `listen` must be \"host:port\", and the port is missing",
        "t.toml:2:31: `listen` must be \"host:port\" (`*` as host is every address) or the path of a unix socket, not an integer",
        "t.toml:3:11: `primary` is no server URL: the port must be a number from 1 to 65535",
        "t.toml:5:1: unknown setting `pool_sise` (did you mean `pool_size`?)",
        "t.toml:6:17: `min_pool_size` must not be above pool_size, 20",
        "t.toml:7:13: `pool_size` must be a whole number, not a string",
        "t.toml:9:23: `max_statement_bytes` must be a size such as \"64kB\", \"16MB\", \"1GB\", or a number of bytes",
        "t.toml:10:2: unknown setting `pol` (did you mean `pool`?)",
    ];
    assert_eq!(found, expected);
}

#[test]
fn flags_override_the_file_and_say_so() {
    let flag = |setting, value: toml::Value| Override { flag: "--flag", setting, value };
    let source = Source::new("t.toml", "[pool]\npool_size = 5\n");
    let flags = [flag("pool.pool_size", 7.into()), flag("primary", "postgres://h".into())];
    let loaded = load_text(&source, Path::new(""), &flags);
    assert!(loaded.problems.is_empty() && loaded.primary_missing.is_none(), "{:?}", loaded.problems);
    assert_eq!(loaded.settings.pool.pool_size, 7);
    let printed = print(&loaded.shown);
    assert!(printed.contains("pool_size = 7") && printed.contains("# --flag"), "{printed}");

    let wrong = load_text(&source, Path::new(""), &[flag("primary", "postgres://u:geheim@h:x/".into())]);
    assert_eq!(wrong.problems.len(), 1, "{:?}", wrong.problems);
    assert!(!wrong.problems[0].to_string().contains("geheim"));
}

#[test]
fn what_is_printed_reads_as_the_same_settings() {
    let first = load_str("primary = 'postgres://u@h/d'\n[replica]\nmax_lag = '1500ms'\n");
    let again = load_str(&print(&first.shown));
    assert!(again.problems.is_empty(), "{:?}", again.problems);
    assert_eq!(format!("{:?}", first.settings), format!("{:?}", again.settings));
    let shown: Vec<_> = first.shown.iter().map(|shown| shown.value.clone()).collect();
    assert_eq!(first.settings.shown(), shown);
}

#[test]
fn passwords_are_not_printed() {
    let loaded = load_str("primary = 'postgres://u:geheim@h/d'\nreplicas = ['host=h password=geheim']\n");
    assert!(loaded.problems.is_empty());
    let all = format!("{}{:?}", print(&loaded.shown), loaded.settings);
    assert!(!all.contains("geheim"), "{all}");
}

#[test]
fn a_missing_file_is_one_problem() {
    let loaded = load(Some(Path::new("/no/such/file.toml")), &[]);
    assert_eq!(loaded.problems.len(), 1);
    assert!(loaded.problems[0].message.starts_with("cannot read /no/such/file.toml: "));
}

#[test]
fn certificates_come_in_pairs() {
    let found = problems("[client_tls]\nclient_tls_sslmode = 'require'\n");
    assert_eq!(found.len(), 1, "{found:?}");
    let found = problems("[client_tls]\nclient_tls_cert_file = '/etc/hostname'\n");
    assert!(found[0].contains("needs client_tls_key_file"), "{found:?}");
}

proptest::proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in "(primary|listen|\\[pool\\]|pool_size|=|'|\"|\\[|\\]|\n|[0-9a-z:/@%. ])*") {
        let loaded = load_str(&text);
        let _ = crate::document::render(&loaded.problems, false);
    }
}

#[test]
fn a_users_section_wins_over_a_databases_and_that_over_all() {
    let loaded = load_str(
        "[pool]\nmax_db_connections = 9\n[timeouts]\nquery_timeout = '9s'\n\
         [databases.shop]\ndbname = 'shop_2'\npool_mode = 'session'\npool_size = 5\nquery_timeout = '5s'\n\
         client_idle_timeout = '5s'\nreuse_unnamed = false\nconnect_query = 'SET x.y = 1'\n\
         [databases.'*']\nserver_lifetime = '7s'\nmax_db_connections = 0\n\
         [users.etl]\npool_size = 2\nquery_timeout = 0\nmax_user_client_connections = 4\n",
    );
    assert!(loaded.problems.is_empty(), "{:?}", loaded.problems);
    let settings = loaded.settings;
    let etl = settings.terms("etl", "shop");
    assert_eq!((&*etl.dbname, etl.pool_mode, etl.pool_size), ("shop_2", PoolMode::Session, Some(2)));
    assert_eq!((etl.times.query, etl.times.client_idle), (None, Some(Duration::from_secs(5))));
    assert_eq!((etl.reuse_unnamed, etl.connect_query.as_deref()), (false, Some("SET x.y = 1")));
    assert_eq!(etl.max_db_connections, Some(9));
    let ann = settings.terms("ann", "shop");
    assert_eq!((ann.pool_size, ann.times.query), (Some(5), Some(Duration::from_secs(5))));
    let other = settings.terms("ann", "other");
    assert_eq!((&*other.dbname, other.pool_size, other.max_db_connections), ("other", None, None));
    assert_eq!(other.server_lifetime, Duration::from_secs(7));
    assert_eq!((settings.user_clients("etl"), settings.user_clients("ann")), (Some(4), None));
    assert_eq!(settings.shortest_timeout(), Some(Duration::from_secs(5)));
}

#[test]
fn mistakes_in_named_sections_have_their_places() {
    let found = problems(
        "[databases.shop]\npool_sise = 1\npool_size = 0\nmin_pool_size = 21\nquery_timeout = 'soon'\n\
         [databases]\nblog = 3\n[users.\"a b\"]\npool_mode = 'sesion'\npool_size = 21\n[user.x]\n",
    );
    let expected = [
        "t.toml:2:1: unknown setting `pool_sise` (did you mean `pool_size`?)",
        "t.toml:3:13: `pool_size` must be from 1 to 100000",
        "t.toml:4:17: `min_pool_size` must not be above pool_size, 0",
        "t.toml:5:17: `query_timeout` must be a duration such as \"250ms\", \"5s\", \"10min\", \"1h\", or a number of seconds",
        "t.toml:7:8: `blog` must be written as [databases.<name>], not an integer",
        "t.toml:9:13: `pool_mode` must be one of transaction session statement; did you mean `session`?",
        "t.toml:10:13: `pool_size` must not be above pool.pool_size, 20",
        "t.toml:11:2: unknown setting `user` (did you mean `users`?)",
    ];
    assert_eq!(found, expected);
}

#[test]
fn named_sections_are_printed_and_read_again() {
    let text = "primary = 'postgres://u@h/d'\n[databases.\"a b\"]\npool_size = 3\n[users.\"x\"]\nquery_timeout = '3s'\n";
    let first = load_str(text);
    let printed = print(&first.shown);
    assert!(printed.contains("[databases.\"a b\"]\npool_size = 3 "), "{printed}");
    let again = load_str(&printed);
    assert!(again.problems.is_empty(), "{:?}", again.problems);
    assert_eq!(format!("{:?}", first.settings), format!("{:?}", again.settings));
}
