//! One JSON object a line: `log_destination = jsonlog` (PostgreSQL 15 and newer), and pgsluice's own query log.

use std::borrow::Cow;

use serde::Deserialize;

use super::Entry;
use super::line::{Line, Severity};
use super::time::{Clock, moment};

/// PostgreSQL's; keys without a value are left out there.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Server<'a> {
    #[serde(borrow)]
    timestamp: Cow<'a, str>,
    #[serde(borrow)]
    user: Cow<'a, str>,
    #[serde(borrow)]
    dbname: Cow<'a, str>,
    pid: u64,
    #[serde(borrow)]
    remote_host: Cow<'a, str>,
    #[serde(borrow)]
    session_id: Cow<'a, str>,
    #[serde(borrow)]
    error_severity: Cow<'a, str>,
    #[serde(borrow)]
    message: Cow<'a, str>,
    #[serde(borrow)]
    detail: Cow<'a, str>,
    #[serde(borrow)]
    context: Cow<'a, str>,
    #[serde(borrow)]
    statement: Cow<'a, str>,
    #[serde(borrow)]
    application_name: Cow<'a, str>,
}

impl Server<'_> {
    pub(super) fn line(&self, number: u64, clock: &mut Clock) -> Option<Line<'_>> {
        let pid = self.pid.to_string();
        let session = if self.session_id.is_empty() { pid.as_bytes() } else { self.session_id.as_bytes() };
        Some(Line {
            number,
            time: Some(clock.micros(self.timestamp.as_bytes())?),
            session: Entry::number(session),
            user: self.user.as_bytes(),
            database: self.dbname.as_bytes(),
            application: self.application_name.as_bytes(),
            address: self.remote_host.as_bytes(),
            severity: Severity::of(self.error_severity.as_bytes()),
            message: self.message.as_bytes(),
            detail: self.detail.as_bytes(),
            context: self.context.as_bytes(),
            statement: self.statement.as_bytes(),
        })
    }
}

/// A line of pgsluice's query log: one run of one text.
#[derive(Debug, Deserialize)]
pub(super) struct Own {
    /// As RFC 3339 has it, or Unix seconds.
    #[serde(default)]
    ts: Option<serde_json::Value>,
    #[serde(default)]
    database: String,
    #[serde(default)]
    user: String,
    #[serde(default)]
    application: String,
    #[serde(default)]
    client: String,
    /// The same for all statements of one connection.
    #[serde(default)]
    session: Option<serde_json::Value>,
    sql: String,
    #[serde(default)]
    params: Option<Vec<Option<String>>>,
    #[serde(default)]
    seconds: Option<f64>,
    #[serde(default)]
    rows: Option<u64>,
    #[serde(default)]
    bytes: Option<u64>,
    #[serde(default)]
    failed: bool,
    /// The text is not whole.
    #[serde(default)]
    cut: bool,
    /// Further rows of a portal.
    #[serde(default)]
    continued: bool,
}

impl Own {
    pub(super) fn entry(self, line: u64) -> Result<Entry, &'static str> {
        if self.cut {
            return Err("the statement was too long for the query log: its text is cut");
        }
        let time = match &self.ts {
            None | Some(serde_json::Value::Null) => None,
            Some(serde_json::Value::Number(unix)) => unix.as_f64().map(|seconds| (seconds * 1e6) as i64),
            Some(serde_json::Value::String(text)) => Some(moment(text, 0).map_err(|_| "`ts` is no time")?),
            Some(_) => return Err("`ts` is no time"),
        };
        let session = self.session.map_or_else(
            || format!("{}\0{}\0{}", self.user, self.client, self.application),
            |id| id.to_string(),
        );
        let params = self
            .params
            .map(|values| values.into_iter().map(|value| value.map(String::into_bytes)).collect::<Vec<_>>());
        Ok(Entry {
            line,
            time,
            session: Entry::number(session.as_bytes()),
            user: self.user.into(),
            database: self.database.into(),
            application: self.application.into(),
            address: super::csvlog::host(self.client.as_bytes())
                .to_vec()
                .into_iter()
                .map(char::from)
                .collect(),
            sql: self.sql.into_bytes(),
            params,
            calls: u64::from(!self.continued),
            seconds: self.seconds.filter(|seconds| seconds.is_finite() && *seconds >= 0.0),
            rows: self.rows,
            bytes: self.bytes,
            failed: self.failed,
        })
    }
}

/// An object from a line. Bytes that are not UTF-8 (a log of a database in another encoding) are replaced.
pub(super) fn read<T: for<'de> Deserialize<'de>>(line: &[u8]) -> Option<T> {
    match std::str::from_utf8(line) {
        Ok(text) => serde_json::from_str(text).ok(),
        Err(_) => serde_json::from_str(&String::from_utf8_lossy(line)).ok(),
    }
}
