//! Rules that read what changes from run to run: asked again at each, about a text that was judged before.

use std::sync::Arc;

use super::check::Reads;
use super::decide::{Asked, Asking, Outcome, speak};
use super::decision::{Candidate, Decision, Match};
use super::model::Policies;
use super::rewrite::Text;
use crate::guard::catalog::Catalog;
use crate::guard::facts::Facts;
use crate::guard::{CatalogFacts, Circumstances, ClientFacts, Judgement, Kind, Subject, bench};

/// What is left to ask of a judged text, and all that is needed for it.
pub struct Live {
    env: Arc<cel::Env>,
    /// What the candidates' conditions read.
    reads: Reads,
    client: ClientFacts,
    fingerprint: u64,
    statements: Box<[Facts]>,
    known: Box<[CatalogFacts]>,
    catalog: Option<Arc<Catalog>>,
    /// The text, if a rule may rewrite it, and what it is read by.
    text: Option<(Box<[u8]>, bool)>,
    /// By statement.
    candidates: Box<[Candidate]>,
    /// What matched already.
    matches: Vec<Match>,
}

impl std::fmt::Debug for Live {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.candidates.iter().map(|candidate| &candidate.rule.name)).finish()
    }
}

impl Live {
    /// `None` if nothing is left to ask.
    pub(in crate::guard) fn of(
        policies: &Policies,
        (client, fingerprint): (&ClientFacts, u64),
        statements: &[Facts],
        known: &[CatalogFacts],
        catalog: Option<&Arc<Catalog>>,
        text: Option<&Text<'_>>,
        decision: &mut Decision,
    ) -> Option<Arc<Self>> {
        let text = text.filter(|_| decision.rewrites());
        // A rule that speaks of an earlier statement has nothing to add about a later one.
        let mut candidates = std::mem::take(&mut decision.candidates);
        candidates.retain(|candidate| {
            let spoken = decision.matches.binary_search_by_key(&candidate.index, |found| found.index);
            let spoken = spoken.ok().and_then(|at| decision.matches.get(at));
            spoken.is_none_or(|found| candidate.statement < found.statement)
        });
        if candidates.is_empty() {
            return None;
        }
        let mut reads = Reads::default();
        let mut met = vec![false; policies.rules.len()];
        for Candidate { index, rule, .. } in &candidates {
            let first = met.get_mut(*index as usize).is_some_and(|met| !std::mem::replace(met, true));
            if let Some(condition) = rule.when.as_ref().filter(|_| first) {
                reads.add(&condition.reads);
            }
        }
        Some(Arc::new(Self {
            env: Arc::clone(&policies.env),
            reads,
            client: client.clone(),
            fingerprint,
            statements: statements.into(),
            known: known.into(),
            catalog: catalog.map(Arc::clone),
            text: text.map(|text| (text.bytes.into(), text.standard_conforming_strings)),
            candidates: candidates.into(),
            matches: decision.matches.clone(),
        }))
    }

    /// Some rule waits for the plan.
    #[must_use]
    pub fn reads_plan(&self) -> bool {
        self.candidates.iter().any(|candidate| candidate.rule.reads_root("plan"))
    }

    /// A rule that is open reads the plan, the statement stands alone and can be planned, and its largest table has at
    /// least `rows` rows or nobody knows how many.
    #[must_use]
    pub fn wants_plan(&self, rows: Option<u64>) -> bool {
        let (Some(rows), [facts]) = (rows, &*self.statements) else { return false };
        let plannable =
            matches!(facts.kind, Kind::Select | Kind::Insert | Kind::Update | Kind::Delete | Kind::Merge);
        let large = match self.known.first() {
            Some(known) if known.unknown_tables.is_empty() => {
                known.rows.is_none_or(|largest| largest >= rows)
            }
            _ => true,
        };
        plannable && large && !facts.tables.is_empty() && self.reads_plan()
    }

    /// The candidates that match in these circumstances.
    fn ask(&self, around: &Circumstances<'_>) -> Vec<Match> {
        let catalog = around.catalog.or(self.catalog.as_deref());
        let around = Circumstances { catalog, ..*around };
        let mut found: Vec<Match> = Vec::new();
        for of_one in self.candidates.chunk_by(|a, b| a.statement == b.statement) {
            let Some(at) = of_one.first().map(|candidate| candidate.statement) else { continue };
            let Some(facts) = self.statements.get(at) else { continue };
            let subject = Subject { facts, client: &self.client, around: &around, known: self.known.get(at) };
            let mut asking = Asking::new(&self.env, &self.reads);
            for Candidate { index, rule, .. } in of_one {
                if found.iter().any(|found| found.index == *index) {
                    continue;
                }
                if let Outcome::Speaks(finding) = asking.ask(rule, &subject, Asked::Now) {
                    found.push(speak((*index, at), rule, &subject, self.fingerprint, finding));
                }
            }
        }
        found
    }

    /// Bytes that it keeps alive, about.
    pub(in crate::guard) fn size(&self) -> usize {
        let words = |found: &Match| found.message.len() + found.hint.len() + found.because.len();
        size_of::<Self>()
            + self.statements.iter().map(facts_size).sum::<usize>()
            + self.text.as_ref().map_or(0, |(text, _)| text.len())
            + size_of_val(&*self.known)
            + size_of_val(&*self.candidates)
            + self.matches.iter().map(|found| size_of_val(found) + words(found)).sum::<usize>()
    }
}

/// Lists are counted by the texts in them.
fn facts_size(facts: &Facts) -> usize {
    let lists = Facts::FIELDS.iter().map(|field| match (field.get)(facts) {
        crate::guard::fact::Value::Texts(list) => {
            list.iter().map(|text| size_of::<String>() + text.len()).sum()
        }
        crate::guard::fact::Value::Text(text) => text.len(),
        _ => 0,
    });
    size_of::<Facts>() + lists.sum::<usize>()
}

/// The verdict of one run. Pure; allocates only where a rule matches that [`crate::guard::Guard::judge`] had to leave
/// open. To be asked where [`Judgement::live`] is some, before a statement runs: at Query, and at Bind or Execute, where
/// parameters are known (at Query there are none: `params: Some(&[])`).
#[must_use]
pub fn settle(judgement: &Arc<Judgement>, around: &Circumstances<'_>) -> Arc<Judgement> {
    let Some(live) = &judgement.live else { return Arc::clone(judgement) };
    let found = live.ask(around);
    if found.is_empty() {
        return Arc::clone(judgement);
    }
    let kept = live.matches.iter().filter(|kept| !found.iter().any(|found| found.index == kept.index));
    let mut matches: Vec<Match> = kept.cloned().collect();
    matches.extend(found);
    matches.sort_by_key(|found| found.index);
    let decision = Decision { matches, ..Decision::default() };
    let mut settled = Judgement { live: None, canary: None, ..Judgement::clone(judgement) };
    let catalog = around.catalog.or(live.catalog.as_deref());
    let text = live.text.as_ref().map(|(bytes, standard)| Text {
        bytes,
        standard_conforming_strings: *standard,
        catalog,
    });
    bench::apply(&mut settled, &decision, &live.statements, text.as_ref());
    Arc::new(settled)
}
