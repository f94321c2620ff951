//! What is refused or warned about, and what the client and the server are told instead.

use std::sync::Arc;

use super::Ledger;
use super::client::{Env, Mode, Session};
use super::expect::{Expect, Refusal, encode_notices};
use super::sql_names::is_mapped;
use super::turn::Turn;
use crate::guard::{Action, Effects, Judgement};
use crate::wire::{frontend, sqlstate};

/// A text the server is sure to refuse. It shows in the server's log, so it says what it is.
pub(super) const POISON: &[u8] = b"pgsluice refused this statement";

impl Session {
    /// The server the session asked for is not to be had: the message that waits for it is refused when it is
    /// fed again without one, and the client goes on.
    pub fn decline(&mut self, sqlstate: [u8; 5], message: String, hint: String) {
        self.declined = Some(Box::new(Refusal::worded(sqlstate, message, String::new(), hint)));
    }

    pub(super) fn take_declined(&mut self) -> Option<Refusal> {
        self.came_for_plan &= self.declined.is_none();
        self.declined.take().map(|refusal| *refusal)
    }

    /// Why this may not run, if so.
    pub(super) fn refusal(&self, judgement: &Arc<Judgement>) -> Option<Refusal> {
        if judgement.action == Action::Block {
            return Some(Refusal::Judged(Arc::clone(judgement)));
        }
        if judgement.rewrite.is_some()
            && let Some(refusal) = self.unwritable(judgement)
        {
            return Some(refusal);
        }
        if judgement.effects.has(Effects::RESERVED_NAME) {
            let message =
                "prepared statement does not exist: names that start with \"pgsluice_\" are reserved";
            return Some(Refusal::fixed(sqlstate::INVALID_SQL_STATEMENT_NAME, message.to_owned(), None));
        }
        let mapped = if is_mapped(judgement) { Effects::SQL_PREPARE } else { Effects::NONE };
        if let Some(refusal) = self.refused_pin(judgement.effects.meant().without(mapped)) {
            return Some(refusal);
        }
        if self.mode == Mode::Statement && judgement.transaction_control {
            let message =
                "transactions of several statements are not allowed in statement pooling mode".to_owned();
            let hint = Some("Use pool_mode = \"transaction\" for this client.");
            return Some(Refusal::fixed(sqlstate::FEATURE_NOT_SUPPORTED, message, hint));
        }
        None
    }

    /// It is refused: the accountant is told.
    pub(super) fn note_refused<L: Ledger>(
        &self,
        env: &mut Env<'_, L>,
        judgement: &Arc<Judgement>,
        refusal: &Refusal,
        text: &[u8],
    ) {
        let run = env.ledger.wants().plain(judgement, text, env.guard.policies());
        env.ledger.refused(&run, &self.settings, refusal.sqlstate());
    }

    /// The same of a simple query; the places that it had are free.
    pub(super) fn query_refused<L: Ledger>(
        &mut self,
        env: &mut Env<'_, L>,
        judgement: &Arc<Judgement>,
        refusal: &Refusal,
        t: &Turn<'_, '_>,
    ) {
        self.note_refused(env, judgement, refusal, frontend::query(t.body()).unwrap_or_default());
        self.forgo();
    }

    /// Warnings, in their place among the replies.
    pub(super) fn notices(&self, judgement: &Arc<Judgement>, t: &mut Turn<'_, '_>) {
        if !judgement.complaints.iter().any(|c| c.action == Action::Warn) {
            return;
        }
        match t.link.as_deref_mut() {
            Some(link) => {
                link.queue.push_back(Expect::LocalNotices(Arc::clone(judgement)));
            }
            None => encode_notices(judgement, t.down),
        }
    }

    /// A query that fails in place of the one that is refused, so that a transaction fails with it.
    pub(super) fn poison(&mut self, refusal: Refusal, t: &mut Turn<'_, '_>) {
        self.set_unnamed(None, t);
        if let Some(link) = t.link.as_deref_mut() {
            link.unsynced = false;
            link.drop_unnamed();
            link.expect_end(Expect::Poison { refusal, query: true });
            t.up.add(|v| frontend::put_query(v, POISON));
        }
    }
}
