//! A batch whose statement needs a turn waits for it before it takes a server.
//!
//! Where the client has a server already, in a transaction or behind messages that are not synced, the statement waits
//! with it. So does one whose limit shows only with its values or at its moment, and a second one of a batch.

use std::sync::Arc;

use super::Ledger;
use super::client::{Env, Session};
use super::limits::Halt;
use super::turn::{Flow, Turn};
use crate::guard::{Action, Judgement};
use crate::wire::frame::{self, HEADER};
use crate::wire::frontend;

impl Session {
    /// At the first message of a batch, without a server. `Some`: the batch must wait, or was refused.
    pub(super) fn turn_ahead<L: Ledger>(
        &mut self,
        env: &mut Env<'_, L>,
        t: &mut Turn<'_, '_>,
    ) -> Option<Flow> {
        let judgement = self.runs_first(env, t.left)?;
        match self.admit(env, &judgement, t) {
            Ok(()) => None,
            Err(Halt::Stop(step)) => Some(Flow::Stop(step)),
            Err(Halt::Refused(refusal)) => {
                self.refuse(refusal, t);
                Some(Flow::Done)
            }
        }
    }

    /// What the first Execute of these messages runs, if all up to it has come.
    fn runs_first<L: Ledger>(&mut self, env: &mut Env<'_, L>, mut left: &[u8]) -> Option<Arc<Judgement>> {
        let mut parsed: Option<(&[u8], Arc<Judgement>)> = None;
        let mut bound: Option<Arc<Judgement>> = None;
        while let Ok(Some(h)) = frame::peek(left, frame::client_limit) {
            let body = left.get(HEADER..h.total)?;
            left = left.get(h.total..).unwrap_or_default();
            match h.tag {
                b'P' => {
                    let parse = frontend::parse(body).filter(|p| p.text.len() <= env.max_statement_bytes)?;
                    let judgement = self.judge(env, parse.text);
                    if judgement.action == Action::Block {
                        return None;
                    }
                    parsed = Some((parse.name, judgement));
                }
                b'B' => {
                    let name = frontend::bind(body)?.statement;
                    bound = match &parsed {
                        Some((known, judgement)) if *known == name => Some(Arc::clone(judgement)),
                        _ => self.judged_as(env, name),
                    };
                }
                b'E' => return bound.filter(|judgement| judgement.limits.is_some()),
                b'D' | b'C' | b'H' => {}
                _ => return None,
            }
        }
        None
    }

    /// The judgement of a prepared statement, by the policies of now.
    fn judged_as<L: Ledger>(&mut self, env: &mut Env<'_, L>, name: &[u8]) -> Option<Arc<Judgement>> {
        let named = if name.is_empty() { self.unnamed.clone() } else { self.lookup(name) }?;
        if named.generation == env.guard.generation() {
            return Some(named.judgement);
        }
        Some(self.judge(env, named.own_text())).filter(|judgement| judgement.action != Action::Block)
    }
}
