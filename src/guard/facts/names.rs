//! Lists of names, each once, in order of appearance.

use std::collections::BTreeSet;

use crate::guard::sql::parse::{Node, NodeList, nodes};

/// A few names are looked through one by one; a hostile text with thousands of them is not.
const FEW: usize = 16;

/// Names in order of appearance, each once.
#[derive(Default)]
pub(super) struct Names {
    list: Vec<String>,
    /// Filled once there are more than a few.
    seen: BTreeSet<String>,
}

impl Names {
    pub(super) fn add(&mut self, name: &str) {
        if self.list.len() < FEW {
            if self.list.iter().any(|known| known == name) {
                return;
            }
        } else {
            if self.seen.is_empty() {
                self.seen.extend(self.list.iter().cloned());
            }
            if !self.seen.insert(name.to_owned()) {
                return;
            }
        }
        self.list.push(name.to_owned());
    }

    pub(super) fn add_qualified(&mut self, schema: Option<&str>, name: &str) {
        let Some(schema) = schema else { return self.add(name) };
        let is = |known: &str| {
            known.len() == schema.len() + 1 + name.len()
                && known.strip_prefix(schema).and_then(|rest| rest.strip_prefix('.')) == Some(name)
        };
        if self.list.len() >= FEW || !self.list.iter().any(|known| is(known)) {
            self.add(&format!("{schema}.{name}"));
        }
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
