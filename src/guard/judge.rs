//! One thread's guard: texts in, judgements out, what was seen before at the price of a look-up.
//!
//! `text → L1 → shape → L2 → grammar → facts → rules → policies → route`. Whatever the protocol path, this is the
//! only function that decides.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use ahash::RandomState;

use super::bench::{Bench, Evaluation, readable};
use super::cache::{ClassId, Classes, Doorkeeper, KeyRef, Verdicts};
use super::catalog::Catalog;
use super::facts::Facts;
use super::needs::Needs;
use super::policy::{Learned, Policies, allow_key};
use super::shadow::{Report, Shadow};
use super::sql::Wanted;
use super::{Circumstances, Class, ClientFacts, Judgement, sql};

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

/// Texts above this are looked up by shape only: hashing and storing them costs more than it saves.
const MAX_CACHED_TEXT: usize = 8 << 10;
const MAX_CACHED_SHAPE: usize = 16 << 10;
/// Capacity that the shape buffer keeps from one text to the next.
const MAX_KEPT_SHAPE: usize = 256 << 10;

/// What the policies read of a text beside its shape: part of the shape's key.
#[derive(Clone, Copy)]
pub(super) struct Keyed {
    literals: Wanted,
    bytes: bool,
    comments: bool,
}

impl Keyed {
    pub(super) fn of(policies: &Policies) -> Self {
        Self {
            literals: policies.reads_literals(),
            bytes: policies.reads_bytes(),
            comments: policies.reads_comments(),
        }
    }
}

/// Judges the statements of one thread's clients.
pub struct Guard {
    pub(super) policies: Arc<Policies>,
    /// Policies that are tried beside them.
    shadow: Option<Shadow>,
    /// Counts what changes verdicts: policies, catalogs.
    pub(super) generation: u32,
    limits: GuardLimits,
    /// By database.
    catalogs: Arc<HashMap<Box<str>, Arc<Catalog>>>,
    hasher: RandomState,
    classes: Classes,
    texts: Verdicts,
    shapes: Verdicts,
    doorkeeper: Doorkeeper,
    shape: Vec<u8>,
    /// Literals that the policies read, of the text at hand.
    extras: Vec<u8>,
    pub(super) keyed: Keyed,
    counters: CacheCounters,
    pub(super) needs: Needs,
    /// Changes judgements on their way out.
    #[cfg(test)]
    pub(crate) amend: Option<fn(&[u8], &mut Judgement)>,
    /// What an allow-list in `mode = "learn"` has to write down, and what was learned already, by fingerprint and class.
    learned: Vec<Learned>,
    met: HashSet<(u64, ClassId), RandomState>,
}

/// Statements learned between two calls of [`Guard::take_learned`], and remembered as learned; more come again.
const MAX_LEARNED: usize = 4096;
const MAX_MET: usize = 64 << 10;

impl Guard {
    /// `seed` should be random: clients choose the texts that are hashed with it.
    #[must_use]
    pub fn new(policies: Arc<Policies>, limits: GuardLimits, seed: [u64; 4]) -> Self {
        let hasher = RandomState::with_seeds(seed[0], seed[1], seed[2], seed[3]);
        let needs = Needs::of(&policies);
        Self {
            keyed: Keyed::of(&policies),
            classes: Classes::new(hasher.clone(), policies.reads_application()),
            policies,
            shadow: None,
            generation: 0,
            limits,
            learned: Vec::new(),
            met: HashSet::with_hasher(hasher.clone()),
            catalogs: Arc::default(),
            hasher,
            texts: Verdicts::new(limits.cache_bytes / 2),
            shapes: Verdicts::new(limits.cache_bytes / 2),
            doorkeeper: Doorkeeper::new(),
            shape: Vec::with_capacity(4096),
            extras: Vec::with_capacity(256),
            counters: CacheCounters::default(),
            needs,
            #[cfg(test)]
            amend: None,
        }
    }

    #[must_use]
    pub fn policies(&self) -> &Arc<Policies> {
        &self.policies
    }

    /// Policies to try beside those in force, or none. Statements seen before are judged anew, by both.
    pub fn set_shadow(&mut self, policies: Option<Arc<Policies>>) {
        if self.shadow.is_none() && policies.is_none() {
            return;
        }
        self.shadow = policies.map(Shadow::new);
        self.forget();
    }

    /// What those would have decided otherwise, since this was asked last.
    pub fn take_report(&mut self) -> Option<Report> {
        self.shadow.as_mut().map(Shadow::take)
    }

    /// A judgement made under another generation may not hold any more.
    #[must_use]
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// Other catalogs from now on. What was judged by the old ones is forgotten.
    pub fn set_catalogs(&mut self, catalogs: Arc<HashMap<Box<str>, Arc<Catalog>>>) {
        self.catalogs = catalogs;
        self.generation += 1;
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

    /// Asks the canary about what was just judged.
    fn try_out(&mut self, class: &Class, text: &[u8], shape: Option<(&[u8], bool)>, found: &Evaluation) {
        if !self.shadow.as_mut().is_some_and(Shadow::has_time) {
            return;
        }
        let Some(policies) = self.shadow.as_ref().map(|shadow| Arc::clone(&shadow.policies)) else { return };
        let now = &found.judgement;
        let named = (now.fingerprint, Arc::clone(&now.normalized));
        let bench = Bench { policies: &policies, ..self.bench(class) };
        let (then, _) = bench.of_reading(text, shape, &found.reading, named);
        if let Some(shadow) = &mut self.shadow {
            shadow.compare(&self.policies, now, &then);
        }
    }

    pub(super) fn forget(&mut self) {
        self.texts.clear();
        self.shapes.clear();
        self.met.clear();
        let applications =
            [Some(&self.policies), self.shadow.as_ref().map(|shadow| &shadow.policies)].into_iter().flatten();
        self.classes.clear(applications.into_iter().any(|policies| policies.reads_application()));
        self.doorkeeper = Doorkeeper::new();
    }

    #[must_use]
    pub fn counters(&self) -> CacheCounters {
        CacheCounters { bytes: self.texts.bytes() + self.shapes.bytes(), ..self.counters }
    }

    pub(super) fn judged(&mut self, text: &[u8], class: &Arc<Class>) -> Arc<Judgement> {
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
        if self.extras.capacity() > MAX_KEPT_SHAPE {
            self.extras = Vec::new();
        }
        let (keyed, shape, extras) = (self.keyed, &mut self.shape, &mut self.extras);
        let strings = class.standard_conforming_strings;
        let shape = readable(text, class, &self.limits)
            .then(|| sql::keyed_shape_of(text, strings, keyed.literals, shape, extras).ok())
            .flatten();
        let mut cacheable = shape.is_some_and(|info| info.cacheable)
            && self.shape.len() + self.extras.len() <= MAX_CACHED_SHAPE;
        let fingerprint_len = self.shape.len();
        if cacheable && keyed.literals != Wanted::default() {
            // No shape holds a NUL.
            self.shape.push(0);
            self.shape.extend_from_slice(&self.extras);
        }
        if cacheable && keyed.bytes {
            self.shape.extend_from_slice(&text.len().to_le_bytes());
        }
        if cacheable && keyed.comments && shape.is_some_and(|info| info.comments) {
            sql::comments(text, class.standard_conforming_strings).add_to_key(&mut self.shape);
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
                let shape = shape.map(|info| (&buffer[..fingerprint_len], info.cacheable));
                let evaluation = self.bench(class).evaluate(text, shape);
                self.try_out(class, text, shape, &evaluation);
                self.counters.parse_failures += u64::from(evaluation.reading.refusal.is_some());
                self.learn(text, shape, class, id, &evaluation);
                // What was rewritten, or could not be, is this text and no other of its shape.
                cacheable &= !evaluation.judgement.of_one_text;
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

    /// Notes a text for the allow-list that learns.
    fn learn(
        &mut self,
        text: &[u8],
        shape: Option<(&[u8], bool)>,
        class: &Class,
        id: ClassId,
        evaluation: &Evaluation,
    ) {
        let Some(list) = self.policies.allow_list() else { return };
        let statements = &evaluation.reading.statements;
        let key = allow_key(text, shape, statements);
        let Some(fingerprint) = list.learns(&ClientFacts::from(class), key, statements) else { return };
        if self.learned.len() >= MAX_LEARNED {
            return;
        }
        if self.met.len() >= MAX_MET {
            self.met.clear();
        }
        if self.met.insert((fingerprint, id)) {
            self.learned.push(Learned {
                fingerprint,
                user: class.user.clone(),
                database: class.database.clone(),
                normalized: Arc::clone(&evaluation.judgement.normalized),
                first_seen: None,
            });
        }
    }

    /// What was learned since this was asked last.
    pub fn take_learned(&mut self) -> Vec<Learned> {
        std::mem::take(&mut self.learned)
    }

    /// The judgement of a statement too large to keep in memory: as `unparsed`, without its text.
    pub fn judge_oversized(&mut self, class: &Arc<Class>) -> Arc<Judgement> {
        self.counters.parse_failures += 1;
        let name = "above max_statement_bytes";
        self.judge_textless(
            Facts::unparsed(usize::MAX),
            name,
            "(a statement above max_statement_bytes)",
            class,
        )
    }

    /// The judgement of a `FunctionCall` message of so many bytes: it has a function's number and no text.
    pub fn judge_function_call(&mut self, bytes: usize, class: &Arc<Class>) -> Arc<Judgement> {
        self.judge_textless(Facts::function_call(bytes), "FunctionCall", "(a FunctionCall message)", class)
    }

    fn judge_textless(
        &self,
        facts: Facts,
        name: &str,
        normalized: &str,
        class: &Arc<Class>,
    ) -> Arc<Judgement> {
        let (statements, normalized) = ([facts], normalized.into());
        let fingerprint = sql::fingerprint(name.as_bytes());
        Arc::new(self.bench(class).judgement(None, &statements, fingerprint, normalized).0)
    }
}
