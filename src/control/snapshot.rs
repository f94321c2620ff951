//! What the control plane knows, as one immutable value, swapped whole.
//!
//! A data thread keeps a [`Reader`] and loads it once per message: what a message sees does not change under
//! it. Tasks publish their part with [`publish`]; they never wait for a reader.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;

use super::policies::Published;
use crate::guard::catalog::Catalog;

/// Everything published, at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    pub topology: Topology,
    /// None only before there are any.
    pub policies: Option<Arc<Published>>,
    pub catalogs: Arc<Catalogs>,
    /// Of each of them.
    pub catalog_readings: Arc<HashMap<Box<str>, CatalogReading>>,
}

/// What is known of each database, by the name clients give it.
pub type Catalogs = HashMap<Box<str>, Arc<Catalog>>;

/// When a catalog was last published, and what it cost.
#[derive(Clone, Copy, Debug)]
pub struct CatalogReading {
    pub at: SystemTime,
    pub took: Duration,
}

pub type Shared = Arc<ArcSwap<Snapshot>>;
/// A cached load: one relaxed comparison while nothing changed.
pub type Reader = arc_swap::Cache<Shared, Arc<Snapshot>>;

/// Replaces a part of the snapshot. `change` may run more than once if another task publishes meanwhile.
pub fn publish(shared: &Shared, change: impl Fn(&mut Snapshot)) {
    shared.rcu(|current| {
        let mut next = Snapshot::clone(current);
        change(&mut next);
        next
    });
}

/// The servers as the probes saw them.
#[derive(Clone, Debug, Default)]
pub struct Topology {
    pub primary: PrimaryState,
    /// In the order of the settings; behind the replicas the servers of the lanes, in the order of
    /// [`crate::config::Settings::lane_servers`].
    pub replicas: Vec<ReplicaState>,
}

/// The primary as it was last seen.
#[derive(Clone, Debug)]
pub struct PrimaryState {
    pub name: Arc<str>,
    /// Why nothing can be written there: unreachable, or in recovery. None while all is well.
    pub why_not: Option<Arc<str>>,
    /// When a probe last found it well.
    pub answered: Option<Instant>,
}

impl Default for PrimaryState {
    fn default() -> Self {
        Self { name: "primary".into(), why_not: Some(NOT_ASKED.into()), answered: None }
    }
}

impl PrimaryState {
    /// The primary answered within `patience`; else why not, as a sentence for people.
    ///
    /// # Errors
    /// The reason.
    pub fn ready(&self, now: Instant, patience: Duration) -> Result<(), String> {
        let recently = |at: Instant| now.saturating_duration_since(at) <= patience;
        match (&self.why_not, self.answered) {
            (None, Some(at)) if recently(at) => Ok(()),
            (None, Some(at)) => {
                let silent = now.saturating_duration_since(at).as_secs();
                Err(format!("{} has not been asked for {silent} s: the probe is stuck", self.name))
            }
            (Some(why), _) => Err(format!("{}: {why}", self.name)),
            (None, None) => Err(format!("{}: {NOT_ASKED}", self.name)),
        }
    }
}

/// A replica as it was last seen.
#[derive(Clone, Debug)]
pub struct ReplicaState {
    pub name: Arc<str>,
    /// In recovery, connected and not behind by more than the settings allow, when last probed. Decide with
    /// [`ReplicaState::usable_at`].
    pub usable: bool,
    /// Why it is not usable.
    pub why_not: Option<Arc<str>>,
    /// How far it is behind the primary, to the width of a probe interval. None: unknown.
    pub lag: Option<Duration>,
    /// The judgement holds until then: a probe that died must not leave a replica usable for ever.
    pub good_until: Option<Instant>,
    /// It has all that was written on the primary until then.
    pub reached: Option<Instant>,
}

impl ReplicaState {
    #[must_use]
    pub fn unknown(name: Arc<str>) -> Self {
        Self {
            name,
            usable: false,
            why_not: Some(NOT_ASKED.into()),
            lag: None,
            good_until: None,
            reached: None,
        }
    }

    #[must_use]
    pub fn usable_at(&self, now: Instant) -> bool {
        self.usable && self.good_until.is_some_and(|until| now < until)
    }

    /// It has what somebody wrote who was done at that moment.
    #[must_use]
    pub fn has(&self, wrote: Option<Instant>) -> bool {
        wrote.is_none_or(|wrote| self.reached.is_some_and(|reached| reached > wrote))
    }
}

pub(super) const NOT_ASKED: &str = "not asked yet";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_sees_what_was_published() {
        let shared = Shared::default();
        let mut reader = Reader::new(Arc::clone(&shared));
        assert!(reader.load().topology.replicas.is_empty());
        publish(&shared, |next| next.topology.replicas.push(ReplicaState::unknown("r".into())));
        assert_eq!(reader.load().topology.replicas.len(), 1);
    }

    #[test]
    fn a_judgement_ends() {
        let now = Instant::now();
        let mut replica = ReplicaState::unknown("r".into());
        replica.usable = true;
        assert!(!replica.usable_at(now));
        replica.good_until = Some(now + Duration::from_secs(1));
        assert!(replica.usable_at(now));
        assert!(!replica.usable_at(now + Duration::from_secs(1)));
        assert!(replica.has(None) && !replica.has(Some(now)));
        replica.reached = Some(now);
        assert!(!replica.has(Some(now)) && replica.has(now.checked_sub(Duration::from_millis(1))));
    }

    #[test]
    fn a_primary_is_ready_while_it_answers() {
        let now = Instant::now();
        let patience = Duration::from_secs(3);
        let mut primary = PrimaryState::default();
        assert_eq!(primary.ready(now, patience), Err("primary: not asked yet".into()));
        (primary.why_not, primary.answered) = (None, Some(now));
        assert_eq!(primary.ready(now + patience, patience), Ok(()));
        assert!(primary.ready(now + patience * 2, patience).is_err());
    }
}
