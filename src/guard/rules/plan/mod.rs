//! What only the planner knows. A rule that finds one of these has its plan asked for.

use super::{Finding, Opt, Options, Subject, rules};
use crate::guard::plan::{Advice, advise};

rules! {
    "plan":
    "full-scan-of-big-table" => full_scan_of_big_table,
    "missing-index" => missing_index,
    "cartesian-product" => cartesian_product,
    "sort-spill" => sort_spill,
    "unpruned-partitions" => unpruned_partitions,
    "plan-cost-too-high" => plan_cost_too_high,
    "estimate-far-off" => estimate_far_off,
}

/// The first index that would help.
fn advice(subject: &Subject<'_>) -> Option<Advice> {
    let plan = subject.around.plan?;
    match subject.around.advice {
        Some(known) => known.first().cloned(),
        None => advise(subject.facts, plan, subject.around.catalog).into_iter().next(),
    }
}

fn best_index(subject: &Subject<'_>) -> Option<String> {
    advice(subject).map(|advice| format!("{}.", advice.hint()))
}
