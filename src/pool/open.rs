//! Opening a connection: log in, and try again while the server is merely not there.

use std::time::{Duration, Instant};

use super::card::Shown;
use super::key::LoginKey;
use super::login::{self, ConnectError};
use super::owner::NOBODY;
use super::queue::{Grant, Permit};
use super::reset::{self, AskError};
use super::server::Server;
use super::{KeyPool, LoginNotices, Purpose};
use crate::proxy::pipe::Pipe;
use crate::session::Backend;
use crate::wire::backend as view;
use crate::wire::reply;
use crate::wire::sqlstate::{self, SqlState};

const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// Why no connection could be opened.
#[derive(Debug)]
pub enum OpenError {
    Connect(ConnectError),
    /// The connection broke before its first use.
    Io(std::io::Error),
    /// The server refused `connect_query`: its ErrorResponse.
    ConnectQuery(Box<[u8]>),
    /// The permit's pool is gone: a fault of ours.
    Lost,
}

impl OpenError {
    /// What the client is told: the server's own words where it said any.
    #[must_use]
    pub fn for_client(&self) -> (SqlState, String) {
        match self {
            Self::Connect(ConnectError::Server { error, .. }) => {
                (error.sqlstate().try_into().unwrap_or(sqlstate::CANNOT_CONNECT), error.message())
            }
            Self::Connect(error) => (error.sqlstate(), error.to_string()),
            Self::Io(error) => (sqlstate::CONNECTION_FAILURE, format!("server connection failed: {error}")),
            Self::ConnectQuery(body) => {
                let text = |code| view::field(body, code).unwrap_or_default();
                let message = format!("connect_query: {}", String::from_utf8_lossy(text(b'M')));
                (text(b'C').try_into().unwrap_or(sqlstate::CONNECTION_FAILURE), message)
            }
            Self::Lost => (sqlstate::INTERNAL_ERROR, "the pool is gone".to_owned()),
        }
    }

    /// Appends the error that ends a login: the server's own frame where it sent one.
    pub fn reply(&self, out: &mut Vec<u8>) {
        match self {
            Self::Connect(error) => error.reply(out),
            Self::Io(_) | Self::ConnectQuery(_) | Self::Lost => {
                let (code, message) = self.for_client();
                reply::error_response(out, reply::Severity::Fatal, code, &message, "", "");
            }
        }
    }
}

/// Makes a server of what the queue granted. `None`: an idle one that died meanwhile or can't move to this thread;
/// it is dropped, its place comes free, ask again.
///
/// # Errors
/// As [`open`].
pub async fn redeem(
    grant: Grant,
    pool: &KeyPool,
    thread: usize,
    deadline: Option<Instant>,
) -> Result<Option<Box<Server>>, OpenError> {
    match grant {
        Grant::Server(server) => Ok(server.rehome(thread).ok().and_then(|mut server| {
            let dead = server.is_dead();
            (!dead).then_some(server)
        })),
        Grant::Permit(permit) => open(permit, &pool.login(), thread, deadline).await.map(Some),
    }
}

/// Opens a connection. A server that is down, starting or full is asked again, with pauses that double from
/// 50 ms (with jitter), until `deadline`; a refusal of this user or database is final.
///
/// # Errors
/// The last [`ConnectError`].
pub async fn open(
    permit: Permit,
    key: &LoginKey,
    thread: usize,
    deadline: Option<Instant>,
) -> Result<Box<Server>, OpenError> {
    open_with(permit, key, &[], thread, deadline).await
}

/// The same with start-up parameters beside user and database.
///
/// # Errors
/// As [`open`].
pub async fn open_with(
    permit: Permit,
    key: &LoginKey,
    parameters: &[(&str, &str)],
    thread: usize,
    deadline: Option<Instant>,
) -> Result<Box<Server>, OpenError> {
    let Some(pool) = permit.pool().cloned() else { return Err(OpenError::Lost) };
    let _logging_in = pool.logging_in();
    let node = &pool.node;
    let mut pause = FIRST_PAUSE;
    loop {
        let attempt = node.hosts.connect(&pool.user, &pool.terms.dbname, key, parameters).await;
        pool.logged_in(attempt.is_ok());
        let error = match attempt {
            Ok((host, mut greeting)) => {
                pool.set_notices(LoginNotices::of(&mut greeting));
                let card = Shown::new(&pool, &greeting.stream, greeting.pid);
                return prepared(Box::new(welcome((host, greeting), card, permit, thread, &pool)), &pool)
                    .await;
            }
            Err(error) => error,
        };
        let rest = jitter(pause);
        let hopeless = !may_pass(&error) || deadline.is_some_and(|d| Instant::now() + rest >= d);
        node.complain(&pool, &error);
        if error.is_authentication() {
            pool.unset_login(key);
        }
        if hopeless {
            return Err(OpenError::Connect(error));
        }
        tokio::time::sleep(rest).await;
        pause = (pause * 2).min(node.limits.server_login_retry);
    }
}

/// Runs the connect query, once, before anybody uses the connection.
async fn prepared(mut server: Box<Server>, pool: &KeyPool) -> Result<Box<Server>, OpenError> {
    // A connection that is one client's own may not know SQL at all.
    let query = pool.terms.connect_query.as_ref().filter(|_| pool.purpose == Purpose::Shared);
    let Some(sql) = query else { return Ok(server) };
    let limit = pool.node.limits.server_connect_timeout;
    let late =
        || AskError::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, "connect_query takes too long"));
    let asked = tokio::time::timeout(limit, reset::ask(&mut server, sql)).await;
    match asked.unwrap_or_else(|_| Err(late())) {
        Ok(()) if server.backend.idle() => {
            server.backend.connected_with(sql);
            Ok(server)
        }
        Ok(()) => {
            let why = "connect_query leaves a transaction open";
            Err(OpenError::Io(std::io::Error::new(std::io::ErrorKind::InvalidData, why)))
        }
        Err(AskError::Io(error)) => Err(OpenError::Io(error)),
        Err(AskError::Server(body)) => {
            let error = view::field(&body, b'M').unwrap_or_default();
            let (user, database, error) = (&pool.user, &pool.database, String::from_utf8_lossy(error));
            tracing::warn!(server = %pool.node.name, %user, %database, %error, "connect_query failed");
            Err(OpenError::ConnectQuery(body))
        }
    }
}

/// Whether the same question may be answered otherwise in a while.
pub(super) fn may_pass(error: &ConnectError) -> bool {
    match error {
        ConnectError::Server { error, .. } => [sqlstate::TOO_MANY_CONNECTIONS, sqlstate::CANNOT_CONNECT_NOW]
            .iter()
            .any(|code| error.sqlstate() == code),
        ConnectError::Local(_)
        | ConnectError::Unreachable { .. }
        | ConnectError::Timeout { .. }
        | ConnectError::Unfit { .. } => true,
        _ => false,
    }
}

fn welcome(
    (host, greeting): (usize, login::ServerGreeting),
    card: Shown,
    permit: Permit,
    thread: usize,
    pool: &KeyPool,
) -> Server {
    let lane = pool.node.lane;
    let reported = greeting.parameters.into_iter().map(|(k, v)| (String::from(k), String::from(v)));
    let now = Instant::now();
    // Up to a tenth earlier, so that connections opened together do not end together.
    let lifetime = pool.terms.server_lifetime;
    let lifetime = lifetime - lifetime.mul_f64(random() * 0.1);
    Server {
        pipe: Pipe::new(greeting.stream),
        backend: Backend::new(lane, pool.node.limits.max_prepared_statements, reported),
        carry: Vec::new(),
        pid: greeting.pid,
        cancel_key: greeting.cancel_key,
        host,
        thread,
        idle_since: now,
        owner: NOBODY,
        used: false,
        worn: false,
        expires: now + lifetime,
        canceling: None,
        card,
        permit,
    }
}

/// Between half and the whole of `pause`.
fn jitter(pause: Duration) -> Duration {
    pause.mul_f64(0.5 + random() * 0.5)
}

/// From 0 to 1, good enough to spread things.
pub(super) fn random() -> f64 {
    use std::hash::{BuildHasher, RandomState};
    (RandomState::new().hash_one(0u8) >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use super::*;
    use crate::config::Secret;
    use crate::pool::key::Password;
    use crate::pool::{Entered, Grant, tests::node};
    use crate::wire::reply::{self, Severity};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    #[tokio::test]
    async fn a_refusal_is_counted_and_costs_the_key() {
        let server = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let pool = node(server.local_addr().unwrap().port()).pool("ann", "shop");
        let key = LoginKey::Password(Arc::new(Password::new(Secret::new("old"))));
        pool.set_login(&key);
        let Entered::Granted(Grant::Permit(permit)) = pool.enter(0, 1) else { panic!("there is room") };
        let refuse = async {
            let mut stream = server.accept().await.unwrap().0;
            let _ = stream.read(&mut [0; 512]).await.unwrap();
            let mut out = Vec::new();
            reply::error_response(&mut out, Severity::Fatal, sqlstate::INVALID_PASSWORD, "no", "", "");
            stream.write_all(&out).await.unwrap();
        };
        let (opened, ()) = tokio::join!(open(permit, &key, 0, None), refuse);
        assert!(matches!(opened, Err(OpenError::Connect(ConnectError::Server { .. }))));
        assert!(pool.login().is(&LoginKey::None));
        assert_eq!(pool.node.census()[0].logins, [0, 1]);
    }
}
