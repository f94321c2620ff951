//! What a connection may do next. Pure: a client's bytes and a server's bytes in, bytes and steps out.
//!
//! Two machines face each other. [`Session`] reads what the client sends: it has every statement judged,
//! keeps the client's prepared statements and pins, and says when it needs a server. [`Backend`] is the
//! protocol state of one server connection: a queue of what the server still owes, in order, so that replies
//! can be hidden, added or replaced at the right place.
//!
//! ```text
//!  client bytes ─▶ Session::feed ─▶ to the server (passed, rewritten, added)      ─▶ Step: more | a server | wait | bye
//!                       │ pushes
//!                       ▼
//!                  Backend::queue   Parse Bind Describe Execute Sync Query …  + hidden ones + local replies
//!                       │ pops
//!                       ▼
//!  server bytes ─▶ Backend::feed ─▶ to the client (passed, hidden, replaced, added) ─▶ idle?
//! ```
//!
//! A server goes back to the pool at a ReadyForQuery with status `I`, an empty queue, no message since the
//! last Sync, and nothing left on it: settings go with the client, and what can't (temporary tables, locks, …) is
//! asked of the server before (`probe.rs`).

mod ahead;
mod align;
mod answers;
mod backend;
mod bind;
mod client;
mod columns;
mod copy;
mod encoding;
mod expect;
mod extended;
mod function_call;
mod history;
mod impose;
mod limit_words;
mod limits;
mod names;
mod outlet;
mod overrun;
mod pins;
mod planning;
pub mod kinds;
mod materialise;
mod prepared;
mod probe;
mod refuse;
mod repair;
mod restate;
mod reuse;
mod rewrite;
mod run;
mod silence;
mod skip;
mod sql_names;
mod statement;
mod trust;
mod turn;
mod values;
#[cfg(test)]
mod tests;

pub use align::ParamSet;
pub use backend::{Backend, Desync, Served};
pub use client::{Env, Fatal, Fed, Mode, Session, Step};
pub use limits::{Admission, Ask, Count, Limit, Ticket, Who};
pub use outlet::Outlet;
pub use overrun::Watch;
pub use planning::{PlanAnswer, PlanQuestion, PlanTerms, plan_preamble};
pub use run::{CUT, End, Params, Run, Wants, Words};
pub use silence::Silent;
pub use statement::{Interner, Statement};
pub use trust::Trust;

use std::sync::Arc;
use std::time::Duration;

use crate::guard::plan::{PlanKey, Planned};
use crate::guard::{Effects, Judgement, Per};

/// What the machines tell the accountant. IO code implements it; tests record it.
pub trait Ledger {
    /// A text was judged and is about to run, or was refused.
    fn judged(&mut self, judgement: &Judgement);
    /// The server finished a statement.
    fn finished(&mut self, run: &Run, end: &End<'_>);
    /// What is to be kept of statements until they have run.
    fn wants(&self) -> Wants {
        Wants::default()
    }
    /// A statement does not run: the client, whose settings these are, gets this error in its place.
    fn refused(&mut self, _run: &Run, _settings: &ParamSet, _sqlstate: [u8; 5]) {}
    /// The server ended a transaction of the client's.
    fn transaction(&mut self) {}
    /// The client now holds its server for these further reasons.
    fn pinned(&mut self, reasons: Effects);
    /// Whether a statement that runs code we do not see (functions, triggers) may leave state behind, for all that is
    /// known: always when it is new.
    fn suspects(&mut self, fingerprint: u64) -> bool;
    /// A setting of the application's own was named: no server lists those, so their names are learned.
    fn custom_setting(&mut self, name: &str);
    /// Those that were.
    fn custom_settings(&self) -> Vec<Box<str>>;
    /// A transaction that may have changed the schema is over.
    fn schema_changed(&mut self);
    /// Such a statement did leave some.
    fn left_state(&mut self, fingerprint: u64);
    /// Names what a rule counts together: `value` tells the ones from the others.
    fn key(&self, _rule: &str, _per: Per, _value: &[u8]) -> u64 {
        0
    }
    /// A statement wants a place in all of these.
    fn admit(&mut self, _asks: &[Ask]) -> Admission {
        Admission::Goes(None)
    }
    /// A clock that never goes back. Asked only where a policy reads the session.
    fn clock(&self) -> Duration {
        Duration::ZERO
    }
    /// Seconds since 1970-01-01 UTC. Asked only where a policy reads the time.
    fn unix(&self) -> i64 {
        0
    }
    /// The client, as a rule's `share` counts it.
    fn share_key(&self) -> u64 {
        0
    }
    /// What is known of a statement's plan. Asked only where a rule reads it.
    fn plan(&mut self, _key: &PlanKey, _judgement: &Arc<Judgement>) -> Planned {
        Planned::Unknown
    }
    /// What became of a judgement by the plan that is known: worth keeping.
    fn weighed(&mut self, _key: &PlanKey, _judgement: &Arc<Judgement>, _settled: &Arc<Judgement>) {}
    /// It is being asked for; `waits`: by a statement that waits for the answer.
    fn planning(&mut self, _key: &PlanKey, _waits: bool) {}
    /// What came of it.
    fn planned(&mut self, _key: &PlanKey, _question: &PlanQuestion, _answer: Option<&PlanAnswer>) {}
    /// To be asked beside the statement.
    fn plan_aside(&mut self, _key: &PlanKey, _question: PlanQuestion) {}
    /// A statement met this limit of a rule: its number where it was judged, and its name.
    fn limited(&mut self, _rule: u32, _name: &str, _limit: Limit) {}
}
