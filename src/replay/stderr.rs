//! A log as PostgreSQL writes it to stderr: a prefix, a level, a text; further lines of a text begin with a tab, and
//! DETAIL, CONTEXT, STATEMENT follow as lines of their own.

use super::Entry;
use super::csv::MAX_RECORD;
use super::line::{Line, Severity};
use super::prefix::{Mark, Prefix, Split, Tags, guess};
use super::time::Clock;

/// What a physical line was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Took {
    /// The next message begins here: the one before is whole.
    Next,
    Part,
    Nothing,
    TooLong,
}

/// The message that is being read.
#[derive(Debug, Default)]
struct Message {
    number: u64,
    time: Option<i64>,
    pid: Vec<u8>,
    session: u64,
    user: Vec<u8>,
    database: Vec<u8>,
    application: Vec<u8>,
    address: Vec<u8>,
    severity: Severity,
    texts: [Vec<u8>; 4],
}

const TEXT: usize = 0;
const DETAIL: usize = 1;
const CONTEXT: usize = 2;
const STATEMENT: usize = 3;

#[derive(Debug)]
pub(super) struct Stderr {
    prefixes: Vec<Prefix>,
    current: Option<Message>,
    /// Where a further line goes.
    part: Option<usize>,
}

impl Stderr {
    pub(super) fn new(prefix: Option<Prefix>) -> Self {
        let prefixes = prefix.map_or_else(Prefix::usual, |prefix| vec![prefix]);
        Self { prefixes, current: None, part: None }
    }

    fn split<'a>(&mut self, line: &'a [u8]) -> Option<Split<'a>> {
        let at = self.prefixes.iter().position(|prefix| prefix.split(line).is_some());
        match at {
            Some(at) => {
                let split = self.prefixes[at].split(line);
                // A line with little in it fits several; only one that names its client settles which it is.
                if at > 0 && split.is_some_and(|(tags, ..)| !tags.user.is_empty()) {
                    self.prefixes[..=at].rotate_right(1);
                }
                split
            }
            None => guess(line),
        }
    }

    /// Reads a line. On [`Took::Next`] the message before must be taken with [`Stderr::finish`], and the line be given
    /// again.
    pub(super) fn take(&mut self, line: &[u8], number: u64, clock: &mut Clock) -> Took {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if let Some(more) = line.strip_prefix(b"\t") {
            return self.append(more);
        }
        let Some((tags, mark, text)) = self.split(line) else { return Took::Nothing };
        let part = match mark {
            Mark::Level(_) if self.current.is_some() => return Took::Next,
            Mark::Level(severity) => {
                self.current = Some(message(&tags, severity, number, clock));
                Some(TEXT)
            }
            Mark::Detail => Some(DETAIL),
            Mark::Context => Some(CONTEXT),
            Mark::Statement => Some(STATEMENT),
            Mark::Unread => None,
        };
        // Another process's line may stand between.
        let ours = self.current.as_ref().is_some_and(|current| current.pid == tags.pid);
        self.part = part.filter(|_| ours);
        if let (Some(part), Some(current)) = (self.part, &mut self.current) {
            current.texts[part].clear();
            current.texts[part].extend_from_slice(text);
        }
        Took::Part
    }

    fn append(&mut self, more: &[u8]) -> Took {
        let Some(current) = &mut self.current else { return Took::Nothing };
        if let Some(part) = self.part {
            if current.texts[part].len() + more.len() > MAX_RECORD {
                self.part = None;
                return Took::TooLong;
            }
            current.texts[part].push(b'\n');
            current.texts[part].extend_from_slice(more);
        }
        Took::Part
    }

    /// The message that is whole now.
    pub(super) fn finish(&mut self, with: impl FnOnce(&Line<'_>)) {
        let Some(message) = self.current.take() else { return };
        self.part = None;
        with(&Line {
            number: message.number,
            time: message.time,
            session: message.session,
            user: &message.user,
            database: &message.database,
            application: &message.application,
            address: &message.address,
            severity: message.severity,
            message: &message.texts[TEXT],
            detail: &message.texts[DETAIL],
            context: &message.texts[CONTEXT],
            statement: &message.texts[STATEMENT],
        });
    }
}

fn message(tags: &Tags<'_>, severity: Severity, number: u64, clock: &mut Clock) -> Message {
    let epoch = || {
        let seconds: f64 = std::str::from_utf8(tags.epoch).ok()?.parse().ok()?;
        Some((seconds * 1e6).round() as i64)
    };
    Message {
        number,
        time: if tags.time.is_empty() { epoch() } else { clock.micros(tags.time) },
        pid: tags.pid.to_vec(),
        session: Entry::number(if tags.session.is_empty() { tags.pid } else { tags.session }),
        user: tags.user.to_vec(),
        database: tags.database.to_vec(),
        application: tags.application.to_vec(),
        address: tags.address.to_vec(),
        severity,
        texts: Default::default(),
    }
}
