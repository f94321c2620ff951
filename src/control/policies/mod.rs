//! The policies in force: their versions, how a new one comes, and how one goes back.
//!
//! All or nothing: files with a mistake change nothing. `diff.rs` says what changed, `watch.rs` notices that files did.

mod canary;
mod diff;
mod store;
mod watch;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

pub use canary::Canary;
pub use diff::Diff;
pub use store::{Failure, Mark, Outlook, Store, StoreSettings};
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
    let sources = if paths.is_empty() { vec![PACKS[0].source()] } else { config::policy_sources(paths)? };
    let mut policies = Policies::load_with(&sources, lanes)?;
    know_learned(&mut policies)?;
    Ok(Loaded { policies, sources })
}

/// What an allow-list has learned stands in a file of its own.
fn know_learned(policies: &mut Policies) -> Result<(), Vec<Problem>> {
    let Some(list) = policies.allow_list() else { return Ok(()) };
    let (file, learns) = (list.file.clone(), list.mode == ListMode::Learn);
    match std::fs::read_to_string(&*file) {
        Ok(text) => policies.know(&Source::new(file, text)),
        // The first time there is nothing yet.
        Err(error) if learns && error.kind() == std::io::ErrorKind::NotFound => Ok(()),
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
    let mut loaded = read(paths, lanes)?;
    if paths.is_empty() || observes {
        loaded.policies = loaded.policies.observing();
    }
    Ok(loaded)
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
