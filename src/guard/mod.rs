//! From SQL text to a [`Judgement`]. Pure: nothing here awaits, opens, asks the time or rolls dice.
//!
//! `text → L1 text cache → L2 shape cache → PostgreSQL's grammar → facts → rules → policy → route`

use std::sync::Arc;

mod cache;
pub mod facts;
mod judge;
pub mod policy;
pub mod route;
pub mod rules;
pub mod sql;
#[cfg(test)]
mod tests;

pub use judge::{CacheCounters, Evaluation, Guard, GuardLimits, evaluate, main_statement};

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
            Self::Warn => "warn",
            Self::Route => "route",
            Self::Block => "block",
        }
    }
}

/// Where a statement may run. A lane is a wish: the topology decides whether a replica can take it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lane {
    Primary,
    Replica,
}

impl Lane {
    /// As policies call it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Replica => "replica",
        }
    }
}

/// Session state a statement may leave on its server, as a set of bits.
///
/// Such a server is pinned to its client until the state is provably gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Effects(pub u16);

impl Effects {
    pub const NONE: Self = Self(0);
    /// `SET`, `RESET`, `set_config()`: a setting of the session, other than `SET LOCAL`.
    pub const SETTING: Self = Self(1 << 0);
    /// `SET ROLE`, `SET SESSION AUTHORIZATION`.
    pub const ROLE: Self = Self(1 << 1);
    pub const TEMP_TABLE: Self = Self(1 << 2);
    pub const LISTEN: Self = Self(1 << 3);
    pub const ADVISORY_LOCK: Self = Self(1 << 4);
    /// SQL-level `PREPARE`, `EXECUTE`, `DEALLOCATE`.
    pub const SQL_PREPARE: Self = Self(1 << 5);
    /// `DECLARE … WITH HOLD`.
    pub const HOLD_CURSOR: Self = Self(1 << 6);
    /// `LOAD`.
    pub const LIBRARY: Self = Self(1 << 7);
    /// `DO`, `CALL`: may have done any of the above.
    pub const OPAQUE: Self = Self(1 << 8);
    /// The grammar did not read it: may have done any of the above.
    pub const UNPARSED: Self = Self(1 << 9);
    /// `RESET`: the server's settings are not the ones it was given. Not a pin.
    pub const UNALIGNED: Self = Self(1 << 10);
    /// `RESET ALL`: undoes [`Self::SETTING`]. Not a pin.
    pub const RESET_ALL: Self = Self(1 << 11);
    /// `UNLISTEN *`: undoes [`Self::LISTEN`]. Not a pin.
    pub const UNLISTEN_ALL: Self = Self(1 << 12);
    /// `pg_advisory_unlock_all()`: undoes [`Self::ADVISORY_LOCK`]. Not a pin.
    pub const UNLOCK_ALL: Self = Self(1 << 13);
    /// SQL `PREPARE`, `EXECUTE` or `DEALLOCATE` of a name that is ours on the server, where other clients'
    /// statements are. Not a pin: refused.
    pub const RESERVED_NAME: Self = Self(1 << 14);
    /// `DISCARD ALL`: what was left before is gone. Not a pin.
    pub const DISCARD_ALL: Self = Self(1 << 15);

    /// Every pin with its metric label, in bit order.
    pub const PINS: [(Self, &'static str); 10] = [
        (Self::SETTING, "setting"),
        (Self::ROLE, "role"),
        (Self::TEMP_TABLE, "temp_table"),
        (Self::LISTEN, "listen"),
        (Self::ADVISORY_LOCK, "advisory_lock"),
        (Self::SQL_PREPARE, "sql_prepare"),
        (Self::HOLD_CURSOR, "hold_cursor"),
        (Self::LIBRARY, "library"),
        (Self::OPAQUE, "opaque"),
        (Self::UNPARSED, "unparsed"),
    ];

    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0 && other.0 != 0
    }
    /// The effects that pin.
    #[must_use]
    pub const fn pins(self) -> Self {
        Self(self.0 & ((1 << Self::PINS.len()) - 1))
    }

    /// The pins that these effects undo, as far as they do not make them again.
    #[must_use]
    pub const fn undone(self) -> Self {
        let mut undone = Self::NONE;
        if self.has(Self::RESET_ALL) {
            undone = undone.and(Self::SETTING);
        }
        if self.has(Self::UNLISTEN_ALL) {
            undone = undone.and(Self::LISTEN);
        }
        if self.has(Self::UNLOCK_ALL) {
            undone = undone.and(Self::ADVISORY_LOCK);
        }
        Self(undone.0 & !self.0)
    }
    #[must_use]
    pub const fn is_none(self) -> bool {
        self.0 == 0
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
    /// In the others (SJIS, BIG5, GBK, UHC, GB18030, JOHAB) a text with any other byte is `unparsed`.
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
    /// How many statements the text holds (0 for an empty query).
    pub statements: u32,
    /// Provably read-only: the precondition of a replica, whatever a policy says.
    pub read_only: bool,
    /// A statement of the text opens, closes or splits a transaction (BEGIN, COMMIT, SAVEPOINT, …).
    pub transaction_control: bool,
    /// Parameters ($n, from 1) that stand as LIKE patterns: a value that starts with `%` or `_` makes
    /// [`Judgement::with_wildcard`] hold instead of this.
    pub like_params: Box<[u16]>,
    pub with_wildcard: Option<Arc<Judgement>>,
}
