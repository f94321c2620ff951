//! A canary: policies that decide nothing, asked beside those in force about each statement that no cache knows.

use std::collections::HashMap;
use std::sync::Arc;

use super::policy::Policies;
use super::{Action, Circumstances, Guard, Judgement, settle};

/// Differences listed in one report, by rule and by what it says before and after.
const LISTED: usize = 256;
/// Statements compared between two reports of a thread; more are only counted.
const COMPARED: u32 = 2_000;
/// The same for runs of statements whose verdict only a run shows.
const RUNS: u32 = 2_000;

/// What a rule says of a statement: nothing, or an action, which may be observed only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Said(Option<(Action, bool)>);

impl std::fmt::Display for Said {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            None => f.write_str("nothing"),
            Some((action, true)) => f.write_str(action.name()),
            Some((action, false)) => write!(f, "{} (observed)", action.name()),
        }
    }
}

/// A rule, what it says in the version in force, and what in the canary.
pub type Difference = (Arc<str>, Said, Said);

/// One kind of difference: how many statements, and the first of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    pub statements: u64,
    pub fingerprint: u64,
    pub normalized: Arc<str>,
}

/// What differed so far.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Statements that both versions judged. One that a cache answers is not judged again.
    pub judged: u64,
    pub differing: u64,
    /// Runs of statements with rules that read the session, the time, values or a share: both versions were asked.
    pub runs: u64,
    /// Statements and runs that came too fast to be judged twice.
    pub skipped: u64,
    pub rows: HashMap<Difference, Sample>,
}

impl Report {
    /// Adds another thread's.
    pub fn add(&mut self, other: Self) {
        self.judged += other.judged;
        self.differing += other.differing;
        self.runs += other.runs;
        self.skipped += other.skipped;
        for (difference, sample) in other.rows {
            self.count(difference, sample);
        }
    }

    fn count(&mut self, difference: Difference, sample: Sample) {
        if let Some(known) = self.rows.get_mut(&difference) {
            known.statements += sample.statements;
        } else if self.rows.len() < LISTED {
            self.rows.insert(difference, sample);
        }
    }
}

/// The canary of one guard.
#[derive(Debug)]
pub(super) struct Shadow {
    pub(super) policies: Arc<Policies>,
    report: Report,
    left: u32,
    runs_left: u32,
}

impl Shadow {
    pub(super) fn new(policies: Arc<Policies>) -> Self {
        Self { policies, report: Report::default(), left: COMPARED, runs_left: RUNS }
    }

    /// Whether one more statement may be compared before the next report.
    pub(super) fn has_time(&mut self) -> bool {
        let has = self.left > 0;
        self.left = self.left.saturating_sub(1);
        self.report.skipped += u64::from(!has);
        has
    }

    /// Compares what the policies in force said with what these would.
    pub(super) fn compare(&mut self, policies: &Policies, now: &Judgement, then: &Judgement) {
        self.report.judged += 1;
        let mut found = differences((policies, now), (&self.policies, then));
        if let (Some(now), Some(then)) = (&now.with_wildcard, &then.with_wildcard) {
            let more = differences((policies, now), (&self.policies, then));
            found.extend(more.into_iter().filter(|one| !found.contains(one)).collect::<Vec<_>>());
        }
        if found.is_empty() {
            found.extend(consequences(now, then));
        }
        self.note(now, found);
    }

    fn note(&mut self, now: &Judgement, found: Vec<Difference>) {
        self.report.differing += u64::from(!found.is_empty());
        for difference in found {
            let (fingerprint, normalized) = (now.fingerprint, Arc::clone(&now.normalized));
            self.report.count(difference, Sample { statements: 1, fingerprint, normalized });
        }
    }

    /// Compares what a run made of two judgements, but for what differed before it.
    fn compare_run(&mut self, policies: &Policies, now: [&Judgement; 2], then: [&Judgement; 2]) {
        self.report.runs += 1;
        let of = |now: &Judgement, then: &Judgement| {
            let mut found = differences((policies, now), (&self.policies, then));
            if found.is_empty() {
                found.extend(consequences(now, then));
            }
            found
        };
        let before = of(now[0], then[0]);
        let mut found = of(now[1], then[1]);
        found.retain(|one| !before.contains(one));
        self.note(now[1], found);
    }

    /// What was found since the last time.
    pub(super) fn take(&mut self) -> Report {
        (self.left, self.runs_left) = (COMPARED, RUNS);
        std::mem::take(&mut self.report)
    }
}

impl Judgement {
    /// Keeps what a canary says for the runs, where they may show more. Of a pattern that begins with a wildcard, too.
    pub(super) fn beside(&mut self, then: Self) {
        let open = |one: &Self| one.live.is_some();
        let wild = then.with_wildcard.clone();
        let then = Arc::new(then);
        if let Some(now) = &mut self.with_wildcard {
            let then = wild.unwrap_or_else(|| Arc::clone(&then));
            if open(now) || open(&then) {
                *now = Arc::new(Self { canary: Some(then), ..Self::clone(now) });
            }
        }
        if open(self) || open(&then) {
            self.canary = Some(then);
        }
    }
}

impl Guard {
    /// Asks the canary about a run. `settled`: what the policies in force made of it.
    pub fn try_run(&mut self, judged: &Judgement, settled: &Judgement, around: &Circumstances<'_>) {
        let (Some(canary), Some(shadow)) = (&judged.canary, &mut self.shadow) else { return };
        if shadow.runs_left == 0 {
            shadow.report.skipped += 1;
            return;
        }
        shadow.runs_left -= 1;
        let then = settle(canary, around);
        shadow.compare_run(&self.policies, [judged, settled], [canary, &then]);
    }
}

/// What follows, where the same rules speak.
fn consequences(now: &Judgement, then: &Judgement) -> Option<Difference> {
    let said = |judgement: &Judgement| Said(Some((judgement.action, true)));
    otherwise(now, then).then(|| ("(limits, settings or text)".into(), said(now), said(then)))
}

/// The same rules speak, but not with the same consequences.
fn otherwise(now: &Judgement, then: &Judgement) -> bool {
    let bounds = |judgement: &Judgement| judgement.limits.as_ref().map(|limits| limits.without_rules());
    now.lane != then.lane
        || now.set != then.set
        || now.rewrite != then.rewrite
        || bounds(now) != bounds(then)
        || now.with_wildcard.is_some() != then.with_wildcard.is_some()
}

fn differences(now: (&Policies, &Judgement), then: (&Policies, &Judgement)) -> Vec<Difference> {
    let said = |(policies, judgement): (&Policies, &Judgement)| -> Vec<(Arc<str>, Said)> {
        let each = judgement.hits.iter().filter_map(|hit| {
            let rule = policies.rules().get(hit.rule as usize)?;
            Some((Arc::clone(&rule.name), Said(Some((hit.action, hit.enforced)))))
        });
        each.collect()
    };
    let (now, then) = (said(now), said(then));
    let of = |all: &[(Arc<str>, Said)], rule: &str| {
        all.iter().find(|(name, _)| &**name == rule).map_or(Said(None), |(_, said)| *said)
    };
    let fresh = then.iter().filter(|(rule, _)| of(&now, rule) == Said(None));
    let all = now.iter().chain(fresh).map(|(rule, _)| (Arc::clone(rule), of(&now, rule), of(&then, rule)));
    all.filter(|(_, now, then)| now != then).collect()
}
