//! An accountant that keeps what it was told.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::guard::plan::{PlanKey, Planned};
use crate::guard::{Effects, Judgement};
use crate::session::{Admission, Ask, Count, End, Ledger, Limit, PlanAnswer, PlanQuestion, Run, Trust};

#[derive(Default)]
pub(super) struct Books {
    pub(super) judged: Vec<u64>,
    pub(super) finished: Vec<(u64, bool)>,
    trust: Trust,
    pub(super) epoch: u64,
    pub(super) cap: usize,
    pub(super) places: Arc<AtomicUsize>,
    pub(super) limited: Vec<Limit>,
    /// Plans that were asked for, and whether there was an answer.
    pub(super) plans: Vec<(PlanKey, bool)>,
    /// So many more questions see the schema change before they are answered.
    pub(super) restless: u64,
}

pub(super) struct Place(Arc<AtomicUsize>);
impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Ledger for Books {
    fn judged(&mut self, judgement: &Judgement) {
        self.judged.push(judgement.fingerprint);
    }
    fn finished(&mut self, _: &Run, end: &End<'_>) {
        self.finished.push((end.rows, end.failed));
    }
    fn pinned(&mut self, _: Effects) {}
    fn suspects(&mut self, fingerprint: u64) -> bool {
        self.trust.suspects(fingerprint)
    }
    fn custom_setting(&mut self, _: &str) {}
    fn custom_settings(&self) -> Vec<Box<str>> {
        Vec::new()
    }
    fn schema_changed(&mut self) {
        self.epoch += 1;
    }
    fn left_state(&mut self, fingerprint: u64) {
        self.trust.left_state(fingerprint);
    }
    fn admit(&mut self, asks: &[Ask]) -> Admission {
        if let Some(at) = asks.iter().position(|ask| matches!(ask.count, Count::Rate(_))) {
            return Admission::Refused(at);
        }
        if self.places.load(Ordering::Relaxed) >= self.cap {
            return Admission::Waits;
        }
        self.places.fetch_add(1, Ordering::Relaxed);
        Admission::Goes(Some(Box::new(Place(Arc::clone(&self.places)))))
    }
    fn limited(&mut self, _: u32, limit: Limit) {
        self.limited.push(limit);
    }
    fn plan(&mut self, key: &PlanKey, _: &Arc<Judgement>) -> Planned {
        if self.plans.iter().any(|(known, _)| known == key) { Planned::Unknown } else { Planned::Ask }
    }
    fn planning(&mut self, _: &PlanKey, _: bool) {
        if self.restless > 0 {
            self.restless -= 1;
            self.epoch += 1;
        }
    }
    fn planned(&mut self, key: &PlanKey, _: &PlanQuestion, answer: Option<&PlanAnswer>) {
        self.plans.push((*key, answer.is_some()));
    }
}
