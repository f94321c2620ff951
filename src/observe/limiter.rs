//! How many log lines of one kind may come: a storm of clients must not fill a disk.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::locked;

/// Lets through `per_second` lines in the long run and as many as `burst` at once; counts the others.
#[derive(Debug)]
pub struct Limiter {
    pause: Duration,
    burst: u32,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// When all that was let through is paid for.
    paid: Option<Instant>,
    suppressed: u64,
}

impl Limiter {
    #[must_use]
    pub fn new(per_second: u32, burst: u32) -> Self {
        let pause = Duration::from_secs(1) / per_second.max(1);
        Self { pause, burst: burst.max(1), state: Mutex::default() }
    }

    /// Whether a line may be written now, and how many were not since the last one: the line should say so.
    #[must_use]
    pub fn admit(&self, now: Instant) -> Option<Suppressed> {
        let mut state = locked(&self.state);
        let paid = state.paid.map_or(now, |paid| paid.max(now));
        if paid - now > self.pause * (self.burst - 1) {
            state.suppressed += 1;
            return None;
        }
        state.paid = Some(paid + self.pause);
        Some(Suppressed(std::mem::take(&mut state.suppressed)))
    }
}

/// Lines that were not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Suppressed(pub u64);

impl Suppressed {
    /// As a field of the line: none if nothing was.
    #[must_use]
    pub fn field(self) -> Option<u64> {
        (self.0 > 0).then_some(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_a_second_says_how_many_it_stands_for() {
        let limiter = Limiter::new(1, 1);
        let start = Instant::now();
        let at = |millis| limiter.admit(start + Duration::from_millis(millis)).map(|s| s.0);
        assert_eq!(at(0), Some(0));
        for _ in 0..2_000 {
            assert_eq!(at(999), None);
        }
        assert_eq!(at(1_000), Some(2_000));
        assert_eq!(at(1_001), None);
        assert_eq!(at(9_000), Some(1));
    }

    #[test]
    fn a_burst_passes_and_the_long_run_holds() {
        let limiter = Limiter::new(10, 100);
        let start = Instant::now();
        let passed =
            |at| (0..1_000).filter(|_| limiter.admit(start + Duration::from_secs(at)).is_some()).count();
        assert_eq!(passed(0), 100);
        assert_eq!(passed(1), 10);
        assert_eq!(passed(0), 0, "a clock read before others took their turn");
        assert_eq!(passed(100), 100, "no more than a burst is saved up");
    }

    #[test]
    fn a_line_without_loss_has_no_field() {
        assert_eq!((Suppressed(0).field(), Suppressed(7).field()), (None, Some(7)));
    }
}
