//! What passes, and what each side remembers of it.

use std::sync::Arc;

use super::pump::*;
use crate::guard::Effects;
use crate::session::{Desync, Mode, ParamSet};

fn world(servers: usize) -> World {
    World::new("", 2, servers, 10)
}
fn use_named(name: &str) -> Vec<u8> {
    [b("", name), e("", 0), sync()].concat()
}
const ONE: &str = "2 D:select 1 C:SELECT 1 Z:I";

#[test]
fn a_named_statement_follows_its_client() {
    let mut w = world(2);
    assert_eq!(w.ask(0, &[p("n", "select 1"), sync()].concat()), "1 Z:I");
    w.choice = 1;
    assert_eq!(w.ask(0, &use_named("n")), ONE);
    assert_eq!(w.ask(0, &[about(b'D', b'S', "n"), sync()].concat()), "t T Z:I");
    assert_eq!((w.servers[0].model.statements.len(), w.servers[1].model.statements.len()), (1, 1));
    assert_eq!(w.ask(1, &use_named("n")), "E:26000 Z:I", "another client's name");
    assert_eq!(
        w.ask(1, &[p("n", "select 2"), b("", "n"), e("", 0), sync()].concat()),
        "1 2 D:select 2 C:SELECT 1 Z:I"
    );
    assert_eq!(w.ask(0, &use_named("n")), ONE);
    w.assert_quiet();
}

#[test]
fn the_server_keeps_so_many_statements_and_no_more() {
    let mut w = World::new("", 1, 1, 2);
    for n in 0..5 {
        let text = format!("select {n}");
        assert_eq!(w.ask(0, &[p(&text, &text), sync()].concat()), "1 Z:I");
    }
    assert_eq!(w.servers[0].model.statements.len(), 2);
    for n in 0..5 {
        let text = format!("select {n}");
        assert_eq!(w.ask(0, &use_named(&text)), format!("2 D:{text} C:SELECT 1 Z:I"));
    }
    assert_eq!(w.servers[0].model.statements.len(), 2);
    w.assert_quiet();
}

#[test]
fn evictions_that_were_skipped_did_not_happen() {
    let mut w = World::new("", 1, 1, 1);
    let prepare = |n: &str| p(n, &format!("select {n}"));
    assert_eq!(w.ask(0, &[prepare("1"), prepare("2"), sync()].concat()), "1 1 Z:I");
    // The last of these evicts what was there first and comes back in the same batch.
    let skipped = [p("", "fail"), prepare("3"), b("", "2"), prepare("4"), b("", "2"), sync()].concat();
    assert_eq!(w.ask(0, &skipped), "E:42601 Z:I");
    assert_eq!(w.ask(0, &use_named("2")), "2 D:select 2 C:SELECT 1 Z:I");
    assert_eq!(w.ask(0, &use_named("1")), ONE);
    assert_eq!(w.servers[0].model.statements.len(), 1);
    w.assert_quiet();
}

#[test]
fn a_name_is_the_clients_while_its_statement_is_good() {
    let mut w = world(1);
    assert_eq!(w.ask(0, &[p("n", "fail"), sync()].concat()), "E:42601 Z:I");
    assert_eq!(w.ask(0, &use_named("n")), "E:26000 Z:I");
    assert_eq!(w.ask(0, &[p("n", "select 1"), sync()].concat()), "1 Z:I");
    assert_eq!(w.ask(0, &[p("n", "select 2"), sync()].concat()), "E:42P05 Z:I");
    assert_eq!(
        w.ask(0, &[about(b'C', b'S', "n"), p("n", "select 2"), b("", "n"), e("", 0), sync()].concat()),
        "3 1 2 D:select 2 C:SELECT 1 Z:I"
    );
    assert_eq!(
        w.ask(0, &[p("m", "select 2"), b("", "m"), e("", 0), sync()].concat()),
        "1 2 D:select 2 C:SELECT 1 Z:I"
    );
    assert_eq!(w.servers[0].model.statements.len(), 2, "one for a text, whatever its names");
    // A Close that the server skipped closed nothing.
    assert_eq!(w.ask(0, &[p("", "fail"), about(b'C', b'S', "n"), sync()].concat()), "E:42601 Z:I");
    assert_eq!(w.ask(0, &use_named("n")), "2 D:select 2 C:SELECT 1 Z:I");
    let renewed = [p("", "fail"), about(b'C', b'S', "n"), p("n", "select 1"), sync()].concat();
    assert_eq!(w.ask(0, &renewed), "E:42601 Z:I");
    assert_eq!(w.ask(0, &use_named("n")), "2 D:select 2 C:SELECT 1 Z:I");
    assert_eq!(
        w.ask(0, &[p("", "fail"), p("o", "select 1"), about(b'C', b'S', "o"), sync()].concat()),
        "E:42601 Z:I"
    );
    assert_eq!(w.ask(0, &use_named("o")), "E:26000 Z:I", "neither prepared nor closed");
    w.assert_quiet();
}

#[test]
fn pipelined_batches_fail_each_for_itself() {
    let mut w = world(1);
    let again = [p("n", "fail"), sync(), about(b'C', b'S', "n"), p("n", "select 1"), sync()].concat();
    assert_eq!(w.ask(0, &again), "E:42601 Z:I 3 1 Z:I");
    assert_eq!(w.ask(0, &use_named("n")), ONE);
    // The first statement of a text is skipped: the second must not count on it.
    let same = [p("", "fail"), p("a", "select 2"), sync(), p("b", "select 2"), b("", "b"), e("", 0), sync()]
        .concat();
    assert_eq!(w.ask(0, &same), "E:42601 Z:I 1 2 D:select 2 C:SELECT 1 Z:I");
    let unnamed = [p("", "fail"), sync(), p("", "select 1"), sync()].concat();
    assert_eq!(w.ask(0, &unnamed), "E:42601 Z:I 1 Z:I");
    assert_eq!(w.ask(0, &use_named("")), ONE);
    w.assert_quiet();
}

#[test]
fn the_unnamed_statement_is_its_clients_own() {
    let mut w = world(2);
    assert_eq!(w.ask(0, &[p("", "select 1"), sync()].concat()), "1 Z:I");
    w.choice = 1;
    assert_eq!(w.ask(0, &use_named("")), ONE, "on another server");
    // A simple query drops the unnamed statement: of the server, not of the other client.
    w.ask(1, &q("select 2"));
    assert_eq!(w.ask(0, &use_named("")), ONE);
    assert_eq!(w.ask(1, &use_named("")), "E:26000 Z:I");
    assert_eq!(w.ask(1, &[about(b'D', b'S', ""), sync()].concat()), "E:26000 Z:I");
    w.ask(0, &q("select 1"));
    assert_eq!(w.ask(0, &use_named("")), "E:26000 Z:I");
    // Skipped on the way, the server still has the one before: nobody else may run it.
    assert_eq!(w.ask(0, &[p("", "select 1"), sync()].concat()), "1 Z:I");
    assert_eq!(w.ask(0, &[p("n", "fail"), p("", "select 3"), sync()].concat()), "E:42601 Z:I");
    assert_eq!(w.ask(1, &use_named("")), "E:26000 Z:I");
    assert_eq!(w.ask(0, &use_named("")), ONE, "what was skipped replaced nothing");
    w.ask(0, &[p("", "select 1"), sync()].concat());
    let pipelined = [p("n", "fail"), p("", "select 2"), sync(), use_named("")].concat();
    let heard = w.ask(1, &pipelined);
    assert!(!heard.contains("select 1"), "{heard}");
    w.assert_quiet();
}

#[test]
fn copy_in_simple() {
    let mut w = world(1);
    let data = message(b'd', b"1\n");
    assert_eq!(w.ask(0, &q("copy t from stdin")), "G");
    assert_eq!(w.ask(0, &[&data[..], &data].concat()), "");
    assert_eq!(w.ask(0, &message(b'c', b"")), "C:COPY 1 Z:I");
    let whole = [q("copy t from stdin"), data.clone(), message(b'f', b"no\0"), q("select 1")].concat();
    assert_eq!(w.ask(0, &whole), "G E:57014 Z:I T D:select 1 C:SELECT 1 Z:I");
    let bad =
        [q("copy t from stdin"), message(b'd', b"bad"), data.clone(), message(b'c', b""), q("select 1")]
            .concat();
    assert_eq!(w.ask(0, &bad), "G E:22P04 Z:I T D:select 1 C:SELECT 1 Z:I");
    // What a failed COPY left in flight comes when the server is already gone.
    w.ask(0, &[q("copy t from stdin"), message(b'd', b"bad")].concat());
    assert_eq!(w.ask(0, &[data, message(b'c', b"")].concat()), "");
    w.assert_quiet();
}

#[test]
fn copy_in_extended() {
    let mut w = world(1);
    let (data, done) = (message(b'd', b"1\n"), message(b'c', b""));
    let start = [p("", "copy t from stdin"), b("", ""), e("", 0)].concat();
    // A Sync sent early is not heard; the one behind CopyDone is.
    assert_eq!(w.ask(0, &[&start[..], &sync()].concat()), "1 2 G");
    assert_eq!(w.ask(0, &[&data[..], &done, &sync()].concat()), "C:COPY 1 Z:I");
    w.assert_quiet();
    let at_once = [&start[..], &sync(), &data, &done, &sync()].concat();
    assert_eq!(w.ask(0, &at_once), "1 2 G C:COPY 1 Z:I");
    for n in 1..at_once.len() {
        w.say(0, &at_once);
        while w.client_turn(0, n) {
            w.server_turn(0, 7);
        }
        assert_eq!(w.ask(0, b""), "1 2 G C:COPY 1 Z:I");
    }
    let bad = [&start[..], &message(b'd', b"bad"), &data, &done, &sync(), &q("select 1")].concat();
    assert_eq!(w.ask(0, &bad), "1 2 G E:22P04 Z:I T D:select 1 C:SELECT 1 Z:I");
    assert_eq!(w.ask(0, &[&start[..], &message(b'f', b"no\0"), &sync()].concat()), "1 2 G E:57014 Z:I");
    w.assert_quiet();
}

#[test]
fn after_an_error_everything_is_skipped_up_to_sync() {
    let mut w = world(1);
    let batch = [p("", "fail"), b("", ""), q("select 1"), e("", 0)].concat();
    assert_eq!(w.ask(0, &batch), "E:42601");
    assert_eq!(w.ask(0, &q("select 1")), "", "still skipped");
    assert_eq!(w.ask(0, &[sync(), sync()].concat()), "Z:I Z:I");
    assert_eq!(w.ask(0, &sync()), "Z:I");
    assert_eq!(
        w.ask(0, &[&batch[..], &sync(), &q("select 1")].concat()),
        "E:42601 Z:I T D:select 1 C:SELECT 1 Z:I"
    );
    assert_eq!(
        w.ask(0, &[p("", "select 1"), q("select 2"), sync()].concat()),
        "1 T D:select 2 C:SELECT 1 Z:I Z:I"
    );
    w.assert_quiet();
}

#[test]
fn portals_flush_and_terminate() {
    let mut w = world(1);
    let flush = message(b'H', b"");
    assert_eq!(
        w.ask(0, &[p("", "select 3 from rows"), b("c", ""), e("c", 2), flush.clone()].concat()),
        "1 2 D:select 3 from rows D:select 3 from rows s"
    );
    assert_eq!(
        w.ask(0, &[about(b'D', b'P', "c"), e("c", 2), about(b'C', b'P', "c"), e("c", 1), sync()].concat()),
        "T D:select 3 from rows C:SELECT 1 3 E:34000 Z:I"
    );
    assert!(w.books.finished.last().unwrap().1);
    w.assert_quiet();
    assert_eq!(w.ask(0, &[flush, message(b'X', b"")].concat()), "");
    assert!(w.clients[0].bye);
}

#[test]
fn a_message_that_lies_about_its_length_hides_nothing() {
    for tag in [b'H', b'S'] {
        let mut w = world(1);
        w.ask(0, &q("begin"));
        // The server reads 40 bytes; whoever takes those that came so far for the whole sees other messages.
        let padded = message(tag, &[0; 40]);
        w.say(0, &padded);
        w.client_turn(0, 20);
        assert!(w.clients[0].fatal.is_some());
    }
}

#[test]
fn settings_are_given_unseen() {
    let mut w = world(1);
    let c = w.add_client(Mode::Transaction, &[("timezone", "UTC")]);
    assert_eq!(w.ask(c, &q("select 1")), "T D:select 1 C:SELECT 1 Z:I");
    assert_eq!(w.ask(c, &run("select 1")), "1 2 D:select 1 C:SELECT 1 Z:I");
    assert_eq!(w.ask(0, &q("select 2")), "T D:select 2 C:SELECT 1 Z:I");
    let ran: Vec<&str> = w.servers[0].model.ran.iter().map(|sql| &sql[..6]).collect();
    assert_eq!(ran, ["SELECT", "select", "select", "RESET ", "select"]);
    // The hidden query drops the server's unnamed statement.
    w.ask(0, &[p("", "select 1"), sync()].concat());
    w.ask(c, &sync());
    assert_eq!(w.ask(0, &use_named("")), ONE);
    w.assert_quiet();
}

#[test]
fn refused_settings_end_the_connection() {
    let mut w = world(1);
    let c = w.add_client(Mode::Transaction, &[("timezone", "Nowhere")]);
    w.servers[0].model.refuses_settings = true;
    w.say(c, &q("select 1"));
    w.settle();
    assert_eq!(w.clients[c].desync, Some(Desync("the server refused the client's settings")));
    assert!(w.clients[c].out.is_empty());
}

const TEMP: &str = "create temp table t ()";

#[test]
fn a_setting_goes_with_its_client() {
    let mut w = world(2);
    let look = q("select current_setting('a')");
    assert_eq!(w.ask(0, &q("set a = 1")), "C:SET Z:I");
    w.assert_quiet();
    assert_eq!(w.ask(1, &look), "T D: C:SELECT 1 Z:I", "the same server, another client");
    w.choice = 1;
    assert_eq!(w.ask(0, &look), "T D:1 C:SELECT 1 Z:I", "another server, the same client");
    assert_eq!(
        w.ask(0, &[q("begin"), q("set a = 2"), q("rollback")].concat()),
        "C:BEGIN Z:T C:SET Z:T C:ROLLBACK Z:I"
    );
    assert_eq!(w.ask(0, &look), "T D:1 C:SELECT 1 Z:I");
    assert_eq!(w.ask(0, &[run("set a = 3"), run("set a = 4")].concat()), "1 2 C:SET Z:I 1 2 C:SET Z:I");
    w.choice = 0;
    assert_eq!(w.ask(0, &look), "T D:4 C:SELECT 1 Z:I");
    assert_eq!(w.ask(0, &q("reset all")), "C:RESET Z:I");
    assert_eq!(w.ask(0, &look), "T D: C:SELECT 1 Z:I");
    w.choice = 1;
    assert_eq!(w.ask(0, &look), "T D: C:SELECT 1 Z:I");
    w.assert_quiet();
}

#[test]
fn a_reset_leads_to_what_the_client_started_with() {
    let mut w = world(1);
    let c = w.add_client(Mode::Transaction, &[("a", "7")]);
    let look = q("select current_setting('a')");
    for reset in ["reset all", "reset a", "set a to default; select 1"] {
        w.ask(c, &q("set a = 8"));
        assert_eq!(w.ask(c, &look), "T D:8 C:SELECT 1 Z:I");
        w.ask(c, &[q("begin"), q(reset)].concat());
        if !reset.contains(';') {
            assert_eq!(w.ask(c, &look), "T D:7 C:SELECT 1 Z:T", "{reset}");
        }
        w.ask(c, &q("rollback"));
        assert_eq!(w.ask(c, &look), "T D:8 C:SELECT 1 Z:I", "{reset}, rolled back");
        if !reset.contains(';') {
            w.ask(c, &run(reset));
            assert_eq!(w.ask(c, &look), "T D:7 C:SELECT 1 Z:I", "{reset}");
        }
    }
    assert_eq!(w.ask(0, &look), "T D: C:SELECT 1 Z:I");
    w.assert_quiet();
}

#[test]
fn what_is_left_holds_the_server_until_it_is_gone() {
    let mut w = world(2);
    assert_eq!(w.ask(0, &q(TEMP)), "C:CREATE TABLE Z:I");
    assert_eq!((w.clients[0].session.pins(), w.clients[0].server), (Effects::TEMP_TABLE, Some(0)));
    assert_eq!(w.ask(1, &q("table t")), "T D:temp false C:SELECT 1 Z:I", "on another server");
    assert_eq!(w.ask(0, &q("table t")), "T D:temp true C:SELECT 1 Z:I");
    w.ask(0, &[q("begin"), q("drop table if exists t"), q("rollback")].concat());
    assert_eq!(w.clients[0].server, Some(0), "not dropped");
    assert_eq!(w.ask(0, &q("drop table if exists t")), "C:DROP TABLE Z:I");
    w.assert_quiet();
    // Its end is on the way before the answer that it is there.
    w.say(0, &q(TEMP));
    w.client_turn(0, usize::MAX);
    w.server_turn(0, usize::MAX);
    assert_eq!(w.ask(0, &q("drop table if exists t")), "C:CREATE TABLE Z:I C:DROP TABLE Z:I");
    w.assert_quiet();
    // Rolled back, or never made.
    w.ask(0, &[q("begin"), q(TEMP), q("rollback")].concat());
    w.assert_quiet();
    w.ask(0, &[q("begin"), q("fail"), q(TEMP), q("commit")].concat());
    w.assert_quiet();
}

#[test]
fn who_does_not_answer_is_not_trusted() {
    let mut w = world(1);
    w.say(0, &q(TEMP));
    w.client_turn(0, usize::MAX);
    w.server_turn(0, usize::MAX);
    w.servers[0].model.out.clear();
    w.server_says(
        0,
        &[message(b'E', b"SERROR\0C42501\0Mpermission denied\0\0"), message(b'Z', b"I")].concat(),
    );
    assert!(w.clients[0].session.pins().has(Effects::TEMP_TABLE));
    assert_eq!(w.clients[0].server, Some(0));
    w.clients[0].out.clear();
    assert_eq!(w.ask(0, &q("discard all")), "C:DISCARD ALL Z:I");
    w.assert_quiet();
}

#[test]
fn discard_all_ends_everything() {
    let mut w = world(2);
    w.ask(0, &q(TEMP));
    w.ask(0, &[p("n", "select 1"), sync()].concat());
    assert_eq!(w.ask(0, &q("discard all")), "C:DISCARD ALL Z:I");
    w.assert_quiet();
    assert_eq!(w.ask(0, &use_named("n")), "E:26000 Z:I");
    // What was sent behind it counts.
    w.ask(0, &[p("n", "select 1"), sync()].concat());
    let again = [q("discard all"), p("n", "select 1"), sync(), use_named("n")].concat();
    assert_eq!(w.ask(0, &again[..]), format!("C:DISCARD ALL Z:I 1 Z:I {ONE}"));
    w.assert_quiet();
    w.ask(0, &q("discard all"));
    let behind = [q(TEMP), q("discard all"), p("n", "select 1"), sync(), q(TEMP)].concat();
    assert_eq!(w.ask(0, &behind), "C:CREATE TABLE Z:I C:DISCARD ALL Z:I 1 Z:I C:CREATE TABLE Z:I");
    assert_eq!(w.clients[0].session.pins(), Effects::TEMP_TABLE);
    assert_eq!(w.ask(0, &use_named("n")), ONE);
    assert_eq!(
        w.ask(0, &[q("begin"), q("discard all"), q("rollback")].concat()),
        "C:BEGIN Z:T E:25001 Z:E C:ROLLBACK Z:I"
    );
    assert_eq!(w.ask(0, &use_named("n")), ONE);
    assert_eq!(w.ask(0, &run("discard all")), "1 2 C:DISCARD ALL Z:I");
    w.assert_quiet();
}

#[test]
fn discard_all_leaves_the_settings_the_client_started_with() {
    let mut w = world(1);
    let c = w.add_client(Mode::Transaction, &[("timezone", "UTC")]);
    w.ask(c, &[q("discard all"), q("select 1")].concat());
    let ran: Vec<&str> = w.servers[0].model.ran.iter().map(|sql| &sql[..6]).collect();
    assert_eq!(ran, ["SELECT", "discar", "SELECT", "select"]);
    w.assert_quiet();
}

#[test]
fn deallocate_all_takes_protocol_statements_too() {
    let mut w = world(2);
    w.ask(0, &[p("n", "select 1"), p("", "select 1"), sync()].concat());
    assert_eq!(w.ask(0, &q("deallocate all")), "C:DEALLOCATE ALL Z:I");
    assert_eq!(w.ask(0, &use_named("n")), "E:26000 Z:I");
    assert_eq!(w.ask(0, &use_named("")), "E:26000 Z:I");
    let behind =
        [p("n", "select 1"), sync(), q("deallocate all"), p("m", "select 1"), b("", "m"), e("", 0), sync()];
    let heard = w.ask(0, &behind.concat());
    assert_eq!(heard, "1 Z:I C:DEALLOCATE ALL Z:I 1 2 D:select 1 C:SELECT 1 Z:I");
    assert_eq!(w.ask(0, &use_named("n")), "E:26000 Z:I");
    assert_eq!(w.ask(0, &use_named("m")), ONE);
    assert_eq!(w.ask(0, &run("deallocate all")), "1 2 C:DEALLOCATE ALL Z:I");
    assert_eq!(w.ask(0, &use_named("m")), "E:26000 Z:I");
    assert_eq!(w.ask(0, &[p("m", "select 1"), sync(), use_named("m")].concat()), format!("1 Z:I {ONE}"));
}

#[test]
fn only_the_text_that_nobody_reads_is_unpinned_by_a_syntax_error() {
    let mut w = world(1);
    assert_eq!(w.ask(0, &q("fail")), "E:42601 Z:I");
    w.assert_quiet();
    assert_eq!(w.ask(0, &run("fail")), "E:42601 Z:I");
    w.assert_quiet();
    // Ours can't read it, the server can.
    assert_eq!(w.ask(0, &q("begin; (;")), "C:ODD Z:I");
    assert_eq!(w.clients[0].session.pins(), Effects::UNPARSED);
    w.ask(0, &q("fail"));
    assert_eq!(w.clients[0].session.pins(), Effects::UNPARSED, "an earlier one stays");
    w.ask(0, &q("discard all"));
    // A syntax error of another statement in flight says nothing of it.
    w.ask(0, &[q("select fail syntax"), q("begin; (;")].concat());
    assert_eq!(w.clients[0].session.pins(), Effects::UNPARSED);
}

#[test]
fn oversized_statements_stream() {
    let mut w = world(1);
    w.max_statement_bytes = 20_000;
    let text = format!("select '{}'", "x".repeat(50_000));
    for n in [1000, 100_000] {
        for script in [q(&text), run(&text), [p("big", &text), b("", "big"), e("", 0), sync()].concat()] {
            w.say(0, &script);
            while w.client_turn(0, n) {
                w.server_turn(0, n);
            }
            let heard = w.ask(0, b"");
            assert!(heard.ends_with("C:SELECT 1 Z:I"), "{}", &heard[..20.min(heard.len())]);
            assert_eq!(w.clients[0].session.pins(), Effects::UNPARSED);
            w.ask(0, &q("discard all"));
            w.assert_quiet();
        }
    }
    assert_eq!(w.ask(0, &[p("pgsluice_1_1", &text), sync()].concat()), "E:26000 Z:I", "our namespace");
    w.assert_quiet();
}

#[test]
fn an_idle_server_goes_back_whatever_it_adds() {
    let mut w = world(1);
    w.say(0, &q("select 1"));
    w.client_turn(0, usize::MAX);
    w.servers[0].model.out.extend(message(b'S', b"TimeZone\0UTC\0"));
    w.settle();
    w.assert_quiet();
    assert_eq!(w.servers[0].backend.reported().collect::<Vec<_>>(), [("TimeZone", "UTC")]);
    let same = Arc::new(ParamSet::default());
    assert_eq!(w.servers[0].backend.alignment(&same), None);
}

#[test]
fn a_write_is_not_to_blame_for_what_was_there() {
    let mut w = world(1);
    let asked =
        |w: &World| w.servers[0].model.ran.iter().filter(|sql| sql.contains("what the session left")).count();
    w.ask(0, &q(TEMP));
    w.ask(0, &[q("begin"), q("insert into t values (1)"), q("commit")].concat());
    for _ in 0..10 {
        w.ask(0, &q("update t set a = 1"));
    }
    let watched = asked(&w);
    for _ in 0..10 {
        w.ask(0, &q("update t set a = 1"));
    }
    assert_eq!(asked(&w), watched, "trusted, though the temporary table is there all the time");
}
