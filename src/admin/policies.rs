//! What the console shows of the policies, and does with them.

use super::commands::What;
use super::rows::time;
use super::sheet::{Sheet, Value};
use crate::guard::shadow::{Difference, Sample};
use crate::observe::metrics::fingerprint_label;
use crate::proxy::thread::Shared;

/// A command that changes which policies are in force. -> what was done, in words.
pub(super) fn run(what: What, shared: &Shared, user: &str) -> Result<String, String> {
    let store = &shared.policies;
    let by = |command: &str| format!("{command} by {user}");
    match what {
        What::ReloadPolicies => store.reload_explicitly(&by("RELOAD POLICIES"), false),
        What::ReloadPoliciesCanary => store.reload_explicitly(&by("RELOAD POLICIES CANARY"), true),
        What::PromotePolicies => store.promote(&by("PROMOTE POLICIES")),
        What::RollbackPolicies => store.roll_back(&by("ROLLBACK POLICIES")),
        _ => Err("not a command for policies".to_owned()),
    }
}

pub(super) fn rules(shared: &Shared, sheet: &mut Sheet) {
    let outlook = shared.policies.outlook();
    let published = &outlook.published;
    let totals = shared.meters.totals();
    let generation = Value::Number(published.version.generation.into());
    for (at, rule) in published.version.policies.rules().iter().enumerate() {
        let slot = published.rules.slot(u32::try_from(at).unwrap_or(u32::MAX));
        let hits = totals.hits(slot);
        sheet.row(&[
            Value::Text(&rule.name),
            Value::Text(rule.act.action().name()),
            Value::Text(if rule.enforced { "enforce" } else { "observe" }),
            Value::Number(hits),
            Value::Text(&rule.file),
            generation,
            Value::Null,
        ]);
    }
    if let Some(failure) = &outlook.failure {
        let none = Value::Null;
        let file = failure.file.as_deref().map_or(Value::Null, Value::Text);
        sheet.row(&[none, none, none, none, file, none, Value::Text(&failure.why)]);
    }
}

pub(super) fn versions(shared: &Shared, sheet: &mut Sheet) {
    let outlook = shared.policies.outlook();
    if let Some(failure) = &outlook.failure {
        sheet.row(&[
            Value::Null,
            Value::Text("failed"),
            time(failure.at),
            Value::Text(&failure.trigger),
            Value::Null,
            Value::Null,
            Value::Text(&failure.why),
        ]);
    }
    for (version, mark) in outlook.versions.iter().rev() {
        sheet.row(&[
            Value::Number(version.generation.into()),
            Value::Text(mark.name()),
            time(version.loaded),
            Value::Text(&version.trigger),
            Value::count(version.policies.rules().len()),
            Value::Text(&fingerprint_label(version.hash)),
            Value::Text(&version.changes.to_string()),
        ]);
    }
}

pub(super) fn canary(shared: &Shared, sheet: &mut Sheet) {
    let published = shared.policies.outlook().published;
    let Some(canary) = &published.canary else { return };
    let report = canary.report();
    let generation = Value::Number(canary.version.generation.into());
    let (none, judged) = (Value::Null, Value::Number(report.judged));
    let whole = format!(
        "{} differ, {} runs were asked of both, {} were too many to judge twice",
        report.differing, report.runs, report.skipped
    );
    sheet.row(&[generation, none, none, none, judged, none, Value::Text(&whole)]);
    let mut rows: Vec<(&Difference, &Sample)> = report.rows.iter().collect();
    rows.sort_by(|(a, x), (b, y)| y.statements.cmp(&x.statements).then_with(|| a.cmp(b)));
    for ((rule, now, then), sample) in rows {
        let (now, then) = (now.to_string(), then.to_string());
        sheet.row(&[
            generation,
            Value::Text(rule),
            Value::Text(&now),
            Value::Text(&then),
            Value::Number(sample.statements),
            Value::Text(&fingerprint_label(sample.fingerprint)),
            Value::Text(&sample.normalized),
        ]);
    }
}
