//! Rates and concurrency of statements, over all data threads.
//!
//! Each rule counts for itself, for each value of what it counts by. Only statements with such limits come here. A
//! place under a cap is held by what watches the statement, and given back when that is dropped: whether the statement
//! ends, its client leaves or its server dies.

use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use dashmap::DashMap;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::guard::{Concurrency, Per, Rate};
use crate::session::{Admission, Ask, Count, Ticket};

/// How often a full table is searched for keys that nobody uses.
const SEARCH: Duration = Duration::from_secs(1);
/// Where all go that find no place of their own.
const SHARED: u64 = 1 << 63;
/// Tells caps on concurrency from rates of the same rule.
const CAPS: u64 = 1 << 62;

/// Where a count is kept.
fn place(key: u64, count: Count) -> u64 {
    match count {
        Count::Rate(_) => key & !CAPS,
        Count::Concurrency(_) => key | CAPS,
    }
}

/// All counts, by what they count.
pub struct Throttles {
    gates: DashMap<u64, Arc<Gate>, ahash::RandomState>,
    /// What keys stand for, for the console.
    labels: DashMap<u64, Label, ahash::RandomState>,
    hasher: ahash::RandomState,
    most: usize,
    held: AtomicUsize,
    started: Instant,
    /// When the table was searched last, in nanoseconds.
    searched: AtomicU64,
}

/// What one count is of.
#[derive(Clone, Debug)]
struct Label {
    rule: Box<str>,
    per: Per,
    value: Box<[u8]>,
}

/// A count, as the console shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counted {
    pub rule: String,
    pub per: &'static str,
    /// Whose: a name, an address, the number of a client or a fingerprint; empty for all.
    pub of: String,
    pub count: Count,
    /// Statements that run, or tokens that are spent.
    pub used: u64,
    pub waiting: usize,
    /// Since this count began.
    pub refused: u64,
}

/// One count.
#[derive(Debug)]
struct Gate {
    ask: Count,
    /// Of a cap on concurrency.
    places: Arc<Semaphore>,
    /// Of a rate: when the last of its tokens is used up, in nanoseconds; each statement moves it on.
    until: AtomicU64,
    waiting: AtomicUsize,
    refused: AtomicU64,
}

/// Counts one that waits, for as long as it does.
struct Waits<'a>(&'a AtomicUsize);

impl<'a> Waits<'a> {
    fn new(waiting: &'a AtomicUsize) -> Self {
        waiting.fetch_add(1, Ordering::Relaxed);
        Self(waiting)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Gate {
    fn new(ask: Count) -> Self {
        let places = match ask {
            Count::Concurrency(c) => (c.most as usize).min(Semaphore::MAX_PERMITS),
            Count::Rate(_) => 0,
        };
        Self {
            ask,
            places: Arc::new(Semaphore::new(places)),
            until: AtomicU64::new(0),
            waiting: AtomicUsize::new(0),
            refused: AtomicU64::new(0),
        }
    }

    /// A token bucket of `count`, filled within `within`: takes one.
    fn take(&self, rate: Rate, now: u64) -> bool {
        let (within, each) = pace(rate);
        let taken = self.until.fetch_update(Ordering::AcqRel, Ordering::Acquire, |until| {
            let next = until.max(now).saturating_add(each);
            (rate.count > 0 && next <= now.saturating_add(within)).then_some(next)
        });
        taken.is_ok()
    }

    fn give_back(&self, rate: Rate) {
        let (_, each) = pace(rate);
        let _ = self
            .until
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |until| Some(until.saturating_sub(each)));
    }

    fn used(&self, now: u64) -> u64 {
        match self.ask {
            Count::Rate(rate) => {
                let (_, each) = pace(rate);
                self.until.load(Ordering::Acquire).saturating_sub(now).div_ceil(each.max(1))
            }
            Count::Concurrency(c) => u64::from(c.most).saturating_sub(self.places.available_permits() as u64),
        }
    }

    fn is_idle(&self, now: u64) -> bool {
        match self.ask {
            Count::Rate(_) => self.until.load(Ordering::Acquire) <= now,
            Count::Concurrency(c) => self.places.available_permits() >= c.most as usize,
        }
    }
}

/// Instead of a value.
const OTHERS: &[u8] = b"\0";

/// What tells the counts of a rule apart, for people.
fn value(per: Per, value: &[u8]) -> String {
    if value == OTHERS {
        return "(others)".to_owned();
    }
    match per {
        Per::Rule => String::new(),
        Per::User | Per::Database | Per::Application => String::from_utf8_lossy(value).into_owned(),
        Per::Client => value.try_into().map(|n| u64::from_be_bytes(n).to_string()).unwrap_or_default(),
        Per::Address => value
            .try_into()
            .map(|octets: [u8; 16]| std::net::IpAddr::from(octets).to_canonical().to_string())
            .unwrap_or_default(),
        Per::Fingerprint => {
            value.try_into().map(|n| format!("{:016x}", u64::from_be_bytes(n))).unwrap_or_default()
        }
    }
}

/// The time of all tokens, and of one.
fn pace(rate: Rate) -> (u64, u64) {
    let within = u64::try_from(rate.within.as_nanos()).unwrap_or(u64::MAX);
    (within, within / u64::from(rate.count.max(1)))
}

impl Throttles {
    /// `most`: keys that are counted each for itself. `seed` is random: clients choose what is hashed.
    #[must_use]
    pub fn new(most: usize, seed: [u64; 4]) -> Self {
        let hasher = ahash::RandomState::with_seeds(seed[0], seed[1], seed[2], seed[3]);
        Self {
            gates: DashMap::with_hasher(hasher.clone()),
            labels: DashMap::with_hasher(hasher.clone()),
            hasher,
            most,
            held: AtomicUsize::new(0),
            started: Instant::now(),
            searched: AtomicU64::new(0),
        }
    }

    /// See [`crate::session::Ledger::key`].
    pub(super) fn key(&self, rule: &str, per: Per, value: &[u8]) -> u64 {
        let mut hash = self.hasher.build_hasher();
        hash.write(rule.as_bytes());
        hash.write_u8(per as u8);
        hash.write(value);
        let key = hash.finish() & !(SHARED | CAPS);
        if !self.labels.contains_key(&key) && self.labels.len() < self.most {
            self.labels.insert(key, Label { rule: rule.into(), per, value: value.into() });
        }
        key
    }

    /// What is counted now, those that wait first; at most so many.
    pub fn counted(&self, most: usize) -> Vec<Counted> {
        let now = self.now();
        let mut all: Vec<(u64, Arc<Gate>)> =
            self.gates.iter().map(|entry| (*entry.key(), Arc::clone(entry.value()))).collect();
        let used = |gate: &Gate| (gate.waiting.load(Ordering::Relaxed), gate.used(now));
        all.sort_by_cached_key(|(key, gate)| (std::cmp::Reverse(used(gate)), *key));
        all.truncate(most);
        let mut rows: Vec<Counted> = all.into_iter().map(|(key, gate)| self.shown(key, &gate, now)).collect();
        rows.sort_by(|a, b| (&a.rule, &a.of).cmp(&(&b.rule, &b.of)));
        rows
    }

    fn shown(&self, key: u64, gate: &Gate, now: u64) -> Counted {
        let label = self.labels.get(&(key & !CAPS)).map(|label| label.clone());
        let per = match gate.ask {
            Count::Rate(rate) => rate.per,
            Count::Concurrency(concurrency) => concurrency.per,
        };
        let (rule, of) = match label {
            Some(label) => (label.rule.into(), value(label.per, &label.value)),
            None => (String::new(), "(others)".to_owned()),
        };
        Counted {
            rule,
            per: per.name(),
            of,
            count: gate.ask,
            used: gate.used(now),
            waiting: gate.waiting.load(Ordering::Relaxed),
            refused: gate.refused.load(Ordering::Relaxed),
        }
    }

    /// One that waited got no place in time.
    pub(super) fn missed(&self, ask: &Ask) {
        self.gate(ask).refused.fetch_add(1, Ordering::Relaxed);
    }

    /// Since the start.
    pub(super) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Keys that are counted now.
    pub fn keys(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// The count of a key. Where the table is full of keys in use, new ones of a rule share one: what is too many to
    /// be counted apart is not let off.
    fn gate(&self, ask: &Ask) -> Arc<Gate> {
        let mut key = place(ask.key, ask.count);
        if let Some(gate) = self.gates.get(&key).filter(|gate| gate.ask == ask.count) {
            return Arc::clone(&gate);
        }
        if self.keys() >= self.most && !self.gates.contains_key(&key) {
            self.search();
            if self.keys() >= self.most {
                let shared = SHARED | u64::from(ask.rule);
                key = place(shared, ask.count);
                if let Some(label) = self.labels.get(&ask.key).map(|label| label.clone()) {
                    self.labels.insert(shared, Label { value: OTHERS.into(), ..label });
                }
            }
        }
        match self.gates.entry(key) {
            dashmap::Entry::Occupied(mut known) => {
                if known.get().ask != ask.count {
                    // The rule has another limit than before: those under the old one are counted there.
                    known.insert(Arc::new(Gate::new(ask.count)));
                }
                Arc::clone(known.get())
            }
            dashmap::Entry::Vacant(vacant) => {
                self.held.fetch_add(1, Ordering::Relaxed);
                Arc::clone(&vacant.insert(Arc::new(Gate::new(ask.count))))
            }
        }
    }

    /// Drops keys that nobody uses, now and then.
    fn search(&self) {
        let now = self.now();
        let last = self.searched.load(Ordering::Acquire);
        let due =
            last == 0 || now.saturating_sub(last) > u64::try_from(SEARCH.as_nanos()).unwrap_or(u64::MAX);
        if !due
            || self.searched.compare_exchange(last, now.max(1), Ordering::AcqRel, Ordering::Acquire).is_err()
        {
            return;
        }
        self.gates.retain(|_, gate| {
            // Who has it in hand has not counted yet, or waits.
            let used = Arc::strong_count(gate) > 1 || !gate.is_idle(now);
            if !used {
                self.held.fetch_sub(1, Ordering::Relaxed);
            }
            used
        });
        self.labels.retain(|key, _| [*key, key | CAPS].iter().any(|key| self.gates.contains_key(key)));
    }

    /// See [`crate::session::Ledger::admit`].
    pub(super) fn admit(&self, asks: &[Ask]) -> Admission {
        let now = self.now();
        let mut places: Vec<OwnedSemaphorePermit> = Vec::new();
        let mut taken: Vec<(Arc<Gate>, Rate)> = Vec::new();
        let give_back =
            |taken: Vec<(Arc<Gate>, Rate)>| taken.iter().for_each(|(gate, rate)| gate.give_back(*rate));
        for (at, ask) in asks.iter().enumerate() {
            let gate = self.gate(ask);
            match ask.count {
                Count::Rate(rate) if gate.take(rate, now) => taken.push((gate, rate)),
                Count::Rate(_) => {
                    gate.refused.fetch_add(1, Ordering::Relaxed);
                    give_back(taken);
                    return Admission::Refused(at);
                }
                Count::Concurrency(_) => match Arc::clone(&gate.places).try_acquire_owned() {
                    Ok(place) => places.push(place),
                    // The tokens stay taken: it will run, or was one too many.
                    Err(_) => return Admission::Waits,
                },
            }
        }
        Admission::Goes((!places.is_empty()).then(|| Box::new(places) as Ticket))
    }

    /// Waits for a place in all caps, each in its turn; `waits` hears which one it is.
    pub(super) async fn wait(&self, asks: &[Ask], waits: &std::cell::Cell<usize>) -> Option<Ticket> {
        let mut places = Vec::new();
        for (at, ask) in asks.iter().enumerate() {
            if let Count::Concurrency(Concurrency { .. }) = ask.count {
                waits.set(at);
                let gate = self.gate(ask);
                let _waits = Waits::new(&gate.waiting);
                places.push(Arc::clone(&gate.places).acquire_owned().await.ok()?);
            }
        }
        (!places.is_empty()).then(|| Box::new(places) as Ticket)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn throttles(most: usize) -> Throttles {
        Throttles::new(most, [1, 2, 3, 4])
    }
    fn cap(key: u64, most: u32) -> Ask {
        Ask { key, rule: 0, count: Count::Concurrency(Concurrency { most, per: Per::User }) }
    }
    fn rate(key: u64, count: u32) -> Ask {
        let rate = Rate { count, within: Duration::from_secs(3600), per: Per::User };
        Ask { key, rule: 0, count: Count::Rate(rate) }
    }
    fn goes(admission: Admission) -> Option<Ticket> {
        match admission {
            Admission::Goes(ticket) => ticket,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn places_come_back_when_their_ticket_is_dropped() {
        let t = throttles(10);
        let (a, b) = (goes(t.admit(&[cap(1, 2)])), goes(t.admit(&[cap(1, 2)])));
        assert!(matches!(t.admit(&[cap(1, 2)]), Admission::Waits));
        assert!(goes(t.admit(&[cap(2, 2)])).is_some(), "another key counts for itself");
        drop(a);
        let c = goes(t.admit(&[cap(1, 2)]));
        assert!(matches!(t.admit(&[cap(1, 2)]), Admission::Waits));
        drop((b, c));
        assert_eq!(t.gate(&cap(1, 2)).places.available_permits(), 2);
    }

    #[test]
    fn a_rate_and_a_cap_of_one_rule_count_side_by_side() {
        let t = throttles(10);
        let key = t.key("both", Per::User, b"ann");
        let held = goes(t.admit(&[rate(key, 2), cap(key, 1)]));
        assert!(held.is_some());
        assert!(matches!(t.admit(&[rate(key, 2), cap(key, 1)]), Admission::Waits));
        assert!(matches!(t.admit(&[rate(key, 2), cap(key, 1)]), Admission::Refused(0)));
        assert_eq!(t.counted(10).len(), 2);
        drop(held);
    }

    #[test]
    fn a_place_that_was_not_needed_comes_back_at_once() {
        let t = throttles(10);
        let held = goes(t.admit(&[cap(2, 1)]));
        assert!(matches!(t.admit(&[cap(1, 1), cap(2, 1)]), Admission::Waits));
        assert_eq!(t.gate(&cap(1, 1)).places.available_permits(), 1);
        drop(held);
    }

    #[test]
    fn a_bucket_gives_its_tokens_and_fills_with_time() {
        let gate = Gate::new(rate(1, 4).count);
        let fast = Rate { count: 4, within: Duration::from_nanos(400), per: Per::Rule };
        assert_eq!((0..10).filter(|_| gate.take(fast, 1000)).count(), 4);
        assert_eq!((0..10).filter(|_| gate.take(fast, 1250)).count(), 2);
        assert_eq!((0..10).filter(|_| gate.take(fast, 9000)).count(), 4, "no more than a bucket");
        assert!(!Gate::new(rate(1, 0).count).take(Rate { count: 0, ..fast }, 1));
    }

    #[test]
    fn a_statement_that_one_rate_refuses_costs_the_other_nothing() {
        let t = throttles(10);
        assert!(goes(t.admit(&[rate(1, 1)])).is_none());
        for _ in 0..3 {
            assert!(matches!(t.admit(&[rate(2, 2), rate(1, 1)]), Admission::Refused(1)));
        }
        assert!(matches!(t.admit(&[rate(2, 2)]), Admission::Goes(None)));
    }

    #[test]
    fn keys_are_bounded_and_those_without_a_place_share_one() {
        let t = throttles(3);
        let held: Vec<_> = (0..3).map(|key| goes(t.admit(&[cap(key, 1)]))).collect();
        let shared = goes(t.admit(&[cap(10, 1)]));
        assert!(matches!(t.admit(&[cap(11, 1)]), Admission::Waits));
        assert!(t.keys() <= 4);
        drop((held, shared));
        t.searched.store(0, Ordering::Release);
        assert!(goes(t.admit(&[cap(12, 1)])).is_some());
        assert!(t.keys() <= 2, "{}", t.keys());
    }

    #[tokio::test]
    async fn what_is_counted_can_be_seen() {
        let t = throttles(10);
        let of_ann = t.key("few", Per::User, b"ann");
        let of_nowhere = t.key("seldom", Per::Address, &[0; 16]);
        let held = goes(t.admit(&[cap(of_ann, 2)]));
        assert!(goes(t.admit(&[rate(of_nowhere, 1)])).is_none());
        assert!(matches!(t.admit(&[rate(of_nowhere, 1)]), Admission::Refused(0)));
        t.missed(&cap(of_ann, 2));
        let shown = t.counted(10);
        let of =
            |at: usize| (shown[at].rule.as_str(), shown[at].of.as_str(), shown[at].used, shown[at].refused);
        assert_eq!((of(0), of(1)), (("few", "ann", 1, 1), ("seldom", "::", 1, 1)));
        assert_eq!(t.counted(1).len(), 1);
        drop(held);
        assert_eq!(t.counted(10)[0].used, 0);
    }

    #[tokio::test]
    async fn turns_come_in_order() {
        let t = Arc::new(throttles(10));
        let first = goes(t.admit(&[cap(1, 1)]));
        let order = Arc::new(std::sync::Mutex::new(Vec::new()));
        let waiters: Vec<_> = (0..3)
            .map(|n| {
                let (t, order) = (Arc::clone(&t), Arc::clone(&order));
                async move {
                    let ticket = t.wait(&[cap(1, 1)], &std::cell::Cell::new(0)).await;
                    order.lock().unwrap().push(n);
                    drop(ticket);
                }
            })
            .collect();
        let mut waiters = waiters.into_iter();
        let (a, b, c) = (waiters.next().unwrap(), waiters.next().unwrap(), waiters.next().unwrap());
        let release = async {
            tokio::task::yield_now().await;
            assert!(matches!(t.admit(&[cap(1, 1)]), Admission::Waits), "nobody is overtaken");
            drop(first);
        };
        tokio::join!(a, b, c, release);
        assert_eq!(*order.lock().unwrap(), [0, 1, 2]);
    }
}
