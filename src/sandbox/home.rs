//! The directory a sandbox lives in, and who clears it away.

use std::fs::{DirBuilder, File};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};

use super::user::{self, Account};
use super::{Binaries, Error, random_hex, run};

const PREFIX: &str = "pgsluice-sandbox-";

/// Waits for the end of its input, which comes when the owner closes the pipe or dies, however it dies. Then
/// stops what still runs in the directory `$1` and removes it.
const WATCHDOG: &str = r#"
trap '' INT TERM HUP
while read -r _; do :; done
case "$1" in */pgsluice-sandbox-*) ;; *) exit 1 ;; esac
pids=
for f in "$1"/pids/*; do
    [ -f "$f" ] && pids="$pids ${f##*/}" && kill -TERM "${f##*/}"
done
for f in "$1"/*/data/postmaster.pid; do
    [ -f "$f" ] && read -r pid < "$f" && pids="$pids $pid" && kill -QUIT "$pid"
done
for pid in $pids; do
    n=0
    while kill -0 "$pid" && [ $n -lt 50 ]; do sleep 0.1; n=$((n + 1)); done
    [ $n -lt 50 ] || kill -KILL "$pid"
done
rm -rf "$1"
"#;

/// A temporary directory with a watchdog that stops and removes everything in it when we end.
#[derive(Debug)]
pub struct Home {
    path: PathBuf,
    account: Option<Account>,
    binaries: Binaries,
    watchdog: Child,
    /// Locked as long as we live: others can tell that the directory is in use.
    _lock: File,
}

impl Home {
    /// Makes the directory, after clearing away those whose owners are gone.
    pub fn create() -> Result<Self, Error> {
        let binaries = Binaries::find()?;
        let account = user::account()?;
        let parent = std::env::temp_dir();
        clear_leftovers(&parent);
        let path = parent.join(format!("{PREFIX}{}-{}", std::process::id(), &random_hex()?[..8]));
        make_directory(&path)?;
        let lock = File::create(path.join("owner.lock")).map_err(Error::io("making a lock file"))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .map_err(|e| Error::io("locking the sandbox")(e.into()))?;
        user::give(&path, account.as_ref())?;
        let watchdog = watch(&path)?;
        let mut home = Self { path, account, binaries, watchdog, _lock: lock };
        home.check_reachable()?;
        home.binaries = home.binaries.clone().reachable(home.account(), &home.path)?;
        make_directory(&home.path.join("pids"))?;
        Ok(home)
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    #[must_use]
    pub fn binaries(&self) -> &Binaries {
        &self.binaries
    }

    /// Whom programs of this sandbox run as; `None`: as we do.
    #[must_use]
    pub fn account(&self) -> Option<&Account> {
        self.account.as_ref()
    }

    /// A directory inside, owned by the account.
    pub fn directory(&self, name: &str) -> Result<PathBuf, Error> {
        let path = self.path.join(name);
        make_directory(&path)?;
        user::give(&path, self.account())?;
        Ok(path)
    }

    /// A command as the sandbox's account, in the sandbox's directory.
    #[must_use]
    pub fn command(&self, program: &Path) -> Command {
        user::command(program, self.account(), &self.path)
    }

    /// The watchdog also ends this process, should we die before the returned value is dropped.
    pub fn adopt(&self, pid: u32) -> Result<Adopted, Error> {
        let path = self.path.join("pids").join(pid.to_string());
        File::create(&path).map_err(Error::io("noting a process for the watchdog"))?;
        Ok(Adopted(path))
    }

    /// The account must be able to enter every directory on the way here.
    fn check_reachable(&self) -> Result<(), Error> {
        let Some(account) = &self.account else { return Ok(()) };
        let mut command = Command::new("test");
        command.arg("-w").arg(&self.path).uid(account.uid).gid(account.gid).current_dir("/");
        if command.status().map_err(Error::io("running `test`"))?.success() {
            return Ok(());
        }
        Err(Error::NotReachable { user: account.name.clone(), path: self.path.clone() })
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        drop(self.watchdog.stdin.take());
        if !matches!(run::wait(&mut self.watchdog, Duration::from_secs(20)), Ok(Some(_))) {
            let _ = self.watchdog.kill();
            let _ = self.watchdog.wait();
        }
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

/// A process the watchdog knows of.
#[derive(Debug)]
pub struct Adopted(PathBuf);

impl Drop for Adopted {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn make_directory(path: &Path) -> Result<(), Error> {
    let made = DirBuilder::new().mode(0o700).create(path);
    made.map_err(Error::io(format!("making the directory {}", path.display())))
}

fn watch(path: &Path) -> Result<Child, Error> {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", WATCHDOG, "pgsluice-sandbox-watchdog"]).arg(path);
    command
        .process_group(0)
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.spawn().map_err(Error::io("starting the watchdog"))
}

/// Removes sandboxes whose owner and watchdog were both killed. What can't be removed stays.
fn clear_leftovers(parent: &Path) {
    for entry in std::fs::read_dir(parent).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_name().to_string_lossy().starts_with(PREFIX) && is_leftover(&path) {
            // Its watchdog's work, done by a watchdog with nobody to wait for.
            if let Ok(mut watchdog) = watch(&path) {
                drop(watchdog.stdin.take());
                let _ = run::wait(&mut watchdog, Duration::from_secs(20));
            }
        }
    }
}

/// Older than a minute (a younger one may not be locked yet), and nobody holds its lock.
fn is_leftover(path: &Path) -> bool {
    let age = path.metadata().and_then(|m| m.modified()).ok().and_then(|t| t.elapsed().ok());
    if age.is_none_or(|a| a < Duration::from_secs(60)) {
        return false;
    }
    match File::open(path.join("owner.lock")) {
        Ok(lock) => flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok(),
        Err(e) => e.kind() == std::io::ErrorKind::NotFound,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_watchdog_ends_what_it_was_told_of_and_removes_the_directory() {
        let parent = std::env::temp_dir().join(format!("pgsluice-test-{}", std::process::id()));
        let path = parent.join(format!("{PREFIX}x"));
        std::fs::create_dir_all(path.join("pids")).unwrap();
        let mut sleeper = Command::new("sleep").arg("100").spawn().unwrap();
        File::create(path.join("pids").join(sleeper.id().to_string())).unwrap();
        let mut watchdog = watch(&path).unwrap();
        drop(watchdog.stdin.take());
        assert!(run::wait(&mut sleeper, Duration::from_secs(20)).unwrap().is_some());
        assert!(run::wait(&mut watchdog, Duration::from_secs(20)).unwrap().is_some());
        assert!(!path.exists());
        std::fs::remove_dir_all(&parent).unwrap();
    }
}
