//! Where PostgreSQL's programs are.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::Error;

/// Oldest version that is supported.
const OLDEST: u32 = 13;

/// The directory with `postgres`, `initdb` and the rest of one installation.
#[derive(Clone, Debug)]
pub struct Binaries {
    directory: PathBuf,
    major: u32,
}

impl Binaries {
    /// The installation `PG_CONFIG` names; without it the newest of those on the `PATH` and in the
    /// directories where distributions keep them.
    pub fn find() -> Result<Self, Error> {
        if let Some(config) = std::env::var_os("PG_CONFIG") {
            return Self::of_pg_config(&config)
                .ok_or_else(|| Error::BadPgConfig(config.to_string_lossy().into_owned()));
        }
        let places = places();
        let found = places.iter().filter_map(|d| Self::at(d)).max_by_key(|b| b.major);
        found.ok_or_else(|| {
            let looked: Vec<_> = places.iter().map(|p| p.display().to_string()).collect();
            Error::NoPostgres { looked: looked.join(", ") }
        })
    }

    fn of_pg_config(config: &std::ffi::OsStr) -> Option<Self> {
        let output = Command::new(config).arg("--bindir").output().ok()?;
        Self::at(Path::new(String::from_utf8(output.stdout).ok()?.trim()))
    }

    fn at(directory: &Path) -> Option<Self> {
        if !["postgres", "initdb", "pg_basebackup"].iter().all(|p| directory.join(p).is_file()) {
            return None;
        }
        let output = Command::new(directory.join("postgres")).arg("--version").output().ok()?;
        let major = major(&String::from_utf8_lossy(&output.stdout))?;
        (major >= OLDEST).then(|| Self { directory: directory.to_owned(), major })
    }

    /// Path of a program: `pgbench`, `psql`, …
    #[must_use]
    pub fn path(&self, program: &str) -> PathBuf {
        self.directory.join(program)
    }

    /// 15, 18, …
    #[must_use]
    pub fn major(&self) -> u32 {
        self.major
    }
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
    #[test]
    fn the_major_version_is_read() {
        assert_eq!(super::major("postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)\n"), Some(15));
        assert_eq!(super::major("postgres (PostgreSQL) 18beta1\n"), Some(18));
        assert_eq!(super::major("nonsense"), None);
    }
}
