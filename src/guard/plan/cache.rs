//! Plans that were asked for, by fingerprint and class of values ([`super::ValueClasses`]). One thread's; bounded by
//! number and age, and each statement by [`MOST_VARIANTS`].
//!
//! Beside a plan stands what became of judgements by it, so that a statement that was seen with its plan costs no more
//! than one that no rule wants a plan for.

use std::sync::Arc;

use quick_cache::unsync::Cache;

use super::Plan;
use crate::guard::Judgement;

/// What a plan was made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PlanKey {
    pub fingerprint: u64,
    /// Hash of who asks (user, database, settings): rights and `search_path` decide what a name means.
    pub class: u64,
    /// Changes of the schema so far: another one, another plan.
    pub epoch: u64,
    pub variant: u64,
}

/// What is known of a statement's plan.
#[derive(Clone, Debug)]
pub enum Planned {
    Known {
        plan: Arc<Plan>,
        /// What became of this judgement by it, if that was kept.
        settled: Option<Arc<Judgement>>,
        /// It is old: good enough while another is asked for beside the statement, not for one that waits.
        old: bool,
    },
    /// It was asked, and there was no answer, or it is being asked beside the statements: not now.
    Unknown,
    /// It is being asked for by a statement that waits for the answer: so do others that would have to.
    Asked,
    /// Nobody asked yet, or too long ago. Who does says so with [`Plans::asks`], and then what came of it.
    Ask,
}

enum Entry {
    Known {
        plan: Arc<Plan>,
        until: u64,
        /// Another is being asked for, until then at the latest.
        asked: u64,
        settled: Vec<(Arc<Judgement>, Arc<Judgement>)>,
    },
    Unknown {
        until: u64,
    },
    Asked {
        until: u64,
    },
}

/// Who asks has this long before another may; milliseconds.
const FLIGHT: u64 = 5_000;
/// After no answer the next one is asked for so much later; milliseconds.
const AFTER_FAILURE: u64 = 30_000;
/// Classes of values of one statement with plans of their own; all further ones share one.
pub const MOST_VARIANTS: usize = 16;
const FURTHER: u64 = u64::MAX;
/// Judgements kept beside one plan: of texts of one fingerprint that differ in what a rule reads of them.
const MOST_SETTLED: usize = 2;

/// Plans of one thread's clients. Times are milliseconds of any clock that never goes back.
pub struct Plans {
    cache: Cache<PlanKey, Entry>,
    /// Of each statement, by fingerprint and class.
    variants: Cache<(u64, u64), Vec<u64>>,
    ttl: u64,
}

impl std::fmt::Debug for Plans {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plans").field("plans", &self.cache.len()).finish_non_exhaustive()
    }
}

impl Plans {
    /// At most so many plans, each good for `ttl` milliseconds.
    #[must_use]
    pub fn new(most: usize, ttl: u64) -> Self {
        Self { cache: Cache::new(most.max(1)), variants: Cache::new(most.max(1)), ttl }
    }

    /// Where the plan for a key stands.
    fn place(&self, key: &PlanKey) -> PlanKey {
        let known = self.variants.get(&(key.fingerprint, key.class));
        match known {
            Some(known) if known.len() >= MOST_VARIANTS && !known.contains(&key.variant) => {
                PlanKey { variant: FURTHER, ..*key }
            }
            _ => *key,
        }
    }

    /// The plan and what became of `judgement` by it, or whether to ask for it.
    #[must_use]
    pub fn get(&self, key: &PlanKey, judgement: &Arc<Judgement>, now: u64) -> Planned {
        let entry = self.cache.get(key).or_else(|| {
            let place = self.place(key);
            if place == *key { None } else { self.cache.get(&place) }
        });
        match entry {
            Some(Entry::Known { plan, until, asked, settled }) if now < until.saturating_add(self.ttl) => {
                let settled = settled.iter().find(|(base, _)| Arc::ptr_eq(base, judgement));
                Planned::Known {
                    plan: Arc::clone(plan),
                    settled: settled.map(|(_, settled)| Arc::clone(settled)),
                    old: now >= *until && now >= *asked,
                }
            }
            Some(Entry::Unknown { until }) if now < *until => Planned::Unknown,
            Some(Entry::Asked { until }) if now < *until => Planned::Asked,
            _ => Planned::Ask,
        }
    }

    /// Keeps what became of a judgement by the plan that is known.
    pub fn settled(&mut self, key: &PlanKey, base: &Arc<Judgement>, verdict: &Arc<Judgement>) {
        let place = self.place(key);
        if let Some(mut entry) = self.cache.get_mut(&place)
            && let Entry::Known { settled, .. } = &mut *entry
        {
            if settled.len() >= MOST_SETTLED {
                settled.remove(0);
            }
            settled.push((Arc::clone(base), Arc::clone(verdict)));
        }
    }

    /// Somebody asks: nobody else need until there is an answer. One that is known stays known to those who do not wait.
    pub fn asks(&mut self, key: &PlanKey, waits: bool, now: u64) {
        let place = self.note(key);
        if !waits
            && let Some(mut entry) = self.cache.get_mut(&place)
            && let Entry::Known { asked, .. } = &mut *entry
        {
            *asked = now.saturating_add(FLIGHT);
            return;
        }
        let until = now.saturating_add(FLIGHT);
        self.cache.insert(place, if waits { Entry::Asked { until } } else { Entry::Unknown { until } });
    }

    /// A statement waits for the answer to another's question.
    #[must_use]
    pub fn is_asked(&self, key: &PlanKey, now: u64) -> bool {
        matches!(self.cache.get(&self.place(key)), Some(Entry::Asked { until }) if now < *until)
    }

    /// Remembers that a statement has this class of values.
    fn note(&mut self, key: &PlanKey) -> PlanKey {
        let of = (key.fingerprint, key.class);
        match self.variants.get_mut(&of) {
            Some(mut known) if known.len() < MOST_VARIANTS && !known.contains(&key.variant) => {
                known.push(key.variant);
            }
            Some(_) => {}
            None => self.variants.insert(of, vec![key.variant]),
        }
        self.place(key)
    }

    /// The same plan, with something learned beside it; its age stays.
    pub fn renew(&mut self, key: &PlanKey, with: &Arc<Plan>) {
        let place = self.place(key);
        if let Some(mut entry) = self.cache.get_mut(&place)
            && let Entry::Known { plan, settled, .. } = &mut *entry
        {
            *plan = Arc::clone(with);
            settled.clear();
        }
    }

    /// The plan that is known, whatever its age.
    #[must_use]
    pub fn peek(&self, key: &PlanKey) -> Option<Arc<Plan>> {
        match self.cache.get(&self.place(key)) {
            Some(Entry::Known { plan, .. }) => Some(Arc::clone(plan)),
            _ => None,
        }
    }

    /// What came of asking; `None`: no answer.
    pub fn learn(&mut self, key: &PlanKey, plan: Option<Arc<Plan>>, now: u64) {
        let place = self.note(key);
        if plan.is_none()
            && let Some(mut entry) = self.cache.get_mut(&place)
            && let Entry::Known { asked, .. } = &mut *entry
        {
            // No news is no reason to forget what is known.
            *asked = now.saturating_add(AFTER_FAILURE);
            return;
        }
        let entry = match plan {
            Some(plan) => {
                let until = now.saturating_add(self.ttl);
                Entry::Known { plan, until, asked: 0, settled: Vec::new() }
            }
            None => Entry::Unknown { until: now.saturating_add(AFTER_FAILURE) },
        };
        self.cache.insert(place, entry);
    }

    /// The plan may not be what it was: it is asked for again at its next run.
    pub fn age(&mut self, key: &PlanKey, now: u64) {
        let place = self.place(key);
        if let Some(mut entry) = self.cache.get_mut(&place)
            && let Entry::Known { until, .. } = &mut *entry
        {
            *until = (*until).min(now);
        }
    }

    /// Sizes or statistics have moved.
    pub fn clear(&mut self) {
        self.cache.clear();
        self.variants.clear();
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.cache.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.cache.is_empty()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::guard::policy::Policies;
    use crate::guard::{Class, Guard, GuardLimits};

    const KEY: PlanKey = PlanKey { fingerprint: 1, class: 2, epoch: 0, variant: 0 };

    fn judgement() -> Arc<Judgement> {
        let class = Arc::new(Class {
            user: "a".into(),
            database: "d".into(),
            application: "".into(),
            standard_conforming_strings: true,
            ascii_safe_encoding: true,
        });
        Guard::new(Arc::new(Policies::baseline()), GuardLimits::default(), [1; 4]).judge(b"SELECT 1", &class)
    }

    fn plan() -> Option<Arc<Plan>> {
        Some(Arc::new(Plan::default()))
    }

    #[test]
    fn one_asks_and_all_know_until_it_is_old() {
        let (mut plans, base) = (Plans::new(10, 1000), judgement());
        assert!(matches!(plans.get(&KEY, &base, 0), Planned::Ask));
        plans.asks(&KEY, true, 0);
        assert!(matches!(plans.get(&KEY, &base, 1), Planned::Asked), "another asks already");
        assert!(plans.is_asked(&KEY, 1) && !plans.is_asked(&KEY, FLIGHT));
        plans.learn(&KEY, plan(), 10);
        assert!(matches!(plans.get(&KEY, &base, 1009), Planned::Known { old: false, .. }));
        assert!(matches!(plans.get(&KEY, &base, 1010), Planned::Known { old: true, .. }));
        assert!(matches!(plans.get(&KEY, &base, 2010), Planned::Ask), "too old for anybody");
        plans.asks(&KEY, true, 1020);
        plans.learn(&KEY, None, 1020);
        assert!(matches!(plans.get(&KEY, &base, 1030), Planned::Unknown));
        assert!(matches!(plans.get(&KEY, &base, 1020 + AFTER_FAILURE), Planned::Ask));
        let changed = PlanKey { epoch: 1, ..KEY };
        assert!(matches!(plans.get(&changed, &base, 1030), Planned::Ask), "another schema, another plan");
    }

    #[test]
    fn an_old_plan_serves_while_another_is_asked_for_behind_it() {
        let (mut plans, base) = (Plans::new(10, 10_000), judgement());
        plans.learn(&KEY, plan(), 0);
        plans.asks(&KEY, false, 10_000);
        assert!(
            matches!(plans.get(&KEY, &base, 10_001), Planned::Known { old: false, .. }),
            "it is asked for"
        );
        assert!(matches!(plans.get(&KEY, &base, 10_000 + FLIGHT), Planned::Known { old: true, .. }));
        plans.learn(&KEY, None, 15_500);
        assert!(matches!(plans.get(&KEY, &base, 15_501), Planned::Known { old: false, .. }), "no news");
        plans.asks(&KEY, true, 16_000);
        assert!(matches!(plans.get(&KEY, &base, 16_001), Planned::Asked), "who waits does not go by it");
    }

    #[test]
    fn who_asked_and_never_learned_blocks_nobody_for_long() {
        let base = judgement();
        for (waits, state) in [(true, "Asked"), (false, "Unknown")] {
            let mut plans = Plans::new(10, 1000);
            plans.asks(&KEY, waits, 0);
            assert_eq!(format!("{:?}", plans.get(&KEY, &base, 1)), state);
            assert!(matches!(plans.get(&KEY, &base, FLIGHT), Planned::Ask));
        }
    }

    #[test]
    fn there_are_never_more_than_allowed() {
        let mut plans = Plans::new(50, 1000);
        for fingerprint in 0..1000 {
            plans.learn(&PlanKey { fingerprint, ..KEY }, None, 0);
        }
        assert!(plans.len() <= 50, "{}", plans.len());
    }

    #[test]
    fn a_statement_has_so_many_plans_and_one_for_all_further_values() {
        let (mut plans, base) = (Plans::new(1000, 1000), judgement());
        for variant in 0..1000 {
            let key = PlanKey { variant, ..KEY };
            let known = matches!(plans.get(&key, &base, 0), Planned::Known { .. });
            assert_eq!(known, variant > MOST_VARIANTS as u64, "{variant}");
            if !known {
                plans.asks(&key, true, 0);
                plans.learn(&key, plan(), 0);
            }
        }
        assert_eq!(plans.len(), MOST_VARIANTS + 1);
    }

    #[test]
    fn what_became_of_a_judgement_goes_with_the_plan() {
        let (mut plans, base, other) = (Plans::new(10, 1000), judgement(), judgement());
        let settled = |plans: &Plans, base| match plans.get(&KEY, base, 1) {
            Planned::Known { settled, .. } => settled,
            _ => panic!("not known"),
        };
        plans.learn(&KEY, plan(), 0);
        assert!(settled(&plans, &base).is_none());
        plans.settled(&KEY, &base, &other);
        assert!(Arc::ptr_eq(&settled(&plans, &base).unwrap(), &other));
        assert!(settled(&plans, &other).is_none());
        for _ in 0..100 {
            plans.settled(&KEY, &judgement(), &other);
        }
        assert!(settled(&plans, &base).is_none(), "few are kept");
        plans.settled(&KEY, &base, &other);
        plans.renew(&KEY, &plan().unwrap());
        assert!(settled(&plans, &base).is_none(), "another plan, another verdict");
    }
}
