//! What the console shows of a client: a card that the client's own task keeps up to date and anybody may read.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use super::stream::{Peer, Stream};
use crate::guard::{Class, Effects};
use crate::observe::counters::{ClientMeter, ClientPresence, ClientState};
use crate::pool::ClientId;
use crate::pool::card::ServerCard;
use crate::session::ParamSet;

/// One logged-in client. What may change is written with relaxed stores, and only when it does.
#[derive(Debug)]
pub struct ClientCard {
    /// Unique while this process lives.
    pub id: ClientId,
    /// User and database.
    pub class: Arc<Class>,
    /// What it started with.
    pub settings: Arc<ParamSet>,
    pub peer: Peer,
    pub local: Peer,
    pub tls: bool,
    /// When it had logged in.
    pub since: SystemTime,
    clock: Instant,
    state: AtomicU8,
    pins: AtomicU32,
    /// The server connection it holds: its card's number (0: none), and the server's process id.
    server: AtomicU64,
    server_pid: AtomicI32,
    /// Times are microseconds from `clock`, and one; 0 is never.
    requested: AtomicU64,
    waiting: AtomicU64,
    pinned: AtomicU64,
}

impl ClientCard {
    #[must_use]
    pub fn new(id: ClientId, class: Arc<Class>, settings: Arc<ParamSet>, stream: &Stream) -> Arc<Self> {
        Arc::new(Self {
            id,
            class,
            settings,
            peer: stream.peer(),
            local: stream.local(),
            tls: stream.is_tls(),
            since: SystemTime::now(),
            clock: Instant::now(),
            state: AtomicU8::new(ClientState::Idle as u8),
            pins: AtomicU32::new(0),
            server: AtomicU64::new(0),
            server_pid: AtomicI32::new(0),
            requested: AtomicU64::new(0),
            waiting: AtomicU64::new(0),
            pinned: AtomicU64::new(0),
        })
    }

    #[inline]
    fn at(&self, now: Instant) -> u64 {
        micros(now.saturating_duration_since(self.clock)) + 1
    }

    fn time(&self, cell: &AtomicU64) -> Option<SystemTime> {
        let micros = cell.load(Ordering::Relaxed).checked_sub(1)?;
        self.since.checked_add(Duration::from_micros(micros))
    }

    /// The reasons for which it keeps its server, as the bits of [`Effects`].
    pub fn set_pins(&self, bits: u32) {
        let before = self.pins.swap(bits, Ordering::Relaxed);
        if before == 0 || bits == 0 {
            let since = if bits == 0 { 0 } else { self.at(Instant::now()) };
            self.pinned.store(since, Ordering::Relaxed);
        }
    }

    /// A statement of its came.
    #[inline]
    pub fn set_request(&self, at: Instant) {
        self.requested.store(self.at(at), Ordering::Relaxed);
    }

    #[must_use]
    pub fn state(&self) -> ClientState {
        let state = self.state.load(Ordering::Relaxed);
        let all = [ClientState::Idle, ClientState::Active, ClientState::Waiting];
        all.into_iter().find(|s| *s as u8 == state).unwrap_or(ClientState::Idle)
    }

    /// Why it keeps its server: labels as in `pins_total`.
    pub fn pins(&self) -> impl Iterator<Item = &'static str> {
        let bits = self.pins.load(Ordering::Relaxed);
        let set = move |pin: &Effects| pin.0 & bits != 0;
        Effects::PINS.iter().filter(move |(pin, _)| set(pin)).map(|(_, label)| *label)
    }

    #[must_use]
    pub fn pinned_since(&self) -> Option<SystemTime> {
        self.time(&self.pinned)
    }

    #[must_use]
    pub fn requested(&self) -> Option<SystemTime> {
        self.time(&self.requested)
    }

    /// How long it has waited for a server, if it waits.
    #[must_use]
    pub fn wait(&self, now: Instant) -> Option<Duration> {
        let since = Duration::from_micros(self.waiting.load(Ordering::Relaxed).checked_sub(1)?);
        let waits = self.state() == ClientState::Waiting;
        waits.then(|| now.saturating_duration_since(self.clock).saturating_sub(since))
    }

    /// Number and process id of the server connection it holds.
    #[must_use]
    pub fn server(&self) -> Option<(u64, i32)> {
        let id = self.server.load(Ordering::Relaxed);
        (id != 0).then(|| (id, self.server_pid.load(Ordering::Relaxed)))
    }
}

/// Whole microseconds; no wide division, this is done for each statement.
#[inline]
fn micros(time: Duration) -> u64 {
    time.as_secs() * 1_000_000 + u64::from(time.subsec_micros())
}

/// A client's task in the counts and on its card, set together. Stays on its thread.
pub(super) struct Presence {
    counted: ClientPresence,
    card: Arc<ClientCard>,
    /// As on the card.
    pins: u32,
}

impl Presence {
    pub(super) fn new(meter: &Arc<ClientMeter>, card: Arc<ClientCard>) -> Self {
        Self { counted: meter.client(), card, pins: 0 }
    }

    /// Without a server: idle or waiting.
    #[inline]
    pub(super) fn set(&mut self, state: ClientState) {
        self.counted.set(state);
        self.card.state.store(state as u8, Ordering::Relaxed);
        self.card.server.store(0, Ordering::Relaxed);
        if state == ClientState::Waiting {
            self.card.waiting.store(self.card.at(Instant::now()), Ordering::Relaxed);
        }
    }

    /// With this server.
    #[inline]
    pub(super) fn link(&mut self, server: &ServerCard) {
        self.counted.set(ClientState::Active);
        self.card.state.store(ClientState::Active as u8, Ordering::Relaxed);
        self.card.server.store(server.id, Ordering::Relaxed);
        self.card.server_pid.store(server.pid, Ordering::Relaxed);
        server.lend(self.card.id);
    }

    #[inline]
    pub(super) fn requested(&self, at: Instant) {
        self.card.set_request(at);
    }

    /// The session's pins now.
    #[inline]
    pub(super) fn pinned(&mut self, pins: Effects) {
        let bits = pins.0;
        if bits != self.pins {
            self.pins = bits;
            self.card.set_pins(bits);
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    pub(crate) fn card(user: &str, database: &str, application: &str) -> Arc<ClientCard> {
        let (ours, _theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        let _entered = runtime.enter();
        let stream = Stream::from_unix(tokio::net::UnixStream::from_std(ours).unwrap());
        let class = Class {
            user: user.into(),
            database: database.into(),
            application: "".into(),
            standard_conforming_strings: true,
            ascii_safe_encoding: true,
        };
        ClientCard::new(
            7,
            Arc::new(class),
            Arc::new(ParamSet::new([("application_name", application)])),
            &stream,
        )
    }

    #[test]
    fn a_pin_has_its_reason_and_its_first_moment() {
        let card = card("ann", "shop", "");
        assert_eq!((card.pins().next(), card.pinned_since()), (None, None));
        card.set_pins(Effects::LISTEN.0);
        let since = card.pinned_since().unwrap();
        card.set_pins(Effects::LISTEN.and(Effects::TEMP_TABLE).0);
        assert_eq!(card.pins().collect::<Vec<_>>(), ["temp_table", "listen"]);
        assert_eq!(card.pinned_since(), Some(since), "since the first of them");
        card.set_pins(0);
        assert_eq!((card.pins().next(), card.pinned_since()), (None, None));
    }

    #[test]
    fn a_card_is_small() {
        assert!(size_of::<ClientCard>() <= 168, "{}", size_of::<ClientCard>());
    }

    #[test]
    fn only_who_waits_has_a_wait() {
        let meters = crate::observe::Meters::new(crate::observe::Bounds::default());
        let card = card("ann", "shop", "");
        let mut presence = Presence::new(&meters.thread().clients("shop", "ann"), Arc::clone(&card));
        let later = Instant::now() + Duration::from_secs(3);
        assert_eq!((card.state(), card.wait(later)), (ClientState::Idle, None));
        presence.set(ClientState::Waiting);
        assert!(card.wait(later).unwrap() > Duration::from_secs(2));
        presence.set(ClientState::Idle);
        assert_eq!((card.wait(later), card.server()), (None, None));
    }
}
