//! Plans that were asked for, by fingerprint. One thread's; bounded by number and age.
//!
//! A statement is planned for the values it runs with, and most plans do not depend on them. Those that do mostly
//! depend on their kind: NULL, a pattern that starts with a wildcard, nothing at all. So a fingerprint has a plan for each
//! such class of its parameters ([`variant`]), and all values of a class share it.

use std::sync::Arc;

use quick_cache::unsync::Cache;

use super::PlanFacts;

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
    Known(Arc<PlanFacts>),
    /// It was asked, and there was no answer, or it is being asked: not now.
    Unknown,
    /// Nobody asked yet, or too long ago. Who does says so with [`Plans::asks`], and then what came of it.
    Ask,
}

enum Entry {
    Known { facts: Arc<PlanFacts>, until: u64 },
    Unknown { until: u64 },
}

/// Who asks has this long before another may; milliseconds.
const FLIGHT: u64 = 5_000;
/// After no answer the next one is asked for so much later; milliseconds.
const AFTER_FAILURE: u64 = 30_000;

/// Plans of one thread's clients. Times are milliseconds of any clock that never goes back.
pub struct Plans {
    cache: Cache<PlanKey, Entry>,
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
        Self { cache: Cache::new(most.max(1)), ttl }
    }

    /// The plan, or whether to ask for it.
    #[must_use]
    pub fn get(&self, key: &PlanKey, now: u64) -> Planned {
        match self.cache.get(key) {
            Some(Entry::Known { facts, until }) if now < *until => Planned::Known(Arc::clone(facts)),
            Some(Entry::Unknown { until }) if now < *until => Planned::Unknown,
            _ => Planned::Ask,
        }
    }

    /// Somebody asks: nobody else need until there is an answer.
    pub fn asks(&mut self, key: &PlanKey, now: u64) {
        self.cache.insert(*key, Entry::Unknown { until: now.saturating_add(FLIGHT) });
    }

    /// The same plan, with something learned beside it; its age stays.
    pub fn renew(&mut self, key: &PlanKey, with: &Arc<PlanFacts>) {
        if let Some(mut entry) = self.cache.get_mut(key)
            && let Entry::Known { facts, .. } = &mut *entry
        {
            *facts = Arc::clone(with);
        }
    }

    /// What came of asking; `None`: no answer.
    pub fn learn(&mut self, key: &PlanKey, facts: Option<Arc<PlanFacts>>, now: u64) {
        let entry = match facts {
            Some(facts) => Entry::Known { facts, until: now.saturating_add(self.ttl) },
            None => Entry::Unknown { until: now.saturating_add(AFTER_FAILURE) },
        };
        self.cache.insert(*key, entry);
    }

    /// The plan may not be what it was: it is asked for again at its next run.
    pub fn forget(&mut self, key: &PlanKey) {
        self.cache.remove(key);
    }

    /// Sizes or statistics have moved.
    pub fn clear(&mut self) {
        self.cache.clear();
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

/// The class of parameters' values, as far as plans differ by it: which are NULL, empty, or start with a wildcard.
pub fn variant<'a>(values: impl IntoIterator<Item = Option<&'a [u8]>>) -> u64 {
    // FNV-1a over one letter a value: few values, and only equality matters.
    values.into_iter().fold(0xcbf2_9ce4_8422_2325, |hash, value| {
        let class: u8 = match value {
            None => 1,
            Some([]) => 2,
            Some([b'%' | b'_', ..]) => 3,
            Some(_) => 4,
        };
        (hash ^ u64::from(class)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: PlanKey = PlanKey { fingerprint: 1, class: 2, epoch: 0, variant: 0 };

    #[test]
    fn one_asks_and_all_know_until_it_is_old() {
        let mut plans = Plans::new(10, 1000);
        assert!(matches!(plans.get(&KEY, 0), Planned::Ask));
        plans.asks(&KEY, 0);
        assert!(matches!(plans.get(&KEY, 1), Planned::Unknown), "another asks already");
        plans.learn(&KEY, Some(Arc::new(PlanFacts::blank())), 10);
        assert!(matches!(plans.get(&KEY, 1009), Planned::Known(_)));
        assert!(matches!(plans.get(&KEY, 1010), Planned::Ask));
        plans.learn(&KEY, None, 1020);
        assert!(matches!(plans.get(&KEY, 1030), Planned::Unknown));
        assert!(matches!(plans.get(&KEY, 1020 + AFTER_FAILURE), Planned::Ask));
        let changed = PlanKey { epoch: 1, ..KEY };
        assert!(matches!(plans.get(&changed, 1030), Planned::Ask), "another schema, another plan");
    }

    #[test]
    fn who_asked_and_never_learned_blocks_nobody_for_long() {
        let mut plans = Plans::new(10, 1000);
        plans.asks(&KEY, 0);
        assert!(matches!(plans.get(&KEY, 1), Planned::Unknown));
        assert!(matches!(plans.get(&KEY, FLIGHT), Planned::Ask));
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
    fn values_differ_by_class() {
        let of = |values: &[Option<&[u8]>]| variant(values.iter().copied());
        assert_eq!(of(&[Some(b"a"), None]), of(&[Some(b"b"), None]));
        assert_ne!(of(&[Some(b"a"), None]), of(&[None, Some(b"a")]));
        assert_ne!(of(&[Some(b"%a")]), of(&[Some(b"a")]));
        assert_ne!(of(&[Some(b"")]), of(&[Some(b"a")]));
    }
}
