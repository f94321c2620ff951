//! How a session ended, for the log and for what its end needs.

use crate::observe::counters::Timeout;

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Closed {
    /// Terminate, or the connection closed.
    Client,
    /// The client broke the protocol.
    Violation,
    /// The server went away.
    Server,
    /// We are shutting down.
    Shutdown,
    /// An administrator ended it.
    Killed,
    /// A policy ended it.
    Policy,
    /// It took too long.
    Timeout(Timeout),
}

impl Closed {
    /// For the log.
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::Client => "the client closed the connection",
            Self::Violation => "protocol violation",
            Self::Server => "the server connection was lost",
            Self::Shutdown => "shutting down",
            Self::Killed => "an administrator ended it (KILL_CLIENT)",
            Self::Policy => "a policy ended it",
            Self::Timeout(timeout) => timeout.setting(),
        }
    }
}
