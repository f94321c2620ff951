#![allow(clippy::unwrap_used)]

use super::*;
use crate::document::Source;
use crate::guard::facts::{ReadOptions, read};
use crate::guard::{Action, Circumstances, Class, Lane, Lanes};

fn load(text: &str) -> Policies {
    Policies::load(&[Source::new("policies/p.toml", text)]).unwrap_or_else(|problems| panic!("{problems:?}"))
}

fn problems(text: &str) -> Vec<String> {
    let found = Policies::load(&[Source::new("policies/p.toml", text)]).map(|_| ()).unwrap_err();
    found.iter().map(ToString::to_string).collect()
}

fn class(user: &str) -> Class {
    Class {
        user: user.into(),
        database: "shop".into(),
        application: "web-1".into(),
        standard_conforming_strings: true,
        ascii_safe_encoding: true,
    }
}

fn ask(policies: &Policies, user: &str, sql: &str) -> Decision {
    let statements = read(sql.as_bytes(), &ReadOptions::default()).statements;
    decide(policies, &class(user), &statements, &Circumstances::default())
}

fn matched(decision: &Decision) -> Vec<&str> {
    decision.matches.iter().map(|found| &*found.rule.name).collect()
}

#[test]
fn a_case_that_goes_otherwise_is_told_with_its_differences() {
    let text = "[[case]]\nsql = 'SELECT * FROM t'\nexpect = [{ rule = 'write-without-where', action = 'block' }]\n\
                [[case]]\nsql = 'SELECT 1'\nexpect = []\nroute = 'replica'\n";
    let cases = load_cases(&Source::new("c.test.toml", text)).unwrap();
    let failures = run_cases(&Policies::baseline(), &cases);
    assert_eq!(failures.len(), 2);
    assert_eq!(
        failures[0].differences,
        [
            "rule write-without-where: expected block, but it did not match",
            "rule select-star: matched (warn), which was not expected"
        ]
    );
    assert_eq!(
        (failures[1].place.as_str(), &*failures[1].differences),
        ("c.test.toml:4", &["runs on the primary".to_owned()][..])
    );
}

#[test]
fn a_case_file_with_mistakes_is_refused() {
    let text = "[[case]]\nsqll = 'SELECT 1'\nexpect = [{ rule = 'x', action = 'stop' }]\n[[case]]\nsql = 'SELECT 1'\n";
    let found: Vec<String> =
        load_cases(&Source::new("c", text)).unwrap_err().iter().map(ToString::to_string).collect();
    let expected = [
        "c:1:1: the case has no `sql`",
        "c:2:1: unknown key of a case `sqll` (did you mean `sql`?)",
        "c:3:34: `action` cannot be \"stop\" (it is one of warn, block, route, limit, set, rewrite)",
        "c:4:1: the case has no `expect` (`expect = []` if nothing may fire)",
    ];
    assert_eq!(found, expected);
}

#[test]
fn every_mistake_comes_at_once_with_place_and_cure() {
    let found = problems(
        "mode = 'watch'\nrules = 1\n\
         [[rule]]\nname = 'a'\nfinds = 'select_star'\nwhen = 'query.join > 3 && plane.rows > 1'\naction = 'stop'\n\
         [[rule]]\nname = 'a b'\nwhenn = 'true'\naction = 'route'\nroute = 'analytics'\nmessage = 'x {row}'\n\
         [[rule]]\naction = 'limit'\nlimit = { rows = 1 }\nonly = { user = ['x'] }\nsqlstate = '4250'\n",
    );
    let expected = [
        "policies/p.toml:1:8: `mode` cannot be \"watch\" (it is one of enforce, observe)",
        "policies/p.toml:2:1: unknown key `rules` (did you mean `rule`?)",
        "policies/p.toml:5:9: there is no detector `select_star` (did you mean `select-star`?)",
        "policies/p.toml:6:15: `query` has no field `join` (did you mean `query.joins`?)",
        "policies/p.toml:6:27: unknown name `plane` (known are query, client, session, time, plan, catalog, params)",
        "policies/p.toml:7:10: `action` cannot be \"stop\" (it is one of warn, block, route, limit, set, rewrite)",
        "policies/p.toml:8:1: the rule says nothing of what it is about (give it `finds`, `when` or `only`)",
        "policies/p.toml:9:8: `a b` cannot be a rule's name (use up to 63 of a-z, A-Z, 0-9, `-`, `_` and `.`)",
        "policies/p.toml:10:1: unknown key of a rule `whenn` (did you mean `when`?)",
        "policies/p.toml:12:9: the route `analytics` leads nowhere: no such lane is configured (known are \"replica\", \"primary\"; one more is declared in the settings, as [lanes.analytics])",
        "policies/p.toml:13:11: unknown placeholder `{row}` (known are {table}, {tables}, {column}, {rows}, {limit}, {rule}, {user}, {database}, {application}, {fingerprint} and any fact such as {query.joins})",
        "policies/p.toml:14:1: the rule has no `name`",
        "policies/p.toml:17:8: `only` names nothing (known are users, databases, applications, tables)",
        "policies/p.toml:17:10: unknown key of `only` `user` (did you mean `users`?)",
        "policies/p.toml:18:12: `sqlstate` is five of 0-9 and A-Z (for example \"42501\")",
    ];
    assert_eq!(found, expected);
}

#[test]
fn names_are_unique_over_all_files() {
    let rule = "[[rule]]\nname = 'x'\nfinds = 'select-star'\naction = 'warn'\n";
    let found = Policies::load(&[Source::new("a.toml", rule), Source::new("b.toml", rule)]).unwrap_err();
    assert_eq!(
        found[0].to_string(),
        "b.toml:2:8: a rule `x` is there already, at a.toml:2 (give one of them another name)"
    );
}

#[test]
fn a_route_and_its_action_belong_together() {
    let rule = |rest: &str| format!("[[rule]]\nname = 'x'\nfinds = 'select-star'\n{rest}\n");
    assert!(problems(&rule("action = 'route'"))[0].contains("needs a `route`"));
    assert!(problems(&rule("action = 'warn'\nroute = 'replica'"))[0].contains("has no effect here"));
    assert!(problems(&rule("action = 'block'\nsqlstate = '01000'"))[0].contains("is none of an error"));
    assert!(
        problems(&rule("action = 'warn'\nunless = { users = [] }"))[0]
            .contains("has nothing that could match")
    );
}

#[test]
fn a_route_leads_to_a_lane_that_is_there() {
    let lanes = Lanes::new(["analytics", "export"]);
    let with = |route: &str| {
        let rule = format!(
            "[[rule]]\nname = 'x'\nwhen = 'query.read_only'\naction = 'route'\nroute = {route}\n\
             [[rule]]\nname = 'y'\nonly = {{ tables = ['e'] }}\naction = 'route'\nroute = 'replica'\n\
             [[rule]]\nname = 'z'\nonly = {{ tables = ['p'] }}\naction = 'route'\nroute = 'primary'\n"
        );
        Policies::load_with(&[Source::new("p.toml", rule)], &lanes).map_err(|found| found[0].to_string())
    };
    for (route, lane) in [
        ("'analytics'", Lane::Named(0)),
        ("'export'", Lane::Named(1)),
        ("['reports', 'export', 'replica']", Lane::Named(1)),
        ("['reports', 'replica', 'export']", Lane::Replica),
    ] {
        let policies = with(route).unwrap();
        assert!(policies.routes() && policies.routes_to(lane));
        assert_eq!(ask(&policies, "app", "SELECT 1 FROM t").wish(), Some(lane), "{route}");
        // Of two wishes: the primary, then the lane that was made for it.
        assert_eq!(ask(&policies, "app", "SELECT 1 FROM e").wish(), Some(lane), "{route}");
        assert_eq!(ask(&policies, "app", "SELECT 1 FROM p").wish(), Some(Lane::Primary), "{route}");
        assert_eq!(policies.lanes().find(policies.lanes().name(lane)), Some(lane));
    }
    for (route, expected) in [
        (
            "'reports'",
            "p.toml:5:9: the route `reports` leads nowhere: no such lane is configured (known are \"replica\", \
             \"primary\", \"analytics\", \"export\"; one more is declared in the settings, as [lanes.reports])",
        ),
        (
            "'analytic'",
            "p.toml:5:9: the route `analytic` leads nowhere: no such lane is configured (did you mean \"analytics\"?)",
        ),
        ("['reports', 'other']", "p.toml:5:10: the route `reports` leads nowhere"),
        ("[]", "p.toml:5:9: `route` leads nowhere: it names no lane (name one"),
        ("[1]", "p.toml:5:10: `route` must be an array of strings"),
        ("7", "p.toml:5:9: `route` must be a string"),
    ] {
        let found = with(route).map(|_| ()).unwrap_err();
        assert!(found.starts_with(expected), "{route}: {found}");
    }
}

#[test]
fn without_settings_a_rule_names_the_lanes_and_its_cases_know_them() {
    let rule = "[[rule]]\nname = 'x'\nwhen = 'query.group_by'\naction = 'route'\nroute = 'analytics'\n";
    let policies = Policies::load_with(&[Source::new("p.toml", rule)], &Lanes::any()).unwrap();
    let case = |route: &str| {
        let text = format!(
            "[[case]]\nsql = 'SELECT a FROM t GROUP BY a'\nexpect = [{{ rule = 'x', action = 'route' }}]\nroute = '{route}'\n"
        );
        load_cases(&Source::new("c", text)).unwrap().remove(0)
    };
    assert_eq!(run_cases(&policies, &[case("analytics")]), []);
    assert_eq!(case("analytics").unknown_names(&policies), []);
    assert_eq!(run_cases(&policies, &[case("replica")])[0].differences, ["runs on the analytics"]);
    let found = case("analytcs").unknown_names(&policies)[0].to_string();
    assert_eq!(found, "c:4:9: no rule can lead to the lane `analytcs` (did you mean `analytics`?)");
}

#[test]
fn the_strictest_action_wins_and_all_speak() {
    let policies = load(
        "[[rule]]\nname = 'w'\nfinds = 'select-star'\naction = 'warn'\nsqlstate = '01P01'\n\
         [[rule]]\nname = 'r'\nwhen = 'query.read_only'\naction = 'route'\nroute = 'replica'\n\
         [[rule]]\nname = 'b'\nwhen = 'query.joins > 0'\naction = 'block'\nmessage = '{rule}: {table}'\nhint = 'h'\nsqlstate = '54001'\n",
    );
    let decision = ask(&policies, "app", "SELECT * FROM a JOIN b USING (id)");
    assert_eq!(matched(&decision), ["w", "r", "b"]);
    assert_eq!((decision.action(), decision.wish()), (Action::Block, Some(Lane::Replica)));
    let complaints = decision.complaints(0xab);
    assert_eq!(complaints.len(), 2);
    assert_eq!((&*complaints[0].rule, &complaints[0].sqlstate), ("b", b"54001"));
    assert_eq!((complaints[0].message.as_str(), complaints[0].hint.as_str()), ("b: a", "h"));
    assert_eq!(complaints[0].detail, "Rule b of p.toml, fingerprint 00000000000000ab: joins = 1.");
    assert_eq!(&complaints[1].sqlstate, b"01P01");
    assert_eq!(
        complaints[1].detail,
        "Rule w of p.toml, fingerprint 00000000000000ab: select_star = true, kind = select, tables = a, b."
    );

    assert_eq!(ask(&policies, "app", "SELECT * FROM a").action(), Action::Route);
    assert_eq!(ask(&policies, "app", "DELETE FROM a RETURNING *").action(), Action::Warn);
    assert_eq!(ask(&policies, "app", "BEGIN").action(), Action::Allow);
}

#[test]
fn a_primary_route_overrules_a_replica_route() {
    let policies = load(
        "[[rule]]\nname = 'a'\nwhen = 'query.read_only'\naction = 'route'\nroute = 'replica'\n\
         [[rule]]\nname = 'b'\nonly = { tables = ['orders'] }\naction = 'route'\nroute = 'primary'\n",
    );
    assert_eq!(ask(&policies, "app", "SELECT 1 FROM orders").wish(), Some(Lane::Primary));
    assert_eq!(ask(&policies, "app", "SELECT 1 FROM items").wish(), Some(Lane::Replica));
}

#[test]
fn observed_rules_are_counted_and_say_nothing() {
    let policies = load(
        "mode = 'observe'\n[[rule]]\nname = 'b'\nfinds = 'select-star'\naction = 'block'\n\
         [[rule]]\nname = 'w'\nfinds = 'select-star'\naction = 'warn'\nmode = 'enforce'\n",
    );
    let decision = ask(&policies, "app", "SELECT * FROM a");
    let hits: Vec<(Action, bool)> = decision.hits().iter().map(|hit| (hit.action, hit.enforced)).collect();
    assert_eq!(hits, [(Action::Block, false), (Action::Warn, true)]);
    assert_eq!(decision.action(), Action::Warn);
    assert_eq!(decision.complaints(0).len(), 1);
}

#[test]
fn unparsed_statements_can_be_asked_for() {
    let policies = load(
        "[[rule]]\nname = 'u'\nwhen = 'query.kind == \"unparsed\"'\naction = 'block'\n\
         [[rule]]\nname = 'star'\nwhen = 'query.select_star'\naction = 'block'\n\
         [[rule]]\nname = 'strict'\nwhen = 'query.select_star'\naction = 'warn'\non_unknown = 'match'\n\
         [[rule]]\nname = 'table'\nonly = { tables = ['secret'] }\naction = 'block'\non_unknown = 'match'\n",
    );
    let decision = ask(&policies, "app", "SELEC 1");
    assert_eq!(matched(&decision), ["u", "strict", "table"]);
    assert_eq!(decision.unanswered.iter().map(|name| &**name).collect::<Vec<_>>(), ["star"]);
    assert!(matched(&ask(&policies, "app", "SELECT 1")).is_empty());
}

#[test]
fn only_and_unless_narrow_a_rule() {
    let policies = load(
        "[[rule]]\nname = 'x'\nfinds = 'select-star'\naction = 'warn'\n\
         only = [{ users = ['a*'] }, { databases = ['other'] }]\n\
         unless = [{ users = ['admin'] }, { tables = ['small'] }]\n",
    );
    assert_eq!(matched(&ask(&policies, "app", "SELECT * FROM t")), ["x"]);
    assert!(matched(&ask(&policies, "bob", "SELECT * FROM t")).is_empty());
    assert!(matched(&ask(&policies, "admin", "SELECT * FROM t")).is_empty());
    assert!(matched(&ask(&policies, "app", "SELECT * FROM small")).is_empty());
    assert_eq!(matched(&ask(&policies, "app", "SELECT * FROM small, t")), ["x"]);
}

#[test]
fn messages_show_what_is_known() {
    let policies = load(
        "[[rule]]\nname = 'x'\nfinds = 'select-star'\naction = 'warn'\nlimit = { rows = 10, timeout = '5s' }\n\
         message = '{rule} {{{table}}} {tables} {column} {rows} {limit} {user}@{database} {application} {query.joins} {query.kind}'\n\
         hint = '{fingerprint}'\n",
    );
    let decision = ask(&policies, "app", "SELECT * FROM a, b");
    assert_eq!(
        decision.matches[0].message,
        "x {a} a, b the column unknown 5s, 10 rows app@shop web-1 1 select"
    );
    assert_eq!(decision.matches[0].hint, "0000000000000000");
    assert!(policies.reads_application() && !policies.reads_bytes());
    let found =
        problems("[[rule]]\nname = 'x'\nfinds = 'select-star'\naction = 'warn'\nmessage = '{limit}'\n");
    assert!(found[0].contains("it has none (`{query.limit}` is"), "{found:?}");
}

#[test]
fn a_rule_speaks_once_a_text_and_every_statement_is_asked() {
    let policies = Policies::baseline();
    let decision = ask(&policies, "app", "SELECT * FROM a; SELECT * FROM b; DELETE FROM c");
    assert_eq!(matched(&decision), ["write-without-where", "select-star"]);
    assert!(decision.matches[1].message.contains(" a."), "{decision:?}");
}

#[test]
fn what_is_read_decides_what_is_part_of_a_class() {
    assert!(!Policies::baseline().reads_application());
    assert!(!Policies::baseline().reads_bytes());
    let rule = |text: &str| load(&format!("[[rule]]\nname = 'x'\naction = 'warn'\n{text}\n"));
    assert!(rule("when = 'client.application == \"x\"'").reads_application());
    assert!(rule("finds = 'select-star'\nunless = { applications = ['x'] }").reads_application());
    assert!(rule("when = 'query.bytes > 100'").reads_bytes());
}

/// What policies/README.md shows is a policy and its cases, and they hold.
#[test]
fn the_examples_of_the_manual_hold() {
    let manual = include_str!("../../../policies/README.md");
    let examples = manual.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let (cases, policies): (Vec<&str>, Vec<&str>) = examples.partition(|text| text.contains("[[case]]"));
    let loaded: Vec<Policies> = policies.into_iter().map(load).collect();
    let cases = load_cases(&Source::new("README.md", cases[0])).unwrap();
    assert_eq!(cases.len(), 2);
    assert_eq!(run_cases(&loaded[0], &cases), []);
}

proptest::proptest! {
    #[test]
    fn no_text_makes_the_loader_panic(
        text in "(\\[\\[rule\\]\\]\n|name|when|finds|action|only|unless|message| = |'|\"|\\{|\\}|\\[|\\]|\n|query\\.|[a-z.&|()<>= ])*"
    ) {
        if let Err(problems) = Policies::load(&[Source::new("p.toml", text)]) {
            let _ = crate::document::render(&problems, false);
        }
    }

    #[test]
    fn no_condition_makes_the_loader_panic(text in "(query\\.(tables|kind|joins|x)|client\\.user|&&|\\|\\||==|<|in|\"|[a-z0-9.()!\\[\\]{},?: +-])*") {
        let rule = format!("[[rule]]\nname = 'x'\naction = 'warn'\nwhen = '''{text}'''\n");
        if let Err(problems) = Policies::load(&[Source::new("p.toml", rule)]) {
            let _ = crate::document::render(&problems, false);
        }
    }
}
