//! One server that may be at one of several places: the primary, and where it may be after a failover.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::connect_error::ConnectError;
use super::key::LoginKey;
use super::login::{self, ServerGreeting, Target};
use super::open::{may_pass, random};
use crate::config::{Host, ServerUrl, TargetSessionAttrs};
use crate::proxy::stream::Stream;
use crate::wire::frame::{self, HEADER};
use crate::wire::frontend;

/// The places, in the order of the URL.
pub struct Hosts {
    first: Target,
    more: Vec<Target>,
    wanted: TargetSessionAttrs,
    random: bool,
    /// Where the last connection was made: the next one is tried there first.
    last: AtomicUsize,
}

impl Hosts {
    /// One place, whatever is there.
    #[must_use]
    pub fn only(target: &Target) -> Self {
        Self {
            first: target.clone(),
            more: Vec::new(),
            wanted: TargetSessionAttrs::Any,
            random: false,
            last: AtomicUsize::new(0),
        }
    }

    /// The places of a URL.
    pub fn new(url: &ServerUrl, target: impl Fn(&Host) -> Target) -> Self {
        Self {
            first: target(&url.host),
            more: url.more_hosts.iter().map(&target).collect(),
            wanted: url.target_session_attrs,
            random: url.load_balance_hosts,
            last: AtomicUsize::new(0),
        }
    }

    /// One of them, by the number that [`Self::connect`] gave.
    #[must_use]
    pub fn target(&self, at: usize) -> &Target {
        at.checked_sub(1).and_then(|at| self.more.get(at)).unwrap_or(&self.first)
    }

    /// Connects to the first that is there and is what is wanted, and says which it was. As with libpq, one that is
    /// there and refuses the login has the last word.
    ///
    /// # Errors
    /// The last one's [`ConnectError`].
    pub async fn connect(
        &self,
        user: &str,
        database: &str,
        key: &LoginKey,
        parameters: &[(&str, &str)],
    ) -> Result<(usize, ServerGreeting), ConnectError> {
        let count = 1 + self.more.len();
        let start = match self.random {
            true => (random() * count as f64) as usize,
            false => self.last.load(Ordering::Relaxed),
        };
        let mut turn = 0;
        loop {
            let at = (start + turn) % count;
            let error = match self.try_one(self.target(at), user, database, key, parameters).await {
                Ok(greeting) => {
                    self.last.store(at, Ordering::Relaxed);
                    return Ok((at, greeting));
                }
                Err(error) => error,
            };
            turn += 1;
            if turn >= count || error.is_local() || !may_pass(&error) {
                return Err(error);
            }
        }
    }

    async fn try_one(
        &self,
        target: &Target,
        user: &str,
        database: &str,
        key: &LoginKey,
        parameters: &[(&str, &str)],
    ) -> Result<ServerGreeting, ConnectError> {
        let mut greeting = login::connect(target, user, database, key, parameters).await?;
        let problem = match self.wanted {
            TargetSessionAttrs::Any => None,
            wanted => unfit(&mut greeting, wanted).await,
        };
        match problem {
            None => Ok(greeting),
            Some(problem) => Err(ConnectError::Unfit { host: target.host.clone(), problem }),
        }
    }
}

const STANDBY: &str = "in recovery: this is a replica, not a primary";
const READ_ONLY: &str = "the session is read-only";

/// What is wrong with a server. PostgreSQL 14 and later report it unasked.
async fn unfit(greeting: &mut ServerGreeting, wanted: TargetSessionAttrs) -> Option<&'static str> {
    let reported = |name: &str| {
        let found = greeting.parameters.iter().find(|(known, _)| known.as_ref() == name);
        found.map(|(_, value)| value.as_ref() == "on")
    };
    let writes = wanted == TargetSessionAttrs::ReadWrite;
    match (reported("in_hot_standby"), reported("default_transaction_read_only")) {
        (Some(true), _) => Some(STANDBY),
        (Some(false), read_only) => (writes && read_only == Some(true)).then_some(READ_ONLY),
        (None, _) if writes => fails(&mut greeting.stream, READ_WRITE).await.then_some(READ_ONLY),
        (None, _) => fails(&mut greeting.stream, NOT_IN_RECOVERY).await.then_some(STANDBY),
    }
}

/// Longest wait for a server to say what it is.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(5);

/// They fail (they divide by zero) where a server is not what is wanted: only whether they do has to be read.
const NOT_IN_RECOVERY: &str = "SELECT 1 / (CASE WHEN pg_catalog.pg_is_in_recovery() THEN 0 ELSE 1 END)";
const READ_WRITE: &str =
    "SELECT 1 / (CASE pg_catalog.current_setting('transaction_read_only') WHEN 'on' THEN 0 ELSE 1 END)";

/// Whether a query gets an error, or no answer at all.
async fn fails(stream: &mut Stream, sql: &str) -> bool {
    let asked = async {
        let mut buffer = Vec::new();
        frontend::put_query(&mut buffer, sql.as_bytes());
        stream.write_all(&buffer).await.ok()?;
        stream.flush().await.ok()?;
        buffer.clear();
        let mut failed = false;
        loop {
            while let Some(h) = frame::peek(&buffer, |_| 64 * 1024).ok()? {
                if buffer.get(HEADER..h.total).is_none() {
                    break;
                }
                failed |= h.tag == b'E';
                buffer.drain(..h.total);
                if h.tag == b'Z' {
                    return Some(failed);
                }
            }
            if stream.read_buf(&mut buffer).await.ok()? == 0 {
                return None;
            }
        }
    };
    tokio::time::timeout(PATIENCE, asked).await.ok().flatten().unwrap_or(true)
}
