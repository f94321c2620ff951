//! The planner is asked what it thinks of a statement, on the server that is about to run it.
//!
//! Where a rule reads the plan and nobody knows it yet, an `EXPLAIN` goes ahead of the statement, on the client's own
//! server, with the client's own parameters, role, settings and temporary tables; the statement waits for the answer.
//! The client hears nothing of it. A deadline (`statement_timeout`, `lock_timeout`) holds for it alone: outside of a
//! transaction it is local to the EXPLAIN's own, inside one to a savepoint that is rolled back behind it, so that what
//! goes wrong there goes wrong for nobody.
//!
//! Only what stands alone is asked for: behind messages that are not answered yet the server would plan in a state
//! that may still change, and a failure would fail them. Such a statement goes on without a plan.
//!
//! Where nobody is to wait (`plan.mode = "background"`, or a rule's own `plan`), the question is handed to the ledger
//! instead, with all that it needs elsewhere ([`PlanQuestion`]), and the statement goes on with what is known.

use std::sync::Arc;

use super::Ledger;
use super::align::ParamSet;
use super::backend::Backend;
use super::client::{Env, Session, Step};
use super::expect::Expect;
use super::names::Named;
use super::turn::{Flow, Turn};
use crate::guard::plan::{Plan, PlanKey, Planned};
use crate::guard::{Effects, Judgement, Live, settle_by_plan};
use crate::wire::frame::{self, HEADER};
use crate::wire::frontend;
use crate::wire::{backend as view, reply};

/// A larger question is asked where the statement runs, or not at all.
const QUESTION_MAX: usize = 1 << 18;
/// A plan's text beyond this is not read.
const ANSWER_MAX: usize = 1 << 20;
const EXPLAIN: &[u8] = b"EXPLAIN (FORMAT JSON) ";
const SAVEPOINT: &[u8] = b"SAVEPOINT pgsluice_plan";
const ROLLBACK: &[u8] = b"ROLLBACK TO SAVEPOINT pgsluice_plan; RELEASE SAVEPOINT pgsluice_plan";

/// When the planner is asked, and for how long.
#[derive(Clone, Copy, Debug, Default)]
pub struct PlanTerms {
    /// Only about statements with a table of so many rows, or of unknown size; `None`: never.
    pub rows: Option<u64>,
    pub deadline_ms: u64,
    /// Beside the statement, where a rule does not say that it waits.
    pub background: bool,
}

/// A question that can be asked elsewhere than on the client's own server.
#[derive(Clone, Debug)]
pub struct PlanQuestion {
    /// Of the statement, before anything was known of the run.
    pub judgement: Arc<Judgement>,
    /// The client's.
    pub settings: Arc<ParamSet>,
    /// Messages from Parse to Sync that are answered with `EXPLAIN (FORMAT JSON)` in one row. Empty if they would be
    /// too large.
    pub messages: Box<[u8]>,
}

/// What is known of a statement before its run: the verdict as far as the plan decides it, and the plan.
pub(super) type Weighed = (Arc<Judgement>, Option<Arc<Plan>>);

/// A question under way.
#[derive(Debug)]
pub(super) struct PlanAsked {
    pub(super) key: PlanKey,
    pub(super) question: PlanQuestion,
    answer: PlanAnswer,
    failed: bool,
}

/// What the server said.
#[derive(Clone, Debug, Default)]
pub struct PlanAnswer {
    /// `EXPLAIN (FORMAT JSON)`.
    pub json: Vec<u8>,
    /// In bytes; 0 if it was not told.
    pub work_mem: u64,
    /// `hash_mem_multiplier` in hundredths.
    pub hash_mem_percent: u64,
}

impl PlanAnswer {
    /// Takes a row of the answer; `None`: it is none.
    pub fn row(&mut self, body: &[u8]) -> Option<()> {
        let columns: Vec<Option<&[u8]>> = view::data_row(body)?.collect();
        match columns.as_slice() {
            [Some(json)] if json.len() <= ANSWER_MAX => self.json = json.to_vec(),
            [_, _, work_mem, percent] => {
                let number = |value: &Option<&[u8]>| {
                    value.and_then(|v| std::str::from_utf8(v).ok()).and_then(|v| v.parse::<f64>().ok())
                };
                self.work_mem = number(work_mem).unwrap_or(0.0) as u64;
                self.hash_mem_percent = (number(percent).unwrap_or(1.0) * 100.0) as u64;
            }
            _ => return None,
        }
        Some(())
    }
}

/// How the statement comes.
#[derive(Clone, Copy)]
pub(super) enum Form<'a> {
    Query {
        text: &'a [u8],
    },
    /// A Parse's text and types, a Bind's formats and values.
    Bound {
        tail: &'a [u8],
        parameters: &'a [u8],
    },
}

impl PlanAsked {
    pub(super) fn row(&mut self, body: &[u8]) {
        if self.answer.row(body).is_none() {
            self.fail();
        }
    }

    pub(super) fn fail(&mut self) {
        self.failed = true;
    }

    /// The answer, if there is one.
    pub(super) fn answer(&self) -> Option<&PlanAnswer> {
        Some(&self.answer).filter(|answer| !self.failed && !answer.json.is_empty())
    }
}

impl Session {
    /// What the plan decides of a statement that is about to run, where a rule reads it; `Err`: it is being asked for.
    pub(super) fn weigh<L: Ledger>(
        &mut self,
        env: &mut Env<'_, L>,
        judgement: &Arc<Judgement>,
        form: Form<'_>,
        t: &mut Turn<'_, '_>,
    ) -> Result<Weighed, Flow> {
        let Some(live) = judgement.live.as_ref().filter(|live| live.reads_plan()) else {
            return Ok((Arc::clone(judgement), None));
        };
        let unknown = || (settle_by_plan(judgement, None), None);
        if !live.wants_plan(env.plan.rows) {
            return Ok(unknown());
        }
        let key = self.plan_key(env, live, judgement, form);
        let waits = live.waits_for_plan(env.plan.background);
        // The schema may have changed since it asked: it asks once all the same, and goes by that answer.
        let asked = self.plan_asked.take().filter(|asked| PlanKey { epoch: key.epoch, ..*asked } == key);
        let key = asked.unwrap_or(key);
        match env.ledger.plan(&key, judgement) {
            Planned::Known { plan, settled, old } if !old || !waits => {
                if old {
                    self.ask_aside(env, key, judgement, form);
                }
                let settled = settled.unwrap_or_else(|| {
                    let settled = settle_by_plan(judgement, Some(&plan));
                    env.ledger.weighed(&key, judgement, &settled);
                    settled
                });
                return Ok((settled, Some(plan)));
            }
            Planned::Unknown => return Ok(unknown()),
            Planned::Asked if !waits => return Ok(unknown()),
            Planned::Asked if asked.is_none() && self.waits_for_another(key, t) => {
                return Err(Flow::Stop(Step::Plan));
            }
            _ if !waits => {
                self.ask_aside(env, key, judgement, form);
                return Ok(unknown());
            }
            _ if asked.is_some() => return Ok(unknown()),
            _ => {}
        }
        let Some(link) = t.link.as_deref_mut() else {
            self.came_for_plan = matches!(form, Form::Query { .. });
            return Err(Flow::Stop(Step::Server(env.lane(judgement))));
        };
        if link.unsynced || link.status == b'E' || link.error_skip || link.copy_in {
            return Ok(unknown());
        }
        if !link.owes_only_us() || link.watched.is_some() {
            return Err(Flow::Stop(super::limits::hold(t)));
        }
        env.ledger.planning(&key, true);
        self.plan_asked = Some(key);
        let question = question(judgement, &self.settings, form);
        ask(link, (key, question), form, env.plan.deadline_ms, t.up);
        Err(Flow::Stop(super::limits::hold(t)))
    }

    /// Whether the plan should come by another client's question. If that takes too long, this one asks, too.
    fn waits_for_another(&mut self, key: PlanKey, t: &Turn<'_, '_>) -> bool {
        let patient = self.plan_awaited.take() != Some((key, true));
        // What was sent ahead in the same batch goes on with it.
        let alone = t.link.as_deref().is_none_or(|link| link.owes_only_us() && !link.unsynced);
        if patient && alone {
            self.plan_awaited = Some((key, false));
        }
        patient && alone
    }

    /// The plan that another client asks for.
    #[must_use]
    pub fn awaited_plan(&self) -> Option<PlanKey> {
        self.plan_awaited.map(|(key, _)| key)
    }

    /// It took too long.
    pub fn miss_plan(&mut self) {
        self.plan_awaited = self.plan_awaited.map(|(key, _)| (key, true));
    }

    /// The question is somebody else's, and the statement goes on. Who has temporary tables may mean one of them, which
    /// nobody else sees.
    fn ask_aside<L: Ledger>(
        &mut self,
        env: &mut Env<'_, L>,
        key: PlanKey,
        judgement: &Arc<Judgement>,
        form: Form<'_>,
    ) {
        if self.may_have_temp_tables() {
            return;
        }
        env.ledger.planning(&key, false);
        let question = question(judgement, &self.settings, form);
        if !question.messages.is_empty() {
            env.ledger.plan_aside(&key, question);
        }
    }

    /// At a Parse: if its Bind has come with it, the plan is asked for now, while nothing is under way.
    pub(super) fn plan_ahead<L: Ledger>(
        &mut self,
        env: &mut Env<'_, L>,
        judgement: &Arc<Judgement>,
        tail: &[u8],
        t: &mut Turn<'_, '_>,
    ) -> Option<Flow> {
        let waits =
            |live: &&Arc<Live>| live.wants_plan(env.plan.rows) && live.waits_for_plan(env.plan.background);
        judgement.live.as_ref().filter(waits)?;
        let behind = t.left.get(t.header.total..)?;
        let next = frame::peek(behind, frame::client_limit).ok()??;
        let body = behind.get(HEADER..next.total).filter(|_| next.tag == b'B')?;
        let parameters = frontend::bind_parameters(frontend::bind(body)?.rest)?;
        let asked = self.plan_asked;
        let flow = self.weigh(env, judgement, Form::Bound { tail, parameters }, t).err();
        if flow.is_none() {
            self.plan_asked = asked; // its Bind comes next, and goes by the same answer
        }
        flow
    }

    /// At a Bind, of the statement behind the name.
    pub(super) fn weigh_at_bind<L: Ledger>(
        &mut self,
        env: &mut Env<'_, L>,
        named: &Named,
        rest: &[u8],
        t: &mut Turn<'_, '_>,
    ) -> Result<Weighed, Flow> {
        match frontend::bind_parameters(rest).filter(|_| t.whole()) {
            Some(parameters) => {
                let form = Form::Bound { tail: &named.statement.tail, parameters };
                self.weigh(env, &named.judgement, form, t)
            }
            None => Ok((settle_by_plan(&named.judgement, None), None)),
        }
    }

    /// It has some, or nobody knows yet that it has none.
    fn may_have_temp_tables(&self) -> bool {
        self.held.and(self.suspect).and(self.asked).has(Effects::TEMP_TABLE)
    }

    fn plan_key<L: Ledger>(
        &self,
        env: &Env<'_, L>,
        live: &Live,
        judgement: &Judgement,
        form: Form<'_>,
    ) -> PlanKey {
        use std::hash::{BuildHasher as _, Hasher as _};
        let mut class = ahash::RandomState::with_seeds(0, 0, 0, 0).build_hasher();
        class.write(self.class.user.as_bytes());
        class.write_u8(0);
        class.write(self.class.database.as_bytes());
        class.write_u64(self.settings.hash());
        class.write(self.settings.get("role").unwrap_or_default().as_bytes());
        // A temporary table is one client's own.
        class.write_u64(if self.may_have_temp_tables() { env.who.client } else { 0 });
        let variant = match form {
            Form::Query { .. } => 0,
            Form::Bound { parameters, .. } => live.value_classes().variant(frontend::values(parameters)),
        };
        PlanKey { fingerprint: judgement.fingerprint, class: class.finish(), epoch: env.epoch, variant }
    }
}

fn question(judgement: &Arc<Judgement>, settings: &Arc<ParamSet>, form: Form<'_>) -> PlanQuestion {
    let mut messages = Vec::new();
    // One that names parameters and has no values can't be answered, and by the extended protocol it is one statement.
    let no_types = |text: &[u8]| [EXPLAIN, text, &[0, 0, 0]].concat();
    match form {
        Form::Query { text } if text.len() <= QUESTION_MAX => {
            put_run(&mut messages, &no_types(text), &[0, 0, 0, 0]);
        }
        Form::Bound { tail, parameters } if tail.len() + parameters.len() <= QUESTION_MAX => {
            put_run(&mut messages, &[EXPLAIN, tail].concat(), parameters);
        }
        _ => {}
    }
    if !messages.is_empty() {
        reply::message(&mut messages, b'S', |_| ());
    }
    PlanQuestion {
        judgement: Arc::clone(judgement),
        settings: Arc::clone(settings),
        messages: messages.into(),
    }
}

/// What opens a transaction for questions of one client elsewhere: its settings, ours above them, and what sorts and
/// hashes may use as the last row. Nothing can be written in it.
#[must_use]
pub fn plan_preamble(settings: &ParamSet, deadline_ms: u64) -> String {
    let theirs =
        settings.local_assignments(|name| !name.starts_with("transaction_") && !name.starts_with('_'));
    let ours = limits(deadline_ms);
    format!("BEGIN READ ONLY; {}{ours}", theirs.map(|sql| sql + "; ").unwrap_or_default())
}

/// set_config and not SET: no warning outside of a transaction block, and what sorts and hashes may use comes along.
fn limits(deadline_ms: u64) -> String {
    format!(
        "/* pgsluice: what the planner thinks */ SELECT pg_catalog.set_config('statement_timeout', '{deadline_ms}', true), \
         pg_catalog.set_config('lock_timeout', '{deadline_ms}', true), \
         pg_catalog.pg_size_bytes(pg_catalog.current_setting('work_mem')), \
         pg_catalog.current_setting('hash_mem_multiplier', true)"
    )
}

/// Sends the question.
fn ask(
    link: &mut Backend,
    (key, question): (PlanKey, PlanQuestion),
    form: Form<'_>,
    deadline_ms: u64,
    up: &mut super::Outlet<'_>,
) {
    let in_block = link.status == b'T';
    if in_block {
        up.add(|v| frontend::put_query(v, SAVEPOINT));
        link.expect_end(Expect::HiddenSync);
    }
    let settings = limits(deadline_ms);
    match form {
        Form::Query { text } => {
            let query = [settings.as_bytes(), b"; ", EXPLAIN, text].concat();
            up.add(|v| frontend::put_query(v, &query));
        }
        Form::Bound { tail, parameters } => up.add(|v| {
            let first = [settings.as_bytes(), &[0, 0, 0]].concat();
            put_run(v, &first, &[0, 0, 0, 0]);
            put_run(v, &[EXPLAIN, tail].concat(), parameters);
            reply::message(v, b'S', |_| ());
        }),
    }
    let asked = PlanAsked { key, question, answer: PlanAnswer::default(), failed: false };
    link.expect_end(Expect::Plan(Box::new(asked)));
    if in_block {
        up.add(|v| frontend::put_query(v, ROLLBACK));
        link.expect_end(Expect::HiddenSync);
    }
    link.drop_unnamed();
}

/// Parse, Bind and Execute of the unnamed statement, with the result as text.
fn put_run(out: &mut Vec<u8>, tail: &[u8], parameters: &[u8]) {
    frontend::put_parse(out, b"", tail);
    frontend::put_bind_head(out, b"", b"", parameters.len() + 2);
    out.extend_from_slice(parameters);
    out.extend_from_slice(&[0, 0]);
    reply::message(out, b'E', |v| v.extend_from_slice(&[0, 0, 0, 0, 0]));
}
