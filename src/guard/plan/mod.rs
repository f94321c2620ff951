//! What the planner says of a statement, as facts: `EXPLAIN (FORMAT JSON)` in, [`PlanFacts`] out. Pure: the text comes
//! from whoever asked the server.
//!
//! `node.rs` is PostgreSQL's own tree, `read.rs` goes through it, `advice.rs` says which index would help,
//! `hypothetical.rs` what the planner must say of it first, and `calibrate.rs` learns how long a unit of cost takes on
//! each server. `classes.rs` tells values apart that should not share a plan, `cache.rs` keeps what is known.

mod advice;
mod cache;
mod calibrate;
mod classes;
mod hypothetical;
mod node;
mod read;
#[cfg(test)]
mod tests;

pub use advice::{Advice, advise};
pub use cache::{MOST_VARIANTS, PlanKey, Planned, Plans};
pub use calibrate::{Calibration, Observed};
pub use classes::{CUTS, Family, ValueClasses};
pub use hypothetical::{forget, imagine, kept};
pub use read::{Fault, Surroundings, read};

use super::fact::fact_table;

/// A plan as far as anybody asks: what it says, and the indexes that would make it better.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    pub facts: PlanFacts,
    pub advice: Box<[Advice]>,
}

impl Default for Plan {
    fn default() -> Self {
        Self { facts: PlanFacts::blank(), advice: Box::default() }
    }
}

fact_table! {
    /// What the planner expects of the statement, with the client's own parameters, role and search path.
    #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    #[serde(default, deny_unknown_fields)]
    pub struct PlanFacts {
        /// Estimated total cost, in the planner's units.
        always total_cost: f64 = 0.0;
        /// Part of it that is reading: tables, indexes, and what nested loops look up. The rest is joining, sorting and
        /// aggregating.
        always read_cost: f64 = 0.0;
        /// Estimated rows of the result; of a write, rows that it changes.
        always rows: u64 = 0;
        /// Estimated bytes of one row of the result.
        always width: u64 = 0;
        /// Seconds it will take, from the cost and what this server took for such costs before. Unknown until enough
        /// was seen.
        always expected_seconds: Option<f64> = None;
        /// How far the row estimate was off when this fingerprint last ran: observed by estimated, or its inverse, at
        /// least 1. Unknown before its first run.
        always estimate_off: Option<f64> = None;
        /// Rows of the largest table that is read from end to end; 0 if none is. From the catalog, else what the plan
        /// tells, which is a lower bound.
        always seq_scan_rows: u64 = 0;
        /// That table, with its schema where the plan says it.
        always seq_scan_table: String = String::new();
        /// All tables that are read from end to end.
        always seq_scans: Vec<String> = Vec::new();
        /// Columns that the largest of these scans filters by: what an index could serve.
        always seq_scan_columns: Vec<String> = Vec::new();
        /// Share of its rows that this scan lets pass, 0 to 1; 1 without a filter. Unknown without a catalog.
        always seq_scan_share: Option<f64> = None;
        /// Tables that are read from end to end though a filter lets less than a fifth of their rows pass. Empty without
        /// a catalog.
        always selective_scans: Vec<String> = Vec::new();
        /// Tables that are read from end to end though the join above keeps less than a fifth of their rows. Empty
        /// without a catalog.
        always selective_joins: Vec<String> = Vec::new();
        /// Indexes that are read.
        always indexes: Vec<String> = Vec::new();
        /// Index scans that throw away most of what they read: `index on table`.
        always wasteful_indexes: Vec<String> = Vec::new();
        /// Rows that the largest nested loop compares: outer times inner rows, where the inner side is read anew for
        /// each outer row without an index.
        always nested_loop_rows: u64 = 0;
        /// Rows of the largest join without any condition; 0 if there is none.
        always cartesian_rows: u64 = 0;
        /// Bytes of the largest sort, hash or aggregate that will not fit into `work_mem`; 0 if all fit.
        always spill_bytes: u64 = 0;
        /// What spills: `sort`, `hash`, `aggregate`, `materialize`.
        always spills: Vec<String> = Vec::new();
        /// Partitions that are read.
        always partitions_read: u32 = 0;
        /// Partitions that the planner left out.
        always partitions_pruned: u32 = 0;
        /// Tables of which every partition is read, though there are several.
        always unpruned: Vec<String> = Vec::new();
        /// Parallel workers planned.
        always workers: u32 = 0;
        /// It will be compiled (JIT).
        always jit: bool = false;
        /// Nodes of the plan.
        always nodes: u32 = 0;
        /// The planner knows that it yields nothing: a filter is false whatever the rows.
        always empty: bool = false;
    }
}
