//! Logging in against a real PostgreSQL: clients to us with each kind of secret, us to the server with what the
//! client's own proof yielded. Pooling is left out: each client gets a server connection of its own.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use pgsluice::config::{AuthType, ClientSslMode, Host, Secret, ServerUrl, SslMode};
use pgsluice::control::credentials::{Credentials, FRESH_FOR, Primary, Source};
use pgsluice::pool::key::{LoginKey, Password};
use pgsluice::pool::login::{ConnectError, ServerGreeting, Target, connect};
use pgsluice::proxy::startup::{Front, Welcome, welcome};
use pgsluice::proxy::stream::Stream;
use pgsluice::proxy::tls::ServerTls;
use pgsluice::sandbox::{Cluster, Options, Pem};
use pgsluice::wire::reply;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio_postgres::NoTls;

const QUERY: &str = "SELECT rolname, CASE WHEN rolvaliduntil OPERATOR(pg_catalog.<) pg_catalog.now() THEN NULL \
    ELSE rolpassword END FROM pg_catalog.pg_authid WHERE rolname OPERATOR(pg_catalog.=) $1 AND rolcanlogin";

/// A server that asks each role as the role's name says.
struct Servers {
    cluster: Cluster,
    ca: std::path::PathBuf,
}

fn servers() -> &'static Servers {
    static SERVERS: OnceLock<Servers> = OnceLock::new();
    SERVERS.get_or_init(|| {
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let own = rcgen::generate_simple_self_signed(names).unwrap();
        let hba = [
            "host all md5er 127.0.0.1/32 md5",
            "host all clear 127.0.0.1/32 password",
            "host all trusted,keyed,nobody 127.0.0.1/32 trust",
            "hostssl all onlytls 127.0.0.1/32 scram-sha-256",
            "host all onlytls 127.0.0.1/32 reject",
            "hostnossl all onlyplain 127.0.0.1/32 scram-sha-256",
            "host all onlyplain 127.0.0.1/32 reject",
        ];
        let options = Options {
            max_connections: 500,
            hba: hba.map(str::to_owned).to_vec(),
            tls: Some(Pem { certificate: own.cert.pem(), key: own.signing_key.serialize_pem() }),
            ..Options::default()
        };
        let cluster = Cluster::primary(&options).unwrap();
        let roles = "CREATE ROLE scrammer LOGIN PASSWORD 'secret'; CREATE ROLE clear LOGIN PASSWORD 'secret';
            CREATE ROLE onlytls LOGIN PASSWORD 'secret'; CREATE ROLE onlyplain LOGIN PASSWORD 'secret';
            CREATE ROLE storm LOGIN PASSWORD 'secret'; CREATE ROLE changer LOGIN PASSWORD 'secret';
            CREATE ROLE trusted LOGIN; CREATE ROLE keyed LOGIN PASSWORD 'secret'; CREATE ROLE blank LOGIN;
            CREATE ROLE expired LOGIN PASSWORD 'secret' VALID UNTIL '2001-01-01';
            CREATE ROLE nologin PASSWORD 'secret'; CREATE ROLE meek LOGIN PASSWORD 'secret';
            SET password_encryption = md5; CREATE ROLE md5er LOGIN PASSWORD 'secret'";
        cluster.sql("postgres", roles).unwrap();
        let ca = cluster.home().path().join("auth_login_ca.crt");
        std::fs::write(&ca, own.cert.pem()).unwrap();
        Servers { cluster, ca }
    })
}

impl Servers {
    fn target(&self, mode: SslMode, ca: bool) -> Target {
        let host = Host::Tcp("127.0.0.1".to_owned(), self.cluster.server().port());
        let tls = ServerTls::new(mode, ca.then_some(self.ca.as_path())).unwrap();
        Target { host, tls, connect_timeout: Duration::from_secs(20) }
    }

    /// The primary as the role with that password (`None`: as the superuser).
    fn source(&self, login: Option<(&str, &str)>) -> Source {
        let url: ServerUrl = match login {
            Some((user, password)) => self.cluster.server().url(user, password, "postgres").parse().unwrap(),
            None => self.cluster.url("postgres").parse().unwrap(),
        };
        let primary =
            Primary { url, target: self.target(SslMode::Prefer, false), auth_query: QUERY.to_owned() };
        Source { primary: Some(primary), fresh_for: FRESH_FOR, ..Source::default() }
    }
}

/// Takes clients in and gives each a server connection of its own.
struct Proxy {
    port: u16,
    credentials: Credentials,
}

impl Proxy {
    async fn start(source: Source, auth_type: AuthType, target: Target) -> Self {
        let (credentials, service) = Credentials::new(source).unwrap();
        // The control plane has a runtime of its own, as in the product.
        if let Some(service) = service {
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(service.run());
            });
        }
        let front = Front {
            certificate: None,
            sslmode: ClientSslMode::Disable,
            auth_type,
            credentials: credentials.clone(),
        };
        let front = Arc::new(front);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(Stream::from_tcp(socket), front.clone(), target.clone()));
            }
        });
        Self { port, credentials }
    }

    /// In front of the primary as it usually is.
    async fn usual() -> Self {
        let servers = servers();
        Self::start(servers.source(None), AuthType::Auto, servers.target(SslMode::Prefer, false)).await
    }

    /// Logs in and asks the server who it thinks this is; or SQLSTATE and message.
    async fn whoami(&self, user: &str, password: &str) -> Result<String, (String, String)> {
        let mut config = tokio_postgres::Config::new();
        config.host("127.0.0.1").port(self.port).user(user).password(password).dbname("postgres");
        let refused = |error: tokio_postgres::Error| match error.as_db_error() {
            Some(error) => (error.code().code().to_owned(), error.message().to_owned()),
            None => (String::new(), format!("{error:?}")),
        };
        let (client, connection) = config.connect(NoTls).await.map_err(refused)?;
        let driver = tokio::spawn(connection);
        let row = client.query_one("SELECT current_user::text", &[]).await.map_err(refused)?;
        drop(client);
        driver.await.unwrap().unwrap();
        Ok(row.get(0))
    }
}

/// One client's life: in, a server, bytes both ways.
async fn serve(stream: Stream, front: Arc<Front>, target: Target) {
    let Ok(Welcome::Admitted(client)) = welcome(stream, front).await else { return };
    let mut stream = client.stream;
    let mut out = Vec::new();
    let mut server = match connect(&target, &client.user, &client.database, &client.login, &[]).await {
        Ok(greeting) => {
            for (name, value) in &greeting.parameters {
                reply::parameter_status(&mut out, name, value);
            }
            reply::backend_key_data(&mut out, greeting.pid, &greeting.cancel_key);
            reply::ready_for_query(&mut out, reply::IDLE);
            greeting.stream
        }
        Err(error) => {
            error.reply(&mut out);
            let _ = stream.write_all(&out).await;
            return;
        }
    };
    server.write_all(&client.leftover).await.unwrap();
    stream.write_all(&out).await.unwrap();
    let _ = tokio::io::copy_bidirectional(&mut stream, &mut server).await;
}

fn failed(user: &str) -> Result<String, (String, String)> {
    Err(("28P01".to_owned(), format!("password authentication failed for user \"{user}\"")))
}

#[tokio::test]
async fn a_clients_proof_opens_the_server() {
    let proxy = Proxy::usual().await;
    for user in ["scrammer", "md5er"] {
        assert_eq!(proxy.whoami(user, "secret").await, Ok(user.to_owned()));
    }
    // The server wants it in the clear, and no password in the clear is anywhere.
    let (sqlstate, message) = proxy.whoami("clear", "secret").await.unwrap_err();
    assert_eq!(sqlstate, "28000");
    assert!(message.contains("wants a password in the clear, only a key is known"), "{message}");
}

#[tokio::test]
async fn a_wrong_password_and_everything_like_it_look_the_same() {
    let proxy = Proxy::usual().await;
    for user in ["scrammer", "md5er", "absent", "expired", "nologin", "blank", &"x".repeat(200)] {
        assert_eq!(proxy.whoami(user, "wrong").await, failed(user));
    }
    for user in ["absent", "expired", "nologin", "blank"] {
        assert_eq!(proxy.whoami(user, "secret").await, failed(user));
    }
}

#[tokio::test]
async fn a_changed_password_counts_at_once() {
    let proxy = Proxy::usual().await;
    let cluster = &servers().cluster;
    let mut password = "secret".to_owned();
    for round in 0..5 {
        assert_eq!(proxy.whoami("changer", &password).await, Ok("changer".to_owned()), "round {round}");
        let old = std::mem::replace(&mut password, format!("secret{round}"));
        cluster.sql("postgres", &format!("ALTER ROLE changer PASSWORD '{password}'")).unwrap();
        assert_eq!(proxy.whoami("changer", &old).await, failed("changer"));
    }
}

#[tokio::test]
async fn a_role_without_password_comes_in_only_where_the_server_lets_it_in() {
    let proxy = Proxy::usual().await;
    assert_eq!(proxy.whoami("trusted", "").await, Ok("trusted".to_owned()));
    // It has a password, so it must show it, whatever the server would do.
    assert_eq!(proxy.whoami("keyed", "wrong").await, failed("keyed"));
    assert_eq!(proxy.whoami("keyed", "secret").await, Ok("keyed".to_owned()));
    // The server trusts the name, but there is no such role.
    assert_eq!(proxy.whoami("nobody", "").await, failed("nobody"));
    // Asked for on purpose, nobody comes in unasked.
    let servers = servers();
    let strict =
        Proxy::start(servers.source(None), AuthType::ScramSha256, servers.target(SslMode::Prefer, false))
            .await;
    assert_eq!(strict.whoami("trusted", "x").await, failed("trusted"));
    assert_eq!(strict.whoami("scrammer", "secret").await, Ok("scrammer".to_owned()));
}

#[tokio::test]
async fn trust_over_a_unix_socket_is_for_our_own_user_only() {
    // `peer` would judge our process and not the client's: over TCP nobody comes in that way.
    let servers = servers();
    let mut source = servers.source(None);
    let url: ServerUrl = servers.cluster.socket_url("postgres").parse().unwrap();
    let target = Target { host: url.host.clone(), ..servers.target(SslMode::Prefer, false) };
    source.primary = Some(Primary { url, target: target.clone(), auth_query: QUERY.to_owned() });
    let proxy = Proxy::start(source, AuthType::Auto, target).await;
    assert_eq!(proxy.whoami("trusted", "").await, failed("trusted"));
    assert_eq!(proxy.whoami("scrammer", "secret").await, Ok("scrammer".to_owned()));
}

#[tokio::test]
async fn a_login_that_may_not_read_secrets_still_serves_itself() {
    let servers = servers();
    let source = servers.source(Some(("meek", "secret")));
    let proxy = Proxy::start(source, AuthType::Auto, servers.target(SslMode::Prefer, false)).await;
    assert_eq!(proxy.whoami("meek", "secret").await, Ok("meek".to_owned()));
    assert_eq!(proxy.whoami("meek", "wrong").await, failed("meek"));
    assert_eq!(proxy.whoami("scrammer", "secret").await, failed("scrammer"));
    assert_eq!(proxy.whoami("trusted", "").await, Ok("trusted".to_owned()));
}

#[tokio::test]
async fn a_hostile_search_path_reaches_nothing() {
    let servers = servers();
    let cluster = Cluster::primary(&Options::default()).unwrap();
    let url: ServerUrl = cluster.server().url("reader", "secret", "postgres").parse().unwrap();
    let evil = "CREATE ROLE reader SUPERUSER LOGIN PASSWORD 'secret'; CREATE ROLE victim LOGIN PASSWORD 'secret';
        CREATE SCHEMA evil; CREATE TABLE evil.seen (what text);
        CREATE TABLE evil.pg_authid (rolname name, rolpassword text, rolvaliduntil timestamptz, rolcanlogin bool);
        INSERT INTO evil.pg_authid VALUES ('victim', 'stolen', NULL, true);
        CREATE FUNCTION evil.now() RETURNS timestamptz LANGUAGE plpgsql AS $$
            BEGIN INSERT INTO evil.seen VALUES ('now'); RETURN pg_catalog.now(); END $$;
        CREATE FUNCTION evil.same(name, text) RETURNS bool LANGUAGE plpgsql AS $$
            BEGIN INSERT INTO evil.seen VALUES ('='); RETURN true; END $$;
        CREATE OPERATOR evil.= (LEFTARG = name, RIGHTARG = text, FUNCTION = evil.same);
        ALTER ROLE reader SET search_path = evil, pg_catalog; ALTER DATABASE postgres SET search_path = evil, pg_catalog";
    cluster.sql("postgres", evil).unwrap();
    let host = Host::Tcp("127.0.0.1".to_owned(), cluster.server().port());
    let target = Target { host, ..servers.target(SslMode::Prefer, false) };
    // Unqualified on purpose: the connection itself must hold.
    let loose = "SELECT rolname, rolpassword FROM pg_authid WHERE rolname = $1 AND now() IS NOT NULL";
    for query in [QUERY, loose] {
        let primary = Primary { url: url.clone(), target: target.clone(), auth_query: query.to_owned() };
        let source = Source { primary: Some(primary), ..Source::default() };
        let proxy = Proxy::start(source, AuthType::Auto, target.clone()).await;
        assert_eq!(proxy.whoami("victim", "stolen").await, failed("victim"));
        assert_eq!(proxy.whoami("victim", "secret").await, Ok("victim".to_owned()));
        let seen = cluster.sql("postgres", "SELECT count(*) FROM evil.seen").unwrap();
        assert_eq!(seen[0][0].as_deref(), Some("0"));
    }
}

#[tokio::test]
async fn an_answer_about_somebody_else_lets_nobody_in() {
    let servers = servers();
    let mut source = servers.source(None);
    if let Some(primary) = &mut source.primary {
        primary.auth_query =
            "SELECT rolname, rolpassword FROM pg_authid WHERE rolname <> $1 AND rolname = 'scrammer'"
                .to_owned();
    }
    let proxy = Proxy::start(source, AuthType::Auto, servers.target(SslMode::Prefer, false)).await;
    let (sqlstate, _) = proxy.whoami("absent", "secret").await.unwrap_err();
    assert_eq!(sqlstate, "57P03");
}

#[tokio::test]
async fn every_form_of_userlist() {
    let servers = servers();
    let stored =
        servers.cluster.sql("postgres", "SELECT rolpassword FROM pg_authid WHERE rolname = 'scrammer'");
    let verifier = stored.unwrap()[0][0].clone().unwrap();
    let stored = servers.cluster.sql("postgres", "SELECT rolpassword FROM pg_authid WHERE rolname = 'md5er'");
    let hash = stored.unwrap()[0][0].clone().unwrap();
    let path = servers.cluster.home().path().join("userlist.txt");
    let text = format!(
        "; users\n\"scrammer\" \"{verifier}\"\n\"md5er\" \"{hash}\"\n\"clear\" \"secret\"\n\"storm\" \"secret\"\n\"blank\" \"\"\n"
    );
    std::fs::write(&path, text).unwrap();
    let source = Source { auth_file: Some(path.clone()), ..Source::default() };
    let proxy = Proxy::start(source, AuthType::Auto, servers.target(SslMode::Require, false)).await;
    for user in ["scrammer", "md5er", "clear", "storm"] {
        assert_eq!(proxy.whoami(user, "secret").await, Ok(user.to_owned()));
        assert_eq!(proxy.whoami(user, "wrong").await, failed(user));
    }
    assert_eq!(proxy.whoami("blank", "").await, failed("blank"));
    std::fs::write(&path, "\"storm\" \"other\"\n").unwrap();
    assert_eq!(proxy.credentials.reload().unwrap(), Some(1));
    assert_eq!(proxy.whoami("scrammer", "secret").await, failed("scrammer"));
    std::fs::write(&path, "storm other\n").unwrap();
    let error = proxy.credentials.reload().unwrap_err().to_string();
    assert!(error.contains("userlist.txt:1: expected \"user\""), "{error}");
}

/// Logs in with the password `secret`; whether the server sees TLS.
async fn login(target: &Target, user: &str) -> Result<bool, ConnectError> {
    let key = LoginKey::Password(Arc::new(Password::new(Secret::new("secret"))));
    let ServerGreeting { stream, pid, cancel_key, parameters, .. } =
        connect(target, user, "postgres", &key, &[("application_name", "test")]).await?;
    assert!(pid > 0 && cancel_key.len() == 4);
    assert!(parameters.iter().any(|(name, value)| **name == *"application_name" && **value == *"test"));
    Ok(stream.is_tls())
}

#[tokio::test]
async fn sslmode_towards_servers_is_libpqs() {
    use SslMode::{Allow, Disable, Prefer, Require, VerifyCa, VerifyFull};
    let servers = servers();
    for (mode, ca, user, expected) in [
        (Disable, false, "storm", Some(false)),
        (Allow, false, "storm", Some(false)),
        (Prefer, false, "storm", Some(true)),
        (Require, false, "storm", Some(true)),
        (VerifyCa, true, "storm", Some(true)),
        (VerifyFull, true, "storm", Some(true)),
        // The server takes this role only with TLS, that one only without.
        (Disable, false, "onlytls", None),
        (Allow, false, "onlytls", Some(true)),
        (Prefer, false, "onlytls", Some(true)),
        (Allow, false, "onlyplain", Some(false)),
        (Prefer, false, "onlyplain", Some(false)),
        (Require, false, "onlyplain", None),
        // In the clear only where nobody can listen.
        (Require, false, "clear", Some(true)),
    ] {
        let result = login(&servers.target(mode, ca), user).await;
        assert_eq!(result.as_ref().ok().copied(), expected, "{mode:?} {user} {result:?}");
    }
    let error = login(&servers.target(Disable, false), "clear").await.unwrap_err();
    assert!(matches!(error, ConnectError::NoKey { .. }), "{error}");
    // Its certificate names 127.0.0.1, not this.
    let mut other = servers.target(VerifyFull, true);
    other.host = Host::Tcp("127.0.0.2".to_owned(), servers.cluster.server().port());
    let error = login(&other, "storm").await.unwrap_err();
    assert!(matches!(error, ConnectError::Tls { .. } | ConnectError::Unreachable { .. }), "{error}");
}

#[tokio::test]
async fn a_servers_own_error_reaches_the_client() {
    let proxy = Proxy::usual().await;
    let mut config = tokio_postgres::Config::new();
    config.host("127.0.0.1").port(proxy.port).user("scrammer").password("secret").dbname("nowhere");
    let error = config.connect(NoTls).await.err().unwrap();
    assert_eq!(error.code().map(|code| code.code()), Some("3D000"));
}

#[tokio::test]
async fn when_the_primary_is_gone_what_is_known_counts() {
    let servers = servers();
    let cluster = Cluster::primary(&Options::default()).unwrap();
    cluster.sql("postgres", "CREATE ROLE known LOGIN PASSWORD 'secret'").unwrap();
    let host = Host::Tcp("127.0.0.1".to_owned(), cluster.server().port());
    let target = Target { host, ..servers.target(SslMode::Prefer, false) };
    let url: ServerUrl = cluster.url("postgres").parse().unwrap();
    let primary = Primary { url, target: target.clone(), auth_query: QUERY.to_owned() };
    let source = Source { primary: Some(primary), ..Source::default() };
    let proxy = Proxy::start(source, AuthType::Auto, target).await;
    assert_eq!(proxy.whoami("known", "secret").await, Ok("known".to_owned()));
    cluster.server().stop().unwrap();
    // Let in, and then told that there is no server.
    let (sqlstate, message) = proxy.whoami("known", "secret").await.unwrap_err();
    assert_eq!(sqlstate, "08001", "{message}");
    assert_eq!(proxy.whoami("known", "wrong").await, failed("known"));
    let (sqlstate, message) = proxy.whoami("stranger", "secret").await.unwrap_err();
    assert_eq!(sqlstate, "57P03", "{message}");
    cluster.server().start().unwrap();
    super::support::eventually("the primary is asked again", || async {
        proxy.whoami("known", "secret").await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn two_hundred_logins_at_once() {
    let proxy = Arc::new(Proxy::usual().await);
    let clients: Vec<_> = (0..200)
        .map(|_| {
            let proxy = proxy.clone();
            tokio::spawn(async move { proxy.whoami("storm", "secret").await })
        })
        .collect();
    for client in clients {
        assert_eq!(client.await.unwrap(), Ok("storm".to_owned()));
    }
}
