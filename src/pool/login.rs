//! Opens a server connection: socket, TLS, StartupMessage, authentication, up to the first ReadyForQuery.
//!
//! The server is untrusted input like any client: every frame is length-checked before it is read, a login may
//! take at most [`MAX_LOGIN_BYTES`], a SCRAM exchange must end with the server's own proof, and a password is
//! sent in the clear only where nobody can listen. What it says in an error is kept raw, for the client to see
//! once that client is authenticated, never before.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};

pub use super::connect_error::ConnectError;
use super::connect_error::{is_local, unreachable_or_local};
use super::key::LoginKey;
use super::prove::Scram;
use crate::config::{Host, SslMode};
use crate::proxy::stream::Stream;
use crate::proxy::tls::ServerTls;
use crate::wire::auth_message::{self, Authentication, Malformed, ServerError};
use crate::wire::reply;
use crate::wire::scram::ScramError;
use crate::wire::startup;

/// Most bytes a server may send until its first ReadyForQuery.
pub const MAX_LOGIN_BYTES: usize = 256 * 1024;

/// Where a server is and how to get there.
#[derive(Clone, Debug)]
pub struct Target {
    pub host: Host,
    pub tls: ServerTls,
    /// For everything together: name, socket, TLS, login.
    pub connect_timeout: Duration,
}

/// A server connection, idle and outside of a transaction.
#[derive(Debug)]
pub struct ServerGreeting {
    pub stream: Stream,
    /// The server process, as in `pg_stat_activity`.
    pub pid: i32,
    /// 4 bytes in protocol 3.0, up to 256 from others.
    pub cancel_key: Box<[u8]>,
    /// As the server reported them at login, in order.
    pub parameters: Vec<(Box<str>, Box<str>)>,
    /// Whole NoticeResponse frames that came between AuthenticationOk and ReadyForQuery.
    pub notices: Vec<Box<[u8]>>,
}

/// Connects and logs in. `parameters` are start-up parameters besides user and database.
///
/// # Errors
/// [`ConnectError`]; the socket is closed then.
pub async fn connect(
    target: &Target,
    user: &str,
    database: &str,
    key: &LoginKey,
    parameters: &[(&str, &str)],
) -> Result<ServerGreeting, ConnectError> {
    within(target, async {
        let login = authenticated(target, user, database, key, parameters).await?;
        greeting(login).await
    })
    .await
}

/// Whether the server lets this user in without asking for anything; yields the connection as it is then.
///
/// # Errors
/// [`ConnectError`] if it asks, refuses, or is not there.
pub async fn knock(target: &Target, user: &str, database: &str) -> Result<Stream, ConnectError> {
    within(target, async {
        let login = authenticated(target, user, database, &LoginKey::None, &[]).await?;
        Ok(login.stream)
    })
    .await
}

async fn within<T>(
    target: &Target,
    work: impl Future<Output = Result<T, ConnectError>>,
) -> Result<T, ConnectError> {
    tokio::time::timeout(target.connect_timeout, work).await.unwrap_or_else(|_| {
        Err(ConnectError::Timeout { host: target.host.clone(), after: target.connect_timeout })
    })
}

/// Up to AuthenticationOk, with libpq's second try: `allow` goes on with TLS where the server's rules
/// (`pg_hba.conf`) want it, `prefer` without it where they don't or the handshake fails.
async fn authenticated<'a>(
    target: &'a Target,
    user: &str,
    database: &str,
    key: &LoginKey,
    parameters: &[(&str, &str)],
) -> Result<Login<'a>, ConnectError> {
    let mode = match target.host {
        Host::Unix(..) => SslMode::Disable, // as libpq: nobody can listen there
        Host::Tcp(..) => target.tls.mode(),
    };
    let attempt = async |tls: bool| {
        let stream = open(target).await?;
        let (stream, binding) = if tls { upgrade(target, mode, stream).await? } else { (stream, None) };
        Login::new(target, stream, binding).run(user, database, key, parameters).await
    };
    let first = attempt(!matches!(mode, SslMode::Disable | SslMode::Allow)).await;
    match (&first, mode) {
        (Err(error), SslMode::Allow) if error.is_rejection() => attempt(true).await,
        (Err(error), SslMode::Prefer)
            if error.is_rejection() || matches!(error, ConnectError::Tls { .. }) =>
        {
            attempt(false).await
        }
        _ => first,
    }
}

/// A connection to the server without a login, encrypted where its logins would be: for cancel requests.
///
/// # Errors
/// [`ConnectError`] if it is not there.
pub async fn dial(target: &Target) -> Result<Stream, ConnectError> {
    within(target, async {
        let stream = open(target).await?;
        match (&target.host, target.tls.mode()) {
            (Host::Unix(..), _) | (_, SslMode::Disable | SslMode::Allow) => Ok(stream),
            (_, mode) => Ok(upgrade(target, mode, stream).await?.0),
        }
    })
    .await
}

async fn open(target: &Target) -> Result<Stream, ConnectError> {
    let failed = |source: io::Error| unreachable_or_local(&target.host, source);
    match &target.host {
        Host::Unix(..) => {
            let path = target.host.socket_path().unwrap_or_default();
            Ok(Stream::from_unix(UnixStream::connect(path).await.map_err(failed)?))
        }
        Host::Tcp(name, port) => {
            let addresses = tokio::net::lookup_host((name.as_str(), *port)).await.map_err(failed)?;
            let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
            for address in addresses {
                match TcpStream::connect(address).await {
                    Ok(socket) => return Ok(Stream::from_tcp(socket)),
                    Err(error) if is_local(&error) => return Err(ConnectError::Local(error)),
                    Err(error) => last = error,
                }
            }
            Err(failed(last))
        }
    }
}

/// What channel binding binds to, where the server has shown a certificate that allows it.
pub(super) type EndPoint = Option<Vec<u8>>;

/// SSLRequest (unless the URL says otherwise) and the handshake; `prefer` goes on in the clear if the server has no
/// TLS.
async fn upgrade(
    target: &Target,
    mode: SslMode,
    mut stream: Stream,
) -> Result<(Stream, EndPoint), ConnectError> {
    let failed = |source: io::Error| unreachable_or_local(&target.host, source);
    let tls = |problem: String| ConnectError::Tls { host: target.host.clone(), problem };
    if !target.tls.is_direct() {
        let mut request = Vec::new();
        startup::ssl_request(&mut request);
        stream.write_all(&request).await.map_err(failed)?;
        // One byte and no more: whatever a man in the middle adds becomes part of the handshake and spoils it.
        match stream.read_u8().await.map_err(failed)? {
            b'S' => {}
            b'N' if mode == SslMode::Prefer => return Ok((stream, None)),
            b'N' => return Err(tls(format!("the server has none, sslmode={} wants it", mode.name()))),
            // 'E' and an error text that nobody has vouched for: not to be shown.
            _ => return Err(tls("the server does not answer SSLRequest".to_owned())),
        }
    }
    let Host::Tcp(name, _) = &target.host else {
        return Err(tls("not over a unix socket".to_owned()));
    };
    target.tls.connect(stream, name).await.map_err(|error| tls(error.to_string()))
}

/// A login under way.
pub(super) struct Login<'a> {
    pub(super) target: &'a Target,
    pub(super) stream: Stream,
    pub(super) binding: EndPoint,
    /// Received and not yet read.
    inbound: Vec<u8>,
    /// Bytes received so far.
    total: usize,
    authenticated: bool,
    notices: Vec<Box<[u8]>>,
}

impl<'a> Login<'a> {
    const fn new(target: &'a Target, stream: Stream, binding: EndPoint) -> Self {
        Self {
            target,
            stream,
            binding,
            inbound: Vec::new(),
            total: 0,
            authenticated: false,
            notices: Vec::new(),
        }
    }

    /// StartupMessage, then whatever the server asks, up to AuthenticationOk.
    async fn run(
        mut self,
        user: &str,
        database: &str,
        key: &LoginKey,
        parameters: &[(&str, &str)],
    ) -> Result<Self, ConnectError> {
        let mut packet = Vec::new();
        let names = [("user", user), ("database", database)];
        startup::startup_message(&mut packet, 0, names.into_iter().chain(parameters.iter().copied()));
        self.send(&packet).await?;
        let mut scram = Scram::NotAsked;
        loop {
            let body = match self.frame().await? {
                (b'R', body) => body,
                (tag, _) => return Err(self.unexpected(tag)),
            };
            let question = auth_message::authentication(&body).map_err(|error| self.malformed(error))?;
            self.bound_enough(&question, &scram)?;
            if question == Authentication::Ok {
                // Who asked for SCRAM must prove in turn that it knows the verifier.
                return match scram {
                    Scram::NotAsked | Scram::Done => {
                        self.authenticated = true;
                        Ok(self)
                    }
                    _ => {
                        Err(self
                            .protocol("the server ends the SCRAM exchange without its own proof".to_owned()))
                    }
                };
            }
            scram = self.answer(question, user, key, scram).await?;
        }
    }

    /// The next frame that is not a notice: tag and body. An ErrorResponse ends the login.
    async fn frame(&mut self) -> Result<(u8, Vec<u8>), ConnectError> {
        loop {
            self.fill(5).await?;
            let Some(&[tag, a, b, c, d]) = self.inbound.first_chunk() else { continue };
            let length = auth_message::body_length([a, b, c, d], auth_message::MAX_SERVER_MESSAGE)
                .map_err(|error| self.malformed(error))?;
            self.fill(5 + length).await?;
            let frame: Vec<u8> = self.inbound.drain(..5 + length).collect();
            match tag {
                // Nobody has vouched for a notice before authentication.
                b'N' if !self.authenticated => {}
                b'N' => self.notices.push(frame.into()),
                b'E' => {
                    let fields = frame.get(5..).unwrap_or_default().into();
                    let error = ServerError { fields };
                    return Err(ConnectError::Server { error, authenticated: self.authenticated });
                }
                _ => return Ok((tag, frame.get(5..).unwrap_or_default().to_vec())),
            }
        }
    }

    /// Reads until `wanted` bytes are there; the caller has checked that number.
    async fn fill(&mut self, wanted: usize) -> Result<(), ConnectError> {
        while self.inbound.len() < wanted {
            self.inbound.reserve(wanted.max(2048) - self.inbound.len());
            let read = self.stream.read_buf(&mut self.inbound).await;
            let count = read.map_err(|source| unreachable_or_local(&self.target.host, source))?;
            if count == 0 {
                let source = io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed the connection");
                return Err(ConnectError::Unreachable { host: self.target.host.clone(), source });
            }
            self.total += count;
            if self.total > MAX_LOGIN_BYTES {
                return Err(self.protocol(format!("more than {MAX_LOGIN_BYTES} bytes during login")));
            }
        }
        Ok(())
    }

    pub(super) async fn send(&mut self, bytes: &[u8]) -> Result<(), ConnectError> {
        let write = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        write.await.map_err(|source| unreachable_or_local(&self.target.host, source))
    }

    pub(super) fn protocol(&self, problem: String) -> ConnectError {
        ConnectError::Protocol { host: self.target.host.clone(), problem }
    }

    fn malformed(&self, error: Malformed) -> ConnectError {
        self.protocol(error.to_string())
    }

    pub(super) fn scram(&self, error: ScramError) -> ConnectError {
        self.protocol(error.to_string())
    }

    pub(super) fn no_key(&self, problem: &'static str) -> ConnectError {
        ConnectError::NoKey { host: self.target.host.clone(), problem }
    }

    fn unexpected(&self, tag: u8) -> ConnectError {
        self.protocol(format!("unexpected message {:?} during login", char::from(tag)))
    }
}

/// From AuthenticationOk to ReadyForQuery.
async fn greeting(mut login: Login<'_>) -> Result<ServerGreeting, ConnectError> {
    let mut parameters = Vec::new();
    let mut backend = None;
    loop {
        let (tag, body) = login.frame().await?;
        match tag {
            b'S' => {
                let (name, value) =
                    auth_message::parameter_status(&body).map_err(|error| login.malformed(error))?;
                let text = |bytes| String::from_utf8_lossy(bytes).into_owned().into_boxed_str();
                parameters.push((text(name), text(value)));
            }
            b'K' => {
                let (pid, key) =
                    auth_message::backend_key_data(&body).map_err(|error| login.malformed(error))?;
                backend = Some((pid, Box::from(key)));
            }
            b'Z' if body == [reply::IDLE] => break,
            tag => return Err(login.unexpected(tag)),
        }
    }
    if !login.inbound.is_empty() {
        return Err(login.protocol("more than a login was sent".to_owned()));
    }
    // Some servers and poolers send no key: such a connection cannot be cancelled, and that is all.
    let (pid, cancel_key) = backend.unwrap_or_default();
    Ok(ServerGreeting { stream: login.stream, pid, cancel_key, parameters, notices: login.notices })
}

#[cfg(test)]
#[path = "login_tests.rs"]
mod tests;
