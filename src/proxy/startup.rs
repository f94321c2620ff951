//! From a fresh connection to a client that is who it says: first packets, TLS, authentication.
//!
//! [`welcome`] is one boxed future: all that a login needs (buffers, SCRAM state, TLS handshake) is on the heap
//! and gone when the client is in. The deadline is the caller's. Nothing a server says reaches a client here.
//!
//! What is sent last is AuthenticationOk. ParameterStatus, BackendKeyData and ReadyForQuery follow when a server
//! connection is known; from here on an error may be the server's own.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::auth;
use super::stream::Stream;
use super::tls::Certificate;
use crate::admin::is_console;
use crate::config::{AuthType, ClientSslMode};
use crate::control::credentials::Credentials;
use crate::pool::key::LoginKey;
use crate::wire::auth_message::{self, Malformed};
use crate::wire::reply::{self, Severity};
use crate::wire::sqlstate::{self, SqlState};
use crate::wire::startup::{self, FirstPacket, Replication, Startup};

/// Longest user or database name, in bytes. PostgreSQL has none over 63; this bounds what is kept and logged.
pub const MAX_NAME: usize = 255;

/// What all connections of a listener share.
pub struct Front {
    /// Without one, SSLRequest is answered with `N`.
    pub certificate: Option<Arc<Certificate>>,
    pub sslmode: ClientSslMode,
    pub auth_type: AuthType,
    pub credentials: Credentials,
}

impl Front {
    /// The certificate, if TLS is on.
    fn tls(&self) -> Option<&Arc<Certificate>> {
        self.certificate.as_ref().filter(|_| self.sslmode != ClientSslMode::Disable)
    }
}

/// What a connection turned out to be.
pub enum Welcome {
    Admitted(Box<Admitted>),
    /// A cancel request. Nothing is ever answered to it: drop the stream when the request has been passed on,
    /// that is what the client waits for.
    Cancel {
        pid: i32,
        key: Box<[u8]>,
        stream: Stream,
    },
}

/// A client that has proved who it is and has got AuthenticationOk.
pub struct Admitted {
    pub stream: Stream,
    /// Negotiated: 0 or 2 (1 behaves like 0).
    pub protocol_minor: u16,
    /// It wants to be served by a walsender.
    pub replication: Option<Replication>,
    pub user: String,
    pub database: String,
    /// Settings from the start-up packet in the order in which they apply, `options` spelled out.
    pub params: Vec<(String, String)>,
    /// What the client sent ahead, after its last authentication message.
    pub leftover: Vec<u8>,
    /// What this user's server connections are opened with.
    pub login: LoginKey,
}

/// Why a client is not let in. It has been told already, as far as it may know and is still there.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// It went away: a probe, or psql that wants to ask for a password first. Not worth a warning.
    #[error("the client closed the connection")]
    Gone,
    #[error("connection: {0}")]
    Io(io::Error),
    #[error("TLS handshake: {0}")]
    Tls(io::Error),
    /// It cannot prove who it is. `reason` is for the log, never for the client.
    #[error("user {user:?} on database {database:?}: {reason}")]
    Authentication { user: String, database: String, reason: &'static str },
    /// Its certificate is not the user's. `reason` is for the log.
    #[error("user {user:?} on database {database:?}: client certificate: {reason}")]
    Certificate { user: String, database: String, reason: &'static str },
    /// Told with this code and text.
    #[error("{message}")]
    Told { sqlstate: SqlState, message: String },
}

impl From<io::Error> for Refused {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
                Self::Gone
            }
            _ => Self::Io(error),
        }
    }
}

impl From<Malformed> for Refused {
    fn from(error: Malformed) -> Self {
        Self::told(sqlstate::PROTOCOL_VIOLATION, error.to_string())
    }
}

impl Refused {
    pub(super) fn told(sqlstate: SqlState, message: impl Into<String>) -> Self {
        Self::Told { sqlstate, message: message.into() }
    }

    /// What the client is told; `None` where it is gone or nothing can be said.
    fn reply(&self) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        match self {
            Self::Told { sqlstate, message } => {
                reply::error_response(&mut out, Severity::Fatal, *sqlstate, message, "", "");
            }
            Self::Authentication { user, .. } => {
                let text = format!("password authentication failed for user \"{user}\"");
                reply::error_response(&mut out, Severity::Fatal, sqlstate::INVALID_PASSWORD, &text, "", "");
            }
            Self::Certificate { user, .. } => {
                let text = format!("certificate authentication failed for user \"{user}\"");
                reply::error_response(
                    &mut out,
                    Severity::Fatal,
                    sqlstate::INVALID_AUTHORIZATION,
                    &text,
                    "",
                    "",
                );
            }
            Self::Gone | Self::Io(_) | Self::Tls(_) => return None,
        }
        Some(out)
    }
}

/// The future of a login.
pub type Welcoming = Pin<Box<dyn Future<Output = Result<Welcome, Refused>> + Send>>;

/// Takes a new connection up to AuthenticationOk. Wrap it in the login deadline.
///
/// A client that is refused has been told why before this returns.
#[must_use]
pub fn welcome(stream: Stream, front: Arc<Front>) -> Welcoming {
    welcome_some(stream, front, None)
}

/// As [`welcome`], but for the console only: others are told this.
#[must_use]
pub fn welcome_to_console(stream: Stream, front: Arc<Front>, code: SqlState, message: &str) -> Welcoming {
    welcome_some(stream, front, Some(Refused::told(code, message)))
}

fn welcome_some(stream: Stream, front: Arc<Front>, others: Option<Refused>) -> Welcoming {
    Box::pin(async move {
        let (mut wire, opening) = opening(stream, &front).await?;
        let startup = match opening {
            Opening::Startup(startup) => startup,
            Opening::Cancel { pid, key } => return Ok(Welcome::Cancel { pid, key, stream: wire.stream }),
        };
        if let Some(refused) = others.filter(|_| !is_console(&startup.database)) {
            return Err(wire.refuse(refused).await);
        }
        match admit(&mut wire, &front, &startup).await {
            Ok((login, replication)) => Ok(Welcome::Admitted(Box::new(Admitted {
                stream: wire.stream,
                protocol_minor: startup.negotiate().0,
                replication,
                user: startup.user,
                database: startup.database,
                params: startup.settings,
                leftover: wire.inbound,
                login,
            }))),
            Err(refused) => Err(wire.refuse(refused).await),
        }
    })
}

/// Tells a client that cannot be taken why: too many clients, shutting down.
///
/// What it sends first is read before, as long as `patience` lasts: a request for encryption would take the error
/// for its answer (and one that wants TLS believes no error outside of it), and a socket closed over unread data is
/// reset, error and all. A cancel request is handed back.
pub async fn turn_away(
    stream: Stream,
    front: &Front,
    sqlstate: SqlState,
    message: &str,
    patience: Duration,
) -> Option<Welcome> {
    let talk = async {
        let (mut wire, opening) = opening(stream, front).await.ok()?;
        match opening {
            Opening::Cancel { pid, key } => Some(Welcome::Cancel { pid, key, stream: wire.stream }),
            Opening::Startup(_) => {
                wire.refuse(Refused::told(sqlstate, message)).await;
                None
            }
        }
    };
    tokio::time::timeout(patience, talk).await.ok()?
}

/// What a client has come for.
enum Opening {
    Startup(Startup),
    Cancel { pid: i32, key: Box<[u8]> },
}

enum First {
    /// We said yes: the handshake is next.
    Tls(Arc<Certificate>),
    /// We said no: another first packet is next.
    Clear,
    Opened(Opening),
}

/// Reads up to the first packet that is no request for encryption. Who is refused has been told.
async fn opening(stream: Stream, front: &Front) -> Result<(Wire, Opening), Refused> {
    let mut wire = Wire::new(stream);
    if wire.begins_with_tls().await? {
        wire = wire.direct(front).await?;
    }
    let mut asked = Asked::default();
    loop {
        match first_packet(&mut wire, front, &mut asked).await {
            Ok(First::Tls(certificate)) => wire = wire.upgrade(&certificate).await?,
            Ok(First::Clear) => {}
            Ok(First::Opened(opening)) => return Ok((wire, opening)),
            Err(refused) => return Err(wire.refuse(refused).await),
        }
    }
}

/// What may be asked for once.
#[derive(Default)]
struct Asked {
    tls: bool,
    gss: bool,
}

/// Reads one first packet and answers it as far as it is a request for encryption.
async fn first_packet(wire: &mut Wire, front: &Front, asked: &mut Asked) -> Result<First, Refused> {
    match wire.first_packet().await? {
        FirstPacket::SslRequest if !std::mem::replace(&mut asked.tls, true) => match front.tls() {
            Some(certificate) if !wire.stream.is_tls() => {
                // What came in the clear must not count as if it had come inside.
                if !wire.inbound.is_empty() {
                    let message = "received unencrypted data after SSL request";
                    return Err(Refused::told(sqlstate::PROTOCOL_VIOLATION, message));
                }
                wire.send(b"S").await?;
                Ok(First::Tls(Arc::clone(certificate)))
            }
            _ => {
                wire.send(b"N").await?;
                Ok(First::Clear)
            }
        },
        FirstPacket::GssEncRequest if !std::mem::replace(&mut asked.gss, true) => {
            wire.send(b"N").await?;
            Ok(First::Clear)
        }
        FirstPacket::SslRequest | FirstPacket::GssEncRequest => {
            Err(Refused::told(sqlstate::PROTOCOL_VIOLATION, "encryption requested twice"))
        }
        FirstPacket::Cancel { pid, key } => Ok(First::Opened(Opening::Cancel { pid, key })),
        FirstPacket::Startup(startup) => {
            encrypted_enough(wire, front)?;
            Ok(First::Opened(Opening::Startup(startup)))
        }
    }
}

/// Whether the connection is as `client_tls_sslmode` wants it. Over a unix socket nobody can listen.
fn encrypted_enough(wire: &Wire, front: &Front) -> Result<(), Refused> {
    if matches!(wire.stream, Stream::Unix(_)) {
        return Ok(());
    }
    let mode = front.sslmode;
    if mode.wants_tls() && !wire.stream.is_tls() {
        let mode = mode.name();
        let message =
            format!("pgsluice requires TLS (client_tls_sslmode = \"{mode}\"): connect with sslmode=require");
        return Err(Refused::told(sqlstate::INVALID_AUTHORIZATION, message));
    }
    if mode.wants_certificate() && wire.stream.peer_certificate().is_none() {
        let message = "connection requires a valid client certificate";
        return Err(Refused::told(sqlstate::INVALID_AUTHORIZATION, message));
    }
    Ok(())
}

/// Checks what is asked for, agrees on a version, has the client prove itself.
async fn admit(
    wire: &mut Wire,
    front: &Front,
    startup: &Startup,
) -> Result<(LoginKey, Option<Replication>), Refused> {
    for (what, name) in [("user", &startup.user), ("database", &startup.database)] {
        if name.len() > MAX_NAME {
            let message = format!("{what} name is longer than {MAX_NAME} bytes");
            return Err(Refused::told(sqlstate::INVALID_NAME, message));
        }
    }
    let replication = startup.replication().map_err(|value| {
        let message = format!("invalid value for parameter \"replication\": \"{}\"", value.escape_debug());
        Refused::told(sqlstate::INVALID_PARAMETER_VALUE, message)
    })?;
    let mut out = Vec::new();
    let (minor, must_say) = startup.negotiate();
    if must_say {
        reply::negotiate_protocol_version(&mut out, minor, &startup.unrecognized);
    }
    Ok((auth::authenticate(wire, front, startup, out).await?, replication))
}

/// A client's connection until it is admitted.
pub(super) struct Wire {
    pub(super) stream: Stream,
    /// What channel binding binds to, over TLS.
    pub(super) binding: Option<Arc<[u8]>>,
    /// Received and not yet read.
    inbound: Vec<u8>,
}

/// The first byte of a TLS handshake. As the first of a length it would announce hundreds of megabytes.
const HANDSHAKE: u8 = 0x16;

impl Wire {
    const fn new(stream: Stream) -> Self {
        Self { stream, binding: None, inbound: Vec::new() }
    }

    /// The client does not ask for TLS but begins with it.
    async fn begins_with_tls(&mut self) -> io::Result<bool> {
        self.fill(1).await?;
        Ok(self.inbound.first() == Some(&HANDSHAKE))
    }

    /// TLS from the first byte on, which is for clients that name the protocol (ALPN): others may have been led
    /// here from a server of something else.
    async fn direct(self, front: &Front) -> Result<Self, Refused> {
        let unfit = |why| Refused::Tls(io::Error::new(io::ErrorKind::InvalidData, why));
        let certificate = front.tls().ok_or_else(|| unfit("begun at once, and there is no certificate"))?;
        let encrypted = certificate.accept(self.stream, &self.inbound).await.map_err(Refused::Tls)?;
        if !encrypted.named {
            return Err(unfit("begun at once by a client that does not name the protocol (ALPN)"));
        }
        Ok(Self { stream: encrypted.stream, binding: encrypted.binding, inbound: Vec::new() })
    }

    async fn first_packet(&mut self) -> Result<FirstPacket, Refused> {
        let refuse = |refusal: startup::Refusal| match refusal {
            // Another protocol, or noise: PostgreSQL hangs up without a word.
            startup::Refusal::Length => {
                Refused::Io(io::Error::new(io::ErrorKind::InvalidData, refusal.to_string()))
            }
            _ => Refused::told(refusal.sqlstate(), refusal.to_string()),
        };
        let word = self.take(4).await?;
        let word = word.first_chunk().copied().unwrap_or_default();
        let length = startup::body_length(word).map_err(refuse)?;
        let body = self.take(length).await?;
        startup::parse(&body).map_err(refuse)
    }

    /// TLS from here on, with nothing left over from before.
    async fn upgrade(self, certificate: &Certificate) -> Result<Self, Refused> {
        let encrypted = certificate.accept(self.stream, &[]).await.map_err(Refused::Tls)?;
        Ok(Self { stream: encrypted.stream, binding: encrypted.binding, inbound: Vec::new() })
    }

    /// The next password or SASL message's body.
    pub(super) async fn answer(&mut self) -> Result<Vec<u8>, Refused> {
        let header = self.take(5).await?;
        let Some(&[tag, a, b, c, d]) = header.first_chunk() else { return Err(Refused::Gone) };
        if tag != b'p' {
            if tag == b'X' {
                return Err(Refused::Gone);
            }
            let message = format!("expected password response, got message type {tag}");
            return Err(Refused::told(sqlstate::PROTOCOL_VIOLATION, message));
        }
        let length = auth_message::body_length([a, b, c, d], auth_message::MAX_CLIENT_MESSAGE)?;
        Ok(self.take(length).await?)
    }

    /// The next `count` bytes; the caller has checked that number.
    async fn take(&mut self, count: usize) -> io::Result<Vec<u8>> {
        self.fill(count).await?;
        let rest = self.inbound.split_off(count);
        Ok(std::mem::replace(&mut self.inbound, rest))
    }

    /// Reads until `count` bytes are there.
    async fn fill(&mut self, count: usize) -> io::Result<()> {
        while self.inbound.len() < count {
            // Room for a usual start-up in one read; a client that sends ahead is not read far.
            self.inbound.reserve(count.max(512) - self.inbound.len());
            if self.stream.read_buf(&mut self.inbound).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(())
    }

    pub(super) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await
    }

    /// Tells the client, if there is anything to tell.
    async fn refuse(&mut self, refused: Refused) -> Refused {
        if let Some(out) = refused.reply() {
            let _ = self.send(&out).await;
            let _ = self.stream.shutdown().await;
        }
        refused
    }
}

#[cfg(test)]
#[path = "startup_tests.rs"]
mod tests;
