//! A plan as `EXPLAIN (FORMAT JSON)` writes it (PostgreSQL manual, "EXPLAIN"; 13 to 18 agree in these keys).

use serde::Deserialize;

/// The only element of the outer array.
#[derive(Debug, Deserialize)]
pub(super) struct Explained {
    #[serde(rename = "Plan")]
    pub(super) plan: Node,
    /// Only present when it will be compiled.
    #[serde(rename = "JIT")]
    pub(super) jit: Option<serde::de::IgnoredAny>,
}

/// One node. Keys that are not used are passed over.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Node {
    #[serde(rename = "Node Type")]
    pub(super) kind: String,
    #[serde(rename = "Parent Relationship")]
    pub(super) relationship: String,
    #[serde(rename = "Relation Name")]
    pub(super) relation: Option<String>,
    #[serde(rename = "Schema")]
    pub(super) schema: Option<String>,
    #[serde(rename = "Index Name")]
    pub(super) index: Option<String>,
    #[serde(rename = "Index Cond")]
    pub(super) index_cond: Option<String>,
    #[serde(rename = "Filter")]
    pub(super) filter: Option<String>,
    #[serde(rename = "Join Filter")]
    pub(super) join_filter: Option<String>,
    #[serde(rename = "One-Time Filter")]
    pub(super) one_time_filter: Option<String>,
    #[serde(rename = "Total Cost")]
    pub(super) total_cost: f64,
    #[serde(rename = "Plan Rows")]
    pub(super) rows: f64,
    #[serde(rename = "Plan Width")]
    pub(super) width: f64,
    #[serde(rename = "Workers Planned")]
    pub(super) workers: u32,
    #[serde(rename = "Subplans Removed")]
    pub(super) removed: u32,
    #[serde(rename = "Strategy")]
    pub(super) strategy: String,
    #[serde(rename = "Plans")]
    pub(super) plans: Vec<Node>,
}

impl Node {
    /// Rows of the whole node; a count of nonsense is none.
    pub(super) fn count(&self) -> u64 {
        whole(self.rows)
    }

    /// With its schema, where it is told.
    pub(super) fn table(&self) -> Option<String> {
        let name = self.relation.as_ref()?;
        Some(match &self.schema {
            Some(schema) => format!("{schema}.{name}"),
            None => name.clone(),
        })
    }

    /// Rows that a parallel node's workers yield together, given rows of one: the leader helps as long as few workers
    /// keep it busy (PostgreSQL's `get_parallel_divisor`).
    pub(super) fn divisor(&self) -> f64 {
        let workers = f64::from(self.workers);
        if self.workers == 0 { 1.0 } else { workers + (1.0 - 0.3 * workers).max(0.0) }
    }

    /// What all reading below it costs: of tables and indexes, and by the loops that look something up.
    pub(super) fn read_cost(&self) -> f64 {
        let mut work = vec![(self, 1.0)];
        let mut cost = 0.0;
        while let Some((node, share)) = work.pop() {
            let looks_up =
                node.kind == "Nested Loop" && node.input("Inner").is_some_and(super::read::is_parameterised);
            // What is looked up and what a filter asks is in its own cost, as often as it runs.
            let of_its_own = |child: &&Self| {
                !(looks_up && child.relationship == "Inner") && child.relationship != "SubPlan"
            };
            let children: f64 = node.plans.iter().filter(of_its_own).map(|child| child.total_cost).sum();
            if node.kind.contains("Scan") || looks_up {
                cost += share * (node.total_cost - children).max(0.0);
            }
            // A limit leaves off early, and so does what is below it.
            let stops = node.kind == "Limit" && children > 0.0;
            let share = if stops { share * (node.total_cost / children).min(1.0) } else { share };
            work.extend(node.plans.iter().filter(of_its_own).map(|child| (child, share)));
        }
        cost
    }

    /// Its inputs: the outer (or only) and the inner one.
    pub(super) fn input(&self, relationship: &str) -> Option<&Self> {
        self.plans.iter().find(|plan| plan.relationship == relationship)
    }
}

/// A float to an integer saturates; what is no number is 0.
pub(super) fn whole(number: f64) -> u64 {
    number.max(0.0).round() as u64
}
