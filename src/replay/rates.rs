//! Limits against what a log tells: time, rows and bytes of a run, and how many came in how long.

use std::collections::HashMap;

use super::Entry;
use crate::guard::{Class, Judgement, Limits, Per, Rate};

/// Keys that are counted at once.
const MAX_KEYS: usize = 100_000;

/// How much of each rate is left: a bucket that fills steadily, as full as `count` at most.
#[derive(Debug, Default)]
pub(super) struct Rates(HashMap<(u32, u64), Bucket>);

#[derive(Clone, Copy, Debug)]
struct Bucket {
    left: f64,
    /// Microseconds.
    at: i64,
}

impl Rates {
    /// The rules whose limit the runs of an entry go beyond.
    pub(super) fn exceeded(
        &mut self,
        limits: &Limits,
        entry: &Entry,
        class: &Class,
        judgement: &Judgement,
    ) -> Vec<u32> {
        let mut rules = Vec::new();
        let mut add = |rule: u32, beyond: bool| {
            if beyond && !rules.contains(&rule) {
                rules.push(rule);
            }
        };
        // Of many runs the mean is all that is known.
        let runs = entry.calls.max(1) as f64;
        let each = |all: Option<u64>| all.map(|all| all as f64 / runs);
        if let (Some(bound), Some(seconds)) = (limits.timeout, entry.seconds) {
            add(bound.rule, seconds / runs > bound.at.as_secs_f64());
        }
        if let (Some(bound), Some(rows)) = (limits.rows, each(entry.rows)) {
            add(bound.rule, rows > bound.at as f64);
        }
        if let (Some(bound), Some(bytes)) = (limits.bytes, each(entry.bytes)) {
            add(bound.rule, bytes > bound.at as f64);
        }
        for bound in &limits.rates {
            let key = key(bound.at.per, entry, class, judgement);
            let passes = entry.time.is_none_or(|time| self.admit((bound.rule, key), &bound.at, time));
            add(bound.rule, !passes && entry.calls > 0);
        }
        rules
    }

    fn admit(&mut self, key: (u32, u64), rate: &Rate, time: i64) -> bool {
        if self.0.len() >= MAX_KEYS && !self.0.contains_key(&key) {
            self.0.clear();
        }
        let most = f64::from(rate.count);
        let bucket = self.0.entry(key).or_insert(Bucket { left: most, at: time });
        let micros = time.saturating_sub(bucket.at).max(0) as f64;
        let within = (rate.within.as_micros() as f64).max(1.0);
        bucket.left = (bucket.left + micros / within * most).min(most);
        bucket.at = bucket.at.max(time);
        let passes = bucket.left >= 1.0;
        if passes {
            bucket.left -= 1.0;
        }
        passes
    }
}

fn key(per: Per, entry: &Entry, class: &Class, judgement: &Judgement) -> u64 {
    match per {
        Per::Rule => 0,
        Per::User => Entry::number(class.user.as_bytes()),
        Per::Database => Entry::number(class.database.as_bytes()),
        Per::Application => Entry::number(entry.application.as_bytes()),
        Per::Client => entry.session,
        Per::Address => Entry::number(entry.address.as_bytes()),
        Per::Fingerprint => judgement.fingerprint,
    }
}
