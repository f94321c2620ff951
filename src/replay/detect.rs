//! Which format a file has, from its first bytes.

use super::csv::{Record, Step};
use super::prefix::{Prefix, guess};
use super::{csvlog, tables};

/// The formats that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `log_destination = csvlog`.
    Csvlog,
    /// `log_destination = jsonlog`.
    Jsonlog,
    /// `log_destination = stderr`, whatever wrote it to a file.
    Stderr,
    /// `pg_stat_statements` as CSV with a header.
    Statements,
    /// pgsluice's own query log.
    Pgsluice,
}

impl Format {
    /// By name, as `--format` has it.
    pub const NAMES: [(&'static str, Self); 5] = [
        ("csvlog", Self::Csvlog),
        ("jsonlog", Self::Jsonlog),
        ("stderr", Self::Stderr),
        ("pg_stat_statements", Self::Statements),
        ("pgsluice", Self::Pgsluice),
    ];

    /// As `--format` has it.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, format)| *format == self).map_or("", |(name, _)| name)
    }
}

/// The format of a file that begins so; a first line that was cut does not confuse. `None` if it looks like none.
#[must_use]
pub fn detect(sample: &[u8]) -> Option<Format> {
    let sample = sample.strip_prefix(b"\xef\xbb\xbf").unwrap_or(sample);
    let mut header = Record::default();
    if let Step::Record { .. } = header.read(sample, true)
        && tables::Columns::of(&header).is_some()
    {
        return Some(Format::Statements);
    }
    let prefixes = Prefix::usual();
    sample.split(|byte| *byte == b'\n').take(10_000).find_map(|line| {
        if csvlog::begins(line) {
            return Some(Format::Csvlog);
        }
        if line.starts_with(b"{") {
            let has = |key: &[u8]| memchr::memmem::find(line, key).is_some();
            if has(b"\"error_severity\"") && has(b"\"timestamp\"") {
                return Some(Format::Jsonlog);
            }
            return has(b"\"sql\"").then_some(Format::Pgsluice);
        }
        let known = prefixes.iter().any(|prefix| prefix.split(line).is_some());
        (known || guess(line).is_some()).then_some(Format::Stderr)
    })
}
