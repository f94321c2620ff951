//! The queue of a node: who waits for a connection, and who gets the next one.
//!
//! A client waits for the node's own cap, or is *blocked*: its pool, user or database is at a cap of its own. Nobody
//! waits behind one that is blocked, and connections that cannot help it are lent on as if it were not there.
//!
//! Lock order: the node's state, then a stack of idle servers. Servers and permits are dropped and grants are
//! sent outside the state's lock, since dropping a permit takes it.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use tokio::sync::oneshot;

use super::owner::ClientId;
use super::quota::Quota;
use super::server::Server;
use super::{KeyPool, Node, Purpose, lock};

#[derive(Default)]
pub(super) struct NodeState {
    /// Connections open or being opened, over all pools.
    open: usize,
    queue: VecDeque<Waiter>,
    /// Of the queue: those whose pool has caps of its own.
    capped: usize,
    next: u64,
}

struct Waiter {
    id: u64,
    pool: Arc<KeyPool>,
    grant: oneshot::Sender<Grant>,
    /// It has waited long enough for the reserve.
    reserve: bool,
    /// A cap of its own keeps it from a free place.
    blocked: bool,
}

impl Waiter {
    fn extra(&self) -> usize {
        if self.reserve { self.pool.terms.reserve_pool_size } else { 0 }
    }

    /// Enters it into the count by which others know of it, or takes it out.
    fn count(&self, node: &Node, counted: bool) {
        let change = |counter: &AtomicUsize| {
            if counted {
                counter.fetch_add(1, Ordering::SeqCst);
            } else {
                counter.fetch_sub(1, Ordering::SeqCst);
            }
        };
        if self.blocked {
            self.pool.quotas.iter().for_each(|quota| change(&quota.waiting));
        } else {
            change(&node.waiting);
        }
    }
}

/// Servers that are closed once the lock is released: boxed as they came.
#[allow(clippy::vec_box, reason = "a pointer moves, not a connection's state")]
type Gone = Vec<Box<Server>>;

/// What a client gets, at once or after its turn in the queue.
pub enum Grant {
    /// A connection.
    Server(Box<Server>),
    /// The right to open one.
    Permit(Permit),
}

/// The answer to [`KeyPool::enter`].
pub enum Entered {
    Granted(Grant),
    Queued(Waiting),
}

/// A place under the caps. Dropping it gives the place to whoever waits.
pub struct Permit {
    pool: Option<Arc<KeyPool>>,
}

impl Permit {
    /// Call with the node's state locked.
    fn new(pool: &Arc<KeyPool>) -> Self {
        pool.open.fetch_add(1, Ordering::Relaxed);
        pool.quotas.iter().for_each(|quota| quota.take());
        Self { pool: Some(Arc::clone(pool)) }
    }

    /// The pool it belongs to.
    #[must_use]
    pub fn pool(&self) -> Option<&Arc<KeyPool>> {
        self.pool.as_ref()
    }

    /// Takes it out of its pool's counts; the place under the node's cap stays taken, for the caller to pass on.
    fn dissolve(&mut self) -> Option<Arc<KeyPool>> {
        let pool = self.pool.take()?;
        pool.open.fetch_sub(1, Ordering::Relaxed);
        pool.quotas.iter().for_each(|quota| quota.give());
        Some(pool)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(pool) = self.dissolve() {
            pool.node.pass_on();
        }
    }
}

impl NodeState {
    /// Whom an idle server of `own` is for. First come, first served; but a connection changes pools only if the
    /// other pool has none or holds clearly fewer, or two pools under load would close and open connections at
    /// every turn. Connections that are one client's own count as none: they are not what is shared.
    fn choose(&self, own: &Arc<KeyPool>) -> Option<usize> {
        let mine = self.queue.iter().position(|w| Arc::ptr_eq(&w.pool, own));
        let other = self.queue.iter().position(|w| !Arc::ptr_eq(&w.pool, own) && w.fits_for(own));
        let (Some(mine), Some(other)) = (mine, other) else { return mine.or(other) };
        let shared = |w: &&Waiter| w.pool.purpose == Purpose::Shared;
        let held = self.queue.get(other).filter(shared).map_or(0, |w| w.pool.open.load(Ordering::Relaxed));
        let poorer = held == 0 || own.open.load(Ordering::Relaxed) > held + 1;
        Some(if other < mine && poorer { other } else { mine })
    }

    fn take(&mut self, at: usize, node: &Node) -> Option<Waiter> {
        let waiter = self.queue.remove(at)?;
        waiter.count(node, false);
        self.capped -= usize::from(!waiter.pool.quotas.is_empty());
        Some(waiter)
    }

    /// Caps have come free or are reached: who is blocked is found out again.
    fn sort_out(&mut self, node: &Node) {
        if self.capped == 0 {
            return;
        }
        for waiter in self.queue.iter_mut().filter(|w| !w.pool.quotas.is_empty()) {
            let blocked = waiter.pool.full(waiter.extra()).is_some();
            if blocked != waiter.blocked {
                waiter.count(node, false);
                waiter.blocked = blocked;
                waiter.count(node, true);
            }
        }
    }
}

impl Waiter {
    /// It could have the place of a server of `own`.
    fn fits_for(&self, own: &KeyPool) -> bool {
        let shared = |quota: &Arc<Quota>| own.quotas.iter().any(|other| Arc::ptr_eq(other, quota));
        self.pool.quotas.iter().all(|quota| !quota.lacks(self.extra(), usize::from(shared(quota))))
    }
}

impl Node {
    /// A connection is closed: its place goes to the first in the queue that may have it.
    fn pass_on(&self) {
        lock(&self.state).open -= 1;
        self.full.store(false, Ordering::Relaxed);
        self.settle();
    }

    /// Gives the places that are free to those who wait for them.
    fn settle(&self) {
        loop {
            let mut gone = Vec::new();
            let mut state = lock(&self.state);
            state.sort_out(self);
            let Some((waiter, permit)) = self.next_to_open(&mut state, &mut gone) else { return };
            drop(state);
            if let Err(Grant::Permit(mut permit)) = waiter.grant.send(Grant::Permit(permit)) {
                drop(permit.dissolve());
                lock(&self.state).open -= 1;
            }
        }
    }

    fn next_to_open(&self, state: &mut NodeState, gone: &mut Gone) -> Option<(Waiter, Permit)> {
        let mut full = false;
        for at in 0..state.queue.len() {
            let waiter = state.queue.get(at)?;
            let extra = waiter.extra();
            if waiter.blocked || (full && state.open >= self.limits.pool_size + extra) {
                continue;
            }
            let pool = Arc::clone(&waiter.pool);
            if let Some(permit) = self.room(state, &pool, extra, gone) {
                return state.take(at, self).map(|waiter| (waiter, permit));
            }
            full = true;
        }
        None
    }

    /// A place for one more connection of a pool, made by closing others' idle ones if need be.
    fn room(
        &self,
        state: &mut NodeState,
        pool: &Arc<KeyPool>,
        extra: usize,
        gone: &mut Gone,
    ) -> Option<Permit> {
        let mut close = |state: &mut NodeState, quota: Option<&Arc<Quota>>| {
            let mut victim = self.idle_of_another(pool, quota)?;
            drop(victim.permit.dissolve());
            state.open -= 1;
            gone.push(victim);
            Some(())
        };
        while let Some(quota) = pool.full(extra) {
            close(state, Some(quota))?;
        }
        if state.open >= self.limits.pool_size + extra {
            close(state, None)?;
        }
        state.open += 1;
        Some(Permit::new(pool))
    }

    /// An idle server goes to whoever has the best claim, or onto its stack.
    pub(super) fn hand_over(&self, mut server: Box<Server>) {
        loop {
            let Some(own) = server.permit.pool().cloned() else { return };
            let mut state = lock(&self.state);
            let Some(waiter) = state.choose(&own).and_then(|at| state.take(at, self)) else {
                if let Some(stack) = own.idle.get(server.thread) {
                    lock(stack).push(server);
                }
                return;
            };
            if Arc::ptr_eq(&waiter.pool, &own) {
                drop(state);
                match waiter.grant.send(Grant::Server(server)) {
                    Err(Grant::Server(back)) => server = back,
                    _ => return,
                }
                continue;
            }
            // It is closed to make room.
            drop(server.permit.dissolve());
            let permit = Permit::new(&waiter.pool);
            state.sort_out(self);
            drop(state);
            drop(server);
            if let Err(Grant::Permit(permit)) = waiter.grant.send(Grant::Permit(permit)) {
                drop(permit); // passes it on
            }
            return;
        }
    }

    /// The longest idle server of the other pools (of those under the same cap).
    fn idle_of_another(&self, than: &Arc<KeyPool>, under: Option<&Arc<Quota>>) -> Option<Box<Server>> {
        let mut oldest: Option<(std::time::Instant, Arc<KeyPool>, usize)> = None;
        self.each_pool(|pool| {
            let under_it = |quota| pool.quotas.iter().any(|other| Arc::ptr_eq(other, quota));
            if Arc::ptr_eq(pool, than) || !under.is_none_or(under_it) {
                return;
            }
            for (thread, stack) in pool.idle.iter().enumerate() {
                // The bottom of a stack is what was not needed for longest.
                if let Some(server) = lock(stack).first()
                    && oldest.as_ref().is_none_or(|(at, ..)| server.idle_since < *at)
                {
                    oldest = Some((server.idle_since, Arc::clone(pool), thread));
                }
            }
        });
        let (_, pool, thread) = oldest?;
        let mut stack = lock(pool.idle.get(thread)?);
        (!stack.is_empty()).then(|| stack.remove(0))
    }
}

impl KeyPool {
    /// Somebody in the queue may have a better claim to a server of this pool than who comes now.
    #[inline]
    pub(super) fn is_claimed(&self) -> bool {
        let waits = |counter: &AtomicUsize| counter.load(Ordering::SeqCst) > 0;
        waits(&self.node.waiting) || self.quotas.iter().any(|quota| waits(&quota.waiting))
    }

    /// A cap of the pool's own that is reached.
    pub(super) fn full(&self, extra: usize) -> Option<&Arc<Quota>> {
        self.quotas.iter().find(|quota| quota.is_full(extra))
    }

    /// A connection or the right to open one if there is any, else a place in the queue.
    #[must_use]
    pub fn enter(self: &Arc<Self>, thread: usize, client: ClientId) -> Entered {
        let node = &self.node;
        let mut gone = Vec::new();
        let mut state = lock(&node.state);
        let first = !self.is_claimed();
        // Those who wait are kept by caps of their own: what they wait for may not be what comes now waits for.
        let only_blocked = node.waiting.load(Ordering::SeqCst) == 0;
        // Counted before it looks: whoever puts a server onto a stack meanwhile sees that somebody waits.
        node.waiting.fetch_add(1, Ordering::SeqCst);
        if first {
            let grant = self.first_choice(thread, client, &mut state).or_else(|| {
                node.full.store(true, Ordering::Relaxed);
                let shared = self.steal(thread, client, true).map(Grant::Server);
                shared.or_else(|| node.room(&mut state, self, 0, &mut gone).map(Grant::Permit))
            });
            if let Some(grant) = grant {
                node.waiting.fetch_sub(1, Ordering::SeqCst);
                state.sort_out(node);
                return Entered::Granted(grant);
            }
        }
        let (grant, receiver) = oneshot::channel();
        let id = state.next;
        state.next += 1;
        let blocked = self.full(0).is_some();
        let waiter = Waiter { id, pool: Arc::clone(self), grant, reserve: false, blocked };
        waiter.count(node, true);
        node.waiting.fetch_sub(1, Ordering::SeqCst);
        state.capped += usize::from(!self.quotas.is_empty());
        state.queue.push_back(waiter);
        drop(state);
        // Nothing is left lying that somebody waits for.
        if let Some(server) = self.steal(thread, client, true) {
            node.hand_over(server);
        }
        if only_blocked && !first || !gone.is_empty() {
            node.settle();
        }
        let mut waiting = Waiting { pool: Arc::clone(self), id, receiver };
        match waiting.receiver.try_recv() {
            Ok(grant) => Entered::Granted(grant),
            Err(_) => Entered::Queued(waiting),
        }
    }

    /// What takes nothing from another client: an idle connection that is the client's own or nobody's, or a free place.
    fn first_choice(
        self: &Arc<Self>,
        thread: usize,
        client: ClientId,
        state: &mut NodeState,
    ) -> Option<Grant> {
        if let Some(server) = self.steal(thread, client, false) {
            return Some(Grant::Server(server));
        }
        if state.open >= self.node.limits.pool_size || self.full(0).is_some() {
            return None;
        }
        state.open += 1;
        Some(Grant::Permit(Permit::new(self)))
    }

    /// A permit for a connection that nobody waits for, if there is room and no queue.
    #[must_use]
    pub fn spare_permit(self: &Arc<Self>) -> Option<Permit> {
        let mut state = lock(&self.node.state);
        if self.is_claimed() || state.open >= self.node.limits.pool_size || self.full(0).is_some() {
            return None;
        }
        state.open += 1;
        Some(Permit::new(self))
    }

    /// What a client of this pool waits for: the setting, its value, and how many wait with it.
    #[must_use]
    pub fn shortage(&self) -> (String, usize, usize) {
        let waiting = lock(&self.node.state).queue.len();
        match self.full(0) {
            Some(quota) => (quota.to_string(), quota.limit(), waiting),
            None => {
                let limits = &self.node.limits;
                (limits.pool_size_setting.to_string(), limits.pool_size, waiting)
            }
        }
    }
}

/// A place in the queue. Dropping it leaves the queue; what was granted meanwhile goes on to the next.
pub struct Waiting {
    pool: Arc<KeyPool>,
    id: u64,
    receiver: oneshot::Receiver<Grant>,
}

impl Waiting {
    /// It has waited for `reserve_pool_timeout`: it may have a connection of the reserve.
    pub fn may_use_reserve(&self) {
        let node = &self.pool.node;
        let mut state = lock(&node.state);
        if let Some(waiter) = state.queue.iter_mut().find(|w| w.id == self.id) {
            waiter.reserve = true;
            drop(state);
            node.settle();
        }
    }
}

impl Future for Waiting {
    type Output = Option<Grant>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.receiver).poll(cx).map(Result::ok)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let node = &self.pool.node;
        {
            let mut state = lock(&node.state);
            if let Some(at) = state.queue.iter().position(|w| w.id == self.id) {
                drop(state.take(at, node));
                return;
            }
        }
        self.receiver.close();
        if let Ok(Grant::Server(server)) = self.receiver.try_recv() {
            self.pool.checkin(server);
        }
    }
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
