//! Server connections: few, capped, lent to many clients.
//!
//! A [`Node`] is one PostgreSQL server with one cap over all its connections. A [`KeyPool`] holds those of one
//! user and database; idle ones lie on a stack per data thread, last in first out, so that the hot path
//! touches nothing another thread writes. Only when a thread is dry does it meet the others: in the node's
//! queue, first come first served, with direct hand-over.

mod connect_error;
pub mod hosts;
pub mod key;
pub mod login;
pub mod open;
pub mod reset;
mod queue;
mod quota;
mod server;

pub use queue::{Entered, Grant, Permit, Waiting};
pub use server::Server;

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
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
    pub server_connect_timeout: Duration,
    /// `None`: for ever.
    pub server_idle_timeout: Option<Duration>,
    pub server_login_retry: Duration,
    pub max_prepared_statements: usize,
}

/// One PostgreSQL server.
pub struct Node {
    /// `host:port`, the label in metrics.
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
    state: Mutex<NodeState>,
    /// One line a second about log-ins that failed: thousands of clients may wait for the same server.
    trouble: Limiter,
    next_serial: AtomicUsize,
    pools: DashMap<(Arc<str>, Arc<str>), Arc<KeyPool>, ahash::RandomState>,
}

/// The connections of one user to one database of one server.
pub struct KeyPool {
    pub node: Arc<Node>,
    pub user: Arc<str>,
    /// As clients name it; on the server it is `terms.dbname`.
    pub database: Arc<str>,
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
            state: Mutex::default(),
            trouble: Limiter::new(1, 1),
            next_serial: AtomicUsize::new(0),
            pools: DashMap::default(),
        })
    }

    /// The pool of a user and database, made if it is new. Bounded by the roles and databases that exist: it is
    /// called only after the client has proved who it is.
    #[must_use]
    pub fn pool(self: &Arc<Self>, user: &str, database: &str) -> Arc<KeyPool> {
        let (name, db): (Arc<str>, Arc<str>) = (user.into(), database.into());
        let entry = self.pools.entry((Arc::clone(&name), Arc::clone(&db))).or_insert_with(|| {
            let serial = self.next_serial.fetch_add(1, Ordering::Relaxed);
            let terms = self.settings.terms(user, database);
            Arc::new(KeyPool {
                node: Arc::clone(self),
                quotas: self.quotas.of(&name, &db, &terms),
                user: name,
                database: db,
                terms,
                idle: (0..self.threads).map(|_| Mutex::default()).collect(),
                open: AtomicUsize::new(0),
                logging_in: AtomicUsize::new(0),
                logins: Default::default(),
                serial,
                login: Mutex::default(),
            })
        });
        Arc::clone(&entry)
    }

    /// Every pool's connections now, the oldest pool first.
    #[must_use]
    pub fn census(&self) -> Vec<Census> {
        let mut pools: Vec<_> = self.pools.iter().map(|entry| Arc::clone(&entry)).collect();
        pools.sort_unstable_by_key(|pool| pool.serial);
        pools.iter().map(|pool| pool.census()).collect()
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

    /// An idle server of this thread, if nobody has a better claim. No waiting, no allocation.
    #[must_use]
    pub fn try_checkout(&self, thread: usize) -> Option<Box<Server>> {
        if self.is_claimed() {
            return None;
        }
        self.pop(thread)
    }

    fn pop(&self, thread: usize) -> Option<Box<Server>> {
        lock(self.idle.get(thread)?).pop()
    }

    /// An idle server of any thread.
    fn steal(&self, thread: usize) -> Option<Box<Server>> {
        let n = self.idle.len();
        (0..n).find_map(|i| self.pop((thread + i) % n))
    }

    /// Takes an idle, clean server back: for the next in the queue, or onto its thread's stack.
    pub fn checkin(self: &Arc<Self>, mut server: Box<Server>) {
        let now = Instant::now();
        if now >= server.expires {
            return; // its permit goes with it, to whoever waits
        }
        server.idle_since = now;
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
        self.terms.min_pool_size.saturating_sub(self.open.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Host, Secret};
    use crate::proxy::tls::ServerTls;

    /// A node of one connection, with more settings.
    pub(super) fn node_with(port: u16, pool_size: usize, settings: &str) -> Arc<Node> {
        let second = Duration::from_secs(1);
        let limits = Limits {
            pool_size,
            server_connect_timeout: second,
            server_idle_timeout: None,
            server_login_retry: second,
            max_prepared_statements: 0,
        };
        let source = crate::document::Source::new("t.toml", settings);
        let loaded = crate::config::load_text(&source, std::path::Path::new(""), &[]);
        assert!(loaded.problems.is_empty(), "{:?}", loaded.problems);
        let host = Host::Tcp("127.0.0.1".to_owned(), port);
        let target = Target { host, tls: ServerTls::disabled(), connect_timeout: second };
        Node::new("primary", target, Lane::Primary, limits, &Arc::new(loaded.settings), 1)
    }

    pub(super) fn node(port: u16) -> Arc<Node> {
        node_with(port, 1, "")
    }

    #[test]
    fn a_refused_key_is_forgotten_and_a_newer_one_is_not() {
        let pool = node(1).pool("ann", "shop");
        let key = || LoginKey::Password(Arc::new(key::Password::new(Secret::new("secret"))));
        let (refused, newer) = (key(), key());
        pool.set_login(&refused);
        pool.set_login(&newer);
        pool.unset_login(&refused);
        assert!(pool.login().is(&newer));
        pool.unset_login(&newer);
        assert!(pool.login().is(&LoginKey::None));
    }

    #[test]
    fn the_census_keeps_its_order() {
        let node = node(1);
        let names: Vec<_> = (0..500).rev().map(|n| format!("user{n}")).collect();
        for name in &names {
            let _ = node.pool(name, "shop");
        }
        assert!(node.census().iter().map(|row| &*row.user).eq(names.iter()));
    }
}
