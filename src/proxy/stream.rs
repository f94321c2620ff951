//! A connection, whatever carries it: TCP, a unix socket, TLS over either.
//!
//! A socket is registered with the runtime it was opened on. [`Stream::detach`] takes it out, so that an idle
//! server connection can move to the thread whose client waits for it; [`Detached::attach`] registers it there.
//! TLS moves too: its state stays as it is, only the socket under it is taken out and put back.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf, Ready};
use tokio::net::{TcpStream, UnixStream};

/// First keepalive probe after this much silence, then every [`KEEPALIVE_INTERVAL`].
const KEEPALIVE_TIME: Duration = Duration::from_secs(60);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);

/// A client's or a server's connection.
#[derive(Debug)]
pub enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<tokio_rustls::TlsStream<Socket>>),
}

/// What is under TLS; `Gone` only inside a [`Detached`].
#[derive(Debug)]
pub enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
    Gone,
}

/// What a socket is ready for, as far as it is known without waiting.
fn now(ready: impl Future<Output = io::Result<Ready>>) -> Option<Ready> {
    match std::pin::pin!(ready).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Ok(ready)) => Some(ready),
        _ => None,
    }
}

/// A [`Stream`] that belongs to no runtime.
#[derive(Debug)]
pub struct Detached(DetachedKind);

#[derive(Debug)]
enum DetachedKind {
    Plain(StdSocket),
    Tls(StdSocket, Box<tokio_rustls::TlsStream<Socket>>),
}

#[derive(Debug)]
enum StdSocket {
    Tcp(std::net::TcpStream),
    Unix(std::os::unix::net::UnixStream),
}

impl Stream {
    /// Takes a TCP connection, with Nagle's algorithm off and keepalive on.
    #[must_use]
    pub fn from_tcp(socket: TcpStream) -> Self {
        // Either may fail on a socket whose peer is gone; the first read will say so.
        let _ = socket.set_nodelay(true);
        let keepalive =
            socket2::TcpKeepalive::new().with_time(KEEPALIVE_TIME).with_interval(KEEPALIVE_INTERVAL);
        let _ = socket2::SockRef::from(&socket).set_tcp_keepalive(&keepalive);
        Self::Tcp(socket)
    }

    #[must_use]
    pub const fn from_unix(socket: UnixStream) -> Self {
        Self::Unix(socket)
    }

    /// Whether what passes is encrypted.
    #[must_use]
    pub const fn is_tls(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    /// The certificate that the other side showed in its handshake, DER.
    #[must_use]
    pub fn peer_certificate(&self) -> Option<&[u8]> {
        let Self::Tls(tls) = self else { return None };
        let (_, session) = tls.get_ref();
        session.peer_certificates()?.first().map(AsRef::as_ref)
    }

    /// Where the other side is.
    #[must_use]
    pub fn peer(&self) -> Peer {
        match self {
            Self::Tcp(socket) => Peer::of_tcp(socket),
            Self::Unix(socket) => Peer::of_unix(socket),
            Self::Tls(tls) => match tls.get_ref().0 {
                Socket::Tcp(socket) => Peer::of_tcp(socket),
                Socket::Unix(socket) => Peer::of_unix(socket),
                Socket::Gone => Peer::Unknown,
            },
        }
    }

    /// The other side has closed, though what it sent before may not be read yet. Costs no system call.
    #[must_use]
    pub fn is_hung_up(&self) -> bool {
        let tcp = |socket: &TcpStream| now(socket.ready(Interest::READABLE));
        let unix = |socket: &UnixStream| now(socket.ready(Interest::READABLE));
        let ready = match self {
            Self::Tcp(socket) => tcp(socket),
            Self::Unix(socket) => unix(socket),
            Self::Tls(tls) => match tls.get_ref().0 {
                Socket::Tcp(socket) => tcp(socket),
                Socket::Unix(socket) => unix(socket),
                Socket::Gone => None,
            },
        };
        ready.is_some_and(|ready| ready.is_read_closed())
    }

    /// Our own end.
    #[must_use]
    pub fn local(&self) -> Peer {
        let socket = match self {
            Self::Tcp(socket) => socket,
            Self::Tls(tls) => match tls.get_ref().0 {
                Socket::Tcp(socket) => socket,
                Socket::Unix(_) => return Peer::Unix { uid: None },
                Socket::Gone => return Peer::Unknown,
            },
            Self::Unix(_) => return Peer::Unix { uid: None },
        };
        socket.local_addr().map_or(Peer::Unknown, Peer::Ip)
    }

    /// Our own address; `None` for a unix socket.
    #[must_use]
    pub fn local_ip(&self) -> Option<std::net::IpAddr> {
        match self.local() {
            Peer::Ip(address) => Some(address.ip()),
            _ => None,
        }
    }

    /// The socket, to put TLS over it.
    ///
    /// # Errors
    /// If it has TLS already.
    pub fn into_socket(self) -> io::Result<Socket> {
        match self {
            Self::Tcp(socket) => Ok(Socket::Tcp(socket)),
            Self::Unix(socket) => Ok(Socket::Unix(socket)),
            Self::Tls(_) => Err(io::Error::other("TLS inside TLS")),
        }
    }

    /// Takes the connection out of its runtime.
    ///
    /// # Errors
    /// If the operating system refuses; the connection is closed then.
    pub fn detach(self) -> io::Result<Detached> {
        Ok(Detached(match self {
            Self::Tcp(socket) => DetachedKind::Plain(StdSocket::Tcp(socket.into_std()?)),
            Self::Unix(socket) => DetachedKind::Plain(StdSocket::Unix(socket.into_std()?)),
            Self::Tls(mut tls) => {
                let socket = match std::mem::replace(tls.get_mut().0, Socket::Gone) {
                    Socket::Tcp(socket) => StdSocket::Tcp(socket.into_std()?),
                    Socket::Unix(socket) => StdSocket::Unix(socket.into_std()?),
                    Socket::Gone => return Err(gone()),
                };
                DetachedKind::Tls(socket, tls)
            }
        }))
    }
}

impl Detached {
    /// Registers the connection with the current runtime.
    ///
    /// # Errors
    /// If the operating system refuses; the connection is closed then.
    pub fn attach(self) -> io::Result<Stream> {
        Ok(match self.0 {
            DetachedKind::Plain(StdSocket::Tcp(socket)) => Stream::Tcp(TcpStream::from_std(socket)?),
            DetachedKind::Plain(StdSocket::Unix(socket)) => Stream::Unix(UnixStream::from_std(socket)?),
            DetachedKind::Tls(socket, mut tls) => {
                *tls.get_mut().0 = match socket {
                    StdSocket::Tcp(socket) => Socket::Tcp(TcpStream::from_std(socket)?),
                    StdSocket::Unix(socket) => Socket::Unix(UnixStream::from_std(socket)?),
                };
                Stream::Tls(tls)
            }
        })
    }
}

/// Where a connection comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    Ip(std::net::SocketAddr),
    /// A process on this machine, with its user id where the system tells.
    Unix {
        uid: Option<u32>,
    },
    /// Gone already.
    Unknown,
}

impl Peer {
    fn of_tcp(socket: &TcpStream) -> Self {
        socket.peer_addr().map_or(Self::Unknown, Self::Ip)
    }

    fn of_unix(socket: &UnixStream) -> Self {
        Self::Unix { uid: socket.peer_cred().ok().map(|credentials| credentials.uid()) }
    }

    /// Its address as one of IPv6; a user of this machine has one of its own.
    #[must_use]
    pub fn octets(&self) -> [u8; 16] {
        match self {
            Self::Ip(address) => match address.ip() {
                std::net::IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
                std::net::IpAddr::V6(v6) => v6.octets(),
            },
            Self::Unix { uid } => (u128::from(uid.unwrap_or(u32::MAX)) | 1 << 64).to_be_bytes(),
            Self::Unknown => [0; 16],
        }
    }

    /// Whether the other side is on this machine.
    #[must_use]
    pub fn is_local(&self) -> bool {
        match self {
            Self::Ip(address) => address.ip().to_canonical().is_loopback(),
            Self::Unix { .. } => true,
            Self::Unknown => false,
        }
    }
}

impl std::fmt::Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Unix { .. } => f.write_str("unix"),
            Self::Unknown => f.write_str("unknown"),
        }
    }
}

fn gone() -> io::Error {
    io::Error::from(io::ErrorKind::NotConnected)
}

/// Hands a poll to whichever socket is inside.
macro_rules! each {
    ($this:expr, $socket:ident => $call:expr) => {
        match $this.get_mut() {
            Self::Tcp($socket) => {
                let $socket = Pin::new($socket);
                $call
            }
            Self::Unix($socket) => {
                let $socket = Pin::new($socket);
                $call
            }
            Self::Tls($socket) => {
                let $socket = Pin::new(&mut **$socket);
                $call
            }
        }
    };
}

impl AsyncRead for Stream {
    #[inline]
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        each!(self, socket => socket.poll_read(cx, buf))
    }
}

impl AsyncWrite for Stream {
    #[inline]
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        each!(self, socket => socket.poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        each!(self, socket => socket.poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        !self.is_tls()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, socket => socket.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, socket => socket.poll_shutdown(cx))
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_read(cx, buf),
            Self::Unix(socket) => Pin::new(socket).poll_read(cx, buf),
            Self::Gone => Poll::Ready(Err(gone())),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_write(cx, buf),
            Self::Unix(socket) => Pin::new(socket).poll_write(cx, buf),
            Self::Gone => Poll::Ready(Err(gone())),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_write_vectored(cx, bufs),
            Self::Unix(socket) => Pin::new(socket).poll_write_vectored(cx, bufs),
            Self::Gone => Poll::Ready(Err(gone())),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(())) // sockets hold nothing back
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_shutdown(cx),
            Self::Unix(socket) => Pin::new(socket).poll_shutdown(cx),
            Self::Gone => Poll::Ready(Err(gone())),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
    }

    #[test]
    fn a_stream_is_small() {
        assert!(size_of::<Stream>() <= 40, "{}", size_of::<Stream>());
    }

    #[test]
    fn a_plain_connection_moves_between_runtimes() {
        let first = runtime();
        let (ours, mut theirs) = first.block_on(async {
            let (ours, theirs) = UnixStream::pair().unwrap();
            (Stream::from_unix(ours).detach().unwrap(), Stream::from_unix(theirs))
        });
        let mover = std::thread::spawn(move || {
            runtime().block_on(async {
                let mut ours = ours.attach().unwrap();
                ours.write_all(b"moved").await.unwrap();
            });
        });
        let mut text = [0; 5];
        first.block_on(theirs.read_exact(&mut text)).unwrap();
        assert_eq!(&text, b"moved");
        mover.join().unwrap();
    }
}
