//! COPY FROM STDIN: what the client sends while it runs.

use super::backend::Backend;
use super::client::Session;
use super::expect::Expect;
use super::turn::{Flow, Turn};

impl Session {
    pub(super) fn copy_data(&mut self, t: &mut Turn<'_, '_>) -> Flow {
        // Without a server it is what a failed COPY left in flight; PostgreSQL ignores it, too.
        let passes = t.link.is_some();
        if let Some(link) = t.link.as_deref_mut()
            && t.header.tag != b'd'
        {
            if link.copy_in {
                link.copy_in = false;
            } else if !link.queue.is_empty() {
                link.queue.push_back(Expect::CopyEnd);
            }
        }
        self.stream(t, passes);
        Flow::Done
    }
}

impl Backend {
    /// A server in COPY FROM STDIN ignores Sync until the copy ends: those already sent bring no ReadyForQuery.
    pub(super) fn copy_begins(&mut self) {
        let end = self.queue.iter().position(|e| matches!(e, Expect::CopyEnd));
        self.copy_in = end.is_none();
        let end = end.unwrap_or(self.queue.len());
        let mut at = 0;
        let before = self.queue.len();
        self.queue.retain(|e| {
            let keep = at >= end || !matches!(e, Expect::Sync);
            at += 1;
            keep
        });
        self.ended += (before - self.queue.len()) as u64;
        if self.copy_in && !matches!(self.queue.front(), Some(Expect::Query(_))) {
            self.unsynced = true;
        }
    }
}
