//! The statements one server connection holds, and the names it knows them by.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;

/// A server-side name: `pgsluice_<id>_<serial>`, hexadecimal.
pub(super) struct ServerName {
    bytes: [u8; 48],
    len: usize,
}

/// Our namespace on a server. A client's own names never reach into it.
pub(super) const PREFIX: &[u8] = b"pgsluice_";

impl ServerName {
    pub(super) fn new(id: u64, serial: u64) -> Self {
        let mut name = Self { bytes: [0; 48], len: 0 };
        PREFIX.iter().for_each(|&b| name.push(b));
        name.hex(id);
        name.push(b'_');
        name.hex(serial);
        name
    }
    fn push(&mut self, b: u8) {
        if let Some(slot) = self.bytes.get_mut(self.len) {
            *slot = b;
            self.len += 1;
        }
    }
    fn hex(&mut self, n: u64) {
        let digits = (64 - n.leading_zeros()).div_ceil(4).max(1);
        for d in (0..digits).rev() {
            self.push(b"0123456789abcdef"[(n >> (d * 4) & 15) as usize]);
        }
    }
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// The batch of an entry that the server may not hold any more: never settled.
const DOUBTFUL: u64 = u64::MAX;

#[derive(Clone, Copy, Debug)]
struct Entry {
    /// Part of the name. No two Parses on one connection have the same: whatever becomes of one, and whatever a
    /// client deallocates behind our back, no name is made twice.
    serial: u64,
    /// The batch its Parse was sent in.
    batch: u64,
    /// The schema it was parsed under: counts changes.
    epoch: u64,
    used: u64,
}

/// Bounded, least recently used out first. An entry stands for a Parse sent, withdrawn if it failed.
#[derive(Debug)]
pub(super) struct Prepared {
    held: HashMap<u64, Entry, ahash::RandomState>,
    /// Statements still to be closed.
    left: Vec<(u64, u64)>,
    clock: u64,
    serial: u64,
    max: usize,
}

impl Prepared {
    pub(super) fn new(max: usize) -> Self {
        let hasher = ahash::RandomState::with_seeds(1, 2, 3, 4); // keys are our own counters
        Self { held: HashMap::with_hasher(hasher), left: Vec::new(), clock: 0, serial: 0, max: max.max(1) }
    }

    /// The name the server has for a statement; one it doesn't know if it isn't here.
    pub(super) fn name(&self, id: u64) -> ServerName {
        ServerName::new(id, self.held.get(&id).map_or(0, |entry| entry.serial))
    }

    /// The batch in which the statement's Parse was sent; marks it used.
    pub(super) fn touch(&mut self, id: u64) -> Option<u64> {
        self.clock += 1;
        let entry = self.held.get_mut(&id)?;
        entry.used = self.clock;
        Some(entry.batch)
    }

    /// What must be closed before a statement is added, until there is no more: its own predecessor, or the least
    /// recently used if the table is full.
    pub(super) fn make_room(&mut self, id: u64) -> Option<(u64, u64)> {
        if let Some(left) = self.left.pop() {
            return Some(left);
        }
        let full = self.held.len() >= self.max;
        let oldest = || self.held.iter().min_by_key(|(_, entry)| entry.used).map(|(id, _)| *id);
        let victim = if self.held.contains_key(&id) || !full { id } else { oldest()? };
        Some((victim, self.held.remove(&victim)?.serial))
    }

    /// It was parsed under this schema.
    pub(super) fn is_current(&self, id: u64, epoch: u64) -> bool {
        self.held.get(&id).is_some_and(|entry| entry.epoch == epoch)
    }

    /// Whether a statement that nobody named is worth a place: where there is room, and now and then where there is
    /// none, or more hot texts than places would push each other out at every turn.
    pub(super) fn admits(&self, id: u64) -> bool {
        self.held.len() < self.max || self.held.contains_key(&id) || self.clock.is_multiple_of(16)
    }

    /// Everything that is held; forgotten here.
    pub(super) fn drain(&mut self) -> Vec<(u64, u64)> {
        let mut all = std::mem::take(&mut self.left);
        all.extend(self.held.drain().map(|(id, entry)| (id, entry.serial)));
        all
    }

    /// Adds a statement. Returns its serial.
    pub(super) fn insert(&mut self, id: u64, batch: u64, epoch: u64) -> u64 {
        self.clock += 1;
        self.serial += 1;
        self.held.insert(id, Entry { serial: self.serial, batch, epoch, used: self.clock });
        self.serial
    }

    /// The Parse failed or was skipped.
    pub(super) fn withdraw(&mut self, id: u64, serial: u64) {
        if self.held.get(&id).is_some_and(|entry| entry.serial == serial) {
            self.held.remove(&id);
        }
    }

    /// The Close was skipped: the server still holds it, unless its Parse was skipped, too.
    pub(super) fn restore(&mut self, id: u64, serial: u64) {
        match self.held.entry(id) {
            // Parsed anew meanwhile.
            Slot::Occupied(_) => self.left.push((id, serial)),
            Slot::Vacant(slot) => {
                slot.insert(Entry { serial, batch: DOUBTFUL, epoch: 0, used: 0 });
            }
        }
    }

    /// A client may have deallocated any of them: whoever needs one closes it, if it is there, and parses it anew.
    pub(super) fn doubt(&mut self) {
        self.held.values_mut().for_each(|entry| entry.batch = DOUBTFUL);
    }

    pub(super) fn doubt_one(&mut self, id: u64) {
        if let Some(entry) = self.held.get_mut(&id) {
            entry.batch = DOUBTFUL;
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.held.len() + self.left.len()
    }

    /// The server holds none.
    pub(super) fn forget(&mut self) {
        self.held.clear();
        self.left.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_is_made_twice() {
        let mut p = Prepared::new(2);
        assert_eq!(p.insert(0x1f, 0, 0), 1);
        assert_eq!(p.name(0x1f).as_bytes(), b"pgsluice_1f_1");
        p.forget();
        assert_eq!(p.insert(0x1f, 0, 0), 2);
        assert_eq!(p.make_room(0x1f), Some((0x1f, 2)), "the one before is closed");
        assert_eq!(
            ServerName::new(u64::MAX, u64::MAX).as_bytes(),
            b"pgsluice_ffffffffffffffff_ffffffffffffffff"
        );
    }

    #[test]
    fn the_least_recently_used_goes() {
        let mut p = Prepared::new(2);
        assert_eq!(
            (p.make_room(1), p.insert(1, 0, 0), p.make_room(2), p.insert(2, 0, 0)),
            (None, 1, None, 2)
        );
        assert!(p.touch(1).is_some());
        assert_eq!((p.make_room(3), p.make_room(3), p.insert(3, 0, 0)), (Some((2, 2)), None, 3));
        assert!(p.touch(2).is_none());
        assert_eq!(p.held.len(), 2);
        p.withdraw(3, 1);
        assert!(p.touch(3).is_some(), "of another Parse");
    }
}
