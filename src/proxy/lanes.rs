//! Which server a lane leads to now: one of its own that is fit and has what the client wrote, else who stands in.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::drive::{Drive, Event};
use super::thread::{Ident, Shared, Thread, Work};
use crate::config::{Fallback, Settings};
use crate::control::snapshot::ReplicaState;
use crate::guard::Lane;
use crate::pool::KeyPool;

/// A lane of the settings.
#[derive(Clone, Debug)]
pub struct LaneServers {
    pub name: Arc<str>,
    /// Its servers among [`Shared::replicas`].
    pub servers: Range<usize>,
    pub fallback: Fallback,
    pub max_lag: Duration,
}

/// Where a statement may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Primary,
    /// One of [`Shared::replicas`], by its place.
    Reader(usize),
    /// Soon in its lane: a server of it is fit, but has not got yet what the client wrote.
    Soon,
    /// The lane has no server, and nobody stands in.
    Nowhere,
}

/// What is asked of a server beside being fit.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Wanted<'a> {
    /// It has what was written until then.
    pub(super) wrote: Option<Instant>,
    /// None of these, which have failed already.
    pub(super) failed: &'a [usize],
    /// What was written is not waited for.
    pub(super) impatient: bool,
}

impl LaneServers {
    pub(super) fn of(settings: &Settings) -> Vec<Self> {
        let mut from = settings.replicas.len();
        let lanes = settings.lanes.iter().map(|(name, lane)| {
            let servers = from..from + lane.servers.as_ref().map_or(0, Vec::len);
            from = servers.end;
            Self {
                name: (**name).into(),
                servers,
                fallback: lane.fallback(),
                max_lag: lane.max_lag(settings),
            }
        });
        lanes.collect()
    }
}

impl Shared {
    /// A lane that is not always there.
    pub(crate) fn named(&self, lane: Lane) -> Option<&LaneServers> {
        match lane {
            Lane::Named(at) => self.lanes.get(usize::from(at)),
            Lane::Primary | Lane::Replica => None,
        }
    }

    fn replica_places(&self) -> Range<usize> {
        0..self.settings.replicas.len()
    }
}

impl Thread {
    /// Where a statement of this lane may run now.
    pub(super) fn way(&self, work: &mut Work, lane: Lane, wanted: Wanted<'_>) -> Way {
        if lane == Lane::Primary {
            return Way::Primary;
        }
        let states = &work.snapshot.load().topology.replicas;
        let now = Instant::now();
        let fit = |places| self.fit(states, places, now, wanted);
        let Some(named) = self.shared.named(lane) else {
            let found = fit(self.shared.replica_places());
            if found.is_none() && wanted.wrote.is_some() {
                self.shared.probe_asked.notify_waiters(); // so that its next read finds what it wrote
            }
            return found.map_or(Way::Primary, Way::Reader);
        };
        if let Some(own) = fit(named.servers.clone()) {
            return Way::Reader(own);
        }
        let late = Wanted { wrote: None, ..wanted };
        if !wanted.impatient && self.fit(states, named.servers.clone(), now, late).is_some() {
            return Way::Soon;
        }
        match named.fallback {
            Fallback::Primary => Way::Primary,
            Fallback::Replica => fit(self.shared.replica_places()).map_or(Way::Nowhere, Way::Reader),
            Fallback::None => Way::Nowhere,
        }
    }

    /// The first of these servers, in turn, that is fit to be read from now.
    fn fit(
        &self,
        states: &[ReplicaState],
        places: Range<usize>,
        now: Instant,
        wanted: Wanted<'_>,
    ) -> Option<usize> {
        let n = places.len();
        let turn = self.turn.get();
        let mut each = (0..n).map(|i| (turn + i) % n).map(|i| (i, places.start + i));
        let (at, found) = each.find(|(_, place)| {
            let state = states.get(*place);
            !wanted.failed.contains(place)
                && state.is_some_and(|state| state.usable_at(now) && state.has(wanted.wrote))
        })?;
        self.turn.set(at + 1);
        Some(found)
    }
}

impl Ident {
    /// The pool at the end of a way.
    pub(super) fn pool(&self, way: Way) -> Option<&Arc<KeyPool>> {
        match way {
            Way::Primary => Some(&self.primary),
            Way::Reader(at) => self.replicas.get(at),
            Way::Soon | Way::Nowhere => None,
        }
    }
}

impl Drive {
    /// An idle server of this thread, without waiting. `Err`: none, and what is to be done about it.
    pub(super) fn take_idle(&mut self, lane: Lane, work: &mut Work) -> Result<(), Event> {
        let wanted = Wanted { wrote: self.wrote, ..Wanted::default() };
        let way = self.thread.way(work, lane, wanted);
        let Some(pool) = self.ident.pool(way).map(Arc::clone) else { return Err(Event::Acquire(lane)) };
        while let Some(mut server) = pool.try_checkout(self.thread.index, self.id) {
            if !server.is_dead() {
                self.ident.meter(&pool).waited(0);
                self.link(server);
                return Ok(());
            }
            if server.owner == self.id && way == Way::Primary {
                return Err(Event::Fallen(server));
            }
        }
        Err(Event::Acquire(lane))
    }
}
