//! Which statements are known to leave nothing behind, though they run code that we do not see.
//!
//! A call of a user's function or a write that fires triggers may do anything to the session. Asking the server after
//! each would cost a query for a query; so the first executions of a fingerprint are watched, and one that left
//! nothing in any of them is trusted. One that ever left something is watched for good.

/// Executions that are watched.
const WATCHED: u8 = 4;
/// Never trusted.
const DISTRUSTED: u8 = u8::MAX;
const SLOTS: usize = 4096;

/// One thread's record; bounded: fingerprints that share a slot are watched anew.
#[derive(Debug)]
pub struct Trust {
    slots: Box<[(u64, u8)]>,
}

impl Default for Trust {
    fn default() -> Self {
        Self { slots: vec![(0, 0); SLOTS].into_boxed_slice() }
    }
}

impl Trust {
    /// Whether this execution is to be watched.
    pub fn suspects(&mut self, fingerprint: u64) -> bool {
        let Some(slot) = self.slot(fingerprint) else { return true };
        if slot.0 != fingerprint {
            *slot = (fingerprint, 0);
        }
        if slot.1 < WATCHED {
            slot.1 += 1;
            return true;
        }
        slot.1 == DISTRUSTED
    }

    /// It left something behind.
    pub fn left_state(&mut self, fingerprint: u64) {
        if let Some(slot) = self.slot(fingerprint) {
            *slot = (fingerprint, DISTRUSTED);
        }
    }

    fn slot(&mut self, fingerprint: u64) -> Option<&mut (u64, u8)> {
        let at = usize::try_from(fingerprint % SLOTS as u64).unwrap_or_default();
        self.slots.get_mut(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trust_is_earned_and_lost() {
        let mut trust = Trust::default();
        assert_eq!(
            (0..6).map(|_| trust.suspects(7)).collect::<Vec<_>>(),
            [true, true, true, true, false, false]
        );
        trust.left_state(7);
        assert!((0..100).all(|_| trust.suspects(7)));
        assert!(trust.suspects(7 + SLOTS as u64), "another one in its place");
        assert!(trust.suspects(7), "watched anew");
    }
}
