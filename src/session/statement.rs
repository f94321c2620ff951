//! Prepared statements, one [`Statement`] for each text, parameter types and settings they are read under.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use quick_cache::unsync::Cache;
use quick_cache::{Equivalent, Weighter};

/// What a client prepared; servers know it by [`Statement::id`].
#[derive(Debug)]
pub struct Statement {
    /// Unique in the process: `thread << 48 | counter`, never 0.
    pub id: u64,
    /// Hash of the settings the text was read under: the same text means something else with another DateStyle.
    settings: u64,
    /// The Parse message behind its name: text, NUL, types.
    pub tail: Box<[u8]>,
}

impl Statement {
    /// The text without its NUL.
    #[must_use]
    pub fn text(&self) -> &[u8] {
        self.tail.split(|&b| b == 0).next().unwrap_or_default()
    }
}

#[derive(Clone)]
struct Key(Arc<Statement>);

struct Probe<'a>(u64, &'a [u8]);

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Probe(self.0.settings, &self.0.tail).hash(state);
    }
}
impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.0.settings == other.0.settings && self.0.tail == other.0.tail
    }
}
impl Eq for Key {}
impl Hash for Probe<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0);
        state.write(self.1);
    }
}
impl Equivalent<Key> for Probe<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        self.0 == key.0.settings && *self.1 == *key.0.tail
    }
}

#[derive(Clone)]
struct Bytes;
impl Weighter<Key, Arc<Statement>> for Bytes {
    fn weight(&self, _: &Key, statement: &Arc<Statement>) -> u64 {
        statement.tail.len() as u64 + 96
    }
}

/// Gives equal statements one identity. Bounded: a statement that falls out keeps its id with whoever holds it.
pub struct Interner {
    cache: Cache<Key, Arc<Statement>, Bytes, ahash::RandomState>,
    next: u64,
}

impl Interner {
    /// `thread` keeps ids of several interners apart; `seed` is random; `bytes` bounds the memory.
    #[must_use]
    pub fn new(thread: u16, seed: [u64; 4], bytes: u64) -> Self {
        let hasher = ahash::RandomState::with_seeds(seed[0], seed[1], seed[2], seed[3]);
        let items = usize::try_from(bytes / 256).unwrap_or(usize::MAX);
        let cache =
            Cache::with(items, bytes, Bytes, hasher, quick_cache::unsync::DefaultLifecycle::default());
        Self { cache, next: u64::from(thread) << 48 | 1 }
    }

    /// The statement of a Parse's tail, and whether it was seen before. No allocation then.
    pub fn get(&mut self, settings: u64, tail: &[u8]) -> (Arc<Statement>, bool) {
        let probe = Probe(settings, tail);
        if let Some(statement) = self.cache.get(&probe) {
            return (Arc::clone(statement), true);
        }
        let statement = self.new_statement(settings, tail);
        self.cache.insert(Key(Arc::clone(&statement)), Arc::clone(&statement));
        (statement, false)
    }

    /// A statement of its own, shared with nobody: what it means now is not known.
    pub fn apart(&mut self, tail: &[u8]) -> Arc<Statement> {
        self.new_statement(0, tail)
    }

    fn new_statement(&mut self, settings: u64, tail: &[u8]) -> Arc<Statement> {
        let statement = Arc::new(Statement { id: self.next, settings, tail: tail.into() });
        self.next += 1;
        statement
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_statements_have_one_identity() {
        let mut i = Interner::new(1, [1, 2, 3, 4], 1 << 20);
        let (a, seen) = i.get(7, b"SELECT 1\0\0\0");
        assert!(!seen && i.get(7, b"SELECT 1\0\0\0").1);
        assert_eq!(i.get(7, b"SELECT 1\0\0\0").0.id, a.id);
        assert_ne!(i.get(8, b"SELECT 1\0\0\0").0.id, a.id, "other settings, other meaning");
        assert_ne!(i.get(7, b"SELECT 1\0\0\x01\0\0\0\x17").0.id, a.id, "other types");
        assert_eq!(a.text(), b"SELECT 1");
    }

    #[test]
    fn memory_is_bounded() {
        let mut i = Interner::new(0, [1, 2, 3, 4], 10_000);
        for n in 0..10_000u32 {
            i.get(0, &n.to_be_bytes());
        }
        assert!(i.cache.weight() <= 10_000);
    }
}
