//! SIGHUP: reads the files again that may change while we run. What cannot be read leaves the old as it is.

use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};

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
        let _ = tokio::task::spawn_blocking(move || reload(&front)).await;
    }
}

fn reload(front: &Front) {
    match front.credentials.reload() {
        Ok(Some(users)) => tracing::info!(users, "auth_file: read again"),
        Ok(None) => {}
        Err(error) => tracing::error!(%error, "auth_file: not read; the users from before stay"),
    }
    match front.certificate.as_ref().map(|certificate| certificate.reload()) {
        Some(Ok(())) => tracing::info!("client_tls_cert_file: read again"),
        None => {}
        Some(Err(error)) => {
            tracing::error!(%error, "client_tls_cert_file: not read; the certificate from before stays");
        }
    }
    tracing::info!("SIGHUP is through; settings and policies need a restart");
}
