//! What the shell must know of a server connection to bound a statement, and what a client is told when it went
//! beyond: in time, in rows, in bytes.

use super::Ledger;
use super::answers::Show;
use super::backend::{Backend, Desync};
use super::client::Session;
use super::expect::{Expect, Refusal};
use super::limits::{Limit, Watched};
use super::refuse::POISON;
use crate::wire::frame::HEADER;
use crate::wire::{backend as view, frontend, reply, sqlstate};

/// What the shell watches the time of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watch {
    /// Another number, another statement.
    pub number: u64,
    pub timeout: Option<std::time::Duration>,
}

impl Backend {
    /// How often a transaction ended.
    #[must_use]
    pub fn rests(&self) -> u64 {
        self.rests
    }

    /// A message to the client is not through yet.
    #[must_use]
    pub fn is_inside(&self) -> bool {
        self.rest > 0 && !self.rest_hidden
    }

    /// What runs is being cancelled because it took too long: the client is told so, not that it asked for it.
    pub fn overran(&mut self) {
        self.overran = !self.queue.is_empty();
    }

    /// The server's error in our words, where it is our doing.
    pub(super) fn worded<L: Ledger>(&mut self, body: &[u8], show: Show, ledger: &mut L) -> Show {
        let show = self.name_timeout(body, show, ledger);
        if self.error_skip {
            self.watched = None; // what is skipped has no end of its own
        }
        self.without_position(body, show)
    }

    /// The server knows only that somebody asked it to cancel.
    fn name_timeout<L: Ledger>(&mut self, body: &[u8], show: Show, ledger: &mut L) -> Show {
        if !matches!(show, Show::Pass) || self.farewell {
            return show;
        }
        let canceled = view::field(body, b'C') == Some(&sqlstate::QUERY_CANCELED);
        if let Some(watched) = self.watched.as_deref_mut().filter(|watched| !watched.told)
            && let Some(limit) = watched.over.or((watched.late && canceled).then_some(Limit::Timeout))
        {
            watched.told = true;
            return Show::Replace(watched.told_of(limit, false, ledger));
        }
        if !(canceled && std::mem::take(&mut self.overran)) {
            return show;
        }
        let message = "canceling statement due to statement timeout".to_owned();
        Show::Replace(Refusal::fixed(
            sqlstate::QUERY_CANCELED,
            message,
            Some("pgsluice's query_timeout ran out."),
        ))
    }

    /// The statement with limits that runs now, if there is one.
    #[must_use]
    #[inline]
    pub fn watch(&self) -> Option<Watch> {
        let watched = self.watched.as_deref()?;
        let timeout = watched.limits().and_then(|limits| limits.timeout).map(|bound| bound.at);
        Some(Watch { number: self.watches, timeout })
    }

    /// Its time has run out. True: a cancel hits it, and nothing else.
    pub fn is_late(&mut self) -> bool {
        let ours = self.queue.front().is_none_or(Expect::is_ours);
        let Some(watched) = self.watched.as_deref_mut().filter(|_| !ours) else { return false };
        watched.late |= watched.over.is_none();
        !watched.told
    }

    /// It sent more than it may, and is to be cancelled.
    #[inline]
    pub fn take_excess(&mut self) -> bool {
        std::mem::take(&mut self.excess)
    }

    /// What is to be sent to the server at once.
    #[inline]
    pub fn take_words(&mut self) -> Option<Vec<u8>> {
        (!self.says.is_empty()).then(|| std::mem::take(&mut self.says))
    }

    /// Whether this row, or piece of a COPY, may go to the client.
    pub(super) fn lets_pass(&mut self, tag: u8, total: usize, body: &[u8]) -> bool {
        let Some(watched) = self.watched.as_deref_mut() else { return true };
        if watched.over.is_some() {
            return false;
        }
        let trailer = tag == b'd' && watched.binary && body == [0xff, 0xff];
        let rows = watched.rows + u64::from(!trailer);
        let bytes = watched.bytes + total as u64;
        watched.over = watched.limits().and_then(|limits| match (limits.rows, limits.bytes) {
            (Some(most), _) if rows > most.at => Some(Limit::Rows),
            (_, Some(most)) if bytes > most.at => Some(Limit::Bytes),
            _ => None,
        });
        self.excess |= watched.over.is_some();
        if watched.over.is_none() {
            (watched.rows, watched.bytes) = (rows, bytes);
        }
        watched.over.is_none()
    }

    /// A message of a statement that is watched, after its rows were looked at. `None`: as of any other.
    pub(super) fn of_watched<L: Ledger>(
        &mut self,
        tag: u8,
        body: &[u8],
        s: &mut Session,
        ledger: &mut L,
    ) -> Result<Option<Show>, Desync> {
        let Some(watched) = self.watched.as_deref_mut() else { return Ok(None) };
        if watched.over.is_none() {
            match tag {
                b'd' | b'V' => {
                    let passes = self.lets_pass(tag, HEADER + body.len(), body);
                    return Ok((!passes).then_some(Show::Hide));
                }
                b'H' => watched.binary = body.first() == Some(&1),
                b'C' | b'I' | b's' if matches!(self.queue.front(), Some(Expect::Execute(_))) => {
                    if tag == b's' {
                        s.suspended(watched);
                    }
                    self.complete(tag, body, s, ledger)?;
                    if !self.queue.iter().any(|e| matches!(e, Expect::Sync)) {
                        self.watched = None;
                    }
                    return Ok(Some(Show::Pass));
                }
                _ => {}
            }
            return Ok(None);
        }
        match tag {
            b'T' | b'D' | b'd' | b'c' | b'H' | b'n' | b'V' => {}
            // The client will not hear that it is asked for data.
            b'G' | b'W' => {
                reply::message(&mut self.says, b'f', |out| out.extend_from_slice(b"pgsluice: over a limit\0"))
            }
            b'C' | b'I' | b's' => {
                self.failed = true;
                self.complete(tag, body, s, ledger)?;
                self.fail_in_place(ledger);
            }
            _ => return Ok(None),
        }
        Ok(Some(Show::Hide))
    }

    /// The statement had ended before a cancel could reach it: what follows it is made to fail.
    fn fail_in_place<L: Ledger>(&mut self, ledger: &mut L) {
        let ends = |e: &Expect| e.ends_ready() && !e.is_ours();
        if self.queue.iter().any(ends) {
            return; // there is still to come what it can be done behind
        }
        let Some(mut watched) = self.watched.take() else { return };
        let refusal = watched.over.map(|limit| watched.told_of(limit, false, ledger));
        let Some(refusal) = refusal else { return };
        frontend::put_parse(&mut self.says, b"", &[POISON, &[0, 0, 0]].concat());
        self.queue.push_back(Expect::Poison { refusal, query: false });
        self.unsynced = true;
        self.drop_unnamed();
    }

    /// At a ReadyForQuery of the client's: nothing is watched any more.
    pub(super) fn end_watch<L: Ledger>(&mut self, show: Show, ledger: &mut L) -> Show {
        let Some(mut watched) = self.watched.take() else { return show };
        let Some(limit) = watched.over.filter(|_| !watched.told) else { return show };
        let refusal = watched.told_of(limit, self.status == b'I', ledger);
        if self.status != b'T' {
            return Show::After(refusal);
        }
        frontend::put_query(&mut self.says, POISON);
        self.drop_unnamed();
        self.expect_end(Expect::Poison { refusal, query: true });
        Show::Hide
    }

    /// An error in what was sent in place of the client's text points nowhere in it.
    fn without_position(&self, body: &[u8], show: Show) -> Show {
        let rewritten = self.ended < self.rewritten && matches!(show, Show::Pass);
        if !rewritten || view::field(body, b'P').is_none() {
            return show;
        }
        let fields = body.split(|&b| b == 0).filter(|field| field.first().is_some_and(|&code| code != b'P'));
        let mut kept: Vec<u8> = fields.flat_map(|field| field.iter().copied().chain([0])).collect();
        kept.push(0);
        Show::Replace(Refusal::Servers(kept.into()))
    }
}

impl Watched {
    fn told_of<L: Ledger>(&mut self, limit: Limit, done: bool, ledger: &mut L) -> Refusal {
        self.told = true;
        let rule = self.rule(limit);
        ledger.limited(rule, self.limits().map_or("", |limits| limits.name(rule)), limit);
        self.refusal(limit, done)
    }

    fn rule(&self, limit: Limit) -> u32 {
        let limits = self.limits();
        let rule = match limit {
            Limit::Rows => limits.and_then(|l| l.rows).map(|b| b.rule),
            Limit::Bytes => limits.and_then(|l| l.bytes).map(|b| b.rule),
            _ => limits.and_then(|l| l.timeout).map(|b| b.rule),
        };
        rule.unwrap_or(u32::MAX)
    }
}
