//! Quantities as policies write them: `5s`, `64MB`, `100/s`.

use std::time::Duration;

/// A duration in the units of PostgreSQL's settings, and `m` for minutes.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = split(text)?;
    let micros: u64 = match unit {
        "us" => 1,
        "ms" => 1000,
        "s" => 1_000_000,
        "min" | "m" => 60_000_000,
        "h" => 3_600_000_000,
        "d" => 86_400_000_000,
        _ => return None,
    };
    number.checked_mul(micros).map(Duration::from_micros)
}

/// A size; units are powers of 1024, as in PostgreSQL's settings.
pub(super) fn bytes(text: &str) -> Option<u64> {
    let (number, unit) = split(text)?;
    let factor: u64 = match unit {
        "B" => 1,
        "kB" => 1 << 10,
        "MB" => 1 << 20,
        "GB" => 1 << 30,
        "TB" => 1 << 40,
        _ => return None,
    };
    number.checked_mul(factor)
}

/// So many in so long: `100/s`, `5/10s`, `1000/min`.
pub(super) fn rate(text: &str) -> Option<(u32, Duration)> {
    let (count, within) = text.split_once('/')?;
    let within = within.trim();
    let within = match within.as_bytes().first()? {
        b'0'..=b'9' => duration(within)?,
        _ => duration(&format!("1{within}"))?,
    };
    let count: u32 = count.trim().parse().ok()?;
    (count > 0 && !within.is_zero()).then_some((count, within))
}

/// A whole number and its unit.
fn split(text: &str) -> Option<(u64, &str)> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    Some((number.parse().ok()?, unit.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_have_units() {
        let seconds = |n| Some(Duration::from_secs(n));
        for (text, expected) in [
            ("5s", seconds(5)),
            (" 2 min ", seconds(120)),
            ("1m", seconds(60)),
            ("500ms", Some(Duration::from_millis(500))),
            ("1h", seconds(3600)),
            ("5", None),
            ("s", None),
            ("-5s", None),
            ("1.5s", None),
            ("99999999999999999999s", None),
            ("999999999999999d", None),
        ] {
            assert_eq!(duration(text), expected, "{text}");
        }
        for (text, expected) in
            [("64MB", Some(64 << 20)), ("1kB", Some(1024)), ("7 B", Some(7)), ("64mb", None), ("64", None)]
        {
            assert_eq!(bytes(text), expected, "{text}");
        }
        for (text, expected) in [
            ("100/s", Some((100, Duration::from_secs(1)))),
            ("5/10s", Some((5, Duration::from_secs(10)))),
            ("1000 / min", Some((1000, Duration::from_secs(60)))),
            ("0/s", None),
            ("5/0s", None),
            ("5", None),
            ("5/", None),
        ] {
            assert_eq!(rate(text), expected, "{text}");
        }
    }
}
