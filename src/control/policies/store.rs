//! The versions of the policies, and the one way in which one comes into force.

use std::collections::VecDeque;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use super::watch::{ListFile, Stamp};
use super::{Canary, Diff, Loaded, Published, Version, attempt_or_observe, hash};
use crate::control::snapshot;
use crate::document::Problem;
use crate::guard::Lanes;
use crate::guard::policy::Rule;
use crate::observe::{Meters, RuleLabel};

/// Mistakes of one load that are logged; more are counted.
const LOGGED: usize = 10;

/// What a store goes by.
#[derive(Clone, Debug)]
pub struct StoreSettings {
    /// What `policies` names.
    pub paths: Vec<PathBuf>,
    /// What rules may name in `route`.
    pub lanes: Lanes,
    /// All rules only observe.
    pub observes: bool,
    /// Versions kept in memory.
    pub kept: usize,
    /// How long a new version is tried beside the old one; zero: not at all.
    pub canary: Duration,
    /// How often files are looked at; zero: never.
    pub check_interval: Duration,
}

/// What became of a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    InForce,
    Canary,
    Replaced,
    RolledBack,
    /// A canary that never came into force.
    Dropped,
}

impl Mark {
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::InForce => "in force",
            Self::Canary => "canary",
            Self::Replaced => "replaced",
            Self::RolledBack => "rolled back",
            Self::Dropped => "dropped",
        }
    }
}

/// A load that changed nothing, since there was something wrong.
#[derive(Clone, Debug)]
pub struct Failure {
    pub at: SystemTime,
    pub trigger: String,
    /// The first mistake, and how many more there are.
    pub why: String,
    /// The file of the first mistake.
    pub file: Option<String>,
}

/// All that the console shows.
#[derive(Debug)]
pub struct Outlook {
    pub published: Arc<Published>,
    /// Oldest first.
    pub versions: Vec<(Arc<Version>, Mark)>,
    /// The last load, if it failed.
    pub failure: Option<Failure>,
}

struct State {
    /// Oldest first; one of them is in force.
    versions: VecDeque<(Arc<Version>, Mark)>,
    published: Arc<Published>,
    failure: Option<Failure>,
    /// Rolled back: until the files are others than these.
    held: bool,
    read: u64,
    /// What the files looked like when they were read last.
    stamp: Stamp,
    /// The file of the allow-list that they name.
    list: Option<ListFile>,
    next: u32,
}

/// The only owner of the policies.
pub struct Store {
    settings: StoreSettings,
    snapshot: snapshot::Shared,
    meters: Arc<Meters>,
    state: Mutex<State>,
    /// One load at a time; held while files are read, which `state` is not.
    turn: Mutex<()>,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("settings", &self.settings).finish_non_exhaustive()
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Who asks for a load, and therefore what is done.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Wish {
    /// As the settings say, and nothing if the files are as they were.
    Quiet,
    /// As the settings say, even back to what was rolled back.
    Plain,
    Canary,
}

impl Store {
    /// Puts the first version in force.
    #[must_use]
    pub fn new(
        settings: StoreSettings,
        first: Loaded,
        snapshot: snapshot::Shared,
        meters: Arc<Meters>,
    ) -> Arc<Self> {
        let list = first.policies.allow_list().map(ListFile::of);
        let stamp = Stamp::with(&settings.paths, list.as_ref());
        let hash = hash(&first.sources);
        let version = Arc::new(Version {
            generation: 1,
            policies: Arc::new(first.policies),
            loaded: SystemTime::now(),
            hash,
            trigger: "start".to_owned(),
            sources: first.sources,
            changes: Diff::default(),
        });
        meters.policy_load(true, version.loaded);
        let published = Arc::new(published(&version, None, &meters));
        let state = State {
            versions: [(version, Mark::InForce)].into(),
            published: Arc::clone(&published),
            failure: None,
            held: false,
            read: hash,
            stamp,
            list,
            next: 2,
        };
        snapshot::publish(&snapshot, |next| next.policies = Some(Arc::clone(&published)));
        Arc::new(Self { settings, snapshot, meters, state: Mutex::new(state), turn: Mutex::default() })
    }

    #[must_use]
    pub fn settings(&self) -> &StoreSettings {
        &self.settings
    }

    /// Some policy is a file, and not built in.
    #[must_use]
    pub fn has_files(&self) -> bool {
        self.settings.paths.iter().any(|path| !crate::config::is_pack(path))
    }

    #[must_use]
    pub fn outlook(&self) -> Outlook {
        let state = locked(&self.state);
        Outlook {
            published: Arc::clone(&state.published),
            versions: state.versions.iter().cloned().collect(),
            failure: state.failure.clone(),
        }
    }

    /// SIGHUP and `RELOAD`: reads the files again. What was rolled back stays away until they change.
    ///
    /// # Errors
    /// Why the policies stay as they are.
    pub fn reload(&self, trigger: &str) -> Result<String, String> {
        self.load(trigger, &Wish::Quiet)
    }

    /// `RELOAD POLICIES`: as [`Store::reload`], and what was rolled back comes again. `canary`: beside the version in
    /// force, until it is promoted.
    ///
    /// # Errors
    /// Why the policies stay as they are.
    pub fn reload_explicitly(&self, trigger: &str, canary: bool) -> Result<String, String> {
        self.load(trigger, if canary { &Wish::Canary } else { &Wish::Plain })
    }

    /// What the files look like now.
    pub(super) fn stamp(&self) -> Stamp {
        let list = locked(&self.state).list.clone();
        Stamp::with(&self.settings.paths, list.as_ref())
    }

    /// The files look like this, and have for a while.
    pub(super) fn files_stand_at(&self, stamp: &Stamp) {
        if locked(&self.state).stamp != *stamp {
            // What happens is logged.
            let _ = self.load("file change", &Wish::Quiet);
        }
    }

    fn load(&self, trigger: &str, wish: &Wish) -> Result<String, String> {
        let _turn = locked(&self.turn);
        let stamp = Stamp::of(&self.settings.paths);
        let (loaded, list) =
            attempt_or_observe(&self.settings.paths, &self.settings.lanes, self.settings.observes);
        let now = SystemTime::now();
        let mut state = locked(&self.state);
        // Of files with a mistake it may not be known; then it is likely where it was.
        if list.is_some() || loaded.is_ok() {
            state.list = list;
        }
        state.stamp = stamp.and(state.list.clone());
        match loaded {
            Ok(loaded) => {
                self.meters.policy_load(true, now);
                state.failure = None;
                let said = self.take_up(&mut state, loaded, trigger, wish);
                tracing::info!(trigger, "policies: {said}");
                Ok(said)
            }
            Err(problems) => {
                self.meters.policy_load(false, now);
                state.read = 0;
                let failure = failed(&problems, trigger, now);
                for problem in problems.iter().take(LOGGED) {
                    tracing::error!(trigger, "policies: {problem}");
                }
                let stays = state.published.version.generation;
                let mistakes = problems.len();
                tracing::error!(trigger, mistakes, "policies: not loaded; generation {stays} stays");
                let why = failure.why.clone();
                state.failure = Some(failure);
                Err(why)
            }
        }
    }

    /// What good files lead to, in words.
    fn take_up(&self, state: &mut State, loaded: Loaded, trigger: &str, wish: &Wish) -> String {
        let hash = hash(&loaded.sources);
        let read = std::mem::replace(&mut state.read, hash);
        let now = Arc::clone(&state.published);
        let generation = now.version.generation;
        if state.held && read == hash && *wish == Wish::Quiet {
            return format!("the files are those that were rolled back; generation {generation} stays");
        }
        state.held = false;
        if hash == now.version.hash {
            if now.canary.is_some() {
                self.end_canary(state, Mark::Dropped);
                return format!(
                    "the files are those of generation {generation} again; the canary is dropped"
                );
            }
            return format!("nothing changed; generation {generation} stays");
        }
        if let Some(canary) = now.canary.as_ref().filter(|canary| canary.version.hash == hash) {
            if *wish == Wish::Plain && self.settings.canary.is_zero() {
                return self.promote_now(state, canary);
            }
            return format!("generation {} is the canary already", canary.version.generation);
        }
        let version = Arc::new(Version {
            generation: state.next,
            policies: Arc::new(loaded.policies),
            loaded: SystemTime::now(),
            hash,
            trigger: trigger.to_owned(),
            changes: Diff::between(&now.version.sources, &loaded.sources),
            sources: loaded.sources,
        });
        state.next += 1;
        let said = format!("{}", version.changes);
        let tried = !self.settings.canary.is_zero();
        if tried || *wish == Wish::Canary {
            let until = tried.then(|| Instant::now() + self.settings.canary);
            self.try_out(state, Arc::clone(&version), until);
            return format!("generation {} is tried beside {generation}: {said}", version.generation);
        }
        self.enforce(state, Arc::clone(&version));
        format!("generation {} is in force: {said}", version.generation)
    }

    /// The version decides from now on.
    fn enforce(&self, state: &mut State, version: Arc<Version>) {
        for (other, mark) in &mut state.versions {
            *mark = match *mark {
                Mark::InForce => Mark::Replaced,
                Mark::Canary if other.generation != version.generation => Mark::Dropped,
                mark => mark,
            };
        }
        self.keep(state, &version, Mark::InForce);
        self.publish(state, published(&version, None, &self.meters));
    }

    fn try_out(&self, state: &mut State, version: Arc<Version>, until: Option<Instant>) {
        self.end_canary(state, Mark::Dropped);
        self.keep(state, &version, Mark::Canary);
        let now = &state.published;
        let canary = Some(Canary::new(version, until));
        let next = Published { version: Arc::clone(&now.version), rules: now.rules.clone(), canary };
        self.publish(state, next);
    }

    fn end_canary(&self, state: &mut State, end: Mark) {
        let marks = state.versions.iter_mut().filter(|(_, mark)| *mark == Mark::Canary);
        marks.for_each(|(_, mark)| *mark = end);
        let now = &state.published;
        if now.canary.is_some() {
            let next =
                Published { version: Arc::clone(&now.version), rules: now.rules.clone(), canary: None };
            self.publish(state, next);
        }
    }

    /// Enters a version with its mark, and forgets the oldest beyond the bound.
    fn keep(&self, state: &mut State, version: &Arc<Version>, mark: Mark) {
        match state.versions.iter_mut().find(|(known, _)| known.generation == version.generation) {
            Some((_, old)) => *old = mark,
            None => state.versions.push_back((Arc::clone(version), mark)),
        }
        while state.versions.len() > self.settings.kept.max(1) {
            let idle = |(_, mark): &(Arc<Version>, Mark)| !matches!(mark, Mark::InForce | Mark::Canary);
            let Some(at) = state.versions.iter().position(idle) else { break };
            state.versions.remove(at);
        }
    }

    fn publish(&self, state: &mut State, next: Published) {
        let next = Arc::new(next);
        state.published = Arc::clone(&next);
        snapshot::publish(&self.snapshot, |snapshot| snapshot.policies = Some(Arc::clone(&next)));
    }

    /// `ROLLBACK POLICIES`: drops the canary if there is one, else returns to the version before.
    ///
    /// # Errors
    /// There is none before.
    pub fn roll_back(&self, trigger: &str) -> Result<String, String> {
        let _turn = locked(&self.turn);
        let mut state = locked(&self.state);
        let now = Arc::clone(&state.published);
        let generation = now.version.generation;
        if let Some(canary) = &now.canary {
            self.end_canary(&mut state, Mark::Dropped);
            state.held = true;
            let dropped = canary.version.generation;
            tracing::warn!(trigger, "policies: the canary, generation {dropped}, is dropped");
            return Ok(format!(
                "the canary, generation {dropped}, is dropped; generation {generation} stays"
            ));
        }
        let before = |(version, mark): &&(Arc<Version>, Mark)| {
            *mark == Mark::Replaced && version.generation < generation
        };
        let Some((before, _)) = state.versions.iter().rfind(before).cloned() else {
            return Err(format!("there is no version before generation {generation}"));
        };
        let changes = Diff::between(&now.version.sources, &before.sources);
        self.enforce(&mut state, Arc::clone(&before));
        let left = state.versions.iter_mut().find(|(version, _)| version.generation == generation);
        left.into_iter().for_each(|(_, mark)| *mark = Mark::RolledBack);
        state.held = true;
        let said = format!("generation {} is in force again: {changes}", before.generation);
        tracing::warn!(trigger, "policies: rolled back; {said}");
        Ok(said)
    }

    /// `PROMOTE POLICIES`: the canary decides from now on.
    ///
    /// # Errors
    /// There is none.
    pub fn promote(&self, trigger: &str) -> Result<String, String> {
        let _turn = locked(&self.turn);
        let mut state = locked(&self.state);
        let canary = state.published.canary.clone().ok_or("there is no canary to promote")?;
        let said = self.promote_now(&mut state, &canary);
        tracing::info!(trigger, "policies: {said}");
        Ok(said)
    }

    fn promote_now(&self, state: &mut State, canary: &Canary) -> String {
        let report = canary.report();
        self.enforce(state, Arc::clone(&canary.version));
        format!(
            "generation {} is in force; as the canary it judged {} statements, {} of them otherwise",
            canary.version.generation, report.judged, report.differing
        )
    }

    pub(super) fn promote_if_due(&self, now: Instant) {
        let canary = locked(&self.state).published.canary.clone();
        if canary.and_then(|canary| canary.until).is_some_and(|until| until <= now) {
            // It may be gone by now.
            let _ = self.promote("policy_canary");
        }
    }
}

fn published(version: &Arc<Version>, canary: Option<Arc<Canary>>, meters: &Meters) -> Published {
    meters.policy_generation(version.generation);
    let labels: Vec<RuleLabel> = version.policies.rules().iter().map(|rule| label(rule)).collect();
    Published { version: Arc::clone(version), rules: meters.rules(&labels), canary }
}

fn label(rule: &Rule) -> RuleLabel {
    RuleLabel { name: Arc::clone(&rule.name), action: rule.act.action(), enforced: rule.enforced }
}

fn failed(problems: &[Problem], trigger: &str, at: SystemTime) -> Failure {
    let first = problems.first().map(ToString::to_string).unwrap_or_default();
    let why = match problems.len() {
        0 | 1 => first,
        n => format!("{first}; and {} more", n - 1),
    };
    let file = problems.iter().find_map(|problem| problem.at.as_ref());
    let file = file.map(|(source, _)| source.name.to_string());
    Failure { at, trigger: trigger.to_owned(), why, file }
}
