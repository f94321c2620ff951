#![allow(clippy::unwrap_used)]
use super::*;
use crate::config::SslMode;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

/// A directory with the PEM files of a CA, of a server `db.example` it signed, and of a self-signed server.
struct Files(PathBuf);

impl Files {
    fn new(name: &str) -> Self {
        let directory = std::env::temp_dir().join(format!("pgsluice-tls-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let ca_key = rcgen::KeyPair::generate().unwrap();
        let mut ca = rcgen::CertificateParams::new(Vec::new()).unwrap();
        ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let ca_certificate = ca.self_signed(&ca_key).unwrap();
        let issuer = rcgen::Issuer::new(ca, ca_key);
        let key = rcgen::KeyPair::generate().unwrap();
        let server = rcgen::CertificateParams::new(vec!["db.example".to_owned()]).unwrap();
        let server = server.signed_by(&key, &issuer).unwrap();
        let own = rcgen::generate_simple_self_signed(vec!["db.example".to_owned()]).unwrap();
        for (file, text) in [
            ("ca.crt", ca_certificate.pem()),
            ("server.crt", server.pem()),
            ("server.key", key.serialize_pem()),
            ("own.crt", own.cert.pem()),
            ("own.key", own.signing_key.serialize_pem()),
        ] {
            std::fs::write(directory.join(file), text).unwrap();
        }
        Self(directory)
    }

    fn path(&self, file: &str) -> PathBuf {
        self.0.join(file)
    }

    fn certificate(&self, name: &str) -> Result<Certificate, TlsError> {
        Certificate::load(&self.path(&format!("{name}.crt")), &self.path(&format!("{name}.key")), None)
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn the_expiry_is_the_certificates_own_and_follows_a_reload() {
    let files = Files::new("expiry");
    let write = |year| {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec!["db.example".to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        std::fs::write(files.path("own.crt"), params.self_signed(&key).unwrap().pem()).unwrap();
        std::fs::write(files.path("own.key"), key.serialize_pem()).unwrap();
    };
    write(2030);
    let certificate = files.certificate("own").unwrap();
    let expiry = certificate.expiry();
    assert_eq!(expiry.load(Ordering::Relaxed), 1_893_456_000);
    write(2060); // from 2050 on as GeneralizedTime
    certificate.reload().unwrap();
    assert_eq!(expiry.load(Ordering::Relaxed), 2_840_140_800);
    std::fs::write(files.path("own.crt"), "nothing").unwrap();
    certificate.reload().unwrap_err();
    assert_eq!(expiry.load(Ordering::Relaxed), 2_840_140_800);
}

/// A handshake between our two sides; whether the client trusts what it sees.
async fn trusts(certificate: &Certificate, tls: &ServerTls, host: &str) -> bool {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let client = async {
        let (mut stream, _) = tls.connect(Stream::from_unix(ours), host).await?;
        stream.write_all(b"hello").await?;
        stream.flush().await?;
        Ok(stream) // open until the other side is done
    };
    let server = async {
        let mut stream = certificate.accept(Stream::from_unix(theirs), &[]).await?.stream;
        let mut text = [0; 5];
        stream.read_exact(&mut text).await?;
        assert_eq!(&text, b"hello");
        io::Result::Ok(())
    };
    let (client, server): (io::Result<Stream>, _) = tokio::join!(client, server);
    client.is_ok() && server.is_ok()
}

#[tokio::test]
async fn each_sslmode_checks_what_it_says() {
    let files = Files::new("modes");
    let (signed, own) = (files.certificate("server").unwrap(), files.certificate("own").unwrap());
    let (ca, pinned) = (files.path("ca.crt"), files.path("own.crt"));
    let mode = |mode, file: Option<&Path>| ServerTls::new(mode, file).unwrap();
    use SslMode::{Prefer, Require, VerifyCa, VerifyFull};
    for (tls, certificate, host, expected) in [
        (mode(Prefer, None), &own, "other", true),
        (mode(Require, None), &own, "other", true),
        (mode(Require, Some(&ca)), &own, "db.example", false),
        (mode(Require, Some(&ca)), &signed, "other", true),
        (mode(VerifyCa, Some(&ca)), &signed, "other", true),
        (mode(VerifyCa, Some(&ca)), &own, "db.example", false),
        (mode(VerifyFull, Some(&ca)), &signed, "db.example", true),
        (mode(VerifyFull, Some(&ca)), &signed, "other", false),
        (mode(VerifyFull, Some(&ca)), &signed, "127.0.0.1", false),
        (mode(VerifyFull, Some(&pinned)), &own, "db.example", true),
        (mode(VerifyFull, Some(&pinned)), &own, "other", false),
        (mode(VerifyFull, Some(&pinned)), &signed, "db.example", false),
    ] {
        let trusted = trusts(certificate, &tls, host).await;
        assert_eq!(trusted, expected, "{tls:?} {host}");
    }
}

#[tokio::test]
async fn a_certificate_is_replaced_as_a_whole_or_not_at_all() {
    let files = Files::new("reload");
    let certificate = files.certificate("server").unwrap();
    let tls = ServerTls::new(SslMode::VerifyFull, Some(&files.path("ca.crt"))).unwrap();
    std::fs::copy(files.path("own.crt"), files.path("server.crt")).unwrap();
    let error = certificate.reload().unwrap_err().to_string();
    assert!(error.contains("server.key") && error.contains("does not fit"), "{error}");
    assert!(trusts(&certificate, &tls, "db.example").await);
    std::fs::copy(files.path("own.key"), files.path("server.key")).unwrap();
    certificate.reload().unwrap();
    assert!(!trusts(&certificate, &tls, "db.example").await);
}

#[test]
fn errors_name_the_file() {
    let files = Files::new("errors");
    std::fs::write(files.path("empty.crt"), "").unwrap();
    std::fs::write(files.path("empty.key"), "").unwrap();
    for name in ["empty", "absent"] {
        let error = files.certificate(name).unwrap_err().to_string();
        assert!(error.contains(&format!("{name}.crt")), "{error}");
    }
    let error = ServerTls::new(SslMode::VerifyCa, Some(&files.path("empty.crt"))).unwrap_err().to_string();
    assert!(error.contains("empty.crt: no certificate in it"), "{error}");
}

#[tokio::test]
async fn an_encrypted_connection_moves_between_runtimes() {
    let files = Files::new("move");
    let certificate = files.certificate("own").unwrap();
    let tls = ServerTls::new(SslMode::Require, None).unwrap();
    let (ours, theirs) = UnixStream::pair().unwrap();
    let (ours, theirs) = tokio::join!(
        tls.connect(Stream::from_unix(ours), "x"),
        certificate.accept(Stream::from_unix(theirs), &[])
    );
    let (ours, mut theirs) = (ours.unwrap().0.detach().unwrap(), theirs.unwrap().stream);
    let mover = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut ours = ours.attach().unwrap();
            ours.write_all(b"moved").await.unwrap();
            ours.flush().await.unwrap();
        });
    });
    let mut text = [0; 5];
    theirs.read_exact(&mut text).await.unwrap();
    assert_eq!(&text, b"moved");
    mover.join().unwrap();
}

/// A server that shows one certificate and holds the key of another.
#[derive(Debug)]
struct Borrowed(Arc<rustls::sign::CertifiedKey>);

impl rustls::server::ResolvesServerCert for Borrowed {
    fn resolve(&self, _: rustls::server::ClientHello<'_>) -> Option<Arc<rustls::sign::CertifiedKey>> {
        Some(self.0.clone())
    }
}

/// Whoever does not look at certificates takes it; but it binds to nothing, or anybody could show the certificate
/// that a man in the middle is to be told apart by.
#[tokio::test]
async fn a_certificate_without_its_key_binds_to_nothing() {
    let files = Files::new("borrowed");
    let chain = certificates(&files.path("server.crt")).unwrap();
    for (key, bound) in [("server.key", true), ("own.key", false)] {
        let key = private_key(&files.path(key)).unwrap();
        let key = rustls::crypto::ring::sign::any_supported_type(&key).unwrap();
        let shown = Borrowed(Arc::new(rustls::sign::CertifiedKey::new(chain.clone(), key)));
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(shown));
        let (ours, theirs) = UnixStream::pair().unwrap();
        let tls = ServerTls::new(SslMode::Require, None).unwrap();
        let (ours, _theirs) = tokio::join!(
            tls.connect(Stream::from_unix(ours), "x"),
            TlsAcceptor::from(Arc::new(config)).accept(theirs)
        );
        let expected = x509::end_point(&chain[0]).filter(|_| bound);
        assert_eq!(ours.unwrap().1, expected);
    }
}

#[tokio::test]
async fn a_handshake_may_have_begun() {
    let files = Files::new("begun");
    let certificate = files.certificate("own").unwrap();
    let tls = ServerTls::new(SslMode::Require, None).unwrap();
    for taken in [1, 5, 100] {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let server = async {
            let mut sent = vec![0; taken];
            theirs.read_exact(&mut sent).await.unwrap();
            certificate.accept(Stream::from_unix(theirs), &sent).await.unwrap()
        };
        let (ours, theirs) = tokio::join!(tls.connect(Stream::from_unix(ours), "x"), server);
        assert!(theirs.named, "our side names the protocol");
        assert_eq!(ours.unwrap().1.as_deref(), theirs.binding.as_deref(), "both bind to the same");
    }
}
