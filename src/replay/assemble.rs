//! From messages to runs of statements. `log_statement` writes the statement when it begins, `log_duration` how long it
//! took when it has ended, and an error stands between them or alone.

use std::collections::{HashMap, VecDeque};

use super::line::{Line, Severity};
use super::message::{self, Said};
use super::{Entry, Item};

/// Statements that wait for their duration; one a session.
const MAX_PENDING: usize = 65_536;

#[derive(Debug, Default)]
pub(super) struct Assembler {
    pending: HashMap<u64, Entry>,
    /// Durations of what was not logged.
    pub(super) bare: u64,
}

impl Assembler {
    pub(super) fn take(&mut self, line: &Line<'_>, out: &mut VecDeque<Item>) {
        match line.severity {
            Severity::Log => self.log(line, out),
            Severity::Error => self.error(line, out),
            Severity::Other => {}
        }
    }

    fn log(&mut self, line: &Line<'_>, out: &mut VecDeque<Item>) {
        let (sql, seconds, calls) = match message::read(line.message) {
            Said::Statement { sql, seconds } => (sql, seconds, 1),
            Said::Fetch { sql, seconds } => (sql, seconds, 0),
            Said::Duration(seconds) => {
                match self.pending.remove(&line.session) {
                    Some(entry) => out.push_back(Item::Entry(Entry { seconds: Some(seconds), ..entry })),
                    // Parse and Bind have durations of their own under log_duration.
                    None => self.bare += 1,
                }
                return;
            }
            Said::Other => return,
        };
        let params = message::params(line.detail);
        let entry = Entry { seconds, calls, params, ..line.entry(sql) };
        let before = self.pending.remove(&line.session);
        out.extend(before.map(Item::Entry));
        if seconds.is_some() {
            out.push_back(Item::Entry(entry));
            return;
        }
        if self.pending.len() >= MAX_PENDING {
            self.finish(out);
        }
        self.pending.insert(line.session, entry);
    }

    fn error(&mut self, line: &Line<'_>, out: &mut VecDeque<Item>) {
        if let Some(entry) = self.pending.remove(&line.session) {
            let same = line.statement.is_empty() || line.statement == entry.sql;
            out.push_back(Item::Entry(Entry { failed: same, ..entry }));
            if same {
                return;
            }
        }
        if !line.statement.is_empty() {
            let params = message::params(line.context).or_else(|| message::params(line.detail));
            out.push_back(Item::Entry(Entry { failed: true, params, ..line.entry(line.statement) }));
        }
    }

    /// Nothing follows.
    pub(super) fn finish(&mut self, out: &mut VecDeque<Item>) {
        let mut rest: Vec<Entry> = self.pending.drain().map(|(_, entry)| entry).collect();
        rest.sort_by_key(|entry| entry.line);
        out.extend(rest.into_iter().map(Item::Entry));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(lines: &[(Severity, u64, &str, &str)]) -> Vec<(String, Option<f64>, bool)> {
        let (mut assembler, mut out) = (Assembler::default(), VecDeque::new());
        for (severity, session, message, statement) in lines {
            let (message, statement) = (message.as_bytes(), statement.as_bytes());
            let line = Line { severity: *severity, session: *session, message, statement, ..Line::default() };
            assembler.take(&line, &mut out);
        }
        assembler.finish(&mut out);
        let run = |item| match item {
            Item::Entry(e) => Some((String::from_utf8_lossy(&e.sql).into_owned(), e.seconds, e.failed)),
            Item::Broken(_) => None,
        };
        out.into_iter().filter_map(run).collect()
    }

    #[test]
    fn a_statement_finds_its_duration_among_other_sessions() {
        use Severity::{Error, Log};
        let found = runs(&[
            (Log, 1, "statement: A", ""),
            (Log, 2, "statement: B", ""),
            (Log, 2, "duration: 2000 ms", ""),
            (Log, 1, "duration: 1000 ms", ""),
            (Log, 1, "duration: 5 ms", ""),
            (Log, 1, "statement: C", ""),
            (Error, 1, "division by zero", "C"),
            (Error, 1, "syntax error", "D"),
            (Log, 2, "statement: E", ""),
            (Error, 2, "other", "F"),
            (Log, 3, "execute s: G", ""),
        ]);
        let run = |sql: &str, seconds, failed| (sql.to_owned(), seconds, failed);
        let expected = [
            run("B", Some(2.0), false),
            run("A", Some(1.0), false),
            run("C", None, true),
            run("D", None, true),
            run("E", None, false),
            run("F", None, true),
            run("G", None, false),
        ];
        assert_eq!(found, expected);
    }
}
