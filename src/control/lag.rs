//! How far a replica is behind, by one clock: ours.
//!
//! The primary is asked again and again how far its WAL goes; each answer is kept with the time of the
//! question. A replica that has replayed up to `replay` is behind by the age of the first answer beyond
//! `replay`, and not at all if there is none. So an idle primary makes no lag, clocks of two machines are
//! never compared, and the figure is right to the width of one probe interval.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// A position in the WAL, in bytes.
pub type Lsn = u64;

/// Samples kept; beyond, the far past gets coarser, never shorter.
const MAX_SAMPLES: usize = 1024;

/// Where the primary's WAL went, since it was first asked.
#[derive(Debug, Default)]
pub struct History {
    /// Both grow; the first time each position was seen.
    samples: VecDeque<(Instant, Lsn)>,
    /// When the primary last answered.
    latest: Option<Instant>,
}

/// A replica's distance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lag {
    /// The primary has not been asked yet, or the replica has not replayed what the primary had when it
    /// was first asked: how old that is, nobody here knows.
    Unknown,
    Behind(Duration),
}

impl History {
    /// The primary's WAL went to `lsn` when it was asked at `at`.
    pub fn record(&mut self, at: Instant, lsn: Lsn) {
        self.latest = Some(at);
        match self.samples.back() {
            // Another primary, or this one restored: what was known is about another history.
            Some((_, last)) if lsn < *last => self.samples.clear(),
            Some((_, last)) if lsn == *last => return,
            _ => {}
        }
        self.samples.push_back((at, lsn));
        if self.samples.len() > MAX_SAMPLES {
            self.thin();
        }
    }

    /// Drops every second sample of the older half. The next one inherits its time: a distance in the far past
    /// comes out too great rather than too small.
    fn thin(&mut self) {
        let mut kept = VecDeque::with_capacity(MAX_SAMPLES);
        let mut inherited = None;
        for (place, (at, lsn)) in self.samples.drain(..).enumerate() {
            if place < MAX_SAMPLES / 2 && place % 2 == 1 {
                inherited = Some(at);
            } else {
                kept.push_back((inherited.take().unwrap_or(at), lsn));
            }
        }
        self.samples = kept;
    }

    /// The last moment of which it is known that the primary then was at `replay` or before: what was written until then
    /// is there.
    #[must_use]
    pub fn reached(&self, replay: Lsn) -> Option<Instant> {
        let beyond = self.samples.partition_point(|(_, lsn)| *lsn <= replay);
        match self.samples.get(beyond) {
            None => self.latest.filter(|_| beyond > 0),
            Some(_) => self.samples.get(beyond.checked_sub(1)?).map(|(at, _)| *at),
        }
    }

    /// The distance at `now` of a replica that has just said `replay`. If the primary has been silent for
    /// longer than `patience`, it may have gone on unseen: the distance is at least the silence.
    #[must_use]
    pub fn lag(&self, replay: Lsn, now: Instant, patience: Duration) -> Lag {
        let (Some(latest), Some((_, first))) = (self.latest, self.samples.front()) else {
            return Lag::Unknown;
        };
        if replay < *first {
            return Lag::Unknown;
        }
        let beyond = self.samples.partition_point(|(_, lsn)| *lsn <= replay);
        let since = match self.samples.get(beyond) {
            Some((at, _)) => *at,
            None if now.saturating_duration_since(latest) > patience => latest,
            None => now,
        };
        Lag::Behind(now.saturating_duration_since(since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(2);

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn the_age_of_the_first_sample_beyond() {
        let start = Instant::now();
        let mut history = History::default();
        assert_eq!(history.lag(0, start, PATIENCE), Lag::Unknown);
        for n in 0..10 {
            history.record(start + seconds(n), 100 + n * 10);
        }
        let now = start + seconds(10);
        assert_eq!(history.lag(190, now, PATIENCE), Lag::Behind(seconds(0)));
        assert_eq!(history.lag(999, now, PATIENCE), Lag::Behind(seconds(0)), "ahead of the newest sample");
        assert_eq!(history.lag(189, now, PATIENCE), Lag::Behind(seconds(1)));
        assert_eq!(history.lag(150, now, PATIENCE), Lag::Behind(seconds(4)));
        assert_eq!(history.lag(99, now, PATIENCE), Lag::Unknown, "older than all that is known");
    }

    #[test]
    fn what_was_written_before_a_moment_is_there_if_the_replica_is_past_it() {
        let start = Instant::now();
        let mut history = History::default();
        assert_eq!(history.reached(100), None);
        for (at, lsn) in [(0, 100), (1, 110), (2, 110), (3, 120), (4, 120)] {
            history.record(start + seconds(at), lsn);
        }
        for (replay, until) in [(99, None), (100, Some(0)), (109, Some(0)), (110, Some(1)), (119, Some(1))] {
            assert_eq!(history.reached(replay), until.map(|at| start + seconds(at)), "{replay}");
        }
        assert_eq!(history.reached(120), Some(start + seconds(4)), "it has all, as of the last question");
        // However long the past: a moment is never told too late.
        let mut history = History::default();
        for n in 0..100_000 {
            history.record(start + seconds(n), 100 + n);
        }
        for replay in [100, 5_000, 50_000, 99_000, 200_000] {
            let latest = start + seconds((replay - 100).min(99_999));
            assert!(history.reached(replay).is_some_and(|at| at <= latest), "{replay}");
        }
    }

    #[test]
    fn an_idle_primary_makes_no_lag_and_the_first_write_starts_it() {
        let start = Instant::now();
        let mut history = History::default();
        for n in 0..100 {
            history.record(start + seconds(n), 100);
        }
        assert_eq!(history.samples.len(), 1);
        assert_eq!(history.lag(100, start + seconds(100), PATIENCE), Lag::Behind(seconds(0)));
        history.record(start + seconds(100), 101);
        assert_eq!(history.lag(100, start + seconds(103), PATIENCE), Lag::Behind(seconds(3)));
    }

    #[test]
    fn a_silent_primary_may_have_gone_on() {
        let start = Instant::now();
        let mut history = History::default();
        history.record(start, 100);
        assert_eq!(history.lag(100, start + PATIENCE, PATIENCE), Lag::Behind(seconds(0)));
        assert_eq!(history.lag(100, start + seconds(9), PATIENCE), Lag::Behind(seconds(9)));
    }

    #[test]
    fn another_history_starts_over() {
        let start = Instant::now();
        let mut history = History::default();
        history.record(start, 500);
        history.record(start + seconds(1), 200);
        assert_eq!(history.lag(150, start + seconds(1), PATIENCE), Lag::Unknown);
        assert_eq!(history.lag(200, start + seconds(1), PATIENCE), Lag::Behind(seconds(0)));
    }

    #[test]
    fn a_long_past_is_bounded_and_keeps_its_beginning() {
        let start = Instant::now();
        let mut history = History::default();
        for n in 0..100_000 {
            history.record(start + seconds(n), 100 + n);
        }
        assert!(history.samples.len() <= MAX_SAMPLES);
        assert_eq!(history.samples.front().map(|(_, lsn)| *lsn), Some(100));
        let now = start + seconds(100_000);
        assert_eq!(history.lag(100_000, now, PATIENCE), Lag::Behind(seconds(99)), "the near past is exact");
        for replay in [100, 5_000, 50_000, 99_000] {
            let least = seconds(100_000 - (replay - 100) - 1);
            assert!(
                matches!(history.lag(replay, now, PATIENCE), Lag::Behind(lag) if lag >= least),
                "{replay}"
            );
        }
    }
}
