//! One thread's guard: texts in, judgements out, what was seen before at the price of a look-up.
//!
//! `text → L1 → shape → L2 → grammar → facts → rules → policies → route`. Whatever the protocol path, this is the
//! only function that decides.

use std::collections::HashMap;
use std::sync::Arc;

use ahash::RandomState;

use super::cache::{ClassId, Classes, Doorkeeper, KeyRef, Verdicts};
use super::catalog::Catalog;
use super::facts::{Facts, ReadOptions, Reading, read};
use super::policy::{Asked, Decision, Live, Policies, catalog_facts, decide_when};
use super::{Action, Circumstances, Class, ClientFacts, Effects, Judgement, Kind, Lane, route, sql};

/// Bounds of a guard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuardLimits {
    /// A longer text is `unparsed`.
    pub max_statement_bytes: usize,
    /// Bytes of this guard's caches together: the setting's share of one thread.
    pub cache_bytes: usize,
}

impl Default for GuardLimits {
    fn default() -> Self {
        Self { max_statement_bytes: 1 << 20, cache_bytes: 8 << 20 }
    }
}

/// What a guard counted since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheCounters {
    pub l1_hits: u64,
    pub l1_misses: u64,
    pub l2_hits: u64,
    pub l2_misses: u64,
    /// Texts that were not parsed; one that is answered from a cache is not counted again.
    pub parse_failures: u64,
    /// Bytes that the caches hold now.
    pub bytes: u64,
}

/// What the policies read of the circumstances of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    pub session: bool,
    /// Of the session, how often a fingerprint came.
    pub repeats: bool,
    pub time: bool,
    pub params: bool,
    pub share: bool,
}

impl Needs {
    #[must_use]
    pub fn of(policies: &Policies) -> Self {
        let repeats = ["repeats", "repeat_seconds"].iter().any(|fact| policies.reads_session_fact(fact));
        Self {
            session: policies.reads_session(),
            repeats,
            time: policies.reads_time(),
            params: policies.reads_params(),
            share: policies.reads_share(),
        }
    }
}

/// Texts above this are looked up by shape only: hashing and storing them costs more than it saves.
const MAX_CACHED_TEXT: usize = 8 << 10;
const MAX_CACHED_SHAPE: usize = 16 << 10;
/// Capacity that the shape buffer keeps from one text to the next.
const MAX_KEPT_SHAPE: usize = 256 << 10;
/// Of a text that has no shape: enough to tell texts apart, and no stall for a huge one.
const MAX_FINGERPRINTED: usize = 64 << 10;
/// Of a normalised text, for people.
const MAX_NORMALIZED: usize = 1024;

/// Judges the statements of one thread's clients.
pub struct Guard {
    policies: Arc<Policies>,
    limits: GuardLimits,
    /// By database.
    catalogs: Arc<HashMap<Box<str>, Arc<Catalog>>>,
    hasher: RandomState,
    classes: Classes,
    texts: Verdicts,
    shapes: Verdicts,
    doorkeeper: Doorkeeper,
    shape: Vec<u8>,
    counters: CacheCounters,
    needs: Needs,
    /// Changes judgements on their way out.
    #[cfg(test)]
    pub(crate) amend: Option<fn(&[u8], &mut Judgement)>,
}

impl Guard {
    /// `seed` should be random: clients choose the texts that are hashed with it.
    #[must_use]
    pub fn new(policies: Arc<Policies>, limits: GuardLimits, seed: [u64; 4]) -> Self {
        let hasher = RandomState::with_seeds(seed[0], seed[1], seed[2], seed[3]);
        let needs = Needs::of(&policies);
        Self {
            policies,
            limits,
            catalogs: Arc::default(),
            classes: Classes::new(hasher.clone()),
            hasher,
            texts: Verdicts::new(limits.cache_bytes / 2),
            shapes: Verdicts::new(limits.cache_bytes / 2),
            doorkeeper: Doorkeeper::new(),
            shape: Vec::with_capacity(4096),
            counters: CacheCounters::default(),
            needs,
            #[cfg(test)]
            amend: None,
        }
    }

    /// What a session must keep for the policies.
    #[inline]
    #[must_use]
    pub fn needs(&self) -> Needs {
        self.needs
    }

    #[must_use]
    pub fn policies(&self) -> &Arc<Policies> {
        &self.policies
    }

    /// Other policies from now on. What was judged by the old ones is forgotten.
    pub fn set_policies(&mut self, policies: Arc<Policies>) {
        self.needs = Needs::of(&policies);
        self.policies = policies;
        self.forget();
    }

    /// Other catalogs from now on. What was judged by the old ones is forgotten.
    pub fn set_catalogs(&mut self, catalogs: Arc<HashMap<Box<str>, Arc<Catalog>>>) {
        self.catalogs = catalogs;
        self.forget();
    }

    #[must_use]
    pub fn catalogs(&self) -> &Arc<HashMap<Box<str>, Arc<Catalog>>> {
        &self.catalogs
    }

    /// Judges before the run: what changes from run to run is left open.
    fn bench<'a>(&'a self, class: &'a Class) -> Bench<'a> {
        let catalog = self.catalogs.get(&class.database);
        let around = Circumstances { catalog: catalog.map(|catalog| &**catalog), ..Circumstances::default() };
        Bench { policies: &self.policies, class, limits: &self.limits, around, ahead: Some(catalog) }
    }

    fn forget(&mut self) {
        self.texts.clear();
        self.shapes.clear();
        self.classes.clear();
        self.doorkeeper = Doorkeeper::new();
    }

    #[must_use]
    pub fn counters(&self) -> CacheCounters {
        CacheCounters { bytes: self.texts.bytes() + self.shapes.bytes(), ..self.counters }
    }

    /// The judgement of a text (one or several statements) from a client of that class.
    pub fn judge(&mut self, text: &[u8], class: &Arc<Class>) -> Arc<Judgement> {
        let judgement = self.judged(text, class);
        #[cfg(test)]
        if let Some(amend) = self.amend {
            let mut amended = Judgement::clone(&judgement);
            amend(text, &mut amended);
            return Arc::new(amended);
        }
        judgement
    }

    fn judged(&mut self, text: &[u8], class: &Arc<Class>) -> Arc<Judgement> {
        if self.classes.is_full() {
            self.forget();
        }
        let id = self.classes.id(class);
        if text.len() > MAX_CACHED_TEXT {
            self.counters.l1_misses += 1;
            return self.judge_by_shape(text, class, id).0;
        }
        let key = KeyRef::new(&self.hasher, id, text);
        if let Some(judgement) = self.texts.get(&key) {
            self.counters.l1_hits += 1;
            return Arc::clone(judgement);
        }
        self.counters.l1_misses += 1;
        let again = self.doorkeeper.seen(key.hash);
        let (judgement, shared) = self.judge_by_shape(text, class, id);
        if again {
            self.texts.insert(&key, &judgement, shared);
        }
        judgement
    }

    /// The judgement, and whether the shape's cache holds it.
    fn judge_by_shape(&mut self, text: &[u8], class: &Class, id: ClassId) -> (Arc<Judgement>, bool) {
        if self.shape.capacity() > MAX_KEPT_SHAPE {
            self.shape = Vec::with_capacity(4096);
        }
        let shape = readable(text, class, &self.limits)
            .then(|| sql::shape_of(text, class.standard_conforming_strings, &mut self.shape).ok())
            .flatten();
        let cacheable = shape.is_some_and(|info| info.cacheable) && self.shape.len() <= MAX_CACHED_SHAPE;
        let fingerprint_len = self.shape.len();
        if cacheable && self.policies.reads_bytes() {
            self.shape.extend_from_slice(&text.len().to_le_bytes());
        }
        // A borrow of its own, since the rest of the guard is needed below.
        let buffer = std::mem::take(&mut self.shape);
        let key = KeyRef::new(&self.hasher, id, if cacheable { &buffer } else { &[] });
        let found = if cacheable { self.shapes.get(&key).map(Arc::clone) } else { None };
        let judgement = match found {
            Some(judgement) => {
                self.counters.l2_hits += 1;
                judgement
            }
            None => {
                self.counters.l2_misses += 1;
                let shape = shape.map(|_| &buffer[..fingerprint_len]);
                let evaluation = self.bench(class).evaluate(text, shape);
                self.counters.parse_failures += u64::from(evaluation.reading.refusal.is_some());
                let judgement = Arc::new(evaluation.judgement);
                if cacheable {
                    self.shapes.insert(&key, &judgement, false);
                }
                judgement
            }
        };
        self.shape = buffer;
        (judgement, cacheable)
    }

    /// The judgement of a statement too large to keep in memory: as `unparsed`, without its text.
    pub fn judge_oversized(&mut self, class: &Arc<Class>) -> Arc<Judgement> {
        self.counters.parse_failures += 1;
        let statements = vec![Facts::unparsed(usize::MAX)];
        let normalized = "(a statement above max_statement_bytes)".into();
        let fingerprint = sql::fingerprint(b"above max_statement_bytes");
        Arc::new(self.bench(class).judgement(&statements, fingerprint, normalized).0)
    }
}

/// Everything that is known of a text: for `explain`, and for a judgement that no cache has.
#[derive(Debug)]
pub struct Evaluation {
    pub judgement: Judgement,
    pub reading: Reading,
    pub decision: Decision,
}

/// Judges a text without any cache, and nothing is left open: what is not known in `around` never will be.
#[must_use]
pub fn evaluate(
    policies: &Policies,
    class: &Class,
    text: &[u8],
    limits: &GuardLimits,
    around: &Circumstances<'_>,
) -> Evaluation {
    let mut shape = Vec::new();
    let shaped = readable(text, class, limits)
        && sql::shape_of(text, class.standard_conforming_strings, &mut shape).is_ok();
    let bench = Bench { policies, class, limits, around: *around, ahead: None };
    bench.evaluate(text, shaped.then_some(&shape))
}

/// In encodings such as SJIS a byte below 0x80 may be the second half of a character, so that only a text without
/// any character beyond ASCII can be read there.
fn readable(text: &[u8], class: &Class, limits: &GuardLimits) -> bool {
    text.len() <= limits.max_statement_bytes && (class.ascii_safe_encoding || text.is_ascii())
}

/// By what, for whom and with which knowledge a text is judged.
struct Bench<'a> {
    policies: &'a Policies,
    class: &'a Class,
    limits: &'a GuardLimits,
    around: Circumstances<'a>,
    /// Judged before its run, and the catalog to keep for it.
    ahead: Option<Option<&'a Arc<Catalog>>>,
}

impl Bench<'_> {
    fn evaluate(&self, text: &[u8], shape: Option<&[u8]>) -> Evaluation {
        let Class { standard_conforming_strings, ascii_safe_encoding, .. } = *self.class;
        let max_bytes = self.limits.max_statement_bytes;
        let reading = if ascii_safe_encoding || text.is_ascii() {
            read(text, &ReadOptions { max_bytes, standard_conforming_strings })
        } else {
            let at = text.iter().position(|byte| !byte.is_ascii()).unwrap_or(0);
            Reading {
                statements: vec![Facts::unparsed(text.len())],
                refusal: Some(sql::Refusal::NotUtf8 { at }),
            }
        };
        // A text without a shape is its own: texts that nobody can read have nothing else in common.
        let fingerprint = sql::fingerprint(shape.unwrap_or(&text[..text.len().min(MAX_FINGERPRINTED)]));
        let normalized = sql::normalized(text, standard_conforming_strings, MAX_NORMALIZED).into();
        let (judgement, decision) = self.judgement(&reading.statements, fingerprint, normalized);
        Evaluation { judgement, reading, decision }
    }

    fn judgement(
        &self,
        statements: &[Facts],
        fingerprint: u64,
        normalized: Arc<str>,
    ) -> (Judgement, Decision) {
        let blank = Judgement {
            fingerprint,
            normalized,
            kind: main_statement(statements).map_or(Kind::Utility, |facts| facts.kind),
            action: Action::Allow,
            lane: Lane::Primary,
            complaints: Box::default(),
            hits: Box::default(),
            effects: statements.iter().fold(Effects::NONE, |all, facts| all.and(facts.effects)),
            custom_settings: statements.iter().flat_map(|facts| &facts.custom_settings).cloned().collect(),
            prepared: statements.iter().flat_map(|facts| &facts.prepared).cloned().collect(),
            settings: statements
                .iter()
                .flat_map(|facts| &facts.settings)
                .map(|name| name.as_str().into())
                .collect(),
            statements: u32::try_from(statements.len()).unwrap_or(u32::MAX),
            read_only: statements.iter().all(|facts| facts.read_only),
            transaction_control: statements.iter().any(|facts| facts.kind == Kind::Transaction),
            like_params: Box::default(),
            with_wildcard: None,
            live: None,
            limits: None,
            set: Box::default(),
            rewrite: None,
        };
        let client = ClientFacts::from(self.class);
        let (mut judgement, decision) = self.judged(&blank, &client, statements);
        let mut params: Vec<u16> = statements.iter().flat_map(|facts| &facts.like_params).copied().collect();
        if !params.is_empty() {
            params.sort_unstable();
            params.dedup();
            let bound: Vec<Facts> = statements
                .iter()
                .map(|facts| Facts {
                    leading_wildcard: facts.leading_wildcard || !facts.like_params.is_empty(),
                    ..facts.clone()
                })
                .collect();
            let (other, _) = self.judged(&blank, &client, &bound);
            if !same_verdict(&other, &judgement) {
                judgement.like_params = params.into();
                judgement.with_wildcard = Some(Arc::new(other));
            }
        }
        (judgement, decision)
    }

    fn judged(&self, blank: &Judgement, client: &ClientFacts, statements: &[Facts]) -> (Judgement, Decision) {
        let known = catalog_facts(&self.around, statements);
        let asked = if self.ahead.is_some() { Asked::Ahead } else { Asked::Now };
        let mut decision =
            decide_when(self.policies, (client, blank.fingerprint), statements, &known, &self.around, asked);
        let mut judgement = blank.clone();
        if let Some(catalog) = self.ahead {
            judgement.live = Live::of(
                self.policies,
                (client, blank.fingerprint),
                statements,
                &known,
                catalog,
                &mut decision,
            );
        }
        apply(&mut judgement, &decision, statements);
        (judgement, decision)
    }
}

/// Writes what was decided into a judgement.
pub(super) fn apply(judgement: &mut Judgement, decision: &Decision, statements: &[Facts]) {
    judgement.action = decision.action();
    judgement.lane = route::lane(decision.wish(), statements);
    judgement.complaints = decision.complaints(judgement.fingerprint);
    judgement.hits = decision.hits();
    judgement.limits = decision.limits();
    judgement.set = decision.set();
}

/// What is left open may differ in ways that only a run shows.
fn same_verdict(a: &Judgement, b: &Judgement) -> bool {
    let open = |judgement: &Judgement| judgement.live.is_some();
    a.action == b.action
        && a.hits == b.hits
        && a.complaints == b.complaints
        && a.lane == b.lane
        && a.limits == b.limits
        && a.set == b.set
        && !open(a)
        && !open(b)
}

/// The first statement that is not transaction control, else the first.
#[must_use]
pub fn main_statement(statements: &[Facts]) -> Option<&Facts> {
    statements.iter().find(|facts| facts.kind != Kind::Transaction).or_else(|| statements.first())
}
