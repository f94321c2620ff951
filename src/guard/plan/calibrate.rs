//! How long a unit of the planner's cost takes on a server, learned from what ran there.
//!
//! Costs are not times: one statement's unit is a page from the disk, another's a comparison in memory. So each
//! fingerprint has its own ratio of seconds to cost. A statement that was never seen takes what the others tell:
//! each fingerprint counts once, however often it runs, and the more the nearer its cost is, so that a million lookups
//! by key do not drown ten reports. And a unit of reading (tables, indexes) may take longer or shorter than a unit of
//! working (joins, sorts, aggregates): how much of a plan is reading is known, and the two rates come from the same
//! fit. Ratios are averaged as logarithms: a statement that once took a hundred times longer moves them as far as one
//! that took a hundredth.

use quick_cache::unsync::Cache;

use super::PlanFacts;

/// Fingerprints whose ratios are kept, by use.
const FINGERPRINTS: usize = 4096;
/// Fingerprints from which a stranger's time is told: the latest.
const PEERS: usize = 256;
/// Weight of the newest observation: the last ten or so make the average.
const NEWEST: f64 = 0.2;
/// What a server must have run before it says anything of statements it never ran.
const ENOUGH: u32 = 20;
/// Cheaper statements take what the protocol takes, whatever their cost.
const FLOOR: f64 = 1.0;
/// A time within this factor of what was expected is no news.
const BAND: f64 = 3.0;
/// Nor is one that nobody would notice: of a statement of a tenth of a millisecond a busy machine makes a whole one.
const NOTICEABLE: f64 = 0.05;
/// A peer whose cost is e to the power of this away counts a third of one with the same cost.
const REACH: f64 = 2.0;
/// How strongly the rates of reading and working are held together, as so many peers that know no difference.
const TIE: f64 = 0.6;
/// The two rates are never further apart than e to twice this power.
const APART: f64 = 2.5;
const STEPS: usize = 6;

/// What an observation says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Observed {
    /// As expected, or nothing was expected.
    AsExpected,
    /// It left the band: the plan may not be what it was.
    Surprise,
}

#[derive(Clone, Copy, Debug)]
struct Ratio {
    /// Mean of ln(seconds / cost).
    mean: f64,
    seen: u32,
    /// Where it stands among the peers, if it still does.
    place: usize,
}

impl Ratio {
    fn learn(&mut self, log: f64) {
        self.seen = self.seen.saturating_add(1);
        // At first a plain average, so that the first observation does not outweigh the next ones.
        let share = NEWEST.max(1.0 / f64::from(self.seen));
        self.mean += share * (log - self.mean);
    }
}

/// What a fingerprint tells of others.
#[derive(Clone, Copy, Debug)]
struct Peer {
    fingerprint: u64,
    /// Logarithm of its cost.
    cost: f64,
    /// Share of the cost that is reading.
    reading: f64,
    /// ln(seconds / cost).
    ratio: f64,
}

impl Peer {
    fn of(fingerprint: u64, plan: &PlanFacts, ratio: f64) -> Self {
        let cost = cost(plan);
        Self { fingerprint, cost: cost.ln(), reading: (plan.read_cost / cost).clamp(0.0, 1.0), ratio }
    }

    /// By how much two rates that are `apart` change what it costs, as a logarithm, and how fast that moves with them.
    fn tilt(&self, apart: f64) -> (f64, f64) {
        let (reads, works) = (self.reading * apart.exp(), (1.0 - self.reading) * (-apart).exp());
        let all = (reads + works).max(f64::MIN_POSITIVE);
        (all.ln(), (reads - works) / all)
    }
}

/// One server's calibration.
pub struct Calibration {
    fingerprints: Cache<u64, Ratio>,
    /// A ring: the oldest gives way.
    peers: Vec<Peer>,
    next: usize,
    seen: u32,
}

impl Default for Calibration {
    fn default() -> Self {
        Self { fingerprints: Cache::new(FINGERPRINTS), peers: Vec::new(), next: 0, seen: 0 }
    }
}

impl std::fmt::Debug for Calibration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Calibration").field("seen", &self.seen).finish_non_exhaustive()
    }
}

impl Calibration {
    /// A statement of that fingerprint and plan took so long. What cannot be (a time of 0, NaN) teaches nothing.
    pub fn observe(&mut self, fingerprint: u64, plan: &PlanFacts, seconds: f64) -> Observed {
        let log = (seconds / cost(plan)).ln();
        if !log.is_finite() {
            return Observed::AsExpected;
        }
        let expected = self.expected_seconds(fingerprint, plan);
        self.seen = self.seen.saturating_add(1);
        let mut ratio = match self.fingerprints.get(&fingerprint) {
            Some(known) => *known,
            None => Ratio { mean: 0.0, seen: 0, place: usize::MAX },
        };
        ratio.learn(log);
        ratio.place = self.tell(Peer::of(fingerprint, plan, ratio.mean), ratio.place);
        self.fingerprints.insert(fingerprint, ratio);
        let left = |expected: f64| seconds > expected * BAND || seconds * BAND < expected;
        match expected {
            Some(expected) if seconds.max(expected) >= NOTICEABLE && left(expected) => Observed::Surprise,
            _ => Observed::AsExpected,
        }
    }

    /// Puts it in its place among the peers, or in that of the oldest. -> its place
    fn tell(&mut self, peer: Peer, place: usize) -> usize {
        if let Some(held) = self.peers.get_mut(place).filter(|held| held.fingerprint == peer.fingerprint) {
            *held = peer;
            return place;
        }
        let place = self.next;
        match self.peers.get_mut(place) {
            Some(oldest) => *oldest = peer,
            None => self.peers.push(peer),
        }
        self.next = (place + 1) % PEERS;
        place
    }

    /// How long a statement will take; `None` until enough was seen.
    #[must_use]
    pub fn expected_seconds(&self, fingerprint: u64, plan: &PlanFacts) -> Option<f64> {
        let ratio = match self.fingerprints.get(&fingerprint) {
            Some(own) => own.mean,
            None if self.seen >= ENOUGH => self.strangers(&Peer::of(fingerprint, plan, 0.0))?,
            None => return None,
        };
        Some(cost(plan) * ratio.exp())
    }

    /// ln(seconds / cost) of one that was never seen: a weighted fit of a common ratio and of how far the rates of
    /// reading and working are apart, by Gauss and Newton's method.
    fn strangers(&self, stranger: &Peer) -> Option<f64> {
        let weight = |peer: &Peer| (-(peer.cost - stranger.cost).abs() / REACH).exp();
        let (mut apart, mut common) = (0.0f64, 0.0f64);
        for step in 0..STEPS {
            // Sums of weights, of slopes, of their squares, of what is left to explain, and of that times the slope.
            let [mut all, mut slope, mut square, mut left, mut along] = [0.0f64; 5];
            for peer in &self.peers {
                let (weight, (tilt, by)) = (weight(peer), peer.tilt(apart));
                let rest = peer.ratio - tilt;
                all += weight;
                slope += weight * by;
                square += weight * by * by;
                left += weight * rest;
                along += weight * by * rest;
            }
            common = left / all;
            if step + 1 < STEPS {
                let determinant = all * (square + TIE) - slope * slope;
                let move_by = (all * (along - TIE * apart) - slope * left) / determinant;
                apart = (apart + move_by.clamp(-0.7, 0.7)).clamp(-APART, APART);
            }
        }
        let ratio = common + stranger.tilt(apart).0;
        ratio.is_finite().then_some(ratio)
    }
}

fn cost(plan: &PlanFacts) -> f64 {
    // `max` also takes what is no number.
    plan.total_cost.max(FLOOR)
}
