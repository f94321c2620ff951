//! A base backup of a running server, taken as PostgreSQL's manual says for those who copy the files themselves: for
//! installations that have the server's programs and no `pg_basebackup`, and of every version.

use std::fs::Metadata;
use std::os::unix::fs::lchown;
use std::path::{Path, PathBuf};

use super::user::{self, Account};
use super::{Error, server, session, tree};

/// A data directory to copy, and what its copy is to be called.
pub(super) struct Source<'a> {
    /// Of the superuser.
    pub url: &'a str,
    pub major: u32,
    pub data: PathBuf,
    /// Of the replication slot that keeps the log for the copy.
    pub slot: &'a str,
}

/// Fills the directory `to` with a copy that begins to recover at the right place.
pub(super) fn take(source: &Source<'_>, to: &Path, account: Option<&Account>) -> Result<(), Error> {
    // Renamed in 15, together with the other way to make one going.
    let (start, stop) = match source.major {
        ..15 => ("pg_start_backup('copy', true, false)", "pg_stop_backup(false, false)"),
        _ => ("pg_backup_start('copy', true)", "pg_backup_stop(false)"),
    };
    let slot = format!("SELECT pg_create_physical_replication_slot('{}', true)", source.slot);
    let (start, stop) = (format!("SELECT {start}"), format!("SELECT labelfile FROM {stop}"));
    // One session from start to end: the server takes the backup back with it.
    let label = session(source.url, async |client| {
        let ask = async |sql: &str| client.simple_query(sql).await.map_err(Error::sql("backing up"));
        ask(&slot).await?;
        ask(&start).await?;
        tree::copy(&source.data, to, &Files { account })?;
        let rows = ask(&stop).await?;
        let label = rows.iter().find_map(|message| match message {
            tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
            _ => None,
        });
        Ok(label.unwrap_or_default())
    })?;
    let path = to.join("backup_label");
    server::write_file(&path, &label, 0o600)?;
    user::give(&path, account)
}

/// Directories of which the copy needs no contents: another server's log, slots and passing state.
const EMPTIED: &[&str] = &[
    "pg_wal",
    "pg_replslot",
    "pg_dynshmem",
    "pg_notify",
    "pg_serial",
    "pg_snapshots",
    "pg_stat_tmp",
    "pg_subtrans",
];

struct Files<'a> {
    account: Option<&'a Account>,
}

impl tree::Copying for Files<'_> {
    fn takes(&self, path: &Path) -> bool {
        let emptied = path.parent().is_some_and(|parent| EMPTIED.iter().any(|d| parent == Path::new(d)));
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        !emptied && !name.starts_with("postmaster.") && !name.starts_with("pgsql_tmp")
    }

    fn file(&self, from: &Path, to: &Path) -> std::io::Result<()> {
        std::fs::copy(from, to).map(drop)
    }

    fn made(&self, to: &Path, of: &Metadata) -> std::io::Result<()> {
        if of.is_dir() {
            std::fs::set_permissions(to, of.permissions())?;
        }
        self.account.map_or(Ok(()), |account| lchown(to, Some(account.uid), Some(account.gid)))
    }
}
