//! What a data thread has: its buffers, its guard, its counters; and what all threads share.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::time::Instant;

use dashmap::DashMap;
use tokio::sync::Semaphore;

use super::client_log;
use super::crowd::Crowd;
use super::deadlines::Deadlines;
use super::mailbox::Mailbox;
use super::startup::Front;
use crate::config::{Settings, Times};
use crate::control::snapshot;
use crate::guard::{Class, Guard, Lane};
use crate::observe::counters::{ClientMeter, PoolMeter, ThreadMeters};
use crate::observe::limiter::Limiter;
use crate::observe::{Meters, RuleMap};
use crate::pool::{KeyPool, Node, Server, reset};
use crate::session::{Interner, Mode, ParamSet};

/// One read: large enough that bulk results cost few calls.
pub(super) const SCRATCH: usize = 64 * 1024;

/// Most clients at once that are told why they cannot stay; others find the connection closed.
const TURNING_AWAY: usize = 256;

/// How many (user, database, settings) combinations a thread remembers.
const IDENTS: usize = 1024;

/// What all data threads share.
pub struct Shared {
    pub settings: Arc<Settings>,
    pub primary: Arc<Node>,
    pub replicas: Vec<Arc<Node>>,
    pub snapshot: snapshot::Shared,
    pub front: Arc<Front>,
    pub meters: Arc<Meters>,
    pub rules: RuleMap,
    /// Clients by the process id they were given.
    pub mailboxes: DashMap<i32, Arc<Mailbox>, ahash::RandomState>,
    pub clients: AtomicUsize,
    pub crowd: Crowd,
    /// Clients that are being turned away, and may take a moment each.
    pub(super) turning_away: Semaphore,
    pub(super) client_log: Limiter,
    pub buffered: Account,
    pub draining: AtomicBool,
    pub max_statement_bytes: usize,
    pub prepared_bytes: usize,
    /// Some policy may route to a replica, and there is one.
    pub may_route: bool,
    pub reads_application: bool,
    next_pid: AtomicU32,
}

/// Bytes of statements that wait to be judged, over all clients. Touched only by statements too large for the
/// thread's buffer.
pub struct Account {
    bytes: AtomicUsize,
    limit: usize,
}

impl Account {
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { bytes: AtomicUsize::new(0), limit }
    }

    /// A client that had `held` has `now`.
    pub(super) fn set(&self, held: &mut usize, now: usize) {
        let now = if now > SCRATCH { now } else { 0 };
        if now > *held {
            self.bytes.fetch_add(now - *held, Ordering::Relaxed);
        } else if now < *held {
            self.bytes.fetch_sub(*held - now, Ordering::Relaxed);
        }
        *held = now;
    }

    pub(super) fn is_over(&self) -> bool {
        self.bytes.load(Ordering::Relaxed) > self.limit
    }
}

/// A client's entry among the mailboxes; gone when it is dropped, however the client's task ends.
pub(super) struct Registered {
    shared: Arc<Shared>,
    pub(super) pid: i32,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.shared.mailboxes.remove(&self.pid);
    }
}

impl Shared {
    /// Gives a client a process id: positive, not in use.
    pub(super) fn register(self: &Arc<Self>, mailbox: &Arc<Mailbox>) -> Registered {
        loop {
            let n = self.next_pid.fetch_add(1, Ordering::Relaxed) & 0x7fff_ffff;
            let pid = i32::try_from(n).unwrap_or(1).max(1);
            if let dashmap::Entry::Vacant(vacant) = self.mailboxes.entry(pid) {
                vacant.insert(Arc::clone(mailbox));
                return Registered { shared: Arc::clone(self), pid };
            }
        }
    }
}

/// What the shared part is made of.
pub struct Parts {
    pub settings: Arc<Settings>,
    pub primary: Arc<Node>,
    pub replicas: Vec<Arc<Node>>,
    pub snapshot: snapshot::Shared,
    pub front: Arc<Front>,
    pub meters: Arc<Meters>,
    pub rules: RuleMap,
    pub policies_route: bool,
    pub reads_application: bool,
}

impl Shared {
    #[must_use]
    pub fn new(parts: Parts) -> Arc<Self> {
        let settings = parts.settings;
        let limit = |size: u64| usize::try_from(size).unwrap_or(usize::MAX);
        Arc::new(Self {
            may_route: parts.policies_route && !parts.replicas.is_empty(),
            reads_application: parts.reads_application,
            primary: parts.primary,
            replicas: parts.replicas,
            snapshot: parts.snapshot,
            front: parts.front,
            meters: parts.meters,
            rules: parts.rules,
            mailboxes: DashMap::default(),
            clients: AtomicUsize::new(0),
            crowd: Crowd::default(),
            turning_away: Semaphore::new(TURNING_AWAY),
            client_log: Limiter::new(client_log::BOUND.0, client_log::BOUND.1),
            buffered: Account::new(limit(settings.limits.max_buffered_bytes.0)),
            max_statement_bytes: limit(settings.guard.max_statement_bytes.0),
            prepared_bytes: limit(settings.pool.prepared_statement_bytes.0),
            next_pid: AtomicU32::new(1),
            draining: AtomicBool::new(false),
            settings,
        })
    }
}

/// Met once, by whoever comes first; others wait for the outcome.
type Met = Rc<tokio::sync::OnceCell<Rc<Ident>>>;

/// One data thread.
pub struct Thread {
    pub index: usize,
    pub shared: Arc<Shared>,
    pub meters: Arc<ThreadMeters>,
    pub(super) work: RefCell<Work>,
    pub(super) deadlines: Deadlines,
    idents: RefCell<HashMap<IdentKey, Met>>,
    turn: std::cell::Cell<usize>,
}

/// Buffers and machines that one poll at a time uses.
pub(super) struct Work {
    pub(super) scratch: Box<[u8]>,
    pub(super) spill: Vec<u8>,
    pub(super) down: Vec<u8>,
    pub(super) guard: Guard,
    pub(super) statements: Interner,
    snapshot: snapshot::Reader,
}

#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct IdentKey {
    pub(super) user: Box<str>,
    pub(super) database: Box<str>,
    pub(super) params: Vec<(String, String)>,
}

/// What clients of the same user, database and start-up settings share on a thread.
pub struct Ident {
    pub class: Arc<Class>,
    pub settings: Arc<ParamSet>,
    pub primary: Arc<KeyPool>,
    pub replicas: Vec<Arc<KeyPool>>,
    pub may_route: bool,
    pub mode: Mode,
    pub times: Times,
    /// What such a client is told of its session at login, as ParameterStatus.
    pub(super) reported: super::greet::Reported,
    pub client_meter: Arc<ClientMeter>,
    pub(super) primary_meter: Arc<PoolMeter>,
    pub(super) replica_meters: Vec<Arc<PoolMeter>>,
}

impl Thread {
    pub fn new(index: usize, shared: Arc<Shared>, guard: Guard, seed: [u64; 4]) -> Rc<Self> {
        let meters = shared.meters.thread();
        let snapshot = snapshot::Reader::new(Arc::clone(&shared.snapshot));
        let statements = Interner::new(u16::try_from(index).unwrap_or(u16::MAX), seed, 16 << 20);
        let work = Work {
            scratch: vec![0; SCRATCH].into_boxed_slice(),
            spill: Vec::new(),
            down: Vec::new(),
            guard,
            statements,
            snapshot,
        };
        Rc::new(Self {
            deadlines: Deadlines::new(&shared.settings),
            index,
            shared,
            meters,
            work: RefCell::new(work),
            idents: RefCell::default(),
            turn: std::cell::Cell::new(0),
        })
    }

    /// What `tell` makes of a combination of the same user and database that was met: the first it has an answer for.
    pub(super) fn similar<T>(&self, key: &IdentKey, tell: impl Fn(&Ident) -> Option<T>) -> Option<T> {
        let idents = self.idents.borrow();
        let same = idents.iter().filter(|(k, _)| k.user == key.user && k.database == key.database);
        same.filter_map(|(_, met)| met.get()).find_map(|ident| tell(ident))
    }

    /// The place of a combination. Bounded: those without clients go first; beyond that nothing is remembered.
    pub(super) fn ident(&self, key: &IdentKey) -> Met {
        let mut idents = self.idents.borrow_mut();
        if let Some(met) = idents.get(key) {
            return Rc::clone(met);
        }
        if idents.len() >= IDENTS {
            let in_use =
                |met: &Met| Rc::strong_count(met) > 1 || met.get().is_some_and(|i| Rc::strong_count(i) > 1);
            idents.retain(|_, met| in_use(met));
        }
        let met = Met::default();
        if idents.len() < IDENTS {
            idents.insert(key.clone(), Rc::clone(&met));
        }
        met
    }

    /// Hands what the guard's caches counted to the scraper.
    pub(super) fn publish_cache_counters(&self) {
        let Ok(work) = self.work.try_borrow() else { return };
        self.meters.caches(&work.guard.counters());
    }

    /// An idle server goes back to its pool, once a cancel that is under way is through.
    pub(super) fn give_back(self: &Rc<Self>, mut server: Box<Server>) {
        let Some(pool) = server.permit.pool().cloned() else { return };
        if server.canceling.is_none() {
            pool.checkin(server);
            return;
        }
        tokio::task::spawn_local(async move {
            std::future::poll_fn(|cx| server.poll_canceled(cx)).await;
            pool.checkin(server);
        });
    }

    /// Cleans a server whose client is gone, then gives it back; closes it if that fails.
    pub(super) fn recover(self: &Rc<Self>, server: Box<Server>, dirty: bool) {
        let thread = Rc::clone(self);
        tokio::task::spawn_local(async move {
            let reset = dirty.then(|| thread.shared.settings.pool.reset_query.clone());
            if let Some(server) = reset::clean(server, reset.as_deref()).await
                && let Some(pool) = server.permit.pool().cloned()
            {
                pool.checkin(server);
            }
        });
    }

    /// The first replica, in turn, that is fit to be read from now.
    pub(super) fn usable_replica(&self, work: &mut Work) -> Option<usize> {
        let replicas = &work.snapshot.load().topology.replicas;
        let now = Instant::now();
        let n = replicas.len();
        let turn = self.turn.get();
        let found =
            (0..n).map(|i| (turn + i) % n).find(|&i| replicas.get(i).is_some_and(|r| r.usable_at(now)))?;
        self.turn.set(found + 1);
        Some(found)
    }
}

impl Ident {
    /// Where a lane leads now: a replica if one is fit, else the primary.
    pub(super) fn pool(&self, lane: Lane, replica: Option<usize>) -> &Arc<KeyPool> {
        match lane {
            Lane::Primary => &self.primary,
            Lane::Replica => replica.and_then(|i| self.replicas.get(i)).unwrap_or(&self.primary),
        }
    }

    /// The counters of a server's pool.
    #[inline]
    pub(super) fn meter_of(&self, server: &Server) -> &Arc<PoolMeter> {
        match (server.backend.lane(), server.permit.pool()) {
            (Lane::Replica, Some(pool)) => self.meter(pool),
            _ => &self.primary_meter,
        }
    }

    /// The counters of a pool of this combination.
    pub(super) fn meter(&self, pool: &Arc<KeyPool>) -> &Arc<PoolMeter> {
        let at = self.replicas.iter().position(|p| Arc::ptr_eq(p, pool));
        at.and_then(|i| self.replica_meters.get(i)).unwrap_or(&self.primary_meter)
    }
}
