//! A statement that was seen before costs no allocation. Its own binary, since the allocator counts for all.
#![allow(clippy::unwrap_used)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;

use pgsluice::document::Source;
use pgsluice::guard::policy::Policies;
use pgsluice::guard::{Action, Circumstances, Class, Guard, GuardLimits, SessionFacts, settle};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    // At the end of a thread the counter is gone before its last allocations.
    let _ = ALLOCATIONS.try_with(|counter| counter.set(counter.get() + 1));
}

#[allow(unsafe_code)] // the trait is unsafe to implement; every call goes straight to the system's allocator
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations_of(work: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.with(Cell::get);
    work();
    ALLOCATIONS.with(Cell::get) - before
}

fn class() -> Arc<Class> {
    Arc::new(Class {
        user: "app".into(),
        database: "shop".into(),
        application: "".into(),
        standard_conforming_strings: true,
        ascii_safe_encoding: true,
    })
}

fn guard() -> Guard {
    Guard::new(Arc::new(Policies::baseline()), GuardLimits::default(), [1, 2, 3, 4])
}

#[test]
fn the_allocator_counts() {
    assert!(allocations_of(|| drop(std::hint::black_box(Box::new(7)))) > 0);
}

#[test]
fn a_text_seen_before_allocates_nothing() {
    let (mut guard, class) = (guard(), class());
    let texts: [&[u8]; 4] = [
        b"SELECT abalance FROM pgbench_accounts WHERE aid = 1",
        b"UPDATE orders SET state = 'open'",
        b"SET application_name = 'x'",
        b"BEGIN",
    ];
    for text in texts.iter().chain(&texts) {
        let _ = guard.judge(text, &class);
    }
    // The same class by value, in another connection's allocation.
    let other = self::class();
    let allocated = allocations_of(|| {
        for _ in 0..100 {
            for text in texts {
                std::hint::black_box(guard.judge(text, &class));
                std::hint::black_box(guard.judge(text, &other));
            }
        }
    });
    assert_eq!(allocated, 0);
    assert_eq!(guard.counters().l1_hits, 800);
    assert_eq!(guard.judge(texts[1], &class).action, Action::Block);
}

#[test]
fn a_shape_seen_before_allocates_nothing() {
    let (mut guard, class) = (guard(), class());
    let texts: Vec<String> =
        (0..3000).map(|n| format!("SELECT abalance FROM pgbench_accounts WHERE aid = {n}")).collect();
    let _ = guard.judge(texts[0].as_bytes(), &class);
    let allocated = allocations_of(|| {
        for text in &texts[1..] {
            std::hint::black_box(guard.judge(text.as_bytes(), &class));
        }
    });
    assert_eq!(allocated, 0);
    assert_eq!(guard.counters().l2_hits, 2999);
}

/// Two hundred rules of all sorts, some of which ask at every run.
fn many_rules() -> Policies {
    let mut text = String::new();
    for n in 0..100 {
        text += &format!(
            "[[rule]]\nname = 'a{n}'\nwhen = 'query.kind == \"select\" && query.joins > {n} && query.group_by'\naction = 'warn'\n\
             [[rule]]\nname = 'b{n}'\nwhen = 'query.tables.exists(t, t == \"t{n}\")'\naction = 'block'\n"
        );
    }
    text += "[[rule]]\nname = 'live'\nwhen = 'session.transaction_seconds > 5 && query.kind == \"update\"'\naction = 'block'\n\
             [[rule]]\nname = 'night'\nwhen = 'query.kind == \"update\"'\naction = 'block'\nhours = '22:00-06:00'\nzone = 'Europe/Zurich'\nshare = 0.5\n";
    Policies::load(&[Source::new("p.toml", text)]).unwrap()
}

#[test]
fn the_number_of_rules_does_not_matter_to_what_was_seen() {
    let mut guard = Guard::new(Arc::new(many_rules()), GuardLimits::default(), [1, 2, 3, 4]);
    let class = class();
    let texts: Vec<String> = (0..1000).map(|n| format!("SELECT a FROM t WHERE aid = {n}")).collect();
    for _ in 0..2 {
        let _ = guard.judge(texts[0].as_bytes(), &class);
    }
    let allocated = allocations_of(|| {
        for text in &texts {
            std::hint::black_box(guard.judge(text.as_bytes(), &class));
        }
    });
    assert_eq!(allocated, 0);
}

#[test]
fn a_run_that_no_live_rule_minds_allocates_nothing() {
    let mut guard = Guard::new(Arc::new(many_rules()), GuardLimits::default(), [1, 2, 3, 4]);
    let judgement = guard.judge(b"UPDATE t SET a = 1 WHERE b = 2", &class());
    assert!(judgement.live.is_some());
    let session = SessionFacts { in_transaction: true, transaction_seconds: 4.5, ..SessionFacts::blank() };
    // Noon in Zurich.
    let around = Circumstances {
        session: Some(&session),
        now: Some(1_782_900_000),
        who: Some(7),
        ..Circumstances::default()
    };
    let allocated = allocations_of(|| {
        for _ in 0..100 {
            std::hint::black_box(settle(&judgement, &around));
        }
    });
    assert_eq!(allocated, 0);
    let long = SessionFacts { transaction_seconds: 6.0, ..session.clone() };
    let around = Circumstances { session: Some(&long), ..around };
    assert_eq!(settle(&judgement, &around).action, Action::Block);
}

#[test]
fn literals_that_a_rule_reads_are_read_without_allocating() {
    let rule =
        "[[rule]]\nname = 'deep'\nwhen = 'query.offset > 100 || query.always_true'\naction = 'block'\n";
    let policies = Policies::load(&[Source::new("p.toml", rule)]).unwrap();
    let (mut guard, class) = (Guard::new(Arc::new(policies), GuardLimits::default(), [1, 2, 3, 4]), class());
    let texts: Vec<String> = (0..2000)
        .map(|n| {
            let (id, offset) = (n % 700, if n % 2 == 0 { 0 } else { 1000 });
            format!("SELECT abalance FROM pgbench_accounts WHERE 1=1 AND aid = {id} OFFSET {offset}")
        })
        .collect();
    for text in &texts[..2] {
        let _ = guard.judge(text.as_bytes(), &class);
    }
    // Other texts than these two are known by their shape, or by the text once they came twice.
    let allocated = allocations_of(|| {
        for (n, text) in texts.iter().enumerate().take(700).skip(2) {
            let action = guard.judge(text.as_bytes(), &class).action;
            assert_eq!(action, if n % 2 == 0 { Action::Allow } else { Action::Block });
        }
    });
    assert_eq!(allocated, 0);
    assert_eq!(guard.counters().l2_misses, 2);
}
