//! TLS towards servers: the checks of `sslmode`, our own certificate, and what channel binding binds to.
//! rustls over ring.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{CryptoProvider, ring::default_provider};
use rustls::server::ParsedCertificate;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::stream::Stream;
use super::tls::{ALPN, TlsError, certificates, misfit, private_key, roots_from};
use super::x509;
use crate::config::{ChannelBinding, ServerTlsSettings, ServerUrl, SslMode, SslNegotiation, SslOptions};

/// How to speak TLS with a server, as its URL says it.
///
/// `sslmode=require` checks nothing unless there is a CA file; with one it checks as `verify-ca` does.
/// `verify-ca` and `verify-full` without a CA file trust the system's roots.
#[derive(Clone)]
pub struct ServerTls {
    mode: SslMode,
    /// `None` with [`SslMode::Disable`].
    config: Option<Arc<ClientConfig>>,
    /// The certificate is not looked at: then each connection's verifier says whether it was proved at least.
    unchecked: bool,
    channel_binding: ChannelBinding,
    direct: bool,
    identity: bool,
}

impl std::fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ServerTls({:?})", self.mode)
    }
}

impl ServerTls {
    /// With a CA file and nothing else.
    ///
    /// # Errors
    /// As [`Self::of`].
    pub fn new(mode: SslMode, ca_file: Option<&Path>) -> Result<Self, TlsError> {
        Self::with(mode, &SslOptions { root: ca_file.map(Into::into), ..SslOptions::default() })
    }

    /// As the URL says, with the files of the settings where it names none.
    ///
    /// # Errors
    /// If a file cannot be used, or verification is asked for and there is nothing to trust.
    pub fn of(url: &ServerUrl, files: &ServerTlsSettings) -> Result<Self, TlsError> {
        let either = |own: &Option<PathBuf>, common: &Option<PathBuf>| own.clone().or_else(|| common.clone());
        let mut options = url.ssl.clone();
        options.root = either(&options.root, &files.server_tls_ca_file);
        options.root = options.root.filter(|root| root.as_os_str() != SslOptions::SYSTEM);
        if options.cert.is_none() {
            options.cert.clone_from(&files.server_tls_cert_file);
            options.key.clone_from(&files.server_tls_key_file);
        }
        Self::with(url.sslmode, &options)
    }

    fn with(mode: SslMode, options: &SslOptions) -> Result<Self, TlsError> {
        let mut this = Self { mode, channel_binding: options.channel_binding, ..Self::disabled() };
        if mode == SslMode::Disable {
            return Ok(this);
        }
        let ca_file = options.root.as_deref();
        let check = match (mode, ca_file) {
            (SslMode::VerifyFull, _) => Some(Check { name: true }),
            (SslMode::VerifyCa, _) | (SslMode::Require, Some(_)) => Some(Check { name: false }),
            _ => None,
        };
        let provider = Arc::new(default_provider());
        let verifier: Arc<dyn ServerCertVerifier> = match check {
            None => Arc::new(Unchecked { provider: provider.clone(), proved: Arc::default() }),
            Some(Check { name }) => {
                let roots = ca_file.map_or_else(system_roots, roots_from)?;
                let pinned = ca_file.map(certificates).transpose()?.unwrap_or_default();
                Arc::new(Verifier { name, roots, pinned, provider: provider.clone() })
            }
        };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let mut config = match (&options.cert, &options.key) {
            (Some(chain), Some(key)) => {
                this.identity = true;
                let own = builder.with_client_auth_cert(certificates(chain)?, private_key(key)?);
                own.map_err(|error| misfit(key, chain, &error))?
            }
            _ => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.resumption = Resumption::disabled(); // servers offer none
        this.direct = options.negotiation == SslNegotiation::Direct;
        this.unchecked = check.is_none();
        this.config = Some(Arc::new(config));
        Ok(this)
    }

    /// No TLS at all.
    #[must_use]
    pub const fn disabled() -> Self {
        Self {
            mode: SslMode::Disable,
            config: None,
            unchecked: false,
            channel_binding: ChannelBinding::Prefer,
            direct: false,
            identity: false,
        }
    }

    #[must_use]
    pub const fn mode(&self) -> SslMode {
        self.mode
    }

    #[must_use]
    pub const fn channel_binding(&self) -> ChannelBinding {
        self.channel_binding
    }

    /// The handshake comes first, without SSLRequest.
    #[must_use]
    pub const fn is_direct(&self) -> bool {
        self.direct
    }

    /// We show a certificate of our own: what it opens is not open to everybody.
    #[must_use]
    pub const fn shows_certificate(&self) -> bool {
        self.identity
    }

    /// A handshake to be made; `None` where TLS is disabled.
    #[must_use]
    pub fn handshake(&self) -> Option<Handshake> {
        let mut config = Arc::clone(self.config.as_ref()?);
        let proved = self.unchecked.then(Arc::<AtomicBool>::default);
        if let Some(proved) = &proved {
            let provider = Arc::clone(config.crypto_provider());
            let verifier = Unchecked { provider, proved: Arc::clone(proved) };
            Arc::make_mut(&mut config).dangerous().set_certificate_verifier(Arc::new(verifier));
        }
        Some(Handshake { config, proved, direct: self.direct })
    }

    /// The handshake, after the server answered SSLRequest with `S` (or at once if it [is direct]). `host` is a name
    /// or an address. Yields what channel binding binds to besides, if the server has proved its certificate.
    ///
    /// [is direct]: Self::is_direct
    ///
    /// # Errors
    /// If the handshake fails or the certificate is not to be trusted.
    pub async fn connect(&self, stream: Stream, host: &str) -> io::Result<(Stream, Option<Vec<u8>>)> {
        let handshake = self.handshake().ok_or_else(|| io::Error::other("TLS is disabled"))?;
        let (tls, binding) = handshake.run(server_name(host)?, stream.into_socket()?).await?;
        Ok((Stream::Tls(Box::new(tls.into())), binding))
    }
}

/// One handshake with a server.
pub struct Handshake {
    config: Arc<ClientConfig>,
    /// Set by the verifier; `None` where an unproved certificate is refused.
    proved: Option<Arc<AtomicBool>>,
    direct: bool,
}

impl Handshake {
    /// Makes it; yields what channel binding binds to besides.
    ///
    /// # Errors
    /// As [`ServerTls::connect`].
    pub async fn run<S: AsyncRead + AsyncWrite + Unpin>(
        self,
        name: ServerName<'static>,
        socket: S,
    ) -> io::Result<(TlsStream<S>, Option<Vec<u8>>)> {
        let tls = TlsConnector::from(self.config).connect(name, socket).await?;
        let session = tls.get_ref().1;
        if self.direct && session.alpn_protocol() != Some(ALPN) {
            return Err(io::Error::other(
                "the server does not name the protocol (ALPN) as sslnegotiation=direct wants",
            ));
        }
        let proved = self.proved.is_none_or(|proved| proved.load(Ordering::Relaxed));
        let own = session.peer_certificates().and_then(<[_]>::first).filter(|_| proved);
        let binding = own.and_then(|certificate| x509::end_point(certificate));
        Ok((tls, binding))
    }
}

/// # Errors
/// If `host` is neither a DNS name nor an address.
pub fn server_name(host: &str) -> io::Result<ServerName<'static>> {
    ServerName::try_from(host.to_owned())
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, format!("{host:?} is no host name")))
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

/// A certificate is checked; its name too?
#[derive(Clone, Copy)]
struct Check {
    name: bool,
}

/// `verify-ca` and `verify-full`.
#[derive(Debug)]
struct Verifier {
    name: bool,
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
        if self.name {
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
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// `allow`, `prefer` and `require`: any certificate will do, also one that this library cannot read (version 1) or
/// whose key is too short for it. What is noted is whether the server has proved that it holds the key: without
/// that anybody could show the certificate that channel binding binds to.
#[derive(Debug)]
struct Unchecked {
    provider: Arc<CryptoProvider>,
    proved: Arc<AtomicBool>,
}

impl Unchecked {
    fn note(
        &self,
        outcome: &Result<HandshakeSignatureValid, rustls::Error>,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.proved.store(outcome.is_ok(), Ordering::Relaxed);
        Ok(HandshakeSignatureValid::assertion())
    }
}

impl ServerCertVerifier for Unchecked {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        self.note(&rustls::crypto::verify_tls12_signature(message, certificate, signed, algorithms))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        self.note(&rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
