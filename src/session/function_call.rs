//! The FunctionCall message: a function by its number, with no text. It is judged, and bounded, as a query is.

use std::sync::Arc;

use super::Ledger;
use super::client::{Env, Fatal, Session, Step};
use super::expect::{Expect, Refusal};
use super::limits::{Halt, is_bounded};
use super::turn::{Flow, Turn};
use crate::guard::{Judgement, Lane};
use crate::wire::reply;

impl Session {
    pub(super) fn function_call<L: Ledger>(
        &mut self,
        env: &mut Env<'_, L>,
        t: &mut Turn<'_, '_>,
    ) -> Result<Flow, Fatal> {
        let judgement = match self.judged_before(env.guard.generation()) {
            Some(judgement) => judgement,
            None => {
                let judgement = env.guard.judge_function_call(t.header.total, &self.class);
                self.settled(env, judgement, t.body(), Some(&[]), None)
            }
        };
        let mut refusal = self.refusal(&judgement);
        if refusal.is_none() && is_bounded(&judgement) {
            match self.admit(env, &judgement, t) {
                Ok(()) => {}
                Err(Halt::Refused(refused)) => refusal = Some(refused),
                Err(Halt::Stop(step)) => return Ok(self.call_later(env, judgement, step)),
            }
        }
        let Some(link) = t.link.as_deref_mut() else {
            refusal = refusal.or_else(|| self.take_declined());
            let Some(refusal) = refusal else {
                return Ok(self.call_later(env, judgement, Step::Server(Lane::Primary)));
            };
            env.ledger.judged(&judgement);
            self.note_refused(env, &judgement, &refusal, b"");
            self.forgo();
            refusal.encode(t.down);
            reply::ready_for_query(t.down, b'I');
            self.stream(t, false);
            return Ok(Flow::Done);
        };
        if link.lane != Lane::Primary && link.must_leave() {
            return Ok(self.call_later(env, judgement, Step::Wait));
        }
        env.ledger.judged(&judgement);
        match refusal {
            Some(refusal) => {
                self.note_refused(env, &judgement, &refusal, b"");
                self.refuse_call(refusal, t);
            }
            None => self.run_call(env, judgement, t),
        }
        Ok(Flow::Done)
    }

    fn call_later<L: Ledger>(&mut self, env: &Env<'_, L>, judgement: Arc<Judgement>, step: Step) -> Flow {
        self.judged = Some((env.guard.generation(), judgement));
        Flow::Stop(step)
    }

    fn refuse_call(&mut self, refusal: Refusal, t: &mut Turn<'_, '_>) {
        self.forgo();
        self.poison(refusal, t);
        self.stream(t, false);
    }

    fn run_call<L: Ledger>(&mut self, env: &mut Env<'_, L>, judgement: Arc<Judgement>, t: &mut Turn<'_, '_>) {
        self.notices(&judgement, t);
        self.note_run(env, &judgement, t.body(), b"");
        self.takes_effect(env.ledger, &judgement, t);
        self.impose(&judgement, t);
        if let Some(link) = t.link.as_deref_mut() {
            link.unsynced = false;
            link.expect_end(Expect::Query(Arc::clone(&judgement).into()));
        }
        self.stream(t, true);
        self.ran_in_batch = false;
        self.watch(&judgement, None, t);
        if self.rest == 0 {
            self.tidy_up(t);
        }
    }
}
