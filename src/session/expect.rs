//! What a server still owes, in the order in which it will answer.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;

use super::columns::ToldColumns;
use super::names::{ClosedName, Named};
use super::planning::PlanAsked;
use super::probe::Probe;
use super::restate::Told;
use super::run::Run;
use crate::guard::{Action, Effects, Judgement};
use crate::wire::{backend as view, reply};

/// An error of our own in place of the server's.
#[derive(Clone, Debug)]
pub(super) enum Refusal {
    /// A policy blocks the statement.
    Judged(Arc<Judgement>),
    /// We refuse for another reason.
    Fixed(Box<Reason>),
    /// What the server said at another time: the body of an ErrorResponse.
    Servers(Box<[u8]>),
}

#[derive(Clone, Debug)]
pub(super) struct Reason {
    pub(super) sqlstate: [u8; 5],
    pub(super) message: String,
    pub(super) detail: String,
    pub(super) hint: Cow<'static, str>,
}

impl Refusal {
    pub(super) fn fixed(sqlstate: [u8; 5], message: String, hint: Option<&'static str>) -> Self {
        let hint = hint.unwrap_or_default().into();
        Self::Fixed(Box::new(Reason { sqlstate, message, detail: String::new(), hint }))
    }

    /// In words of its own.
    pub(super) fn worded(sqlstate: [u8; 5], message: String, detail: String, hint: String) -> Self {
        Self::Fixed(Box::new(Reason { sqlstate, message, detail, hint: hint.into() }))
    }

    pub(super) fn sqlstate(&self) -> [u8; 5] {
        let blocks = |judgement: &Judgement| {
            judgement.complaints.iter().find(|c| c.action == Action::Block).map(|c| c.sqlstate)
        };
        match self {
            Self::Judged(judgement) => blocks(judgement).unwrap_or_default(),
            Self::Fixed(reason) => reason.sqlstate,
            Self::Servers(body) => {
                view::field(body, b'C').and_then(|code| code.try_into().ok()).unwrap_or_default()
            }
        }
    }

    pub(super) fn add_detail(&mut self, more: &str) {
        if let Self::Fixed(reason) = self {
            reason.detail.push_str(more);
        }
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Servers(body) => reply::message(out, b'E', |out| out.extend_from_slice(body)),
            Self::Judged(judgement) => {
                if let Some(c) = judgement.complaints.iter().find(|c| c.action == Action::Block) {
                    reply::error_response(
                        out,
                        reply::Severity::Error,
                        c.sqlstate,
                        &c.message,
                        &c.detail,
                        &c.hint,
                    );
                }
            }
            Self::Fixed(r) => {
                reply::error_response(
                    out,
                    reply::Severity::Error,
                    r.sqlstate,
                    &r.message,
                    &r.detail,
                    &r.hint,
                );
            }
        }
    }
}

/// A NOTICE for every enforced warning.
pub(super) fn encode_notices(judgement: &Judgement, out: &mut Vec<u8>) {
    for c in judgement.complaints.iter().filter(|c| c.action == Action::Warn) {
        reply::notice_response(out, "NOTICE", c.sqlstate, &c.message, &c.detail, &c.hint);
    }
}

/// Whom a Parse concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    /// The client's, of a name in its table.
    Named,
    /// The client's unnamed statement.
    Unnamed,
    /// The same, under our name.
    Reused,
    /// The client's, of a name that only the server keeps.
    Streamed,
    /// Ours: hidden.
    Ours,
    /// Ours, of the unnamed statement: hidden.
    OursUnnamed,
    /// Ours, under the client's name, for SQL that names it: hidden, and so is its failure.
    Materialised,
}

impl Whose {
    pub(super) fn shown(self) -> bool {
        matches!(self, Self::Named | Self::Unnamed | Self::Reused | Self::Streamed)
    }
}

/// One thing the server owes, or one of our own that has its place among them.
#[derive(Debug)]
pub(super) enum Expect {
    /// ParseComplete. `id` and `serial` are the statement's in the server's table (0: not in it); `effects`: what
    /// it pins.
    Parse {
        id: u64,
        serial: u64,
        whose: Whose,
        effects: Effects,
    },
    Bind,
    /// RowDescription or NoData (a ParameterDescription may come first). Of a named statement: to be noted.
    Describe(Option<ToldColumns>),
    /// The same, asked by us: hidden.
    Columns {
        id: u64,
        told: ToldColumns,
    },
    /// CloseComplete; the name, if SQL `PREPARE` made it.
    Close {
        sql: Option<Box<[u8]>>,
    },
    /// CloseComplete of a statement we evicted: hidden.
    CloseHidden {
        id: u64,
        serial: u64,
    },
    /// CommandComplete, EmptyQueryResponse or PortalSuspended.
    Execute(Option<Run>),
    /// ReadyForQuery.
    Sync,
    /// Everything up to ReadyForQuery.
    Query(Run),
    /// A query of our own, which can't fail: everything up to ReadyForQuery is hidden.
    Hidden,
    /// A Sync of our own.
    HiddenSync,
    /// The same behind a `RESET`: it may fail where the transaction did, and what it reports is for the client.
    Restore,
    /// A question of our own: everything up to ReadyForQuery is its answer.
    Probe(Box<Probe>),
    /// A question for the planner: the same.
    Plan(Box<PlanAsked>),
    /// Settings of a policy's, or their end: everything up to ReadyForQuery is hidden. `asks`: its first row has the
    /// values from before.
    Imposed {
        asks: bool,
    },
    /// The same amid a client's batch, behind its Parse and up to the first CloseComplete.
    Imposing,
    /// A batch of ours about a statement of SQL `PREPARE`, up to its ReadyForQuery.
    Told(Box<Told>),
    /// A message the server is sure to refuse, so that its transaction fails where ours was blocked:
    /// its ErrorResponse is replaced. `query`: sent as a Query, so a ReadyForQuery follows.
    Poison {
        refusal: Refusal,
        query: bool,
    },
    /// The client's CopyDone or CopyFail: no reply, but Syncs before it were not heard by a server in COPY.
    CopyEnd,
    /// ParseComplete of our own. Where it is `named`, a client's name hangs on it.
    LocalParse {
        named: bool,
        effects: Effects,
    },
    /// No reply: the query before deallocated these names of the client's, the first as many as it says.
    Deallocated(Vec<Box<str>>),
    /// CloseComplete of our own.
    LocalClose(Box<ClosedName>),
    /// No reply. The client's unnamed statement was this one before what follows.
    WasUnnamed(Option<Named>),
    LocalNotices(Arc<Judgement>),
}

impl Expect {
    /// Ends with a ReadyForQuery.
    pub(super) fn ends_ready(&self) -> bool {
        matches!(self, Self::Sync | Self::Query(_) | Self::Poison { query: true, .. }) || self.is_ours()
    }

    /// Not the server's: answered where it stands.
    pub(super) fn is_local(&self) -> bool {
        matches!(
            self,
            Self::LocalParse { .. }
                | Self::LocalClose(_)
                | Self::LocalNotices(_)
                | Self::Deallocated(_)
                | Self::CopyEnd
                | Self::WasUnnamed(_)
        )
    }

    pub(super) fn into_told(self) -> Option<Told> {
        if let Self::Told(told) = self { Some(*told) } else { None }
    }

    /// A query of our own: the client hears nothing of it.
    pub(super) fn is_ours(&self) -> bool {
        matches!(
            self,
            Self::Hidden
                | Self::HiddenSync
                | Self::Restore
                | Self::Imposed { .. }
                | Self::Probe(_)
                | Self::Plan(_)
                | Self::Told(_)
        )
    }
}

pub(super) type Queue = VecDeque<Expect>;
