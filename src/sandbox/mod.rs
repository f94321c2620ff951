//! Throwaway PostgreSQL clusters on loopback: for the demo, the tests and the benches.
//!
//! ```no_run
//! let mut cluster = pgsluice::sandbox::Cluster::primary(&pgsluice::sandbox::Options::default())?;
//! cluster.add_replica()?; // streams from the primary before this returns
//! let url = cluster.url("postgres");
//! # drop(url);
//! # Ok::<(), pgsluice::sandbox::Error>(())
//! ```
//!
//! A cluster lives in a directory of its own under the temporary directory and goes when its [`Cluster`] is
//! dropped, when the process ends in whatever way (a small watchdog waits for that), or at the latest when
//! the next sandbox starts. PostgreSQL refuses to run as root, so root starts it as `postgres` or `nobody`.
//!
//! Every call blocks, and every wait has a bound.

use std::path::{Path, PathBuf};
use std::time::Duration;

mod backup;
mod binaries;
mod home;
mod program;
mod run;
mod server;
mod tree;
mod user;

pub use binaries::Binaries;
pub use home::{Adopted, Home};
pub use program::Program;
pub use server::Server;
pub use user::{Account, account};

/// The superuser of every sandbox cluster.
pub const SUPERUSER: &str = "postgres";

/// Longest wait for `initdb`, a start or a stop: generous for slow shared machines.
const PATIENCE: Duration = Duration::from_secs(120);

/// What went wrong, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "PostgreSQL 13 or newer was not found (looked in {looked}). Install it, on Debian and Ubuntu with \
         `apt-get install postgresql`, or set PG_CONFIG to the pg_config of the one to use."
    )]
    NoPostgres { looked: String },
    #[error(
        "PGSLUICE_POSTGRES asks for PostgreSQL {version}, which was not found (looked in {looked}). In pgsluice's \
         sources `scripts/setup-postgres.sh {version}` gets it."
    )]
    NoVersion { version: String, looked: String },
    #[error(
        "PGSLUICE_POSTGRES is set to {0}, which is neither a version nor the directory of PostgreSQL 13 or newer \
         with postgres and initdb in it."
    )]
    BadPostgres(String),
    #[error("PG_CONFIG is set to {0}, which is not the pg_config of a complete PostgreSQL 13 or newer.")]
    BadPgConfig(String),
    #[error(
        "PostgreSQL refuses to run as root, and there is neither a user `postgres` nor a user `nobody` to run \
         it as. Create one, or do not run this as root."
    )]
    NoAccount,
    #[error(
        "user `{user}`, whom PostgreSQL is to run as, cannot enter {}. Set TMPDIR to a directory open to every \
         user, such as /tmp.",
        path.display()
    )]
    NotReachable { user: String, path: PathBuf },
    #[error(
        "user `{user}`, whom PostgreSQL is to run as, cannot run {}, which is no installation that could be copied to \
         where that user may. Install it in a directory open to every user.",
        path.display()
    )]
    NotRunnable { user: String, path: PathBuf },
    #[error(
        "the path {} is too long for a unix socket (107 bytes with its name). Set TMPDIR to a shorter one.",
        .0.display()
    )]
    PathTooLong(PathBuf),
    #[error("{what}: {source}")]
    Io { what: String, source: std::io::Error },
    #[error("{what} failed{}\n{log}", status.map(|s| format!(" ({s})")).unwrap_or_default())]
    Failed { what: String, status: Option<std::process::ExitStatus>, log: String },
    #[error("{what} did not end within {} seconds\n{log}", limit.as_secs())]
    TooSlow { what: String, limit: Duration, log: String },
    #[error("{what}: {}", explained(source))]
    Sql { what: String, source: tokio_postgres::Error },
}

impl Error {
    fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }

    fn sql(what: impl Into<String>) -> impl FnOnce(tokio_postgres::Error) -> Self {
        let what = what.into();
        move |source| Self::Sql { what, source }
    }
}

/// How a cluster is made. The default is quick and forgetful: nothing is flushed to disk.
#[derive(Clone, Debug)]
pub struct Options {
    /// `fsync`, `synchronous_commit`, `full_page_writes`: off unless set.
    pub durable: bool,
    /// Backends, default 200.
    pub max_connections: u32,
    /// Lines of `postgresql.conf` as (name, value); the last one of a name wins.
    pub settings: Vec<(String, String)>,
    /// Lines of `pg_hba.conf` put before the default, which is `scram-sha-256` for everyone on loopback.
    pub hba: Vec<String>,
    /// Certificate and key, PEM: the servers then offer TLS.
    pub tls: Option<Pem>,
}

/// A certificate chain and its private key, both PEM.
#[derive(Clone)]
pub struct Pem {
    pub certificate: String,
    pub key: String,
}

impl std::fmt::Debug for Pem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pem").field("certificate", &self.certificate).field("key", &"…").finish()
    }
}

impl Default for Options {
    fn default() -> Self {
        Self { durable: false, max_connections: 200, settings: Vec::new(), hba: Vec::new(), tls: None }
    }
}

impl Options {
    /// Adds a line of `postgresql.conf`.
    #[must_use]
    pub fn setting(mut self, name: &str, value: impl ToString) -> Self {
        self.settings.push((name.to_owned(), value.to_string()));
        self
    }
}

/// A primary and its streaming replicas. Dropping it stops them and removes every file.
#[derive(Debug)]
pub struct Cluster {
    // Dropped in this order: replicas first, the directory last.
    replicas: Vec<Server>,
    primary: Server,
    home: Home,
    password: String,
}

impl Cluster {
    /// Makes and starts a primary. Takes one to three seconds.
    pub fn primary(options: &Options) -> Result<Self, Error> {
        let home = Home::create()?;
        let password = random_hex()?;
        let server = Server::init(&home, options, &password)?;
        server.start()?;
        Ok(Self { replicas: Vec::new(), primary: server, home, password })
    }

    /// Copies the primary and starts the copy; returns once it streams and takes queries.
    pub fn add_replica(&mut self) -> Result<&Server, Error> {
        let name = format!("replica{}", self.replicas.len() + 1);
        let replica = Server::copy(&self.home, &self.primary, &name, &self.password)?;
        replica.start()?;
        self.wait_streaming(&name)?;
        self.replicas.push(replica);
        Ok(self.replicas.last().unwrap_or(&self.primary))
    }

    /// Waits until the replica of that name (`replica1`, …) streams from the primary.
    pub fn wait_streaming(&self, name: &str) -> Result<(), Error> {
        let sql = format!(
            "SELECT 1 FROM pg_stat_replication r JOIN pg_replication_slots s ON s.active_pid = r.pid \
             WHERE s.slot_name = '{name}' AND r.state = 'streaming'"
        );
        let deadline = std::time::Instant::now() + PATIENCE;
        while self.sql("postgres", &sql)?.is_empty() {
            if std::time::Instant::now() > deadline {
                let what = format!("waiting for {name} to stream");
                return Err(Error::TooSlow { what, limit: PATIENCE, log: self.primary.log_tail() });
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// The primary itself.
    #[must_use]
    pub fn server(&self) -> &Server {
        &self.primary
    }

    /// The replicas in the order in which they were added.
    #[must_use]
    pub fn replicas(&self) -> &[Server] {
        &self.replicas
    }

    /// The directory everything lives in, and the watchdog over it.
    #[must_use]
    pub fn home(&self) -> &Home {
        &self.home
    }

    /// Password of the superuser, fresh for each cluster.
    #[must_use]
    pub fn password(&self) -> &str {
        &self.password
    }

    /// `postgresql://…` of the primary for the superuser, over TCP.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        self.primary.url(SUPERUSER, &self.password, database)
    }

    /// The same over the unix socket.
    #[must_use]
    pub fn socket_url(&self, database: &str) -> String {
        self.primary.socket_url(SUPERUSER, &self.password, database)
    }

    /// `postgresql://…` of the first replica.
    #[must_use]
    pub fn replica_url(&self, database: &str) -> Option<String> {
        self.replicas.first().map(|r| r.url(SUPERUSER, &self.password, database))
    }

    /// Runs SQL on the primary as the superuser. -> rows of text, of all its statements.
    pub fn sql(&self, database: &str, statements: &str) -> Result<Vec<Vec<Option<String>>>, Error> {
        sql(&self.url(database), statements)
    }

    /// Stops everything and removes the files; the same as dropping it.
    pub fn stop(self) {}
}

/// Runs SQL over a connection of its own. -> rows of text, of all its statements.
///
/// Has a thread and a runtime of its own, so that it may be called from anywhere.
pub fn sql(url: &str, statements: &str) -> Result<Vec<Vec<Option<String>>>, Error> {
    let what = || statements.lines().next().unwrap_or_default().chars().take(100).collect::<String>();
    session(url, async |client| {
        let messages = client.simple_query(statements).await.map_err(Error::sql(what()))?;
        let rows = messages.iter().filter_map(|m| match m {
            tokio_postgres::SimpleQueryMessage::Row(r) => {
                Some((0..r.len()).map(|i| r.get(i).map(str::to_owned)).collect())
            }
            _ => None,
        });
        Ok(rows.collect())
    })
    .map_err(|error| match error {
        // Connecting failed: for which statement?
        Error::Sql { source, .. } => Error::Sql { what: what(), source },
        other => other,
    })
}

/// Works on a connection of its own, on a thread with a runtime of its own.
fn session<T: Send>(
    url: &str,
    work: impl AsyncFnOnce(&tokio_postgres::Client) -> Result<T, Error> + Send,
) -> Result<T, Error> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(Error::io("starting a runtime"))?;
            runtime.block_on(async {
                let connected = tokio_postgres::connect(url, tokio_postgres::NoTls).await;
                let (client, connection) = connected.map_err(Error::sql("connecting"))?;
                let driver = tokio::spawn(connection);
                let outcome = work(&client).await;
                driver.abort();
                outcome
            })
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// What a server or the driver said; the driver's own text for the former is only "db error".
pub(crate) fn explained(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(db) => format!("{} ({})", db.message(), db.code().code()),
        None => {
            std::error::Error::source(error).map_or_else(|| error.to_string(), |s| format!("{error}: {s}"))
        }
    }
}

/// 32 hexadecimal digits nobody can guess.
fn random_hex() -> Result<String, Error> {
    use ring::rand::SecureRandom;
    let mut bytes = [0; 16];
    ring::rand::SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| Error::io("reading random numbers")(std::io::ErrorKind::Other.into()))?;
    Ok(bytes.iter().map(|b| format!("{b:02x}")).collect())
}

/// A loopback port that nobody listened on a moment ago.
pub fn free_port() -> Result<u16, Error> {
    let listener =
        std::net::TcpListener::bind(("127.0.0.1", 0)).map_err(Error::io("looking for a free port"))?;
    Ok(listener.local_addr().map_err(Error::io("looking for a free port"))?.port())
}

/// The last lines of a log file.
fn tail(path: &Path) -> String {
    let text = std::fs::read(path).map(|b| String::from_utf8_lossy(&b).into_owned()).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}
