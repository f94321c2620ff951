//! How long a client may take. No timer is set for anything: a client that goes to sleep leaves a note of what it is
//! at, and one sweep per thread reads the notes every now and then.
//!
//! Time is counted in sweeps. A note says in which one it was written; a thread that was held up makes no client
//! late, since no sweep has passed meanwhile.

use std::cell::Cell;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::drive::{Closed, Drive};
use super::mailbox::Mailbox;
use super::thread::Thread;
use crate::config::{Settings, Times};
use crate::observe::counters::Timeout;
use crate::wire::sqlstate;

/// Precise enough for people, and nothing to a thread with ten thousand clients.
const LONGEST: Duration = Duration::from_millis(100);
const SHORTEST: Duration = Duration::from_millis(10);

/// What a client is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// It has to say something, and is in no transaction.
    Idle,
    /// It has to say something, and its server waits in a transaction.
    InTransaction,
    /// The server has to say something.
    Running,
    /// It has no server yet.
    Queued,
}

/// One client's note.
pub(super) struct Note {
    mailbox: Arc<Mailbox>,
    limits: Limits,
    phase: Cell<Phase>,
    /// When the phase began, or the statement that runs.
    since: Cell<u64>,
    statement: Cell<Option<Instant>>,
    /// When the transaction began, and how many this server had had before.
    transaction: Cell<Option<(u64, u64)>>,
    /// When it last took something of what is due to it, and how much it had taken.
    taking: Cell<Option<(u64, u64)>>,
    /// When the statement that runs was cancelled.
    cancelled: Cell<Option<u64>>,
    due: Cell<Option<Timeout>>,
}

/// [`Times`] in sweeps.
struct Limits {
    client_idle: u64,
    idle_transaction: u64,
    transaction: u64,
    query: u64,
    client_write: u64,
    cancel_wait: u64,
}

/// The notes of a thread's clients.
pub(super) struct Deadlines {
    /// Between two sweeps; `None`: there is no timeout for anybody.
    period: Option<Duration>,
    cancel_wait: Duration,
    sweep: Cell<u64>,
    notes: std::cell::RefCell<Vec<Weak<Note>>>,
}

impl Deadlines {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            period: settings.shortest_timeout().map(|time| (time / 10).clamp(SHORTEST, LONGEST)),
            cancel_wait: settings.timeouts.cancel_wait_timeout,
            sweep: Cell::new(0),
            notes: std::cell::RefCell::default(),
        }
    }

    /// A note for a client, if there is anything to watch.
    pub(super) fn note(&self, times: &Times, mailbox: &Arc<Mailbox>) -> Option<Rc<Note>> {
        let period = self.period.filter(|_| *times != Times::default())?;
        let sweeps = |time: Duration| u64::try_from(time.as_nanos().div_ceil(period.as_nanos().max(1)));
        let limit = |time: Option<Duration>| time.and_then(|time| sweeps(time).ok()).unwrap_or(u64::MAX);
        let limits = Limits {
            client_idle: limit(times.client_idle),
            idle_transaction: limit(times.idle_transaction),
            transaction: limit(times.transaction),
            query: limit(times.query),
            client_write: limit(times.client_write),
            cancel_wait: limit(Some(self.cancel_wait)),
        };
        let note = Rc::new(Note {
            mailbox: Arc::clone(mailbox),
            limits,
            phase: Cell::new(Phase::Idle),
            since: Cell::new(self.sweep.get()),
            statement: Cell::default(),
            transaction: Cell::default(),
            taking: Cell::default(),
            cancelled: Cell::default(),
            due: Cell::default(),
        });
        self.notes.borrow_mut().push(Rc::downgrade(&note));
        Some(note)
    }

    fn sweep(&self) {
        let now = self.sweep.get() + 1;
        self.sweep.set(now);
        self.notes.borrow_mut().retain(|note| {
            let Some(note) = note.upgrade() else { return false };
            if let Some(due) = note.overdue(now) {
                note.due.set(Some(due));
                note.mailbox.time_out();
            }
            true
        });
    }
}

/// Sweeps for ever. Drop it to stop.
pub(super) async fn run(thread: Rc<Thread>) {
    let Some(period) = thread.deadlines.period else { return std::future::pending().await };
    let mut ticks = tokio::time::interval(period);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        thread.deadlines.sweep();
    }
}

impl Note {
    fn overdue(&self, now: u64) -> Option<Timeout> {
        // What was written in sweep n was written before n + 1: that one does not count.
        let over = |since: u64, limit: u64| now.saturating_sub(since) > limit;
        let phase = self.phase.get();
        if phase == Phase::Queued {
            return None;
        }
        if self.taking.get().is_some_and(|(since, _)| over(since, self.limits.client_write)) {
            return Some(Timeout::ClientWrite);
        }
        if self.transaction.get().is_some_and(|(since, _)| over(since, self.limits.transaction)) {
            return Some(Timeout::Transaction);
        }
        let since = self.since.get();
        match (phase, self.cancelled.get()) {
            (Phase::Idle, _) => over(since, self.limits.client_idle).then_some(Timeout::ClientIdle),
            (Phase::InTransaction, _) => {
                over(since, self.limits.idle_transaction).then_some(Timeout::IdleTransaction)
            }
            (Phase::Running, None) => over(since, self.limits.query).then_some(Timeout::Query),
            (Phase::Running, Some(at)) => over(at, self.limits.cancel_wait).then_some(Timeout::CancelWait),
            (Phase::Queued, _) => None,
        }
    }
}

impl Drive {
    /// Notes what the client is at, for the sweep. Nothing to do where there is no timeout.
    #[inline]
    pub(super) fn leave_note(&mut self, queued: bool) {
        if let Some(note) = self.note.take() {
            self.write_note(&note, queued);
            self.note = Some(note);
        }
    }

    fn write_note(&mut self, note: &Note, queued: bool) {
        let now = self.thread.deadlines.sweep.get();
        let stirred = std::mem::take(&mut self.stirred);
        let phase = match &self.server {
            _ if queued => Phase::Queued,
            None => Phase::Idle,
            Some(server) if !server.backend.quiet() => Phase::Running,
            Some(server) if server.backend.status() == b'I' => Phase::Idle,
            Some(_) => Phase::InTransaction,
        };
        let next = phase == Phase::Running && note.statement.get() != Some(self.since);
        if next || phase != note.phase.get() || (stirred && phase != Phase::Running) {
            note.since.set(now);
            note.cancelled.set(None);
        }
        note.statement.set(Some(self.since));
        note.phase.set(phase);
        let round = self.server.as_ref().filter(|s| !s.backend.idle()).map(|s| s.backend.rests());
        note.transaction.set(match (round, note.transaction.get()) {
            (Some(round), Some((since, known))) if known == round && !self.relinked => Some((since, round)),
            (Some(round), _) => Some((now, round)),
            (None, _) => None,
        });
        self.relinked = false;
        let owed = self.server.is_some() && self.client.unsent() > 0;
        let taken = self.client.drained();
        note.taking.set(match note.taking.get() {
            _ if !owed => None,
            Some((since, known)) if known == taken => Some((since, known)),
            _ => Some((now, taken)),
        });
    }

    /// What the sweep has found, if it has.
    pub(super) fn take_timeout(&mut self) -> Option<Timeout> {
        let taken = self.mailbox.take_timeout();
        self.note.as_ref().filter(|_| taken)?.due.take()
    }

    /// A time has run out. `None`: the client stays.
    pub(super) fn time_out(&mut self, timeout: Timeout) -> Option<Closed> {
        self.thread.meters.timeout(timeout);
        let (code, message) = match timeout {
            Timeout::Query => {
                if let Some(server) = &mut self.server {
                    server.backend.overran();
                }
                self.cancel();
                if let Some(note) = &self.note {
                    note.cancelled.set(Some(self.thread.deadlines.sweep.get()));
                }
                return None;
            }
            Timeout::ClientIdle => {
                (sqlstate::IDLE_SESSION_TIMEOUT, "terminating connection due to idle-session timeout")
            }
            Timeout::IdleTransaction => (
                sqlstate::IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
                "terminating connection due to idle-in-transaction timeout",
            ),
            Timeout::Transaction => {
                (sqlstate::TRANSACTION_TIMEOUT, "terminating connection due to transaction timeout")
            }
            Timeout::CancelWait => (sqlstate::QUERY_CANCELED, "canceling statement due to statement timeout"),
            // It takes nothing: not this either.
            _ => return Some(Closed::Timeout(timeout)),
        };
        self.farewell(code, message, &format!("pgsluice's {} ran out.", timeout.setting()));
        Some(Closed::Timeout(timeout))
    }
}
