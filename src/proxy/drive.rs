//! One client's loop: read, let the session decide, pass on, hand back.
//!
//! Everything between two waits happens in one poll with buffers that belong to the thread; a client owns a
//! buffer only while a message is cut in half or a socket does not take what is due. A side that can't be
//! written to is a side whose counterpart is not read from: nothing piles up.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::io::{AsyncRead, ReadBuf};

use super::acquire::Acquired;
use super::books::Books;
use super::card::Presence;
pub(super) use super::closed::Closed;
use super::deadlines::Note;
use super::mailbox::Mailbox;
use super::pipe::Pipe;
use super::policies;
use super::thread::{Ident, Registered, SCRATCH, Thread, Work};
use super::turn::Alarm;
use crate::guard::{Effects, Lane};
use crate::observe::counters::{ClientState, Timeout};
use crate::pool::{ClientId, Pinned, Server};
use crate::session::{Env, Fatal, Outlet, Session, Step, Who};
use crate::wire::sqlstate;

/// Reads of one client between two turns of the event loop: more would let bulk results starve small queries.
const READS_PER_TURN: u32 = 3;
/// A client this many replies ahead is not read from until the server has caught up.
const MAX_OWED: usize = 4096;

/// Why the loop pauses.
pub(super) enum Event {
    /// A server of this lane is needed.
    Acquire(Lane),
    /// A place among the statements that count with the client's.
    Turn,
    /// What another client's question to the planner brings.
    Plan,
    /// Others' turn.
    Yield,
    /// The client asked to cancel what it runs.
    Cancel,
    /// The server that was the client's own ended while it lay idle.
    Fallen(Box<Server>),
    /// A time has run out.
    Timeout(Timeout),
    /// It is over.
    Closed(Closed),
}

pub(super) struct Drive {
    pub(super) thread: Rc<Thread>,
    pub(super) ident: Rc<Ident>,
    pub(super) client: Pipe,
    pub(super) session: Session,
    pub(super) server: Option<Box<Server>>,
    /// The server is this client's own and goes with it; its settings are what it was opened with.
    pub(super) own: bool,
    pub(super) mailbox: Arc<Mailbox>,
    /// To the pools, this client.
    pub(super) id: ClientId,
    /// The mailbox's entry, for as long as the client is here.
    _registered: Registered,
    pub(super) presence: Presence,
    /// Whether the client counts among those that hold a server for their state.
    pub(super) pinned: Pinned,
    /// What the client sent and is not dealt with yet.
    pub(super) carry: Vec<u8>,
    /// `carry` may be fed without reading more.
    pub(super) carry_ready: bool,
    /// The next message must wait until the present server is let go.
    held: bool,
    /// The next message must wait for an answer of the present server.
    pub(super) holding: bool,
    /// The time of a statement with limits.
    pub(super) alarm: Option<Box<Alarm>>,
    /// When the statement that runs was sent.
    pub(super) since: Instant,
    /// When it let go of a server on which it may have written.
    pub(super) wrote: Option<Instant>,
    /// What this client has in the account of buffered bytes.
    pub(super) buffered: usize,
    /// What the sweep of the deadlines reads; `None`: it has none.
    pub(super) note: Option<Rc<Note>>,
    /// Something was dealt with since the last note; the server came after it.
    pub(super) stirred: bool,
    pub(super) relinked: bool,
}

/// Runs a logged-in client to its end.
pub(super) async fn run(mut drive: Drive) -> Closed {
    let closed = loop {
        let event = poll_fn(|cx| drive.poll(cx)).await;
        match event {
            Event::Yield => tokio::task::yield_now().await,
            Event::Cancel => drive.cancel(),
            Event::Fallen(server) => match Box::pin(drive.fallen(server)).await {
                Some(closed) => break closed,
                None => drive.carry_ready = !drive.carry.is_empty(),
            },
            Event::Timeout(timeout) => {
                if let Some(closed) = drive.time_out(timeout) {
                    break closed;
                }
            }
            Event::Acquire(lane) => match Box::pin(drive.acquire(lane)).await {
                Acquired::Goes | Acquired::Declined => drive.carry_ready = true,
                Acquired::Closed(closed) => break closed,
            },
            Event::Turn => match Box::pin(drive.wait_turn()).await {
                Acquired::Goes | Acquired::Declined => drive.carry_ready = true,
                Acquired::Closed(closed) => break closed,
            },
            Event::Plan => match Box::pin(drive.wait_plan()).await {
                Acquired::Goes | Acquired::Declined => drive.carry_ready = true,
                Acquired::Closed(closed) => break closed,
            },
            Event::Closed(closed) => break closed,
        }
    };
    Box::pin(drive.finish(closed)).await;
    closed
}

type Turn = Result<bool, Event>;

impl Drive {
    pub(super) fn new(
        thread: Rc<Thread>,
        ident: Rc<Ident>,
        client: Pipe,
        session: Session,
        mailbox: Arc<Mailbox>,
        registered: Registered,
        leftover: Vec<u8>,
    ) -> Self {
        let presence = Presence::new(&ident.client_meter, Arc::clone(&mailbox.card));
        ident.client_meter.received.add(leftover.len() as u64);
        let carry_ready = !leftover.is_empty();
        let since = Instant::now();
        let id = registered.id;
        let (server, own, carry, held) = (None, false, leftover, false);
        let note = thread.deadlines.note(&ident.times, &mailbox);
        Self {
            thread,
            ident,
            client,
            session,
            server,
            own,
            mailbox,
            id,
            _registered: registered,
            presence,
            pinned: Pinned::default(),
            carry,
            carry_ready,
            held,
            holding: false,
            alarm: None,
            since,
            wrote: None,
            buffered: 0,
            note,
            stirred: false,
            relinked: false,
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        self.mailbox.listen(cx);
        let thread = Rc::clone(&self.thread);
        let Ok(mut work) = thread.work.try_borrow_mut() else { return Poll::Ready(Event::Yield) };
        let turns = self.turns(&mut work, cx);
        self.leave_note(matches!(turns, Err(Event::Acquire(_) | Event::Turn | Event::Plan)));
        let turns = match turns {
            Ok(()) | Err(Event::Yield) => self.bound(cx).and(turns),
            ended => ended,
        };
        match turns {
            Ok(()) => Poll::Pending,
            Err(event) => Poll::Ready(event),
        }
    }

    fn turns(&mut self, work: &mut Work, cx: &mut Context<'_>) -> Result<(), Event> {
        // A side that had nothing is registered for a wake-up: asking it again in this poll is work for nothing.
        let (mut client_asked, mut server_asked) = (false, false);
        let mut idle = self.server.is_none();
        for _ in 0..READS_PER_TURN {
            if self.mailbox.has_mail() {
                self.open_mail(work)?;
            }
            let client_takes = self.client.drain(cx).map_err(|_| Event::Closed(Closed::Client))?;
            let server_takes = match &mut self.server {
                Some(server) => server.pipe.drain(cx).map_err(|e| self.server_lost(&e))?,
                None => true,
            };
            // What comes next must not be hit by a cancel that is on its way.
            let canceled = self.server.as_mut().is_none_or(|server| server.poll_canceled(cx).is_ready());
            let mut moved = false;
            if client_takes && self.server.is_some() && !server_asked {
                server_asked = !self.read_server(work, cx)?;
                moved |= !server_asked;
            }
            if server_takes && canceled && self.may_read_client() && (!client_asked || self.carry_ready) {
                client_asked = !self.read_client(work, cx)?;
                moved |= !client_asked;
                server_asked &= client_asked; // what was read may have brought another server
            }
            if !moved {
                return if idle { self.look_after_own() } else { Ok(()) };
            }
            idle = false;
        }
        Err(Event::Yield)
    }

    fn may_read_client(&self) -> bool {
        let owed = self.server.as_ref().map_or(0, |server| server.backend.owed());
        let repairing = self.server.as_ref().is_some_and(|server| server.backend.is_waited_for());
        !self.held && !self.holding && !repairing && owed < MAX_OWED && self.client.unsent() < SCRATCH
    }

    /// Reads from the server once and passes it on. `Ok(true)`: something moved.
    fn read_server(&mut self, work: &mut Work, cx: &mut Context<'_>) -> Turn {
        let Some(server) = self.server.as_deref_mut() else { return Ok(false) };
        let kept = server.carry.len();
        let Some(room) = work.scratch.get_mut(kept..) else {
            return Err(self.server_broke("oversized message"));
        };
        let mut buf = ReadBuf::new(room);
        match Pin::new(&mut server.pipe.stream).poll_read(cx, &mut buf) {
            Poll::Pending => return Ok(false),
            Poll::Ready(Err(e)) => return Err(self.server_lost(&e)),
            Poll::Ready(Ok(())) => {}
        }
        let read = buf.filled().len();
        if read == 0 {
            return Err(self.server_lost(&io::ErrorKind::UnexpectedEof.into()));
        }
        let input = {
            let (head, _) = work.scratch.split_at_mut(kept + read);
            head[..kept].copy_from_slice(&server.carry);
            server.carry.clear();
            &*head
        };
        let mut out = Outlet::new(input, &mut work.spill);
        let meter = self.ident.meter_of(server);
        let mut books = Books::new(&self.thread, &self.ident, meter, &mut self.since).of(&self.mailbox.card);
        let served = match server.backend.feed(&mut self.session, &mut books, &mut out) {
            Ok(served) => served,
            Err(desync) => return Err(self.server_broke(desync.0)),
        };
        if served.consumed < input.len() {
            server.carry.extend_from_slice(&input[served.consumed..]);
        } else if server.carry.capacity() > 0 {
            server.carry = Vec::new();
        }
        self.carry_ready |= server.backend.take_looked();
        self.ident.client_meter.sent.add(out.bytes().len() as u64);
        self.presence.pinned(self.pins());
        self.client.send(out.bytes(), cx).map_err(|_| Event::Closed(Closed::Client))?;
        self.go_on(cx)?;
        if served.idle {
            self.idle(work, cx)?;
        }
        Ok(true)
    }

    /// Why the client keeps its server.
    fn pins(&self) -> Effects {
        if self.own { Effects::REPLICATION } else { self.session.pins() }
    }

    /// The server owes nothing: what the client left on it is asked for, then it is given back.
    fn idle(&mut self, work: &mut Work, cx: &mut Context<'_>) -> Result<(), Event> {
        let Some(server) = self.server.as_deref_mut() else { return Ok(()) };
        if let Some(again) = server.backend.take_repair() {
            let (consumed, result) = self.feed(&again, work, cx);
            debug_assert!(consumed == again.len() || result.is_err(), "whole messages");
            return result;
        }
        server.worn |= self.session.wears();
        if self.session.is_unsettled() {
            let mut up = Outlet::new(&[], &mut work.spill);
            let meter = self.ident.meter_of(server);
            let mut books = Books::new(&self.thread, &self.ident, meter, &mut self.since);
            if self.session.settle(&mut server.backend, &mut up, &mut books) {
                return server.pipe.send(up.bytes(), cx).map_err(|e| self.server_lost(&e));
            }
        }
        if server.backend.take_wait() {
            self.carry_ready = true;
            return Ok(());
        }
        self.pinned.note(&self.ident.primary.node, self.session.holds());
        if !self.session.releases() {
            self.carry_ready |= std::mem::take(&mut self.held); // it will not come free
        } else if server.pipe.unsent() == 0 {
            self.release(cx);
        }
        Ok(())
    }

    /// Reads from the client once, or takes up what is left, and feeds the session.
    fn read_client(&mut self, work: &mut Work, cx: &mut Context<'_>) -> Turn {
        if std::mem::take(&mut self.carry_ready) {
            return self.feed_carry(work, cx);
        }
        let kept = self.carry.len();
        let large = kept > SCRATCH / 2;
        let mut scratch = std::mem::take(&mut work.scratch);
        let turn = match self.fill(if large { 0 } else { kept }, &mut scratch, cx) {
            Err(event) => Err(event),
            Ok(0) => Ok(false),
            Ok(read) if large => {
                self.carry.extend_from_slice(&scratch[..read]);
                self.feed_carry(work, cx)
            }
            Ok(read) => {
                scratch[..kept].copy_from_slice(&self.carry);
                let input = &scratch[..kept + read];
                let (consumed, result) = self.feed(input, work, cx);
                self.keep(&input[consumed..]);
                result.map(|()| true)
            }
        };
        work.scratch = scratch;
        turn
    }

    fn feed_carry(&mut self, work: &mut Work, cx: &mut Context<'_>) -> Turn {
        let mut input = std::mem::take(&mut self.carry);
        let (consumed, result) = self.feed(&input, work, cx);
        if consumed < input.len() {
            input.drain(..consumed);
            self.carry = input;
        }
        self.thread.shared.buffered.set(&mut self.buffered, self.carry.capacity());
        if self.thread.shared.buffered.is_over() {
            return Err(self.violation(&TOO_MUCH, cx));
        }
        result.map(|()| true)
    }

    /// Keeps what is not a whole message yet; gives the buffer back when there is nothing.
    fn keep(&mut self, rest: &[u8]) {
        if rest.is_empty() {
            if self.carry.capacity() > 0 {
                self.carry = Vec::new();
            }
        } else {
            self.carry.clear();
            self.carry.extend_from_slice(rest);
        }
    }

    /// Reads into `scratch` from `at`; 0: nothing there yet.
    fn fill(&mut self, at: usize, scratch: &mut [u8], cx: &mut Context<'_>) -> Result<usize, Event> {
        let mut buf = ReadBuf::new(&mut scratch[at..]);
        match Pin::new(&mut self.client.stream).poll_read(cx, &mut buf) {
            Poll::Pending => Ok(0),
            Poll::Ready(Ok(())) if !buf.filled().is_empty() => {
                let read = buf.filled().len();
                self.ident.client_meter.received.add(read as u64);
                Ok(read)
            }
            Poll::Ready(_) => Err(Event::Closed(Closed::Client)),
        }
    }
}

const TOO_MUCH: Fatal = Fatal {
    sqlstate: sqlstate::OUT_OF_MEMORY,
    message: "statements of all clients that wait to be judged exceed limits.max_buffered_bytes",
};

impl Drive {
    /// Feeds the session; says how much of `input` is dealt with.
    fn feed(&mut self, input: &[u8], work: &mut Work, cx: &mut Context<'_>) -> (usize, Result<(), Event>) {
        let thread = Rc::clone(&self.thread);
        let ident = Rc::clone(&self.ident);
        let mut from = 0;
        policies::follow(&thread, work);
        loop {
            let mut up = Outlet::new(input, &mut work.spill);
            self.begin(&mut up);
            let meter = self.server.as_ref().map_or(&ident.primary_meter, |server| ident.meter_of(server));
            let mut books = Books::new(&thread, &ident, meter, &mut self.since).of(&self.mailbox.card);
            let mut env = Env {
                guard: &mut work.guard,
                statements: &mut work.statements,
                ledger: &mut books,
                max_statement_bytes: thread.shared.max_statement_bytes,
                prepared_bytes: thread.shared.prepared_bytes,
                replicas: ident.may_route && work.routes,
                reuse_unnamed: ident.reuse_unnamed,
                refused_pins: thread.shared.refused_pins,
                may_pin: self.pinned.is_taken() || ident.primary.node.may_pin(),
                epoch: ident.schema.load(Ordering::Relaxed),
                plan: thread.shared.plan,
                who: Who { client: self.id, address: self.mailbox.card.peer.octets() },
            };
            let link = self.server.as_deref_mut().map(|server| &mut server.backend);
            let fed = self.session.feed(&mut env, from, link, &mut up, &mut work.down);
            self.presence.pinned(self.pins());
            if let Some(server) = &mut self.server
                && let Err(e) = server.pipe.send(up.bytes(), cx)
            {
                return (from, Err(self.server_lost(&e)));
            }
            if !work.down.is_empty() {
                ident.client_meter.sent.add(work.down.len() as u64);
                let sent = self.client.send(&work.down, cx);
                work.down.clear();
                if sent.is_err() {
                    return (from, Err(Event::Closed(Closed::Client)));
                }
            }
            let fed = match fed {
                Ok(fed) => fed,
                Err(fatal) => return (from, Err(self.violation(&fatal, cx))),
            };
            self.stirred |= fed.consumed > 0;
            match fed.step {
                Step::More | Step::Answer => return (fed.consumed, self.release_if_idle(work, cx)),
                Step::Bye => return (fed.consumed, Err(Event::Closed(Closed::Client))),
                Step::Wait | Step::Hold => {
                    (self.held, self.holding) = (fed.step == Step::Wait, fed.step == Step::Hold);
                    return (fed.consumed, self.release_if_idle(work, cx));
                }
                Step::Turn => return (fed.consumed, Err(Event::Turn)),
                Step::Plan => return (fed.consumed, Err(Event::Plan)),
                Step::Server(lane) => {
                    if let Err(event) = self.take_idle(lane, work) {
                        return (fed.consumed, Err(event));
                    }
                    from = fed.consumed;
                }
            }
        }
    }

    /// A request begins on a server that owes nothing: the clock runs, and the client's settings go ahead.
    fn begin(&mut self, up: &mut Outlet<'_>) {
        let Some(server) = self.server.as_mut().filter(|server| server.backend.quiet()) else { return };
        self.since = Instant::now();
        self.presence.requested(self.since);
        if !self.own {
            server.backend.align(self.session.settings(), up);
        }
    }

    /// Takes a server for this client.
    pub(super) fn link(&mut self, mut server: Box<Server>) {
        server.belong_to(self.id);
        self.presence.link(&server.card);
        self.server = Some(server);
        self.relinked = true;
    }

    /// What was fed may have been answered without the server: then it is free already.
    fn release_if_idle(&mut self, work: &mut Work, cx: &mut Context<'_>) -> Result<(), Event> {
        let idle =
            self.server.as_ref().is_some_and(|server| server.backend.idle() && server.pipe.unsent() == 0);
        if idle { self.idle(work, cx) } else { Ok(()) }
    }

    /// Gives the idle server back.
    fn release(&mut self, cx: &mut Context<'_>) {
        let Some(mut server) = self.server.take() else { return };
        if self.session.take_wrote() {
            self.wrote = Some(Instant::now());
        }
        server.watch(cx);
        self.presence.set(ClientState::Idle);
        if std::mem::take(&mut self.held) | std::mem::take(&mut self.holding) {
            self.carry_ready = true;
        }
        self.thread.give_back(server);
    }

    /// Queues something of our own for the client.
    pub(super) fn push(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let bytes = self.client.push(write);
        self.ident.client_meter.sent.add(bytes as u64);
    }
}
