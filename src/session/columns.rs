//! What a client was told of a statement's columns, and whether it still holds where the statement is prepared anew.
//!
//! Some drivers ask for the columns once and keep them (JDBC, tokio-postgres). PostgreSQL refuses such a statement once
//! they have changed; a server that prepares it anew would not. So where a client binds a statement that its server has
//! not, without asking for the columns, the server is asked first, and the Bind waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::backend::Backend;
use super::client::Session;
use super::expect::{Expect, Refusal, Whose};
use super::names::Named;
use super::restate::changed_columns;
use super::reuse::send_parse;
use super::turn::{Flow, Turn};
use crate::guard::Effects;
use crate::wire::frame::{self, HEADER};
use crate::wire::{backend as view, frontend, reply};

/// A hash of the columns a client was told; 0: of none yet.
pub(super) type ToldColumns = Arc<AtomicU64>;

/// Of a RowDescription; of NoData. 0: too large to be looked at.
fn hash(tag: u8, body: &[u8]) -> u64 {
    if tag == b'n' { 1 } else { view::columns_hash(body).map_or(0, |hash| hash.max(2)) }
}

/// The client is told of a statement's columns.
pub(super) fn note(told: &ToldColumns, tag: u8, body: &[u8]) {
    told.store(hash(tag, body), Ordering::Relaxed);
}

impl Session {
    /// Before a Bind. `Some`: it must wait, or it was refused.
    pub(super) fn columns_may_differ(&mut self, named: &Named, t: &mut Turn<'_, '_>) -> Option<Flow> {
        let told = named.told.as_ref().filter(|told| told.load(Ordering::Relaxed) != 0)?;
        let tentative = self.is_tentative(named);
        let link = t.link.as_deref_mut()?;
        let stale = std::mem::take(&mut link.stale);
        if stale {
            self.refuse(Refusal::Servers(changed_columns()), t);
            return Some(Flow::Done);
        }
        if tentative || link.holds(named.statement.id) || link.copy_in || asks(t) {
            return None;
        }
        let link = t.link.as_deref_mut()?;
        send_parse(link, &named.statement, Whose::Ours, Effects::NONE, t.up);
        let name = link.prepared.name(named.statement.id);
        t.up.add(|v| {
            frontend::put_statement_target(v, b'D', name.as_bytes());
            reply::message(v, b'H', |_| ());
        });
        link.queue.push_back(Expect::Columns { id: named.statement.id, told: Arc::clone(told) });
        (link.unsynced, link.looks) = (true, true);
        Some(Flow::Stop(super::Step::Answer))
    }
}

/// The batch that begins here asks for columns, as far as it has come.
fn asks(t: &Turn<'_, '_>) -> bool {
    let mut left = t.left;
    while let Ok(Some(h)) = frame::peek(left, frame::client_limit) {
        match h.tag {
            b'D' => return true,
            b'B' | b'E' | b'C' => left = left.get(h.total.max(HEADER)..).unwrap_or_default(),
            _ => return false,
        }
    }
    false
}

impl Backend {
    /// Its answer about a statement's columns.
    pub(super) fn columns_shown(&mut self, tag: u8, body: &[u8]) {
        if let Some(Expect::Columns { id, told }) = self.queue.pop_front() {
            let now = hash(tag, body);
            if now != 0 && now != told.load(Ordering::Relaxed) {
                self.stale = true;
                self.prepared.doubt_one(id);
            }
            self.looked();
        }
    }

    /// No answer will come, or it has.
    pub(super) fn looked(&mut self) {
        self.looked |= std::mem::take(&mut self.looks);
    }

    /// A Bind has waited for such an answer, and may be fed again; to be asked for whenever the server was heard.
    pub fn take_looked(&mut self) -> bool {
        std::mem::take(&mut self.looked)
    }
}
