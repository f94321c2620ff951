//! The accountant of one feed: what the session machines report goes to the thread's counters.

use std::sync::atomic::Ordering;
use std::time::Instant;

use super::thread::{Ident, Thread};
use crate::guard::{Effects, Judgement};
use crate::observe::counters::PoolMeter;
use crate::session::Ledger;

/// Settings of applications' own that are remembered, for each user and database.
const CUSTOM_SETTINGS: usize = 64;

pub(super) struct Books<'a> {
    thread: &'a Thread,
    ident: &'a Ident,
    meter: &'a PoolMeter,
    since: &'a mut Instant,
}

impl<'a> Books<'a> {
    pub(super) fn new(
        thread: &'a Thread,
        ident: &'a Ident,
        meter: &'a PoolMeter,
        since: &'a mut Instant,
    ) -> Self {
        Self { thread, ident, meter, since }
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

    fn left_state(&mut self, fingerprint: u64) {
        self.thread.trust.borrow_mut().left_state(fingerprint);
    }
}
