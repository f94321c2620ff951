//! Views of the messages a server sends. Every field is optional: a server's bytes are foreign, too.

/// `ParameterStatus`.
#[must_use]
pub fn parameter_status(body: &[u8]) -> Option<(&str, &str)> {
    let mut parts = body.split(|&b| b == 0);
    Some((std::str::from_utf8(parts.next()?).ok()?, std::str::from_utf8(parts.next()?).ok()?))
}

/// One field of an `ErrorResponse` or `NoticeResponse`: `C` SQLSTATE, `M` message, `V` severity, …
#[must_use]
pub fn field(body: &[u8], code: u8) -> Option<&[u8]> {
    body.split(|&b| b == 0).find_map(|f| match f.split_first() {
        Some((&c, value)) if c == code => Some(value),
        _ => None,
    })
}

/// The values of a `DataRow`, in order; `None` for a body that is not exactly one.
#[must_use]
pub fn data_row(body: &[u8]) -> Option<std::vec::IntoIter<Option<&[u8]>>> {
    let (count, mut rest) = body.split_first_chunk::<2>()?;
    let mut values = Vec::new();
    for _ in 0..u16::from_be_bytes(*count) {
        let (length, behind) = rest.split_first_chunk::<4>()?;
        let length = i32::from_be_bytes(*length);
        rest = behind;
        values.push(match usize::try_from(length) {
            Ok(length) => {
                let (value, behind) = rest.split_at_checked(length)?;
                rest = behind;
                Some(value)
            }
            Err(_) if length == -1 => None,
            Err(_) => return None,
        });
    }
    rest.is_empty().then(|| values.into_iter())
}

/// Two `RowDescription`s of the same names and types, whichever tables they come from.
#[must_use]
pub fn same_columns(one: &[u8], other: &[u8]) -> bool {
    matches!((columns(one), columns(other)), (Some(one), Some(other)) if one == other)
}

/// Equal for those that [`same_columns`] takes for equal.
#[must_use]
pub fn columns_hash(body: &[u8]) -> Option<u64> {
    use std::hash::{BuildHasher as _, Hasher as _};
    let mut hasher = ahash::RandomState::with_seeds(1, 3, 5, 7).build_hasher();
    let (_, mut rest) = body.split_first_chunk::<2>()?;
    while !rest.is_empty() {
        let (name, behind) = rest.split_at_checked(rest.iter().position(|&b| b == 0)?)?;
        hasher.write(name);
        hasher.write(behind.get(7..17)?);
        rest = behind.get(19..)?;
    }
    Some(hasher.finish())
}

/// Name, and type with its length and modifier.
fn columns(body: &[u8]) -> Option<Vec<(&[u8], &[u8])>> {
    let (count, mut rest) = body.split_first_chunk::<2>()?;
    let mut columns = Vec::new();
    for _ in 0..u16::from_be_bytes(*count) {
        let (name, behind) = rest.split_at_checked(rest.iter().position(|&b| b == 0)?)?;
        columns.push((name, behind.get(7..17)?));
        rest = behind.get(19..)?;
    }
    rest.is_empty().then_some(columns)
}

/// Rows of a `CommandComplete`: the last word of its tag, 0 where it has none.
#[must_use]
pub fn rows(body: &[u8]) -> u64 {
    let tag = body.strip_suffix(&[0]).unwrap_or(body);
    let mut rows: u64 = 0;
    let mut scale: u64 = 1;
    for &b in tag.iter().rev().take(19) {
        match b {
            b'0'..=b'9' => {
                rows = rows.saturating_add(u64::from(b - b'0').saturating_mul(scale));
                scale = scale.saturating_mul(10);
            }
            b' ' => return rows,
            _ => return 0,
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_the_last_word() {
        assert_eq!(rows(b"SELECT 42\0"), 42);
        assert_eq!(rows(b"INSERT 0 7\0"), 7);
        assert_eq!(rows(b"BEGIN\0"), 0);
        assert_eq!(rows(b"99999999999999999999999\0"), 0);
        assert_eq!(rows(b""), 0);
    }

    #[test]
    fn a_row_is_exactly_its_values() {
        let values = |body: &'static [u8]| data_row(body).map(Vec::from_iter);
        let row: &[u8] = b"\0\x02\0\0\0\x01a\xff\xff\xff\xff";
        assert_eq!(values(row), Some(vec![Some(&b"a"[..]), None]));
        for cut in 0..row.len() {
            assert_eq!(values(&row[..cut]), None);
        }
        assert_eq!(values(b"\0\0x"), None);
        assert_eq!(values(b"\0\x01\xff\xff\xff\xfe"), None);
        assert_eq!(values(b"\xff\xff"), None);
    }

    #[test]
    fn fields_may_be_absent() {
        let body = b"SERROR\0C42601\0Msyntax error\0\0";
        assert_eq!(field(body, b'C'), Some(&b"42601"[..]));
        assert_eq!(field(body, b'H'), None);
        assert_eq!(field(b"", b'C'), None);
    }
}
