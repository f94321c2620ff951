//! A client's prepared statements: its names, and the unnamed one.
//!
//! A name holds from when its Parse is sent. What the server refuses or skips is taken back when it says so.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::client::Session;
use super::columns::ToldColumns;
use super::expect::{Expect, Refusal};
use super::statement::Statement;
use super::turn::Turn;
use crate::guard::Judgement;
use crate::wire::sqlstate;

/// A prepared statement as a client knows it.
#[derive(Clone, Debug)]
pub(super) struct Named {
    pub(super) statement: Arc<Statement>,
    pub(super) judgement: Arc<Judgement>,
    /// What the client sent, once a policy had another text prepared in its place.
    pub(super) own: Option<Arc<[u8]>>,
    /// The guard's when it was judged.
    pub(super) generation: u32,
    /// Counts this client's named Parses: one that was taken back is told from a later one of the same name.
    pub(super) serial: u64,
    /// The client's unnamed statement, under our name on the servers: see `reuse.rs`.
    pub(super) reused: bool,
    /// The columns the client was told; `None`: it has no name.
    pub(super) told: Option<ToldColumns>,
    /// The types of its parameters, once the client was told of them.
    pub(super) types: Option<Arc<[u32]>>,
}

impl Named {
    /// The Parse message behind its name, as the client sent it.
    pub(super) fn own_tail(&self) -> &[u8] {
        self.own.as_deref().unwrap_or(&self.statement.tail)
    }

    /// The client's text: what is judged.
    pub(super) fn own_text(&self) -> &[u8] {
        self.own_tail().split(|&b| b == 0).next().unwrap_or_default()
    }

    fn bytes(&self) -> usize {
        self.statement.tail.len() + self.own.as_ref().map_or(0, |own| own.len())
    }
}

/// The client's named statements. Most clients have none: boxed and absent until the first.
#[derive(Debug, Default)]
pub(super) struct Names {
    pub(super) known: HashMap<Box<[u8]>, Named, ahash::RandomState>,
    /// Names whose ParseComplete has not come yet, oldest first.
    tentative: VecDeque<(Box<[u8]>, u64)>,
    bytes: usize,
    serial: u64,
}

/// A name the client closed: it comes back if the server skips the Close.
#[derive(Debug)]
pub(super) struct ClosedName {
    name: Box<[u8]>,
    named: Named,
}

impl ClosedName {
    /// Its Parse came before that one.
    pub(super) fn is_before(&self, serial: Option<u64>) -> bool {
        serial.is_none_or(|serial| self.named.serial < serial)
    }
}

impl Names {
    fn insert(&mut self, name: Box<[u8]>, named: Named) {
        self.bytes += name.len() + named.bytes();
        self.known.insert(name, named);
    }

    fn remove(&mut self, name: &[u8]) -> Option<(Box<[u8]>, Named)> {
        let (name, named) = self.known.remove_entry(name)?;
        self.bytes = self.bytes.saturating_sub(name.len() + named.bytes());
        Some((name, named))
    }
}

impl Session {
    pub(super) fn lookup(&self, name: &[u8]) -> Option<Named> {
        self.names.as_ref()?.known.get(name).cloned()
    }

    /// What was judged while there was no server yet, if it still holds.
    pub(super) fn judged_before(&mut self, generation: u32) -> Option<Arc<Judgement>> {
        self.judged.take().filter(|(then, _)| *then == generation).map(|(_, judgement)| judgement)
    }

    /// It was judged by what holds now.
    pub(super) fn judged_anew(&mut self, name: &[u8], new: &Named, generation: u32) {
        if name.is_empty() {
            if let Some(named) = &mut self.unnamed {
                *named = Named { generation, ..new.clone() };
            }
        } else if let Some(names) = &mut self.names
            && let Some(named) = names.known.get_mut(name)
        {
            names.bytes = names.bytes.saturating_sub(named.bytes()) + new.bytes();
            *named = Named { generation, ..new.clone() };
        }
    }

    /// A Parse of this name is sent.
    pub(super) fn add_name(&mut self, name: &[u8], mut named: Named) {
        let names = self.names.get_or_insert_default();
        names.serial += 1;
        named.serial = names.serial;
        names.tentative.push_back((name.into(), named.serial));
        names.insert(name.into(), named);
    }

    /// Its Parse may still fail.
    pub(super) fn is_tentative(&self, named: &Named) -> bool {
        if named.reused {
            return false;
        }
        let oldest = self.names.as_ref().and_then(|names| names.tentative.front());
        oldest.is_some_and(|(_, serial)| named.serial >= *serial)
    }

    /// Every name with its statement, in the order in which they were prepared.
    pub(super) fn in_order(&self) -> Vec<(Box<[u8]>, Arc<Statement>)> {
        let known = self.names.iter().flat_map(|names| &names.known);
        let mut all: Vec<_> =
            known.map(|(name, n)| (n.serial, name.clone(), Arc::clone(&n.statement))).collect();
        all.sort_unstable_by_key(|(serial, ..)| *serial);
        all.into_iter().map(|(_, name, statement)| (name, statement)).collect()
    }

    /// Takes a name from the client's table; `None` if it wasn't there.
    pub(super) fn close_name(&mut self, name: &[u8]) -> Option<Box<ClosedName>> {
        let (name, named) = self.names.as_mut()?.remove(name)?;
        Some(Box::new(ClosedName { name, named }))
    }

    /// The client is told of a statement's parameters. `body`: a ParameterDescription's.
    pub(super) fn note_types(&mut self, told: &ToldColumns, body: &[u8]) {
        let types = body.get(2..).unwrap_or_default().chunks_exact(4);
        if types.len() == 0 {
            return;
        }
        let mut known = self.names.iter_mut().flat_map(|names| names.known.values_mut());
        let of_it = |named: &&mut Named| named.told.as_ref().is_some_and(|other| Arc::ptr_eq(other, told));
        if let Some(named) = known.find(of_it) {
            let oid = |bytes: &[u8]| bytes.first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes));
            named.types = Some(types.map(oid).collect());
        }
    }

    /// The oldest tentative name was confirmed by ParseComplete.
    pub(super) fn name_confirmed(&mut self) {
        if let Some(names) = self.names.as_mut() {
            names.tentative.pop_front();
        }
    }

    /// The oldest tentative name's Parse failed or was skipped. Returns its serial.
    pub(super) fn name_withdrawn(&mut self) -> Option<u64> {
        let names = self.names.as_mut()?;
        let (name, serial) = names.tentative.pop_front()?;
        if names.known.get(&name).is_some_and(|named| named.serial == serial) {
            names.remove(&name);
        }
        Some(serial)
    }

    /// Its Close was skipped.
    pub(super) fn name_restored(&mut self, closed: ClosedName) {
        let names = self.names.get_or_insert_default();
        if !names.known.contains_key(&closed.name) {
            names.insert(closed.name, closed.named);
        }
    }

    /// Every prepared statement is gone, but for those whose Parse is still on its way.
    pub(super) fn deallocated(&mut self) {
        self.forget_sql_names();
        let Some(names) = self.names.as_mut() else { return };
        if names.tentative.is_empty() {
            self.names = None;
            return;
        }
        let oldest = names.tentative.front().map_or(u64::MAX, |(_, serial)| *serial);
        names.known.retain(|_, named| named.serial >= oldest);
        names.bytes = names.known.iter().map(|(name, named)| name.len() + named.bytes()).sum();
    }

    /// The unnamed statement is another one from here on; what it was is put on record as long as this may yet
    /// be skipped.
    pub(super) fn set_unnamed(&mut self, unnamed: Option<Named>, t: &mut Turn<'_, '_>) {
        self.unnamed_streamed = false;
        let changes = self.unnamed.is_some() || unnamed.is_some();
        let before = std::mem::replace(&mut self.unnamed, unnamed);
        let link = t.link.as_deref_mut().filter(|link| !link.queue.is_empty());
        // An entry before this one may bring back what this one takes for good.
        self.unnamed_recorded &= link.is_some();
        if let Some(link) = link.filter(|_| changes || self.unnamed_recorded) {
            self.unnamed_recorded = true;
            link.queue.push_back(Expect::WasUnnamed(before));
        }
    }

    pub(super) fn over_budget(&self, budget: usize, named: &Named, name: &[u8]) -> Option<Refusal> {
        let held = self.names.as_ref().map_or(0, |names| names.bytes);
        if held + name.len() + named.bytes() <= budget {
            return None;
        }
        let message = format!("prepared statements of this client exceed {budget} bytes");
        let hint = "Close statements that are no longer used, or raise pool.prepared_statement_bytes.";
        Some(Refusal::fixed(sqlstate::CONFIGURATION_LIMIT_EXCEEDED, message, Some(hint)))
    }
}
