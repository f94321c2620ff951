//! Bind: the statement behind a name, judged with its values, prepared where it runs.

use std::sync::Arc;

use super::Ledger;
use super::client::{Env, Fatal, MALFORMED, Session};
use super::expect::Expect;
use super::extended::{NAMES_MAX, foreign};
use super::names::Named;
use super::reuse::{close_unnamed, send_named, send_unnamed};
use super::turn::{Flow, Turn};
use crate::guard::{Action, Effects, Judgement};
use crate::wire::frame::HEADER;
use crate::wire::frontend;

/// A Bind is waited for whole up to this size if a rule reads its values; a larger one is judged as if they
/// were the worst.
pub(super) const BIND_LOOK_MAX: usize = 1 << 20;

impl Session {
    pub(super) fn bind<L: Ledger>(
        &mut self,
        env: &mut Env<'_, L>,
        t: &mut Turn<'_, '_>,
    ) -> Result<Flow, Fatal> {
        if !t.whole() && t.left.len() < NAMES_MAX.min(t.header.total) {
            return Ok(Flow::Short);
        }
        if let Some(stop) = self.needs_server(env, t) {
            return Ok(stop);
        }
        let body = t.body();
        let bind = frontend::bind(body).ok_or(MALFORMED)?;
        let head = body.len() - bind.rest.len();
        let named =
            if bind.statement.is_empty() { self.unnamed.clone() } else { self.lookup(bind.statement) };
        let Some(mut named) = named else { return Ok(self.bind_unknown(env, bind.statement, t)) };
        if let Some(flow) = self.columns_may_differ(&named, t) {
            return Ok(flow);
        }
        if let Some(stop) = self.judge_bind(bind.statement, &mut named, bind.rest, env, t) {
            return Ok(stop);
        }
        if named.judgement.live.is_some()
            && let Some(flow) = self.ask_at_bind(env, &mut named, bind.rest, t)
        {
            return Ok(flow);
        }
        if let Some(flow) = self.prepare_run(env, &mut named, bind.portal, t) {
            return Ok(flow);
        }
        let run = env.ledger.wants().bound(&named, t.whole().then_some(bind.rest), env.guard.policies());
        self.note_run(env, &named.judgement, bind.rest, named.statement.text());
        // Prepared once, it may run many times and on any server. (What is unparsed was pinned by its Parse.)
        if !named.judgement.effects.has(Effects::UNPARSED) {
            self.will_run(env.ledger, &named.judgement, named.statement.text(), t);
        }
        let tentative = self.is_tentative(&named);
        self.materialise_for(&named.judgement, t);
        let Some(link) = t.link.as_deref_mut() else { return Ok(Flow::Done) };
        link.unsynced = true;
        let looks = named.judgement.effects.has(Effects::READS_PREPARED);
        let as_it_is = looks && link.materialised.iter().any(|name| **name == *bind.statement);
        if as_it_is {
            link.queue.push_back(Expect::Bind);
            self.stream(t, true);
        } else if bind.statement.is_empty() && !named.reused {
            send_unnamed(link, &named.statement, t.up);
            link.queue.push_back(Expect::Bind);
            self.stream(t, true);
        } else {
            send_named(link, &named.statement, tentative, t.up);
            let name = link.prepared.name(named.statement.id);
            let rest = t.header.total - HEADER - head;
            t.up.add(|v| frontend::put_bind_head(v, bind.portal, name.as_bytes(), rest));
            link.queue.push_back(Expect::Bind);
            self.stream_from(HEADER + head, t);
        }
        (self.bound, self.bound_told) = (Some(run), named.told);
        Ok(Flow::Done)
    }

    /// What was judged when it was prepared, judged again where the verdict may be another now: with these values, or
    /// by policies that came since.
    fn judge_bind<L: Ledger>(
        &mut self,
        name: &[u8],
        named: &mut Named,
        rest: &[u8],
        env: &mut Env<'_, L>,
        t: &mut Turn<'_, '_>,
    ) -> Option<Flow> {
        let generation = env.guard.generation();
        let anew = named.generation != generation;
        if anew {
            named.judgement = self.judge(env, named.statement.text());
        }
        // What is blocked only now stays prepared, and is refused each time.
        let blocked = named.judgement.action == Action::Block;
        if !anew && !blocked && named.judgement.like_params.is_empty() {
            return None;
        }
        if !named.judgement.like_params.is_empty() && !t.whole() && t.header.total <= BIND_LOOK_MAX {
            return Some(Flow::Short);
        }
        if anew {
            self.judged_anew(name, &named.judgement, generation);
        }
        named.judgement = with_values(&named.judgement, rest, t.whole());
        env.ledger.judged(&named.judgement);
        if let Some(refusal) = self.refusal(&named.judgement) {
            self.note_refused(env, &named.judgement, &refusal, named.statement.text());
            self.refuse(refusal, t);
            return Some(Flow::Done);
        }
        self.notices(&named.judgement, t);
        None
    }

    /// Passes what of the message stands behind its first `head` bytes.
    fn stream_from(&mut self, head: usize, t: &mut Turn<'_, '_>) {
        let here = t.header.total.min(t.left.len());
        t.up.pass(t.at + head..t.at + here);
        self.rest = t.header.total - here;
        self.rest_passes = true;
    }

    /// A name we don't know: made by SQL `PREPARE` on a pinned server, or not at all. The server knows.
    fn bind_unknown<L: Ledger>(&mut self, env: &mut Env<'_, L>, name: &[u8], t: &mut Turn<'_, '_>) -> Flow {
        if let Some(refusal) = foreign(name) {
            self.refuse(refusal, t);
            return Flow::Done;
        }
        if let Some(runs) = self.runs(name) {
            self.takes_effect(env.ledger, &runs, t);
        }
        if let Some(link) = t.link.as_deref_mut() {
            link.unsynced = true;
            if name.is_empty() && !self.unnamed_streamed {
                close_unnamed(link, t.up);
            }
            link.queue.push_back(Expect::Bind);
        }
        (self.bound, self.bound_told) = (None, None);
        self.stream(t, true);
        Flow::Done
    }
}

/// The judgement that holds with these values: a pattern that starts with a wildcard changes it.
fn with_values(judgement: &Arc<Judgement>, rest: &[u8], whole: bool) -> Arc<Judgement> {
    let Some(wild) = &judgement.with_wildcard else { return Arc::clone(judgement) };
    let wildcard = |&n: &u16| matches!(frontend::bind_value(rest, n), Some(Some(value)) if matches!(value.first(), Some(b'%' | b'_')));
    let matches = !whole || judgement.like_params.iter().any(wildcard);
    Arc::clone(if matches { wild } else { judgement })
}
