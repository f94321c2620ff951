//! What is known around a statement: who asks, in which session, when, and what the catalog says of its tables.
//!
//! All of it comes in as values. What changes from one run of a text to the next (session, time, parameters) makes a
//! verdict that no cache may keep: [`LIVE_ROOTS`].

use super::Class;
use super::catalog::Catalog;
use super::fact::fact_table;
use super::facts::Facts;
use super::plan::{Advice, PlanFacts};

/// Roots of conditions whose facts change while the text and its client stay the same.
pub const LIVE_ROOTS: [&str; 4] = ["session", "time", "params", "plan"];

fact_table! {
    /// Who asks: `client.…`.
    #[derive(Clone, Debug, PartialEq)]
    pub struct ClientFacts {
        /// The user it logged in as.
        always user: String = String::new();
        /// The database it asked for.
        always database: String = String::new();
        /// Its `application_name`.
        always application: String = String::new();
    }
}

impl From<&Class> for ClientFacts {
    fn from(class: &Class) -> Self {
        Self {
            user: class.user.to_string(),
            database: class.database.to_string(),
            application: class.application.to_string(),
        }
    }
}

fact_table! {
    /// What the session did before this statement: `session.…`.
    #[derive(Clone, Debug, PartialEq, serde::Deserialize)]
    #[serde(default)]
    pub struct SessionFacts {
        /// A transaction block is open.
        always in_transaction: bool = false;
        /// Seconds since its `BEGIN`; 0 outside of one.
        always transaction_seconds: f64 = 0.0;
        /// Statements run in it before this one.
        always transaction_statements: u32 = 0;
        /// Seconds since the last statement of the open transaction ended.
        always idle_seconds: f64 = 0.0;
        /// A statement of the open transaction wrote.
        always transaction_wrote: bool = false;
        /// `SET LOCAL lock_timeout`, or one of the session, is in force (not 0).
        always lock_timeout_set: bool = false;
        /// As `lock_timeout_set`, for `statement_timeout`.
        always statement_timeout_set: bool = false;
        /// Runs of this fingerprint before this one, with other values, in this transaction or within the window.
        always repeats: u32 = 0;
        /// Seconds within which `repeats` were counted.
        always repeat_seconds: f64 = 0.0;
        /// The client holds its server beyond its transactions: `pin.…` reasons as in `SHOW CLIENTS`.
        always pins: Vec<String> = Vec::new();
        /// Seconds since it does.
        always pinned_seconds: f64 = 0.0;
    }
}

fact_table! {
    /// When it is, in the zone of the policy: `time.…`.
    #[derive(Clone, Debug, PartialEq, serde::Deserialize)]
    #[serde(default)]
    pub struct TimeFacts {
        /// Hour of the day, 0 to 23.
        always hour: u32 = 0;
        /// Minute of the hour, 0 to 59.
        always minute: u32 = 0;
        /// `monday` … `sunday`.
        always weekday: String = String::new();
        /// `2026-05-31`.
        always date: String = String::new();
        /// Seconds since 1970-01-01 UTC.
        always unix: i64 = 0;
    }
}

fact_table! {
    /// What the catalog says of the statement's tables together: `catalog.…`. Unknown without a catalog, and of
    /// tables that are not in it.
    #[derive(Clone, Debug, PartialEq)]
    pub struct CatalogFacts {
        /// Estimated rows of the largest of its tables.
        fact rows: Option<u64> = None;
        /// Bytes of the largest of its tables, indexes left out.
        fact bytes: Option<u64> = None;
        /// The largest of its tables.
        fact largest_table: Option<String> = None;
        /// Tables that the catalog does not have.
        fact unknown_tables: Vec<String> = Vec::new();
        /// Average bytes of a row of the widest table whose `*` it reads.
        fact star_width: Option<u64> = None;
        /// Columns of the table with the most columns whose `*` it reads.
        fact star_columns: Option<u64> = None;
    }
}

impl CatalogFacts {
    /// What the catalog says of a statement's tables.
    #[must_use]
    pub fn of(catalog: &Catalog, facts: &Facts) -> Self {
        let mut known = Self::blank();
        for name in &facts.tables {
            let Some(table) = catalog.table(name) else {
                known.unknown_tables.push(name.clone());
                continue;
            };
            if table.rows.is_some_and(|rows| known.rows.is_none_or(|most| rows > most)) {
                known.rows = table.rows;
                known.largest_table = Some(name.clone());
            }
            known.bytes = known.bytes.max(table.bytes);
            if facts.select_star {
                let width =
                    table.columns.iter().map(|column| column.width.map(u64::from)).sum::<Option<u64>>();
                known.star_width = known.star_width.max(width);
                known.star_columns = known.star_columns.max(Some(table.columns.len() as u64));
            }
        }
        known
    }
}

/// All that is known around a statement. What is `None` is not known: conditions that read it have no answer.
///
/// [`super::Guard::judge`] needs none of it: what it cannot know yet (session, time, parameters, client) stands open in
/// [`super::Judgement::live`], and [`super::settle`] gives the verdict of a run. Only what the policies read has to be
/// filled in: [`super::policy::Policies::reads_session`], `reads_time` (`now`), `reads_params`, `reads_plan`, `reads_share` (`who`).
#[derive(Clone, Copy, Debug, Default)]
pub struct Circumstances<'a> {
    pub catalog: Option<&'a Catalog>,
    pub session: Option<&'a SessionFacts>,
    /// Made of `now` in the zone of each rule; who asks gives `now`, and this only to say another time than that.
    pub time: Option<&'a TimeFacts>,
    /// Seconds since 1970-01-01 UTC.
    pub now: Option<i64>,
    /// Which client it is, for `share`: see [`client_key`]. The same for all connections that should be treated alike.
    pub who: Option<u64>,
    /// What the planner says of it; `None` while it was not asked.
    pub plan: Option<&'a PlanFacts>,
    /// The indexes that would help, by that plan; `None`: nobody looked yet.
    pub advice: Option<&'a [Advice]>,
    /// Values of parameters as the client sent them, `$1` first; `None` where they are not known. An inner `None` is
    /// NULL, and so is nothing that was sent in binary.
    pub params: Option<&'a [Option<&'a [u8]>]>,
}

/// The client as `share` counts it: stable over runs and machines.
#[must_use]
pub fn client_key(user: &str, application: &str, address: &str) -> u64 {
    super::sql::fingerprint(format!("{user}\0{application}\0{address}").as_bytes())
}

impl TimeFacts {
    /// The time in a zone; `None` outside of the years that calendars have.
    #[must_use]
    pub fn at(unix: i64, zone: &jiff::tz::TimeZone) -> Option<Self> {
        let local = zone.to_datetime(jiff::Timestamp::from_second(unix).ok()?);
        Some(Self {
            hour: u32::try_from(local.hour()).ok()?,
            minute: u32::try_from(local.minute()).ok()?,
            weekday: WEEKDAYS[usize::from(local.weekday().to_monday_zero_offset().unsigned_abs()) % 7]
                .to_owned(),
            date: local.date().to_string(),
            unix,
        })
    }
}

/// As `days` and `time.weekday` name them.
pub const WEEKDAYS: [&str; 7] =
    ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];

/// A statement, who asks, and all that is known around it: what rules are asked about.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    pub facts: &'a Facts,
    pub client: &'a ClientFacts,
    pub around: &'a Circumstances<'a>,
    /// Of its tables, if there is a catalog.
    pub known: Option<&'a CatalogFacts>,
}
