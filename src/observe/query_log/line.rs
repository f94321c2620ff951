//! One line of the query log: a JSON object as `pgsluice replay` reads it (docs/REPLAY.md).

use std::borrow::Cow;
use std::fmt::{self, Display};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Serialize, Serializer};

use super::super::log::Time;
use crate::guard::{Hit, Kind, policy::Policies};

/// What a line says. Keys that have nothing to say are left out.
#[derive(Serialize)]
pub struct Line<'a> {
    /// When it ended.
    pub ts: Shown<Moment>,
    pub database: &'a str,
    pub user: &'a str,
    pub application: &'a str,
    pub client: Shown<&'a dyn Display>,
    pub session: u64,
    pub fingerprint: Shown<Fingerprint>,
    pub kind: Kind,
    pub sql: Cow<'a, str>,
    /// The text was too long for the log.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub cut: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub params: Option<Params<'a>>,
    /// More of what a portal has given before.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub continued: bool,
    pub seconds: f64,
    pub rows: u64,
    pub bytes: u64,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub failed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sqlstate: Option<&'a str>,
    /// The strictest that was enforced.
    pub action: &'static str,
    #[serde(skip_serializing_if = "Rules::is_empty")]
    pub rules: Rules<'a>,
    #[serde(skip_serializing_if = "Rules::is_empty")]
    pub observed: Rules<'a>,
    /// Where it ran; absent if it did not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<&'a str>,
}

/// Written as it prints.
pub struct Shown<T>(pub T);

impl<T: Display> Serialize for Shown<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// UTC to the microsecond.
pub struct Moment(pub SystemTime);

impl Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.0.duration_since(UNIX_EPOCH).map_or(0, |since| since.subsec_micros());
        let seconds = Time(self.0).to_string();
        write!(f, "{}.{micros:06}Z", seconds.trim_end_matches('Z'))
    }
}

/// 16 hexadecimal digits, as everywhere.
pub struct Fingerprint(pub u64);

impl Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Values of parameters.
pub struct Params<'a>(pub &'a [Option<Box<[u8]>>]);

impl Serialize for Params<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|value| value.as_deref().map(String::from_utf8_lossy)))
    }
}

/// Names of the rules that spoke.
pub struct Rules<'a> {
    pub hits: &'a [Hit],
    /// Those that were enforced, or those that were not.
    pub enforced: bool,
    pub policies: Option<&'a Policies>,
}

impl Rules<'_> {
    fn named(&self) -> impl Iterator<Item = &str> {
        let rules = self.policies.map_or(&[][..], Policies::rules);
        let hits = self.hits.iter().filter(|hit| hit.enforced == self.enforced);
        hits.filter_map(|hit| rules.get(hit.rule as usize).map(|rule| &*rule.name))
    }

    fn is_empty(&self) -> bool {
        self.named().next().is_none()
    }
}

impl Serialize for Rules<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.named())
    }
}
