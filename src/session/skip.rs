//! After an error: what the server discards up to Sync, and what is as it was before.

use super::Ledger;
use super::backend::Backend;
use super::client::Session;
use super::expect::{Expect, Whose};
use crate::guard::Effects;

impl Backend {
    /// The server discards everything up to the next Sync: so do we.
    pub(super) fn skip_to_sync<L: Ledger>(&mut self, s: &mut Session, ledger: &mut L) {
        // What is at the front failed by itself, and a Parse that fails leaves no unnamed statement.
        let failed =
            matches!(self.queue.front(), Some(Expect::Parse { whose: Whose::Unnamed | Whose::Reused, .. }));
        let mut unnamed = failed.then_some(None);
        // Whatever was prepared from this on was skipped, so its Close counts for nothing.
        let (mut withdrawn, mut unparsed) = (None, None);
        let mut reopened = Vec::new();
        let mut runs = 0;
        while !matches!(self.queue.front(), None | Some(Expect::Sync | Expect::HiddenSync)) {
            match self.queue.pop_front() {
                Some(Expect::Parse { id, serial, whose, .. }) => {
                    self.prepared.withdraw(id, serial);
                    unparsed = unparsed.or((id != 0).then_some(serial));
                    match whose {
                        Whose::Named => withdrawn = withdrawn.or(s.name_withdrawn()),
                        Whose::Unnamed | Whose::OursUnnamed => self.drop_unnamed(),
                        Whose::Streamed | Whose::Ours | Whose::Reused | Whose::Materialised => {}
                    }
                }
                Some(Expect::LocalParse { named: true, .. }) => withdrawn = withdrawn.or(s.name_withdrawn()),
                Some(Expect::LocalClose(closed)) if closed.is_before(withdrawn) => reopened.push(*closed),
                Some(Expect::Close { sql: Some(name) }) => s.sql_name_stays(&name),
                Some(Expect::WasUnnamed(before)) => unnamed = unnamed.or(Some(before)),
                Some(Expect::CloseHidden { id, serial })
                    if id != 0 && unparsed.is_none_or(|n| serial < n) =>
                {
                    self.prepared.restore(id, serial);
                }
                Some(Expect::Execute(run)) => {
                    runs += 1;
                    // The first is the one that failed, be it at its Bind; those behind it did not run.
                    if let Some(run) = run.filter(|_| runs == 1) {
                        self.account(&run, s, ledger);
                    }
                }
                Some(Expect::Columns { .. }) => self.looked(),
                Some(Expect::Query(_) | Expect::Poison { query: true, .. }) => self.ended += 1,
                _ => {}
            }
        }
        self.ran = Effects::NONE; // what was skipped did nothing
        self.error_skip = self.queue.is_empty();
        reopened.into_iter().for_each(|closed| s.name_restored(closed));
        if let Some(unnamed) = unnamed {
            // A later batch may have another one already: then this is what was before that.
            let later = self.queue.iter_mut().find_map(|expect| match expect {
                Expect::WasUnnamed(before) => Some(before),
                _ => None,
            });
            *later.unwrap_or(&mut s.unnamed) = unnamed;
        }
    }
}
