//! What ends a session from outside: mail, a broken protocol, a server that went away.

use std::io;
use std::task::Context;
use std::time::Instant;

use super::drive::{Closed, Drive, Event};
use super::thread::Work;
use crate::observe::counters::ClientState;
use crate::pool::{NOBODY, Server, open};
use crate::session::Fatal;
use crate::wire::{backend, reply, sqlstate};

impl Drive {
    pub(super) fn open_mail(&mut self, work: &mut Work) -> Result<(), Event> {
        if self.mailbox.take_cancel() {
            return Err(Event::Cancel);
        }
        if let Some(timeout) = self.take_timeout() {
            return Err(Event::Timeout(timeout));
        }
        if self.mailbox.take_look()
            && let Some(closed) = self.look_at_silence(work)
        {
            return Err(Event::Closed(closed));
        }
        if self.mailbox.killed() {
            return Err(Event::Closed(Closed::Killed));
        }
        // Shutting down: whoever is in a transaction may end it; replication has no end.
        if self.mailbox.shutting_down() && (self.own || self.server.is_none()) {
            return Err(Event::Closed(Closed::Shutdown));
        }
        Ok(())
    }

    pub(super) fn violation(&mut self, fatal: &Fatal, cx: &mut Context<'_>) -> Event {
        let mut bytes = Vec::new();
        reply::error_response(&mut bytes, reply::Severity::Fatal, fatal.sqlstate, fatal.message, "", "");
        self.ident.client_meter.sent.add(bytes.len() as u64);
        let _ = self.client.send(&bytes, cx);
        Event::Closed(Closed::Violation)
    }

    /// The server's connection ended or broke.
    pub(super) fn server_lost(&mut self, error: &io::Error) -> Event {
        // A frame of ours inside one of the server's would be taken for its data.
        let told = |server: Box<Server>| server.backend.said_farewell() || server.backend.is_inside();
        if !self.server.take().is_some_and(told) {
            let hint = "The connection to the server is gone; what was not committed is rolled back.";
            let message = match error.kind() {
                io::ErrorKind::UnexpectedEof => "server closed the connection unexpectedly".to_owned(),
                _ => format!("server connection failed: {error}"),
            };
            self.farewell(sqlstate::CONNECTION_FAILURE, &message, hint);
        }
        Event::Closed(Closed::Server)
    }

    pub(super) fn server_broke(&mut self, why: &'static str) -> Event {
        tracing::warn!(why, "server connection is out of step; closed");
        self.server = None;
        self.farewell(sqlstate::CONNECTION_FAILURE, why, "");
        Event::Closed(Closed::Server)
    }

    /// The last words to the client; sent in `finish`.
    pub(super) fn farewell(&mut self, code: sqlstate::SqlState, message: &str, hint: &str) {
        if self.server.as_ref().is_some_and(|server| server.backend.is_inside()) {
            return;
        }
        self.push(|out| reply::error_response(out, reply::Severity::Fatal, code, message, "", hint));
    }

    /// The server that is the client's own may have ended while it lay idle.
    pub(super) fn look_after_own(&self) -> Result<(), Event> {
        match self.ident.primary.fallen(self.thread.index, self.id) {
            Some(server) => Err(Event::Fallen(server)),
            None => Ok(()),
        }
    }

    /// Who ends the server process that a client was told is its own (`pg_terminate_backend`) means the client. A
    /// server that is shut down or restarted ends all of them, and means none: then it takes no new connection.
    pub(super) async fn fallen(&mut self, mut server: Box<Server>) -> Option<Closed> {
        let words = server.last_words()?;
        if backend::field(&words, b'C') != Some(&sqlstate::ADMIN_SHUTDOWN) {
            return None;
        }
        drop(server);
        let pool = &self.ident.primary;
        let now = Some(Instant::now());
        let mut another =
            open::open(pool.spare_permit()?, &pool.login(), self.thread.index, now).await.ok()?;
        another.owner = NOBODY;
        self.thread.give_back(another);
        self.presence.set(ClientState::Idle);
        self.push(|out| reply::message(out, b'E', |out| out.extend_from_slice(&words)));
        Some(Closed::Server)
    }
}
