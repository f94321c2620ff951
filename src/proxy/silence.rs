//! Clients that hold a server and say nothing, looked at every second where a policy speaks of them.
//!
//! One thread goes through the cards and sends a word to those that have a server: as many as there are servers. Each
//! looks at itself, on its own thread.

use std::rc::Rc;
use std::time::Instant;

use super::books::Books;
use super::drive::{Closed, Drive};
use super::policies;
use super::thread::{Thread, Work};
use crate::guard::Action;
use crate::guard::policy::OfSilence;
use crate::session::Silent;
use crate::wire::reply::{self, Severity};
use crate::wire::sqlstate;

/// Has the clients with a server look at themselves.
pub(super) fn look_around(thread: &Rc<Thread>) {
    let watches = thread.work.try_borrow().is_ok_and(|work| work.guard.needs().silence);
    if thread.index == 0 && watches {
        let clients = thread.shared.mailboxes.iter();
        clients.filter(|entry| entry.card.server().is_some()).for_each(|entry| entry.look());
    }
}

impl Drive {
    /// Judges the client's own silence. `Some`: a policy ends it.
    pub(super) fn look_at_silence(&mut self, work: &mut Work) -> Option<Closed> {
        let thread = Rc::clone(&self.thread);
        policies::follow(&thread, work);
        let server = self.server.as_deref().filter(|_| !self.own && self.carry.is_empty())?;
        let meter = self.ident.meter_of(server);
        let books = Books::new(&thread, &self.ident, meter, &mut self.since).of(&self.mailbox.card);
        let silent = self.session.silence(&work.guard, &books, &server.backend)?;
        let mut last = None;
        for one in &silent.said {
            thread.meters.verdict(&thread.rules.borrow(), one.rule, one.action, one.enforced);
            self.log_silence(&silent, one);
            match one.action {
                Action::Block if one.enforced => last = last.or(Some(one)),
                _ if one.enforced => {
                    let (message, detail) = (silent.message(one), silent.detail(one));
                    let code = one.sqlstate.unwrap_or(sqlstate::WARNING);
                    self.push(|out| {
                        reply::notice_response(out, "NOTICE", code, &message, &detail, &one.hint);
                    });
                }
                _ => {}
            }
        }
        let one = last?;
        let of_transaction = if silent.session.in_transaction {
            sqlstate::IDLE_IN_TRANSACTION_SESSION_TIMEOUT
        } else {
            sqlstate::IDLE_SESSION_TIMEOUT
        };
        let code = one.sqlstate.unwrap_or(of_transaction);
        let (message, detail) = (silent.message(one), silent.detail(one));
        let message = format!("terminating connection: {message}");
        self.push(|out| reply::error_response(out, Severity::Fatal, code, &message, &detail, &one.hint));
        Some(Closed::Policy)
    }

    fn log_silence(&self, silent: &Silent, one: &OfSilence) {
        let Some(suppressed) = self.thread.shared.silence_log.admit(Instant::now()) else { return };
        let card = &self.mailbox.card;
        let application = self.session.settings().get("application_name").unwrap_or_default();
        let session = &silent.session;
        let (user, database) = (&*card.class.user, &*card.class.database);
        tracing::warn!(
            rule = &*one.name,
            action = one.action.name(),
            mode = if one.enforced { "enforce" } else { "observe" },
            client = card.id,
            user,
            database,
            application,
            peer = %card.peer,
            server_pid = card.server().map(|(_, pid)| pid),
            transaction_seconds = session.transaction_seconds.round(),
            idle_seconds = session.idle_seconds.round(),
            pinned_seconds = session.pinned_seconds.round(),
            pins = session.pins.join(","),
            suppressed = suppressed.field(),
            "a client holds its server and is silent: {}",
            silent.message(one)
        );
    }
}
