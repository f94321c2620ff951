//! How a client's statements reach its server: under our name, where the server has it already or is to keep it.
//!
//! A driver that never names its statements has each of them parsed and planned anew at every run. Where the same
//! text and types come again, the server is given a name for them instead, and plans them as it does prepared
//! statements. The client's unnamed statement stays the client's; nothing of the name shows.
//!
//! Not where a text may mean something else than when it was prepared: in a session with state or settings in
//! flux, behind DDL (`Backend::epoch` counts it), for anything but queries.

use super::backend::Backend;
use super::client::Session;
use super::expect::{Expect, Whose};
use super::outlet::Outlet;
use super::prepared::ServerName;
use super::statement::Statement;
use super::turn::Turn;
use crate::guard::{Effects, Judgement, Kind};
use crate::wire::frontend;

/// What makes a text's meaning uncertain within its own session.
pub(super) const UNCERTAIN: Effects = Effects::SCHEMA
    .and(Effects::LOCAL_SETTING)
    .and(Effects::SETTING)
    .and(Effects::RESET_ALL)
    .and(Effects::ROLE)
    .and(Effects::READS_PREPARED);

impl Session {
    /// The client's unnamed statement may be given a name on the server.
    pub(super) fn may_reuse(&self, judgement: &Judgement, statement: &Statement, t: &Turn<'_, '_>) -> bool {
        let query =
            matches!(judgement.kind, Kind::Select | Kind::Insert | Kind::Update | Kind::Delete | Kind::Merge);
        query
            && judgement.statements == 1
            && !judgement.effects.has_any(UNCERTAIN)
            && !self.is_dirty()
            && !self.is_uncertain()
            && t.link.as_ref().is_some_and(|link| link.prepared.admits(statement.id))
    }

    /// What a text means now is not known from the settings that are.
    pub(super) fn is_uncertain(&self) -> bool {
        self.in_flux || self.asking || self.suspect.has_any(UNCERTAIN.and(Effects::ANY_SETTING))
    }

    /// Nothing of the transaction is open any more.
    pub(super) fn transaction_ended<L: super::Ledger>(&mut self, ledger: &mut L) {
        self.in_flux = false;
        if std::mem::take(&mut self.schema_changes) {
            ledger.schema_changed();
        }
    }

    /// Until the transaction ends, a text may not mean what it meant before.
    pub(super) fn note_flux(&mut self, effects: Effects) {
        self.in_flux |= effects.has_any(UNCERTAIN);
        // A temporary object stands before others in its own session only.
        self.schema_changes |= effects.has(Effects::SCHEMA) && !effects.has(Effects::TEMP_TABLE);
    }
}

/// A Parse of ours, under our name, closing another statement first where the server's table is full.
pub(super) fn send_parse(
    link: &mut Backend,
    statement: &Statement,
    whose: Whose,
    effects: Effects,
    up: &mut Outlet<'_>,
) {
    while let Some((id, serial)) = link.prepared.make_room(statement.id) {
        let name = ServerName::new(id, serial);
        up.add(|v| frontend::put_statement_target(v, b'C', name.as_bytes()));
        link.queue.push_back(Expect::CloseHidden { id, serial });
    }
    let serial = link.prepared.insert(statement.id, link.batch(), link.epoch);
    let name = ServerName::new(statement.id, serial);
    up.add(|v| frontend::put_parse(v, name.as_bytes(), &statement.tail));
    link.queue.push_back(Expect::Parse { id: statement.id, serial, whose, effects });
}

/// Makes sure that the server has the statement. `tentative`: the client's own Parse is on its way, and what
/// becomes of it becomes of whatever uses it.
pub(super) fn send_named(link: &mut Backend, statement: &Statement, tentative: bool, up: &mut Outlet<'_>) {
    let held = if tentative { link.prepared.touch(statement.id).is_some() } else { link.holds(statement.id) };
    if !held {
        send_parse(link, statement, Whose::Ours, Effects::NONE, up);
    }
}

/// Makes sure that the server's unnamed statement is this one.
pub(super) fn send_unnamed(link: &mut Backend, statement: &Statement, up: &mut Outlet<'_>) {
    if !link.has_unnamed(statement.id) {
        up.add(|v| frontend::put_parse(v, b"", &statement.tail));
        let (whose, effects) = (Whose::OursUnnamed, Effects::NONE);
        link.queue.push_back(Expect::Parse { id: 0, serial: 0, whose, effects });
        link.set_unnamed(statement.id);
    }
}

/// The client has no unnamed statement; the server's may be another client's: makes sure that there is none.
pub(super) fn close_unnamed(link: &mut Backend, up: &mut Outlet<'_>) {
    up.add(|v| frontend::put_statement_target(v, b'C', b""));
    link.queue.push_back(Expect::CloseHidden { id: 0, serial: 0 });
    link.drop_unnamed();
}
