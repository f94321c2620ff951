//! What the console shows of a server connection: a card that its holder keeps up to date and anybody may read.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Instant, SystemTime};

use super::{ClientId, KeyPool, NOBODY, Node};
use crate::proxy::stream::{Peer, Stream};

/// Numbers of server connections; 0 is none.
static NEXT: AtomicU64 = AtomicU64::new(1);

/// One server connection. Written with relaxed stores by the thread that has it, read at any time.
#[derive(Debug)]
pub struct ServerCard {
    /// Unique while this process lives.
    pub id: u64,
    /// The server process at its other end.
    pub pid: i32,
    pub user: Arc<str>,
    pub database: Arc<str>,
    pub peer: Peer,
    pub local: Peer,
    pub tls: bool,
    pub since: SystemTime,
    clock: Instant,
    /// The client it is lent to, if any.
    client: AtomicU64,
    /// Microseconds from `clock` to its last return.
    rested: AtomicU64,
    reset: AtomicBool,
}

/// What a server connection does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Duty {
    Idle,
    Lent(ClientId),
    /// Its client is gone; it is made fit for the next.
    Reset,
}

impl ServerCard {
    fn new(pool: &KeyPool, stream: &Stream, pid: i32) -> Self {
        Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            pid,
            user: Arc::clone(&pool.user),
            database: Arc::clone(&pool.database),
            peer: stream.peer(),
            local: stream.local(),
            tls: stream.is_tls(),
            since: SystemTime::now(),
            clock: Instant::now(),
            client: AtomicU64::new(NOBODY),
            rested: AtomicU64::new(0),
            reset: AtomicBool::new(false),
        }
    }

    #[inline]
    pub(crate) fn lend(&self, client: ClientId) {
        self.client.store(client, Ordering::Relaxed);
    }

    /// It is cleaned from here to its return.
    pub(crate) fn clean(&self) {
        self.lend(NOBODY);
        self.reset.store(true, Ordering::Relaxed);
    }

    /// Given back.
    #[inline]
    pub(super) fn rest(&self, now: Instant) {
        self.lend(NOBODY);
        let micros = now.saturating_duration_since(self.clock).as_micros();
        self.rested.store(u64::try_from(micros).unwrap_or(u64::MAX), Ordering::Relaxed);
        if self.reset.load(Ordering::Relaxed) {
            self.reset.store(false, Ordering::Relaxed);
        }
    }

    #[must_use]
    pub fn duty(&self) -> Duty {
        match self.client.load(Ordering::Relaxed) {
            NOBODY if self.reset.load(Ordering::Relaxed) => Duty::Reset,
            NOBODY => Duty::Idle,
            client => Duty::Lent(client),
        }
    }

    /// When it was last given back; its birth if it never was.
    #[must_use]
    pub fn rested(&self) -> SystemTime {
        self.since + std::time::Duration::from_micros(self.rested.load(Ordering::Relaxed))
    }
}

/// A card on show: taken away when it is dropped, with its connection.
pub struct Shown {
    card: Arc<ServerCard>,
    node: Arc<Node>,
}

impl Shown {
    /// Shows a connection that has logged in.
    #[must_use]
    pub(super) fn new(pool: &KeyPool, stream: &Stream, pid: i32) -> Self {
        let card = Arc::new(ServerCard::new(pool, stream, pid));
        pool.node.cards.insert(card.id, Arc::clone(&card));
        Self { card, node: Arc::clone(&pool.node) }
    }
}

impl Deref for Shown {
    type Target = ServerCard;

    fn deref(&self) -> &ServerCard {
        &self.card
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        self.node.cards.remove(&self.card.id);
    }
}
