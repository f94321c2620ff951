//! The planner asked beside the statements: plans that nobody waits for, and what it says of an index that would help.
//!
//! The questions of all data threads stand in one bounded line ([`Desk`]), each once. They are asked on connections of
//! their own ([`side`]), few at a time and so many a second, and what came of them is told to all threads. A connection
//! logs in as the client's own user: planning evaluates functions that are declared immutable, and must not do so with
//! more rights than the client has. It is none of the pool's, so no client ever waits for it.

mod side;

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::snapshot;
use crate::config::Settings;
use crate::guard::catalog::Catalog;
use crate::guard::plan::{
    self, Advice, Plan, PlanFacts, PlanKey, Surroundings, advise, forget, imagine, kept,
};
use crate::observe::Meters;
use crate::observe::labels::DatabaseId;
use crate::pool::KeyPool;
use crate::session::{PlanAnswer, PlanQuestion, plan_preamble};
use side::{Fault, Side};

/// Questions that wait. More are dropped, and counted.
const LINE: usize = 256;
/// Answers kept for threads that have not heard of them yet.
const NEWS: usize = 1024;
/// A connection that nobody needs is closed after this.
const IDLE: Duration = Duration::from_secs(15);
/// Who could not log in is not tried again for so long.
const PAUSE: Duration = Duration::from_secs(5);
/// Pieces of advice of one plan that are checked.
const CHECKS: usize = 3;

/// A question.
pub struct Order {
    pub key: PlanKey,
    pub question: PlanQuestion,
    /// Whose client it is.
    pub pool: Arc<KeyPool>,
    pub database: DatabaseId,
    /// The thread that asks.
    pub thread: usize,
    /// The plan is known: its advice is to be checked.
    pub check: Option<Arc<Plan>>,
}

/// What came of a question.
#[derive(Clone)]
pub struct News {
    number: u64,
    pub key: PlanKey,
    pub thread: usize,
    pub database: DatabaseId,
    pub database_name: Arc<str>,
    pub what: What,
}

/// The answer.
#[derive(Clone)]
pub enum What {
    /// A plan, if there was one.
    Plan(Option<Arc<Plan>>),
    /// What is left of a plan's advice.
    Checked(Arc<[Advice]>),
}

#[derive(Default)]
struct Line {
    waiting: VecDeque<Order>,
    /// What waits or is being asked, so that it is asked once.
    under_way: HashSet<(PlanKey, bool), ahash::RandomState>,
}

/// Where questions are left and answers are found.
#[derive(Default)]
pub struct Desk {
    line: Mutex<Line>,
    came: Notify,
    /// Of the last news.
    number: AtomicU64,
    news: Mutex<VecDeque<News>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Desk {
    /// Leaves a question. False: the line is full.
    pub fn ask(&self, order: Order) -> bool {
        let mut line = lock(&self.line);
        let name = (order.key, order.check.is_some());
        if line.under_way.contains(&name) {
            return true;
        }
        if line.waiting.len() >= LINE {
            return false;
        }
        line.under_way.insert(name);
        line.waiting.push_back(order);
        self.came.notify_one();
        true
    }

    async fn next(&self) -> Order {
        loop {
            if let Some(order) = lock(&self.line).waiting.pop_front() {
                return order;
            }
            self.came.notified().await;
        }
    }

    /// The number of the last news: a thread that knows it has heard all.
    #[inline]
    pub fn number(&self) -> u64 {
        self.number.load(Ordering::Acquire)
    }

    /// What came after `known`, and the number of the last of it.
    pub fn since(&self, known: u64) -> (Vec<News>, u64) {
        let news = lock(&self.news);
        (news.iter().filter(|one| one.number > known).cloned().collect(), self.number())
    }

    fn tell(&self, order: &Order, what: What) {
        let mut news = lock(&self.news);
        let number = self.number() + 1;
        if news.len() >= NEWS {
            news.pop_front();
        }
        let database_name = Arc::clone(&order.pool.database);
        news.push_back(News {
            number,
            key: order.key,
            thread: order.thread,
            database: order.database,
            database_name,
            what,
        });
        self.number.store(number, Ordering::Release);
    }

    fn done(&self, order: &Order) {
        lock(&self.line).under_way.remove(&(order.key, order.check.is_some()));
    }
}

/// Answers questions.
pub struct Clerk {
    desk: Arc<Desk>,
    snapshot: snapshot::Shared,
    meters: Arc<Meters>,
    deadline: Duration,
    pause: Duration,
    /// As many as connections may be open.
    permits: Arc<Semaphore>,
    idle: Mutex<Vec<Side>>,
    /// Users and databases that could not log in, and until when they are not tried.
    barred: Mutex<HashMap<(Arc<str>, Arc<str>), Instant>>,
}

impl Clerk {
    #[must_use]
    pub fn new(
        desk: Arc<Desk>,
        snapshot: snapshot::Shared,
        meters: Arc<Meters>,
        settings: &Settings,
    ) -> Self {
        Self {
            desk,
            snapshot,
            meters,
            deadline: settings.plan.deadline,
            pause: Duration::from_secs(1) / u32::try_from(settings.plan.side_rate).unwrap_or(u32::MAX).max(1),
            permits: Arc::new(Semaphore::new(settings.plan.side_connections)),
            idle: Mutex::default(),
            barred: Mutex::default(),
        }
    }

    /// Runs for ever. Drop it to stop.
    pub async fn run(self) {
        let clerk = Arc::new(self);
        let mut next = Instant::now();
        loop {
            let order = tokio::select! {
                order = clerk.desk.next() => order,
                () = tokio::time::sleep(IDLE / 3) => {
                    lock(&clerk.idle).retain(|side| side.used.elapsed() < IDLE);
                    continue;
                }
            };
            tokio::time::sleep_until(next).await;
            next = Instant::now() + clerk.pause;
            // Never closed, so never an error.
            let Ok(permit) = Arc::clone(&clerk.permits).acquire_owned().await else { return };
            let clerk = Arc::clone(&clerk);
            tokio::spawn(async move { clerk.serve(order, permit).await });
        }
    }

    async fn serve(&self, order: Order, permit: OwnedSemaphorePermit) {
        // The server's own deadline comes first, for each of a few questions.
        let patience = self.deadline * 8 + Duration::from_secs(5);
        let outcome = tokio::time::timeout(patience, self.answer(&order)).await;
        let outcome = outcome.unwrap_or_else(|_| Err(Fault::Lost("no answer in time".to_owned())));
        let what = match outcome {
            Ok(plan) => {
                self.note(&order, &plan);
                match order.check {
                    Some(_) => Some(What::Checked(plan.advice.clone().into())),
                    None => Some(What::Plan(Some(Arc::new(plan)))),
                }
            }
            Err(fault) => {
                let (user, database) = (&order.pool.user, &order.pool.database);
                tracing::debug!(%user, %database, "the planner was asked beside a statement: {fault}");
                order.check.is_none().then_some(What::Plan(None))
            }
        };
        if let Some(what) = what {
            self.desk.tell(&order, what);
        }
        self.desk.done(&order);
        drop(permit);
    }

    /// The plan with its advice, checked where that can be.
    async fn answer(&self, order: &Order) -> Result<Plan, Fault> {
        let mut side = self.take(&order.pool).await?;
        let talked = self.talk(&mut side, order).await;
        // Whatever came, nothing of it stays.
        let clean = side.query("ROLLBACK").await.is_ok() && side.is_idle();
        let clean = clean && self.forget_indexes(&mut side, order).await;
        if clean {
            lock(&self.idle).push(side);
        }
        talked
    }

    async fn forget_indexes(&self, side: &mut Side, order: &Order) -> bool {
        if !std::mem::take(&mut side.imagines) {
            return true;
        }
        let catalog = self.catalog(order);
        let schema = catalog.as_ref().and_then(|catalog| catalog.hypopg.clone());
        match schema {
            Some(schema) => side.query(&forget(&schema)).await.is_ok() && side.is_idle(),
            None => false,
        }
    }

    fn catalog(&self, order: &Order) -> Option<Arc<Catalog>> {
        self.snapshot.load().catalogs.get(&*order.pool.database).map(Arc::clone)
    }

    async fn talk(&self, side: &mut Side, order: &Order) -> Result<Plan, Fault> {
        let deadline = u64::try_from(self.deadline.as_millis()).unwrap_or(u64::MAX).max(1);
        let mut answer = PlanAnswer::default();
        let rows = side.query(&plan_preamble(&order.question.settings, deadline)).await?;
        let _ = rows.last().and_then(|row| answer.row(row));
        let catalog = self.catalog(order);
        let catalog = catalog.as_deref();
        let facts = explain(side, order, &mut answer, catalog).await?;
        let advice =
            match (&order.check, order.question.judgement.live.as_ref().and_then(|live| live.facts())) {
                (Some(plan), _) => plan.advice.to_vec(),
                (None, Some(statement)) => advise(statement, &facts, catalog),
                (None, None) => Vec::new(),
            };
        let advice = match catalog.and_then(|catalog| Some((catalog, catalog.hypopg.as_deref()?))) {
            Some((catalog, schema)) => {
                check(side, order, (catalog, schema), &facts, &mut answer, advice).await
            }
            None => advice,
        };
        Ok(Plan { facts, advice: advice.into() })
    }

    /// Tells the table of what was found.
    fn note(&self, order: &Order, plan: &Plan) {
        let judgement = &order.question.judgement;
        let (database, table) = (&order.pool.database, self.meters.advice());
        if let Some(before) = &order.check {
            let gone = |advice: &&Advice| !plan.advice.iter().any(|kept| kept.statement == advice.statement);
            let gone: Vec<Advice> = before.advice.iter().filter(gone).cloned().collect();
            table.refute(database, judgement.fingerprint, &gone);
        }
        let (fingerprint, text) = (judgement.fingerprint, &judgement.normalized);
        table.note(database, fingerprint, text, &plan.advice, SystemTime::now());
    }

    /// A connection of that user to that database: one that is there, or a new one.
    async fn take(&self, pool: &Arc<KeyPool>) -> Result<Side, Fault> {
        {
            let mut idle = lock(&self.idle);
            idle.retain(|side| side.used.elapsed() < IDLE);
            if let Some(at) = idle.iter().position(|side| Arc::ptr_eq(&side.pool, pool)) {
                return Ok(idle.swap_remove(at));
            }
            // With those that others have, never more than are allowed: this one is to come.
            let room = self.permits.available_permits();
            let excess = idle.len().saturating_sub(room);
            idle.drain(..excess);
        }
        let who = (Arc::clone(&pool.user), Arc::clone(&pool.database));
        let now = Instant::now();
        if lock(&self.barred).get(&who).is_some_and(|until| now < *until) {
            return Err(Fault::Lost("it could not log in a moment ago".to_owned()));
        }
        let opened = Side::open(pool).await;
        if opened.is_err() {
            let mut barred = lock(&self.barred);
            barred.retain(|_, until| now < *until);
            barred.insert(who, now + PAUSE);
        }
        opened
    }
}

/// `EXPLAIN` of the statement, in the transaction that is open.
async fn explain(
    side: &mut Side,
    order: &Order,
    answer: &mut PlanAnswer,
    catalog: Option<&Catalog>,
) -> Result<PlanFacts, Fault> {
    answer.json.clear();
    let rows = side.send(&order.question.messages).await?;
    let _ = rows.last().and_then(|row| answer.row(row));
    let around = Surroundings {
        catalog,
        work_mem: answer.work_mem.max(64 << 10),
        hash_mem_percent: answer.hash_mem_percent.max(100),
    };
    plan::read(&answer.json, &around).map_err(|fault| Fault::Lost(fault.to_string()))
}

/// The advice that the planner would follow, and what of it could not be checked.
async fn check(
    side: &mut Side,
    order: &Order,
    (catalog, schema): (&Catalog, &str),
    before: &PlanFacts,
    answer: &mut PlanAnswer,
    advice: Vec<Advice>,
) -> Vec<Advice> {
    let mut left = Vec::new();
    for (at, advice) in advice.into_iter().enumerate() {
        // A transaction that failed answers nothing more.
        if at >= CHECKS || !side.is_well() {
            left.push(advice);
            continue;
        }
        side.imagines = true;
        let with = async {
            side.query(&imagine(schema, &advice)).await?;
            let facts = explain(side, order, answer, Some(catalog)).await?;
            side.query(&forget(schema)).await?;
            Ok::<_, Fault>(facts)
        };
        match with.await {
            Ok(with) => left.extend(kept(&advice, before, &with)),
            Err(fault) => {
                tracing::debug!(database = %order.pool.database, "hypopg: {fault}");
                left.push(advice);
            }
        }
    }
    left
}
