//! One client of the console, from its login to its end. Runs on the control thread.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use tokio::io::{AsyncRead as _, AsyncWriteExt as _, ReadBuf};

use super::ask::{self, Ask};
use super::commands::{Column, Command, Role, Type, What};
use super::sheet::{Sheet, Value};
use super::talk::{self, Next, Talk};
use super::{policies, role, rows};
use crate::control::reload;
use crate::guard::Class;
use crate::proxy::card::ClientCard;
use crate::proxy::client_log;
use crate::proxy::mailbox::Mailbox;
use crate::proxy::startup::Admitted;
use crate::proxy::stream::Stream;
use crate::proxy::thread::Shared;
use crate::session::ParamSet;
use crate::wire::frame::{self, HEADER};
use crate::wire::reply::{self, Severity};
use crate::wire::sqlstate;

/// Takes a client that has proved who it is from its data thread to the control thread. `seat` is kept while it is here.
pub fn enter(shared: &Arc<Shared>, admitted: Admitted, seat: impl Send + 'static) {
    let Admitted { stream, protocol_minor, user, database, params, leftover, .. } = admitted;
    let Ok(detached) = stream.detach() else { return };
    let shared = Arc::clone(shared);
    let handle = shared.console.handle.clone();
    handle.spawn(async move {
        let _seat = seat;
        let Ok(stream) = detached.attach() else { return };
        let peer = stream.peer();
        let params = ParamSet::new(params.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        let visitor = Visitor { stream, user: &user, database: &database, buffer: leftover };
        let reason = visitor.serve(&shared, protocol_minor, params).await;
        client_log::left(&shared, &user, &database, peer, reason);
    });
}

struct Visitor<'a> {
    stream: Stream,
    user: &'a str,
    database: &'a str,
    /// Received and not read yet.
    buffer: Vec<u8>,
}

/// Why a visit ends: for the log.
type Reason = &'static str;

const GONE: Reason = "the client closed the connection";

impl Visitor<'_> {
    async fn serve(mut self, shared: &Arc<Shared>, protocol_minor: u16, params: ParamSet) -> Reason {
        let Some(role) = role(&shared.settings, self.user) else {
            let message = format!("user \"{}\" may not use the console", self.user);
            let hint = "Name the role in admin.admin_users or admin.stats_users of pgsluice's settings.";
            self.last_words(sqlstate::INSUFFICIENT_PRIVILEGE, &message, hint).await;
            return "neither in admin.admin_users nor in admin.stats_users";
        };
        let class = Class {
            user: self.user.into(),
            database: self.database.into(),
            application: "".into(),
            standard_conforming_strings: true,
            ascii_safe_encoding: true,
        };
        let application = params.get("application_name").unwrap_or_default().to_owned();
        let card = ClientCard::new(shared.next_client(), Arc::new(class), Arc::new(params), &self.stream);
        let Some((mailbox, registered)) = shared.mailbox(protocol_minor, None, card) else {
            return "no cancel key";
        };
        let mut out = Vec::new();
        for (name, value) in greeting(&application) {
            reply::parameter_status(&mut out, name, value);
        }
        reply::backend_key_data(&mut out, registered.pid, mailbox.key());
        if self.send(&talk::ready(out)).await.is_err() {
            return GONE;
        }
        self.talk(shared, &mailbox, role).await.unwrap_or(GONE)
    }

    async fn talk(&mut self, shared: &Arc<Shared>, mailbox: &Mailbox, role: Role) -> io::Result<Reason> {
        let mut talk = Talk::default();
        loop {
            // Commands are short: PostgreSQL's bound for small messages is plenty.
            match frame::peek(&self.buffer, |_| frame::SMALL) {
                Ok(Some(h)) if self.buffer.len() >= h.total => {
                    let body: Vec<u8> = self.buffer.drain(..h.total).skip(HEADER).collect();
                    match talk.message(h.tag, &body) {
                        Next::Nothing => {}
                        Next::Say(out) => self.send(&out).await?,
                        Next::Run(text) => {
                            mailbox.card.set_request(Instant::now());
                            let answer = answer(shared, self.user, role, text).await;
                            self.send(&answer).await?;
                        }
                        Next::Leave => return Ok(GONE),
                        Next::Break(out) => {
                            self.send(&out).await?;
                            return Ok("protocol violation");
                        }
                    }
                }
                Ok(_) => match self.read(mailbox).await? {
                    Read::Some => {}
                    Read::End => return Ok(GONE),
                    Read::Ended(reason) => {
                        let message = "terminating connection due to administrator command";
                        self.last_words(sqlstate::ADMIN_SHUTDOWN, message, "").await;
                        return Ok(reason);
                    }
                },
                Err(_) => {
                    self.send(&talk::fatal("message too long for the console")).await?;
                    return Ok("protocol violation");
                }
            }
        }
    }

    /// Reads more, unless somebody ends the visit.
    async fn read(&mut self, mailbox: &Mailbox) -> io::Result<Read> {
        let mut scratch = [0; 512];
        poll_fn(|cx| {
            mailbox.listen(cx);
            if mailbox.has_mail() {
                let _ = mailbox.take_cancel(); // nothing runs
                if mailbox.killed() {
                    return Poll::Ready(Ok(Read::Ended("an administrator ended it (KILL_CLIENT)")));
                }
                if mailbox.shutting_down() {
                    return Poll::Ready(Ok(Read::Ended("shutting down")));
                }
            }
            let mut buf = ReadBuf::new(&mut scratch);
            std::task::ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buf))?;
            let read = buf.filled();
            self.buffer.extend_from_slice(read);
            Poll::Ready(Ok(if read.is_empty() { Read::End } else { Read::Some }))
        })
        .await
    }

    async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await
    }

    async fn last_words(&mut self, code: sqlstate::SqlState, message: &str, hint: &str) {
        let mut out = Vec::new();
        reply::error_response(&mut out, Severity::Fatal, code, message, "", hint);
        if self.send(&out).await.is_ok() {
            let _ = self.stream.shutdown().await;
        }
    }
}

enum Read {
    Some,
    End,
    Ended(Reason),
}

/// What drivers want to know of a session.
fn greeting(application: &str) -> [(&'static str, &str); 8] {
    [
        ("server_version", concat!(env!("CARGO_PKG_VERSION"), "/pgsluice")),
        ("server_encoding", "UTF8"),
        ("client_encoding", "UTF8"),
        ("DateStyle", "ISO"),
        ("TimeZone", "UTC"),
        ("standard_conforming_strings", "on"),
        ("is_superuser", "off"),
        ("application_name", application),
    ]
}

/// The whole answer to a text.
async fn answer(shared: &Arc<Shared>, user: &str, role: Role, text: &str) -> Vec<u8> {
    let mut out = match ask::read(text, role) {
        Err(mistake) => talk::error(mistake.sqlstate, &mistake.message, &mistake.hint),
        Ok(Ask::Empty) => {
            let mut out = Vec::new();
            reply::empty_query_response(&mut out);
            out
        }
        Ok(Ask::Set(name)) => {
            let mut out = Vec::new();
            let message = format!("{name} is fixed in the console; nothing was changed");
            reply::notice_response(&mut out, "NOTICE", sqlstate::SUCCESSFUL_COMPLETION, &message, "", "");
            reply::command_complete(&mut out, "SET");
            out
        }
        Ok(Ask::Setting(name, value)) => {
            let mut sheet = Sheet::new(&[Column { name, kind: Type::Text, doc: "" }]);
            sheet.row(&[Value::Text(value)]);
            let mut out = sheet.finish();
            reply::command_complete(&mut out, "SHOW");
            out
        }
        Ok(Ask::Run(command, argument)) => {
            let (shared, user) = (Arc::clone(shared), user.to_owned());
            // Thousands of rows, or files: not on the thread that probes the servers.
            let work = move || run(&shared, &user, role, command, argument.as_deref());
            let done = tokio::task::spawn_blocking(work).await;
            done.unwrap_or_else(|_| talk::error(sqlstate::INTERNAL_ERROR, "the command failed", ""))
        }
    };
    reply::ready_for_query(&mut out, reply::IDLE);
    out
}

/// Runs a command that the role may run.
fn run(
    shared: &Shared,
    user: &str,
    role: Role,
    command: &'static Command,
    argument: Option<&str>,
) -> Vec<u8> {
    let done = match command.what {
        What::Reload => {
            tracing::info!(user, "console: RELOAD");
            let trigger = format!("RELOAD by {user}");
            shared.reopen_logs();
            // PgBouncer's says nothing.
            let done = reload::all(&shared.front, &shared.policies, &trigger).map(|_| String::new());
            done.map_err(|why| (sqlstate::SYSTEM_ERROR, why))
        }
        What::ReloadPolicies
        | What::ReloadPoliciesCanary
        | What::PromotePolicies
        | What::RollbackPolicies => {
            policies::run(command.what, shared, user).map_err(|why| (sqlstate::SYSTEM_ERROR, why))
        }
        What::ReloadCatalog => {
            shared.catalog_asked.notify_one();
            Ok(String::new())
        }
        What::KillClient => {
            tracing::info!(user, id = argument, "console: KILL_CLIENT");
            kill(shared, argument.unwrap_or_default()).map(|()| String::new())
        }
        _ => {
            let mut sheet = Sheet::new(command.all_columns());
            rows::write(command.what, shared, role, &mut sheet);
            let mut out = sheet.finish();
            reply::command_complete(&mut out, command.tag());
            return out;
        }
    };
    match done {
        Ok(said) => {
            let mut out = Vec::new();
            if !said.is_empty() {
                let code = sqlstate::SUCCESSFUL_COMPLETION;
                reply::notice_response(&mut out, "NOTICE", code, &said, "", "");
            }
            reply::command_complete(&mut out, command.tag());
            out
        }
        Err((code, why)) => talk::error(code, &why, ""),
    }
}

fn kill(shared: &Shared, id: &str) -> Result<(), (sqlstate::SqlState, String)> {
    let id: u64 = id.parse().map_err(|_| {
        let message = "the id of a client is a number, as in SHOW CLIENTS".to_owned();
        (sqlstate::INVALID_PARAMETER_VALUE, message)
    })?;
    let client = shared.mailboxes.iter().find(|entry| entry.card.id == id).map(|entry| Arc::clone(&entry));
    let client = client.ok_or_else(|| (sqlstate::UNDEFINED_OBJECT, format!("there is no client {id}")))?;
    client.kill();
    Ok(())
}
