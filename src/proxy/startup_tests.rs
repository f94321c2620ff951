#![allow(clippy::unwrap_used)]
use super::*;
use crate::control::credentials::Source;
use crate::wire::auth_message::{Authentication, ServerError, authentication};
use crate::wire::md5::Md5Hash;
use crate::wire::scram::{ClientExchange, derive};
use tokio::net::UnixStream;

/// All three have the password `secret`.
const USERS: &str = r#"
"plain" "secret"
"hash" "md5870427799418ccdf7ef8876ebfb98cf7"
"verifier" "SCRAM-SHA-256$1:c2FsdHNhbHQ=$E/pMcDBhKQxEMwj/O5ybBav0ghpl4LQoT60jsmgLquc=:xsdoeaMEQArtRvSsG4N+qxaahInFweBE0MYZ1vpuSp8="
"#;

fn front(auth_type: AuthType) -> Arc<Front> {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let path = std::env::temp_dir().join(format!("pgsluice-users-{}-{number}", std::process::id()));
    std::fs::write(&path, USERS).unwrap();
    let source = Source { auth_file: Some(path.clone()), ..Source::default() };
    let (credentials, service) = Credentials::new(source).unwrap();
    assert!(service.is_none());
    let _ = std::fs::remove_file(path);
    Arc::new(Front { certificate: None, sslmode: ClientSslMode::Prefer, auth_type, credentials })
}

/// A client by hand.
struct Client(UnixStream);

impl Client {
    async fn send(&mut self, encode: impl FnOnce(&mut Vec<u8>)) {
        let mut out = Vec::new();
        encode(&mut out);
        self.0.write_all(&out).await.unwrap();
    }

    async fn start(&mut self, parameters: &[(&str, &str)]) {
        self.send(|out| startup::startup_message(out, 0, parameters.iter().copied())).await;
    }

    async fn frame(&mut self) -> (u8, Vec<u8>) {
        let tag = self.0.read_u8().await.unwrap();
        let length = self.0.read_u32().await.unwrap();
        let mut body = vec![0; length as usize - 4];
        self.0.read_exact(&mut body).await.unwrap();
        (tag, body)
    }

    /// SQLSTATE and message of the error that comes next, and that nothing follows it.
    async fn error(&mut self) -> (String, String) {
        let (tag, body) = self.frame().await;
        assert_eq!(tag, b'E');
        assert_eq!(self.0.read(&mut [0]).await.unwrap(), 0);
        let error = ServerError { fields: body.into() };
        assert_eq!(error.field(b'S'), Some(&b"FATAL"[..]));
        (String::from_utf8(error.sqlstate().to_vec()).unwrap(), error.message())
    }

    /// Goes through SCRAM with this password up to client-final; whether the answer is a success.
    async fn scram(&mut self, password: &str) -> bool {
        let (_, body) = self.frame().await;
        assert_eq!(authentication(&body).unwrap(), Authentication::Sasl(vec![b"SCRAM-SHA-256"]));
        let exchange = ClientExchange::begin("nonce".to_owned(), "n,,", &[]);
        let first = exchange.client_first();
        self.send(|out| startup::sasl_initial_response(out, "SCRAM-SHA-256", first.as_bytes())).await;
        let (_, body) = self.frame().await;
        let Authentication::SaslContinue(server_first) = authentication(&body).unwrap() else { panic!() };
        let challenge = exchange.challenge(server_first).unwrap();
        let (client_key, server_key) =
            derive(password.as_bytes(), &challenge.salt, challenge.iterations).unwrap();
        let (last, expected) = exchange.answer(&challenge, &client_key, Some(&server_key));
        self.send(|out| startup::sasl_response(out, last.as_bytes())).await;
        if password != "secret" {
            return false;
        }
        let (_, body) = self.frame().await;
        let Authentication::SaslFinal(server_final) = authentication(&body).unwrap() else { panic!() };
        expected.verify(server_final).unwrap();
        self.ok().await;
        true
    }

    async fn md5(&mut self, user: &str, password: &str) {
        let (_, body) = self.frame().await;
        let Authentication::Md5Password(salt) = authentication(&body).unwrap() else { panic!("{body:?}") };
        let response = Md5Hash::of(password.as_bytes(), user).response(salt);
        self.send(|out| startup::password_message(out, &response)).await;
    }

    async fn ok(&mut self) {
        let (tag, body) = self.frame().await;
        assert_eq!((tag, authentication(&body)), (b'R', Ok(Authentication::Ok)));
    }
}

/// Runs a client against [`welcome`].
async fn meet<T>(
    front: &Arc<Front>,
    client: impl AsyncFnOnce(&mut Client) -> T,
) -> (Result<Welcome, Refused>, T) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut theirs = Client(theirs);
    let both = async { tokio::join!(welcome(Stream::from_unix(ours), front.clone()), client(&mut theirs)) };
    tokio::time::timeout(std::time::Duration::from_secs(20), both).await.unwrap()
}

fn admitted(welcome: Result<Welcome, Refused>) -> Admitted {
    match welcome {
        Ok(Welcome::Admitted(admitted)) => *admitted,
        Ok(Welcome::Cancel { .. }) => panic!("a cancel request"),
        Err(refused) => panic!("{refused}"),
    }
}

#[tokio::test]
async fn every_kind_of_secret_lets_its_owner_in() {
    let front = front(AuthType::Auto);
    for user in ["plain", "verifier"] {
        let (welcome, _) = meet(&front, async |client| {
            client.start(&[("user", user), ("database", "shop"), ("geqo", "off")]).await;
            client.scram("secret").await
        })
        .await;
        let admitted = admitted(welcome);
        assert_eq!((admitted.user.as_str(), admitted.database.as_str()), (user, "shop"));
        assert_eq!(admitted.params, [("geqo".to_owned(), "off".to_owned())]);
        let expected = if user == "plain" { "LoginKey::Password(..)" } else { "LoginKey::Scram(..)" };
        assert_eq!(format!("{:?}", admitted.login), expected);
    }
    let (welcome, ()) = meet(&front, async |client| {
        client.start(&[("user", "hash")]).await;
        client.md5("hash", "secret").await;
        client.ok().await;
    })
    .await;
    assert_eq!(format!("{:?}", admitted(welcome).login), "LoginKey::Md5(..)");
}

#[tokio::test]
async fn auth_type_decides_what_is_asked() {
    let (welcome, ()) = meet(&front(AuthType::Trust), async |client| {
        client.start(&[("user", "nobody")]).await;
        client.ok().await;
    })
    .await;
    assert_eq!(format!("{:?}", admitted(welcome).login), "LoginKey::None");
    let md5 = front(AuthType::Md5);
    let (welcome, ()) = meet(&md5, async |client| {
        client.start(&[("user", "plain")]).await;
        client.md5("plain", "secret").await;
        client.ok().await;
    })
    .await;
    admitted(welcome);
    let (welcome, _) = meet(&md5, async |client| {
        client.start(&[("user", "verifier")]).await;
        client.scram("secret").await
    })
    .await;
    admitted(welcome);
    // An md5 hash is no verifier: nothing is right then.
    let (welcome, error) = meet(&front(AuthType::ScramSha256), async |client| {
        client.start(&[("user", "hash")]).await;
        client.scram("wrong").await;
        client.error().await
    })
    .await;
    assert!(matches!(welcome, Err(Refused::Authentication { .. })));
    assert_eq!(error.0, "28P01");
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_user_look_the_same() {
    for (auth_type, scram, users) in
        [(AuthType::Auto, true, ["verifier", "nobody"]), (AuthType::Md5, false, ["hash", "nobody"])]
    {
        let front = front(auth_type);
        for user in users {
            let (welcome, error) = meet(&front, async |client| {
                client.start(&[("user", user)]).await;
                if scram {
                    client.scram("wrong").await;
                } else {
                    client.md5(user, "").await;
                }
                client.error().await
            })
            .await;
            assert!(matches!(welcome, Err(Refused::Authentication { .. })));
            let text = format!("password authentication failed for user \"{user}\"");
            assert_eq!(error, ("28P01".to_owned(), text));
        }
    }
}

#[tokio::test]
async fn bytes_may_come_one_at_a_time_or_all_at_once() {
    let front = front(AuthType::Trust);
    let mut bytes = Vec::new();
    startup::startup_message(&mut bytes, 0, [("user", "ann"), ("options", "-c geqo=off")]);
    let (welcome, ()) = meet(&front, async |client| {
        for byte in &bytes {
            client.0.write_all(&[*byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
        client.ok().await;
    })
    .await;
    let slow = admitted(welcome);
    assert_eq!((slow.params, slow.leftover), (vec![("geqo".to_owned(), "off".to_owned())], Vec::new()));
    bytes.extend_from_slice(b"Q\0\0\0\x0dSELECT 1\0");
    let (welcome, ()) = meet(&front, async |client| {
        client.0.write_all(&bytes).await.unwrap();
        client.ok().await;
    })
    .await;
    assert_eq!(admitted(welcome).leftover, b"Q\0\0\0\x0dSELECT 1\0");
}

#[tokio::test]
async fn encryption_is_refused_politely_and_once() {
    let (welcome, ()) = meet(&front(AuthType::Trust), async |client| {
        client.0.write_all(b"\0\0\0\x08\x04\xd2\x16\x30").await.unwrap(); // GSSENCRequest
        assert_eq!(client.0.read_u8().await.unwrap(), b'N');
        client.send(startup::ssl_request).await;
        assert_eq!(client.0.read_u8().await.unwrap(), b'N');
        client.start(&[("user", "ann")]).await;
        client.ok().await;
    })
    .await;
    admitted(welcome);
    let (_, error) = meet(&front(AuthType::Trust), async |client| {
        client.send(startup::ssl_request).await;
        assert_eq!(client.0.read_u8().await.unwrap(), b'N');
        client.send(startup::ssl_request).await;
        client.error().await
    })
    .await;
    assert_eq!(error.0, "08P01");
}

/// A front with a certificate of its own making.
fn encrypting() -> Arc<Front> {
    let front = Arc::try_unwrap(front(AuthType::Trust)).ok().unwrap();
    let directory = std::env::temp_dir().join(format!("pgsluice-startup-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let own = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (chain, key) = (directory.join("own.crt"), directory.join("own.key"));
    std::fs::write(&chain, own.cert.pem()).unwrap();
    std::fs::write(&key, own.signing_key.serialize_pem()).unwrap();
    let certificate = Some(Arc::new(Certificate::load(&chain, &key, None).unwrap()));
    let _ = std::fs::remove_dir_all(directory);
    Arc::new(Front { certificate, ..front })
}

#[tokio::test]
async fn tls_begins_with_nothing_left_from_before() {
    let front = encrypting();
    let (welcome, error) = meet(&front, async |client| {
        client
            .send(|out| {
                startup::ssl_request(out);
                startup::startup_message(out, 0, [("user", "mallory")]);
            })
            .await;
        client.error().await
    })
    .await;
    assert!(welcome.is_err());
    assert_eq!(error, ("08P01".to_owned(), "received unencrypted data after SSL request".to_owned()));

    let (ours, theirs) = UnixStream::pair().unwrap();
    let client = async {
        let mut client = Client(theirs);
        client.send(startup::ssl_request).await;
        assert_eq!(client.0.read_u8().await.unwrap(), b'S');
        let tls = crate::proxy::tls::ServerTls::new(crate::config::SslMode::Require, None).unwrap();
        let (mut stream, _) = tls.connect(Stream::from_unix(client.0), "localhost").await.unwrap();
        let mut out = Vec::new();
        startup::startup_message(&mut out, 0, [("user", "ann")]);
        stream.write_all(&out).await.unwrap();
        stream.flush().await.unwrap();
        let mut answer = [0; 9];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"R\0\0\0\x08\0\0\0\0");
    };
    let (welcome, ()) = tokio::join!(super::welcome(Stream::from_unix(ours), front), client);
    assert!(admitted(welcome).stream.is_tls());
}

#[tokio::test]
async fn a_cancel_request_is_handed_on() {
    let (welcome, ()) = meet(&front(AuthType::Auto), async |client| {
        client.send(|out| startup::cancel_request(out, 77, b"key4")).await;
    })
    .await;
    let Ok(Welcome::Cancel { pid: 77, key, .. }) = welcome else { panic!() };
    assert_eq!(&*key, b"key4");
}

#[tokio::test]
async fn what_cannot_be_had_gets_a_clear_error() {
    let long = "x".repeat(256);
    for (parameters, sqlstate, text) in [
        (vec![("user", "")], "28000", "no PostgreSQL user name specified in startup packet"),
        (vec![("user", long.as_str())], "42602", "user name is longer than 255 bytes"),
        (vec![("user", "a"), ("database", &long)], "42602", "database name is longer than 255 bytes"),
        (
            vec![("user", "a"), ("replication", "maybe")],
            "22023",
            "invalid value for parameter \"replication\": \"maybe\"",
        ),
        (
            vec![("user", "a"), ("options", "-d 5")],
            "42601",
            "startup parameter \"options\": \"-d\" is not supported, only -c name=value and --name=value",
        ),
    ] {
        let (welcome, error) = meet(&front(AuthType::Trust), async |client| {
            client.start(&parameters).await;
            client.error().await
        })
        .await;
        assert!(welcome.is_err());
        assert_eq!(error, (sqlstate.to_owned(), text.to_owned()));
    }
}

#[tokio::test]
async fn replication_is_asked_for_in_postgresqls_spellings() {
    use Replication::{Logical, Physical};
    for (value, expected) in [
        ("off", None),
        ("FALSE", None),
        ("0", None),
        ("true", Some(Physical)),
        ("On", Some(Physical)),
        ("y", Some(Physical)),
        ("1", Some(Physical)),
        ("database", Some(Logical)),
    ] {
        let (welcome, ()) = meet(&front(AuthType::Trust), async |client| {
            client.start(&[("user", "a"), ("replication", value)]).await;
            client.ok().await;
        })
        .await;
        assert_eq!(admitted(welcome).replication, expected, "{value}");
    }
    for value in ["", "o", "Database", "11", "yess", "\u{fc}"] {
        let (_, (sqlstate, _)) = meet(&front(AuthType::Trust), async |client| {
            client.start(&[("user", "a"), ("replication", value)]).await;
            client.error().await
        })
        .await;
        assert_eq!(sqlstate, "22023", "{value:?}");
    }
}

#[tokio::test]
async fn newer_versions_are_negotiated_down() {
    let (welcome, ()) = meet(&front(AuthType::Trust), async |client| {
        client.send(|out| startup::startup_message(out, 5, [("user", "a"), ("_pq_.new", "1")])).await;
        assert_eq!(client.frame().await, (b'v', b"\0\x03\0\x02\0\0\0\x01_pq_.new\0".to_vec()));
        client.ok().await;
    })
    .await;
    assert_eq!(admitted(welcome).protocol_minor, 2);
}

#[tokio::test]
async fn noise_and_early_ends_are_left_without_a_word() {
    for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"\x16\x03\x01\x02\0\x01\0", b"\0\0\0\x03"] {
        let (welcome, rest) = meet(&front(AuthType::Auto), async |client| {
            client.0.write_all(bytes).await.unwrap();
            let mut rest = Vec::new();
            // A reset stands for an end here: what we did not read was lost.
            let _ = client.0.read_to_end(&mut rest).await;
            rest
        })
        .await;
        assert!(matches!(welcome, Err(Refused::Io(_) | Refused::Tls(_))), "{bytes:?}");
        assert_eq!(rest, b"");
    }
    for bytes in [&b""[..], b"\0\0", b"\0\0\0\x20\0\x03\0\0user\0"] {
        let (welcome, ()) = meet(&front(AuthType::Auto), async |client| {
            client.0.write_all(bytes).await.unwrap();
            client.0.shutdown().await.unwrap();
        })
        .await;
        assert!(matches!(welcome, Err(Refused::Gone)), "{bytes:?}");
    }
}

#[tokio::test]
async fn broken_answers_end_the_login() {
    for (frame, text) in [
        (&b"Q\0\0\0\x06;\0"[..], "expected password response, got message type 81"),
        (b"p\0\0\0\x03", "malformed message length"),
        (b"p\x7f\xff\xff\xff", "malformed message length"),
        (b"p\0\0\0\x08abcd", "malformed SASL initial response"),
        (b"p\0\0\0\x0aNTLM\0\xff\xff\xff\xff", "malformed SASL initial response"),
        (b"p\0\0\0\x0dNTLM\0\xff\xff\xff\xff", "client selected an invalid SASL authentication mechanism"),
    ] {
        let (welcome, error) = meet(&front(AuthType::Auto), async |client| {
            client.start(&[("user", "verifier")]).await;
            client.frame().await;
            client.0.write_all(frame).await.unwrap();
            client.error().await
        })
        .await;
        assert!(welcome.is_err());
        assert_eq!(error, ("08P01".to_owned(), text.to_owned()));
    }
}

async fn turned_away(stream: UnixStream) -> Option<Welcome> {
    let message = "sorry, too many clients already";
    let (front, patience) = (front(AuthType::Auto), Duration::from_secs(2));
    turn_away(Stream::from_unix(stream), &front, sqlstate::TOO_MANY_CONNECTIONS, message, patience).await
}

#[tokio::test]
async fn who_is_turned_away_hears_it_where_an_answer_is_due() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut client = Client(theirs);
    let talk = async {
        client.send(startup::ssl_request).await;
        assert_eq!(client.0.read_u8().await.unwrap(), b'N');
        client.start(&[("user", "plain")]).await;
        let told = client.error().await;
        assert_eq!(told, ("53300".to_owned(), "sorry, too many clients already".to_owned()));
    };
    let (outcome, ()) = tokio::join!(turned_away(ours), talk);
    assert!(outcome.is_none());
}

#[tokio::test]
async fn a_cancel_request_is_never_turned_away() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut client = Client(theirs);
    client.send(|out| startup::cancel_request(out, 7, b"key!")).await;
    let outcome = turned_away(ours).await;
    assert!(matches!(outcome, Some(Welcome::Cancel { pid: 7, key, .. }) if *key == *b"key!"));
}

#[tokio::test(start_paused = true)]
async fn nobody_is_turned_away_for_long() {
    for requests in [0, 1, 100] {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut client = Client(theirs);
        for _ in 0..requests {
            client.send(startup::ssl_request).await;
        }
        assert!(turned_away(ours).await.is_none(), "{requests}");
        let mut answer = Vec::new();
        let _ = client.0.read_to_end(&mut answer).await;
        let refused = answer.starts_with(b"NE"); // asked twice
        assert!(answer.is_empty() || answer == b"N" || refused && requests == 100, "{answer:?}");
    }
}
