//! Every metric, declared once; and the page that shows them.
//!
//! Whole counters and gauges go through `metrics-exporter-prometheus`, with a recorder made for each page: a
//! series is there because its source is there, and nothing lingers. The rest is written by
//! [`super::exposition`]. `docs/METRICS.md` is written from this table: `UPDATE=1 cargo test
//! metrics_page_of_the_manual`.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use metrics::{Key, Label, Level, Metadata, Recorder};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusRecorder};

use super::counters::{ACTIONS, CacheLevel, ClientState, KINDS, MODES, ServerState, Timeout};
use super::exposition::{Text, seconds};
use super::fingerprints::Sample;
use super::labels::{OTHER, Slot};
use super::process::Process;
use super::rules::VERDICTS as VERDICT_CELLS;
use super::totals::Totals;
use super::{Meters, locked, log, query_log};
use crate::control::snapshot;
use crate::guard::Effects;
use crate::session::Limit;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    Counter,
    Gauge,
    Histogram,
}

impl MetricKind {
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// A metric: base units, `_total` on counters, a fixed set of labels.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    pub name: &'static str,
    pub kind: MetricKind,
    pub labels: &'static [&'static str],
    pub help: &'static str,
}

macro_rules! metrics {
    ($($id:ident: $kind:ident $name:literal [$($label:literal),*] $help:literal;)*) => {
        $(pub const $id: Metric = Metric {
            name: concat!("pgsluice_", $name),
            kind: MetricKind::$kind,
            labels: &[$($label),*],
            help: $help,
        };)*
        /// All metrics, in the order of the manual.
        pub const ALL: &[Metric] = &[$($id),*];
    };
}

metrics! {
    CLIENT_CONNECTIONS: Gauge "client_connections" ["database", "user", "state"]
        "Logged-in clients: idle, active (hold a server) or waiting for one.";
    CLIENT_LOGINS: Counter "client_logins_total" ["result"]
        "Log-ins of clients that ended, ok or failed.";
    PLANS: Counter "plans_total" ["result"]
        "Times the planner was asked, ahead of a statement or beside it, by whether it answered in time; dropped: too many waited to be asked beside theirs.";
    INDEX_ADVICE: Gauge "index_advice" ["checked"]
        "Indexes that would help, as SHOW ADVICE lists them, by whether the planner was asked (hypopg).";
    TIMEOUTS: Counter "timeouts_total" ["timeout"]
        "Times that ran out, by the setting that says how long.";
    CLIENT_BYTES: Counter "client_bytes_total" ["direction"]
        "Bytes received from and sent to logged-in clients, without what TLS adds.";
    SERVER_CONNECTIONS: Gauge "server_connections" ["server", "database", "user", "state"]
        "Connections to servers: login, idle or active (lent to a client).";
    SERVER_LOGINS: Counter "server_logins_total" ["server", "database", "user", "result"]
        "Log-ins to servers that ended, ok or failed.";
    POOL_WAIT: Histogram "pool_wait_seconds" ["server", "database", "user"]
        "Time clients waited for a server connection.";
    QUERIES: Counter "queries_total" ["database", "user", "server", "kind"]
        "Statements run on a server, by kind.";
    QUERY_TIME: Histogram "query_seconds" ["database", "user", "server"]
        "Time from a statement's arrival to its end.";
    QUERY_ROWS: Counter "query_rows_total" ["database", "user", "server"]
        "Rows the servers sent.";
    QUERY_BYTES: Counter "query_bytes_total" ["database", "user", "server"]
        "Bytes of results the servers sent.";
    QUERY_ERRORS: Counter "query_errors_total" ["database", "user", "server"]
        "Errors the servers sent.";
    VERDICTS: Counter "verdicts_total" ["rule", "action", "mode"]
        "Statements a rule matched; in mode observe they were only counted.";
    LIMITS: Counter "limits_total" ["rule", "limit"]
        "Statements that met a limit of a rule: cut off, refused, or without a turn in time.";
    FINGERPRINT_CALLS: Counter "fingerprint_calls_total" ["database", "fingerprint"]
        "Statements run, for the fingerprints that took the most time; the rest is other.";
    FINGERPRINT_SECONDS: Counter "fingerprint_seconds_total" ["database", "fingerprint"]
        "Time spent, for the fingerprints that took the most time; the rest is other.";
    FINGERPRINT_ROWS: Counter "fingerprint_rows_total" ["database", "fingerprint"]
        "Rows sent, for the fingerprints that took the most time; the rest is other.";
    FINGERPRINT_BYTES: Counter "fingerprint_bytes_total" ["database", "fingerprint"]
        "Bytes of results, for the fingerprints that took the most time; the rest is other.";
    PINS: Counter "pins_total" ["reason"]
        "Times a server was kept for one client because of session state.";
    PARSE_FAILURES: Counter "parse_failures_total" []
        "Statements that PostgreSQL's grammar did not accept, or that were too large or slow to parse.";
    CACHE_HITS: Counter "cache_hits_total" ["cache"]
        "Judgements found in a cache of the guard.";
    CACHE_MISSES: Counter "cache_misses_total" ["cache"]
        "Judgements not found in a cache of the guard.";
    SERVER_UP: Gauge "server_up" ["server"]
        "1 if the last probe found the server fit for its role: a primary that takes writes, a replica fresh enough to read from.";
    REPLICA_LAG: Gauge "replica_lag_seconds" ["server"]
        "How far a replica is behind the primary; absent while unknown.";
    POLICY_RELOAD_SUCCESS: Gauge "policy_reload_success" []
        "1 if the last load of the policies succeeded, 0 if the ones before it stayed.";
    POLICY_RELOAD_TIMESTAMP: Gauge "policy_reload_timestamp" []
        "When policies were last loaded successfully, in seconds since 1970.";
    POLICY_GENERATION: Gauge "policy_generation" []
        "The version of the policies in force, as SHOW POLICY_VERSIONS counts them.";
    TLS_EXPIRY: Gauge "tls_certificate_expiry_seconds" []
        "When the certificate shown to clients expires, in seconds since 1970.";
    LOG_DROPPED: Counter "log_dropped_total" []
        "Log lines dropped because the reader of stderr was too slow.";
    QUERY_LOG_LINES: Counter "query_log_lines_total" ["result"]
        "Lines of the query log: written, or dropped since the buffer was full or the disk failed (buffer_full, disk).";
    PROCESS_CPU: Counter "process_cpu_seconds_total" []
        "User and system time of the process.";
    PROCESS_MEMORY: Gauge "process_resident_memory_bytes" []
        "Resident memory of the process.";
    PROCESS_FDS: Gauge "process_open_fds" []
        "Open files and sockets.";
    PROCESS_MAX_FDS: Gauge "process_max_fds" []
        "Limit on open files and sockets.";
    PROCESS_START: Gauge "process_start_time_seconds" []
        "When the process started, in seconds since 1970.";
}

/// One pool's server connections. Counted by the pools themselves: a connection may move between threads, so no
/// thread's cells could hold it.
#[derive(Clone, Debug)]
pub struct Connections {
    pub server: Arc<str>,
    pub database: Arc<str>,
    pub user: Arc<str>,
    /// Now, in the order of [`ServerState::LABELS`].
    pub states: [usize; 3],
    /// Log-ins that ended, since the start: succeeded, failed.
    pub logins: [u64; 2],
}

/// Asks the pools for their [`Connections`]: one server after the other, its oldest pool first, always in the same
/// order, or a series would change its meaning.
#[derive(Clone)]
pub struct Census(pub Arc<dyn Fn() -> Vec<Connections> + Send + Sync>);

impl Default for Census {
    fn default() -> Self {
        Self(Arc::new(Vec::new))
    }
}

impl std::fmt::Debug for Census {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Census")
    }
}

/// What the page is made from.
#[derive(Clone, Debug)]
pub struct Sources {
    pub census: Census,
    pub meters: Arc<Meters>,
    pub snapshot: snapshot::Shared,
    pub log: Arc<log::Stats>,
    pub query_log: Option<Arc<query_log::Stats>>,
    /// When the certificate shown to clients expires, in seconds since 1970; it follows a reload.
    pub certificate_expiry: Option<Arc<AtomicI64>>,
    /// When the process started.
    pub started: SystemTime,
}

/// How long a page is served before it is made again: scrapers cannot multiply the work.
const PAGE_LIFE: Duration = Duration::from_secs(1);

/// The page, made at most once a second.
#[derive(Debug)]
pub struct Page {
    sources: Sources,
    last: std::sync::Mutex<Option<(Instant, Arc<str>)>>,
}

impl Page {
    #[must_use]
    pub fn new(sources: Sources) -> Self {
        Self { sources, last: std::sync::Mutex::default() }
    }

    #[must_use]
    pub fn sources(&self) -> &Sources {
        &self.sources
    }

    /// The page, at most a second old. Takes milliseconds when it is made: not for a data thread, nor for the
    /// control plane's event loop.
    #[must_use]
    pub fn get(&self) -> Arc<str> {
        let mut last = locked(&self.last);
        match &*last {
            Some((made, page)) if made.elapsed() < PAGE_LIFE => Arc::clone(page),
            _ => {
                let page: Arc<str> = render(&self.sources).into();
                *last = Some((Instant::now(), Arc::clone(&page)));
                page
            }
        }
    }
}

/// Makes the page: Prometheus' text format 0.0.4.
#[must_use]
pub fn render(sources: &Sources) -> String {
    let recorder = PrometheusBuilder::new().build_recorder();
    let whole = Whole { recorder: &recorder };
    let mut text = Text::default();
    let totals = sources.meters.totals();
    connections(&whole, &totals);
    server_connections(&whole, &(sources.census.0)(), sources.meters.label_pairs());
    queries(&whole, &mut text, &totals);
    guard(&whole, &totals, &sources.meters);
    for (checked, count) in ["yes", "no"].iter().zip(sources.meters.advice().counts()) {
        whole.gauge(&INDEX_ADVICE, &[checked], count as f64);
    }
    fingerprints(&mut text, &sources.meters);
    servers(&whole, &sources.snapshot);
    process(&whole, &mut text, sources);
    let mut page = recorder.handle().render();
    page.push_str(&text.into_string());
    page
}

/// Whole counters and gauges, through the exporter.
struct Whole<'a> {
    recorder: &'a PrometheusRecorder,
}

impl Whole<'_> {
    const METADATA: Metadata<'static> = Metadata::new("pgsluice", Level::INFO, None);

    fn key(metric: &Metric, labels: &[&str]) -> Key {
        debug_assert_eq!(metric.labels.len(), labels.len(), "{}", metric.name);
        // The exporter takes a backslash for one that escapes already: `a\"` and `a"` would come out alike,
        // and one series twice. Doubled, each comes out as it should.
        let label = |(name, value): (&&'static str, &&str)| Label::new(*name, value.replace('\\', "\\\\"));
        Key::from_parts(metric.name, metric.labels.iter().zip(labels).map(label).collect::<Vec<_>>())
    }

    fn counter(&self, metric: &Metric, labels: &[&str], value: u64) {
        self.recorder.describe_counter(metric.name.into(), None, metric.help.into());
        self.recorder.register_counter(&Self::key(metric, labels), &Self::METADATA).absolute(value);
    }

    fn gauge(&self, metric: &Metric, labels: &[&str], value: f64) {
        self.recorder.describe_gauge(metric.name.into(), None, metric.help.into());
        self.recorder.register_gauge(&Self::key(metric, labels), &Self::METADATA).set(value);
    }
}

/// A gauge that was summed from single-writer cells: never below zero, but for a moment of moving.
fn level(cells: u64) -> f64 {
    cells.cast_signed().max(0) as f64
}

const RESULTS: [&str; 2] = ["ok", "failed"];
const PLAN_RESULTS: [&str; 3] = ["ok", "failed", "dropped"];

fn connections(whole: &Whole<'_>, totals: &Totals) {
    for (key, states) in &totals.clients {
        for (state, count) in ClientState::LABELS.iter().zip(states) {
            whole.gauge(&CLIENT_CONNECTIONS, &[&key.database, &key.user, state], level(*count));
        }
    }
    for (result, count) in RESULTS.iter().zip(totals.client_logins) {
        whole.counter(&CLIENT_LOGINS, &[result], count);
    }
    for (result, count) in PLAN_RESULTS.iter().zip(totals.plans) {
        whole.counter(&PLANS, &[result], count);
    }
    for (timeout, count) in Timeout::LABELS.iter().zip(totals.timeouts) {
        whole.counter(&TIMEOUTS, &[timeout], count);
    }
    whole.counter(&CLIENT_BYTES, &["received"], totals.client_bytes_received);
    whole.counter(&CLIENT_BYTES, &["sent"], totals.client_bytes_sent);
}

/// One server's first pools have series of their own, the rest is summed.
fn server_connections(whole: &Whole<'_>, pools: &[Connections], label_pairs: usize) {
    for pools in pools.chunk_by(|a, b| a.server == b.server) {
        let (shown, rest) = pools.split_at(pools.len().min(label_pairs));
        for pool in shown {
            server_pool(whole, [&pool.server, &pool.database, &pool.user], pool.states, pool.logins);
        }
        if let Some(any) = rest.first() {
            let states = [0, 1, 2].map(|at| rest.iter().map(|pool| pool.states[at]).sum());
            let logins = [0, 1].map(|at| rest.iter().map(|pool| pool.logins[at]).sum());
            server_pool(whole, [&any.server, OTHER, OTHER], states, logins);
        }
    }
}

fn server_pool(whole: &Whole<'_>, [server, database, user]: [&str; 3], states: [usize; 3], logins: [u64; 2]) {
    for (state, count) in ServerState::LABELS.iter().zip(states) {
        whole.gauge(&SERVER_CONNECTIONS, &[server, database, user, state], count as f64);
    }
    for (result, count) in RESULTS.iter().zip(logins) {
        whole.counter(&SERVER_LOGINS, &[server, database, user, result], count);
    }
}

fn queries(whole: &Whole<'_>, text: &mut Text, totals: &Totals) {
    for (key, pool) in &totals.pools {
        let labels = [&*key.database, &*key.user, &*key.server];
        // Select is there from the first moment, so that a rate is right from the first query.
        for ((_, kind), count) in
            KINDS.iter().zip(pool.kinds).filter(|((_, kind), n)| *n > 0 || *kind == "select")
        {
            whole.counter(&QUERIES, &[labels[0], labels[1], labels[2], kind], count);
        }
        whole.counter(&QUERY_ROWS, &labels, pool.rows);
        whole.counter(&QUERY_BYTES, &labels, pool.bytes);
        whole.counter(&QUERY_ERRORS, &labels, pool.errors);
    }
    text.open(&POOL_WAIT);
    for (key, pool) in &totals.pools {
        text.histogram(&POOL_WAIT, &[&key.server, &key.database, &key.user], &pool.wait);
    }
    text.open(&QUERY_TIME);
    for (key, pool) in &totals.pools {
        text.histogram(&QUERY_TIME, &[&key.database, &key.user, &key.server], &pool.time);
    }
}

fn guard(whole: &Whole<'_>, totals: &Totals, meters: &Meters) {
    for (slot, rule) in meters.rule_labels().iter().enumerate() {
        let counts = totals.verdicts.get(&Slot(slot as u32)).copied().unwrap_or_default();
        let own = rule.action as usize * MODES.len() + usize::from(!rule.enforced);
        let (verdicts, limits) = counts.split_at(VERDICT_CELLS);
        for (at, &count) in verdicts.iter().enumerate() {
            // What the rule says itself is there from the first moment.
            if count > 0 || (at == own && &*rule.name != OTHER) {
                let (action, mode) = (ACTIONS[at / MODES.len()], MODES[at % MODES.len()]);
                whole.counter(&VERDICTS, &[&rule.name, action, mode], count);
            }
        }
        for (limit, &count) in Limit::NAMES.iter().zip(limits).filter(|(_, count)| **count > 0) {
            whole.counter(&LIMITS, &[&rule.name, limit], count);
        }
    }
    for ((_, reason), count) in Effects::PINS.iter().zip(totals.pins) {
        whole.counter(&PINS, &[reason], count);
    }
    for (at, cache) in CacheLevel::LABELS.iter().enumerate() {
        whole.counter(&CACHE_HITS, &[cache], totals.cache_hits[at]);
        whole.counter(&CACHE_MISSES, &[cache], totals.cache_misses[at]);
    }
    whole.counter(&PARSE_FAILURES, &[], totals.parse_failures);
    if let Some(load) = meters.last_policy_load() {
        whole.gauge(&POLICY_RELOAD_SUCCESS, &[], f64::from(u8::from(load.success)));
        whole.gauge(&POLICY_RELOAD_TIMESTAMP, &[], load.timestamp as f64);
        whole.gauge(&POLICY_GENERATION, &[], load.generation as f64);
    }
}

/// How a fingerprint is written everywhere: 16 hexadecimal digits.
#[must_use]
pub fn fingerprint_label(fingerprint: u64) -> String {
    format!("{fingerprint:016x}")
}

fn fingerprints(text: &mut Text, meters: &Meters) {
    let costs = meters.fingerprints();
    let shown = costs
        .top
        .into_iter()
        .map(|(database, row)| (database, fingerprint_label(row.fingerprint), row.shown));
    let other = costs.other.into_iter().map(|(database, cost)| (database, OTHER.to_string(), cost));
    let rows: Vec<_> = shown.chain(other).collect();
    type Value = fn(&Sample) -> f64;
    let columns: [(&Metric, Value); 4] = [
        (&FINGERPRINT_CALLS, |cost| cost.calls as f64),
        (&FINGERPRINT_SECONDS, |cost| seconds(cost.nanos)),
        (&FINGERPRINT_ROWS, |cost| cost.rows as f64),
        (&FINGERPRINT_BYTES, |cost| cost.bytes as f64),
    ];
    for (metric, value) in columns {
        text.open(metric);
        for (database, fingerprint, cost) in &rows {
            text.sample(metric, &[database, fingerprint], value(cost));
        }
    }
}

fn servers(whole: &Whole<'_>, snapshot: &snapshot::Shared) {
    let snapshot = snapshot.load();
    let now = Instant::now();
    let primary = &snapshot.topology.primary;
    let up = |up: bool| f64::from(u8::from(up));
    whole.gauge(&SERVER_UP, &[&primary.name], up(primary.why_not.is_none()));
    for replica in &snapshot.topology.replicas {
        whole.gauge(&SERVER_UP, &[&replica.name], up(replica.usable_at(now)));
        if let Some(lag) = replica.lag {
            whole.gauge(&REPLICA_LAG, &[&replica.name], lag.as_secs_f64());
        }
    }
}

fn process(whole: &Whole<'_>, text: &mut Text, sources: &Sources) {
    let now = Process::now();
    whole.counter(&LOG_DROPPED, &[], sources.log.dropped());
    for (result, lines) in sources.query_log.iter().flat_map(|stats| stats.lines()) {
        whole.counter(&QUERY_LOG_LINES, &[result], lines);
    }
    if let Some(expiry) = &sources.certificate_expiry {
        whole.gauge(&TLS_EXPIRY, &[], expiry.load(Ordering::Relaxed) as f64);
    }
    if let Some(cpu) = now.cpu_seconds {
        text.open(&PROCESS_CPU);
        text.sample(&PROCESS_CPU, &[], cpu);
    }
    let gauges = [
        (&PROCESS_MEMORY, now.resident_memory_bytes),
        (&PROCESS_FDS, now.open_fds),
        (&PROCESS_MAX_FDS, now.max_fds),
    ];
    for (metric, value) in gauges {
        if let Some(value) = value {
            whole.gauge(metric, &[], value as f64);
        }
    }
    let started = sources.started.duration_since(UNIX_EPOCH).unwrap_or_default();
    whole.gauge(&PROCESS_START, &[], started.as_secs_f64());
}

/// `docs/METRICS.md`.
#[must_use]
pub fn manual() -> String {
    let mut text = String::from(
        "# Metrics\n\nWritten from `src/observe/metrics.rs`: change it there, then `UPDATE=1 cargo test \
         metrics_page_of_the_manual`.\n\n\
         `GET /metrics` serves them in Prometheus' text format, made at most once a second. Labels that clients \
         choose (`database`, `user`) are bounded: later ones count as `other`. A fingerprint that leaves the top \
         stops its series; what it costs from then on counts as `other`, and if it returns, its series goes on \
         where it ended, so no counter goes back.\n\n\
         | metric | type | labels | meaning |\n|---|---|---|---|\n",
    );
    for metric in ALL {
        let labels: Vec<_> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        let Metric { name, kind, help, .. } = metric;
        let _ = writeln!(text, "| `{name}` | {} | {} | {help} |", kind.label(), labels.join(", "));
    }
    text
}

#[cfg(test)]
#[path = "metrics_tests.rs"]
mod tests;
