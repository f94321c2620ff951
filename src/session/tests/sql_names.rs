//! Statements of SQL `PREPARE` go with their client.

use super::pump::*;
use crate::guard::{Effects, Lane};

/// Two servers, and the client moves to the other one.
fn moved(w: &mut World) {
    w.choice += 1;
}

#[test]
fn it_is_there_on_another_server() {
    let mut w = World::new("", 2, 2, 4);
    assert_eq!(w.ask(0, &q("prepare s as select mine")), "C:PREPARE Z:I");
    assert_eq!(w.clients[0].session.pins(), Effects::NONE);
    w.assert_quiet();
    for _ in 0..4 {
        moved(&mut w);
        assert_eq!(w.ask(0, &q("execute s")), "T D:select mine C:SELECT 1 Z:I");
        assert_eq!(w.ask(1, &q("execute s")), "E:26000 Z:I", "another client's");
        moved(&mut w);
        assert_eq!(w.ask(0, &[b("", "s"), e("", 0), sync()].concat()), "2 D:select mine C:SELECT 1 Z:I");
        w.assert_quiet();
    }
    moved(&mut w);
    assert_eq!(w.ask(0, &[p("s", "select 1"), sync()].concat()), "E:42P05 Z:I");
    assert_eq!(w.ask(0, &q("prepare s as select 1")), "E:42P05 Z:I");
    moved(&mut w);
    assert_eq!(w.ask(0, &q("deallocate s")), "C:DEALLOCATE Z:I");
    for _ in 0..2 {
        moved(&mut w);
        assert_eq!(w.ask(0, &q("execute s")), "E:26000 Z:I");
    }
    w.assert_quiet();
}

#[test]
fn a_close_of_the_protocol_ends_it() {
    let mut w = World::new("", 1, 2, 4);
    w.ask(0, &q("prepare s as select mine"));
    moved(&mut w);
    let both = [about(b'C', b'S', "s"), p("s", "select other"), b("", "s"), e("", 0), sync()].concat();
    assert_eq!(w.ask(0, &both), "3 1 2 D:select other C:SELECT 1 Z:I");
    moved(&mut w);
    assert_eq!(w.ask(0, &q("execute s")), "T D:select other C:SELECT 1 Z:I");
    w.ask(0, &[about(b'C', b'S', "s"), sync()].concat());
    // A Close that is skipped ends nothing.
    w.ask(0, &q("prepare s as select mine"));
    assert_eq!(w.ask(0, &[p("", "fail"), about(b'C', b'S', "s"), sync()].concat()), "E:42601 Z:I");
    moved(&mut w);
    assert_eq!(w.ask(0, &q("execute s")), "T D:select mine C:SELECT 1 Z:I");
    w.assert_quiet();
}

#[test]
fn it_outlives_a_rollback_and_ends_with_all() {
    let mut w = World::new("", 1, 2, 4);
    w.ask(0, &[q("begin"), q("prepare s as select mine"), q("rollback")].concat());
    for text in ["deallocate all", "discard all"] {
        moved(&mut w);
        assert_eq!(w.ask(0, &q("execute s")), "T D:select mine C:SELECT 1 Z:I");
        moved(&mut w);
        w.ask(0, &q(text));
        moved(&mut w);
        assert_eq!(w.ask(0, &q("execute s")), "E:26000 Z:I");
        w.ask(0, &q("prepare s as select mine"));
    }
    w.assert_quiet();
}

#[test]
fn what_is_pipelined_waits_for_it() {
    let mut w = World::new("", 1, 2, 4);
    w.ask(0, &q("prepare s as select mine"));
    moved(&mut w);
    let script = [q("select 1"), q("begin"), q("execute s"), q("commit")].concat();
    let heard = "T D:select 1 C:SELECT 1 Z:I C:BEGIN Z:T T D:select mine C:SELECT 1 Z:T C:COMMIT Z:I";
    assert_eq!(w.ask(0, &script), heard);
    w.assert_quiet();
}

#[test]
fn settings_it_was_read_under_are_not_those_of_now() {
    let mut w = World::new("", 1, 2, 4);
    w.ask(0, &q("set datestyle = DMY"));
    w.ask(0, &q("prepare s as select mine"));
    w.ask(0, &q("set datestyle = MDY"));
    moved(&mut w);
    let at = w.choice % 2;
    w.ask(0, &q("execute s"));
    let ran = w.servers[at].model.ran.join("\n");
    let prepared = ran.rfind("prepare s").unwrap();
    assert!(ran[..prepared].ends_with("set_config(E'datestyle', E'DMY', false)\n"), "{ran}");
    assert!(ran[prepared..].contains("set_config(E'datestyle', E'MDY', false)"), "{ran}");
    // Not known: set for the transaction alone, or together with others.
    w.ask(0, &[q("begin"), q("set local datestyle = YMD"), q("prepare t as select 1"), q("commit")].concat());
    assert_eq!(w.clients[0].session.pins(), Effects::SQL_PREPARE);
    w.ask(0, &q("deallocate t"));
    assert_eq!(w.clients[0].session.pins(), Effects::NONE);
    w.assert_quiet();
}

#[test]
fn one_that_cannot_be_prepared_again_fails_as_it_would() {
    let mut w = World::new("", 1, 1, 4);
    w.ask(0, &q("prepare s as select gone"));
    let other = w.add_server(Lane::Primary);
    w.choice = other;
    w.servers[other].model.refuses = "select gone";
    assert_eq!(w.ask(0, &q("execute s")), "E:42P01 Z:I");
    assert_eq!(w.ask(0, &run("execute s")), "1 2 E:42P01 Z:I");
    // Its table is back.
    w.servers[other].model.refuses = "nothing";
    assert_eq!(w.ask(0, &q("execute s")), "T D:select gone C:SELECT 1 Z:I");
    w.servers[other].model.refuses = "select gone";
    w.choice = 0;
    w.ask(0, &q("begin"));
    w.ask(0, &q("commit"));
    assert_eq!(w.ask(0, &q("deallocate s")), "C:DEALLOCATE Z:I");
    w.assert_quiet();
}

#[test]
fn what_executes_it_may_leave_what_it_leaves() {
    let mut w = World::new("", 2, 1, 4);
    w.ask(0, &q("prepare s as select set_config('a', '1', false)"));
    w.ask(0, &q("execute s"));
    let asked = w.servers[0].model.ran.iter().filter(|sql| sql.contains("current_setting(E'a'")).count();
    assert_eq!(asked, 1);
}

#[test]
fn too_many_hold_the_server() {
    let mut w = World::new("", 1, 2, 4);
    for n in 0..70 {
        w.ask(0, &q(&format!("prepare s{n} as select {n}")));
    }
    assert_eq!(w.clients[0].session.pins(), Effects::SQL_PREPARE);
    for n in 0..10 {
        assert_eq!(w.ask(0, &q(&format!("deallocate s{n}"))), "C:DEALLOCATE Z:I");
    }
    assert_eq!(w.clients[0].session.pins(), Effects::NONE);
    w.assert_quiet();
}
