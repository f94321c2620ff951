//! One message of a client on its way to its server.

use super::Ledger;
use super::backend::Backend;
use super::client::{Env, Session, Step};
use super::expect::Expect;
use super::outlet::Outlet;
use crate::guard::{Judgement, Lane};
use crate::wire::frame::{HEADER, Header};

/// One message on its way.
pub(super) struct Turn<'a, 'o> {
    pub(super) at: usize,
    pub(super) header: Header,
    /// The input from this message on.
    pub(super) left: &'o [u8],
    pub(super) link: Option<&'a mut Backend>,
    pub(super) up: &'a mut Outlet<'o>,
    pub(super) down: &'a mut Vec<u8>,
}

impl<'o> Turn<'_, 'o> {
    pub(super) fn whole(&self) -> bool {
        self.left.len() >= self.header.total
    }
    /// The body, as far as it has come.
    pub(super) fn body(&self) -> &'o [u8] {
        self.left.get(HEADER..self.header.total.min(self.left.len())).unwrap_or_default()
    }
    /// Passes a whole message.
    pub(super) fn pass(&mut self) {
        self.up.pass(self.at..self.at + self.header.total.min(self.left.len()));
    }
}

pub(super) enum Flow {
    Done,
    Short,
    Stop(Step),
}

impl Session {
    /// What is for another lane waits until this server is let go, or turns out to be kept: it is no primary, or all that
    /// it owes ends soon and leaves it idle (our question what was left on it, the client's Close and Sync).
    pub(super) fn leaves(&self, link: &Backend) -> bool {
        let is_sync = |e: &Expect| matches!(e, Expect::Sync);
        let idles =
            |e: &Expect| e.is_ours() || e.is_local() || is_sync(e) || matches!(e, Expect::Close { .. });
        let ends = link.status == b'I' && !link.unsynced && link.rest == 0 && link.queue.iter().all(idles);
        link.must_leave() || (ends && (self.asking || link.queue.iter().any(is_sync)))
    }
}

impl<L: Ledger> Env<'_, L> {
    /// Where it may run.
    pub(super) fn lane(&self, judgement: &Judgement) -> Lane {
        if self.replicas { judgement.lane } else { Lane::Primary }
    }
}
