//! From a proven identity to a client that may send queries: settings, greeting, cancel key.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use super::card::ClientCard;
use super::client_log;
use super::crowd::Place;
use super::drive::{Closed, Drive, run};
use super::pipe::Pipe;
use super::replication;
use super::startup::Admitted;
use super::stream::Stream;
use super::thread::{Ident, IdentKey, Thread};
use super::vigil::Vigil;
use crate::config::PoolMode;
use crate::guard::Class;
use crate::observe::counters::Timeout;
use crate::pool::key::LoginKey;
use crate::pool::open::{self, OpenError};
use crate::pool::reset::{self, AskError};
use crate::pool::{ClientId, Entered, Grant, KeyPool, NOBODY, Pinned, Server, Waiting, Worth};
use crate::session::{Mode, ParamSet, Session};
use crate::wire::reply::{self, Severity};
use crate::wire::sqlstate;

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
    let Admitted { mut stream, protocol_minor, replication, user, database, params, mut leftover, login } =
        *admitted;
    let mut key = IdentKey { user: user.into(), database: database.into(), params };
    let vigil = Vigil::new(leftover.len());
    let meeting = async {
        match replication {
            Some(kind) => replication::meet(thread, &mut key, kind, &login).await,
            None => shared(thread, &key, &login).await.map(|ident| (ident, None)),
        }
    };
    let met = tokio::select! {
        biased;
        met = meeting => Some(met),
        () = vigil.keep(&mut stream, &mut leftover) => None,
    };
    let Some(met) = met else {
        let reason = Closed::Client.reason();
        client_log::left(&thread.shared, &key.user, &key.database, stream.peer(), reason);
        return None;
    };
    let (ident, own) = match met {
        Ok(met) => met,
        Err(unserved) => {
            let reason = unserved.reason();
            client_log::left(&thread.shared, &key.user, &key.database, stream.peer(), reason);
            refuse(stream, unserved).await;
            return None;
        }
    };
    let id = thread.shared.next_client();
    let pid = match &own {
        Some(server) => Some(server.pid),
        None => own_server(thread, id, &ident).await,
    };
    let card = ClientCard::new(id, Arc::clone(&ident.class), Arc::clone(&ident.settings), &stream);
    let (mailbox, registered) = thread.shared.mailbox(protocol_minor, pid, card)?;
    let mut out = Vec::new();
    ident.reported.iter().for_each(|(name, value)| reply::parameter_status(&mut out, name, value));
    reply::backend_key_data(&mut out, registered.pid, mailbox.key());
    ident.primary.notices().tell(
        &mut out,
        ident.reported("client_encoding"),
        ident.settings.get("client_min_messages"),
    );
    reply::ready_for_query(&mut out, b'I');
    ident.client_meter.sent.add(out.len() as u64);
    if tokio::io::AsyncWriteExt::write_all(&mut stream, &out).await.is_err()
        || tokio::io::AsyncWriteExt::flush(&mut stream).await.is_err()
    {
        return None;
    }
    let mut session = match own {
        Some(_) => replication::session(&ident),
        None => Session::new(ident.mode, Arc::clone(&ident.class), Arc::clone(&ident.settings)),
    };
    session.speak(ident.reported("client_encoding").unwrap_or_default());
    let pipe = Pipe::new(stream);
    let mut drive = Drive::new(Rc::clone(thread), ident, pipe, session, mailbox, registered, leftover);
    own.into_iter().for_each(|server| drive.dedicate(server));
    Some(drive)
}

/// What a client shares with others of the same user, database and settings.
async fn shared(thread: &Rc<Thread>, key: &IdentKey, login: &LoginKey) -> Result<Rc<Ident>, Unserved> {
    let pool = thread.shared.primary.pool(&key.user, &key.database);
    pool.set_login(login);
    let met = thread.ident(key);
    let ident = Rc::clone(met.get_or_try_init(|| meet(thread, key, &pool)).await?);
    ident.replicas.iter().for_each(|replica| replica.set_login(login));
    Ok(ident)
}

/// The process id of a server that is the client's own, as long as there are enough: a new one, or one that was
/// nobody's. `None` where there is no room, or the server can't be reached now.
async fn own_server(thread: &Rc<Thread>, id: ClientId, ident: &Ident) -> Option<i32> {
    let pool = &ident.primary;
    if let Some(pid) = pool.claim(thread.index, id, Worth::New) {
        return Some(pid);
    }
    let Some(permit) = pool.spare_permit() else { return pool.claim(thread.index, id, Worth::Used) };
    let deadline = Some(Instant::now());
    let mut server = open::open(permit, &pool.login(), thread.index, deadline).await.ok()?;
    server.belong_to(id);
    let pid = server.pid;
    thread.give_back(server);
    Some(pid)
}

/// Meets a combination of user, database and settings for the first time: a server takes the settings, and what
/// it reports is what such clients are greeted with. Wrong settings fail here, as they would directly.
async fn meet(thread: &Rc<Thread>, key: &IdentKey, pool: &Arc<KeyPool>) -> Result<Rc<Ident>, Unserved> {
    let settings = Arc::new(ParamSet::new(key.params.iter().map(|(k, v)| (k.as_str(), v.as_str()))));
    if let Some(reported) = thread.similar(key, |ident| derive(&ident.settings, &ident.reported, &settings)) {
        return Ok(Rc::new(ident(thread, key, pool, settings, reported)));
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
    Ok(Rc::new(ident(thread, key, pool, settings, reported)))
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

pub(super) fn ident(
    thread: &Rc<Thread>,
    key: &IdentKey,
    pool: &Arc<KeyPool>,
    settings: Arc<ParamSet>,
    reported: Reported,
) -> Ident {
    let value = |name: &str| reported.iter().find(|(n, _)| n.as_ref() == name).map(|(_, v)| v.as_ref());
    let conforming = value("standard_conforming_strings") != Some("off");
    let shared = &thread.shared;
    let application = settings.get("application_name").unwrap_or_default();
    let class = Class {
        user: key.user.clone(),
        database: key.database.clone(),
        application: application.into(),
        standard_conforming_strings: conforming,
        ascii_safe_encoding: true,
    };
    let replicas: Vec<_> = shared.replicas.iter().map(|node| node.pool(&key.user, &key.database)).collect();
    let mode = match pool.terms.pool_mode {
        PoolMode::Session => Mode::Session,
        PoolMode::Transaction => Mode::Transaction,
        PoolMode::Statement => Mode::Statement,
    };
    let meter = |pool: &Arc<KeyPool>| thread.meters.pool(&pool.node.name, &pool.database, &pool.user);
    Ident {
        class: Arc::new(class),
        settings,
        may_route: !shared.replicas.is_empty() && mode != Mode::Session,
        reuse_unnamed: pool.terms.reuse_unnamed,
        schema: shared.schema(&key.database),
        custom_settings: RefCell::default(),
        mode,
        times: pool.terms.times,
        reported,
        client_meter: thread.meters.clients(&key.database, &key.user),
        primary_meter: meter(pool),
        replica_meters: replicas.iter().map(meter).collect(),
        primary: Arc::clone(pool),
        replicas,
    }
}

/// A server of the primary for a first meeting.
async fn server(thread: &Rc<Thread>, pool: &Arc<KeyPool>) -> Result<Box<Server>, Unserved> {
    let deadline = pool.terms.query_wait_timeout.map(|t| Instant::now() + t);
    loop {
        let grant = match pool.try_checkout(thread.index, NOBODY) {
            Some(server) => Grant::Server(server),
            None => grant(thread, pool, deadline).await?,
        };
        if let Some(server) = open::redeem(grant, pool, thread.index, deadline).await? {
            return Ok(server);
        }
    }
}

/// A turn in the queue.
pub(super) async fn grant(
    thread: &Thread,
    pool: &Arc<KeyPool>,
    deadline: Option<Instant>,
) -> Result<Grant, Unserved> {
    match pool.enter(thread.index, NOBODY) {
        Entered::Granted(grant) => Ok(grant),
        Entered::Queued(waiting) => match deadline {
            None => turn(waiting, pool).await.ok_or(Unserved::Busy),
            Some(at) => {
                let turn = tokio::time::timeout_at(at.into(), turn(waiting, pool)).await;
                turn.ok().flatten().ok_or_else(|| {
                    thread.meters.timeout(Timeout::QueryWait);
                    Unserved::Busy
                })
            }
        },
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
        Unserved::Open(error) => error.reply(&mut out),
        Unserved::Settings(body) => reply::fatal_response(&mut out, &body),
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
        self.pinned = Pinned::default(); // before its server goes on to the next
        let between_messages = self.server.as_ref().is_none_or(|server| !server.backend.is_inside());
        for pool in std::iter::once(&self.ident.primary).chain(&self.ident.replicas) {
            pool.disown(self.thread.index, self.id);
        }
        if let Some(server) = self.server.take_if(|_| self.own) {
            replication::close(server).await;
        }
        if let Some(mut server) = self.server.take() {
            server.owner = NOBODY;
            let running = server.backend.owes_us().is_none() || server.pipe.unsent() > 0;
            let session_mode = self.ident.mode == Mode::Session;
            if running {
                // Nobody waits for the result any more: stop it, and close the connection.
                if let Some(done) = super::cancel::send(&server) {
                    tokio::task::spawn_local(async move {
                        let _ = done.await;
                        drop(server);
                    });
                }
            } else if server.worn {
                drop(server);
            } else if server.backend.idle() && !self.session.is_dirty() && !session_mode {
                self.thread.give_back(server);
            } else {
                let asked = server.backend.owes_us() != Some(0);
                self.thread.recover(server, session_mode || asked || self.session.is_dirty());
            }
        }
        if closed == Closed::Shutdown || closed == Closed::Killed && between_messages {
            let hint = match closed {
                Closed::Killed => "An administrator ended this connection (KILL_CLIENT).",
                _ => "The connection pooler is shutting down; connect again.",
            };
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
