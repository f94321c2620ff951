//! What the shell must know of a server connection to bound its time, and what a client is told when it ran out.

use super::answers::Show;
use super::backend::Backend;
use super::expect::Refusal;
use crate::wire::{backend as view, sqlstate};

impl Backend {
    /// How often a transaction ended.
    #[must_use]
    pub fn rests(&self) -> u64 {
        self.rests
    }

    /// A message to the client is not through yet.
    #[must_use]
    pub fn is_inside(&self) -> bool {
        self.rest > 0 && !self.rest_hidden
    }

    /// What runs is being cancelled because it took too long: the client is told so, not that it asked for it.
    pub fn overran(&mut self) {
        self.overran = !self.queue.is_empty();
    }

    /// The server knows only that somebody asked it to cancel.
    pub(super) fn name_timeout(&mut self, body: &[u8], show: Show) -> Show {
        let canceled = view::field(body, b'C') == Some(&sqlstate::QUERY_CANCELED);
        if !(matches!(show, Show::Pass) && canceled && std::mem::take(&mut self.overran)) {
            return show;
        }
        let message = "canceling statement due to statement timeout".to_owned();
        Show::Replace(Refusal::fixed(
            sqlstate::QUERY_CANCELED,
            message,
            Some("pgsluice's query_timeout ran out."),
        ))
    }
}
