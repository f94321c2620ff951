//! `/metrics`, `/healthz`, `/readyz`, `/fingerprints`, for scrapers and orchestrators.
//!
//! Runs on the control plane's event loop and never touches a data thread. A stuck or hostile caller costs
//! one of [`MAX_CONNECTIONS`] places for at most [`PATIENCE`] without an answer, or [`LIFETIME`] in all;
//! pages are made off the loop and at most once a second. There is no access control: bind it to loopback or
//! a private network.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::serve::Listener;
use serde::Serialize;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep_until};

use super::exposition::seconds;
use super::metrics::{Page, fingerprint_label};

/// Connections served at once; the next ones wait in the kernel's queue.
pub const MAX_CONNECTIONS: usize = 32;
/// Longest time from one byte of an answer to the next: a slow request and a slow reader end there.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// Longest life of a connection, however busy.
pub const LIFETIME: Duration = Duration::from_secs(60);

/// What the endpoints answer from.
#[derive(Debug)]
pub struct Health {
    page: Page,
    listening: AtomicBool,
    /// How old the primary's last answer may be for `/readyz`.
    patience: Duration,
}

impl Health {
    /// `patience` is a few probe intervals.
    #[must_use]
    pub fn new(page: Page, patience: Duration) -> Arc<Self> {
        Arc::new(Self { page, listening: AtomicBool::new(false), patience })
    }

    /// Clients can connect, or no longer (when draining): `/readyz` follows.
    pub fn set_listening(&self, listening: bool) {
        self.listening.store(listening, Ordering::Relaxed);
    }

    /// A client that came now would be served.
    ///
    /// # Errors
    /// Why not, for people.
    pub fn ready(&self) -> Result<(), String> {
        if !self.listening.load(Ordering::Relaxed) {
            return Err("not accepting clients".into());
        }
        let snapshot = self.page.sources().snapshot.load();
        snapshot.topology.primary.ready(std::time::Instant::now(), self.patience)
    }
}

/// Serves on a TCP or unix socket until `stop` ends, then lets connections end within [`PATIENCE`].
///
/// # Errors
/// None at present: a failed accept is tried again.
pub async fn serve<L: Listener>(
    listener: L,
    health: Arc<Health>,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()>
where
    L::Addr: std::fmt::Debug,
{
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/fingerprints", get(fingerprints))
        .with_state(health);
    let listener = Bounded::new(listener, PATIENCE, LIFETIME);
    axum::serve(listener, router).with_graceful_shutdown(stop).await
}

/// Makes an answer off the event loop, which also runs the probes.
async fn answer(content_type: &'static str, make: impl FnOnce() -> String + Send + 'static) -> Response {
    match tokio::task::spawn_blocking(make).await {
        Ok(body) => ([(header::CONTENT_TYPE, content_type)], body).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn metrics(State(health): State<Arc<Health>>) -> Response {
    answer("text/plain; version=0.0.4; charset=utf-8", move || health.page.get().to_string()).await
}

async fn readyz(State(health): State<Arc<Health>>) -> (StatusCode, String) {
    match health.ready() {
        Ok(()) => (StatusCode::OK, "ok\n".into()),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, why + "\n"),
    }
}

/// One row of `/fingerprints`.
#[derive(Serialize)]
struct Row<'a> {
    fingerprint: String,
    database: &'a str,
    calls: u64,
    seconds: f64,
    rows: u64,
    bytes: u64,
    normalized: &'a str,
}

async fn fingerprints(State(health): State<Arc<Health>>) -> Response {
    let make = move || {
        let costs = health.page.sources().meters.fingerprints();
        let row = |(database, row): &(Arc<str>, super::fingerprints::Shown)| {
            let row = Row {
                fingerprint: fingerprint_label(row.fingerprint),
                database,
                calls: row.seen.calls,
                seconds: seconds(row.seen.nanos),
                rows: row.seen.rows,
                bytes: row.seen.bytes,
                normalized: &row.normalized,
            };
            serde_json::to_string(&row).unwrap_or_default()
        };
        format!("[{}]\n", costs.top.iter().map(row).collect::<Vec<_>>().join(",\n"))
    };
    answer("application/json", make).await
}

/// A listener, TCP or unix, with at most [`MAX_CONNECTIONS`] open, each with a deadline. A failed accept (no
/// file left) is tried again after a second.
struct Bounded<L> {
    listener: L,
    places: Arc<Semaphore>,
    patience: Duration,
    lifetime: Duration,
}

impl<L> Bounded<L> {
    fn new(listener: L, patience: Duration, lifetime: Duration) -> Self {
        Self { listener, places: Arc::new(Semaphore::new(MAX_CONNECTIONS)), patience, lifetime }
    }
}

impl<L: Listener> Listener for Bounded<L> {
    type Io = Deadlined<L::Io>;
    type Addr = L::Addr;

    async fn accept(&mut self) -> (Self::Io, L::Addr) {
        // Nobody closes the semaphore: there is always a place in the end.
        let place = Arc::clone(&self.places).acquire_owned().await.ok();
        let (stream, address) = self.listener.accept().await;
        (Deadlined::new(stream, self.patience, self.lifetime, place), address)
    }

    fn local_addr(&self) -> io::Result<L::Addr> {
        self.listener.local_addr()
    }
}

/// A stream that fails when no byte of an answer went out for `patience`, and at the end of its life.
/// Bytes that come in do not buy time: a request sent drop by drop ends too.
struct Deadlined<S> {
    stream: S,
    timer: Pin<Box<Sleep>>,
    patience: Duration,
    end: Instant,
    _place: Option<OwnedSemaphorePermit>,
}

impl<S> Deadlined<S> {
    fn new(stream: S, patience: Duration, lifetime: Duration, place: Option<OwnedSemaphorePermit>) -> Self {
        let now = Instant::now();
        let timer = Box::pin(sleep_until(now + patience.min(lifetime)));
        Self { stream, timer, patience, end: now + lifetime, _place: place }
    }

    fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match self.timer.as_mut().poll(cx) {
            Poll::Ready(()) => Err(io::ErrorKind::TimedOut.into()),
            Poll::Pending => Ok(()),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Deadlined<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check(cx)?;
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Deadlined<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes))?;
        let deadline = (Instant::now() + self.patience).min(self.end);
        self.timer.as_mut().reset(deadline);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(cx)?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(cx)?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::control::snapshot::{self, Shared};
    use crate::observe::metrics::Sources;
    use crate::observe::{Bounds, Meters};
    use std::net::SocketAddr;
    use std::time::SystemTime;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::time::sleep;

    fn health() -> Arc<Health> {
        let sources = Sources {
            census: crate::observe::metrics::Census::default(),
            meters: Meters::new(Bounds::default()),
            snapshot: Shared::default(),
            log: Arc::default(),
            query_log: None,
            certificate_expiry: None,
            started: SystemTime::now(),
        };
        Health::new(Page::new(sources), Duration::from_secs(3))
    }

    async fn get(address: SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn each_path_answers() {
        let health = health();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let server = tokio::spawn(serve(listener, Arc::clone(&health), async { drop(stopped.await) }));

        assert!(get(address, "/healthz").await.starts_with("HTTP/1.1 200"));
        assert!(get(address, "/nothing").await.starts_with("HTTP/1.1 404"));
        let page = get(address, "/metrics").await;
        assert!(page.starts_with("HTTP/1.1 200") && page.contains("\npgsluice_process_open_fds "), "{page}");
        let thread = health.page.sources().meters.thread();
        let database = thread.clients("shop", "app").database();
        thread.fingerprint(database, 0xab, &"SELECT \"é\" = $1".into(), 1_500_000_000, 2, 3);
        let rows = get(address, "/fingerprints").await;
        let body: serde_json::Value = serde_json::from_str(rows.split_once("\r\n\r\n").unwrap().1).unwrap();
        assert_eq!(body[0]["fingerprint"], "00000000000000ab");
        assert_eq!((&body[0]["seconds"], &body[0]["database"]), (&1.5.into(), &"shop".into()));
        assert_eq!(body[0]["normalized"], "SELECT \"é\" = $1");

        let unready = get(address, "/readyz").await;
        assert!(
            unready.starts_with("HTTP/1.1 503") && unready.ends_with("not accepting clients\n"),
            "{unready}"
        );
        health.set_listening(true);
        assert!(get(address, "/readyz").await.ends_with("primary: not asked yet\n"));
        snapshot::publish(&health.page.sources().snapshot, |next| {
            next.topology.primary.why_not = None;
            next.topology.primary.answered = Some(std::time::Instant::now());
        });
        assert!(get(address, "/readyz").await.starts_with("HTTP/1.1 200"));
        drop(stop);
        server.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn callers_beyond_the_bound_wait_for_a_place() {
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = tcp.local_addr().unwrap();
        let mut listener = Bounded::new(tcp, PATIENCE, LIFETIME);
        let mut held = Vec::new();
        for _ in 0..MAX_CONNECTIONS {
            held.push((TcpStream::connect(address).await.unwrap(), listener.accept().await.0));
        }
        let _next = TcpStream::connect(address).await.unwrap();
        assert!(at_once(listener.accept()).await.is_none());
        held.pop();
        listener.accept().await;
    }

    /// The future's value, if it has one at once (after the event loop looked around).
    async fn at_once<T>(future: impl Future<Output = T>) -> Option<T> {
        tokio::time::timeout(Duration::from_millis(50), future).await.ok()
    }

    // Paused time: it jumps to the next timer when nothing else can run.
    #[tokio::test(start_paused = true)]
    async fn a_request_sent_drop_by_drop_ends() {
        let (mut caller, ours) = duplex(64);
        let mut ours = Deadlined::new(ours, PATIENCE, LIFETIME, None);
        let dripping = tokio::spawn(async move {
            while caller.write_all(b"x").await.is_ok() {
                sleep(Duration::from_secs(1)).await;
            }
        });
        let started = Instant::now();
        let mut buffer = [0; 8];
        let error = loop {
            if let Err(error) = ours.read(&mut buffer).await {
                break error;
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(started.elapsed().as_secs(), PATIENCE.as_secs());
        drop(ours);
        dripping.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_sips_lives_its_life_and_no_longer() {
        let (mut caller, ours) = duplex(1);
        let mut ours = Deadlined::new(ours, PATIENCE, LIFETIME, None);
        tokio::spawn(async move {
            let mut byte = [0; 1];
            while caller.read_exact(&mut byte).await.is_ok() {
                sleep(Duration::from_secs(1)).await;
            }
        });
        let started = Instant::now();
        let error = ours.write_all(&[0; 1_000]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(started.elapsed().as_secs(), LIFETIME.as_secs());
    }
}
