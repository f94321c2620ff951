//! Statements made by SQL `PREPARE`: they go with the client.
//!
//! What the server shows of them when the transaction is over (`probe.rs`) is the client's. On another server they are
//! prepared anew, by the same text under the same settings, before the first message that may see them; that message
//! waits until it is known how it went. Where PostgreSQL would raise an error at `EXECUTE` (a table is gone, the columns
//! are others), a statement that always fails stands in for it, and its error is replaced by the right one.
//!
//! Not where a text holds more than the `PREPARE`, or where the settings under which it was read are not known: such a
//! statement holds its server.

use std::sync::Arc;

use super::align::ParamSet;
use super::backend::Backend;
use super::client::{Mode, Session};
use super::expect::Expect;
use super::outlet::Outlet;
use super::restate::{OnServer, Told};
use super::reuse::UNCERTAIN;
use super::turn::Turn;
use super::{Env, Ledger};
use crate::guard::{Effects, Judgement, Kind, Lane};
use crate::wire::{frontend, reply};

/// More of them, or more text, hold the server: they would have to be prepared anew at each change.
const MANY: usize = 64;
const BYTES_MAX: usize = 64 << 10;

/// Shown to the probe: name and text of each.
pub(super) const LISTED: &str = "; SELECT name, statement, '' FROM pg_catalog.pg_prepared_statements WHERE from_sql ORDER BY prepare_time";

/// A RowDescription; `None`: it gives no rows.
pub(super) type Columns = Option<Box<[u8]>>;

/// One of them, as it was prepared.
#[derive(Debug)]
pub(super) struct SqlStatement {
    pub(super) name: Box<[u8]>,
    pub(super) text: Box<[u8]>,
    pub(super) settings: Arc<ParamSet>,
    pub(super) columns: Columns,
    runs: Arc<Judgement>,
}

/// A client's.
#[derive(Debug, Default)]
pub(super) struct SqlNames {
    /// Those that go with it.
    known: Vec<Arc<SqlStatement>>,
    /// Those that hold the server.
    fixed: Vec<Box<[u8]>>,
    /// Sent, and not seen on the server yet.
    notes: Vec<Note>,
    /// Ended since the server was asked; true: it is being asked again.
    ended: Vec<(Box<[u8]>, bool)>,
}

/// A `PREPARE` on its way.
#[derive(Debug)]
struct Note {
    name: Box<[u8]>,
    text: Box<[u8]>,
    /// Those it is read under, if that is known.
    settings: Option<Arc<ParamSet>>,
    /// It will be known when an answer has come that is under way.
    later: bool,
    runs: Arc<Judgement>,
    done: bool,
    ended: bool,
    /// The server is being asked.
    asked: bool,
    columns: Option<Columns>,
}

/// The text is one `PREPARE` and nothing else.
pub(super) fn is_mapped(j: &Judgement) -> bool {
    j.effects.has(Effects::SQL_PREPARE) && j.statements == 1 && matches!(&*j.prepared, [(_, false)])
}

/// What the `PREPARE` itself may leave, and what running the statement may: `None` where that can't be told apart.
pub(super) fn prepares(j: &Judgement) -> Option<(Judgement, Judgement)> {
    const OWN: Effects = Effects::SQL_PREPARE.and(Effects::NAMES_PREPARED);
    is_mapped(j).then(|| {
        let run = Judgement { effects: j.effects.without(OWN), prepared: Box::default(), ..j.clone() };
        let own = j.effects.common(OWN);
        (
            Judgement {
                effects: own,
                settings: Box::default(),
                custom_settings: Box::default(),
                ..j.clone()
            },
            run,
        )
    })
}

impl SqlNames {
    fn is_bounded(&self) -> bool {
        self.known.len() <= MANY && self.known.iter().map(|s| s.text.len()).sum::<usize>() <= BYTES_MAX
    }

    fn has(&self, statement: &Arc<SqlStatement>) -> bool {
        self.known.iter().any(|known| Arc::ptr_eq(known, statement))
    }

    fn is_missing_on(&self, link: &Backend) -> bool {
        self.known.iter().any(|statement| !link.has_sql(statement))
    }
}

impl Session {
    /// A name that SQL `PREPARE` took.
    pub(super) fn is_sql_name(&self, name: &[u8]) -> bool {
        self.sql.as_ref().is_some_and(|sql| {
            let mut known = sql.known.iter().map(|s| &s.name).chain(&sql.fixed);
            let known = known.any(|known| **known == *name) && !sql.ended.iter().any(|(n, _)| **n == *name);
            known || sql.notes.iter().any(|note| note.done && !note.ended && *note.name == *name)
        })
    }

    /// There may be some: a statement that ends one must be asked about.
    pub(super) fn has_sql_names(&self) -> bool {
        self.sql.is_some()
    }

    /// What running the statement of this name may leave.
    pub(super) fn runs(&self, name: &[u8]) -> Option<Arc<Judgement>> {
        let of_sql = self.sql.as_ref().and_then(|sql| {
            let noted = sql.notes.iter().rev().find(|note| *note.name == *name).map(|note| &note.runs);
            noted.or_else(|| sql.known.iter().find(|s| *s.name == *name).map(|s| &s.runs)).cloned()
        });
        of_sql.or_else(|| Some(self.lookup(name)?.judgement))
    }

    /// The text is about to be sent to run.
    pub(super) fn will_run<L: Ledger>(
        &mut self,
        ledger: &mut L,
        j: &Judgement,
        text: &[u8],
        t: &mut Turn<'_, '_>,
    ) {
        self.note_prepare(j, text, t.link.as_deref());
        self.takes_effect(ledger, j, t);
    }

    /// Before [`Self::takes_effect`], which leaves its mark.
    fn note_prepare(&mut self, j: &Judgement, text: &[u8], link: Option<&Backend>) {
        if !j.effects.has(Effects::SQL_PREPARE) || self.mode == Mode::Session {
            return;
        }
        let (Some((_, runs)), Some(link)) = (prepares(j), link) else { return };
        let Some((name, _)) = j.prepared.first().filter(|_| text.is_ascii() || link.speaks_utf8()) else {
            return;
        };
        let unknown = UNCERTAIN.and(Effects::ANY_SETTING).and(Effects::CALLS);
        let certain = !self.in_flux && !self.suspect.has_any(unknown);
        let note = Note {
            name: name.as_bytes().into(),
            text: text.into(),
            settings: certain.then(|| Arc::clone(&self.settings)),
            later: certain && self.asking,
            runs: Arc::new(runs),
            done: false,
            ended: false,
            asked: false,
            columns: None,
        };
        let names = self.sql.get_or_insert_default();
        if link.quiet() {
            names.notes.retain(|note| note.done || note.asked); // the others failed
        }
        names.notes.push(note);
    }

    /// One has run.
    pub(super) fn prepare_done(&mut self, j: &Judgement) {
        let (Some(sql), Some((name, _))) = (self.sql.as_mut(), j.prepared.first()) else { return };
        if let Some(note) = sql.notes.iter_mut().find(|note| !note.done && *note.name == *name.as_bytes()) {
            note.done = true;
            sql.ended.retain(|(ended, _)| **ended != *name.as_bytes());
        }
    }

    /// The protocol closes it, unless its Close is skipped: the server is asked.
    pub(super) fn closes_sql_name(&mut self, name: &[u8]) -> bool {
        let known = self.is_sql_name(name);
        if known {
            self.suspect = self.suspect.and(Effects::SQL_PREPARE);
            self.sql_name_ended(name);
        }
        known
    }

    /// What should have ended it was skipped.
    pub(super) fn sql_name_stays(&mut self, name: &[u8]) {
        let Some(sql) = self.sql.as_mut() else { return };
        if let Some(at) = sql.ended.iter().rposition(|(ended, _)| **ended == *name) {
            sql.ended.remove(at);
        }
        if !sql.ended.iter().any(|(ended, _)| **ended == *name) {
            sql.notes.iter_mut().filter(|note| *note.name == *name).for_each(|note| note.ended = false);
        }
    }

    /// Most likely: the server is asked in any case.
    pub(super) fn sql_name_ended(&mut self, name: &[u8]) {
        let Some(sql) = self.sql.as_mut() else { return };
        sql.notes.iter_mut().filter(|note| *note.name == *name).for_each(|note| note.ended = true);
        sql.ended.push((name.into(), false));
    }

    /// The server is about to be asked what there is. `suspect`: what may have changed since it was asked last. True:
    /// they are to be listed.
    pub(super) fn asks_for_sql_names(
        &mut self,
        suspect: Effects,
        link: &mut Backend,
        up: &mut Outlet<'_>,
    ) -> bool {
        let any = self.held.and(suspect).has(Effects::SQL_PREPARE) || !link.sql.is_empty();
        let Some(sql) = self.sql.as_mut() else { return any };
        sql.ended.iter_mut().for_each(|(_, asked)| *asked = true);
        let settings = suspect.has_any(Effects::ANY_SETTING.and(Effects::SETTING).and(Effects::CALLS));
        for note in sql.notes.iter_mut().filter(|note| !note.asked) {
            note.asked = true;
            if note.later {
                note.settings = (!settings).then(|| Arc::clone(&self.settings));
            }
            if note.done && note.settings.is_some() {
                up.add(|v| {
                    frontend::put_statement_target(v, b'D', &note.name);
                    reply::message(v, b'S', |_| ());
                });
                link.expect_end(Expect::Told(Told::note(&note.name)));
            }
        }
        true
    }

    /// The columns of one that was just prepared.
    pub(super) fn columns_told(&mut self, name: &[u8], columns: Option<Columns>) {
        let mut notes = self.sql.iter_mut().flat_map(|sql| &mut sql.notes);
        if let Some(note) = notes.rfind(|note| note.asked && *note.name == *name) {
            note.columns = columns;
        }
    }

    /// These are on the server. True: one of them can't go elsewhere.
    pub(super) fn learn_sql_names(&mut self, rows: &[(&str, &str)], link: &mut Backend) -> bool {
        let mut old = self.sql.take().map(|sql| *sql).unwrap_or_default();
        let mut new = SqlNames::default();
        let mut there = Vec::new();
        for (name, text) in rows {
            let (name, text) = (name.as_bytes(), text.as_bytes());
            let note = old.notes.iter_mut().rev().find(|n| n.asked && n.done && *n.name == *name);
            if let Some(note) = note {
                let told = (note.settings.take(), note.columns.take());
                if let ((Some(settings), Some(columns)), true) = (told, *note.text == *text) {
                    let (name, text) = (note.name.clone(), note.text.clone());
                    let runs = Arc::clone(&note.runs);
                    let statement = Arc::new(SqlStatement { name, text, settings, columns, runs });
                    new.known.push(Arc::clone(&statement));
                    there.push(OnServer::new(statement, None));
                } else {
                    new.fixed.push(name.into());
                }
            } else if let Some(at) = link.sql.iter().position(|there| there.shows(name, text)) {
                let here = link.sql.swap_remove(at);
                if old.has(here.statement()) {
                    new.known.push(Arc::clone(here.statement()));
                }
                there.push(here);
            } else {
                new.fixed.push(name.into());
            }
        }
        // What was not brought to this server is the client's still. In the order in which they were prepared.
        let stays = |s: &Arc<SqlStatement>| new.has(s) || !link.has_sql(s);
        let mut known: Vec<_> = old.known.into_iter().filter(stays).collect();
        new.known.retain(|s| !known.iter().any(|known| Arc::ptr_eq(known, s)));
        known.append(&mut new.known);
        new.known = known;
        old.notes.retain(|note| !note.asked);
        old.ended.retain(|(_, asked)| !asked);
        (new.notes, new.ended) = (old.notes, old.ended);
        link.sql = there;
        let held = !new.fixed.is_empty() || !new.is_bounded();
        let any = held || !new.known.is_empty() || !new.notes.is_empty();
        self.sql = any.then(|| Box::new(new));
        held
    }

    /// Every one of them is gone, but for those on their way.
    pub(super) fn forget_sql_names(&mut self) {
        if let Some(sql) = self.sql.as_mut() {
            sql.notes.retain(|note| !note.done);
            let notes = std::mem::take(&mut sql.notes);
            self.sql = (!notes.is_empty()).then(|| Box::new(SqlNames { notes, ..SqlNames::default() }));
        }
    }

    /// Before a message of the client's: its names are there, and nobody else's. True: the message must wait until the
    /// server has answered.
    pub(super) fn brings_sql_names<L: Ledger>(&mut self, env: &mut Env<'_, L>, t: &mut Turn<'_, '_>) -> bool {
        match t.link.as_deref() {
            Some(link) if self.sql.is_some() || !link.sql.is_empty() => {
                let uses = matches!(t.header.tag, b'Q' | b'P' | b'B' | b'D' | b'E' | b'C' | b'F');
                uses && link.lane == Lane::Primary && !link.repaired && self.bring(env, t)
            }
            _ => false,
        }
    }

    fn bring<L: Ledger>(&mut self, env: &mut Env<'_, L>, t: &mut Turn<'_, '_>) -> bool {
        let query = (t.header.tag == b'Q').then(|| {
            let text = frontend::query(t.body()).filter(|_| t.whole());
            text.map(|text| self.judge(env, text))
        });
        let named = query.flatten();
        if named.as_ref().is_some_and(|j| !may_see(j)) {
            return false;
        }
        let Some(link) = t.link.as_deref_mut() else { return false };
        let known = self.sql.as_deref().map_or(&[][..], |sql| &sql.known);
        if !link.fresh() {
            // Nothing that is under way could see them.
            let other = |on: &OnServer| !known.iter().any(|s| Arc::ptr_eq(s, on.statement()));
            let wrong = known.iter().any(|s| !link.has_sql(s)) || link.sql.iter().any(other);
            let waits = wrong && link.status() == b'I' && !link.unsynced;
            link.waits |= waits;
            return waits;
        }
        if !link.stand_in(t.up) {
            let again = |s: &SqlStatement| {
                let name = |(name, _): &(Box<str>, bool)| *name.as_bytes() == *s.name;
                named.as_ref().is_none_or(|j| j.prepared.iter().any(name))
            };
            let is_known = |on: &OnServer| known.iter().any(|s| Arc::ptr_eq(s, on.statement()));
            link.close_sql(|on| is_known(on) && !(on.is_replaced() && again(on.statement())), t.up);
        }
        if !self.sql.as_ref().is_some_and(|sql| sql.is_missing_on(link)) {
            return false;
        }
        link.waits = true;
        if !self.asking && self.suspect.is_none() {
            let missing: Vec<_> = known.iter().filter(|s| !link.has_sql(s)).cloned().collect();
            for statement in missing {
                link.restate(statement, t.up);
            }
            link.align(&self.settings, t.up);
        }
        true
    }
}

/// A statement that may use, show or take one of them, or after which nothing can be brought.
fn may_see(j: &Judgement) -> bool {
    const SEES: Effects = Effects::NAMES_PREPARED
        .and(Effects::READS_PREPARED)
        .and(Effects::CALLS)
        .and(Effects::ANY_SETTING)
        .and(Effects::UNPARSED);
    let ends_all = j.prepared.is_empty() && !j.effects.has_any(SEES.without(Effects::NAMES_PREPARED));
    let ends_all = ends_all && j.statements == 1 && j.effects.has(Effects::NAMES_PREPARED);
    (j.effects.has_any(SEES) && !ends_all) || j.transaction_control || matches!(j.kind, Kind::Copy)
}
