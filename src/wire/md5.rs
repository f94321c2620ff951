//! MD5 authentication: `md5` + hex(md5(hex(md5(password ‖ user)) ‖ salt)), as PostgreSQL's `pg_md5_encrypt`.

use md5::{Digest, Md5};

/// Hexadecimal digits of a stored md5 secret, without the `md5` in front. Enough to log in with: a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Md5Hash([u8; 32]);

impl std::fmt::Debug for Md5Hash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Md5Hash(..)")
    }
}

impl Md5Hash {
    /// What PostgreSQL would store for this password.
    #[must_use]
    pub fn of(password: &[u8], user: &str) -> Self {
        Self(hex_digest(&[password, user.as_bytes()]))
    }

    /// Reads `md5` and 32 lower-case hexadecimal digits, the form in `pg_authid`.
    #[must_use]
    pub fn parse(stored: &str) -> Option<Self> {
        let digits: [u8; 32] = stored.strip_prefix("md5")?.as_bytes().try_into().ok()?;
        digits.iter().all(|d| matches!(d, b'0'..=b'9' | b'a'..=b'f')).then_some(Self(digits))
    }

    /// The password message that answers AuthenticationMD5Password.
    #[must_use]
    pub fn response(&self, salt: [u8; 4]) -> [u8; 35] {
        let mut response = [0; 35];
        let (prefix, digits) = response.split_at_mut(3);
        prefix.copy_from_slice(b"md5");
        digits.copy_from_slice(&hex_digest(&[&self.0, &salt]));
        response
    }

    /// Whether `response` is the right answer to `salt`, in constant time.
    #[must_use]
    pub fn verify(&self, salt: [u8; 4], response: &[u8]) -> bool {
        super::scram::same(&self.response(salt), response)
    }
}

fn hex_digest(parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = Md5::new();
    for part in parts {
        hasher.update(part);
    }
    let digit = |nibble: u8| if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 };
    let mut hex = [0; 32];
    for (pair, byte) in hex.chunks_exact_mut(2).zip(hasher.finalize()) {
        pair.copy_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
    }
    hex
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn hashes_as_postgres_stores_them() {
        // What `CREATE ROLE alice PASSWORD 'secret'` stores under password_encryption = 'md5'.
        let stored = Md5Hash::parse("md54a0a68b43b6cd5cf266fa02f196e2371");
        assert_eq!(stored, Some(Md5Hash::of(b"secret", "alice")));
        assert!(Md5Hash::parse("md54A0A68B43B6CD5CF266FA02F196E2371").is_none());
        assert!(Md5Hash::parse("md5zz0a68b43b6cd5cf266fa02f196e2371").is_none());
    }

    #[test]
    fn answers_and_checks() {
        let hash = Md5Hash::of(b"secret", "alice");
        let response = hash.response(*b"salt");
        assert!(response.starts_with(b"md5"));
        assert!(hash.verify(*b"salt", &response));
        assert!(!hash.verify(*b"tlas", &response));
        assert!(!hash.verify(*b"salt", &response[..34]));
        assert!(!Md5Hash::of(b"Secret", "alice").verify(*b"salt", &response));
        assert!(!format!("{hash:?}").contains(std::str::from_utf8(&hash.0).unwrap()));
    }
}
