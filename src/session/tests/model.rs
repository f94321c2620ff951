//! A PostgreSQL of a few statements, as far as its protocol goes.
//!
//! `fail…` is a syntax error, `select fail…` an error when it runs, `select N from rows` gives N rows,
//! `begin`, `commit`, `rollback`, `copy`, `discard all` and `deallocate all` do what they say, and any other text
//! gives itself as its one row.

use std::collections::HashMap;

use super::model_state::Kept;
use crate::wire::frame::{self, HEADER};
use crate::wire::frontend::{self, Target};
use crate::wire::reply;

#[derive(Clone, Debug)]
struct Portal {
    text: Vec<u8>,
    sent: usize,
    /// What is no query runs once.
    done: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Copying {
    Simple,
    Extended,
}

#[derive(Debug)]
pub(super) struct Model {
    input: Vec<u8>,
    pub(super) out: Vec<u8>,
    pub(super) statements: HashMap<Vec<u8>, Vec<u8>>,
    /// Those of SQL `PREPARE`: the text that prepared them.
    pub(super) sql: HashMap<Vec<u8>, Vec<u8>>,
    unnamed: Option<Vec<u8>>,
    portals: HashMap<Vec<u8>, Portal>,
    pub(super) status: u8,
    pub(super) state: Kept,
    skips: bool,
    copying: Option<Copying>,
    /// What ran, and every settings query.
    pub(super) ran: Vec<String>,
    /// Answers every `set_config` with an error.
    pub(super) refuses_settings: bool,
    /// What can't be prepared: its table is not there.
    pub(super) refuses: &'static str,
    pub(super) said_bye: bool,
}

type Failure = ([u8; 5], &'static str);
const UNKNOWN: Failure = (*b"26000", "prepared statement does not exist");
const ABORTED: Failure = (*b"25P02", "current transaction is aborted");

impl Model {
    pub(super) fn new() -> Self {
        Self {
            input: Vec::new(),
            out: Vec::new(),
            statements: HashMap::new(),
            sql: HashMap::new(),
            unnamed: None,
            portals: HashMap::new(),
            status: b'I',
            state: Kept::default(),
            skips: false,
            copying: None,
            ran: Vec::new(),
            refuses_settings: false,
            refuses: "nothing",
            said_bye: false,
        }
    }

    /// What runs is cancelled, if it is not over: of what it said no more than this was heard.
    /// `begun`: bytes of a message of which the head was.
    pub(super) fn cancel(&mut self, unheard: &[u8], begun: usize) {
        let (head, unheard) = unheard.split_at(begun.min(unheard.len()));
        let (mut rest, mut runs, mut ready) = (unheard, false, false);
        while let Some(h) = frame::peek(rest, frame::server_limit).unwrap() {
            ready |= rest[0] == b'Z';
            runs |= rest[0] == b'C' || rest[0] == b's';
            rest = &rest[h.total..];
        }
        self.out = head.to_vec();
        if !runs {
            self.out.extend_from_slice(unheard);
        }
        if runs {
            self.fail((*b"57014", "canceling statement due to user request"));
            self.skips = !ready;
            if ready {
                self.ready();
            }
        }
    }

    /// What the pool's reset query does.
    pub(super) fn reset(&mut self) {
        self.statements.clear();
        self.sql.clear();
        self.unnamed = None;
        self.portals.clear();
        self.status = b'I';
        self.state = Kept::default();
    }

    pub(super) fn feed(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
        while let Some(h) = frame::peek(&self.input, frame::client_limit).unwrap() {
            if self.input.len() < h.total {
                return;
            }
            let rest = self.input.split_off(h.total);
            let message = std::mem::replace(&mut self.input, rest);
            self.message(h.tag, &message[HEADER..]);
        }
    }

    fn message(&mut self, tag: u8, body: &[u8]) {
        if let Some(copying) = self.copying {
            return self.copy(copying, tag, body);
        }
        match tag {
            b'X' => self.said_bye = true,
            b'd' | b'c' | b'f' => {}
            b'S' => {
                assert!(body.is_empty());
                self.skips = false;
                self.ready();
            }
            _ if self.skips => {}
            b'Q' => self.query(frontend::query(body).unwrap()),
            b'H' => assert!(body.is_empty()),
            _ => {
                let result = match tag {
                    b'P' => self.parse(body),
                    b'B' => self.bind(body),
                    b'D' => self.describe(body),
                    b'C' => self.close(body),
                    b'E' => self.execute(body),
                    _ => panic!("frontend message {tag}"),
                };
                if let Err(failure) = result {
                    self.fail(failure);
                    self.skips = true;
                }
            }
        }
    }

    fn ready(&mut self) {
        if self.status == b'I' {
            self.portals.clear();
            self.state.batch_ends();
        }
        reply::ready_for_query(&mut self.out, self.status);
    }

    fn fail(&mut self, (code, message): Failure) {
        reply::error_response(&mut self.out, reply::Severity::Error, code, message, "", "");
        if self.status == b'T' {
            self.status = b'E';
        }
    }

    fn copy(&mut self, copying: Copying, tag: u8, body: &[u8]) {
        let ended = match tag {
            b'H' | b'S' => return,
            b'd' if body.starts_with(b"bad") => Err((*b"22P04", "bad data")),
            b'd' => return,
            b'c' => Ok(()),
            b'f' => Err((*b"57014", "COPY from stdin failed")),
            _ => panic!("message {tag} in COPY"),
        };
        self.copying = None;
        match ended {
            Ok(()) => reply::command_complete(&mut self.out, "COPY 1"),
            Err(failure) => {
                self.fail(failure);
                self.skips = copying == Copying::Extended;
            }
        }
        if copying == Copying::Simple {
            self.ready();
        }
    }

    fn query(&mut self, text: &[u8]) {
        self.unnamed = None;
        self.portals.remove(&b""[..]);
        let result = check(text).and_then(|()| self.not_aborted(text)).and_then(|()| {
            let mut portal = Portal { text: text.to_vec(), sent: 0, done: false };
            self.run(&mut portal, 0, Copying::Simple)
        });
        if let Err(failure) = result {
            self.fail(failure);
        }
        if self.copying.is_none() {
            self.ready();
        }
    }

    fn not_aborted(&self, text: &[u8]) -> Result<(), Failure> {
        let exits = text.starts_with(b"rollback") || text.starts_with(b"commit");
        if self.status == b'E' && !exits { Err(ABORTED) } else { Ok(()) }
    }

    fn parse(&mut self, body: &[u8]) -> Result<(), Failure> {
        let parse = frontend::parse(body).unwrap();
        if parse.name.is_empty() {
            self.unnamed = None;
        }
        // PostgreSQL looks at the text first. We know of the name before the server sees the text.
        if self.statements.contains_key(parse.name) || self.sql.contains_key(parse.name) {
            return Err((*b"42P05", "prepared statement already exists"));
        }
        check(parse.text)?;
        self.not_aborted(parse.text)?;
        if parse.name.is_empty() {
            self.unnamed = Some(parse.text.to_vec());
        } else {
            self.statements.insert(parse.name.to_vec(), parse.text.to_vec());
        }
        reply::parse_complete(&mut self.out);
        Ok(())
    }

    fn statement(&self, name: &[u8]) -> Result<Vec<u8>, Failure> {
        let found = if name.is_empty() { self.unnamed.as_ref() } else { self.statements.get(name) };
        let body = || Some(body_of(self.sql.get(name)?).to_vec());
        found.cloned().or_else(body).ok_or(UNKNOWN)
    }

    fn executed(&self, name: &str) -> Result<String, Failure> {
        let body = String::from_utf8(self.statement(name.as_bytes())?).unwrap();
        if body == "SELECT 1/0" { Err((*b"22012", "division by zero")) } else { Ok(body) }
    }

    fn sql_statement(&mut self, text: &str) -> Result<Option<&'static str>, Failure> {
        if text.to_ascii_lowercase().starts_with("prepare ") {
            return self.sql_prepare(text).map(Some);
        }
        match text.strip_prefix("deallocate ").filter(|name| *name != "all") {
            Some(name) => {
                let known = self.statements.remove(name.as_bytes()).is_some();
                let known = self.sql.remove(name.as_bytes()).is_some() || known;
                if known { Ok(Some("DEALLOCATE")) } else { Err(UNKNOWN) }
            }
            None => Ok(None),
        }
    }

    fn sql_prepare(&mut self, text: &str) -> Result<&'static str, Failure> {
        let name = text.split(' ').nth(1).unwrap().trim_matches('"').as_bytes();
        if self.statements.contains_key(name) || self.sql.contains_key(name) {
            return Err((*b"42P05", "prepared statement already exists"));
        }
        check(body_of(text.as_bytes()))?;
        if text.ends_with(self.refuses) {
            return Err((*b"42P01", "relation does not exist"));
        }
        self.sql.insert(name.to_vec(), text.as_bytes().to_vec());
        Ok("PREPARE")
    }

    fn bind(&mut self, body: &[u8]) -> Result<(), Failure> {
        let bind = frontend::bind(body).unwrap();
        let text = self.statement(bind.statement)?;
        self.not_aborted(&text)?;
        if !bind.portal.is_empty() && self.portals.contains_key(bind.portal) {
            return Err((*b"42P03", "cursor already exists"));
        }
        self.portals.insert(bind.portal.to_vec(), Portal { text, sent: 0, done: false });
        reply::bind_complete(&mut self.out);
        Ok(())
    }

    fn describe(&mut self, body: &[u8]) -> Result<(), Failure> {
        let text = match frontend::target(body).unwrap() {
            Target::Statement(name) => {
                let text = self.statement(name)?;
                self.not_aborted(&text)?;
                crate::wire::reply::message(&mut self.out, b't', |o| o.extend_from_slice(&[0, 0]));
                text
            }
            Target::Portal(name) => {
                let text = self.portals.get(name).ok_or((*b"34000", "portal does not exist"))?.text.clone();
                self.not_aborted(&text)?;
                text
            }
        };
        if rows(&text).is_some() {
            reply::row_description(&mut self.out, &["v"]);
        } else {
            reply::no_data(&mut self.out);
        }
        Ok(())
    }

    fn close(&mut self, body: &[u8]) -> Result<(), Failure> {
        match frontend::target(body).unwrap() {
            Target::Statement(b"") => self.unnamed = None,
            Target::Statement(name) => {
                self.statements.remove(name);
                self.sql.remove(name);
            }
            Target::Portal(name) => drop(self.portals.remove(name)),
        }
        reply::close_complete(&mut self.out);
        Ok(())
    }

    fn execute(&mut self, body: &[u8]) -> Result<(), Failure> {
        let name = frontend::execute(body).unwrap();
        let mut portal = self.portals.get(name).cloned().ok_or((*b"34000", "portal does not exist"))?;
        self.not_aborted(&portal.text)?;
        let limit = u32::from_be_bytes(*body.last_chunk::<4>().unwrap()) as usize;
        if portal.done {
            return Err((*b"55000", "portal cannot be run"));
        }
        self.run(&mut portal, limit, Copying::Extended)?;
        portal.done = rows(&portal.text).is_none() && !portal.text.is_empty();
        if let Some(kept) = self.portals.get_mut(name) {
            *kept = portal;
        }
        Ok(())
    }

    /// Runs what the portal holds; a simple query describes its rows.
    fn run(&mut self, portal: &mut Portal, limit: usize, how: Copying) -> Result<(), Failure> {
        let text = String::from_utf8(portal.text.clone()).unwrap();
        if text.contains("set_config") && self.refuses_settings {
            return Err((*b"22023", "invalid value for parameter"));
        }
        if text == "select fail syntax" {
            return Err((*b"42601", "syntax error in tsquery"));
        }
        if text.starts_with("select fail") {
            return Err((*b"22012", "division by zero"));
        }
        self.ran.push(text.clone());
        if self.state.ours(&text, &self.sql, &mut self.out) {
            return Ok(());
        }
        if let Some(tag) = self.sql_statement(&text)? {
            reply::command_complete(&mut self.out, tag);
            return Ok(());
        }
        if let Some(name) = text.strip_prefix("execute ") {
            let body = self.executed(name)?;
            return self.rows(portal, limit, how, &body);
        }
        let tag = match text.as_str() {
            "" => {
                reply::empty_query_response(&mut self.out);
                return Ok(());
            }
            // Broken for our grammar; this server has one of its own.
            "begin; (;" => "ODD",
            "begin" => {
                self.state.begin();
                self.status = b'T';
                "BEGIN"
            }
            "commit" | "rollback" => {
                let failed = self.status == b'E';
                self.status = b'I';
                self.portals.clear();
                self.state.end(failed || text == "rollback");
                if failed || text == "rollback" { "ROLLBACK" } else { "COMMIT" }
            }
            "discard all" if self.status == b'I' => {
                self.statements.clear();
                self.sql.clear();
                self.portals.clear();
                self.state = Kept::default();
                "DISCARD ALL"
            }
            "discard all" => return Err((*b"25001", "DISCARD ALL cannot run inside a transaction block")),
            "deallocate all" => {
                self.statements.clear();
                self.sql.clear();
                "DEALLOCATE ALL"
            }
            _ if text.starts_with("copy") => {
                self.copying = Some(how);
                crate::wire::reply::message(&mut self.out, b'G', |o| o.extend_from_slice(&[0, 0, 0]));
                return Ok(());
            }
            _ => match self.state.run(&text) {
                Some(tag) => tag,
                None => return self.rows(portal, limit, how, &text),
            },
        };
        reply::command_complete(&mut self.out, tag);
        Ok(())
    }

    fn rows(&mut self, portal: &mut Portal, limit: usize, how: Copying, text: &str) -> Result<(), Failure> {
        if how == Copying::Simple {
            reply::row_description(&mut self.out, &["v"]);
        }
        let shown = self.state.look(text);
        let text = shown.as_deref().unwrap_or(text);
        let left = rows(&portal.text).unwrap_or(1) - portal.sent;
        let now = if limit == 0 { left } else { left.min(limit) };
        for _ in 0..now {
            reply::data_row(&mut self.out, &[Some(text)]);
        }
        portal.sent += now;
        if limit > 0 && now == limit {
            crate::wire::reply::message(&mut self.out, b's', |_| ());
        } else {
            reply::command_complete(&mut self.out, &format!("SELECT {now}"));
        }
        Ok(())
    }
}

fn body_of(text: &[u8]) -> &[u8] {
    let at = text.windows(4).position(|w| w.eq_ignore_ascii_case(b" as ")).unwrap();
    &text[at + 4..]
}

fn check(text: &[u8]) -> Result<(), Failure> {
    let broken = text.starts_with(b"fail") || text.starts_with(b"pgsluice refused");
    if broken { Err((*b"42601", "syntax error")) } else { Ok(()) }
}

/// How many rows a text gives; `None`: it is no query.
fn rows(text: &[u8]) -> Option<usize> {
    let text = std::str::from_utf8(text).ok()?;
    if text.is_empty()
        || !(text.starts_with("select")
            || text.starts_with("execute")
            || text.starts_with("update")
            || text.starts_with("table"))
    {
        return None;
    }
    let many = text.strip_prefix("select ").and_then(|t| t.strip_suffix(" from rows"));
    Some(many.and_then(|n| n.parse().ok()).unwrap_or(1))
}
