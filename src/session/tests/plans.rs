//! The planner is asked ahead of a statement, and nobody notices.

use super::pump::*;
use crate::session::PlanTerms;

const RULES: &str =
    "[[rule]]\nname = 'dear'\nwhen = 'plan.total_cost > 1.0'\naction = 'block'\nmessage = 'Dear.'\n";

fn world() -> World {
    let mut world = World::new(RULES, 1, 1, 10);
    world.plan = PlanTerms { rows: Some(0), deadline_ms: 50, background: false };
    world
}

#[test]
fn a_statement_is_planned_once_however_the_schema_moves_meanwhile() {
    for text in [q("select a from t"), run("select a from t")] {
        let mut w = world();
        w.books.restless = 5;
        assert!(w.ask(0, &text).ends_with("D:select a from t C:SELECT 1 Z:I"));
        assert_eq!(w.books.plans.len(), 1);
        // The next one is of another schema.
        assert!(w.ask(0, &text).ends_with("D:select a from t C:SELECT 1 Z:I"));
        assert_eq!(w.books.plans.len(), 2);
        w.assert_quiet();
    }
}

#[test]
fn what_is_skipped_behind_an_error_did_not_run() {
    let mut w = World::new("", 1, 1, 10);
    let failing = [p("", "select fail"), b("", ""), e("", 0)].concat();
    let after = [p("", "select 2"), b("", ""), e("", 0), sync()].concat();
    w.ask(0, &[failing, after].concat());
    assert_eq!(w.books.finished, [(0, true)]);
    // A Bind that fails takes its Execute with it.
    w.books.finished.clear();
    w.ask(0, &[b("", "nobody"), e("", 0), p("", "select 2"), b("", ""), e("", 0), sync()].concat());
    assert!(w.books.finished.is_empty(), "nobody knows what that was: {:?}", w.books.finished);
    w.assert_quiet();
}
