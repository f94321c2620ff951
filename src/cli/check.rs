//! `pgsluice check`: every error of settings, policies and the cases beside them at once.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use super::args::{CheckArgs, Schema};
use super::mistake::Mistake;
use super::{Checked, schema, suite};
use crate::config;
use crate::guard::Lane;

pub fn command(args: &CheckArgs) -> ExitCode {
    if args.schema {
        return schema::print(Schema::Policies);
    }
    // Without a file and without servers only the policies are in question.
    let only_policies = args.settings.config.is_none() && args.settings.primary.is_none();
    let mut checked = super::read(&args.settings, !only_policies);
    add_cases(&mut checked);
    let mut out = io::stdout().lock();
    if args.json {
        for problem in &checked.problems {
            // With standard output closed there is nobody left to tell.
            let _ = serde_json::to_writer(&mut out, &Mistake::from(problem));
            let _ = writeln!(out);
        }
        return if checked.problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    if args.print {
        let _ = out.write_all(config::print(&checked.shown).as_bytes());
    }
    if !checked.problems.is_empty() {
        let _ = out.flush();
        super::complain(&checked.problems);
        return ExitCode::FAILURE;
    }
    if !args.print {
        let _ = out.write_all(summary(&checked, only_policies).as_bytes());
    }
    ExitCode::SUCCESS
}

/// What is wrong with the cases beside the policies. What is wrong with the policies is known already.
fn add_cases(checked: &mut Checked) {
    let paths: Vec<PathBuf> = checked.settings.policies.iter().map(|policy| policy.0.clone()).collect();
    if paths.is_empty() {
        return;
    }
    let (_, found) = suite::read(&paths, &checked.settings.known_lanes());
    for problem in found {
        if !checked.problems.contains(&problem) {
            checked.problems.push(problem);
        }
    }
}

fn summary(checked: &Checked, only_policies: bool) -> String {
    let policies = checked.policies.as_ref().map(|loaded| &loaded.policies);
    let rules = policies.map_or(0, |policies| policies.rules().len());
    let of = if checked.settings.policies.is_empty() {
        " of the built-in baseline, which only observe"
    } else {
        ""
    };
    let mut text = format!("no errors; {rules} rules{of}\n");
    let Some(policies) = policies.filter(|_| !only_policies) else { return text };
    if checked.settings.replicas.is_empty() && policies.routes_to(Lane::Replica) {
        text += "note: rules route to a replica, and there is none: what they match runs on the primary\n";
    }
    for name in checked.settings.lanes.keys() {
        if !policies.lanes().find(name).is_some_and(|lane| policies.routes_to(lane)) {
            text += &format!("note: no rule routes to the lane {name}: nothing runs there\n");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::args::SettingsArgs;
    use super::super::scratch::Scratch;
    use super::*;

    #[test]
    fn a_lane_is_one_that_the_settings_declare() {
        let scratch = Scratch::new("check-lanes");
        let rule = "[[rule]]\nname = 'x'\nwhen = 'query.group_by'\naction = 'route'\nroute = 'analytics'\n";
        scratch.write("p.toml", rule);
        let case = "[[case]]\nsql = 'SELECT a FROM t GROUP BY a'\nexpect = [{ rule = 'x', action = 'route' }]\nroute = 'analytics'\n";
        scratch.write("p.test.toml", case);
        let of = |lane: &str| {
            let text = format!(
                "primary = 'postgres://u@p/d'\npolicies = ['p.toml']\n[lanes.{lane}]\nservers = ['postgres://u@a/d']\n"
            );
            let config = Some(scratch.write("c.toml", &text));
            let mut checked = crate::cli::read(&SettingsArgs { config, ..SettingsArgs::default() }, true);
            add_cases(&mut checked);
            checked
        };
        let good = of("analytics");
        assert!(good.problems.is_empty(), "{:?}", good.problems);
        assert_eq!(summary(&good, false), "no errors; 1 rules\n");
        let bad: Vec<String> = of("export").problems.iter().map(ToString::to_string).collect();
        assert_eq!(bad.len(), 1, "{bad:?}");
        assert!(bad[0].contains("p.toml:5:9: the route `analytics` leads nowhere"), "{bad:?}");
        scratch.write("p.toml", &rule.replace("analytics", "replica"));
        scratch.write("p.test.toml", &case.replace("analytics", "replica"));
        let said = summary(&of("analytics"), false);
        assert!(said.ends_with("note: no rule routes to the lane analytics: nothing runs there\n"), "{said}");
    }

    #[test]
    fn mistakes_of_cases_are_mistakes_too_and_none_is_told_twice() {
        let scratch = Scratch::new("check");
        scratch.write("a.toml", "[[rule]]\nname = 'x'\naction = 'blok'\n");
        let policy =
            scratch.write("b.toml", "[[rule]]\nname = 'y'\nfinds = 'select-star'\naction = 'warn'\n");
        scratch.write("b.test.toml", "[[case]]\nsql = 'x'\nexpect = [{ rule = 'z', action = 'warn' }]\n");
        let of = |path: PathBuf| {
            let policies = vec![path.to_str().unwrap().to_owned()];
            let mut checked = crate::cli::read(&SettingsArgs { policies, ..SettingsArgs::default() }, false);
            add_cases(&mut checked);
            checked
                .problems
                .iter()
                .map(|problem| serde_json::to_value(Mistake::from(problem)).unwrap())
                .collect::<Vec<_>>()
        };
        let found = of(policy);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(
            (&found[0]["line"], &found[0]["column"], &found[0]["end_column"]),
            (&3.into(), &20.into(), &23.into())
        );
        assert_eq!(found[0]["message"], "there is no rule `z`");
        let found = of(scratch.path().to_owned());
        assert_eq!(
            found.iter().filter(|mistake| mistake["message"].as_str().unwrap().contains("blok")).count(),
            1
        );
        assert!(found.iter().any(|mistake| mistake["message"] == "there is no rule `z`"), "{found:?}");
    }
}
