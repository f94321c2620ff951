//! What is known of a database's tables, as a value: filled by `control/catalog`, or from a file by `explain`.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// One database as its catalog describes it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Catalog {
    pub tables: Vec<Arc<Table>>,
    /// Schemas in which a name without one is looked for, in order.
    pub search_path: Vec<String>,
    /// Functions that are not PostgreSQL's own, by `schema.name`; one that is overloaded has its most volatile.
    pub functions: HashMap<String, Volatility>,
    /// The schema of the extension `hypopg`, where it is installed.
    pub hypopg: Option<String>,
    #[serde(skip)]
    index: HashMap<String, usize>,
    /// Names without their schemas of the functions that are volatile.
    #[serde(skip)]
    volatile: HashSet<Box<str>>,
}

/// A table, partition, view, materialised view or foreign table.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Table {
    pub schema: String,
    pub name: String,
    /// `table`, `partitioned`, `partition`, `view`, `materialized view`, `foreign table`.
    pub kind: String,
    pub owner: Option<String>,
    /// Of a partition, or a table that inherits: the table above it, as `schema.name`.
    pub parent: Option<String>,
    /// Estimated rows; `None` if it was never analysed.
    pub rows: Option<u64>,
    /// Size in bytes without indexes.
    pub bytes: Option<u64>,
    pub columns: Vec<Column>,
    pub indexes: Vec<Index>,
    /// A view's query.
    pub definition: Option<String>,
    pub row_security: bool,
    /// Share of rows that are dead, 0 to 1.
    pub dead_share: Option<f64>,
    /// Last (auto)analyze, Unix seconds.
    pub analyzed: Option<i64>,
}

/// A column.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Column {
    pub name: String,
    /// As `format_type` writes it: `integer`, `character varying(20)`.
    #[serde(rename = "type")]
    pub type_name: String,
    pub not_null: bool,
    /// Average bytes, from the statistics.
    pub width: Option<u32>,
    /// Values between which the shares [`crate::guard::plan::CUTS`] of its values lie, from the statistics of a big table.
    #[serde(skip)]
    pub cuts: Option<Arc<[f64]>>,
}

/// An index.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Index {
    pub name: String,
    /// Key columns in order; an expression as PostgreSQL writes it, in parentheses.
    pub columns: Vec<String>,
    /// `btree`, `gin`, …
    pub method: String,
    pub unique: bool,
    pub primary: bool,
    pub valid: bool,
    /// Of a partial index.
    pub predicate: Option<String>,
    /// Times it was used since the statistics were reset.
    pub scans: Option<u64>,
}

/// A function's volatility.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Volatility {
    Immutable,
    Stable,
    Volatile,
}

impl Catalog {
    /// Must be called once the tables are filled in.
    pub fn seal(&mut self) {
        self.index = self
            .tables
            .iter()
            .enumerate()
            .map(|(at, table)| (format!("{}.{}", table.schema, table.name), at))
            .collect();
        let volatile = self.functions.iter().filter(|(_, volatility)| **volatility == Volatility::Volatile);
        self.volatile =
            volatile.filter_map(|(name, _)| name.split_once('.')).map(|(_, name)| name.into()).collect();
        if self.search_path.is_empty() {
            self.search_path.push("public".to_owned());
        }
    }

    /// A volatile function that is not PostgreSQL's own has this name, in some schema.
    #[must_use]
    pub fn is_own_volatile(&self, name: &str) -> bool {
        self.volatile.contains(name)
    }

    /// The table that `written` names: with its schema, or the first in the search path.
    #[must_use]
    pub fn table(&self, written: &str) -> Option<&Table> {
        let at = if written.contains('.') {
            self.index.get(written)
        } else {
            self.search_path.iter().find_map(|schema| self.index.get(&format!("{schema}.{written}")))
        };
        self.tables.get(*at?).map(|table| &**table)
    }
}

impl Catalog {
    /// How many partitions a table has.
    #[must_use]
    pub fn partitions_of(&self, parent: &str) -> u32 {
        let children = self.tables.iter().filter(|table| table.parent.as_deref() == Some(parent));
        u32::try_from(children.count()).unwrap_or(u32::MAX)
    }
}

impl Table {
    #[must_use]
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// Has a valid index without predicate whose first key is that column.
    #[must_use]
    pub fn is_indexed(&self, column: &str) -> bool {
        self.indexes.iter().any(|index| {
            index.valid
                && index.predicate.is_none()
                && index.columns.first().is_some_and(|first| first == column)
        })
    }
}
