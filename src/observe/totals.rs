//! The cells of all threads summed: what a scrape sees.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::counters::{BUCKETS, Cell, Histogram, KINDS, PoolMeter, ThreadMeters, Timeout};
use super::labels::Slot;
use super::locked;
use super::rules::{CELLS, SLOTS_PER_CHUNK};
use crate::guard::Effects;

/// A histogram summed over threads. `buckets` are not cumulative.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HistogramTotals {
    pub buckets: [u64; BUCKETS],
    pub nanos: u64,
}

impl HistogramTotals {
    pub(super) fn add(&mut self, histogram: &Histogram) {
        for (total, cell) in self.buckets.iter_mut().zip(&histogram.buckets) {
            *total = total.wrapping_add(cell.get());
        }
        self.nanos = self.nanos.wrapping_add(histogram.nanos.get());
    }

    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PoolKey {
    pub server: Box<str>,
    pub database: Arc<str>,
    pub user: Arc<str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientKey {
    pub database: Arc<str>,
    pub user: Arc<str>,
}

/// One pool's cells summed over threads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PoolTotals {
    pub kinds: [u64; KINDS.len()],
    pub time: HistogramTotals,
    pub wait: HistogramTotals,
    pub rows: u64,
    pub bytes: u64,
    pub errors: u64,
    pub transactions: u64,
}

/// All cells summed over threads.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    pub pools: BTreeMap<PoolKey, PoolTotals>,
    /// By [`ClientState`].
    pub clients: BTreeMap<ClientKey, [u64; 3]>,
    /// Bytes received, bytes sent, clients that came.
    pub client_traffic: BTreeMap<ClientKey, [u64; 3]>,
    /// By rule slot: action × mode, then limits met.
    pub verdicts: HashMap<Slot, [u64; CELLS]>,
    pub pins: [u64; Effects::PINS.len()],
    pub cache_hits: [u64; 2],
    pub cache_misses: [u64; 2],
    pub parse_failures: u64,
    pub client_bytes_received: u64,
    pub client_bytes_sent: u64,
    pub client_logins: [u64; 2],
    pub plans: [u64; 3],
    pub timeouts: [u64; Timeout::LABELS.len()],
}

fn sum<const N: usize>(totals: &mut [u64; N], cells: &[Cell; N]) {
    for (total, cell) in totals.iter_mut().zip(cells) {
        *total = total.wrapping_add(cell.get());
    }
}

impl Totals {
    pub(super) fn add(&mut self, thread: &ThreadMeters) {
        // The maps are copied first: their locks are also taken by new sessions on the data thread.
        let pools: Vec<_> =
            locked(&thread.pools).iter().map(|(key, pool)| (key.clone(), Arc::clone(pool))).collect();
        for (key, pool) in pools {
            self.pools.entry(key).or_default().add(&pool);
        }
        let clients: Vec<_> =
            locked(&thread.clients).iter().map(|(key, meter)| (key.clone(), Arc::clone(meter))).collect();
        for (key, meter) in clients {
            let traffic = self.client_traffic.entry(key.clone()).or_default();
            for (total, cell) in traffic.iter_mut().zip([&meter.received, &meter.sent, &meter.logins]) {
                *total = total.wrapping_add(cell.get());
            }
            self.client_bytes_received = self.client_bytes_received.wrapping_add(meter.received.get());
            self.client_bytes_sent = self.client_bytes_sent.wrapping_add(meter.sent.get());
            sum(self.clients.entry(key).or_default(), &meter.connections);
        }
        for (index, chunk) in thread.verdicts.iter().enumerate() {
            for (offset, cells) in chunk.get().iter().flat_map(|chunk| chunk.iter()).enumerate() {
                if cells.iter().any(|cell| cell.get() != 0) {
                    let slot = Slot((index * SLOTS_PER_CHUNK + offset) as u32);
                    sum(self.verdicts.entry(slot).or_default(), cells);
                }
            }
        }
        sum(&mut self.pins, &thread.pins);
        sum(&mut self.cache_hits, &thread.cache_hits);
        sum(&mut self.cache_misses, &thread.cache_misses);
        sum(&mut self.client_logins, &thread.client_logins);
        sum(&mut self.plans, &thread.plans);
        sum(&mut self.timeouts, &thread.timeouts);
        self.parse_failures += thread.parse_failures.get();
        self.client_bytes_received += thread.client_bytes_received.get();
        self.client_bytes_sent += thread.client_bytes_sent.get();
    }
}

impl PoolTotals {
    fn add(&mut self, pool: &PoolMeter) {
        sum(&mut self.kinds, &pool.kinds);
        self.time.add(&pool.time);
        self.wait.add(&pool.wait);
        self.rows = self.rows.wrapping_add(pool.rows.get());
        self.bytes = self.bytes.wrapping_add(pool.bytes.get());
        self.errors = self.errors.wrapping_add(pool.errors.get());
        self.transactions = self.transactions.wrapping_add(pool.transactions.get());
    }
}
