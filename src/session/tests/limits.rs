//! Statements with limits: what the client hears, what the server hears, and that every place comes back.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use proptest::prelude::*;

use super::pump::*;
use crate::guard::{Bound, Concurrency, Judgement, Limits, Per, Rate};
use crate::session::{Limit, Mode};

/// Three rows; 60 bytes; one at a time; none at all; a setting; another text.
fn amend(text: &[u8], judgement: &mut Judgement) {
    let text = String::from_utf8_lossy(text);
    let mut limits = Limits::default();
    if text.contains("from rows") {
        limits.rows = Some(Bound { at: 3, rule: 0 });
    }
    if text.contains("wide") {
        limits.bytes = Some(Bound { at: 60, rule: 0 });
    }
    if text.contains("slow") {
        limits.timeout = Some(Bound { at: Duration::from_secs(1), rule: 0 });
    }
    if text.contains("alone") {
        let at = Concurrency { most: 1, per: Per::Rule };
        limits.concurrency = [Bound { at, rule: 0 }].into();
    }
    if text.contains("never") {
        let at = Rate { count: 0, within: Duration::from_secs(1), per: Per::User };
        limits.rates = [Bound { at, rule: 0 }].into();
    }
    if limits != Limits::default() {
        judgement.limits = Some(Arc::new(limits));
    }
    if text.contains("set_it") {
        judgement.set = [("b".into(), "1".into())].into();
    }
    if text.contains("old") {
        judgement.rewrite = Some("select new".into());
    }
    judgement.read_only = text.starts_with("select") || text.starts_with("table");
}

fn world(clients: usize, servers: usize) -> World {
    let mut world = World::new("", clients, servers, 10);
    world.amend(amend);
    world.books.cap = 1;
    world
}
fn rows(n: usize) -> String {
    format!("select {n} from rows")
}
/// The answer to that many rows.
fn d(n: usize, text: &str) -> String {
    format!("D:{text} ").repeat(n)
}

#[test]
fn as_many_rows_as_are_allowed_and_no_more() {
    for cancels in [false, true] {
        let mut w = world(1, 1);
        w.cancels = cancels;
        assert_eq!(w.ask(0, &q(&rows(3))), format!("T {}C:SELECT 3 Z:I", d(3, &rows(3))));
        assert_eq!(w.ask(0, &q(&rows(9))), format!("T {}E:54000 Z:I", d(3, &rows(9))));
        assert_eq!(w.ask(0, &run(&rows(9))), format!("1 2 {}E:54000 Z:I", d(3, &rows(9))));
        assert_eq!(w.books.limited, [Limit::Rows; 2]);
        assert_eq!(w.ask(0, &q("select 1")), "T D:select 1 C:SELECT 1 Z:I");
        w.assert_quiet();
    }
}

#[test]
fn a_transaction_fails_with_it_on_both_sides() {
    for cancels in [false, true] {
        for text in [q(&rows(9)), run(&rows(9))] {
            let mut w = world(1, 1);
            w.cancels = cancels;
            assert_eq!(w.ask(0, &q("begin")), "C:BEGIN Z:T");
            let heard = w.ask(0, &[&text[..], &q("select 1")].concat());
            assert!(heard.ends_with("E:54000 Z:E E:25P02 Z:E"), "{heard}");
            assert_eq!(w.servers[0].model.status, b'E');
            assert_eq!(w.ask(0, &q("commit")), "C:ROLLBACK Z:I");
            w.assert_quiet();
        }
    }
}

#[test]
fn in_a_pipeline_what_follows_does_not_run() {
    for cancels in [false, true] {
        let mut w = world(1, 1);
        w.cancels = cancels;
        let one = |text: &str| [p("", text), b("", ""), e("", 0)].concat();
        let batch = [one("select 1"), one(&rows(9)), one("select 2"), sync(), run("select 3")].concat();
        let heard = w.ask(0, &batch);
        let expected = format!(
            "1 2 D:select 1 C:SELECT 1 1 2 {}E:54000 Z:I 1 2 D:select 3 C:SELECT 1 Z:I",
            d(3, &rows(9))
        );
        assert_eq!(heard, expected);
        assert!(!w.servers[0].model.ran.contains(&"select 2".to_owned()));
        w.assert_quiet();
    }
}

#[test]
fn the_executes_of_a_portal_count_together() {
    let mut w = world(1, 1);
    w.ask(0, &q("begin"));
    let text = rows(9);
    let batch = [p("s", &text), b("c", "s"), e("c", 2), sync()].concat();
    assert_eq!(w.ask(0, &batch), format!("1 2 {}s Z:T", d(2, &text)));
    // Another portal meanwhile changes nothing.
    let other = [p("", "select 7"), b("", ""), e("", 0), sync()].concat();
    assert_eq!(w.ask(0, &other), "1 2 D:select 7 C:SELECT 1 Z:T");
    assert_eq!(w.ask(0, &[e("c", 2), sync()].concat()), format!("{}E:54000 Z:E", d(1, &text)));
    assert_eq!(w.ask(0, &q("rollback")), "C:ROLLBACK Z:I");
    // A new run of the same statement begins anew.
    assert_eq!(w.ask(0, &[b("", "s"), e("", 3), sync()].concat()), format!("2 {}s Z:I", d(3, &text)));
    w.assert_quiet();
}

#[test]
fn bytes_count_too() {
    let mut w = world(1, 1);
    assert_eq!(w.ask(0, &q("select wide")), "T D:select wide C:SELECT 1 Z:I");
    let wide = "select 'wide wide wide wide wide wide wide wide wide wide'";
    assert_eq!(w.ask(0, &q(wide)), "T E:54000 Z:I");
    w.assert_quiet();
}

#[test]
fn a_refused_rate_is_an_error_in_its_place() {
    let mut w = world(1, 1);
    assert_eq!(w.ask(0, &q("select never")), "E:53400 Z:I");
    assert_eq!(w.ask(0, &run("select never")), "1 2 E:53400 Z:I");
    assert_eq!(w.servers[0].model.ran.len(), 0);
    w.ask(0, &q("begin"));
    assert_eq!(w.ask(0, &q("select never")), "E:53400 Z:E");
    assert_eq!(w.ask(0, &q("rollback")), "C:ROLLBACK Z:I");
    w.assert_quiet();
}

#[test]
fn one_at_a_time_and_every_place_comes_back() {
    let mut w = world(2, 2);
    let taken = |w: &World| w.books.places.load(Ordering::Relaxed);
    for text in [q("select alone"), run("select alone"), q("select fail alone"), run("select fail alone")] {
        w.say(0, &text);
        while w.client_turn(0, usize::MAX) {}
        assert_eq!(taken(&w), 1);
        w.say(1, &text);
        while w.client_turn(1, usize::MAX) {}
        assert!(w.clients[1].waits);
        w.settle();
        assert_eq!(taken(&w), 0);
        w.give_turn(1);
        w.settle();
        assert!(w.clients[1].out.ends_with(b"I"));
        assert_eq!(taken(&w), 0);
    }
    // The client that runs it leaves; its server is closed.
    w.say(0, &q("select alone"));
    w.client_turn(0, usize::MAX);
    assert_eq!(taken(&w), 1);
    w.leave(0);
    assert_eq!(taken(&w), 0);
}

#[test]
fn settings_are_in_force_for_a_statement_and_no_longer() {
    let mut w = world(2, 1);
    let b = |w: &World| w.servers[0].model.state.now.settings.get("b").cloned();
    let ran = |w: &mut World| std::mem::take(&mut w.servers[0].model.ran);
    assert_eq!(w.ask(0, &q("select set_it")), "T D:select set_it C:SELECT 1 Z:I");
    assert_eq!(w.ask(1, &q("select 1")), "T D:select 1 C:SELECT 1 Z:I");
    assert_eq!(b(&w), None);
    ran(&mut w);
    // What follows in one write runs without them, too.
    let both = [run("select set_it"), run("select 1")].concat();
    assert_eq!(w.ask(0, &both), "1 2 D:select set_it C:SELECT 1 Z:I 1 2 D:select 1 C:SELECT 1 Z:I");
    let order = ran(&mut w);
    let at = |what: &str| order.iter().position(|text| text.contains(what)).unwrap();
    assert!(at("set_config(E'b'") < at("set_it") && at("set_it") < at("RESET \"b\""));
    assert!(at("RESET \"b\"") < at("select 1"), "{order:?}");
    assert_eq!(b(&w), None);
    w.assert_quiet();
}

#[test]
fn in_a_transaction_the_value_from_before_comes_back() {
    for mode in [Mode::Transaction, Mode::Session] {
        let mut w = world(0, 1);
        let c = w.add_client(mode, &[]);
        w.ask(c, &q("set b = 7"));
        w.ask(c, &q("begin"));
        assert_eq!(w.ask(c, &q("select set_it")), "T D:select set_it C:SELECT 1 Z:T");
        assert_eq!(w.ask(c, &q("select 1")), "T D:select 1 C:SELECT 1 Z:T");
        assert_eq!(w.servers[0].model.state.now.settings["b"], "7");
        assert_eq!(w.ask(c, &q("commit")), "C:COMMIT Z:I");
        assert_eq!(w.servers[0].model.state.now.settings["b"], "7");
    }
}

#[test]
fn amid_a_batch_they_are_the_batchs_own() {
    let mut w = world(1, 1);
    let one = |text: &str| [p("", text), b("", ""), e("", 0)].concat();
    let batch = [one("select 1"), one("select set_it"), sync()].concat();
    assert_eq!(w.ask(0, &batch), "1 2 D:select 1 C:SELECT 1 1 2 D:select set_it C:SELECT 1 Z:I");
    assert!(w.servers[0].model.ran.iter().any(|text| text.ends_with("E'1', true)")));
    w.assert_quiet();
}

#[test]
fn another_text_runs_in_place_of_the_clients() {
    let mut w = world(1, 1);
    assert_eq!(w.ask(0, &q("select old")), "T D:select new C:SELECT 1 Z:I");
    for _ in 0..3 {
        assert_eq!(w.ask(0, &run("select old")), "1 2 D:select new C:SELECT 1 Z:I");
    }
    assert_eq!(w.ask(0, &[p("n", "select old"), sync()].concat()), "1 Z:I");
    assert_eq!(w.ask(0, &[b("", "n"), e("", 0), sync()].concat()), "2 D:select new C:SELECT 1 Z:I");
    assert!(w.servers[0].model.ran.iter().all(|text| text == "select new"));
    w.assert_quiet();
}

/// What a client may say in the properties.
fn text(n: u8) -> String {
    match n % 12 {
        0 => "begin".into(),
        1 => "commit".into(),
        2 => "fail".into(),
        3 => "select fail alone".into(),
        4 => "select alone".into(),
        5 => "select set_it".into(),
        6 => "select never".into(),
        7 => "copy alone".into(),
        8 => rows(2),
        n => rows(usize::from(n)),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// However it is cut: no statement gives more rows than it may, places come back, and each Sync and Query is
    /// answered once.
    #[test]
    fn limits_hold_and_the_accounts_balance(
        says in proptest::collection::vec((0u8..12, 0u8..3, 0u32..5), 1..12),
        cuts in proptest::collection::vec(1usize..60, 1..20),
        cancels: bool,
    ) {
        let mut w = world(1, 1);
        w.cancels = cancels;
        let mut ends = 0;
        let mut all = Vec::new();
        for (n, how, limit) in says {
            let text = text(n);
            let copy = if text.starts_with("copy") { message(b'c', b"") } else { Vec::new() };
            match how {
                0 => all.extend([q(&text), copy].concat()),
                1 => all.extend([p("", &text), b("", ""), e("", limit), copy, sync()].concat()),
                _ => all.extend([
                    p("", "select 1"), b("", ""), e("", 0),
                    p("", &text), b("", ""), e("", limit), copy,
                    p("", "select 2"), b("", ""), e("", 0), sync(),
                ].concat()),
            }
            ends += 1;
        }
        w.say(0, &all);
        let mut cuts = cuts.into_iter().cycle();
        while w.client_turn(0, cuts.next().unwrap()) | w.server_turn(0, cuts.next().unwrap()) | w.client_turn(0, 0) {}
        w.settle();
        prop_assert!(w.clients[0].desync.is_none() && w.clients[0].fatal.is_none());
        prop_assert!(w.has_said_all(0), "{:?}", w.clients[0].session);
        prop_assert_eq!(w.clients[0].whole_answers(), ends);
        prop_assert_eq!(w.books.places.load(Ordering::Relaxed), 0);
        let mut run = 0;
        for word in words(&w.clients[0].out) {
            run = if word.starts_with("D:") && word.contains("from rows") { run + 1 } else { 0 };
            prop_assert!(run <= 3);
        }
        w.ask(0, &[q("rollback"), q("select 1")].concat());
        prop_assert_eq!(w.servers[0].model.state.now.settings.get("b"), None);
    }
}
