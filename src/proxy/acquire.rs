//! Getting a server when none is idle: the queue, a new connection, and what the client is told meanwhile.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use super::drive::{Closed, Drive};
use super::lanes::{Wanted, Way};
use super::vigil::Vigil;
use crate::config::Fallback;
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
    /// The lane has none that can be used.
    NoServer(String),
}

/// Servers that could not be reached, and why.
#[derive(Default)]
struct Failed {
    places: Vec<usize>,
    why: Vec<String>,
}

impl Failed {
    fn add(&mut self, place: usize, error: &OpenError) {
        self.places.push(place);
        self.why.push(error.for_client().1);
    }

    fn why(&self, place: usize) -> Option<&str> {
        let at = self.places.iter().position(|failed| *failed == place)?;
        self.why.get(at).map(String::as_str)
    }
}

/// How long a server of a lane may take to get what the client wrote before another stands in.
const CATCH_UP: Duration = Duration::from_secs(1);
/// How often it is looked at meanwhile.
const LOOK: Duration = Duration::from_millis(20);
/// Servers of a lane of which the client is told why they cannot be used.
const TOLD: usize = 4;

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
        let mut failed = Failed::default();
        let (pool, result) = loop {
            let pool = match self.find(lane, started, &failed).await {
                Ok(pool) => pool,
                Err(denied) => break (Arc::clone(&self.ident.primary), Err(denied)),
            };
            match self.get(&pool, started).await {
                // A server that can't be reached is no reason to fail as long as another can do it.
                Err(Denied::Open(error)) => {
                    match self.ident.replicas.iter().position(|p| Arc::ptr_eq(p, &pool)) {
                        Some(place) => failed.add(place, &error),
                        None => break (pool, Err(Denied::Open(error))),
                    }
                }
                result => break (pool, result),
            }
        };
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

    /// The pool that this lane leads to, as soon as it leads anywhere.
    async fn find(&mut self, lane: Lane, started: Instant, failed: &Failed) -> Result<Arc<KeyPool>, Denied> {
        let thread = Rc::clone(&self.thread);
        let fallback = thread.shared.named(lane).map(|named| named.fallback);
        // With somebody to stand in, it is not worth a long wait.
        let patience = match fallback {
            Some(Fallback::None) => self.ident.primary.terms.query_wait_timeout.unwrap_or(Duration::MAX),
            _ => CATCH_UP,
        };
        let mut vigil = Vigil::new(self.carry.len());
        loop {
            let waited = started.elapsed();
            let impatient = waited >= patience;
            let wanted = Wanted { wrote: self.wrote, failed: &failed.places, impatient };
            let way = match thread.work.try_borrow_mut() {
                Ok(mut work) => match lane {
                    // As ever: one try is enough, the primary can do it.
                    Lane::Replica if !failed.places.is_empty() => Way::Primary,
                    lane => thread.way(&mut work, lane, wanted),
                },
                Err(_) => Way::Soon,
            };
            match way {
                Way::Nowhere => return Err(Denied::NoServer(self.why_nowhere(lane, failed))),
                Way::Soon => thread.shared.probe_asked.notify_waiters(),
                way => return Ok(Arc::clone(self.ident.pool(way).unwrap_or(&self.ident.primary))),
            }
            let mut pause = pin!(sleep(LOOK.min(patience.saturating_sub(waited))));
            let interrupted = poll_fn(|cx| match pause.as_mut().poll(cx) {
                Poll::Ready(()) => Poll::Ready(None),
                Poll::Pending => self.interrupted(&mut vigil, cx).map(Some),
            });
            if let Some(denied) = interrupted.await {
                return Err(denied);
            }
        }
    }

    /// Why no server of a lane can be used.
    fn why_nowhere(&self, lane: Lane, failed: &Failed) -> String {
        let shared = &self.thread.shared;
        let Some(named) = shared.named(lane) else { return "there is no such lane".to_owned() };
        let topology = &shared.snapshot.load().topology;
        let why = named.servers.clone().filter_map(|at| {
            let state = topology.replicas.get(at)?;
            let seen = || state.why_not.as_deref().unwrap_or("it has not got yet what this client wrote");
            Some(format!("{}: {}", state.name, failed.why(at).unwrap_or_else(seen)))
        });
        let why: Vec<String> = why.take(TOLD).collect();
        let nor = if named.fallback == Fallback::Replica { ", and no replica" } else { "" };
        format!("no server of the lane {}{nor} can be used now: {}", named.name, why.join("; "))
    }

    fn denied(&mut self, denied: Denied, pool: &KeyPool, started: Instant) -> Acquired {
        match denied {
            Denied::Shutdown => return Acquired::Closed(Closed::Shutdown),
            Denied::Killed => return Acquired::Closed(Closed::Killed),
            Denied::Gone => return Acquired::Closed(Closed::Client),
            Denied::Canceled => {
                let message = "canceling statement due to user request".to_owned();
                self.session.decline(sqlstate::QUERY_CANCELED, message, String::new());
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
                self.session.decline(sqlstate::TOO_MANY_CONNECTIONS, message, hint.to_owned());
            }
            Denied::Open(error) => {
                let (code, message) = error.for_client();
                self.session.decline(code, message, String::new());
            }
            Denied::NoServer(message) => {
                let hint = "Try again when one of them is back, or have others stand in: `fallback` of the lane in the \
                            settings is \"replica\" or \"primary\".";
                self.session.decline(sqlstate::CANNOT_CONNECT_NOW, message, hint.to_owned());
            }
        }
        Acquired::Declined
    }

    async fn get(&mut self, pool: &Arc<KeyPool>, started: Instant) -> Result<Box<Server>, Denied> {
        let deadline = match pool.node.lane {
            Lane::Primary => pool.terms.query_wait_timeout.map(|t| started + t),
            // Another can do it, or nobody is to wait for it: no reason to try twice.
            Lane::Replica | Lane::Named(_) => Some(started),
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
    let (setting, size, waiting) = pool.shortage();
    let message = match pool.node.lane {
        Lane::Named(_) => &format!("waiting for a connection to {}", pool.node.name),
        Lane::Primary | Lane::Replica => "waiting for a server connection",
    };
    let detail = format!("All {size} connections of {setting} are in use; {waiting} clients wait.");
    let raise = &pool.node.limits.pool_size_setting;
    let hint = format!("Raise {raise}, or shorten transactions.");
    reply::notice_response(out, "NOTICE", sqlstate::SUCCESSFUL_COMPLETION, message, &detail, &hint);
}

/// Sleeps; a time too long to be represented is for ever.
pub(super) async fn sleep(time: Duration) {
    if time > Duration::from_secs(365 * 24 * 3600) {
        std::future::pending::<()>().await;
    }
    tokio::time::sleep(time).await;
}
