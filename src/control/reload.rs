//! Reads the files again that may change while we run. What cannot be read leaves the old as it is.

use super::policies::Store;
use crate::proxy::startup::Front;

/// Reads `auth_file` and the certificate; blocks on the disk. What happens is logged, too.
///
/// # Errors
/// What could not be read, and why.
pub fn files(front: &Front) -> Result<(), String> {
    let mut failed = Vec::new();
    match front.credentials.reload() {
        Ok(Some(users)) => tracing::info!(users, "auth_file: read again"),
        Ok(None) => {}
        Err(error) => {
            tracing::error!(%error, "auth_file: not read; the users from before stay");
            failed.push(format!("auth_file: {error}"));
        }
    }
    match front.certificate.as_ref().map(|certificate| certificate.reload()) {
        Some(Ok(())) => tracing::info!("client_tls_cert_file: read again"),
        None => {}
        Some(Err(error)) => {
            tracing::error!(%error, "client_tls_cert_file: not read; the certificate from before stays");
            failed.push(format!("client_tls_cert_file: {error}"));
        }
    }
    if failed.is_empty() { Ok(()) } else { Err(failed.join("; ")) }
}

/// All that may change while we run: [`files`], and the policies. What became of the policies, in words.
///
/// # Errors
/// What could not be read, and why.
pub fn all(front: &Front, policies: &Store, trigger: &str) -> Result<String, String> {
    match (files(front), policies.reload(trigger)) {
        (Ok(()), Ok(said)) => Ok(format!("policies: {said}")),
        (Err(why), Ok(_)) => Err(why),
        (Ok(()), Err(why)) => Err(format!("policies: {why}")),
        (Err(files), Err(why)) => Err(format!("{files}; policies: {why}")),
    }
}
