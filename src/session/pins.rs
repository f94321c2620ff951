//! What a statement may leave in its session is noted here; what it did leave, `probe.rs` finds out.

use std::sync::Arc;

use super::Ledger;
use super::backend::Backend;
use super::client::{Mode, Session};
use super::expect::{Expect, Refusal};
use super::outlet::Outlet;
use super::sql_names::prepares;
use super::turn::Turn;
use crate::guard::{Class, Effects, Judgement};
use crate::wire::frame::HEADER;
use crate::wire::{backend as view, frontend, sqlstate};

impl Session {
    /// Why the client keeps its server, as far as is known: state that is there, and state that may be.
    #[must_use]
    pub fn pins(&self) -> Effects {
        self.held.and(self.suspect).pins()
    }

    /// It holds its server for state that can't go elsewhere.
    #[must_use]
    pub fn holds(&self) -> bool {
        !self.held.is_none() && self.mode != Mode::Session
    }

    /// The server has been in a state that a new connection is not in, even after a reset.
    #[must_use]
    pub fn wears(&self) -> bool {
        self.wears
    }

    /// The server may have something of this client's that the next one must not see.
    #[must_use]
    pub fn is_dirty(&self) -> bool {
        !self.held.is_none() || !self.suspect.is_none()
    }

    /// State of these kinds may not hold a server, or not one more.
    pub(super) fn refused_pin(&self, kinds: Effects) -> Option<Refusal> {
        if kinds.is_none() || self.mode == Mode::Session {
            return None;
        }
        let refused = kinds.common(self.refused_pins);
        if let Some((_, kind)) = Effects::PINS.iter().find(|(kind, _)| refused.has(*kind)) {
            let message = format!("session state of kind \"{kind}\" is not allowed in this pool");
            let hint = "pool.refuse_pins lists it: such state would keep a server connection for one client.";
            return Some(Refusal::fixed(sqlstate::FEATURE_NOT_SUPPORTED, message, Some(hint)));
        }
        if self.may_pin || !self.held.is_none() || kinds.without(Effects::SEQUENCE).is_none() {
            return None;
        }
        let message = "too many clients keep a server connection for their session state".to_owned();
        let hint = "End state that is no longer used (UNLISTEN, DROP, DEALLOCATE, unlock), or raise pool.pool_size or \
                    pool.max_pinned_percent.";
        Some(Refusal::fixed(sqlstate::TOO_MANY_CONNECTIONS, message, Some(hint)))
    }

    /// Something may have been written on the server that is about to go back; asked once.
    pub fn take_wrote(&mut self) -> bool {
        std::mem::take(&mut self.wrote)
    }

    /// Notes what the statement may do to the session.
    pub(super) fn takes_effect<L: Ledger>(&mut self, ledger: &mut L, j: &Judgement, t: &mut Turn<'_, '_>) {
        if j.effects.has(Effects::NAMES_PREPARED) {
            return self.takes_effect_by_name(ledger, j, t);
        }
        self.wrote |= j.may_write;
        if j.effects.is_none() {
            return;
        }
        self.takes_effect_itself(ledger, j, t);
    }

    /// SQL `PREPARE` runs nothing; `EXECUTE` runs what was prepared.
    fn takes_effect_by_name<L: Ledger>(&mut self, ledger: &mut L, j: &Judgement, t: &mut Turn<'_, '_>) {
        if let Some((prepare, _)) = prepares(j) {
            return self.takes_effect_itself(ledger, &prepare, t);
        }
        for (name, _) in j.prepared.iter().filter(|(_, gone)| !gone) {
            match self.runs(name.as_bytes()) {
                Some(runs) if runs.effects.has(Effects::NAMES_PREPARED) => {}
                Some(runs) => {
                    self.wrote |= runs.may_write;
                    self.takes_effect_itself(ledger, &runs, t);
                }
                None => {
                    self.wrote = true;
                    self.suspect = self.suspect.and(UNSEEN);
                }
            }
        }
        self.takes_effect_itself(ledger, j, t);
    }

    fn takes_effect_itself<L: Ledger>(&mut self, ledger: &mut L, j: &Judgement, t: &mut Turn<'_, '_>) {
        j.custom_settings.iter().for_each(|name| ledger.custom_setting(name));
        self.wears |= j.effects.meant().has_any(WEARS);
        self.sequences(ledger, j, t);
        self.suspects(ledger, j, t);
        self.note_flux(j.effects);
        if j.effects.has_any(RESETS) {
            self.restores.note(j);
        }
        let all = j.effects.has(Effects::NAMES_PREPARED) && j.prepared.is_empty();
        if all || j.effects.has_any(Effects::DISCARD_ALL.and(Effects::ANY_SETTING)) {
            // May deallocate all of ours; what is sent behind it must not count on them.
            if let Some(link) = t.link.as_deref_mut() {
                link.prepared.doubt();
            }
        }
    }

    /// `currval()` and `lastval()` look at what the session did to a sequence before. On a server that was another
    /// client's since, that must not be the other's; and from then on the client keeps its server.
    fn sequences<L: Ledger>(&mut self, ledger: &mut L, j: &Judgement, t: &mut Turn<'_, '_>) {
        let Some(link) = t.link.as_deref_mut() else { return };
        if j.effects.has(Effects::SEQUENCE) {
            if std::mem::take(&mut link.inherited) && !link.unsynced {
                link.send_hidden("DISCARD SEQUENCES", Expect::Restore, t.up);
            }
            if self.may_pin {
                self.hold(Effects::SEQUENCE, ledger);
            }
        } else if j.effects.has_any(MOVES) {
            link.inherited = false; // from here on it is the client's own
        }
    }

    fn suspects<L: Ledger>(&mut self, ledger: &mut L, j: &Judgement, t: &mut Turn<'_, '_>) {
        let mut new = j.effects.pins().and(j.effects.common(Effects::ANY_SETTING)).without(Effects::SEQUENCE);
        if new.has(Effects::UNPARSED) {
            // Whichever of two the server can't parse either, the other may have run.
            self.fresh = !self.suspect.has(Effects::UNPARSED);
        }
        if j.effects.has(Effects::ENDS) {
            new = new.and(self.held.and(self.asked).common(Effects::SHOWN));
            if j.effects.has(Effects::NAMES_PREPARED) && self.has_sql_names() {
                new = new.and(Effects::SQL_PREPARE);
            }
        }
        let alone = t.link.as_ref().is_some_and(|link| link.idle()) && !j.transaction_control;
        if j.effects.has(Effects::RESET_ALL) && !(alone && j.statements == 1) {
            new = new.and(Effects::SETTING).and(Effects::ANY_SETTING);
        }
        for name in &j.settings {
            self.touched.get_or_insert_default().name(name);
        }
        if j.effects.has(Effects::CALLS) && ledger.suspects(j.fingerprint) {
            new = new.and(Effects::CALLS);
            self.touched.get_or_insert_default().call(j.fingerprint);
        }
        self.suspect = self.suspect.and(new);
    }

    /// The server could not parse a text: if it is the one that we could not read, it left nothing behind.
    pub(super) fn unparsed_by_server(&mut self) {
        if self.fresh {
            self.suspect = self.suspect.without(Effects::UNPARSED);
        }
    }

    /// Settings were made that nobody has asked for yet.
    pub(super) fn is_unsettled_setting(&self) -> bool {
        self.suspect.has(Effects::SETTING)
    }

    /// `RESET ALL` ran, alone and outside of a transaction: every setting is as at the start. (A server that had
    /// others before is given them right behind it.)
    pub(super) fn reset_all(&mut self, link: &mut Backend) {
        self.settings = Arc::clone(&self.startup);
        self.held = self.held.without(Effects::SETTING);
        link.aligned(&self.startup);
    }

    /// `DISCARD ALL` ran. `coming`: what was sent behind it.
    pub(super) fn discarded(&mut self, coming: Effects) {
        self.held = Effects::NONE;
        self.suspect = self.suspect.common(coming);
        if !self.suspect.has_any(Effects::SETTING.and(Effects::CALLS)) {
            self.touched = None;
        }
        self.settings = Arc::clone(&self.startup);
        self.deallocated();
    }

    /// Behind a `RESET`: the values that the client started with, where the server's own are others. Sent right
    /// behind the statement, so that whatever comes next sees them.
    pub(super) fn restore(&mut self, link: Option<&mut Backend>, up: &mut Outlet<'_>) {
        if self.restores.is_none() {
            return;
        }
        let all = self.restores.all;
        let sql = self.restores.take(&self.startup);
        let Some(link) = link else { return };
        // What the connect query sets belongs to the connection, whatever is reset.
        let own = link.connect_query.clone().filter(|_| all);
        let sql = match (own, sql) {
            (Some(own), sql) => format!("{own};{}", sql.unwrap_or_default()),
            (None, Some(sql)) => sql,
            (None, None) => return,
        };
        link.send_hidden(&sql, Expect::Restore, up);
    }

    /// Settings a verdict depends on may change in the session.
    pub(super) fn parameter_status(&mut self, name: &str, value: &str) {
        let mut class = Class::clone(&self.class);
        match name {
            "standard_conforming_strings" => class.standard_conforming_strings = value == "on",
            "client_encoding" => return self.speak(value),
            _ => return,
        }
        if class != *self.class {
            self.class = Arc::new(class);
        }
    }
}

/// A temporary schema, libraries, whatever is not seen.
pub(super) const WEARS: Effects =
    Effects::TEMP_TABLE.and(Effects::LIBRARY).and(Effects::OPAQUE).and(Effects::UNPARSED);

/// What a statement may leave of which nothing is known but that it could be prepared.
const UNSEEN: Effects = Effects::SHOWN.and(Effects::SETTING).and(Effects::ANY_SETTING);

/// May give a sequence its next value.
const MOVES: Effects = Effects::MOVES_SEQUENCE.and(Effects::CALLS).and(Effects::ANY_SETTING);

const RESETS: Effects = Effects::RESET.and(Effects::RESET_ALL);

/// Start-up settings that a `RESET` under way takes away.
#[derive(Debug, Default)]
pub(super) struct Restores {
    all: bool,
    names: Vec<Box<str>>,
}

impl Restores {
    fn is_none(&self) -> bool {
        !self.all && self.names.is_empty()
    }

    fn note(&mut self, j: &Judgement) {
        self.all |= j.effects.has(Effects::RESET_ALL);
        if j.effects.has(Effects::RESET) {
            self.names.extend(j.settings.iter().cloned());
        }
    }

    /// The query that brings them back, if there are any.
    fn take(&mut self, startup: &super::ParamSet) -> Option<String> {
        let Self { all, names } = std::mem::take(self);
        startup.assignments(|name| all || names.iter().any(|known| **known == *name))
    }
}

impl Backend {
    /// What was sent behind that which the server answers now may leave this.
    pub(super) fn coming(&self, skip: usize) -> Effects {
        self.queue.iter().skip(skip).fold(Effects::NONE, |all, expect| match expect {
            Expect::Query(j) | Expect::Execute(Some(j)) => all.and(j.effects),
            Expect::Parse { effects, .. } | Expect::LocalParse { effects, .. } => all.and(*effects),
            _ => all,
        })
    }

    /// A simple query of our own, whose answer the client does not see.
    pub(super) fn send_hidden(&mut self, sql: &str, expect: Expect, up: &mut Outlet<'_>) {
        up.add(|v| frontend::put_query(v, sql.as_bytes()));
        self.drop_unnamed();
        self.expect_end(expect);
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
