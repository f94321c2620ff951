//! What each fingerprint costs: a bounded table per data thread, one ranking over all of them.
//!
//! **On the data thread** [`Table::record`] adds to a row under the thread's own mutex, which nobody else
//! wants but a scrape, and the scrape holds it for 64 rows at a time. A table has a fixed number of rows; a
//! newcomer takes the row with the least rank and inherits that rank (space-saving: a fingerprint with more
//! than 1/rows of all time is never lost). What the loser had not yet handed over goes to its database's
//! `other`.
//!
//! **At a scrape** the rows' increments since the last one are moved into the [`Ranking`]. The `top` ones by
//! total time are shown; **every increment is added to exactly one series**: the fingerprint's own if it is
//! shown at this scrape, else `other`. So no series ever goes back while it is shown, `other` never goes back
//! at all, and the sum over all series is the true total. A fingerprint that falls out of the top and returns
//! goes on where its series ended; what it cost in between stays in `other`.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::sync::{Arc, Mutex};

use super::labels::{DatabaseId, cut};
use super::locked;

/// Longest normalised text kept, in bytes.
const MAX_TEXT: usize = 1024;
/// Rows copied under one hold of a thread's mutex.
const CHUNK: usize = 64;

/// A cost, or a sum of costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    pub calls: u64,
    pub nanos: u64,
    pub rows: u64,
    pub bytes: u64,
}

impl Sample {
    #[inline]
    fn add(&mut self, other: Self) {
        self.calls = self.calls.wrapping_add(other.calls);
        self.nanos = self.nanos.wrapping_add(other.nanos);
        self.rows = self.rows.wrapping_add(other.rows);
        self.bytes = self.bytes.wrapping_add(other.bytes);
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Key {
    database: DatabaseId,
    fingerprint: u64,
}

/// Costs not yet handed over, per database; small, sorted by database.
type Others = BTreeMap<DatabaseId, Sample>;

#[derive(Debug)]
struct Row {
    key: Key,
    text: Arc<str>,
    /// Nanoseconds since the row was taken plus what it inherited. Only grows.
    rank: u64,
    /// Not yet handed over.
    fresh: Sample,
}

/// One thread's rows.
#[derive(Debug)]
pub struct Table {
    capacity: usize,
    index: HashMap<Key, usize, ahash::RandomState>,
    rows: Vec<Row>,
    /// Each row once, with its rank at some time past: a lower bound, made true when it surfaces.
    least: BinaryHeap<Reverse<(u64, usize)>>,
    other: Others,
}

impl Table {
    /// Memory at most about `capacity` × 1.2 KiB, taken as rows come.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        let capacity = capacity.max(1);
        Self {
            capacity,
            index: HashMap::default(),
            rows: Vec::new(),
            least: BinaryHeap::new(),
            other: Others::new(),
        }
    }

    #[inline]
    pub fn record(&mut self, database: DatabaseId, fingerprint: u64, text: &Arc<str>, cost: Sample) {
        let key = Key { database, fingerprint };
        // A cost of no time still ranks: rows must tell themselves apart from newcomers.
        let rank = cost.nanos.max(1);
        if let Some(row) = self.index.get(&key).and_then(|at| self.rows.get_mut(*at)) {
            row.rank = row.rank.saturating_add(rank);
            row.fresh.add(cost);
        } else {
            self.insert(key, text, rank, cost);
        }
    }

    #[cold]
    fn insert(&mut self, key: Key, text: &Arc<str>, rank: u64, cost: Sample) {
        let text = short(text);
        if self.rows.len() < self.capacity {
            let at = self.rows.len();
            self.rows.push(Row { key, text, rank, fresh: cost });
            self.least.push(Reverse((rank, at)));
            self.index.insert(key, at);
            return;
        }
        while let Some(mut least) = self.least.peek_mut() {
            let Reverse((seen, at)) = *least;
            let Some(row) = self.rows.get_mut(at) else { return };
            if seen < row.rank {
                // Writing through the guard moves it to its place when the guard goes.
                *least = Reverse((row.rank, at));
                continue;
            }
            let rank = row.rank.saturating_add(rank);
            let loser = std::mem::replace(row, Row { key, text, rank, fresh: cost });
            *least = Reverse((rank, at));
            drop(least);
            self.other.entry(loser.key.database).or_default().add(loser.fresh);
            self.index.remove(&loser.key);
            self.index.insert(key, at);
            return;
        }
    }

    /// Moves the increments of rows `from..from + CHUNK` to `out`. False when there were no such rows.
    fn hand_over(&mut self, from: usize, out: &mut Vec<(Key, Arc<str>, Sample)>) -> bool {
        let rows = self.rows.get_mut(from..).unwrap_or_default();
        for row in rows.iter_mut().take(CHUNK).filter(|row| row.fresh.calls != 0) {
            out.push((row.key, Arc::clone(&row.text), std::mem::take(&mut row.fresh)));
        }
        !rows.is_empty()
    }
}

fn short(text: &Arc<str>) -> Arc<str> {
    if text.len() <= MAX_TEXT { Arc::clone(text) } else { cut(text, MAX_TEXT).into() }
}

#[derive(Debug)]
struct Ranked {
    text: Arc<str>,
    /// As in [`Row`].
    rank: u64,
    /// All since it is ranked: decides who is shown.
    seen: Sample,
    /// What its own series says.
    shown: Sample,
    is_shown: bool,
}

/// The fingerprints of all threads.
#[derive(Debug)]
pub struct Ranking {
    capacity: usize,
    top: usize,
    ranked: HashMap<Key, Ranked, ahash::RandomState>,
    /// The highest rank ever dropped: what a newcomer inherits.
    floor: u64,
    other: Others,
}

/// One shown fingerprint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    pub database: DatabaseId,
    pub fingerprint: u64,
    pub normalized: Arc<str>,
    /// Its series' value.
    pub shown: Sample,
    /// All that is known of it, also from when it was not shown.
    pub seen: Sample,
}

impl Ranking {
    #[must_use]
    pub fn new(capacity: usize, top: usize) -> Self {
        let capacity = capacity.max(2);
        Self {
            capacity,
            top: top.clamp(1, capacity / 2),
            ranked: HashMap::default(),
            floor: 0,
            other: Others::new(),
        }
    }

    /// Moves the threads' increments here and decides anew who is shown.
    pub fn harvest<'a>(&mut self, tables: impl IntoIterator<Item = &'a Mutex<Table>>) {
        let mut fresh: HashMap<Key, (Arc<str>, Sample), ahash::RandomState> = HashMap::default();
        let mut chunk = Vec::with_capacity(CHUNK);
        for table in tables {
            let mut from = 0;
            while locked(table).hand_over(from, &mut chunk) {
                from += CHUNK;
                for (key, text, cost) in chunk.drain(..) {
                    fresh.entry(key).or_insert_with(|| (text, Sample::default())).1.add(cost);
                }
            }
            for (database, cost) in std::mem::take(&mut locked(table).other) {
                self.other.entry(database).or_default().add(cost);
            }
        }
        for (key, (text, cost)) in &fresh {
            let floor = self.floor;
            let ranked = self.ranked.entry(*key).or_insert_with(|| Ranked {
                text: Arc::clone(text),
                rank: floor,
                seen: Sample::default(),
                shown: Sample::default(),
                is_shown: false,
            });
            ranked.rank = ranked.rank.saturating_add(cost.nanos.max(1));
            ranked.seen.add(*cost);
        }
        self.choose();
        for (key, (_, cost)) in fresh {
            match self.ranked.get_mut(&key) {
                Some(ranked) if ranked.is_shown => ranked.shown.add(cost),
                _ => self.other.entry(key.database).or_default().add(cost),
            }
        }
        self.forget();
    }

    /// Marks the `top` by time. Ties fall to the one that is shown already, then by key: no flicker.
    fn choose(&mut self) {
        let mut order: Vec<_> = self
            .ranked
            .iter()
            .map(|(key, ranked)| (Reverse(ranked.seen.nanos), !ranked.is_shown, *key))
            .collect();
        if order.len() > self.top {
            order.select_nth_unstable(self.top - 1);
        }
        for ranked in self.ranked.values_mut() {
            ranked.is_shown = false;
        }
        for (_, _, key) in order.iter().take(self.top) {
            if let Some(ranked) = self.ranked.get_mut(key) {
                ranked.is_shown = true;
            }
        }
    }

    /// Drops the least ranked beyond the capacity. Their increments are already in a series.
    fn forget(&mut self) {
        let Some(excess) = self.ranked.len().checked_sub(self.capacity).filter(|excess| *excess > 0) else {
            return;
        };
        let hidden = self.ranked.iter().filter(|(_, ranked)| !ranked.is_shown);
        let mut order: Vec<_> = hidden.map(|(key, ranked)| (ranked.rank, *key)).collect();
        order.sort_unstable();
        for (rank, key) in order.into_iter().take(excess) {
            self.floor = self.floor.max(rank);
            self.ranked.remove(&key);
        }
    }

    /// Who is shown, dearest first.
    #[must_use]
    pub fn shown(&self) -> Vec<Shown> {
        let shown = self.ranked.iter().filter(|(_, ranked)| ranked.is_shown);
        let mut shown: Vec<_> = shown
            .map(|(key, ranked)| Shown {
                database: key.database,
                fingerprint: key.fingerprint,
                normalized: Arc::clone(&ranked.text),
                shown: ranked.shown,
                seen: ranked.seen,
            })
            .collect();
        shown.sort_by_key(|row| (Reverse(row.seen.nanos), row.database, row.fingerprint));
        shown
    }

    /// The rest, per database.
    pub fn other(&self) -> impl Iterator<Item = (DatabaseId, Sample)> + '_ {
        self.other.iter().map(|(database, cost)| (*database, *cost))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DB: DatabaseId = DatabaseId(1);

    fn cost(nanos: u64) -> Sample {
        Sample { calls: 1, nanos, rows: 2, bytes: 3 }
    }

    fn total(ranking: &Ranking) -> Sample {
        // Series of fingerprints that are not shown now keep their value for their return.
        let mut total = Sample::default();
        ranking.ranked.values().for_each(|ranked| total.add(ranked.shown));
        ranking.other().for_each(|(_, cost)| total.add(cost));
        total
    }

    #[test]
    fn a_seen_fingerprint_adds_to_its_row() {
        let table = Mutex::new(Table::new(4));
        let text: Arc<str> = "SELECT $1".into();
        for _ in 0..3 {
            locked(&table).record(DB, 7, &text, cost(10));
        }
        let mut ranking = Ranking::new(4, 1);
        ranking.harvest([&table]);
        let shown = ranking.shown();
        assert_eq!(shown.len(), 1);
        assert_eq!(shown[0].shown, Sample { calls: 3, nanos: 30, rows: 6, bytes: 9 });
        ranking.harvest([&table]);
        assert_eq!(ranking.shown(), shown, "an increment is handed over once");
    }

    #[test]
    fn a_flood_of_new_fingerprints_does_not_drown_a_dear_one() {
        let table = Mutex::new(Table::new(8));
        let text: Arc<str> = "x".into();
        for n in 0..10_000 {
            locked(&table).record(DB, n + 10, &text, cost(10));
            if n % 4 == 0 {
                locked(&table).record(DB, 1, &text, cost(1_000));
            }
        }
        assert_eq!(locked(&table).rows.len(), 8);
        assert_eq!(locked(&table).index.len(), 8);
        let mut ranking = Ranking::new(8, 2);
        ranking.harvest([&table]);
        let shown = ranking.shown();
        assert_eq!((shown[0].fingerprint, shown[0].shown.calls), (1, 2_500));
        assert_eq!(total(&ranking).calls, 12_500);
    }

    #[test]
    fn who_falls_out_of_the_top_and_returns_goes_on_where_it_ended() {
        let table = Mutex::new(Table::new(8));
        let text: Arc<str> = "x".into();
        let mut ranking = Ranking::new(8, 1);
        let mut step = |fingerprint, nanos| {
            locked(&table).record(DB, fingerprint, &text, cost(nanos));
            ranking.harvest([&table]);
            let shown = ranking.shown();
            let other: u64 = ranking.other().map(|(_, cost)| cost.nanos).sum();
            (shown[0].fingerprint, shown[0].shown.nanos, other)
        };
        assert_eq!(step(1, 100), (1, 100, 0));
        assert_eq!(step(2, 150), (2, 150, 0), "overtaken");
        assert_eq!(step(1, 20), (2, 150, 20), "not shown: other");
        assert_eq!(step(1, 40), (1, 140, 20), "back: 100 + 40");
    }

    #[test]
    fn long_texts_are_cut() {
        let table = Mutex::new(Table::new(1));
        locked(&table).record(DB, 1, &"é".repeat(4_000).into(), cost(1));
        assert_eq!(locked(&table).rows[0].text.len(), MAX_TEXT);
    }

    proptest! {
        /// No series that is shown goes back, `other` never does, and nothing is counted twice or lost
        /// unless the ranking forgot a row.
        #[test]
        fn series_only_grow(steps in prop::collection::vec((0u64..12, 0u64..50, 0usize..2, any::<bool>()), 1..200)) {
            let tables = [Mutex::new(Table::new(3)), Mutex::new(Table::new(3))];
            let mut ranking = Ranking::new(64, 3);
            let text: Arc<str> = "x".into();
            let mut before: HashMap<(DatabaseId, u64), Sample> = HashMap::new();
            let mut other_before = Others::new();
            for (step, (fingerprint, nanos, thread, harvest)) in (1..).zip(steps) {
                let database = DatabaseId((fingerprint % 2) as u32);
                locked(&tables[thread]).record(database, fingerprint, &text, cost(nanos));
                if !harvest {
                    continue;
                }
                ranking.harvest(&tables);
                prop_assert_eq!(total(&ranking).calls, step);
                prop_assert!(ranking.shown().len() <= 3);
                for row in ranking.shown() {
                    let earlier = before.insert((row.database, row.fingerprint), row.shown).unwrap_or_default();
                    prop_assert!(row.shown.calls >= earlier.calls && row.shown.nanos >= earlier.nanos);
                }
                for (database, cost) in ranking.other() {
                    let earlier = other_before.insert(database, cost).unwrap_or_default();
                    prop_assert!(cost.calls >= earlier.calls);
                }
            }
        }

        #[test]
        fn memory_stays_bounded(fingerprints in prop::collection::vec(0u64..1_000, 1..400)) {
            let table = Mutex::new(Table::new(5));
            let mut ranking = Ranking::new(10, 2);
            let text: Arc<str> = "x".into();
            for (n, fingerprint) in fingerprints.iter().enumerate() {
                locked(&table).record(DB, *fingerprint, &text, cost(fingerprint % 7));
                if n % 3 == 0 {
                    ranking.harvest([&table]);
                }
                let table = locked(&table);
                prop_assert!(table.rows.len() <= 5 && table.index.len() == table.rows.len());
                prop_assert!(table.least.len() == table.rows.len());
                prop_assert!(ranking.ranked.len() <= 10);
            }
        }
    }
}
