//! A connection for questions to the planner: logged in as a client's own user, with that user's own key, outside of the
//! pool's caps.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::pool::KeyPool;
use crate::proxy::stream::Stream;
use crate::wire::backend as view;
use crate::wire::frame::{self, HEADER};
use crate::wire::frontend;

/// As in `pg_stat_activity`.
const APPLICATION: &str = "pgsluice plans";
/// A larger answer is no plan.
const ANSWER_MAX: usize = 4 << 20;
/// Longest time for the login.
const PATIENCE: Duration = Duration::from_secs(4);

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error("{0}")]
    Server(String),
    #[error("{0}")]
    Lost(String),
}

impl From<std::io::Error> for Fault {
    fn from(error: std::io::Error) -> Self {
        Self::Lost(error.to_string())
    }
}

/// One.
pub(super) struct Side {
    stream: Stream,
    buffer: Vec<u8>,
    /// Of the last ReadyForQuery; `?` while an answer is under way.
    status: u8,
    pub(super) pool: Arc<KeyPool>,
    pub(super) used: Instant,
    /// It may have hypothetical indexes.
    pub(super) imagines: bool,
}

impl Side {
    pub(super) async fn open(pool: &Arc<KeyPool>) -> Result<Self, Fault> {
        let (key, parameters) = (pool.login(), [("application_name", APPLICATION)]);
        let connect = pool.node.hosts.connect(&pool.user, &pool.terms.dbname, &key, &parameters);
        let late = || Fault::Lost(format!("no login within {PATIENCE:?}"));
        let connected = tokio::time::timeout(PATIENCE, connect).await.map_err(|_| late())?;
        let (_, greeting) = connected.map_err(|error| Fault::Lost(error.to_string()))?;
        let mut side = Self {
            stream: greeting.stream,
            buffer: Vec::new(),
            status: b'I',
            pool: Arc::clone(pool),
            used: Instant::now(),
            imagines: false,
        };
        if let Some(sql) = &pool.terms.connect_query {
            side.query(sql).await?;
        }
        Ok(side)
    }

    /// Outside of a transaction, and nothing is under way.
    pub(super) fn is_idle(&self) -> bool {
        self.status == b'I'
    }

    /// In a transaction that has not failed, or in none.
    pub(super) fn is_well(&self) -> bool {
        matches!(self.status, b'I' | b'T')
    }

    /// A simple query: its rows.
    pub(super) async fn query(&mut self, sql: &str) -> Result<Vec<Vec<u8>>, Fault> {
        let mut message = Vec::new();
        frontend::put_query(&mut message, sql.as_bytes());
        self.send(&message).await
    }

    /// Messages that are answered with one ReadyForQuery: the bodies of the rows before it.
    pub(super) async fn send(&mut self, messages: &[u8]) -> Result<Vec<Vec<u8>>, Fault> {
        self.used = Instant::now();
        self.status = b'?';
        self.stream.write_all(messages).await?;
        self.stream.flush().await?;
        let (mut rows, mut size, mut fault) = (Vec::new(), 0, None);
        loop {
            let broken = |_| Fault::Lost("an answer of that length is none".to_owned());
            while let Some(header) = frame::peek(&self.buffer, |_| ANSWER_MAX).map_err(broken)? {
                let Some(body) = self.buffer.get(HEADER..header.total) else { break };
                match header.tag {
                    b'D' => {
                        size += body.len();
                        rows.push(body.to_vec());
                    }
                    b'E' => fault = fault.or_else(|| view::field(body, b'M').map(<[u8]>::to_vec)),
                    b'Z' => self.status = body.first().copied().unwrap_or(b'?'),
                    _ => {}
                }
                self.buffer.drain(..header.total);
                if header.tag == b'Z' {
                    return match fault {
                        None => Ok(rows),
                        Some(message) => Err(Fault::Server(String::from_utf8_lossy(&message).into_owned())),
                    };
                }
            }
            if size > ANSWER_MAX {
                return Err(Fault::Lost("the answer is too large".to_owned()));
            }
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(Fault::Lost("the server closed the connection".to_owned()));
            }
        }
    }
}
