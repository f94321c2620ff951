//! What the client sends, message by message.

use std::sync::Arc;

use super::Ledger;
use super::align::ParamSet;
use super::backend::Backend;
use super::columns::ToldColumns;
use super::encoding::Wide;
use super::expect::{Expect, Refusal};
use super::history::History;
use super::limits::{Halt, Limited, Who, is_bounded};
use super::materialise::renames;
use super::names::{Named, Names};
use super::outlet::Outlet;
use super::pins::Restores;
use super::planning::{Form, PlanTerms};
use super::probe::Touched;
use super::repair::Batch;
use super::rewrite::sent;
use super::sql_names::SqlNames;
use super::statement::Interner;
use super::turn::{Flow, Turn};
use crate::guard::plan::PlanKey;
use crate::guard::{Class, Effects, Guard, Judgement, Lane};
use crate::wire::frame::{self, HEADER};
use crate::wire::{frontend, reply, sqlstate};

/// When a server goes back to the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// When the client leaves.
    Session,
    /// At the end of each transaction.
    Transaction,
    /// The same, and transactions of several statements are refused.
    Statement,
}

/// What a session borrows for one feed.
pub struct Env<'a, L: Ledger> {
    pub guard: &'a mut Guard,
    pub statements: &'a mut Interner,
    pub ledger: &'a mut L,
    /// Texts above this are not stored: they are judged as unparsed and streamed.
    pub max_statement_bytes: usize,
    /// Prepared statements of one client, text and name together.
    pub prepared_bytes: usize,
    /// Others than the primary may be asked: otherwise every lane is the primary.
    pub replicas: bool,
    /// Unnamed statements may be prepared under a name of ours.
    pub reuse_unnamed: bool,
    /// Kinds of session state that may not hold a server.
    pub refused_pins: Effects,
    /// There is room for one more client that holds a server for its state.
    pub may_pin: bool,
    /// Counts changes of the schema that passed through us.
    pub epoch: u64,
    pub plan: PlanTerms,
    pub who: Who,
}

/// What the session wants next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// More bytes: what is left of the input is not a whole message.
    More,
    /// A server of this lane, then the same bytes again from `consumed`.
    Server(Lane),
    /// The present server to come free, or to be kept for its state, then the same bytes again from `consumed`.
    Wait,
    /// The server to answer what is under way, then the same bytes again from `consumed`.
    Hold,
    /// A place among the statements that count together ([`Session::awaited`]), then the same bytes again.
    Turn,
    /// What another client's question to the planner brings ([`Session::awaited_plan`]), then the same bytes again.
    Plan,
    /// An answer of the present server to us, then the same bytes again from `consumed`.
    Answer,
    /// The client said goodbye.
    Bye,
}

/// How far [`Session::feed`] came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fed {
    pub consumed: usize,
    pub step: Step,
}

/// The client broke the protocol: it gets this as FATAL, and the connection closes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fatal {
    pub sqlstate: [u8; 5],
    pub message: &'static str,
}

pub(super) const MALFORMED: Fatal =
    Fatal { sqlstate: sqlstate::PROTOCOL_VIOLATION, message: "invalid message format" };

/// One client.
#[derive(Debug)]
pub struct Session {
    pub(super) class: Arc<Class>,
    pub(super) wide: Option<Wide>,
    /// What the client started with: where `RESET` leads.
    pub(super) startup: Arc<ParamSet>,
    /// The settings as they are now, as far as they are known: what its server is given.
    pub(super) settings: Arc<ParamSet>,
    pub(super) mode: Mode,
    /// The rest of a message whose head is dealt with: it goes to the server or nowhere.
    pub(super) rest: usize,
    pub(super) rest_passes: bool,
    /// A message was refused: everything up to Sync is dropped.
    pub(super) skipping: bool,
    pub(super) names: Option<Box<Names>>,
    /// Those of SQL `PREPARE`.
    pub(super) sql: Option<Box<SqlNames>>,
    pub(super) unnamed: Option<Named>,
    /// The unnamed statement was too large to keep: only the server has it.
    pub(super) unnamed_streamed: bool,
    /// The server's queue may have an entry of what the unnamed statement was.
    pub(super) unnamed_recorded: bool,
    /// What the last Bind bound: Execute is accounted to it.
    pub(super) bound: Option<super::run::Run>,
    pub(super) bound_told: Option<ToldColumns>,
    /// A judgement passed while there was no server yet, and the guard's generation then.
    pub(super) judged: Option<(u32, Arc<Judgement>)>,
    /// No server is to be had for the message that waits: it is refused with this.
    pub(super) declined: Option<Box<Refusal>>,
    /// State on its server that the client must not lose.
    pub(super) held: Effects,
    /// What may have been left since the server was asked last.
    pub(super) suspect: Effects,
    /// What the server is being asked for: the answer may be out of date when it comes.
    pub(super) asked: Effects,
    /// It is being asked.
    pub(super) asking: bool,
    pub(super) touched: Option<Box<Touched>>,
    /// Something that others may read was or may have been written since the server came.
    pub(super) wrote: bool,
    /// Its server will never be as new again.
    pub(super) wears: bool,
    pub(super) restores: Restores,
    /// In this transaction a text may not mean what it meant before.
    pub(super) in_flux: bool,
    /// It changes the schema for others, too.
    pub(super) schema_changes: bool,
    pub(super) batch: Batch,
    pub(super) refused_pins: Effects,
    pub(super) may_pin: bool,
    /// The one text that we could not read is not answered yet: if the server can't parse it either, it leaves nothing.
    pub(super) fresh: bool,
    pub(super) limited: Option<Box<Limited>>,
    /// A statement of this batch has run.
    pub(super) ran_in_batch: bool,
    /// What belongs behind a statement that ran alone is still to be sent.
    pub(super) postponed: bool,
    /// Kept only where a policy asks for it.
    pub(super) history: Option<Box<History>>,
    /// The message at hand waited for this plan.
    pub(super) plan_asked: Option<PlanKey>,
    /// Another client asks for it; whether it has been waited for long enough.
    pub(super) plan_awaited: Option<(PlanKey, bool)>,
    /// The server came for a plan alone; by what it says the statement may belong elsewhere.
    pub(super) came_for_plan: bool,
}

impl Session {
    #[must_use]
    pub fn new(mode: Mode, class: Arc<Class>, startup: Arc<ParamSet>) -> Self {
        Self {
            class,
            wide: None,
            settings: Arc::clone(&startup),
            startup,
            mode,
            rest: 0,
            rest_passes: false,
            skipping: false,
            names: None,
            sql: None,
            unnamed: None,
            unnamed_streamed: false,
            unnamed_recorded: false,
            bound: None,
            bound_told: None,
            judged: None,
            declined: None,
            held: Effects::NONE,
            suspect: Effects::NONE,
            asked: Effects::NONE,
            asking: false,
            touched: None,
            wrote: false,
            wears: false,
            restores: Restores::default(),
            in_flux: false,
            schema_changes: false,
            batch: Batch::No,
            refused_pins: Effects::NONE,
            may_pin: true,
            fresh: false,
            limited: None,
            ran_in_batch: false,
            postponed: false,
            history: None,
            plan_asked: None,
            plan_awaited: None,
            came_for_plan: false,
        }
    }

    /// The server may go back as soon as it is idle.
    #[must_use]
    pub fn releases(&self) -> bool {
        self.mode != Mode::Session && !self.is_dirty() && !(self.rest > 0 && self.rest_passes)
    }

    /// The client's settings.
    #[must_use]
    pub fn settings(&self) -> &Arc<ParamSet> {
        &self.settings
    }

    #[must_use]
    pub fn class(&self) -> &Arc<Class> {
        &self.class
    }

    /// Reads the client's bytes (`up.input()` from `from`). With a server (`link`), what it is to get goes to
    /// `up`; what the client is to get at once goes to `down`.
    ///
    /// # Errors
    /// [`Fatal`] when the client broke the protocol.
    pub fn feed<L: Ledger>(
        &mut self,
        env: &mut Env<'_, L>,
        from: usize,
        mut link: Option<&mut Backend>,
        up: &mut Outlet<'_>,
        down: &mut Vec<u8>,
    ) -> Result<Fed, Fatal> {
        let input = up.input();
        let mut at = from;
        self.batch = Batch::No;
        self.refused_pins = env.refused_pins;
        self.may_pin = env.may_pin;
        if let Some(link) = link.as_deref_mut() {
            link.epoch = env.epoch;
        }
        while at < input.len() {
            if self.rest > 0 {
                let n = self.rest.min(input.len() - at);
                if self.rest_passes {
                    up.pass(at..at + n);
                }
                self.rest -= n;
                at += n;
                continue;
            }
            let left = input.get(at..).unwrap_or_default();
            let Some(h) = frame::peek(left, frame::client_limit).map_err(|_| BAD_LENGTH)? else { break };
            let mut turn =
                Turn { at, header: h, left, link: link.as_deref_mut(), up: &mut *up, down: &mut *down };
            if turn.link.is_some() {
                self.follow(&mut turn);
            }
            match self.message(env, &mut turn)? {
                Flow::Done => at += h.total.min(left.len()),
                Flow::Short => break,
                Flow::Stop(step) => return Ok(Fed { consumed: at, step }),
            }
        }
        if let Some(link) = link.filter(|link| link.owes_only_locals()) {
            link.answer_locals(self, down);
        }
        Ok(Fed { consumed: at, step: Step::More })
    }

    fn message<L: Ledger>(&mut self, env: &mut Env<'_, L>, t: &mut Turn<'_, '_>) -> Result<Flow, Fatal> {
        let alone = |link: &Backend| link.watched.is_some() || link.imposed.is_some();
        if (self.postponed || t.link.as_deref().is_some_and(alone))
            && let Some(flow) = self.behind(t)
        {
            return Ok(flow);
        }
        let deaf = self.skipping || t.link.as_ref().is_some_and(|l| l.error_skip);
        if !deaf && self.brings_sql_names(env, t) {
            return Ok(Flow::Stop(Step::Answer));
        }
        match t.header.tag {
            b'X' => Ok(Flow::Stop(Step::Bye)),
            b'd' | b'c' | b'f' => Ok(self.copy_data(t)),
            b'S' => self.sync(t),
            b'Q' | b'P' | b'B' | b'D' | b'E' | b'C' | b'H' | b'F' if deaf => {
                self.stream(t, false);
                Ok(Flow::Done)
            }
            b'Q' => self.query(env, t),
            b'F' => self.function_call(env, t),
            b'P' => self.parse(env, t),
            b'B' => self.bind(env, t),
            b'D' | b'C' => self.describe_or_close(env, t),
            b'E' => self.execute(env, t),
            b'H' => {
                if t.header.total != HEADER {
                    return Err(MALFORMED);
                }
                if t.link.is_some() {
                    t.pass();
                }
                Ok(Flow::Done)
            }
            _ => Err(Fatal {
                sqlstate: sqlstate::PROTOCOL_VIOLATION,
                message: "invalid frontend message type",
            }),
        }
    }

    /// Passes (or drops) the message, also what of it has not come yet.
    pub(super) fn stream(&mut self, t: &mut Turn<'_, '_>, passes: bool) {
        let here = t.header.total.min(t.left.len());
        if passes {
            t.up.pass(t.at..t.at + here);
        }
        self.rest = t.header.total - here;
        self.rest_passes = passes;
    }

    fn query<L: Ledger>(&mut self, env: &mut Env<'_, L>, t: &mut Turn<'_, '_>) -> Result<Flow, Fatal> {
        let oversized = t.header.total > env.max_statement_bytes.saturating_add(HEADER + 1);
        if !oversized && !t.whole() {
            return Ok(Flow::Short);
        }
        let judgement = match self.judged_before(env.guard.generation()) {
            Some(judgement) => judgement,
            None if oversized => env.guard.judge_oversized(&self.class),
            None => {
                let text = frontend::query(t.body()).ok_or(MALFORMED)?;
                let judgement = self.judge(env, text);
                match self.weigh(env, &judgement, Form::Query { text }, t) {
                    Ok((judgement, plan)) => self.settled(env, judgement, text, Some(&[]), plan.as_deref()),
                    Err(stop) => return Ok(stop),
                }
            }
        };
        let mut refusal = self.refusal(&judgement);
        if refusal.is_none() && is_bounded(&judgement) {
            match self.admit(env, &judgement, t) {
                Ok(()) => {}
                Err(Halt::Refused(refused)) => refusal = Some(refused),
                Err(Halt::Stop(step)) => {
                    self.judged = Some((env.guard.generation(), judgement));
                    return Ok(Flow::Stop(step));
                }
            }
        }
        let Some(link) = t.link.as_deref_mut() else {
            refusal = refusal.or_else(|| self.take_declined());
            // An empty query, too: it is how a client asks whether its server is there.
            if refusal.is_none() {
                let lane = env.lane(&judgement);
                self.judged = Some((env.guard.generation(), judgement));
                return Ok(Flow::Stop(Step::Server(lane)));
            }
            env.ledger.judged(&judgement);
            if let Some(refusal) = refusal {
                self.query_refused(env, &judgement, &refusal, t);
                refusal.encode(t.down);
            }
            reply::ready_for_query(t.down, b'I');
            self.set_unnamed(None, t);
            self.stream(t, false);
            return Ok(Flow::Done);
        };
        let came_for_plan = std::mem::take(&mut self.came_for_plan) && link.fresh();
        if link.lane != env.lane(&judgement) && (came_for_plan || self.leaves(link)) {
            self.judged = Some((env.guard.generation(), judgement));
            return Ok(Flow::Stop(Step::Wait));
        }
        env.ledger.judged(&judgement);
        if let Some(refusal) = refusal {
            self.query_refused(env, &judgement, &refusal, t);
            if t.link.as_deref().is_some_and(Backend::idle) {
                refusal.encode(t.down);
                reply::ready_for_query(t.down, b'I');
            } else {
                self.poison(refusal, t);
            }
            self.stream(t, false);
            return Ok(Flow::Done);
        }
        self.run_query(env, &judgement, t);
        Ok(Flow::Done)
    }

    /// A simple query that is judged and has all it needs.
    fn run_query<L: Ledger>(
        &mut self,
        env: &mut Env<'_, L>,
        judgement: &Arc<Judgement>,
        t: &mut Turn<'_, '_>,
    ) {
        self.notices(judgement, t);
        let text = frontend::query(t.body()).unwrap_or_default();
        let run = env.ledger.wants().plain(judgement, text, env.guard.policies());
        self.note_run(env, judgement, text, text);
        self.will_run(env.ledger, judgement, sent(judgement, text), t);
        self.impose(judgement, t);
        self.materialise(judgement, t);
        self.set_unnamed(None, t);
        self.send_query(judgement, t);
        self.ran_in_batch = false;
        if let Some(link) = t.link.as_deref_mut() {
            let discards = judgement.effects.has(Effects::DISCARD_ALL) && link.fresh();
            link.unsynced = false;
            link.drop_unnamed();
            link.expect_end(Expect::Query(run));
            // Drivers send it in one go with the next client's first statement.
            if discards {
                self.deallocated();
                if self.rest == 0 {
                    link.realign(&self.startup, t.up);
                }
            }
        }
        self.deallocates(judgement, t);
        self.watch(judgement, None, t);
        if renames(judgement) {
            self.postponed = true;
        } else if self.rest == 0 {
            self.tidy_up(t);
        }
    }

    fn sync(&mut self, t: &mut Turn<'_, '_>) -> Result<Flow, Fatal> {
        if t.header.total != HEADER {
            return Err(MALFORMED);
        }
        self.forgo();
        let skipped = std::mem::take(&mut self.skipping);
        match t.link.as_deref_mut() {
            None => reply::ready_for_query(t.down, b'I'),
            Some(link) if skipped && link.quiet() => reply::ready_for_query(t.down, link.status),
            Some(link) => {
                // A server in COPY FROM STDIN does not answer Sync; it is passed on all the same.
                if !link.copy_in {
                    link.expect_end(Expect::Sync);
                    link.unsynced = false;
                    link.error_skip = false;
                }
                t.pass();
                self.ran_in_batch = false;
                self.tidy_up(t);
            }
        }
        Ok(Flow::Done)
    }
}

const BAD_LENGTH: Fatal = Fatal { sqlstate: sqlstate::PROTOCOL_VIOLATION, message: "invalid message length" };
