#![allow(clippy::unwrap_used)]
use super::*;
use crate::config::Secret;
use crate::pool::key::{Password, ScramKeys};
use crate::wire::reply::Severity;
use crate::wire::scram::{Binding, ServerExchange, Verifier, derive};
use std::sync::Arc;
use tokio::net::TcpListener;

/// The server's side of a connection, by hand.
struct Server(TcpStream);

impl Server {
    async fn send(&mut self, encode: impl FnOnce(&mut Vec<u8>)) {
        let mut out = Vec::new();
        encode(&mut out);
        // A client that has given up already is what some tests want.
        let _ = self.0.write_all(&out).await;
    }

    async fn startup(&mut self) -> startup::Startup {
        let length = self.0.read_u32().await.unwrap();
        let mut body = vec![0; length as usize - 4];
        self.0.read_exact(&mut body).await.unwrap();
        match startup::parse(&body).unwrap() {
            startup::FirstPacket::Startup(startup) => startup,
            other => panic!("{other:?}"),
        }
    }

    async fn answer(&mut self) -> Vec<u8> {
        assert_eq!(self.0.read_u8().await.unwrap(), b'p');
        let length = self.0.read_u32().await.unwrap();
        let mut body = vec![0; length as usize - 4];
        self.0.read_exact(&mut body).await.unwrap();
        body
    }

    /// SCRAM up to where the proof has been checked; yields server-final.
    async fn scram(&mut self, verifier: &Arc<Verifier>) -> String {
        self.send(|out| reply::authentication_sasl(out, &["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"])).await;
        let body = self.answer().await;
        let (_, first) = auth_message::sasl_initial_response(&body).unwrap();
        let exchange =
            ServerExchange::begin(first.unwrap(), verifier.clone(), "x", Binding::Declined).unwrap();
        self.send(|out| reply::authentication_sasl_continue(out, exchange.server_first().as_bytes())).await;
        exchange.finish(&self.answer().await).unwrap().1
    }
}

/// Logs in to a server that does as `script` says.
async fn login(
    key: &LoginKey,
    script: impl AsyncFnOnce(&mut Server),
) -> Result<ServerGreeting, ConnectError> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let target = Target {
        host: Host::Tcp("127.0.0.1".to_owned(), port),
        tls: ServerTls::disabled(),
        connect_timeout: Duration::from_secs(20),
    };
    let server = async {
        let mut server = Server(listener.accept().await.unwrap().0);
        script(&mut server).await;
        server
    };
    tokio::join!(connect(&target, "ann", "shop", key, &[("geqo", "off")]), server).0
}

fn verifier() -> Arc<Verifier> {
    Arc::new(Verifier::of_password(b"secret", b"saltsalt", 2).unwrap())
}

fn client_key() -> LoginKey {
    let (client_key, _) = derive(b"secret", b"saltsalt", 2).unwrap();
    LoginKey::Scram(Arc::new(ScramKeys::new(verifier(), client_key)))
}

fn password(text: &str) -> LoginKey {
    LoginKey::Password(Arc::new(Password::new(Secret::new(text))))
}

fn ready(out: &mut Vec<u8>) {
    reply::authentication_ok(out);
    reply::parameter_status(out, "server_version", "15.1");
    reply::notice_response(out, "WARNING", *b"01000", "old collation", "", "");
    reply::backend_key_data(out, 42, b"0123456789");
    reply::ready_for_query(out, reply::IDLE);
}

#[tokio::test]
async fn a_greeting_is_complete() {
    let greeting = login(&LoginKey::None, async |server| {
        let startup = server.startup().await;
        assert_eq!((startup.user.as_str(), startup.database.as_str()), ("ann", "shop"));
        assert_eq!(startup.settings, [("geqo".to_owned(), "off".to_owned())]);
        server.send(ready).await;
    })
    .await
    .unwrap();
    assert_eq!((greeting.pid, &*greeting.cancel_key), (42, &b"0123456789"[..]));
    assert_eq!(greeting.parameters, [("server_version".into(), "15.1".into())]);
    assert_eq!((greeting.notices.len(), greeting.notices[0][0]), (1, b'N'));
}

#[tokio::test]
async fn keys_and_passwords_open_a_scram_server() {
    for key in [client_key(), password("secret")] {
        login(&key, async |server| {
            server.startup().await;
            let server_final = server.scram(&verifier()).await;
            server.send(|out| reply::authentication_sasl_final(out, server_final.as_bytes())).await;
            server.send(ready).await;
        })
        .await
        .unwrap();
    }
}

#[tokio::test]
async fn a_server_without_its_own_proof_is_not_believed() {
    for server_final in [None, Some("v=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")] {
        let error = login(&client_key(), async |server| {
            server.startup().await;
            server.scram(&verifier()).await;
            if let Some(server_final) = server_final {
                server.send(|out| reply::authentication_sasl_final(out, server_final.as_bytes())).await;
            }
            server.send(ready).await;
        })
        .await
        .unwrap_err();
        assert!(matches!(error, ConnectError::Protocol { .. }), "{error}");
    }
}

#[tokio::test]
async fn what_the_key_cannot_answer_is_said() {
    let other = Arc::new(Verifier::of_password(b"secret", b"newsalt!", 2).unwrap());
    let md5 = |out: &mut Vec<u8>| reply::authentication_md5_password(out, *b"salt");
    let sasl = |out: &mut Vec<u8>| reply::authentication_sasl(out, &["SCRAM-SHA-256"]);
    let gss = |out: &mut Vec<u8>| out.extend_from_slice(b"R\0\0\0\x08\0\0\0\x07");
    let hash = LoginKey::Md5(crate::wire::md5::Md5Hash::of(b"secret", "ann"));
    type Question<'a> = &'a dyn Fn(&mut Vec<u8>);
    let cases: [(&LoginKey, Question<'_>, &str); 6] = [
        (&LoginKey::None, &md5, "wants a password, none is known"),
        (&LoginKey::None, &sasl, "wants a password, none is known"),
        (&client_key(), &md5, "wants md5, a SCRAM key is known"),
        (&hash, &sasl, "wants SCRAM, an md5 hash is known"),
        (&password("secret"), &reply::authentication_cleartext_password, "in the clear, without TLS"),
        (&password("secret"), &gss, "wants Kerberos"),
    ];
    for (key, question, text) in cases {
        let error = login(key, async |server| {
            server.startup().await;
            server.send(question).await;
        })
        .await
        .unwrap_err();
        assert!(matches!(error, ConnectError::NoKey { .. }) && error.is_authentication(), "{error}");
        assert!(error.to_string().contains(text), "{error}");
    }
    let error = login(&client_key(), async |server| {
        server.startup().await;
        server.send(sasl).await;
        let body = server.answer().await;
        let (_, first) = auth_message::sasl_initial_response(&body).unwrap();
        let exchange = ServerExchange::begin(first.unwrap(), other, "x", Binding::NotOffered).unwrap();
        server.send(|out| reply::authentication_sasl_continue(out, exchange.server_first().as_bytes())).await;
    })
    .await
    .unwrap_err();
    assert!(error.to_string().contains("is not the one the client logged in with"), "{error}");
}

#[tokio::test]
async fn a_servers_error_is_kept_raw() {
    for authenticated in [false, true] {
        let error = login(&LoginKey::None, async |server| {
            server.startup().await;
            server
                .send(|out| {
                    if authenticated {
                        reply::authentication_ok(out);
                    }
                    reply::error_response(out, Severity::Fatal, *b"3D000", "no such database", "", "");
                })
                .await;
        })
        .await
        .unwrap_err();
        let mut expected = Vec::new();
        reply::error_response(&mut expected, Severity::Fatal, *b"3D000", "no such database", "", "");
        let mut out = Vec::new();
        error.reply(&mut out);
        assert_eq!(out, expected);
        assert!(matches!(error, ConnectError::Server { authenticated: after, .. } if after == authenticated));
    }
}

#[tokio::test]
async fn a_hostile_server_gets_nowhere() {
    let noise = vec![b'x'; MAX_LOGIN_BYTES];
    let greedy = b"R\0\0\0\x2c\0\0\0\x0br=";
    let cases: [(&str, &[u8]); 9] = [
        ("no protocol", b"HTTP/1.1 400 Bad Request\r\n\r\n"),
        ("a frame of 2 GiB", b"R\x7f\xff\xff\xff"),
        ("a frame shorter than itself", b"R\0\0\0\x03"),
        ("a query answer", b"D\0\0\0\x06\0\0"),
        ("a prompt out of order", b"R\0\0\0\x08\0\0\0\x0c"),
        ("an odd cancel key", b"R\0\0\0\x08\0\0\0\0K\0\0\0\x09\0\0\0\x01x"),
        ("an open transaction", b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05T"),
        ("more than a login", b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05IN\0\0\0\x05\0"),
        ("nonsense", greedy),
    ];
    for (what, bytes) in cases {
        let error = login(&client_key(), async |server| {
            server.startup().await;
            server.send(|out| out.extend_from_slice(bytes)).await;
            let _ = server.0.shutdown().await;
        })
        .await
        .unwrap_err();
        let expected = matches!(error, ConnectError::Protocol { .. } | ConnectError::Unreachable { .. });
        assert!(expected, "{what}: {error}");
    }
    let error = login(&LoginKey::None, async |server| {
        server.startup().await;
        for chunk in noise.chunks(60_000) {
            let text = std::str::from_utf8(chunk).unwrap();
            server.send(|out| reply::notice_response(out, "NOTICE", *b"00000", text, "", "")).await;
        }
        server.send(ready).await;
    })
    .await
    .unwrap_err();
    assert!(error.to_string().contains("bytes during login"), "{error}");
}

#[tokio::test]
async fn a_server_that_asks_for_too_much_work_is_refused() {
    let error = login(&password("secret"), async |server| {
        server.startup().await;
        server.send(|out| reply::authentication_sasl(out, &["SCRAM-SHA-256"])).await;
        let body = server.answer().await;
        let (_, first) = auth_message::sasl_initial_response(&body).unwrap();
        let nonce =
            String::from_utf8(first.unwrap().to_vec()).unwrap().split_once("r=").unwrap().1.to_owned();
        let server_first = format!("r={nonce}x,s=c2FsdA==,i=4000000000");
        server.send(|out| reply::authentication_sasl_continue(out, server_first.as_bytes())).await;
    })
    .await
    .unwrap_err();
    assert!(error.to_string().contains("4000000000 SCRAM iterations"), "{error}");
}

#[tokio::test]
async fn absence_and_silence_are_told_apart() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut target = Target {
        host: Host::Tcp("127.0.0.1".to_owned(), port),
        tls: ServerTls::disabled(),
        connect_timeout: Duration::from_millis(50),
    };
    let silent = connect(&target, "ann", "shop", &LoginKey::None, &[]).await.unwrap_err();
    assert!(matches!(silent, ConnectError::Timeout { .. }), "{silent}");
    drop(listener);
    target.connect_timeout = Duration::from_secs(20);
    let absent = connect(&target, "ann", "shop", &LoginKey::None, &[]).await.unwrap_err();
    assert!(matches!(absent, ConnectError::Unreachable { .. }), "{absent}");
    assert!(is_local(&io::Error::from_raw_os_error(rustix::io::Errno::MFILE.raw_os_error())));
    assert!(!is_local(&io::Error::from_raw_os_error(rustix::io::Errno::CONNREFUSED.raw_os_error())));
}

/// What comes of SSLRequest when the server answers `answer` to it.
async fn tls_answer(mode: SslMode, answer: &[u8]) -> ConnectError {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = Host::Tcp("127.0.0.1".to_owned(), listener.local_addr().unwrap().port());
    let tls = ServerTls::new(mode, None).unwrap();
    let target = Target { host, tls, connect_timeout: Duration::from_secs(20) };
    let server = async {
        loop {
            let mut server = Server(listener.accept().await.unwrap().0);
            assert_eq!(server.0.read_u32().await.unwrap(), 8);
            assert_eq!(server.0.read_u32().await.unwrap(), 80_877_103);
            server.send(|out| out.extend_from_slice(answer)).await;
            if mode == SslMode::Prefer {
                server.startup().await;
                return;
            }
            let _ = server.0.shutdown().await;
        }
    };
    tokio::select! {
        result = connect(&target, "ann", "shop", &LoginKey::None, &[]) => result.unwrap_err(),
        () = server => ConnectError::Local(io::Error::other("went on in the clear")),
    }
}

#[tokio::test]
async fn nothing_in_the_clear_passes_for_encrypted() {
    let mut injected = b"S".to_vec();
    ready(&mut injected);
    let error = tls_answer(SslMode::Require, &injected).await;
    assert!(matches!(error, ConnectError::Tls { .. }), "{error}");
    let error = tls_answer(SslMode::Require, b"N").await;
    assert!(error.to_string().contains("the server has none, sslmode=require wants it"), "{error}");
    let mut told = Vec::new();
    reply::error_response(&mut told, Severity::Fatal, *b"XX000", "believe me", "", "");
    let error = tls_answer(SslMode::Require, &told).await;
    assert!(matches!(error, ConnectError::Tls { .. }) && !error.to_string().contains("believe"), "{error}");
    assert!(tls_answer(SslMode::Prefer, b"N").await.is_local(), "prefer goes on in the clear");
}
