//! The accountant of one feed: what the session machines report goes to the thread's counters.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::card::ClientCard;
use super::planner::Whose;
use super::stream::Peer;
use super::thread::{Ident, Thread};
use crate::control::planner::Order;
use crate::guard::plan::{PlanKey, Planned};
use crate::guard::{Action, Effects, Judgement, Per, client_key};
use crate::observe::counters::PoolMeter;
use crate::observe::query_log::Pen;
use crate::session::{Admission, Ask, End, Ledger, Limit, ParamSet, PlanAnswer, PlanQuestion, Run, Wants};

/// Settings of applications' own that are remembered, for each user and database.
const CUSTOM_SETTINGS: usize = 64;

pub(super) struct Books<'a> {
    pub(super) thread: &'a Thread,
    pub(super) ident: &'a Ident,
    pub(super) meter: &'a PoolMeter,
    since: &'a mut Instant,
    pub(super) card: Option<&'a ClientCard>,
}

impl<'a> Books<'a> {
    pub(super) fn new(
        thread: &'a Thread,
        ident: &'a Ident,
        meter: &'a PoolMeter,
        since: &'a mut Instant,
    ) -> Self {
        Self { thread, ident, meter, since, card: None }
    }

    /// Of this client, for policies that tell clients apart, and for the query log.
    pub(super) fn of(mut self, card: &'a ClientCard) -> Self {
        self.card = Some(card);
        self
    }
}

impl Books<'_> {
    fn order(&self, key: &PlanKey, question: PlanQuestion) -> Order {
        Order {
            key: *key,
            question,
            pool: Arc::clone(&self.ident.primary),
            database: self.ident.client_meter.database(),
            thread: self.thread.index,
            check: None,
        }
    }
}

impl Ledger for Books<'_> {
    fn judged(&mut self, judgement: &Judgement) {
        if judgement.hits.is_empty() {
            return;
        }
        let rules = self.thread.rules.borrow();
        for hit in &judgement.hits {
            self.thread.meters.verdict(&rules, hit.rule, hit.action, hit.enforced);
        }
        if judgement.action == Action::Block {
            let database = self.ident.client_meter.database();
            self.thread.planner.borrow_mut().refused(database, judgement.fingerprint);
        }
    }

    /// In a pipeline a statement's time runs from the end of the one before.
    fn finished(&mut self, run: &Run, end: &End<'_>) {
        let (judgement, &End { rows, bytes, failed, .. }) = (&**run, end);
        let now = Instant::now();
        let time = now.duration_since(*self.since);
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let database = self.ident.client_meter.database();
        *self.since = now;
        self.meter.query(judgement.kind, nanos, rows, bytes);
        if !failed {
            self.thread.planner.borrow_mut().finished(database, judgement.fingerprint, rows, time);
        }
        if failed {
            self.meter.error();
        }
        let text = &judgement.normalized;
        self.thread.meters.fingerprint(database, judgement.fingerprint, text, nanos, rows, bytes);
        if self.thread.pen.is_some() {
            self.log(run, end, Some(nanos));
        }
    }

    fn wants(&self) -> Wants {
        self.thread.pen.as_ref().map(Pen::wants).unwrap_or_default()
    }

    fn refused(&mut self, run: &Run, settings: &ParamSet, sqlstate: [u8; 5]) {
        self.log(run, &End { rows: 0, bytes: 0, failed: true, sqlstate, settings }, None);
    }

    fn transaction(&mut self) {
        self.meter.transaction();
    }

    fn pinned(&mut self, reasons: Effects) {
        self.thread.meters.pinned(reasons);
    }

    fn suspects(&mut self, fingerprint: u64) -> bool {
        self.thread.trust.borrow_mut().suspects(fingerprint)
    }

    fn custom_setting(&mut self, name: &str) {
        let mut known = self.ident.custom_settings.borrow_mut();
        if known.len() < CUSTOM_SETTINGS && !known.iter().any(|other| **other == *name) {
            known.push(name.into());
        }
    }

    fn custom_settings(&self) -> Vec<Box<str>> {
        self.ident.custom_settings.borrow().clone()
    }

    fn schema_changed(&mut self) {
        self.ident.schema.fetch_add(1, Ordering::Relaxed);
    }

    fn key(&self, rule: &str, per: Per, value: &[u8]) -> u64 {
        self.thread.shared.throttles.key(rule, per, value)
    }

    fn admit(&mut self, asks: &[Ask]) -> Admission {
        self.thread.shared.throttles.admit(asks)
    }

    fn clock(&self) -> Duration {
        self.thread.shared.throttles.elapsed()
    }

    fn unix(&self) -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    }

    fn share_key(&self) -> u64 {
        let class = &self.ident.class;
        let application = self.ident.settings.get("application_name").unwrap_or_default();
        let address = match self.card.map(|card| &card.peer) {
            Some(Peer::Ip(address)) => address.ip().to_canonical().to_string(),
            _ => String::new(),
        };
        client_key(&class.user, application, &address)
    }

    fn limited(&mut self, rule: u32, name: &str, limit: Limit) {
        let rules = self.thread.rules.borrow();
        self.thread.meters.limited(&rules, rules.number(rule, name), limit);
    }

    fn plan(&mut self, key: &PlanKey, judgement: &Arc<Judgement>) -> Planned {
        self.thread.planner.borrow_mut().get(key, judgement)
    }

    fn weighed(&mut self, key: &PlanKey, judgement: &Arc<Judgement>, settled: &Arc<Judgement>) {
        self.thread.planner.borrow_mut().settled(key, judgement, settled);
    }

    fn planning(&mut self, key: &PlanKey, waits: bool) {
        self.thread.planner.borrow_mut().asks(key, waits);
    }

    fn planned(&mut self, key: &PlanKey, question: &PlanQuestion, answer: Option<&PlanAnswer>) {
        let shared = &self.thread.shared;
        let snapshot = shared.snapshot.load();
        let name = &self.ident.class.database;
        let catalog = snapshot.catalogs.get(name).map(|catalog| &**catalog);
        let judgement = &question.judgement;
        let plan = self.thread.planner.borrow_mut().learn(key, answer, judgement, catalog);
        self.thread.meters.plan(plan.is_some());
        self.thread.planned.notify_waiters();
        if let Some(plan) = plan.filter(|plan| !plan.advice.is_empty()) {
            let (table, text) = (shared.meters.advice(), &judgement.normalized);
            table.note(name, judgement.fingerprint, text, &plan.advice, SystemTime::now());
            let database = self.ident.client_meter.database();
            let whose = Whose { database, name, fingerprint: judgement.fingerprint };
            self.thread.planner.borrow_mut().advised(whose, &plan);
            let checks = catalog.is_some_and(|catalog| catalog.hypopg.is_some());
            if checks && !question.messages.is_empty() {
                // Unchecked it is of use, too: nothing is lost where the line is full.
                let _ = shared.desk.ask(Order { check: Some(plan), ..self.order(key, question.clone()) });
            }
        }
        // What the statement takes is its own from here on.
        *self.since = Instant::now();
    }

    fn plan_aside(&mut self, key: &PlanKey, question: PlanQuestion) {
        if !self.thread.shared.desk.ask(self.order(key, question)) {
            self.thread.meters.plan_dropped();
        }
    }

    fn left_state(&mut self, fingerprint: u64) {
        self.thread.trust.borrow_mut().left_state(fingerprint);
    }
}
