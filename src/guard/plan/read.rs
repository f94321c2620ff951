//! From a plan's tree to its facts.

use std::collections::BTreeMap;

use super::PlanFacts;
use super::node::{Explained, Node, whole};
use crate::guard::catalog::Catalog;
use crate::guard::facts::{self, ReadOptions};

/// What the plan does not say and its meaning depends on.
#[derive(Clone, Copy, Debug)]
pub struct Surroundings<'a> {
    pub catalog: Option<&'a Catalog>,
    /// The session's `work_mem` in bytes; 4 MB is PostgreSQL's default.
    pub work_mem: u64,
    /// `hash_mem_multiplier` in hundredths: 200 from PostgreSQL 15 on, 100 before.
    pub hash_mem_percent: u64,
}

impl Default for Surroundings<'_> {
    fn default() -> Self {
        Self { catalog: None, work_mem: 4 << 20, hash_mem_percent: 200 }
    }
}

/// Why an answer is no plan.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    #[error("the plan is no JSON that is known: {0}")]
    Shape(#[from] serde_json::Error),
    #[error("the plan is larger than {MAX_BYTES} bytes")]
    TooLarge,
    #[error("the answer holds no plan")]
    Empty,
}

/// A plan larger than this is not read: a join of a thousand partitions has one.
const MAX_BYTES: usize = 4 << 20;
/// An index scan that costs this much for each row it yields reads many more than it yields: one row found by an index
/// costs at most a page or two at random.
const WASTE: f64 = 50.0;
/// Fewer rows thrown away are no waste.
const WASTED_ROWS: f64 = 1000.0;
/// A filter or join that lets more than this share of a table pass gains nothing from an index.
pub(super) const SELECTIVE: f64 = 0.2;
/// Bytes beside each row that a sort or hash keeps in memory.
const ROW_OVERHEAD: f64 = 24.0;

/// Reads `EXPLAIN (FORMAT JSON)`.
///
/// # Errors
/// It is no plan, or too large a one.
pub fn read(json: &[u8], around: &Surroundings<'_>) -> Result<PlanFacts, Fault> {
    if json.len() > MAX_BYTES {
        return Err(Fault::TooLarge);
    }
    let explained: Vec<Explained> = serde_json::from_slice(json)?;
    let Explained { plan, jit } = explained.into_iter().next().ok_or(Fault::Empty)?;
    let mut reader = Reader { around, facts: PlanFacts::blank(), scans: Vec::new() };
    reader.facts.total_cost = plan.total_cost;
    reader.facts.read_cost = plan.read_cost().min(plan.total_cost);
    // A write yields nothing by itself; what it changes is what its input yields.
    let result = if plan.kind == "ModifyTable" { plan.plans.first().unwrap_or(&plan) } else { &plan };
    (reader.facts.rows, reader.facts.width) = (result.count(), whole(result.width));
    reader.facts.jit = jit.is_some();
    reader.walk(&plan);
    Ok(reader.finish())
}

/// A table read from end to end.
struct Scan {
    table: String,
    rows: u64,
    passed: u64,
    /// What the join above it leaves, if there is one.
    kept: Option<f64>,
    known: bool,
    filter: Option<String>,
}

impl Scan {
    fn share_of(&self, rows: f64) -> Option<f64> {
        self.known.then(|| rows / self.rows.max(1) as f64)
    }
}

/// A node, and what those above it make of it.
#[derive(Clone, Copy)]
struct Visit<'n> {
    node: &'n Node,
    /// Workers that run it at once.
    times: f64,
    /// Rows of the join that takes its rows.
    kept: Option<f64>,
    /// No more than so many of its first rows are wanted: a sort keeps only these.
    bound: Option<f64>,
}

impl<'n> Visit<'n> {
    fn below(self) -> impl Iterator<Item = Self> {
        let kept = match self.node.kind.as_str() {
            "Hash Join" | "Merge Join" | "Nested Loop" => Some(self.node.rows * self.times),
            "Hash" | "Sort" | "Materialize" | "Gather" | "Gather Merge" => self.kept,
            _ => None,
        };
        // As PostgreSQL's `ExecSetTupleBound` hands it down.
        let bound = match self.node.kind.as_str() {
            "Limit" => Some(self.node.rows),
            "Gather" | "Gather Merge" | "Append" | "Merge Append" => self.bound,
            "Result" | "Subquery Scan" if self.node.filter.is_none() => self.bound,
            _ => None,
        };
        let times = self.times * self.node.divisor();
        self.node.plans.iter().rev().map(move |node| Self { node, times, kept, bound })
    }
}

struct Reader<'a> {
    around: &'a Surroundings<'a>,
    facts: PlanFacts,
    scans: Vec<Scan>,
}

impl Reader<'_> {
    /// With a stack of its own: a plan is as deep as its query.
    fn walk(&mut self, root: &Node) {
        let mut work = vec![Visit { node: root, times: 1.0, kept: None, bound: None }];
        while let Some(visit) = work.pop() {
            self.node(visit);
            work.extend(visit.below());
        }
    }

    fn node(&mut self, visit: Visit<'_>) {
        let node = visit.node;
        let facts = &mut self.facts;
        facts.nodes += 1;
        facts.workers += node.workers;
        facts.partitions_pruned += node.removed;
        facts.empty |= facts.nodes == 1 && node.one_time_filter.as_deref() == Some("false");
        match node.kind.as_str() {
            "Seq Scan" => self.seq_scan(visit),
            "Index Scan" | "Index Only Scan" | "Bitmap Index Scan" => self.index_scan(node),
            "Bitmap Heap Scan" => self.bitmap_scan(node),
            "Nested Loop" => self.nested_loop(node),
            "Sort" | "Incremental Sort" => self.spill("sort", node, visit.bound, 100),
            "Hash" => self.spill("hash", node, None, self.around.hash_mem_percent),
            "Aggregate" if node.strategy == "Hashed" || node.strategy == "Mixed" => {
                self.spill("aggregate", node, None, self.around.hash_mem_percent);
            }
            "Materialize" => self.spill("materialize", node, None, 100),
            "Append" | "Merge Append" => self.append(node),
            _ => {}
        }
    }

    fn seq_scan(&mut self, Visit { node, times, kept, .. }: Visit<'_>) {
        let Some(table) = node.table() else { return };
        let known =
            self.around.catalog.and_then(|catalog| catalog.table(&table)).and_then(|table| table.rows);
        let passed = whole(node.rows * times);
        let rows = known.unwrap_or(passed).max(passed);
        let filter = node.filter.clone();
        self.scans.push(Scan { table, rows, passed, kept, known: known.is_some(), filter });
    }

    fn index_scan(&mut self, node: &Node) {
        let Some(index) = &node.index else { return };
        add(&mut self.facts.indexes, index);
        // A scan that reads an index from end to end in its order has no condition, and is no waste by itself.
        let wasteful = node.filter.is_some() && node.total_cost / node.rows.max(1.0) > WASTE;
        if let (true, Some(table)) = (wasteful, node.table()) {
            add(&mut self.facts.wasteful_indexes, &format!("{index} on {table}"));
        }
    }

    /// Here the plan tells what the index yields and what the filter leaves.
    fn bitmap_scan(&mut self, node: &Node) {
        let (Some(table), Some(bitmap)) = (node.table(), node.plans.first()) else { return };
        let wasteful = node.filter.is_some() && bitmap.rows > WASTED_ROWS && bitmap.rows > 10.0 * node.rows;
        if let (true, Some(index)) = (wasteful, &bitmap.index) {
            add(&mut self.facts.wasteful_indexes, &format!("{index} on {table}"));
        }
    }

    fn nested_loop(&mut self, node: &Node) {
        let (Some(outer), Some(inner)) = (node.input("Outer"), node.input("Inner")) else { return };
        let pairs = whole(outer.rows * inner.rows);
        if is_parameterised(inner) {
            return;
        }
        self.facts.nested_loop_rows = self.facts.nested_loop_rows.max(pairs);
        if node.join_filter.is_none() && outer.count() > 1 && inner.count() > 1 {
            self.facts.cartesian_rows = self.facts.cartesian_rows.max(pairs);
        }
    }

    fn spill(&mut self, what: &str, node: &Node, bound: Option<f64>, percent: u64) {
        // What a hash or sort holds is what its input yields; an aggregate holds its groups.
        let held = if what == "aggregate" { node } else { node.plans.first().unwrap_or(node) };
        let rows = held.rows.min(bound.unwrap_or(f64::INFINITY));
        let bytes = whole(rows * (held.width + ROW_OVERHEAD));
        if bytes > self.around.work_mem.saturating_mul(percent) / 100 {
            self.facts.spill_bytes = self.facts.spill_bytes.max(bytes);
            add(&mut self.facts.spills, what);
        }
    }

    /// The children of an `Append` that are partitions, by their parents.
    fn append(&mut self, node: &Node) {
        let Some(catalog) = self.around.catalog else { return };
        let mut read: BTreeMap<&str, u32> = BTreeMap::new();
        for child in &node.plans {
            let table = first_relation(child).and_then(|name| catalog.table(&name));
            if let Some(parent) =
                table.filter(|table| table.kind == "partition").and_then(|t| t.parent.as_deref())
            {
                *read.entry(parent).or_default() += 1;
            }
        }
        for (parent, read) in read {
            let all = catalog.partitions_of(parent);
            self.facts.partitions_read += read;
            self.facts.partitions_pruned += all.saturating_sub(read.saturating_add(node.removed));
            if read > 1 && read >= all {
                add(&mut self.facts.unpruned, parent);
            }
        }
    }

    fn finish(mut self) -> PlanFacts {
        for scan in &self.scans {
            add(&mut self.facts.seq_scans, &scan.table);
            let few = |rows: f64| scan.share_of(rows).is_some_and(|share| share < SELECTIVE);
            if few(scan.passed as f64) {
                add(&mut self.facts.selective_scans, &scan.table);
            }
            if scan.kept.is_some_and(few) {
                add(&mut self.facts.selective_joins, &scan.table);
            }
        }
        if let Some(largest) = self.scans.into_iter().reduce(|a, b| if b.rows > a.rows { b } else { a }) {
            self.facts.seq_scan_rows = largest.rows;
            self.facts.seq_scan_share = match &largest.filter {
                None => Some(1.0),
                Some(_) => largest.share_of(largest.passed as f64),
            };
            self.facts.seq_scan_columns = largest.filter.as_deref().map(columns_of).unwrap_or_default();
            self.facts.seq_scan_table = largest.table;
        }
        self.facts
    }
}

/// The inner side of a nested loop that is looked up by an index for each outer row.
pub(super) fn is_parameterised(node: &Node) -> bool {
    if node.index_cond.as_deref().is_some_and(names_another) {
        return true;
    }
    match node.kind.as_str() {
        // Materialize and Memoize keep what they have read; a Memoize is only made over a parameterised side.
        "Memoize" => true,
        "Append" | "Bitmap Heap Scan" | "Bitmap Index Scan" | "Limit" | "Subquery Scan" | "Aggregate"
        | "Unique" => node.plans.iter().any(is_parameterised),
        "Function Scan" | "Values Scan" | "Result" => true,
        _ => false,
    }
}

/// The plan writes columns of other relations with their names before them: `(customer = c.id)`.
fn names_another(condition: &str) -> bool {
    let words = condition.split(|c: char| !(c.is_alphanumeric() || matches!(c, '.' | '_' | '"' | '$')));
    words
        .filter(|word| word.contains('.'))
        .any(|word| word.starts_with(|c: char| c.is_alphabetic() || c == '_' || c == '"'))
}

fn first_relation(node: &Node) -> Option<String> {
    let mut node = node;
    loop {
        if let Some(table) = node.table() {
            return Some(table);
        }
        node = node.plans.first()?;
    }
}

/// Columns that a condition names, as the plan writes it: read by the grammar as the filter of a query.
fn columns_of(filter: &str) -> Vec<String> {
    let text = format!("SELECT FROM t WHERE {filter}");
    let reading = facts::read(text.as_bytes(), &ReadOptions::default());
    let columns = reading.statements.first().map(|facts| facts.filter_columns.as_slice()).unwrap_or_default();
    columns.iter().map(|name| last(name).to_owned()).collect()
}

pub(super) fn last(name: &str) -> &str {
    name.rsplit_once('.').map_or(name, |(_, column)| column)
}

fn add(list: &mut Vec<String>, name: &str) {
    const MANY: usize = 100;
    if list.len() < MANY && !list.iter().any(|known| known == name) {
        list.push(name.to_owned());
    }
}
