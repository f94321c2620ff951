//! Getting a server when none is idle: the queue, a new connection, and what the client is told meanwhile.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use super::drive::{Closed, Drive};
use super::vigil::Vigil;
use crate::guard::Lane;
use crate::observe::counters::{ClientState, Timeout};
use crate::pool::open::{self, OpenError};
use crate::pool::{Entered, Grant, KeyPool, Server, Waiting};
use crate::wire::{reply, sqlstate};

/// How [`Drive::acquire`] ended.
pub(super) enum Acquired {
    /// The client has a server.
    Goes,
    /// It has none; its statement will be refused, and it goes on.
    Declined,
    Closed(Closed),
}

/// Why there is no server.
pub(super) enum Denied {
    Timeout,
    Canceled,
    Shutdown,
    Killed,
    /// The client does not wait any more.
    Gone,
    Open(OpenError),
}

/// What happens to a client in the queue after a while.
#[derive(Clone, Copy)]
enum Then {
    Tell,
    Reserve,
    GiveUp,
}

impl Drive {
    /// Waits for a server of this lane.
    pub(super) async fn acquire(&mut self, lane: Lane) -> Acquired {
        let started = Instant::now();
        self.presence.set(ClientState::Waiting);
        let thread = Rc::clone(&self.thread);
        let replica = match (lane, thread.work.try_borrow_mut()) {
            (Lane::Replica, Ok(mut work)) => thread.usable_replica(&mut work),
            _ => None,
        };
        let mut pool = Arc::clone(self.ident.pool(lane, replica));
        let mut result = self.get(&pool, started).await;
        if lane == Lane::Replica && matches!(result, Err(Denied::Open(_))) {
            // A replica that can't be reached is no reason to fail: the primary can do it.
            pool = Arc::clone(&self.ident.primary);
            result = self.get(&pool, started).await;
        }
        let nanos = u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.ident.meter(&pool).waited(nanos);
        self.presence.set(ClientState::Idle);
        match result {
            Ok(server) => {
                self.link(server);
                Acquired::Goes
            }
            Err(denied) => self.denied(denied, &pool, started),
        }
    }

    fn denied(&mut self, denied: Denied, pool: &KeyPool, started: Instant) -> Acquired {
        match denied {
            Denied::Shutdown => return Acquired::Closed(Closed::Shutdown),
            Denied::Killed => return Acquired::Closed(Closed::Killed),
            Denied::Gone => return Acquired::Closed(Closed::Client),
            Denied::Canceled => {
                let message = "canceling statement due to user request".to_owned();
                self.session.decline(sqlstate::QUERY_CANCELED, message, None);
            }
            Denied::Timeout => {
                self.thread.meters.timeout(Timeout::QueryWait);
                let (setting, size, _) = pool.shortage();
                let message = format!(
                    "no server connection came free within {} s: {setting} is {size}",
                    started.elapsed().as_secs()
                );
                let hint = match setting.as_str() {
                    "pool.pool_size" => {
                        "Raise pool.pool_size or pool.query_wait_timeout, or shorten transactions."
                    }
                    _ => "Raise that cap or query_wait_timeout, or shorten transactions.",
                };
                self.session.decline(sqlstate::TOO_MANY_CONNECTIONS, message, Some(hint));
            }
            Denied::Open(error) => {
                let (code, message) = error.for_client();
                self.session.decline(code, message, None);
            }
        }
        Acquired::Declined
    }

    async fn get(&mut self, pool: &Arc<KeyPool>, started: Instant) -> Result<Box<Server>, Denied> {
        let deadline = match pool.node.lane {
            // The primary can do it: no reason to try a replica twice.
            Lane::Replica => Some(started),
            Lane::Primary => pool.terms.query_wait_timeout.map(|t| started + t),
        };
        let mut vigil = Vigil::new(self.carry.len());
        loop {
            let grant = match pool.enter(self.thread.index, self.id) {
                Entered::Granted(grant) => grant,
                Entered::Queued(waiting) => self.queue(waiting, pool, started, &mut vigil).await?,
            };
            let mut opening = pin!(open::redeem(grant, pool, self.thread.index, deadline));
            let redeemed = poll_fn(|cx| match opening.as_mut().poll(cx) {
                Poll::Ready(redeemed) => Poll::Ready(redeemed.map_err(Denied::Open)),
                Poll::Pending => self.interrupted(&mut vigil, cx).map(Err),
            });
            if let Some(server) = redeemed.await? {
                return Ok(server);
            }
        }
    }

    /// Something happened to the client while it has no server.
    pub(super) fn interrupted(&mut self, vigil: &mut Vigil, cx: &mut std::task::Context<'_>) -> Poll<Denied> {
        if self.mailbox.has_mail() {
            if self.mailbox.take_cancel() {
                return Poll::Ready(Denied::Canceled);
            }
            if self.mailbox.killed() {
                return Poll::Ready(Denied::Killed);
            }
            if self.mailbox.shutting_down() {
                return Poll::Ready(Denied::Shutdown);
            }
        }
        let before = self.carry.len();
        let gone = vigil.poll(&mut self.client.stream, &mut self.carry, cx);
        let read = self.carry.len() - before;
        if read > 0 {
            self.ident.client_meter.received.add(read as u64);
            self.thread.shared.buffered.set(&mut self.buffered, self.carry.capacity());
        }
        gone.map(|()| Denied::Gone)
    }

    /// Waits its turn; tells the client why, once.
    async fn queue(
        &mut self,
        mut waiting: Waiting,
        pool: &KeyPool,
        started: Instant,
        vigil: &mut Vigil,
    ) -> Result<Grant, Denied> {
        // One timer for all: most waits end long before any.
        let mut coming = coming(pool).into_iter().peekable();
        let until = |next: Option<&(Duration, Then)>| {
            sleep(next.map_or(Duration::MAX, |(at, _)| at.saturating_sub(started.elapsed())))
        };
        let mut alarm = pin!(until(coming.peek()));
        poll_fn(|cx| {
            loop {
                if let Poll::Ready(grant) = Pin::new(&mut waiting).poll(cx) {
                    return Poll::Ready(grant.ok_or(Denied::Timeout));
                }
                if let Poll::Ready(denied) = self.interrupted(vigil, cx) {
                    return Poll::Ready(Err(denied));
                }
                if alarm.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                match coming.next().map(|(_, then)| then) {
                    Some(Then::Tell) => {
                        self.push(|out| tell(out, pool));
                        let _ = self.client.drain(cx);
                    }
                    Some(Then::Reserve) => waiting.may_use_reserve(),
                    Some(Then::GiveUp) | None => return Poll::Ready(Err(Denied::Timeout)),
                }
                alarm.set(until(coming.peek()));
            }
        })
        .await
    }
}

/// What happens to a client that waits, and when, in order.
fn coming(pool: &KeyPool) -> Vec<(Duration, Then)> {
    let terms = &pool.terms;
    let reserve = (terms.reserve_pool_size > 0).then_some(terms.reserve_pool_timeout);
    let all = [
        (terms.query_wait_timeout, Then::GiveUp),
        (reserve, Then::Reserve),
        (terms.query_wait_notify, Then::Tell),
    ];
    let mut coming: Vec<_> = all.into_iter().filter_map(|(at, then)| at.map(|at| (at, then))).collect();
    coming.sort_by_key(|(at, _)| *at);
    coming
}

fn tell(out: &mut Vec<u8>, pool: &KeyPool) {
    let message = "waiting for a server connection";
    let (setting, size, waiting) = pool.shortage();
    let detail = format!("All {size} connections of {setting} are in use; {waiting} clients wait.");
    let hint = "Raise pool.pool_size, or shorten transactions.";
    reply::notice_response(out, "NOTICE", sqlstate::SUCCESSFUL_COMPLETION, message, &detail, hint);
}

/// Sleeps; a time too long to be represented is for ever.
pub(super) async fn sleep(time: Duration) {
    if time > Duration::from_secs(365 * 24 * 3600) {
        std::future::pending::<()>().await;
    }
    tokio::time::sleep(time).await;
}
