#![allow(clippy::unwrap_used)]
//! Plans as PostgreSQL 15 wrote them, keys that are not read left out.

use super::*;
use crate::guard::catalog::Catalog;
use crate::guard::facts::{ReadOptions, read as read_facts};

fn catalog() -> Catalog {
    let mut catalog: Catalog = serde_json::from_str(
        r#"{"tables": [
            {"schema": "public", "name": "orders", "kind": "table", "rows": 200000,
             "columns": [{"name": "id", "type": "bigint"}, {"name": "customer", "type": "integer"},
                         {"name": "email", "type": "text"}, {"name": "state", "type": "text"},
                         {"name": "at", "type": "date"}],
             "indexes": [{"name": "orders_pkey", "columns": ["id"], "method": "btree", "unique": true, "valid": true},
                         {"name": "orders_customer", "columns": ["customer"], "method": "btree", "valid": true}]},
            {"schema": "public", "name": "parts", "kind": "partitioned", "rows": 400},
            {"schema": "public", "name": "parts_1", "kind": "partition", "rows": 214, "parent": "public.parts"},
            {"schema": "public", "name": "parts_2", "kind": "partition", "rows": 186, "parent": "public.parts"}]}"#,
    )
    .unwrap();
    catalog.seal();
    catalog
}

fn facts(plan: &str) -> PlanFacts {
    let catalog = catalog();
    let around = Surroundings { catalog: Some(&catalog), ..Surroundings::default() };
    read(format!("[{plan}]").as_bytes(), &around).unwrap()
}

const SCAN: &str = r#"{"Plan": {"Node Type": "Seq Scan", "Relation Name": "orders", "Alias": "orders", "Total Cost": 4167.00,
    "Plan Rows": 1, "Plan Width": 8, "Filter": "(email = 'a5@x'::text)"}}"#;

#[test]
fn a_scan_of_a_big_table_with_the_size_of_the_catalog() {
    let found = facts(SCAN);
    assert_eq!((found.seq_scan_rows, found.seq_scan_table.as_str()), (200_000, "orders"));
    assert_eq!((found.rows, found.width, found.nodes), (1, 8, 1));
    assert!((found.seq_scan_share.unwrap() - 1.0 / 200_000.0).abs() < 1e-9);
    let unknown = read(format!("[{SCAN}]").as_bytes(), &Surroundings::default()).unwrap();
    assert_eq!((unknown.seq_scan_rows, unknown.seq_scan_share), (1, None), "a lower bound");
}

#[test]
fn rows_of_a_parallel_scan_are_those_of_all_workers() {
    let found = facts(
        r#"{"Plan": {"Node Type": "Gather", "Total Cost": 4776.32, "Plan Rows": 505, "Plan Width": 8, "Workers Planned": 1,
            "Plans": [{"Node Type": "Seq Scan", "Parent Relationship": "Outer", "Parallel Aware": true,
            "Relation Name": "orders", "Total Cost": 3725.82, "Plan Rows": 100000, "Plan Width": 8}]}}"#,
    );
    assert_eq!((found.workers, found.seq_scan_share), (1, Some(1.0)));
}

#[test]
fn a_join_without_condition_multiplies() {
    let found = facts(
        r#"{"Plan": {"Node Type": "Nested Loop", "Total Cost": 721920.85, "Plan Rows": 57400000, "Plan Width": 72, "Plans": [
            {"Node Type": "Seq Scan", "Parent Relationship": "Outer", "Relation Name": "orders", "Total Cost": 3667.00,
             "Plan Rows": 200000, "Plan Width": 36},
            {"Node Type": "Materialize", "Parent Relationship": "Inner", "Total Cost": 754.57, "Plan Rows": 287, "Plan Width": 36,
             "Plans": [{"Node Type": "Bitmap Heap Scan", "Parent Relationship": "Outer", "Relation Name": "orders",
               "Total Cost": 753.13, "Plan Rows": 287, "Plan Width": 36, "Plans": [{"Node Type": "Bitmap Index Scan",
               "Parent Relationship": "Outer", "Index Name": "orders_customer", "Total Cost": 6.45, "Plan Rows": 287,
               "Plan Width": 0, "Index Cond": "(customer = 5)"}]}]}]}, "JIT": {"Functions": 5}}"#,
    );
    assert_eq!((found.cartesian_rows, found.nested_loop_rows), (57_400_000, 57_400_000));
    assert!(found.jit && found.indexes == ["orders_customer"]);
}

#[test]
fn a_join_by_an_index_does_not() {
    let found = facts(
        r#"{"Plan": {"Node Type": "Nested Loop", "Total Cost": 2437.98, "Plan Rows": 1000, "Plan Width": 4, "Plans": [
            {"Node Type": "Index Scan", "Parent Relationship": "Outer", "Index Name": "customers_pkey",
             "Relation Name": "customers", "Total Cost": 8.36, "Plan Rows": 5, "Plan Width": 8, "Index Cond": "(id < 5)"},
            {"Node Type": "Bitmap Heap Scan", "Parent Relationship": "Inner", "Relation Name": "orders", "Total Cost": 483.92,
             "Plan Rows": 200, "Plan Width": 4, "Recheck Cond": "(customer = c.id)", "Plans": [{"Node Type": "Bitmap Index Scan",
             "Parent Relationship": "Outer", "Index Name": "orders_customer", "Total Cost": 5.79, "Plan Rows": 200,
             "Plan Width": 0, "Index Cond": "(customer = c.id)"}]}]}}"#,
    );
    assert_eq!((found.cartesian_rows, found.nested_loop_rows), (0, 0));
    assert!(found.seq_scans.is_empty() && found.wasteful_indexes.is_empty());
}

#[test]
fn what_does_not_fit_into_memory_spills() {
    let plan = r#"{"Plan": {"Node Type": "Sort", "Total Cost": 43144.27, "Plan Rows": 200000, "Plan Width": 21, "Plans": [
        {"Node Type": "Aggregate", "Strategy": "Hashed", "Parent Relationship": "Outer", "Total Cost": 20932.62,
         "Plan Rows": 200000, "Plan Width": 21, "Plans": [{"Node Type": "Seq Scan", "Parent Relationship": "Outer",
         "Relation Name": "orders", "Total Cost": 3667.00, "Plan Rows": 200000, "Plan Width": 13}]}]}}"#;
    let found = facts(plan);
    assert_eq!(found.spills, ["sort", "aggregate"]);
    assert_eq!(found.spill_bytes, 200_000 * 45);
    let roomy = Surroundings { work_mem: 64 << 20, ..Surroundings::default() };
    assert!(read(format!("[{plan}]").as_bytes(), &roomy).unwrap().spills.is_empty());
}

#[test]
fn a_sort_for_a_few_rows_keeps_only_these() {
    let limited = |limit: u64, between: &str| {
        facts(&format!(
            r#"{{"Plan": {{"Node Type": "Limit", "Plan Rows": {limit}, "Plans": [{{"Node Type": "{between}", "Plan Rows": 200000,
                "Parent Relationship": "Outer", "Plans": [{{"Node Type": "Sort", "Parent Relationship": "Outer",
                "Plan Rows": 200000, "Plans": [{{"Node Type": "Seq Scan", "Parent Relationship": "Outer",
                "Relation Name": "orders", "Plan Rows": 200000, "Plan Width": 21}}]}}]}}]}}}}"#
        ))
    };
    assert!(limited(100, "Gather Merge").spills.is_empty());
    assert_eq!(limited(100, "Unique").spills, ["sort"], "how many of the sorted rows it takes is not known");
    assert_eq!(limited(150_000, "Gather Merge").spills, ["sort"]);
}

#[test]
fn partitions_are_counted() {
    let member = |name: &str| {
        format!(
            r#"{{"Node Type": "Seq Scan", "Parent Relationship": "Member", "Relation Name": "{name}", "Plan Rows": 200}}"#
        )
    };
    let all = facts(&format!(
        r#"{{"Plan": {{"Node Type": "Append", "Total Cost": 8.0, "Plan Rows": 400, "Subplans Removed": 0, "Plans": [{}, {}]}}}}"#,
        member("parts_1"),
        member("parts_2")
    ));
    assert_eq!(
        (all.partitions_read, all.partitions_pruned, &*all.unpruned),
        (2, 0, &["public.parts".to_owned()][..])
    );
    let removed = facts(&format!(
        r#"{{"Plan": {{"Node Type": "Append", "Plan Rows": 200, "Subplans Removed": 1, "Plans": [{}]}}}}"#,
        member("parts_1")
    ));
    assert_eq!((removed.partitions_read, removed.partitions_pruned), (1, 1));
    assert!(removed.unpruned.is_empty());
}

#[test]
fn a_write_counts_what_it_changes_and_a_false_filter_is_empty() {
    let write = facts(
        r#"{"Plan": {"Node Type": "ModifyTable", "Operation": "Delete", "Relation Name": "orders", "Total Cost": 4167.00,
            "Plan Rows": 0, "Plan Width": 0, "Plans": [{"Node Type": "Seq Scan", "Parent Relationship": "Outer",
            "Relation Name": "orders", "Total Cost": 4167.00, "Plan Rows": 199980, "Plan Width": 6,
            "Filter": "(total > '5'::numeric)"}]}}"#,
    );
    assert_eq!(write.rows, 199_980);
    let empty = facts(
        r#"{"Plan": {"Node Type": "Result", "Plan Rows": 0, "Plan Width": 4, "One-Time Filter": "false"}}"#,
    );
    assert!(empty.empty && !write.empty);
}

#[test]
fn an_index_that_yields_much_and_keeps_little_is_wasteful() {
    let found = facts(
        r#"{"Plan": {"Node Type": "Bitmap Heap Scan", "Relation Name": "orders", "Total Cost": 753.78, "Plan Rows": 1,
            "Filter": "(email ~~ '%zz%'::text)", "Plans": [{"Node Type": "Bitmap Index Scan", "Index Name": "orders_customer",
            "Parent Relationship": "Outer", "Plan Rows": 28700, "Index Cond": "(customer = 5)"}]}}"#,
    );
    assert_eq!(found.wasteful_indexes, ["orders_customer on orders"]);
}

#[test]
fn what_is_no_plan_is_an_error() {
    let around = Surroundings::default();
    for text in ["", "[]", "{}", "[{}]", "nonsense", "[{\"Plan\": 7}]"] {
        assert!(read(text.as_bytes(), &around).is_err(), "{text}");
    }
    let deep = "[{\"Plan\": ".to_owned() + &"{\"Plans\": [".repeat(5000);
    assert!(read(deep.as_bytes(), &around).is_err(), "no stack is spent on it");
}

fn cost(total_cost: f64) -> PlanFacts {
    PlanFacts { total_cost, read_cost: total_cost, ..PlanFacts::blank() }
}

fn near(seconds: Option<f64>, expected: f64) -> bool {
    (seconds.unwrap() / expected - 1.0).abs() < 0.05
}

#[test]
fn costs_become_seconds_once_enough_was_seen() {
    let mut calibration = Calibration::default();
    assert_eq!(calibration.expected_seconds(1, &cost(1000.0)), None);
    for n in 0..30u64 {
        let _ = calibration.observe(n, &cost(1000.0), 0.01);
    }
    assert!(near(calibration.expected_seconds(1, &cost(1000.0)), 0.01));
    assert!(
        near(calibration.expected_seconds(999, &cost(5000.0)), 0.05),
        "a stranger takes the server's ratio"
    );
    // One that is far from the others keeps its own ratio, and does not move theirs far however often it runs.
    assert_eq!(calibration.observe(7, &cost(1000.0), 5.0), Observed::Surprise);
    for _ in 0..300 {
        let _ = calibration.observe(7, &cost(1000.0), 5.0);
    }
    assert!(near(calibration.expected_seconds(7, &cost(1000.0)), 5.0));
    assert_eq!(calibration.observe(7, &cost(1000.0), 6.0), Observed::AsExpected);
    assert!(calibration.expected_seconds(999, &cost(1000.0)).unwrap() < 0.02);
    assert_eq!(
        calibration.observe(10, &cost(10.0), 0.002),
        Observed::AsExpected,
        "twenty times 0.1 ms is nothing"
    );
    for nonsense in [f64::NAN, 0.0, f64::INFINITY, -1.0] {
        assert_eq!(calibration.observe(8, &cost(1000.0), nonsense), Observed::AsExpected);
        let _ = calibration.observe(9, &cost(nonsense), 0.01);
    }
    for of in [1000.0, f64::NAN, f64::INFINITY, -1.0] {
        assert!(calibration.expected_seconds(1000, &cost(of)).is_none_or(|seconds| !seconds.is_nan()));
    }
}

#[test]
fn reading_and_working_have_rates_of_their_own() {
    let mut calibration = Calibration::default();
    let of =
        |read: f64, work: f64| PlanFacts { total_cost: read + work, read_cost: read, ..PlanFacts::blank() };
    // Here a unit of working takes ten times as long as one of reading.
    let takes = |plan: &PlanFacts| plan.read_cost * 1e-6 + (plan.total_cost - plan.read_cost) * 1e-5;
    for n in 0..40u64 {
        let plan = of(1e5, f64::from(u32::try_from(n % 8).unwrap()) * 5e4);
        let _ = calibration.observe(n, &plan, takes(&plan));
    }
    for plan in [of(2e5, 0.0), of(1e5, 1e5), of(0.0, 2e5)] {
        let told = calibration.expected_seconds(999, &plan).unwrap() / takes(&plan);
        assert!((0.7..1.4).contains(&told), "{told}");
    }
}

#[test]
fn a_stranger_is_like_those_that_cost_as_much() {
    let mut calibration = Calibration::default();
    for n in 0..200u64 {
        let _ = calibration.observe(n, &cost(8.0), 1e-3);
    }
    for n in 200..210u64 {
        let _ = calibration.observe(n, &cost(1e6), 10.0);
    }
    let told = calibration.expected_seconds(999, &cost(5e5)).unwrap();
    assert!((4.0..8.0).contains(&told), "ten reports are heard among two hundred lookups: {told}");
    // Only the latest fingerprints are asked; those that run now.
    for n in 1000..2000u64 {
        let _ = calibration.observe(n, &cost(1e6), 40.0);
    }
    assert!(near(calibration.expected_seconds(999, &cost(1e6)), 40.0));
}

#[test]
fn reading_is_told_from_working() {
    let scan = r#"{"Node Type": "Seq Scan", "Parent Relationship": "Outer", "Relation Name": "orders", "Total Cost": 4000.0,
        "Plan Rows": 200000}"#;
    let lookup = r#"{"Node Type": "Index Scan", "Parent Relationship": "Inner", "Relation Name": "customers",
        "Index Name": "c", "Index Cond": "(id = o.customer)", "Total Cost": 0.5, "Plan Rows": 1}"#;
    let joined = facts(&format!(
        r#"{{"Plan": {{"Node Type": "Sort", "Total Cost": 130000.0, "Plans": [
            {{"Node Type": "Nested Loop", "Parent Relationship": "Outer", "Total Cost": 110000.0, "Plan Rows": 200000,
              "Plans": [{scan}, {lookup}]}}]}}}}"#
    ));
    assert!((joined.read_cost - 110_000.0).abs() < 1e-6, "{}", joined.read_cost);
    let limited =
        facts(&format!(r#"{{"Plan": {{"Node Type": "Limit", "Total Cost": 40.0, "Plans": [{scan}]}}}}"#));
    assert!((limited.read_cost - 40.0).abs() < 1e-6, "{}", limited.read_cost);
}

#[test]
fn the_index_that_would_help_is_named_and_never_one_that_is_there() {
    let catalog = catalog();
    let advice = |sql: &str, plan: &PlanFacts| {
        let facts = read_facts(sql.as_bytes(), &ReadOptions::default()).statements.remove(0);
        advise(&facts, plan, Some(&catalog)).into_iter().map(|advice| advice.statement).collect::<Vec<_>>()
    };
    let scan = facts(SCAN);
    for (sql, expected) in [
        ("SELECT id FROM orders WHERE email = 'a'", "(email)"),
        ("SELECT id FROM orders WHERE lower(email) = $1", "(lower(email))"),
        ("SELECT id FROM orders o WHERE o.at > $1 AND o.state = 'open'", "(state, at)"),
        ("SELECT id FROM orders WHERE email LIKE 'a%'", "(email text_pattern_ops)"),
        ("SELECT id FROM orders WHERE email LIKE '%a'", "USING gin (email gin_trgm_ops)"),
        ("SELECT id FROM orders WHERE state = 'open' ORDER BY at LIMIT 5", "(state, at)"),
    ] {
        assert_eq!(advice(sql, &scan), [format!("CREATE INDEX CONCURRENTLY ON orders {expected}")], "{sql}");
    }
    for sql in [
        "SELECT id FROM orders WHERE customer = 7",
        "SELECT id FROM orders",
        "SELECT id FROM orders WHERE email = 'a' OR state = 'b'",
    ] {
        assert!(advice(sql, &scan).is_empty(), "{sql}");
    }
    let all = PlanFacts { seq_scan_share: Some(0.9), ..scan.clone() };
    assert!(advice("SELECT id FROM orders WHERE email <> 'a' AND state = 'open'", &all).is_empty());
    // A join by a column: only where it keeps few, and no index begins with it.
    let joined = |selective: bool| PlanFacts {
        seq_scan_share: Some(1.0),
        selective_joins: selective.then(|| "orders".to_owned()).into_iter().collect(),
        ..scan.clone()
    };
    let by_state = "SELECT o.id FROM orders o JOIN states s ON s.name = o.state WHERE s.id = 7";
    assert_eq!(advice(by_state, &joined(true)), ["CREATE INDEX CONCURRENTLY ON orders (state)"]);
    assert!(advice(by_state, &joined(false)).is_empty());
    let by_customer = "SELECT o.id FROM orders o JOIN customers c ON c.id = o.customer WHERE c.name = 'x'";
    assert!(advice(by_customer, &joined(true)).is_empty());
}

#[test]
fn few_rows_of_a_scan_are_told_by_its_filter_or_by_the_join_above() {
    let scan = |rows: u64, filter: &str| {
        format!(
            r#"{{"Node Type": "Seq Scan", "Parent Relationship": "Outer", "Relation Name": "orders", "Total Cost": 4000.0,
                "Plan Rows": {rows}{filter}}}"#
        )
    };
    let join = |rows: u64, scan: &str| {
        facts(&format!(
            r#"{{"Plan": {{"Node Type": "Sort", "Plan Rows": 1, "Plans": [{{"Node Type": "Hash Join", "Plan Rows": {rows},
                "Parent Relationship": "Outer", "Plans": [{scan}, {{"Node Type": "Hash", "Parent Relationship": "Inner",
                "Plan Rows": 5}}]}}]}}}}"#
        ))
    };
    let few = join(2_000, &scan(200_000, ""));
    assert!(few.selective_scans.is_empty() && few.selective_joins == ["orders"]);
    assert!(join(150_000, &scan(200_000, "")).selective_joins.is_empty());
    let filtered = join(2_000, &scan(2_000, r#", "Filter": "(state = 'open')""#));
    assert_eq!(
        (filtered.selective_scans, filtered.selective_joins),
        (vec!["orders".into()], vec!["orders".into()])
    );
}
