//! From a proven identity to a client that may send queries: settings, greeting, cancel key.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use super::client_log;
use super::crowd::Place;
use super::drive::{Closed, Drive, run};
use super::mailbox::Mailbox;
use super::pipe::Pipe;
use super::startup::Admitted;
use super::stream::Stream;
use super::thread::{Ident, IdentKey, Registered, Thread};
use super::vigil::Vigil;
use crate::config::PoolMode;
use crate::guard::Class;
use crate::observe::counters::Timeout;
use crate::pool::open::{self, OpenError};
use crate::pool::reset::{self, AskError};
use crate::pool::{Entered, Grant, KeyPool, Server, Waiting};
use crate::session::{Mode, ParamSet, Session, ascii_safe};
use crate::wire::reply::{self, Severity};
use crate::wire::{backend, sqlstate};

/// ParameterStatus names and values, sorted by name.
pub(super) type Reported = Vec<(Box<str>, Box<str>)>;

/// Why an authenticated client can't be served.
pub(super) enum Unserved {
    /// No connection to the primary.
    Open(OpenError),
    /// The server refused the client's settings: its ErrorResponse.
    Settings(Box<[u8]>),
    /// No server came free in time.
    Busy,
    /// There are too many clients of its kind.
    Full(String),
}

impl Unserved {
    /// For the log.
    fn reason(&self) -> &'static str {
        match self {
            Self::Open(_) => "no connection to the server",
            Self::Settings(_) => "the server refused its settings",
            Self::Busy => "no server connection came free in time",
            Self::Full(_) => "too many clients",
        }
    }
}

impl From<OpenError> for Unserved {
    fn from(e: OpenError) -> Self {
        Self::Open(e)
    }
}

/// Serves an authenticated client to its end.
pub(super) async fn serve(thread: Rc<Thread>, admitted: Box<Admitted>) {
    let peer = admitted.stream.peer();
    let _place = match Place::take(&thread.shared, &admitted.user, &admitted.database) {
        Ok(place) => place,
        Err(full) => {
            client_log::left(&thread.shared, &admitted.user, &admitted.database, peer, &full);
            return refuse(admitted.stream, Unserved::Full(full)).await;
        }
    };
    let Some(drive) = Box::pin(prepare(&thread, admitted)).await else { return };
    let ident = Rc::clone(&drive.ident);
    let closed = run(drive).await;
    client_log::left(&thread.shared, &ident.class.user, &ident.class.database, peer, closed.reason());
}

/// Everything that is needed once; the box it ran in is freed before the client's first query.
async fn prepare(thread: &Rc<Thread>, admitted: Box<Admitted>) -> Option<Drive> {
    let Admitted { mut stream, protocol_minor, user, database, params, mut leftover, login } = *admitted;
    let pool = thread.shared.primary.pool(&user, &database);
    pool.set_login(&login);
    let key = IdentKey { user: user.into(), database: database.into(), params };
    let met = thread.ident(&key);
    let vigil = Vigil::new(leftover.len());
    let known = tokio::select! {
        biased;
        known = met.get_or_try_init(|| meet(thread, &key, &pool)) => known,
        () = vigil.keep(&mut stream, &mut leftover) => {
            let reason = Closed::Client.reason();
            client_log::left(&thread.shared, &key.user, &key.database, stream.peer(), reason);
            return None;
        }
    };
    let ident = match known {
        Ok(ident) => Rc::clone(ident),
        Err(unserved) => {
            let reason = unserved.reason();
            client_log::left(&thread.shared, &key.user, &key.database, stream.peer(), reason);
            refuse(stream, unserved).await;
            return None;
        }
    };
    ident.replicas.iter().for_each(|replica| replica.set_login(&login));
    let (mailbox, registered) = mailbox(thread, protocol_minor)?;
    let mut out = Vec::new();
    ident.reported.iter().for_each(|(name, value)| reply::parameter_status(&mut out, name, value));
    reply::backend_key_data(&mut out, registered.pid, mailbox.key());
    reply::ready_for_query(&mut out, b'I');
    thread.meters.client_bytes_sent.add(out.len() as u64);
    if tokio::io::AsyncWriteExt::write_all(&mut stream, &out).await.is_err()
        || tokio::io::AsyncWriteExt::flush(&mut stream).await.is_err()
    {
        return None;
    }
    let session = Session::new(ident.mode, Arc::clone(&ident.class), Arc::clone(&ident.settings));
    Some(Drive::new(Rc::clone(thread), ident, Pipe::new(stream), session, mailbox, registered, leftover))
}

fn mailbox(thread: &Thread, protocol_minor: u16) -> Option<(Arc<Mailbox>, Registered)> {
    // 3.2 takes long keys; 3.0 exactly four bytes.
    let key: [u8; 32] = crate::pool::key::random().ok()?;
    let mailbox = Arc::new(Mailbox::new(key.get(..if protocol_minor >= 2 { 32 } else { 4 })?.into()));
    let registered = thread.shared.register(&mailbox);
    Some((mailbox, registered))
}

/// Meets a combination of user, database and settings for the first time: a server takes the settings, and what
/// it reports is what such clients are greeted with. Wrong settings fail here, as they would directly.
async fn meet(thread: &Rc<Thread>, key: &IdentKey, pool: &Arc<KeyPool>) -> Result<Rc<Ident>, Unserved> {
    let settings = Arc::new(ParamSet::new(key.params.iter().map(|(k, v)| (k.as_str(), v.as_str()))));
    if let Some(reported) = thread.similar(key, |ident| derive(&ident.settings, &ident.reported, &settings)) {
        return Ok(ident(thread, key, pool, settings, reported));
    }
    let mut server = server(thread, pool).await?;
    if let Some(sql) = server.backend.alignment(&settings) {
        match reset::ask(&mut server, &sql).await {
            Ok(()) => server.backend.aligned(&settings),
            Err(AskError::Server(body)) => {
                if server.backend.idle() {
                    pool.checkin(server);
                }
                return Err(Unserved::Settings(body));
            }
            Err(AskError::Io(e)) => return Err(OpenError::Io(e).into()),
        }
    }
    let reported = server.backend.reported().map(|(name, value)| (name.into(), value.into())).collect();
    thread.give_back(server);
    Ok(ident(thread, key, pool, settings, reported))
}

/// What a session of these settings reports, as far as another's reports tell: a login then needs no server,
/// and does not wait for one. Only for settings whose every value is known to be good and to be reported as is.
fn derive(known: &ParamSet, reported: &Reported, wanted: &ParamSet) -> Option<Reported> {
    if !wanted.same_but(known, &["application_name", "client_encoding", "extra_float_digits"]) {
        return None;
    }
    let mut reported = reported.clone();
    let mut report = |name: &str, value: &str| {
        reported.iter_mut().filter(|(n, _)| n.as_ref() == name).for_each(|(_, v)| *v = value.into());
    };
    match (wanted.get("client_encoding"), known.get("client_encoding")) {
        (Some(name), _) if ["utf8", "utf-8", "unicode"].iter().any(|n| n.eq_ignore_ascii_case(name)) => {
            report("client_encoding", "UTF8");
        }
        (None, None) => {}
        _ => return None,
    }
    if let Some(digits) = wanted.get("extra_float_digits") {
        digits.parse::<i8>().ok().filter(|n| (-15..=3).contains(n))?;
    }
    let application = wanted.get("application_name").unwrap_or_default();
    let plain = application.len() < 64 && application.bytes().all(|b| (0x20..0x7f).contains(&b));
    report("application_name", application);
    plain.then_some(reported)
}

fn ident(
    thread: &Rc<Thread>,
    key: &IdentKey,
    pool: &Arc<KeyPool>,
    settings: Arc<ParamSet>,
    reported: Reported,
) -> Rc<Ident> {
    let value = |name: &str| reported.iter().find(|(n, _)| n.as_ref() == name).map(|(_, v)| v.as_ref());
    let conforming = value("standard_conforming_strings") != Some("off");
    let encoding = value("client_encoding").is_none_or(ascii_safe);
    let shared = &thread.shared;
    let application =
        if shared.reads_application { settings.get("application_name").unwrap_or_default() } else { "" };
    let class = Class {
        user: key.user.clone(),
        database: key.database.clone(),
        application: application.into(),
        standard_conforming_strings: conforming,
        ascii_safe_encoding: encoding,
    };
    let replicas: Vec<_> = shared.replicas.iter().map(|node| node.pool(&key.user, &key.database)).collect();
    let mode = match pool.terms.pool_mode {
        PoolMode::Session => Mode::Session,
        PoolMode::Transaction => Mode::Transaction,
        PoolMode::Statement => Mode::Statement,
    };
    let meter = |pool: &Arc<KeyPool>| thread.meters.pool(&pool.node.name, &pool.database, &pool.user);
    Rc::new(Ident {
        class: Arc::new(class),
        settings,
        may_route: shared.may_route && mode != Mode::Session,
        mode,
        times: pool.terms.times,
        reported,
        client_meter: thread.meters.clients(&key.database, &key.user),
        primary_meter: meter(pool),
        replica_meters: replicas.iter().map(meter).collect(),
        primary: Arc::clone(pool),
        replicas,
    })
}

/// A server of the primary for a first meeting.
async fn server(thread: &Rc<Thread>, pool: &Arc<KeyPool>) -> Result<Box<Server>, Unserved> {
    let deadline = pool.terms.query_wait_timeout.map(|t| Instant::now() + t);
    loop {
        let grant = match pool.try_checkout(thread.index) {
            Some(server) => Grant::Server(server),
            None => match pool.enter(thread.index) {
                Entered::Granted(grant) => grant,
                Entered::Queued(waiting) => match deadline {
                    None => turn(waiting, pool).await.ok_or(Unserved::Busy)?,
                    Some(at) => {
                        let turn = tokio::time::timeout_at(at.into(), turn(waiting, pool)).await;
                        turn.ok().flatten().ok_or_else(|| {
                            thread.meters.timeout(Timeout::QueryWait);
                            Unserved::Busy
                        })?
                    }
                },
            },
        };
        if let Some(server) = open::redeem(grant, pool, thread.index, deadline).await? {
            return Ok(server);
        }
    }
}

/// Its turn in the queue, or a connection of the reserve.
async fn turn(mut waiting: Waiting, pool: &KeyPool) -> Option<Grant> {
    let terms = &pool.terms;
    if terms.reserve_pool_size > 0 {
        if let Ok(grant) = tokio::time::timeout(terms.reserve_pool_timeout, &mut waiting).await {
            return grant;
        }
        waiting.may_use_reserve();
    }
    waiting.await
}

async fn refuse(mut stream: Stream, unserved: Unserved) {
    let mut out = Vec::new();
    match unserved {
        Unserved::Open(error) => {
            let (code, message) = error.for_client();
            reply::error_response(&mut out, Severity::Fatal, code, &message, "", "");
        }
        Unserved::Settings(body) => {
            let text =
                |code| String::from_utf8_lossy(backend::field(&body, code).unwrap_or_default()).into_owned();
            let code = text(b'C').as_bytes().try_into().unwrap_or(sqlstate::INVALID_PARAMETER_VALUE);
            reply::error_response(&mut out, Severity::Fatal, code, &text(b'M'), &text(b'D'), &text(b'H'));
        }
        Unserved::Full(message) => {
            let code = sqlstate::TOO_MANY_CONNECTIONS;
            reply::error_response(&mut out, Severity::Fatal, code, &message, "", "");
        }
        Unserved::Busy => {
            let hint = "Raise pool.pool_size or pool.query_wait_timeout, or shorten transactions.";
            let message = "no server connection came free in time";
            reply::error_response(
                &mut out,
                Severity::Fatal,
                sqlstate::TOO_MANY_CONNECTIONS,
                message,
                "",
                hint,
            );
        }
    }
    let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, &out).await;
    let _ = tokio::io::AsyncWriteExt::shutdown(&mut stream).await;
}

impl Drive {
    /// The end of a session: the last words, and the server made fit for the next client.
    pub(super) async fn finish(&mut self, closed: Closed) {
        self.thread.shared.buffered.set(&mut self.buffered, 0);
        if let Some(server) = self.server.take() {
            let running = !server.backend.quiet() || server.pipe.unsent() > 0;
            let session_mode = self.ident.mode == Mode::Session;
            if running {
                // Nobody waits for the result any more: stop it, and close the connection.
                if let Some(done) = super::cancel::send(&server) {
                    tokio::task::spawn_local(async move {
                        let _ = done.await;
                        drop(server);
                    });
                }
            } else if server.backend.idle() && self.session.pins().is_none() && !session_mode {
                self.thread.give_back(server);
            } else {
                self.thread.recover(server, session_mode || !self.session.pins().is_none());
            }
        }
        if closed == Closed::Shutdown {
            let hint = "The connection pooler is shutting down; connect again.";
            self.farewell(
                sqlstate::ADMIN_SHUTDOWN,
                "terminating connection due to administrator command",
                hint,
            );
        }
        let goodbye = std::future::poll_fn(|cx| match self.client.drain(cx) {
            Ok(false) => std::task::Poll::Pending,
            _ => std::task::Poll::Ready(()),
        });
        let _ = tokio::time::timeout(std::time::Duration::from_secs(1), goodbye).await;
        if closed != Closed::Client {
            let shutdown = tokio::io::AsyncWriteExt::shutdown(&mut self.client.stream);
            let _ = tokio::time::timeout(std::time::Duration::from_secs(1), shutdown).await;
        }
    }
}
