//! Which servers are up, who is the primary, and how far the replicas are behind.
//!
//! One task per server, on a connection of its own (`application_name` is `pgsluice topology`), asks every
//! `check_interval` whether the server is in recovery and how far its WAL goes; see [`super::lag`] for what
//! follows from that. A probe that has no answer within one interval has failed. A replica is usable while it
//! is in recovery, answers, and is behind by no more than `max_lag`. Each answer is published at once; a
//! change is logged, a repetition is not.

use std::error::Error as _;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_postgres::types::PgLsn;
use tokio_postgres::{Client, Config, Statement};

use super::lag::{History, Lag, Lsn};
use super::pg_tls::PgTls;
use super::snapshot::{PrimaryState, ReplicaState, Shared, Topology, publish};
use crate::config::{Host, ServerTlsSettings, ServerUrl, Settings, TargetSessionAttrs};
use crate::guard::Lane;
use crate::proxy::tls::{ServerTls, TlsError};

/// A server to watch.
#[derive(Clone, Debug)]
pub struct Server {
    /// Its label in metrics, log and errors.
    pub name: Arc<str>,
    pub url: ServerUrl,
    /// What the URL's `sslmode` asks for.
    pub tls: ServerTls,
    /// Whom it serves.
    pub lane: Lane,
    /// How far it may be behind, if not as far as all.
    pub max_lag: Option<Duration>,
}

impl Server {
    /// With the files of the settings, if any, where the URL names none.
    ///
    /// # Errors
    /// As [`ServerTls::of`].
    pub fn new(name: &str, url: ServerUrl, files: &ServerTlsSettings) -> Result<Self, TlsError> {
        let tls = ServerTls::of(&url, files)?;
        Ok(Self { name: name.into(), url, tls, lane: Lane::Replica, max_lag: None })
    }
}

/// How servers are watched.
#[derive(Clone, Copy, Debug)]
pub struct Watch {
    pub check_interval: Duration,
    /// A replica further behind is not usable.
    pub max_lag: Duration,
    pub connect_timeout: Duration,
}

impl Watch {
    /// Longest wait for a connection, if the settings allow more: a server that is back is soon seen.
    const MAX_CONNECT: Duration = Duration::from_secs(5);

    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        Self {
            check_interval: settings.replica.check_interval,
            max_lag: settings.replica.max_lag,
            connect_timeout: settings.pool.server_connect_timeout.min(Self::MAX_CONNECT),
        }
    }

    /// How long an answer is worth something: until the next one but one is overdue.
    #[must_use]
    pub fn patience(&self) -> Duration {
        self.check_interval * 5 / 2
    }
}

/// The primary is `primary`, the replicas are `replica1`, `replica2`, … in the order of the settings; behind them come
/// the servers of the lanes.
///
/// # Errors
/// As [`ServerTls::of`].
pub fn servers(settings: &Settings) -> Result<(Server, Vec<Server>), TlsError> {
    let files = &settings.server_tls;
    let replicas = settings.replicas.iter().enumerate();
    let replicas = replicas.map(|(n, url)| Server::new(&format!("replica{}", n + 1), url.clone(), files));
    let of_lanes = settings.lane_servers().map(|server| {
        let max_lag = Some(server.lane.max_lag(settings));
        Ok(Server { lane: server.of, max_lag, ..Server::new(&server.label, server.url.clone(), files)? })
    });
    let primary = Server::new("primary", settings.primary.clone(), files)?;
    Ok((Server { lane: Lane::Primary, ..primary }, replicas.chain(of_lanes).collect::<Result<_, _>>()?))
}

/// However many ask for it, a server is asked no more often.
const LEAST_PAUSE: Duration = Duration::from_millis(20);

/// Watches the servers for ever; at once, and not only in its time, when `asked` is notified. Drop it to stop.
pub async fn run(shared: Shared, primary: Server, replicas: Vec<Server>, watch: Watch, asked: Arc<Notify>) {
    let topology = Topology {
        primary: PrimaryState { name: Arc::clone(&primary.name), ..PrimaryState::default() },
        replicas: replicas.iter().map(|server| ReplicaState::unknown(Arc::clone(&server.name))).collect(),
    };
    publish(&shared, |next| next.topology.clone_from(&topology));
    let known = Arc::new(Mutex::new(Known::default()));
    let mut tasks = JoinSet::new();
    let roles = std::iter::once(Role::Primary).chain((0..replicas.len()).map(Role::Replica));
    for (role, server) in roles.zip(std::iter::once(primary).chain(replicas)) {
        let (shared, known, asked) = (Arc::clone(&shared), Arc::clone(&known), Arc::clone(&asked));
        let watch = Watch { max_lag: server.max_lag.unwrap_or(watch.max_lag), ..watch };
        let watcher = Watcher { shared, known, server, role, watch, asked, last: None };
        tasks.spawn(watcher.run());
    }
    // They do not end. Should one panic, its last answer expires and the others go on.
    while let Some(ended) = tasks.join_next().await {
        if let Err(error) = ended {
            tracing::error!(%error, "a probe of a server ended: that server is not used until restart");
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Role {
    Primary,
    /// By its place in the snapshot.
    Replica(usize),
}

/// What a server is unfit for its role for; [`Fault::kind`] tells whether two are the same trouble.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Fault {
    Unreachable(String),
    /// A primary that is in recovery, or a replica that is not.
    WrongRole,
    /// A replica of something else: it would answer, and be wrong.
    AnotherCluster,
    LagUnknown,
    Behind {
        lag: Duration,
        max: Duration,
    },
}

impl Fault {
    fn kind(&self) -> std::mem::Discriminant<Self> {
        std::mem::discriminant(self)
    }

    fn text(&self, role: Role) -> String {
        match (self, role) {
            (Self::Unreachable(why), _) => why.clone(),
            (Self::WrongRole, Role::Primary) => "in recovery: this is a replica, not a primary".into(),
            (Self::WrongRole, Role::Replica(_)) => "not in recovery: this is no replica".into(),
            (Self::AnotherCluster, _) => "not a replica of the primary, but of another cluster".into(),
            (Self::LagUnknown, _) => {
                "has not yet replayed what the primary had when it was first asked".into()
            }
            (Self::Behind { lag, max }, _) => {
                format!("{:.1} s behind, more than max_lag = {:.1} s", lag.as_secs_f64(), max.as_secs_f64())
            }
        }
    }
}

/// What the probes tell each other of the primary.
#[derive(Debug, Default)]
struct Known {
    history: History,
    /// Where the next record of its WAL would stand, which what was committed without waiting is behind already.
    inserted: History,
    system: Option<System>,
}

/// The cluster's identifier, which `initdb` gives and physical replicas share. None: the role may not read it.
type System = Option<i64>;

/// One server's task.
struct Watcher {
    shared: Shared,
    known: Arc<Mutex<Known>>,
    server: Server,
    role: Role,
    watch: Watch,
    asked: Arc<Notify>,
    /// What was logged last.
    last: Option<Option<std::mem::Discriminant<Fault>>>,
}

/// A server's answer.
#[derive(Clone, Copy, Debug)]
struct Answer {
    asked: Instant,
    answered: Instant,
    in_recovery: bool,
    system: System,
    /// Written by a primary, replayed by a replica.
    lsn: Lsn,
    /// Of a primary: the end of the last record, written or not.
    inserted: Lsn,
}

impl Watcher {
    async fn run(mut self) {
        let mut pause = Backoff::default();
        loop {
            match Session::open(&self.server, &self.watch).await {
                Ok(session) => {
                    if self.probe(&session).await {
                        pause = Backoff::default();
                    }
                }
                Err(why) => self.report(Err(Fault::Unreachable(why)), None),
            }
            sleep(pause.next()).await;
        }
    }

    /// Asks until an answer fails to come. -> there was at least one.
    async fn probe(&mut self, session: &Session) -> bool {
        let interval = self.watch.check_interval;
        let mut answers = 0u32;
        let mut impatience = Backoff::default();
        loop {
            let asked = Instant::now();
            let answer = timeout(interval, session.ask(asked)).await;
            let answer = answer.unwrap_or_else(|_| Err(format!("no answer within {interval:?}")));
            let known = match answer {
                Ok(answer) if answer.in_recovery && self.may_be_elsewhere() => {
                    self.judge(answer);
                    return false; // another of its hosts may be the primary by now
                }
                Ok(answer) => self.judge(answer),
                Err(why) => {
                    self.report(Err(Fault::Unreachable(why)), None);
                    return answers > 0;
                }
            };
            answers += 1;
            // A fresh replica usually is a moment from being known: a whole interval would be long.
            let pause = if known { interval } else { impatience.next().min(interval) };
            let pause = pause.saturating_sub(asked.elapsed());
            sleep(pause.min(LEAST_PAUSE)).await;
            let _ = timeout(pause.saturating_sub(LEAST_PAUSE), self.asked.notified()).await;
        }
    }

    fn may_be_elsewhere(&self) -> bool {
        matches!(self.role, Role::Primary) && !self.server.url.more_hosts.is_empty()
    }

    /// -> false if the lag is not known yet.
    fn judge(&mut self, answer: Answer) -> bool {
        match self.role {
            Role::Primary if answer.in_recovery => self.report(Err(Fault::WrongRole), None),
            Role::Primary => {
                let mut known = self.known();
                if known.system.replace(answer.system) != Some(answer.system) {
                    (known.history, known.inserted) = (History::default(), History::default());
                }
                known.history.record(answer.asked, answer.lsn);
                known.inserted.record(answer.asked, answer.inserted);
                drop(known);
                self.report(Ok(answer), None);
            }
            Role::Replica(_) => {
                let outcome = self.judge_replica(&answer);
                let known = outcome != Err(Fault::LagUnknown);
                let lag = match &outcome {
                    Ok(lag) | Err(Fault::Behind { lag, .. }) => Some(*lag),
                    Err(_) => None,
                };
                self.report(outcome.map(|_| answer), lag);
                return known;
            }
        }
        true
    }

    fn judge_replica(&self, answer: &Answer) -> Result<Duration, Fault> {
        if !answer.in_recovery {
            return Err(Fault::WrongRole);
        }
        let known = self.known();
        if let (Some(Some(primary)), Some(own)) = (known.system, answer.system)
            && primary != own
        {
            return Err(Fault::AnotherCluster);
        }
        let max = self.watch.max_lag;
        match known.history.lag(answer.lsn, answer.answered, self.watch.patience()) {
            Lag::Unknown => Err(Fault::LagUnknown),
            Lag::Behind(lag) if lag > max => Err(Fault::Behind { lag, max }),
            Lag::Behind(lag) => Ok(lag),
        }
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn report(&mut self, outcome: Result<Answer, Fault>, lag: Option<Duration>) {
        let why: Option<Arc<str>> = outcome.as_ref().err().map(|fault| fault.text(self.role).into());
        let name = &self.server.name;
        match self.role {
            Role::Primary => publish(&self.shared, |next| {
                next.topology.primary.why_not.clone_from(&why);
                if let Ok(answer) = &outcome {
                    next.topology.primary.answered = Some(answer.answered);
                }
            }),
            Role::Replica(place) => {
                let state = ReplicaState {
                    name: Arc::clone(name),
                    usable: outcome.is_ok(),
                    why_not: why.clone(),
                    lag,
                    good_until: outcome.as_ref().ok().map(|answer| answer.asked + self.watch.patience()),
                    reached: outcome
                        .as_ref()
                        .ok()
                        .and_then(|answer| self.known().inserted.reached(answer.lsn)),
                };
                publish(&self.shared, |next| {
                    if let Some(replica) = next.topology.replicas.get_mut(place) {
                        replica.clone_from(&state);
                    }
                });
            }
        }
        let kind = outcome.as_ref().err().map(Fault::kind);
        if self.last.replace(kind) == Some(kind) {
            return;
        }
        match (why, self.role) {
            (Some(why), Role::Primary) => tracing::warn!(server = %name, %why, "the primary cannot be used"),
            (Some(why), Role::Replica(_)) => tracing::warn!(server = %name, %why, "the replica is not used"),
            (None, Role::Primary) => tracing::info!(server = %name, "the primary answers"),
            (None, Role::Replica(_)) => tracing::info!(server = %name, "the replica is used"),
        }
    }
}

/// One connection to one server.
struct Session {
    client: Client,
    ask: Statement,
    system: System,
    _driver: AbortOnDrop,
}

/// The task that moves a connection's bytes; it ends with whoever asks.
pub(super) struct AbortOnDrop(pub(super) JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Session {
    /// Good for both roles: a position that a server does not have is not asked for (CASE evaluates one
    /// branch).
    const ASK: &str = "SELECT pg_catalog.pg_is_in_recovery(), CASE WHEN pg_catalog.pg_is_in_recovery() \
                       THEN pg_catalog.pg_last_wal_replay_lsn() ELSE pg_catalog.pg_current_wal_lsn() END, \
                       CASE WHEN pg_catalog.pg_is_in_recovery() \
                       THEN NULL ELSE pg_catalog.pg_current_wal_insert_lsn() END";

    const SYSTEM: &str = "SELECT system_identifier FROM pg_catalog.pg_control_system()";

    async fn open(server: &Server, watch: &Watch) -> Result<Self, String> {
        let limit = watch.connect_timeout;
        let open = async {
            let (client, driver) = connect(server, watch).await?;
            let driver = AbortOnDrop(driver);
            let system = client.query_one(Self::SYSTEM, &[]).await;
            let system = system.and_then(|row| row.try_get(0)).ok();
            let ask = client.prepare(Self::ASK).await.map_err(sentence)?;
            Ok(Self { client, ask, system, _driver: driver })
        };
        timeout(limit, open).await.unwrap_or_else(|_| Err(format!("no connection within {limit:?}")))
    }

    async fn ask(&self, asked: Instant) -> Result<Answer, String> {
        let row = self.client.query_one(&self.ask, &[]).await.map_err(sentence)?;
        let in_recovery = row.try_get(0).map_err(sentence)?;
        // A standby that has replayed nothing yet says NULL.
        let lsn: Option<PgLsn> = row.try_get(1).map_err(sentence)?;
        let lsn = lsn.map_or(0, Lsn::from);
        let inserted: Option<PgLsn> = row.try_get(2).map_err(sentence)?;
        let inserted = inserted.map_or(0, |lsn| end_of_record(lsn.into()));
        Ok(Answer { asked, answered: Instant::now(), in_recovery, system: self.system, lsn, inserted })
    }
}

/// Between two pages the next record stands behind the page's header (24 or 40 bytes), and the last one ended before it:
/// no record is so short that it could end there.
fn end_of_record(next: Lsn) -> Lsn {
    const PAGE: Lsn = 8192;
    if next % PAGE <= 40 { next - next % PAGE } else { next }
}

/// The one place where a probe connects.
async fn connect(server: &Server, watch: &Watch) -> Result<(Client, JoinHandle<()>), String> {
    let config = client_config(server, watch);
    let (client, connection) = config.connect(PgTls::new(&server.tls)).await.map_err(sentence)?;
    // Its error also reaches whoever waits for an answer.
    Ok((client, tokio::spawn(async move { drop(connection.await) })))
}

pub(super) fn client_config(server: &Server, watch: &Watch) -> Config {
    let url = &server.url;
    let mut config = Config::new();
    add_hosts(&mut config, url);
    // None of them may use up the time of all.
    config.connect_timeout(watch.connect_timeout / u32::try_from(url.hosts().count()).unwrap_or(1));
    config.user(&url.user).dbname(&url.database).application_name("pgsluice topology");
    if let Some(password) = &url.password {
        config.password(password.expose());
    }
    PgTls::configure(&mut config, &server.tls, url.tls_host());
    // A probe that hangs in the server ends there too, so that hung ones do not pile up.
    let own = format!("-c statement_timeout={}", watch.check_interval.as_millis().max(1));
    let given = url.params.iter().find(|(name, _)| name == "options").map(|(_, options)| options);
    config.options(given.map_or(own.clone(), |given| format!("{given} {own}")));
    config
}

/// Every host of the URL, and what they must be: the driver goes through them in order.
pub(super) fn add_hosts(config: &mut Config, url: &ServerUrl) {
    for host in url.hosts() {
        match host {
            Host::Tcp(host, port) => config.host(host).port(*port),
            Host::Unix(directory, port) => config.host_path(directory).port(*port),
        };
    }
    if url.target_session_attrs != TargetSessionAttrs::Any {
        config.target_session_attrs(tokio_postgres::config::TargetSessionAttrs::ReadWrite);
    }
}

/// An error with its causes in one line. Holds nothing of the password.
pub(crate) fn sentence(error: tokio_postgres::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

/// Pauses of 50 ms, doubled up to 2 s, each shortened by up to half so that many do not come at once.
#[derive(Default)]
struct Backoff {
    attempts: u32,
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(50);
    const LONGEST: Duration = Duration::from_secs(2);

    fn next(&mut self) -> Duration {
        let pause = (Self::FIRST * 2u32.pow(self.attempts.min(10))).min(Self::LONGEST);
        self.attempts = self.attempts.saturating_add(1);
        let jitter = RandomState::new().hash_one(self.attempts) % 512;
        pause - pause * jitter as u32 / 1024
    }
}

#[cfg(test)]
#[path = "topology_tests.rs"]
mod tests;
