//! Getting a server when none is idle: the queue, a new connection, and what the client is told meanwhile.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use super::drive::{Closed, Drive};
use crate::guard::Lane;
use crate::observe::counters::ClientState;
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
enum Denied {
    Timeout,
    Canceled,
    Shutdown,
    Killed,
    Open(OpenError),
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
            Err(denied) => self.denied(denied, started),
        }
    }

    fn denied(&mut self, denied: Denied, started: Instant) -> Acquired {
        match denied {
            Denied::Shutdown => return Acquired::Closed(Closed::Shutdown),
            Denied::Killed => return Acquired::Closed(Closed::Killed),
            Denied::Canceled => {
                let message = "canceling statement due to user request".to_owned();
                self.session.decline(sqlstate::QUERY_CANCELED, message, None);
            }
            Denied::Timeout => {
                let message =
                    format!("no server connection came free within {} s", started.elapsed().as_secs());
                let hint = "Raise pool.pool_size or pool.query_wait_timeout, or shorten transactions.";
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
            Lane::Primary => pool.node.limits.query_wait_timeout.map(|t| started + t),
        };
        loop {
            let grant = match pool.enter(self.thread.index, self.id) {
                Entered::Granted(grant) => grant,
                Entered::Queued(waiting) => self.queue(waiting, pool, started).await?,
            };
            let redeemed = open::redeem(grant, pool, self.thread.index, deadline).await;
            if let Some(server) = redeemed.map_err(Denied::Open)? {
                return Ok(server);
            }
        }
    }

    /// Waits its turn; tells the client why, once.
    async fn queue(
        &mut self,
        mut waiting: Waiting,
        pool: &KeyPool,
        started: Instant,
    ) -> Result<Grant, Denied> {
        let limits = &pool.node.limits;
        let left = |limit: Option<Duration>| limit.map(|t| t.saturating_sub(started.elapsed()));
        let notify = left(limits.query_wait_notify).unwrap_or(Duration::MAX);
        let give_up = left(limits.query_wait_timeout).unwrap_or(Duration::MAX);
        // One timer for both: most waits end long before either.
        let mut told = notify >= give_up;
        let mut alarm = pin!(sleep(notify.min(give_up)));
        poll_fn(|cx| {
            if let Poll::Ready(grant) = Pin::new(&mut waiting).poll(cx) {
                return Poll::Ready(grant.ok_or(Denied::Timeout));
            }
            if self.mailbox.has_mail() {
                if self.mailbox.take_cancel() {
                    return Poll::Ready(Err(Denied::Canceled));
                }
                if self.mailbox.killed() {
                    return Poll::Ready(Err(Denied::Killed));
                }
                if self.mailbox.shutting_down() {
                    return Poll::Ready(Err(Denied::Shutdown));
                }
            }
            if alarm.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            if told {
                return Poll::Ready(Err(Denied::Timeout));
            }
            told = true;
            self.push(|out| tell(out, limits.pool_size, pool.node.waiting()));
            let _ = self.client.drain(cx);
            alarm.set(sleep(give_up - notify));
            alarm.as_mut().poll(cx).map(|()| Err(Denied::Timeout))
        })
        .await
    }
}

fn tell(out: &mut Vec<u8>, size: usize, waiting: usize) {
    let message = "waiting for a server connection";
    let detail = format!("All {size} connections are in use; {waiting} clients wait.");
    let hint = "Raise pool.pool_size, or shorten transactions.";
    reply::notice_response(out, "NOTICE", sqlstate::SUCCESSFUL_COMPLETION, message, &detail, hint);
}

/// Sleeps; a time too long to be represented is for ever.
async fn sleep(time: Duration) {
    if time > Duration::from_secs(365 * 24 * 3600) {
        std::future::pending::<()>().await;
    }
    tokio::time::sleep(time).await;
}
