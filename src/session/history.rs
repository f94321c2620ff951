//! What a session did before a statement, for rules that ask: kept only where the policies read it, in a fixed room.

use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::time::Duration;

use super::Ledger;
use super::backend::Backend;
use super::bind::BIND_LOOK_MAX;
use super::client::{Env, Mode, Session};
use super::names::Named;
use super::turn::{Flow, Turn};
use super::values;
use crate::guard::plan::Plan;
use crate::guard::{Circumstances, Effects, Judgement, Kind, SessionFacts, settle};

/// What a text with a setting of a session's or a transaction's has.
const SETS: Effects = Effects::SETTING
    .and(Effects::LOCAL_SETTING)
    .and(Effects::RESET)
    .and(Effects::RESET_ALL)
    .and(Effects::DISCARD_ALL);

/// Fingerprints that are remembered.
const REMEMBERED: usize = 32;
/// Outside of a transaction repeats count that follow the first within so long.
const WINDOW: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
pub(super) struct History {
    /// When the open transaction began, by the ledger's clock.
    began: Option<Duration>,
    /// Counts transactions.
    round: u64,
    statements: u32,
    /// A command of this answer ended the transaction, or (false) may have.
    left: Option<bool>,
    wrote: bool,
    /// When the last answer ended.
    answered: Duration,
    /// Timeouts that were set or reset, as far as the session's own settings do not tell of it yet.
    lock_timeout: Said,
    statement_timeout: Said,
    pinned: Option<Duration>,
    seen: Vec<Seen>,
    /// Rules that have spoken of the pause that goes on, and the generation of the policies they are of.
    pub(super) spoken: (u32, Vec<u32>),
}

/// What texts said of a timeout last: whether there is one.
#[derive(Clone, Copy, Debug, Default)]
struct Said {
    /// Until the transaction ends.
    local: Option<bool>,
    /// Until the server has been asked for the session's settings.
    session: Option<bool>,
    /// It is being asked for them, and nothing was said since.
    asked: bool,
}

impl Said {
    fn or(self, known: bool) -> bool {
        self.local.or(self.session).unwrap_or(known)
    }

    /// The settings tell of it by now, unless there is something newer.
    fn answered(&mut self) {
        if std::mem::take(&mut self.asked) {
            self.session = None;
        }
    }

    fn note(&mut self, text: &[u8], name: &str, effects: Effects) {
        let on = turns_on(text, name);
        self.asked = false;
        if effects.has_any(Effects::RESET_ALL.and(Effects::DISCARD_ALL)) {
            *self = Self { local: None, session: Some(false), asked: false };
        } else if effects.has_any(Effects::SETTING.and(Effects::RESET)) {
            // It also overrules what was local.
            self.local = self.local.filter(|_| on.is_none());
            self.session = on.or(self.session);
        } else {
            self.local = on.or(self.local);
        }
    }
}

/// A fingerprint that ran.
#[derive(Clone, Copy, Debug)]
struct Seen {
    fingerprint: u64,
    /// Of the last run.
    values: u64,
    last: Duration,
    /// Since when, and in which transaction, runs are counted.
    since: Duration,
    round: u64,
    /// Runs with other values than the one before.
    count: u32,
}

/// Of a text, or of a Bind's values: what tells a run from others of its fingerprint.
fn hash(bytes: &[u8]) -> u64 {
    let mut hash = ahash::RandomState::with_seeds(1, 3, 5, 7).build_hasher();
    hash.write(bytes);
    hash.finish()
}

impl Session {
    /// The verdict of this run. `values`: the text of a simple query, or what a Bind binds.
    pub(super) fn settled<L: Ledger>(
        &mut self,
        env: &mut Env<'_, L>,
        judgement: Arc<Judgement>,
        values: &[u8],
        params: Option<&[Option<&[u8]>]>,
        plan: Option<&Plan>,
    ) -> Arc<Judgement> {
        if !judgement.live.as_ref().is_some_and(|live| live.reads_more()) && judgement.canary.is_none() {
            return judgement;
        }
        let needs = env.guard.needs();
        let facts =
            needs.session.then(|| self.facts(env.ledger.clock(), judgement.fingerprint, hash(values)));
        let around = Circumstances {
            session: facts.as_ref(),
            now: needs.time.then(|| env.ledger.unix()),
            who: needs.share.then(|| env.ledger.share_key()),
            params,
            plan: plan.map(|plan| &plan.facts),
            advice: plan.map(|plan| &*plan.advice),
            ..Circumstances::default()
        };
        let settled = settle(&judgement, &around);
        if judgement.canary.is_some() {
            env.guard.try_run(&judgement, &settled, &around);
        }
        settled
    }

    pub(super) fn facts(&mut self, now: Duration, fingerprint: u64, values: u64) -> SessionFacts {
        let pins = self.pins();
        let in_force = |name: &str| self.settings.get(name).is_some_and(|value| !is_off(value));
        let (lock, statement) = (in_force("lock_timeout"), in_force("statement_timeout"));
        let history = self.history.get_or_insert_default();
        let since = |then: Option<Duration>| then.map_or(0.0, |then| now.saturating_sub(then).as_secs_f64());
        let known = history.seen.iter().find(|seen| seen.fingerprint == fingerprint);
        let known = known.filter(|seen| seen.counts(history.round, history.began.is_some(), now));
        SessionFacts {
            in_transaction: history.began.is_some(),
            transaction_seconds: since(history.began),
            transaction_statements: history.statements,
            idle_seconds: since(history.began.map(|_| history.answered)),
            transaction_wrote: history.wrote,
            lock_timeout_set: history.lock_timeout.or(lock),
            statement_timeout_set: history.statement_timeout.or(statement),
            repeats: known.map_or(0, |seen| seen.count + u32::from(seen.values != values)),
            repeat_seconds: known.map_or(0.0, |seen| since(Some(seen.since))),
            pins: Effects::PINS
                .iter()
                .filter(|(kind, _)| pins.has(*kind))
                .map(|(_, label)| (*label).to_owned())
                .collect(),
            pinned_seconds: since(history.pinned),
        }
    }

    /// It is on its way. `text`: of a simple query, or behind a name.
    pub(super) fn note_run<L: Ledger>(
        &mut self,
        env: &mut Env<'_, L>,
        judgement: &Judgement,
        values: &[u8],
        text: &[u8],
    ) {
        let needs = env.guard.needs();
        if !needs.session {
            return;
        }
        let now = env.ledger.clock();
        let history = self.history.get_or_insert_default();
        history.spoken.1.clear();
        if history.began.is_some() {
            history.statements += 1;
            history.wrote |=
                !judgement.read_only && !matches!(judgement.kind, Kind::Transaction | Kind::Set | Kind::Show);
        } else if judgement.transaction_control {
            history.begin(now); // if it is another, its answer says so
        }
        if judgement.effects.has_any(SETS) {
            history.lock_timeout.note(text, "lock_timeout", judgement.effects);
            history.statement_timeout.note(text, "statement_timeout", judgement.effects);
        }
        if needs.repeats {
            history.note(judgement.fingerprint, hash(values), now);
        }
    }

    /// At a Bind: what the values and the moment make of the statement's verdict.
    pub(super) fn ask_at_bind<L: Ledger>(
        &mut self,
        env: &mut Env<'_, L>,
        named: &mut Named,
        rest: &[u8],
        t: &mut Turn<'_, '_>,
    ) -> Option<Flow> {
        if !t.whole() && t.header.total <= BIND_LOOK_MAX {
            return Some(Flow::Short);
        }
        let (weighed, plan) = match self.weigh_at_bind(env, named, rest, t) {
            Ok(weighed) => weighed,
            Err(stop) => return Some(stop),
        };
        let reads = t.whole() && env.guard.needs().params;
        let values = if reads { values::of_bind(rest, named) } else { None };
        let params: Option<Vec<Option<&[u8]>>> =
            values.as_ref().map(|values| values.iter().map(Option::as_deref).collect());
        let settled = self.settled(env, weighed, rest, params.as_deref(), plan.as_deref());
        // Where more than the plan is asked for, another judgement may say the same.
        let open = settled.live.is_some() && settled.hits == named.judgement.hits;
        if open || Arc::ptr_eq(&settled, &named.judgement) {
            return None;
        }
        env.ledger.judged(&settled);
        if let Some(refusal) = self.refusal(&settled) {
            self.note_refused(env, &settled, &refusal, named.statement.text());
            self.refuse(refusal, t);
            return Some(Flow::Done);
        }
        self.notices(&settled, t);
        named.judgement = settled;
        None
    }
}

impl History {
    fn begin(&mut self, now: Duration) {
        (self.began, self.answered) = (Some(now), now);
        (self.statements, self.wrote) = (0, false);
        self.round += 1;
    }

    /// A client is found at rest: what was not followed counts from now on.
    pub(super) fn found(&mut self, status: u8, pinned: bool, now: Duration) {
        if status != b'I' && self.began.is_none() {
            self.begin(now);
        }
        if pinned && self.pinned.is_none() {
            self.pinned = Some(now);
        }
    }

    fn note(&mut self, fingerprint: u64, values: u64, now: Duration) {
        let (round, open) = (self.round, self.began.is_some());
        let new = Seen { fingerprint, values, last: now, since: now, round, count: 0 };
        if let Some(seen) = self.seen.iter_mut().find(|seen| seen.fingerprint == fingerprint) {
            if seen.counts(round, open, now) {
                seen.count += u32::from(seen.values != values);
                (seen.values, seen.last) = (values, now);
            } else {
                *seen = new;
            }
        } else if self.seen.len() < REMEMBERED {
            self.seen.push(new);
        } else if let Some(oldest) = self.seen.iter_mut().min_by_key(|seen| seen.last) {
            *oldest = new;
        }
    }

    /// The server is asked for the session's settings.
    pub(super) fn asks(&mut self) {
        (self.lock_timeout.asked, self.statement_timeout.asked) = (true, true);
    }

    /// It has told them: they tell of all that was set before it was asked.
    pub(super) fn settled(&mut self) {
        self.lock_timeout.answered();
        self.statement_timeout.answered();
    }

    /// A command is done. `COMMIT; BEGIN` in one text, or `AND CHAIN`, is another transaction, and no ReadyForQuery tells
    /// of it; `ROLLBACK` may be one to a savepoint.
    pub(super) fn done(&mut self, tag: &[u8], now: Duration) {
        match tag {
            b"COMMIT\0" => self.left = Some(true),
            b"ROLLBACK\0" => self.left = self.left.or(Some(false)),
            b"BEGIN\0" | b"START TRANSACTION\0" if self.left.take().is_some() => self.begin(now),
            _ => {}
        }
    }

    /// A ReadyForQuery of the client's.
    pub(super) fn answered(&mut self, status: u8, now: Duration, pinned: bool) {
        self.answered = now;
        if self.left.take() == Some(true) && status != b'I' {
            self.begin(now);
        }
        match (status, self.began) {
            (b'I', _) => {
                self.began = None;
                (self.statements, self.wrote) = (0, false);
                (self.lock_timeout.local, self.statement_timeout.local) = (None, None);
            }
            (_, None) => self.begin(now),
            _ => {}
        }
        self.pinned = pinned.then(|| self.pinned.unwrap_or(now));
    }
}

impl Seen {
    fn counts(&self, round: u64, open: bool, now: Duration) -> bool {
        (open && self.round == round) || now.saturating_sub(self.since) <= WINDOW
    }
}

impl Backend {
    pub(super) fn tell_history<L: Ledger>(&self, s: &mut Session, ledger: &mut L) {
        let pinned = s.holds();
        let coming = self.queue.iter().any(|e| e.ends_ready() && !e.is_ours());
        // In session mode nobody asks the server, so what was said goes on to count.
        let settled = self.status == b'I' && !s.is_unsettled() && !s.asking && s.mode != Mode::Session;
        if let Some(history) = s.history.as_deref_mut().filter(|_| settled && !coming) {
            history.asks();
            history.settled();
        }
        if let Some(history) = s.history.as_deref_mut().filter(|_| self.status != b'I' || !coming) {
            history.answered(self.status, ledger.clock(), pinned);
        }
    }
}

fn is_off(value: &str) -> bool {
    super::impose::time(value).is_some_and(|time| time.is_zero())
}

/// Whether the last `SET` of a timeout, in whatever form, ends with a value that is one; `None` if there is none.
fn turns_on(text: &[u8], name: &str) -> Option<bool> {
    let text = String::from_utf8_lossy(text).to_ascii_lowercase();
    let set = text.split(';').map(str::trim).rfind(|part| part.contains(name))?;
    let last = set.rsplit(|c: char| c.is_whitespace() || matches!(c, '=' | ',' | '(')).next()?;
    let value = last.trim_matches('\'');
    Some(!set.starts_with("reset") && value != "default" && !is_off(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn what_was_said_after_the_server_was_asked_outlives_its_answer() {
        let mut history = History::default();
        let said = |history: &mut History, text: &[u8]| {
            history.lock_timeout.note(text, "lock_timeout", Effects::SETTING);
        };
        said(&mut history, b"SET lock_timeout = '3s'");
        history.asks();
        said(&mut history, b"RESET lock_timeout");
        history.settled(); // of the 3 s
        assert!(!history.lock_timeout.or(true));
        history.asks();
        history.settled();
        assert!(history.lock_timeout.or(true), "what the settings tell");
    }

    #[test]
    fn a_setting_is_on_unless_it_says_otherwise() {
        for text in ["SET lock_timeout = '2s'", "set local lock_timeout to 2000;", "SET lock_timeout='1min' "]
        {
            assert_eq!(turns_on(text.as_bytes(), "lock_timeout"), Some(true), "{text}");
        }
        assert_eq!(turns_on(b"SET a = 1", "lock_timeout"), None);
        for text in [
            "SET lock_timeout = 0",
            "set lock_timeout to '0'",
            "RESET lock_timeout",
            "SET lock_timeout TO DEFAULT",
        ] {
            assert_eq!(turns_on(text.as_bytes(), "lock_timeout"), Some(false), "{text}");
        }
    }

    #[test]
    fn what_was_set_counts_until_it_is_known_and_what_is_local_until_the_end() {
        let mut said = Said::default();
        said.note(b"SET LOCAL lock_timeout = '2s'", "lock_timeout", Effects::LOCAL_SETTING);
        assert!(said.or(false));
        said.note(b"SET lock_timeout = 0", "lock_timeout", Effects::SETTING);
        assert!(!said.or(true), "the later one");
        said.note(b"SET statement_timeout = '2s'", "lock_timeout", Effects::SETTING);
        assert!(!said.or(true), "another setting");
        let mut history = History { lock_timeout: said, ..History::default() };
        history.lock_timeout.note(b"SET LOCAL lock_timeout = '2s'", "lock_timeout", Effects::LOCAL_SETTING);
        history.answered(b'I', s(1), false);
        assert!(!history.lock_timeout.or(true));
        history.asks();
        history.settled();
        assert!(history.lock_timeout.or(true) && !history.lock_timeout.or(false));
        history.lock_timeout.note(b"SET lock_timeout = '2s'", "lock_timeout", Effects::SETTING);
        history.lock_timeout.note(b"DISCARD ALL", "lock_timeout", Effects::DISCARD_ALL);
        assert!(!history.lock_timeout.or(true));
    }

    #[test]
    fn repeats_are_runs_with_other_values() {
        let mut history = History::default();
        for (values, now) in [(1, 0), (2, 1), (2, 1), (3, 2)] {
            history.note(7, values, s(now));
        }
        assert_eq!(history.seen[0].count, 2);
        history.note(7, 4, s(60));
        assert_eq!(history.seen[0].count, 0, "another window");
        history.begin(s(61));
        history.note(7, 1, s(100));
        history.note(7, 2, s(200));
        assert_eq!(history.seen[0].count, 1, "the whole transaction counts");
    }

    #[test]
    fn a_transaction_that_follows_another_within_a_text_is_another() {
        let mut history = History::default();
        history.answered(b'T', s(5), false);
        for (tags, began) in [
            (&[&b"COMMIT\0"[..], b"BEGIN\0"][..], 10),
            (&[&b"ROLLBACK\0"[..], b"BEGIN\0"][..], 20),
            (&[&b"ROLLBACK\0"[..]][..], 20), // to a savepoint
            (&[&b"SELECT 1\0"[..]][..], 20),
            (&[&b"COMMIT\0"[..]][..], 50), // and chain
        ] {
            let now = history.answered + s(5);
            tags.iter().for_each(|tag| history.done(tag, now));
            history.answered(b'T', now + s(5), false);
            let began = s(if began == 50 { 55 } else { began });
            assert_eq!(history.began, Some(began), "{tags:?}");
        }
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut history = History::default();
        (0..1000).for_each(|n| history.note(n, 0, s(n)));
        assert_eq!(history.seen.len(), REMEMBERED);
        assert!(history.seen.iter().any(|seen| seen.fingerprint == 999));
    }

    #[test]
    fn a_transaction_is_followed_from_end_to_end() {
        let mut history = History::default();
        history.answered(b'T', s(5), false);
        assert_eq!((history.began, history.answered), (Some(s(5)), s(5)));
        history.answered(b'T', s(8), true);
        assert_eq!((history.began, history.pinned), (Some(s(5)), Some(s(8))));
        history.answered(b'I', s(9), true);
        assert_eq!((history.began, history.pinned), (None, Some(s(8))));
        history.answered(b'I', s(10), false);
        assert_eq!(history.pinned, None);
    }
}
