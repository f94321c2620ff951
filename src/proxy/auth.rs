//! Has a client prove who it is.
//!
//! What is asked follows the stored secret: SCRAM-SHA-256 for a verifier or a password, md5 for an md5 hash. A
//! user who does not exist, has no password, or has one that cannot be checked goes through the same exchange
//! with a mock verifier and ends with the same error as one who mistyped. `cert` asks nothing: the certificate has
//! been checked in the handshake, and must name the user.

use std::sync::Arc;

use super::startup::{Front, Refused, Wire};
use super::x509;
use crate::config::AuthType;
use crate::control::credentials::{Known, Stored};
use crate::pool::key::{LoginKey, nonce, random};
use crate::wire::auth_message;
use crate::wire::md5::Md5Hash;
use crate::wire::reply;
use crate::wire::scram::{self, Binding, ClientKey, ScramError, ServerExchange, Verifier};
use crate::wire::sqlstate;
use crate::wire::startup::Startup;

/// Asks, checks and sends AuthenticationOk. `out` is what has to be sent before the first question.
///
/// # Errors
/// [`Refused`], not yet told to the client.
pub(super) async fn authenticate(
    wire: &mut Wire,
    front: &Front,
    startup: &Startup,
    mut out: Vec<u8>,
) -> Result<LoginKey, Refused> {
    if front.auth_type == AuthType::Cert {
        certified(wire, startup)?;
    }
    let known = front.credentials.lookup(&startup.user).await;
    if matches!(front.auth_type, AuthType::Trust | AuthType::Cert) {
        // Nobody is asked; a stored password or hash still opens servers that do ask.
        reply::authentication_ok(&mut out);
        wire.send(&out).await?;
        return Ok(if let Ok(Known::Secret(stored)) = known { stored.login_key() } else { LoginKey::None });
    }
    let known = known.map_err(|unavailable| {
        Refused::told(sqlstate::CANNOT_CONNECT_NOW, format!("{unavailable}: the primary does not answer"))
    })?;
    let without_secret = matches!(known, Known::NoPassword | Known::Unreadable);
    if without_secret && front.auth_type == AuthType::Auto {
        let peer = wire.stream.peer();
        if front.credentials.lets_in(&startup.user, &startup.database, &peer).await {
            reply::authentication_ok(&mut out);
            wire.send(&out).await?;
            return Ok(LoginKey::None);
        }
    }
    let refused = |reason| Refused::Authentication {
        user: startup.user.clone(),
        database: startup.database.clone(),
        reason,
    };
    match question(front, &startup.user, known).await {
        Question::Scram { verifier, stored } => {
            let proof = scram(wire, out, verifier).await?;
            let stored = stored.map_err(refused)?; // a mock has no right proof; if it had, it would end here
            let (client_key, server_final) = proof.ok_or_else(|| refused("wrong password"))?;
            let mut out = Vec::new();
            reply::authentication_sasl_final(&mut out, server_final.as_bytes());
            reply::authentication_ok(&mut out);
            let login = stored.proved(client_key);
            wire.send(&out).await?;
            Ok(login)
        }
        Question::Md5 { hash, stored } => {
            let salt = random()?;
            reply::authentication_md5_password(&mut out, salt);
            wire.send(&out).await?;
            let body = wire.answer().await?;
            let right = hash.verify(salt, auth_message::password(&body)?);
            let stored = stored.map_err(refused)?;
            if !right {
                return Err(refused("wrong password"));
            }
            let mut out = Vec::new();
            reply::authentication_ok(&mut out);
            wire.send(&out).await?;
            Ok(stored.login_key())
        }
    }
}

/// Whether the client's certificate is the user's.
fn certified(wire: &Wire, startup: &Startup) -> Result<(), Refused> {
    let refused = |reason| Refused::Certificate {
        user: startup.user.clone(),
        database: startup.database.clone(),
        reason,
    };
    let certificate = wire.stream.peer_certificate().ok_or_else(|| refused("it has shown none"))?;
    match x509::common_name(certificate) {
        Some(name) if name == startup.user => Ok(()),
        Some(_) => Err(refused("its common name is another user")),
        None => Err(refused("it has no common name")),
    }
}

/// What to ask and what to check it against; without a secret, why nothing can be right.
enum Question {
    Scram { verifier: Arc<Verifier>, stored: Result<Stored, &'static str> },
    Md5 { hash: Md5Hash, stored: Result<Stored, &'static str> },
}

async fn question(front: &Front, user: &str, known: Known) -> Question {
    let md5_asked = front.auth_type == AuthType::Md5;
    let mock = |reason| {
        if md5_asked {
            Question::Md5 { hash: Md5Hash::of(&[], user), stored: Err(reason) }
        } else {
            Question::Scram { verifier: front.credentials.mock(user), stored: Err(reason) }
        }
    };
    let stored = match known {
        Known::Secret(stored) => stored,
        Known::NoPassword => return mock("the user has no password, or one that has expired"),
        Known::Unknown => return mock("no such user, or it may not log in"),
        Known::Unreadable => return mock("the login in the primary's URL may not read secrets"),
    };
    let wants_md5 = match front.auth_type {
        AuthType::Md5 => true,
        AuthType::Auto => matches!(stored, Stored::Md5(_)),
        AuthType::ScramSha256 | AuthType::Trust | AuthType::Cert => false,
    };
    // Under auth_type = "md5" a SCRAM verifier is asked for SCRAM, as PostgreSQL and PgBouncer do.
    if let Some(hash) = stored.md5(user).filter(|_| wants_md5) {
        return Question::Md5 { hash, stored: Ok(stored) };
    }
    match stored.verifier().await {
        Some(verifier) => Question::Scram { verifier, stored: Ok(stored) },
        None => mock("the stored secret is not good for auth_type"),
    }
}

/// One SCRAM exchange up to the client's proof; yields the ClientKey and server-final, `None` for a wrong proof.
async fn scram(
    wire: &mut Wire,
    mut out: Vec<u8>,
    verifier: Arc<Verifier>,
) -> Result<Option<(ClientKey, String)>, Refused> {
    let broken = |error: ScramError| {
        let sqlstate = match error {
            ScramError::Binding | ScramError::Downgrade => sqlstate::INVALID_AUTHORIZATION,
            ScramError::Unsupported(_) => sqlstate::FEATURE_NOT_SUPPORTED,
            _ => sqlstate::PROTOCOL_VIOLATION,
        };
        Refused::told(sqlstate, error.to_string())
    };
    let binding = wire.binding.clone();
    match binding {
        Some(_) => reply::authentication_sasl(&mut out, &[scram::MECHANISM_PLUS, scram::MECHANISM]),
        None => reply::authentication_sasl(&mut out, &[scram::MECHANISM]),
    }
    wire.send(&out).await?;
    let body = wire.answer().await?;
    let (mechanism, data) = auth_message::sasl_initial_response(&body)?;
    let binding = match (&binding, std::str::from_utf8(mechanism)) {
        (Some(data), Ok(scram::MECHANISM_PLUS)) => Binding::Chosen(data),
        (Some(_), Ok(scram::MECHANISM)) => Binding::Declined,
        (None, Ok(scram::MECHANISM)) => Binding::NotOffered,
        _ => {
            let message = "client selected an invalid SASL authentication mechanism";
            return Err(Refused::told(sqlstate::PROTOCOL_VIOLATION, message));
        }
    };
    let first = match data {
        Some(data) => data.to_vec(),
        None => {
            // It waits to be asked for its first message.
            let mut out = Vec::new();
            reply::authentication_sasl_continue(&mut out, b"");
            wire.send(&out).await?;
            wire.answer().await?
        }
    };
    let exchange = ServerExchange::begin(&first, verifier, &nonce()?, binding).map_err(broken)?;
    let mut out = Vec::new();
    reply::authentication_sasl_continue(&mut out, exchange.server_first().as_bytes());
    wire.send(&out).await?;
    let last = wire.answer().await?;
    match exchange.finish(&last) {
        Ok(proved) => Ok(Some(proved)),
        Err(ScramError::WrongProof) => Ok(None),
        Err(error) => Err(broken(error)),
    }
}
