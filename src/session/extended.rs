//! The extended protocol: Parse, Describe, Close, Execute; `bind.rs` has Bind.
//!
//! A client's statement names are its own. Servers know a statement by our name for its text and types, so a
//! statement prepared through one server runs on any other: where it is missing, a hidden Parse goes first.

use std::borrow::Cow;
use std::sync::Arc;

use super::Ledger;
use super::client::{Env, Fatal, MALFORMED, Session, Step};
use super::expect::{Expect, Refusal, Whose};
use super::limits::{Halt, is_bounded};
use super::names::Named;
use super::prepared::PREFIX;
use super::refuse::POISON;
use super::reuse::{close_unnamed, send_named, send_parse, send_unnamed};
use super::rewrite;
use super::turn::{Flow, Turn};
use crate::guard::Lane;
use crate::wire::frame::{self, HEADER};
use crate::wire::frontend::{self, Target};
use crate::wire::{reply, sqlstate};

/// Room for a portal's and a statement's name: what is longer without an end is refused.
pub(super) const NAMES_MAX: usize = 8 * 1024;

impl Session {
    pub(super) fn parse<L: Ledger>(
        &mut self,
        env: &mut Env<'_, L>,
        t: &mut Turn<'_, '_>,
    ) -> Result<Flow, Fatal> {
        let oversized = t.header.total > env.max_statement_bytes.saturating_add(HEADER + NAMES_MAX);
        if !oversized && !t.whole() {
            return Ok(Flow::Short);
        }
        let name = t.body().iter().take(NAMES_MAX).position(|&b| b == 0);
        if oversized && name.is_none() {
            return if t.body().len() < NAMES_MAX { Ok(Flow::Short) } else { Err(MALFORMED) };
        }
        if let Some(stop) = self.needs_server(env, t) {
            return Ok(stop);
        }
        if oversized {
            let name = t.body().get(..name.unwrap_or_default()).unwrap_or_default();
            return Ok(self.parse_oversized(name, env, t));
        }
        let parse = frontend::parse(t.body()).ok_or(MALFORMED)?;
        let judgement = self.judge(env, parse.text);
        if let Some(stop) = self.must_be_quiet(&judgement, t) {
            return Ok(stop);
        }
        if let Some(stop) = self.plan_ahead(env, &judgement, parse.tail, t) {
            return Ok(stop);
        }
        env.ledger.judged(&judgement);
        if let Some(refusal) = self.refusal(&judgement) {
            self.note_refused(env, &judgement, &refusal, parse.text);
            self.refuse(refusal, t);
            return Ok(Flow::Done);
        }
        let taken = !parse.name.is_empty()
            && (self.names.as_ref().is_some_and(|names| names.known.contains_key(parse.name))
                || self.is_sql_name(parse.name));
        if taken {
            self.refuse(duplicate(parse.name), t);
            return Ok(Flow::Done);
        }
        let tail = rewrite::tail(&judgement, parse.tail);
        let own = matches!(tail, Cow::Owned(_)).then(|| parse.tail.into());
        let (statement, seen) = self.statement(env, &judgement, &tail);
        let reused =
            seen && parse.name.is_empty() && env.reuse_unnamed && self.may_reuse(&judgement, &statement, t);
        let generation = env.guard.generation();
        let told = (!parse.name.is_empty()).then(Arc::default);
        let named = Named { statement, judgement, own, generation, serial: 0, reused, told, types: None };
        if !parse.name.is_empty()
            && let Some(refusal) = self.over_budget(env.prepared_bytes, &named, parse.name)
        {
            self.refuse(refusal, t);
            return Ok(Flow::Done);
        }
        self.notices(&named.judgement, t);
        self.takes_effect(env.ledger, &named.judgement, t);
        self.impose(&named.judgement, t);
        self.forward_parse(parse.name, named, t);
        Ok(Flow::Done)
    }

    fn forward_parse(&mut self, name: &[u8], named: Named, t: &mut Turn<'_, '_>) {
        let effects = named.judgement.effects;
        let statement = Arc::clone(&named.statement);
        let reused = named.reused;
        let rewritten = named.judgement.rewrite.is_some();
        if name.is_empty() {
            self.set_unnamed(Some(named), t);
        } else {
            self.add_name(name, named);
        }
        let Some(link) = t.link.as_deref_mut() else { return };
        link.unsynced = true;
        if rewritten {
            link.note_rewritten();
        }
        let named = !name.is_empty();
        let held = link.holds(statement.id) && (named || link.prepared.is_current(statement.id, link.epoch));
        if !named && !reused {
            link.set_unnamed(statement.id);
            link.queue.push_back(Expect::Parse { id: 0, serial: 0, whose: Whose::Unnamed, effects });
            if rewritten {
                t.up.add(|v| frontend::put_parse(v, b"", &statement.tail));
            } else {
                t.pass();
            }
        } else if link.may_be_failed() || !held {
            send_parse(link, &statement, if named { Whose::Named } else { Whose::Reused }, effects, t.up);
        } else {
            // Answered with what the server answers to the rest of the batch: one message to the client, not two.
            link.queue.push_back(Expect::LocalParse { named, effects });
        }
    }

    /// Too large to keep: it runs where it is sent, and (being unparsed) pins its server.
    fn parse_oversized<L: Ledger>(
        &mut self,
        name: &[u8],
        env: &mut Env<'_, L>,
        t: &mut Turn<'_, '_>,
    ) -> Flow {
        let judgement = env.guard.judge_oversized(&self.class);
        env.ledger.judged(&judgement);
        if let Some(refusal) = self.refusal(&judgement).or_else(|| foreign(name)) {
            self.note_refused(env, &judgement, &refusal, &[]);
            self.refuse(refusal, t);
            return Flow::Done;
        }
        if self.lookup(name).is_some() {
            self.refuse(duplicate(name), t);
            return Flow::Done;
        }
        self.notices(&judgement, t);
        self.takes_effect(env.ledger, &judgement, t);
        let whose = if name.is_empty() { Whose::Unnamed } else { Whose::Streamed };
        if name.is_empty() {
            self.set_unnamed(None, t);
            self.unnamed_streamed = true;
        }
        if let Some(link) = t.link.as_deref_mut() {
            link.unsynced = true;
            if name.is_empty() {
                link.drop_unnamed();
            }
            let effects = judgement.effects;
            link.queue.push_back(Expect::Parse { id: 0, serial: 0, whose, effects });
        }
        self.stream(t, true);
        Flow::Done
    }

    pub(super) fn describe_or_close<L: Ledger>(
        &mut self,
        env: &mut Env<'_, L>,
        t: &mut Turn<'_, '_>,
    ) -> Result<Flow, Fatal> {
        if !t.whole() {
            return Ok(Flow::Short);
        }
        let closes = t.header.tag == b'C';
        let target = frontend::target(t.body()).ok_or(MALFORMED)?;
        if let (true, Target::Statement(name)) = (closes, target)
            && let Some(closed) = self.close_name(name)
        {
            match t.link.as_deref_mut() {
                Some(link) => link.queue.push_back(Expect::LocalClose(closed)),
                None => reply::close_complete(t.down),
            }
            return Ok(Flow::Done);
        }
        if let Some(stop) = self.needs_server(env, t) {
            return Ok(stop);
        }
        let Some(link) = t.link.as_deref_mut() else { return Ok(Flow::Done) };
        let name = match target {
            Target::Statement(name) => name,
            Target::Portal(_) => {
                link.unsynced = true;
                link.queue.push_back(if closes {
                    Expect::Close { sql: None }
                } else {
                    Expect::Describe(self.bound_told.clone())
                });
                t.pass();
                return Ok(Flow::Done);
            }
        };
        if closes {
            // Unnamed, or one made by SQL PREPARE.
            if let Some(refusal) = foreign(name) {
                self.refuse(refusal, t);
                return Ok(Flow::Done);
            }
            if name.is_empty() {
                self.set_unnamed(None, t);
            }
            let sql = self.closes_sql_name(name).then(|| name.into());
            if let Some(link) = t.link.as_deref_mut() {
                if name.is_empty() {
                    link.drop_unnamed();
                }
                link.unsynced = true;
                link.queue.push_back(Expect::Close { sql });
            }
            t.pass();
            return Ok(Flow::Done);
        }
        self.describe_statement(name, t);
        Ok(Flow::Done)
    }

    fn describe_statement(&mut self, name: &[u8], t: &mut Turn<'_, '_>) {
        let named = if name.is_empty() { self.unnamed.clone() } else { self.lookup(name) };
        if named.is_none()
            && let Some(refusal) = foreign(name)
        {
            return self.refuse(refusal, t);
        }
        let tentative = named.as_ref().is_some_and(|named| self.is_tentative(named));
        let told = named.as_ref().and_then(|named| named.told.clone());
        let Some(link) = t.link.as_deref_mut() else { return };
        link.unsynced = true;
        match named {
            Some(named) if name.is_empty() && !named.reused => {
                send_unnamed(link, &named.statement, t.up);
                t.pass();
            }
            Some(named) => {
                send_named(link, &named.statement, tentative, t.up);
                let name = link.prepared.name(named.statement.id);
                t.up.add(|v| frontend::put_statement_target(v, b'D', name.as_bytes()));
            }
            None => {
                if name.is_empty() && !self.unnamed_streamed {
                    close_unnamed(link, t.up);
                }
                t.pass();
            }
        }
        if let Some(link) = t.link.as_deref_mut() {
            link.queue.push_back(Expect::Describe(told));
        }
    }

    pub(super) fn execute<L: Ledger>(
        &mut self,
        env: &mut Env<'_, L>,
        t: &mut Turn<'_, '_>,
    ) -> Result<Flow, Fatal> {
        if !t.whole() {
            return Ok(Flow::Short);
        }
        if let Some(stop) = self.needs_server(env, t) {
            return Ok(stop);
        }
        let portal = frontend::execute(t.body()).ok_or(MALFORMED)?;
        let bound = self.bound_to(portal);
        if let Some(judgement) = bound.as_ref().filter(|judgement| is_bounded(judgement)) {
            match self.admit(env, judgement, t) {
                Ok(()) => {}
                Err(Halt::Stop(step)) => return Ok(Flow::Stop(step)),
                Err(Halt::Refused(refusal)) => {
                    env.ledger.refused(judgement, &self.settings, refusal.sqlstate());
                    self.refuse(refusal, t);
                    return Ok(Flow::Done);
                }
            }
        }
        if let Some(link) = t.link.as_deref_mut() {
            link.unsynced = true;
            link.queue.push_back(Expect::Execute(bound.clone()));
        }
        self.note_continued(portal);
        t.pass();
        if let Some(judgement) = bound {
            if !judgement.prepared.is_empty() {
                self.deallocates(&judgement, t);
            }
            self.watch(&judgement, Some(portal), t);
        }
        self.ran_in_batch = true;
        Ok(Flow::Done)
    }

    /// Refuses a message of the extended protocol: the client gets the error in its place, everything up to
    /// its Sync is dropped, and a transaction that is open fails on the server, too.
    pub(super) fn refuse(&mut self, refusal: Refusal, t: &mut Turn<'_, '_>) {
        self.skipping = true;
        self.forgo();
        match t.link.as_deref_mut() {
            Some(link) if !link.idle() => {
                link.queue.push_back(Expect::Poison { refusal, query: false });
                link.unsynced = true;
                let tail = [POISON, &[0, 0, 0]].concat();
                t.up.add(|v| frontend::put_parse(v, b"", &tail));
                link.drop_unnamed();
            }
            _ => refusal.encode(t.down),
        }
        self.stream(t, false);
    }

    /// Stops where the message needs a server and there is none, or only one that must be left first.
    ///
    /// A statement that is blocked needs none: it is refused before anybody waits for the pool.
    pub(super) fn needs_server<L: Ledger>(
        &mut self,
        env: &mut Env<'_, L>,
        t: &mut Turn<'_, '_>,
    ) -> Option<Flow> {
        match t.link.as_deref_mut() {
            None => {
                if let Some(refusal) = self.take_declined() {
                    self.refuse(refusal, t);
                    return Some(Flow::Done);
                }
                if self.refused_at_once(env, t) {
                    return Some(Flow::Done);
                }
                if env.guard.needs().turns
                    && let Some(flow) = self.turn_ahead(env, t)
                {
                    return Some(flow);
                }
                Some(Flow::Stop(Step::Server(self.batch_lane(env, t.left))))
            }
            Some(link) if self.leaves(link) && self.batch_lane(env, t.left) != link.lane => {
                Some(Flow::Stop(Step::Wait))
            }
            Some(_) => None,
        }
    }

    fn refused_at_once<L: Ledger>(&mut self, env: &mut Env<'_, L>, t: &mut Turn<'_, '_>) -> bool {
        if t.header.tag != b'P' || !t.whole() {
            return false;
        }
        let Some(parse) = frontend::parse(t.body()) else { return false };
        let judgement = self.judge(env, parse.text);
        let Some(refusal) = self.refusal(&judgement) else { return false };
        env.ledger.judged(&judgement);
        self.note_refused(env, &judgement, &refusal, parse.text);
        self.refuse(refusal, t);
        true
    }

    /// Where a batch may run: elsewhere than on the primary only if it is here whole, up to its Sync, and every statement
    /// of it was routed elsewhere.
    fn batch_lane<L: Ledger>(&mut self, env: &mut Env<'_, L>, mut left: &[u8]) -> Lane {
        if !env.replicas {
            return Lane::Primary;
        }
        let mut routed: Option<Lane> = None;
        while let Ok(Some(h)) = frame::peek(left, frame::client_limit) {
            let Some(body) = left.get(HEADER..h.total) else { return Lane::Primary };
            left = left.get(h.total..).unwrap_or_default();
            let lane = match h.tag {
                b'S' => return routed.unwrap_or(Lane::Primary),
                b'P' => match frontend::parse(body) {
                    Some(parse) if parse.text.len() <= env.max_statement_bytes => {
                        self.judge(env, parse.text).lane
                    }
                    _ => return Lane::Primary,
                },
                b'B' => match frontend::bind(body) {
                    Some(bind) if bind.statement.is_empty() => continue,
                    Some(bind) => match self.lookup(bind.statement) {
                        Some(named) if named.generation != env.guard.generation() => {
                            self.judge(env, named.own_text()).lane
                        }
                        Some(named) => named.judgement.lane,
                        None => return Lane::Primary,
                    },
                    None => return Lane::Primary,
                },
                b'D' | b'E' | b'C' | b'H' => continue,
                _ => return Lane::Primary,
            };
            if lane == Lane::Primary {
                return lane;
            }
            routed = Some(routed.map_or(lane, |other| other.min(lane)));
        }
        Lane::Primary
    }
}

fn duplicate(name: &[u8]) -> Refusal {
    let message = format!("prepared statement \"{}\" already exists", String::from_utf8_lossy(name));
    Refusal::fixed(sqlstate::DUPLICATE_PREPARED_STATEMENT, message, None)
}

/// A client's name must not reach into our namespace, where another client's statements are.
pub(super) fn foreign(name: &[u8]) -> Option<Refusal> {
    name.starts_with(PREFIX).then(|| {
        let message = format!("prepared statement \"{}\" does not exist", String::from_utf8_lossy(name));
        Refusal::fixed(sqlstate::INVALID_SQL_STATEMENT_NAME, message, None)
    })
}
