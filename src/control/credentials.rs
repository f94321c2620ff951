//! Users' stored secrets: from PgBouncer's `auth_file`, else from the primary through `auth_query`.
//!
//! [`Credentials`] is the data threads' end, [`Service`] runs on the control runtime and holds the connections.
//!
//! **No stale answer while the primary answers.** Each login sees a secret read after the login began, so that a
//! changed password, a `VALID UNTIL` that has passed, a dropped role count at once, as they do without us.
//! Logins of one user that wait at the same time share one query, so a storm of logins costs a few queries and
//! not one each. Only when the primary cannot be asked does the last answer count, for [`STALE_FOR`] at most.
//!
//! **Safe against what a client or a role can set.** The control connection fixes `search_path` in its start-up
//! packet (which beats ALTER ROLE and ALTER DATABASE), the query names every object and operator with its
//! schema, and nothing a client sends reaches that connection except the user's name as a bound parameter.
//!
//! **Roles without a password.** They are refused like a wrong password, with one exception that makes
//! `pgsluice run --primary postgres://postgres@127.0.0.1/…` work in front of a server that trusts this machine:
//! [`Credentials::lets_in`] says whether the client could have had the connection by itself. It takes all of
//! this: no secret is stored for the role (or none can be read at all); the client is on this machine; the
//! server is on this machine; and the server has let this user into this database, on a connection of our own a
//! moment ago, without asking for anything. Two methods look like trust and are not, because the server judged
//! *our* operating-system user and not the client's: `peer`, so over a unix socket the client must have come
//! over a unix socket too, as our own operating-system user; and `ident`, so over TCP no ident service may
//! listen here. A certificate of our own (`server_tls_cert_file`, `sslcert`) would be a third: who shows one to the
//! server lets nobody in by this.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, ArcSwapOption};
use quick_cache::sync::Cache;
use tokio::sync::{Mutex, mpsc, oneshot};

use super::auth_query::Asked;
pub use super::auth_query::Service;
pub use super::secret::Stored;
use super::userlist::{self, UserlistError};
use crate::admin::is_console;
use crate::config::{Host, Secret, ServerUrl, Settings};
use crate::pool::key::random;
use crate::pool::login::Target;
use crate::proxy::stream::Peer;
use crate::wire::scram::Verifier;

/// How long an answer counts for logins that began after it was asked for. None: a query costs some 20 µs of
/// our CPU, much less per login in a storm, and buys that a changed password counts at once.
pub const FRESH_FOR: Duration = Duration::ZERO;
/// How long the last answer counts while the primary cannot be asked.
pub const STALE_FOR: Duration = Duration::from_secs(3600);
/// How long the outcome of a trial login counts.
const DOOR_FOR: Duration = Duration::from_secs(5);
/// How long a login waits for the control plane.
const PATIENCE: Duration = Duration::from_secs(5);
/// Users whose last answer is kept. Names are bounded too, so this bounds memory against made-up ones.
const USERS: usize = 10_000;
const DOORS: usize = 1_000;
/// Longest role name PostgreSQL has, in bytes.
const MAX_NAME: usize = 63;

/// Where secrets come from.
#[derive(Clone, Debug, Default)]
pub struct Source {
    pub auth_file: Option<PathBuf>,
    pub primary: Option<Primary>,
    /// What databases are called on the server.
    pub settings: Option<Arc<Settings>>,
    /// See [`FRESH_FOR`].
    pub fresh_for: Duration,
}

/// The server that is asked.
#[derive(Clone, Debug)]
pub struct Primary {
    pub url: ServerUrl,
    pub target: Target,
    pub auth_query: String,
}

/// What is known of a user.
#[derive(Clone, Debug)]
pub enum Known {
    Secret(Stored),
    /// The role exists and has no password, or one that has expired.
    NoPassword,
    /// No such role, or one that may not log in.
    Unknown,
    /// The login of the primary's URL may not read secrets.
    Unreadable,
}

/// The primary cannot be asked now, and nothing is remembered. The reason is in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the password cannot be checked now")]
pub struct Unavailable;

/// The data threads' end. Cheap to clone.
#[derive(Clone)]
pub struct Credentials(Arc<Shared>);

struct Shared {
    process_secret: [u8; 32],
    auth_file: Option<PathBuf>,
    listed: ArcSwap<std::collections::HashMap<Box<str>, Option<Stored>>>,
    /// The primary URL's own user and password: works even if the primary's secrets cannot be read.
    own: Option<(Box<str>, Stored)>,
    /// Where a client may be let in without a password; `None` if nowhere.
    host: Option<Host>,
    /// The database of the primary's URL: who may be let into the console without a password must be let in there.
    home: Box<str>,
    settings: Option<Arc<Settings>>,
    asking: Option<mpsc::Sender<Asked>>,
    users: Cache<Box<str>, Arc<Slot<Known>>>,
    doors: Cache<Door, Arc<Slot<bool>>>,
    fresh_for: Duration,
}

/// User and database.
type Door = (Box<str>, Box<str>);

/// One answer, and the right to ask for the next.
struct Slot<T> {
    flight: Mutex<()>,
    last: ArcSwapOption<(Instant, T)>,
}

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Self { flight: Mutex::new(()), last: ArcSwapOption::empty() }
    }
}

impl<T: Clone> Slot<T> {
    /// An answer that was asked for no earlier than `fresh_for` before this call; one caller at a time asks.
    async fn get<E>(
        &self,
        fresh_for: Duration,
        stale_for: Duration,
        ask: impl AsyncFnOnce(Option<&T>) -> Result<T, E>,
    ) -> Result<T, E> {
        let arrived = Instant::now();
        let fresh = |last: &Option<Arc<(Instant, T)>>| {
            let last = last.as_ref()?;
            (last.0 + fresh_for >= arrived).then(|| last.1.clone())
        };
        if let Some(answer) = fresh(&self.last.load_full()) {
            return Ok(answer);
        }
        let _turn = self.flight.lock().await;
        let last = self.last.load_full();
        if let Some(answer) = fresh(&last) {
            return Ok(answer);
        }
        let asked = Instant::now();
        match ask(last.as_ref().map(|last| &last.1)).await {
            Ok(answer) => {
                self.last.store(Some(Arc::new((asked, answer.clone()))));
                Ok(answer)
            }
            Err(error) => match last {
                Some(last) if last.0 + stale_for >= asked => Ok(last.1.clone()),
                _ => Err(error),
            },
        }
    }
}

impl Credentials {
    /// Reads the `auth_file`; the [`Service`], if there is a primary to ask, is to run on the control runtime.
    ///
    /// # Errors
    /// If the file cannot be read, or the system has no random numbers.
    pub fn new(source: Source) -> Result<(Self, Option<Service>), CredentialsError> {
        let listed = source.auth_file.as_deref().map(userlist::load).transpose()?.unwrap_or_default();
        let (asking, service) = match &source.primary {
            Some(primary) => {
                let (asking, asked) = mpsc::channel(1024);
                (Some(asking), Some(Service::new(primary, asked)?))
            }
            None => (None, None),
        };
        let own = source.primary.as_ref().and_then(|primary| {
            let password = primary.url.password.as_ref()?;
            Some((primary.url.user.as_str().into(), Stored::read(password)?))
        });
        let shared = Shared {
            process_secret: random()?,
            auth_file: source.auth_file,
            listed: ArcSwap::from_pointee(read_all(listed)),
            own,
            home: source.primary.as_ref().map_or("", |primary| &primary.url.database).into(),
            host: source
                .primary
                .map(|primary| primary.target)
                .filter(|t| !t.tls.shows_certificate())
                .map(|t| t.host),
            settings: source.settings,
            asking,
            users: Cache::new(USERS),
            doors: Cache::new(DOORS),
            fresh_for: source.fresh_for,
        };
        Ok((Self(Arc::new(shared)), service))
    }

    /// Reads the `auth_file` again; how many users it has, if there is one.
    ///
    /// # Errors
    /// If it cannot be read; the users read before stay.
    pub fn reload(&self) -> Result<Option<usize>, UserlistError> {
        let Some(path) = &self.0.auth_file else { return Ok(None) };
        let before = self.0.listed.load();
        let mut users = read_all(userlist::load(path)?);
        for (name, stored) in &mut users {
            if let (Some(new), Some(Some(old))) = (stored.take(), before.get(name)) {
                *stored = Some(new.or_same(old));
            }
        }
        let count = users.len();
        self.0.listed.store(Arc::new(users));
        Ok(Some(count))
    }

    /// What is stored for a user.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub async fn lookup(&self, user: &str) -> Result<Known, Unavailable> {
        if let Some(listed) = self.0.listed.load().get(user) {
            // An empty secret is a decision: nobody, whatever the server would say.
            return Ok(listed.clone().map_or(Known::Unknown, Known::Secret));
        }
        let Some(asking) = &self.0.asking else { return Ok(Known::Unknown) };
        if user.len() > MAX_NAME {
            return Ok(Known::Unknown);
        }
        let slot = slot(&self.0.users, user);
        let answer = slot
            .get(self.0.fresh_for, STALE_FOR, async |older| {
                let (reply, answer) = oneshot::channel();
                let asked = Asked::Secret { user: user.into(), reply };
                Ok(match wait(asking, asked, answer).await? {
                    Known::Secret(new) => match older {
                        Some(Known::Secret(old)) => Known::Secret(new.or_same(old)),
                        _ => Known::Secret(new),
                    },
                    other => other,
                })
            })
            .await;
        match (&answer, &self.0.own) {
            (Ok(Known::Unreadable) | Err(Unavailable), Some((name, stored))) if **name == *user => {
                Ok(Known::Secret(stored.clone()))
            }
            _ => answer,
        }
    }

    /// Whether a client without a password may come in because it could have done so without us: see above.
    pub async fn lets_in(&self, user: &str, database: &str, peer: &Peer) -> bool {
        let (Some(asking), Some(host)) = (&self.0.asking, &self.0.host) else { return false };
        let terms = self.0.settings.as_ref().map(|settings| settings.terms(user, database));
        let database = terms.as_ref().map_or(database, |terms| &terms.dbname);
        let could_connect = match host {
            Host::Unix(..) => {
                let ours = rustix::process::geteuid().as_raw();
                matches!(peer, Peer::Unix { uid: Some(uid) } if *uid == ours)
            }
            // A name may mean this machine; the trial login sees whether it does.
            Host::Tcp(name, _) => {
                peer.is_local() && name.parse().map_or(true, |ip: std::net::IpAddr| ip.is_loopback())
            }
        };
        if !could_connect || user.len() > MAX_NAME {
            return false;
        }
        let database = if is_console(database) { &self.0.home } else { database };
        let slot = slot(&self.0.doors, &(Box::from(user), Box::from(database)));
        let open = slot.get(DOOR_FOR, Duration::ZERO, async |_| {
            let (reply, answer) = oneshot::channel();
            let asked = Asked::Door { user: user.into(), database: database.into(), reply };
            wait(asking, asked, answer).await
        });
        open.await.unwrap_or(false)
    }

    /// The verifier to go through the motions with where there is none: the same for a name every time.
    #[must_use]
    pub fn mock(&self, user: &str) -> Arc<Verifier> {
        Arc::new(Verifier::mock(&self.0.process_secret, user))
    }
}

fn read_all(users: userlist::Users) -> std::collections::HashMap<Box<str>, Option<Stored>> {
    users.into_iter().map(|(name, secret): (Box<str>, Secret)| (name, Stored::read(&secret))).collect()
}

fn slot<K, Q, T>(cache: &Cache<K, Arc<Slot<T>>>, key: &Q) -> Arc<Slot<T>>
where
    K: std::hash::Hash + Eq + Clone,
    Q: std::hash::Hash + quick_cache::Equivalent<K> + ToOwned + ?Sized,
    Q::Owned: Into<K>,
    T: Clone,
{
    if let Some(slot) = cache.get(key) {
        return slot;
    }
    let made = cache
        .get_or_insert_with(&key.to_owned().into(), || Ok::<_, std::convert::Infallible>(Arc::default()));
    made.unwrap_or_else(|never| match never {})
}

/// Hands a question to the control runtime.
async fn wait<T>(
    asking: &mpsc::Sender<Asked>,
    asked: Asked,
    answer: oneshot::Receiver<Result<T, Unavailable>>,
) -> Result<T, Unavailable> {
    let work = async {
        asking.send(asked).await.map_err(|_| Unavailable)?;
        answer.await.map_err(|_| Unavailable)?
    };
    tokio::time::timeout(PATIENCE, work).await.map_err(|_| Unavailable)?
}

/// Why the store cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    #[error(transparent)]
    Userlist(#[from] UserlistError),
    #[error(transparent)]
    Random(#[from] std::io::Error),
    #[error("control connections: {0}")]
    Pool(String),
}
