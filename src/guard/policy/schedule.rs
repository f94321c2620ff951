//! When, and for which share of the clients, a rule holds: `valid_from`, `valid_until`, `hours`, `days`, `zone`,
//! `share`. All of it is asked at every run, and nothing here allocates.

use jiff::tz::TimeZone;
use jiff::{Timestamp, civil};

use super::condition::Answer;
use crate::guard::Circumstances;

/// Nothing given is always, and for all.
#[derive(Clone, Debug)]
pub(super) struct Schedule {
    /// Seconds since 1970-01-01 UTC, this one included.
    pub(super) from: Option<i64>,
    /// The first second in which it holds no more.
    pub(super) until: Option<i64>,
    /// Minutes of the day, the second left out; may go over midnight.
    pub(super) hours: Option<(u16, u16)>,
    /// A bit for each, Monday first.
    pub(super) days: Option<u8>,
    pub(super) zone: TimeZone,
    /// Out of [`SHARES`], and what tells this rule's clients from another's.
    pub(super) share: Option<(u32, u64)>,
}

/// A share is counted in millionths.
pub(super) const SHARES: u32 = 1_000_000;

impl Default for Schedule {
    fn default() -> Self {
        Self { from: None, until: None, hours: None, days: None, zone: TimeZone::UTC, share: None }
    }
}

impl Schedule {
    pub(super) fn reads_time(&self) -> bool {
        self.from.is_some() || self.until.is_some() || self.hours.is_some() || self.days.is_some()
    }

    /// It has to be asked at every run.
    pub(super) fn is_live(&self) -> bool {
        self.reads_time() || self.share.is_some()
    }

    /// Does the rule hold now, for this client?
    pub(super) fn holds(&self, around: &Circumstances<'_>) -> Answer {
        let time = if self.reads_time() { self.holds_at(around) } else { Answer::Yes };
        let share = self.share.map_or(Answer::Yes, |(share, salt)| match around.who {
            Some(who) => Answer::from(place(who, salt) < share),
            None => Answer::Unknown,
        });
        time.and(share)
    }

    fn holds_at(&self, around: &Circumstances<'_>) -> Answer {
        let Some(now) = around.now.or(around.time.map(|time| time.unix)) else { return Answer::Unknown };
        if self.from.is_some_and(|from| now < from) || self.until.is_some_and(|until| now >= until) {
            return Answer::No;
        }
        if self.hours.is_none() && self.days.is_none() {
            return Answer::Yes;
        }
        let Ok(instant) = Timestamp::from_second(now) else { return Answer::Unknown };
        Answer::from(self.holds_by_clock(self.zone.to_datetime(instant)))
    }

    /// A window that goes over midnight belongs to the day on which it began.
    fn holds_by_clock(&self, local: civil::DateTime) -> bool {
        let minute = local.hour().unsigned_abs() as u16 * 60 + local.minute().unsigned_abs() as u16;
        let today = local.weekday().to_monday_zero_offset().unsigned_abs();
        let on = |day: u8| self.days.is_none_or(|days| days & (1 << (day % 7)) != 0);
        match self.hours {
            None => on(today),
            Some((from, to)) if from < to => on(today) && (from..to).contains(&minute),
            Some((from, to)) => (on(today) && minute >= from) || (on(today + 6) && minute < to),
        }
    }
}

/// Where a client stands among [`SHARES`] places: the same for a rule at every run, another for every rule. A larger
/// share keeps those that a smaller one had.
fn place(who: u64, salt: u64) -> u32 {
    // splitmix64: every bit of both tells.
    let mut mixed = (who ^ salt).wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((mixed ^ (mixed >> 31)) % u64::from(SHARES)) as u32
}

/// `08:00-18:00` in minutes of the day.
pub(super) fn hours(text: &str) -> Option<(u16, u16)> {
    let minute = |text: &str| {
        let (hour, minute) = text.trim().split_once(':')?;
        let two = |part: &str| (part.len() == 2).then(|| part.parse::<u16>().ok())?;
        let (hour, minute) = (two(hour)?, two(minute)?);
        (hour < 24 && minute < 60 || (hour, minute) == (24, 0)).then_some(hour * 60 + minute)
    };
    let (from, to) = text.split_once('-')?;
    let (from, to) = (minute(from)?, minute(to)?);
    (from != to && from < 24 * 60).then_some((from, to))
}

/// A date (its first second in the zone), a date-time of the zone, or a date-time with its own offset.
pub(super) fn instant(text: &str, zone: &TimeZone) -> Option<i64> {
    let text = text.trim();
    if let Ok(instant) = text.parse::<Timestamp>() {
        return Some(instant.as_second());
    }
    let local = if text.len() == 10 {
        text.parse::<civil::Date>().ok()?.to_datetime(civil::Time::midnight())
    } else {
        text.parse::<civil::DateTime>().ok()?
    };
    Some(zone.to_timestamp(local).ok()?.as_second())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use jiff::tz::TimeZoneDatabase;

    fn zurich() -> TimeZone {
        TimeZoneDatabase::bundled().get("Europe/Zurich").unwrap()
    }

    fn at(text: &str) -> Circumstances<'static> {
        Circumstances {
            now: Some(text.parse::<Timestamp>().unwrap().as_second()),
            ..Circumstances::default()
        }
    }

    #[test]
    fn hours_are_of_the_zone_in_summer_and_in_winter() {
        let office = Schedule { hours: hours("08:00-18:00"), zone: zurich(), ..Schedule::default() };
        for (time, expected) in [
            ("2026-07-01T05:59:59Z", Answer::No),
            ("2026-07-01T06:00:00Z", Answer::Yes),
            ("2026-07-01T15:59:59Z", Answer::Yes),
            ("2026-07-01T16:00:00Z", Answer::No),
            ("2026-01-01T06:30:00Z", Answer::No),
            ("2026-01-01T07:00:00Z", Answer::Yes),
        ] {
            assert_eq!(office.holds(&at(time)), expected, "{time}");
        }
        assert_eq!(office.holds(&Circumstances::default()), Answer::Unknown);
    }

    #[test]
    fn a_night_belongs_to_the_day_it_began_on() {
        let night = Schedule { hours: hours("22:00-06:00"), days: Some(1 << 4), ..Schedule::default() };
        // 2026-07-03 is a Friday.
        for (time, expected) in [
            ("2026-07-03T05:00:00Z", Answer::No),
            ("2026-07-03T22:00:00Z", Answer::Yes),
            ("2026-07-04T05:59:00Z", Answer::Yes),
            ("2026-07-04T06:00:00Z", Answer::No),
            ("2026-07-04T23:00:00Z", Answer::No),
        ] {
            assert_eq!(night.holds(&at(time)), expected, "{time}");
        }
    }

    #[test]
    fn from_is_included_and_until_is_not() {
        let zone = zurich();
        let rule = Schedule {
            from: instant("2026-05-31", &zone),
            until: instant("2026-06-01T12:00:00", &zone),
            ..Schedule::default()
        };
        for (time, expected) in [
            ("2026-05-30T21:59:59Z", Answer::No),
            ("2026-05-30T22:00:00Z", Answer::Yes),
            ("2026-06-01T09:59:59Z", Answer::Yes),
            ("2026-06-01T10:00:00Z", Answer::No),
        ] {
            assert_eq!(rule.holds(&at(time)), expected, "{time}");
        }
        assert_eq!(instant("2026-05-31T00:00:00+02:00", &TimeZone::UTC), instant("2026-05-31", &zone));
        for text in ["2026-13-01", "tomorrow", "", "2026-05-31T"] {
            assert_eq!(instant(text, &zone), None, "{text}");
        }
    }

    #[test]
    fn hours_that_are_none_are_refused() {
        assert_eq!(hours("00:00-24:00"), Some((0, 1440)));
        for text in ["8-18", "08:00", "08:00-08:00", "25:00-26:00", "24:00-06:00", "08:60-09:00", "a-b"] {
            assert_eq!(hours(text), None, "{text}");
        }
    }

    #[test]
    fn a_share_is_a_share_and_growing_it_keeps_those_it_had() {
        let share = |millionths, salt| Schedule { share: Some((millionths, salt)), ..Schedule::default() };
        let held = |schedule: &Schedule, who| {
            schedule.holds(&Circumstances { who: Some(who), ..Circumstances::default() }) == Answer::Yes
        };
        let (small, large, other) = (share(50_000, 1), share(200_000, 1), share(50_000, 2));
        let among = |schedule: &Schedule| (0..20_000).filter(|who| held(schedule, *who)).count();
        assert!((900..1100).contains(&among(&small)), "{}", among(&small));
        assert!((3700..4300).contains(&among(&large)));
        assert!((0..20_000).all(|who| !held(&small, who) || held(&large, who)));
        assert!((0..20_000).filter(|who| held(&small, *who) && held(&other, *who)).count() < 150);
        assert_eq!(small.holds(&Circumstances::default()), Answer::Unknown);
        assert!((0..100).all(|who| held(&share(SHARES, 3), who) && !held(&share(0, 3), who)));
    }
}
