//! SIGHUP: reads the files again that may change while we run.

use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::control::reload;
use crate::proxy::thread::Shared;

/// Waits for SIGHUP for ever. From the call on, the signal does not end the process.
///
/// # Errors
/// If the system does not take the handler.
pub(super) fn on_hangup(shared: Arc<Shared>) -> std::io::Result<impl Future<Output = ()> + Send + 'static> {
    let hangup = signal(SignalKind::hangup())?;
    Ok(run(hangup, shared))
}

async fn run(mut hangup: Signal, shared: Arc<Shared>) {
    while hangup.recv().await.is_some() {
        let shared = Arc::clone(&shared);
        shared.reopen_logs();
        // Files may be slow, and this thread also probes the servers.
        let _ =
            tokio::task::spawn_blocking(move || reload::all(&shared.front, &shared.policies, "SIGHUP")).await;
        tracing::info!("SIGHUP is through; settings need a restart");
    }
}
