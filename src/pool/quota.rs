//! Caps below the server's own: of a user and database together, of a user, of a database.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use dashmap::DashMap;

use crate::config::Terms;

/// A cap that several pools may share.
#[derive(Debug)]
pub(super) struct Quota {
    of: Of,
    limit: usize,
    /// Open or being opened. Changed under the node's lock, but for a connection that closes.
    open: AtomicUsize,
    /// Clients in the queue that a cap of their own keeps from a free place. Read without the lock.
    pub(super) waiting: AtomicUsize,
}

#[derive(Debug)]
enum Of {
    Pair(Arc<str>, Arc<str>),
    User(Arc<str>),
    Database(Arc<str>),
}

/// The caps by user and by database of one server.
#[derive(Default)]
pub(super) struct Quotas {
    users: DashMap<Arc<str>, Arc<Quota>, ahash::RandomState>,
    databases: DashMap<Arc<str>, Arc<Quota>, ahash::RandomState>,
}

impl Quotas {
    /// Those that hold for a user and database; most have none.
    pub(super) fn of(&self, user: &Arc<str>, database: &Arc<str>, terms: &Terms) -> Box<[Arc<Quota>]> {
        let pair = terms.pool_size.map(|n| Quota::new(Of::Pair(user.clone(), database.clone()), n));
        let one =
            |map: &DashMap<_, Arc<Quota>, _>, name: &Arc<str>, limit: Option<usize>, of: fn(_) -> Of| {
                let fresh = |n| {
                    Arc::clone(&map.entry(name.clone()).or_insert_with(|| Quota::new(of(name.clone()), n)))
                };
                limit.map(fresh)
            };
        let of_user = one(&self.users, user, terms.max_user_connections, Of::User);
        let of_database = one(&self.databases, database, terms.max_db_connections, Of::Database);
        pair.into_iter().chain(of_user).chain(of_database).collect()
    }
}

impl Quota {
    fn new(of: Of, limit: usize) -> Arc<Self> {
        Arc::new(Self { of, limit, open: AtomicUsize::new(0), waiting: AtomicUsize::new(0) })
    }

    pub(super) fn take(&self) {
        self.open.fetch_add(1, Ordering::SeqCst);
    }

    pub(super) fn give(&self) {
        self.open.fetch_sub(1, Ordering::SeqCst);
    }

    /// Nothing more fits. The reserve is the pair's: no user and no database goes beyond its own cap.
    pub(super) fn is_full(&self, reserve: usize) -> bool {
        self.lacks(reserve, 0)
    }

    /// Nothing more would fit if `closing` connections were gone.
    pub(super) fn lacks(&self, reserve: usize, closing: usize) -> bool {
        let extra = if matches!(self.of, Of::Pair(..)) { reserve } else { 0 };
        self.open.load(Ordering::SeqCst) >= self.limit + extra + closing
    }

    pub(super) fn limit(&self) -> usize {
        self.limit
    }
}

/// The setting's name, and whom it is for.
impl fmt::Display for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.of {
            Of::Pair(user, database) => {
                write!(f, "pool_size of user \"{user}\" and database \"{database}\"")
            }
            Of::User(user) => write!(f, "max_user_connections of user \"{user}\""),
            Of::Database(database) => write!(f, "max_db_connections of database \"{database}\""),
        }
    }
}
