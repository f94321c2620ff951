#![allow(clippy::unwrap_used)]
use std::sync::Arc;

use super::*;
use crate::pool::tests::node_with;

fn permit(pool: &Arc<KeyPool>) -> Option<Permit> {
    match pool.enter(0, crate::pool::NOBODY) {
        Entered::Granted(Grant::Permit(permit)) => Some(permit),
        Entered::Granted(Grant::Server(_)) => panic!("nothing is open"),
        Entered::Queued(_) => None,
    }
}

fn wait(pool: &Arc<KeyPool>) -> Waiting {
    match pool.enter(0, crate::pool::NOBODY) {
        Entered::Queued(waiting) => waiting,
        Entered::Granted(_) => panic!("there is no room"),
    }
}

/// What it has been granted by now.
fn granted(waiting: &mut Waiting) -> Option<Permit> {
    match waiting.receiver.try_recv() {
        Ok(Grant::Permit(permit)) => Some(permit),
        _ => None,
    }
}

#[test]
fn whoever_is_at_a_cap_of_its_own_waits_without_keeping_others() {
    let node = node_with(1, 4, "[users.etl]\nmax_user_connections = 2\n");
    let (etl, etl2, ann) = (node.pool("etl", "shop"), node.pool("etl", "blog"), node.pool("ann", "shop"));
    let held = [permit(&etl).unwrap(), permit(&etl2).unwrap()];
    let (mut first, mut second) = (wait(&etl2), wait(&etl));
    // Others come after them and are served, and their hot path does not even see them.
    assert!(!ann.is_claimed() && etl.is_claimed());
    let anns = [permit(&ann).unwrap(), permit(&ann).unwrap()];
    assert!(granted(&mut first).is_none());
    let mut third = wait(&ann);
    drop(anns);
    assert!(granted(&mut third).is_some() && granted(&mut first).is_none());
    let [one, other] = held;
    drop(one);
    let first = granted(&mut first);
    assert!(first.is_some() && granted(&mut second).is_none(), "in turn");
    drop(other);
    assert!(granted(&mut second).is_some());
}

#[test]
fn a_cap_of_a_database_and_a_pool_size_of_a_pair() {
    let node = node_with(1, 9, "[databases.shop]\nmax_db_connections = 2\npool_size = 1\n");
    let (ann, bob, cyd) = (node.pool("ann", "shop"), node.pool("bob", "shop"), node.pool("cyd", "shop"));
    let a = permit(&ann).unwrap();
    assert_eq!(ann.shortage().0, "pool_size of user \"ann\" and database \"shop\"");
    let mut ann_waits = wait(&ann);
    let b = permit(&bob).unwrap();
    assert_eq!(cyd.shortage(), ("max_db_connections of database \"shop\"".to_owned(), 2, 1));
    let mut cyd_waits = wait(&cyd);
    assert!(permit(&node.pool("ann", "blog")).is_some(), "another database is free");
    drop(b);
    // The first of the two is blocked still: the place is for the second.
    let c = granted(&mut cyd_waits);
    assert!(c.is_some() && granted(&mut ann_waits).is_none());
    drop(a);
    assert!(granted(&mut ann_waits).is_some());
}

#[test]
fn who_has_waited_long_enough_uses_the_reserve() {
    let node = node_with(1, 1, "[pool]\nreserve_pool_size = 1\n");
    let (ann, bob) = (node.pool("ann", "shop"), node.pool("bob", "shop"));
    let held = permit(&ann).unwrap();
    let (mut first, mut second, mut third) = (wait(&ann), wait(&bob), wait(&bob));
    second.may_use_reserve();
    let extra = granted(&mut second);
    assert!(extra.is_some() && granted(&mut first).is_none());
    third.may_use_reserve();
    assert!(granted(&mut third).is_none(), "it is used up");
    // A place of the reserve that comes free is for who may use it; one of the pool for the first.
    drop(extra);
    assert!(granted(&mut first).is_none());
    let third = granted(&mut third);
    assert!(third.is_some());
    drop(held);
    assert!(granted(&mut first).is_none(), "the reserve is still in use: the pool is full");
    drop(third);
    assert!(granted(&mut first).is_some());
}

#[test]
fn a_pairs_reserve_is_beyond_its_own_pool_size() {
    let node = node_with(1, 5, "[databases.shop]\npool_size = 1\nreserve_pool_size = 1\n");
    let ann = node.pool("ann", "shop");
    let _held = permit(&ann).unwrap();
    let (mut first, mut second) = (wait(&ann), wait(&ann));
    first.may_use_reserve();
    second.may_use_reserve();
    assert!(granted(&mut first).is_some_and(|permit| {
        let waits = granted(&mut second).is_none();
        drop(permit);
        waits
    }));
    assert!(granted(&mut second).is_some());
}

#[test]
fn who_leaves_the_queue_takes_no_place_with_it() {
    let node = node_with(1, 3, "[users.etl]\nmax_user_connections = 1\n");
    let etl = node.pool("etl", "shop");
    let held = permit(&etl).unwrap();
    let (gone, mut stays) = (wait(&etl), wait(&etl));
    drop(gone);
    drop(held);
    let got = granted(&mut stays);
    assert!(got.is_some());
    drop((got, stays));
    assert!(!etl.is_claimed());
    let all: Vec<_> = (0..3).map(|_| permit(&node.pool("ann", "shop")).unwrap()).collect();
    assert_eq!(all.len(), 3);
}

proptest::proptest! {
    /// Whatever comes and goes: no cap is passed, nobody waits for what is free, and in the end nothing is left.
    #[test]
    fn caps_hold_and_nobody_starves(steps in proptest::collection::vec((0usize..6, 0usize..6, 0usize..8), 1..200)) {
        let node = node_with(1, 4, "[pool]\nmax_user_connections = 3\n[databases.d0]\nmax_db_connections = 2\npool_size = 1\n");
        let pools: Vec<_> = (0..6).map(|n| node.pool(&format!("u{}", n % 3), &format!("d{}", n % 2))).collect();
        let (mut held, mut waits) = (Vec::new(), Vec::new());
        for (what, pool, which) in steps {
            match what {
                0..=2 => match pools[pool].enter(0, crate::pool::NOBODY) {
                    Entered::Granted(Grant::Permit(permit)) => held.push(permit),
                    Entered::Granted(Grant::Server(_)) => panic!("nothing is open"),
                    Entered::Queued(waiting) => waits.push(waiting),
                },
                3 | 4 if which < held.len() => drop(held.swap_remove(which)),
                5 if which < waits.len() => drop(waits.swap_remove(which)),
                _ => {}
            }
            let mut n = 0;
            while n < waits.len() {
                match granted(&mut waits[n]) {
                    Some(permit) => {
                        held.push(permit);
                        waits.remove(n);
                    }
                    None => n += 1,
                }
            }
            let count = |of: &dyn Fn(&KeyPool) -> bool| held.iter().filter(|p| of(p.pool().unwrap())).count();
            assert!(held.len() <= 4);
            for pool in &pools {
                let user = count(&|p| p.user == pool.user);
                let database = count(&|p| p.database == pool.database);
                let pair = count(&|p| p.user == pool.user && p.database == pool.database);
                assert!(user <= 3);
                assert!(&*pool.database != "d0" || (database <= 2 && pair <= 1));
            }
            for waiting in &waits {
                let pool = &waiting.pool;
                assert!(held.len() == 4 || pool.full(0).is_some(), "{}@{} waits for nothing", pool.user, pool.database);
            }
        }
        drop(waits);
        drop(held);
        assert_eq!(lock(&node.state).open, 0);
        assert!(pools.iter().all(|pool| !pool.is_claimed() && pool.full(0).is_none()));
    }
}
