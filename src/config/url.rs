//! Where a server is and how to log in to it: `postgres://…` URLs and `key=value` strings, as libpq reads
//! them (PostgreSQL documentation, "Connection Strings"), and nothing read from the environment.

use std::fmt;
use std::path::PathBuf;

use super::ssl::{SslNegotiation, SslOptions};

/// A secret. Nothing prints it: `Debug` and `Display` show stars.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<str>);

impl Secret {
    #[must_use]
    pub fn new(text: impl Into<Box<str>>) -> Self {
        Self(text.into())
    }
    /// The secret itself, for the one place that needs it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("********")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("********")
    }
}

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// Name or address, and port.
    Tcp(String, u16),
    /// Directory of the socket, and port: the socket is `<directory>/.s.PGSQL.<port>`.
    Unix(PathBuf, u16),
}

impl Host {
    /// The socket's path, if it is one.
    #[must_use]
    pub fn socket_path(&self) -> Option<PathBuf> {
        match self {
            Self::Tcp(..) => None,
            Self::Unix(directory, port) => Some(directory.join(format!(".s.PGSQL.{port}"))),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(host, port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp(host, port) => write!(f, "{host}:{port}"),
            Self::Unix(directory, port) => write!(f, "{}:{port}", directory.display()),
        }
    }
}

/// libpq's `sslmode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SslMode {
    Disable,
    Allow,
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

impl SslMode {
    pub const NAMES: [(&'static str, Self); 6] = [
        ("disable", Self::Disable),
        ("allow", Self::Allow),
        ("prefer", Self::Prefer),
        ("require", Self::Require),
        ("verify-ca", Self::VerifyCa),
        ("verify-full", Self::VerifyFull),
    ];

    #[must_use]
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, mode)| *mode == self).map_or("", |(name, _)| name)
    }
}

/// A server and the role pgsluice itself logs in as there (to read verifiers, lag, health).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerUrl {
    pub host: Host,
    pub user: String,
    pub password: Option<Secret>,
    pub database: String,
    pub sslmode: SslMode,
    /// All else about TLS.
    pub ssl: SslOptions,
    /// Start-up parameters to send (`application_name`, `options`), in the order given.
    pub params: Vec<(String, String)>,
}

impl ServerUrl {
    /// Stands for a server that is not set.
    pub(super) fn unset() -> Self {
        Self {
            host: Host::Tcp(String::new(), 0),
            user: String::new(),
            password: None,
            database: String::new(),
            sslmode: SslMode::Prefer,
            ssl: SslOptions::default(),
            params: Vec::new(),
        }
    }
}

/// As a URL, the password starred out.
impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let password = if self.password.is_some() { ":********" } else { "" };
        let (user, database) = (escaped(&self.user), escaped(&self.database));
        match &self.host {
            Host::Tcp(..) => write!(f, "postgres://{user}{password}@{}/{database}", self.host)?,
            Host::Unix(directory, port) => {
                let directory = escaped(&directory.to_string_lossy());
                write!(f, "postgres://{user}{password}@{directory}:{port}/{database}")?;
            }
        }
        write!(f, "?sslmode={}", self.sslmode.name())?;
        for (name, value) in self.ssl.pairs() {
            write!(f, "&{name}={}", escaped(&value))?;
        }
        for (name, value) in &self.params {
            write!(f, "&{}={}", escaped(name), escaped(value))?;
        }
        Ok(())
    }
}

const DEFAULT_PORT: u16 = 5432;
const DEFAULT_USER: &str = "postgres";
const KEYWORDS: [&str; 8] =
    ["host", "port", "user", "password", "dbname", "sslmode", "application_name", "options"];

/// TLS that could be left out is not begun with a handshake, as in libpq.
const WEAK_DIRECT: &str = "sslnegotiation=direct needs sslmode=require, verify-ca or verify-full";

/// Reads a URL (`postgres://user:password@host:port/database?sslmode=require`, a unix socket as
/// `postgres:///database?host=/run/postgresql`) or libpq's `host=… user=…` form.
///
/// # Errors
/// A sentence that never repeats the text, since that may hold a password.
impl std::str::FromStr for ServerUrl {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let pairs = match text.strip_prefix("postgres://").or_else(|| text.strip_prefix("postgresql://")) {
            Some(rest) => url_pairs(rest)?,
            None if text.contains("://") => return Err("the URL must begin with postgres://".into()),
            None if text.contains('=') => keyword_pairs(text)?,
            None => return Err("give postgres://user:password@host:port/database".into()),
        };
        from_pairs(pairs)
    }
}

type Pairs = Vec<(String, String)>;

fn from_pairs(pairs: Pairs) -> Result<ServerUrl, String> {
    let mut known: [Option<String>; 6] = Default::default();
    let mut params = Vec::new();
    let mut ssl = SslOptions::default();
    for (name, value) in pairs {
        if SslOptions::KEYWORDS.contains(&name.as_str()) {
            ssl.set(&name, value)?;
            continue;
        }
        match KEYWORDS.iter().position(|keyword| *keyword == name) {
            Some(at) if at < known.len() => known[at] = Some(value),
            Some(_) => params.push((name, value)),
            None => {
                let name: String =
                    name.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_').take(40).collect();
                let known = [KEYWORDS.as_slice(), SslOptions::KEYWORDS.as_slice()].concat().join(", ");
                return Err(format!("unknown parameter `{name}`; known are {known}"));
            }
        }
    }
    let [host, port, user, password, database, sslmode] = known;
    let port = match port.filter(|port| !port.is_empty()) {
        None => DEFAULT_PORT,
        Some(port) => match port.parse::<u16>() {
            Ok(port) if port > 0 => port,
            _ => return Err("the port must be a number from 1 to 65535".into()),
        },
    };
    let host = host
        .filter(|host| !host.is_empty())
        .ok_or("no host: give host:port or the directory of a unix socket")?;
    if host.contains(',') {
        return Err("one host per URL: name the others in `replicas`".into());
    }
    let host = if host.starts_with('/') { Host::Unix(host.into(), port) } else { Host::Tcp(host, port) };
    let user = user.filter(|user| !user.is_empty()).unwrap_or_else(|| DEFAULT_USER.to_owned());
    let database = database.filter(|name| !name.is_empty()).unwrap_or_else(|| user.clone());
    let sslmode = match sslmode {
        None => SslMode::Prefer,
        Some(name) => SslMode::NAMES
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, mode)| *mode)
            .ok_or("sslmode must be disable, allow, prefer, require, verify-ca or verify-full")?,
    };
    if ssl.negotiation == SslNegotiation::Direct
        && matches!(sslmode, SslMode::Disable | SslMode::Allow | SslMode::Prefer)
    {
        return Err(WEAK_DIRECT.into());
    }
    if ssl.cert.is_some() != ssl.key.is_some() {
        return Err("sslcert and sslkey belong together".into());
    }
    if [&user, &database].into_iter().chain(params.iter().flat_map(|(k, v)| [k, v])).any(|s| s.contains('\0'))
    {
        return Err("a zero byte cannot stand in a name".into());
    }
    Ok(ServerUrl { host, user, password: password.map(Secret::new), database, sslmode, ssl, params })
}

fn url_pairs(rest: &str) -> Result<Pairs, String> {
    let mut pairs = Pairs::new();
    let mut put = |name: &str, value: &str| -> Result<(), String> {
        pairs.push((name.to_owned(), unescaped(value)?));
        Ok(())
    };
    let (before_query, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, database) = before_query.split_once('/').unwrap_or((before_query, ""));
    let (login, place) = authority.rsplit_once('@').unwrap_or(("", authority));
    if !login.is_empty() {
        let (user, password) = login.split_once(':').map_or((login, None), |(user, word)| (user, Some(word)));
        put("user", user)?;
        if let Some(password) = password {
            put("password", password)?;
        }
    }
    let (host, port) = split_port(place)?;
    if !host.is_empty() {
        put("host", host)?;
    }
    if let Some(port) = port {
        put("port", port)?;
    }
    put("dbname", database)?;
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').ok_or("a parameter in the URL has no `=`")?;
        put(&unescaped(name)?, value)?;
    }
    Ok(pairs)
}

/// `host:port`, `[v6]:port`, or only the host.
fn split_port(place: &str) -> Result<(&str, Option<&str>), String> {
    if let Some(rest) = place.strip_prefix('[') {
        let (host, after) = rest.split_once(']').ok_or("an IPv6 address lacks its `]`")?;
        return match after.strip_prefix(':') {
            Some(port) => Ok((host, Some(port))),
            None if after.is_empty() => Ok((host, None)),
            None => Err("after an IPv6 address comes `:port`".into()),
        };
    }
    match place.split_once(':') {
        Some((_, port)) if port.contains(':') => Err("write an IPv6 address in brackets: [::1]:5432".into()),
        Some((host, port)) => Ok((host, Some(port))),
        None => Ok((place, None)),
    }
}

/// `host=/run/postgresql user=app password='it''s'`: quotes and backslashes as in libpq.
fn keyword_pairs(text: &str) -> Result<Pairs, String> {
    let mut pairs = Pairs::new();
    let mut chars = text.chars().peekable();
    loop {
        while chars.next_if(|c| c.is_whitespace()).is_some() {}
        if chars.peek().is_none() {
            return Ok(pairs);
        }
        let mut name = String::new();
        while let Some(c) = chars.next_if(|c| *c != '=' && !c.is_whitespace()) {
            name.push(c);
        }
        while chars.next_if(|c| c.is_whitespace()).is_some() {}
        if chars.next() != Some('=') {
            return Err("expected `=` after each keyword".into());
        }
        while chars.next_if(|c| c.is_whitespace()).is_some() {}
        let quoted = chars.next_if_eq(&'\'').is_some();
        let mut value = String::new();
        loop {
            match chars.next() {
                None if quoted => return Err("a quoted value has no end".into()),
                None => break,
                Some('\\') => value.extend(chars.next()),
                Some('\'') if quoted => break,
                Some(c) if !quoted && c.is_whitespace() => break,
                Some(c) => value.push(c),
            }
        }
        pairs.push((name, value));
    }
}

fn unescaped(text: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
        match (digit(rest.next()), digit(rest.next())) {
            (Some(high), Some(low)) => bytes.push((high * 16 + low) as u8),
            _ => {
                return Err(
                    "`%` in a URL must be followed by two hexadecimal digits (a plain `%` is %25)".into()
                );
            }
        }
    }
    String::from_utf8(bytes).map_err(|_| "the URL does not decode to UTF-8".into())
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn read(text: &str) -> ServerUrl {
        text.parse().unwrap()
    }

    #[test]
    fn a_whole_url() {
        let url =
            read("postgresql://a%40b:p:w%2F@db.example:6000/shop?sslmode=verify-full&application_name=x%20y");
        assert_eq!(url.host, Host::Tcp("db.example".into(), 6000));
        assert_eq!((url.user.as_str(), url.database.as_str()), ("a@b", "shop"));
        assert_eq!(url.password.as_ref().unwrap().expose(), "p:w/");
        assert_eq!(url.sslmode, SslMode::VerifyFull);
        assert_eq!(url.params, [("application_name".into(), "x y".into())]);
    }

    #[test]
    fn defaults() {
        let url = read("postgres://localhost");
        assert_eq!(url.host, Host::Tcp("localhost".into(), 5432));
        assert_eq!((url.user.as_str(), url.database.as_str()), ("postgres", "postgres"));
        assert_eq!((url.sslmode, url.password), (SslMode::Prefer, None));
        assert_eq!(read("postgres://app@[::1]:1/").database, "app");
        assert_eq!(read("postgres://[::1]:1/").host, Host::Tcp("::1".into(), 1));
    }

    #[test]
    fn unix_sockets_in_each_form() {
        let expected = Host::Unix("/run/postgresql".into(), 5433);
        for text in [
            "postgres:///shop?host=/run/postgresql&port=5433",
            "postgres://%2Frun%2Fpostgresql:5433/shop",
            "host=/run/postgresql port=5433 dbname=shop",
            "host = '/run/postgresql' port=5433 dbname=shop",
        ] {
            let url = read(text);
            assert_eq!((&url.host, url.database.as_str()), (&expected, "shop"), "{text}");
        }
        assert_eq!(expected.socket_path().unwrap().to_string_lossy(), "/run/postgresql/.s.PGSQL.5433");
    }

    #[test]
    fn tls_is_asked_for_in_libpqs_words() {
        let url = read("postgres://h/?channel_binding=disable&sslcert=/c&sslkey=/k");
        assert_eq!(url.ssl.channel_binding, super::super::ChannelBinding::Disable);
        assert_eq!(url.ssl.files().map(|(name, _)| name).collect::<Vec<_>>(), ["sslcert", "sslkey"]);
        for (bad, why) in [
            ("channel_binding=always", "channel_binding must be disable or prefer or require"),
            ("sslnegotiation=direct", WEAK_DIRECT),
            ("sslcert=/c", "sslcert and sslkey belong together"),
        ] {
            assert_eq!(format!("postgres://h/?{bad}").parse::<ServerUrl>().unwrap_err(), why);
        }
    }

    #[test]
    fn quotes_in_keyword_form() {
        assert_eq!(read(r"host=h password='a b\'c'").password.unwrap().expose(), "a b'c");
    }

    #[test]
    fn no_error_and_no_print_shows_a_password() {
        let bad = [
            "postgres://u:geheim@h:99999/d",
            "postgres://u:geheim@h/d?sslmode=always",
            "postgres://u:geheim@h/d?wat=1",
            "postgres://u:geheim%zz@h/d",
            "mysql://u:geheim@h/d",
            "host=h password='geheim",
            "password=geheim port=1",
            "u:geheim@h",
            "postgres://u:geheim@a,b/d",
        ];
        for text in bad {
            let error = text.parse::<ServerUrl>().unwrap_err();
            assert!(!error.contains("geheim"), "{error}");
        }
        let url = read("postgres://u:geheim@h/d");
        assert!(!format!("{url:?} {url}").contains("geheim"));
        assert_eq!(url.to_string(), "postgres://u:********@h:5432/d?sslmode=prefer");
    }

    #[test]
    fn what_is_shown_can_be_read_again() {
        for text in [
            "postgres://a%40b@h:1/d%2Fe?sslmode=require&options=-c%20x%3D1",
            "host=/tmp user=x",
            "host=h sslmode=require sslnegotiation=direct channel_binding=require sslcert=/a sslkey='/b c' sslrootcert=/d",
        ] {
            let url = read(text);
            assert_eq!(read(&url.to_string()), url);
        }
    }
}
