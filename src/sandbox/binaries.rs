//! Where PostgreSQL's programs are.

use std::fs::{Metadata, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Account, Error, tree};

/// Oldest version that is supported.
const OLDEST: u32 = 13;

/// Names the installation to use: a version (`18`) or a directory.
const CHOICE: &str = "PGSLUICE_POSTGRES";

/// The directory with `postgres`, `initdb` and the rest of one installation.
#[derive(Clone, Debug)]
pub struct Binaries {
    directory: PathBuf,
    major: u32,
}

impl Binaries {
    /// The installation that `PGSLUICE_POSTGRES` or `PG_CONFIG` names; without them the newest of those on the `PATH`
    /// and in the directories where distributions keep them.
    pub fn find() -> Result<Self, Error> {
        if let Some(choice) = std::env::var_os(CHOICE).filter(|choice| !choice.is_empty()) {
            return Self::chosen(&choice.to_string_lossy());
        }
        if let Some(config) = std::env::var_os("PG_CONFIG") {
            return Self::of_pg_config(&config)
                .ok_or_else(|| Error::BadPgConfig(config.to_string_lossy().into_owned()));
        }
        let places = places();
        let found = places.iter().filter_map(|d| Self::at(d)).max_by_key(|b| b.major);
        found.ok_or_else(|| Error::NoPostgres { looked: listed(&places) })
    }

    /// Of a version: also those that `scripts/setup-postgres.sh` has put beside this program.
    fn chosen(choice: &str) -> Result<Self, Error> {
        let Ok(major) = choice.parse::<u32>() else {
            let directory = Path::new(choice);
            let found = Self::at(directory).or_else(|| Self::at(&directory.join("bin")));
            return found.ok_or_else(|| Error::BadPostgres(choice.to_owned()));
        };
        let program = std::env::current_exe().unwrap_or_default();
        let unpacked = program.ancestors().skip(1).map(|d| d.join(format!("postgres/{major}/bin")));
        let places: Vec<_> = unpacked.filter(|d| d.is_dir()).chain(places()).collect();
        let found = places.iter().filter_map(|d| Self::at(d)).find(|b| b.major == major);
        found.ok_or_else(|| Error::NoVersion { version: choice.to_owned(), looked: listed(&places) })
    }

    fn of_pg_config(config: &std::ffi::OsStr) -> Option<Self> {
        let output = Command::new(config).arg("--bindir").output().ok()?;
        Self::at(Path::new(String::from_utf8(output.stdout).ok()?.trim()))
    }

    fn at(directory: &Path) -> Option<Self> {
        if !["postgres", "initdb"].iter().all(|p| directory.join(p).is_file()) {
            return None;
        }
        let output = Command::new(directory.join("postgres")).arg("--version").output().ok()?;
        let major = major(&String::from_utf8_lossy(&output.stdout))?;
        (major >= OLDEST).then(|| Self { directory: directory.to_owned(), major })
    }

    /// Path of a program: `pgbench`, `psql`, … An installation that lacks it borrows the newest there is: clients talk
    /// to servers of other versions.
    #[must_use]
    pub fn path(&self, program: &str) -> PathBuf {
        let own = self.directory.join(program);
        if own.is_file() {
            return own;
        }
        let others = places().into_iter().filter(|place| place.join(program).is_file());
        let newest = others.filter_map(|place| Self::at(&place)).max_by_key(|other| other.major);
        newest.map_or(own, |other| other.directory.join(program))
    }

    /// Whether the installation has a program itself.
    #[must_use]
    pub fn has(&self, program: &str) -> bool {
        self.directory.join(program).is_file()
    }

    /// The same installation for `account`: a copy in `home`, unless the account can run it where it is.
    pub(super) fn reachable(self, account: Option<&Account>, home: &Path) -> Result<Self, Error> {
        let Some(account) = account else { return Ok(self) };
        let postgres = self.directory.join("postgres");
        let mut command = Command::new("test");
        command.arg("-x").arg(&postgres).uid(account.uid).gid(account.gid).current_dir("/");
        if command.status().map_err(Error::io("running `test`"))?.success() {
            return Ok(self);
        }
        // Programs look for their libraries and data beside themselves.
        let parent = self.directory.parent().filter(|_| self.directory.ends_with("bin"));
        let parent = parent.filter(|parent| PARTS.iter().all(|part| parent.join(part).is_dir()));
        let Some(parent) = parent else {
            return Err(Error::NotRunnable { user: account.name.clone(), path: postgres });
        };
        let copy = home.join("postgres");
        std::fs::create_dir(&copy).map_err(Error::io("making a directory for PostgreSQL's programs"))?;
        opened(&copy).map_err(Error::io("opening the directory of PostgreSQL's programs"))?;
        tree::copy(parent, &copy, &Installed)?;
        Ok(Self { directory: copy.join("bin"), major: self.major })
    }

    /// 15, 18, …
    #[must_use]
    pub fn major(&self) -> u32 {
        self.major
    }
}

/// What makes an installation that may be moved as a whole.
const PARTS: [&str; 3] = ["bin", "lib", "share"];

/// Files of an installation: linked where that is possible, copied where not.
struct Installed;

impl tree::Copying for Installed {
    fn takes(&self, path: &Path) -> bool {
        PARTS.iter().any(|part| path.starts_with(part))
    }

    fn file(&self, from: &Path, to: &Path) -> std::io::Result<()> {
        std::fs::hard_link(from, to).or_else(|_| std::fs::copy(from, to).map(drop))
    }

    fn made(&self, to: &Path, of: &Metadata) -> std::io::Result<()> {
        if of.is_dir() { opened(to) } else { Ok(()) }
    }
}

/// A directory that everybody may enter, whatever our umask.
fn opened(directory: &Path) -> std::io::Result<()> {
    std::fs::set_permissions(directory, Permissions::from_mode(0o755))
}

fn listed(places: &[PathBuf]) -> String {
    places.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(", ")
}

/// Every directory that may hold an installation, each once.
fn places() -> Vec<PathBuf> {
    let mut places: Vec<PathBuf> =
        std::env::var_os("PATH").map(|p| std::env::split_paths(&p).collect()).unwrap_or_default();
    // Debian and Ubuntu; Red Hat's packages by postgresql.org.
    for (parent, prefix) in [("/usr/lib/postgresql", ""), ("/usr", "pgsql-")] {
        let entries = std::fs::read_dir(parent).into_iter().flatten().flatten();
        for entry in entries.filter(|e| e.file_name().to_string_lossy().starts_with(prefix)) {
            places.push(entry.path().join("bin"));
        }
    }
    places.push("/usr/local/pgsql/bin".into());
    places.sort();
    places.dedup();
    places.retain(|p| p.is_dir());
    places
}

/// `postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)` -> 15; `18beta1` -> 18.
fn major(version: &str) -> Option<u32> {
    let number = version.split(") ").nth(1)?;
    let digits: String = number.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::sandbox::account;

    #[test]
    fn the_major_version_is_read() {
        assert_eq!(super::major("postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)\n"), Some(15));
        assert_eq!(super::major("postgres (PostgreSQL) 18beta1\n"), Some(18));
        assert_eq!(super::major("nonsense"), None);
    }

    #[test]
    fn what_was_chosen_and_is_not_there_is_said() {
        let version = Binaries::chosen("99").unwrap_err().to_string();
        assert!(version.contains("`scripts/setup-postgres.sh 99`"), "{version}");
        let directory = Binaries::chosen("/nowhere").unwrap_err().to_string();
        assert!(directory.contains("/nowhere"), "{directory}");
        let there = Binaries::find().unwrap();
        assert_eq!(Binaries::chosen(there.directory.to_str().unwrap()).unwrap().major(), there.major());
    }

    #[test]
    fn an_installation_in_a_closed_directory_is_copied_for_the_account() {
        let closed = std::env::temp_dir().join(format!("pgsluice-closed-{}", std::process::id()));
        let parent = closed.join("pg");
        for part in PARTS {
            std::fs::create_dir_all(parent.join(part)).unwrap();
        }
        std::fs::copy("/bin/true", parent.join("bin/postgres")).unwrap();
        std::fs::write(parent.join("lib/libx.so.1"), "x").unwrap();
        std::os::unix::fs::symlink("libx.so.1", parent.join("lib/libx.so")).unwrap();
        std::fs::write(parent.join("notes"), "of no use").unwrap();
        std::fs::set_permissions(&closed, Permissions::from_mode(0o700)).unwrap();
        let binaries = Binaries { directory: parent.join("bin"), major: 18 };
        let home = std::env::temp_dir().join(format!("pgsluice-open-{}", std::process::id()));
        std::fs::create_dir(&home).unwrap();
        opened(&home).unwrap();
        let account = account().unwrap();
        let lent = binaries.reachable(account.as_ref(), &home).unwrap();
        let copied = account.is_some();
        assert_eq!(
            lent.directory == home.join("postgres/bin"),
            copied,
            "root's servers run as somebody else"
        );
        if let Some(account) = account {
            let mut run = Command::new(lent.path("postgres"));
            assert!(run.uid(account.uid).gid(account.gid).status().unwrap().success());
            assert_eq!(std::fs::read_to_string(home.join("postgres/lib/libx.so")).unwrap(), "x");
            assert!(!home.join("postgres/notes").exists());
        }
        std::fs::remove_dir_all(&closed).unwrap();
        std::fs::remove_dir_all(&home).unwrap();
    }
}
