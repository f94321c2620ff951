//! Connections of the demo's clients, and how it looks at the servers.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio_postgres::error::DbError;
use tokio_postgres::{AsyncMessage, Client, Error, NoTls, SimpleQueryMessage};

/// A client whose notices nobody reads.
pub(super) async fn connect(url: &str) -> Result<Client, Error> {
    Ok(connect_with_notices(url).await?.0)
}

pub(super) type Notices = Arc<Mutex<Vec<DbError>>>;

/// A client and the notices it was sent.
pub(super) async fn connect_with_notices(url: &str) -> Result<(Client, Notices), Error> {
    let (client, mut connection) = tokio_postgres::connect(url, NoTls).await?;
    let notices = Notices::default();
    let to = notices.clone();
    tokio::spawn(async move {
        while let Some(Ok(message)) = poll_fn(|cx| connection.poll_message(cx)).await {
            if let AsyncMessage::Notice(notice) = message {
                to.lock().unwrap_or_else(PoisonError::into_inner).push(notice);
            }
        }
    });
    Ok((client, notices))
}

/// The answer to a query and how long it took.
pub(super) async fn timed(client: &Client, sql: &str) -> (Result<Answer, Error>, Duration) {
    let start = Instant::now();
    let outcome = client.simple_query(sql).await;
    let time = start.elapsed();
    (outcome.map(|messages| Answer::of(&messages)), time)
}

/// Rows of a result as text.
pub(super) struct Answer {
    pub(super) rows: Vec<Vec<String>>,
}

impl Answer {
    fn of(messages: &[SimpleQueryMessage]) -> Self {
        let rows = messages.iter().filter_map(|m| match m {
            SimpleQueryMessage::Row(row) => {
                Some((0..row.len()).map(|i| row.get(i).unwrap_or_default().to_owned()).collect())
            }
            _ => None,
        });
        Self { rows: rows.collect() }
    }

    /// First column of the first row.
    pub(super) fn value(&self) -> &str {
        self.rows.first().and_then(|r| r.first()).map_or("", String::as_str)
    }

    /// The same as a number; 0 if it is none.
    pub(super) fn number(&self) -> u64 {
        self.value().parse().unwrap_or(0)
    }
}

/// Runs SQL that has to work. -> its answer
pub(super) async fn ask(client: &Client, sql: &str) -> Result<Answer, super::Error> {
    timed(client, sql).await.0.map_err(super::Error::sql("asking the server"))
}

/// An error as psql shows it.
pub(super) fn shown(kind: &str, error: &DbError) -> String {
    let mut text = format!("{kind} {}: {}", error.code().code(), error.message());
    for (name, part) in [("DETAIL", error.detail()), ("HINT", error.hint())] {
        if let Some(part) = part {
            text.push_str(&format!("\n{name}: {part}"));
        }
    }
    text
}

/// Latencies of one kind of query.
#[derive(Default)]
pub(super) struct Latencies(Vec<Duration>);

impl Latencies {
    pub(super) fn add(&mut self, time: Duration) {
        self.0.push(time);
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The value that `share` of all are below, 0.5 for the median.
    pub(super) fn quantile(&self, share: f64) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort();
        #[allow(clippy::cast_sign_loss, clippy::cast_possible_truncation, clippy::cast_precision_loss)]
        let at = (sorted.len() as f64 * share) as usize;
        sorted.get(at.min(sorted.len().saturating_sub(1))).copied().unwrap_or_default()
    }
}

/// CPU time that a server's processes have used; zero where there is no /proc.
pub(super) fn cpu_of_server(postmaster: u32) -> Duration {
    let mut ticks = 0;
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        // The name in parentheses may hold anything; the fields are counted from behind it.
        let Some((_, rest)) = stat.rsplit_once(") ") else { continue };
        let fields: Vec<u64> = rest.split(' ').map(|f| f.parse().unwrap_or(0)).collect();
        let [_, parent, ..] = fields.as_slice() else { continue };
        if pid == postmaster {
            // Its own, and that of backends that ended.
            ticks += fields.get(11..15).map_or(0, |f| f.iter().sum::<u64>());
        } else if *parent == u64::from(postmaster) {
            ticks += fields.get(11..13).map_or(0, |f| f.iter().sum::<u64>());
        }
    }
    let per_second = rustix::param::clock_ticks_per_second();
    Duration::from_millis(ticks * 1000 / per_second.max(1))
}
