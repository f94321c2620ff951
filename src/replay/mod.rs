//! *Pure.* Yesterday's statements, from what servers logged: bytes of a log in, statements out, then what policies say
//! of them. Nothing here opens a file, asks a clock or a server.
//!
//! `detect` tells the formats apart; a [`Reader`] takes a file's bytes in pieces and gives [`Item`]s: `csv` splits
//! records, `csvlog`, `jsonlog`, `stderr` (with `prefix`) and `tables` know one format each, `message` reads what
//! PostgreSQL says of a statement, `assemble` puts a statement and its duration together. `judge` asks the guard,
//! `tally` adds up, `report` is what comes out.

mod assemble;
mod csv;
mod csvlog;
mod detect;
mod jsonlog;
mod judge;
mod line;
mod message;
mod prefix;
mod rates;
mod reader;
mod report;
mod session;
mod stderr;
mod tables;
mod tally;
mod time;

#[cfg(test)]
mod tests;

pub use detect::{Format, detect};
pub use judge::{Judged, Judges, Looked, PolicySet};
pub use prefix::{BadPrefix, Prefix};
pub use reader::{Item, Options, Reader};
pub use report::{
    ActionShare, ByApplication, ByFingerprint, ByRule, Difference, Move, Report, SetReport, Share, WithPlan,
};
pub use tally::{ACTIONS, Bounds, Tally};
pub use time::{Clock, moment, parse_zone};

/// A statement that a log speaks of, or many runs of one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Entry {
    /// Where it stands in its file, from 1.
    pub line: u64,
    /// When it was logged, in microseconds since 1970 UTC.
    pub time: Option<i64>,
    /// The same for all statements of one session.
    pub session: u64,
    pub user: Box<str>,
    pub database: Box<str>,
    pub application: Box<str>,
    /// Of the client, without its port.
    pub address: Box<str>,
    pub sql: Vec<u8>,
    /// Values of its parameters, as text; an inner `None` is NULL. `None` where they are not known.
    pub params: Option<Vec<Option<Vec<u8>>>>,
    /// Runs; 0 for what goes on with a run that was counted (further rows of a portal).
    pub calls: u64,
    /// Of all runs together.
    pub seconds: Option<f64>,
    /// Of all runs together.
    pub rows: Option<u64>,
    /// Of all runs together.
    pub bytes: Option<u64>,
    /// It ended with an error.
    pub failed: bool,
}

impl Entry {
    /// A number for a text: which session, which key.
    fn number(bytes: &[u8]) -> u64 {
        use std::hash::{BuildHasher, Hasher};
        let mut hasher = ahash::RandomState::with_seeds(2, 3, 5, 7).build_hasher();
        hasher.write(bytes);
        hasher.finish()
    }
}

/// What could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// From 1.
    pub line: u64,
    pub why: &'static str,
}
