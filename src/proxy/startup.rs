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
use crate::wire::startup::{self, FirstPacket, Startup};

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
        let mut wire = Wire { stream, inbound: Vec::new() };
        let mut asked = Asked::default();
        let startup = loop {
            match first_packet(&mut wire, &front, &mut asked).await {
                Ok(First::Tls(certificate)) => wire = wire.upgrade(&certificate).await?,
                Ok(First::Clear) => {}
                Ok(First::Startup(startup)) => break startup,
                Ok(First::Cancel { pid, key }) => {
                    return Ok(Welcome::Cancel { pid, key, stream: wire.stream });
                }
                Err(refused) => return Err(wire.refuse(refused).await),
            }
        };
        if let Some(refused) = others.filter(|_| !is_console(&startup.database)) {
            return Err(wire.refuse(refused).await);
        }
        match admit(&mut wire, &front, &startup).await {
            Ok(login) => Ok(Welcome::Admitted(Box::new(Admitted {
                stream: wire.stream,
                protocol_minor: startup.negotiate().0,
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
/// for its answer, and a socket closed over unread data is reset, error and all. A cancel request is handed back.
pub async fn turn_away(
    stream: Stream,
    sqlstate: SqlState,
    message: &str,
    patience: Duration,
) -> Option<Welcome> {
    let mut wire = Wire { stream, inbound: Vec::new() };
    let packets = async {
        // Each kind of encryption may be asked for once.
        for _ in 0..3 {
            match wire.first_packet().await {
                Ok(FirstPacket::SslRequest | FirstPacket::GssEncRequest) => wire.send(b"N").await.ok()?,
                Ok(FirstPacket::Cancel { pid, key }) => return Some((pid, key)),
                Ok(FirstPacket::Startup(_)) => {
                    wire.refuse(Refused::told(sqlstate, message)).await;
                    break;
                }
                Err(refused) => {
                    wire.refuse(refused).await;
                    break;
                }
            }
        }
        None
    };
    let (pid, key) = tokio::time::timeout(patience, packets).await.ok()??;
    Some(Welcome::Cancel { pid, key, stream: wire.stream })
}

enum First {
    /// We said yes: the handshake is next.
    Tls(Arc<Certificate>),
    /// We said no: another first packet is next.
    Clear,
    Startup(Startup),
    Cancel {
        pid: i32,
        key: Box<[u8]>,
    },
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
        FirstPacket::SslRequest if !std::mem::replace(&mut asked.tls, true) => match &front.certificate {
            Some(certificate) if front.sslmode != ClientSslMode::Disable => {
                // What came in the clear must not count as if it had come inside.
                if !wire.inbound.is_empty() {
                    let message = "received unencrypted data after SSL request";
                    return Err(Refused::told(sqlstate::PROTOCOL_VIOLATION, message));
                }
                wire.send(b"S").await?;
                Ok(First::Tls(certificate.clone()))
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
        FirstPacket::Cancel { pid, key } => Ok(First::Cancel { pid, key }),
        FirstPacket::Startup(startup) => {
            let exempt = wire.stream.is_tls() || matches!(wire.stream, Stream::Unix(_));
            if front.sslmode == ClientSslMode::Require && !exempt {
                let message =
                    "pgsluice requires TLS (client_tls_sslmode = \"require\"): connect with sslmode=require";
                return Err(Refused::told(sqlstate::INVALID_AUTHORIZATION, message));
            }
            Ok(First::Startup(startup))
        }
    }
}

/// Checks what is asked for, agrees on a version, has the client prove itself.
async fn admit(wire: &mut Wire, front: &Front, startup: &Startup) -> Result<LoginKey, Refused> {
    for (what, name) in [("user", &startup.user), ("database", &startup.database)] {
        if name.len() > MAX_NAME {
            let message = format!("{what} name is longer than {MAX_NAME} bytes");
            return Err(Refused::told(sqlstate::INVALID_NAME, message));
        }
    }
    if let Some(replication) = &startup.replication {
        check_replication(replication)?;
    }
    let mut out = Vec::new();
    let (minor, must_say) = startup.negotiate();
    if must_say {
        reply::negotiate_protocol_version(&mut out, minor, &startup.unrecognized);
    }
    auth::authenticate(wire, front, startup, out).await
}

/// `replication` asks for a walsender, which a pool cannot share yet; a value that says no is fine.
fn check_replication(value: &str) -> Result<(), Refused> {
    match value.to_ascii_lowercase().as_str() {
        "false" | "off" | "no" | "0" | "f" | "n" => Ok(()),
        "true" | "on" | "yes" | "1" | "t" | "y" | "database" => Err(Refused::told(
            sqlstate::FEATURE_NOT_SUPPORTED,
            "replication connections are not supported through pgsluice: connect to the server itself",
        )),
        _ => Err(Refused::told(
            sqlstate::INVALID_PARAMETER_VALUE,
            format!("invalid value for parameter \"replication\": \"{}\"", value.escape_debug()),
        )),
    }
}

/// A client's connection until it is admitted.
pub(super) struct Wire {
    pub(super) stream: Stream,
    /// Received and not yet read.
    inbound: Vec<u8>,
}

impl Wire {
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
        Ok(Self { stream: certificate.accept(self.stream).await.map_err(Refused::Tls)?, inbound: Vec::new() })
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
        while self.inbound.len() < count {
            // Room for a usual start-up in one read; a client that sends ahead is not read far.
            self.inbound.reserve(count.max(512) - self.inbound.len());
            if self.stream.read_buf(&mut self.inbound).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        let rest = self.inbound.split_off(count);
        Ok(std::mem::replace(&mut self.inbound, rest))
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
