//! What a client is told whose statement met a limit.

use std::time::Duration;

use super::expect::Refusal;
use super::limits::{Ask, Count, Limit};
use crate::guard::{Action, Judgement, Limits};
use crate::wire::sqlstate;

const FEWER: &str = "Ask for fewer rows: add a LIMIT, or a narrower WHERE.";

/// A limit in words: SQLSTATE, rule, message and hint.
fn words(
    limits: &Limits,
    limit: Limit,
    waited: Duration,
    ask: Option<Ask>,
) -> ([u8; 5], u32, String, &'static str) {
    const LARGE: [u8; 5] = sqlstate::PROGRAM_LIMIT_EXCEEDED;
    match (limit, ask.map(|ask| (ask.rule, ask.count))) {
        (_, Some((rule, Count::Concurrency(c)))) => {
            let message = format!("no turn within {}: {} such statements run already", shown(waited), c.most);
            (sqlstate::TOO_MANY_CONNECTIONS, rule, message, "Run fewer of them at once.")
        }
        (_, Some((rule, Count::Rate(rate)))) => {
            let message = format!("more than {} such statements in {}", rate.count, shown(rate.within));
            (sqlstate::CONFIGURATION_LIMIT_EXCEEDED, rule, message, "Try again later.")
        }
        (Limit::Rows, _) => {
            let (most, rule) = limits.rows.map_or((0, 0), |b| (b.at, b.rule));
            (LARGE, rule, format!("the statement returns more than {most} rows"), FEWER)
        }
        (Limit::Bytes, _) => {
            let (most, rule) = limits.bytes.map_or((0, 0), |b| (b.at, b.rule));
            (LARGE, rule, format!("the statement returns more than {most} bytes"), FEWER)
        }
        (Limit::Timeout | Limit::Rate | Limit::Concurrency, _) => {
            let (most, rule) = limits.timeout.map_or((Duration::ZERO, 0), |b| (b.at, b.rule));
            let message = format!("canceling statement: it runs longer than {}", shown(most));
            (sqlstate::QUERY_CANCELED, rule, message, "Read less, or let an index find it.")
        }
    }
}

/// What a client is told whose statement met a limit: in the rule's own words where it has some.
pub(super) fn refusal(j: &Judgement, limit: Limit, waited: Duration, ask: Option<Ask>) -> Refusal {
    let none = Limits::default();
    let limits = j.limits.as_deref().unwrap_or(&none);
    let (code, rule, message, hint) = words(limits, limit, waited, ask);
    let rule = limits.name(rule);
    let kind = Limit::NAMES.get(limit as usize).copied().unwrap_or_default();
    let mut detail = format!("Rule {rule} limits its {kind}, fingerprint {:016x}.", j.fingerprint);
    match j.complaints.iter().find(|c| *c.rule == *rule && c.action < Action::Block) {
        Some(own) => {
            detail.insert_str(0, &format!("{message}. "));
            let hint = if own.hint.is_empty() { hint } else { &own.hint };
            Refusal::worded(code, own.message.clone(), detail, hint.to_owned())
        }
        None => Refusal::worded(code, message, detail, hint.to_owned()),
    }
}

/// A time, as settings write it.
fn shown(time: Duration) -> String {
    if time.subsec_millis() == 0 {
        format!("{} s", time.as_secs())
    } else {
        format!("{} ms", time.as_millis())
    }
}
