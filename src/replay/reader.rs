//! One file: its bytes in pieces in, statements out. Holds one record, whatever the file's size.

use std::collections::VecDeque;

use super::assemble::Assembler;
use super::csv::{MAX_RECORD, Record, Step};
use super::detect::Format;
use super::prefix::Prefix;
use super::stderr::{Stderr, Took};
use super::tables::{self, Columns};
use super::time::Clock;
use super::{Broken, Entry, csvlog, jsonlog};

/// What comes out of a reader.
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    Entry(Entry),
    Broken(Broken),
}

/// How a file is to be read.
#[derive(Clone, Debug, Default)]
pub struct Options {
    pub clock: Clock,
    /// `log_line_prefix` of a stderr log; those in use are tried without it.
    pub prefix: Option<Prefix>,
}

/// Reads one file.
#[derive(Debug)]
pub struct Reader {
    format: Format,
    clock: Clock,
    buffer: Vec<u8>,
    /// What of the buffer was read.
    start: usize,
    /// What of the buffer holds no line's end, from `start` on.
    searched: usize,
    /// Lines that were read.
    line: u64,
    ended: bool,
    /// Looking for the next record or line behind a fault.
    lost: bool,
    record: Record,
    columns: Option<Columns>,
    stderr: Stderr,
    assembler: Assembler,
    ready: VecDeque<Item>,
}

impl Reader {
    #[must_use]
    pub fn new(format: Format, options: &Options) -> Self {
        Self {
            format,
            clock: options.clock.clone(),
            buffer: Vec::new(),
            start: 0,
            searched: 0,
            line: 0,
            ended: false,
            lost: false,
            record: Record::default(),
            columns: None,
            stderr: Stderr::new(options.prefix.clone()),
            assembler: Assembler::default(),
            ready: VecDeque::new(),
        }
    }

    /// More of the file.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.start);
        self.searched = self.searched.saturating_sub(self.start);
        self.start = 0;
        self.buffer.extend_from_slice(bytes);
        if self.line == 0 && self.buffer.starts_with(b"\xef\xbb\xbf") {
            self.buffer.drain(..3);
        }
    }

    /// There is no more.
    pub fn end(&mut self) {
        self.ended = true;
    }

    /// Lines that were read so far.
    #[must_use]
    pub fn lines(&self) -> u64 {
        self.line
    }

    /// Durations of statements that were not logged.
    #[must_use]
    pub fn bare_durations(&self) -> u64 {
        self.assembler.bare
    }

    /// The name of a time zone that nobody knows.
    #[must_use]
    pub fn unknown_zone(&self) -> Option<&str> {
        self.clock.unknown()
    }

    /// The next statement; `None` until more is pushed, or at the end.
    #[allow(clippy::should_implement_trait, reason = "an end is none for good only after `end`")]
    pub fn next(&mut self) -> Option<Item> {
        loop {
            if let Some(item) = self.ready.pop_front() {
                return Some(item);
            }
            let goes_on = match self.format {
                Format::Csvlog => self.csvlog(),
                Format::Statements => self.statements(),
                Format::Jsonlog | Format::Pgsluice | Format::Stderr => self.line(),
            };
            if goes_on || !self.ready.is_empty() {
                continue;
            }
            if !self.ended {
                return None;
            }
            let Self { stderr, assembler, ready, .. } = self;
            stderr.finish(|line| assembler.take(line, ready));
            assembler.finish(ready);
            if self.ready.is_empty() {
                return None;
            }
        }
    }

    fn broken(&mut self, why: &'static str) {
        self.ready.push_back(fault(self.line + 1, why));
    }

    /// So much was read. -> there may be more.
    fn took(&mut self, bytes: usize, lines: u64) -> bool {
        self.start += bytes;
        self.line += lines;
        true
    }

    /// What stands here is no record: the next one has to be found. -> there may be more.
    fn lose(&mut self, why: &'static str) -> bool {
        self.broken(why);
        self.lost = true;
        true
    }

    /// No line ends here any more: once the file has ended, what is left is nothing. -> there is no more for now.
    fn give_up_rest(&mut self) -> bool {
        if self.ended {
            self.line += u64::from(self.start < self.buffer.len());
            self.start = self.buffer.len();
        }
        false
    }

    /// A record of a csvlog. -> there may be more.
    fn csvlog(&mut self) -> bool {
        if self.lost && !self.find_record() {
            return false;
        }
        let rest = self.buffer.get(self.start..).unwrap_or_default();
        if rest.is_empty() {
            return false;
        }
        if !csvlog::begins(rest) {
            let seen = rest.len() >= 64 || self.ended || memchr::memchr(b'\n', rest).is_some();
            if seen {
                if !matches!(rest.first(), Some(b'\n' | b'\r')) {
                    self.broken("not the beginning of a csvlog's record");
                }
                self.lost = true;
            }
            return seen;
        }
        match self.record.read(rest, self.ended) {
            Step::More => false,
            Step::Record { bytes, lines } => {
                let number = self.line + 1;
                match csvlog::line(&self.record, number, &mut self.clock) {
                    Some(line) => self.assembler.take(&line, &mut self.ready),
                    None => {
                        self.broken("no record of a csvlog: too few columns, or no time in the first");
                        // What follows the first line may be a record that this one swallowed.
                        self.lost = true;
                        return true;
                    }
                }
                self.took(bytes, lines)
            }
            Step::Broken { why, .. } => self.lose(why),
        }
    }

    /// Goes on to the next line that looks like the beginning of a record.
    fn find_record(&mut self) -> bool {
        loop {
            let rest = self.buffer.get(self.start..).unwrap_or_default();
            let Some(end) = memchr::memchr(b'\n', rest) else {
                return self.give_up_rest();
            };
            let next = rest.get(end + 1..).unwrap_or_default();
            // Enough to see a time and a zone.
            if next.len() < 64 && memchr::memchr(b'\n', next).is_none() && !self.ended {
                return false;
            }
            self.lost = !csvlog::begins(next);
            self.took(end + 1, 1);
            if !self.lost {
                return true;
            }
        }
    }

    /// A row of pg_stat_statements.
    fn statements(&mut self) -> bool {
        if self.lost {
            let rest = self.buffer.get(self.start..).unwrap_or_default();
            let Some(end) = memchr::memchr(b'\n', rest) else {
                return self.give_up_rest();
            };
            self.took(end + 1, 1);
            self.lost = false;
        }
        let rest = self.buffer.get(self.start..).unwrap_or_default();
        if rest.is_empty() {
            return false;
        }
        match self.record.read(rest, self.ended) {
            Step::More => false,
            Step::Record { bytes, lines } => {
                match &self.columns {
                    _ if self.record.is_blank() => {}
                    None => match Columns::of(&self.record) {
                        Some(columns) => self.columns = Some(columns),
                        None => {
                            const WHY: &str = "no header with `query` and `calls`: write the CSV with HEADER";
                            self.ready.push_back(fault(self.line + 1, WHY));
                        }
                    },
                    Some(columns) => match tables::entry(columns, &self.record, self.line + 1) {
                        Ok(entry) => self.ready.extend(entry.map(Item::Entry)),
                        Err(why) => self.ready.push_back(fault(self.line + 1, why)),
                    },
                }
                self.took(bytes, lines)
            }
            Step::Broken { why, .. } => self.lose(why),
        }
    }

    /// A line of a log that has one message, or a part of one, a line.
    fn line(&mut self) -> bool {
        self.searched = self.searched.max(self.start);
        let found = memchr::memchr(b'\n', self.buffer.get(self.searched..).unwrap_or_default());
        let end = match found {
            Some(end) => self.searched + end,
            None if self.ended && self.start < self.buffer.len() => self.buffer.len(),
            None => {
                self.searched = self.buffer.len();
                self.drop_overlong();
                return false;
            }
        };
        let number = self.line + 1;
        if std::mem::take(&mut self.lost) {
            // The end of a line that was given up.
        } else if self.format == Format::Stderr {
            let Self { stderr, clock, assembler, ready, .. } = self;
            let line = self.buffer.get(self.start..end).unwrap_or_default();
            let mut took = stderr.take(line, number, clock);
            if took == Took::Next {
                stderr.finish(|line| assembler.take(line, ready));
                took = stderr.take(line, number, clock);
            }
            match took {
                Took::Nothing if !line.trim_ascii().is_empty() => {
                    self.broken("neither a log_line_prefix with a level nor a line that goes on");
                }
                Took::TooLong => self.broken("a message of more than 16 MB"),
                _ => {}
            }
        } else {
            self.json(end, number);
        }
        self.line = number;
        self.start = (end + 1).min(self.buffer.len());
        self.searched = self.start;
        true
    }

    fn json(&mut self, end: usize, number: u64) {
        let line = self.buffer.get(self.start..end).unwrap_or_default().trim_ascii();
        if line.is_empty() {
            return;
        }
        if self.format == Format::Pgsluice {
            let own = jsonlog::read::<jsonlog::Own>(line).ok_or("no JSON object with `sql`");
            match own.and_then(|own| own.entry(number)) {
                Ok(entry) => self.ready.push_back(Item::Entry(entry)),
                Err(why) => self.broken(why),
            }
            return;
        }
        let text = String::from_utf8_lossy(line);
        let read: Result<jsonlog::Server<'_>, _> = serde_json::from_str(&text);
        let known = read.ok();
        match known.as_ref().and_then(|server| server.line(number, &mut self.clock)) {
            Some(line) => self.assembler.take(&line, &mut self.ready),
            None => self.ready.push_back(fault(number, "no JSON object of a jsonlog")),
        }
    }

    fn drop_overlong(&mut self) {
        if self.buffer.len() - self.start > MAX_RECORD {
            if !self.lost {
                self.broken("a line of more than 16 MB");
            }
            self.lost = true;
            self.start = self.buffer.len();
            self.searched = self.start;
        }
    }
}

fn fault(line: u64, why: &'static str) -> Item {
    Item::Broken(Broken { line, why })
}
