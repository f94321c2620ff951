//! What comes out of a replay: `--json` writes it as it is, for people it becomes tables.

use std::collections::BTreeMap;

use serde::Serialize;

use super::PolicySet;
use super::tally::{ACTIONS, ByAction, Cost, Group, MAX_MET, Row, Tally};
use crate::guard::plan::{Advice, PlanFacts};
use crate::guard::policy::Policies;

/// Runs, their time, and which part of all that is.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Share {
    pub calls: u64,
    pub seconds: f64,
    pub share_of_calls: f64,
    /// Absent where no run has a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share_of_time: Option<f64>,
}

/// By the name of an action; those that never happened are left out.
pub type ActionShare = BTreeMap<&'static str, Share>;

/// The whole report.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Of the first and the last statement, RFC 3339.
    pub from: Option<String>,
    pub until: Option<String>,
    pub total: Share,
    /// Runs whose time is known.
    pub timed_calls: u64,
    pub failed: u64,
    pub unparsed: Share,
    /// Different statements; at least so many.
    pub statements: u64,
    pub policies: SetReport,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compare: Option<SetReport>,
    /// Runs that the two sets decide otherwise.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub moves: Vec<Move>,
    /// Statements that the two sets decide otherwise.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub differences: Vec<Difference>,
    /// Statements that a rule speaks of.
    pub fingerprints: Vec<ByFingerprint>,
    /// What has no row of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub other: Option<ByFingerprint>,
    pub applications: Vec<ByApplication>,
    /// What the planner says, by the time that the statements took.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub plans: Vec<WithPlan>,
}

/// One set of policies.
#[derive(Debug, Serialize)]
pub struct SetReport {
    pub paths: Vec<String>,
    pub actions: ActionShare,
    pub rules: Vec<ByRule>,
    /// Rules that met nothing.
    pub silent_rules: Vec<String>,
}

/// One rule.
#[derive(Debug, Serialize)]
pub struct ByRule {
    pub rule: String,
    pub file: String,
    pub action: &'static str,
    /// `enforce` or `observe`.
    pub mode: &'static str,
    #[serde(flatten)]
    pub share: Share,
    pub fingerprints: u64,
    /// There are more fingerprints than were counted.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub more_fingerprints: bool,
    /// Runs beyond the rule's limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exceeded: Option<Share>,
    /// Runs of which it could not say whether it matches: it reads what the log does not tell.
    #[serde(skip_serializing_if = "is_zero")]
    pub unanswered: u64,
    /// Further runs that it matches if a parameter, which the log does not tell, starts with a wildcard.
    #[serde(skip_serializing_if = "is_zero")]
    pub if_wildcard: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Runs that went from one action to another.
#[derive(Debug, Serialize)]
pub struct Move {
    /// By `--compare`.
    pub compare: &'static str,
    /// By `--policies`.
    pub policies: &'static str,
    #[serde(flatten)]
    pub share: Share,
}

/// One statement, literals left out.
#[derive(Debug, Serialize)]
pub struct ByFingerprint {
    pub fingerprint: String,
    pub normalized: String,
    pub kind: &'static str,
    #[serde(flatten)]
    pub share: Share,
    pub mean_seconds: f64,
    pub longest_seconds: f64,
    #[serde(skip_serializing_if = "is_zero")]
    pub failed: u64,
    pub actions: ActionShare,
    pub rules: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// A statement that the two sets decide otherwise.
#[derive(Debug, Serialize)]
pub struct Difference {
    pub fingerprint: String,
    pub normalized: String,
    /// Of the runs that are decided otherwise.
    #[serde(flatten)]
    pub share: Share,
    pub policies: ActionShare,
    pub compare: ActionShare,
    pub policies_rules: Vec<String>,
    pub compare_rules: Vec<String>,
}

/// One application of one user in one database.
#[derive(Debug, Serialize)]
pub struct ByApplication {
    pub user: String,
    pub database: String,
    pub application: String,
    #[serde(flatten)]
    pub share: Share,
    pub actions: ActionShare,
}

/// A statement and its plan.
#[derive(Debug, Serialize)]
pub struct WithPlan {
    pub fingerprint: String,
    pub normalized: String,
    #[serde(flatten)]
    pub share: Share,
    pub plan: PlanFacts,
    pub advice: Vec<Advice>,
}

impl Tally {
    /// The report: of each list the first `top`.
    #[must_use]
    pub fn report(&self, sets: &[PolicySet], top: usize) -> Report {
        let mut reports =
            sets.iter().zip(0..).map(|(set, at)| self.set(set, at)).collect::<Vec<_>>().into_iter();
        let nobody =
            || SetReport { paths: vec![], actions: ActionShare::new(), rules: vec![], silent_rules: vec![] };
        let policies = reports.next().unwrap_or_else(nobody);
        let other = (self.other.cost.calls > 0).then(|| self.fingerprint(None, &self.other, sets));
        Report {
            from: self.first.map(rfc3339),
            until: self.last.map(rfc3339),
            total: self.share(self.total),
            timed_calls: self.timed,
            failed: self.failed,
            unparsed: self.share(self.unparsed),
            statements: self.rows.len() as u64 + self.moved,
            policies,
            compare: reports.next(),
            moves: self.moves(),
            differences: self.differences(sets, top),
            fingerprints: self.fingerprints(sets, top),
            other,
            applications: self.applications(top),
            plans: self.plans(top),
        }
    }

    fn share(&self, cost: Cost) -> Share {
        let timed = self.total.seconds > 0.0;
        Share {
            calls: cost.calls,
            seconds: cost.seconds,
            share_of_calls: cost.calls as f64 / self.total.calls.max(1) as f64,
            share_of_time: timed.then(|| cost.seconds / self.total.seconds),
        }
    }

    fn actions(&self, actions: &ByAction) -> ActionShare {
        let happened = ACTIONS.iter().zip(actions).filter(|(_, cost)| cost.calls > 0);
        happened.map(|(action, cost)| (action.name(), self.share(*cost))).collect()
    }

    fn set(&self, set: &PolicySet, at: usize) -> SetReport {
        let mut report = SetReport {
            paths: set.paths.clone(),
            actions: ActionShare::new(),
            rules: Vec::new(),
            silent_rules: Vec::new(),
        };
        let Some(tally) = self.sets.get(at) else { return report };
        report.actions = self.actions(&tally.actions);
        for (rule, tally) in set.policies.rules().iter().zip(&tally.rules) {
            if tally.cost.calls == 0 && tally.unanswered == 0 && tally.with_wildcard == 0 {
                report.silent_rules.push(rule.name.to_string());
                continue;
            }
            report.rules.push(ByRule {
                rule: rule.name.to_string(),
                file: rule.file.to_string(),
                action: rule.act.action().name(),
                mode: if rule.enforced { "enforce" } else { "observe" },
                share: self.share(tally.cost),
                fingerprints: tally.fingerprints.len() as u64,
                more_fingerprints: tally.fingerprints.len() >= MAX_MET,
                exceeded: (tally.exceeded.calls > 0).then(|| self.share(tally.exceeded)),
                unanswered: tally.unanswered,
                if_wildcard: tally.with_wildcard,
            });
        }
        let weight = |rule: &ByRule| (rule.share.seconds, rule.share.calls);
        report.rules.sort_by(|a, b| descending(weight(a), weight(b)).then_with(|| a.rule.cmp(&b.rule)));
        report
    }

    fn moves(&self) -> Vec<Move> {
        let mut moves: Vec<Move> = self
            .moves
            .iter()
            .filter(|((from, to), _)| from != to)
            .map(|((from, to), cost)| Move {
                compare: ACTIONS[*from].name(),
                policies: ACTIONS[*to].name(),
                share: self.share(*cost),
            })
            .collect();
        moves.sort_by(|a, b| {
            let key = |one: &Move| (one.share.seconds, one.share.calls);
            descending(key(a), key(b)).then_with(|| (a.compare, a.policies).cmp(&(b.compare, b.policies)))
        });
        moves
    }

    /// Rows that are wanted, the costliest first.
    fn sorted(&self, wanted: impl Fn(&Row) -> Option<Cost>) -> Vec<(u64, &Row, Cost)> {
        let mut rows: Vec<_> =
            self.rows.iter().filter_map(|(id, row)| Some((*id, row, wanted(row)?))).collect();
        let key = |(_, _, cost): &(u64, &Row, Cost)| (cost.seconds, cost.calls);
        rows.sort_by(|a, b| descending(key(a), key(b)).then_with(|| a.0.cmp(&b.0)));
        rows
    }

    fn fingerprints(&self, sets: &[PolicySet], top: usize) -> Vec<ByFingerprint> {
        let spoken =
            |row: &Row| row.sets.first().is_some_and(|set| !set.rules.is_empty()).then_some(row.cost);
        let rows = self.sorted(spoken).into_iter().take(top);
        rows.map(|(id, row, _)| self.fingerprint(Some(id), row, sets)).collect()
    }

    fn fingerprint(&self, id: Option<u64>, row: &Row, sets: &[PolicySet]) -> ByFingerprint {
        let set = row.sets.first().cloned().unwrap_or_default();
        ByFingerprint {
            fingerprint: id.map(hex).unwrap_or_default(),
            normalized: row.normalized.to_string(),
            kind: row.kind.as_str(),
            share: self.share(row.cost),
            mean_seconds: row.cost.seconds / row.cost.calls.max(1) as f64,
            longest_seconds: row.longest,
            failed: row.failed,
            actions: self.actions(&set.actions),
            rules: sets.first().map(|first| names(&first.policies, &set.rules)).unwrap_or_default(),
            message: set.message.map(String::from),
            hint: set.hint.map(String::from),
        }
    }

    fn differences(&self, sets: &[PolicySet], top: usize) -> Vec<Difference> {
        let [one, other] = sets else { return Vec::new() };
        let rows = self.sorted(|row| (row.differs.calls > 0).then_some(row.differs)).into_iter().take(top);
        rows.filter_map(|(id, row, _)| {
            let [first, second] = row.sets.as_slice() else { return None };
            Some(Difference {
                fingerprint: hex(id),
                normalized: row.normalized.to_string(),
                share: self.share(row.differs),
                policies: self.actions(&first.actions),
                compare: self.actions(&second.actions),
                policies_rules: names(&one.policies, &first.rules),
                compare_rules: names(&other.policies, &second.rules),
            })
        })
        .collect()
    }

    fn applications(&self, top: usize) -> Vec<ByApplication> {
        let mut groups: Vec<&Group> = self.groups.values().collect();
        let name = |group: &Group| (group.user.clone(), group.database.clone(), group.application.clone());
        let key = |group: &Group| (group.cost.seconds, group.cost.calls);
        groups.sort_by(|a, b| descending(key(a), key(b)).then_with(|| name(a).cmp(&name(b))));
        groups.truncate(top);
        groups.extend((self.other_group.cost.calls > 0).then_some(&self.other_group));
        let one = |group: &Group| ByApplication {
            user: group.user.to_string(),
            database: group.database.to_string(),
            application: group.application.to_string(),
            share: self.share(group.cost),
            actions: group.sets.first().map(|actions| self.actions(actions)).unwrap_or_default(),
        };
        groups.into_iter().map(one).collect()
    }

    fn plans(&self, top: usize) -> Vec<WithPlan> {
        let rows = self.sorted(|row| row.planned.is_some().then_some(row.cost)).into_iter().take(top);
        rows.filter_map(|(id, row, _)| {
            let planned = row.planned.as_ref()?;
            Some(WithPlan {
                fingerprint: hex(id),
                normalized: row.normalized.to_string(),
                share: self.share(row.cost),
                plan: (*planned.facts).clone(),
                advice: planned.advice.to_vec(),
            })
        })
        .collect()
    }
}

fn names(policies: &Policies, rules: &[u32]) -> Vec<String> {
    let rules = rules.iter().filter_map(|index| policies.rules().get(*index as usize));
    rules.map(|rule| rule.name.to_string()).collect()
}

fn hex(fingerprint: u64) -> String {
    format!("{fingerprint:016x}")
}

fn descending(a: (f64, u64), b: (f64, u64)) -> std::cmp::Ordering {
    b.partial_cmp(&a).unwrap_or(std::cmp::Ordering::Equal)
}

fn rfc3339(micros: i64) -> String {
    jiff::Timestamp::from_microsecond(micros).map_or_else(|_| micros.to_string(), |at| at.to_string())
}
