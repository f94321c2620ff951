//! Two-sided helpers: `flags` fails on silence, `passes` on noise.

use super::Finding;
use crate::guard::facts::{ReadOptions, read};

fn findings(name: &str, sql: &str) -> Vec<Finding> {
    let detector = super::find(name).unwrap_or_else(|| panic!("no detector {name}"));
    let reading = read(sql.as_bytes(), &ReadOptions::default());
    assert!(reading.refusal.is_none(), "not parsed, so it shows nothing: {sql}");
    reading.statements.iter().filter_map(detector.check).collect()
}

/// The detector finds something in `sql`; what it says.
pub(super) fn flags(name: &str, sql: &str) -> Finding {
    let found =
        findings(name, sql).into_iter().next().unwrap_or_else(|| panic!("{name} is silent on: {sql}"));
    assert!(found.message.ends_with('.') && found.hint.ends_with('.'), "whole sentences: {found:?}");
    found
}

/// The detector finds nothing in `sql`.
pub(super) fn passes(name: &str, sql: &str) {
    let found = findings(name, sql);
    assert!(found.is_empty(), "{name} speaks on: {sql}: {found:?}");
}
