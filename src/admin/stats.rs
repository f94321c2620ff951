//! SHOW STATS: what the counters say of each database, since the start and of late.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::commands::What;
use super::sheet::{Sheet, Value};
use crate::observe::Meters;
use crate::observe::totals::Totals;
use crate::proxy::thread::Shared;

/// How often a sample is taken: averages are of the time since the last but one.
const PERIOD: Duration = Duration::from_secs(60);

/// One database's counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    assignments: u64,
    transactions: u64,
    queries: u64,
    received: u64,
    sent: u64,
    query_micros: u64,
    wait_micros: u64,
    logins: u64,
}

/// By database.
type Sample = BTreeMap<Arc<str>, Counts>;

fn sample_of(totals: &Totals) -> Sample {
    let mut sample = Sample::new();
    for (key, pool) in &totals.pools {
        let counts = sample.entry(Arc::clone(&key.database)).or_default();
        counts.assignments += pool.wait.count();
        counts.transactions += pool.transactions;
        counts.queries += pool.kinds.iter().sum::<u64>();
        counts.query_micros += pool.time.nanos / 1000;
        counts.wait_micros += pool.wait.nanos / 1000;
    }
    for (key, [received, sent, logins]) in &totals.client_traffic {
        let counts = sample.entry(Arc::clone(&key.database)).or_default();
        counts.received += received;
        counts.sent += sent;
        counts.logins += logins;
    }
    sample
}

/// A sample and its time.
type Taken = (Instant, Arc<Sample>);

/// The samples that averages are made from: the last but one, and the last.
#[derive(Default)]
pub(super) struct Averages(Mutex<[Option<Taken>; 2]>);

impl Averages {
    fn add(&self, at: Instant, sample: Sample) {
        let mut samples = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        samples.rotate_left(1);
        samples[1] = Some((at, Arc::new(sample)));
    }

    /// What averages begin from.
    fn base(&self) -> Option<Taken> {
        let samples = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        samples.iter().flatten().next().cloned()
    }
}

/// Takes samples for ever.
pub async fn sample(shared: Arc<Shared>) {
    let mut ticks = tokio::time::interval(PERIOD);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let meters: Arc<Meters> = Arc::clone(&shared.meters);
        let Ok(sample) = tokio::task::spawn_blocking(move || sample_of(&meters.totals())).await else {
            return;
        };
        shared.console.averages.add(Instant::now(), sample);
    }
}

/// Writes one of the three lists.
pub(super) fn write(what: What, shared: &Shared, sheet: &mut Sheet) {
    let base = shared.console.averages.base();
    let now = Instant::now();
    for (database, counts) in sample_of(&shared.meters.totals()) {
        let averages = base.as_ref().map(|(at, sample)| {
            let before = sample.get(&database).copied().unwrap_or_default();
            average(before, counts, now.saturating_duration_since(*at))
        });
        let (totals, averages) = (values(counts), values(averages.unwrap_or_default()));
        let mut row = vec![Value::Text(&database)];
        if what != What::StatsAverages {
            row.extend(totals);
        }
        if what != What::StatsTotals {
            row.extend(averages);
        }
        sheet.row(&row);
    }
}

/// In the order of the columns; what is not counted is NULL.
fn values(counts: Counts) -> [Value<'static>; 12] {
    [
        Value::Number(counts.assignments),
        Value::Number(counts.transactions),
        Value::Number(counts.queries),
        Value::Number(counts.received),
        Value::Number(counts.sent),
        Value::Null, // xact_time
        Value::Number(counts.query_micros),
        Value::Number(counts.wait_micros),
        Value::Null, // client_parse_count
        Value::Null, // server_parse_count
        Value::Null, // bind_count
        Value::Number(counts.logins),
    ]
}

/// Per second; a statement's time per statement.
fn average(before: Counts, now: Counts, elapsed: Duration) -> Counts {
    let micros = elapsed.as_micros().max(1);
    let difference = |part: fn(&Counts) -> u64| part(&now).saturating_sub(part(&before));
    let per_second = |part: fn(&Counts) -> u64| {
        u64::try_from(u128::from(difference(part)) * 1_000_000 / micros).unwrap_or(u64::MAX)
    };
    let queries = difference(|c| c.queries);
    Counts {
        assignments: per_second(|c| c.assignments),
        transactions: per_second(|c| c.transactions),
        queries: per_second(|c| c.queries),
        received: per_second(|c| c.received),
        sent: per_second(|c| c.sent),
        query_micros: difference(|c| c.query_micros).checked_div(queries).unwrap_or(0),
        wait_micros: per_second(|c| c.wait_micros),
        logins: per_second(|c| c.logins),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn averages_are_per_second_and_times_per_statement() {
        let before = Counts { queries: 100, query_micros: 5_000, wait_micros: 10, ..Counts::default() };
        let now = Counts { queries: 300, query_micros: 25_000, wait_micros: 2_010, ..Counts::default() };
        let average = average(before, now, Duration::from_secs(20));
        assert_eq!((average.queries, average.query_micros, average.wait_micros), (10, 100, 100));
    }

    #[test]
    fn nothing_divides_by_nothing() {
        assert_eq!(average(Counts::default(), Counts::default(), Duration::ZERO), Counts::default());
    }

    #[test]
    fn averages_begin_at_the_last_but_one() {
        let averages = Averages::default();
        assert!(averages.base().is_none());
        let start = Instant::now();
        for n in 0..3 {
            averages.add(start + PERIOD * n, Sample::new());
            let expected = start + PERIOD * n.saturating_sub(1);
            assert_eq!(averages.base().map(|(at, _)| at), Some(expected));
        }
    }
}
