//! What is known of one database, by PostgreSQL's own numbers, so that a reading need only bring what changed.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::guard::catalog::{Catalog, Column, Index, Table, Volatility};
use crate::guard::plan::Family;

pub(super) type Oid = u32;

/// A relation as `pg_class` and the statistics describe it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Relation {
    pub(super) schema: String,
    pub(super) name: String,
    pub(super) kind: &'static str,
    pub(super) owner: String,
    /// `reltuples`: -1 if it was never analysed (0 before PostgreSQL 14).
    pub(super) tuples: f64,
    pub(super) bytes: i64,
    pub(super) row_security: bool,
    pub(super) live: i64,
    pub(super) dead: i64,
    pub(super) analyzed: Option<i64>,
}

#[derive(Debug, Default)]
struct Known {
    relation: Relation,
    columns: BTreeMap<i16, Column>,
    indexes: BTreeMap<Oid, Index>,
    definition: Option<String>,
    children: Vec<Oid>,
    parent: Option<Oid>,
    /// What was published of it.
    table: Arc<Table>,
    /// Not published as it is now.
    stale: bool,
    /// The ANALYZE whose statistics of its columns' values were read.
    cuts_of: Option<i64>,
    cuts_read: bool,
    /// They are not published as they are now.
    cuts_moved: bool,
}

/// A table's rows must move by this share (1/n) before rules hear of it.
const MATERIAL: u64 = 10;

#[derive(Debug, Default)]
pub(super) struct State {
    tables: HashMap<Oid, Known>,
    search_path: Vec<String>,
    functions: HashMap<String, Volatility>,
    function_sign: Option<String>,
    /// Views whose text could not be had.
    wanted: Vec<Oid>,
    horizon: Option<String>,
    no_widths: bool,
    hypopg: Option<String>,
    /// Rows of a table for whose plans values matter.
    big: Option<u64>,
}

/// As `plan.min_rows` has it by default.
const BIG: u64 = 10_000;
/// Tables whose columns' values are read at once.
const CUTS_AT_ONCE: usize = 300;

impl State {
    /// Everything older than this transaction was read.
    pub(super) fn horizon(&self) -> Option<&str> {
        self.horizon.as_deref()
    }

    pub(super) fn read_up_to(&mut self, horizon: String) {
        self.horizon = Some(horizon);
    }

    /// The setting as the server shows it.
    pub(super) fn search_path(&mut self, setting: &str) {
        let schemas = setting.split(',').map(|part| part.trim().trim_matches('"'));
        self.search_path =
            schemas.filter(|name| !name.is_empty() && *name != "$user").map(str::to_owned).collect();
    }

    /// All relations there are. -> one came, went, or changed in what rules see.
    pub(super) fn relations(&mut self, relations: Vec<(Oid, Relation)>) -> bool {
        let before = self.tables.len();
        let mut old = std::mem::take(&mut self.tables);
        let mut changed = false;
        for (oid, relation) in relations {
            let mut known = old.remove(&oid).unwrap_or_else(|| Known { stale: true, ..Known::default() });
            known.children.clear();
            let same =
                Relation {
                    tuples: 0.0,
                    bytes: 0,
                    live: 0,
                    dead: 0,
                    analyzed: None,
                    ..known.relation.clone()
                } == Relation { tuples: 0.0, bytes: 0, live: 0, dead: 0, analyzed: None, ..relation.clone() };
            known.relation = relation;
            let moved = moves(known.table.rows, known.rows()) || moves(known.table.bytes, known.bytes());
            known.stale |= !same || moved;
            changed |= known.stale;
            self.tables.insert(oid, known);
        }
        changed || before != self.tables.len()
    }

    pub(super) fn child_of(&mut self, child: Oid, parent: Oid) {
        if let Some(parent) = self.tables.get_mut(&parent) {
            parent.children.push(child);
        }
        if let Some(child) = self.tables.get_mut(&child) {
            child.stale |= child.parent != Some(parent);
            child.parent = Some(parent);
        }
    }

    /// A column as it is now; `None`: dropped.
    pub(super) fn column(&mut self, table: Oid, number: i16, column: Option<Column>) -> bool {
        let Some(known) = self.tables.get_mut(&table) else { return false };
        let before = known.columns.get(&number);
        let column = column.map(|column| Column {
            width: before.and_then(|old| old.width),
            cuts: before.filter(|old| old.type_name == column.type_name).and_then(|old| old.cuts.clone()),
            ..column
        });
        if before == column.as_ref() {
            return false;
        }
        match column {
            Some(column) => drop(known.columns.insert(number, column)),
            None => drop(known.columns.remove(&number)),
        }
        known.stale = true;
        true
    }

    pub(super) fn width(&mut self, table: Oid, number: i16, width: i32) {
        let column = self.tables.get_mut(&table).and_then(|known| known.columns.get_mut(&number));
        if let Some(column) = column {
            column.width = u32::try_from(width).ok();
        }
    }

    pub(super) fn forbid_widths(&mut self) {
        self.no_widths = true;
    }

    pub(super) fn widths_forbidden(&self) -> bool {
        self.no_widths
    }

    /// A table of so many rows is a big one.
    pub(super) fn of_big(rows: u64) -> Self {
        Self { big: Some(rows), ..Self::default() }
    }

    /// Big tables with new statistics: number, schema and name, the largest first.
    pub(super) fn cuts_wanted(&self) -> Vec<(Oid, String, String)> {
        let big = self.big.unwrap_or(BIG).max(1);
        let new = |known: &Known| !known.cuts_read || known.relation.analyzed != known.cuts_of;
        let wanted = self
            .tables
            .iter()
            .filter(|(_, known)| known.rows().is_some_and(|rows| rows >= big) && new(known));
        let mut wanted: Vec<_> = wanted.collect();
        wanted.sort_by_key(|(oid, known)| (std::cmp::Reverse(known.rows()), **oid));
        let named =
            |(oid, known): (&Oid, &Known)| (*oid, known.relation.schema.clone(), known.relation.name.clone());
        wanted.into_iter().take(CUTS_AT_ONCE).map(named).collect()
    }

    /// The values of columns of these tables, as the server writes them. They are published with the next change that a
    /// rule could see: where they have moved a little nobody need hear of it at once.
    pub(super) fn cuts(&mut self, read: &[Oid], found: Vec<(Oid, i16, Vec<Option<String>>)>) {
        for oid in read {
            if let Some(known) = self.tables.get_mut(oid) {
                (known.cuts_of, known.cuts_read) = (known.relation.analyzed, true);
            }
        }
        for (oid, number, values) in found {
            let Some(known) = self.tables.get_mut(&oid) else { continue };
            let Some(column) = known.columns.get_mut(&number) else { continue };
            let family = Family::of(&column.type_name);
            let value = |text: &Option<String>| family?.read_text(text.as_deref()?.as_bytes());
            let cuts: Option<Arc<[f64]>> = values.iter().map(value).collect();
            if cuts.is_some() {
                column.cuts = cuts;
                known.cuts_moved = true;
            }
        }
    }

    /// The extension's schema. -> it came or went.
    pub(super) fn hypopg(&mut self, schema: Option<String>) -> bool {
        let changed = self.hypopg != schema;
        self.hypopg = schema;
        changed
    }

    /// Tables whose columns changed in this reading.
    pub(super) fn touched(&self) -> Vec<Oid> {
        self.tables.iter().filter(|(_, known)| known.stale).map(|(oid, _)| *oid).collect()
    }

    /// All indexes there are, with their tables and scans. -> one is gone.
    pub(super) fn indexes(&mut self, present: &[(Oid, Oid, i64)]) -> bool {
        let scans: HashMap<Oid, i64> = present.iter().map(|(index, _, scans)| (*index, *scans)).collect();
        let mut gone = false;
        for known in self.tables.values_mut() {
            let before = known.indexes.len();
            known.indexes.retain(|oid, index| {
                index.scans = scans.get(oid).and_then(|scans| u64::try_from(*scans).ok());
                scans.contains_key(oid)
            });
            known.stale |= known.indexes.len() != before;
            gone |= known.indexes.len() != before;
        }
        gone
    }

    pub(super) fn index(&mut self, oid: Oid, table: Oid, index: Index) -> bool {
        let Some(known) = self.tables.get_mut(&table) else { return false };
        let before = known.indexes.get(&oid);
        let index = Index { scans: before.and_then(|old| old.scans), ..index };
        if before == Some(&index) {
            return false;
        }
        known.indexes.insert(oid, index);
        known.stale = true;
        true
    }

    pub(super) fn view(&mut self, oid: Oid, definition: Option<String>) -> bool {
        let Some(known) = self.tables.get_mut(&oid) else { return false };
        let changed = known.definition != definition;
        known.definition = definition;
        known.stale |= changed;
        changed
    }

    /// Its text could not be had now.
    pub(super) fn want_view(&mut self, oid: Oid) {
        self.wanted.push(oid);
    }

    /// Those whose text could not be had before.
    pub(super) fn views_wanted(&mut self) -> Vec<Oid> {
        std::mem::take(&mut self.wanted)
    }

    pub(super) fn functions_changed(&mut self, sign: &str) -> bool {
        self.function_sign.replace(sign.to_owned()).as_deref() != Some(sign)
    }

    pub(super) fn functions(&mut self, found: Vec<(String, Volatility)>) -> bool {
        let mut functions: HashMap<String, Volatility> = HashMap::with_capacity(found.len());
        for (name, volatility) in found {
            let known = functions.entry(name).or_insert(volatility);
            *known = (*known).max(volatility);
        }
        std::mem::replace(&mut self.functions, functions) != self.functions
    }

    /// What this login may not see, as a sentence; said once.
    pub(super) fn shortcomings(&self) -> Option<String> {
        let mut missing = Vec::new();
        if self.no_widths {
            missing.push(
                "the primary's login may not read pg_statistic: widths of columns are unknown".to_owned(),
            );
        }
        if !self.wanted.is_empty() {
            missing.push(format!("{} views are locked: their texts are unknown for now", self.wanted.len()));
        }
        (!missing.is_empty()).then(|| missing.join("; "))
    }

    /// The catalog as it is now. Tables that did not change are shared with the one before.
    pub(super) fn catalog(&mut self) -> Catalog {
        let sums: HashMap<Oid, (Option<u64>, Option<u64>)> = self
            .tables
            .iter()
            .filter(|(_, known)| !known.children.is_empty())
            .map(|(oid, known)| (*oid, self.sum(known, 0)))
            .collect();
        let parents: HashMap<Oid, String> = sums
            .keys()
            .filter_map(|oid| self.tables.get(oid).map(|known| (*oid, known)))
            .map(|(oid, known)| (oid, format!("{}.{}", known.relation.schema, known.relation.name)))
            .collect();
        for (oid, known) in &mut self.tables {
            let sum = sums.get(oid);
            if known.stale || known.cuts_moved || sum.is_some() {
                known.table = Arc::new(Table {
                    parent: known.parent.and_then(|parent| parents.get(&parent).cloned()),
                    ..known.publish(sum.copied())
                });
                (known.stale, known.cuts_moved) = (false, false);
            }
        }
        let mut tables: Vec<_> = self.tables.values().map(|known| Arc::clone(&known.table)).collect();
        tables.sort_by(|a, b| (&a.schema, &a.name).cmp(&(&b.schema, &b.name)));
        let mut catalog = Catalog::default();
        catalog.tables = tables;
        catalog.search_path.clone_from(&self.search_path);
        catalog.functions.clone_from(&self.functions);
        catalog.hypopg.clone_from(&self.hypopg);
        catalog.seal();
        catalog
    }

    /// Rows and bytes of a table with all that inherits from it.
    fn sum(&self, known: &Known, depth: u32) -> (Option<u64>, Option<u64>) {
        let own = (known.rows().or((known.relation.kind == "partitioned").then_some(0)), known.bytes());
        // Inheritance has no cycles; a bound costs nothing.
        if depth > 32 {
            return own;
        }
        let children = known.children.iter().filter_map(|child| self.tables.get(child));
        children.fold(own, |(rows, bytes), child| {
            let (more, larger) = self.sum(child, depth + 1);
            // A partition that was never analysed makes the sum a lower bound, which is better than nothing.
            (Some(rows.unwrap_or(0) + more.unwrap_or(0)), Some(bytes.unwrap_or(0) + larger.unwrap_or(0)))
        })
    }
}

/// Whether a size moved so far that a rule should hear of it.
fn moves(before: Option<u64>, now: Option<u64>) -> bool {
    match (before, now) {
        (Some(before), Some(now)) => before.abs_diff(now) > before / MATERIAL,
        (before, now) => before != now,
    }
}

impl Known {
    /// The planner's own estimate; of a table that was never analysed what the statistics counted.
    fn rows(&self) -> Option<u64> {
        let Relation { kind, tuples, live, analyzed, .. } = &self.relation;
        if matches!(*kind, "view" | "partitioned") {
            return None;
        }
        let live = u64::try_from(*live).unwrap_or(0);
        // A float to an integer saturates; negative is "never analysed".
        let tuples = (*tuples > 0.0).then_some(*tuples as u64);
        match tuples {
            // What came since the last ANALYZE counts, too.
            Some(tuples) => Some(tuples.max(live)),
            None if live > 0 || analyzed.is_some() => Some(live),
            None => None,
        }
    }

    fn bytes(&self) -> Option<u64> {
        let bytes = u64::try_from(self.relation.bytes).ok()?;
        (bytes > 0 || self.rows() == Some(0)).then_some(bytes)
    }

    fn publish(&self, sum: Option<(Option<u64>, Option<u64>)>) -> Table {
        let Relation { schema, name, kind, owner, live, dead, row_security, analyzed, .. } = &self.relation;
        let (rows, bytes) = sum.unwrap_or_else(|| (self.rows(), self.bytes()));
        Table {
            schema: schema.clone(),
            name: name.clone(),
            kind: (*kind).to_owned(),
            owner: Some(owner.clone()),
            rows,
            bytes,
            columns: self.columns.values().cloned().collect(),
            indexes: self.indexes.values().cloned().collect(),
            definition: self.definition.clone(),
            row_security: *row_security,
            dead_share: (live + dead > 0).then(|| *dead as f64 / (live + dead) as f64),
            analyzed: *analyzed,
            parent: None,
        }
    }
}
