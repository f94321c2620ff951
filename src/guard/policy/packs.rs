//! The policies that are built in: `--policies NAME` takes them. Each stands in `policies/`, with its cases beside it.

use std::sync::Arc;

use crate::document::Source;

/// A built-in policy.
#[derive(Debug)]
pub struct Pack {
    /// As `policies` and `--policies` name it.
    pub name: &'static str,
    /// What it is for, in a line.
    pub about: &'static str,
    policy: &'static str,
    cases: &'static str,
}

macro_rules! packs {
    ($($name:literal: $about:literal,)+) => {
        /// All of them.
        pub static PACKS: &[Pack] = &[$(Pack {
            name: $name,
            about: $about,
            policy: include_str!(concat!("../../../policies/", $name, ".toml")),
            cases: include_str!(concat!("../../../policies/", $name, ".test.toml")),
        },)+];
    };
}

packs! {
    "baseline": "sane for an application nobody has looked at yet",
    "strict": "refuses what baseline warns of, and what nobody can read",
    "analytics-lane": "reports, wide joins and exports go to the lane `analytics`, or to a replica",
    "injection": "shapes of statements that only somebody else says through an application",
    "agent": "SQL written by a machine: it may look, at a bounded number of rows",
    "ddl-safety": "definitions on tables that are in use: no long locks, no surprises",
    "migrations": "how definitions are written: types one regrets, steps that cannot be run again",
    "sessions": "transactions left open, the same lookup again and again, servers held",
    "planner": "what only the planner knows: whole tables read, products, spills, costs",
    "tenant": "no statement without the tenant it is about; a pattern to copy",
    "ownership": "each service writes its own tables only; a pattern to copy",
}

impl Pack {
    #[must_use]
    pub fn find(name: &str) -> Option<&'static Self> {
        PACKS.iter().find(|pack| pack.name == name)
    }

    /// Its policy file.
    #[must_use]
    pub fn source(&self) -> Arc<Source> {
        Source::new(format!("{}.toml", self.name), self.policy)
    }

    /// Its cases.
    #[must_use]
    pub fn cases(&self) -> Arc<Source> {
        Source::new(format!("{}.test.toml", self.name), self.cases)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::{Policies, load_cases, run_cases};
    use super::*;
    use crate::guard::{Lane, Lanes};

    #[test]
    fn every_pack_does_what_its_cases_say() {
        for pack in PACKS {
            let policies =
                Policies::load(&[pack.source()]).unwrap_or_else(|p| panic!("{}: {p:?}", pack.name));
            let cases = load_cases(&pack.cases()).unwrap_or_else(|p| panic!("{}: {p:?}", pack.name));
            let failures = run_cases(&policies, &cases);
            let shown: Vec<String> = failures.iter().map(ToString::to_string).collect();
            assert!(failures.is_empty(), "{}:\n{}", pack.name, shown.join("\n"));
            // Two-sided: each rule fires in a case, and some case is silent.
            for rule in policies.rules() {
                assert!(
                    cases.iter().any(|case| case.expects(&rule.name)),
                    "{}: no case for {}",
                    pack.name,
                    rule.name
                );
            }
            assert!(cases.iter().any(|case| case.expects_nothing()), "{}", pack.name);
        }
    }

    /// Detectors that no pack has a use for, and why.
    const IN_NO_PACK: &[(&str, &str)] =
        &[("adding-field-with-default", "table-rewrite finds the same column, and others, in ddl-safety")];

    #[test]
    fn every_detector_stands_in_a_pack_or_has_a_reason() {
        let used: Vec<&str> = PACKS
            .iter()
            .flat_map(|pack| {
                let policies = Policies::load(&[pack.source()]).unwrap();
                let found = policies.rules().iter().filter_map(|rule| rule.finds.map(|finds| finds.name));
                found.collect::<Vec<_>>()
            })
            .collect();
        for detector in crate::guard::rules::detectors() {
            let excused = IN_NO_PACK.iter().any(|(name, _)| *name == detector.name);
            assert!(
                used.contains(&detector.name) != excused,
                "{}: in a pack with cases beside it, or in this list with a reason",
                detector.name
            );
        }
        for (name, _) in IN_NO_PACK {
            assert!(crate::guard::rules::find(name).is_some_and(|found| found.name == *name), "{name}");
        }
    }

    /// What nobody asked for must not stop an application that works, nor fill its log.
    #[test]
    fn the_baseline_is_calm() {
        let policies = Policies::load(&[PACKS[0].source()]).unwrap();
        assert!(PACKS[0].name == "baseline" && policies.rules().len() <= 5);
        let needs = crate::guard::needs::Needs::of(&policies);
        assert_eq!(needs, crate::guard::needs::Needs::default(), "asked once a text, and never again");
        assert!(!policies.reads_plan());
    }

    #[test]
    fn reports_go_to_the_lane_that_is_called_so_if_there_is_one() {
        let pack = Pack::find("analytics-lane").unwrap();
        for (lanes, expected) in
            [(&[][..], Lane::Replica), (&["analytics"], Lane::Named(0)), (&["x"], Lane::Replica)]
        {
            let lanes = Lanes::new(lanes.iter().copied());
            let policies = Policies::load_with(&[pack.source()], &lanes).unwrap();
            assert!(policies.routes_to(expected), "{lanes:?}");
        }
    }

    #[test]
    fn all_packs_load_together() {
        let sources: Vec<_> = PACKS.iter().map(Pack::source).collect();
        Policies::load(&sources).unwrap();
    }
}
