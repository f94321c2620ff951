//! The file of an allow-list that learns: what the data threads met is added to it every few seconds.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use std::{fs, io};

use super::snapshot::{self, Snapshot};
use crate::document::{Source, render};
use crate::guard::policy::{Learned, ListMode, read_learned, write_learned};

const PERIOD: Duration = Duration::from_secs(2);
/// Statements in the file; an application that brings more has its values in its texts.
const MAX_STATEMENTS: usize = 50_000;
/// Statements that wait to be written.
const MAX_WAITING: usize = 16_384;

/// What waits to be written.
#[derive(Debug, Default)]
pub struct Inbox(Mutex<Vec<Learned>>);

impl Inbox {
    /// Beyond its bound statements are left out; they are met again after the guards' caches forgot them.
    pub fn add(&self, learned: Vec<Learned>) {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let room = MAX_WAITING.saturating_sub(waiting.len());
        waiting.extend(learned.into_iter().take(room));
    }

    fn take(&self) -> Vec<Learned> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Runs for ever. The file is that of the policies in force: one that comes with a reload is written from then on, and
/// what was learned before another came into force, and not yet written, goes to the one it was learned for.
pub async fn run(snapshot: snapshot::Shared, inbox: Arc<Inbox>) {
    let mut ticks = tokio::time::interval(PERIOD);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut file = None;
    loop {
        ticks.tick().await;
        file = file_of(&snapshot.load()).or(file);
        let new = inbox.take();
        let Some(file) = file.clone().filter(|_| !new.is_empty()) else { continue };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let write = move || match add(&file, new, i64::try_from(now).unwrap_or(i64::MAX)) {
            Ok(0) => {}
            Ok(added) => tracing::info!(added, file = %file.display(), "the allow-list learned statements"),
            Err(why) => tracing::warn!(file = %file.display(), "the allow-list is not written: {why}"),
        };
        // Disks may be slow, and this thread also probes the servers. A panic was logged.
        let _ = tokio::task::spawn_blocking(write).await;
    }
}

/// The file that the policies in force learn to.
fn file_of(snapshot: &Snapshot) -> Option<PathBuf> {
    let list = snapshot.policies.as_ref()?.version.policies.allow_list()?;
    (list.mode == ListMode::Learn).then(|| (&*list.file).into())
}

/// Adds statements to the file; how many were not there yet. The file as it is now counts, so that what a person takes
/// out or adds meanwhile stays.
fn add(file: &Path, new: Vec<Learned>, now: i64) -> Result<usize, String> {
    let mut all = match fs::read_to_string(file) {
        Ok(text) => read_learned(&Source::new(file.to_string_lossy(), text))
            .map_err(|problems| render(&problems, false))?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error.to_string()),
    };
    let before = all.len();
    let key = |one: &Learned| (one.fingerprint, one.user.clone(), one.database.clone());
    let mut known: BTreeSet<_> = all.iter().map(key).collect();
    let seen: Option<Box<str>> =
        jiff::Timestamp::from_second(now).ok().map(|instant| instant.to_string().into());
    for one in new {
        if all.len() < MAX_STATEMENTS && known.insert(key(&one)) {
            all.push(Learned { first_seen: seen.clone(), ..one });
        }
    }
    if all.len() == before {
        return Ok(0);
    }
    // A reader never sees half of it.
    let half = file.with_extension("toml.new");
    fs::write(&half, write_learned(&all))
        .and_then(|()| fs::rename(&half, file))
        .map_err(|error| error.to_string())?;
    Ok(all.len() - before)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn one(fingerprint: u64, user: &str) -> Learned {
        Learned {
            fingerprint,
            user: user.into(),
            database: "shop".into(),
            normalized: "SELECT \"a\\b\" -- 'x'".into(),
            first_seen: None,
        }
    }

    #[test]
    fn statements_are_added_once_and_what_was_there_stays() {
        let directory = std::env::temp_dir().join(format!("pgsluice-learned-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let file = directory.join("seen.toml");
        assert_eq!(add(&file, vec![one(1, "a"), one(2, "a"), one(1, "a")], 0), Ok(2));
        assert_eq!(add(&file, vec![one(2, "a"), one(2, "b")], 60), Ok(1));
        let text = fs::read_to_string(&file).unwrap();
        let found = read_learned(&Source::new("seen.toml", text.as_str())).unwrap();
        assert_eq!(found.len(), 3);
        assert_eq!(found[0].first_seen.as_deref(), Some("1970-01-01T00:00:00Z"));
        assert_eq!(found[0].normalized, one(1, "a").normalized);
        fs::write(&file, "not toml = =").unwrap();
        assert!(add(&file, vec![one(9, "a")], 0).is_err());
        assert_eq!(fs::read_to_string(&file).unwrap(), "not toml = =", "a broken file is left alone");
        fs::remove_dir_all(&directory).unwrap();
    }
}
