//! What a data thread has: its buffers, its guard, its counters; and what all threads share.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use dashmap::DashMap;
use tokio::sync::{Notify, Semaphore};

use super::card::ClientCard;
use super::client_log;
use super::crowd::Crowd;
use super::deadlines::Deadlines;
use super::lanes::LaneServers;
use super::mailbox::Mailbox;
use super::planner::Planner;
use super::startup::Front;
use super::throttle::Throttles;
use crate::admin::Console;
use crate::config::{PlanMode, Settings, Times};
use crate::control::learned::Inbox;
use crate::control::planner::Desk;
use crate::control::policies::{Published, Store};
use crate::control::snapshot;
use crate::guard::{Class, Effects, Guard, Lane};
use crate::observe::counters::{ClientMeter, PoolMeter, ThreadMeters};
use crate::observe::limiter::Limiter;
use crate::observe::query_log::{Pen, QueryLog};
use crate::observe::{Meters, RuleMap};
use crate::pool::{ClientId, KeyPool, Node, Server, reset};
use crate::session::{Interner, Mode, ParamSet, PlanTerms, Trust};

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
    /// Behind them the servers of the lanes, as in the snapshot.
    pub replicas: Vec<Arc<Node>>,
    pub lanes: Vec<LaneServers>,
    pub snapshot: snapshot::Shared,
    /// Told, the servers are probed at once.
    pub probe_asked: Arc<Notify>,
    pub front: Arc<Front>,
    pub console: Console,
    pub meters: Arc<Meters>,
    pub policies: Arc<Store>,
    pub query_log: Option<QueryLog>,
    /// Clients by the process id and the head of the key they were given.
    pub mailboxes: DashMap<(i32, [u8; 4]), Arc<Mailbox>, ahash::RandomState>,
    pub clients: AtomicUsize,
    pub crowd: Crowd,
    /// Clients that are being turned away, and may take a moment each.
    pub(super) turning_away: Semaphore,
    pub(super) client_log: Limiter,
    /// Of lines about clients that are silent.
    pub(super) silence_log: Limiter,
    pub buffered: Account,
    pub throttles: Throttles,
    pub draining: AtomicBool,
    pub max_statement_bytes: usize,
    pub prepared_bytes: usize,
    /// Statements for an allow-list that learns.
    pub learned: Arc<Inbox>,
    pub plan: PlanTerms,
    /// Where plans are asked for that nobody waits for.
    pub desk: Arc<Desk>,
    /// Told, the catalogs are read again.
    pub catalog_asked: Arc<Notify>,
    /// Kinds of session state that may not hold a server.
    pub refused_pins: Effects,
    /// Changes of each database's schema.
    schemas: DashMap<Box<str>, Arc<AtomicU64>, ahash::RandomState>,
    next_client: AtomicU64,
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
pub(crate) struct Registered {
    shared: Arc<Shared>,
    pub(crate) pid: i32,
    pub(super) id: ClientId,
    head: [u8; 4],
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.shared.mailboxes.remove(&(self.pid, self.head));
    }
}

impl Shared {
    /// Counts changes of a database's schema. Bounded by the databases that exist: asked for after authentication.
    pub(super) fn schema(&self, database: &str) -> Arc<AtomicU64> {
        Arc::clone(&self.schemas.entry(database.into()).or_default())
    }

    /// The databases that clients have asked for, with their counts of changes.
    pub fn databases(&self) -> Vec<(Box<str>, u64)> {
        self.schemas.iter().map(|entry| (entry.key().clone(), entry.load(Ordering::Relaxed))).collect()
    }

    /// Who keeps the query log in order has moved its file away.
    pub(crate) fn reopen_logs(&self) {
        if let Some(log) = &self.query_log {
            log.reopen();
        }
    }

    /// A client's number among all.
    pub(crate) fn next_client(&self) -> ClientId {
        self.next_client.fetch_add(1, Ordering::Relaxed)
    }

    /// Registers a client: its mailbox, with the key that a cancel request must show. `pid`: its server's.
    pub(crate) fn mailbox(
        self: &Arc<Self>,
        protocol_minor: u16,
        pid: Option<i32>,
        card: Arc<ClientCard>,
    ) -> Option<(Arc<Mailbox>, Registered)> {
        // 3.2 takes long keys; 3.0 exactly four bytes.
        let key: [u8; 32] = crate::pool::key::random().ok()?;
        let key = key.get(..if protocol_minor >= 2 { 32 } else { 4 })?;
        let id = card.id;
        let mailbox = Arc::new(Mailbox::new(key.into(), card));
        let registered = self.register(id, pid, &mailbox)?;
        Some((mailbox, registered))
    }

    /// Enters a client under the process id it is told: its server's, or one that no server has.
    fn register(
        self: &Arc<Self>,
        id: ClientId,
        pid: Option<i32>,
        mailbox: &Arc<Mailbox>,
    ) -> Option<Registered> {
        let head = *mailbox.key().first_chunk()?;
        let pid = pid.unwrap_or(NO_PROCESS | i32::try_from(id & 0x3fff_ffff).unwrap_or_default());
        match self.mailboxes.entry((pid, head)) {
            dashmap::Entry::Vacant(vacant) => {
                vacant.insert(Arc::clone(mailbox));
                Some(Registered { shared: Arc::clone(self), pid, id, head })
            }
            dashmap::Entry::Occupied(_) => None,
        }
    }
}

/// Above every process id of Linux.
const NO_PROCESS: i32 = 1 << 30;

/// What the shared part is made of.
pub struct Parts {
    pub settings: Arc<Settings>,
    pub primary: Arc<Node>,
    /// And behind them the servers of the lanes.
    pub replicas: Vec<Arc<Node>>,
    pub snapshot: snapshot::Shared,
    pub front: Arc<Front>,
    pub console: Console,
    pub meters: Arc<Meters>,
    pub policies: Arc<Store>,
    pub query_log: Option<QueryLog>,
    /// Random.
    pub seed: [u64; 4],
}

impl Shared {
    #[must_use]
    pub fn new(parts: Parts) -> Arc<Self> {
        let settings = parts.settings;
        let limit = |size: u64| usize::try_from(size).unwrap_or(usize::MAX);
        Arc::new(Self {
            learned: Arc::default(),
            catalog_asked: Arc::default(),
            probe_asked: Arc::default(),
            lanes: LaneServers::of(&settings),
            primary: parts.primary,
            replicas: parts.replicas,
            snapshot: parts.snapshot,
            front: parts.front,
            console: parts.console,
            meters: parts.meters,
            policies: parts.policies,
            query_log: parts.query_log,
            mailboxes: DashMap::default(),
            clients: AtomicUsize::new(0),
            crowd: Crowd::default(),
            turning_away: Semaphore::new(TURNING_AWAY),
            client_log: Limiter::new(client_log::BOUND.0, client_log::BOUND.1),
            silence_log: Limiter::new(client_log::BOUND.0, client_log::BOUND.1),
            buffered: Account::new(limit(settings.limits.max_buffered_bytes.0)),
            throttles: Throttles::new(settings.limits.max_counted_values, parts.seed),
            max_statement_bytes: limit(settings.guard.max_statement_bytes.0),
            prepared_bytes: limit(settings.pool.prepared_statement_bytes.0),
            refused_pins: settings.pool.refuse_pins.iter().fold(Effects::NONE, |all, pin| all.and(pin.0)),
            plan: plan_terms(&settings),
            desk: Arc::default(),
            schemas: DashMap::default(),
            next_client: AtomicU64::new(1),
            draining: AtomicBool::new(false),
            settings,
        })
    }
}

fn plan_terms(settings: &Settings) -> PlanTerms {
    let plan = &settings.plan;
    PlanTerms {
        rows: (plan.mode != PlanMode::Off).then_some(plan.min_rows as u64),
        background: plan.mode == PlanMode::Background,
        deadline_ms: u64::try_from(plan.deadline.as_millis()).unwrap_or(u64::MAX).max(1),
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
    /// What is known of statements that run code we do not see.
    pub(super) trust: RefCell<Trust>,
    pub(super) deadlines: Deadlines,
    /// The counters of the rules that the guard goes by.
    pub(super) rules: RefCell<RuleMap>,
    /// Of the query log, if there is one.
    pub(super) pen: Option<Pen>,
    /// What is known of plans.
    pub(super) planner: RefCell<Planner>,
    /// A question to the planner was answered.
    pub(super) planned: Notify,
    idents: RefCell<HashMap<IdentKey, Met>>,
    pub(super) turn: std::cell::Cell<usize>,
}

/// Buffers and machines that one poll at a time uses.
pub(super) struct Work {
    pub(super) scratch: Box<[u8]>,
    pub(super) spill: Vec<u8>,
    pub(super) down: Vec<u8>,
    pub(super) guard: Guard,
    pub(super) statements: Interner,
    pub(super) snapshot: snapshot::Reader,
    /// What the guard goes by.
    pub(super) policies: Option<Arc<Published>>,
    /// Some policy may route elsewhere than to the primary.
    pub(super) routes: bool,
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
    /// Behind them those of the lanes.
    pub replicas: Vec<Arc<KeyPool>>,
    /// The pool mode lets a statement run elsewhere than its neighbours, and there is an elsewhere.
    pub may_route: bool,
    /// Unnamed statements may be prepared under a name of ours.
    pub reuse_unnamed: bool,
    /// Settings of the application's own that its statements name.
    pub(super) custom_settings: RefCell<Vec<Box<str>>>,
    /// Changes of this database's schema that passed through us.
    pub schema: Arc<AtomicU64>,
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
        let desk = Arc::clone(&shared.desk);
        let planner = Planner::new(&shared.settings, index, desk, Arc::clone(&meters));
        let work = Work {
            scratch: vec![0; SCRATCH].into_boxed_slice(),
            spill: Vec::new(),
            down: Vec::new(),
            guard,
            statements,
            snapshot,
            policies: None,
            routes: false,
        };
        Rc::new(Self {
            deadlines: Deadlines::new(&shared.settings),
            index,
            pen: shared.query_log.as_ref().map(|log| log.pen(seed[0])),
            shared,
            meters,
            work: RefCell::new(work),
            trust: RefCell::default(),
            rules: RefCell::default(),
            planner: RefCell::new(planner),
            planned: Notify::new(),
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

    /// Hands on what the guard learned.
    pub(super) fn hand_on_learned(&self) {
        let Ok(mut work) = self.work.try_borrow_mut() else { return };
        let learned = work.guard.take_learned();
        if !learned.is_empty() {
            self.shared.learned.add(learned);
        }
    }

    /// Takes up plans that were asked for elsewhere, and hands on what is known of statements with advice.
    pub(super) fn follow_planner(&self) {
        let mut planner = self.planner.borrow_mut();
        let _ = planner.listen();
        planner.hand_on(self.shared.meters.advice());
    }

    /// Takes up catalogs that were published since.
    pub(super) fn take_catalogs(&self) {
        let Ok(mut work) = self.work.try_borrow_mut() else { return };
        let Work { guard, snapshot, .. } = &mut *work;
        let catalogs = &snapshot.load().catalogs;
        if !Arc::ptr_eq(catalogs, guard.catalogs()) {
            guard.set_catalogs(Arc::clone(catalogs));
            self.planner.borrow_mut().clear();
        }
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
        server.card.clean();
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
}

impl Ident {
    /// What such a client is told of a setting at login.
    pub(super) fn reported(&self, name: &str) -> Option<&str> {
        self.reported.iter().find(|(known, _)| known.as_ref() == name).map(|(_, value)| value.as_ref())
    }

    /// The counters of a server's pool.
    #[inline]
    pub(super) fn meter_of(&self, server: &Server) -> &Arc<PoolMeter> {
        match (server.backend.lane(), server.permit.pool()) {
            (Lane::Primary, _) | (_, None) => &self.primary_meter,
            (_, Some(pool)) => self.meter(pool),
        }
    }

    /// The counters of a pool of this combination.
    pub(super) fn meter(&self, pool: &Arc<KeyPool>) -> &Arc<PoolMeter> {
        let at = self.replicas.iter().position(|p| Arc::ptr_eq(p, pool));
        at.and_then(|i| self.replica_meters.get(i)).unwrap_or(&self.primary_meter)
    }
}
