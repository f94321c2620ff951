//! What the console shows of the policies' limits.

use std::time::Duration;

use super::ask::printable;
use super::sheet::{Sheet, Value};
use crate::guard::policy::RuleLimit;
use crate::proxy::thread::Shared;
use crate::proxy::throttle::Counted;
use crate::session::{Count, Limit};

/// Counts shown; there may be many more.
const COUNTS: usize = 1_000;

pub(super) fn write(shared: &Shared, sheet: &mut Sheet) {
    let published = shared.policies.outlook().published;
    let totals = shared.meters.totals();
    let mut counts = shared.throttles.counted(COUNTS);
    for (at, rule) in published.version.policies.rules().iter().enumerate() {
        let Some(limit) = rule.limit.as_ref().filter(|_| rule.enforced) else { continue };
        let slot = published.rules.slot(u32::try_from(at).unwrap_or(u32::MAX));
        for whole in bounds(limit) {
            let name = Limit::NAMES.get(whole.limit as usize).copied().unwrap_or_default();
            sheet.row(&[
                Value::Text(&rule.name),
                Value::Text(name),
                whole.per.map_or(Value::Null, Value::Text),
                Value::Null,
                Value::Null,
                Value::Number(whole.allowed),
                whole.within.map_or(Value::Null, Value::Number),
                Value::Null,
                Value::Number(totals.limited(slot, whole.limit)),
            ]);
            let of_it = |one: &Counted| *one.rule == *rule.name && kind(&one.count) == whole.limit;
            counts.iter().filter(|one| of_it(one)).for_each(|one| count(one, sheet));
            counts.retain(|one| !of_it(one));
        }
    }
    // Of rules that are gone, or that nobody can tell apart any more.
    counts.iter().for_each(|one| count(one, sheet));
}

/// One bound of a rule.
struct Whole {
    limit: Limit,
    per: Option<&'static str>,
    allowed: u64,
    within: Option<u64>,
}

fn bounds(limit: &RuleLimit) -> Vec<Whole> {
    let plain = |limit: Limit, allowed: u64| Whole { limit, per: None, allowed, within: None };
    let all = [
        limit.timeout.map(|time| plain(Limit::Timeout, millis(time))),
        limit.rows.map(|rows| plain(Limit::Rows, rows)),
        limit.bytes.map(|bytes| plain(Limit::Bytes, bytes)),
        limit.rate.map(|rate| Whole {
            limit: Limit::Rate,
            per: Some(rate.per.name()),
            allowed: rate.count.into(),
            within: Some(millis(rate.within)),
        }),
        limit.concurrency.map(|concurrency| Whole {
            limit: Limit::Concurrency,
            per: Some(concurrency.per.name()),
            allowed: concurrency.most.into(),
            within: None,
        }),
    ];
    all.into_iter().flatten().collect()
}

fn kind(count: &Count) -> Limit {
    match count {
        Count::Rate(_) => Limit::Rate,
        Count::Concurrency(_) => Limit::Concurrency,
    }
}

fn count(one: &Counted, sheet: &mut Sheet) {
    let (allowed, within) = match one.count {
        Count::Rate(rate) => (rate.count, Value::Number(millis(rate.within))),
        Count::Concurrency(concurrency) => (concurrency.most, Value::Null),
    };
    let of: String = one.of.chars().flat_map(printable).collect();
    sheet.row(&[
        Value::Text(&one.rule),
        Value::Text(Limit::NAMES.get(kind(&one.count) as usize).copied().unwrap_or_default()),
        Value::Text(one.per),
        Value::Text(&of),
        Value::Number(one.used),
        Value::Number(allowed.into()),
        within,
        Value::count(one.waiting),
        Value::Number(one.refused),
    ]);
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
