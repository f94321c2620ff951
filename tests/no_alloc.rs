//! A statement that was seen before costs no allocation. Its own binary, since the allocator counts for all.
#![allow(clippy::unwrap_used)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;

use pgsluice::document::Source;
use pgsluice::guard::plan::{Plan, PlanFacts, PlanKey, Planned, Plans};
use pgsluice::guard::policy::Policies;
use pgsluice::guard::{
    Action, Circumstances, Class, Effects, Guard, GuardLimits, Judgement, Lane, SessionFacts, settle,
    settle_by_plan,
};
use pgsluice::session::{Backend, Env, Interner, Ledger, Mode, Outlet, ParamSet, PlanTerms, Session, Who};

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

/// A ledger that knows a plan for each statement.
struct Books {
    plans: Plans,
    plan: Arc<Plan>,
    asked: u64,
    evaluated: u64,
}

impl Ledger for Books {
    fn judged(&mut self, _: &Judgement) {}
    fn finished(&mut self, _: &Judgement, _: u64, _: u64, _: bool) {}
    fn pinned(&mut self, _: Effects) {}
    fn suspects(&mut self, _: u64) -> bool {
        false
    }
    fn custom_setting(&mut self, _: &str) {}
    fn custom_settings(&self) -> Vec<Box<str>> {
        Vec::new()
    }
    fn schema_changed(&mut self) {}
    fn left_state(&mut self, _: u64) {}
    fn plan(&mut self, key: &PlanKey, judgement: &Arc<Judgement>) -> Planned {
        self.asked += 1;
        match self.plans.get(key, judgement, 0) {
            Planned::Ask => {
                self.plans.learn(key, Some(Arc::clone(&self.plan)), 0);
                self.plans.get(key, judgement, 0)
            }
            known => known,
        }
    }
    fn weighed(&mut self, key: &PlanKey, judgement: &Arc<Judgement>, settled: &Arc<Judgement>) {
        self.evaluated += 1;
        self.plans.settled(key, judgement, settled);
    }
}

/// A message with its length.
fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
    [&[tag], &length[..], body].concat()
}

/// Runs batches against a server that only says that it is done; what the last ones allocated, and what was asked.
fn allocations_of_runs(rules: &str, batches: &[Vec<u8>], answers: &[u8], rows: Option<u64>) -> (u64, Books) {
    let policies = Policies::load(&[Source::new("p.toml", rules)]).unwrap();
    let mut guard = Guard::new(Arc::new(policies), GuardLimits::default(), [1, 2, 3, 4]);
    let settings = Arc::new(ParamSet::default());
    let mut session = Session::new(Mode::Transaction, class(), settings);
    let mut backend = Backend::new(Lane::Primary, 100, std::iter::empty());
    let mut statements = Interner::new(0, [1, 2, 3, 4], 1 << 20);
    let plan =
        Plan { facts: PlanFacts { rows: 5, total_cost: 9.5, ..PlanFacts::blank() }, ..Plan::default() };
    let mut books = Books { plans: Plans::new(100, 1000), plan: Arc::new(plan), asked: 0, evaluated: 0 };
    let (mut spill, mut down) = (Vec::with_capacity(1 << 16), Vec::with_capacity(1 << 16));
    let mut allocated = 0;
    for round in 0..60 {
        let count = allocations_of(|| {
            for batch in batches {
                let mut env = Env {
                    guard: &mut guard,
                    statements: &mut statements,
                    ledger: &mut books,
                    max_statement_bytes: 1 << 20,
                    prepared_bytes: 1 << 20,
                    replicas: false,
                    reuse_unnamed: true,
                    refused_pins: Effects::NONE,
                    may_pin: true,
                    epoch: 0,
                    plan: PlanTerms { rows, deadline_ms: 50, background: false },
                    who: Who::default(),
                };
                let mut up = Outlet::new(batch, &mut spill);
                let fed = session.feed(&mut env, 0, Some(&mut backend), &mut up, &mut down).unwrap();
                assert_eq!(fed.consumed, batch.len(), "{:?}", fed.step);
                let mut out = Outlet::new(answers, &mut spill);
                backend.feed(&mut session, &mut books, &mut out).unwrap();
                down.clear();
            }
        });
        allocated = if round < 30 { 0 } else { allocated + count };
    }
    (allocated, books)
}

#[test]
fn a_statement_with_a_known_plan_costs_no_more_allocations_than_one_without_plan_rules() {
    let texts = ["SELECT a FROM t WHERE b = 1", "SELECT a FROM t WHERE b = 2", "SELECT c FROM t WHERE b > 1"];
    let queries: Vec<Vec<u8>> =
        texts.iter().map(|text| message(b'Q', &[text.as_bytes(), &[0]].concat())).collect();
    let done = [message(b'C', b"SELECT 1\0"), message(b'Z', b"I")].concat();
    // The second needs CEL, the third warns.
    let rules = "[[rule]]\nname = 'a'\nwhen = 'plan.rows > 100 && query.tables.exists(t, t == \"t\")'\naction = 'block'\n\
                 [[rule]]\nname = 'b'\nwhen = 'plan.seq_scans.exists(t, t == \"u\") || plan.total_cost > 1e6'\naction = 'block'\n\
                 [[rule]]\nname = 'c'\nwhen = 'plan.total_cost > 5.0 && query.tables.exists(t, t == \"t\")'\naction = 'warn'\nmode = 'observe'\n";
    let (without, _) = allocations_of_runs("", &queries, &done, Some(0));
    let (with, books) = allocations_of_runs(rules, &queries, &done, Some(0));
    assert_eq!(books.asked, 60 * 3);
    assert!(books.evaluated <= 3, "{} times", books.evaluated);
    assert_eq!(with, without);
    // Of a table too small to ask, the answer without a plan is known, too.
    let (small, books) = allocations_of_runs(rules, &queries, &done, None);
    assert_eq!((small, books.asked), (without, 0));
}

#[test]
fn what_became_of_a_judgement_is_found_beside_its_plan_without_allocating() {
    let rules = "[[rule]]\nname = 'a'\nwhen = 'plan.rows > 100 && query.tables.exists(t, t == \"t\")'\naction = 'block'\n";
    let policies = Policies::load(&[Source::new("p.toml", rules)]).unwrap();
    let mut guard = Guard::new(Arc::new(policies), GuardLimits::default(), [1, 2, 3, 4]);
    let judgement = guard.judge(b"SELECT a FROM t WHERE b = $1", &class());
    let live = judgement.live.as_ref().unwrap();
    let mut plans = Plans::new(100, 1000);
    let key = |value: Option<&[u8]>| PlanKey {
        fingerprint: judgement.fingerprint,
        class: 7,
        epoch: 0,
        variant: live.value_classes().variant([(value, false)]),
    };
    let plan = |rows| Arc::new(Plan { facts: PlanFacts { rows, ..PlanFacts::blank() }, ..Plan::default() });
    for (value, rows) in [(Some(&b"x"[..]), 5), (None, 500)] {
        let plan = plan(rows);
        let settled = settle_by_plan(&judgement, Some(&plan));
        plans.learn(&key(value), Some(plan), 0);
        plans.settled(&key(value), &judgement, &settled);
    }
    let allocated = allocations_of(|| {
        for (value, action) in [(Some(&b"y"[..]), Action::Allow), (None, Action::Block)].repeat(100) {
            match plans.get(&key(value), &judgement, 5) {
                Planned::Known { settled: Some(settled), .. } => assert_eq!(settled.action, action),
                _ => panic!("not known"),
            }
        }
    });
    assert!(allocated <= 1, "the list of values itself: {allocated}");
    let unknown = allocations_of(|| drop(std::hint::black_box(settle_by_plan(&judgement, None))));
    assert_eq!((unknown, settle_by_plan(&judgement, None).action), (0, Action::Allow));
}
