//! What has to be done now and then on each data thread: idle servers past their time, pools below their
//! minimum, catalogs, cache counters, statements learned, plans.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::deadlines;
use super::policies;
use super::thread::Thread;
use crate::pool::{KeyPool, Node, open};

const PERIOD: Duration = Duration::from_secs(1);

/// Runs for ever. Drop it to stop.
pub async fn run(thread: Rc<Thread>) {
    tokio::join!(chores(Rc::clone(&thread)), deadlines::run(thread));
}

async fn chores(thread: Rc<Thread>) {
    let mut ticks = tokio::time::interval(PERIOD);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let now = Instant::now();
        let shared = Arc::clone(&thread.shared);
        for node in std::iter::once(&shared.primary).chain(&shared.replicas) {
            sweep(&thread, node, now);
        }
        thread.take_catalogs();
        thread.publish_cache_counters();
        thread.hand_on_learned();
        thread.follow_planner();
        policies::report(&thread);
    }
}

fn sweep(thread: &Rc<Thread>, node: &Arc<Node>, now: Instant) {
    node.each_pool(|pool| {
        pool.sweep(thread.index, now);
        // One thread fills up, or each would.
        if thread.index == 0
            && pool.missing() > 0
            && let Some(permit) = pool.spare_permit()
        {
            let (thread, pool) = (Rc::clone(thread), Arc::clone(pool));
            tokio::task::spawn_local(async move { fill(&thread, &pool, permit).await });
        }
    });
}

async fn fill(thread: &Rc<Thread>, pool: &Arc<KeyPool>, permit: crate::pool::Permit) {
    // A failure was logged; the next tick tries again.
    if let Ok(server) = open::open(permit, &pool.login(), thread.index, Some(Instant::now())).await {
        thread.give_back(server);
    }
}
