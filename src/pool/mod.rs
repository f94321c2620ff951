//! Server connections: few, capped, lent to many clients.
//!
//! A [`Node`] is one PostgreSQL server with one cap over all its connections. A [`KeyPool`] holds those of one
//! user and database; idle ones lie on a stack per data thread, last in first out, so that the hot path
//! touches nothing another thread writes. Only when a thread is dry does it meet the others: in the node's
//! queue, first come first served, with direct hand-over.

/// What the console shows of a connection.
pub mod card;
mod connect_error;
pub mod hosts;
pub mod key;
pub mod login;
mod notices;
pub mod open;
mod prove;
pub mod reset;
mod owner;
mod queue;
mod quota;
mod server;

pub use notices::LoginNotices;
pub use owner::{ClientId, NOBODY, Pinned, Worth};
pub use queue::{Entered, Grant, Permit, Waiting};
pub use server::Server;

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use dashmap::DashMap;

use crate::config::{Settings, Terms};
use crate::guard::Lane;
use crate::observe::limiter::Limiter;
use crate::pool::hosts::Hosts;
use crate::pool::key::LoginKey;
use crate::pool::login::Target;
use queue::NodeState;
use quota::{Quota, Quotas};

/// What holds for a server, whoever uses it. From the settings.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Most connections to one server.
    pub pool_size: usize,
    /// The setting that says so.
    pub pool_size_setting: Arc<str>,
    /// Of these: most that clients may hold for their session state.
    pub max_pinned: usize,
    pub server_connect_timeout: Duration,
    /// `None`: for ever.
    pub server_idle_timeout: Option<Duration>,
    pub server_login_retry: Duration,
    pub max_prepared_statements: usize,
}

/// One PostgreSQL server.
pub struct Node {
    /// The label in metrics: `primary`, `replica1`, `analytics1`.
    pub name: Arc<str>,
    /// The first of its hosts.
    pub target: Target,
    pub hosts: Hosts,
    pub lane: Lane,
    pub limits: Limits,
    /// What holds for each user and database.
    settings: Arc<Settings>,
    quotas: Quotas,
    threads: usize,
    /// Clients in the queue that are not blocked by a cap of their own. Read without the lock: zero is the common case.
    waiting: AtomicUsize,
    /// Clients that hold a server for their session state.
    pinned: AtomicUsize,
    /// At the last look there was no place for another connection. A hint, read without the lock.
    full: AtomicBool,
    state: Mutex<NodeState>,
    /// One line a second about log-ins that failed: thousands of clients may wait for the same server.
    trouble: Limiter,
    next_serial: AtomicUsize,
    /// Of every connection that has logged in, by number.
    cards: DashMap<u64, Arc<card::ServerCard>, ahash::RandomState>,
    pools: DashMap<Whose, Arc<KeyPool>, ahash::RandomState>,
}

/// User, database, purpose.
type Whose = (Arc<str>, Arc<str>, Purpose);

/// Whom the connections of a pool serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// One client after the other.
    Shared,
    /// Each the client that it was opened for (replication): never idle, never handed on.
    Dedicated,
}

/// The connections of one user to one database of one server.
pub struct KeyPool {
    pub node: Arc<Node>,
    pub user: Arc<str>,
    /// As clients name it; on the server it is `terms.dbname`.
    pub database: Arc<str>,
    pub purpose: Purpose,
    pub terms: Terms,
    /// Caps below the node's own.
    quotas: Box<[Arc<Quota>]>,
    /// One stack per data thread. Boxed: a server moves between stack and client at each transaction.
    #[allow(clippy::vec_box, reason = "a pointer moves, not a connection's state")]
    idle: Box<[Mutex<Vec<Box<Server>>>]>,
    /// Open or being opened.
    open: AtomicUsize,
    /// Being opened.
    logging_in: AtomicUsize,
    /// Log-ins that ended: succeeded, failed.
    logins: [AtomicU64; 2],
    /// Its place among the node's pools, first come, first numbered.
    serial: usize,
    /// What new connections log in with: what the last client's own login yielded.
    login: Mutex<LoginKey>,
    /// What the server had to say when the last connection was opened.
    notices: Mutex<Arc<LoginNotices>>,
}

/// What the pool holds, for metrics and the console.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Census {
    pub user: Arc<str>,
    pub database: Arc<str>,
    pub login: usize,
    pub idle: usize,
    pub active: usize,
    /// Log-ins that ended, since the start: succeeded, failed.
    pub logins: [u64; 2],
}

impl Census {
    fn add(&mut self, other: &Self) {
        self.login += other.login;
        self.idle += other.idle;
        self.active += other.active;
        self.logins.iter_mut().zip(other.logins).for_each(|(all, more)| *all += more);
    }
}

/// A log-in under way.
pub struct LoggingIn(Arc<KeyPool>);

impl Drop for LoggingIn {
    fn drop(&mut self) {
        self.0.logging_in.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A panic while the lock is held leaves counts that are still true: go on with them.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Node {
    #[must_use]
    pub fn new(
        name: &str,
        target: Target,
        lane: Lane,
        limits: Limits,
        settings: &Arc<Settings>,
        threads: usize,
    ) -> Arc<Self> {
        let hosts = Hosts::only(&target);
        Self::with_hosts(name, hosts, lane, limits, settings, threads)
    }

    /// With several hosts.
    #[must_use]
    pub fn with_hosts(
        name: &str,
        hosts: Hosts,
        lane: Lane,
        limits: Limits,
        settings: &Arc<Settings>,
        threads: usize,
    ) -> Arc<Self> {
        Arc::new(Self {
            name: name.into(),
            target: hosts.target(0).clone(),
            hosts,
            lane,
            limits,
            settings: Arc::clone(settings),
            quotas: Quotas::default(),
            threads: threads.max(1),
            waiting: AtomicUsize::new(0),
            pinned: AtomicUsize::new(0),
            full: AtomicBool::new(false),
            state: Mutex::default(),
            trouble: Limiter::new(1, 1),
            next_serial: AtomicUsize::new(0),
            cards: DashMap::default(),
            pools: DashMap::default(),
        })
    }

    /// The pool of a user and database, made if it is new. Bounded by the roles and databases that exist: it is
    /// called only after the client has proved who it is.
    #[must_use]
    pub fn pool(self: &Arc<Self>, user: &str, database: &str) -> Arc<KeyPool> {
        self.pool_for(user, database, Purpose::Shared)
    }

    /// The same for connections of that purpose.
    #[must_use]
    pub fn pool_for(self: &Arc<Self>, user: &str, database: &str, purpose: Purpose) -> Arc<KeyPool> {
        let (name, db): (Arc<str>, Arc<str>) = (user.into(), database.into());
        let entry = self.pools.entry((Arc::clone(&name), Arc::clone(&db), purpose)).or_insert_with(|| {
            let serial = self.next_serial.fetch_add(1, Ordering::Relaxed);
            let mut terms = self.settings.terms(user, database);
            if matches!(self.lane, Lane::Named(_)) {
                (terms.reserve_pool_size, terms.min_pool_size) = (0, 0);
            }
            Arc::new(KeyPool {
                node: Arc::clone(self),
                quotas: self.quotas.of(&name, &db, &terms),
                user: name,
                database: db,
                purpose,
                terms,
                idle: (0..self.threads).map(|_| Mutex::default()).collect(),
                open: AtomicUsize::new(0),
                logging_in: AtomicUsize::new(0),
                logins: Default::default(),
                serial,
                login: Mutex::default(),
                notices: Mutex::default(),
            })
        });
        Arc::clone(&entry)
    }

    /// Every user's and database's connections now, the oldest pool first; dedicated ones count with the others.
    #[must_use]
    pub fn census(&self) -> Vec<Census> {
        let mut pools: Vec<_> = self.pools.iter().map(|entry| Arc::clone(&entry)).collect();
        pools.sort_unstable_by_key(|pool| (pool.purpose == Purpose::Dedicated, pool.serial));
        let mut rows: Vec<Census> = Vec::with_capacity(pools.len());
        for pool in pools {
            let row = pool.census();
            let known = match pool.purpose {
                Purpose::Shared => None,
                Purpose::Dedicated => {
                    rows.iter_mut().find(|known| known.user == row.user && known.database == row.database)
                }
            };
            match known {
                Some(known) => known.add(&row),
                None => rows.push(row),
            }
        }
        rows
    }

    /// The cards of all connections, the oldest first.
    #[must_use]
    pub fn cards(&self) -> Vec<Arc<card::ServerCard>> {
        let mut cards: Vec<_> = self.cards.iter().map(|entry| Arc::clone(&entry)).collect();
        cards.sort_unstable_by_key(|card| card.id);
        cards
    }

    /// Logs that a log-in failed; bounded.
    pub(crate) fn complain(&self, pool: &KeyPool, error: &login::ConnectError) {
        let Some(suppressed) = self.trouble.admit(Instant::now()) else { return };
        let (user, database, suppressed) = (&pool.user, &pool.database, suppressed.field());
        tracing::warn!(server = %self.name, %user, %database, %error, suppressed, "no server connection");
    }

    /// Every pool, for upkeep.
    pub(crate) fn each_pool(&self, mut visit: impl FnMut(&Arc<KeyPool>)) {
        let pools: Vec<_> = self.pools.iter().map(|entry| Arc::clone(&entry)).collect();
        pools.iter().for_each(&mut visit);
    }
}

impl KeyPool {
    fn census(&self) -> Census {
        let idle = self.idle.iter().map(|stack| lock(stack).len()).sum::<usize>();
        let login = self.logging_in.load(Ordering::Relaxed);
        let open = self.open.load(Ordering::Relaxed);
        Census {
            user: Arc::clone(&self.user),
            database: Arc::clone(&self.database),
            login,
            idle,
            active: open.saturating_sub(idle + login),
            logins: [0, 1].map(|at| self.logins[at].load(Ordering::Relaxed)),
        }
    }

    /// An idle server of this thread for a client, if nobody has a better claim. No waiting, no allocation. As long as
    /// there is room for another connection, none that is another client's.
    #[must_use]
    pub fn try_checkout(&self, thread: usize, client: ClientId) -> Option<Box<Server>> {
        if self.is_claimed() {
            return None;
        }
        self.take(thread, client, self.node.full.load(Ordering::Relaxed))
    }

    fn take(&self, thread: usize, client: ClientId, may_share: bool) -> Option<Box<Server>> {
        let mut idle = lock(self.idle.get(thread)?);
        let at = owner::choice(&idle, client, may_share)?;
        Some(idle.remove(at))
    }

    fn pop(&self, thread: usize) -> Option<Box<Server>> {
        lock(self.idle.get(thread)?).pop()
    }

    /// An idle server of any thread.
    fn steal(&self, thread: usize, client: ClientId, may_share: bool) -> Option<Box<Server>> {
        let n = self.idle.len();
        (0..n).find_map(|i| self.take((thread + i) % n, client, may_share))
    }

    /// The process id of an idle server of this thread that is the client's from now on, if there is one that was
    /// nobody's.
    #[must_use]
    pub fn claim(&self, thread: usize, client: ClientId, worth: Worth) -> Option<i32> {
        let mut gone = Vec::new();
        let mut idle = lock(self.idle.get(thread)?);
        // The one that has rested longest: its process id was another client's longest ago.
        let fits = |server: &Server| server.owner == NOBODY && !(worth == Worth::New && server.used);
        while let Some(at) = idle.iter().position(|server| fits(server)) {
            let mut server = idle.remove(at);
            if server.is_dead() {
                gone.push(server);
                continue;
            }
            server.belong_to(client);
            let pid = server.pid;
            idle.push(server);
            return Some(pid);
        }
        drop(idle);
        drop(gone); // outside the lock: their places go to whoever waits
        None
    }

    /// The client has left: what was its own is nobody's, or closed if it is worn.
    pub fn disown(&self, thread: usize, client: ClientId) {
        let Some(stack) = self.idle.get(thread) else { return };
        let mut idle = lock(stack);
        let Some(at) = idle.iter().position(|server| server.owner == client) else { return };
        let worn = idle.get(at).is_some_and(|server| server.worn).then(|| idle.remove(at));
        if let Some(server) = idle.get_mut(at).filter(|server| server.owner == client) {
            server.owner = NOBODY;
        }
        drop(idle);
        drop(worn); // outside the lock: its place goes to whoever waits
    }

    /// An idle server of the client's that has something to say: it is taken out, to be heard and closed.
    #[must_use]
    pub fn fallen(&self, thread: usize, client: ClientId) -> Option<Box<Server>> {
        let mut idle = lock(self.idle.get(thread)?);
        let at = idle.iter().position(|server| server.owner == client)?;
        let dead = idle.get_mut(at)?.is_dead();
        dead.then(|| idle.remove(at))
    }

    /// Takes an idle, clean server back: for the next in the queue, or onto its thread's stack.
    pub fn checkin(self: &Arc<Self>, mut server: Box<Server>) {
        let now = Instant::now();
        if now >= server.expires {
            return; // its permit goes with it, to whoever waits
        }
        server.idle_since = now;
        server.card.rest(now);
        if !self.is_claimed() {
            let thread = server.thread;
            match self.idle.get(thread) {
                Some(stack) => lock(stack).push(server),
                None => return,
            }
            // A client may have joined the queue between the look and the push, and not have seen this one.
            if !self.is_claimed() {
                return;
            }
            match self.pop(thread) {
                Some(again) => server = again,
                None => return,
            }
        }
        self.node.hand_over(server);
    }

    /// Closes servers of this thread that are past their time, or dead. Keeps `min_pool_size`.
    pub fn sweep(&self, thread: usize, now: Instant) {
        let Some(stack) = self.idle.get(thread) else { return };
        let limits = &self.node.limits;
        let mut gone = Vec::new();
        let mut stack = lock(stack);
        let mut i = 0;
        while let Some(server) = stack.get_mut(i) {
            let spare = self.open.load(Ordering::Relaxed) - gone.len() > self.terms.min_pool_size;
            let idle = limits.server_idle_timeout.is_some_and(|t| now.duration_since(server.idle_since) >= t);
            if now >= server.expires || (idle && spare) || server.is_dead() {
                gone.push(stack.remove(i));
            } else {
                i += 1;
            }
        }
        drop(stack);
        drop(gone); // outside the lock: permits go to whoever waits
    }

    /// A client has proved who it is: new connections log in with what that yielded.
    pub fn set_login(&self, key: &LoginKey) {
        *lock(&self.login) = key.clone();
    }

    /// The server does not take this key: it is forgotten, unless a later login has brought another one.
    pub fn unset_login(&self, refused: &LoginKey) {
        let mut login = lock(&self.login);
        if login.is(refused) {
            *login = LoginKey::None;
        }
    }

    #[must_use]
    pub fn login(&self) -> LoginKey {
        lock(&self.login).clone()
    }

    /// What the server said when the last connection was opened: whoever logs in would have been told the same.
    #[must_use]
    pub fn notices(&self) -> Arc<LoginNotices> {
        Arc::clone(&lock(&self.notices))
    }

    fn set_notices(&self, notices: LoginNotices) {
        *lock(&self.notices) = Arc::new(notices);
    }

    /// Counts a log-in until the guard is dropped.
    #[must_use]
    pub fn logging_in(self: &Arc<Self>) -> LoggingIn {
        self.logging_in.fetch_add(1, Ordering::Relaxed);
        LoggingIn(Arc::clone(self))
    }

    /// A log-in to the server ended. Rare beside all that a connection does, so any thread may count.
    pub(crate) fn logged_in(&self, succeeded: bool) {
        self.logins[usize::from(!succeeded)].fetch_add(1, Ordering::Relaxed);
    }

    /// How many connections are missing to `min_pool_size`.
    #[must_use]
    pub fn missing(&self) -> usize {
        if self.purpose == Purpose::Dedicated {
            return 0;
        }
        self.terms.min_pool_size.saturating_sub(self.open.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests;
