//! `--primary`: what the planner says of a log's statements. Only ever `EXPLAIN` without `ANALYZE`, one statement at a
//! time, in a read-only transaction that is rolled back.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use super::ReplayArgs;
use crate::cli::primary::{Primary, Session};
use crate::document::Problem;
use crate::guard::Kind;
use crate::guard::catalog::Catalog;
use crate::guard::plan::{Advice, PlanFacts, Surroundings, advise, read};
use crate::replay::{Entry, Judges, Looked};

/// A plan and what it advises.
pub(super) type Planned = (Arc<PlanFacts>, Arc<[Advice]>);

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
    primary: Primary,
    pause: Duration,
    next: Option<Instant>,
    max: u64,
    sessions: HashMap<Box<str>, Option<Session>>,
    /// By database and fingerprint.
    known: HashMap<u64, Option<Planned>, ahash::RandomState>,
    pub(super) asked: Asked,
}

impl Planner {
    /// Tries the connection at once: a wrong URL should not wait for the first statement.
    pub(super) fn connect(url: &str, args: &ReplayArgs) -> Result<Self, Problem> {
        let primary = Primary::new(url, "pgsluice replay", Duration::from_millis(args.explain_timeout))?;
        let database: Box<str> = primary.server.url.database.as_str().into();
        let mut planner = Self {
            primary,
            pause: Duration::from_secs_f64((1.0 / args.explain_rate).min(3600.0)),
            next: None,
            max: args.explain_max as u64,
            sessions: HashMap::new(),
            known: HashMap::default(),
            asked: Asked::default(),
        };
        let session = planner.primary.open(&database);
        let session = session.map_err(|why| Problem::new(format!("--primary: {why}")))?;
        planner.sessions.insert(database, Some(session));
        Ok(planner)
    }

    /// The database of a statement, or the URL's where the log does not tell.
    fn database<'a>(&'a self, database: &'a str) -> &'a str {
        if database.is_empty() { &self.primary.server.url.database } else { database }
    }

    /// What a database holds.
    pub(super) fn catalog(&mut self, database: &str) -> Option<Arc<Catalog>> {
        let name = self.database(database).to_owned();
        match self.primary.catalog(&name) {
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
            let session = self
                .primary
                .open(&database)
                .map_err(|why| self.fault(format!("database \"{database}\": {why}")));
            self.sessions.insert(database.clone(), session.ok());
        }
        let Some(Some(session)) = self.sessions.get(&database) else {
            return Err(format!("database \"{database}\" can't be asked"));
        };
        let (json, generic) = self.primary.explain(session, text, entry.params.as_deref())?;
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
        self.primary.runtime.block_on(async { tokio::time::sleep_until(at).await });
    }
}
