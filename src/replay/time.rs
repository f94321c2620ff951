//! Times as logs write them.

use jiff::civil;
use jiff::tz::TimeZone;

/// Abbreviations that `log_timezone` prints. One that stands for several zones is left out: the log's zone can be given.
const ZONES: [(&str, i64); 28] = [
    ("UTC", 0),
    ("GMT", 0),
    ("Z", 0),
    ("WET", 0),
    ("WEST", 60),
    ("CET", 60),
    ("CEST", 120),
    ("MET", 60),
    ("MEST", 120),
    ("EET", 120),
    ("EEST", 180),
    ("MSK", 180),
    ("SAST", 120),
    ("JST", 540),
    ("KST", 540),
    ("HKT", 480),
    ("AWST", 480),
    ("AEST", 600),
    ("AEDT", 660),
    ("NZST", 720),
    ("NZDT", 780),
    ("EST", -300),
    ("EDT", -240),
    ("CDT", -300),
    ("MST", -420),
    ("MDT", -360),
    ("PST", -480),
    ("PDT", -420),
];

/// Reads the times of one log.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    /// Of the log, where its abbreviations do not tell.
    zone: Option<TimeZone>,
    /// The first abbreviation that was taken for UTC because nobody knows it.
    unknown: Option<String>,
}

impl Clock {
    /// `zone` overrides what the log says.
    #[must_use]
    pub fn new(zone: Option<TimeZone>) -> Self {
        Self { zone, unknown: None }
    }

    /// An abbreviation that was taken for UTC.
    #[must_use]
    pub fn unknown(&self) -> Option<&str> {
        self.unknown.as_deref()
    }

    /// `2026-11-21 10:00:00.123 UTC`, also with `T`, without fraction, with an offset -> microseconds since 1970.
    pub fn micros(&mut self, text: &[u8]) -> Option<i64> {
        let (at, rest) = civil_time(text)?;
        let zone = rest.trim_ascii();
        if let Some(own) = &self.zone
            && !zone.first().is_some_and(|byte| matches!(byte, b'+' | b'-'))
        {
            return Some(own.to_timestamp(at).ok()?.as_microsecond());
        }
        let minutes = match offset(zone) {
            Some(minutes) => minutes,
            None => {
                self.unknown.get_or_insert_with(|| String::from_utf8_lossy(zone).chars().take(20).collect());
                0
            }
        };
        let utc = TimeZone::UTC.to_timestamp(at).ok()?.as_microsecond();
        utc.checked_sub(minutes * 60_000_000)
    }
}

/// A date and time, and what follows it.
pub(super) fn civil_time(text: &[u8]) -> Option<(civil::DateTime, &[u8])> {
    let two = |at: usize| number(text.get(at..at + 2)?);
    let is = |at: usize, wanted: &[u8]| text.get(at).is_some_and(|byte| wanted.contains(byte));
    if !(is(4, b"-") && is(7, b"-") && is(10, b" T") && is(13, b":") && is(16, b":")) {
        return None;
    }
    let year = i16::try_from(number(text.get(..4)?)?).ok()?;
    let [month, day, hour, minute, second] = [two(5)?, two(8)?, two(11)?, two(14)?, two(17)?];
    let mut rest = text.get(19..)?;
    let mut nanos = 0;
    if let Some(digits) = rest.strip_prefix(b".") {
        let count = digits.iter().take_while(|byte| byte.is_ascii_digit()).count().min(9);
        nanos = number(digits.get(..count)?)? * 10_i32.pow(9 - u32::try_from(count).ok()?);
        rest = digits.get(count..)?;
    }
    let small = |n: i32| i8::try_from(n).ok();
    // A leap second is the last of its minute to everybody else.
    let second = small(second)?.min(59);
    let at =
        civil::DateTime::new(year, small(month)?, small(day)?, small(hour)?, small(minute)?, second, nanos);
    Some((at.ok()?, rest))
}

fn number(digits: &[u8]) -> Option<i32> {
    digits.iter().try_fold(0_i32, |number, byte| {
        byte.is_ascii_digit().then(|| number.wrapping_mul(10).wrapping_add(i32::from(byte - b'0')))
    })
}

/// Minutes east of Greenwich.
fn offset(zone: &[u8]) -> Option<i64> {
    let (sign, digits) = match zone.split_first() {
        None => return Some(0),
        Some((b'+', digits)) => (1, digits),
        Some((b'-', digits)) => (-1, digits),
        Some(_) => {
            let known = ZONES.iter().find(|(name, _)| name.as_bytes() == zone);
            return known.map(|(_, minutes)| *minutes);
        }
    };
    let hours = i64::from(number(digits.get(..2)?)?);
    let rest = digits.get(2..).unwrap_or_default();
    let minutes = rest.strip_prefix(b":").unwrap_or(rest);
    let minutes = if minutes.is_empty() { 0 } else { i64::from(number(minutes.get(..2)?)?) };
    Some(sign * (hours * 60 + minutes))
}

/// A name of the time zone database, or an offset such as `+02:00`.
///
/// # Errors
/// A sentence.
pub fn parse_zone(text: &str) -> Result<TimeZone, String> {
    if let Some(minutes) = text.starts_with(['+', '-']).then(|| offset(text.as_bytes())).flatten() {
        let seconds = i32::try_from(minutes * 60).map_err(|_| "no such offset".to_owned())?;
        let offset = jiff::tz::Offset::from_seconds(seconds).map_err(|error| error.to_string())?;
        return Ok(TimeZone::fixed(offset));
    }
    TimeZone::get(text)
        .map_err(|_| format!("`{text}` is no time zone; give one such as Europe/Zurich or +02:00"))
}

/// A moment as people give it: `2026-11-21`, `2026-11-21 10:00`, `…:00.5`, with or without a zone (else UTC), Unix
/// seconds, or so long before `now`: `90m`, `12h`, `7d`. -> microseconds since 1970.
///
/// # Errors
/// A sentence.
pub fn moment(text: &str, now: i64) -> Result<i64, String> {
    let fault = || {
        format!(
            "`{text}` is no time; give one such as 2026-11-21, \"2026-11-21 10:00\", 2026-11-21T10:00:00Z or 12h"
        )
    };
    let text = text.trim();
    let (digits, unit) = text.split_at(text.len() - text.chars().next_back().map_or(0, char::len_utf8));
    let seconds = match unit {
        "s" => Some(1),
        "m" => Some(60),
        "h" => Some(3600),
        "d" => Some(86_400),
        _ => None,
    };
    if let (Some(seconds), Ok(count)) = (seconds, digits.parse::<i64>()) {
        return count
            .checked_mul(seconds)
            .and_then(|ago| ago.checked_mul(1_000_000))
            .and_then(|ago| now.checked_sub(ago))
            .ok_or_else(fault);
    }
    if let Ok(unix) = text.parse::<i64>() {
        return unix.checked_mul(1_000_000).ok_or_else(fault);
    }
    let full = match text.len() {
        10 => format!("{text} 00:00:00"),
        16 => format!("{text}:00"),
        _ => text.to_owned(),
    };
    let mut clock = Clock::default();
    let micros = clock.micros(full.as_bytes()).filter(|_| clock.unknown().is_none());
    micros.ok_or_else(fault)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn times_of_all_forms_are_read() {
        let mut clock = Clock::default();
        let mut at = |text: &str| clock.micros(text.as_bytes());
        let ten = 1_795_255_200_000_000;
        assert_eq!(at("2026-11-21 10:00:00.123 UTC"), Some(ten + 123_000));
        assert_eq!(at("2026-11-21 10:00:00 GMT"), Some(ten));
        assert_eq!(at("2026-11-21T10:00:00.5Z"), Some(ten + 500_000));
        assert_eq!(at("2026-11-21 11:00:00.000 CET"), Some(ten));
        assert_eq!(at("2026-11-21 05:00:00.000 EST"), Some(ten));
        assert_eq!(at("2026-11-21 15:30:00.000 +05:30"), Some(ten));
        assert_eq!(at("2026-11-21 13:00:00.000 +03"), Some(ten));
        for bad in
            ["", "2026-11-21", "2026-13-21 10:00:00", "2026-11-21 10:61:00", "x026-11-21 10:00:00", "é"]
        {
            assert_eq!(at(bad), None, "{bad}");
        }
        assert_eq!(clock.unknown(), None);
        assert_eq!(clock.micros(b"2026-11-21 10:00:00 XYZ"), Some(ten));
        assert_eq!(clock.unknown(), Some("XYZ"));
        let mut zurich = Clock::new(Some(parse_zone("Europe/Zurich").unwrap()));
        assert_eq!(zurich.micros(b"2026-11-21 11:00:00 IST"), Some(ten));
        assert!(zurich.unknown().is_none() && parse_zone("Europe/Nowhere").is_err());
        assert_eq!(Clock::new(Some(parse_zone("-05").unwrap())).micros(b"2026-11-21 05:00:00"), Some(ten));
    }

    #[test]
    fn moments_are_what_people_write() {
        let now = 1_000_000_000_000;
        let ten = 1_795_255_200_000_000;
        assert_eq!(moment("2h", now), Ok(now - 7_200_000_000));
        assert_eq!(moment("2026-11-21 10:00", now), Ok(ten));
        assert_eq!(moment("2026-11-21T10:00:00Z", now), Ok(ten));
        assert_eq!(moment("2026-11-21T11:00:00+01:00", now), Ok(ten));
        assert_eq!(moment("2026-11-21", now), Ok(ten - 36_000_000_000));
        assert_eq!(moment("1795255200", now), Ok(ten));
        for bad in ["", "soon", "2026-11", "é", "99999999999999999999d", "10:00"] {
            assert!(moment(bad, now).is_err(), "{bad}");
        }
    }
}
