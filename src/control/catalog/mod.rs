//! What the databases hold: tables and their sizes, columns, indexes, views, functions. Read from the primary,
//! published in the snapshot as one [`Catalog`] a database.
//!
//! A database is read when its first client has come, then every `catalog.refresh`, and soon after a change of its
//! schema has passed through us. Each reading opens a connection and closes it: an idle one would take a slot from
//! the application. Only what changed since the last reading is fetched ([`queries`]), and a catalog is published
//! again only if a rule could see the difference ([`state`]), since that clears the guards' caches.

mod queries;
mod state;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::Notify;

use super::connection;
use super::snapshot::{CatalogReading, Shared, publish};
use super::topology::Server;
use crate::config::Settings;
use crate::guard::catalog::Catalog;
use state::State;

/// How often we look whether a database has come, or its schema changed.
const LOOK: Duration = Duration::from_millis(250);
/// A change of the schema is read this long after it was seen: DDL comes in flocks.
const SETTLE: Duration = Duration::from_millis(500);
/// After a reading failed, the next attempt.
const RETRY: Duration = Duration::from_secs(5);

/// The databases that clients have asked for, with a count that moves with each change of their schema.
pub type Census = Arc<dyn Fn() -> Vec<(Box<str>, u64)> + Send + Sync>;

/// One database's place in the schedule.
struct Database {
    /// As the server calls it.
    dbname: Arc<str>,
    state: State,
    /// The schema's count when it was last read.
    epoch: u64,
    due: Instant,
    /// What the log was told last.
    said: Option<String>,
}

/// What a database holds, read once and whole.
///
/// # Errors
/// Why it can't be read, or not in that time.
pub async fn read_once(
    server: &Server,
    dbname: &str,
    limit: Duration,
    max_tables: usize,
) -> Result<Catalog, String> {
    let work = async {
        let session = connection::open_for(server, dbname, "pgsluice catalog", limit).await?;
        let mut state = State::default();
        queries::refresh(session.client(), &mut state, max_tables).await?;
        Ok(state.catalog())
    };
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| Err(format!("no answer within {limit:?}")))
}

/// Reads the catalogs for ever. Drop it to stop.
pub struct Reader {
    shared: Shared,
    server: Server,
    settings: Arc<Settings>,
    census: Census,
    /// Told to read everything at once.
    asked: Arc<Notify>,
}

impl Reader {
    #[must_use]
    pub fn new(
        shared: Shared,
        server: Server,
        settings: Arc<Settings>,
        census: Census,
        asked: Arc<Notify>,
    ) -> Self {
        Self { shared, server, settings, census, asked }
    }

    pub async fn run(self) {
        let mut databases: HashMap<Box<str>, Database> = HashMap::new();
        loop {
            let all = tokio::select! {
                () = tokio::time::sleep(LOOK) => false,
                () = self.asked.notified() => true,
            };
            self.take_census(&mut databases, all);
            // One after the other: a reading is work for the server.
            let now = Instant::now();
            for (name, database) in databases.iter_mut().filter(|(_, database)| database.due <= now) {
                self.read(name, database).await;
            }
        }
    }

    fn take_census(&self, databases: &mut HashMap<Box<str>, Database>, all: bool) {
        let now = Instant::now();
        for (name, epoch) in (self.census)() {
            let full = databases.len() >= self.settings.catalog.max_databases;
            let Some(database) = databases.get_mut(&name) else {
                if !full {
                    let dbname = self.settings.terms("", &name).dbname;
                    let state = State::of_big(self.settings.plan.min_rows as u64);
                    databases.insert(name, Database { dbname, state, epoch, due: now, said: None });
                }
                continue;
            };
            if database.epoch != epoch {
                database.epoch = epoch;
                database.due = database.due.min(now + SETTLE);
            }
            if all {
                database.due = now;
            }
        }
    }

    async fn read(&self, name: &str, database: &mut Database) {
        let started = Instant::now();
        let outcome = self.refresh(database).await;
        let took = started.elapsed();
        let problem = match outcome {
            Ok(changed) => {
                database.due = Instant::now() + self.settings.catalog.refresh.max(took * 10);
                if changed || !self.shared.load().catalogs.contains_key(name) {
                    self.publish(name, database, took);
                }
                database.state.shortcomings()
            }
            Err(problem) => {
                database.due = Instant::now() + RETRY.max(took * 10);
                Some(problem)
            }
        };
        if problem != database.said {
            match &problem {
                Some(problem) => tracing::warn!(database = name, "catalog: {problem}"),
                None => tracing::info!(database = name, "catalog: read in full again"),
            }
            database.said = problem;
        }
    }

    async fn refresh(&self, database: &mut Database) -> Result<bool, String> {
        let limit = self.settings.catalog.timeout;
        let work = async {
            let session =
                connection::open_for(&self.server, &database.dbname, "pgsluice catalog", limit).await?;
            queries::refresh(session.client(), &mut database.state, self.settings.catalog.max_tables).await
        };
        tokio::time::timeout(limit, work).await.unwrap_or_else(|_| Err(format!("no answer within {limit:?}")))
    }

    fn publish(&self, name: &str, database: &mut Database, took: Duration) {
        let catalog = Arc::new(database.state.catalog());
        tracing::debug!(database = name, tables = catalog.tables.len(), ?took, "catalog: read");
        let reading = CatalogReading { at: SystemTime::now(), took };
        publish(&self.shared, |next| {
            Arc::make_mut(&mut next.catalogs).insert(name.into(), Arc::clone(&catalog));
            Arc::make_mut(&mut next.catalog_readings).insert(name.into(), reading);
        });
    }
}
