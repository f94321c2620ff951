//! What happened, for people and for Prometheus. Nothing here can stop the data path.
//!
//! | what | counted where | read by |
//! |---|---|---|
//! | statements, their time, rows, bytes, errors; waits | [`counters::PoolMeter`], per thread and (server, database, user) | [`Meters::totals`] |
//! | client connections | [`counters::ClientMeter`], per thread and (database, user) | [`Meters::totals`] |
//! | rules that matched, pins, caches, parse failures, bytes of clients, log-ins | [`counters::ThreadMeters`] | [`Meters::totals`] |
//! | server connections, log-ins to servers | the pools themselves | [`metrics::Census`] |
//! | what each fingerprint costs | [`fingerprints::Table`], per thread | [`Meters::fingerprints`] |
//! | indexes that would help | [`advice::AdviceTable`] | [`Meters::advice`] |
//! | loads of the policies | [`Meters::policy_load`] | [`metrics`] |
//! | lag and health of the servers | `control::topology`, in the snapshot | [`metrics`] |
//! | dropped log lines | [`log`] | [`metrics`] |
//! | lines of the query log | [`query_log`] | [`metrics`] |
//! | the process itself | [`process`], from `/proc` at each scrape | [`metrics`] |
//!
//! `observe` never blocks a data thread on a reader: cells are single-writer atomics; the maps and the
//! fingerprint rows have a mutex per thread, which a scrape holds for a copy of a few rows and never over IO.

/// Indexes that would help.
pub mod advice;
/// Single-writer cells.
pub mod counters;
/// The dearest fingerprints.
pub mod fingerprints;
/// Bounds on label values.
pub mod labels;
/// The sums of the cells.
mod rules;
pub mod totals;
/// The registry of all cells.
pub mod meters;
/// CPU, memory and files of this process.
pub mod process;
/// Prometheus' text format, where the exporter cannot write it.
mod exposition;
/// Every metric, and the page.
pub mod metrics;
/// `/metrics`, `/healthz`, `/readyz`, `/fingerprints`.
pub mod http;
/// The log on stderr.
pub mod log;
/// A line for each statement.
pub mod query_log;
/// How many lines of one kind it gets.
pub mod limiter;

use std::sync::{Mutex, MutexGuard, PoisonError};

pub use labels::{RuleLabel, RuleMap};
pub use meters::{Bounds, Meters};

/// Locks even if a holder panicked: what is counted here has no invariant that a panic could break.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
