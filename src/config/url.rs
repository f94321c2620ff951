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
    /// Tried when the first is not there, or is not what is wanted.
    pub more_hosts: Vec<Host>,
    /// What a server must be to be used.
    pub target_session_attrs: TargetSessionAttrs,
    /// Start anywhere in the list, not at its first host.
    pub load_balance_hosts: bool,
    pub user: String,
    pub password: Option<Secret>,
    pub database: String,
    pub sslmode: SslMode,
    /// All else about TLS.
    pub ssl: SslOptions,
    /// Start-up parameters to send (`application_name`, `options`), in the order given.
    pub params: Vec<(String, String)>,
}

/// libpq's `target_session_attrs`, as far as it makes sense for a primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TargetSessionAttrs {
    Any,
    /// Not in recovery, and transactions are not read-only by default.
    ReadWrite,
    /// Not in recovery.
    Primary,
}

impl TargetSessionAttrs {
    const NAMES: [(&'static str, Self); 3] =
        [("any", Self::Any), ("read-write", Self::ReadWrite), ("primary", Self::Primary)];

    fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, attrs)| *attrs == self).map_or("", |(name, _)| name)
    }
}

impl ServerUrl {
    /// Every host, in order.
    pub fn hosts(&self) -> impl Iterator<Item = &Host> {
        std::iter::once(&self.host).chain(&self.more_hosts)
    }

    /// The host that decides whether TLS is used with a driver that asks once for all: a socket has none.
    pub fn tls_host(&self) -> &Host {
        self.hosts().find(|host| matches!(host, Host::Tcp(..))).unwrap_or(&self.host)
    }

    /// What holds if nothing is said: of several hosts the primary is wanted.
    fn usual_attrs(&self) -> TargetSessionAttrs {
        if self.more_hosts.is_empty() { TargetSessionAttrs::Any } else { TargetSessionAttrs::Primary }
    }

    /// Stands for a server that is not set.
    pub(super) fn unset() -> Self {
        Self {
            host: Host::Tcp(String::new(), 0),
            more_hosts: Vec::new(),
            target_session_attrs: TargetSessionAttrs::Any,
            load_balance_hosts: false,
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
        write!(f, "postgres://{user}{password}@")?;
        for (i, host) in self.hosts().enumerate() {
            f.write_str(if i == 0 { "" } else { "," })?;
            match host {
                Host::Tcp(..) => write!(f, "{host}")?,
                Host::Unix(directory, port) => {
                    write!(f, "{}:{port}", escaped(&directory.to_string_lossy()))?;
                }
            }
        }
        write!(f, "/{database}?sslmode={}", self.sslmode.name())?;
        if self.target_session_attrs != self.usual_attrs() {
            write!(f, "&target_session_attrs={}", self.target_session_attrs.name())?;
        }
        if self.load_balance_hosts {
            f.write_str("&load_balance_hosts=random")?;
        }
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
const KEYWORDS: [&str; 10] = [
    "host",
    "port",
    "user",
    "password",
    "dbname",
    "sslmode",
    "target_session_attrs",
    "load_balance_hosts",
    "application_name",
    "options",
];

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
    let mut known: [Option<String>; 8] = Default::default();
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
    let [host, port, user, password, database, sslmode, attrs, balance] = known;
    let mut hosts = hosts(&host.unwrap_or_default(), &port.unwrap_or_default())?.into_iter();
    let host = hosts.next().ok_or(NO_HOST)?;
    let load_balance_hosts = match balance.as_deref() {
        None | Some("disable") => false,
        Some("random") => true,
        Some(_) => return Err("load_balance_hosts must be disable or random".into()),
    };
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
    check_tls(sslmode, &ssl)?;
    if [&user, &database].into_iter().chain(params.iter().flat_map(|(k, v)| [k, v])).any(|s| s.contains('\0'))
    {
        return Err("a zero byte cannot stand in a name".into());
    }
    let mut url = ServerUrl {
        host,
        more_hosts: hosts.collect(),
        target_session_attrs: TargetSessionAttrs::Any,
        load_balance_hosts,
        user,
        password: password.map(Secret::new),
        database,
        sslmode,
        ssl,
        params,
    };
    url.target_session_attrs = match attrs {
        None => url.usual_attrs(),
        Some(name) => {
            let known = TargetSessionAttrs::NAMES.iter().find(|(known, _)| *known == name);
            known.map(|(_, attrs)| *attrs).ok_or("target_session_attrs must be any, read-write or primary")?
        }
    };
    Ok(url)
}

fn check_tls(sslmode: SslMode, ssl: &SslOptions) -> Result<(), String> {
    let weak = matches!(sslmode, SslMode::Disable | SslMode::Allow | SslMode::Prefer);
    if ssl.negotiation == SslNegotiation::Direct && weak {
        return Err(WEAK_DIRECT.into());
    }
    if ssl.cert.is_some() != ssl.key.is_some() {
        return Err("sslcert and sslkey belong together".into());
    }
    Ok(())
}

const NO_HOST: &str = "no host: give host:port or the directory of a unix socket";

/// libpq's lists: a port for each host, or one for all.
fn hosts(hosts: &str, ports: &str) -> Result<Vec<Host>, String> {
    let ports: Vec<_> = ports.split(',').collect();
    let hosts: Vec<_> = hosts.split(',').collect();
    if ports.len() != 1 && ports.len() != hosts.len() {
        return Err(format!(
            "{} ports for {} hosts: give one for each, or one for all",
            ports.len(),
            hosts.len()
        ));
    }
    let one = |(at, host): (usize, &&str)| {
        let port = match ports.get(at).or(ports.first()).copied().unwrap_or_default() {
            "" => DEFAULT_PORT,
            port => match port.parse::<u16>() {
                Ok(port) if port > 0 => port,
                _ => return Err("the port must be a number from 1 to 65535".to_owned()),
            },
        };
        match *host {
            "" => Err(NO_HOST.to_owned()),
            host if host.starts_with('/') => Ok(Host::Unix(host.into(), port)),
            host => Ok(Host::Tcp(host.to_owned(), port)),
        }
    };
    hosts.iter().enumerate().map(one).collect()
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
    let places: Vec<_> = place.split(',').map(split_port).collect::<Result<_, _>>()?;
    let joined =
        |part: fn(&(&str, Option<&str>)) -> String| places.iter().map(part).collect::<Vec<_>>().join(",");
    if places.iter().any(|(host, _)| !host.is_empty()) {
        put("host", &joined(|(host, _)| (*host).to_owned()))?;
    }
    if places.iter().any(|(_, port)| port.is_some()) {
        put("port", &joined(|(_, port)| port.unwrap_or_default().to_owned()))?;
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
#[path = "url_tests.rs"]
mod tests;
