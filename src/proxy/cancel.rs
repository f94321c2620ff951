//! CancelRequest: from a client to its task, from the task to its server.
//!
//! Only the task that holds the server sends the cancel, and the server is not lent on before the cancel
//! connection is closed: a cancel never hits another client's query.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::oneshot;

use super::drive::Drive;
use super::thread::Shared;
use crate::pool::Server;
use crate::pool::login;
use crate::wire::startup;

const PATIENCE: Duration = Duration::from_secs(5);

/// A client asked to cancel what `pid` runs. A wrong key is answered like a right one: with nothing.
pub(super) fn deliver(shared: &Shared, pid: i32, key: &[u8]) {
    if let Some(head) = key.first_chunk()
        && let Some(mailbox) = shared.mailboxes.get(&(pid, *head))
        && mailbox.opens_with(key)
    {
        mailbox.cancel();
    }
}

/// Sends a CancelRequest to the server; the receiver is done when its connection is closed.
pub(super) fn send(server: &Server) -> Option<oneshot::Receiver<()>> {
    let target = server.permit.pool()?.node.hosts.target(server.host).clone();
    let mut request = Vec::new();
    startup::cancel_request(&mut request, server.pid, &server.cancel_key);
    let (done, receiver) = oneshot::channel();
    tokio::task::spawn_local(async move {
        let work = async {
            let mut stream = login::dial(&target).await.ok()?;
            stream.write_all(&request).await.ok()?;
            stream.flush().await.ok()?;
            // The server closes the connection when it has sent the signal.
            let mut end = Vec::new();
            stream.take(64).read_to_end(&mut end).await.ok()
        };
        let _ = tokio::time::timeout(PATIENCE, work).await;
        drop(done);
    });
    Some(receiver)
}

impl Drive {
    /// Cancels what the client runs.
    pub(super) fn cancel(&mut self) {
        if let Some(server) = &mut self.server
            && server.backend.owes_client()
            && server.canceling.is_none()
        {
            server.canceling = send(server);
        }
    }
}
