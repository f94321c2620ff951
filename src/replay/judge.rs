//! The guard over a log's statements: one or two sets of policies side by side, each with its own caches.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use super::Entry;
use super::rates::Rates;
use super::session::Sessions;
use crate::guard::catalog::Catalog;
use crate::guard::facts::Facts;
use crate::guard::plan::PlanFacts;
use crate::guard::policy::Policies;
use crate::guard::{Circumstances, Class, Guard, GuardLimits, Judgement, Kind, client_key, evaluate, settle};

/// Policies under a name.
#[derive(Clone)]
pub struct PolicySet {
    /// `--policies`, `--compare`: how they are called in the report.
    pub name: &'static str,
    /// Where they came from.
    pub paths: Vec<String>,
    pub policies: Arc<Policies>,
}

/// What the first look at a statement tells, before anybody asks for its plan.
pub struct Looked<'a> {
    class: Arc<Class>,
    /// What was judged: the text, or one that the grammar can read.
    pub text: Cow<'a, [u8]>,
    base: Vec<Arc<Judgement>>,
    pub fingerprint: u64,
    pub kind: Kind,
    /// Statements in the text.
    pub statements: u32,
}

/// What one set of policies says of a run.
#[derive(Clone, Debug)]
pub struct Judged {
    pub judgement: Arc<Judgement>,
    /// Rules that read what is not known, by index.
    pub unanswered: Arc<[u32]>,
    /// Rules whose limit it goes beyond.
    pub exceeded: Vec<u32>,
    /// What holds if a parameter that the log does not tell starts with a wildcard.
    pub with_wildcard: Option<Arc<Judgement>>,
}

struct Set {
    guard: Guard,
    /// What the guard does not keep, by fingerprint and class.
    known: HashMap<(u64, usize), Known, ahash::RandomState>,
    rates: Rates,
}

struct Known {
    /// For which judgement `planned` was made.
    base: Arc<Judgement>,
    planned: Option<Arc<Judgement>>,
    unanswered: Arc<[u32]>,
}

/// Fingerprints times classes that are kept.
const MAX_KNOWN: usize = 50_000;
const MAX_CLASSES: usize = 9_000;
/// Names of databases come from clients.
const MAX_DATABASES: usize = 1_000;
/// A log's texts repeat more than any other load, and there is one thread.
const CACHE_BYTES: usize = 64 << 20;
/// Replacing placeholders in a longer text is not tried.
const MAX_REPLACED: usize = 64 << 10;

/// Judges statements, each by all sets.
pub struct Judges {
    sets: Vec<Set>,
    classes: HashMap<u64, Arc<Class>, ahash::RandomState>,
    catalogs: HashMap<Box<str>, Arc<Catalog>>,
    /// Databases that were asked about, with a catalog or without.
    databases: Vec<Box<str>>,
    sessions: Option<Sessions>,
    reads_application: bool,
}

impl Judges {
    #[must_use]
    pub fn new(sets: &[PolicySet]) -> Self {
        let limits = GuardLimits { cache_bytes: CACHE_BYTES, max_statement_bytes: 16 << 20 };
        let guard = |set: &PolicySet| Set {
            guard: Guard::new(Arc::clone(&set.policies), limits, [11, 13, 17, 19]),
            known: HashMap::default(),
            rates: Rates::default(),
        };
        let reads_session = sets.iter().any(|set| set.policies.reads_session());
        Self {
            sets: sets.iter().map(guard).collect(),
            classes: HashMap::default(),
            catalogs: HashMap::new(),
            databases: Vec::new(),
            sessions: reads_session.then(Sessions::default),
            reads_application: sets.iter().any(|set| set.policies.reads_application()),
        }
    }

    /// [`Judges::learn`] was told of the database.
    #[must_use]
    pub fn knows(&self, database: &str) -> bool {
        self.databases.iter().any(|known| **known == *database) || self.databases.len() >= MAX_DATABASES
    }

    /// What is known of a database's tables.
    pub fn learn(&mut self, database: &str, catalog: Option<Arc<Catalog>>) {
        self.databases.push(database.into());
        if let Some(catalog) = catalog {
            self.catalogs.insert(database.into(), catalog);
            let all = Arc::new(self.catalogs.clone());
            for set in &mut self.sets {
                set.guard.set_catalogs(Arc::clone(&all));
                set.known.clear();
            }
        }
    }

    /// The catalog of a database.
    #[must_use]
    pub fn catalog(&self, database: &str) -> Option<&Arc<Catalog>> {
        self.catalogs.get(database)
    }

    fn class(&mut self, entry: &Entry) -> Arc<Class> {
        let application = if self.reads_application { &*entry.application } else { "" };
        let key = self.classes.hasher().hash_one((&entry.user, &entry.database, application));
        if let Some(class) = self.classes.get(&key)
            && class.user == entry.user
            && class.database == entry.database
            && *class.application == *application
        {
            return Arc::clone(class);
        }
        if self.classes.len() >= MAX_CLASSES {
            self.classes.clear();
            self.sets.iter_mut().for_each(|set| set.known.clear());
        }
        let class = Arc::new(Class {
            user: entry.user.clone(),
            database: entry.database.clone(),
            application: application.into(),
            standard_conforming_strings: true,
            ascii_safe_encoding: true,
        });
        self.classes.insert(key, Arc::clone(&class));
        class
    }

    /// Reads a statement.
    pub fn look<'a>(&mut self, entry: &'a Entry) -> Looked<'a> {
        let class = self.class(entry);
        let mut text = Cow::Borrowed(entry.sql.as_slice());
        let mut base = self.base(&text, &class);
        let unparsed =
            |base: &[Arc<Judgement>]| base.first().is_some_and(|first| first.kind == Kind::Unparsed);
        if unparsed(&base)
            && entry.params.is_none()
            && text.len() <= MAX_REPLACED
            && let Some(readable) = with_values(&text)
        {
            let again = self.base(&readable, &class);
            if !unparsed(&again) {
                (text, base) = (Cow::Owned(readable), again);
            }
        }
        let first = base.first();
        Looked {
            fingerprint: first.map_or(0, |judgement| judgement.fingerprint),
            kind: first.map_or(Kind::Unparsed, |judgement| judgement.kind),
            statements: first.map_or(0, |judgement| judgement.statements),
            class,
            text,
            base,
        }
    }

    fn base(&mut self, text: &[u8], class: &Arc<Class>) -> Vec<Arc<Judgement>> {
        self.sets.iter_mut().map(|set| set.guard.judge(text, class)).collect()
    }

    /// The facts of a statement, for advice.
    #[must_use]
    pub fn facts(&self, looked: &Looked<'_>) -> Option<Facts> {
        let policies = self.sets.first()?.guard.policies();
        let around = Circumstances::default();
        let evaluation = evaluate(policies, &looked.class, &looked.text, &GuardLimits::default(), &around);
        crate::guard::main_statement(&evaluation.reading.statements).cloned()
    }

    /// Judges a run by all sets.
    pub fn judge(&mut self, entry: &Entry, looked: &Looked<'_>, plan: Option<&PlanFacts>) -> Vec<Judged> {
        let Self { sets, sessions, catalogs, .. } = self;
        let session = match (sessions, looked.base.first()) {
            (Some(sessions), Some(first)) => Some(sessions.facts(entry, first)),
            _ => None,
        };
        let params: Option<Vec<Option<&[u8]>>> =
            entry.params.as_ref().map(|values| values.iter().map(Option::as_deref).collect());
        let around = Circumstances {
            catalog: catalogs.get(&*entry.database).map(|catalog| &**catalog),
            session: session.as_ref(),
            now: entry.time.map(|micros| micros.div_euclid(1_000_000)),
            who: Some(client_key(&entry.user, &entry.application, &entry.address)),
            plan,
            params: params.as_deref(),
            ..Circumstances::default()
        };
        let judge = |(set, base): (&mut Set, &Arc<Judgement>)| set.judge(entry, looked, base, &around);
        sets.iter_mut().zip(&looked.base).map(judge).collect()
    }
}

impl Set {
    fn judge(
        &mut self,
        entry: &Entry,
        looked: &Looked<'_>,
        base: &Arc<Judgement>,
        around: &Circumstances<'_>,
    ) -> Judged {
        let known = self.known(looked, base, around);
        let (unanswered, planned) = (Arc::clone(&known.unanswered), known.planned.clone());
        let judgement = planned.unwrap_or_else(|| Arc::clone(base));
        let (judgement, with_wildcard) = with_params(&judgement, around);
        let judgement = settle(&judgement, around);
        let exceeded = judgement
            .limits
            .as_ref()
            .map(|limits| self.rates.exceeded(limits, entry, &looked.class, &judgement))
            .unwrap_or_default();
        Judged { judgement, unanswered, exceeded, with_wildcard }
    }

    /// What is worth keeping beside the guard's own judgement; made at the first sight, and again where a plan's verdict
    /// may differ.
    fn known(&mut self, looked: &Looked<'_>, base: &Arc<Judgement>, around: &Circumstances<'_>) -> &Known {
        let key = (looked.fingerprint, Arc::as_ptr(&looked.class) as usize);
        let fresh = self.known.get(&key).is_some_and(|known| {
            let same = Arc::ptr_eq(&known.base, base) && base.live.is_none();
            around.plan.is_none() == known.planned.is_none() && (around.plan.is_none() || same)
        });
        if !fresh {
            if self.known.len() >= MAX_KNOWN {
                self.known.clear();
            }
            let policies = self.guard.policies();
            let limits = GuardLimits { max_statement_bytes: 16 << 20, ..GuardLimits::default() };
            let evaluation = evaluate(policies, &looked.class, &looked.text, &limits, around);
            let index = |name: &Arc<str>| {
                let at = policies.rules().iter().position(|rule| rule.name == *name);
                at.and_then(|at| u32::try_from(at).ok())
            };
            let known = Known {
                base: Arc::clone(base),
                unanswered: evaluation.decision.unanswered.iter().filter_map(index).collect(),
                planned: around.plan.map(|_| Arc::new(evaluation.judgement)),
            };
            self.known.insert(key, known);
        }
        // It was there, or was put there just now.
        self.known.entry(key).or_insert_with(|| Known {
            base: Arc::clone(base),
            planned: None,
            unanswered: Arc::default(),
        })
    }
}

/// The judgement with the run's values: a pattern that starts with a wildcard changes it. Where the values are not known,
/// both.
fn with_params(
    judgement: &Arc<Judgement>,
    around: &Circumstances<'_>,
) -> (Arc<Judgement>, Option<Arc<Judgement>>) {
    let Some(wild) = &judgement.with_wildcard else { return (Arc::clone(judgement), None) };
    let Some(params) = around.params else { return (Arc::clone(judgement), Some(Arc::clone(wild))) };
    let wildcard = |n: &u16| {
        let value = usize::from(*n).checked_sub(1).and_then(|at| params.get(at).copied().flatten());
        matches!(value.and_then(<[u8]>::first), Some(b'%' | b'_'))
    };
    (Arc::clone(if judgement.like_params.iter().any(wildcard) { wild } else { judgement }), None)
}

/// Placeholders as values: `pg_stat_statements` writes them where the grammar wants a literal (`interval $1`).
fn with_values(text: &[u8]) -> Option<Vec<u8>> {
    let (mut out, mut rest, mut found) = (Vec::with_capacity(text.len() + 16), text, false);
    while let Some(dollar) = memchr::memchr(b'$', rest) {
        let digits = rest[dollar + 1..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        out.extend_from_slice(&rest[..dollar]);
        if digits > 0 {
            out.extend_from_slice(b"'0'");
            found = true;
        } else {
            out.push(b'$');
        }
        rest = &rest[dollar + 1 + digits..];
    }
    out.extend_from_slice(rest);
    found.then_some(out)
}
