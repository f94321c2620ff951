//! The log: lines on stderr, `2026-11-21T12:00:00Z INFO message key=value`.
//!
//! Whoever logs never waits for the disk or the terminal: a line goes into a bounded queue, a thread writes it.
//! What finds the queue full is dropped, counted in `pgsluice_log_dropped_total`, and said in the log once it
//! moves again. A line is one line and at most 8 KiB, whatever a value holds. Secrets have types that print as
//! stars.

use std::fmt::{self, Write as _};
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender, TryRecvError, TrySendError};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::fmt::{FmtContext, MakeWriter};
use tracing_subscriber::registry::LookupSpan;

use super::labels::cut;

/// Lines that may wait; with [`MAX_LINE`], 8 MiB at the very most.
const QUEUE: usize = 1024;
/// Longest line in bytes.
const MAX_LINE: usize = 8 * 1024;
/// How long the end of the process waits for the last lines.
const LAST_LINES: Duration = Duration::from_secs(1);

/// What the metrics say of the log.
#[derive(Debug, Default)]
pub struct Stats {
    dropped: AtomicU64,
}

impl Stats {
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

/// Keeps the log going; dropped, it waits shortly for the last lines.
#[derive(Debug)]
pub struct Guard {
    queue: SyncSender<Message>,
    stats: Arc<Stats>,
}

impl Guard {
    #[must_use]
    pub fn stats(&self) -> Arc<Stats> {
        Arc::clone(&self.stats)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let deadline = Instant::now() + LAST_LINES;
        let (done, wait) = mpsc::sync_channel(1);
        let mut message = Message::Flush(done);
        while let Err(TrySendError::Full(back)) = self.queue.try_send(message) {
            if Instant::now() >= deadline {
                return;
            }
            message = back;
            thread::sleep(Duration::from_millis(5));
        }
        let _ = wait.recv_timeout(deadline.saturating_duration_since(Instant::now()));
    }
}

enum Message {
    Line(Box<[u8]>),
    Flush(SyncSender<()>),
}

/// Sends the process's log to stderr. `filter` is a level (`info`) or `target=level` pairs, comma-separated.
///
/// # Errors
/// A sentence: the filter is not understood, or a log is running already.
pub fn start(filter: &str) -> Result<Guard, String> {
    let filter = EnvFilter::try_new(filter)
        .map_err(|error| format!("log level `{filter}`: {error}; use error, warn, info, debug or trace"))?;
    let (guard, subscriber) = build(filter, io::stderr())?;
    tracing::subscriber::set_global_default(subscriber).map_err(|_| "the log is running already")?;
    Ok(guard)
}

fn build(
    filter: EnvFilter,
    sink: impl Write + Send + 'static,
) -> Result<(Guard, impl Subscriber + Send + Sync + 'static), String> {
    let (queue, lines) = mpsc::sync_channel(QUEUE);
    let stats = Arc::new(Stats::default());
    let seen = Arc::clone(&stats);
    thread::Builder::new()
        .name("log".into())
        .spawn(move || write_lines(&lines, sink, &seen))
        .map_err(|error| format!("cannot start the log's thread: {error}"))?;
    let guard = Guard { queue: queue.clone(), stats: Arc::clone(&stats) };
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .event_format(Plain)
        .with_writer(Queue { queue, stats })
        .finish();
    Ok((guard, subscriber))
}

fn write_lines(lines: &Receiver<Message>, mut sink: impl Write, stats: &Stats) {
    let mut said = 0;
    // A sink that fails has nobody to tell: the lines are lost, the process goes on.
    let mut next = lines.recv();
    while let Ok(message) = next {
        match message {
            Message::Line(line) => drop(sink.write_all(&line)),
            Message::Flush(done) => {
                let _ = sink.flush();
                let _ = done.try_send(());
            }
        }
        next = match lines.try_recv() {
            Ok(message) => Ok(message),
            Err(TryRecvError::Disconnected) => return,
            Err(TryRecvError::Empty) => {
                let dropped = stats.dropped();
                if dropped > said {
                    let _ = sink.write_all(dropped_line(SystemTime::now(), dropped - said).as_bytes());
                    said = dropped;
                }
                lines.recv()
            }
        };
    }
}

fn dropped_line(now: SystemTime, lines: u64) -> String {
    format!("{} WARN log lines were dropped: the reader of stderr was too slow lines={lines}\n", Time(now))
}

/// Where events are written: into the queue, or nowhere.
struct Queue {
    queue: SyncSender<Message>,
    stats: Arc<Stats>,
}

impl<'a> MakeWriter<'a> for Queue {
    type Writer = &'a Self;
    fn make_writer(&'a self) -> Self::Writer {
        self
    }
}

impl Write for &Queue {
    /// One call is one line: the formatter writes a whole event at once.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.queue.try_send(Message::Line(line.into())).is_err() {
            self.stats.dropped.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The form of a line.
struct Plain;

impl<S, N> FormatEvent<S, N> for Plain
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let mut line = format!("{} {} {}", Time(SystemTime::now()), event.metadata().level(), fields.message);
        line.push_str(&fields.rest);
        line.truncate(cut(&line, MAX_LINE - 1).len());
        writeln!(writer, "{line}")
    }
}

#[derive(Default)]
struct Fields {
    message: String,
    /// ` key=value` each.
    rest: String,
}

impl Fields {
    fn add(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            push_escaped(&mut self.message, value);
            return;
        }
        let _ = write!(self.rest, " {}=", field.name());
        let plain = |c: char| !c.is_whitespace() && !c.is_control() && !matches!(c, '"' | '=' | '\\');
        if !value.is_empty() && value.chars().all(plain) {
            self.rest.push_str(value);
        } else {
            self.rest.push('"');
            push_escaped(&mut self.rest, &value.replace('\\', "\\\\").replace('"', "\\\""));
            self.rest.push('"');
        }
    }
}

/// Control characters and line separators as `\n`, `\u{..}`: nobody forges a line or moves the cursor.
fn push_escaped(text: &mut String, value: &str) {
    for character in value.chars() {
        if character.is_control() || matches!(character, '\u{2028}' | '\u{2029}') {
            text.extend(character.escape_default());
        } else {
            text.push(character);
        }
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value);
    }
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, &format!("{value:?}"));
    }
}

/// A moment in UTC to the second, as RFC 3339 writes it.
pub struct Time(pub SystemTime);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let (days, rest) = (seconds / 86_400, seconds % 86_400);
        // Years of 365.2425 days that begin in March, so that the leap day is the last one
        // (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", civil_from_days).
        let shifted = days + 719_468;
        let era = shifted / 146_097;
        let day_of_era = shifted % 146_097;
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
        let year = era * 400 + year_of_era + u64::from(month <= 2);
        let (hour, minute, second) = (rest / 3_600, rest / 60 % 60, rest % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::sync::{Condvar, Mutex};

    /// A sink that can be stuck.
    #[derive(Clone, Default)]
    struct Sink(Arc<(Mutex<Written>, Condvar)>);

    #[derive(Default)]
    struct Written {
        stuck: bool,
        bytes: Vec<u8>,
    }

    impl Sink {
        fn stick(&self, stuck: bool) {
            self.0.0.lock().unwrap().stuck = stuck;
            self.0.1.notify_all();
        }
        fn text(&self) -> String {
            String::from_utf8(self.0.0.lock().unwrap().bytes.clone()).unwrap()
        }
    }

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut state = self.0.1.wait_while(self.0.0.lock().unwrap(), |written| written.stuck).unwrap();
            state.bytes.extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(sink: &Sink, log: impl FnOnce(&Guard)) -> String {
        let (guard, subscriber) = build(EnvFilter::new("info"), sink.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, || log(&guard));
        drop(guard);
        sink.text()
    }

    #[test]
    fn a_line_is_time_level_message_and_values() {
        let text = logged(&Sink::default(), |_| {
            tracing::info!(server = "replica1", lag = 1.5, "replica is behind");
            tracing::debug!("not at this level");
        });
        let (time, rest) = text.split_once(' ').unwrap();
        assert_eq!(rest, "INFO replica is behind server=replica1 lag=1.5\n");
        assert_eq!((time.len(), time.ends_with('Z')), (20, true));
    }

    #[test]
    fn hostile_values_stay_in_their_line() {
        let text = logged(&Sink::default(), |_| {
            tracing::warn!(
                user = "x\n2026-01-01T00:00:00Z ERROR forged",
                empty = "",
                "log-in\u{1b}[2J failed"
            );
            tracing::warn!(user = %"é".repeat(20_000), "long");
        });
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 2);
        let forged = r#"user="x\n2026-01-01T00:00:00Z ERROR forged" empty="""#;
        assert!(lines[0].ends_with(&format!(r"WARN log-in\u{{1b}}[2J failed {forged}")), "{}", lines[0]);
        assert!(lines[1].len() < MAX_LINE && lines[1].len() > MAX_LINE - 4);
    }

    #[test]
    fn a_stuck_reader_costs_lines_not_time_and_hears_of_it_once() {
        let sink = Sink::default();
        sink.stick(true);
        let over = 50;
        let text = logged(&sink, |guard| {
            // The writer may hold one line besides the queue.
            for n in 0..QUEUE + over + 1 {
                tracing::info!(n, "line");
            }
            assert!((over as u64..=over as u64 + 1).contains(&guard.stats().dropped()));
            sink.stick(false);
        });
        // The guard's own message may overtake the writer's remark; wait for it.
        let mut text = text;
        while !text.contains("dropped") {
            thread::yield_now();
            text = sink.text();
        }
        assert_eq!(text.matches("log lines were dropped").count(), 1);
        assert_eq!(text.matches(" INFO line ").count() as u64, (QUEUE + over + 1) as u64 - dropped(&text));
    }

    fn dropped(text: &str) -> u64 {
        text.split_once("lines=").unwrap().1.trim().parse().unwrap()
    }

    #[test]
    fn times_are_right_around_leap_days() {
        let time = |seconds| Time(UNIX_EPOCH + Duration::from_secs(seconds)).to_string();
        assert_eq!(time(0), "1970-01-01T00:00:00Z");
        assert_eq!(time(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(time(1_709_251_199), "2024-02-29T23:59:59Z");
        assert_eq!(time(1_709_251_200), "2024-03-01T00:00:00Z");
        assert_eq!(time(4_107_542_399), "2100-02-28T23:59:59Z");
        assert_eq!(time(4_107_542_400), "2100-03-01T00:00:00Z");
    }

    #[test]
    fn an_unknown_level_is_refused_with_the_known_ones() {
        let error = start("loud=very").unwrap_err();
        assert!(error.contains("error, warn, info"), "{error}");
    }
}
