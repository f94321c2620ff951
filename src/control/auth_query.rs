//! Asks the primary for users' secrets, and tries its door; on the control runtime.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use deadpool_postgres::{Manager, ManagerConfig, Object, Pool, RecyclingMethod, Runtime};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_postgres::error::SqlState;

use super::credentials::{CredentialsError, Known, Primary, Unavailable};
use super::pg_tls::PgTls;
use super::secret::Stored;
use crate::config::Secret;
use crate::pool::login::{self, ConnectError, Target};

/// Control connections for secrets, and so questions answered at the same time; the others wait in line.
const CONNECTIONS: usize = 2;
/// Questions under way at once.
const QUERIES: usize = 64;
/// Trial logins under way at once.
const TRIALS: usize = 4;
/// Longest time for a connection or a query.
const PATIENCE: Duration = Duration::from_secs(4);
/// After a failure to connect, questions fail at once for this long.
const PAUSE: Duration = Duration::from_millis(500);
/// Where an ident service would listen (RFC 1413).
const IDENT_PORT: u16 = 113;

/// A question of a data thread.
pub(super) enum Asked {
    Secret { user: Box<str>, reply: oneshot::Sender<Result<Known, Unavailable>> },
    Door { user: Box<str>, database: Box<str>, reply: oneshot::Sender<Result<bool, Unavailable>> },
}

impl Asked {
    /// Nobody waits for the answer any more.
    fn is_forgotten(&self) -> bool {
        match self {
            Self::Secret { reply, .. } => reply.is_closed(),
            Self::Door { reply, .. } => reply.is_closed(),
        }
    }
}

/// Answers the questions of all data threads. Ends when the last [`super::credentials::Credentials`] is gone.
pub struct Service {
    asked: mpsc::Receiver<Asked>,
    inner: Arc<Inner>,
}

struct Inner {
    pool: Pool,
    query: String,
    target: Target,
    queries: Arc<Semaphore>,
    trials: Arc<Semaphore>,
    trouble: std::sync::Mutex<Trouble>,
}

/// What went wrong last, so that the log says it once.
#[derive(Default)]
struct Trouble {
    said: Option<String>,
    until: Option<Instant>,
}

impl Service {
    pub(super) fn new(primary: &Primary, asked: mpsc::Receiver<Asked>) -> Result<Self, CredentialsError> {
        let tls = PgTls::new(&primary.target.tls);
        let recycling = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let manager = Manager::from_config(pg_config(primary), tls, recycling);
        let pool = Pool::builder(manager)
            .max_size(CONNECTIONS)
            .wait_timeout(Some(PATIENCE))
            .create_timeout(Some(PATIENCE.min(primary.target.connect_timeout)))
            .recycle_timeout(Some(PATIENCE))
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|error| CredentialsError::Pool(error.to_string()))?;
        let inner = Inner {
            pool,
            query: primary.auth_query.clone(),
            target: primary.target.clone(),
            queries: Arc::new(Semaphore::new(QUERIES)),
            trials: Arc::new(Semaphore::new(TRIALS)),
            trouble: std::sync::Mutex::default(),
        };
        Ok(Self { asked, inner: Arc::new(inner) })
    }

    /// Answers until nobody can ask any more.
    pub async fn run(mut self) {
        while let Some(asked) = self.asked.recv().await {
            let inner = self.inner.clone();
            let permits = match &asked {
                Asked::Secret { .. } => inner.queries.clone(),
                Asked::Door { .. } => inner.trials.clone(),
            };
            tokio::spawn(async move {
                // Never closed, so never an error.
                let _permit = permits.acquire_owned().await;
                if asked.is_forgotten() {
                    return;
                }
                match asked {
                    Asked::Secret { user, reply } => {
                        let _ = reply.send(inner.secret(&user).await);
                    }
                    Asked::Door { user, database, reply } => {
                        let _ = reply.send(Ok(inner.lets_in(&user, &database).await));
                    }
                }
            });
        }
    }
}

/// The control connection: nothing in it comes from a client.
fn pg_config(primary: &Primary) -> tokio_postgres::Config {
    let url = &primary.url;
    let mut config = tokio_postgres::Config::new();
    super::topology::add_hosts(&mut config, url);
    config.user(&url.user).dbname(&url.database).application_name("pgsluice");
    if let Some(password) = &url.password {
        config.password(password.expose());
    }
    let mut options = String::new();
    for (name, value) in &url.params {
        match name.as_str() {
            "options" => options = format!("{value} "),
            "application_name" => drop(config.application_name(value)),
            _ => {}
        }
    }
    // Last, so that they hold. A start-up packet beats ALTER ROLE … SET and ALTER DATABASE … SET.
    options.push_str("-c search_path=pg_catalog -c statement_timeout=");
    options.push_str(&PATIENCE.as_millis().to_string());
    config.options(&options);
    PgTls::configure(&mut config, &primary.target.tls, url.tls_host());
    // None of several hosts may use up the time of all.
    config.connect_timeout(PATIENCE / u32::try_from(url.hosts().count()).unwrap_or(1));
    config
}

impl Inner {
    async fn secret(&self, user: &str) -> Result<Known, Unavailable> {
        if self.trouble().until.is_some_and(|until| Instant::now() < until) {
            return Err(Unavailable);
        }
        let client = match self.pool.get().await {
            Ok(client) => client,
            Err(error) => {
                self.say(&format!("cannot connect to the primary: {}", causes(&error)), Some(PAUSE));
                return Err(Unavailable);
            }
        };
        let answer = tokio::time::timeout(PATIENCE, self.ask(&client, user)).await;
        let problem = match answer {
            Ok(Ok(known)) => {
                *self.trouble() = Trouble::default();
                return Ok(known);
            }
            Ok(Err(Failure::Query(error))) if error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) => {
                let problem = format!("the primary's login may not read secrets: {}", causes(&error));
                self.say(&problem, None);
                return Ok(Known::Unreadable);
            }
            Ok(Err(Failure::Query(error))) => causes(&error),
            Ok(Err(Failure::Shape(problem))) => problem.to_owned(),
            Err(_) => format!("no answer within {PATIENCE:?}"),
        };
        // A connection on which something went wrong is not used again.
        drop(Object::take(client));
        self.say(&format!("auth_query: {problem}"), None);
        Err(Unavailable)
    }

    async fn ask(&self, client: &Object, user: &str) -> Result<Known, Failure> {
        let statement = client.prepare_cached(&self.query).await?;
        if statement.params().len() != 1 || statement.columns().len() < 2 {
            return Err(Failure::Shape(
                "it must take one parameter, the user, and return the user and the secret",
            ));
        }
        let Some(row) = client.query_opt(&statement, &[&user]).await? else { return Ok(Known::Unknown) };
        // An answer about somebody else must never let anybody in.
        if row.try_get::<_, &str>(0)? != user {
            return Err(Failure::Shape("it answered with another user than it was asked for"));
        }
        let secret: Option<&str> = row.try_get(1)?;
        Ok(secret.and_then(|text| Stored::read(&Secret::new(text))).map_or(Known::NoPassword, Known::Secret))
    }

    /// A real login without a key: whether the server asks for nothing, for anybody on this machine.
    async fn lets_in(&self, user: &str, database: &str) -> bool {
        match login::knock(&self.target, user, database).await {
            Ok(mut stream) => {
                let open = match stream.local_ip() {
                    None => stream.peer().is_local(),
                    Some(ip) => stream.peer().is_local() && !ident_listens(ip).await,
                };
                let _ = stream.write_all(b"X\0\0\0\x04").await; // Terminate
                open
            }
            Err(ConnectError::NoKey { .. }) => false,
            Err(error) => {
                tracing::debug!(%error, "trial login");
                false
            }
        }
    }

    fn trouble(&self) -> std::sync::MutexGuard<'_, Trouble> {
        self.trouble.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Logs a problem when it is not the one logged last.
    fn say(&self, problem: &str, pause: Option<Duration>) {
        let mut trouble = self.trouble();
        trouble.until = pause.map(|pause| Instant::now() + pause);
        if trouble.said.as_deref() != Some(problem) {
            tracing::warn!("reading users' secrets: {problem}");
            trouble.said = Some(problem.to_owned());
        }
    }
}

enum Failure {
    Query(tokio_postgres::Error),
    Shape(&'static str),
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Query(error)
    }
}

/// An error with everything behind it: tokio-postgres says only "db error" in front.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

/// Whether the server may have asked an ident service here who we are. Only a clear refusal means no.
async fn ident_listens(ip: std::net::IpAddr) -> bool {
    let probe = tokio::time::timeout(Duration::from_secs(1), TcpStream::connect((ip, IDENT_PORT))).await;
    !matches!(probe, Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused)
}
