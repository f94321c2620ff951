#![allow(clippy::unwrap_used)]

use super::*;
use crate::document::Source;
use policy::Policies;

fn class_of(user: &str) -> Arc<Class> {
    Arc::new(Class {
        user: user.into(),
        database: "shop".into(),
        application: "".into(),
        standard_conforming_strings: true,
        ascii_safe_encoding: true,
    })
}

fn guard_with(policies: Policies) -> Guard {
    Guard::new(Arc::new(policies), GuardLimits::default(), [1, 2, 3, 4])
}

fn guard() -> Guard {
    guard_with(Policies::baseline())
}

fn load(text: &str) -> Policies {
    Policies::load(&[Source::new("p.toml", text)]).unwrap()
}

#[test]
fn a_judgement_has_all_that_the_session_needs() {
    let (mut guard, class) = (guard(), class_of("app"));
    let blocked = guard.judge(b"UPDATE orders SET state = 'open'", &class);
    assert_eq!((blocked.kind, blocked.action, blocked.lane), (Kind::Update, Action::Block, Lane::Primary));
    let complaint = &blocked.complaints[0];
    assert_eq!(&complaint.sqlstate, b"42501");
    assert_eq!(complaint.message, "This writes to every row of orders.");
    assert!(
        complaint.detail.contains("baseline.toml")
            && complaint.detail.contains(&format!("{:016x}", blocked.fingerprint))
    );
    assert!(!complaint.hint.is_empty());

    let routed = guard.judge(b"SELECT state, count(*) FROM orders GROUP BY state", &class);
    assert_eq!((routed.action, routed.lane, routed.complaints.len()), (Action::Route, Lane::Replica, 0));
    assert!(routed.read_only && !routed.transaction_control && routed.statements == 1);

    let several = guard.judge(b"BEGIN; SELECT * FROM t; SET x = 1", &class);
    assert_eq!((several.kind, several.action, several.statements), (Kind::Select, Action::Warn, 3));
    assert!(several.transaction_control && several.effects.has(Effects::SETTING) && !several.read_only);

    let empty = guard.judge(b"  ", &class);
    assert_eq!((empty.statements, empty.action), (0, Action::Allow));
}

#[test]
fn a_text_enters_the_first_cache_at_its_second_sight() {
    let (mut guard, class) = (guard(), class_of("app"));
    let text = b"SET application_name = 'x'";
    for (sight, hits) in [(1, 0), (2, 0), (3, 1), (4, 2)] {
        let _ = guard.judge(text, &class);
        assert_eq!(guard.counters().l1_hits, hits, "sight {sight}");
    }
}

#[test]
fn texts_of_one_shape_share_a_judgement() {
    let (mut guard, class) = (guard(), class_of("app"));
    let first = guard.judge(b"SELECT abalance FROM accounts WHERE aid = 1", &class);
    let second = guard.judge(b"SELECT abalance FROM accounts WHERE aid = 2", &class);
    assert!(Arc::ptr_eq(&first, &second));
    let counters = guard.counters();
    assert_eq!((counters.l1_hits, counters.l2_hits, counters.l2_misses), (0, 1, 1));
    assert!(counters.bytes > 0);

    let plain = guard.judge(b"SELECT id FROM c WHERE name LIKE 'a%'", &class);
    let wild = guard.judge(b"SELECT id FROM c WHERE name LIKE '%a'", &class);
    assert_eq!((plain.action, wild.action), (Action::Allow, Action::Block));
}

#[test]
fn classes_never_share_a_judgement() {
    let policies =
        "[[rule]]\nname = 'x'\nfinds = 'select-star'\naction = 'block'\nunless = { users = ['admin'] }\n";
    let mut guard = guard_with(load(policies));
    let (app, admin) = (class_of("app"), class_of("admin"));
    for _ in 0..4 {
        assert_eq!(guard.judge(b"SELECT * FROM t", &app).action, Action::Block);
        assert_eq!(guard.judge(b"SELECT * FROM t", &admin).action, Action::Allow);
        // The same class by value in another allocation.
        assert_eq!(guard.judge(b"SELECT * FROM t", &class_of("app")).action, Action::Block);
    }
    assert!(guard.counters().l1_hits >= 6);
    let off = Arc::new(Class { standard_conforming_strings: false, ..(*app).clone() });
    assert_eq!(guard.judge(br"SELECT 'a\'; SELECT * FROM t --'", &app).action, Action::Block);
    assert_eq!(guard.judge(br"SELECT 'a\'; SELECT * FROM t --'", &off).action, Action::Allow);
}

#[test]
fn new_policies_forget_old_judgements() {
    let (mut guard, class) = (guard(), class_of("app"));
    for _ in 0..3 {
        assert_eq!(guard.judge(b"DELETE FROM t", &class).action, Action::Block);
    }
    guard.set_policies(Arc::new(load(
        "[[rule]]\nname = 'x'\nfinds = 'write-without-where'\naction = 'warn'\n",
    )));
    assert_eq!(guard.counters().bytes, 0);
    for _ in 0..3 {
        assert_eq!(guard.judge(b"DELETE FROM t", &class).action, Action::Warn);
    }
}

#[test]
fn a_bound_wildcard_has_its_own_judgement() {
    let (mut guard, class) = (guard(), class_of("app"));
    let judgement = guard.judge(b"SELECT id FROM c WHERE name LIKE $1", &class);
    assert_eq!((judgement.action, &*judgement.like_params), (Action::Allow, &[1][..]));
    let bound = judgement.with_wildcard.as_ref().unwrap();
    assert_eq!((bound.action, bound.fingerprint), (Action::Block, judgement.fingerprint));
    assert!(bound.complaints[0].message.contains("name"));
    // Where no rule cares, nobody needs to look at parameters.
    let mut guard = guard_with(load("[[rule]]\nname = 'x'\nfinds = 'select-star'\naction = 'warn'\n"));
    assert!(guard.judge(b"SELECT id FROM c WHERE name LIKE $1", &class).like_params.is_empty());
}

#[test]
fn what_cannot_be_read_is_unparsed_and_allowed_unless_a_rule_says_otherwise() {
    let (mut guard, class) = (guard(), class_of("app"));
    let sjis = Arc::new(Class { ascii_safe_encoding: false, ..(*class).clone() });
    let limits = GuardLimits { max_statement_bytes: 100, ..GuardLimits::default() };
    let mut small = Guard::new(Arc::new(Policies::baseline()), limits, [0; 4]);
    let judgements = [
        guard.judge(b"SELEC 1", &class),
        guard.judge("SELECT 'ä'".as_bytes(), &sjis),
        small.judge(&[b"SELECT ".as_slice(), &[b'1'; 200]].concat(), &class),
        guard.judge_oversized(&class),
    ];
    for judgement in &judgements {
        assert_eq!(
            (judgement.kind, judgement.action, judgement.lane),
            (Kind::Unparsed, Action::Allow, Lane::Primary)
        );
        assert!(judgement.effects.has(Effects::UNPARSED) && !judgement.read_only);
    }
    assert_eq!(guard.counters().parse_failures, 3);
    assert_eq!(guard.judge(b"SELECT 1", &sjis).kind, Kind::Select);

    let mut strict =
        guard_with(load("[[rule]]\nname = 'u'\nwhen = 'query.kind == \"unparsed\"'\naction = 'block'\n"));
    assert_eq!(strict.judge(b"SELEC 1", &class).action, Action::Block);
    assert_eq!(strict.judge_oversized(&class).action, Action::Block);
}

#[test]
fn a_rule_that_reads_the_length_is_asked_for_each_length() {
    let mut guard = guard_with(load("[[rule]]\nname = 'x'\nwhen = 'query.bytes > 20'\naction = 'block'\n"));
    let class = class_of("app");
    assert_eq!(guard.judge(b"SELECT 'a'", &class).action, Action::Allow);
    assert_eq!(guard.judge(b"SELECT 'aaaaaaaaaaaaaaaaaaaaaaaaaaa'", &class).action, Action::Block);
    assert_eq!(guard.judge(b"SELECT 'b'", &class).action, Action::Allow);
}

#[test]
fn the_caches_stay_within_their_bytes() {
    let limits = GuardLimits { cache_bytes: 64 << 10, ..GuardLimits::default() };
    let mut guard = Guard::new(Arc::new(Policies::baseline()), limits, [5, 6, 7, 8]);
    let class = class_of("app");
    for n in 0..2000 {
        let text = format!("SELECT column_{n} FROM table_{n}");
        for _ in 0..3 {
            let _ = guard.judge(text.as_bytes(), &class);
        }
        assert!(guard.counters().bytes <= 64 << 10);
    }
    let huge = format!("SELECT {}1", "a,".repeat(30_000));
    let _ = guard.judge(huge.as_bytes(), &class);
    assert!(guard.counters().bytes <= 64 << 10);
}

#[test]
fn too_many_classes_are_forgotten_together() {
    let mut guard = guard();
    for n in 0..450 {
        let class = class_of(&n.to_string());
        let _ = guard.judge(b"SELECT 1", &class);
    }
    assert_eq!(guard.judge(b"DELETE FROM t", &class_of("app")).action, Action::Block);
}

proptest::proptest! {
    // Each case judges up to 180 texts.
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(40))]
    /// Whatever was judged before, a cached verdict is the one that an empty guard would give.
    #[test]
    fn caches_change_nothing(texts in proptest::collection::vec(
        "(SELECT|UPDATE t SET|DELETE FROM|WHERE|LIKE|a|t|=|\\*|'%x'|'x%'|1|22|;|FROM|GROUP BY|LIMIT|,| |\\$1|BEGIN){1,10}", 1..30
    )) {
        let class = class_of("app");
        let mut used = guard();
        for text in texts.iter().chain(&texts).chain(&texts) {
            let fresh = evaluate(used.policies(), &class, text.as_bytes(), &GuardLimits::default(), &Circumstances::default()).judgement;
            let cached = used.judge(text.as_bytes(), &class);
            proptest::prop_assert_eq!(format!("{:?}", &*cached), format!("{:?}", fresh));
        }
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(40))]
    /// The same where rules read literals: texts of one shape have verdicts of their own.
    #[test]
    fn caches_change_nothing_where_literals_are_read(texts in proptest::collection::vec(
        "(SELECT a FROM t WHERE|DELETE FROM t WHERE)( 1=1| 1=2| id = 7| NOT 1=2| 'a'='b')( AND id = 5| OR 1=1| OR 2=1| AND 1=1|)( LIMIT 5|)( OFFSET 5000| OFFSET 5|)", 1..30
    )) {
        let class = class_of("app");
        let strict = policy::Pack::find("strict").unwrap();
        let mut used = guard_with(Policies::load(&[strict.source()]).unwrap());
        for text in texts.iter().chain(&texts) {
            let fresh = evaluate(used.policies(), &class, text.as_bytes(), &GuardLimits::default(), &Circumstances::default()).judgement;
            let cached = used.judge(text.as_bytes(), &class);
            proptest::prop_assert_eq!(format!("{:?}", &*cached), format!("{:?}", fresh));
        }
        proptest::prop_assert!(texts.len() < 25 || used.counters().l2_hits > 0);
    }
}

#[test]
fn other_policies_are_another_generation_and_judge_what_was_seen_anew() {
    let (mut guard, class) = (guard(), class_of("app"));
    let text = b"UPDATE orders SET state = 'open'";
    (0..3).for_each(|_| assert_eq!(guard.judge(text, &class).action, Action::Block));
    let before = guard.generation();
    guard.set_policies(Arc::new(Policies::baseline().observing()));
    assert_ne!(guard.generation(), before);
    assert_eq!(guard.judge(text, &class).action, Action::Allow);
}

#[test]
fn a_canary_is_asked_once_about_what_the_caches_answer_and_decides_nothing() {
    let (mut guard, class) = (guard(), class_of("app"));
    assert!(guard.take_report().is_none());
    let (text, same_shape) = (b"UPDATE orders SET state = 'open'", b"UPDATE orders SET state = 'shut'");
    let _ = guard.judge(text, &class);
    guard.set_shadow(Some(Arc::new(Policies::baseline().observing())));
    for text in [text, same_shape, text] {
        assert_eq!(guard.judge(text, &class).action, Action::Block);
    }
    let _ = guard.judge(b"SELECT 1", &class);
    let report = guard.take_report().unwrap();
    assert_eq!((report.judged, report.differing, report.skipped, report.rows.len()), (2, 1, 0, 1));
    let ((rule, now, then), sample) = report.rows.iter().next().unwrap();
    assert_eq!(
        format!("{rule}: {now} -> {then}, {}", sample.statements),
        "write-without-where: block -> block (observed), 1"
    );
    assert_eq!(guard.take_report().unwrap().judged, 0, "what was told is not told again");
    guard.set_shadow(None);
    assert!(guard.take_report().is_none());
}

#[test]
fn applications_are_told_apart_only_by_rules_that_read_them() {
    let of = |application: &str| {
        Arc::new(Class { application: application.into(), ..Class::clone(&class_of("app")) })
    };
    let rule = "[[rule]]\nname = \"r\"\nonly = { applications = [\"web*\"] }\naction = \"block\"\n";
    let mut guard = guard_with(load(rule));
    assert_eq!(guard.judge(b"SELECT 1", &of("web1")).action, Action::Block);
    assert_eq!(guard.judge(b"SELECT 1", &of("cron")).action, Action::Allow);
    guard.set_policies(Arc::new(Policies::baseline()));
    for (n, application) in ["web1", "cron", "else"].iter().enumerate() {
        let _ = guard.judge(b"SELECT 2", &of(application));
        let counters = guard.counters();
        assert_eq!(counters.l1_hits + counters.l2_hits, n as u64, "{application}");
    }
}

#[test]
fn a_rule_that_reads_the_session_is_asked_at_the_run() {
    let mut guard = guard_with(load(
        "[[rule]]\nname = 'held'\nwhen = 'query.kind == \"update\" && session.transaction_statements > 5'\n\
         action = 'block'\nmessage = 'Too long on {table}.'\n\
         [[rule]]\nname = 'star'\nfinds = 'select-star'\naction = 'warn'\n",
    ));
    let class = class_of("app");
    assert!(
        guard.policies().reads_session() && guard.policies().reads_session_fact("transaction_statements")
    );
    assert!(!guard.policies().reads_time() && !guard.policies().reads_params());
    // What the text alone decides is decided ahead.
    assert!(guard.judge(b"SELECT * FROM t", &class).live.is_none());
    let judged = guard.judge(b"UPDATE t SET a = 1 WHERE b = 2", &class);
    assert!(judged.live.is_some() && judged.action == Action::Allow);
    let run = |statements| {
        let session = SessionFacts { transaction_statements: statements, ..SessionFacts::blank() };
        settle(&judged, &Circumstances { session: Some(&session), ..Circumstances::default() })
    };
    assert!(Arc::ptr_eq(&run(5), &judged), "nothing matched, nothing was made");
    let blocked = run(6);
    assert_eq!((blocked.action, &*blocked.complaints[0].message), (Action::Block, "Too long on t."));
    assert!(blocked.live.is_none() && blocked.fingerprint == judged.fingerprint);
    assert!(Arc::ptr_eq(&settle(&judged, &Circumstances::default()), &judged));
}

#[test]
fn times_and_shares_are_asked_at_the_run() {
    let mut guard = guard_with(load(
        "zone = 'Europe/Zurich'\n[[rule]]\nname = 'office'\nfinds = 'select-star'\naction = 'block'\nhours = '08:00-18:00'\n\
         [[rule]]\nname = 'clock'\nwhen = 'query.select_star && time.hour == 7'\naction = 'warn'\n\
         [[rule]]\nname = 'some'\nfinds = 'select-star'\naction = 'route'\nroute = 'replica'\nshare = 0.5\n",
    ));
    let judged = guard.judge(b"SELECT * FROM t", &class_of("app"));
    let at = |now, who| {
        settle(&judged, &Circumstances { now: Some(now), who: Some(who), ..Circumstances::default() })
    };
    // 2026-07-01 05:30, 06:30 and 18:00 UTC are 07:30, 08:30 and 20:00 there.
    let actions = |who| [1_782_883_800, 1_782_887_400, 1_782_928_800].map(|now| at(now, who).action);
    let routed = (0..64).filter(|who| at(1_782_928_800, *who).action == Action::Route).count();
    assert!((20..44).contains(&routed), "{routed}");
    let who = (0..64).find(|who| at(1_782_928_800, *who).action == Action::Allow).unwrap();
    assert_eq!(actions(who), [Action::Warn, Action::Block, Action::Allow]);
}

#[test]
fn limits_are_the_smallest_and_settings_the_strictest() {
    let mut guard = guard_with(load(
        "[[rule]]\nname = 'b'\nfinds = 'select-star'\naction = 'warn'\n\
         limit = { timeout = '5s', rows = 1000, rate = '100/s', per = 'user' }\nset = { lock_timeout = '3s', jit = false }\n\
         [[rule]]\nname = 'a'\nwhen = 'query.read_only'\naction = 'limit'\n\
         limit = { timeout = '500ms', rows = 2000, bytes = '1MB', concurrency = 4 }\n\
         [[rule]]\nname = 'c'\nwhen = 'query.read_only'\naction = 'set'\nset = { lock_timeout = '2s' }\n\
         [[rule]]\nname = 'o'\nwhen = 'true'\naction = 'limit'\nlimit = { rows = 1 }\nmode = 'observe'\n",
    ));
    let judged = guard.judge(b"SELECT * FROM t", &class_of("app"));
    assert_eq!((judged.action, judged.hits.len()), (Action::Warn, 4));
    let limits = judged.limits.as_ref().unwrap();
    assert_eq!(limits.timeout, Some(Bound { at: std::time::Duration::from_millis(500), rule: 1 }));
    assert_eq!(limits.rows, Some(Bound { at: 1000, rule: 0 }));
    assert_eq!(limits.bytes, Some(Bound { at: 1 << 20, rule: 1 }));
    assert_eq!(
        (limits.rates.len(), limits.rates[0].at.per, limits.concurrency[0].at.most),
        (1, Per::User, 4)
    );
    let set: Vec<(&str, &str)> = judged.set.iter().map(|(name, value)| (&**name, &**value)).collect();
    assert_eq!(set, [("jit", "off"), ("lock_timeout", "2000ms")]);
}

#[test]
fn a_plan_settles_what_waits_for_it_and_leaves_the_rest_open() {
    use super::plan::{Plan, PlanFacts};
    let rules = "plan = 'background'\n[[rule]]\nname = 'rows'\nwhen = 'plan.rows > 100'\naction = 'warn'\non_unknown = 'match'\n\
                 [[rule]]\nname = 'late'\nwhen = 'session.transaction_seconds > 5.0'\naction = 'block'\n\
                 [[rule]]\nname = 'both'\nwhen = 'plan.rows > 100 && session.transaction_seconds > 1.0'\naction = 'warn'\n";
    let of = |rules: &str| {
        let policies = Policies::load(&[Source::new("p.toml", rules)]).unwrap();
        let mut guard = Guard::new(Arc::new(policies), GuardLimits::default(), [1, 2, 3, 4]);
        guard.judge(b"SELECT a FROM t WHERE b = 1", &class_of("app"))
    };
    let plan = |rows| Plan { facts: PlanFacts { rows, ..PlanFacts::blank() }, ..Plan::default() };
    let rules_of = |judgement: &Judgement| judgement.hits.iter().map(|hit| hit.rule).collect::<Vec<_>>();
    let judged = of(rules);
    let live = judged.live.as_ref().unwrap();
    assert!(live.reads_plan() && live.reads_more() && !live.waits_for_plan(false), "{live:?}");
    let (many, few) = (plan(500), plan(5));
    for (known, expected) in [(Some(&many), vec![0]), (Some(&few), vec![]), (None, vec![0])] {
        let settled = settle_by_plan(&judged, known);
        assert_eq!(rules_of(&settled), expected);
        // Asked in two steps or in one, it is the same.
        for seconds in [0.0, 2.0, 9.0] {
            let session = SessionFacts { transaction_seconds: seconds, ..SessionFacts::blank() };
            let facts = known.map(|plan| &plan.facts);
            let around = Circumstances { session: Some(&session), plan: facts, ..Circumstances::default() };
            let (twice, once) = (settle(&settled, &around), settle(&judged, &around));
            assert_eq!(
                (rules_of(&twice), twice.action),
                (rules_of(&once), once.action),
                "{expected:?} {seconds}"
            );
        }
    }
    // With nothing but the plan to wait for, nothing is left open, and silence changes nothing.
    let alone = of("[[rule]]\nname = 'rows'\nwhen = 'plan.rows > 100'\naction = 'block'\nplan = 'inline'\n");
    assert!(alone.live.as_ref().is_some_and(|live| !live.reads_more() && live.waits_for_plan(true)));
    assert!(Arc::ptr_eq(&settle_by_plan(&alone, Some(&few)), &alone));
    assert!(Arc::ptr_eq(&settle_by_plan(&alone, None), &alone));
    let settled = settle_by_plan(&alone, Some(&many));
    assert!(settled.live.is_none() && settled.action == Action::Block);
}
