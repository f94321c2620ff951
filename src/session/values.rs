//! The values of a Bind as texts, for rules that read them.
//!
//! A value in binary is read where its type is known: the client declared it in its Parse, or was told of it, and it is
//! one of those that have one plain text. If any other value is in binary, none is known.

use std::borrow::Cow;
use std::fmt::Write as _;

use super::names::Named;
use crate::wire::frontend::{self, BindValues};

const BOOL: u32 = 16;
const INT8: u32 = 20;
const INT2: u32 = 21;
const INT4: u32 = 23;
const OID: u32 = 26;
const FLOAT4: u32 = 700;
const FLOAT8: u32 = 701;
const NUMERIC: u32 = 1700;
const UUID: u32 = 2950;
const JSONB: u32 = 3802;
/// `name`, `text`, `json`, `xml`, `unknown`, `bpchar`, `varchar`: the same bytes in either format.
const TEXTS: [u32; 7] = [19, 25, 114, 142, 705, 1042, 1043];

/// `None` in it is NULL.
pub(super) type Values<'a> = Vec<Option<Cow<'a, [u8]>>>;

/// All values of a whole Bind, or nothing. `rest`: what stands behind its names.
pub(super) fn of_bind<'a>(rest: &'a [u8], named: &Named) -> Option<Values<'a>> {
    let formats = Formats::of(rest)?;
    let mut values = BindValues::of(rest)?;
    let mut all = Vec::new();
    for (at, value) in values.by_ref().enumerate() {
        all.push(match value {
            Some(value) if formats.is_binary(at)? => {
                let declared = frontend::parameter_type(named.own_tail(), at).filter(|oid| *oid != 0);
                let oid = declared.or_else(|| named.types.as_ref()?.get(at).copied())?;
                Some(text(oid, value)?)
            }
            value => value.map(Cow::Borrowed),
        });
    }
    values.is_done().then_some(all)
}

/// How each value comes: no format (all text), one for all, or one each.
struct Formats<'a> {
    count: usize,
    codes: &'a [u8],
}

impl<'a> Formats<'a> {
    fn of(rest: &'a [u8]) -> Option<Self> {
        let (count, codes) = rest.split_first_chunk::<2>()?;
        let count = usize::from(u16::from_be_bytes(*count));
        Some(Self { count, codes: codes.get(..count * 2)? })
    }

    fn is_binary(&self, at: usize) -> Option<bool> {
        let at = match self.count {
            0 => return Some(false),
            1 => 0,
            _ => at,
        };
        let code = self.codes.get(at * 2..)?.first_chunk::<2>()?;
        match u16::from_be_bytes(*code) {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }
}

/// A value in binary as PostgreSQL writes it in text.
fn text(oid: u32, value: &[u8]) -> Option<Cow<'_, [u8]>> {
    let text = match oid {
        oid if TEXTS.contains(&oid) => return Some(Cow::Borrowed(value)),
        JSONB => return value.strip_prefix(&[1]).map(Cow::Borrowed),
        BOOL => match value {
            [0] => "f".to_owned(),
            [1] => "t".to_owned(),
            _ => return None,
        },
        INT2 => i16::from_be_bytes(value.try_into().ok()?).to_string(),
        INT4 => i32::from_be_bytes(value.try_into().ok()?).to_string(),
        INT8 => i64::from_be_bytes(value.try_into().ok()?).to_string(),
        OID => u32::from_be_bytes(value.try_into().ok()?).to_string(),
        FLOAT4 => f32::from_be_bytes(value.try_into().ok()?).to_string(),
        FLOAT8 => f64::from_be_bytes(value.try_into().ok()?).to_string(),
        NUMERIC => numeric(value)?,
        UUID => uuid(value.try_into().ok()?),
        _ => return None,
    };
    Some(Cow::Owned(text.into_bytes()))
}

fn uuid(bytes: [u8; 16]) -> String {
    let mut out = String::with_capacity(36);
    for (at, byte) in bytes.iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            out.push('-');
        }
        let _ = write!(out, "{byte:02x}");
    }
    out
}

/// Digits to the base of ten thousand, the power of the first of them, a sign, and how many decimals are shown.
fn numeric(value: &[u8]) -> Option<String> {
    let word = |at: usize| Some(u16::from_be_bytes(*value.get(at * 2..)?.first_chunk()?));
    let (count, first, sign) = (word(0)?, word(1)?.cast_signed(), word(2)?);
    let scale = usize::from(word(3)?);
    let mut out = match sign {
        0 => String::new(),
        0x4000 => "-".to_owned(),
        0xc000 => return Some("NaN".to_owned()),
        0xd000 => return Some("Infinity".to_owned()),
        0xf000 => return Some("-Infinity".to_owned()),
        _ => return None,
    };
    // A hostile one could ask for far more than anybody writes.
    if value.len() != 8 + usize::from(count) * 2 || first.unsigned_abs() > 1000 || scale > 4000 {
        return None;
    }
    let digit = |power: i32| {
        let at = usize::try_from(i32::from(first) - power).ok().filter(|at| *at < usize::from(count));
        at.and_then(|at| word(4 + at)).unwrap_or(0)
    };
    for power in (0..=i32::from(first).max(0)).rev() {
        let leads = power == i32::from(first).max(0);
        let _ = if leads { write!(out, "{}", digit(power)) } else { write!(out, "{:04}", digit(power)) };
    }
    if scale > 0 {
        let powers = i32::try_from(scale.div_ceil(4)).ok()?;
        let decimals: String = (1..=powers).map(|power| format!("{:04}", digit(-power))).collect();
        out.push('.');
        out.push_str(decimals.get(..scale)?);
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn shown(oid: u32, value: &[u8]) -> Option<String> {
        text(oid, value).map(|text| String::from_utf8(text.into_owned()).unwrap())
    }

    #[test]
    fn values_in_binary_read_as_postgresql_writes_them() {
        for (oid, value, expected) in [
            (BOOL, &[1][..], "t"),
            (INT2, &[0xff, 0xfe], "-2"),
            (INT4, &[0, 1, 0x86, 0xa0], "100000"),
            (INT8, &[0, 0, 0, 0, 0, 0, 0, 7], "7"),
            (FLOAT8, &1.5f64.to_be_bytes(), "1.5"),
            (25, b"%x", "%x"),
            (JSONB, b"\x01{}", "{}"),
            (UUID, &[0xab; 16], "abababab-abab-abab-abab-abababababab"),
            // As PostgreSQL 16 sends 0, 12345.678, -0.0012, 100000000, 10.50.
            (NUMERIC, &[0, 0, 0, 0, 0, 0, 0, 0], "0"),
            (NUMERIC, &[0, 3, 0, 1, 0, 0, 0, 3, 0, 1, 9, 0x29, 0x1a, 0x7c], "12345.678"),
            (NUMERIC, &[0, 1, 0xff, 0xff, 0x40, 0, 0, 4, 0, 12], "-0.0012"),
            (NUMERIC, &[0, 1, 0, 2, 0, 0, 0, 0, 0, 1], "100000000"),
            (NUMERIC, &[0, 2, 0, 0, 0, 0, 0, 2, 0, 10, 0x13, 0x88], "10.50"),
        ] {
            assert_eq!(shown(oid, value).as_deref(), Some(expected), "{oid} {value:?}");
        }
    }

    #[test]
    fn what_is_not_known_or_malformed_is_nothing() {
        assert_eq!(shown(17, b"x"), None);
        assert_eq!(shown(INT4, b"x"), None);
        assert_eq!(shown(JSONB, b"{}"), None);
        assert_eq!(shown(NUMERIC, &[0, 9, 0, 0, 0, 0, 0, 0]), None);
        assert_eq!(shown(NUMERIC, &[0, 0, 0x7f, 0xff, 0, 0, 0, 0]), None);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(value in proptest::collection::vec(any::<u8>(), 0..40), oid in 0u32..4000) {
            let _ = text(oid, &value);
            let _ = text(NUMERIC, &value);
        }
    }
}
