//! Policies with the cases beside them: what `test` runs and `check` reads.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config;
use crate::document::{Problem, Source};
use crate::guard::Lanes;
use crate::guard::policy::{Case, PACKS, Pack, Policies, load_cases_with};

/// One policy file and its cases.
pub(super) struct Suite {
    pub(super) policies: Policies,
    /// Name of the policy file.
    pub(super) name: String,
    /// Empty if it has no case file.
    pub(super) cases: Vec<Case>,
}

/// Where a suite comes from.
enum Origin {
    Pack(&'static Pack),
    /// The policy file, and the case file if there is one.
    Files(PathBuf, Option<PathBuf>),
}

/// The suites of paths: case files, policy files, directories, packs. Without any: `policies/`, or all packs. Rules may
/// name these lanes.
pub(super) fn read(paths: &[PathBuf], lanes: &Lanes) -> (Vec<Suite>, Vec<Problem>) {
    let here = PathBuf::from("policies");
    let mut problems = Vec::new();
    let origins: Vec<Origin> = match paths {
        [] if !here.is_dir() => PACKS.iter().map(Origin::Pack).collect(),
        [] => origins(&here, &mut problems),
        paths => paths.iter().flat_map(|path| origins(path, &mut problems)).collect(),
    };
    let suites = origins.iter().filter_map(|origin| {
        let found = suite(origin, lanes);
        found.map_err(|mut found| problems.append(&mut found)).ok()
    });
    let mut suites: Vec<Suite> = suites.collect();
    // The file of an allow-list beside its policy.
    suites.retain(|suite| !(suite.cases.is_empty() && suite.policies.rules().is_empty()));
    (suites, problems)
}

const CASES: &str = ".test.toml";

fn origins(path: &Path, problems: &mut Vec<Problem>) -> Vec<Origin> {
    if let Some(pack) = path.to_str().and_then(Pack::find).filter(|_| !path.exists()) {
        return vec![Origin::Pack(pack)];
    }
    let name = path.to_string_lossy().into_owned();
    if let Some(stem) = name.strip_suffix(CASES) {
        return vec![Origin::Files(format!("{stem}.toml").into(), Some(path.to_owned()))];
    }
    match config::policy_files(path) {
        Ok(files) => {
            let lonely = lonely_cases(path, &files);
            files.into_iter().map(beside).chain(lonely).collect()
        }
        Err(problem) => {
            problems.push(problem);
            Vec::new()
        }
    }
}

/// Case files of a directory without a policy beside them: reading that policy fails, and says so.
fn lonely_cases(directory: &Path, policies: &[PathBuf]) -> Vec<Origin> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let each = entries.filter_map(|entry| {
        let cases = entry.path();
        let policy = PathBuf::from(format!("{}.toml", cases.to_str()?.strip_suffix(CASES)?));
        (!policies.contains(&policy)).then_some(Origin::Files(policy, Some(cases)))
    });
    each.collect()
}

fn beside(policy: PathBuf) -> Origin {
    let cases = policy.with_extension("test.toml");
    let cases = cases.exists().then_some(cases);
    Origin::Files(policy, cases)
}

fn suite(origin: &Origin, lanes: &Lanes) -> Result<Suite, Vec<Problem>> {
    let text = |path: &Path| config::text_file(path).map_err(|problem| vec![problem]);
    let (policy, cases, directory) = match origin {
        Origin::Pack(pack) => (pack.source(), Some(pack.cases()), None),
        Origin::Files(policy, cases) => {
            (text(policy)?, cases.as_deref().map(text).transpose()?, policy.parent())
        }
    };
    let policies = Policies::load_with(&[Arc::clone(&policy)], lanes);
    let cases = cases.map_or(Ok(Vec::new()), |cases| read_cases(&cases, directory));
    match (policies, cases) {
        (Ok(policies), Ok(cases)) => {
            let unknown: Vec<Problem> = cases.iter().flat_map(|case| case.unknown_names(&policies)).collect();
            let name = policy.name.to_string();
            if unknown.is_empty() { Ok(Suite { policies, name, cases }) } else { Err(unknown) }
        }
        (policies, cases) => {
            let mut problems = policies.err().unwrap_or_default();
            problems.extend(cases.err().unwrap_or_default());
            Err(problems)
        }
    }
}

fn read_cases(source: &Arc<Source>, directory: Option<&Path>) -> Result<Vec<Case>, Vec<Problem>> {
    load_cases_with(source, &|name| {
        let path = directory.unwrap_or(Path::new(".")).join(name);
        config::text_file(&path).map(|source| source.text.to_string()).map_err(|problem| problem.to_string())
    })
}
