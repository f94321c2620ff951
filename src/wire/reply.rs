//! The messages pgsluice makes itself, as encoders that append to a `Vec<u8>`.
//!
//! A dozen short messages: own code, because it can then promise what a proxy needs. No encoder panics,
//! fails or reads anything back. A string that would hold a NUL (the protocol ends strings with one) is cut
//! there, so no text from outside can smuggle a second field or message. Layouts are those of PostgreSQL's
//! documentation, "Message Formats".

use super::sqlstate::SqlState;

/// Transaction status in ReadyForQuery: `I` idle, `T` in a transaction, `E` in a failed one.
pub const IDLE: u8 = b'I';
pub const IN_TRANSACTION: u8 = b'T';
pub const IN_FAILED_TRANSACTION: u8 = b'E';

/// Type of a text column in [`row_description`].
const TEXT_OID: i32 = 25;

/// How an error ends: the statement (`ERROR`) or the connection (`FATAL`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    Error,
    Fatal,
}

impl Severity {
    const fn text(self) -> &'static str {
        match self {
            Self::Error => "ERROR",
            Self::Fatal => "FATAL",
        }
    }
}

/// Appends a message: its tag, then its length in front of what `body` writes.
///
/// A body of 2 GiB or more cannot be framed; it is left out (nothing here comes near).
pub fn message(out: &mut Vec<u8>, tag: u8, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.push(tag);
    counted(out, start, body);
}

/// Appends a four-byte length that counts itself, and what `body` writes; on overflow cuts `out` back to `start`.
pub(super) fn counted(out: &mut Vec<u8>, start: usize, body: impl FnOnce(&mut Vec<u8>)) {
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    body(out);
    match (i32::try_from(out.len() - at), out.get_mut(at..at + 4)) {
        (Ok(length), Some(slot)) => slot.copy_from_slice(&length.to_be_bytes()),
        _ => out.truncate(start),
    }
}

/// Appends `text` up to its first NUL, and the NUL that ends it.
pub fn string(out: &mut Vec<u8>, text: &[u8]) {
    out.extend(text.iter().take_while(|&&byte| byte != 0));
    out.push(0);
}

fn fields(
    out: &mut Vec<u8>,
    tag: u8,
    severity: &str,
    sqlstate: SqlState,
    message_text: &str,
    detail: &str,
    hint: &str,
) {
    message(out, tag, |out| {
        let mut field = |kind: u8, text: &[u8]| {
            out.push(kind);
            string(out, text);
        };
        field(b'S', severity.as_bytes());
        field(b'V', severity.as_bytes()); // the same, never localised: what drivers should read
        field(b'C', &sqlstate);
        field(b'M', message_text.as_bytes());
        if !detail.is_empty() {
            field(b'D', detail.as_bytes());
        }
        if !hint.is_empty() {
            field(b'H', hint.as_bytes());
        }
        out.push(0);
    });
}

/// ErrorResponse. An empty `detail` or `hint` is left out.
pub fn error_response(
    out: &mut Vec<u8>,
    severity: Severity,
    sqlstate: SqlState,
    message: &str,
    detail: &str,
    hint: &str,
) {
    fields(out, b'E', severity.text(), sqlstate, message, detail, hint);
}

/// NoticeResponse with severity `severity` (`NOTICE`, `WARNING`). An empty `detail` or `hint` is left out.
pub fn notice_response(
    out: &mut Vec<u8>,
    severity: &str,
    sqlstate: SqlState,
    message: &str,
    detail: &str,
    hint: &str,
) {
    fields(out, b'N', severity, sqlstate, message, detail, hint);
}

fn authentication(out: &mut Vec<u8>, code: i32, data: &[u8]) {
    message(out, b'R', |out| {
        out.extend_from_slice(&code.to_be_bytes());
        out.extend_from_slice(data);
    });
}

pub fn authentication_ok(out: &mut Vec<u8>) {
    authentication(out, 0, &[]);
}

pub fn authentication_cleartext_password(out: &mut Vec<u8>) {
    authentication(out, 3, &[]);
}

pub fn authentication_md5_password(out: &mut Vec<u8>, salt: [u8; 4]) {
    authentication(out, 5, &salt);
}

/// AuthenticationSASL with the mechanisms on offer, best first.
pub fn authentication_sasl(out: &mut Vec<u8>, mechanisms: &[&str]) {
    message(out, b'R', |out| {
        out.extend_from_slice(&10i32.to_be_bytes());
        for mechanism in mechanisms {
            string(out, mechanism.as_bytes());
        }
        out.push(0);
    });
}

pub fn authentication_sasl_continue(out: &mut Vec<u8>, data: &[u8]) {
    authentication(out, 11, data);
}

pub fn authentication_sasl_final(out: &mut Vec<u8>, data: &[u8]) {
    authentication(out, 12, data);
}

pub fn parameter_status(out: &mut Vec<u8>, name: &str, value: &str) {
    message(out, b'S', |out| {
        string(out, name.as_bytes());
        string(out, value.as_bytes());
    });
}

/// BackendKeyData. `key` is 4 bytes in protocol 3.0, up to 256 from 3.2 on.
pub fn backend_key_data(out: &mut Vec<u8>, pid: i32, key: &[u8]) {
    message(out, b'K', |out| {
        out.extend_from_slice(&pid.to_be_bytes());
        out.extend_from_slice(key);
    });
}

/// NegotiateProtocolVersion: the newest 3.x we speak, and the `_pq_.` options we do not know.
pub fn negotiate_protocol_version(out: &mut Vec<u8>, minor: u16, unrecognized: &[String]) {
    message(out, b'v', |out| {
        // PostgreSQL and libpq put the whole version here, major and minor.
        out.extend_from_slice(&((3u32 << 16) | u32::from(minor)).to_be_bytes());
        let count = i32::try_from(unrecognized.len()).unwrap_or(i32::MAX);
        out.extend_from_slice(&count.to_be_bytes());
        for option in unrecognized {
            string(out, option.as_bytes());
        }
    });
}

/// An ErrorResponse from the body of another, as one that ends the connection: whatever it says stays, byte by byte,
/// in whatever encoding it is.
pub fn fatal_response(out: &mut Vec<u8>, body: &[u8]) {
    message(out, b'E', |out| {
        for field in body.split(|&byte| byte == 0).filter(|field| !field.is_empty()) {
            match field.first() {
                Some(kind @ (b'S' | b'V')) => {
                    out.push(*kind);
                    string(out, b"FATAL");
                }
                _ => string(out, field),
            }
        }
        out.push(0);
    });
}

/// ReadyForQuery with `status` one of [`IDLE`], [`IN_TRANSACTION`], [`IN_FAILED_TRANSACTION`].
pub fn ready_for_query(out: &mut Vec<u8>, status: u8) {
    message(out, b'Z', |out| out.push(status));
}

pub fn command_complete(out: &mut Vec<u8>, tag: &str) {
    message(out, b'C', |out| string(out, tag.as_bytes()));
}

pub fn parse_complete(out: &mut Vec<u8>) {
    message(out, b'1', |_| ());
}

pub fn bind_complete(out: &mut Vec<u8>) {
    message(out, b'2', |_| ());
}

pub fn close_complete(out: &mut Vec<u8>) {
    message(out, b'3', |_| ());
}

pub fn no_data(out: &mut Vec<u8>) {
    message(out, b'n', |_| ());
}

pub fn empty_query_response(out: &mut Vec<u8>) {
    message(out, b'I', |_| ());
}

/// RowDescription of text columns. More than 32,767 columns are cut.
pub fn row_description(out: &mut Vec<u8>, columns: &[&str]) {
    let count = i16::try_from(columns.len()).unwrap_or(i16::MAX);
    message(out, b'T', |out| {
        out.extend_from_slice(&count.to_be_bytes());
        for column in columns.iter().take(usize::from(count.unsigned_abs())) {
            string(out, column.as_bytes());
            out.extend_from_slice(&0i32.to_be_bytes()); // no table
            out.extend_from_slice(&0i16.to_be_bytes()); // no column of a table
            out.extend_from_slice(&TEXT_OID.to_be_bytes());
            out.extend_from_slice(&(-1i16).to_be_bytes()); // varying width
            out.extend_from_slice(&(-1i32).to_be_bytes()); // no type modifier
            out.extend_from_slice(&0i16.to_be_bytes()); // text format
        }
    });
}

/// DataRow of text values; `None` is NULL. More than 32,767 values are cut.
pub fn data_row(out: &mut Vec<u8>, values: &[Option<&str>]) {
    let count = i16::try_from(values.len()).unwrap_or(i16::MAX);
    message(out, b'D', |out| {
        out.extend_from_slice(&count.to_be_bytes());
        for value in values.iter().take(usize::from(count.unsigned_abs())) {
            // A value of 2 GiB cannot be sent; NULL keeps the frame sound.
            match value.and_then(|text| Some((i32::try_from(text.len()).ok()?, text))) {
                Some((length, text)) => {
                    out.extend_from_slice(&length.to_be_bytes());
                    out.extend_from_slice(text.as_bytes());
                }
                None => out.extend_from_slice(&(-1i32).to_be_bytes()),
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(encode: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut out = b"before".to_vec();
        encode(&mut out);
        assert_eq!(&out[..6], b"before");
        out.split_off(6)
    }

    #[test]
    fn an_error_has_its_fields_in_order_and_cuts_strings_at_nul() {
        let out = encoded(|out| {
            error_response(out, Severity::Fatal, *b"28P01", "no\0SFAKE", "", "try again");
        });
        let body = b"SFATAL\0VFATAL\0C28P01\0Mno\0Htry again\0\0";
        let mut expected = vec![b'E'];
        expected.extend_from_slice(&(body.len() as u32 + 4).to_be_bytes());
        expected.extend_from_slice(body);
        assert_eq!(out, expected);
    }

    #[test]
    fn messages_are_as_documented() {
        assert_eq!(encoded(authentication_ok), b"R\0\0\0\x08\0\0\0\0");
        assert_eq!(encoded(|o| authentication_md5_password(o, *b"abcd")), b"R\0\0\0\x0c\0\0\0\x05abcd");
        assert_eq!(encoded(|o| authentication_sasl(o, &["X", "Y"])), b"R\0\0\0\x0d\0\0\0\x0aX\0Y\0\0");
        assert_eq!(encoded(|o| ready_for_query(o, IDLE)), b"Z\0\0\0\x05I");
        assert_eq!(encoded(parse_complete), b"1\0\0\0\x04");
        assert_eq!(encoded(|o| parameter_status(o, "a", "b")), b"S\0\0\0\x08a\0b\0");
        assert_eq!(encoded(|o| backend_key_data(o, 7, b"keys!")), b"K\0\0\0\x0d\0\0\0\x07keys!");
        assert_eq!(
            encoded(|o| negotiate_protocol_version(o, 2, &["_pq_.x".to_owned()])),
            b"v\0\0\0\x13\0\x03\0\x02\0\0\0\x01_pq_.x\0"
        );
        assert_eq!(
            encoded(|o| fatal_response(o, b"SERROR\0VERROR\0C22023\0M\xfc\0\0")),
            b"E\0\0\0\x1dSFATAL\0VFATAL\0C22023\0M\xfc\0\0"
        );
        assert_eq!(
            encoded(|o| data_row(o, &[Some("ab"), None])),
            b"D\0\0\0\x10\0\x02\0\0\0\x02ab\xff\xff\xff\xff"
        );
    }
}
