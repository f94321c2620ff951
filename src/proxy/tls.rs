//! TLS towards clients: our certificate, and theirs where it is asked for. rustls over ring.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use arc_swap::ArcSwap;
use rustls::crypto::ring::default_provider;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoClientAuth, NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

pub use super::server_tls::{Handshake, ServerTls, server_name};
use super::stream::Stream;
use super::x509;

/// The protocol's name in TLS, as PostgreSQL 17 registers it. A peer that names another one is refused; one that
/// names none is welcome unless it began with the handshake.
pub(super) const ALPN: &[u8] = b"postgresql";

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

/// Our certificate chain and key from their files, and the authorities of client certificates; replaced as a
/// whole on reload.
#[derive(Debug)]
pub struct Certificate {
    files: Files,
    current: ArcSwap<Current>,
    expiry: Arc<AtomicI64>,
}

#[derive(Debug)]
struct Files {
    chain: PathBuf,
    key: PathBuf,
    /// Clients are asked for a certificate that one of these vouches for.
    client_ca: Option<PathBuf>,
}

#[derive(Debug)]
struct Current {
    config: Arc<ServerConfig>,
    binding: Option<Arc<[u8]>>,
}

/// A client's connection with TLS over it.
pub struct Encrypted {
    pub stream: Stream,
    /// `tls-server-end-point` of the certificate it was shown; `None` where RFC 5929 defines none.
    pub binding: Option<Arc<[u8]>>,
    /// The client named the protocol (ALPN).
    pub named: bool,
}

impl Certificate {
    /// Reads PEM files: the certificate with its chain, its private key, and the authorities that client
    /// certificates are checked with. Without the last none is asked for.
    ///
    /// # Errors
    /// With the file at fault; also if the key does not belong to the certificate.
    pub fn load(chain: &Path, key: &Path, client_ca: Option<&Path>) -> Result<Self, TlsError> {
        let files = Files { chain: chain.into(), key: key.into(), client_ca: client_ca.map(Into::into) };
        let (current, expiry) = files.read()?;
        let (current, expiry) = (ArcSwap::from_pointee(current), Arc::new(AtomicI64::new(expiry)));
        Ok(Self { files, current, expiry })
    }

    /// Reads the same files again. Connections that exist stay as they are.
    ///
    /// # Errors
    /// As [`Self::load`]; the certificate in use stays then.
    pub fn reload(&self) -> Result<(), TlsError> {
        let (current, expiry) = self.files.read()?;
        self.current.store(Arc::new(current));
        self.expiry.store(expiry, Ordering::Relaxed);
        Ok(())
    }

    /// When the certificate in use expires, in seconds since 1970.
    #[must_use]
    pub fn expiry(&self) -> Arc<AtomicI64> {
        Arc::clone(&self.expiry)
    }

    /// The handshake; `sent` is what of it has been received already.
    ///
    /// # Errors
    /// If the client does not complete it.
    pub async fn accept(&self, stream: Stream, mut sent: &[u8]) -> io::Result<Encrypted> {
        let current = self.current.load_full();
        let acceptor = TlsAcceptor::from(Arc::clone(&current.config));
        let handshake = acceptor.accept_with(stream.into_socket()?, |session| {
            // What is wrong here is wrong still when the handshake goes on, and is told then.
            while !sent.is_empty() && session.read_tls(&mut sent).is_ok_and(|read| read > 0) {
                if session.process_new_packets().is_err() {
                    break;
                }
            }
        });
        let tls = handshake.await?;
        let named = tls.get_ref().1.alpn_protocol() == Some(ALPN);
        let binding = current.binding.clone();
        Ok(Encrypted { stream: Stream::Tls(Box::new(tls.into())), binding, named })
    }
}

impl Files {
    /// The settings, and when the certificate expires.
    fn read(&self) -> Result<(Current, i64), TlsError> {
        let chain = certificates(&self.chain)?;
        let own = chain.first().map(AsRef::as_ref).unwrap_or_default();
        let expiry = x509::expiry(own).map_err(|problem| content(&self.chain, problem))?;
        let binding = x509::end_point(own).map(Arc::from);
        let key = private_key(&self.key)?;
        let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(self.client_verifier()?)
            .with_single_cert(chain, key)
            .map_err(|error| misfit(&self.key, &self.chain, &error))?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        // PostgreSQL's clients resume no sessions, so tickets would be waste.
        config.send_tls13_tickets = 0;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        Ok((Current { config: Arc::new(config), binding }, expiry))
    }

    /// A client without a certificate gets through the handshake: what it lacks is told in words afterwards.
    fn client_verifier(&self) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
        let Some(path) = &self.client_ca else { return Ok(Arc::new(NoClientAuth)) };
        let roots = Arc::new(roots_from(path)?);
        WebPkiClientVerifier::builder_with_provider(roots, Arc::new(default_provider()))
            .allow_unauthenticated()
            .build()
            .map_err(|error| content(path, error.to_string()))
    }
}

pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = || CertificateDer::pem_file_iter(path)?.collect::<Result<Vec<_>, _>>();
    let list = read().map_err(|source| TlsError::File { path: path.into(), source })?;
    if list.is_empty() {
        return Err(content(path, "no certificate in it".to_owned()));
    }
    Ok(list)
}

pub(super) fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_file(path).map_err(|source| TlsError::File { path: path.into(), source })
}

pub(super) fn roots_from(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots
            .add(certificate)
            .map_err(|error| content(path, format!("not a usable CA certificate: {error}")))?;
    }
    Ok(roots)
}

fn content(path: &Path, problem: String) -> TlsError {
    TlsError::Content { path: path.into(), problem }
}

/// A key that is not the certificate's.
pub(super) fn misfit(key: &Path, chain: &Path, error: &rustls::Error) -> TlsError {
    content(key, format!("does not fit {}: {error}", chain.display()))
}

#[cfg(test)]
#[path = "tls_tests.rs"]
mod tests;
