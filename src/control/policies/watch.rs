//! Notices that policy files changed: by their names, times and sizes, every [`StoreSettings::check_interval`].
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

impl Stamp {
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
            let now = if watches { Stamp::of(&store.settings().paths) } else { Stamp::default() };
            if watches && now == before {
                store.files_stand_at(&now);
            }
            now
        });
        // A panic was logged; the next look starts anew.
        before = look.await.unwrap_or_default();
    }
}
