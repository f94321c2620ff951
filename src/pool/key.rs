//! What a user's server connections are opened with.

use std::io;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::rand::SecureRandom as _;
use tokio::sync::Mutex;

use crate::config::Secret;
use crate::wire::md5::Md5Hash;
use crate::wire::scram::{self, Challenge, ClientKey, ScramError, ServerKey, Verifier};

/// What we know of a user towards a server. Cheap to clone; nothing of it is ever printed.
#[derive(Clone, Default)]
pub enum LoginKey {
    /// Nothing: only a server that does not ask lets the user in.
    #[default]
    None,
    /// The password itself (PgBouncer's `auth_file`, a server URL): answers any question.
    Password(Arc<Password>),
    /// An md5 secret: answers md5 only.
    Md5(Md5Hash),
    /// The key that the client's own proof yielded: answers SCRAM of the same verifier.
    Scram(Arc<ScramKeys>),
}

impl LoginKey {
    /// Whether it is this very key, not one that a later login yielded.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::None, Self::None) => true,
            (Self::Password(a), Self::Password(b)) => Arc::ptr_eq(a, b),
            (Self::Md5(a), Self::Md5(b)) => a == b,
            (Self::Scram(a), Self::Scram(b)) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }
}

impl std::fmt::Debug for LoginKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::None => "LoginKey::None",
            Self::Password(_) => "LoginKey::Password(..)",
            Self::Md5(_) => "LoginKey::Md5(..)",
            Self::Scram(_) => "LoginKey::Scram(..)",
        })
    }
}

/// A verifier and the ClientKey that fits it.
pub struct ScramKeys {
    verifier: Arc<Verifier>,
    client_key: ClientKey,
}

impl ScramKeys {
    #[must_use]
    pub const fn new(verifier: Arc<Verifier>, client_key: ClientKey) -> Self {
        Self { verifier, client_key }
    }

    /// The keys, if the server's question is about the same verifier.
    #[must_use]
    pub fn keys_for(&self, challenge: &Challenge) -> Option<(&ClientKey, &ServerKey)> {
        self.verifier.matches(challenge).then(|| (&self.client_key, self.verifier.server_key()))
    }
}

/// A password, and the SCRAM keys last derived from it.
pub struct Password {
    text: Secret,
    derived: Mutex<Option<Derived>>,
}

struct Derived {
    salt: Vec<u8>,
    iterations: u32,
    keys: Arc<(ClientKey, ServerKey)>,
}

impl Password {
    #[must_use]
    pub fn new(text: Secret) -> Self {
        Self { text, derived: Mutex::new(None) }
    }

    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.text.expose().as_bytes()
    }

    /// Keys for a server's question. Derived once per salt, off the event loop, whoever else waits for the same.
    ///
    /// # Errors
    /// As [`scram::derive`].
    pub async fn keys_for(&self, challenge: &Challenge) -> Result<Arc<(ClientKey, ServerKey)>, ScramError> {
        let mut derived = self.derived.lock().await;
        if let Some(known) = &*derived
            && known.iterations == challenge.iterations
            && known.salt == challenge.salt
        {
            return Ok(known.keys.clone());
        }
        let (text, salt, iterations) = (self.text.clone(), challenge.salt.clone(), challenge.iterations);
        let keys = off_loop(move || scram::derive(text.expose().as_bytes(), &salt, iterations)).await?;
        let keys = Arc::new(keys);
        *derived = Some(Derived { salt: challenge.salt.clone(), iterations, keys: keys.clone() });
        Ok(keys)
    }

    /// A verifier of the password, to check a client's proof with. Derived off the event loop.
    ///
    /// # Errors
    /// As [`scram::derive`].
    pub async fn verifier(&self, salt: [u8; 16]) -> Result<Verifier, ScramError> {
        let text = self.text.clone();
        off_loop(move || Verifier::of_password(text.expose().as_bytes(), &salt, scram::DEFAULT_ITERATIONS))
            .await
    }
}

/// `N` random bytes: salts, secrets.
///
/// # Errors
/// If the system has no randomness to give.
pub fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    let fill = ring::rand::SystemRandom::new().fill(&mut bytes);
    fill.map_err(|_| io::Error::other("the system gives no random numbers"))?;
    Ok(bytes)
}

/// A SCRAM nonce of 18 random bytes, as long as PostgreSQL's.
///
/// # Errors
/// As [`random`].
pub fn nonce() -> io::Result<String> {
    Ok(STANDARD.encode(random::<18>()?))
}

/// Runs what takes milliseconds on a thread of its own.
async fn off_loop<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ScramError> + Send + 'static,
) -> Result<T, ScramError> {
    // Only a runtime that shuts down loses the task.
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(ScramError::Malformed("shutting down")))
}
