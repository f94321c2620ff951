//! Certificates of a run's own making.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};

use pgsluice::sandbox::Pem;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{Builder, Raw};

/// An authority, its files in a directory that is removed with it.
pub struct Pki {
    directory: PathBuf,
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
    pub ca: PathBuf,
}

/// A certificate and its key, as files.
#[derive(Clone)]
pub struct Pair {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Pki {
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("pgsluice-pki-{}-{n}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        // PostgreSQL, which runs as another user, reads the authority's certificate here.
        std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(0o755)).unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, format!("authority {n}"));
        let ca = directory.join("ca.crt");
        std::fs::write(&ca, params.self_signed(&key).unwrap().pem()).unwrap();
        Self { directory, issuer: rcgen::Issuer::new(params, key), ca }
    }

    /// A certificate of that common name, good for localhost.
    pub fn issue(&self, name: &str) -> Pair {
        let pem = self.pem(name);
        let pair = Pair {
            certificate: self.directory.join(format!("{name}.crt")),
            key: self.directory.join(format!("{name}.key")),
        };
        std::fs::write(&pair.certificate, &pem.certificate).unwrap();
        std::fs::write(&pair.key, &pem.key).unwrap();
        std::fs::set_permissions(&pair.key, std::fs::Permissions::from_mode(0o600)).unwrap();
        pair
    }

    pub fn pem(&self, name: &str) -> Pem {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params =
            rcgen::CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Pem { certificate: certificate.pem(), key: key.serialize_pem() }
    }

    /// What a client trusts and shows.
    pub fn client(&self, alpn: &[&str], own: Option<&Pair>) -> rustls::ClientConfig {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(&self.ca).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match own {
            None => builder.with_no_client_auth(),
            Some(pair) => {
                let chain = vec![CertificateDer::from_pem_file(&pair.certificate).unwrap()];
                let key = rustls::pki_types::PrivateKeyDer::from_pem_file(&pair.key).unwrap();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        };
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        config
    }
}

impl Drop for Pki {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

impl Builder {
    /// With that certificate towards clients, and more of `[client_tls]`.
    pub fn certificate(self, pair: &Pair, more: &str) -> Self {
        let (certificate, key) = (pair.certificate.display(), pair.key.display());
        self.setting(&format!(
            "[client_tls]\nclient_tls_cert_file = \"{certificate}\"\nclient_tls_key_file = \"{key}\"\n{more}"
        ))
    }
}

/// The handshake over any stream.
pub async fn handshake<S: AsyncRead + AsyncWrite + Unpin>(
    config: rustls::ClientConfig,
    stream: S,
) -> io::Result<Raw<TlsStream<S>>> {
    let name = ServerName::try_from("localhost").unwrap();
    Ok(Raw::over(TlsConnector::from(Arc::new(config)).connect(name, stream).await?))
}

/// TLS after SSLRequest.
pub async fn encrypted(port: u16, config: rustls::ClientConfig) -> Raw<TlsStream<TcpStream>> {
    let mut raw = Raw::connect(port).await.unwrap();
    raw.send(&super::msg::ssl_request()).await;
    assert_eq!(raw.byte().await, Some(b'S'));
    handshake(config, raw.stream).await.unwrap()
}

/// Hands on one byte at a time, each in a packet of its own.
pub struct Dribble(pub TcpStream);

impl AsyncRead for Dribble {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Dribble {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, &buf[..buf.len().min(1)])
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// A path for a URL's query.
pub fn in_url(path: &Path) -> String {
    path.display().to_string().replace('/', "%2F")
}
