//! How a server URL asks for TLS, beside its `sslmode`: libpq's names and meanings.

use std::path::PathBuf;

/// libpq's `channel_binding`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ChannelBinding {
    Disable,
    /// Wherever the server offers it over TLS.
    #[default]
    Prefer,
    /// A login without it fails, whatever the server asks.
    Require,
}

impl ChannelBinding {
    const NAMES: [(&'static str, Self); 3] =
        [("disable", Self::Disable), ("prefer", Self::Prefer), ("require", Self::Require)];
}

/// libpq's `sslnegotiation`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum SslNegotiation {
    /// SSLRequest first.
    #[default]
    Postgres,
    /// The handshake at once, as PostgreSQL 17 and newer take it.
    Direct,
}

impl SslNegotiation {
    const NAMES: [(&'static str, Self); 2] = [("postgres", Self::Postgres), ("direct", Self::Direct)];
}

/// What a URL says of TLS beside `sslmode`. Files that are not named here are those of `[server_tls]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SslOptions {
    pub channel_binding: ChannelBinding,
    pub negotiation: SslNegotiation,
    /// Our certificate towards this server (`sslcert`) and its key (`sslkey`).
    pub cert: Option<PathBuf>,
    pub key: Option<PathBuf>,
    /// What the server's certificate is checked with (`sslrootcert`); see [`Self::SYSTEM`].
    pub root: Option<PathBuf>,
}

impl SslOptions {
    pub(super) const KEYWORDS: [&'static str; 5] =
        ["channel_binding", "sslnegotiation", "sslcert", "sslkey", "sslrootcert"];

    /// As `sslrootcert`: the system's roots, whatever the settings name.
    pub const SYSTEM: &'static str = "system";

    /// Takes the value of one of [`Self::KEYWORDS`].
    pub(super) fn set(&mut self, keyword: &str, value: String) -> Result<(), String> {
        let path = || Some(PathBuf::from(&value)).filter(|path| !path.as_os_str().is_empty());
        match keyword {
            "channel_binding" => self.channel_binding = named(&ChannelBinding::NAMES, keyword, &value)?,
            "sslnegotiation" => self.negotiation = named(&SslNegotiation::NAMES, keyword, &value)?,
            "sslcert" => self.cert = path(),
            "sslkey" => self.key = path(),
            _ => self.root = path(),
        }
        Ok(())
    }

    /// What differs from the default, as keywords and values.
    pub(super) fn pairs(&self) -> impl Iterator<Item = (&'static str, String)> {
        let said = [
            (self.channel_binding != ChannelBinding::default())
                .then(|| name(&ChannelBinding::NAMES, self.channel_binding)),
            (self.negotiation != SslNegotiation::default())
                .then(|| name(&SslNegotiation::NAMES, self.negotiation)),
        ];
        let files = [&self.cert, &self.key, &self.root]
            .map(|file| file.as_ref().map(|path| path.to_string_lossy().into_owned()));
        let all = said.into_iter().map(|name| name.map(str::to_owned)).chain(files);
        Self::KEYWORDS.into_iter().zip(all).filter_map(|(keyword, value)| Some((keyword, value?)))
    }

    /// The files named here.
    pub(super) fn files(&self) -> impl Iterator<Item = (&'static str, &PathBuf)> {
        let [_, _, cert, key, root] = Self::KEYWORDS;
        [(cert, &self.cert), (key, &self.key), (root, &self.root)]
            .into_iter()
            .filter_map(|(keyword, file)| Some((keyword, file.as_ref()?)))
            .filter(|(_, file)| file.as_os_str() != Self::SYSTEM)
    }
}

fn named<T: Copy>(names: &[(&'static str, T)], keyword: &str, value: &str) -> Result<T, String> {
    names.iter().find(|(name, _)| *name == value).map(|(_, found)| *found).ok_or_else(|| {
        let known: Vec<_> = names.iter().map(|(name, _)| *name).collect();
        format!("{keyword} must be {}", known.join(" or "))
    })
}

fn name<T: PartialEq>(names: &[(&'static str, T)], value: T) -> &'static str {
    names.iter().find(|(_, known)| *known == value).map_or("", |(name, _)| name)
}
