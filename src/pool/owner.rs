//! Whose an idle server is: the client's that used it last.
//!
//! While there are connections enough, a client comes back to its own, and nobody else's: then it is as if it had never
//! left it, for everything that a server remembers and shows no one (the last value of a sequence, a function's own
//! variables, its process id). Where clients are more than connections, they share: first those that are nobody's,
//! then the one that came back last.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::server::Server;
use super::{Limits, Node};

/// A client, for the pool: unique in the process, never [`NOBODY`].
pub type ClientId = u64;

/// Which of the servers that are nobody's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Worth {
    /// No client has used it.
    New,
    Used,
}

/// A server's owner where there is none: its client has left, or none came yet.
pub const NOBODY: ClientId = 0;

/// Which idle server a client is to have: its own, or nobody's; another's only if it `may_share`.
#[allow(clippy::vec_box, reason = "a pointer moves, not a connection's state")]
pub(super) fn choice(idle: &[Box<Server>], client: ClientId, may_share: bool) -> Option<usize> {
    let mut nobodys = None;
    for (at, server) in idle.iter().enumerate().rev() {
        if server.owner == client {
            return Some(at);
        }
        if server.owner == NOBODY && nobodys.is_none() {
            nobodys = Some(at);
        }
    }
    nobodys.or(if may_share { idle.len().checked_sub(1) } else { None })
}

/// A client's place among those that hold a server for their session state; given up when it is dropped.
#[derive(Default)]
pub struct Pinned(Option<Arc<Node>>);

impl Pinned {
    /// The client does or does not hold one now.
    #[inline]
    pub fn note(&mut self, node: &Arc<Node>, holds: bool) {
        if holds == self.0.is_some() {
            return;
        }
        if holds {
            node.pinned.fetch_add(1, Ordering::Relaxed);
            self.0 = Some(Arc::clone(node));
        } else {
            self.release();
        }
    }

    /// The client is among them.
    #[inline]
    #[must_use]
    pub fn is_taken(&self) -> bool {
        self.0.is_some()
    }

    fn release(&mut self) {
        if let Some(node) = self.0.take() {
            node.pinned.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        self.release();
    }
}

impl Node {
    /// One more client may hold a server for its session state. Where all may be held, there is nothing to keep free:
    /// who comes next waits as for any server.
    #[inline]
    #[must_use]
    pub fn may_pin(&self) -> bool {
        let Limits { pool_size, max_pinned, .. } = self.limits;
        max_pinned >= pool_size || self.pinned.load(Ordering::Relaxed) < max_pinned
    }
}

impl Server {
    /// The client uses it from now on.
    pub fn belong_to(&mut self, client: ClientId) {
        if self.owner != client {
            self.owner = client;
            self.backend.inherit(self.used);
        }
        self.used = true;
    }
}
