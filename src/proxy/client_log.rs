//! Lines about clients that come, leave, or are refused. Bounded, so that a storm of them cannot fill a disk.

use std::fmt::Display;
use std::time::Instant;

use super::startup::Admitted;
use super::stream::Peer;
use super::thread::Shared;
use crate::wire::startup::Replication;

/// Lines a second in the long run, and at once.
pub(super) const BOUND: (u32, u32) = (10, 100);

/// A client has proved who it is.
pub(super) fn came(shared: &Shared, client: &Admitted) {
    if !shared.settings.log.log_connections {
        return;
    }
    let Some(suppressed) = shared.client_log.admit(Instant::now()) else { return };
    let Admitted { user, database, stream, .. } = client;
    let (peer, tls, suppressed) = (stream.peer(), stream.is_tls(), suppressed.field());
    let replication = client.replication.map(Replication::value);
    tracing::info!(user, database, %peer, tls, replication, suppressed, "client logged in");
}

/// A client that had logged in is gone.
pub(crate) fn left(shared: &Shared, user: &str, database: &str, peer: Peer, reason: &str) {
    if !shared.settings.log.log_disconnections {
        return;
    }
    let Some(suppressed) = shared.client_log.admit(Instant::now()) else { return };
    tracing::info!(user, database, %peer, reason, suppressed = suppressed.field(), "client left");
}

/// A client was not let in.
pub(super) fn refused(shared: &Shared, peer: Peer, reason: &dyn Display) {
    let Some(suppressed) = shared.client_log.admit(Instant::now()) else { return };
    tracing::info!(%peer, %reason, suppressed = suppressed.field(), "login refused");
}
