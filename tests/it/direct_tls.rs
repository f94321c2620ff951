//! TLS from the first byte on (`sslnegotiation=direct`), with clients and with servers.

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::pki::{Dribble, Pki, encrypted, handshake, in_url};
use crate::support::raw::tags;
use crate::support::{Raw, Sluice, msg, proxy};

const PROTOCOL: &[&str] = &["postgresql"];

async fn works<S: AsyncRead + AsyncWrite + Unpin>(sluice: &Sluice, raw: &mut Raw<S>) {
    let database = &sluice.database;
    raw.send(&msg::startup(196_608, &[("user", &database.user), ("database", &database.name)])).await;
    raw.authenticate(&database.user, &database.password).await.unwrap();
    assert_eq!(tags(&raw.query("SELECT 1").await), "TDCZ");
}

async fn socket(sluice: &Sluice) -> TcpStream {
    Raw::connect(sluice.port).await.unwrap().stream
}

#[tokio::test]
async fn a_handshake_needs_no_request_before_it() {
    crate::needs_proxy!();
    let pki = Pki::new();
    let sluice = proxy().certificate(&pki.issue("server"), "client_tls_sslmode = \"require\"").start();
    let mut whole = handshake(pki.client(PROTOCOL, None), socket(&sluice).await).await.unwrap();
    works(&sluice, &mut whole).await;
    let mut bytes = handshake(pki.client(PROTOCOL, None), Dribble(socket(&sluice).await)).await.unwrap();
    works(&sluice, &mut bytes).await;
    // A name among others is one, too.
    let mut named = handshake(pki.client(&["h2", "postgresql"], None), socket(&sluice).await).await.unwrap();
    works(&sluice, &mut named).await;
}

#[tokio::test]
async fn within_it_more_encryption_is_declined() {
    crate::needs_proxy!();
    let pki = Pki::new();
    let sluice = proxy().certificate(&pki.issue("server"), "").start();
    let mut raw = handshake(pki.client(PROTOCOL, None), socket(&sluice).await).await.unwrap();
    for request in [msg::ssl_request(), msg::gssenc_request()] {
        raw.send(&request).await;
        assert_eq!(raw.byte().await, Some(b'N'));
    }
    works(&sluice, &mut raw).await;
    let mut raw = encrypted(sluice.port, pki.client(PROTOCOL, None)).await;
    raw.send(&msg::gssenc_request()).await;
    assert_eq!(raw.byte().await, Some(b'N'));
    works(&sluice, &mut raw).await;
}

/// A browser that was led here speaks TLS as well.
#[tokio::test]
async fn clients_of_another_protocol_are_refused() {
    crate::needs_proxy!();
    let pki = Pki::new();
    let sluice = proxy().certificate(&pki.issue("server"), "").start();
    let stranger = handshake(pki.client(&["http/1.1"], None), socket(&sluice).await).await;
    assert!(stranger.is_err(), "no protocol in common");
    if let Ok(mut unnamed) = handshake(pki.client(&[], None), socket(&sluice).await).await {
        unnamed.send(&msg::startup(196_608, &[("user", "x")])).await;
        assert_eq!(unnamed.until_closed().await, []);
    }
    // After SSLRequest it is clear what is spoken.
    let mut asked = encrypted(sluice.port, pki.client(&[], None)).await;
    works(&sluice, &mut asked).await;
}

#[tokio::test]
async fn without_a_certificate_the_connection_is_closed() {
    crate::needs_proxy!();
    let pki = Pki::new();
    let server = pki.issue("server");
    for builder in [proxy(), proxy().certificate(&server, "client_tls_sslmode = \"disable\"")] {
        let sluice = builder.start();
        let outcome = handshake(pki.client(PROTOCOL, None), socket(&sluice).await).await;
        assert!(outcome.is_err());
        assert_eq!(sluice.connect().await.text("SELECT 1").await, "1");
    }
}

#[tokio::test]
async fn broken_handshakes_hurt_nobody() {
    crate::needs_proxy!();
    let pki = Pki::new();
    let sluice = proxy().certificate(&pki.issue("server"), "").start();
    let bystander = sluice.connect().await;
    let hello = [&b"\x16\x03\x01\x40\x00\x01\x00\x3f\xfc"[..], &[0; 300]].concat();
    for garbage in [&b"\x16"[..], b"\x16\x03\x01", b"\x16\x03\x01\xff\xff\xff", &[0x16; 4000], &hello] {
        let mut raw = Raw::over(socket(&sluice).await);
        raw.send(garbage).await;
        let _ = raw.stream.shutdown().await;
        // What comes is a TLS alert or nothing.
        while raw.byte().await.is_some() {}
        assert_eq!(bystander.text("SELECT 1").await, "1");
    }
}

/// One pgsluice in front of another: PostgreSQL 17's way to connect, and channel binding on every leg, with nothing
/// but the key that the client's own proof yielded.
#[tokio::test]
async fn a_server_is_reached_directly_and_bound() {
    crate::needs_proxy!();
    let pki = Pki::new();
    let inner = proxy().certificate(&pki.issue("server"), "client_tls_sslmode = \"require\"").start();
    let login = format!("postgres:{}", inner.database.lab.cluster.password());
    let url = |more: &str| {
        let port = inner.port;
        format!(
            "postgres://{login}@127.0.0.1:{port}/postgres?sslmode=verify-full&sslrootcert={}{more}",
            in_url(&pki.ca)
        )
    };
    let direct = url("&sslnegotiation=direct&channel_binding=require");
    let outer = proxy().primary(direct).start_for(inner.database.clone());
    let client = outer.connect().await;
    assert_eq!(client.text("SELECT current_user").await, inner.database.user);
    assert_eq!(client.text("SELECT repeat('x', 100000)").await.len(), 100_000);
    drop(outer);
    // The same server does not speak so to one that names another protocol's certificate authority.
    let other = Pki::new();
    let wrong = url("&sslnegotiation=direct").replace(&in_url(&pki.ca), &in_url(&other.ca));
    let outer = proxy()
        .primary(wrong)
        .setting("[pool]\nquery_wait_timeout = \"1s\"")
        .start_for(inner.database.clone());
    assert!(outer.config().connect(tokio_postgres::NoTls).await.is_err());
}
