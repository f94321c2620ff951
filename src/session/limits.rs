//! What a statement with limits needs before it runs, and what is watched while it does.
//!
//! Such a statement runs alone: nothing else of its client is under way on the server meanwhile. So a cancel can hit
//! nothing else, and a statement that turns out to be over its limit can still be failed in its place. Only its Sync
//! may follow at once, where nothing but the statement depends on it; then it costs no further round trip.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use super::Ledger;
use super::backend::Backend;
use super::client::{Env, Session, Step};
use super::expect::{Expect, Refusal};
use super::limit_words::refusal;
use super::names::Named;
use super::run::Run;
use super::turn::{Flow, Turn};
use crate::guard::{Concurrency, Judgement, Limits, Per, Rate};
use crate::wire::{reply, sqlstate};

/// Most portals of statements with limits that one client may have open.
const PORTALS_MAX: usize = 1000;

/// A place among those that count together: given back when it is dropped.
pub type Ticket = Box<dyn Any + Send>;

/// A count in which a statement needs a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Whose statements are counted together, from [`Ledger::key`].
    pub key: u64,
    /// The rule's number in the policies.
    pub rule: u32,
    pub count: Count,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    Rate(Rate),
    Concurrency(Concurrency),
}

/// Whether a statement may run now.
#[derive(Debug)]
pub enum Admission {
    Goes(Option<Ticket>),
    /// Others of its kind run: [`Session::awaited`] says what it waits for.
    Waits,
    /// By this one of the counts.
    Refused(usize),
}

/// A limit, as metrics and messages call it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Limit {
    Timeout,
    Rows,
    Bytes,
    Rate,
    Concurrency,
}

impl Limit {
    pub const NAMES: [&'static str; 5] = ["timeout", "rows", "bytes", "rate", "concurrency"];
}

/// Who asks, as far as counts may tell clients apart.
#[derive(Clone, Copy, Debug, Default)]
pub struct Who {
    pub client: u64,
    /// Of IPv6, or what stands for another in it.
    pub address: [u8; 16],
}

/// Of a session that ran a statement with limits.
#[derive(Debug, Default)]
pub(super) struct Limited {
    /// The message at hand, or the batch at hand, has its places, in these counts; it may have to wait for its server
    /// still.
    admitted: bool,
    asks: Vec<Ask>,
    ticket: Option<Ticket>,
    awaited: Vec<Ask>,
    /// It waited in vain.
    denied: Option<Denied>,
    portals: Vec<Portal>,
}

#[derive(Debug)]
enum Denied {
    Late { ask: Ask, waited: Duration },
    Other(Refusal),
}

/// A portal of a statement with limits: what its Executes sent counts together.
#[derive(Debug)]
struct Portal {
    name: Box<[u8]>,
    judgement: Arc<Judgement>,
    /// The batch it was bound in.
    batch: u64,
    rows: u64,
    bytes: u64,
    /// An Execute of it was sent.
    ran: bool,
}

/// The statement with limits that a server runs.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) judgement: Arc<Judgement>,
    pub(super) portal: Option<Box<[u8]>>,
    pub(super) rows: u64,
    pub(super) bytes: u64,
    /// It sent more than it may: nothing of it reaches the client any more.
    pub(super) over: Option<Limit>,
    /// The client was told so.
    pub(super) told: bool,
    /// It took too long.
    pub(super) late: bool,
    /// Its rows are CopyData in the binary format.
    pub(super) binary: bool,
    /// The Sync behind it may follow before it is answered.
    lets_sync: bool,
    /// Given back with the rest.
    _ticket: Option<Ticket>,
}

impl Watched {
    pub(super) fn limits(&self) -> Option<&Limits> {
        self.judgement.limits.as_deref()
    }

    /// What the client is told.
    pub(super) fn refusal(&self, limit: Limit, done: bool) -> Refusal {
        let mut refusal = refusal(&self.judgement, limit, Duration::ZERO, None);
        if done && !self.judgement.read_only {
            refusal.add_detail(
                " The statement had ended already: outside of a transaction what it wrote stays.",
            );
        }
        refusal
    }
}

fn name(judgement: &Judgement, rule: u32) -> &str {
    judgement.limits.as_ref().map_or("", |limits| limits.name(rule))
}

/// Nothing of this is for a statement without limits.
#[inline]
pub(super) fn is_bounded(judgement: &Judgement) -> bool {
    judgement.limits.is_some() || !judgement.set.is_empty()
}

/// Why a statement does not go on to the server now.
pub(super) enum Halt {
    Stop(Step),
    Refused(Refusal),
}

impl Session {
    /// Asks for all that the statement needs before it may be sent.
    pub(super) fn admit<L: Ledger>(
        &mut self,
        env: &mut Env<'_, L>,
        judgement: &Arc<Judgement>,
        t: &mut Turn<'_, '_>,
    ) -> Result<(), Halt> {
        if !is_bounded(judgement) {
            return Ok(());
        }
        let sets = !judgement.set.is_empty();
        let early = |link: &Backend| !link.is_clear() || (sets && !link.unsynced && !link.is_known());
        if t.link.as_deref().is_some_and(early) {
            return Err(Halt::Stop(hold(t)));
        }
        let asks = self.asks(env, judgement);
        let limited = self.limited.get_or_insert_default();
        if let Some(denied) = limited.denied.take() {
            let refusal = match denied {
                Denied::Other(refusal) => refusal,
                Denied::Late { ask, waited } => {
                    env.ledger.limited(ask.rule, name(judgement, ask.rule), Limit::Concurrency);
                    refusal(judgement, Limit::Concurrency, waited, Some(ask))
                }
            };
            return Err(Halt::Refused(refusal));
        }
        if asks.is_empty() || (limited.admitted && limited.asks == asks) {
            return Ok(());
        }
        // Places that were taken ahead for another statement are of no use to this one.
        (limited.admitted, limited.ticket) = (false, None);
        match env.ledger.admit(&asks) {
            Admission::Goes(ticket) => {
                (limited.admitted, limited.ticket, limited.asks) = (true, ticket, asks);
                Ok(())
            }
            Admission::Waits => {
                limited.asks.clone_from(&asks);
                limited.awaited = asks;
                Err(Halt::Stop(Step::Turn))
            }
            Admission::Refused(at) => {
                let Some(ask) = asks.get(at).copied() else { return Ok(()) };
                env.ledger.limited(ask.rule, name(judgement, ask.rule), Limit::Rate);
                let refusal = refusal(judgement, Limit::Rate, Duration::ZERO, Some(ask));
                Err(Halt::Refused(refusal))
            }
        }
    }

    fn asks<L: Ledger>(&self, env: &mut Env<'_, L>, judgement: &Judgement) -> Vec<Ask> {
        let Some(limits) = &judgement.limits else { return Vec::new() };
        let ask = |rule: u32, per: Per, count: Count| {
            let fingerprint = judgement.fingerprint.to_be_bytes();
            let client = env.who.client.to_be_bytes();
            let value: &[u8] = match per {
                Per::Rule => &[],
                Per::User => self.class.user.as_bytes(),
                Per::Database => self.class.database.as_bytes(),
                Per::Application => self.settings.get("application_name").unwrap_or_default().as_bytes(),
                Per::Client => &client,
                Per::Address => &env.who.address,
                Per::Fingerprint => &fingerprint,
            };
            Ask { key: env.ledger.key(limits.name(rule), per, value), rule, count }
        };
        let mut asks: Vec<Ask> =
            limits.rates.iter().map(|b| ask(b.rule, b.at.per, Count::Rate(b.at))).collect();
        asks.extend(limits.concurrency.iter().map(|b| ask(b.rule, b.at.per, Count::Concurrency(b.at))));
        // Two that wait for each other's places take them in the same order.
        asks.sort_by_key(|ask| (matches!(ask.count, Count::Concurrency(_)), ask.key));
        asks
    }

    /// What the statement that came last waits for, after [`Step::Turn`].
    #[must_use]
    pub fn awaited(&mut self) -> Vec<Ask> {
        self.limited.as_deref_mut().map(|limited| std::mem::take(&mut limited.awaited)).unwrap_or_default()
    }

    /// Its turn has come.
    pub fn take_turn(&mut self, ticket: Option<Ticket>) {
        let limited = self.limited.get_or_insert_default();
        (limited.admitted, limited.ticket) = (true, ticket);
    }

    /// Its turn did not come in time.
    pub fn miss_turn(&mut self, ask: Ask, waited: Duration) {
        self.limited.get_or_insert_default().denied = Some(Denied::Late { ask, waited });
    }

    /// It does not wait any more, for another reason.
    pub fn give_up_turn(&mut self, sqlstate: [u8; 5], message: String) {
        let refusal = Refusal::fixed(sqlstate, message, None);
        self.limited.get_or_insert_default().denied = Some(Denied::Other(refusal));
    }

    /// The message that had its places is refused after all.
    pub(super) fn forgo(&mut self) {
        if let Some(limited) = self.limited.as_deref_mut() {
            (limited.admitted, limited.ticket, limited.denied) = (false, None, None);
        }
    }

    /// The statement is on its way: it is watched from here on.
    pub(super) fn watch(&mut self, judgement: &Arc<Judgement>, portal: Option<&[u8]>, t: &mut Turn<'_, '_>) {
        if !is_bounded(judgement) {
            return;
        }
        let limited = self.limited.get_or_insert_default();
        limited.admitted = false;
        let ticket = limited.ticket.take();
        let Some(link) = t.link.as_deref_mut() else { return };
        let known = portal.and_then(|name| limited.portals.iter().find(|portal| *portal.name == *name));
        let (rows, bytes) = known.map_or((0, 0), |portal| (portal.rows, portal.bytes));
        let counts = judgement.limits.as_ref().is_some_and(|l| l.rows.is_some() || l.bytes.is_some());
        let lets_sync = !counts || link.status == b'T' || (judgement.read_only && !self.ran_in_batch);
        link.watches += 1;
        link.excess = false; // of one before, that ended with what was too much
        link.watched = Some(Box::new(Watched {
            judgement: Arc::clone(judgement),
            portal: portal.map(Box::from),
            rows,
            bytes,
            over: None,
            told: false,
            late: false,
            binary: false,
            lets_sync,
            _ticket: ticket,
        }));
    }

    /// A message behind a statement that runs alone: where it must wait, it does.
    pub(super) fn behind(&mut self, t: &mut Turn<'_, '_>) -> Option<Flow> {
        let link = t.link.as_deref_mut()?;
        let starts = matches!(t.header.tag, b'Q' | b'P' | b'B' | b'D' | b'C' | b'E' | b'F');
        if let Some(watched) = &link.watched {
            let passes = match t.header.tag {
                b'S' => watched.lets_sync && link.unsynced,
                tag => !starts || tag == b'X',
            };
            return (!passes && !link.copy_in).then(|| Flow::Stop(hold(t)));
        }
        if starts && !link.unsynced && !link.error_skip && (link.imposed.is_some() || self.postponed) {
            if !link.owes_only_us() {
                return Some(Flow::Stop(hold(t)));
            }
            self.depose(t);
            self.tidy_up(t);
        }
        None
    }

    /// Before a batch whose statement has settings put in force: what is under way must be over, and is waited for.
    pub(super) fn must_be_quiet(&mut self, judgement: &Judgement, t: &mut Turn<'_, '_>) -> Option<Flow> {
        let link = t.link.as_ref()?;
        let quiet = judgement.set.is_empty() || link.unsynced || link.is_known();
        (!quiet).then(|| Flow::Stop(hold(t)))
    }

    /// Behind a batch: what our own preparations for it have left. Behind one that runs alone, later.
    pub(super) fn tidy_up(&mut self, t: &mut Turn<'_, '_>) {
        let Some(link) = t.link.as_deref_mut() else { return };
        self.postponed = link.watched.is_some();
        if !self.postponed {
            let names = self.names.as_deref();
            link.dematerialise(|name| names.is_some_and(|names| names.known.contains_key(name)), t.up);
            self.restore(t.link.as_deref_mut(), t.up);
        }
    }

    /// A portal is bound to this statement.
    pub(super) fn bind_portal(
        &mut self,
        name: &[u8],
        judgement: &Arc<Judgement>,
        batch: u64,
    ) -> Option<Refusal> {
        let bounded = is_bounded(judgement);
        if self.limited.is_none() && !bounded {
            return None;
        }
        let portals = &mut self.limited.get_or_insert_default().portals;
        portals.retain(|portal| *portal.name != *name);
        if bounded && portals.len() >= PORTALS_MAX {
            let message = "too many open portals of statements with limits".to_owned();
            return Some(Refusal::fixed(sqlstate::PROGRAM_LIMIT_EXCEEDED, message, None));
        }
        if bounded {
            let judgement = Arc::clone(judgement);
            portals.push(Portal { name: name.into(), judgement, batch, rows: 0, bytes: 0, ran: false });
        }
        None
    }

    /// At a Bind: what a statement with limits, settings or another text needs.
    pub(super) fn prepare_run<L: Ledger>(
        &mut self,
        env: &mut Env<'_, L>,
        named: &mut Named,
        portal: &[u8],
        t: &mut Turn<'_, '_>,
    ) -> Option<Flow> {
        if is_bounded(&named.judgement) || named.judgement.rewrite.is_some() || named.own.is_some() {
            if let Some(stop) = self.must_be_quiet(&named.judgement, t) {
                return Some(stop);
            }
            self.impose(&named.judgement, t);
            self.reword(env, named, t);
        }
        let batch = t.link.as_ref().map_or(0, |link| link.batch());
        let refusal = self.bind_portal(portal, &named.judgement, batch)?;
        self.refuse(refusal, t);
        Some(Flow::Done)
    }

    /// What an Execute of this portal runs.
    pub(super) fn bound_to(&self, portal: &[u8]) -> Option<Run> {
        let portals = self.limited.as_ref().map_or(&[][..], |limited| &limited.portals);
        match portals.iter().find(|known| *known.name == *portal) {
            Some(known) => {
                let last = self.bound.clone().filter(|run| Arc::ptr_eq(run, &known.judgement));
                let mut run = last.unwrap_or_else(|| Run::from(Arc::clone(&known.judgement)));
                run.continued = known.ran;
                Some(run)
            }
            None => self.bound.clone().filter(|run| portals.is_empty() || !is_bounded(run)),
        }
    }

    /// A further Execute of this portal goes on with what it has begun.
    pub(super) fn note_continued(&mut self, portal: &[u8]) {
        if let Some(run) = &mut self.bound {
            run.continued = true;
        }
        if let Some(limited) = self.limited.as_deref_mut()
            && let Some(known) = limited.portals.iter_mut().find(|known| *known.name == *portal)
        {
            known.ran = true;
        }
    }

    /// So much of a portal was sent; there may be more.
    pub(super) fn suspended(&mut self, watched: &Watched) {
        let Some(limited) = self.limited.as_deref_mut() else { return };
        let Some(name) = &watched.portal else { return };
        if let Some(portal) = limited.portals.iter_mut().find(|portal| portal.name == *name) {
            (portal.rows, portal.bytes) = (watched.rows, watched.bytes);
        }
    }

    /// A transaction is over, and its portals with it: those bound before this batch.
    pub(super) fn close_portals(&mut self, batch: u64) {
        if let Some(limited) = self.limited.as_deref_mut() {
            limited.portals.retain(|portal| portal.batch >= batch);
        }
    }
}

/// The message waits until the server has answered what is under way, and it is made to answer.
pub(super) fn hold(t: &mut Turn<'_, '_>) -> Step {
    if let Some(link) = t.link.as_deref_mut() {
        if link.unsynced {
            t.up.add(|v| reply::message(v, b'H', |_| ()));
        }
        link.held_at = link.queue.len();
    }
    Step::Hold
}

impl Backend {
    /// No statement of the client's is under way, up to its ReadyForQuery.
    pub(super) fn is_clear(&self) -> bool {
        let statement = |e: &Expect| matches!(e, Expect::Execute(_)) || e.ends_ready() && !e.is_ours();
        self.watched.is_none() && !self.queue.iter().any(statement)
    }

    /// The client waits for no answer of the server's.
    pub(super) fn owes_only_us(&self) -> bool {
        self.rest == 0 && self.queue.iter().all(|e| e.is_ours() || e.is_local())
    }

    /// The same, and its settings are not in question.
    fn is_known(&self) -> bool {
        self.owes_only_us() && !self.queue.iter().any(|e| matches!(e, Expect::Probe(_)))
    }

    /// What was held may be tried again.
    #[must_use]
    pub fn may_go_on(&self) -> bool {
        match self.watched {
            // What the planner thinks of it is not known before all of its answer is there.
            _ if self.queue.iter().any(|e| matches!(e, Expect::Plan(_))) => false,
            Some(_) => self.copy_in,
            None => self.queue.len() != self.held_at || self.owes_only_us(),
        }
    }
}
