//! The query log: a line for each statement, in the form that `pgsluice replay` reads.
//!
//! Nobody waits for the disk. Each data thread has a [`Pen`] with a buffer of its own; one thread takes what is there,
//! a few times a second or when a buffer is half full, and writes it. What finds its buffer full is dropped and
//! counted; so is what the disk does not take. Memory is bounded by the buffers: one that is filled and one that is
//! written.

mod file;
mod line;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

pub use line::{Fingerprint, Line, Moment, Params, Rules, Shown};

use super::locked;
use crate::config::{QueryLogSettings, QueryLogText, QueryLogWhich};
use crate::session::Wants;
use file::Rotating;

/// How often the buffers are looked at.
const PERIOD: Duration = Duration::from_millis(200);
/// After a failure of the disk.
const RETRY: Duration = Duration::from_secs(1);
/// Failures are said this often at most.
const SAY_EVERY: Duration = Duration::from_secs(60);
/// How long the end of the process waits for the last lines.
const LAST_LINES: Duration = Duration::from_secs(1);
/// What a buffer keeps of its memory when it is empty.
const KEPT: usize = 256 * 1024;

/// What the metrics say of it.
#[derive(Debug, Default)]
pub struct Stats {
    written: AtomicU64,
    full: AtomicU64,
    disk: AtomicU64,
}

impl Stats {
    /// Lines by what became of them: written, dropped since a buffer was full, dropped since the disk failed.
    #[must_use]
    pub fn lines(&self) -> [(&'static str, u64); 3] {
        let get = |cell: &AtomicU64| cell.load(Ordering::Relaxed);
        [("written", get(&self.written)), ("buffer_full", get(&self.full)), ("disk", get(&self.disk))]
    }
}

/// Which statements it has, and how.
#[derive(Clone, Copy, Debug)]
struct Terms {
    which: QueryLogWhich,
    /// Of 2^32.
    sample: u64,
    min_nanos: u64,
    text: QueryLogText,
    params: bool,
    /// Of one thread's buffer.
    room: usize,
}

#[derive(Debug, Default)]
struct Chunk {
    bytes: Vec<u8>,
    lines: u64,
}

#[derive(Debug)]
struct Inner {
    terms: Terms,
    stats: Arc<Stats>,
    buffers: Mutex<Vec<Arc<Mutex<Chunk>>>>,
    writer: OnceLock<Thread>,
    reopen: AtomicBool,
    closing: AtomicBool,
}

impl Inner {
    fn wake(&self) {
        if let Some(writer) = self.writer.get() {
            writer.unpark();
        }
    }
}

/// The log, for whoever hands out pens.
#[derive(Clone, Debug)]
pub struct QueryLog(Arc<Inner>);

/// Keeps the log going; dropped, it waits shortly for the last lines.
#[derive(Debug)]
pub struct Guard {
    log: QueryLog,
    ended: Receiver<()>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.log.0.closing.store(true, Ordering::SeqCst);
        self.log.0.wake();
        let _ = self.ended.recv_timeout(LAST_LINES);
    }
}

impl Guard {
    #[must_use]
    pub fn log(&self) -> QueryLog {
        self.log.clone()
    }
}

/// Starts the log; `None` if there is to be none. `threads`: how many pens will share the buffers' bound.
///
/// # Errors
/// The thread could not be started.
pub fn start(settings: &QueryLogSettings, threads: usize) -> std::io::Result<Option<Guard>> {
    let Some(path) = &settings.path else { return Ok(None) };
    let terms = Terms {
        which: settings.which,
        sample: (settings.sample.0 * 2f64.powi(32)) as u64,
        min_nanos: u64::try_from(settings.min_duration.as_nanos()).unwrap_or(u64::MAX),
        text: settings.text,
        params: settings.parameters,
        // Twice: while one is written the next is filled.
        room: settings.max_buffered.as_usize() / threads.max(1) / 2,
    };
    let file = Rotating::new(path.0.clone(), settings.max_file.0, settings.files);
    begin(terms, file).map(Some)
}

fn begin(terms: Terms, file: Rotating) -> std::io::Result<Guard> {
    let inner = Arc::new(Inner {
        terms,
        stats: Arc::default(),
        buffers: Mutex::default(),
        writer: OnceLock::new(),
        reopen: AtomicBool::new(false),
        closing: AtomicBool::new(false),
    });
    let (tell, ended) = mpsc::sync_channel(1);
    let its = Arc::clone(&inner);
    let writer = thread::Builder::new().name("query-log".into()).spawn(move || write(&its, file, &tell))?;
    let _ = inner.writer.set(writer.thread().clone());
    Ok(Guard { log: QueryLog(inner), ended })
}

/// Until the process ends.
fn write(inner: &Inner, mut file: Rotating, tell: &SyncSender<()>) {
    let mut chunk = Chunk::default();
    let (mut retry, mut said) = (None::<Instant>, None::<Instant>);
    loop {
        let closing = inner.closing.load(Ordering::SeqCst);
        if inner.reopen.swap(false, Ordering::SeqCst) {
            file.reopen();
            retry = None;
        }
        let waits = retry.is_some_and(|then| then.elapsed() < RETRY);
        let buffers = if waits && !closing { Vec::new() } else { locked(&inner.buffers).clone() };
        for buffer in buffers {
            std::mem::swap(&mut *locked(&buffer), &mut chunk);
            let written = file.write(&chunk.bytes);
            inner.stats.written.fetch_add(written.lines, Ordering::Relaxed);
            if let Some(error) = written.failure {
                inner.stats.disk.fetch_add(chunk.lines.saturating_sub(written.lines), Ordering::Relaxed);
                retry = Some(Instant::now());
                if said.is_none_or(|then| then.elapsed() >= SAY_EVERY) {
                    said = retry;
                    tracing::warn!(%error, "query log: not written; lines are dropped and counted");
                }
            }
            chunk.bytes.clear();
            chunk.bytes.shrink_to(KEPT);
            chunk.lines = 0;
        }
        if closing {
            let _ = tell.try_send(());
            return;
        }
        thread::park_timeout(PERIOD);
    }
}

impl QueryLog {
    /// For one data thread.
    #[must_use]
    pub fn pen(&self, seed: u64) -> Pen {
        let buffer = Arc::<Mutex<Chunk>>::default();
        locked(&self.0.buffers).push(Arc::clone(&buffer));
        Pen { inner: Arc::clone(&self.0), buffer, dice: std::cell::Cell::new(seed | 1) }
    }

    #[must_use]
    pub fn stats(&self) -> Arc<Stats> {
        Arc::clone(&self.0.stats)
    }

    /// The file of that name is opened anew, for who has moved the old one away. Does not wait for it.
    pub fn reopen(&self) {
        self.0.reopen.store(true, Ordering::SeqCst);
        self.0.wake();
    }
}

/// What one data thread writes with.
#[derive(Debug)]
pub struct Pen {
    inner: Arc<Inner>,
    buffer: Arc<Mutex<Chunk>>,
    dice: std::cell::Cell<u64>,
}

impl Pen {
    /// What must be kept of statements until they have run.
    #[must_use]
    pub fn wants(&self) -> Wants {
        let terms = &self.inner.terms;
        Wants { log: true, text: terms.text == QueryLogText::Full, params: terms.params }
    }

    /// Whether a statement is to be written; `judged`: a rule spoke of it.
    #[must_use]
    pub fn takes(&self, judged: bool, nanos: u64) -> bool {
        let terms = &self.inner.terms;
        let chosen = match terms.which {
            QueryLogWhich::All => true,
            QueryLogWhich::Judged => judged,
            QueryLogWhich::Slow => nanos >= terms.min_nanos,
        };
        chosen && self.sampled()
    }

    fn sampled(&self) -> bool {
        let mut dice = self.dice.get(); // xorshift64
        dice ^= dice << 13;
        dice ^= dice >> 7;
        dice ^= dice << 17;
        self.dice.set(dice);
        (dice >> 32) < self.inner.terms.sample
    }

    /// Writes a line, or counts it as dropped.
    pub fn write(&self, line: &Line<'_>) {
        let (room, stats) = (self.inner.terms.room, &self.inner.stats);
        let mut chunk = locked(&self.buffer);
        let before = chunk.bytes.len();
        if before >= room || serde_json::to_writer(&mut chunk.bytes, line).is_err() {
            chunk.bytes.truncate(before);
            stats.full.fetch_add(1, Ordering::Relaxed);
            return;
        }
        chunk.bytes.push(b'\n');
        chunk.lines += 1;
        let wakes = before < room / 2 && chunk.bytes.len() >= room / 2;
        drop(chunk);
        if wakes {
            self.inner.wake();
        }
    }
}

#[cfg(test)]
mod tests;
