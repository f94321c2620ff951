//! Lists of names, each once, in order of appearance.

use std::collections::BTreeSet;

use ahash::RandomState;

use crate::guard::sql::parse::{Node, NodeList, nodes};

/// A few names are looked through one by one; a hostile text with thousands of them is not.
const FEW: usize = 16;

/// Names in order of appearance, each once.
#[derive(Default)]
pub(super) struct Names {
    list: Vec<String>,
    /// Filled once there are more than a few.
    index: Index,
    /// A name of several parts, put together to be looked up.
    joined: String,
}

impl Names {
    pub(super) fn add(&mut self, name: &str) {
        if self.is_new(name) {
            self.list.push(name.to_owned());
        }
    }

    pub(super) fn add_qualified(&mut self, schema: Option<&str>, name: &str) {
        match schema {
            Some(schema) => self.add_joined(&[schema, ".", name]),
            None => self.add(name),
        }
    }

    /// A name in several parts.
    pub(super) fn add_joined(&mut self, parts: &[&str]) {
        let mut joined = std::mem::take(&mut self.joined);
        joined.clear();
        joined.extend(parts.iter().copied());
        self.add(&joined);
        self.joined = joined;
    }

    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    /// All of another list.
    pub(super) fn append(&mut self, others: Self) {
        if self.list.is_empty() {
            *self = others;
            return;
        }
        for name in others.list {
            if self.is_new(&name) {
                self.list.push(name);
            }
        }
    }

    /// Whether a name is not among them; then it must be put at the list's end.
    fn is_new(&mut self, name: &str) -> bool {
        if self.list.len() < FEW {
            return !self.list.iter().any(|known| known == name);
        }
        if self.index.places.is_empty() {
            self.index = Index::of(&self.list);
        }
        self.index.insert(name, &self.list)
    }

    /// A name of PostgreSQL's own catalog is among them.
    pub(super) fn has_builtin(&self, name: &str) -> bool {
        self.list.iter().any(|known| known.strip_prefix("pg_catalog.").unwrap_or(known) == name)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &str> {
        self.list.iter().map(String::as_str)
    }

    pub(super) fn into_vec(self) -> Vec<String> {
        self.list
    }
}

/// Where each name of a list stands, by its hash. The hash is the same in every run, so that somebody may have made
/// thousands of names for one place: what finds none nearby is kept in order instead.
#[derive(Default)]
struct Index {
    /// A hash and the number of its name, from 1; 0: empty. A power of two of them.
    places: Vec<(u32, u32)>,
    crowded: BTreeSet<String>,
}

/// Places that are looked at for a name.
const NEARBY: usize = 24;

impl Index {
    fn of(list: &[String]) -> Self {
        let mut index =
            Self { places: vec![(0, 0); (list.len() * 4).next_power_of_two()], ..Self::default() };
        for (at, name) in list.iter().enumerate() {
            if !index.put(hash(name), at) {
                index.crowded.insert(name.clone());
            }
        }
        index
    }

    /// Whether a name is new; then it stands at the end of `list` from now on.
    fn insert(&mut self, name: &str, list: &[String]) -> bool {
        if list.len() * 2 >= self.places.len() {
            *self = Self::of(list);
        }
        let hash = hash(name);
        for place in self.nearby(hash) {
            match self.places.get(place) {
                Some((_, 0)) | None => break,
                Some((known, number)) if *known == hash => {
                    if list.get(*number as usize - 1).is_some_and(|known| known == name) {
                        return false;
                    }
                }
                Some(_) => {}
            }
        }
        if !self.crowded.is_empty() && self.crowded.contains(name) {
            return false;
        }
        if !self.put(hash, list.len()) {
            self.crowded.insert(name.to_owned());
        }
        true
    }

    fn nearby(&self, hash: u32) -> impl Iterator<Item = usize> + use<> {
        let mask = self.places.len().wrapping_sub(1);
        (0..NEARBY).map(move |step| (hash as usize).wrapping_add(step) & mask)
    }

    /// False where all places nearby are taken.
    fn put(&mut self, hash: u32, at: usize) -> bool {
        let Ok(number) = u32::try_from(at + 1) else { return false };
        for place in self.nearby(hash) {
            if let Some(place @ (_, 0)) = self.places.get_mut(place) {
                *place = (hash, number);
                return true;
            }
        }
        false
    }
}

fn hash(name: &str) -> u32 {
    RandomState::with_seeds(1, 2, 3, 4).hash_one(name) as u32
}

/// A name's schema, where it has one, and the name itself: the last two of `catalog.schema.name`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Qualified<'a> {
    pub(super) schema: Option<&'a str>,
    pub(super) name: &'a str,
}

impl<'a> Qualified<'a> {
    /// `None` where the parts hold no name (`*`, a subscript).
    pub(super) fn of_list(parts: &'a NodeList) -> Option<Self> {
        Self::of_parts(parts.iter())
    }

    pub(super) fn of_parts(parts: impl Iterator<Item = Node<'a>>) -> Option<Self> {
        let mut schema = None;
        let mut name = None;
        for part in parts {
            schema = name;
            name = Some(part.as_str()?);
        }
        Some(Self { schema, name: name? })
    }

    pub(super) fn of_relation(relation: &'a nodes::RangeVar) -> Option<Self> {
        Some(Self { schema: relation.schemaname(), name: relation.relname()? })
    }

    /// In the session's temporary schema by its name.
    pub(super) fn is_temporary(self) -> bool {
        self.schema.is_some_and(is_temporary_schema)
    }

    /// A name that PostgreSQL's own catalog can resolve: unqualified, or in `pg_catalog`.
    pub(super) fn is_builtin(self) -> bool {
        matches!(self.schema, None | Some("pg_catalog"))
    }
}

/// A type's own name as the grammar writes it, without its schema: `int4`, `text`.
pub(super) fn of_type(name: &nodes::TypeName) -> Option<&str> {
    name.names().iter().next_back().and_then(nodes::String::sval)
}

/// `pg_temp` stands for the session's own temporary schema, `pg_temp_3` names one.
pub(super) fn is_temporary_schema(schema: &str) -> bool {
    schema == "pg_temp" || schema.starts_with("pg_temp_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_stands_once_in_order_of_appearance() {
        let mut names = Names::default();
        for round in 0..3 {
            for n in 0..5_000 {
                names.add(&format!("s.n{n}"));
                names.add_qualified(Some("s"), &format!("n{n}"));
                assert_eq!(names.len(), if round == 0 { n + 1 } else { 5_000 });
            }
        }
        let mut more = Names::default();
        ["a", "s.n7", "b"].iter().for_each(|name| more.add(name));
        names.append(more);
        let all: Vec<String> = names.into_vec();
        assert_eq!(
            (all.len(), all[4_999].as_str(), &all[5_000..]),
            (5_002, "s.n4999", &["a".to_owned(), "b".to_owned()][..])
        );
    }

    #[test]
    fn names_for_which_there_is_no_place_are_kept_all_the_same() {
        let list: Vec<String> = (0..200).map(|n| format!("n{n}")).collect();
        // As if all had one hash.
        let mut index = Index { places: vec![(7, 1); 1024], ..Index::default() };
        for (at, name) in list.iter().enumerate() {
            assert!(index.insert(name, &list[..at]), "{at}");
            assert!(!index.insert(name, &list[..at]), "{at}");
        }
        assert_eq!(index.crowded.len(), 200);
    }
}
