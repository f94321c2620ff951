//! A user's stored secret, in the three forms in which PostgreSQL and PgBouncer store one.

use std::sync::{Arc, OnceLock};

use tokio::sync::OnceCell;

use crate::config::Secret;
use crate::pool::key::{LoginKey, Password, ScramKeys, random};
use crate::wire::md5::Md5Hash;
use crate::wire::scram::{ClientKey, Verifier};

/// What a user's password is checked against.
#[derive(Clone)]
pub enum Stored {
    Scram(Arc<ScramSecret>),
    Md5(Md5Hash),
    Plain(Arc<PlainSecret>),
}

impl std::fmt::Debug for Stored {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Scram(_) => "Stored::Scram(..)",
            Self::Md5(_) => "Stored::Md5(..)",
            Self::Plain(_) => "Stored::Plain(..)",
        })
    }
}

/// A verifier, and the key that the first right proof yielded.
pub struct ScramSecret {
    verifier: Arc<Verifier>,
    keys: OnceLock<Arc<ScramKeys>>,
}

/// A password, and the verifier derived from it when the first client came.
pub struct PlainSecret {
    password: Arc<Password>,
    verifier: OnceCell<Arc<Verifier>>,
}

impl Stored {
    /// Tells the forms apart as PostgreSQL does; `None` for an empty secret, which lets nobody in.
    #[must_use]
    pub fn read(secret: &Secret) -> Option<Self> {
        let text = secret.expose();
        if text.is_empty() {
            None
        } else if let Some(verifier) = Verifier::parse(text) {
            let verifier = Arc::new(verifier);
            Some(Self::Scram(Arc::new(ScramSecret { verifier, keys: OnceLock::new() })))
        } else if let Some(hash) = Md5Hash::parse(text) {
            Some(Self::Md5(hash))
        } else {
            let password = Arc::new(Password::new(secret.clone()));
            Some(Self::Plain(Arc::new(PlainSecret { password, verifier: OnceCell::new() })))
        }
    }

    /// `older` if it is the same secret, so that the keys learned with it live on.
    #[must_use]
    pub fn or_same(self, older: &Self) -> Self {
        let same = match (&self, older) {
            (Self::Scram(new), Self::Scram(old)) => new.verifier == old.verifier,
            (Self::Plain(new), Self::Plain(old)) => new.password.bytes() == old.password.bytes(),
            _ => false,
        };
        if same { older.clone() } else { self }
    }

    /// What opens servers for the user without anything from the client; for a verifier only once a client
    /// has proved itself.
    #[must_use]
    pub fn login_key(&self) -> LoginKey {
        match self {
            Self::Scram(secret) => {
                secret.keys.get().map_or(LoginKey::None, |keys| LoginKey::Scram(keys.clone()))
            }
            Self::Md5(hash) => LoginKey::Md5(hash.clone()),
            Self::Plain(secret) => LoginKey::Password(secret.password.clone()),
        }
    }

    /// What opens servers for the user, after a proof that yielded `client_key`.
    #[must_use]
    pub fn proved(&self, client_key: ClientKey) -> LoginKey {
        if let Self::Scram(secret) = self {
            secret.keys.get_or_init(|| Arc::new(ScramKeys::new(secret.verifier.clone(), client_key)));
        }
        self.login_key()
    }

    /// The verifier for a SCRAM exchange; `None` for an md5 hash, or where a password cannot be prepared.
    pub async fn verifier(&self) -> Option<Arc<Verifier>> {
        match self {
            Self::Scram(secret) => Some(secret.verifier.clone()),
            Self::Md5(_) => None,
            Self::Plain(secret) => {
                let derive =
                    || async { secret.password.verifier(random()?).await.map_err(std::io::Error::other) };
                let made = secret.verifier.get_or_try_init(|| async { derive().await.map(Arc::new) }).await;
                made.inspect_err(|error| tracing::warn!(%error, "no SCRAM verifier for a stored password"))
                    .ok()
                    .cloned()
            }
        }
    }

    /// The hash for an md5 exchange; `None` for a SCRAM verifier.
    #[must_use]
    pub fn md5(&self, user: &str) -> Option<Md5Hash> {
        match self {
            Self::Scram(_) => None,
            Self::Md5(hash) => Some(hash.clone()),
            Self::Plain(secret) => Some(Md5Hash::of(secret.password.bytes(), user)),
        }
    }
}
