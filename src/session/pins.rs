//! Pins: why a client keeps its server, and when it need not any more.

use std::sync::Arc;

use super::Ledger;
use super::backend::Backend;
use super::client::{Session, Turn, ascii_safe};
use super::expect::Expect;
use crate::guard::{Class, Effects, Judgement};
use crate::wire::backend as view;
use crate::wire::frame::HEADER;

impl Session {
    /// Pins what the statement may leave behind.
    pub(super) fn takes_effect<L: Ledger>(&mut self, ledger: &mut L, j: &Judgement, t: &mut Turn<'_, '_>) {
        if j.effects.is_none() {
            return;
        }
        if j.effects.has(Effects::UNPARSED) && self.pins.has(Effects::UNPARSED) {
            // Whichever of them the server can't parse either, the other may have run.
            self.fresh = Effects(self.fresh.0 & !Effects::UNPARSED.0);
        }
        let new = Effects(j.effects.pins().0 & !self.pins.0);
        if !new.is_none() {
            self.pins = self.pins.and(new);
            self.fresh = self.fresh.and(new);
            ledger.pinned(new);
        }
        if j.effects.has(Effects::UNALIGNED)
            && let Some(link) = t.link.as_deref_mut()
        {
            link.unaligned = true;
        }
        if j.effects.has(Effects::SQL_PREPARE) || j.effects.has(Effects::DISCARD_ALL) {
            // A DEALLOCATE may name one of ours or all of them; what is sent behind it must not count on them.
            if let Some(link) = t.link.as_deref_mut() {
                link.prepared.doubt();
            }
        }
    }

    /// The server could not parse a text: if it is the one that we could not read, it left nothing behind.
    pub(super) fn unparsed_by_server(&mut self) {
        if self.fresh.has(Effects::UNPARSED) {
            self.pins = Effects(self.pins.0 & !Effects::UNPARSED.0);
        }
    }

    pub(super) fn ready(&mut self) {
        self.fresh = Effects::NONE;
    }

    /// Statements of these effects ran, outside of a transaction. `coming`: what was sent behind them.
    pub(super) fn undone(&mut self, ran: Effects, coming: Effects) {
        self.pins = Effects(self.pins.0 & !(ran.undone().0 & !coming.0));
    }

    /// `DISCARD ALL` ran. `coming`: what was sent behind it.
    pub(super) fn discarded(&mut self, coming: Effects) {
        self.pins = Effects(self.pins.0 & coming.0);
        self.deallocated();
    }

    /// Settings a verdict depends on may change in the session.
    pub(super) fn parameter_status(&mut self, name: &str, value: &str) {
        let mut class = Class::clone(&self.class);
        match name {
            "standard_conforming_strings" => class.standard_conforming_strings = value == "on",
            "client_encoding" => class.ascii_safe_encoding = ascii_safe(value),
            _ => return,
        }
        if class != *self.class {
            self.class = Arc::new(class);
        }
    }
}

impl Backend {
    /// What was sent behind that which the server answers now may pin this.
    pub(super) fn coming(&self, skip: usize) -> Effects {
        self.queue.iter().skip(skip).fold(Effects::NONE, |all, expect| match expect {
            Expect::Query(j) | Expect::Execute(Some(j)) => all.and(j.effects.pins()),
            Expect::Parse { effects, .. } | Expect::LocalParse(effects) => all.and(*effects),
            _ => all,
        })
    }

    /// The error is the parser's, about a text that we could not read: nothing of it has run. (Functions raise
    /// syntax errors, too, when half of a text is done.)
    pub(super) fn fails_to_parse(&self, body: &[u8]) -> bool {
        match self.queue.front() {
            Some(Expect::Query(j)) => {
                let first = self.bytes <= (HEADER + body.len()) as u64;
                first && j.effects.has(Effects::UNPARSED) && view::field(body, b'W').is_none()
            }
            Some(Expect::Parse { effects, .. }) => effects.has(Effects::UNPARSED),
            _ => false,
        }
    }
}
