//! What the guard costs a statement, by size of the text: seen before (text, shape) and not.

use std::hint::black_box;
use std::sync::Arc;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group};
use pgsluice::document::Source;
use pgsluice::guard::facts::{self, ReadOptions};
use pgsluice::guard::policy::{PACKS, Policies};
use pgsluice::guard::sql::shape_of;
use pgsluice::guard::{Circumstances, Class, Guard, GuardLimits, evaluate};

#[path = "../tests/it/support/megabyte.rs"]
mod megabyte;

const SHORT: &str = "SELECT id, name, price FROM products WHERE sku = 'TEA-00417'";

const MEDIUM: &str = "SELECT o.id, o.placed_at, c.name, sum(i.quantity * i.price) AS total FROM orders o \
    JOIN customers c ON c.id = o.customer_id JOIN order_items i ON i.order_id = o.id \
    WHERE c.country = 'NL' AND o.placed_at >= '2026-01-01' AND o.state IN ('paid', 'sent') \
    AND lower(c.email) LIKE 'a%' AND NOT EXISTS (SELECT 1 FROM refunds r WHERE r.order_id = o.id) \
    GROUP BY o.id, o.placed_at, c.name ORDER BY total DESC LIMIT 50";

/// One of the parts of [`long`]: sales of one channel, week by week.
const CHANNEL: &str = "(SELECT w.week, w.day_of_week, s.store_id, sum(CASE WHEN w.day_of_week = 'Monday' THEN s.price \
    ELSE NULL END) AS monday, sum(CASE WHEN w.day_of_week = 'Saturday' THEN s.price ELSE NULL END) AS saturday, \
    count(DISTINCT s.customer_id) AS customers, avg(s.price) FILTER (WHERE s.discount > 0.05) AS discounted \
    FROM sales s JOIN weeks w ON s.sold_on = w.day LEFT JOIN stores t ON t.id = s.store_id AND t.open \
    WHERE w.week BETWEEN 1212 AND 1223 AND s.channel = 'web' AND t.country IN ('NL', 'BE', 'DE', 'FR') \
    AND (s.price > 10 OR s.quantity >= 3) AND coalesce(s.note, '') NOT LIKE 'test%' \
    GROUP BY w.week, w.day_of_week, s.store_id HAVING sum(s.price) > 100)";

/// About 3 KB: four channels joined.
fn long() -> String {
    format!(
        "WITH a AS {CHANNEL}, b AS {CHANNEL}, c AS {CHANNEL} SELECT a.week, a.monday / b.monday, \
         a.saturday / c.saturday, d.customers FROM a JOIN b ON a.store_id = b.store_id AND a.week = b.week - 52 \
         JOIN c USING (store_id) JOIN {CHANNEL} d ON d.store_id = a.store_id ORDER BY 1, 2 LIMIT 100"
    )
}

fn guard(criterion: &mut Criterion) {
    let long = long();
    for (name, text) in [("60_bytes", SHORT), ("400_bytes", MEDIUM), ("3_kb", long.as_str())] {
        let text = text.as_bytes();
        let mut group = criterion.benchmark_group(name);
        group.throughput(Throughput::Bytes(text.len() as u64));
        let mut shape = Vec::new();
        group.bench_function("normal_form", |bencher| {
            bencher.iter(|| shape_of(black_box(text), true, &mut shape));
        });
        group.bench_function("parse_and_facts", |bencher| {
            bencher.iter(|| facts::read(black_box(text), &ReadOptions::default()));
        });
        verdicts(&mut group, text, &Arc::new(Policies::baseline()), "");
        verdicts(&mut group, text, &Arc::new(many_rules()), "_all_packs_and_200_rules");
        group.finish();
    }
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

/// Every pack, and two hundred rules of a house: conditions over facts and literals, and some that need CEL.
fn many_rules() -> Policies {
    let mut rules = String::new();
    for n in 0..180 {
        rules += &format!(
            "[[rule]]\nname = 'house-{n}'\nwhen = 'query.kind == \"select\" && query.joins > {n} && query.group_by'\n\
             action = 'warn'\n"
        );
    }
    for n in 0..20 {
        rules += &format!(
            "[[rule]]\nname = 'cel-{n}'\nwhen = 'query.kind == \"delete\" && query.tables.exists(t, t == \"t{n}\")'\n\
             action = 'block'\n"
        );
    }
    let packs = PACKS.iter().map(|pack| pack.source());
    let sources: Vec<_> = packs.chain([Source::new("house.toml", rules)]).collect();
    Policies::load(&sources).unwrap_or_else(|problems| panic!("{problems:?}"))
}

/// The built-in policy's verdict on a text: from the text cache, from the shape cache (a new literal every time),
/// and from nothing.
fn verdicts(group: &mut BenchmarkGroup<'_, WallTime>, text: &[u8], policies: &Arc<Policies>, with: &str) {
    let class = class();
    let guard = || Guard::new(Arc::clone(policies), GuardLimits::default(), [1, 2, 3, 4]);

    let mut seen = guard();
    for _ in 0..3 {
        let _ = seen.judge(text, &class);
    }
    assert!(seen.counters().l1_hits > 0);
    group.bench_function(format!("verdict_text_cache{with}"), |bencher| {
        bencher.iter(|| seen.judge(black_box(text), &class))
    });

    // No text comes twice; all are of one shape.
    let mut shaped = guard();
    const NUMBER: &str = "1000000000";
    let fresh = String::from_utf8_lossy(text).replacen(" WHERE ", &format!(" WHERE n <> {NUMBER} AND "), 1);
    let at = fresh.find(NUMBER).expect("each has a WHERE");
    let mut fresh = fresh.into_bytes();
    group.bench_function(format!("verdict_shape_cache{with}"), |bencher| {
        bencher.iter(|| {
            count_up(&mut fresh[at..at + NUMBER.len()]);
            shaped.judge(black_box(&fresh), &class)
        });
    });
    let counters = shaped.counters();
    assert!(counters.l2_misses <= 1 && counters.l1_hits == 0, "{counters:?}");

    let limits = GuardLimits::default();
    group.bench_function(format!("verdict_miss{with}"), |bencher| {
        let around = Circumstances::default();
        bencher.iter(|| evaluate(policies, &class, black_box(text), &limits, &around).judgement);
    });
}

/// Adds one to a decimal number.
fn count_up(text: &mut [u8]) {
    for digit in text.iter_mut().rev() {
        if *digit < b'9' {
            *digit += 1;
            return;
        }
        *digit = b'0';
    }
}

/// `cargo bench --bench guard -- megabyte [WORD]`: what a megabyte takes, ms: its shape, its facts, and its verdict by
/// the built-in policy and by many.
#[allow(clippy::print_stdout, reason = "the figures are what it is for")]
fn megabytes(word: &str) {
    let policies = [Policies::baseline(), many_rules()].map(Arc::new);
    let class = class();
    let judge = |policies: &Arc<Policies>, text: &[u8]| {
        Guard::new(Arc::clone(policies), GuardLimits::default(), [1, 2, 3, 4]).judge(text, &class)
    };
    println!("{:>8} {:>8} {:>8} {:>8}", "shape", "facts", "verdict", "of many");
    for (name, text) in megabyte::texts().iter().filter(|(name, _)| name.contains(word)) {
        let text = text.as_bytes();
        let mut shape = Vec::new();
        let figures = [
            quickest(|| drop(shape_of(text, true, &mut shape))),
            quickest(|| drop(facts::read(text, &ReadOptions::default()))),
            quickest(|| drop(judge(&policies[0], text))),
            quickest(|| drop(judge(&policies[1], text))),
        ];
        let refusal = facts::read(text, &ReadOptions::default()).refusal;
        let outcome = refusal.map_or_else(|| "read".to_owned(), |refusal| refusal.to_string());
        let outcome: String = outcome.chars().take(60).collect();
        println!("{} {name}: {outcome}", figures.map(|ms| format!("{ms:8.1}")).join(" "));
    }
}

/// Milliseconds of processor time that the quickest of some runs takes.
fn quickest(mut run: impl FnMut()) -> f64 {
    let now = || {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        time.tv_sec as f64 * 1e3 + time.tv_nsec as f64 / 1e6
    };
    let (begun, mut best) = (now(), f64::MAX);
    for _ in 0..5 {
        let start = now();
        run();
        best = best.min(now() - start);
        if now() - begun > 1e3 {
            break;
        }
    }
    best
}

criterion_group!(benches, guard);

fn main() {
    let mut words = std::env::args().skip_while(|word| word != "megabyte");
    if words.next().is_some() {
        megabytes(words.next().filter(|word| !word.starts_with('-')).unwrap_or_default().as_str());
        return;
    }
    benches();
    Criterion::default().configure_from_args().final_summary();
}
