//! The policies in force: their versions, how a new one comes, and how one goes back.
//!
//! All or nothing: files with a mistake change nothing. `diff.rs` says what changed, `watch.rs` notices that files did.

mod canary;
mod diff;
mod store;
mod watch;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

pub use canary::Canary;
pub use diff::Diff;
pub use store::{Failure, Mark, Outlook, Store, StoreSettings};
use watch::ListFile;
pub use watch::run;

use crate::config;
use crate::document::{Problem, Source};
use crate::guard::policy::{ListMode, PACKS, Policies};
use crate::guard::{Lanes, sql};
use crate::observe::RuleMap;

/// One version of the policies.
#[derive(Debug)]
pub struct Version {
    /// Counts from 1.
    pub generation: u32,
    pub policies: Arc<Policies>,
    pub loaded: SystemTime,
    /// Of its files' names and texts.
    pub hash: u64,
    /// Who or what brought it.
    pub trigger: String,
    pub(super) sources: Vec<Arc<Source>>,
    /// Against the one in force when it came.
    pub changes: Diff,
}

/// What the data threads go by.
#[derive(Debug)]
pub struct Published {
    pub version: Arc<Version>,
    /// The counters of its rules.
    pub rules: RuleMap,
    /// A version that is tried beside it.
    pub canary: Option<Arc<Canary>>,
}

/// Policies and the texts they were read from.
#[derive(Debug)]
pub struct Loaded {
    pub policies: Policies,
    pub sources: Vec<Arc<Source>>,
}

/// Reads files, directories and packs, which may name these lanes; the built-in baseline if nothing is named.
///
/// # Errors
/// Every mistake of every file.
pub fn read(paths: &[PathBuf], lanes: &Lanes) -> Result<Loaded, Vec<Problem>> {
    attempt(paths, lanes).0
}

/// As [`read`], and the file of the allow-list as far as one is known.
fn attempt(paths: &[PathBuf], lanes: &Lanes) -> (Result<Loaded, Vec<Problem>>, Option<ListFile>) {
    let sources = if paths.is_empty() { Ok(vec![PACKS[0].source()]) } else { config::policy_sources(paths) };
    let loaded =
        sources.and_then(|sources| Ok(Loaded { policies: Policies::load_with(&sources, lanes)?, sources }));
    let mut loaded = match loaded {
        Ok(loaded) => loaded,
        Err(problems) => return (Err(problems), None),
    };
    let Some(list) = loaded.policies.allow_list().map(ListFile::of) else { return (Ok(loaded), None) };
    // It may lie in a directory of policies. Its words count once it is a person's: while it learns they are ours.
    loaded.sources.retain(|source| Path::new(&*source.name) != list.path);
    match know_learned(&mut loaded.policies) {
        Ok(source) => {
            loaded.sources.extend(source.filter(|_| !list.is_ours));
            (Ok(loaded), Some(list))
        }
        Err(problems) => (Err(problems), Some(list)),
    }
}

/// What an allow-list has learned stands in a file of its own.
fn know_learned(policies: &mut Policies) -> Result<Option<Arc<Source>>, Vec<Problem>> {
    let Some(list) = policies.allow_list() else { return Ok(None) };
    let (file, learns) = (list.file.clone(), list.mode == ListMode::Learn);
    match std::fs::read_to_string(&*file) {
        Ok(text) => {
            let source = Source::new(file, text);
            policies.know(&source)?;
            Ok(Some(source))
        }
        // The first time there is nothing yet.
        Err(error) if learns && error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => {
            let problem = Problem::new(format!("the allow-list {file} cannot be read: {error}"));
            Err(vec![problem.cure("let `mode = \"learn\"` write it first")])
        }
    }
}

/// As [`read`]; all rules only observe if `observes`, or if no policy is named: who names none has asked for nothing
/// to be changed.
///
/// # Errors
/// Every mistake of every file.
pub fn read_or_observe(paths: &[PathBuf], lanes: &Lanes, observes: bool) -> Result<Loaded, Vec<Problem>> {
    attempt_or_observe(paths, lanes, observes).0
}

fn attempt_or_observe(
    paths: &[PathBuf],
    lanes: &Lanes,
    observes: bool,
) -> (Result<Loaded, Vec<Problem>>, Option<ListFile>) {
    let (loaded, list) = attempt(paths, lanes);
    let observing = |loaded: Loaded| Loaded { policies: loaded.policies.observing(), ..loaded };
    let loaded = if paths.is_empty() || observes { loaded.map(observing) } else { loaded };
    (loaded, list)
}

fn hash(sources: &[Arc<Source>]) -> u64 {
    let mut bytes = Vec::new();
    for source in sources {
        for part in [&source.name, &source.text] {
            bytes.extend_from_slice(&part.len().to_le_bytes());
            bytes.extend_from_slice(part.as_bytes());
        }
    }
    sql::fingerprint(&bytes)
}
