//! What is blocked, warned about or sent elsewhere, and what the client and the server see of it.

use super::pump::*;
use crate::guard::Lane;
use crate::session::{Mode, Step};

const RULES: &str = r#"
[[rule]]
name = "no-update"
when = 'query.kind == "update"'
action = "block"
message = "No."

[[rule]]
name = "careful"
when = '"careful" in query.tables'
action = "warn"
message = "Careful."

[[rule]]
name = "reports"
when = '"reports" in query.tables'
action = "route"
route = "replica"

[[rule]]
name = "analytics"
when = '"facts" in query.tables'
action = "route"
route = "analytics"

[[rule]]
name = "wild"
finds = "leading-wildcard-like"
action = "block"
"#;
const BLOCKED: &str = "update t set a = 1";

fn world() -> World {
    World::new(RULES, 1, 1, 10)
}

#[test]
fn a_blocked_query_costs_no_server() {
    let mut w = world();
    assert_eq!(w.ask(0, &q(BLOCKED)), "E:42501 Z:I");
    assert!(w.servers[0].model.ran.is_empty());
    assert_eq!(w.ask(0, &q("select 1")), "T D:select 1 C:SELECT 1 Z:I");
    w.assert_quiet();
}

#[test]
fn a_blocked_query_fails_the_transaction() {
    let mut w = world();
    assert_eq!(w.ask(0, &q("begin")), "C:BEGIN Z:T");
    assert_eq!(w.ask(0, &q(BLOCKED)), "E:42501 Z:E");
    assert_eq!(w.servers[0].model.status, b'E');
    assert_eq!(w.ask(0, &q(BLOCKED)), "E:42501 Z:E");
    assert_eq!(w.ask(0, &q("select 1")), "E:25P02 Z:E");
    assert_eq!(w.ask(0, &q("commit")), "C:ROLLBACK Z:I");
    w.assert_quiet();
}

#[test]
fn a_blocked_parse_is_an_error_in_its_place() {
    let mut w = world();
    assert_eq!(w.ask(0, &run(BLOCKED)), "E:42501 Z:I");
    let good = [p("", "select 1"), b("", ""), e("", 0)].concat();
    let after =
        [p("", BLOCKED), b("", ""), e("", 0), p("", "select 2"), b("", ""), e("", 0), sync()].concat();
    assert_eq!(w.ask(0, &[&good[..], &after].concat()), "1 2 D:select 1 C:SELECT 1 E:42501 Z:I");
    assert_eq!(w.servers[0].model.ran, ["select 1"]);
    w.ask(0, &q("begin"));
    assert_eq!(w.ask(0, &after), "E:42501 Z:E");
    assert_eq!(w.servers[0].model.status, b'E');
    assert_eq!(w.ask(0, &q("rollback")), "C:ROLLBACK Z:I");
    w.assert_quiet();
}

#[test]
fn a_warning_stands_where_its_statement_is_answered() {
    let mut w = world();
    assert_eq!(w.ask(0, &q("table careful")), "N:01000 T D:table careful C:SELECT 1 Z:I");
    let batch = [run("select 1"), run("table careful")].concat();
    let heard = "1 2 D:select 1 C:SELECT 1 Z:I N:01000 1 2 D:table careful C:SELECT 1 Z:I";
    assert_eq!(w.ask(0, &batch), heard);
    let skipped = [p("", "fail"), p("", "table careful"), sync()].concat();
    assert_eq!(w.ask(0, &skipped), "E:42601 Z:I", "no warning of what never ran");
    w.assert_quiet();
}

#[test]
fn a_value_may_be_what_is_blocked() {
    let mut w = world();
    let text = "select a from t where a like $1";
    assert!(w.ask(0, &[p("", text), sync()].concat()).starts_with("1 Z:I"));
    let bound = |value| [b_value("", value), e("", 0), sync()].concat();
    assert_eq!(w.ask(0, &bound("%x")), "E:42501 Z:I");
    w.assert_quiet();
    assert!(w.ask(0, &bound("x%")).starts_with("2 D:"));
    w.assert_quiet();
}

#[test]
fn refusals_of_our_own_keep_no_server() {
    let mut w = world();
    assert_eq!(w.ask(0, &[p("n", "select 1"), sync()].concat()), "1 Z:I");
    assert_eq!(w.ask(0, &[p("n", "select 1"), sync()].concat()), "E:42P05 Z:I");
    w.assert_quiet();
    for foreign in [
        b("", "pgsluice_1000000000001_0"),
        about(b'D', b'S', "pgsluice_1000000000001_0"),
        about(b'C', b'S', "pgsluice_1000000000001_0"),
    ] {
        assert_eq!(w.ask(0, &[foreign, sync()].concat()), "E:26000 Z:I");
        w.assert_quiet();
    }
}

#[test]
fn statement_mode_refuses_transactions() {
    let mut w = world();
    let c = w.add_client(Mode::Statement, &[]);
    assert_eq!(w.ask(c, &q("begin")), "E:0A000 Z:I");
    assert_eq!(w.ask(c, &run("begin")), "E:0A000 Z:I");
    assert_eq!(w.ask(c, &q("select 1")), "T D:select 1 C:SELECT 1 Z:I");
    w.assert_quiet();
}

#[test]
fn a_batch_for_a_replica_goes_there_and_the_next_waits() {
    let mut w = world();
    w.replicas = true;
    let replica = w.add_server(Lane::Replica);
    w.say(0, &[run("table reports"), run("select 1")].concat());
    w.client_turn(0, usize::MAX);
    assert!(w.clients[0].held && w.clients[0].server == Some(replica), "{:?}", Step::Wait);
    assert_eq!(w.ask(0, b""), "1 2 D:table reports C:SELECT 1 Z:I 1 2 D:select 1 C:SELECT 1 Z:I");
    assert_eq!(w.servers[replica].model.ran, ["table reports"]);
    assert_eq!(w.servers[0].model.ran, ["select 1"]);
    assert!(
        w.ask(0, &[q("table reports"), q("begin"), q("table reports"), q("commit")].concat())
            .ends_with("Z:I")
    );
    assert_eq!(w.servers[replica].model.ran.len(), 2);
    // Cut in half, its end is not known when it must start.
    let batch = run("table reports");
    w.say(0, &batch);
    w.client_turn(0, batch.len() - 2);
    w.settle();
    assert_eq!(w.servers[replica].model.ran.len(), 2);
    w.assert_quiet();
}

#[test]
fn a_lane_of_its_own_takes_what_is_for_it_and_leaves_the_rest() {
    let mut w = world();
    w.replicas = true;
    let [replica, lane] = [Lane::Replica, Lane::Named(0)].map(|lane| w.add_server(lane));
    assert_eq!(w.ask(0, &q("table facts")), "T D:table facts C:SELECT 1 Z:I");
    assert_eq!(w.ask(0, &run("table facts")), "1 2 D:table facts C:SELECT 1 Z:I");
    assert_eq!(w.servers[lane].model.ran.len(), 2);
    // Each of what comes at once goes where it belongs; but a primary that is there takes what follows, too.
    w.ask(0, &[q("table facts"), q("table reports"), q("select 1"), run("table facts")].concat());
    assert_eq!((w.servers[lane].model.ran.len(), w.servers[replica].model.ran.len()), (3, 1));
    // A batch runs on one server: the lane's if all of it may leave the primary.
    let batch = |texts: &[&str]| {
        let each = texts.iter().map(|text| [p("", text), b("", ""), e("", 0)].concat());
        each.chain([sync()]).collect::<Vec<_>>().concat()
    };
    w.ask(0, &batch(&["table reports", "table facts"]));
    assert_eq!((w.servers[lane].model.ran.len(), w.servers[replica].model.ran.len()), (5, 1));
    w.ask(0, &batch(&["table facts", "select 1"]));
    w.ask(0, &[q("begin"), q("table facts"), q("commit")].concat());
    assert_eq!((w.servers[lane].model.ran.len(), w.servers[replica].model.ran.len()), (5, 1));
    w.assert_quiet();
}

#[test]
fn a_prepared_statement_is_made_known_to_its_lane() {
    let mut w = world();
    w.replicas = true;
    let lane = w.add_server(Lane::Named(0));
    assert_eq!(w.ask(0, &[p("n", "table facts"), sync()].concat()), "1 Z:I");
    for _ in 0..3 {
        assert!(w.ask(0, &[b("", "n"), e("", 0), sync()].concat()).ends_with("D:table facts C:SELECT 1 Z:I"));
    }
    assert_eq!(w.servers[lane].model.ran.len(), 3);
    w.assert_quiet();
}

#[test]
fn what_may_have_been_written_is_told_once_the_server_goes_back() {
    let mut w = world();
    let mut wrote = |messages: Vec<u8>| {
        w.ask(0, &messages);
        assert!(w.clients[0].server.is_none());
        let told = w.clients[0].session.take_wrote();
        assert!(!w.clients[0].session.take_wrote());
        told
    };
    for reads in [
        q("select 1"),
        run("select 1"),
        q("begin; select 1; commit"),
        q("set work_mem = '8MB'"),
        q("discard all"),
    ] {
        assert!(!wrote(reads.clone()), "{}", String::from_utf8_lossy(&reads));
    }
    assert!(!wrote([q("begin"), q("select 1"), q("commit")].concat()));
    for writes in [
        q("insert into t values (1)"),
        run("insert into t values (1)"),
        q("set a.b = 1; insert into t values (1)"),
        q("select f()"),
        q("truncate t"),
        [q("begin"), q("delete from t where a = 1"), q("commit")].concat(),
    ] {
        assert!(wrote(writes.clone()), "{}", String::from_utf8_lossy(&writes));
    }
}

#[test]
fn what_is_for_a_lane_waits_while_the_primary_is_asked_what_was_left() {
    for (before, kept) in [("set work_mem = '8MB'", false), ("create temp table t ()", true)] {
        let mut w = world();
        w.replicas = true;
        let lane = w.add_server(Lane::Named(0));
        let closing = [about(b'C', b'S', "n"), sync(), q("table facts")].concat();
        for facts in [q("table facts"), run("table facts"), closing] {
            w.say(0, &q(before));
            w.client_turn(0, usize::MAX);
            w.server_turn(0, usize::MAX);
            let asked = w.clients[0].server == Some(0);
            w.say(0, &facts);
            w.client_turn(0, usize::MAX);
            assert_eq!(w.clients[0].held, asked, "{before}");
            assert!(w.ask(0, b"").ends_with("D:table facts C:SELECT 1 Z:I"), "{before}");
            assert_eq!(w.clients[0].server, kept.then_some(0), "{before}");
            if kept {
                w.ask(0, &q("drop table if exists t"));
            }
        }
        let there = w.servers[lane].model.ran.iter().filter(|text| *text == "table facts").count();
        assert_eq!(there, if kept { 0 } else { 3 }, "{before}");
        w.assert_quiet();
    }
}
