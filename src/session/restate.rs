//! Statements of SQL `PREPARE` on a server, and how they come there: see `sql_names.rs`.

use std::sync::Arc;

use super::backend::Backend;
use super::client::Session;
use super::expect::{Expect, Refusal};
use super::outlet::Outlet;
use super::sql_names::{Columns, SqlStatement};
use crate::wire::{backend as view, frontend, reply, sqlstate};

/// One on a server.
#[derive(Debug)]
pub(super) struct OnServer {
    statement: Arc<SqlStatement>,
    /// It could not be prepared here: what `EXECUTE` is answered with.
    broken: Option<Box<[u8]>>,
    /// Another stands in for it.
    replaced: bool,
}

/// Answers to a batch of ours about one of them.
#[derive(Debug)]
pub(super) struct Told {
    what: About,
    columns: Option<Columns>,
    error: Option<Box<[u8]>>,
}

#[derive(Debug)]
enum About {
    Note(Box<[u8]>),
    Statement(Arc<SqlStatement>),
}

impl Told {
    pub(super) fn note(name: &[u8]) -> Box<Self> {
        Self::about(About::Note(name.into()))
    }

    fn about(what: About) -> Box<Self> {
        Box::new(Self { what, columns: None, error: None })
    }

    /// What it may have left on the server.
    pub(super) fn on_server(self) -> Option<OnServer> {
        match self.what {
            About::Statement(statement) => Some(OnServer::new(statement, None)),
            About::Note(_) => None,
        }
    }

    /// One message of the answer.
    pub(super) fn hear(&mut self, tag: u8, body: &[u8]) {
        match tag {
            b'T' => self.columns = Some(Some(body.into())),
            b'n' => self.columns = Some(None),
            b'E' => self.error = Some(body.into()),
            _ => {}
        }
    }
}

impl SqlStatement {
    fn stand_in(&self) -> Vec<u8> {
        let mut text = b"PREPARE \"".to_vec();
        for &b in &self.name {
            text.extend_from_slice(if b == b'"' { b"\"\"" } else { std::slice::from_ref(&b) });
        }
        text.extend_from_slice(b"\" AS SELECT 1/0");
        text
    }
}

impl OnServer {
    pub(super) fn new(statement: Arc<SqlStatement>, broken: Option<Box<[u8]>>) -> Self {
        Self { statement, broken, replaced: false }
    }

    pub(super) fn statement(&self) -> &Arc<SqlStatement> {
        &self.statement
    }

    pub(super) fn is_replaced(&self) -> bool {
        self.replaced
    }

    /// The server lists it so.
    pub(super) fn shows(&self, name: &[u8], text: &[u8]) -> bool {
        *self.statement.name == *name
            && if self.replaced { self.statement.stand_in() == text } else { *self.statement.text == *text }
    }
}

impl Backend {
    pub(super) fn has_sql(&self, statement: &Arc<SqlStatement>) -> bool {
        self.sql.iter().any(|on| Arc::ptr_eq(&on.statement, statement))
    }

    pub(super) fn speaks_utf8(&self) -> bool {
        self.reported().any(|(name, value)| name == "client_encoding" && value == "UTF8")
    }

    /// The client must not be heard before the server is idle.
    #[must_use]
    pub fn is_waited_for(&self) -> bool {
        self.waits || self.looks || self.is_repairing()
    }

    /// It is idle, and the client's message may be fed again; to be asked for whenever the server is idle and nothing
    /// else is to be asked of it.
    pub fn take_wait(&mut self) -> bool {
        std::mem::take(&mut self.waits)
    }

    /// Prepares it here, under the settings it was prepared under.
    pub(super) fn restate(&mut self, statement: Arc<SqlStatement>, up: &mut Outlet<'_>) {
        self.align(&statement.settings, up);
        up.add(|v| {
            put_run(v, &statement.text);
            frontend::put_statement_target(v, b'D', &statement.name);
            reply::message(v, b'S', |_| ());
        });
        self.drop_unnamed();
        self.expect_end(Expect::Told(Told::about(About::Statement(statement))));
    }

    /// Keeps only some.
    pub(super) fn close_sql(&mut self, keep: impl Fn(&OnServer) -> bool, up: &mut Outlet<'_>) {
        let mut closed = false;
        self.sql.retain(|on| {
            let keep = keep(on);
            if !keep {
                up.add(|v| frontend::put_statement_target(v, b'C', &on.statement.name));
                closed = true;
            }
            keep
        });
        if closed {
            up.add(|v| reply::message(v, b'S', |_| ()));
            self.expect_end(Expect::HiddenSync);
        }
    }

    /// Puts one that fails in the place of each that could not be prepared. True: there were such.
    pub(super) fn stand_in(&mut self, up: &mut Outlet<'_>) -> bool {
        let mut any = 0;
        for on in self.sql.iter_mut().filter(|on| on.broken.is_some() && !on.replaced) {
            on.replaced = true;
            any += 1;
            up.add(|v| {
                frontend::put_statement_target(v, b'C', &on.statement.name);
                put_run(v, &on.statement.stand_in());
                reply::message(v, b'S', |_| ());
            });
        }
        (0..any).for_each(|_| self.expect_end(Expect::HiddenSync));
        if any > 0 {
            self.drop_unnamed();
        }
        any > 0
    }

    /// A batch of ours about one of them is answered.
    pub(super) fn told(&mut self, told: Told, s: &mut Session) {
        match told.what {
            About::Note(name) => s.columns_told(&name, told.columns.filter(|_| told.error.is_none())),
            About::Statement(statement) => {
                let same = match (&told.columns, &statement.columns) {
                    (Some(Some(now)), Some(before)) => view::same_columns(now, before),
                    (Some(None), None) => true,
                    _ => false,
                };
                let broken = told.error.or_else(|| (!same).then(changed_columns));
                self.sql.push(OnServer::new(statement, broken));
            }
        }
    }

    /// The error of one that stands in for another is the other's.
    pub(super) fn of_stand_in(&self) -> Option<Refusal> {
        let (Some(Expect::Query(j)) | Some(Expect::Execute(Some(j)))) = self.queue.front() else {
            return None;
        };
        let (name, _) = j.prepared.first().filter(|(_, gone)| !gone && j.statements == 1)?;
        let on = self.sql.iter().find(|on| on.replaced && *on.statement.name == *name.as_bytes())?;
        on.broken.clone().map(Refusal::Servers)
    }
}

/// What PostgreSQL says where a statement would give other columns than it was prepared with.
pub(super) fn changed_columns() -> Box<[u8]> {
    let mut message = Vec::new();
    let text = "cached plan must not change result type";
    let code = sqlstate::FEATURE_NOT_SUPPORTED;
    reply::error_response(&mut message, reply::Severity::Error, code, text, "", "");
    message.get(crate::wire::frame::HEADER..).unwrap_or_default().into()
}

/// Runs a text under the unnamed names.
fn put_run(out: &mut Vec<u8>, text: &[u8]) {
    frontend::put_parse(out, b"", &[text, &[0, 0, 0]].concat());
    let rest = [0; 6]; // no formats, no values, no formats of results
    frontend::put_bind_head(out, b"", b"", rest.len());
    out.extend_from_slice(&rest);
    reply::message(out, b'E', |out| out.extend_from_slice(&[0; 5]));
}
