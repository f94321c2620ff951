//! What a thread knows of plans: those that were asked for, and what a unit of their cost takes here.

use std::sync::Arc;
use std::time::{Duration, Instant};

use quick_cache::unsync::Cache;

use crate::guard::catalog::Catalog;
use crate::guard::plan::{self, Calibration, Observed, PlanFacts, PlanKey, Planned, Plans, Surroundings};
use crate::session::PlanAnswer;

/// Plans, and the times they took.
pub(super) struct Planner {
    plans: Plans,
    calibration: Calibration,
    /// The plan that a fingerprint ran with last.
    latest: Cache<u64, (PlanKey, Arc<PlanFacts>)>,
    began: Instant,
}

impl Planner {
    pub(super) fn new(most: usize, ttl: Duration) -> Self {
        let ttl = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
        Self {
            plans: Plans::new(most, ttl),
            calibration: Calibration::default(),
            latest: Cache::new(most.max(1)),
            began: Instant::now(),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    pub(super) fn get(&mut self, key: &PlanKey) -> Planned {
        let now = self.now();
        let planned = self.plans.get(key, now);
        if let Planned::Known(facts) = &planned
            && self.latest.get(&key.fingerprint).is_none_or(|(latest, _)| latest != key)
        {
            self.latest.insert(key.fingerprint, (*key, Arc::clone(facts)));
        }
        planned
    }

    pub(super) fn asks(&mut self, key: &PlanKey) {
        let now = self.now();
        self.plans.asks(key, now);
    }

    /// The planner's answer. -> it could be read.
    pub(super) fn learn(
        &mut self,
        key: &PlanKey,
        answer: Option<&PlanAnswer>,
        catalog: Option<&Catalog>,
    ) -> bool {
        let around = |answer: &PlanAnswer| {
            let known = Surroundings { catalog, ..Surroundings::default() };
            Surroundings {
                work_mem: if answer.work_mem > 0 { answer.work_mem } else { known.work_mem },
                hash_mem_percent: if answer.hash_mem_percent > 0 {
                    answer.hash_mem_percent
                } else {
                    known.hash_mem_percent
                },
                ..known
            }
        };
        let facts =
            answer.and_then(|answer| plan::read(&answer.json, &around(answer)).ok()).map(|mut facts| {
                facts.expected_seconds = self.calibration.expected_seconds(key.fingerprint, &facts);
                let before = self.latest.get(&key.fingerprint).map(|(_, before)| before);
                facts.estimate_off = before.and_then(|before| before.estimate_off);
                Arc::new(facts)
            });
        let known = facts.is_some();
        let now = self.now();
        self.plans.learn(key, facts, now);
        known
    }

    /// A statement is over; `rows`: those it yielded or changed.
    pub(super) fn finished(&mut self, fingerprint: u64, rows: u64, seconds: f64) {
        if self.plans.is_empty() {
            return;
        }
        let Some((key, facts)) = self.latest.get(&fingerprint).map(|(key, facts)| (*key, Arc::clone(facts)))
        else {
            return;
        };
        let observed = self.calibration.observe(fingerprint, &facts, seconds);
        let (estimated, rows) = (facts.rows.max(1) as f64, rows.max(1) as f64);
        let off = (estimated / rows).max(rows / estimated);
        let expected = self.calibration.expected_seconds(fingerprint, &facts);
        if observed == Observed::Surprise && facts.expected_seconds.is_some() {
            // It may be planned otherwise by now.
            self.plans.forget(&key);
        }
        let moved = |before: Option<f64>, now: f64| {
            before.is_none_or(|before| now > before * 1.5 || before > now * 1.5)
        };
        if moved(facts.estimate_off, off) || expected.is_some_and(|now| moved(facts.expected_seconds, now)) {
            let facts = Arc::new(PlanFacts {
                estimate_off: Some(off),
                expected_seconds: expected,
                ..PlanFacts::clone(&facts)
            });
            self.plans.renew(&key, &facts);
            self.latest.insert(fingerprint, (key, facts));
        }
    }

    /// Statistics have moved.
    pub(super) fn clear(&mut self) {
        self.plans.clear();
    }
}
