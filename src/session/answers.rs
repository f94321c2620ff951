//! What the server answers, message by message.

use std::sync::Arc;

use super::Ledger;
use super::backend::{Backend, Desync, Served};
use super::client::Session;
use super::columns;
use super::expect::{Expect, Refusal, Whose, encode_notices};
use super::outlet::Outlet;
use super::run::{End, Run};
use crate::guard::Effects;
use crate::wire::frame::{self, HEADER};
use crate::wire::{backend as view, reply, sqlstate};

/// Messages that are looked into are waited for whole up to this size; larger ones pass unread.
const LOOK_MAX: usize = 16 * 1024;

/// A plan is one row: it is waited for up to this size, which a thread's buffer still holds beside another message.
const PLAN_MAX: usize = 48 * 1024;

pub(super) enum Show {
    Pass,
    Hide,
    Replace(Refusal),
    /// The message comes behind this.
    After(Refusal),
}

impl Backend {
    /// Relays what the server sent.
    ///
    /// # Errors
    /// [`Desync`] when the server answers what was not asked, or refuses a hidden query.
    pub fn feed<L: Ledger>(
        &mut self,
        session: &mut Session,
        ledger: &mut L,
        out: &mut Outlet<'_>,
    ) -> Result<Served, Desync> {
        let input = out.input();
        let mut at = 0;
        if self.rest == 0 {
            self.local_replies(session, out);
        }
        while at < input.len() {
            if self.rest > 0 {
                let n = self.rest.min(input.len() - at);
                if !self.rest_hidden {
                    out.pass(at..at + n);
                }
                at += n;
                self.rest -= n;
                if self.rest == 0 {
                    if !matches!(self.rest_tag, b'D' | b'd') {
                        self.act(self.rest_tag, &[], session, ledger)?;
                    }
                    self.local_replies(session, out);
                }
                continue;
            }
            let left = input.get(at..).unwrap_or_default();
            let Some(h) = frame::peek(left, frame::server_limit).map_err(|_| Desync("impossible length"))?
            else {
                break;
            };
            if h.total > left.len() {
                if (!streams(h.tag) && h.total <= LOOK_MAX) || (self.asks_planner() && h.total <= PLAN_MAX) {
                    break;
                }
                self.rest = h.total;
                self.rest_tag = h.tag;
                self.rest_hidden =
                    self.is_unheard() || streams(h.tag) && !self.lets_pass(h.tag, h.total, &[]);
                self.spoil_probe();
                self.bytes += h.total as u64;
                continue;
            }
            self.bytes += h.total as u64;
            if h.tag == b'D' && !self.is_unheard() {
                if self.watched.is_none() || self.lets_pass(h.tag, h.total, &[]) {
                    self.shown = true;
                    out.pass(at..at + h.total);
                }
                at += h.total;
                continue;
            }
            let body = left.get(HEADER..h.total).unwrap_or_default();
            let show = self.act(h.tag, body, session, ledger)?;
            self.show(show, h.tag, at..at + h.total, out);
            at += h.total;
            if !self.queue.is_empty() {
                self.local_replies(session, out);
            }
        }
        Ok(Served { consumed: at, idle: self.idle() })
    }

    /// What becomes of a message that stands there in the input.
    fn show(&mut self, show: Show, tag: u8, range: std::ops::Range<usize>, out: &mut Outlet<'_>) {
        match show {
            Show::Pass => {
                self.shown |= !matches!(tag, b'1' | b't' | b'S' | b'N' | b'A' | b'Z');
                out.pass(range);
            }
            Show::Hide => {}
            Show::Replace(refusal) => out.add(|v| refusal.encode(v)),
            Show::After(refusal) => {
                out.add(|v| refusal.encode(v));
                out.pass(range);
            }
        }
    }

    /// One whole message of the server.
    fn act<L: Ledger>(
        &mut self,
        tag: u8,
        body: &[u8],
        s: &mut Session,
        ledger: &mut L,
    ) -> Result<Show, Desync> {
        match tag {
            b'S' => return Ok(self.parameter_status(body, s)),
            b'N' | b'A' => {
                // A notice of our own alignment or reset is nobody's business.
                let hidden = tag == b'N' && self.is_ours();
                return Ok(if hidden { Show::Hide } else { Show::Pass });
            }
            b'E' => {
                let show = self.error(body, s, ledger);
                return Ok(self.worded(body, show, ledger));
            }
            b'Z' => return self.ready(body, s, ledger),
            _ => {}
        }
        if self.is_ours() {
            self.hear(tag, body);
            return Ok(Show::Hide);
        }
        if matches!(self.queue.front(), Some(Expect::Imposing)) {
            if tag == b'3' {
                self.queue.pop_front();
            }
            return Ok(Show::Hide);
        }
        if self.watched.is_some()
            && let Some(show) = self.of_watched(tag, body, s, ledger)?
        {
            return Ok(show);
        }
        match tag {
            b'1' => return self.parse_complete(s),
            b'2' => self.pop(|e| matches!(e, Expect::Bind))?,
            b'3' => {
                let hidden = matches!(self.queue.front(), Some(Expect::CloseHidden { .. }));
                self.pop(|e| matches!(e, Expect::Close { .. } | Expect::CloseHidden { .. }))?;
                return Ok(if hidden { Show::Hide } else { Show::Pass });
            }
            b't' | b'T' | b'n' if matches!(self.queue.front(), Some(Expect::Columns { .. })) => {
                if tag != b't' {
                    self.columns_shown(tag, body);
                }
                return Ok(Show::Hide);
            }
            b'T' | b'n' if matches!(self.queue.front(), Some(Expect::Describe(_))) => {
                if let Some(Expect::Describe(Some(told))) = self.queue.pop_front() {
                    columns::note(&told, tag, body);
                }
            }
            b'C' | b'I' | b's' => self.complete(tag, body, s, ledger)?,
            b't' if self.repaired && std::mem::take(&mut self.described) => return Ok(Show::Hide),
            b't' => {
                self.described = true;
                if let Some(Expect::Describe(Some(told))) = self.queue.front() {
                    s.note_types(told, body);
                }
            }
            b'G' | b'W' => self.copy_begins(),
            b'T' | b'n' | b'D' | b'd' | b'c' | b'H' | b'V' | b'K' | b'v' => {}
            _ => return Err(Desync("unknown message")),
        }
        Ok(Show::Pass)
    }

    /// Something for us alone.
    fn hear(&mut self, tag: u8, body: &[u8]) {
        match (tag, self.queue.front_mut()) {
            (b'D', Some(Expect::Probe(probe))) => probe.row(body),
            (b'D', Some(Expect::Plan(asked))) => asked.row(body),
            (b'D', Some(Expect::Imposed { asks: true })) => self.imposed_row(body),
            (_, Some(Expect::Told(told))) => told.hear(tag, body),
            _ => {}
        }
    }

    /// What the server says now is for us alone.
    fn is_ours(&self) -> bool {
        self.queue.front().is_some_and(Expect::is_ours)
    }

    /// The same, or amid a batch of the client's.
    fn is_unheard(&self) -> bool {
        let amid = |e: &Expect| matches!(e, Expect::Imposing | Expect::Columns { .. });
        self.queue.front().is_some_and(|e| e.is_ours() || amid(e))
    }

    /// The batch that the server answers now is ours.
    fn next_end_is_ours(&self) -> bool {
        self.queue.iter().find(|e| e.ends_ready()).is_some_and(Expect::is_ours)
    }

    fn asks_planner(&self) -> bool {
        matches!(self.queue.front(), Some(Expect::Plan(_)))
    }

    /// A row too large to be looked at.
    fn spoil_probe(&mut self) {
        match self.queue.front_mut() {
            Some(Expect::Probe(probe)) => probe.fail(false),
            Some(Expect::Plan(asked)) => asked.fail(),
            _ => {}
        }
    }

    fn pop(&mut self, expected: impl Fn(&Expect) -> bool) -> Result<(), Desync> {
        match self.queue.front() {
            Some(front) if expected(front) => {
                self.queue.pop_front();
                Ok(())
            }
            _ => Err(Desync("a reply to nothing")),
        }
    }

    fn parse_complete(&mut self, s: &mut Session) -> Result<Show, Desync> {
        let Some(Expect::Parse { whose, .. }) = self.queue.pop_front() else {
            return Err(Desync("ParseComplete for nothing"));
        };
        if whose == Whose::Named {
            s.name_confirmed();
        }
        Ok(if whose.shown() { Show::Pass } else { Show::Hide })
    }

    pub(super) fn complete<L: Ledger>(
        &mut self,
        tag: u8,
        body: &[u8],
        s: &mut Session,
        l: &mut L,
    ) -> Result<(), Desync> {
        if tag == b'C' {
            self.rows += view::rows(body);
            if let Some(history) = s.history.as_deref_mut() {
                history.done(body, l.clock());
            }
            match body {
                b"DISCARD ALL\0" => {
                    self.sql.clear();
                    self.prepared.doubt(); // what is on its way behind it is held
                    self.drop_unnamed();
                    self.settings = Arc::clone(&self.base);
                    s.discarded(self.coming(1));
                    match self.queue.get(1) {
                        Some(Expect::Hidden) => self.settings = Arc::clone(s.settings()),
                        _ => self.unaligned |= self.connect_query.is_some(),
                    }
                }
                b"DEALLOCATE\0" => self.deallocated += 1,
                b"PREPARE\0" => {
                    if let Some(Expect::Execute(Some(j)) | Expect::Query(j)) = self.queue.front() {
                        s.prepare_done(j);
                    }
                }
                b"DEALLOCATE ALL\0" => {
                    self.sql.clear();
                    self.prepared.doubt();
                    s.deallocated();
                }
                _ => {}
            }
        }
        match self.queue.front() {
            Some(Expect::Execute(_)) => {
                if let Some(Expect::Execute(Some(run))) = self.queue.pop_front() {
                    self.account(&run, s, l);
                }
                Ok(())
            }
            Some(Expect::Query(_)) => Ok(()),
            _ => Err(Desync("CommandComplete for nothing")),
        }
    }

    pub(super) fn account<L: Ledger>(&mut self, run: &Run, s: &Session, ledger: &mut L) {
        if !self.failed && !run.transaction_control {
            self.ran = self.ran.and(run.effects);
        }
        let (rows, bytes, failed, sqlstate) = (self.rows, self.bytes, self.failed, self.sqlstate);
        ledger.finished(run, &End { rows, bytes, failed, sqlstate, settings: &s.settings });
        self.nobodys_account();
    }

    fn nobodys_account(&mut self) {
        (self.rows, self.bytes, self.failed, self.sqlstate) = (0, 0, false, [0; 5]);
    }

    fn ready<L: Ledger>(&mut self, body: &[u8], s: &mut Session, l: &mut L) -> Result<Show, Desync> {
        let Some(end) = self.queue.pop_front().filter(Expect::ends_ready) else {
            return Err(Desync("ReadyForQuery for nothing"));
        };
        self.status = body.first().copied().unwrap_or(b'E');
        self.copy_in = false;
        self.overran = false;
        self.rests += u64::from(self.status == b'I');
        self.ended += 1;
        if s.fresh && !self.coming(0).has(Effects::UNPARSED) {
            s.fresh = false;
        }
        if let Expect::Query(run) = &end {
            self.account(run, s, l);
        }
        let ran = std::mem::take(&mut self.ran);
        if self.status == b'I' && s.in_flux && !self.queue.iter().any(|e| e.ends_ready() && !e.is_ours()) {
            s.transaction_ended(l);
        }
        if self.status == b'I' && ran.has(Effects::RESET_ALL) && !s.is_unsettled_setting() {
            s.reset_all(self);
        }
        if self.status == b'I' && !end.is_ours() {
            l.transaction();
        }
        if !matches!(end, Expect::Query(_)) {
            self.nobodys_account();
        }
        match end {
            Expect::Hidden if std::mem::take(&mut self.align_failed) => {
                return Err(Desync("the server refused the client's settings"));
            }
            Expect::Probe(probe) => {
                s.probed(*probe, self, l);
                return Ok(Show::Hide);
            }
            Expect::Told(told) => {
                self.told(*told, s);
                return Ok(Show::Hide);
            }
            Expect::Plan(asked) => {
                l.planned(&asked.key, &asked.question, asked.answer());
                return Ok(Show::Hide);
            }
            Expect::Hidden | Expect::Restore | Expect::HiddenSync | Expect::Imposed { .. } => {
                return Ok(Show::Hide);
            }
            _ => {}
        }
        if self.repairing {
            self.watched = None;
            return Ok(Show::Hide);
        }
        (self.shown, self.repaired, self.described) = (false, false, false);
        if self.status == b'I' {
            s.close_portals(self.ended);
        }
        self.tell_history(s, l);
        Ok(self.end_watch(Show::Pass, l))
    }

    fn error<L: Ledger>(&mut self, body: &[u8], s: &mut Session, ledger: &mut L) -> Show {
        self.failed = true;
        self.sqlstate = view::field(body, b'C').and_then(|code| code.try_into().ok()).unwrap_or_default();
        self.ran = Effects::NONE;
        self.copy_in = false;
        if matches!(view::field(body, b'V'), Some(b"FATAL" | b"PANIC")) {
            self.farewell = true;
        }
        if view::field(body, b'C') == Some(&sqlstate::SYNTAX_ERROR) && self.fails_to_parse(body) {
            s.unparsed_by_server();
        }
        match self.queue.front_mut() {
            Some(Expect::Hidden) => {
                self.align_failed = true;
                return if self.farewell { Show::Pass } else { Show::Hide };
            }
            Some(Expect::Probe(probe)) => {
                probe.fail(view::field(body, b'C') == Some(&sqlstate::QUERY_CANCELED));
                return if self.farewell { Show::Pass } else { Show::Hide };
            }
            Some(Expect::Plan(asked)) => {
                asked.fail();
                return if self.farewell { Show::Pass } else { Show::Hide };
            }
            Some(Expect::Restore | Expect::HiddenSync | Expect::Imposed { .. }) => {
                return if self.farewell { Show::Pass } else { Show::Hide };
            }
            Some(Expect::Told(told)) => {
                told.hear(b'E', body);
                return if self.farewell { Show::Pass } else { Show::Hide };
            }
            Some(Expect::Query(_)) => return self.of_stand_in().map_or(Show::Pass, Show::Replace),
            Some(Expect::Sync) | None => return Show::Pass,
            Some(Expect::Poison { query: true, refusal }) => return Show::Replace(refusal.clone()),
            _ => {}
        }
        let show = match self.queue.front() {
            Some(Expect::Poison { refusal, .. }) => Show::Replace(refusal.clone()),
            Some(Expect::Execute(_)) if !self.sql.is_empty() => {
                self.of_stand_in().map_or(Show::Pass, Show::Replace)
            }
            Some(Expect::Parse { whose: Whose::Materialised, .. }) if self.next_end_is_ours() => Show::Hide,
            _ if self.is_repairable(body) => {
                (self.repairing, self.repaired) = (true, true);
                self.prepared.doubt();
                Show::Hide
            }
            _ => Show::Pass,
        };
        self.skip_to_sync(s, ledger);
        show
    }

    fn parameter_status(&mut self, body: &[u8], s: &mut Session) -> Show {
        let hidden = matches!(self.queue.front(), Some(Expect::Hidden | Expect::Imposed { .. }));
        if let Some((name, value)) = view::parameter_status(body) {
            if !hidden {
                s.parameter_status(name, value);
            }
            self.report(name, value);
        }
        if hidden { Show::Hide } else { Show::Pass }
    }

    /// Nothing is owed but replies of our own: no server will bring them along.
    pub(super) fn owes_only_locals(&self) -> bool {
        self.rest == 0 && !self.queue.is_empty() && self.queue.iter().all(Expect::is_local)
    }

    /// Gives them to the client.
    pub(super) fn answer_locals(&mut self, s: &mut Session, down: &mut Vec<u8>) {
        while let Some(expect) = self.queue.front().filter(|expect| expect.is_local()) {
            match expect {
                Expect::LocalParse { named, .. } => {
                    if *named {
                        s.name_confirmed();
                    }
                    reply::parse_complete(down);
                }
                Expect::LocalClose(_) => reply::close_complete(down),
                Expect::LocalNotices(j) => encode_notices(j, down),
                Expect::Deallocated(names) => {
                    let done = std::mem::take(&mut self.deallocated);
                    for name in names.iter().take(done).map(|name| name.as_bytes()) {
                        s.sql_name_ended(name);
                        s.close_name(name);
                    }
                }
                _ => {}
            }
            self.queue.pop_front();
        }
    }

    /// Sends what stands at the front and is ours.
    fn local_replies(&mut self, s: &mut Session, out: &mut Outlet<'_>) {
        loop {
            match self.queue.front() {
                // These say nothing: what passes need not be copied for them.
                Some(Expect::CopyEnd | Expect::WasUnnamed(_)) => drop(self.queue.pop_front()),
                Some(expect) if expect.is_local() => out.add(|down| self.answer_locals(s, down)),
                _ => return,
            }
        }
    }
}

/// Tags whose bodies are never looked into: they pass as they come.
fn streams(tag: u8) -> bool {
    matches!(tag, b'D' | b'd' | b'V')
}
