//! Which values of a statement's parameters share a plan.
//!
//! A statement is planned for the values it runs with, and most plans do not depend on them. Those that do mostly
//! depend on their kind: NULL, a pattern that starts with a wildcard, nothing at all. And where a column is compared by
//! `<`, `>` and their like, on how much of the column lies beyond the value: `created > $1` of yesterday finds a few rows
//! by an index, of ten years ago it finds all. So the values of such a parameter are told apart by their place among the
//! column's own values, as far as its statistics tell it ([`CUTS`]): below all of them, among the first hundredth, the
//! first tenth, the first half, and the same from above.

use std::sync::Arc;

use crate::guard::catalog::Catalog;
use crate::guard::facts::{Comparison, Facts, Predicate};

/// The places between which values of a column share a plan, as shares of its values.
pub const CUTS: [f64; 7] = [0.0, 0.01, 0.1, 0.5, 0.9, 0.99, 1.0];

/// The parameters of a statement whose values have a place in a column.
#[derive(Clone, Debug, Default)]
pub struct ValueClasses(Box<[Class]>);

#[derive(Clone, Debug)]
struct Class {
    param: u16,
    family: Family,
    cuts: Arc<[f64]>,
}

/// Types whose values have an order that we can read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    Integer,
    Float,
    Numeric,
    /// Dates and timestamps: seconds since 2000-01-01, in UTC where the text names no zone.
    Time,
}

impl Family {
    /// Of a type as `format_type` writes it.
    #[must_use]
    pub fn of(type_name: &str) -> Option<Self> {
        let plain = type_name.split('(').next().unwrap_or_default().trim();
        match plain {
            "smallint" | "integer" | "bigint" => Some(Self::Integer),
            "real" | "double precision" => Some(Self::Float),
            "numeric" => Some(Self::Numeric),
            "date" => Some(Self::Time),
            _ if plain.starts_with("timestamp") => Some(Self::Time),
            _ => None,
        }
    }

    /// A value as text, as PostgreSQL writes it (`DateStyle` ISO).
    #[must_use]
    pub fn read_text(self, text: &[u8]) -> Option<f64> {
        let text = std::str::from_utf8(text).ok()?.trim();
        match self {
            Self::Time => time(text),
            _ => text.parse().ok(),
        }
    }

    /// A value in the binary format: a number by its length, so that an `int4` for a `bigint` is read too.
    fn read_binary(self, value: &[u8]) -> Option<f64> {
        let whole = match *value {
            [a, b] => i64::from(i16::from_be_bytes([a, b])),
            [a, b, c, d] => i64::from(i32::from_be_bytes([a, b, c, d])),
            [a, b, c, d, e, f, g, h] => i64::from_be_bytes([a, b, c, d, e, f, g, h]),
            _ => 0,
        };
        match (self, value.len()) {
            (Self::Integer, 2 | 4 | 8) => Some(whole as f64),
            (Self::Float, 4) => Some(f64::from(f32::from_be_bytes(*value.first_chunk()?))),
            (Self::Float, 8) => Some(f64::from_be_bytes(*value.first_chunk()?)),
            // A date counts days, a timestamp microseconds.
            (Self::Time, 4) => Some(whole as f64 * 86_400.0),
            (Self::Time, 8) => Some(whole as f64 / 1e6),
            (Self::Numeric, 8..) => numeric(value),
            _ => None,
        }
    }
}

/// `numeric` in binary: groups of four digits, the weight of the first, the sign.
fn numeric(value: &[u8]) -> Option<f64> {
    let word = |at: usize| Some(u16::from_be_bytes(*value.get(at * 2..)?.first_chunk()?));
    let (groups, weight, sign) = (word(0)?, word(1)?.cast_signed(), word(2)?);
    let mut sum = 0.0;
    for group in 0..usize::from(groups).min(5) {
        let power = i32::from(weight) - i32::try_from(group).ok()?;
        sum += f64::from(word(4 + group)?) * 10_000f64.powi(power);
    }
    match sign {
        0 => Some(sum),
        0x4000 => Some(-sum),
        _ => None,
    }
}

/// `2026-05-31`, `2026-05-31 14:30:00.5+02`.
fn time(text: &str) -> Option<f64> {
    match text {
        "infinity" => return Some(f64::INFINITY),
        "-infinity" => return Some(f64::NEG_INFINITY),
        _ => {}
    }
    let (date, rest) = text.split_at_checked(text.find([' ', 'T']).unwrap_or(text.len()))?;
    let mut parts = date.splitn(3, '-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    if !(0..=294_276).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let seconds = clock(rest.trim_start_matches([' ', 'T'])).unwrap_or(0.0);
    Some(days_since_2000(year, month, day) as f64 * 86_400.0 + seconds)
}

/// `14:30:00.5+02:00`: seconds of the day in UTC.
fn clock(text: &str) -> Option<f64> {
    let zone = text.find(['+', '-', 'Z']).unwrap_or(text.len());
    let (time, zone) = text.split_at_checked(zone)?;
    let sexagesimal = |text: &str| {
        let mut unit = 3600.0;
        text.split(':').try_fold(0.0, |sum, part| {
            let part: f64 = part.trim().parse().ok()?;
            let sum = sum + part * unit;
            unit /= 60.0;
            Some(sum)
        })
    };
    let offset = match zone.as_bytes() {
        [b'+', ..] => sexagesimal(&zone[1..])?,
        [b'-', ..] => -sexagesimal(&zone[1..])?,
        _ => 0.0,
    };
    Some(sexagesimal(time)? - offset)
}

/// Days from 2000-01-01 to a date of the Gregorian calendar.
fn days_since_2000(year: i64, month: i64, day: i64) -> i64 {
    // Years begin in March here, so that the day that leap years add is the last of one.
    let year = if month <= 2 { year - 1 } else { year };
    let month = (month + 9) % 12;
    365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - 730_425
}

impl ValueClasses {
    /// Of a statement: the parameters that stand alone on the other side of `<`, `>`, … from a column whose statistics
    /// are known.
    #[must_use]
    pub fn of(facts: &Facts, catalog: Option<&Catalog>) -> Self {
        let column = |predicate: &Predicate| {
            let plain = predicate.function.is_none() && predicate.cast.is_none();
            if predicate.comparison != Comparison::Range || !plain {
                return None;
            }
            let only = || facts.tables.first().filter(|_| facts.tables.len() == 1);
            let table = Some(&predicate.table).filter(|table| !table.is_empty()).or_else(only)?;
            let column = catalog?.table(table)?.column(&predicate.column)?;
            Some((Family::of(&column.type_name)?, column.cuts.as_ref()?))
        };
        let mut classes = Vec::new();
        for predicate in &facts.predicates {
            let Some((family, cuts)) = column(predicate) else { continue };
            let params = predicate.bounds.into_iter().flatten();
            classes.extend(params.map(|param| Class { param, family, cuts: Arc::clone(cuts) }));
        }
        Self(classes.into())
    }

    /// The place of a value among its column's; 0 where nothing is known.
    fn place(&self, param: u16, value: &[u8], binary: bool) -> u8 {
        let Some(class) = self.0.iter().find(|class| class.param == param) else { return 0 };
        let read = if binary { class.family.read_binary(value) } else { class.family.read_text(value) };
        read.map_or(0, |value| {
            let below = class.cuts.iter().filter(|cut| **cut < value).count();
            u8::try_from(below + 1).unwrap_or(u8::MAX)
        })
    }

    /// The class of all values together: those of one class share a plan. `values` come with whether they are in the
    /// binary format, `$1` first.
    pub fn variant<'a>(&self, values: impl IntoIterator<Item = (Option<&'a [u8]>, bool)>) -> u64 {
        // FNV-1a over one letter a value: few values, and only equality matters.
        let letters = values.into_iter().zip(1u16..).map(|((value, binary), param)| match value {
            None => 1,
            Some([]) => 2,
            Some([b'%' | b'_', ..]) => 3,
            Some(value) => 4 + self.place(param, value, binary),
        });
        letters.fold(0xcbf2_9ce4_8422_2325, |hash, letter: u8| {
            (hash ^ u64::from(letter)).wrapping_mul(0x0100_0000_01b3)
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::guard::catalog::{Column, Table};
    use crate::guard::facts::{ReadOptions, read};

    fn catalog() -> Catalog {
        let column = |name: &str, type_name: &str, cuts: Option<[f64; 7]>| Column {
            name: name.into(),
            type_name: type_name.into(),
            cuts: cuts.map(|cuts| cuts.to_vec().into()),
            ..Column::default()
        };
        // From 2020 to 2026, a few of them last month.
        let day = |text: &str| time(text).unwrap();
        let days = [
            "2020-01-01",
            "2020-02-01",
            "2020-08-01",
            "2023-01-01",
            "2025-06-01",
            "2025-12-01",
            "2026-01-01",
        ];
        let columns = vec![
            column("id", "bigint", Some([1.0, 100.0, 1000.0, 5000.0, 9000.0, 9900.0, 10_000.0])),
            column("created", "timestamp with time zone", Some(days.map(day))),
            column("email", "text", None),
        ];
        let table = Table { schema: "public".into(), name: "orders".into(), columns, ..Table::default() };
        let mut catalog = Catalog::default();
        catalog.tables = vec![Arc::new(table)];
        catalog.seal();
        catalog
    }

    fn classes(sql: &str) -> ValueClasses {
        let facts = read(sql.as_bytes(), &ReadOptions::default()).statements.remove(0);
        ValueClasses::of(&facts, Some(&catalog()))
    }

    #[test]
    fn values_differ_by_kind() {
        let of = |values: &[Option<&[u8]>]| {
            ValueClasses::default().variant(values.iter().map(|value| (*value, false)))
        };
        assert_eq!(of(&[Some(b"a"), None]), of(&[Some(b"b"), None]));
        assert_ne!(of(&[Some(b"a"), None]), of(&[None, Some(b"a")]));
        assert_ne!(of(&[Some(b"%a")]), of(&[Some(b"a")]));
        assert_ne!(of(&[Some(b"")]), of(&[Some(b"a")]));
    }

    #[test]
    fn values_of_a_range_differ_by_their_place_in_the_column() {
        let classes = classes("SELECT 1 FROM orders WHERE created > $1 AND email = $2");
        let of = |text: &str| classes.variant([(Some(text.as_bytes()), false), (Some(b"x"), false)]);
        assert_eq!(of("2025-12-24"), of("2025-12-31 23:00:00+01"), "both of last month");
        assert_eq!(of("1970-01-01"), of("1999-12-31 23:59:59.9"), "both before all");
        let places = [
            "1970-01-01",
            "2020-01-15",
            "2020-05-05",
            "2022-01-01",
            "2024-01-01",
            "2025-07-01",
            "2025-12-24",
            "2030-01-01",
        ];
        let mut variants: Vec<u64> = places.iter().map(|text| of(text)).collect();
        variants.dedup();
        assert_eq!(variants.len(), CUTS.len() + 1);
        // In binary: microseconds since 2000.
        let binary = |text: &str| {
            let micros = (time(text).unwrap() * 1e6) as i64;
            classes.variant([(Some(&micros.to_be_bytes()[..]), true), (Some(&b"x"[..]), false)])
        };
        for text in places {
            assert_eq!(binary(text), of(text), "{text}");
        }
    }

    #[test]
    fn other_parameters_and_other_columns_have_no_place() {
        for sql in [
            "SELECT 1 FROM orders WHERE id = $1",
            "SELECT 1 FROM orders WHERE email > $1",
            "SELECT 1 FROM orders WHERE abs(id) > $1",
            "SELECT 1 FROM others WHERE id > $1",
            "SELECT 1 FROM orders WHERE id > $1 + 1",
        ] {
            assert!(classes(sql).0.is_empty(), "{sql}");
        }
        let between = classes("SELECT 1 FROM orders o WHERE o.id BETWEEN $1 AND $2");
        assert_eq!(between.0.iter().map(|class| class.param).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(between.place(1, b"0", false), 1);
        assert_eq!(between.place(2, &20_000i32.to_be_bytes(), true), 8);
        assert_eq!(between.place(2, b"nonsense", false), 0);
    }

    #[test]
    fn dates_and_numbers_are_read() {
        assert_eq!(time("2000-01-01"), Some(0.0));
        assert_eq!(time("1970-01-01 00:00:00+00"), Some(-946_684_800.0));
        assert_eq!(time("2024-02-29T12:00:00.5-01:30"), Some(8825.0 * 86_400.0 + 13.5 * 3600.0 + 0.5));
        assert_eq!(time("infinity"), Some(f64::INFINITY));
        for nonsense in ["", "yesterday", "2020", "2020-13-01", "31/12/2020", "-5-1-1"] {
            assert_eq!(time(nonsense), None, "{nonsense}");
        }
        // 12345.678 and -1, as numeric_send writes them.
        let number = [0, 3, 0, 1, 0, 0, 0, 3, 0, 1, 0x09, 0x29, 0x1a, 0x7c];
        assert!((Family::Numeric.read_binary(&number).unwrap() - 12_345.678).abs() < 1e-9);
        assert_eq!(Family::Numeric.read_binary(&[0, 1, 0, 0, 0x40, 0, 0, 0, 0, 1]), Some(-1.0));
        assert_eq!(Family::Float.read_text(b"1.5e3"), Some(1500.0));
        assert_eq!(Family::of("numeric(10,2)"), Some(Family::Numeric));
        assert_eq!(Family::of("text"), None);
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic(value in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..24), text in "[0-9:+ T.-]{0,24}") {
            for family in [Family::Integer, Family::Float, Family::Numeric, Family::Time] {
                let _ = (family.read_binary(&value), family.read_text(&value), family.read_text(text.as_bytes()));
            }
        }
    }
}
