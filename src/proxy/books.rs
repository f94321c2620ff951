//! The accountant of one feed: what the session machines report goes to the thread's counters.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::stream::Peer;
use super::thread::{Ident, Thread};
use crate::guard::plan::{PlanKey, Planned};
use crate::guard::{Effects, Judgement, Per, client_key};
use crate::observe::counters::PoolMeter;
use crate::session::{Admission, Ask, Ledger, Limit, PlanAnswer};

/// Settings of applications' own that are remembered, for each user and database.
const CUSTOM_SETTINGS: usize = 64;

pub(super) struct Books<'a> {
    thread: &'a Thread,
    ident: &'a Ident,
    meter: &'a PoolMeter,
    since: &'a mut Instant,
    peer: Option<&'a Peer>,
}

impl<'a> Books<'a> {
    pub(super) fn new(
        thread: &'a Thread,
        ident: &'a Ident,
        meter: &'a PoolMeter,
        since: &'a mut Instant,
    ) -> Self {
        Self { thread, ident, meter, since, peer: None }
    }

    /// Of this client, for policies that tell clients apart.
    pub(super) fn of(mut self, peer: &'a Peer) -> Self {
        self.peer = Some(peer);
        self
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
    }

    /// In a pipeline a statement's time runs from the end of the one before.
    fn finished(&mut self, judgement: &Judgement, rows: u64, bytes: u64, failed: bool) {
        let now = Instant::now();
        let nanos = u64::try_from(now.duration_since(*self.since).as_nanos()).unwrap_or(u64::MAX);
        *self.since = now;
        self.meter.query(judgement.kind, nanos, rows, bytes);
        if !failed {
            let seconds = nanos as f64 / 1e9;
            self.thread.planner.borrow_mut().finished(judgement.fingerprint, rows, seconds);
        }
        if failed {
            self.meter.error();
        }
        let database = self.ident.client_meter.database();
        let text = &judgement.normalized;
        self.thread.meters.fingerprint(database, judgement.fingerprint, text, nanos, rows, bytes);
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
        let address = match self.peer {
            Some(Peer::Ip(address)) => address.ip().to_canonical().to_string(),
            _ => String::new(),
        };
        client_key(&class.user, application, &address)
    }

    fn limited(&mut self, rule: u32, name: &str, limit: Limit) {
        let rules = self.thread.rules.borrow();
        self.thread.meters.limited(&rules, rules.number(rule, name), limit);
    }

    fn plan(&mut self, key: &PlanKey) -> Planned {
        self.thread.planner.borrow_mut().get(key)
    }

    fn planning(&mut self, key: &PlanKey) {
        self.thread.planner.borrow_mut().asks(key);
    }

    fn planned(&mut self, key: &PlanKey, answer: Option<&PlanAnswer>) {
        let snapshot = self.thread.shared.snapshot.load();
        let catalog = snapshot.catalogs.get(&self.ident.class.database);
        let known = self.thread.planner.borrow_mut().learn(key, answer, catalog.map(|catalog| &**catalog));
        self.thread.meters.plan(known);
        // What the statement takes is its own from here on.
        *self.since = Instant::now();
    }

    fn left_state(&mut self, fingerprint: u64) {
        self.thread.trust.borrow_mut().left_state(fingerprint);
    }
}
