//! What holds for one user and database: a user's section wins over a database's, that over what holds for all.

use std::sync::Arc;
use std::time::Duration;

use super::settings::Settings;
use super::value::PoolMode;

/// The settings of one user and database.
#[derive(Clone, Debug)]
pub struct Terms {
    /// The database's name on the server.
    pub dbname: Arc<str>,
    pub pool_mode: PoolMode,
    /// Most connections of the pair, besides the server's own cap.
    pub pool_size: Option<usize>,
    pub min_pool_size: usize,
    pub reserve_pool_size: usize,
    pub reserve_pool_timeout: Duration,
    /// Most connections of the user and of the database.
    pub max_user_connections: Option<usize>,
    pub max_db_connections: Option<usize>,
    /// `None`: for ever.
    pub query_wait_timeout: Option<Duration>,
    pub query_wait_notify: Option<Duration>,
    pub server_lifetime: Duration,
    pub connect_query: Option<Arc<str>>,
    /// Unnamed statements may be kept under a name.
    pub reuse_unnamed: bool,
    pub times: Times,
}

/// How long a client may take; `None`: for ever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    pub client_idle: Option<Duration>,
    pub idle_transaction: Option<Duration>,
    pub transaction: Option<Duration>,
    pub query: Option<Duration>,
    pub client_write: Option<Duration>,
}

impl Times {
    /// The shortest that is set.
    #[must_use]
    pub fn shortest(&self) -> Option<Duration> {
        let all = [self.client_idle, self.idle_transaction, self.transaction, self.query, self.client_write];
        all.into_iter().flatten().min()
    }
}

fn some(time: Duration) -> Option<Duration> {
    (!time.is_zero()).then_some(time)
}

fn limit(n: usize) -> Option<usize> {
    (n > 0).then_some(n)
}

impl Settings {
    /// What holds for a user and a database, both as the client gives them.
    #[must_use]
    pub fn terms(&self, user: &str, database: &str) -> Terms {
        let db = self.databases.get(database).or_else(|| self.databases.get("*"));
        let role = self.users.get(user).or_else(|| self.users.get("*"));
        // The user's, else the database's, else the one for all.
        macro_rules! pick {
            ($all:expr, db $(, $role:ident)? : $key:ident) => {{
                let own = None$(.or_else(|| $role.and_then(|r| r.$key.clone())))?;
                own.or_else(|| db.and_then(|d| d.$key.clone())).unwrap_or_else(|| $all.clone())
            }};
        }
        let (pool, times) = (&self.pool, &self.timeouts);
        let user_cap = role.and_then(|r| r.max_user_connections).unwrap_or(pool.max_user_connections);
        let pair = role.and_then(|r| r.pool_size).or_else(|| db.and_then(|d| d.pool_size));
        let connect_query = db.and_then(|d| d.connect_query.clone()).or_else(|| pool.connect_query.clone());
        Terms {
            dbname: db.and_then(|d| d.dbname.as_deref()).unwrap_or(database).into(),
            pool_mode: pick!(pool.pool_mode, db, role: pool_mode),
            pool_size: pair,
            // What no connection can be opened for is not missed.
            min_pool_size: pick!(pool.min_pool_size, db: min_pool_size).min(pair.unwrap_or(usize::MAX)),
            reserve_pool_size: pick!(pool.reserve_pool_size, db, role: reserve_pool_size),
            reserve_pool_timeout: pool.reserve_pool_timeout,
            max_user_connections: limit(user_cap),
            max_db_connections: limit(pick!(pool.max_db_connections, db: max_db_connections)),
            query_wait_timeout: some(pick!(pool.query_wait_timeout, db, role: query_wait_timeout)),
            query_wait_notify: some(pool.query_wait_notify),
            server_lifetime: pick!(pool.server_lifetime, db: server_lifetime),
            connect_query: connect_query.filter(|sql| !sql.trim().is_empty()).map(Arc::from),
            reuse_unnamed: db.and_then(|d| d.reuse_unnamed).unwrap_or(pool.reuse_unnamed),
            times: Times {
                client_idle: some(pick!(times.client_idle_timeout, db, role: client_idle_timeout)),
                idle_transaction: some(
                    pick!(times.idle_transaction_timeout, db, role: idle_transaction_timeout),
                ),
                transaction: some(pick!(times.transaction_timeout, db, role: transaction_timeout)),
                query: some(pick!(times.query_timeout, db, role: query_timeout)),
                client_write: some(pick!(times.client_write_timeout, db, role: client_write_timeout)),
            },
        }
    }

    /// Most clients of a user at once.
    #[must_use]
    pub fn user_clients(&self, user: &str) -> Option<usize> {
        let role = self.users.get(user).or_else(|| self.users.get("*"));
        limit(
            role.and_then(|r| r.max_user_client_connections).unwrap_or(self.pool.max_user_client_connections),
        )
    }

    /// Most clients of a database at once.
    #[must_use]
    pub fn database_clients(&self, database: &str) -> Option<usize> {
        let db = self.databases.get(database).or_else(|| self.databases.get("*"));
        limit(db.and_then(|d| d.max_db_client_connections).unwrap_or(self.pool.max_db_client_connections))
    }

    /// The shortest of all timeouts, whoever it is for.
    #[must_use]
    pub fn shortest_timeout(&self) -> Option<Duration> {
        let users = self.users.keys().map(|user| self.terms(user, "\0"));
        let databases = self.databases.keys().map(|database| self.terms("\0", database));
        let all = users.chain(databases).chain([self.terms("\0", "\0")]);
        all.filter_map(|terms| terms.times.shortest()).min()
    }
}
