//! Other clients of the same pool, so that a client's next transaction is likely to run on another server connection
//! than its last, and finds there what others may have left.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::task::JoinSet;

use crate::support::{Session, Sluice};

const CLIENTS: usize = 3;

/// What they do, over and over. Nothing of it lasts: they would keep server connections that the tested client needs.
const TEXTS: [&str; 5] = [
    "BEGIN; SET LOCAL TimeZone = 'Pacific/Fiji'; SET LOCAL work_mem = '999kB'; SELECT pg_sleep(0.003); COMMIT",
    "BEGIN; SET search_path = pg_catalog; SET work_mem = '998kB'; SELECT pg_sleep(0.002); ROLLBACK",
    "SELECT pg_sleep(0.004)",
    "SET work_mem = '997kB'; SELECT pg_sleep(0.002); RESET ALL",
    "SELECT 1/0",
];

/// Goes on until it is dropped.
pub struct Noise {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Noise {
    pub fn start(sluice: &Sluice) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, url) = (stop.clone(), sluice.url());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let clients: JoinSet<()> =
                    (0..CLIENTS).map(|n| make(url.clone(), n, stopped.clone())).collect();
                clients.join_all().await;
            });
        });
        Self { stop, thread: Some(thread) }
    }
}

async fn make(url: String, n: usize, stopped: Arc<AtomicBool>) {
    let mut client = None;
    for round in n.. {
        if stopped.load(Ordering::Relaxed) {
            break;
        }
        // Some checks kill server connections, and with them whoever is on one.
        let session = match client.take() {
            Some(session) => session,
            None => match Session::with(&url.parse().unwrap()).await {
                Ok((session, _)) => session,
                Err(_) => continue,
            },
        };
        let _ = session.batch_execute(TEXTS[round % TEXTS.len()]).await;
        let _ = session.query("SELECT $1::int", &[&1]).await;
        tokio::time::sleep(Duration::from_millis(2 + (round % 3) as u64)).await;
        client = (!session.is_closed()).then_some(session);
    }
}

impl Drop for Noise {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
