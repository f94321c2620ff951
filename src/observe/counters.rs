//! Hot counters: each cell has one writer, the data thread that owns it, and is summed when somebody reads.
//!
//! An update is a relaxed load and a relaxed store: no read-modify-write on a line that another core holds.
//! The price is a rule that the types cannot check: **methods that write may be called only on the thread for
//! which [`Meters::thread`](super::Meters::thread) made the meters**. Two writers would lose counts, nothing
//! worse. A server connection that moves to another thread drops its [`ServerPresence`] before it leaves and
//! makes a new one on arrival.
//!
//! Readers may see one cell a moment before its neighbour; the totals are right once the writer rests.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use super::fingerprints::{Sample, Table};
use super::labels::{DatabaseId, Labels};
use super::locked;
use super::rules::{self, Verdicts};
use super::totals::{ClientKey, PoolKey};
use crate::guard::{Effects, Kind};

/// A number with one writer and any number of readers. Wraps at 2^64.
#[derive(Debug, Default)]
pub struct Cell(AtomicU64);

impl Cell {
    /// Takes over a total that is counted elsewhere on the owning thread.
    #[inline]
    pub fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }

    #[inline]
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    /// A cell used as a gauge may go below zero on one thread when a thing came on one and left on another:
    /// only the wrapping sum over all threads means something.
    #[inline]
    pub fn sub(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_sub(n), Ordering::Relaxed);
    }

    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Upper bounds of the time histograms, in nanoseconds, inclusive: 100 µs to 60 s.
pub const BOUNDS: [u64; 14] = [
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    100_000_000,
    250_000_000,
    1_000_000_000,
    5_000_000_000,
    20_000_000_000,
    60_000_000_000,
];
pub(super) const BUCKETS: usize = BOUNDS.len() + 1;

/// A histogram of durations with the fixed [`BOUNDS`]; the last bucket takes what is longer.
#[derive(Debug, Default)]
pub struct Histogram {
    pub(super) buckets: [Cell; BUCKETS],
    pub(super) nanos: Cell,
}

impl Histogram {
    #[inline]
    pub fn observe(&self, nanos: u64) {
        self.buckets[BOUNDS.partition_point(|bound| *bound < nanos)].add(1);
        self.nanos.add(nanos);
    }
}

/// What a server connection does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ServerState {
    /// Connecting, TLS, authentication.
    Login,
    Idle,
    /// Lent to a client.
    Active,
}

impl ServerState {
    pub const LABELS: [&'static str; 3] = ["login", "idle", "active"];
}

/// What a logged-in client does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ClientState {
    /// Holds no server.
    Idle,
    /// Holds a server.
    Active,
    /// In the queue for a server.
    Waiting,
}

impl ClientState {
    pub const LABELS: [&'static str; 3] = ["idle", "active", "waiting"];
}

/// The cells of one thread for one (server, database, user). Aligned so that two threads share no line.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct PoolMeter {
    pub(super) kinds: [Cell; KINDS.len()],
    pub(super) time: Histogram,
    pub(super) wait: Histogram,
    pub(super) rows: Cell,
    pub(super) bytes: Cell,
    pub(super) errors: Cell,
    pub(super) transactions: Cell,
}

impl PoolMeter {
    /// A statement ended: `nanos` from its first byte here to ReadyForQuery or CommandComplete, `rows` and
    /// `bytes` as the server sent them.
    #[inline]
    pub fn query(&self, kind: Kind, nanos: u64, rows: u64, bytes: u64) {
        self.kinds[kind as usize].add(1);
        self.time.observe(nanos);
        self.rows.add(rows);
        self.bytes.add(bytes);
    }

    /// A client got its server after `nanos` in the queue; 0 if one was idle.
    #[inline]
    pub fn waited(&self, nanos: u64) {
        self.wait.observe(nanos);
    }

    /// A transaction ended, well or not.
    #[inline]
    pub fn transaction(&self) {
        self.transactions.add(1);
    }

    /// The server sent an ErrorResponse.
    #[inline]
    pub fn error(&self) {
        self.errors.add(1);
    }
}

/// The cells of one thread for the clients of one (database, user).
#[derive(Debug)]
#[repr(align(128))]
pub struct ClientMeter {
    database: DatabaseId,
    pub(super) connections: [Cell; 3],
    /// Bytes from and to these clients.
    pub received: Cell,
    pub sent: Cell,
    pub(super) logins: Cell,
}

impl ClientMeter {
    fn new(database: DatabaseId) -> Self {
        let [received, sent, logins] = Default::default();
        Self { database, connections: Default::default(), received, sent, logins }
    }

    /// The database's number for [`ThreadMeters::fingerprint`].
    #[must_use]
    pub fn database(&self) -> DatabaseId {
        self.database
    }

    /// Counts a client, idle at first, until the presence is dropped.
    #[must_use]
    pub fn client(self: &Arc<Self>) -> ClientPresence {
        self.connections[ClientState::Idle as usize].add(1);
        self.logins.add(1);
        ClientPresence { meter: Arc::clone(self), state: ClientState::Idle }
    }
}

/// One client in `client_connections`; leaves the count when dropped. Stays on its thread.
#[derive(Debug)]
pub struct ClientPresence {
    meter: Arc<ClientMeter>,
    state: ClientState,
}

impl ClientPresence {
    #[inline]
    pub fn set(&mut self, state: ClientState) {
        self.meter.connections[self.state as usize].sub(1);
        self.meter.connections[state as usize].add(1);
        self.state = state;
    }

    #[must_use]
    pub fn meter(&self) -> &Arc<ClientMeter> {
        &self.meter
    }
}

impl Drop for ClientPresence {
    fn drop(&mut self) {
        self.meter.connections[self.state as usize].sub(1);
    }
}

/// A time that ran out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Timeout {
    ClientIdle,
    IdleTransaction,
    Transaction,
    Query,
    CancelWait,
    ClientWrite,
    QueryWait,
    ClientLogin,
}

impl Timeout {
    /// Also the settings' names, without `_timeout`.
    pub const LABELS: [&'static str; 8] = [
        "client_idle",
        "idle_transaction",
        "transaction",
        "query",
        "cancel_wait",
        "client_write",
        "query_wait",
        "client_login",
    ];

    /// The setting that says how long.
    #[must_use]
    pub const fn setting(self) -> &'static str {
        match self {
            Self::ClientIdle => "client_idle_timeout",
            Self::IdleTransaction => "idle_transaction_timeout",
            Self::Transaction => "transaction_timeout",
            Self::Query => "query_timeout",
            Self::CancelWait => "cancel_wait_timeout",
            Self::ClientWrite => "client_write_timeout",
            Self::QueryWait => "query_wait_timeout",
            Self::ClientLogin => "client_login_timeout",
        }
    }
}

/// The guard's two caches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum CacheLevel {
    /// L1, the exact bytes of a text.
    Text,
    /// L2, texts that differ in literals only.
    Shape,
}

impl CacheLevel {
    pub const LABELS: [&'static str; 2] = ["text", "shape"];
}

/// All cells of one data thread.
#[derive(Debug)]
pub struct ThreadMeters {
    labels: Arc<Labels>,
    pub(super) pools: Mutex<HashMap<PoolKey, Arc<PoolMeter>>>,
    pub(super) clients: Mutex<HashMap<ClientKey, Arc<ClientMeter>>>,
    /// Grown by the owner as rules hit, never moved: the reader needs no lock.
    pub(super) verdicts: Verdicts,
    fingerprints: Mutex<Table>,
    pub(super) pins: [Cell; Effects::PINS.len()],
    pub(super) cache_hits: [Cell; 2],
    pub(super) cache_misses: [Cell; 2],
    pub parse_failures: Cell,
    pub client_bytes_received: Cell,
    pub client_bytes_sent: Cell,
    pub(super) client_logins: [Cell; 2],
    /// Plans asked for: answered, failed, dropped.
    pub(super) plans: [Cell; 3],
    pub(super) timeouts: [Cell; Timeout::LABELS.len()],
}

impl ThreadMeters {
    pub(super) fn new(labels: Arc<Labels>, tracked: usize) -> Self {
        Self {
            labels,
            pools: Mutex::default(),
            clients: Mutex::default(),
            verdicts: rules::none(),
            fingerprints: Mutex::new(Table::new(tracked)),
            pins: Default::default(),
            cache_hits: Default::default(),
            cache_misses: Default::default(),
            parse_failures: Cell::default(),
            client_bytes_received: Cell::default(),
            client_bytes_sent: Cell::default(),
            client_logins: Default::default(),
            plans: Default::default(),
            timeouts: Default::default(),
        }
    }

    /// The cells for a server, database and user. Locks and allocates: ask once per session or server
    /// connection and keep the answer. `server` is a name from the settings; database and user must be past
    /// authentication. Beyond the bound of [`Bounds::label_pairs`](super::Bounds) the pair counts as `other`.
    pub fn pool(&self, server: &str, database: &str, user: &str) -> Arc<PoolMeter> {
        let (database, user) = self.labels.pair(server, database, user);
        let key = PoolKey { server: server.into(), database, user };
        Arc::clone(locked(&self.pools).entry(key).or_default())
    }

    /// The cells for the clients of a database and user; bounded as [`Self::pool`].
    pub fn clients(&self, database: &str, user: &str) -> Arc<ClientMeter> {
        let id = self.labels.database(database);
        let (database, user) = self.labels.pair("", database, user);
        let key = ClientKey { database, user };
        let fresh = || Arc::new(ClientMeter::new(id));
        Arc::clone(locked(&self.clients).entry(key).or_insert_with(fresh))
    }

    /// A server was pinned to its client, for each of these reasons.
    #[inline]
    pub fn pinned(&self, reasons: Effects) {
        let mut bits = reasons.pins().0;
        while bits != 0 {
            if let Some(cell) = self.pins.get(bits.trailing_zeros() as usize) {
                cell.add(1);
            }
            bits &= bits - 1;
        }
    }

    /// Takes over what the thread's guard counted.
    pub fn caches(&self, counters: &crate::guard::CacheCounters) {
        let [text, shape] = &self.cache_hits;
        text.set(counters.l1_hits);
        shape.set(counters.l2_hits);
        let [text, shape] = &self.cache_misses;
        text.set(counters.l1_misses);
        shape.set(counters.l2_misses);
        self.parse_failures.set(counters.parse_failures);
    }

    /// A client's log-in ended.
    pub fn client_login(&self, succeeded: bool) {
        self.client_logins[usize::from(!succeeded)].add(1);
    }

    /// The planner was asked; `known`: it answered.
    pub fn plan(&self, known: bool) {
        self.plans[usize::from(!known)].add(1);
    }

    /// The planner should have been asked, and too many questions wait.
    pub fn plan_dropped(&self) {
        self.plans[2].add(1);
    }

    /// A time ran out.
    pub fn timeout(&self, timeout: Timeout) {
        self.timeouts[timeout as usize].add(1);
    }

    /// What a statement cost, to its fingerprint's row. Allocates only for a fingerprint not tracked.
    #[inline]
    pub fn fingerprint(
        &self,
        database: DatabaseId,
        fingerprint: u64,
        normalized: &Arc<str>,
        nanos: u64,
        rows: u64,
        bytes: u64,
    ) {
        let sample = Sample { calls: 1, nanos, rows, bytes };
        locked(&self.fingerprints).record(database, fingerprint, normalized, sample);
    }

    pub(super) fn fingerprints(&self) -> &Mutex<Table> {
        &self.fingerprints
    }
}

/// Kinds with their label, in the order of their numbers.
pub const KINDS: [(Kind, &str); 12] = [
    (Kind::Select, "select"),
    (Kind::Insert, "insert"),
    (Kind::Update, "update"),
    (Kind::Delete, "delete"),
    (Kind::Merge, "merge"),
    (Kind::Copy, "copy"),
    (Kind::Ddl, "ddl"),
    (Kind::Transaction, "transaction"),
    (Kind::Set, "set"),
    (Kind::Show, "show"),
    (Kind::Utility, "utility"),
    (Kind::Unparsed, "unparsed"),
];
/// Labels of actions, in the order of their numbers.
pub const ACTIONS: [&str; 7] = ["allow", "set", "limit", "rewrite", "warn", "route", "block"];
/// Labels of modes: enforced first.
pub const MODES: [&str; 2] = ["enforce", "observe"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guard::Action;
    use crate::observe::totals::{HistogramTotals, PoolTotals};
    use crate::observe::{Bounds, Meters};

    fn only_pool(meters: &Meters) -> PoolTotals {
        let pools = meters.totals().pools;
        assert_eq!(pools.len(), 1);
        pools.into_values().next().unwrap_or_default()
    }

    #[test]
    fn kinds_stand_at_their_numbers_with_their_serde_names() {
        for (index, (kind, label)) in KINDS.iter().enumerate() {
            assert_eq!(*kind as usize, index);
            assert_eq!(serde_json::to_value(kind).ok(), Some(serde_json::Value::from(*label)));
        }
        use Action::{Allow, Block, Limit, Rewrite, Route, Set, Warn};
        for action in [Allow, Set, Limit, Rewrite, Warn, Route, Block] {
            assert_eq!(ACTIONS[action as usize], action.name());
        }
        for (bit, (effect, _)) in Effects::PINS.iter().enumerate() {
            assert_eq!(effect.0, 1 << bit);
        }
    }

    #[test]
    fn bucket_bounds_are_inclusive() {
        let histogram = Histogram::default();
        for nanos in [0, 100_000, 100_001, 60_000_000_000, 60_000_000_001, u64::MAX / 2] {
            histogram.observe(nanos);
        }
        let mut totals = HistogramTotals::default();
        totals.add(&histogram);
        assert_eq!((totals.buckets[0], totals.buckets[1]), (2, 1));
        assert_eq!((totals.buckets[13], totals.buckets[14]), (1, 2));
        assert_eq!(totals.count(), 6);
    }

    #[test]
    fn threads_are_summed_without_losing_a_count() {
        let meters = Meters::new(Bounds::default());
        std::thread::scope(|scope| {
            for _ in 0..4 {
                let thread = meters.thread();
                scope.spawn(move || {
                    let pool = thread.pool("primary", "shop", "app");
                    for _ in 0..10_000 {
                        pool.query(Kind::Select, 1_000, 2, 3);
                    }
                    pool.waited(7);
                    thread.pinned(Effects::LISTEN.and(Effects::UNPARSED).and(Effects::DISCARD_ALL));
                });
            }
        });
        let pool = only_pool(&meters);
        assert_eq!(pool.kinds[Kind::Select as usize], 40_000);
        assert_eq!((pool.rows, pool.bytes, pool.time.nanos), (80_000, 120_000, 40_000_000));
        assert_eq!((pool.wait.count(), pool.wait.nanos), (4, 28));
        let pins = meters.totals().pins;
        assert_eq!((pins[3], pins[9], pins.iter().sum::<u64>()), (4, 4, 8));
    }

    #[test]
    fn a_presence_is_in_one_state_and_gone_when_dropped() {
        let meters = Meters::new(Bounds::default());
        let (one, two) = (meters.thread(), meters.thread());
        let mut client = one.clients("shop", "app").client();
        client.set(ClientState::Waiting);
        let other = two.clients("shop", "app").client();
        let counts = |meters: &Meters| meters.totals().clients.into_values().next();
        assert_eq!(counts(&meters), Some([1, 0, 1]));
        drop((client, other));
        assert_eq!(counts(&meters), Some([0, 0, 0]));
    }
}
