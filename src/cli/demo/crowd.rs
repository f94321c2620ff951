//! Act 5: more clients than PostgreSQL takes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Barrier;
use tokio::task::JoinSet;
use tokio_postgres::{Client, Error as PgError};

use super::Error;
use super::measure::{ask, connect};
use super::screen::{Act, thousands};
use super::shop::{PRODUCTS, USER};
use super::stage::{MAX_CONNECTIONS, POOL_SIZE, Stage};

const CLIENTS: u64 = 500;
const TRANSACTIONS: u64 = 4;

/// What became of all the clients.
#[derive(Default)]
struct Tally {
    refused: AtomicU64,
    failed: AtomicU64,
    committed: AtomicU64,
    /// The first refusal or failure, to show.
    reason: std::sync::Mutex<Option<String>>,
}

impl Tally {
    fn note(&self, counter: &AtomicU64, error: &PgError) {
        counter.fetch_add(1, Ordering::Relaxed);
        let text = error.as_db_error().map_or_else(|| error.to_string(), |e| e.message().to_owned());
        self.reason.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(text);
    }
}

pub(super) async fn crowd(stage: &Stage) -> Result<Act, Error> {
    let mut act = Act::new(
        "500 clients at once",
        "PostgreSQL takes 100. pgsluice serves all of them over 20 server connections, and none has to know.",
    );
    let (direct, time, _) = rush(stage, &stage.direct()).await?;
    let load = |n: &AtomicU64| n.load(Ordering::Relaxed);
    let told = |t: &Tally| {
        format!("{} refused, {} transactions", thousands(load(&t.refused)), thousands(load(&t.committed)))
    };
    act.line(&format!("direct, max_connections = {MAX_CONNECTIONS}"), Some(time), told(&direct));
    if let Some(reason) = direct.reason.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
        act.quote(format!("FATAL: {reason}"));
    }
    let (through, time, most) = rush(stage, &stage.through()).await?;
    act.line(
        "through pgsluice",
        Some(time),
        format!("{}, at most {most} server connections", told(&through)),
    );
    let reason = through.reason.lock().unwrap_or_else(PoisonError::into_inner).clone().unwrap_or_default();
    act.expect(load(&direct.refused) > 0, || "PostgreSQL itself refused nobody".into());
    act.expect(load(&through.refused) == 0, || format!("pgsluice refused clients: {reason}"));
    act.expect(load(&through.failed) == 0, || format!("transactions failed: {reason}"));
    let (committed, wanted) = (load(&through.committed), CLIENTS * TRANSACTIONS);
    act.expect(committed == wanted, || format!("{committed} of {wanted} transactions were done"));
    act.expect((1..=POOL_SIZE as u64).contains(&most), || format!("{most} server connections were open"));
    Ok(act)
}

/// All clients at once: log in, wait for everybody, work. -> what became of them, the time, most server connections
async fn rush(stage: &Stage, url: &str) -> Result<(Arc<Tally>, Duration, u64), Error> {
    let admin = connect(&stage.primary_admin()).await.map_err(Error::sql("connecting"))?;
    let tally = Arc::new(Tally::default());
    let everybody = Arc::new(Barrier::new(usize::try_from(CLIENTS).unwrap_or(1)));
    let start = Instant::now();
    let mut tasks = JoinSet::new();
    for n in 0..CLIENTS {
        let (url, tally, everybody) = (url.to_owned(), tally.clone(), everybody.clone());
        tasks.spawn(async move {
            let client = connect(&url).await;
            // Who is refused lets the others begin all the same.
            everybody.wait().await;
            match client {
                Ok(client) => shop(&client, n, &tally).await,
                Err(error) => tally.note(&tally.refused, &error),
            }
        });
    }
    let count = format!("SELECT count(*) FROM pg_stat_activity WHERE usename = '{USER}'");
    let mut most = 0;
    while !tasks.is_empty() {
        most = most.max(ask(&admin, &count).await?.number());
        let pause = tokio::time::sleep(Duration::from_millis(10));
        tokio::pin!(pause);
        loop {
            tokio::select! {
                ended = tasks.join_next() => match ended {
                    Some(outcome) => outcome?,
                    None => break,
                },
                () = &mut pause => break,
            }
        }
    }
    Ok((tally, start.elapsed(), most))
}

/// A customer buys something, a few times.
async fn shop(client: &Client, n: u64, tally: &Tally) {
    for k in 0..TRANSACTIONS {
        let product = 1 + (n * 31 + k * 7919) % PRODUCTS;
        let sql = [
            "BEGIN".to_owned(),
            format!("SELECT price_cents, stock FROM products WHERE id = {product}"),
            format!("UPDATE products SET stock = stock - 1 WHERE id = {product}"),
            "COMMIT".to_owned(),
        ];
        for text in sql {
            if let Err(error) = client.simple_query(&text).await {
                tally.note(&tally.failed, &error);
                return;
            }
        }
        tally.committed.fetch_add(1, Ordering::Relaxed);
    }
}
