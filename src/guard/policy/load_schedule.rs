//! When and for whom a rule holds, out of its table.

use jiff::tz::{TimeZone, TimeZoneDatabase};
use toml::de::{DeTable, DeValue};

use super::load_actions::{integer, quantity};
use super::schedule::{self, SHARES, Schedule};
use crate::document::{Problems, closest, entry, short, string, strings, wrong_type};
use crate::guard::{WEEKDAYS, sql};

/// When and for whom: `valid_from`, `valid_until`, `hours`, `days`, `zone`, `share`. `zone` is the file's.
pub(super) fn schedule(
    table: &DeTable<'_>,
    name: &str,
    zone: &TimeZone,
    problems: &mut Problems,
) -> Schedule {
    let zone = self::zone(table, problems).unwrap_or_else(|| zone.clone());
    let mut instant = |key: &str| {
        let value = entry(table, key)?;
        let text = match value.get_ref() {
            DeValue::String(text) => text.to_string(),
            DeValue::Datetime(time) => time.to_string(),
            _ => String::new(),
        };
        let found = schedule::instant(&text, &zone);
        if found.is_none() {
            wrong_type(problems, value, key, "a date, or a date and time such as 2026-05-31T08:00:00Z");
        }
        found
    };
    let (from, until) = (instant("valid_from"), instant("valid_until"));
    if let (Some(from), Some(until), Some(value)) = (from, until, entry(table, "valid_until"))
        && from >= until
    {
        problems.add(value.span(), "`valid_until` is not after `valid_from`").cure =
            Some("such a rule never holds".into());
    }
    let hours = quantity(table, "hours", "a window such as \"08:00-18:00\"", schedule::hours, problems);
    Schedule { from, until, hours, days: days(table, problems), zone, share: share(table, name, problems) }
}

/// A time zone by its IANA name.
pub(super) fn zone(table: &DeTable<'_>, problems: &mut Problems) -> Option<TimeZone> {
    let name = string(table, "zone", problems)?;
    let zones = TimeZoneDatabase::bundled();
    match zones.get(name.get_ref()) {
        Ok(zone) => Some(zone),
        Err(_) => {
            let known: Vec<String> = zones.available().map(|known| known.to_string()).collect();
            let near = closest(name.get_ref(), known.iter().map(String::as_str));
            let cure = near.map(|near| format!("did you mean \"{near}\"?"));
            problems.add(name.span(), format!("there is no time zone \"{}\"", short(name.get_ref()))).cure =
                cure.or_else(|| Some("write it as \"Europe/Zurich\" or \"UTC\"".into()));
            None
        }
    }
}

fn days(table: &DeTable<'_>, problems: &mut Problems) -> Option<u8> {
    let given = entry(table, "days")?;
    let mut days = 0;
    let list = strings(table, "days", problems)?;
    for name in &list {
        match WEEKDAYS.iter().position(|day| day == name.get_ref()) {
            Some(day) => days |= 1 << day,
            None => {
                let message = format!("there is no day \"{}\"", short(name.get_ref()));
                problems.add(name.span(), message).cure = Some(format!("known are {}", WEEKDAYS.join(", ")));
            }
        }
    }
    if list.is_empty() {
        problems.add(given.span(), "`days` has none, so the rule never holds").cure =
            Some("leave it out for every day".into());
    }
    Some(days)
}

fn share(table: &DeTable<'_>, name: &str, problems: &mut Problems) -> Option<(u32, u64)> {
    let value = entry(table, "share")?;
    let number = match value.get_ref() {
        DeValue::Float(number) => number.as_str().replace('_', "").parse::<f64>().ok(),
        other => integer(other).and_then(|whole| i32::try_from(whole).ok()).map(f64::from),
    };
    let Some(part) = number.filter(|part| (0.0..=1.0).contains(part)) else {
        wrong_type(problems, value, "share", "a part of the clients, from 0.0 to 1.0");
        return None;
    };
    Some(((part * f64::from(SHARES)).round() as u32, sql::fingerprint(name.as_bytes())))
}
