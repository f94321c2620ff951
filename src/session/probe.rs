//! What a session has left on its server: asked of the server itself, when a transaction is over.
//!
//! A text says what its statement *may* leave. Whether it did, whether a rollback to a savepoint took it back, what
//! a function did meanwhile and which value a setting has now, the server knows: one hidden query tells, once, and
//! only behind statements that may have left something. With its answer a setting is the client's wherever it goes
//! next, and a kind of state either holds its server or provably does not.

use std::fmt::Write as _;
use std::sync::Arc;

use super::Ledger;
use super::align::{ParamSet, literal};
use super::backend::Backend;
use super::client::{Mode, Session};
use super::expect::Expect;
use super::kinds;
use super::outlet::Outlet;
use super::pins::WEARS;
use super::sql_names;
use crate::guard::Effects;
use crate::wire::{backend as view, frontend};

/// More settings than this in one transaction: all are asked for.
const MANY: usize = 64;
/// Most bytes of an answer; a session that has more is pinned.
const ANSWER_MAX: usize = 256 << 10;
/// How often a probe that was cancelled is sent again.
const TRIES: u8 = 3;

/// Settings made in this session, whatever made them. Names that belong to no loaded extension (`app.user`) are not
/// listed by any server.
const LISTED: &str =
    "; SELECT name, setting FROM pg_catalog.pg_settings WHERE source OPERATOR(pg_catalog.=) 'session'";

/// What was touched since the last answer.
#[derive(Debug, Default)]
pub(super) struct Touched {
    /// Settings, lower case.
    pub(super) names: Vec<Box<str>>,
    /// Fingerprints of statements that run code we do not see.
    pub(super) calls: Vec<u64>,
    tries: u8,
}

/// A question under way, and what has come of its answer.
#[derive(Debug)]
pub(super) struct Probe {
    kinds: Effects,
    /// Kinds that no server shows: taken as left.
    unshown: Effects,
    /// What the texts themselves are about: no statement that runs unseen code is to blame for it.
    meant: Effects,
    all: bool,
    /// Statements of SQL `PREPARE` are listed.
    lists: bool,
    touched: Touched,
    rows: Vec<Vec<Option<Box<str>>>>,
    bytes: usize,
    /// Not understood, refused, or too large.
    failed: bool,
    canceled: bool,
}

impl Touched {
    pub(super) fn name(&mut self, name: &str) {
        if self.names.len() <= MANY && !self.names.iter().any(|known| **known == *name) {
            self.names.push(name.into());
        }
    }

    pub(super) fn call(&mut self, fingerprint: u64) {
        if self.calls.len() < MANY && !self.calls.contains(&fingerprint) {
            self.calls.push(fingerprint);
        }
    }
}

impl Probe {
    fn new(suspect: Effects, touched: Touched) -> Self {
        let blind = suspect.has(Effects::CALLS);
        let kinds = if blind { Effects::SHOWN } else { suspect.common(Effects::SHOWN) };
        Self {
            kinds,
            meant: suspect,
            unshown: suspect.pins().without(Effects::SHOWN).without(Effects::SETTING),
            all: blind || suspect.has(Effects::ANY_SETTING) || touched.names.len() > MANY,
            lists: false,
            touched,
            rows: Vec::new(),
            bytes: 0,
            failed: false,
            canceled: false,
        }
    }

    fn asks_nothing(&self) -> bool {
        self.kinds.is_none() && !self.all && self.touched.names.is_empty()
    }

    fn sql(&self, user: &str) -> String {
        let mut sql = "/* pgsluice: what the session left */ SELECT ''".to_owned();
        let mut user_literal = String::new();
        literal(&mut user_literal, user);
        for (_, shows) in kinds::shown(self.kinds) {
            let _ = write!(sql, ", {}", shows.replace(kinds::USER, &user_literal));
        }
        for name in &self.touched.names {
            sql.push_str(", pg_catalog.current_setting(");
            literal(&mut sql, name);
            let _ = write!(sql, ", true)");
        }
        if self.all {
            sql.push_str(LISTED);
        }
        if self.lists {
            sql.push_str(sql_names::LISTED);
        }
        sql
    }

    /// A row of the answer.
    pub(super) fn row(&mut self, body: &[u8]) {
        self.bytes += body.len();
        let row = view::data_row(body).and_then(|columns| {
            columns
                .map(|value| match value {
                    None => Some(None),
                    Some(bytes) => Some(Some(std::str::from_utf8(bytes).ok()?.into())),
                })
                .collect()
        });
        match row {
            Some(row) if self.bytes <= ANSWER_MAX => self.rows.push(row),
            _ => self.failed = true,
        }
    }

    /// The server did not answer it.
    pub(super) fn fail(&mut self, canceled: bool) {
        self.failed = true;
        self.canceled = canceled;
    }

    /// The answer in parts: which kinds are there, named settings, listed settings.
    fn answer(&self) -> Option<Answer<'_>> {
        let (first, listed) = self.rows.split_first()?;
        let mut columns = first.iter().skip(1);
        let mut held = Effects::NONE;
        for (kind, _) in kinds::shown(self.kinds) {
            match columns.next()?.as_deref()? {
                "t" => held = held.and(kind),
                "f" => {}
                _ => return None,
            }
        }
        let mut values = Vec::new();
        for name in &self.touched.names {
            values.push((name.as_ref(), columns.next()?.as_deref()));
        }
        let mut prepared = Vec::new();
        for row in listed {
            match row.as_slice() {
                [Some(name), Some(value)] => values.push((name.as_ref(), Some(value.as_ref()))),
                [Some(name), Some(text), _] => prepared.push((name.as_ref(), text.as_ref())),
                _ => return None,
            }
        }
        Some(Answer { held, values, prepared })
    }
}

struct Answer<'a> {
    held: Effects,
    /// `None`: there is no such setting.
    values: Vec<(&'a str, Option<&'a str>)>,
    /// Statements of SQL `PREPARE`: name and text.
    prepared: Vec<(&'a str, &'a str)>,
}

impl Session {
    /// Something may have been left that nobody has asked for yet.
    #[must_use]
    pub fn is_unsettled(&self) -> bool {
        self.postponed || (!self.suspect.is_none() && self.mode != Mode::Session)
    }

    /// Asks the server what the session has left on it, if that is in question and the server is idle. `true`: a
    /// question is under way.
    pub fn settle<L: Ledger>(&mut self, link: &mut Backend, up: &mut Outlet<'_>, ledger: &mut L) -> bool {
        // A message that is half through must not be cut in two.
        let amid = self.rest > 0 && self.rest_passes;
        if !self.is_unsettled() || !link.idle() || amid {
            return false;
        }
        link.depose(&self.settings, up);
        if std::mem::take(&mut self.postponed) {
            let names = self.names.as_deref();
            link.dematerialise(|name| names.is_some_and(|names| names.known.contains_key(name)), up);
            self.restore(Some(link), up);
        }
        if !self.is_unsettled() {
            return !link.idle();
        }
        let suspect = std::mem::take(&mut self.suspect);
        let touched = self.touched.take().map(|touched| *touched).unwrap_or_default();
        let mut probe = Probe::new(suspect, touched);
        if probe.all {
            ledger.custom_settings().iter().for_each(|name| probe.touched.name(name));
        }
        if probe.asks_nothing() {
            self.hold(probe.unshown, ledger);
            return !link.idle();
        }
        probe.lists = probe.kinds.has(Effects::SQL_PREPARE) && self.asks_for_sql_names(suspect, link, up);
        let sql = probe.sql(&self.class.user);
        up.add(|v| frontend::put_query(v, sql.as_bytes()));
        link.drop_unnamed();
        (self.asked, self.asking) = (probe.kinds, true);
        if let Some(history) = &mut self.history {
            history.asks();
        }
        link.expect_end(Expect::Probe(Box::new(probe)));
        true
    }

    /// The server has answered.
    pub(super) fn probed<L: Ledger>(&mut self, probe: Probe, link: &mut Backend, ledger: &mut L) {
        (self.asked, self.asking) = (Effects::NONE, false);
        if probe.canceled && probe.touched.tries < TRIES {
            return self.ask_again(probe);
        }
        let answer = if probe.failed { None } else { probe.answer() };
        let Some(Answer { mut held, values, prepared }) = answer else {
            // Not known is held: until DISCARD ALL, or for good.
            let settings = !probe.touched.names.is_empty() || probe.all;
            let asked = probe.kinds.and(if settings { Effects::SETTING } else { Effects::NONE });
            return self.hold(asked.and(probe.unshown), ledger);
        };
        if let Some(history) = &mut self.history {
            history.settled();
        }
        if probe.lists {
            held = held.without(Effects::SQL_PREPARE);
            if self.learn_sql_names(&prepared, link) {
                held = held.and(Effects::SQL_PREPARE);
            }
        }
        let held_before = self.held;
        self.held = self.held.without(probe.kinds.without(held)); // what stays is not a new pin
        let readable = link.speaks_utf8() || values.iter().all(|(_, value)| value.is_none_or(str::is_ascii));
        let before = Arc::clone(&self.settings);
        if readable {
            self.learn(&values, probe.all, link);
        }
        let unread = if readable { Effects::NONE } else { Effects::SETTING };
        self.hold(held.and(probe.unshown).and(unread), ledger);
        let unmeant = held.without(held_before).without(probe.meant);
        let changed =
            !probe.meant.has_any(Effects::SETTING.and(Effects::ANY_SETTING)) && *before != *self.settings;
        if !unmeant.is_none() || changed {
            probe.touched.calls.iter().for_each(|fingerprint| ledger.left_state(*fingerprint));
        }
    }

    fn ask_again(&mut self, probe: Probe) {
        let all = if probe.all { Effects::ANY_SETTING } else { Effects::NONE };
        self.suspect = self.suspect.and(probe.kinds).and(probe.unshown).and(all);
        if !probe.touched.names.is_empty() {
            self.suspect = self.suspect.and(Effects::SETTING);
        }
        let touched = self.touched.get_or_insert_default();
        probe.touched.names.iter().for_each(|name| touched.name(name));
        probe.touched.calls.iter().for_each(|fingerprint| touched.call(*fingerprint));
        touched.tries = probe.touched.tries + 1;
    }

    /// These are the session's settings now, and its server's. With `all`, what the list leaves out is what it was at
    /// the start, but for names that are never listed.
    fn learn(&mut self, values: &[(&str, Option<&str>)], all: bool, link: &mut Backend) {
        let mut settings = ParamSet::clone(if all { &self.startup } else { &self.settings });
        let mut changed = false;
        if all {
            let unlisted = self.settings.iter().filter(|(name, _)| name.contains('.'));
            unlisted.for_each(|(name, value)| settings.set(name, value));
            changed = settings != *self.settings;
        }
        for (name, value) in values {
            let name = name.to_ascii_lowercase();
            // A name of an application's own that nobody has set is empty where another client's value was reset.
            let empty = value.is_none_or(|value| value.is_empty() && name.contains('.'));
            let unset = empty && settings.get(&name).is_none();
            if let Some(value) = value.filter(|value| !unset && settings.get(&name) != Some(*value)) {
                settings.set(&name, value);
                changed = true;
            }
        }
        if changed && settings != *self.settings {
            self.settings = Arc::new(settings);
        }
        link.aligned(&self.settings);
    }

    pub(super) fn hold<L: Ledger>(&mut self, kinds: Effects, ledger: &mut L) {
        let new = kinds.pins().without(self.held);
        if !new.is_none() {
            self.wears |= new.has_any(WEARS);
            self.held = self.held.and(new);
            ledger.pinned(new);
        }
    }
}
