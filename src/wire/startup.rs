//! A connection's first packet, which has no tag: TLS and GSS requests, cancel requests, StartupMessage.
//!
//! Both directions: [`parse`] reads what clients send, the encoders write what servers get. Limits and order of
//! checks follow PostgreSQL's `ProcessStartupPacket`.

use super::reply::{counted, message, string};
use super::sqlstate::{self, SqlState};

/// Largest first packet without its length word, in bytes (`MAX_STARTUP_PACKET_LENGTH`).
pub const MAX_PACKET: usize = 10_000;
/// Newest minor version of protocol 3 that we speak.
pub const NEWEST_MINOR: u16 = 2;
/// Lengths of a cancel key: 4 in protocol 3.0, up to 256 in 3.2.
pub const CANCEL_KEY: std::ops::RangeInclusive<usize> = 4..=256;

const CANCEL_REQUEST: u32 = (1234 << 16) | 5678;
const SSL_REQUEST: u32 = (1234 << 16) | 5679;
const GSSENC_REQUEST: u32 = (1234 << 16) | 5680;

/// What a client may open a connection with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FirstPacket {
    SslRequest,
    GssEncRequest,
    Cancel { pid: i32, key: Box<[u8]> },
    Startup(Startup),
}

/// A StartupMessage of protocol 3.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Startup {
    /// As asked for; may be newer than [`NEWEST_MINOR`].
    pub minor: u16,
    pub user: String,
    /// The user's name where the client named no database.
    pub database: String,
    /// As sent; see [`Startup::replication`].
    pub replication: Option<String>,
    /// Settings in the order in which they apply: those of `options` first, as PostgreSQL does it.
    pub settings: Vec<(String, String)>,
    /// `_pq_.` options, all unknown to us; to be named in NegotiateProtocolVersion.
    pub unrecognized: Vec<String>,
}

impl Startup {
    /// The minor version to go on with, and whether NegotiateProtocolVersion has to say so.
    #[must_use]
    pub fn negotiate(&self) -> (u16, bool) {
        (self.minor.min(NEWEST_MINOR), self.minor > NEWEST_MINOR || !self.unrecognized.is_empty())
    }
}

/// What a walsender is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replication {
    /// The whole cluster; it belongs to no database.
    Physical,
    /// The database of the start-up packet.
    Logical,
}

impl Replication {
    /// The value that asks a server for it.
    #[must_use]
    pub const fn value(self) -> &'static str {
        match self {
            Self::Physical => "true",
            Self::Logical => "database",
        }
    }
}

impl Startup {
    /// Whether the client asks for replication, as PostgreSQL reads it: `database`, or a boolean in any of its
    /// spellings and beginnings of them.
    ///
    /// # Errors
    /// The value, if it is none of these.
    pub fn replication(&self) -> Result<Option<Replication>, &str> {
        let Some(value) = self.replication.as_deref() else { return Ok(None) };
        if value == "database" {
            return Ok(Some(Replication::Logical));
        }
        // `o` alone could be either.
        let begins = |word: &str, least| {
            value.len() >= least && word.get(..value.len()).is_some_and(|w| w.eq_ignore_ascii_case(value))
        };
        if begins("true", 1) || begins("yes", 1) || begins("on", 2) || value == "1" {
            Ok(Some(Replication::Physical))
        } else if begins("false", 1) || begins("no", 1) || begins("off", 2) || value == "0" {
            Ok(None)
        } else {
            Err(value)
        }
    }
}

/// Why a first packet is refused. To be sent as a FATAL error, except [`Refusal::Length`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Most likely not our protocol at all; PostgreSQL closes without a word.
    #[error("invalid length of startup packet")]
    Length,
    #[error("unsupported frontend protocol {0}.{1}: server supports 3.0 to 3.{NEWEST_MINOR}")]
    Protocol(u16, u16),
    #[error("invalid startup packet layout: {0}")]
    Layout(&'static str),
    #[error("startup parameter \"{0}\" is not valid UTF-8")]
    Encoding(String),
    #[error("no PostgreSQL user name specified in startup packet")]
    NoUser,
    #[error("startup parameter \"options\": {0}")]
    Options(String),
}

impl Refusal {
    #[must_use]
    pub const fn sqlstate(&self) -> SqlState {
        match self {
            Self::Length | Self::Layout(_) => sqlstate::PROTOCOL_VIOLATION,
            Self::Protocol(..) => sqlstate::FEATURE_NOT_SUPPORTED,
            Self::Encoding(_) => sqlstate::CHARACTER_NOT_IN_REPERTOIRE,
            Self::NoUser => sqlstate::INVALID_AUTHORIZATION,
            Self::Options(_) => sqlstate::SYNTAX_ERROR,
        }
    }
}

/// How many bytes follow the length word `word`: to be called before anything is allocated.
///
/// # Errors
/// [`Refusal::Length`] for a packet that is too short for a version or longer than [`MAX_PACKET`].
pub fn body_length(word: [u8; 4]) -> Result<usize, Refusal> {
    let length = usize::try_from(u32::from_be_bytes(word)).unwrap_or(usize::MAX);
    match length.checked_sub(4) {
        Some(body @ 4..=MAX_PACKET) => Ok(body),
        _ => Err(Refusal::Length),
    }
}

/// Reads a whole first packet, without its length word.
///
/// # Errors
/// A [`Refusal`] that says what is wrong with it.
pub fn parse(body: &[u8]) -> Result<FirstPacket, Refusal> {
    let (version, rest) = body.split_first_chunk::<4>().ok_or(Refusal::Length)?;
    match u32::from_be_bytes(*version) {
        SSL_REQUEST => empty(rest, FirstPacket::SslRequest),
        GSSENC_REQUEST => empty(rest, FirstPacket::GssEncRequest),
        CANCEL_REQUEST => {
            let (pid, key) = rest.split_first_chunk::<4>().ok_or(Refusal::Length)?;
            if !CANCEL_KEY.contains(&key.len()) {
                return Err(Refusal::Length);
            }
            Ok(FirstPacket::Cancel { pid: i32::from_be_bytes(*pid), key: key.into() })
        }
        version => {
            let (major, minor) = ((version >> 16) as u16, version as u16);
            if major != 3 {
                return Err(Refusal::Protocol(major, minor));
            }
            parameters(minor, rest).map(FirstPacket::Startup)
        }
    }
}

fn empty(rest: &[u8], packet: FirstPacket) -> Result<FirstPacket, Refusal> {
    if rest.is_empty() { Ok(packet) } else { Err(Refusal::Length) }
}

/// Name and value, each ended by a NUL, until an empty name ends the packet.
fn parameters(minor: u16, mut rest: &[u8]) -> Result<Startup, Refusal> {
    let mut startup = Startup {
        minor,
        user: String::new(),
        database: String::new(),
        replication: None,
        settings: Vec::new(),
        unrecognized: Vec::new(),
    };
    let mut options = Vec::new();
    let mut explicit = Vec::new();
    loop {
        let name = until_nul(&mut rest).ok_or(Refusal::Layout("a name has no end"))?;
        if name.is_empty() {
            break;
        }
        let value = until_nul(&mut rest).ok_or(Refusal::Layout("a value has no end"))?;
        let name = utf8(name, name)?;
        let value = match name.as_str() {
            "application_name" => application(value),
            _ => utf8(value, name.as_bytes())?,
        };
        match name.as_str() {
            "user" => startup.user = value,
            "database" => startup.database = value,
            "replication" => startup.replication = Some(value),
            "options" => options = parse_options(&value)?,
            _ if name.starts_with("_pq_.") => startup.unrecognized.push(name),
            _ => explicit.push((name, value)),
        }
    }
    if !rest.is_empty() {
        return Err(Refusal::Layout("expected terminator as last byte"));
    }
    if startup.user.is_empty() {
        return Err(Refusal::NoUser);
    }
    if startup.database.is_empty() {
        startup.database.clone_from(&startup.user);
    }
    startup.settings = options;
    startup.settings.append(&mut explicit);
    Ok(startup)
}

fn until_nul<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let end = rest.iter().position(|&byte| byte == 0)?;
    let (text, tail) = rest.split_at(end);
    *rest = tail.get(1..)?;
    Some(text)
}

/// A name in whatever encoding: servers take only its ASCII, so that others may read it too.
fn application(text: &[u8]) -> String {
    let readable = |byte: u8| if (0x20..0x7f).contains(&byte) { char::from(byte) } else { '?' };
    std::str::from_utf8(text).map_or_else(|_| text.iter().copied().map(readable).collect(), str::to_owned)
}

fn utf8(text: &[u8], name: &[u8]) -> Result<String, Refusal> {
    String::from_utf8(text.to_vec())
        .map_err(|_| Refusal::Encoding(String::from_utf8_lossy(name).into_owned()))
}

/// Reads the `options` parameter: `-c name=value`, `-cname=value` and `--name=value`, a backslash before any
/// character that would split. The backend's other switches are not for clients of a pool.
///
/// # Errors
/// [`Refusal::Options`] with the word at fault.
pub fn parse_options(options: &str) -> Result<Vec<(String, String)>, Refusal> {
    let mut settings = Vec::new();
    let mut words = split_options(options).into_iter();
    while let Some(word) = words.next() {
        let setting = if word == "-c" {
            words.next().ok_or_else(|| Refusal::Options("-c requires name=value".to_owned()))?
        } else if let Some(setting) = word.strip_prefix("--").or_else(|| word.strip_prefix("-c")) {
            setting.to_owned()
        } else {
            return Err(Refusal::Options(format!(
                "\"{}\" is not supported, only -c name=value and --name=value",
                excerpt(&word)
            )));
        };
        match setting.split_once('=') {
            // As PostgreSQL's ParseLongOption: on a command line a name's underscores may be hyphens.
            Some((name, value)) if !name.is_empty() => {
                settings.push((name.replace('-', "_"), value.to_owned()));
            }
            _ => return Err(Refusal::Options(format!("\"{}\" requires a value", excerpt(&setting)))),
        }
    }
    Ok(settings)
}

/// Words between white space; a backslash takes the next character as it is.
fn split_options(options: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut characters = options.chars();
    while let Some(character) = characters.next() {
        match character {
            ' ' | '\t' | '\n' | '\r' | '\x0b' | '\x0c' => words.extend(word.take()),
            '\\' => word.get_or_insert_default().extend(characters.next()),
            _ => word.get_or_insert_default().push(character),
        }
    }
    words.extend(word);
    words
}

/// The first characters of a client's own text, for an error message.
fn excerpt(text: &str) -> String {
    text.chars().take(64).collect()
}

// === what we send to servers ===

pub fn ssl_request(out: &mut Vec<u8>) {
    let start = out.len();
    counted(out, start, |out| out.extend_from_slice(&SSL_REQUEST.to_be_bytes()));
}

/// StartupMessage of protocol 3.`minor`, with `user`, `database` and whatever else in `parameters`.
pub fn startup_message<'a>(
    out: &mut Vec<u8>,
    minor: u16,
    parameters: impl IntoIterator<Item = (&'a str, &'a str)>,
) {
    let start = out.len();
    counted(out, start, |out| {
        out.extend_from_slice(&((3u32 << 16) | u32::from(minor)).to_be_bytes());
        for (name, value) in parameters {
            // An empty name would end the list early.
            if !name.is_empty() && !name.starts_with('\0') {
                string(out, name.as_bytes());
                string(out, value.as_bytes());
            }
        }
        out.push(0);
    });
}

/// CancelRequest, to be sent alone on a connection of its own.
pub fn cancel_request(out: &mut Vec<u8>, pid: i32, key: &[u8]) {
    let start = out.len();
    counted(out, start, |out| {
        out.extend_from_slice(&CANCEL_REQUEST.to_be_bytes());
        out.extend_from_slice(&pid.to_be_bytes());
        out.extend_from_slice(key);
    });
}

/// PasswordMessage: a cleartext password or an md5 response.
pub fn password_message(out: &mut Vec<u8>, password: &[u8]) {
    message(out, b'p', |out| string(out, password));
}

pub fn sasl_initial_response(out: &mut Vec<u8>, mechanism: &str, data: &[u8]) {
    message(out, b'p', |out| {
        string(out, mechanism.as_bytes());
        out.extend_from_slice(&i32::try_from(data.len()).unwrap_or(i32::MAX).to_be_bytes());
        out.extend_from_slice(data);
    });
}

pub fn sasl_response(out: &mut Vec<u8>, data: &[u8]) {
    message(out, b'p', |out| out.extend_from_slice(data));
}

#[cfg(test)]
#[path = "startup_tests.rs"]
mod tests;
