//! What a thread knows of plans: those that were asked for, what became of judgements by them, what a unit of their cost
//! takes here, and how often statements run that an index would help.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use quick_cache::unsync::Cache;

use crate::config::Settings;
use crate::control::planner::{Desk, What};
use crate::guard::catalog::Catalog;
use crate::guard::plan::{
    self, Calibration, Observed, Plan, PlanFacts, PlanKey, Planned, Plans, Surroundings,
};
use crate::guard::{Judgement, plan::advise};
use crate::observe::advice::{AdviceTable, Tally};
use crate::observe::counters::ThreadMeters;
use crate::observe::labels::DatabaseId;
use crate::session::PlanAnswer;

/// Seconds: what a statement took and should have taken below that differs for reasons that are not its plan's.
const NOISE: f64 = 0.01;
/// Statements that are counted for the table of advice.
const MOST_ADVISED: usize = 1024;

/// Plans, and the times they took.
pub(super) struct Planner {
    plans: Plans,
    calibration: Calibration,
    /// The plan that a fingerprint ran with last.
    latest: Cache<u64, (PlanKey, Arc<Plan>)>,
    /// What statements with advice did since it was handed on, and their database's name.
    advised: HashMap<(DatabaseId, u64), (Arc<str>, Tally), ahash::RandomState>,
    desk: Arc<Desk>,
    /// Of the desk's news.
    heard: u64,
    thread: usize,
    meters: Arc<ThreadMeters>,
    began: Instant,
}

/// A statement's fingerprint, and its database.
#[derive(Clone, Copy)]
pub(super) struct Whose<'a> {
    pub(super) database: DatabaseId,
    pub(super) name: &'a str,
    pub(super) fingerprint: u64,
}

impl Planner {
    pub(super) fn new(
        settings: &Settings,
        thread: usize,
        desk: Arc<Desk>,
        meters: Arc<ThreadMeters>,
    ) -> Self {
        let most = settings.plan.max_plans;
        let ttl = u64::try_from(settings.plan.ttl.as_millis()).unwrap_or(u64::MAX);
        Self {
            plans: Plans::new(most, ttl),
            calibration: Calibration::default(),
            latest: Cache::new(most.max(1)),
            advised: HashMap::default(),
            heard: desk.number(),
            desk,
            thread,
            meters,
            began: Instant::now(),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    pub(super) fn get(&mut self, key: &PlanKey, judgement: &Arc<Judgement>) -> Planned {
        let now = self.now();
        let mut planned = self.plans.get(key, judgement, now);
        if !matches!(planned, Planned::Known { old: false, .. }) && self.listen() {
            planned = self.plans.get(key, judgement, now);
        }
        if let Planned::Known { plan, .. } = &planned
            && self.latest.get(&key.fingerprint).is_none_or(|(latest, _)| latest != key)
        {
            self.latest.insert(key.fingerprint, (*key, Arc::clone(plan)));
        }
        planned
    }

    pub(super) fn settled(&mut self, key: &PlanKey, base: &Arc<Judgement>, verdict: &Arc<Judgement>) {
        self.plans.settled(key, base, verdict);
    }

    pub(super) fn asks(&mut self, key: &PlanKey, waits: bool) {
        let now = self.now();
        self.plans.asks(key, waits, now);
    }

    pub(super) fn is_asked(&self, key: &PlanKey) -> bool {
        self.plans.is_asked(key, self.now())
    }

    /// Takes up what was found out elsewhere. -> there was something.
    pub(super) fn listen(&mut self) -> bool {
        if self.desk.number() == self.heard {
            return false;
        }
        let (news, heard) = self.desk.since(self.heard);
        self.heard = heard;
        for one in news {
            let key = &one.key;
            match one.what {
                What::Plan(plan) => {
                    if one.thread == self.thread {
                        self.meters.plan(plan.is_some());
                    }
                    let plan = plan.map(|plan| self.with_experience(key.fingerprint, Plan::clone(&plan)));
                    if let Some(plan) = &plan {
                        let whose = Whose {
                            database: one.database,
                            name: &one.database_name,
                            fingerprint: key.fingerprint,
                        };
                        self.advised(whose, plan);
                    }
                    self.admit(key, plan);
                }
                What::Checked(advice) => {
                    if let Some(known) = self.plans.peek(key) {
                        let plan = Arc::new(Plan { facts: known.facts.clone(), advice: (*advice).into() });
                        self.renew(key, plan);
                    }
                }
            }
        }
        true
    }

    fn renew(&mut self, key: &PlanKey, plan: Arc<Plan>) {
        self.plans.renew(key, &plan);
        self.latest.insert(key.fingerprint, (*key, plan));
    }

    fn admit(&mut self, key: &PlanKey, plan: Option<Arc<Plan>>) {
        let now = self.now();
        self.plans.learn(key, plan, now);
        // The next run takes it up.
        self.latest.remove(&key.fingerprint);
    }

    /// With what is known of earlier runs.
    fn with_experience(&self, fingerprint: u64, mut plan: Plan) -> Arc<Plan> {
        plan.facts.expected_seconds = self.calibration.expected_seconds(fingerprint, &plan.facts);
        let before = self.latest.get(&fingerprint).map(|(_, before)| before);
        plan.facts.estimate_off = before.and_then(|before| before.facts.estimate_off);
        Arc::new(plan)
    }

    /// The planner's answer about a judgement's statement; `None`: it could not be read, or there was none.
    pub(super) fn learn(
        &mut self,
        key: &PlanKey,
        answer: Option<&PlanAnswer>,
        judgement: &Judgement,
        catalog: Option<&Catalog>,
    ) -> Option<Arc<Plan>> {
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
        let facts = answer.and_then(|answer| plan::read(&answer.json, &around(answer)).ok());
        let statement = judgement.live.as_ref().and_then(|live| live.facts());
        let plan = facts.map(|facts| {
            let advice = statement.map(|statement| advise(statement, &facts, catalog)).unwrap_or_default();
            self.with_experience(key.fingerprint, Plan { facts, advice: advice.into() })
        });
        self.admit(key, plan.clone());
        plan
    }

    /// Statements of that fingerprint are counted from now on, if an index would help them.
    pub(super) fn advised(&mut self, whose: Whose<'_>, plan: &Plan) {
        if !plan.advice.is_empty() && self.advised.len() < MOST_ADVISED {
            let none = Tally { calls: 0, blocked: 0, nanos: 0, last: SystemTime::UNIX_EPOCH };
            self.advised
                .entry((whose.database, whose.fingerprint))
                .or_insert_with(|| (whose.name.into(), none));
        }
    }

    /// A policy refused a statement.
    pub(super) fn refused(&mut self, database: DatabaseId, fingerprint: u64) {
        if let Some((_, tally)) = self.advised.get_mut(&(database, fingerprint)) {
            tally.blocked += 1;
        }
    }

    /// A statement is over; `rows`: those it yielded or changed.
    pub(super) fn finished(&mut self, database: DatabaseId, fingerprint: u64, rows: u64, time: Duration) {
        if self.plans.is_empty() {
            return;
        }
        let Some((key, plan)) = self.latest.get(&fingerprint).map(|(key, plan)| (*key, Arc::clone(plan)))
        else {
            return;
        };
        if !self.advised.is_empty()
            && let Some((_, tally)) = self.advised.get_mut(&(database, fingerprint))
        {
            tally.calls += 1;
            tally.nanos += u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        }
        let facts = &plan.facts;
        let observed = self.calibration.observe(fingerprint, facts, time.as_secs_f64());
        let (estimated, rows) = (facts.rows.max(1) as f64, rows.max(1) as f64);
        let off = (estimated / rows).max(rows / estimated);
        let expected = self.calibration.expected_seconds(fingerprint, facts);
        let worth = |expected: f64| time.as_secs_f64().max(expected) > NOISE;
        if observed == Observed::Surprise && facts.expected_seconds.is_some_and(worth) {
            // It may be planned otherwise by now.
            let now = self.now();
            self.plans.age(&key, now);
        }
        let moved = |before: Option<f64>, now: f64| {
            before.is_none_or(|before| now > before * 1.5 || before > now * 1.5)
        };
        if moved(facts.estimate_off, off) || expected.is_some_and(|now| moved(facts.expected_seconds, now)) {
            let facts = PlanFacts { estimate_off: Some(off), expected_seconds: expected, ..facts.clone() };
            self.renew(&key, Arc::new(Plan { facts, advice: plan.advice.clone() }));
        }
    }

    /// Hands on what statements with advice did. Those that have none any more are not counted any longer.
    pub(super) fn hand_on(&mut self, table: &AdviceTable) {
        let now = SystemTime::now();
        self.advised.retain(|(_, fingerprint), (database, tally)| {
            if tally.calls == 0 && tally.blocked == 0 {
                return true;
            }
            tally.last = now;
            let stays = table.add(database, *fingerprint, tally);
            (tally.calls, tally.blocked, tally.nanos) = (0, 0, 0);
            stays
        });
    }

    /// Statistics have moved.
    pub(super) fn clear(&mut self) {
        self.plans.clear();
    }
}
