//! TLS: our certificate towards clients, the checks of `sslmode` towards servers. rustls over ring.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use arc_swap::ArcSwap;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{CryptoProvider, ring::default_provider};
use rustls::server::{NoServerSessionStorage, ParsedCertificate};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::stream::Stream;
use crate::config::SslMode;

/// The protocol's name in TLS, as PostgreSQL 17 registers it. A peer that names none is welcome too.
const ALPN: &[u8] = b"postgresql";

/// A certificate, key or CA file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: rustls_pki_types::pem::Error },
    #[error("{}: {problem}", path.display())]
    Content { path: PathBuf, problem: String },
    #[error("no trusted certificates: {0}; name a CA file instead")]
    NoRoots(String),
    #[error("TLS settings: {0}")]
    Config(#[from] rustls::Error),
}

// === towards clients ===

/// Our certificate chain and key from their files; replaced as a whole on reload.
#[derive(Debug)]
pub struct Certificate {
    chain: PathBuf,
    key: PathBuf,
    current: ArcSwap<ServerConfig>,
    expiry: Arc<AtomicI64>,
}

impl Certificate {
    /// Reads PEM files: the certificate with its chain, and its private key.
    ///
    /// # Errors
    /// With the file at fault; also if the key does not belong to the certificate.
    pub fn load(chain: &Path, key: &Path) -> Result<Self, TlsError> {
        let (config, expiry) = server_config(chain, key)?;
        let (current, expiry) = (ArcSwap::from_pointee(config), Arc::new(AtomicI64::new(expiry)));
        Ok(Self { chain: chain.into(), key: key.into(), current, expiry })
    }

    /// Reads the same files again. Connections that exist stay as they are.
    ///
    /// # Errors
    /// As [`Self::load`]; the certificate in use stays then.
    pub fn reload(&self) -> Result<(), TlsError> {
        let (config, expiry) = server_config(&self.chain, &self.key)?;
        self.current.store(Arc::new(config));
        self.expiry.store(expiry, Ordering::Relaxed);
        Ok(())
    }

    /// When the certificate in use expires, in seconds since 1970.
    #[must_use]
    pub fn expiry(&self) -> Arc<AtomicI64> {
        Arc::clone(&self.expiry)
    }

    /// The handshake, after we answered SSLRequest with `S`.
    ///
    /// # Errors
    /// If the client does not complete it.
    pub async fn accept(&self, stream: Stream) -> io::Result<Stream> {
        let acceptor = TlsAcceptor::from(self.current.load_full());
        let tls = acceptor.accept(stream.into_socket()?).await?;
        Ok(Stream::Tls(Box::new(tls.into())))
    }
}

/// The settings, and when the certificate expires.
fn server_config(chain_path: &Path, key_path: &Path) -> Result<(ServerConfig, i64), TlsError> {
    let chain = certificates(chain_path)?;
    let expiry = expiry(chain_path, &chain)?;
    let key = PrivateKeyDer::from_pem_file(key_path).map_err(|source| file(key_path, source))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| TlsError::Content {
            path: key_path.into(),
            problem: format!("does not fit {}: {error}", chain_path.display()),
        })?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    // PostgreSQL's clients resume no sessions, so tickets would be waste.
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok((config, expiry))
}

/// `notAfter` of the first certificate, which is our own.
fn expiry(path: &Path, chain: &[CertificateDer<'_>]) -> Result<i64, TlsError> {
    let own = chain.first().map(AsRef::as_ref).unwrap_or_default();
    let (_, certificate) = x509_parser::parse_x509_certificate(own).map_err(|error| TlsError::Content {
        path: path.into(),
        problem: format!("not a certificate: {error}"),
    })?;
    Ok(certificate.validity().not_after.timestamp())
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = || CertificateDer::pem_file_iter(path)?.collect::<Result<Vec<_>, _>>();
    let list = read().map_err(|source| file(path, source))?;
    if list.is_empty() {
        return Err(TlsError::Content { path: path.into(), problem: "no certificate in it".to_owned() });
    }
    Ok(list)
}

fn file(path: &Path, source: rustls_pki_types::pem::Error) -> TlsError {
    TlsError::File { path: path.into(), source }
}

// === towards servers ===

/// How to speak TLS with servers, as libpq's `sslmode` and `sslrootcert` say it.
///
/// `require` checks nothing unless there is a CA file; with one it checks as `verify-ca` does. `verify-ca` and
/// `verify-full` without a CA file trust the system's roots.
#[derive(Clone)]
pub struct ServerTls {
    mode: SslMode,
    /// `None` with [`SslMode::Disable`].
    config: Option<Arc<ClientConfig>>,
}

impl std::fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ServerTls({:?})", self.mode)
    }
}

impl ServerTls {
    /// # Errors
    /// If the CA file cannot be read, or verification is asked for and there is nothing to trust.
    pub fn new(mode: SslMode, ca_file: Option<&Path>) -> Result<Self, TlsError> {
        let provider = Arc::new(default_provider());
        let check = match (mode, ca_file) {
            (SslMode::Disable, _) => return Ok(Self { mode, config: None }),
            (SslMode::VerifyFull, _) => Check::ChainAndName,
            (SslMode::VerifyCa, _) | (SslMode::Require, Some(_)) => Check::Chain,
            (SslMode::Allow | SslMode::Prefer | SslMode::Require, _) => Check::Nothing,
        };
        let roots = match (check, ca_file) {
            (Check::Nothing, _) => RootCertStore::empty(),
            (_, Some(path)) => roots_from(path)?,
            (_, None) => system_roots()?,
        };
        let pinned = match (check, ca_file) {
            (Check::Chain | Check::ChainAndName, Some(path)) => certificates(path)?,
            _ => Vec::new(),
        };
        let verifier = Arc::new(Verifier { check, roots, pinned, provider: provider.clone() });
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.resumption = Resumption::disabled(); // servers offer none
        Ok(Self { mode, config: Some(Arc::new(config)) })
    }

    /// No TLS at all.
    #[must_use]
    pub const fn disabled() -> Self {
        Self { mode: SslMode::Disable, config: None }
    }

    #[must_use]
    pub const fn mode(&self) -> SslMode {
        self.mode
    }

    /// The rustls settings; `None` where TLS is disabled.
    #[must_use]
    pub fn config(&self) -> Option<&Arc<ClientConfig>> {
        self.config.as_ref()
    }

    /// The handshake, after the server answered SSLRequest with `S`. `host` is a name or an address.
    ///
    /// # Errors
    /// If the handshake fails or the certificate is not to be trusted.
    pub async fn connect(&self, stream: Stream, host: &str) -> io::Result<Stream> {
        let config = self.config.clone().ok_or_else(|| io::Error::other("TLS is disabled"))?;
        let tls = TlsConnector::from(config).connect(server_name(host)?, stream.into_socket()?).await?;
        Ok(Stream::Tls(Box::new(tls.into())))
    }
}

/// # Errors
/// If `host` is neither a DNS name nor an address.
pub fn server_name(host: &str) -> io::Result<ServerName<'static>> {
    ServerName::try_from(host.to_owned())
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, format!("{host:?} is no host name")))
}

fn roots_from(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|error| TlsError::Content {
            path: path.into(),
            problem: format!("not a usable CA certificate: {error}"),
        })?;
    }
    Ok(roots)
}

fn system_roots() -> Result<RootCertStore, TlsError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let reasons: Vec<_> = found.errors.iter().map(ToString::to_string).collect();
        return Err(TlsError::NoRoots(reasons.join("; ")));
    }
    Ok(roots)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Check {
    Nothing,
    Chain,
    ChainAndName,
}

/// libpq's three ways to look at a server's certificate.
#[derive(Debug)]
struct Verifier {
    check: Check,
    roots: RootCertStore,
    /// Certificates of the CA file: a server whose own self-signed certificate stands there is trusted, as with
    /// OpenSSL; chain building alone refuses a CA certificate as a server's.
    pinned: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if self.check == Check::Nothing {
            return Ok(ServerCertVerified::assertion());
        }
        let certificate = ParsedCertificate::try_from(end_entity)?;
        if !self.pinned.iter().any(|pinned| pinned == end_entity) {
            let algorithms = self.provider.signature_verification_algorithms.all;
            verify_server_cert_signed_by_trust_anchor(
                &certificate,
                &self.roots,
                intermediates,
                now,
                algorithms,
            )?;
        }
        if self.check == Check::ChainAndName {
            verify_server_name(&certificate, name)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        if self.check == Check::Nothing {
            // Whoever could forge this could as well bring a certificate of his own.
            return Ok(HandshakeSignatureValid::assertion());
        }
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        if self.check == Check::Nothing {
            // Whoever could forge this could as well bring a certificate of his own.
            return Ok(HandshakeSignatureValid::assertion());
        }
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
#[path = "tls_tests.rs"]
mod tests;
