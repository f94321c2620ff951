//! The protocol state of one server connection: what it owes, what it holds, whether it is free.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::align::ParamSet;
use super::expect::{Expect, Queue};
use super::impose::Imposed;
use super::limits::Watched;
use super::prepared::Prepared;
use super::restate::OnServer;
use crate::guard::{Effects, Lane};
use crate::wire::backend as view;

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
    pub(super) unnamed: (u64, u64),
    /// Replies that end with a ReadyForQuery: asked for, and over.
    pub(super) asked: u64,
    pub(super) ended: u64,
    pub(super) lane: Lane,
    /// Settings the server has by our alignment.
    pub(super) settings: Arc<ParamSet>,
    pub(super) base: Arc<ParamSet>,
    /// What the server reported by ParameterStatus.
    pub(super) reported: BTreeMap<Box<str>, Box<str>>,
    pub(super) align_failed: bool,
    /// Rest of a message that passes (or is hidden) without being looked into; its tag acts when it is through.
    pub(super) rest: usize,
    pub(super) rest_hidden: bool,
    pub(super) rest_tag: u8,
    pub(super) failed: bool,
    /// A `DISCARD ALL` took what the connect query had set.
    pub(super) unaligned: bool,
    /// Effects of the statements that ran since the last ReadyForQuery.
    pub(super) ran: Effects,
    pub(super) rows: u64,
    pub(super) bytes: u64,
    /// Of the last error since the last account.
    pub(super) sqlstate: [u8; 5],
    /// What the server remembers of sequences (`lastval()`) may be another client's.
    pub(super) inherited: bool,
    /// Schema changes so far, from the client that is being served.
    pub(super) epoch: u64,
    /// The client's own names that the server knows for a moment: see `materialise.rs`.
    pub(super) materialised: Vec<Box<[u8]>>,
    /// The statements of SQL `PREPARE` that it has, of whichever client.
    pub(super) sql: Vec<OnServer>,
    /// The client's next message waits for an answer to us.
    pub(super) waits: bool,
    /// A Bind waits for an answer about its columns; it has come; they are others.
    pub(super) looks: bool,
    pub(super) looked: bool,
    pub(super) stale: bool,
    /// `DEALLOCATE`s that this query did so far.
    pub(super) deallocated: usize,
    /// The batch under way, to be fed again: see `repair.rs`.
    pub(super) kept: Vec<u8>,
    /// Something of its answer has reached the client.
    pub(super) shown: bool,
    /// ParameterDescription has, and must not again.
    pub(super) described: bool,
    pub(super) repairing: bool,
    pub(super) repaired: bool,
    /// The server said FATAL: it closes next, and the client has been told why.
    pub(super) farewell: bool,
    /// What each connection runs once before its first use: what it sets is the connection's own.
    pub(super) connect_query: Option<Arc<str>>,
    /// How often it came to rest outside of a transaction.
    pub(super) rests: u64,
    /// The statement that runs was cancelled because it took too long.
    pub(super) overran: bool,
    /// The statement with limits that runs, and how many did so far.
    pub(super) watched: Option<Box<Watched>>,
    pub(super) watches: u64,
    /// It is to be cancelled.
    pub(super) excess: bool,
    /// To be sent to the server at once.
    pub(super) says: Vec<u8>,
    /// What was owed when the client's next message was held.
    pub(super) held_at: usize,
    /// Settings in force beside the client's.
    pub(super) imposed: Option<Box<Imposed>>,
    /// Up to this batch, texts of ours stood in for the client's.
    pub(super) rewritten: u64,
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
            sqlstate: [0; 5],
            inherited: false,
            epoch: 0,
            materialised: Vec::new(),
            sql: Vec::new(),
            waits: false,
            looks: false,
            looked: false,
            stale: false,
            deallocated: 0,
            kept: Vec::new(),
            shown: false,
            described: false,
            repairing: false,
            repaired: false,
            farewell: false,
            connect_query: None,
            rests: 0,
            overran: false,
            watched: None,
            watches: 0,
            excess: false,
            says: Vec::new(),
            held_at: 0,
            imposed: None,
            rewritten: 0,
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

    /// Another client has it from now on; `used`: not the first.
    pub fn inherit(&mut self, used: bool) {
        self.inherited = used;
        (self.waits, self.looks, self.looked, self.stale) = (false, false, false, false);
    }

    /// Something the client waits for, or a transaction that it has open: else what runs is only a question of ours.
    #[must_use]
    pub fn owes_client(&self) -> bool {
        self.unsynced || self.error_skip || self.status != b'I' || !self.queue.iter().all(Expect::is_ours)
    }

    /// ReadyForQuery messages still to come, if nothing else than answers to us is outstanding.
    #[must_use]
    pub fn owes_us(&self) -> Option<usize> {
        let only_ours = self.rest == 0 && self.queue.iter().all(Expect::is_ours);
        (only_ours && !self.unsynced && !self.error_skip).then_some(self.queue.len())
    }

    /// Those answers were read by somebody else, and are of no interest any more.
    pub fn forget_ours(&mut self) {
        for told in self.queue.drain(..).filter_map(Expect::into_told) {
            self.sql.extend(told.on_server());
        }
        self.waits = false;
        self.ended = self.asked;
        (self.rest, self.align_failed, self.failed) = (0, false, false);
        (self.rows, self.bytes) = (0, 0);
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
        self.status == b'E' || self.queue.iter().any(|e| e.ends_ready() && !e.is_ours())
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

    /// A `DISCARD ALL` has run: nothing is prepared and every setting is the connection's own.
    pub fn was_reset(&mut self) {
        self.prepared.forget();
        self.sql.clear();
        self.drop_unnamed();
        self.settings = Arc::clone(&self.base);
        (self.watched, self.imposed) = (None, None);
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
    pub(super) fn report(&mut self, name: &str, value: &str) {
        if self.reported.contains_key(name) || self.reported.len() < 64 {
            self.reported.insert(name.into(), value.into());
        }
    }
}

impl Backend {
    /// A server that is no primary takes only what was routed to it: the next batch waits until it is let go. A primary
    /// takes all, as long as it is there.
    pub(super) fn must_leave(&self) -> bool {
        self.lane != Lane::Primary && !self.unsynced && !self.untouched()
    }

    /// Nothing was sent since it was checked out.
    fn untouched(&self) -> bool {
        self.queue.iter().all(Expect::is_ours)
    }

    /// Untouched and outside a transaction.
    pub(super) fn fresh(&self) -> bool {
        self.untouched() && self.status == b'I' && !self.unsynced && !self.error_skip
    }
}
