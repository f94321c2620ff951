//! The queue of a node: who waits for a connection, and who gets the next one.
//!
//! Lock order: the node's state, then a stack of idle servers. Servers and permits are dropped and grants are
//! sent outside the state's lock, since dropping a permit takes it.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use tokio::sync::oneshot;

use super::owner::ClientId;
use super::server::Server;
use super::{KeyPool, Node, Purpose, lock};

#[derive(Default)]
pub(super) struct NodeState {
    /// Connections open or being opened, over all pools.
    open: usize,
    queue: VecDeque<Waiter>,
    next: u64,
}

struct Waiter {
    id: u64,
    pool: Arc<KeyPool>,
    grant: oneshot::Sender<Grant>,
}

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

/// A place under the node's cap. Dropping it gives the place to whoever waits.
pub struct Permit {
    pool: Option<Arc<KeyPool>>,
}

impl Permit {
    fn new(pool: &Arc<KeyPool>) -> Self {
        pool.open.fetch_add(1, Ordering::Relaxed);
        Self { pool: Some(Arc::clone(pool)) }
    }

    /// The pool it belongs to.
    #[must_use]
    pub fn pool(&self) -> Option<&Arc<KeyPool>> {
        self.pool.as_ref()
    }

    /// Takes it out of its pool's count; the place under the node's cap stays taken, for the caller to pass on.
    fn dissolve(&mut self) -> Option<Arc<KeyPool>> {
        let pool = self.pool.take()?;
        pool.open.fetch_sub(1, Ordering::Relaxed);
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

enum Choice {
    Nobody,
    /// A client of the server's own pool.
    Own(Waiter),
    /// A client of another pool: the server is closed to make room.
    Other(Waiter),
}

impl NodeState {
    /// First come, first served; but a connection changes pools only if the other pool has none or holds
    /// clearly fewer, or two pools under load would close and open connections at every turn. Connections that are
    /// one client's own count as none: they are not what is shared.
    fn choose(&mut self, own: &Arc<KeyPool>) -> Choice {
        let mine = self.queue.iter().position(|w| Arc::ptr_eq(&w.pool, own));
        let other = self.queue.iter().position(|w| !Arc::ptr_eq(&w.pool, own));
        let shared = |w: &&Waiter| w.pool.purpose == Purpose::Shared;
        let held =
            |at: usize| self.queue.get(at).filter(shared).map_or(0, |w| w.pool.open.load(Ordering::Relaxed));
        let at = match (mine, other) {
            (None, None) => return Choice::Nobody,
            (None, Some(other)) => other,
            (Some(mine), None) => mine,
            (Some(mine), Some(other)) => {
                let poorer = held(other) == 0 || own.open.load(Ordering::Relaxed) > held(other) + 1;
                if other < mine && poorer { other } else { mine }
            }
        };
        match self.queue.remove(at) {
            Some(waiter) if Arc::ptr_eq(&waiter.pool, own) => Choice::Own(waiter),
            Some(waiter) => Choice::Other(waiter),
            None => Choice::Nobody,
        }
    }
}

impl Node {
    /// A free place goes to the first in the queue.
    fn pass_on(&self) {
        loop {
            let waiter = {
                let mut state = lock(&self.state);
                let Some(waiter) = state.queue.pop_front() else {
                    state.open -= 1;
                    self.full.store(false, Ordering::Relaxed);
                    return;
                };
                self.waiting.fetch_sub(1, Ordering::SeqCst);
                waiter
            };
            match waiter.grant.send(Grant::Permit(Permit::new(&waiter.pool))) {
                Err(Grant::Permit(mut permit)) => drop(permit.dissolve()),
                _ => return,
            }
        }
    }

    /// An idle server goes to whoever has the best claim, or onto its stack.
    pub(super) fn hand_over(&self, mut server: Box<Server>) {
        loop {
            let Some(own) = server.permit.pool().cloned() else { return };
            let choice = {
                let mut state = lock(&self.state);
                let choice = state.choose(&own);
                match &choice {
                    Choice::Nobody => {
                        if let Some(stack) = own.idle.get(server.thread) {
                            lock(stack).push(server);
                        }
                        return;
                    }
                    _ => self.waiting.fetch_sub(1, Ordering::SeqCst),
                };
                choice
            };
            match choice {
                Choice::Nobody => return,
                Choice::Own(waiter) => match waiter.grant.send(Grant::Server(server)) {
                    Err(Grant::Server(back)) => server = back,
                    _ => return,
                },
                Choice::Other(waiter) => {
                    drop(server.permit.dissolve());
                    if let Err(Grant::Permit(mut permit)) =
                        waiter.grant.send(Grant::Permit(Permit::new(&waiter.pool)))
                    {
                        drop(permit.dissolve());
                        self.pass_on();
                    }
                    return;
                }
            }
        }
    }
}

impl KeyPool {
    /// A connection or the right to open one if there is any, else a place in the queue.
    #[must_use]
    pub fn enter(self: &Arc<Self>, thread: usize, client: ClientId) -> Entered {
        let node = &self.node;
        let mut victim = None;
        let mut state = lock(&node.state);
        if state.queue.is_empty() {
            if let Some(server) = self.steal(thread, client, false) {
                return Entered::Granted(Grant::Server(server));
            }
            if state.open < node.limits.pool_size {
                state.open += 1;
                return Entered::Granted(Grant::Permit(Permit::new(self)));
            }
            node.full.store(true, Ordering::Relaxed);
            if let Some(server) = self.steal(thread, client, true) {
                return Entered::Granted(Grant::Server(server));
            }
            victim = node.idle_of_another(self);
        }
        if let Some(mut server) = victim {
            drop(state);
            drop(server.permit.dissolve());
            return Entered::Granted(Grant::Permit(Permit::new(self)));
        }
        let (sender, receiver) = oneshot::channel();
        let id = state.next;
        state.next += 1;
        state.queue.push_back(Waiter { id, pool: Arc::clone(self), grant: sender });
        node.waiting.fetch_add(1, Ordering::SeqCst);
        drop(state);
        // A server may have come back between the look at the stacks and the queue becoming visible.
        if let Some(server) = self.steal(thread, client, true) {
            node.hand_over(server);
        }
        Entered::Queued(Waiting { pool: Arc::clone(self), id, receiver })
    }

    /// A permit for a connection that nobody waits for, if there is room and no queue.
    #[must_use]
    pub fn spare_permit(self: &Arc<Self>) -> Option<Permit> {
        let mut state = lock(&self.node.state);
        if !state.queue.is_empty() || state.open >= self.node.limits.pool_size {
            return None;
        }
        state.open += 1;
        Some(Permit::new(self))
    }
}

impl Node {
    /// The longest idle server of the other pools.
    fn idle_of_another(&self, than: &Arc<KeyPool>) -> Option<Box<Server>> {
        let mut oldest: Option<(std::time::Instant, Arc<KeyPool>, usize)> = None;
        self.each_pool(|pool| {
            if Arc::ptr_eq(pool, than) {
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

/// A place in the queue. Dropping it leaves the queue; what was granted meanwhile goes on to the next.
pub struct Waiting {
    pool: Arc<KeyPool>,
    id: u64,
    receiver: oneshot::Receiver<Grant>,
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
                state.queue.remove(at);
                node.waiting.fetch_sub(1, Ordering::SeqCst);
                return;
            }
        }
        self.receiver.close();
        if let Ok(Grant::Server(server)) = self.receiver.try_recv() {
            self.pool.checkin(server);
        }
    }
}
