//! `cached plan must not change result type`: repaired where the client can't tell.
//!
//! A statement that a server holds from before a change of its table fails when it is bound. Nothing has run then. If
//! nothing but ParseComplete has reached the client either, and no transaction is open, what the client sent is fed
//! once more, and the statement prepared anew.
//!
//! Only where the client is told what the rows look like: a driver that asked for a statement's columns when it
//! prepared it would read the new rows as the old ones. The error is what makes it ask again.

use super::backend::Backend;
use super::client::Session;
use super::expect::Expect;
use super::turn::Turn;
use crate::wire::backend as view;

/// Larger batches are not kept.
const KEPT_MAX: usize = 4096;
/// Where PostgreSQL raises the error (plancache.c); its SQLSTATE alone says only "feature not supported".
const ROUTINE: &[u8] = b"RevalidateCachedQuery";

/// How much of the batch under way could be fed again. Only a batch that came in one piece.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Batch {
    /// None is under way, or not one that is kept.
    #[default]
    No,
    /// It began with a Parse.
    Parsed,
    /// From here on in the input. `told`: the text is read anew, or its columns are asked for.
    From { at: usize, told: bool },
}

impl Session {
    /// Follows a batch, message by message.
    #[inline]
    pub(super) fn follow(&mut self, t: &mut Turn<'_, '_>) {
        let Some(link) = t.link.as_deref_mut() else { return };
        let next = match (t.header.tag, self.batch) {
            (b'P', Batch::No) if link.fresh() => Batch::Parsed,
            (tag @ (b'B' | b'D'), Batch::No) if link.fresh() => Batch::From { at: t.at, told: tag == b'D' },
            (b'B' | b'D', Batch::Parsed) => Batch::From { at: t.at, told: true },
            (tag @ (b'B' | b'D' | b'E'), Batch::From { at, told }) => {
                Batch::From { at, told: told || tag == b'D' }
            }
            (b'S', Batch::From { at, told: true }) => {
                let end = t.at + t.header.total;
                let bytes = t.up.input().get(at..end).filter(|bytes| bytes.len() <= KEPT_MAX);
                link.kept.clear();
                link.kept.extend_from_slice(bytes.unwrap_or_default());
                Batch::No
            }
            _ => {
                link.kept.clear(); // something else is on its way
                Batch::No
            }
        };
        self.batch = next;
    }
}

impl Backend {
    /// The error is one that another try mends.
    pub(super) fn is_repairable(&self, body: &[u8]) -> bool {
        let ends = self.queue.iter().filter(|e| e.ends_ready()).count();
        view::field(body, b'C') == Some(b"0A000")
            && view::field(body, b'R') == Some(ROUTINE)
            && matches!(self.queue.front(), Some(Expect::Bind | Expect::Describe(_)))
            && matches!(self.queue.back(), Some(Expect::Sync))
            && ends == 1
            && self.status == b'I'
            && !self.kept.is_empty()
            && !self.shown
            && !self.repaired
    }

    /// The client must not be heard before its last batch is fed again.
    #[must_use]
    pub(super) fn is_repairing(&self) -> bool {
        self.repairing
    }

    /// What the session is to be fed once more; to be asked for whenever the server is idle.
    pub fn take_repair(&mut self) -> Option<Vec<u8>> {
        std::mem::take(&mut self.repairing).then(|| std::mem::take(&mut self.kept))
    }
}
