//! Rules that read what changes from run to run: asked again at each, about a text that was judged before.
//!
//! Those that wait for the plan alone have one answer for each plan: [`settle_by_plan`] gives it, to be kept beside the
//! plan, so that later runs ask nobody.

use std::sync::Arc;

use super::check::Reads;
use super::decide::{Asked, Asking, Outcome, speak};
use super::decision::{Candidate, Decision, Match};
use super::model::{PlanAsk, Policies};
use super::rewrite::Text;
use crate::guard::catalog::Catalog;
use crate::guard::facts::Facts;
use crate::guard::plan::{Plan, ValueClasses};
use crate::guard::{CatalogFacts, Circumstances, ClientFacts, Judgement, Kind, Subject, bench};

/// What is known of a judged text, whatever is left to ask.
struct About {
    env: Arc<cel::Env>,
    client: ClientFacts,
    fingerprint: u64,
    statements: Box<[Facts]>,
    known: Box<[CatalogFacts]>,
    catalog: Option<Arc<Catalog>>,
    /// The text, if a rule may rewrite it, and what it is read by.
    text: Option<(Box<[u8]>, bool)>,
}

/// What is left to ask of a judged text, and all that is needed for it.
pub struct Live {
    about: Arc<About>,
    /// What the candidates' conditions read.
    reads: Reads,
    /// By statement: those that wait for the plan and nothing else.
    by_plan: Box<[Candidate]>,
    /// By statement: the others.
    others: Box<[Candidate]>,
    /// What matched already.
    matches: Vec<Match>,
    wants: PlanWish,
    /// The verdict of a run whose plan is not known, as far as the plan decides it, where it is another.
    planless: Option<Arc<Judgement>>,
}

/// What rules that read the plan make of it.
#[derive(Debug, Default)]
struct PlanWish {
    /// Some rule wants its answer before the run, some behind it, some leave that to the settings.
    inline: bool,
    background: bool,
    unsaid: bool,
    /// It stands alone, has a plan and names a table.
    plannable: bool,
    /// Rows of its largest table; `None`: nobody knows.
    largest: Option<u64>,
    /// Of the parameters' values.
    classes: ValueClasses,
}

impl std::fmt::Debug for Live {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.candidates().map(|candidate| &candidate.rule.name)).finish()
    }
}

impl PlanWish {
    fn of(
        candidates: &[Candidate],
        statements: &[Facts],
        known: &[CatalogFacts],
        catalog: Option<&Catalog>,
    ) -> Self {
        let mut wish = Self::default();
        for candidate in candidates.iter().filter(|candidate| candidate.rule.reads_root("plan")) {
            match candidate.rule.plan {
                Some(PlanAsk::Inline) => wish.inline = true,
                Some(PlanAsk::Background) => wish.background = true,
                None => wish.unsaid = true,
            }
        }
        let [facts] = statements else { return wish };
        let kind =
            matches!(facts.kind, Kind::Select | Kind::Insert | Kind::Update | Kind::Delete | Kind::Merge);
        wish.plannable = kind && !facts.explain && !facts.tables.is_empty() && wish.is_some();
        wish.largest =
            known.first().filter(|known| known.unknown_tables.is_empty()).and_then(|known| known.rows);
        if wish.plannable {
            wish.classes = ValueClasses::of(facts, catalog);
        }
        wish
    }

    fn is_some(&self) -> bool {
        self.inline || self.background || self.unsaid
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
    ) -> Option<Self> {
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
        let wants = PlanWish::of(&candidates, statements, known, catalog.map(|catalog| &**catalog));
        let (by_plan, others): (Vec<_>, Vec<_>) =
            candidates.into_iter().partition(|candidate| candidate.rule.depends_on() == ["plan"]);
        let about = About {
            env: Arc::clone(&policies.env),
            client: client.clone(),
            fingerprint,
            statements: statements.into(),
            known: known.into(),
            catalog: catalog.map(Arc::clone),
            text: text.map(|text| (text.bytes.into(), text.standard_conforming_strings)),
        };
        Some(Self {
            about: Arc::new(about),
            reads,
            by_plan: by_plan.into(),
            others: others.into(),
            matches: decision.matches.clone(),
            wants,
            planless: None,
        })
    }

    /// Of this judgement, which has nothing live yet.
    pub(in crate::guard) fn attach(mut self, judgement: &mut Judgement) {
        if !self.by_plan.is_empty() {
            let found = self.ask(&self.by_plan, &Circumstances::default());
            if !found.is_empty() || !self.others.is_empty() {
                self.planless = Some(Arc::new(self.with(judgement, found, None)));
            }
        }
        judgement.live = Some(Arc::new(self));
    }

    fn candidates(&self) -> impl Iterator<Item = &Candidate> {
        self.by_plan.iter().chain(&self.others)
    }

    /// Some rule waits for the plan.
    #[must_use]
    #[inline]
    pub fn reads_plan(&self) -> bool {
        self.wants.is_some()
    }

    /// Some rule waits for more than the plan.
    #[must_use]
    #[inline]
    pub fn reads_more(&self) -> bool {
        !self.others.is_empty()
    }

    /// A rule that is open reads the plan, the statement stands alone and can be planned, and its largest table has at
    /// least `rows` rows or nobody knows how many.
    #[must_use]
    #[inline]
    pub fn wants_plan(&self, rows: Option<u64>) -> bool {
        let Some(rows) = rows else { return false };
        self.wants.plannable && self.wants.largest.is_none_or(|largest| largest >= rows)
    }

    /// The statement should wait for its plan; `background`: what holds for rules that say nothing of it.
    #[must_use]
    pub fn waits_for_plan(&self, background: bool) -> bool {
        self.wants.inline || (self.wants.unsaid && !background)
    }

    /// How the parameters' values decide which plan is theirs.
    #[must_use]
    pub fn value_classes(&self) -> &ValueClasses {
        &self.wants.classes
    }

    /// The statement's facts, if it stands alone.
    #[must_use]
    pub fn facts(&self) -> Option<&Facts> {
        if let [facts] = &*self.about.statements { Some(facts) } else { None }
    }

    /// The candidates that match in these circumstances.
    fn ask(&self, candidates: &[Candidate], around: &Circumstances<'_>) -> Vec<Match> {
        let about = &*self.about;
        let catalog = around.catalog.or(about.catalog.as_deref());
        let around = Circumstances { catalog, ..*around };
        let mut found: Vec<Match> = Vec::new();
        for of_one in candidates.chunk_by(|a, b| a.statement == b.statement) {
            let Some(at) = of_one.first().map(|candidate| candidate.statement) else { continue };
            let Some(facts) = about.statements.get(at) else { continue };
            let subject =
                Subject { facts, client: &about.client, around: &around, known: about.known.get(at) };
            let mut asking = Asking::new(&about.env, &self.reads);
            for Candidate { index, rule, .. } in of_one {
                if found.iter().any(|found| found.index == *index) {
                    continue;
                }
                if let Outcome::Speaks(finding) = asking.ask(rule, &subject, Asked::Now) {
                    found.push(speak((*index, at), rule, &subject, about.fingerprint, finding));
                }
            }
        }
        found
    }

    /// The judgement with these matches, and what is left to ask. The candidates of one plan are done with.
    fn with(&self, judgement: &Judgement, found: Vec<Match>, catalog: Option<&Catalog>) -> Judgement {
        let kept = self.matches.iter().filter(|kept| !found.iter().any(|found| found.index == kept.index));
        let mut matches: Vec<Match> = kept.cloned().collect();
        matches.extend(found);
        matches.sort_by_key(|found| found.index);
        let decision = Decision { matches, ..Decision::default() };
        let mut settled = Judgement { live: None, ..Judgement::clone(judgement) };
        let about = &*self.about;
        let catalog = catalog.or(about.catalog.as_deref());
        let text = about.text.as_ref().map(|(bytes, standard)| Text {
            bytes,
            standard_conforming_strings: *standard,
            catalog,
        });
        bench::apply(&mut settled, &decision, &about.statements, text.as_ref());
        if !self.others.is_empty() {
            settled.live = Some(Arc::new(Self {
                about: Arc::clone(&self.about),
                reads: self.reads.clone(),
                by_plan: Box::default(),
                others: self.others.clone(),
                matches: decision.matches,
                wants: PlanWish::default(),
                planless: None,
            }));
        }
        settled
    }

    /// Bytes that it keeps alive, about.
    pub(in crate::guard) fn size(&self) -> usize {
        let words = |found: &Match| found.message.len() + found.hint.len() + found.because.len();
        let about = &*self.about;
        let planless = self.planless.as_ref().map_or(0, |judgement| size_of_val(&**judgement));
        size_of::<Self>()
            + size_of::<About>()
            + about.statements.iter().map(facts_size).sum::<usize>()
            + about.text.as_ref().map_or(0, |(text, _)| text.len())
            + size_of_val(&*about.known)
            + size_of_val(&*self.by_plan)
            + size_of_val(&*self.others)
            + planless
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
    let mut found = live.ask(&live.by_plan, around);
    found.extend(live.ask(&live.others, around));
    if found.is_empty() {
        return Arc::clone(judgement);
    }
    Arc::new(Judgement { live: None, ..live.with(judgement, found, around.catalog) })
}

/// The verdict as far as the plan alone decides it: the same for the same judgement and plan, whoever runs it and when.
/// What reads more is still open in it. The judgement itself if it changes nothing and nothing else is open.
#[must_use]
pub fn settle_by_plan(judgement: &Arc<Judgement>, plan: Option<&Plan>) -> Arc<Judgement> {
    let Some(live) = &judgement.live else { return Arc::clone(judgement) };
    let Some(plan) = plan else { return Arc::clone(live.planless.as_ref().unwrap_or(judgement)) };
    if live.by_plan.is_empty() {
        return Arc::clone(judgement);
    }
    let advice = Some(&*plan.advice);
    let found = live
        .ask(&live.by_plan, &Circumstances { plan: Some(&plan.facts), advice, ..Circumstances::default() });
    if found.is_empty() && live.others.is_empty() {
        return Arc::clone(judgement);
    }
    Arc::new(live.with(judgement, found, None))
}
