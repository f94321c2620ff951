//! How long a unit of the planner's cost takes on a server, learned from what ran there.
//!
//! Costs are not times: one statement's unit is a page from the disk, another's a comparison in memory. So each
//! fingerprint has its own ratio, and a statement that was never seen takes its server's. Ratios are averaged as
//! logarithms: a statement that once took a hundred times longer moves them as far as one that took a hundredth.

use quick_cache::unsync::Cache;

/// Fingerprints whose ratios are kept, by use.
const FINGERPRINTS: usize = 4096;
/// Weight of the newest observation: the last ten or so make the average.
const NEWEST: f64 = 0.2;
/// What a server must have run before it says anything of statements it never ran.
const ENOUGH: u32 = 20;
/// Cheaper statements take what the protocol takes, whatever their cost.
const FLOOR: f64 = 1.0;
/// A time within this factor of what was expected is no news.
const BAND: f64 = 3.0;

#[derive(Clone, Copy, Debug, Default)]
struct Ratio {
    /// Mean of ln(seconds / cost).
    mean: f64,
    seen: u32,
}

impl Ratio {
    fn learn(&mut self, log: f64) {
        self.seen = self.seen.saturating_add(1);
        // At first a plain average, so that the first observation does not outweigh the next ones.
        let share = NEWEST.max(1.0 / f64::from(self.seen));
        self.mean += share * (log - self.mean);
    }
}

/// What an observation says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Observed {
    /// As expected, or nothing was expected.
    AsExpected,
    /// It left the band: the plan may not be what it was.
    Surprise,
}

/// One server's calibration.
pub struct Calibration {
    server: Ratio,
    fingerprints: Cache<u64, Ratio>,
}

impl Default for Calibration {
    fn default() -> Self {
        Self { server: Ratio::default(), fingerprints: Cache::new(FINGERPRINTS) }
    }
}

impl std::fmt::Debug for Calibration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Calibration").field("server", &self.server).finish_non_exhaustive()
    }
}

impl Calibration {
    /// A statement of that fingerprint and cost took so long. What cannot be (a cost or time of 0, NaN) teaches nothing.
    pub fn observe(&mut self, fingerprint: u64, cost: f64, seconds: f64) -> Observed {
        let log = (seconds / cost.max(FLOOR)).ln();
        if !log.is_finite() {
            return Observed::AsExpected;
        }
        let expected = self.expected_seconds(fingerprint, cost);
        self.server.learn(log);
        match self.fingerprints.get_mut(&fingerprint) {
            Some(mut ratio) => ratio.learn(log),
            None => {
                let mut ratio = Ratio::default();
                ratio.learn(log);
                self.fingerprints.insert(fingerprint, ratio);
            }
        }
        match expected {
            Some(expected) if seconds > expected * BAND || seconds * BAND < expected => Observed::Surprise,
            _ => Observed::AsExpected,
        }
    }

    /// How long a statement will take; `None` until enough was seen.
    #[must_use]
    pub fn expected_seconds(&self, fingerprint: u64, cost: f64) -> Option<f64> {
        let own = self.fingerprints.get(&fingerprint);
        let ratio = match own {
            Some(own) => *own,
            None if self.server.seen >= ENOUGH => self.server,
            None => return None,
        };
        Some(cost.max(FLOOR) * ratio.mean.exp())
    }
}
