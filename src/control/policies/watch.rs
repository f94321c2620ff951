//! Notices that policy files, or an allow-list, changed: by their names, times and sizes, every [`StoreSettings::check_interval`].
//!
//! Asking is calmer than being told: it works the same on every file system, network mounts and swapped symbolic links
//! included, costs a few `stat` calls, and holds no descriptor. A change counts once it has stood still for a whole
//! interval, so that a file is not read while it is written.
//!
//! [`StoreSettings::check_interval`]: super::StoreSettings::check_interval

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::MissedTickBehavior;

use super::Store;
use crate::config;
use crate::guard::policy::{AllowList, ListMode};

/// How often a canary's time is looked at when files are not.
const PERIOD: Duration = Duration::from_secs(1);

/// What stands in the place of policy files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Stamp(Vec<(PathBuf, Option<Seen>)>);

/// Device and inode, modification time, size.
type Seen = (u64, u64, i64, i64, u64);

fn seen(metadata: &Metadata) -> Seen {
    (metadata.dev(), metadata.ino(), metadata.mtime(), metadata.mtime_nsec(), metadata.size())
}

/// The file of an allow-list, as it was before it was read.
#[derive(Clone, Debug)]
pub(super) struct ListFile {
    pub(super) path: PathBuf,
    /// It learns: who writes it is we, and what we write is known already.
    pub(super) is_ours: bool,
    seen: Option<Seen>,
}

impl ListFile {
    pub(super) fn of(list: &AllowList) -> Self {
        let path = PathBuf::from(&*list.file);
        let seen = path.metadata().ok().as_ref().map(seen);
        Self { path, is_ours: list.mode == ListMode::Learn, seen }
    }
}

impl Stamp {
    /// As [`Stamp::of`], the allow-list as it is now.
    pub(super) fn with(paths: &[PathBuf], list: Option<&ListFile>) -> Self {
        let now =
            |list: &ListFile| ListFile { seen: list.path.metadata().ok().as_ref().map(seen), ..list.clone() };
        Self::of(paths).and(list.map(now))
    }

    /// And of an allow-list.
    pub(super) fn and(mut self, list: Option<ListFile>) -> Self {
        let Some(list) = list else { return self };
        self.0.retain(|(path, _)| *path != list.path);
        if !list.is_ours {
            self.0.push((list.path, list.seen));
        }
        self
    }

    /// Of what paths stand for now. What cannot be looked at stands for itself, so that its coming back is a change.
    pub(super) fn of(paths: &[PathBuf]) -> Self {
        let stat = |path: &Path| (path.to_owned(), path.metadata().ok().as_ref().map(seen));
        let each = paths.iter().flat_map(|path| match config::policy_files(path) {
            Ok(files) => files.iter().map(|file| stat(file)).collect(),
            Err(_) => vec![stat(path)],
        });
        Self(each.collect())
    }
}

/// Watches for ever; drop it to stop.
pub async fn run(store: Arc<Store>) {
    let interval = store.settings().check_interval;
    let watches = !interval.is_zero() && store.has_files();
    let mut ticks = tokio::time::interval(if watches { interval } else { PERIOD });
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut before = Stamp::default();
    loop {
        ticks.tick().await;
        let store = Arc::clone(&store);
        // Files may be slow, and this thread also probes the servers.
        let look = tokio::task::spawn_blocking(move || {
            store.promote_if_due(Instant::now());
            let now = if watches { store.stamp() } else { Stamp::default() };
            if watches && now == before {
                store.files_stand_at(&now);
            }
            now
        });
        // A panic was logged; the next look starts anew.
        before = look.await.unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs;

    use super::super::attempt;
    use super::*;

    fn names(loaded: &super::super::Loaded) -> Vec<&str> {
        loaded.sources.iter().map(|source| source.name.rsplit('/').next().unwrap()).collect()
    }

    #[test]
    fn an_allow_list_is_ours_while_it_learns_and_a_persons_afterwards() {
        let directory = std::env::temp_dir().join(format!("pgsluice-lists-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let paths = [directory.clone()];
        let write = |name: &str, text: &str| fs::write(directory.join(name), text).unwrap();
        let list = |user: &str| {
            format!("[[allowed]]\nfingerprint = \"0123456789abcdef\"\nuser = \"{user}\"\ndatabase = \"d\"\n")
        };
        write("p.toml", "[allow_list]\nmode = \"learn\"\nfile = \"seen.toml\"\n");
        let (learning, file) = attempt(&paths, &crate::guard::Lanes::default());
        assert!(learning.is_ok() && file.as_ref().unwrap().is_ours, "there is no file yet");
        let before = Stamp::with(&paths, file.as_ref());
        write("seen.toml", &list("app"));
        assert_eq!(Stamp::with(&paths, file.as_ref()), before, "what we write is no change");
        let (learning, _) = attempt(&paths, &crate::guard::Lanes::default());
        let learning = learning.unwrap();
        assert_eq!((names(&learning), learning.policies.allow_list().unwrap().len()), (vec!["p.toml"], 1));

        write("p.toml", "[allow_list]\nmode = \"enforce\"\nfile = \"seen.toml\"\n");
        let (enforcing, file) = attempt(&paths, &crate::guard::Lanes::default());
        assert_eq!(names(&enforcing.unwrap()), ["p.toml", "seen.toml"]);
        let before = Stamp::with(&paths, file.as_ref());
        assert_eq!(Stamp::with(&paths, file.as_ref()), before);
        write("seen.toml", &(list("app") + &list("other")));
        assert_ne!(Stamp::with(&paths, file.as_ref()), before, "what a person writes is");
        write("seen.toml", "[[allowed]]\n");
        let (broken, file) = attempt(&paths, &crate::guard::Lanes::default());
        assert!(
            broken.is_err() && file.is_some_and(|file| !file.is_ours),
            "it is looked at until it is mended"
        );
        fs::remove_dir_all(&directory).unwrap();
    }
}
