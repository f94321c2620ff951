//! A message of a server's log, whatever the form it was written in.

use super::Entry;

/// Levels, as far as they differ here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Severity {
    Log,
    /// ERROR, FATAL, PANIC: a statement beside it has failed.
    Error,
    #[default]
    Other,
}

impl Severity {
    pub(super) fn of(name: &[u8]) -> Self {
        match name {
            b"LOG" => Self::Log,
            b"ERROR" | b"FATAL" | b"PANIC" => Self::Error,
            _ => Self::Other,
        }
    }
}

/// A message; its texts stay where the reader has them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Line<'a> {
    pub(super) number: u64,
    pub(super) time: Option<i64>,
    pub(super) session: u64,
    pub(super) user: &'a [u8],
    pub(super) database: &'a [u8],
    pub(super) application: &'a [u8],
    pub(super) address: &'a [u8],
    pub(super) severity: Severity,
    pub(super) message: &'a [u8],
    pub(super) detail: &'a [u8],
    pub(super) context: &'a [u8],
    /// What ran, beside an error.
    pub(super) statement: &'a [u8],
}

impl Line<'_> {
    /// One run of a statement, by whoever logged this.
    pub(super) fn entry(&self, sql: &[u8]) -> Entry {
        let text = |bytes: &[u8]| -> Box<str> { String::from_utf8_lossy(bytes).into() };
        Entry {
            line: self.number,
            time: self.time,
            session: self.session,
            user: text(self.user),
            database: text(self.database),
            application: text(self.application),
            address: text(self.address),
            sql: sql.to_vec(),
            calls: 1,
            ..Entry::default()
        }
    }
}
