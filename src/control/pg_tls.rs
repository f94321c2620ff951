//! rustls under tokio-postgres, for the control plane's own connections: the trait it asks for, and no more.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::Config;
use tokio_postgres::config::{
    ChannelBinding as PgChannelBinding, SslMode as PgSslMode, SslNegotiation as PgSslNegotiation,
};
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};

use crate::config::{ChannelBinding as Wanted, Host, SslMode};
use crate::proxy::tls::{Handshake, ServerTls, server_name};

/// Makes TLS connections for tokio-postgres with the settings of a [`ServerTls`].
#[derive(Clone)]
pub struct PgTls(ServerTls);

impl PgTls {
    #[must_use]
    pub fn new(tls: &ServerTls) -> Self {
        Self(tls.clone())
    }

    /// Tells tokio-postgres how to ask for TLS. It has no `allow`; who allows TLS can as well prefer it. Over a unix
    /// socket there is none to ask for, whatever the mode, as with libpq.
    pub fn configure(config: &mut Config, tls: &ServerTls, host: &Host) {
        let mode = match tls.mode() {
            _ if matches!(host, Host::Unix(..)) => PgSslMode::Disable,
            SslMode::Disable => PgSslMode::Disable,
            SslMode::Allow | SslMode::Prefer => PgSslMode::Prefer,
            SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => PgSslMode::Require,
        };
        let negotiation = match tls.is_direct() && mode == PgSslMode::Require {
            true => PgSslNegotiation::Direct,
            false => PgSslNegotiation::Postgres,
        };
        let binding = match tls.channel_binding() {
            Wanted::Disable => PgChannelBinding::Disable,
            Wanted::Prefer => PgChannelBinding::Prefer,
            Wanted::Require => PgChannelBinding::Require,
        };
        config.ssl_mode(mode).ssl_negotiation(negotiation).channel_binding(binding);
    }
}

/// One connection to be made.
pub struct Connect {
    handshake: Option<Handshake>,
    name: io::Result<ServerName<'static>>,
}

impl<S> MakeTlsConnect<S> for PgTls
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    type Stream = PgTlsStream<S>;
    type TlsConnect = Connect;
    type Error = io::Error;

    fn make_tls_connect(&mut self, domain: &str) -> io::Result<Connect> {
        // A unix socket has no name; TLS is not asked for there.
        Ok(Connect { handshake: self.0.handshake(), name: server_name(domain) })
    }
}

impl<S> TlsConnect<S> for Connect
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    type Stream = PgTlsStream<S>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<PgTlsStream<S>>> + Send>>;

    fn connect(self, stream: S) -> Self::Future {
        Box::pin(async move {
            let handshake = self.handshake.ok_or_else(|| io::Error::other("TLS is disabled"))?;
            let (stream, end_point) = handshake.run(self.name?, stream).await?;
            Ok(PgTlsStream { stream, end_point })
        })
    }
}

/// An encrypted connection.
pub struct PgTlsStream<S> {
    stream: tokio_rustls::client::TlsStream<S>,
    end_point: Option<Vec<u8>>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> TlsStream for PgTlsStream<S> {
    fn channel_binding(&self) -> ChannelBinding {
        self.end_point.clone().map_or_else(ChannelBinding::none, ChannelBinding::tls_server_end_point)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for PgTlsStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for PgTlsStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
