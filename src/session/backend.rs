//! The protocol state of one server connection: what it owes, what it holds, whether it is free.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Ledger;
use super::align::ParamSet;
use super::client::Session;
use super::expect::{Expect, Queue, Refusal, Whose, encode_notices};
use super::outlet::Outlet;
use super::prepared::Prepared;
use crate::guard::{Effects, Judgement, Lane};
use crate::wire::frame::{self, HEADER};
use crate::wire::{backend as view, reply, sqlstate};

/// Messages that are looked into are waited for whole up to this size; larger ones pass unread.
const LOOK_MAX: usize = 16 * 1024;

/// The server broke the protocol, or an alignment query failed: the connection is of no more use.
#[derive(Debug, PartialEq, Eq)]
pub struct Desync(pub &'static str);

/// What [`Backend::feed`] did.
#[derive(Debug, PartialEq, Eq)]
pub struct Served {
    /// Bytes of the input dealt with; the rest is a message not yet whole.
    pub consumed: usize,
    /// Nothing is owed and no transaction is open.
    pub idle: bool,
}

/// One server connection, as the protocol sees it.
#[derive(Debug)]
pub struct Backend {
    pub(super) queue: Queue,
    /// `I`, `T` or `E`, from the last ReadyForQuery.
    pub(super) status: u8,
    /// Extended messages were sent since the last Sync.
    pub(super) unsynced: bool,
    /// The server discards messages up to a Sync that has not been sent yet.
    pub(super) error_skip: bool,
    /// The server is in COPY FROM STDIN: it does not hear Sync and Flush.
    pub(super) copy_in: bool,
    pub(super) prepared: Prepared,
    /// The statement behind the unnamed one, and the batch that made it so; 0: not known.
    unnamed: (u64, u64),
    /// Replies that end with a ReadyForQuery: asked for, and over.
    asked: u64,
    pub(super) ended: u64,
    pub(super) lane: Lane,
    /// Settings the server has by our alignment.
    pub(super) settings: Arc<ParamSet>,
    pub(super) base: Arc<ParamSet>,
    /// What the server reported by ParameterStatus.
    reported: BTreeMap<Box<str>, Box<str>>,
    align_failed: bool,
    /// Rest of a message that passes (or is hidden) without being looked into; its tag acts when it is through.
    pub(super) rest: usize,
    pub(super) rest_hidden: bool,
    rest_tag: u8,
    failed: bool,
    /// A client ran `RESET`: which settings hold is not known.
    pub(super) unaligned: bool,
    /// Effects of the statements that ran since the last ReadyForQuery.
    ran: Effects,
    rows: u64,
    pub(super) bytes: u64,
    /// The server said FATAL: it closes next, and the client has been told why.
    pub(super) farewell: bool,
    /// What each connection runs once before its first use: what it sets is the connection's own.
    pub(super) connect_query: Option<Arc<str>>,
    /// How often it came to rest outside of a transaction.
    pub(super) rests: u64,
    /// The statement that runs was cancelled because it took too long.
    pub(super) overran: bool,
}

pub(super) enum Show {
    Pass,
    Hide,
    Replace(Refusal),
}

impl Backend {
    /// A connection fresh from login, with what it reported there.
    #[must_use]
    pub fn new(
        lane: Lane,
        max_prepared: usize,
        reported: impl IntoIterator<Item = (String, String)>,
    ) -> Self {
        let base = Arc::new(ParamSet::default());
        Self {
            queue: Queue::new(),
            status: b'I',
            unsynced: false,
            error_skip: false,
            copy_in: false,
            prepared: Prepared::new(max_prepared),
            unnamed: (0, 0),
            asked: 0,
            ended: 0,
            lane,
            settings: Arc::clone(&base),
            base,
            reported: reported.into_iter().map(|(k, v)| (k.into(), v.into())).collect(),
            align_failed: false,
            rest: 0,
            rest_hidden: false,
            rest_tag: 0,
            failed: false,
            unaligned: false,
            ran: Effects::NONE,
            rows: 0,
            bytes: 0,
            farewell: false,
            connect_query: None,
            rests: 0,
            overran: false,
        }
    }

    /// Nothing is owed and nothing was sent since the last Sync.
    #[must_use]
    pub fn quiet(&self) -> bool {
        self.queue.is_empty() && !self.unsynced && !self.error_skip && self.rest == 0
    }

    /// Quiet and outside a transaction.
    #[must_use]
    pub fn idle(&self) -> bool {
        self.quiet() && self.status == b'I'
    }

    /// Transaction status of the last ReadyForQuery: `I`, `T` or `E`.
    #[must_use]
    pub fn status(&self) -> u8 {
        self.status
    }

    /// The server has said why it closes.
    #[must_use]
    pub fn said_farewell(&self) -> bool {
        self.farewell
    }

    /// Replies outstanding: the shell stops reading a client that runs too far ahead.
    #[must_use]
    pub fn owed(&self) -> usize {
        self.queue.len()
    }

    #[must_use]
    pub fn lane(&self) -> Lane {
        self.lane
    }

    /// What the server reported of itself: `ParameterStatus` names and values.
    pub fn reported(&self) -> impl Iterator<Item = (&str, &str)> {
        self.reported.iter().map(|(k, v)| (k.as_ref(), v.as_ref()))
    }

    /// Something is asked for whose reply ends with a ReadyForQuery.
    pub(super) fn expect_end(&mut self, end: Expect) {
        self.queue.push_back(end);
        self.asked += 1;
    }

    /// Messages with the same number succeed or are skipped together.
    pub(super) fn batch(&self) -> u64 {
        self.asked
    }

    /// What was sent in that batch is answered, or fails together with what is sent now.
    fn settled(&self, batch: u64) -> bool {
        batch < self.ended || batch == self.asked
    }

    /// The server holds the statement, or what is sent now will not come to need it.
    pub(super) fn holds(&mut self, id: u64) -> bool {
        self.prepared.touch(id).is_some_and(|batch| self.settled(batch))
    }

    /// A transaction has failed, or may have when what comes now arrives: the server has the last word.
    pub(super) fn may_be_failed(&self) -> bool {
        self.status == b'E' || self.queue.iter().any(|e| e.ends_ready() && !matches!(e, Expect::Hidden))
    }

    pub(super) fn set_unnamed(&mut self, id: u64) {
        self.unnamed = (id, self.asked);
    }

    /// A simple query, a Close or a Parse that failed leaves none.
    pub(super) fn drop_unnamed(&mut self) {
        self.unnamed = (0, 0);
    }

    pub(super) fn has_unnamed(&self, id: u64) -> bool {
        self.unnamed.0 == id && self.settled(self.unnamed.1)
    }

    /// What we say now comes behind everything the server has said.
    pub(super) fn silent(&self) -> bool {
        self.queue.is_empty() && self.rest == 0
    }

    /// A `DISCARD ALL` has run: nothing is prepared and every setting is the connection's own.
    pub fn was_reset(&mut self) {
        self.prepared.forget();
        self.drop_unnamed();
        self.settings = Arc::clone(&self.base);
    }

    /// Takes note of a ParameterStatus or ReadyForQuery that answers a query made outside of [`Self::feed`].
    pub fn absorb(&mut self, tag: u8, body: &[u8]) {
        match (tag, view::parameter_status(body)) {
            (b'S', Some((name, value))) => self.report(name, value),
            (b'Z', _) => {
                self.status = body.first().copied().unwrap_or(b'E');
                self.drop_unnamed();
            }
            _ => {}
        }
    }

    /// Bounded: a server has a handful of reported settings; a hostile one gets no more than 64.
    fn report(&mut self, name: &str, value: &str) {
        if self.reported.contains_key(name) || self.reported.len() < 64 {
            self.reported.insert(name.into(), value.into());
        }
    }

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
        while at < input.len() {
            if self.rest > 0 {
                let n = self.rest.min(input.len() - at);
                if !self.rest_hidden {
                    out.pass(at..at + n);
                }
                at += n;
                self.rest -= n;
                if self.rest == 0 {
                    if self.rest_tag != b'D' {
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
                if !streams(h.tag) && h.total <= LOOK_MAX {
                    break;
                }
                self.rest = h.total;
                self.rest_tag = h.tag;
                self.rest_hidden = matches!(self.queue.front(), Some(Expect::Hidden));
                self.bytes += h.total as u64;
                continue;
            }
            self.bytes += h.total as u64;
            if h.tag == b'D' && !matches!(self.queue.front(), Some(Expect::Hidden)) {
                out.pass(at..at + h.total);
                at += h.total;
                continue;
            }
            let body = left.get(HEADER..h.total).unwrap_or_default();
            match self.act(h.tag, body, session, ledger)? {
                Show::Pass => out.pass(at..at + h.total),
                Show::Hide => {}
                Show::Replace(refusal) => out.add(|v| refusal.encode(v)),
            }
            at += h.total;
            if !self.queue.is_empty() {
                self.local_replies(session, out);
            }
        }
        Ok(Served { consumed: at, idle: self.idle() })
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
                let hidden = tag == b'N' && matches!(self.queue.front(), Some(Expect::Hidden));
                return Ok(if hidden { Show::Hide } else { Show::Pass });
            }
            b'E' => {
                let show = self.error(body, s, ledger);
                return Ok(self.name_timeout(body, show));
            }
            b'Z' => return self.ready(body, s, ledger),
            _ => {}
        }
        if matches!(self.queue.front(), Some(Expect::Hidden)) {
            return Ok(Show::Hide);
        }
        match tag {
            b'1' => return self.parse_complete(s),
            b'2' => self.pop(|e| matches!(e, Expect::Bind))?,
            b'3' => {
                let hidden = matches!(self.queue.front(), Some(Expect::CloseHidden { .. }));
                self.pop(|e| matches!(e, Expect::Close | Expect::CloseHidden { .. }))?;
                return Ok(if hidden { Show::Hide } else { Show::Pass });
            }
            b'T' | b'n' if matches!(self.queue.front(), Some(Expect::Describe)) => {
                self.queue.pop_front();
            }
            b'C' | b'I' | b's' => self.complete(tag, body, s, ledger)?,
            b'G' | b'W' => self.copy_begins(),
            b't' | b'T' | b'n' | b'D' | b'd' | b'c' | b'H' | b'V' | b'K' | b'v' => {}
            _ => return Err(Desync("unknown message")),
        }
        Ok(Show::Pass)
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

    fn complete<L: Ledger>(
        &mut self,
        tag: u8,
        body: &[u8],
        s: &mut Session,
        l: &mut L,
    ) -> Result<(), Desync> {
        if tag == b'C' {
            self.rows += view::rows(body);
            match body {
                b"DISCARD ALL\0" => {
                    self.prepared.doubt(); // what is on its way behind it is held
                    self.drop_unnamed();
                    self.settings = Arc::clone(&self.base);
                    match self.queue.get(1) {
                        Some(Expect::Hidden) => self.settings = Arc::clone(s.settings()),
                        _ => self.unaligned |= self.connect_query.is_some(),
                    }
                    s.discarded(self.coming(1));
                }
                b"DEALLOCATE ALL\0" => {
                    self.prepared.doubt();
                    s.deallocated();
                }
                _ => {}
            }
        }
        match self.queue.front() {
            Some(Expect::Execute(_)) => {
                if let Some(Expect::Execute(Some(judgement))) = self.queue.pop_front() {
                    self.account(&judgement, l);
                }
                Ok(())
            }
            Some(Expect::Query(_)) => Ok(()),
            _ => Err(Desync("CommandComplete for nothing")),
        }
    }

    pub(super) fn account<L: Ledger>(&mut self, judgement: &Judgement, ledger: &mut L) {
        if !self.failed && !judgement.transaction_control {
            self.ran = self.ran.and(judgement.effects);
        }
        ledger.finished(judgement, self.rows, self.bytes, self.failed);
        (self.rows, self.bytes, self.failed) = (0, 0, false);
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
        s.ready();
        if let Expect::Query(judgement) = &end {
            self.account(judgement, l);
        }
        let ran = std::mem::take(&mut self.ran);
        if self.status == b'I' && !ran.is_none() {
            s.undone(ran, self.coming(0));
        }
        match end {
            Expect::Query(_) => {}
            Expect::Hidden => {
                (self.rows, self.bytes, self.failed) = (0, 0, false);
                if std::mem::take(&mut self.align_failed) {
                    return Err(Desync("the server refused the client's settings"));
                }
                return Ok(Show::Hide);
            }
            _ => (self.rows, self.bytes, self.failed) = (0, 0, false),
        }
        Ok(Show::Pass)
    }

    fn error<L: Ledger>(&mut self, body: &[u8], s: &mut Session, ledger: &mut L) -> Show {
        self.failed = true;
        self.ran = Effects::NONE;
        self.copy_in = false;
        if matches!(view::field(body, b'V'), Some(b"FATAL" | b"PANIC")) {
            self.farewell = true;
        }
        if view::field(body, b'C') == Some(&sqlstate::SYNTAX_ERROR) && self.fails_to_parse(body) {
            s.unparsed_by_server();
        }
        match self.queue.front() {
            Some(Expect::Hidden) => {
                self.align_failed = true;
                return if self.farewell { Show::Pass } else { Show::Hide };
            }
            Some(Expect::Query(_) | Expect::Sync) | None => return Show::Pass,
            Some(Expect::Poison { query: true, refusal }) => return Show::Replace(refusal.clone()),
            _ => {}
        }
        let show = match self.queue.front() {
            Some(Expect::Poison { refusal, .. }) => Show::Replace(refusal.clone()),
            _ => Show::Pass,
        };
        self.skip_to_sync(s, ledger);
        show
    }

    fn parameter_status(&mut self, body: &[u8], s: &mut Session) -> Show {
        let hidden = matches!(self.queue.front(), Some(Expect::Hidden));
        if let Some((name, value)) = view::parameter_status(body) {
            if !hidden {
                s.parameter_status(name, value);
            }
            self.report(name, value);
        }
        if hidden { Show::Hide } else { Show::Pass }
    }

    /// Sends what stands at the front and is ours.
    fn local_replies(&mut self, s: &mut Session, out: &mut Outlet<'_>) {
        loop {
            match self.queue.front() {
                Some(Expect::LocalParse(_)) => {
                    s.name_confirmed();
                    out.add(reply::parse_complete);
                }
                Some(Expect::LocalClose(_)) => out.add(reply::close_complete),
                Some(Expect::LocalNotices(j)) => out.add(|v| encode_notices(j, v)),
                Some(Expect::CopyEnd | Expect::WasUnnamed(_)) => {}
                _ => return,
            }
            self.queue.pop_front();
        }
    }
}

/// Tags whose bodies are never looked into: they pass as they come.
fn streams(tag: u8) -> bool {
    matches!(tag, b'D' | b'd' | b'V')
}
