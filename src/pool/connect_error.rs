//! Why a server connection could not be had, and what a client is told of it.

use std::io;
use std::time::Duration;

use crate::config::Host;
use crate::wire::auth_message::ServerError;
use crate::wire::reply::{self, Severity};
use crate::wire::sqlstate::{self, SqlState};

/// Why a server connection could not be had. [`ConnectError::reply`] makes the client's error of it.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The server's own words.
    #[error("the server refused the login: {}", error.message())]
    Server {
        error: ServerError,
        /// It came after AuthenticationOk: the login itself was right.
        authenticated: bool,
    },
    /// Our side lacks something (file descriptors, memory, ports): says nothing about the server.
    #[error("out of local resources: {0}")]
    Local(#[source] io::Error),
    /// Nobody listens, no route, no such name, or the connection broke.
    #[error("{host}: {source}")]
    Unreachable { host: Host, source: io::Error },
    #[error("{host}: no login within {after:?}")]
    Timeout { host: Host, after: Duration },
    #[error("{host}: TLS: {problem}")]
    Tls { host: Host, problem: String },
    /// The server does not speak the protocol, or not as it must.
    #[error("{host}: {problem}")]
    Protocol { host: Host, problem: String },
    /// It is not what is wanted: a standby, or read-only.
    #[error("{host}: {problem}")]
    Unfit { host: Host, problem: &'static str },
    /// It asks for what we do not have.
    #[error("{host}: {problem}")]
    NoKey { host: Host, problem: &'static str },
}

impl ConnectError {
    /// Whether the server may be all right and we are not: never a reason to think it down.
    #[must_use]
    pub const fn is_local(&self) -> bool {
        matches!(self, Self::Local(_))
    }

    /// Whether a login with another key may succeed: the secret has changed, or is not enough here.
    #[must_use]
    pub fn is_authentication(&self) -> bool {
        match self {
            Self::NoKey { .. } => true,
            Self::Server { error, .. } => {
                error.sqlstate() == sqlstate::INVALID_PASSWORD.as_slice()
                    || error.sqlstate() == sqlstate::INVALID_AUTHORIZATION.as_slice()
            }
            _ => false,
        }
    }

    /// The SQLSTATE a client gets where the server did not say one itself.
    #[must_use]
    pub const fn sqlstate(&self) -> SqlState {
        match self {
            Self::Local(_) => sqlstate::TOO_MANY_CONNECTIONS,
            Self::NoKey { .. } => sqlstate::INVALID_AUTHORIZATION,
            Self::Protocol { .. } => sqlstate::CONNECTION_FAILURE,
            _ => sqlstate::CANNOT_CONNECT,
        }
    }

    /// Appends the error for an *authenticated* client: the server's own frame, or ours.
    pub fn reply(&self, out: &mut Vec<u8>) {
        match self {
            Self::Server { error, .. } => {
                reply::message(out, b'E', |out| out.extend_from_slice(&error.fields));
            }
            Self::NoKey { .. } => {
                let hint = "Log in with the password that is stored on the server, or give pgsluice one in auth_file.";
                reply::error_response(out, Severity::Fatal, self.sqlstate(), &self.to_string(), "", hint);
            }
            _ => reply::error_response(out, Severity::Fatal, self.sqlstate(), &self.to_string(), "", ""),
        }
    }

    /// The server's rules have no place for such a connection.
    pub(super) fn is_rejection(&self) -> bool {
        matches!(self, Self::Server { error, authenticated: false }
            if error.sqlstate() == sqlstate::INVALID_AUTHORIZATION.as_slice())
    }
}

/// Files the error under our side or theirs.
pub(super) fn unreachable_or_local(host: &Host, source: io::Error) -> ConnectError {
    if is_local(&source) {
        ConnectError::Local(source)
    } else {
        ConnectError::Unreachable { host: host.clone(), source }
    }
}

/// Too many open files, no memory, no free port: of this machine, not of the server.
pub(super) fn is_local(error: &io::Error) -> bool {
    use rustix::io::Errno;
    [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM, Errno::ADDRNOTAVAIL]
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}
