//! An answer of the console as protocol messages, and the manual's page of all of them. Pure.

use std::fmt::Write as _;

use super::commands::{COMMANDS, Column, Command, Type, Who};
use crate::wire::reply;

/// A value of a row.
#[derive(Clone, Copy, Debug)]
pub enum Value<'a> {
    Null,
    Text(&'a str),
    Number(u64),
    /// A moment in seconds since 1970; shown in UTC.
    Time(u64),
}

impl Value<'_> {
    /// A number that may be negative to nobody's use: counts that raced stand at 0.
    #[must_use]
    pub fn count(n: usize) -> Self {
        Value::Number(n as u64)
    }

    fn fits(self, kind: Type) -> bool {
        match self {
            Value::Null => true,
            Value::Text(_) | Value::Time(_) => kind == Type::Text,
            Value::Number(n) => match kind {
                Type::Text => false,
                Type::Int4 => i32::try_from(n).is_ok(),
                Type::Int8 => i64::try_from(n).is_ok(),
                Type::Numeric => true,
            },
        }
    }
}

/// Rows, written as they come.
pub struct Sheet {
    out: Vec<u8>,
    columns: Vec<Type>,
    text: String,
}

impl Sheet {
    /// Begins with the columns.
    pub fn new<'a>(columns: impl IntoIterator<Item = &'a Column>) -> Self {
        let columns: Vec<_> = columns.into_iter().copied().collect();
        let mut out = Vec::new();
        reply::message(&mut out, b'T', |out| {
            out.extend_from_slice(&i16::try_from(columns.len()).unwrap_or(0).to_be_bytes());
            for column in &columns {
                let (oid, width) = column.kind.oid();
                reply::string(out, column.name.as_bytes());
                out.extend_from_slice(&[0; 6]); // of no table
                out.extend_from_slice(&oid.to_be_bytes());
                out.extend_from_slice(&width.to_be_bytes());
                out.extend_from_slice(&(-1i32).to_be_bytes()); // no type modifier
                out.extend_from_slice(&0i16.to_be_bytes()); // text format
            }
        });
        Self { out, columns: columns.iter().map(|column| column.kind).collect(), text: String::new() }
    }

    /// Adds a row: a value for each column. What does not fit its column is NULL (and fails the tests).
    pub fn row(&mut self, values: &[Value<'_>]) {
        debug_assert_eq!(values.len(), self.columns.len());
        let (columns, text) = (&self.columns, &mut self.text);
        reply::message(&mut self.out, b'D', |out| {
            out.extend_from_slice(&i16::try_from(columns.len()).unwrap_or(0).to_be_bytes());
            for (at, kind) in columns.iter().enumerate() {
                let value = values.get(at).copied().unwrap_or(Value::Null);
                debug_assert!(value.fits(*kind), "column {at}: {value:?}");
                let shown = if value.fits(*kind) { show(value, text) } else { None };
                match shown.and_then(|text| Some((text, i32::try_from(text.len()).ok()?))) {
                    Some((text, length)) => {
                        out.extend_from_slice(&length.to_be_bytes());
                        out.extend_from_slice(text.as_bytes());
                    }
                    None => out.extend_from_slice(&(-1i32).to_be_bytes()),
                }
            }
        });
    }

    /// The messages; CommandComplete and ReadyForQuery are the caller's.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        self.out
    }
}

fn show<'a>(value: Value<'a>, text: &'a mut String) -> Option<&'a str> {
    text.clear();
    let written = match value {
        Value::Null => return None,
        Value::Text(text) => return Some(text),
        Value::Number(n) => write!(text, "{n}"),
        Value::Time(at) => {
            let [year, month, day, hour, minute, second] = civil(at);
            write!(text, "{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
        }
    };
    written.ok().map(|()| text.as_str())
}

/// Year, month, day, hour, minute and second of a moment since 1970, in UTC.
fn civil(seconds: u64) -> [u64; 6] {
    let (mut days, time) = (seconds / 86_400, seconds % 86_400);
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let mut year = 1970;
    while days >= 365 + u64::from(leap(year)) {
        days -= 365 + u64::from(leap(year));
        year += 1;
    }
    let mut month = 1;
    for length in [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    [year, month, days + 1, time / 3600, time / 60 % 60, time % 60]
}

/// docs/CONSOLE.md.
#[must_use]
pub fn documentation() -> String {
    let mut out = String::from(include_str!("console.md"));
    for command in COMMANDS {
        let _ = write!(out, "\n## {}\n\n{}\n", command.usage(), command.help);
        if command.who == Who::Admins {
            out.push_str("For `admin_users` only.\n");
        }
        if command.columns.is_empty() && command.own.is_empty() {
            continue;
        }
        out.push_str("\n| column | type | |\n|---|---|---|\n");
        table(&mut out, command.columns, "");
        let mark = if command.columns.is_empty() { "" } else { "*pgsluice's own.* " };
        table(&mut out, command.own, mark);
    }
    out
}

fn table(out: &mut String, columns: &[Column], mark: &str) {
    for Column { name, kind, doc } in columns {
        let _ = writeln!(out, "| {name} | {} | {} |", kind.name(), format!("{mark}{doc}").trim_end());
    }
}

/// SHOW HELP's rows.
pub(super) fn help<'a>(commands: impl Iterator<Item = &'a Command>, sheet: &mut Sheet) {
    for command in commands {
        sheet.row(&[Value::Text(&command.usage()), Value::Text(command.help)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_civil() {
        let shown = |seconds: u64| {
            let mut text = String::new();
            show(Value::Time(seconds), &mut text).map(str::to_owned)
        };
        for (seconds, expected) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_399, "2000-02-28 23:59:59 UTC"),
            (951_782_400, "2000-02-29 00:00:00 UTC"),
            (951_868_800, "2000-03-01 00:00:00 UTC"),
            (1_798_761_599, "2026-12-31 23:59:59 UTC"),
            (4_107_542_400, "2100-03-01 00:00:00 UTC"),
        ] {
            assert_eq!(shown(seconds).as_deref(), Some(expected));
        }
    }

    #[test]
    fn a_row_has_what_its_columns_say_and_text_passes_as_it_is() {
        let columns = [
            Column { name: "t", kind: Type::Text, doc: "" },
            Column { name: "i", kind: Type::Int4, doc: "" },
            Column { name: "n", kind: Type::Numeric, doc: "" },
        ];
        let mut sheet = Sheet::new(&columns);
        let before = sheet.out.len();
        sheet.row(&[Value::Text("a\n\0\"é"), Value::Null, Value::Number(u64::MAX)]);
        let row = sheet.finish().split_off(before);
        let value = b"\0\0\0\x06a\n\0\"\xc3\xa9\xff\xff\xff\xff\0\0\0\x1418446744073709551615";
        assert_eq!(row, [&b"D\0\0\0\x2c\0\x03"[..], value].concat());
    }
}
