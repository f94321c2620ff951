//! The types settings have: each reads itself from TOML, prints itself as TOML, and says what it expects.

use std::fmt;
use std::net::IpAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::de::DeValue;

use super::url::ServerUrl;

/// What a value needs to know of its surroundings.
pub(super) struct Surroundings<'a> {
    /// Relative paths start here: the directory of the settings file, or the working directory for flags.
    pub(super) base: &'a Path,
}

/// A type a setting can have.
pub(super) trait Value: Sized {
    /// "a number", "a duration such as …": for messages and for docs/CONFIG.md.
    const EXPECTED: &'static str;
    /// # Errors
    /// Sentences without the setting's name; never with a secret in them.
    fn read(value: &DeValue<'_>, surroundings: &Surroundings<'_>) -> Result<Self, Faults>;
    /// As TOML, secrets starred out.
    fn show(&self) -> String;
    /// What stands for a required setting that is missing, so that all else can still be checked.
    fn absent() -> Option<Self> {
        None
    }
}

/// What is wrong with a value: sentences, with a span where only a part of the value is meant.
#[derive(Debug)]
pub(super) struct Faults(pub(super) Vec<(Option<Range<usize>>, String)>);

impl<T: Into<String>> From<T> for Faults {
    fn from(message: T) -> Self {
        Self(vec![(None, message.into())])
    }
}

fn expected<T: Value>(value: &DeValue<'_>) -> String {
    format!("must be {}, not {}", T::EXPECTED, crate::document::a(value.type_str()))
}

pub(super) fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

pub(super) fn text<'a, T: Value>(value: &'a DeValue<'_>) -> Result<&'a str, Faults> {
    value.as_str().ok_or_else(|| expected::<T>(value).into())
}

fn whole(value: &DeValue<'_>) -> Option<u64> {
    let number = value.as_integer()?;
    u64::from_str_radix(number.as_str(), number.radix()).ok()
}

impl Value for bool {
    const EXPECTED: &'static str = "true or false";
    fn read(value: &DeValue<'_>, _: &Surroundings<'_>) -> Result<Self, Faults> {
        value.as_bool().ok_or_else(|| expected::<Self>(value).into())
    }
    fn show(&self) -> String {
        self.to_string()
    }
}

impl Value for usize {
    const EXPECTED: &'static str = "a whole number";
    fn read(value: &DeValue<'_>, _: &Surroundings<'_>) -> Result<Self, Faults> {
        let number = whole(value).and_then(|number| Self::try_from(number).ok());
        number.ok_or_else(|| {
            match value.as_integer() {
                Some(_) => format!("must be {} of 0 or more", Self::EXPECTED),
                None => expected::<Self>(value),
            }
            .into()
        })
    }
    fn show(&self) -> String {
        self.to_string()
    }
}

impl Value for String {
    const EXPECTED: &'static str = "a string";
    fn read(value: &DeValue<'_>, _: &Surroundings<'_>) -> Result<Self, Faults> {
        text::<Self>(value).map(str::to_owned)
    }
    fn show(&self) -> String {
        quoted(self)
    }
}

/// A file or directory; relative to the settings file.
impl Value for PathBuf {
    const EXPECTED: &'static str = "a path";
    fn read(value: &DeValue<'_>, surroundings: &Surroundings<'_>) -> Result<Self, Faults> {
        let path = surroundings.base.join(text::<Self>(value)?);
        if path.exists() {
            Ok(path)
        } else {
            Err(format!("names no file that exists: {}", path.display()).into())
        }
    }
    fn show(&self) -> String {
        quoted(&self.to_string_lossy())
    }
}

/// The empty string is none.
impl<T: Value> Value for Option<T> {
    const EXPECTED: &'static str = T::EXPECTED;
    fn read(value: &DeValue<'_>, surroundings: &Surroundings<'_>) -> Result<Self, Faults> {
        if value.as_str() == Some("") { Ok(None) } else { T::read(value, surroundings).map(Some) }
    }
    fn show(&self) -> String {
        self.as_ref().map_or_else(|| "\"\"".to_owned(), T::show)
    }
}

impl<T: Value> Value for Vec<T> {
    const EXPECTED: &'static str = "an array of strings";
    fn read(value: &DeValue<'_>, surroundings: &Surroundings<'_>) -> Result<Self, Faults> {
        let list = value.as_array().ok_or_else(|| expected::<Self>(value))?;
        let (mut good, mut faults) = (Vec::new(), Vec::new());
        for item in list.iter() {
            match T::read(item.get_ref(), surroundings) {
                Ok(value) => good.push(value),
                Err(found) => {
                    faults.extend(found.0.into_iter().map(|(span, text)| (span.or(Some(item.span())), text)));
                }
            }
        }
        if faults.is_empty() { Ok(good) } else { Err(Faults(faults)) }
    }
    fn show(&self) -> String {
        format!("[{}]", self.iter().map(T::show).collect::<Vec<_>>().join(", "))
    }
}

impl Value for ServerUrl {
    const EXPECTED: &'static str = "a URL such as postgres://user:password@host:5432/database";
    fn read(value: &DeValue<'_>, _: &Surroundings<'_>) -> Result<Self, Faults> {
        text::<Self>(value)?.parse().map_err(|error: String| format!("is no server URL: {error}").into())
    }
    fn show(&self) -> String {
        if *self == Self::unset() { quoted("") } else { quoted(&self.to_string()) }
    }
    fn absent() -> Option<Self> {
        Some(Self::unset())
    }
}

/// `"250ms"`, `"5s"`, `"10min"`, `"1h"`, `"1d"`; a bare number is seconds, as in PgBouncer.
impl Value for Duration {
    const EXPECTED: &'static str =
        "a duration such as \"250ms\", \"5s\", \"10min\", \"1h\", or a number of seconds";
    fn read(value: &DeValue<'_>, _: &Surroundings<'_>) -> Result<Self, Faults> {
        const UNITS: [(&str, u64); 8] = [
            ("us", 1),
            ("ms", 1_000),
            ("s", 1_000_000),
            ("min", 60_000_000),
            ("m", 60_000_000),
            ("h", 3_600_000_000),
            ("d", 86_400_000_000),
            ("", 1_000_000),
        ];
        let micros = match value.as_str() {
            Some(text) => scaled(text, &UNITS),
            None => whole(value).and_then(|seconds| seconds.checked_mul(1_000_000)),
        };
        // Far future deadlines must not overflow the clock; a century is none.
        match micros.map(Self::from_micros) {
            Some(duration) if duration <= Self::from_secs(100 * 365 * 86_400) => Ok(duration),
            Some(_) => Err("is longer than a hundred years".into()),
            None if value.is_str() || value.is_integer() => {
                Err(format!("must be {}", <Self as Value>::EXPECTED).into())
            }
            None => Err(expected::<Self>(value).into()),
        }
    }
    fn show(&self) -> String {
        let micros = self.as_micros();
        let units = [("s", 1_000_000), ("ms", 1_000), ("us", 1)];
        let (unit, size) =
            units.into_iter().find(|(_, size)| micros.is_multiple_of(*size)).unwrap_or(("us", 1));
        quoted(&format!("{}{unit}", micros / size))
    }
}

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

impl ByteSize {
    #[must_use]
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

/// `"64kB"`, `"16MB"`, `"1GB"` as in postgresql.conf (1 kB is 1024 bytes); a bare number is bytes.
impl Value for ByteSize {
    const EXPECTED: &'static str = "a size such as \"64kB\", \"16MB\", \"1GB\", or a number of bytes";
    fn read(value: &DeValue<'_>, _: &Surroundings<'_>) -> Result<Self, Faults> {
        const UNITS: [(&str, u64); 6] =
            [("b", 1), ("kb", 1 << 10), ("mb", 1 << 20), ("gb", 1 << 30), ("tb", 1 << 40), ("", 1)];
        let bytes = match value.as_str() {
            Some(text) => scaled(text, &UNITS),
            None => whole(value),
        };
        match bytes {
            Some(bytes) => Ok(Self(bytes)),
            None if value.is_str() || value.is_integer() => Err(format!("must be {}", Self::EXPECTED).into()),
            None => Err(expected::<Self>(value).into()),
        }
    }
    fn show(&self) -> String {
        let units = [("GB", 1 << 30), ("MB", 1 << 20), ("kB", 1 << 10)];
        match units.into_iter().find(|(_, size)| self.0 > 0 && self.0.is_multiple_of(*size)) {
            Some((unit, size)) => quoted(&format!("{}{unit}", self.0 / size)),
            None => self.0.to_string(),
        }
    }
}

/// `12`, `12 unit`, `1.5unit`: scaled to the smallest unit.
fn scaled(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit = unit.trim_start().to_ascii_lowercase();
    let (_, size) = units.iter().find(|(name, _)| *name == unit)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let whole = whole.parse::<u64>().ok()?.checked_mul(*size)?;
    if fraction.len() > 6 {
        return None;
    }
    let parts = 10u64.pow(u32::try_from(fraction.len()).ok()?);
    let fraction =
        if fraction.is_empty() { 0 } else { fraction.parse::<u64>().ok()?.checked_mul(*size)? / parts };
    whole.checked_add(fraction)
}

/// Where pgsluice itself listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenAddr {
    /// Name or address, and port; port 0 takes a free one.
    Tcp(String, u16),
    /// Path of the socket. psql finds it by its directory if it is called `.s.PGSQL.<port>`.
    Unix(PathBuf),
}

impl fmt::Display for ListenAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(host, port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp(host, port) => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

impl Value for ListenAddr {
    const EXPECTED: &'static str =
        "\"host:port\" (`*` as host is every address) or the path of a unix socket";
    fn read(value: &DeValue<'_>, surroundings: &Surroundings<'_>) -> Result<Self, Faults> {
        let text = text::<Self>(value)?;
        if text.contains('/') {
            let path = surroundings.base.join(text);
            return match path.parent() {
                Some(directory) if !path.is_dir() && directory.is_dir() => Ok(Self::Unix(path)),
                Some(_) if path.is_dir() => {
                    Err(format!("is a directory: name the socket too, {text}/.s.PGSQL.6432").into())
                }
                _ => Err(format!("is in no directory that exists: {}", path.display()).into()),
            };
        }
        let (host, port) = text.rsplit_once(':').ok_or("must be \"host:port\", and the port is missing")?;
        let port = port.parse().map_err(|_| "has no port from 0 to 65535 after its last `:`")?;
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host = match bare.unwrap_or(host) {
            "" => return Err("has no host before its `:`; `*` is every address".into()),
            "*" => "0.0.0.0",
            host => host,
        };
        if host.contains(':') && (bare.is_none() || host.parse::<IpAddr>().is_err()) {
            return Err("has an IPv6 address that is wrong or not in brackets: [::1]:6432".into());
        }
        if host.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err("has white space in its host".into());
        }
        Ok(Self::Tcp(host.to_owned(), port))
    }
    fn show(&self) -> String {
        quoted(&self.to_string())
    }
}

/// A type of a few named values.
macro_rules! choice {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[$variant_doc])* $variant,)+ }

        impl $name {
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }
        }

        impl Value for $name {
            const EXPECTED: &'static str = concat!("one of" $(, " ", $text)+);
            fn read(value: &DeValue<'_>, _: &Surroundings<'_>) -> Result<Self, Faults> {
                let text = text::<Self>(value)?;
                match text {
                    $($text => Ok(Self::$variant),)+
                    _ => Err(match crate::document::closest(text, [$($text),+]) {
                        Some(near) => format!("must be {}; did you mean `{near}`?", Self::EXPECTED),
                        None => format!("must be {}", Self::EXPECTED),
                    }.into()),
                }
            }
            fn show(&self) -> String {
                quoted(self.name())
            }
        }
    };
}
pub(super) use choice;

choice!(
    /// When a server connection goes back to the pool.
    PoolMode {
        Transaction = "transaction",
        Session = "session",
        Statement = "statement",
    }
);
choice!(
    /// Whether the planner is asked for rules that read plans.
    PlanMode {
        Inline = "inline",
        Background = "background",
        Off = "off",
    }
);
choice!(
    /// Who stands in for a lane.
    Fallback { None = "none", Replica = "replica", Primary = "primary", }
);
choice!(
    /// How clients prove who they are.
    AuthType {
        /// As the role's stored secret says: SCRAM for a SCRAM verifier, md5 for an md5 hash.
        Auto = "auto",
        ScramSha256 = "scram-sha-256",
        Md5 = "md5",
        /// A client certificate whose common name is the user.
        Cert = "cert",
        /// No proof at all.
        Trust = "trust",
    }
);
choice!(
    /// TLS with clients, as in PgBouncer.
    ClientSslMode {
        Disable = "disable",
        Allow = "allow",
        Prefer = "prefer",
        Require = "require",
        /// TLS, and a certificate of the client's that `client_tls_ca_file` vouches for.
        VerifyCa = "verify-ca",
        /// The same, as in PgBouncer; whose certificate it must be is `auth_type`'s to say.
        VerifyFull = "verify-full",
    }
);
choice!(
    /// What becomes of what the policies say.
    PolicyMode {
        /// As each rule says.
        Enforce = "enforce",
        /// Every rule is counted, and none acts.
        Observe = "observe",
    }
);
choice!(
    /// How much is logged.
    LogLevel {
        Error = "error",
        Warn = "warn",
        Info = "info",
        Debug = "debug",
        Trace = "trace",
    }
);

impl ClientSslMode {
    /// Who does not encrypt is refused.
    #[must_use]
    pub const fn wants_tls(self) -> bool {
        matches!(self, Self::Require | Self::VerifyCa | Self::VerifyFull)
    }

    /// Who shows no certificate is refused.
    #[must_use]
    pub const fn wants_certificate(self) -> bool {
        matches!(self, Self::VerifyCa | Self::VerifyFull)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn read<T: Value>(text: &str) -> Result<T, String> {
        let value = DeValue::parse(text).unwrap();
        T::read(value.get_ref(), &Surroundings { base: Path::new("/tmp") })
            .map_err(|faults| faults.0[0].1.clone())
    }

    #[test]
    fn durations() {
        for (text, millis) in [
            ("5", 5_000),
            ("\"5\"", 5_000),
            ("\"5s\"", 5_000),
            ("\"250ms\"", 250),
            ("\"1.5 s\"", 1_500),
            ("\"2min\"", 120_000),
            ("\"1h\"", 3_600_000),
            ("0", 0),
        ] {
            assert_eq!(read::<Duration>(text).unwrap(), Duration::from_millis(millis), "{text}");
        }
        for text in [
            "-1",
            "\"5 weeks\"",
            "\"\"",
            "\"s\"",
            "true",
            "\"1.1.1s\"",
            "\"99999999999999999999s\"",
            "\"40000d\"",
        ] {
            assert!(read::<Duration>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_are_postgresqls() {
        for (text, bytes) in
            [("\"64kB\"", 65_536), ("\"1MB\"", 1 << 20), ("\"1.5GB\"", 3 << 29), ("512", 512)]
        {
            assert_eq!(read::<ByteSize>(text).unwrap(), ByteSize(bytes), "{text}");
        }
        for text in ["\"10%\"", "-1", "\"99999999TB\"", "1.5"] {
            assert!(read::<ByteSize>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_shown_reads_as_the_same() {
        for text in ["\"250ms\"", "\"3600s\"", "\"0s\"", "\"7us\""] {
            let value: Duration = read(text).unwrap();
            assert_eq!(read::<Duration>(&value.show()).unwrap(), value);
        }
        for bytes in [0, 1, 1024, 1 << 20, (1 << 20) + 1] {
            assert_eq!(read::<ByteSize>(&ByteSize(bytes).show()).unwrap(), ByteSize(bytes));
        }
    }

    #[test]
    fn listen_addresses() {
        assert_eq!(read::<ListenAddr>("\"*:6432\"").unwrap(), ListenAddr::Tcp("0.0.0.0".into(), 6432));
        assert_eq!(read::<ListenAddr>("\"[::1]:0\"").unwrap(), ListenAddr::Tcp("::1".into(), 0));
        assert_eq!(
            read::<ListenAddr>("\"/tmp/.s.PGSQL.1\"").unwrap(),
            ListenAddr::Unix("/tmp/.s.PGSQL.1".into())
        );
        for text in
            ["\"6432\"", "\":6432\"", "\"h:70000\"", "\"::1:6432\"", "\"/tmp\"", "\"/no/such/dir/s\"", "6432"]
        {
            assert!(read::<ListenAddr>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_misspelt_choice_names_the_near_one() {
        assert!(read::<PoolMode>("\"transactional\"").unwrap_err().contains("did you mean `transaction`?"));
    }
}
