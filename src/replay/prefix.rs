//! `log_line_prefix`: what stands before the level of each message in a stderr log.

use super::line::Severity;
use super::time::civil_time;

/// A prefix that cannot be understood.
#[derive(Debug, thiserror::Error)]
#[error("`%{0}` is no escape of log_line_prefix")]
pub struct BadPrefix(char);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(Vec<u8>),
    Escape(u8),
    /// `%q`: other processes than sessions stop here.
    Quit,
}

/// A `log_line_prefix`, to be taken off lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefix(Vec<Part>);

/// What a prefix says of a line.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Tags<'a> {
    pub(super) time: &'a [u8],
    /// Of `%n`.
    pub(super) epoch: &'a [u8],
    pub(super) pid: &'a [u8],
    pub(super) session: &'a [u8],
    pub(super) user: &'a [u8],
    pub(super) database: &'a [u8],
    pub(super) application: &'a [u8],
    pub(super) address: &'a [u8],
}

/// What stands before a message, and what stands behind it.
pub(super) type Split<'a> = (Tags<'a>, Mark, &'a [u8]);

/// A level, or the name of a part of the message before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    Level(Severity),
    Detail,
    Context,
    Statement,
    /// HINT, QUERY, LOCATION, BACKTRACE.
    Unread,
}

const MARKS: [(&str, Mark); 19] = [
    ("LOG", Mark::Level(Severity::Log)),
    ("DETAIL", Mark::Detail),
    ("ERROR", Mark::Level(Severity::Error)),
    ("STATEMENT", Mark::Statement),
    ("CONTEXT", Mark::Context),
    ("FATAL", Mark::Level(Severity::Error)),
    ("PANIC", Mark::Level(Severity::Error)),
    ("WARNING", Mark::Level(Severity::Other)),
    ("NOTICE", Mark::Level(Severity::Other)),
    ("INFO", Mark::Level(Severity::Other)),
    ("HINT", Mark::Unread),
    ("QUERY", Mark::Unread),
    ("LOCATION", Mark::Unread),
    ("BACKTRACE", Mark::Unread),
    ("DEBUG1", Mark::Level(Severity::Other)),
    ("DEBUG2", Mark::Level(Severity::Other)),
    ("DEBUG3", Mark::Level(Severity::Other)),
    ("DEBUG4", Mark::Level(Severity::Other)),
    ("DEBUG5", Mark::Level(Severity::Other)),
];

/// `LOG:  text`
fn mark(text: &[u8]) -> Option<(Mark, &[u8])> {
    let colon = text.iter().take(12).position(|byte| *byte == b':')?;
    let (_, mark) = MARKS.iter().find(|(name, _)| name.as_bytes() == &text[..colon])?;
    Some((*mark, text.get(colon..)?.strip_prefix(b":  ")?))
}

/// Prefixes that are in use, tried in this order where none is given: the longer ones first, since a name may hold
/// spaces.
const USUAL: [&str; 11] = [
    "%m [%p] %q%u@%d %a ",
    "%m [%p] %q%u@%d ",
    "%m [%p] %q[user=%u,db=%d,app=%a] ",
    "%m [%p] %q[user=%u,db=%d,app=%a,client=%h] ",
    "%m [%p]: [%l-1] user=%u,db=%d,app=%a,client=%h ",
    "%t [%p]: [%l-1] user=%u,db=%d,app=%a,client=%h ",
    "%t [%p]: user=%u,db=%d,app=%a,client=%h ",
    "%t [%p]: [%l-1] user=%u,db=%d ",
    "%t:%r:%u@%d:[%p]:",
    "%m:%r:%u@%d:[%p]:%l:%e:%s:%v:%x:%c:%q%a:",
    "%m [%p] ",
];

impl Prefix {
    /// Those that are tried where none is given.
    pub(super) fn usual() -> Vec<Self> {
        USUAL.iter().filter_map(|text| Self::parse(text).ok()).collect()
    }

    /// As the setting has it.
    ///
    /// # Errors
    /// An escape that PostgreSQL does not have.
    pub fn parse(text: &str) -> Result<Self, BadPrefix> {
        let mut parts: Vec<Part> = Vec::new();
        let mut chars = text.chars().peekable();
        let literal = |parts: &mut Vec<Part>, character: char| {
            let mut bytes = [0; 4];
            let bytes = character.encode_utf8(&mut bytes).as_bytes();
            match parts.last_mut() {
                Some(Part::Text(text)) => text.extend_from_slice(bytes),
                _ => parts.push(Part::Text(bytes.to_vec())),
            }
        };
        while let Some(character) = chars.next() {
            if character != '%' {
                literal(&mut parts, character);
                continue;
            }
            // A width pads with spaces, which are taken off again.
            while chars.peek().is_some_and(|next| next.is_ascii_digit() || *next == '-') {
                chars.next();
            }
            match chars.next() {
                Some('%') => literal(&mut parts, '%'),
                Some('q') => parts.push(Part::Quit),
                Some(escape) if "abcdeLhilmnpPQrstuvx".contains(escape) => {
                    parts.push(Part::Escape(u8::try_from(escape).unwrap_or(b'i')));
                }
                other => return Err(BadPrefix(other.unwrap_or('%'))),
            }
        }
        Ok(Self(parts))
    }

    /// Takes it off a line.
    pub(super) fn split<'a>(&self, line: &'a [u8]) -> Option<Split<'a>> {
        let mut tags = Tags::default();
        let mut steps = 2_000;
        let rest = take(&self.0, line, &mut tags, &mut steps)?;
        let (mark, text) = mark(rest)?;
        Some((tags, mark, text))
    }
}

/// The rest of the line, from its level on. A name ends at the first place from which all that follows fits.
fn take<'a>(parts: &[Part], line: &'a [u8], tags: &mut Tags<'a>, steps: &mut u32) -> Option<&'a [u8]> {
    *steps = steps.checked_sub(1)?;
    let Some((part, parts)) = parts.split_first() else {
        return mark(line).map(|_| line);
    };
    match part {
        Part::Text(text) => take(parts, line.strip_prefix(text.as_slice())?, tags, steps),
        Part::Quit if mark(line).is_some() => Some(line),
        Part::Quit => take(parts, line, tags, steps),
        Part::Escape(escape) => {
            if let Some(fixed) = extent(*escape, line) {
                let (value, rest) = line.split_at(fixed?);
                set(tags, *escape, value);
                return take(parts, rest, tags, steps);
            }
            const LONGEST: usize = 256;
            for end in 0..=line.len().min(LONGEST) {
                let (value, rest) = line.split_at(end);
                let next = match parts.first() {
                    Some(Part::Text(text)) => rest.starts_with(text),
                    None => mark(rest).is_some(),
                    Some(_) => true,
                };
                if next && let Some(rest) = take(parts, rest, tags, steps) {
                    set(tags, *escape, value);
                    return Some(rest);
                }
            }
            None
        }
    }
}

/// How far a value of that escape goes, where its form tells; `Some(None)` if it is not there.
#[allow(clippy::option_option, reason = "no form, and a form that does not fit, differ")]
fn extent(escape: u8, line: &[u8]) -> Option<Option<usize>> {
    let run = |fits: fn(&u8) -> bool| line.iter().take_while(|byte| fits(byte)).count();
    let padding = line.iter().take_while(|byte| **byte == b' ').count();
    Some(match escape {
        b't' | b'm' | b's' => timestamp(line),
        b'p' | b'P' | b'l' | b'x' | b'Q' => {
            let digits = line
                .iter()
                .skip(padding)
                .take_while(|b| b.is_ascii_digit() || (escape == b'Q' && **b == b'-'))
                .count();
            Some(if digits == 0 { 0 } else { padding + digits })
        }
        b'n' => Some(run(|byte| byte.is_ascii_digit() || *byte == b'.')),
        b'c' => Some(run(|byte| byte.is_ascii_hexdigit() || *byte == b'.')),
        b'e' => Some(5).filter(|_| line.iter().take(5).all(u8::is_ascii_alphanumeric) && line.len() > 5),
        b'v' => Some(run(|byte| byte.is_ascii_digit() || *byte == b'/')),
        _ => return None,
    })
}

/// `2026-11-21 10:00:00.123 UTC`
fn timestamp(line: &[u8]) -> Option<usize> {
    let (_, rest) = civil_time(line)?;
    let zone = rest.strip_prefix(b" ")?;
    let fits = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'/' | b'_');
    let length = zone.iter().take_while(fits).count();
    (length > 0).then(|| line.len() - zone.len() + length)
}

fn set<'a>(tags: &mut Tags<'a>, escape: u8, value: &'a [u8]) {
    let value = value.trim_ascii();
    match escape {
        b't' | b'm' => tags.time = value,
        b'n' => tags.epoch = value,
        b'p' => tags.pid = value,
        b'c' => tags.session = value,
        b'u' => tags.user = known(value),
        b'd' => tags.database = known(value),
        b'a' => tags.application = known(value),
        b'h' | b'r' => {
            let end = value.iter().position(|byte| *byte == b'(').unwrap_or(value.len());
            tags.address = &value[..end];
        }
        _ => {}
    }
}

fn known(name: &[u8]) -> &[u8] {
    if name == b"[unknown]" { b"" } else { name }
}

/// A line whose prefix nobody knows: its level, and what looks like a time, a pid, `user@database`, `user=…`.
pub(super) fn guess(line: &[u8]) -> Option<Split<'_>> {
    const FAR: usize = 512;
    let begins = |at: usize| {
        at == 0 || matches!(line.get(at - 1), Some(b' ' | b':' | b']' | b'|' | b',' | b'>' | b')'))
    };
    let at = (0..line.len().min(FAR)).find(|at| begins(*at) && line.get(*at..).and_then(mark).is_some())?;
    let (prefix, rest) = line.split_at(at);
    let (mark, text) = mark(rest)?;
    let mut tags = Tags::default();
    for from in 0..prefix.len() {
        if let Some(length) = prefix.get(from..).and_then(timestamp) {
            tags.time = &prefix[from..from + length];
            break;
        }
    }
    for word in prefix.split(|byte| matches!(byte, b' ' | b',' | b'|' | b';')) {
        let inner = word.trim_ascii_end().strip_prefix(b"[").unwrap_or(word);
        let digits = inner.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if word.starts_with(b"[") && digits > 0 && inner.get(digits) == Some(&b']') && tags.pid.is_empty() {
            tags.pid = &inner[..digits];
        }
        if let Some(equals) = memchr::memchr(b'=', word) {
            let (key, value) = (&word[..equals], known(&word[equals + 1..]));
            match key {
                b"user" | b"[user" => tags.user = value,
                b"db" | b"database" => tags.database = value,
                b"app" | b"application" => tags.application = value,
                b"client" | b"host" => tags.address = value,
                b"pid" => tags.pid = value,
                b"session" => tags.session = value,
                _ => {}
            }
        } else if let (Some(sign), true) = (memchr::memchr(b'@', word), tags.user.is_empty()) {
            (tags.user, tags.database) = (known(&word[..sign]), known(&word[sign + 1..]));
        }
    }
    Some((tags, mark, text))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn shown(split: Option<Split<'_>>) -> String {
        let Some((tags, mark, text)) = split else { return "none".to_owned() };
        let text_of = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let names =
            [tags.pid, tags.session, tags.user, tags.database, tags.application, tags.address].map(text_of);
        format!("{} {mark:?} {} {}", text_of(tags.time).len(), names.join("|"), text_of(text))
    }

    #[test]
    fn prefixes_of_all_kinds_come_off() {
        let cases = [
            (
                "%m [%p] %q%u@%d %a ",
                "2026-11-21 10:00:00.123 UTC [77] app@shop my app LOG:  statement: SELECT 1",
                "27 Level(Log) 77||app|shop|my app| statement: SELECT 1",
            ),
            (
                "%m [%p] %q%u@%d ",
                "2026-11-21 10:00:00.123 UTC [77] LOG:  checkpoint starting: LOG:  x",
                "27 Level(Log) 77||||| checkpoint starting: LOG:  x",
            ),
            (
                "%t [%p]: [%l-1] user=%u,db=%d,app=%a,client=%h ",
                "2026-11-21 10:00:00 CET [9]: [3-1] user=a,db=b,app=[unknown],client=10.0.0.1 ERROR:  bad",
                "23 Level(Error) 9||a|b||10.0.0.1 bad",
            ),
            (
                "%t:%r:%u@%d:[%p]:",
                "2026-11-21 10:00:00 UTC:10.1.2.3(5000):a@b:[12]:DETAIL:  parameters: $1 = 'x'",
                "23 Detail 12||a|b||10.1.2.3 parameters: $1 = 'x'",
            ),
            (
                "%-10u|%5p|%c ",
                "app       |   12|65a1.4d2 STATEMENT:  SELECT 1",
                "0 Statement 12|65a1.4d2|app||| SELECT 1",
            ),
            ("%n [%p] ", "1795255200.123 [5] FATAL:  x", "0 Level(Error) 5||||| x"),
            ("%m [%p] ", "not at all LOG:  x", "none"),
        ];
        for (prefix, line, expected) in cases {
            assert_eq!(shown(Prefix::parse(prefix).unwrap().split(line.as_bytes())), expected, "{prefix}");
        }
        assert_eq!(Prefix::parse("%z").unwrap_err().to_string(), "`%z` is no escape of log_line_prefix");
        assert!(Prefix::parse("%").is_err());
    }

    #[test]
    fn unknown_prefixes_are_guessed_at() {
        let line = "<2026-11-21 10:00:00 UTC> [44] app@shop LOG:  statement: SELECT 1";
        assert_eq!(shown(guess(line.as_bytes())), "23 Level(Log) 44||app|shop|| statement: SELECT 1");
        let line = "pid=7 user=a db=b host=h LOG:  x";
        assert_eq!(shown(guess(line.as_bytes())), "0 Level(Log) 7||a|b||h x");
        assert_eq!(shown(guess(b"no level here")), "none");
    }

    #[test]
    fn hostile_lines_cost_little() {
        let prefix = Prefix::parse("%a %u %d %i %b ").unwrap();
        let line = "x ".repeat(100_000);
        assert_eq!(prefix.split(line.as_bytes()), None);
    }
}
