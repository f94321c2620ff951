//! One thread's guard: texts in, judgements out, what was seen before at the price of a look-up.
//!
//! `text → L1 → shape → L2 → grammar → facts → rules → policies → route`. Whatever the protocol path, this is the
//! only function that decides.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use ahash::RandomState;

use super::cache::{ClassId, Classes, Doorkeeper, KeyRef, Verdicts};
use super::catalog::Catalog;
use super::facts::{Facts, ReadOptions, Reading, read, with_views};
use super::needs::Needs;
use super::policy::{
    Asked, Decision, Learned, Live, Policies, Text, allow_key, catalog_facts, decide_by_list, decide_when,
};
use super::shadow::{Report, Shadow};
use super::sql::Wanted;
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
    pub(super) wanted: Wanted,
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
            wanted: policies.reads_literals(),
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
    fn try_out(&mut self, class: &Class, text: &[u8], shape: Option<(&[u8], bool)>, now: &Judgement) {
        if !self.shadow.as_mut().is_some_and(Shadow::has_time) {
            return;
        }
        let Some(policies) = self.shadow.as_ref().map(|shadow| Arc::clone(&shadow.policies)) else { return };
        // Read once more: a canary is bounded in what it may cost.
        let then = Bench { policies: &policies, ..self.bench(class) }.evaluate(text, shape).judgement;
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
        let (shape, extras) = (&mut self.shape, &mut self.extras);
        let strings = class.standard_conforming_strings;
        let shape = readable(text, class, &self.limits)
            .then(|| sql::keyed_shape_of(text, strings, self.wanted, shape, extras).ok())
            .flatten();
        let mut cacheable = shape.is_some_and(|info| info.cacheable)
            && self.shape.len() + self.extras.len() <= MAX_CACHED_SHAPE;
        let fingerprint_len = self.shape.len();
        if cacheable && self.wanted != Wanted::default() {
            // No shape holds a NUL.
            self.shape.push(0);
            self.shape.extend_from_slice(&self.extras);
        }
        if cacheable && self.policies.reads_bytes() {
            self.shape.extend_from_slice(&text.len().to_le_bytes());
        }
        if cacheable && self.policies.reads_comments() {
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
                self.try_out(class, text, shape, &evaluation.judgement);
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
        .then(|| sql::shape_of(text, class.standard_conforming_strings, &mut shape).ok())
        .flatten();
    let bench = Bench { policies, class, limits, around: *around, ahead: None };
    bench.evaluate(text, shaped.map(|info| (&*shape, info.cacheable)))
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
    fn evaluate(&self, text: &[u8], shape: Option<(&[u8], bool)>) -> Evaluation {
        let Class { standard_conforming_strings, ascii_safe_encoding, .. } = *self.class;
        let max_bytes = self.limits.max_statement_bytes;
        let mut reading = if ascii_safe_encoding || text.is_ascii() {
            read(text, &ReadOptions { max_bytes, standard_conforming_strings })
        } else {
            let at = text.iter().position(|byte| !byte.is_ascii()).unwrap_or(0);
            Reading {
                statements: vec![Facts::unparsed(text.len())],
                refusal: Some(sql::Refusal::NotUtf8 { at }),
            }
        };
        if let Some(catalog) = self.around.catalog {
            with_views(&mut reading.statements, catalog);
        }
        // A text without a shape is its own: texts that nobody can read have nothing else in common.
        let shown = shape.map(|(shape, _)| shape);
        let fingerprint = sql::fingerprint(shown.unwrap_or(&text[..text.len().min(MAX_FINGERPRINTED)]));
        let normalized = sql::normalized(text, standard_conforming_strings, MAX_NORMALIZED).into();
        let bytes = (text.len() <= max_bytes && reading.refusal.is_none()).then_some(text);
        let bytes = bytes.map(|text| (text, allow_key(text, shape, &reading.statements)));
        let (judgement, decision) = self.judgement(bytes, &reading.statements, fingerprint, normalized);
        Evaluation { judgement, reading, decision }
    }

    fn judgement(
        &self,
        text: Option<(&[u8], Option<u64>)>,
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
            of_one_text: false,
        };
        let client = ClientFacts::from(self.class);
        let (mut judgement, decision) = self.judged(&blank, &client, text, statements);
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
            let (other, _) = self.judged(&blank, &client, text, &bound);
            judgement.of_one_text |= other.of_one_text;
            if !same_verdict(&other, &judgement) {
                judgement.like_params = params.into();
                judgement.with_wildcard = Some(Arc::new(other));
            }
        }
        (judgement, decision)
    }

    fn judged(
        &self,
        blank: &Judgement,
        client: &ClientFacts,
        text: Option<(&[u8], Option<u64>)>,
        statements: &[Facts],
    ) -> (Judgement, Decision) {
        let standard_conforming_strings = self.class.standard_conforming_strings;
        let catalog = self.around.catalog;
        let key = text.and_then(|(_, key)| key);
        let text = text.map(|(bytes, _)| Text { bytes, standard_conforming_strings, catalog });
        let known = catalog_facts(&self.around, statements);
        let asked = if self.ahead.is_some() { Asked::Ahead } else { Asked::Now };
        let mut decision =
            decide_when(self.policies, (client, blank.fingerprint), statements, &known, &self.around, asked);
        decide_by_list(self.policies, client, key, statements, &mut decision);
        let mut judgement = Judgement { of_one_text: decision.rewrites(), ..blank.clone() };
        if let Some(catalog) = self.ahead {
            judgement.live = Live::of(
                self.policies,
                (client, blank.fingerprint),
                statements,
                &known,
                catalog,
                text.as_ref(),
                &mut decision,
            );
        }
        apply(&mut judgement, &decision, statements, text.as_ref());
        (judgement, decision)
    }
}

/// Writes what was decided into a judgement.
pub(super) fn apply(
    judgement: &mut Judgement,
    decision: &Decision,
    statements: &[Facts],
    text: Option<&Text<'_>>,
) {
    judgement.action = decision.action();
    judgement.lane = route::lane(decision.wish(), statements);
    judgement.complaints = decision.complaints(judgement.fingerprint);
    judgement.hits = decision.hits();
    judgement.limits = decision.limits();
    judgement.set = decision.set();
    judgement.rewrite = None;
    if judgement.action == Action::Block {
        return;
    }
    let (new, refused) = decision.rewritten(text, statements, judgement.fingerprint);
    if let Some((new, facts)) = new {
        judgement.rewrite = Some(new.into());
        judgement.custom_settings = facts.custom_settings.into();
        judgement.effects = judgement.effects.and(facts.effects);
    }
    if let Some(refused) = refused {
        judgement.action = Action::Block;
        judgement.complaints = std::iter::once(refused).chain(judgement.complaints.iter().cloned()).collect();
    }
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
        && a.rewrite == b.rewrite
        && !open(a)
        && !open(b)
}

/// The first statement that is not transaction control, else the first.
#[must_use]
pub fn main_statement(statements: &[Facts]) -> Option<&Facts> {
    statements.iter().find(|facts| facts.kind != Kind::Transaction).or_else(|| statements.first())
}
