#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use super::Policies;
use super::allow::{read_learned, write_learned};
use crate::document::Source;
use crate::guard::{Action, Class, Guard, GuardLimits};

fn class(user: &str) -> Arc<Class> {
    Arc::new(Class {
        user: user.into(),
        database: "shop".into(),
        application: "".into(),
        standard_conforming_strings: true,
        ascii_safe_encoding: true,
    })
}

fn policies(mode: &str) -> Policies {
    let text = format!("[allow_list]\nmode = '{mode}'\nfile = 'seen.toml'\nusers = ['app*']\n");
    Policies::load(&[Source::new("policies/p.toml", text)]).unwrap()
}

fn guard(policies: Policies) -> Guard {
    Guard::new(Arc::new(policies), GuardLimits::default(), [1, 2, 3, 4])
}

const LEARNED: [&str; 5] = [
    "SELECT id FROM orders WHERE id = 7",
    "UPDATE orders SET note = 'a\"b' WHERE id = 7",
    "SET lock_timeout = '2s'",
    "DO $$ BEGIN PERFORM 1; END $$",
    "SELECT 1; SELECT 2",
];

#[test]
fn what_was_learned_may_run_and_nothing_else() {
    let mut learning = guard(policies("learn"));
    for text in LEARNED.iter().chain(&["BEGIN", "SELEC 1", "SELECT id FROM orders WHERE id = 8"]) {
        assert_eq!(learning.judge(text.as_bytes(), &class("app")).action, Action::Allow);
    }
    let _ = learning.judge(b"SELECT other", &class("admin"));
    let learned = learning.take_learned();
    assert_eq!(learned.len(), LEARNED.len(), "{learned:?}");
    assert!(learning.take_learned().is_empty());

    let file = Source::new("seen.toml", write_learned(&learned));
    assert_eq!(read_learned(&file).unwrap().len(), LEARNED.len());
    let mut enforced = policies("enforce");
    assert_eq!(&*enforced.allow_list().unwrap().file, "policies/seen.toml");
    enforced.know(&file).unwrap();
    let mut enforced = guard(enforced);
    let mut action = |user: &str, text: &str| enforced.judge(text.as_bytes(), &class(user)).action;
    for text in LEARNED.iter().chain(&["BEGIN", "COMMIT", "", "SELECT id FROM orders WHERE id = 99"]) {
        assert_eq!(action("app", text), Action::Allow, "{text}");
    }
    for text in [
        "SELECT id FROM orders",
        "SET lock_timeout = '3s'",
        "DO $$ BEGIN DELETE FROM orders; END $$",
        "SELECT 1; SELECT 3",
        "SELEC 1",
        "SELECT 'unfinished",
    ] {
        assert_eq!(action("app", text), Action::Block, "{text}");
        assert_eq!(action("admin", text), Action::Allow, "{text}");
    }
    assert_eq!(action("app2", LEARNED[0]), Action::Block, "learned of another user");
    let refused = enforced.judge(b"SELECT 2 FROM x", &class("app"));
    let said = &refused.complaints[0];
    assert_eq!((&*said.rule, &said.sqlstate), ("allow-list", b"42501"));
    assert!(said.message.contains("never seen") && said.hint.contains("mode = \"learn\""), "{said:?}");
    assert_eq!(enforced.judge_oversized(&class("app")).action, Action::Block);
}

#[test]
fn an_observed_list_only_counts() {
    let mut observed = guard(policies("observe"));
    let judged = observed.judge(b"SELECT 1", &class("app"));
    assert_eq!((judged.action, judged.complaints.len()), (Action::Allow, 0));
    let hits: Vec<_> = judged.hits.iter().map(|hit| (hit.action, hit.enforced)).collect();
    assert_eq!(hits, [(Action::Block, false)]);
    assert_eq!(&*observed.policies().rules()[judged.hits[0].rule as usize].name, "allow-list");
}

#[test]
fn mistakes_of_a_list_are_told() {
    let load = |text: &str| {
        let found = Policies::load(&[Source::new("p.toml", text)]).map(|_| ()).unwrap_err();
        found.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    assert!(
        load("[allow_list]\nmode = 'strict'\nfile = 'x'\n").contains("it is one of learn, observe, enforce")
    );
    assert!(load("[allow_list]\nmode = 'learn'\n").contains("has no `file`"));
    assert!(load("[allow_list]\nmode = 'learn'\nfile = 'x'\nusers = []\n").contains("names nobody"));
    let list = "[allow_list]\nmode = 'learn'\nfile = 'x'\n";
    let found = Policies::load(&[Source::new("a.toml", list), Source::new("b.toml", list)]).unwrap_err();
    assert!(found[0].to_string().contains("there is an allow-list already"), "{found:?}");
    let broken = Source::new("seen.toml", "[[allowed]]\nfingerprint = 'xyz'\nuser = 'a'\ndatabase = 'b'\n");
    assert!(read_learned(&broken).unwrap_err()[0].to_string().contains("is no fingerprint"));
}

#[test]
fn its_file_may_lie_among_the_policies() {
    let list = "[[allowed]]\nfingerprint = '0123456789abcdef'\nuser = 'app'\ndatabase = 'shop'\n";
    let policy = "[allow_list]\nmode = 'enforce'\nfile = 'seen.toml'\n";
    let sources = [Source::new("d/p.toml", policy), Source::new("d/seen.toml", list)];
    assert_eq!(Policies::load(&sources).unwrap().rules().len(), 1);
    let mixed = format!("mode = 'observe'\n{list}");
    assert!(Policies::load(&[Source::new("d/p.toml", mixed)]).is_err(), "a policy says nothing of the kind");
}
