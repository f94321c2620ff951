//! TLS with clients and with servers.

use std::path::PathBuf;
use std::sync::Arc;

use pgsluice::sandbox::Pem;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::support::console::with_admin;
use crate::support::lab::options;
use crate::support::raw::tags;
use crate::support::{Builder, Lab, Raw, Sluice, eventually, lab, msg, programs, proxy};

/// A certificate for localhost that is its own authority.
fn certificate() -> Pem {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    Pem { certificate: made.cert.pem(), key: made.signing_key.serialize_pem() }
}

/// The certificate and key in files, for the settings.
fn files(pem: &Pem) -> (PathBuf, PathBuf) {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    let path = |suffix| lab().cluster.home().path().join(format!("tls{n}.{suffix}"));
    let (certificate, key) = (path("crt"), path("key"));
    std::fs::write(&certificate, &pem.certificate).unwrap();
    std::fs::write(&key, &pem.key).unwrap();
    (certificate, key)
}

fn start(pem: &Pem, more: &str) -> (Sluice, PathBuf) {
    let (certificate, key) = files(pem);
    let settings = format!(
        "[client_tls]\nclient_tls_cert_file = \"{}\"\nclient_tls_key_file = \"{}\"\n{more}",
        certificate.display(),
        key.display()
    );
    (proxy().setting(&settings).start(), certificate)
}

async fn encrypt(sluice: &Sluice, pem: &Pem) -> Raw<TlsStream<TcpStream>> {
    let mut raw = Raw::connect(sluice.port).await.unwrap();
    raw.send(&msg::ssl_request()).await;
    assert_eq!(raw.byte().await, Some(b'S'));
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(pem.certificate.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config =
        rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let connector = TlsConnector::from(Arc::new(config.with_root_certificates(roots).with_no_client_auth()));
    let name = ServerName::try_from("localhost").unwrap();
    Raw::over(connector.connect(name, raw.stream).await.unwrap())
}

#[tokio::test]
async fn a_client_logs_in_and_works_over_tls() {
    crate::needs_proxy!();
    let pem = certificate();
    let (sluice, _) = start(&pem, "");
    let database = &sluice.database;
    let mut raw = encrypt(&sluice, &pem).await;
    raw.send(&msg::startup(196_608, &[("user", &database.user), ("database", &database.name)])).await;
    raw.authenticate(&database.user, &database.password).await.unwrap();
    assert_eq!(tags(&raw.query("SELECT 1").await), "TDCZ");
    let value = "x".repeat(2_000_000);
    let frames = raw.query(&format!("SELECT '{value}'")).await;
    assert_eq!(frames[1].columns(), [Some(value)]);
    assert_eq!(sluice.connect().await.text("SELECT 'plain as well'").await, "plain as well");
}

#[tokio::test]
async fn psql_verifies_the_certificate() {
    crate::needs_proxy!();
    let pem = certificate();
    let (sluice, certificate) = start(&pem, "");
    let mut command = programs::program("psql", &sluice);
    command.env("PGSSLMODE", "verify-full").env("PGSSLROOTCERT", &certificate).env("PGHOST", "localhost");
    command.env("PGHOSTADDR", "127.0.0.1").args(["-X", "-c", r"\conninfo", "-c", "SELECT 41 + 1"]);
    let out = programs::run(command);
    assert!(out.ok && out.stdout.contains("SSL connection") && out.stdout.contains("42"), "{out:?}");
}

/// A man in the middle could put them there (CVE-2021-23214).
#[tokio::test]
async fn bytes_sent_before_the_handshake_are_refused() {
    crate::needs_proxy!();
    let pem = certificate();
    let (sluice, _) = start(&pem, "");
    let mut raw = Raw::connect(sluice.port).await.unwrap();
    let early =
        msg::startup(196_608, &[("user", &sluice.database.user), ("database", &sluice.database.name)]);
    raw.send(&[msg::ssl_request(), early].concat()).await;
    let mut answer = Vec::new();
    while let Some(byte) = raw.byte().await {
        answer.push(byte);
    }
    assert!(!answer.contains(&b'R'), "the injected packet was answered: {answer:?}");
}

#[tokio::test]
async fn plain_clients_are_refused_where_tls_is_required() {
    crate::needs_proxy!();
    let pem = certificate();
    let (sluice, _) = start(&pem, "client_tls_sslmode = \"require\"");
    let error = sluice.config().connect(tokio_postgres::NoTls).await.map(drop).unwrap_err();
    assert!(error.as_db_error().is_some(), "{error:?}");
    let mut raw = encrypt(&sluice, &pem).await;
    let database = &sluice.database;
    raw.send(&msg::startup(196_608, &[("user", &database.user), ("database", &database.name)])).await;
    raw.authenticate(&database.user, &database.password).await.unwrap();
}

/// Whoever wants TLS believes no error outside of it.
#[tokio::test]
async fn who_is_turned_away_hears_why_inside_tls() {
    crate::needs_proxy!();
    let pem = certificate();
    let (sluice, _) = start(&pem, "[pool]\nmax_client_conn = 1");
    let _only = sluice.connect().await;
    let mut command = programs::program("psql", &sluice);
    command.env("PGSSLMODE", "require").args(["-X", "-c", "SELECT 1"]);
    let out = programs::run(command);
    assert!(out.stderr.contains("too many clients already"), "{out:?}");
}

#[tokio::test]
async fn a_broken_handshake_hurts_nobody() {
    crate::needs_proxy!();
    let pem = certificate();
    let (sluice, _) = start(&pem, "");
    let bystander = sluice.connect().await;
    for garbage in [b"\x16\x03\x01\xff\xff".to_vec(), vec![0; 100], b"GET / HTTP/1.1\r\n\r\n".to_vec()] {
        let mut raw = Raw::connect(sluice.port).await.unwrap();
        raw.send(&msg::ssl_request()).await;
        assert_eq!(raw.byte().await, Some(b'S'));
        raw.send(&garbage).await;
        tokio::io::AsyncWriteExt::shutdown(&mut raw.stream).await.unwrap();
        while raw.byte().await.is_some() {}
        assert_eq!(bystander.text("SELECT 1").await, "1");
    }
}

#[tokio::test]
async fn a_new_certificate_is_shown_after_sighup_and_a_bad_one_is_not() {
    crate::needs_proxy!();
    let (old, new) = (certificate(), certificate());
    let (sluice, file) = start(&old, "");
    encrypt(&sluice, &old).await;
    assert!(sluice.metric("pgsluice_tls_certificate_expiry_seconds", &[]).await > 1e9);
    std::fs::write(&file, &new.certificate).unwrap();
    sluice.signal(rustix::process::Signal::HUP);
    eventually("the key does not fit", || async { sluice.log().contains("certificate from before stays") })
        .await;
    encrypt(&sluice, &old).await;
    std::fs::write(file.with_extension("key"), &new.key).unwrap();
    sluice.signal(rustix::process::Signal::HUP);
    eventually("it is read", || async { sluice.log().contains("client_tls_cert_file: read again") }).await;
    encrypt(&sluice, &new).await;
}

#[tokio::test]
async fn tls_to_the_server() {
    crate::needs_proxy!();
    let pem = certificate();
    let (authority, _) = files(&pem);
    let lab = Lab::private(pgsluice::sandbox::Options { tls: Some(pem), ..options() });
    let ssl = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    let settings = format!("[server_tls]\nserver_tls_ca_file = \"{}\"", authority.display());
    for (mode, expected) in [("disable", "f"), ("prefer", "t"), ("require", "t"), ("verify-full", "t")] {
        let url = format!("{}?sslmode={mode}", lab.cluster.url("postgres"));
        let url = if mode == "verify-full" { url.replace("127.0.0.1", "localhost") } else { url };
        let builder =
            if mode == "verify-full" { Builder::new(lab).setting(&settings) } else { Builder::new(lab) };
        let sluice = builder.primary(url).start();
        assert_eq!(sluice.connect().await.text(ssl).await, expected, "{mode}");
        // Probes and questions for secrets go by the same URL.
        let own = "SELECT string_agg(DISTINCT (application_name || ':' || ssl) COLLATE \"C\", ', ') FROM pg_stat_ssl \
                   JOIN pg_stat_activity USING (pid) WHERE application_name LIKE 'pgsluice%'";
        let ssl = if expected == "t" { "true" } else { "false" };
        let wanted = format!("pgsluice topology:{ssl}, pgsluice:{ssl}");
        eventually(&format!("{mode}: {wanted}"), || async {
            lab.cluster.sql("postgres", own).unwrap()[0][0].as_ref() == Some(&wanted)
        })
        .await;
    }
}

#[tokio::test]
async fn the_console_is_reached_over_tls() {
    crate::needs_proxy!();
    let pem = certificate();
    let (certificate, key) = files(&pem);
    let settings = format!(
        "[client_tls]\nclient_tls_sslmode = \"require\"\nclient_tls_cert_file = \"{}\"\nclient_tls_key_file = \"{}\"",
        certificate.display(),
        key.display()
    );
    let sluice = with_admin(proxy().setting(&settings).setting("[pool]\nmax_client_conn = 1"));
    let psql = |mode| {
        let mut psql = programs::program("psql", &sluice);
        psql.env("PGDATABASE", "pgsluice").env("PGSSLMODE", mode);
        psql.args(["-X", "-A", "-t", "-c", "SHOW CLIENTS"]);
        programs::run(psql)
    };
    let shown = psql("require");
    assert!(shown.ok && shown.stdout.contains("|TLS|psql|"), "{shown:?}");
    assert!(psql("disable").stderr.contains("requires TLS"));
    // With no room left it is the same.
    let database = &sluice.database;
    let mut raw = encrypt(&sluice, &pem).await;
    raw.send(&msg::startup(196_608, &[("user", &database.user), ("database", &database.name)])).await;
    raw.authenticate(&database.user, &database.password).await.unwrap();
    let shown = psql("require");
    assert!(shown.ok && shown.stdout.matches("|TLS|").count() == 2, "{shown:?}");
    assert!(psql("disable").stderr.contains("requires TLS"));
}
