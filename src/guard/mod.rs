//! From SQL text to a [`Judgement`]. Pure: nothing here awaits, opens, asks the time or rolls dice.
//!
//! `text → L1 text cache → L2 shape cache → PostgreSQL's grammar → facts → rules → policy → route`

use std::sync::Arc;

#[cfg(test)]
mod bypass_tests;
mod bench;
mod cache;
pub mod catalog;
pub mod catalog_text;
mod circumstances;
mod effects;
pub mod fact;
pub mod facts;
mod judge;
mod limits;
mod needs;
pub mod plan;
pub mod policy;
pub mod route;
pub mod rules;
pub mod shadow;
pub mod sql;
#[cfg(test)]
mod tests;

pub use bench::{Evaluation, evaluate, main_statement};
pub use circumstances::{
    CatalogFacts, Circumstances, ClientFacts, LIVE_ROOTS, SessionFacts, Subject, TimeFacts, WEEKDAYS,
    client_key,
};
pub use effects::Effects;
pub use judge::{CacheCounters, Guard, GuardLimits};
pub use limits::{Bound, Concurrency, Limits, Per, Rate};
pub use needs::Needs;
pub use policy::{Live, settle, settle_by_plan};
pub use route::{Lane, Lanes};

/// What a statement is. `unparsed` is honest: never guessed, never read-only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum Kind {
    Select,
    Insert,
    Update,
    Delete,
    Merge,
    Copy,
    Ddl,
    Transaction,
    Set,
    Show,
    Utility,
    Unparsed,
}

impl Kind {
    /// Its name in `explain --json`, in conditions and in metrics' labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Select => "select",
            Self::Insert => "insert",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::Merge => "merge",
            Self::Copy => "copy",
            Self::Ddl => "ddl",
            Self::Transaction => "transaction",
            Self::Set => "set",
            Self::Show => "show",
            Self::Utility => "utility",
            Self::Unparsed => "unparsed",
        }
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What the policies say of a statement. The order is strictness.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    Allow,
    Set,
    Limit,
    Rewrite,
    Warn,
    Route,
    Block,
}

impl Action {
    /// As policies and metrics call it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Set => "set",
            Self::Limit => "limit",
            Self::Rewrite => "rewrite",
            Self::Warn => "warn",
            Self::Route => "route",
            Self::Block => "block",
        }
    }
}

/// Who asks, as far as a verdict may depend on it. Part of every cache key, compared whole.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Class {
    pub user: Box<str>,
    pub database: Box<str>,
    /// `application_name`; empty unless a rule reads it, so that names do not multiply cache entries.
    pub application: Box<str>,
    pub standard_conforming_strings: bool,
    /// The client's encoding is one in which every byte below 0x80 is ASCII (UTF8, LATIN1, SQL_ASCII, …).
    /// In the others (SJIS, BIG5, GBK, UHC, GB18030, JOHAB) a text with any other byte is `unparsed`: a session masks it.
    pub ascii_safe_encoding: bool,
}

/// One thing a rule has to say to the client: an error where the rule blocks, a notice where it warns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    pub rule: Arc<str>,
    pub action: Action,
    /// SQLSTATE, five characters.
    pub sqlstate: [u8; 5],
    pub message: String,
    pub detail: String,
    pub hint: String,
}

/// A rule that matched, for the metrics: `verdicts_total{rule,action,mode}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit {
    /// Index into [`policy::Policies`]' rules.
    pub rule: u32,
    pub action: Action,
    /// False in `mode = "observe"`: counted, not acted upon.
    pub enforced: bool,
}

/// What the guard says of one text (of all its statements together, the strictest).
#[derive(Clone, Debug)]
pub struct Judgement {
    /// Hash of the shape: stable over runs and machines.
    pub fingerprint: u64,
    /// Normalised text, literals as `$n` or `?`, cut at a bounded length: for people.
    pub normalized: Arc<str>,
    /// Of the first statement that is not transaction control.
    pub kind: Kind,
    pub action: Action,
    pub lane: Lane,
    /// Enforced complaints, strictest first.
    pub complaints: Box<[Complaint]>,
    pub hits: Box<[Hit]>,
    pub effects: Effects,
    /// Settings of the session that it names as set or reset, lower case: see [`Effects::SETTING`].
    pub settings: Box<[Box<str>]>,
    /// Settings of the application's own that it names, lower case.
    pub custom_settings: Box<[Box<str>]>,
    /// Names in SQL `PREPARE`, `EXECUTE` and `DEALLOCATE`, in order; true: deallocated.
    pub prepared: Box<[(Box<str>, bool)]>,
    /// How many statements the text holds (0 for an empty query).
    pub statements: u32,
    /// Provably read-only: the precondition of a replica, whatever a policy says.
    pub read_only: bool,
    /// Whoever reads after it may have to see what it did: a statement of the text is not read-only, and more than
    /// transaction control, `SET` or `DISCARD ALL`.
    pub may_write: bool,
    /// A statement of the text opens, closes or splits a transaction (BEGIN, COMMIT, SAVEPOINT, …).
    pub transaction_control: bool,
    /// Parameters ($n, from 1) that stand as LIKE patterns: a value that starts with `%` or `_` makes
    /// [`Judgement::with_wildcard`] hold instead of this.
    pub like_params: Box<[u16]>,
    pub with_wildcard: Option<Arc<Judgement>>,
    /// The verdict depends on what changes from run to run: this one leaves out the rules that do, and [`settle`] asks
    /// them. A block that stands here already holds whatever they say.
    pub live: Option<Arc<Live>>,
    /// What a canary says of it, where either is asked again at each run: [`Guard::try_run`].
    pub canary: Option<Arc<Judgement>>,
    /// What it may cost at most.
    pub limits: Option<Arc<Limits>>,
    /// Settings to put in force for the transaction it runs in, in order.
    pub set: Box<[(Box<str>, Box<str>)]>,
    /// The text to run instead.
    pub rewrite: Option<Arc<str>>,
    /// It holds for the very text, not for others of its shape.
    pub of_one_text: bool,
}
