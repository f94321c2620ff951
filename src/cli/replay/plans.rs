//! `--primary`: what the planner says of a log's statements. Only ever `EXPLAIN` without `ANALYZE`, one statement at a
//! time, in a read-only transaction that is rolled back.

use std::collections::HashMap;
use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::runtime::Runtime;
use tokio::time::Instant;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, private::BytesMut, to_sql_checked};
use tokio_postgres::{Client, SimpleQueryMessage};

use super::ReplayArgs;
use crate::config::{ServerTlsSettings, ServerUrl};
use crate::control::connection::{Control, open_for};
use crate::control::topology::{Server, sentence};
use crate::document::Problem;
use crate::guard::Kind;
use crate::guard::catalog::Catalog;
use crate::guard::plan::{Advice, PlanFacts, Surroundings, advise, read};
use crate::replay::{Entry, Judges, Looked};

/// A plan and what it advises.
pub(super) type Planned = (Arc<PlanFacts>, Arc<[Advice]>);

/// Tables of a catalog, as `catalog.max_tables` bounds them by default.
const MAX_TABLES: usize = 100_000;
/// Reasons that are shown.
const SHOWN: usize = 5;

/// What was asked of the planner.
#[derive(Debug, Default, Serialize)]
pub(super) struct Asked {
    /// Statements it was asked about.
    pub(super) statements: u64,
    /// Of those, statements whose parameters nobody knows.
    pub(super) generic: u64,
    /// Of those, statements without an answer.
    pub(super) failed: u64,
    /// Beyond --explain-max.
    pub(super) not_asked: u64,
    /// The first reasons for no answer, and databases that could not be asked at all.
    pub(super) faults: Vec<String>,
}

/// Asks the primary.
pub(super) struct Planner {
    runtime: Runtime,
    server: Server,
    timeout: Duration,
    pause: Duration,
    next: Option<Instant>,
    max: u64,
    sessions: HashMap<Box<str>, Option<Session>>,
    /// By database and fingerprint.
    known: HashMap<u64, Option<Planned>, ahash::RandomState>,
    pub(super) asked: Asked,
}

struct Session {
    control: Control,
    version: u32,
    work_mem: u64,
    hash_mem_percent: u64,
}

impl Planner {
    /// Tries the connection at once: a wrong URL should not wait for the first statement.
    pub(super) fn connect(url: &str, args: &ReplayArgs) -> Result<Self, Problem> {
        let fault = |why: String| Problem::new(format!("--primary: {why}"));
        let url: ServerUrl = url.parse().map_err(fault)?;
        let database: Box<str> = url.database.as_str().into();
        let server = Server::new("primary", url, &ServerTlsSettings::default());
        let server = server.map_err(|error| fault(error.to_string()))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| fault(error.to_string()))?;
        let mut planner = Self {
            runtime,
            server,
            timeout: Duration::from_millis(args.explain_timeout),
            pause: Duration::from_secs_f64((1.0 / args.explain_rate).min(3600.0)),
            next: None,
            max: args.explain_max as u64,
            sessions: HashMap::new(),
            known: HashMap::default(),
            asked: Asked::default(),
        };
        let session = planner.open(&database).map_err(fault)?;
        planner.sessions.insert(database, Some(session));
        Ok(planner)
    }

    /// The database of a statement, or the URL's where the log does not tell.
    fn database<'a>(&'a self, database: &'a str) -> &'a str {
        if database.is_empty() { &self.server.url.database } else { database }
    }

    fn open(&self, database: &str) -> Result<Session, String> {
        let limit = self.timeout.max(Duration::from_secs(5));
        let work = async {
            let control = open_for(&self.server, database, "pgsluice replay", limit).await?;
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
    pub(super) fn catalog(&mut self, database: &str) -> Option<Arc<Catalog>> {
        let name = self.database(database).to_owned();
        let limit = Duration::from_secs(60);
        let read = crate::control::catalog::read_once(&self.server, &name, limit, MAX_TABLES);
        match self.runtime.block_on(read) {
            Ok(catalog) => Some(Arc::new(catalog)),
            Err(why) => {
                self.fault(format!("the catalog of database \"{name}\": {why}"));
                None
            }
        }
    }

    fn fault(&mut self, why: String) {
        if self.asked.faults.len() < SHOWN && !self.asked.faults.contains(&why) {
            self.asked.faults.push(why);
        }
    }

    /// The plan of a statement: asked at the first sight of its fingerprint, if it is one that has a plan.
    pub(super) fn plan(&mut self, entry: &Entry, looked: &Looked<'_>, judges: &Judges) -> Option<Planned> {
        let planned =
            matches!(looked.kind, Kind::Select | Kind::Insert | Kind::Update | Kind::Delete | Kind::Merge);
        if !planned || looked.statements != 1 {
            return None;
        }
        let key = self.known.hasher().hash_one((&entry.database, looked.fingerprint));
        if let Some(known) = self.known.get(&key) {
            return known.clone();
        }
        if self.asked.statements >= self.max {
            self.asked.not_asked += 1;
            return None;
        }
        self.asked.statements += 1;
        let answer = self.ask(entry, looked, judges);
        let answer = answer.map_err(|why| {
            self.asked.failed += 1;
            self.fault(format!("{:016x}: {why}", looked.fingerprint));
        });
        let answer = answer.ok();
        self.known.insert(key, answer.clone());
        answer
    }

    fn ask(&mut self, entry: &Entry, looked: &Looked<'_>, judges: &Judges) -> Result<Planned, String> {
        let text = std::str::from_utf8(&looked.text).map_err(|_| "its text is not UTF-8".to_owned())?;
        self.wait();
        let database: Box<str> = self.database(&entry.database).into();
        let lost = |session: &Option<Session>| {
            session.as_ref().is_some_and(|session| session.control.client().is_closed())
        };
        if self.sessions.get(&database).is_none_or(lost) {
            let session =
                self.open(&database).map_err(|why| self.fault(format!("database \"{database}\": {why}")));
            self.sessions.insert(database.clone(), session.ok());
        }
        let Some(Some(session)) = self.sessions.get(&database) else {
            return Err(format!("database \"{database}\" can't be asked"));
        };
        let (json, generic) =
            self.runtime.block_on(explain(session, text, entry.params.as_deref(), self.timeout))?;
        self.asked.generic += u64::from(generic);
        let catalog = judges.catalog(&entry.database).map(|catalog| &**catalog);
        let around =
            Surroundings { catalog, work_mem: session.work_mem, hash_mem_percent: session.hash_mem_percent };
        let plan = read(&json, &around).map_err(|error| error.to_string())?;
        let advice = judges.facts(looked).map(|facts| advise(&facts, &plan, catalog)).unwrap_or_default();
        Ok((Arc::new(plan), advice.into()))
    }

    /// Until the rate allows another question.
    fn wait(&mut self) {
        let now = Instant::now();
        let at = self.next.map_or(now, |next| next.max(now));
        self.next = Some(at + self.pause);
        // The timer is made where the runtime runs.
        self.runtime.block_on(async { tokio::time::sleep_until(at).await });
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
        client.batch_execute(&format!("PREPARE pgsluice_replay AS {sql}")).await?;
        let nulls = vec!["NULL"; highest].join(", ");
        client.simple_query(&format!("EXPLAIN (FORMAT JSON) EXECUTE pgsluice_replay ({nulls})")).await
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
