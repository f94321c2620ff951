//! `log_destination = csvlog`. The columns of PostgreSQL 9.0 to 18 begin with the same 23; later ones were added behind.

use super::csv::Record;
use super::line::{Line, Severity};
use super::time::{Clock, civil_time};

/// `application_name` is the last that all versions have.
pub(super) const MIN_COLUMNS: usize = 23;

/// A record begins here: a time, its zone, a comma.
pub(super) fn begins(line: &[u8]) -> bool {
    let Some((_, rest)) = civil_time(line) else { return false };
    let zone = rest.iter().position(|byte| *byte == b',');
    zone.is_some_and(|end| end <= 16 && !rest[..end].iter().any(|byte| matches!(byte, b'"' | b'\n')))
}

/// A record as a message; `None` if its columns are not those of a log.
pub(super) fn line<'a>(record: &'a Record, number: u64, clock: &mut Clock) -> Option<Line<'a>> {
    if record.len() < MIN_COLUMNS {
        return None;
    }
    let session = record.get(5);
    Some(Line {
        number,
        time: Some(clock.micros(record.get(0))?),
        user: record.get(1),
        database: record.get(2),
        address: host(record.get(4)),
        session: super::Entry::number(if session.is_empty() { record.get(3) } else { session }),
        severity: Severity::of(record.get(11)),
        message: record.get(13),
        detail: record.get(14),
        context: record.get(18),
        statement: record.get(19),
        application: record.get(22),
    })
}

/// `10.0.0.1:5000` and `[local]` without the port.
pub(super) fn host(from: &[u8]) -> &[u8] {
    match memchr::memrchr(b':', from) {
        Some(colon) => &from[..colon],
        None => from,
    }
}
