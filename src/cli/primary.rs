//! A primary that commands ask what a planner thinks: only ever `EXPLAIN` without `ANALYZE`, one statement at a time, in
//! a read-only transaction that is rolled back.

use std::error::Error as StdError;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, private::BytesMut, to_sql_checked};
use tokio_postgres::{Client, SimpleQueryMessage};

use crate::config::{ServerTlsSettings, ServerUrl};
use crate::control::connection::{Control, open_for};
use crate::control::topology::{Server, sentence};
use crate::document::Problem;
use crate::guard::catalog::Catalog;

/// Tables of a catalog, as `catalog.max_tables` bounds them by default.
const MAX_TABLES: usize = 100_000;

/// The server of `--primary`.
pub(super) struct Primary {
    pub(super) runtime: Runtime,
    pub(super) server: Server,
    application: &'static str,
    timeout: Duration,
}

/// A connection to one of its databases.
pub(super) struct Session {
    pub(super) control: Control,
    version: u32,
    pub(super) work_mem: u64,
    pub(super) hash_mem_percent: u64,
}

impl Primary {
    /// `timeout`: of each question.
    pub(super) fn new(url: &str, application: &'static str, timeout: Duration) -> Result<Self, Problem> {
        let fault = |why: String| Problem::new(format!("--primary: {why}"));
        let url: ServerUrl = url.parse().map_err(fault)?;
        let server = Server::new("primary", url, &ServerTlsSettings::default());
        let server = server.map_err(|error| fault(error.to_string()))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| fault(error.to_string()))?;
        Ok(Self { runtime, server, application, timeout })
    }

    pub(super) fn open(&self, database: &str) -> Result<Session, String> {
        let limit = self.timeout.max(Duration::from_secs(5));
        let work = async {
            let control = open_for(&self.server, database, self.application, limit).await?;
            let sql = "SELECT current_setting('server_version_num'), \
                              (SELECT setting::int8 * 1024 FROM pg_settings WHERE name = 'work_mem')::text, \
                              (SELECT (setting::numeric * 100)::int8 FROM pg_settings \
                               WHERE name = 'hash_mem_multiplier')::text";
            let rows = control.client().simple_query(sql).await.map_err(sentence)?;
            let row = rows.iter().find_map(|message| match message {
                SimpleQueryMessage::Row(row) => Some(row),
                _ => None,
            });
            let number = |n| row.and_then(|row| row.get(n)).and_then(|text| text.parse::<u64>().ok());
            let version = number(0).and_then(|number| u32::try_from(number / 10_000).ok()).unwrap_or(0);
            let work_mem = number(1).unwrap_or(4 << 20);
            Ok(Session { control, version, work_mem, hash_mem_percent: number(2).unwrap_or(100) })
        };
        self.runtime.block_on(async {
            tokio::time::timeout(limit, work)
                .await
                .unwrap_or_else(|_| Err(format!("no answer within {limit:?}")))
        })
    }

    /// What a database holds.
    pub(super) fn catalog(&self, database: &str) -> Result<Catalog, String> {
        let limit = Duration::from_secs(60);
        let read = crate::control::catalog::read_once(&self.server, database, limit, MAX_TABLES);
        self.runtime.block_on(read)
    }

    /// The plan as JSON, and whether it is one for any parameters.
    pub(super) fn explain(
        &self,
        session: &Session,
        sql: &str,
        params: Option<&[Option<Vec<u8>>]>,
    ) -> Result<(Vec<u8>, bool), String> {
        self.runtime.block_on(explain(session, sql, params, self.timeout))
    }

    /// The same between two calls, the one before it and the one that undoes it.
    pub(super) fn explain_with(
        &self,
        session: &Session,
        [before, after]: &[String; 2],
        sql: &str,
        params: Option<&[Option<Vec<u8>>]>,
    ) -> Result<(Vec<u8>, bool), String> {
        let client = session.control.client();
        self.runtime.block_on(async {
            client.simple_query(before).await.map_err(sentence)?;
            let plan = explain(session, sql, params, self.timeout).await;
            client.simple_query(after).await.map_err(sentence)?;
            plan
        })
    }
}

/// A value as the log has it.
#[derive(Debug)]
struct Text<'a>(Option<&'a [u8]>);

impl ToSql for Text<'_> {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        let Some(value) = self.0 else { return Ok(IsNull::Yes) };
        out.extend_from_slice(value);
        Ok(IsNull::No)
    }
    fn accepts(_: &Type) -> bool {
        true
    }
    fn encode_format(&self, _: &Type) -> tokio_postgres::types::Format {
        tokio_postgres::types::Format::Text
    }
    to_sql_checked!();
}

/// A value as the server sent it: `json` is its text.
struct Json(Vec<u8>);

impl<'a> FromSql<'a> for Json {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn StdError + Sync + Send>> {
        Ok(Self(raw.to_vec()))
    }
    fn accepts(_: &Type) -> bool {
        true
    }
}

/// The plan as JSON, and whether it is one for any parameters. The transaction is rolled back whatever comes.
async fn explain(
    session: &Session,
    sql: &str,
    params: Option<&[Option<Vec<u8>>]>,
    timeout: Duration,
) -> Result<(Vec<u8>, bool), String> {
    let client = session.control.client();
    let work = async {
        let highest = highest_parameter(sql);
        if highest == 0 {
            return Ok((with_params(client, sql, &[], timeout).await?, false));
        }
        if let Some(params) = params.filter(|params| params.len() >= highest) {
            let values: Vec<Text<'_>> = params.iter().map(|value| Text(value.as_deref())).collect();
            // A value that the log has cut may be none of its type any more.
            if let Ok(plan) = with_params(client, sql, &values, timeout).await {
                return Ok((plan, false));
            }
        }
        Ok((generic(session, sql, highest, timeout).await?, true))
    };
    // The server's own timeout comes first.
    let patience = timeout * 2 + Duration::from_secs(2);
    tokio::time::timeout(patience, work).await.unwrap_or_else(|_| Err("no answer in time".to_owned()))
}

async fn begin(client: &Client, timeout: Duration, more: &str) -> Result<(), String> {
    let ms = timeout.as_millis();
    let sql = format!(
        "BEGIN READ ONLY; SET LOCAL statement_timeout = {ms}; SET LOCAL lock_timeout = {ms}; \
         SET LOCAL standard_conforming_strings = on;{more}"
    );
    client.batch_execute(&sql).await.map_err(sentence)
}

async fn with_params(
    client: &Client,
    sql: &str,
    values: &[Text<'_>],
    timeout: Duration,
) -> Result<Vec<u8>, String> {
    begin(client, timeout, "").await?;
    // By the extended protocol: it takes one statement and no more, whatever the log holds.
    let asked = async {
        let statement = client.prepare(&format!("EXPLAIN (FORMAT JSON) {sql}")).await?;
        let count = statement.params().len();
        let values: Vec<&(dyn ToSql + Sync)> =
            values.iter().take(count).map(|value| value as &(dyn ToSql + Sync)).collect();
        client.query_one(&statement, &values).await?.try_get::<_, Json>(0)
    };
    let plan = asked.await.map(|json| json.0).map_err(sentence);
    client.batch_execute("ROLLBACK").await.map_err(sentence)?;
    plan
}

/// For whatever parameters: PostgreSQL 16 and newer have an option for that, before a prepared statement does it.
async fn generic(session: &Session, sql: &str, highest: usize, timeout: Duration) -> Result<Vec<u8>, String> {
    let client = session.control.client();
    if session.version >= 16 {
        begin(client, timeout, "").await?;
        let plan = client.simple_query(&format!("EXPLAIN (GENERIC_PLAN, FORMAT JSON) {sql}")).await;
        let plan = plan.map_err(sentence).and_then(|messages| whole(&messages));
        client.batch_execute("ROLLBACK").await.map_err(sentence)?;
        return plan;
    }
    begin(client, timeout, " SET LOCAL plan_cache_mode = force_generic_plan;").await?;
    let plan = async {
        client.batch_execute(&format!("PREPARE pgsluice_plan AS {sql}")).await?;
        let nulls = vec!["NULL"; highest].join(", ");
        client.simple_query(&format!("EXPLAIN (FORMAT JSON) EXECUTE pgsluice_plan ({nulls})")).await
    };
    let plan = plan.await.map_err(sentence).and_then(|messages| whole(&messages));
    // A prepared statement outlives its transaction.
    client.batch_execute("ROLLBACK; DEALLOCATE ALL").await.map_err(sentence)?;
    plan
}

/// `EXPLAIN` answers with one row.
fn whole(messages: &[SimpleQueryMessage]) -> Result<Vec<u8>, String> {
    let row = messages.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0),
        _ => None,
    });
    row.map(|text| text.as_bytes().to_vec()).ok_or_else(|| "no plan came".to_owned())
}

/// The highest `$n` in a text. One in a literal makes a question more, no harm.
fn highest_parameter(sql: &str) -> usize {
    let numbers = sql.split('$').skip(1).filter_map(|rest| {
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        rest.get(..end)?.parse::<usize>().ok()
    });
    numbers.filter(|number| *number <= 65_535).max().unwrap_or(0)
}
