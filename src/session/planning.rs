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

use std::fmt::Write as _;
use std::sync::Arc;

use super::Ledger;
use super::backend::Backend;
use super::client::{Env, Session, Step};
use super::expect::Expect;
use super::names::Named;
use super::turn::{Flow, Turn};
use crate::guard::plan::{PlanFacts, PlanKey, Planned, variant};
use crate::guard::{Effects, Judgement};
use crate::wire::frame::{self, HEADER};
use crate::wire::frontend::{self, BindValues};
use crate::wire::{backend as view, reply};

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
}

/// A question under way.
#[derive(Debug)]
pub(super) struct PlanAsked {
    key: PlanKey,
    answer: PlanAnswer,
    failed: bool,
}

/// What the server said.
#[derive(Debug, Default)]
pub struct PlanAnswer {
    /// `EXPLAIN (FORMAT JSON)`.
    pub json: Vec<u8>,
    /// In bytes; 0 if it was not told.
    pub work_mem: u64,
    /// `hash_mem_multiplier` in hundredths.
    pub hash_mem_percent: u64,
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
        let Some(columns) = view::data_row(body) else { return self.fail() };
        let columns: Vec<Option<&[u8]>> = columns.collect();
        match columns.as_slice() {
            [Some(json)] if json.len() <= ANSWER_MAX => self.answer.json = json.to_vec(),
            [_, _, work_mem, percent] => {
                let number = |value: &Option<&[u8]>| {
                    value.and_then(|v| std::str::from_utf8(v).ok()).and_then(|v| v.parse::<f64>().ok())
                };
                self.answer.work_mem = number(work_mem).unwrap_or(0.0) as u64;
                self.answer.hash_mem_percent = (number(percent).unwrap_or(1.0) * 100.0) as u64;
            }
            _ => self.fail(),
        }
    }

    pub(super) fn fail(&mut self) {
        self.failed = true;
    }

    /// The key, and the answer if there is one.
    pub(super) fn finish(self) -> (PlanKey, Option<PlanAnswer>) {
        let answered = !self.failed && !self.answer.json.is_empty();
        (self.key, answered.then_some(self.answer))
    }
}

impl Session {
    /// The plan of a statement that is about to run, where a rule wants it and it is known; `Err`: it is being asked for.
    pub(super) fn plan<L: Ledger>(
        &mut self,
        env: &mut Env<'_, L>,
        judgement: &Judgement,
        form: Form<'_>,
        t: &mut Turn<'_, '_>,
    ) -> Result<Option<Arc<PlanFacts>>, Flow> {
        if !judgement.live.as_ref().is_some_and(|live| live.wants_plan(env.plan.rows)) {
            return Ok(None);
        }
        let key = self.plan_key(env, judgement, form);
        let asked_before = self.plan_asked.take() == Some(key);
        match env.ledger.plan(&key) {
            Planned::Known(facts) => return Ok(Some(facts)),
            Planned::Unknown => return Ok(None),
            Planned::Ask if asked_before => return Ok(None),
            Planned::Ask => {}
        }
        let Some(link) = t.link.as_deref_mut() else {
            self.came_for_plan = matches!(form, Form::Query { .. });
            return Err(Flow::Stop(Step::Server(env.lane(judgement))));
        };
        if link.unsynced || link.status == b'E' || link.error_skip || link.copy_in {
            return Ok(None);
        }
        if !link.owes_only_us() || link.watched.is_some() {
            return Err(Flow::Stop(super::limits::hold(t)));
        }
        env.ledger.planning(&key);
        self.plan_asked = Some(key);
        ask(link, key, form, env.plan.deadline_ms, t.up);
        Err(Flow::Stop(super::limits::hold(t)))
    }

    /// At a Parse: if its Bind has come with it, the plan is asked for now, while nothing is under way.
    pub(super) fn plan_ahead<L: Ledger>(
        &mut self,
        env: &mut Env<'_, L>,
        judgement: &Judgement,
        tail: &[u8],
        t: &mut Turn<'_, '_>,
    ) -> Option<Flow> {
        judgement.live.as_ref().filter(|live| live.wants_plan(env.plan.rows))?;
        let behind = t.left.get(t.header.total..)?;
        let next = frame::peek(behind, frame::client_limit).ok()??;
        let body = behind.get(HEADER..next.total).filter(|_| next.tag == b'B')?;
        let parameters = frontend::bind_parameters(frontend::bind(body)?.rest)?;
        self.plan(env, judgement, Form::Bound { tail, parameters }, t).err()
    }

    /// At a Bind, of the statement behind the name.
    pub(super) fn plan_at_bind<L: Ledger>(
        &mut self,
        env: &mut Env<'_, L>,
        named: &Named,
        rest: &[u8],
        t: &mut Turn<'_, '_>,
    ) -> Result<Option<Arc<PlanFacts>>, Flow> {
        match frontend::bind_parameters(rest).filter(|_| t.whole()) {
            Some(parameters) => {
                let form = Form::Bound { tail: &named.statement.tail, parameters };
                self.plan(env, &named.judgement, form, t)
            }
            None => Ok(None),
        }
    }

    fn plan_key<L: Ledger>(&self, env: &Env<'_, L>, judgement: &Judgement, form: Form<'_>) -> PlanKey {
        use std::hash::{BuildHasher as _, Hasher as _};
        let mut class = ahash::RandomState::with_seeds(0, 0, 0, 0).build_hasher();
        class.write(self.class.user.as_bytes());
        class.write_u8(0);
        class.write(self.class.database.as_bytes());
        class.write_u64(self.settings.hash());
        // A temporary table is one client's own.
        class.write_u64(if self.held.has(Effects::TEMP_TABLE) { env.who.client } else { 0 });
        let variant = match form {
            Form::Query { .. } => 0,
            Form::Bound { parameters, .. } => variant(BindValues::of(parameters).into_iter().flatten()),
        };
        PlanKey { fingerprint: judgement.fingerprint, class: class.finish(), epoch: env.epoch, variant }
    }
}

/// Sends the question.
fn ask(link: &mut Backend, key: PlanKey, form: Form<'_>, deadline_ms: u64, up: &mut super::Outlet<'_>) {
    let in_block = link.status == b'T';
    if in_block {
        up.add(|v| frontend::put_query(v, SAVEPOINT));
        link.expect_end(Expect::HiddenSync);
    }
    let mut settings = String::new();
    // set_config and not SET: no warning outside of a transaction block, and what sorts and hashes may use comes along.
    let _ = write!(
        settings,
        "/* pgsluice: what the planner thinks */ SELECT pg_catalog.set_config('statement_timeout', '{deadline_ms}', true), \
         pg_catalog.set_config('lock_timeout', '{deadline_ms}', true), \
         pg_catalog.pg_size_bytes(pg_catalog.current_setting('work_mem')), \
         pg_catalog.current_setting('hash_mem_multiplier', true)"
    );
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
    let asked = PlanAsked { key, answer: PlanAnswer::default(), failed: false };
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
