//! Listening, and dealing connections to the data threads.

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, UnixListener};
use tokio::sync::mpsc;

use super::startup::{self, Refused, Welcome};
use super::stream::{Detached, Peer, Stream};
use super::thread::{Shared, Thread};
use super::{cancel, client_log, greet};
use crate::admin;
use crate::config::ListenAddr;
use crate::observe::counters::Timeout;
use crate::observe::limiter::Limiter;
use crate::wire::sqlstate::{self, SqlState};

/// Connections the kernel may hold ready for us: 2,000 at once are no reason to refuse any.
const BACKLOG: u32 = 4096;
/// After a failed accept (too many open files): long enough for some to close, short enough not to be noticed.
const PAUSE: Duration = Duration::from_millis(50);
/// How long a client that is turned away has for its first packets.
const PATIENCE: Duration = Duration::from_secs(2);
/// The same while no file can be opened and nobody else is accepted meanwhile.
const SHORT_PATIENCE: Duration = Duration::from_millis(250);

/// An open listening socket.
pub enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener, SocketFile),
}

/// Removes the socket's file when it is dropped.
pub struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Opens the sockets of one setting; a name may have several addresses.
///
/// # Errors
/// If none could be opened: the system's words.
pub async fn listen(address: &ListenAddr) -> io::Result<Vec<Listener>> {
    match address {
        ListenAddr::Tcp(host, port) => {
            let host = if host == "*" { "0.0.0.0" } else { host };
            let mut open = Vec::new();
            for address in tokio::net::lookup_host((host, *port)).await? {
                open.push(Listener::Tcp(bind(address)?));
            }
            Ok(open)
        }
        ListenAddr::Unix(path) => {
            // A socket left by a process that is gone; anything else is not ours to remove.
            let left = std::fs::symlink_metadata(path).is_ok_and(|m| m.file_type().is_socket());
            if left && std::os::unix::net::UnixStream::connect(path).is_err() {
                std::fs::remove_file(path)?;
            }
            let socket = UnixListener::bind(path)?;
            // Whoever may reach the directory may connect, as with PostgreSQL; who they are is proved after that.
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777))?;
            Ok(vec![Listener::Unix(socket, SocketFile(path.clone()))])
        }
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let domain = socket2::Domain::for_address(address);
    let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(i32::try_from(BACKLOG).unwrap_or(i32::MAX))?;
    TcpListener::from_std(socket.into())
}

impl Listener {
    /// Where it listens: with the real port if 0 was asked for.
    #[must_use]
    pub fn address(&self) -> String {
        match self {
            Self::Tcp(socket) => socket.local_addr().map_or_else(|e| e.to_string(), |a| a.to_string()),
            Self::Unix(_, path) => path.0.display().to_string(),
        }
    }

    async fn accept(&self) -> io::Result<Stream> {
        match self {
            Self::Tcp(socket) => Ok(Stream::from_tcp(socket.accept().await?.0)),
            Self::Unix(socket, _) => Ok(Stream::from_unix(socket.accept().await?.0)),
        }
    }
}

/// Where new connections go: this thread, or another in turn.
pub struct Deal {
    pub own: Rc<Thread>,
    pub others: Vec<mpsc::Sender<Detached>>,
}

/// Accepts for ever. Drop it to stop.
pub async fn accept(listener: Listener, deal: Rc<Deal>) {
    let mut turn = 0usize;
    let trouble = Limiter::new(1, 1);
    let mut reserve = reserve();
    loop {
        let stream = match listener.accept().await {
            Ok(stream) => stream,
            Err(error) => {
                // Says nothing about any server; clients already here go on.
                if let Some(suppressed) = trouble.admit(Instant::now()) {
                    tracing::warn!(%error, suppressed = suppressed.field(), "could not accept a client");
                }
                if !(is_out_of_files(&error) && shed(&listener, &deal.own.shared, &mut reserve).await) {
                    tokio::time::sleep(PAUSE).await;
                }
                continue;
            }
        };
        turn = (turn + 1) % (deal.others.len() + 1);
        match turn.checked_sub(1).and_then(|i| deal.others.get(i)) {
            None => drop(tokio::task::spawn_local(client(Rc::clone(&deal.own), stream))),
            Some(other) => {
                if let Ok(detached) = stream.detach() {
                    let _ = other.try_send(detached);
                }
            }
        }
    }
}

/// A file for the moment when no other can be opened: closed, it makes room to tell a client so.
fn reserve() -> Option<File> {
    File::open("/dev/null").ok()
}

fn is_out_of_files(error: &io::Error) -> bool {
    use rustix::io::Errno;
    [Errno::MFILE, Errno::NFILE].iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// Out of files, one client is accepted in the place of the reserve and told so: it would wait in the kernel's
/// queue, and know nothing. Whether there was a reserve and a client.
async fn shed(listener: &Listener, shared: &Shared, reserved: &mut Option<File>) -> bool {
    let had = reserved.take().is_some();
    let accepted = match had {
        true => tokio::time::timeout(PAUSE, listener.accept()).await.ok().and_then(Result::ok),
        false => None,
    };
    let told = accepted.is_some();
    if let Some(stream) = accepted {
        let message = "too many open files; raise the limit (LimitNOFILE) or lower pool.max_client_conn";
        turn_away(shared, stream, sqlstate::TOO_MANY_CONNECTIONS, message, SHORT_PATIENCE).await;
    }
    *reserved = reserve();
    told
}

/// Tells a client that cannot be taken why, unless too many are being told already.
async fn turn_away(shared: &Shared, stream: Stream, code: SqlState, message: &str, patience: Duration) {
    let Ok(_permit) = shared.turning_away.try_acquire() else { return };
    let talk = Box::pin(startup::turn_away(stream, &shared.front, code, message, patience));
    if let Some(Welcome::Cancel { pid, key, stream }) = talk.await {
        cancel::deliver(shared, pid, &key);
        drop(stream);
    }
}

/// Takes what the acceptor deals to this thread.
pub async fn take(thread: Rc<Thread>, mut dealt: mpsc::Receiver<Detached>) {
    while let Some(detached) = dealt.recv().await {
        if let Ok(stream) = detached.attach() {
            tokio::task::spawn_local(client(Rc::clone(&thread), stream));
        }
    }
}

/// Counts a client until it is dropped, however its task ends.
struct Seat(Arc<Shared>);

impl Seat {
    fn take(shared: &Arc<Shared>) -> Result<Self, ()> {
        let seat = Self(Arc::clone(shared));
        let before = shared.clients.fetch_add(1, Ordering::Relaxed);
        if before < shared.settings.pool.max_client_conn { Ok(seat) } else { Err(()) }
    }

    /// Beyond the bound.
    fn extra(shared: &Arc<Shared>) -> Self {
        shared.clients.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(shared))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.clients.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One connection from its first byte to its last.
async fn client(thread: Rc<Thread>, stream: Stream) {
    let shared = Arc::clone(&thread.shared);
    let peer = stream.peer();
    if shared.draining.load(Ordering::Relaxed) {
        let message = "the connection pooler is shutting down";
        let code = sqlstate::CANNOT_CONNECT_NOW;
        return Box::pin(turn_away(&shared, stream, code, message, PATIENCE)).await;
    }
    let Ok(seat) = Seat::take(&shared) else { return Box::pin(crowded(&thread, stream)).await };
    let welcome = startup::welcome(stream, Arc::clone(&shared.front));
    let deadline = shared.settings.pool.client_login_timeout;
    let Some(admitted) = Box::pin(login(&thread, peer, welcome, deadline)).await else { return };
    if admin::is_console(&admitted.database) {
        return admin::enter(&shared, *admitted, seat);
    }
    greet::serve(thread, admitted).await;
    drop(seat);
}

/// No room: a client is told so, unless it is for the console, where one looks what fills the room.
async fn crowded(thread: &Rc<Thread>, stream: Stream) {
    let shared = &thread.shared;
    let message = "sorry, too many clients already (pool.max_client_conn)";
    let code = sqlstate::TOO_MANY_CONNECTIONS;
    let Ok(_permit) = shared.console.door.try_acquire() else {
        return Box::pin(turn_away(shared, stream, code, message, PATIENCE)).await;
    };
    let peer = stream.peer();
    let welcome = startup::welcome_to_console(stream, Arc::clone(&shared.front), code, message);
    if let Some(admitted) = Box::pin(login(thread, peer, welcome, PATIENCE)).await {
        admin::enter(shared, *admitted, Seat::extra(shared));
    }
}

async fn login(
    thread: &Rc<Thread>,
    peer: Peer,
    welcome: startup::Welcoming,
    deadline: Duration,
) -> Option<Box<startup::Admitted>> {
    let shared = &thread.shared;
    let outcome = tokio::time::timeout(deadline, welcome).await;
    match outcome {
        Ok(Ok(Welcome::Admitted(admitted))) => {
            thread.meters.client_login(true);
            client_log::came(shared, &admitted);
            return Some(admitted);
        }
        Ok(Ok(Welcome::Cancel { pid, key, stream })) => {
            cancel::deliver(shared, pid, &key);
            drop(stream);
        }
        Ok(Err(Refused::Gone)) => {}
        Ok(Err(refused)) => {
            thread.meters.client_login(false);
            client_log::refused(shared, peer, &refused);
        }
        Err(_) => {
            thread.meters.client_login(false);
            thread.meters.timeout(Timeout::ClientLogin);
            client_log::refused(shared, peer, &"client_login_timeout");
        }
    }
    None
}
