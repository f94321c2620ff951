//! SQL that names a statement of the protocol: `EXECUTE`, `DEALLOCATE`, `PREPARE`, `pg_prepared_statements`.
//!
//! On a server a client's statements have our names. Before SQL that can tell, they get the client's, right before it
//! on the same connection, and lose it right behind it: the server itself then says what it always says.

use super::backend::Backend;
use super::client::Session;
use super::expect::{Expect, Whose};
use super::outlet::Outlet;
use super::prepared::ServerName;
use super::turn::Turn;
use crate::guard::{Effects, Judgement};
use crate::wire::frontend;

impl Session {
    /// Before a simple query.
    pub(super) fn materialise(&mut self, judgement: &Judgement, t: &mut Turn<'_, '_>) {
        if t.link.as_ref().is_none_or(|link| link.unsynced) || !self.materialise_for(judgement, t) {
            return;
        }
        if let Some(link) = t.link.as_deref_mut() {
            hidden_sync(link, t.up);
        }
    }

    /// Before a Bind; true if anything was sent.
    pub(super) fn materialise_for(&mut self, judgement: &Judgement, t: &mut Turn<'_, '_>) -> bool {
        let all = judgement.effects.has(Effects::READS_PREPARED);
        if !all && (judgement.prepared.is_empty() || self.names.is_none()) {
            return false;
        }
        let Some(link) = t.link.as_deref_mut() else { return false };
        let mut sent = false;
        if all {
            for (id, serial) in link.prepared.drain() {
                let name = ServerName::new(id, serial);
                t.up.add(|v| frontend::put_statement_target(v, b'C', name.as_bytes()));
                link.queue.push_back(Expect::CloseHidden { id, serial });
                sent = true;
            }
        }
        let names = if all { self.in_order() } else { self.mentioned(judgement) };
        for (name, statement) in names {
            if link.materialised.contains(&name) {
                continue;
            }
            t.up.add(|v| frontend::put_parse(v, &name, &statement.tail));
            let (whose, effects) = (Whose::Materialised, Effects::NONE);
            link.queue.push_back(Expect::Parse { id: 0, serial: 0, whose, effects });
            link.materialised.push(name);
            sent = true;
        }
        sent
    }

    fn mentioned(&self, judgement: &Judgement) -> Vec<(Box<[u8]>, std::sync::Arc<super::Statement>)> {
        let named = judgement
            .prepared
            .iter()
            .filter_map(|(name, _)| Some((name.as_bytes().into(), self.lookup(name.as_bytes())?.statement)));
        named.collect()
    }

    /// Behind a statement that deallocates some of the client's names, if it succeeds.
    pub(super) fn deallocates(&mut self, judgement: &Judgement, t: &mut Turn<'_, '_>) {
        let gone: Vec<_> =
            judgement.prepared.iter().filter(|(_, gone)| *gone).map(|(name, _)| name.clone()).collect();
        if let Some(link) = t.link.as_deref_mut()
            && !gone.is_empty()
        {
            link.queue.push_back(Expect::Deallocated(gone));
        }
    }
}

/// The text deallocates a name and then uses it again: what has it behind the text is known only when it has run.
pub(super) fn renames(judgement: &Judgement) -> bool {
    let mut gone = judgement.prepared.iter().enumerate().filter(|(_, (_, gone))| *gone);
    gone.any(|(at, (name, _))| judgement.prepared.iter().skip(at).any(|(again, gone)| again == name && !gone))
}

impl Backend {
    /// Behind the batch: the names are the client's alone again. `has`: it has a statement of the protocol by that name;
    /// else what the server has by it is SQL's.
    pub(super) fn dematerialise(&mut self, has: impl Fn(&[u8]) -> bool, up: &mut Outlet<'_>) {
        if self.materialised.is_empty() {
            return;
        }
        for name in std::mem::take(&mut self.materialised).into_iter().filter(|name| has(name)) {
            up.add(|v| frontend::put_statement_target(v, b'C', &name));
            self.queue.push_back(Expect::CloseHidden { id: 0, serial: 0 });
        }
        hidden_sync(self, up);
    }
}

fn hidden_sync(link: &mut Backend, up: &mut Outlet<'_>) {
    up.add(|v| crate::wire::reply::message(v, b'S', |_| ()));
    link.expect_end(Expect::HiddenSync);
}
