#![allow(clippy::unwrap_used)]
use super::*;

fn read(text: &str) -> ServerUrl {
    text.parse().unwrap()
}

#[test]
fn a_whole_url() {
    let url =
        read("postgresql://a%40b:p:w%2F@db.example:6000/shop?sslmode=verify-full&application_name=x%20y");
    assert_eq!(url.host, Host::Tcp("db.example".into(), 6000));
    assert_eq!((url.user.as_str(), url.database.as_str()), ("a@b", "shop"));
    assert_eq!(url.password.as_ref().unwrap().expose(), "p:w/");
    assert_eq!(url.sslmode, SslMode::VerifyFull);
    assert_eq!(url.params, [("application_name".into(), "x y".into())]);
}

#[test]
fn defaults() {
    let url = read("postgres://localhost");
    assert_eq!(url.host, Host::Tcp("localhost".into(), 5432));
    assert_eq!((url.user.as_str(), url.database.as_str()), ("postgres", "postgres"));
    assert_eq!((url.sslmode, url.password), (SslMode::Prefer, None));
    assert_eq!(read("postgres://app@[::1]:1/").database, "app");
    assert_eq!(read("postgres://[::1]:1/").host, Host::Tcp("::1".into(), 1));
}

#[test]
fn unix_sockets_in_each_form() {
    let expected = Host::Unix("/run/postgresql".into(), 5433);
    for text in [
        "postgres:///shop?host=/run/postgresql&port=5433",
        "postgres://%2Frun%2Fpostgresql:5433/shop",
        "host=/run/postgresql port=5433 dbname=shop",
        "host = '/run/postgresql' port=5433 dbname=shop",
    ] {
        let url = read(text);
        assert_eq!((&url.host, url.database.as_str()), (&expected, "shop"), "{text}");
    }
    assert_eq!(expected.socket_path().unwrap().to_string_lossy(), "/run/postgresql/.s.PGSQL.5433");
}

#[test]
fn several_hosts() {
    let tcp = |host: &str, port| Host::Tcp(host.into(), port);
    let url = read("postgres://u@a:1,[::1],c:3/d");
    assert_eq!(url.hosts().cloned().collect::<Vec<_>>(), [tcp("a", 1), tcp("::1", 5432), tcp("c", 3)]);
    assert_eq!(url.target_session_attrs, TargetSessionAttrs::Primary, "of several, the primary is meant");
    assert_eq!(read("postgres://a/d").target_session_attrs, TargetSessionAttrs::Any);
    let url = read("host=a,/tmp port=7 target_session_attrs=read-write load_balance_hosts=random");
    assert_eq!(url.hosts().cloned().collect::<Vec<_>>(), [tcp("a", 7), Host::Unix("/tmp".into(), 7)]);
    assert_eq!((url.target_session_attrs, url.load_balance_hosts), (TargetSessionAttrs::ReadWrite, true));
    assert_eq!(read(&url.to_string()), url);
    assert_eq!(read("postgres://a,b/d").to_string(), "postgres://postgres@a:5432,b:5432/d?sslmode=prefer");
}

#[test]
fn tls_is_asked_for_in_libpqs_words() {
    let url = read("postgres://h/?channel_binding=disable&sslcert=/c&sslkey=/k");
    assert_eq!(url.ssl.channel_binding, super::super::ChannelBinding::Disable);
    assert_eq!(url.ssl.files().map(|(name, _)| name).collect::<Vec<_>>(), ["sslcert", "sslkey"]);
    for (bad, why) in [
        ("channel_binding=always", "channel_binding must be disable or prefer or require"),
        ("sslnegotiation=direct", WEAK_DIRECT),
        ("sslcert=/c", "sslcert and sslkey belong together"),
    ] {
        assert_eq!(format!("postgres://h/?{bad}").parse::<ServerUrl>().unwrap_err(), why);
    }
}

#[test]
fn quotes_in_keyword_form() {
    assert_eq!(read(r"host=h password='a b\'c'").password.unwrap().expose(), "a b'c");
}

#[test]
fn no_error_and_no_print_shows_a_password() {
    let bad = [
        "postgres://u:geheim@h:99999/d",
        "postgres://u:geheim@h/d?sslmode=always",
        "postgres://u:geheim@h/d?wat=1",
        "postgres://u:geheim%zz@h/d",
        "mysql://u:geheim@h/d",
        "host=h password='geheim",
        "password=geheim port=1",
        "u:geheim@h",
        "postgres://u:geheim@a,,b/d",
        "postgres://u:geheim@a:1,b:2,c/d?port=1,2",
        "postgres://u:geheim@a,b/d?target_session_attrs=standby",
    ];
    for text in bad {
        let error = text.parse::<ServerUrl>().unwrap_err();
        assert!(!error.contains("geheim"), "{error}");
    }
    let url = read("postgres://u:geheim@h/d");
    assert!(!format!("{url:?} {url}").contains("geheim"));
    assert_eq!(url.to_string(), "postgres://u:********@h:5432/d?sslmode=prefer");
}

#[test]
fn what_is_shown_can_be_read_again() {
    for text in [
        "postgres://a%40b@h:1/d%2Fe?sslmode=require&options=-c%20x%3D1",
        "host=/tmp user=x",
        "host=h sslmode=require sslnegotiation=direct channel_binding=require sslcert=/a sslkey='/b c' sslrootcert=/d",
    ] {
        let url = read(text);
        assert_eq!(read(&url.to_string()), url);
    }
}
