//! What is sent in place of a text that a policy rewrites.

use std::borrow::Cow;
use std::sync::Arc;

use super::Ledger;
use super::backend::Backend;
use super::client::{Env, Session};
use super::expect::Refusal;
use super::names::Named;
use super::statement::Statement;
use super::turn::Turn;
use crate::guard::Judgement;
use crate::wire::{frontend, sqlstate};

/// The text to run instead. One of several statements is never rewritten.
fn instead(judgement: &Judgement) -> Option<&str> {
    judgement.rewrite.as_deref().filter(|_| judgement.statements == 1)
}

/// A simple query's text as it is sent.
pub(super) fn sent<'a>(judgement: &'a Judgement, text: &'a [u8]) -> &'a [u8] {
    instead(judgement).map_or(text, str::as_bytes)
}

impl Session {
    /// Our text is UTF-8: in another encoding it might say something else.
    pub(super) fn unwritable(&self, judgement: &Judgement) -> Option<Refusal> {
        let text = instead(judgement)?;
        let encoding = self.settings.get("client_encoding").unwrap_or("UTF8");
        let utf8 = ["UTF8", "UTF-8", "UNICODE"].iter().any(|name| name.eq_ignore_ascii_case(encoding));
        if utf8 || text.is_ascii() {
            return None;
        }
        let message = "a policy rewrites this statement, which needs client_encoding UTF8".to_owned();
        Some(Refusal::fixed(sqlstate::FEATURE_NOT_SUPPORTED, message, None))
    }

    /// Sends a simple query, or what stands in for it.
    pub(super) fn send_query(&mut self, judgement: &Judgement, t: &mut Turn<'_, '_>) {
        let text = instead(judgement).filter(|_| t.whole());
        if let Some(text) = text
            && let Some(link) = t.link.as_deref_mut()
        {
            link.note_rewritten();
            t.up.add(|v| frontend::put_query(v, text.as_bytes()));
        }
        self.stream(t, text.is_none());
    }

    /// At a Bind: the statement that these values, or this moment, want to run.
    pub(super) fn reword<L: Ledger>(
        &mut self,
        env: &mut Env<'_, L>,
        named: &mut Named,
        t: &mut Turn<'_, '_>,
    ) {
        if named.judgement.rewrite.is_some()
            && let Some(link) = t.link.as_deref_mut()
        {
            link.note_rewritten();
        }
        named.reused |= self.restate_as_judged(env, named);
    }

    /// The statement becomes the one that its judgement wants to run. True: it was another.
    pub(super) fn restate_as_judged<L: Ledger>(&self, env: &mut Env<'_, L>, named: &mut Named) -> bool {
        let wanted = instead(&named.judgement).map_or_else(|| named.own_text(), str::as_bytes);
        if wanted == named.statement.text() {
            return false;
        }
        let statement = self.statement(env, &named.judgement, &tail(&named.judgement, named.own_tail())).0;
        named.own = Some(named.own_tail().into());
        named.statement = statement;
        true
    }

    /// The statement of a Parse's tail, and whether it was seen before.
    pub(super) fn statement<L: Ledger>(
        &self,
        env: &mut Env<'_, L>,
        judgement: &Judgement,
        tail: &[u8],
    ) -> (Arc<Statement>, bool) {
        if self.is_uncertain() {
            return (env.statements.apart(tail), false);
        }
        env.statements.get(self.reads_under(judgement), tail)
    }

    /// What a text is read under: the session's settings, and those that a policy puts in force.
    fn reads_under(&self, judgement: &Judgement) -> u64 {
        if judgement.set.is_empty() {
            return self.settings.hash();
        }
        let mut settings = (*self.settings).clone();
        judgement.set.iter().for_each(|(name, value)| settings.set(name, value));
        settings.hash()
    }
}

/// The Parse message behind its name as it is sent.
pub(super) fn tail<'a>(judgement: &Judgement, tail: &'a [u8]) -> Cow<'a, [u8]> {
    let Some(text) = instead(judgement) else { return Cow::Borrowed(tail) };
    let end = tail.iter().position(|&b| b == 0).unwrap_or(tail.len());
    Cow::Owned([text.as_bytes(), tail.get(end..).unwrap_or_default()].concat())
}

impl Backend {
    /// What errors of this batch point to is not the client's text.
    pub(super) fn note_rewritten(&mut self) {
        self.rewritten = self.asked + 1;
    }
}
