//! A client's statements under limits: waiting for a turn, and the time that one may take.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::acquire::{Acquired, Denied};
use super::drive::{Closed, Drive, Event};
use super::vigil::Vigil;
use crate::observe::counters::{ClientState, Timeout};
use crate::wire::sqlstate;

/// A cancel that did not end its statement is sent again: it may have come before the statement.
const AGAIN: Duration = Duration::from_millis(100);

/// So many times as long as the planner may take a statement waits for another's question.
const PATIENCE: u32 = 4;

/// The time of the statement that runs.
#[derive(Debug)]
pub(super) struct Alarm {
    number: u64,
    at: Option<Pin<Box<tokio::time::Sleep>>>,
    /// Since when it is to be cancelled.
    canceled: Option<Instant>,
}

impl Drive {
    /// Waits until the statement may run beside the others that count with it.
    pub(super) async fn wait_turn(&mut self) -> Acquired {
        let asks = self.session.awaited();
        let started = Instant::now();
        self.presence.set(ClientState::Waiting);
        let (shared, waits) = (Arc::clone(&self.thread.shared), Cell::new(0));
        let turn = pin!(shared.throttles.wait(&asks, &waits));
        let deadline = self.ident.primary.terms.query_wait_timeout;
        let alarm = pin!(super::acquire::sleep(deadline.unwrap_or(Duration::MAX)));
        let mut vigil = Vigil::new(self.carry.len());
        let result = self.wait_for(turn, alarm, &mut vigil).await;
        match &self.server {
            Some(server) => self.presence.link(&server.card),
            None => self.presence.set(ClientState::Idle),
        }
        let denied = match result {
            Ok(ticket) => {
                self.session.take_turn(ticket);
                return Acquired::Goes;
            }
            Err(denied) => denied,
        };
        match denied {
            Denied::Shutdown => return Acquired::Closed(Closed::Shutdown),
            Denied::Killed => return Acquired::Closed(Closed::Killed),
            Denied::Gone => return Acquired::Closed(Closed::Client),
            Denied::Canceled => {
                let message = "canceling statement due to user request".to_owned();
                self.session.give_up_turn(sqlstate::QUERY_CANCELED, message);
            }
            Denied::Timeout | Denied::Open(_) | Denied::NoServer(_) => {
                self.thread.meters.timeout(Timeout::QueryWait);
                match asks.get(waits.get()) {
                    Some(ask) => {
                        shared.throttles.missed(ask);
                        self.session.miss_turn(*ask, started.elapsed());
                    }
                    None => return Acquired::Goes,
                }
            }
        }
        Acquired::Declined
    }

    /// Waits for what another client's question to the planner brings; not for long.
    pub(super) async fn wait_plan(&mut self) -> Acquired {
        let Some(key) = self.session.awaited_plan() else { return Acquired::Goes };
        let thread = Rc::clone(&self.thread);
        let deadline = thread.shared.settings.plan.deadline;
        let mut alarm = pin!(tokio::time::sleep(deadline * PATIENCE));
        let mut vigil = Vigil::new(self.carry.len());
        while thread.planner.borrow().is_asked(&key) {
            let answered = pin!(thread.planned.notified());
            match self.wait_for(answered, alarm.as_mut(), &mut vigil).await {
                Ok(()) => {}
                Err(Denied::Shutdown) => return Acquired::Closed(Closed::Shutdown),
                Err(Denied::Killed) => return Acquired::Closed(Closed::Killed),
                Err(Denied::Gone) => return Acquired::Closed(Closed::Client),
                Err(Denied::Canceled) if self.server.is_none() => {
                    let message = "canceling statement due to user request".to_owned();
                    self.session.decline(sqlstate::QUERY_CANCELED, message, String::new());
                    return Acquired::Declined;
                }
                // A cancel that comes just before its statement does nothing.
                Err(Denied::Canceled) => {}
                Err(Denied::Timeout | Denied::Open(_) | Denied::NoServer(_)) => {
                    self.session.miss_plan();
                    break;
                }
            }
        }
        Acquired::Goes
    }

    /// Waits for what is to come, until the alarm, and looks after the client meanwhile.
    async fn wait_for<T>(
        &mut self,
        mut coming: Pin<&mut impl Future<Output = T>>,
        mut alarm: Pin<&mut impl Future<Output = ()>>,
        vigil: &mut Vigil,
    ) -> Result<T, Denied> {
        poll_fn(|cx| {
            self.mailbox.listen(cx);
            if let Poll::Ready(came) = coming.as_mut().poll(cx) {
                return Poll::Ready(Ok(came));
            }
            if let Poll::Ready(denied) = self.interrupted(vigil, cx) {
                return Poll::Ready(Err(denied));
            }
            alarm.as_mut().poll(cx).map(|()| Err(Denied::Timeout))
        })
        .await
    }

    /// Looks after the statement with limits that runs: its time, and what is to be said to its server.
    #[inline]
    pub(super) fn bound(&mut self, cx: &mut Context<'_>) -> Result<(), Event> {
        let Some(server) = self.server.as_deref_mut() else {
            self.alarm = None;
            return Ok(());
        };
        if self.alarm.is_none() && server.backend.watch().is_none() {
            return Ok(());
        }
        self.keep_time(cx)
    }

    /// A message that waited for an answer may go on, or the server must hear something first.
    #[inline]
    pub(super) fn go_on(&mut self, cx: &mut Context<'_>) -> Result<(), Event> {
        let Some(server) = self.server.as_deref_mut() else { return Ok(()) };
        if let Some(words) = server.backend.take_words() {
            server.pipe.send(&words, cx).map_err(|e| self.server_lost(&e))?;
        } else if self.holding && server.backend.may_go_on() {
            (self.holding, self.carry_ready) = (false, true);
        }
        Ok(())
    }

    fn keep_time(&mut self, cx: &mut Context<'_>) -> Result<(), Event> {
        let Some(server) = self.server.as_deref_mut() else { return Ok(()) };
        let Some(watch) = server.backend.watch() else {
            self.alarm = None;
            return Ok(());
        };
        let excess = server.backend.take_excess();
        let known = self.alarm.take().filter(|alarm| alarm.number == watch.number);
        let mut alarm = known.unwrap_or_else(|| {
            let at = watch.timeout.map(|timeout| Box::pin(tokio::time::sleep(timeout)));
            Box::new(Alarm { number: watch.number, at, canceled: None })
        });
        if excess {
            alarm.at = Some(Box::pin(tokio::time::sleep(Duration::ZERO)));
        }
        while alarm.at.as_mut().is_some_and(|at| at.as_mut().poll(cx).is_ready()) {
            let Some(server) = self.server.as_deref_mut() else { break };
            if server.backend.is_late() {
                let since = *alarm.canceled.get_or_insert_with(Instant::now);
                if since.elapsed() > self.thread.shared.settings.timeouts.cancel_wait_timeout {
                    return Err(Event::Timeout(Timeout::CancelWait));
                }
                self.cancel();
            }
            alarm.at = Some(Box::pin(tokio::time::sleep(AGAIN)));
        }
        self.alarm = Some(alarm);
        Ok(())
    }
}
