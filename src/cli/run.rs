//! `pgsluice run`: puts the program together and runs it to its end.
//!
//! One thread for the control plane (topology, credentials, HTTP), one or more for the data plane; the first
//! of these is the main thread, which also accepts. They meet in [`Shared`] and in the snapshot.

use std::io::Write as _;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use tokio::net::TcpListener;
use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::args::SettingsArgs;
use super::{nofile, reload};
use crate::admin::{self, Console};
use crate::config::{Host, ListenAddr, PolicyMode, Settings};
use crate::control::credentials::{self, Credentials};
use crate::control::policies::{self, Loaded, Store, StoreSettings};
use crate::control::runtime::ControlThread;
use crate::control::{catalog, learned, planner, snapshot, topology};
use crate::guard::{Guard, GuardLimits};
use crate::observe::metrics::{Census, Connections, Page, Sources};
use crate::observe::{Bounds, Meters, http, log, query_log};
use crate::pool::hosts::Hosts;
use crate::pool::login::Target;
use crate::pool::{Limits, Node};
use crate::proxy::startup::Front;
use crate::proxy::stream::Detached;
use crate::proxy::thread::{Parts, Shared, Thread};
use crate::proxy::tls::Certificate;
use crate::proxy::{accept, upkeep};

/// Longest time for clients to end their transactions once we are told to stop.
const DRAIN: Duration = Duration::from_secs(30);
/// Connections dealt to a thread and not taken yet.
const DEALT: usize = 4096;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Reads and checks settings and policies, then runs; every mistake is told at once.
pub fn command(args: &SettingsArgs) -> ExitCode {
    let checked = super::read(args, true);
    match checked.policies {
        Some(policies) if checked.problems.is_empty() => main(checked.settings, policies),
        _ => {
            super::complain(&checked.problems);
            ExitCode::FAILURE
        }
    }
}

/// Runs until SIGTERM or SIGINT. Exit code 1 if it could not start; the reason is on standard error.
#[must_use]
pub fn main(settings: Settings, policies: Loaded) -> ExitCode {
    let log = match log::start(settings.log.log_level.name()) {
        Ok(log) => log,
        Err(why) => {
            let _ = writeln!(std::io::stderr(), "pgsluice: {why}");
            return ExitCode::FAILURE;
        }
    };
    match run(Arc::new(settings), policies, &log) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            tracing::error!("{failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(settings: Arc<Settings>, policies: Loaded, log: &log::Guard) -> Result<(), Failure> {
    if let Some(shortage) = nofile::raise(&settings) {
        tracing::warn!("{shortage}");
    }
    let threads = threads(&settings);
    if settings.policies.is_empty() {
        let cure = "policies = [\"baseline\"] enforces it";
        tracing::info!(cure, "no policies are named: the built-in baseline observes, and changes nothing");
    }
    let snapshot = snapshot::Shared::default();
    let meters = Meters::new(bounds(&settings));
    let query_log = query_log::start(&settings.query_log, threads)?;
    let policies = Store::new(watched(&settings), policies, Arc::clone(&snapshot), Arc::clone(&meters));
    let servers = topology::servers(&settings)?;
    let (primary, replicas) = nodes(&settings, &servers, threads);
    let (credentials, service) = credentials(&settings, &primary)?;
    let certificate = certificate(&settings)?;
    let front = Front {
        certificate: certificate.clone(),
        sslmode: settings.client_tls.mode(),
        auth_type: settings.auth.auth_type,
        credentials,
    };
    let control = ControlThread::start()?;
    let shared = Shared::new(Parts {
        settings: Arc::clone(&settings),
        primary,
        replicas,
        snapshot: Arc::clone(&snapshot),
        front: Arc::new(front),
        console: Console::new(control.handle().clone()),
        meters: Arc::clone(&meters),
        policies,
        query_log: query_log.as_ref().map(query_log::Guard::log),
        seed: seed()?,
    });
    let sources = Sources {
        census: census(&shared),
        meters,
        snapshot: Arc::clone(&snapshot),
        log: log.stats(),
        query_log: query_log.as_ref().map(|guard| guard.log().stats()),
        certificate_expiry: certificate.as_ref().map(|certificate| certificate.expiry()),
        started: SystemTime::now(),
    };
    let health = http::Health::new(Page::new(sources), topology::Watch::new(&settings).patience());
    control.handle().spawn(admin::sample(Arc::clone(&shared)));
    read_catalogs(&control, &settings, &servers, &snapshot, &shared);
    ask_planner(&control, &shared);
    start_control(&control, &settings, servers, snapshot, service, Arc::clone(&health), &shared)?;
    data_plane(&shared, threads, &health)
}

fn bounds(settings: &Settings) -> Bounds {
    Bounds {
        label_pairs: settings.metrics.label_pairs,
        top_fingerprints: settings.metrics.top_fingerprints,
        tracked_fingerprints: settings.metrics.tracked_fingerprints,
    }
}

/// Who has named no policy has no use for catalogs.
fn read_catalogs(
    control: &ControlThread,
    settings: &Arc<Settings>,
    servers: &Servers,
    snapshot: &snapshot::Shared,
    shared: &Arc<Shared>,
) {
    if !settings.catalog.enabled || settings.policies.is_empty() {
        return;
    }
    let (known, asked) = (Arc::clone(shared), Arc::clone(&shared.catalog_asked));
    let census: catalog::Census = Arc::new(move || known.databases());
    let (snapshot, settings) = (Arc::clone(snapshot), Arc::clone(settings));
    let reader = catalog::Reader::new(snapshot, servers.0.clone(), settings, census, asked);
    control.handle().spawn(reader.run());
}

/// What the metrics page asks the pools.
fn census(shared: &Arc<Shared>) -> Census {
    let shared = Arc::clone(shared);
    Census(Arc::new(move || {
        let nodes = std::iter::once(&shared.primary).chain(&shared.replicas);
        let row = |server: &Arc<str>, c: crate::pool::Census| Connections {
            server: Arc::clone(server),
            database: c.database,
            user: c.user,
            states: [c.login, c.idle, c.active],
            logins: c.logins,
        };
        nodes.flat_map(|node| node.census().into_iter().map(|c| row(&node.name, c))).collect()
    }))
}

fn watched(settings: &Settings) -> StoreSettings {
    StoreSettings {
        paths: settings.policies.iter().map(|policy| policy.0.clone()).collect(),
        lanes: settings.known_lanes(),
        observes: settings.policy_mode == PolicyMode::Observe,
        kept: settings.guard.policy_versions_kept,
        canary: settings.guard.policy_canary,
        check_interval: settings.guard.policy_check_interval,
    }
}

/// More threads mean less batching and more CPU per query (one thread serves some 50,000 queries a second):
/// one up to three cores, then half of them, four at most.
fn threads(settings: &Settings) -> usize {
    match settings.threads {
        0 => std::thread::available_parallelism().map_or(1, |n| (n.get() / 2).clamp(1, 4)),
        n => n,
    }
}

fn positive(time: Duration) -> Option<Duration> {
    (!time.is_zero()).then_some(time)
}

/// The primary; the replicas and behind them the servers of the lanes.
type Servers = (topology::Server, Vec<topology::Server>);

fn nodes(settings: &Arc<Settings>, servers: &Servers, threads: usize) -> (Arc<Node>, Vec<Arc<Node>>) {
    let pool = &settings.pool;
    let connect_timeout = pool.server_connect_timeout;
    let limits = |pool_size: usize, setting: &str| Limits {
        pool_size,
        pool_size_setting: setting.into(),
        max_pinned: (pool_size * pool.max_pinned_percent).div_ceil(100),
        server_connect_timeout: connect_timeout,
        server_idle_timeout: positive(pool.server_idle_timeout),
        server_login_retry: pool.server_login_retry,
        max_prepared_statements: pool.max_prepared_statements,
    };
    let node = |server: &topology::Server, limits: Limits| -> Arc<Node> {
        let target = |host: &Host| Target { host: host.clone(), tls: server.tls.clone(), connect_timeout };
        let hosts = Hosts::new(&server.url, target);
        Node::with_hosts(&server.name, hosts, server.lane, limits, settings, threads)
    };
    let (primary, replicas) = servers;
    let of_all = || limits(pool.pool_size, "pool.pool_size");
    let (plain, own) = replicas.split_at(settings.replicas.len().min(replicas.len()));
    let lanes = settings.known_lanes();
    let of_lanes = own.iter().zip(settings.lane_servers()).map(|(server, of)| {
        let setting = format!("lanes.{}.pool_size", lanes.name(of.of));
        node(server, limits(of.lane.pool_size(settings), &setting))
    });
    let replicas = plain.iter().map(|server| node(server, of_all())).chain(of_lanes).collect();
    (node(primary, of_all()), replicas)
}

fn credentials(
    settings: &Arc<Settings>,
    primary: &Node,
) -> Result<(Credentials, Option<credentials::Service>), Failure> {
    let source = credentials::Source {
        auth_file: settings.auth.auth_file.clone(),
        primary: Some(credentials::Primary {
            url: settings.primary.clone(),
            target: primary.target.clone(),
            auth_query: settings.auth.auth_query.clone(),
        }),
        settings: Some(Arc::clone(settings)),
        fresh_for: credentials::FRESH_FOR,
    };
    Ok(Credentials::new(source)?)
}

fn certificate(settings: &Settings) -> Result<Option<Arc<Certificate>>, Failure> {
    let tls = &settings.client_tls;
    let asked_for = tls.client_tls_ca_file.as_deref().filter(|_| tls.mode().wants_certificate());
    match (&tls.client_tls_cert_file, &tls.client_tls_key_file) {
        (Some(chain), Some(key)) => Ok(Some(Arc::new(Certificate::load(chain, key, asked_for)?))),
        _ => Ok(None),
    }
}

/// Asks for plans that no statement waits for, and what the planner says of indexes that would help.
fn ask_planner(control: &ControlThread, shared: &Shared) {
    if shared.plan.rows.is_some() {
        let (desk, snapshot) = (Arc::clone(&shared.desk), Arc::clone(&shared.snapshot));
        let clerk = planner::Clerk::new(desk, snapshot, Arc::clone(&shared.meters), &shared.settings);
        control.handle().spawn(clerk.run());
    }
}

/// Starts the tasks of the control plane; they end when its thread is dropped.
fn start_control(
    control: &ControlThread,
    settings: &Arc<Settings>,
    (primary, replicas): Servers,
    snapshot: snapshot::Shared,
    service: Option<credentials::Service>,
    health: Arc<http::Health>,
    shared: &Arc<Shared>,
) -> Result<(), Failure> {
    let handle = control.handle();
    let _entered = handle.enter();
    handle.spawn(reload::on_hangup(Arc::clone(shared))?);
    handle.spawn(policies::run(Arc::clone(&shared.policies)));
    handle.spawn(learned::run(Arc::clone(&snapshot), Arc::clone(&shared.learned)));
    if let Some(service) = service {
        handle.spawn(service.run());
    }
    if let Some(address) = &settings.http {
        let listener = http_listener(address)?;
        handle.spawn(http::serve(listener, health, std::future::pending()));
    }
    let watch = topology::Watch::new(settings);
    handle.spawn(topology::run(snapshot, primary, replicas, watch, Arc::clone(&shared.probe_asked)));
    Ok(())
}

/// Call within the control runtime.
fn http_listener(address: &ListenAddr) -> Result<TcpListener, Failure> {
    let ListenAddr::Tcp(host, port) = address else {
        return Err(format!("http {address}: must be host:port").into());
    };
    let failed = |e: std::io::Error| format!("http {address}: {e}");
    let host = if host == "*" { "0.0.0.0" } else { host };
    let listener = std::net::TcpListener::bind((host, *port)).map_err(failed)?;
    listener.set_nonblocking(true)?;
    tracing::info!("http on {}", listener.local_addr()?);
    Ok(TcpListener::from_std(listener)?)
}

fn data_plane(shared: &Arc<Shared>, threads: usize, health: &http::Health) -> Result<(), Failure> {
    let mut others = Vec::new();
    for index in 1..threads {
        let (deal, dealt) = mpsc::channel(DEALT);
        others.push(deal);
        let shared = Arc::clone(shared);
        std::thread::Builder::new().name(format!("data-{index}")).spawn(move || {
            if let Err(failure) = data_thread(index, threads, shared, dealt) {
                tracing::error!("data thread {index}: {failure}");
            }
        })?;
    }
    let runtime = local_runtime()?;
    runtime.block_on(async {
        let thread = Thread::new(0, Arc::clone(shared), guard(shared, threads)?, seed()?);
        tokio::task::spawn_local(upkeep::run(Rc::clone(&thread)));
        let deal = Rc::new(accept::Deal { own: thread, others });
        let mut acceptors = tokio::task::JoinSet::new();
        for address in &shared.settings.listen {
            let failed = |e: std::io::Error| format!("listen {address}: {e}");
            for listener in accept::listen(address).await.map_err(failed)? {
                tracing::info!("listening on {}", listener.address());
                acceptors.spawn_local(accept::accept(listener, Rc::clone(&deal)));
            }
        }
        health.set_listening(true);
        wait_for_the_end(shared, health, acceptors).await
    })
}

fn data_thread(
    index: usize,
    threads: usize,
    shared: Arc<Shared>,
    dealt: mpsc::Receiver<Detached>,
) -> Result<(), Failure> {
    let runtime = local_runtime()?;
    runtime.block_on(async {
        let thread = Thread::new(index, Arc::clone(&shared), guard(&shared, threads)?, seed()?);
        tokio::task::spawn_local(upkeep::run(Rc::clone(&thread)));
        accept::take(thread, dealt).await;
        Ok(())
    })
}

fn local_runtime() -> Result<LocalRuntime, Failure> {
    Ok(Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?)
}

fn seed() -> Result<[u64; 4], Failure> {
    let bytes: [u8; 32] = crate::pool::key::random()?;
    let mut seed = [0; 4];
    for (word, chunk) in seed.iter_mut().zip(bytes.chunks_exact(8)) {
        *word = u64::from_ne_bytes(chunk.try_into()?);
    }
    Ok(seed)
}

fn guard(shared: &Shared, threads: usize) -> Result<Guard, Failure> {
    let limits = GuardLimits {
        max_statement_bytes: shared.max_statement_bytes,
        cache_bytes: usize::try_from(shared.settings.guard.cache_bytes.0)? / threads,
    };
    let policies = Arc::clone(&shared.policies.outlook().published.version.policies);
    Ok(Guard::new(policies, limits, seed()?))
}

/// SIGTERM or SIGINT: stop accepting, let transactions end, at the latest after [`DRAIN`]; a second signal ends
/// at once.
async fn wait_for_the_end(
    shared: &Shared,
    health: &http::Health,
    mut acceptors: tokio::task::JoinSet<()>,
) -> Result<(), Failure> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let told = async |terminate: &mut tokio::signal::unix::Signal,
                      interrupt: &mut tokio::signal::unix::Signal| {
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
    };
    told(&mut terminate, &mut interrupt).await;
    tracing::info!(clients = shared.clients.load(Ordering::Relaxed), "shutting down");
    health.set_listening(false);
    shared.draining.store(true, Ordering::SeqCst);
    acceptors.abort_all();
    while acceptors.join_next().await.is_some() {}
    let drained = async {
        while shared.clients.load(Ordering::SeqCst) > 0 {
            shared.mailboxes.iter().for_each(|mailbox| mailbox.shut_down());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        () = drained => {}
        () = tokio::time::sleep(DRAIN) => tracing::warn!("clients still in transactions; closing"),
        () = told(&mut terminate, &mut interrupt) => tracing::warn!("told twice; closing"),
    }
    Ok(())
}
