//! What a session did before a statement, as far as its log tells: for rules that read it. Exact where every statement is
//! logged.

use std::collections::HashMap;

use super::Entry;
use crate::guard::{Judgement, Kind, SessionFacts};

/// Sessions that are followed at once.
const MAX_SESSIONS: usize = 20_000;
/// Fingerprints that are remembered of each.
const MAX_SEEN: usize = 32;
/// Outside of a transaction repeats count that follow the first within so many microseconds.
const WINDOW: i64 = 10_000_000;

#[derive(Debug, Default)]
pub(super) struct Sessions(HashMap<u64, Session>);

#[derive(Debug, Default)]
struct Session {
    /// When the open transaction began.
    began: Option<i64>,
    statements: u32,
    wrote: bool,
    /// When the last statement ended.
    ended: i64,
    lock_timeout: bool,
    statement_timeout: bool,
    seen: Vec<Seen>,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    fingerprint: u64,
    values: u64,
    since: i64,
    count: u32,
}

impl Sessions {
    /// Before the statement; and notes that it ran.
    pub(super) fn facts(&mut self, entry: &Entry, judgement: &Judgement) -> SessionFacts {
        if self.0.len() >= MAX_SESSIONS && !self.0.contains_key(&entry.session) {
            self.0.clear();
        }
        let session = self.0.entry(entry.session).or_default();
        let end = entry.time.unwrap_or(session.ended);
        let micros = (entry.seconds.unwrap_or(0.0) * 1e6) as i64;
        let start = end.saturating_sub(micros);
        let facts = session.before(start, entry, judgement);
        session.after(start, end, entry, judgement);
        facts
    }
}

fn seconds(micros: i64) -> f64 {
    micros.max(0) as f64 / 1e6
}

impl Session {
    fn before(&self, now: i64, entry: &Entry, judgement: &Judgement) -> SessionFacts {
        let open = self.began.is_some();
        let known = self.seen.iter().find(|seen| {
            seen.fingerprint == judgement.fingerprint && (open || now.saturating_sub(seen.since) <= WINDOW)
        });
        SessionFacts {
            in_transaction: open,
            transaction_seconds: self.began.map_or(0.0, |began| seconds(now - began)),
            transaction_statements: self.statements,
            idle_seconds: if open { seconds(now - self.ended) } else { 0.0 },
            transaction_wrote: self.wrote,
            lock_timeout_set: self.lock_timeout,
            statement_timeout_set: self.statement_timeout,
            repeats: known.map_or(0, |seen| seen.count + u32::from(seen.values != values(entry))),
            repeat_seconds: known.map_or(0.0, |seen| seconds(now - seen.since)),
            ..SessionFacts::blank()
        }
    }

    fn after(&mut self, start: i64, end: i64, entry: &Entry, judgement: &Judgement) {
        self.ended = end;
        if judgement.transaction_control {
            match control(&entry.sql) {
                Some(true) if self.began.is_none() => self.enter(Some(start)),
                Some(false) => self.enter(None),
                _ => {}
            }
        }
        if judgement.kind == Kind::Transaction {
            return;
        }
        if self.began.is_some() {
            self.statements += 1;
            self.wrote |= !judgement.read_only && !matches!(judgement.kind, Kind::Set | Kind::Show);
        }
        for name in &judgement.settings {
            let text = entry.sql.trim_ascii_end();
            let text = text.strip_suffix(b";").unwrap_or(text).trim_ascii_end().to_ascii_lowercase();
            let off = [&b" 0"[..], b"=0", b"'0'", b"default"].iter().any(|end| text.ends_with(end));
            let set = !off && !text.starts_with(b"reset");
            match &**name {
                "lock_timeout" => self.lock_timeout = set,
                "statement_timeout" => self.statement_timeout = set,
                _ => {}
            }
        }
        self.saw(start, entry, judgement.fingerprint);
    }

    fn enter(&mut self, began: Option<i64>) {
        (self.began, self.statements, self.wrote) = (began, 0, false);
        self.seen.clear();
    }

    fn saw(&mut self, now: i64, entry: &Entry, fingerprint: u64) {
        let (values, open) = (values(entry), self.began.is_some());
        if let Some(seen) = self.seen.iter_mut().find(|seen| seen.fingerprint == fingerprint) {
            if !open && now.saturating_sub(seen.since) > WINDOW {
                *seen = Seen { fingerprint, values, since: now, count: 0 };
            } else {
                seen.count += u32::from(seen.values != values);
                seen.values = values;
            }
            return;
        }
        if self.seen.len() >= MAX_SEEN {
            self.seen.remove(0);
        }
        self.seen.push(Seen { fingerprint, values, since: now, count: 0 });
    }
}

/// What tells one run of a fingerprint from another.
fn values(entry: &Entry) -> u64 {
    let mut all = entry.sql.clone();
    for value in entry.params.iter().flatten() {
        all.push(0);
        all.extend_from_slice(value.as_deref().unwrap_or(b"\0"));
    }
    Entry::number(&all)
}

/// What its last word on transactions leaves: true if one is open, false if none, `None` if it says nothing.
fn control(sql: &[u8]) -> Option<bool> {
    let statements = sql.split(|byte| *byte == b';').map(|text| text.trim_ascii().to_ascii_lowercase());
    let mut said = statements.filter_map(|text| {
        let mut words = text.split(|byte| !byte.is_ascii_alphabetic()).filter(|word| !word.is_empty());
        match words.next()? {
            b"begin" | b"start" => Some(true),
            b"commit" | b"end" | b"abort" | b"rollback" => {
                let words: Vec<&[u8]> = words.collect();
                let chained = words.ends_with(&[b"and", b"chain"]);
                (!words.contains(&b"to".as_slice())).then_some(chained)
            }
            b"prepare" if words.next() == Some(b"transaction") => Some(false),
            _ => None,
        }
    });
    said.next_back()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_on_transactions_are_understood() {
        let cases: [(&str, Option<bool>); 8] = [
            ("BEGIN", Some(true)),
            ("start transaction read only", Some(true)),
            ("COMMIT;", Some(false)),
            ("ROLLBACK TO SAVEPOINT a", None),
            ("COMMIT AND CHAIN", Some(true)),
            ("BEGIN; SELECT 1; COMMIT", Some(false)),
            ("PREPARE TRANSACTION 'x'", Some(false)),
            ("SAVEPOINT a", None),
        ];
        for (sql, expected) in cases {
            assert_eq!(control(sql.as_bytes()), expected, "{sql}");
        }
    }
}
