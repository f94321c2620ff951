//! SIGHUP: reads the files again that may change while we run.

use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::control::reload;
use crate::proxy::startup::Front;

/// Waits for SIGHUP for ever. From the call on, the signal does not end the process.
///
/// # Errors
/// If the system does not take the handler.
pub(super) fn on_hangup(front: Arc<Front>) -> std::io::Result<impl Future<Output = ()> + Send + 'static> {
    let hangup = signal(SignalKind::hangup())?;
    Ok(run(hangup, front))
}

async fn run(mut hangup: Signal, front: Arc<Front>) {
    while hangup.recv().await.is_some() {
        let front = Arc::clone(&front);
        // Files may be slow, and this thread also probes the servers.
        let _ = tokio::task::spawn_blocking(move || reload::files(&front)).await;
        tracing::info!("SIGHUP is through; settings and policies need a restart");
    }
}
