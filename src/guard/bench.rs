//! One text judged, without any cache: read, looked up in the catalog, asked of every rule.

use std::sync::Arc;

use super::catalog::Catalog;
use super::facts::{Facts, ReadOptions, Reading, read, with_views};
use super::judge::GuardLimits;
use super::policy::{
    Asked, Decision, Live, Policies, Text, allow_key, catalog_facts, decide_by_list, decide_when,
};
use super::{Action, Circumstances, Class, ClientFacts, Effects, Judgement, Kind, Lane, route, sql};

/// Of a text that has no shape: enough to tell texts apart, and no stall for a huge one.
const MAX_FINGERPRINTED: usize = 64 << 10;
/// Of a normalised text, for people.
const MAX_NORMALIZED: usize = 1024;

/// Everything that is known of a text: for `explain`, and for a judgement that no cache has.
#[derive(Debug)]
pub struct Evaluation {
    pub judgement: Judgement,
    pub reading: Reading,
    pub decision: Decision,
}

/// Judges a text without any cache, and nothing is left open: what is not known in `around` never will be.
#[must_use]
pub fn evaluate(
    policies: &Policies,
    class: &Class,
    text: &[u8],
    limits: &GuardLimits,
    around: &Circumstances<'_>,
) -> Evaluation {
    let mut shape = Vec::new();
    let shaped = readable(text, class, limits)
        .then(|| sql::shape_of(text, class.standard_conforming_strings, &mut shape).ok())
        .flatten();
    let bench = Bench { policies, class, limits, around: *around, ahead: None };
    bench.evaluate(text, shaped.map(|info| (&*shape, info.cacheable)))
}

/// In encodings such as SJIS a byte below 0x80 may be the second half of a character, so that only a text without
/// any character beyond ASCII can be read there.
pub(super) fn readable(text: &[u8], class: &Class, limits: &GuardLimits) -> bool {
    text.len() <= limits.max_statement_bytes && (class.ascii_safe_encoding || text.is_ascii())
}

/// By what, for whom and with which knowledge a text is judged.
pub(super) struct Bench<'a> {
    pub(super) policies: &'a Policies,
    pub(super) class: &'a Class,
    pub(super) limits: &'a GuardLimits,
    pub(super) around: Circumstances<'a>,
    /// Judged before its run, and the catalog to keep for it.
    pub(super) ahead: Option<Option<&'a Arc<Catalog>>>,
}

impl Bench<'_> {
    pub(super) fn evaluate(&self, text: &[u8], shape: Option<(&[u8], bool)>) -> Evaluation {
        let Class { standard_conforming_strings, ascii_safe_encoding, .. } = *self.class;
        let max_bytes = self.limits.max_statement_bytes;
        let mut reading = if ascii_safe_encoding || text.is_ascii() {
            read(text, &ReadOptions { max_bytes, standard_conforming_strings })
        } else {
            let at = text.iter().position(|byte| !byte.is_ascii()).unwrap_or(0);
            Reading {
                statements: vec![Facts::unparsed(text.len())],
                refusal: Some(sql::Refusal::NotUtf8 { at }),
            }
        };
        if let Some(catalog) = self.around.catalog {
            with_views(&mut reading.statements, catalog);
        }
        // A text without a shape is its own: texts that nobody can read have nothing else in common.
        let shown = shape.map(|(shape, _)| shape);
        let fingerprint = sql::fingerprint(shown.unwrap_or(&text[..text.len().min(MAX_FINGERPRINTED)]));
        let normalized = sql::normalized(text, standard_conforming_strings, MAX_NORMALIZED).into();
        let (judgement, decision) = self.of_reading(text, shape, &reading, (fingerprint, normalized));
        Evaluation { judgement, reading, decision }
    }

    /// Of a text that was read before.
    pub(super) fn of_reading(
        &self,
        text: &[u8],
        shape: Option<(&[u8], bool)>,
        reading: &Reading,
        (fingerprint, normalized): (u64, Arc<str>),
    ) -> (Judgement, Decision) {
        let whole = text.len() <= self.limits.max_statement_bytes && reading.refusal.is_none();
        let bytes = whole.then(|| (text, allow_key(text, shape, &reading.statements)));
        self.judgement(bytes, &reading.statements, fingerprint, normalized)
    }

    pub(super) fn judgement(
        &self,
        text: Option<(&[u8], Option<u64>)>,
        statements: &[Facts],
        fingerprint: u64,
        normalized: Arc<str>,
    ) -> (Judgement, Decision) {
        let blank = Judgement {
            fingerprint,
            normalized,
            kind: main_statement(statements).map_or(Kind::Utility, |facts| facts.kind),
            action: Action::Allow,
            lane: Lane::Primary,
            complaints: Box::default(),
            hits: Box::default(),
            effects: statements.iter().fold(Effects::NONE, |all, facts| all.and(facts.effects)),
            custom_settings: statements.iter().flat_map(|facts| &facts.custom_settings).cloned().collect(),
            prepared: statements.iter().flat_map(|facts| &facts.prepared).cloned().collect(),
            settings: statements
                .iter()
                .flat_map(|facts| &facts.settings)
                .map(|name| name.as_str().into())
                .collect(),
            statements: u32::try_from(statements.len()).unwrap_or(u32::MAX),
            read_only: statements.iter().all(|facts| facts.read_only),
            may_write: statements.iter().any(may_write),
            transaction_control: statements.iter().any(|facts| facts.kind == Kind::Transaction),
            like_params: Box::default(),
            with_wildcard: None,
            live: None,
            canary: None,
            limits: None,
            set: Box::default(),
            rewrite: None,
            of_one_text: false,
        };
        let client = ClientFacts::from(self.class);
        let (mut judgement, decision) = self.judged(&blank, &client, text, statements);
        let mut params: Vec<u16> = statements.iter().flat_map(|facts| &facts.like_params).copied().collect();
        if !params.is_empty() {
            params.sort_unstable();
            params.dedup();
            let bound: Vec<Facts> = statements
                .iter()
                .map(|facts| Facts {
                    leading_wildcard: facts.leading_wildcard || !facts.like_params.is_empty(),
                    ..facts.clone()
                })
                .collect();
            let (other, _) = self.judged(&blank, &client, text, &bound);
            judgement.of_one_text |= other.of_one_text;
            if !same_verdict(&other, &judgement) {
                judgement.like_params = params.into();
                judgement.with_wildcard = Some(Arc::new(other));
            }
        }
        (judgement, decision)
    }

    fn judged(
        &self,
        blank: &Judgement,
        client: &ClientFacts,
        text: Option<(&[u8], Option<u64>)>,
        statements: &[Facts],
    ) -> (Judgement, Decision) {
        let standard_conforming_strings = self.class.standard_conforming_strings;
        let catalog = self.around.catalog;
        let key = text.and_then(|(_, key)| key);
        let text = text.map(|(bytes, _)| Text { bytes, standard_conforming_strings, catalog });
        let known = catalog_facts(&self.around, statements);
        let asked = if self.ahead.is_some() { Asked::Ahead } else { Asked::Now };
        let mut decision =
            decide_when(self.policies, (client, blank.fingerprint), statements, &known, &self.around, asked);
        decide_by_list(self.policies, client, key, statements, &mut decision);
        let mut judgement = Judgement { of_one_text: decision.rewrites(), ..blank.clone() };
        let mut live = None;
        if let Some(catalog) = self.ahead {
            live = Live::of(
                self.policies,
                (client, blank.fingerprint),
                statements,
                &known,
                catalog,
                text.as_ref(),
                &mut decision,
            );
        }
        apply(&mut judgement, &decision, statements, text.as_ref());
        if let Some(live) = live {
            live.attach(&mut judgement);
        }
        (judgement, decision)
    }
}

/// Writes what was decided into a judgement.
pub(super) fn apply(
    judgement: &mut Judgement,
    decision: &Decision,
    statements: &[Facts],
    text: Option<&Text<'_>>,
) {
    judgement.action = decision.action();
    judgement.lane = route::lane(decision.wish(), statements);
    judgement.complaints = decision.complaints(judgement.fingerprint);
    judgement.hits = decision.hits();
    judgement.limits = decision.limits();
    judgement.set = decision.set();
    judgement.rewrite = None;
    if judgement.action == Action::Block {
        return;
    }
    let (new, refused) = decision.rewritten(text, statements, judgement.fingerprint);
    if let Some((new, facts)) = new {
        judgement.rewrite = Some(new.into());
        judgement.custom_settings = facts.custom_settings.into();
        judgement.effects = judgement.effects.and(facts.effects);
    }
    if let Some(refused) = refused {
        judgement.action = Action::Block;
        judgement.complaints = std::iter::once(refused).chain(judgement.complaints.iter().cloned()).collect();
    }
}

/// What is left open may differ in ways that only a run shows.
fn same_verdict(a: &Judgement, b: &Judgement) -> bool {
    let open = |judgement: &Judgement| judgement.live.is_some();
    a.action == b.action
        && a.hits == b.hits
        && a.complaints == b.complaints
        && a.lane == b.lane
        && a.limits == b.limits
        && a.set == b.set
        && a.rewrite == b.rewrite
        && !open(a)
        && !open(b)
}

fn may_write(facts: &Facts) -> bool {
    let of_session = matches!(facts.kind, Kind::Transaction | Kind::Set | Kind::Show)
        || facts.effects.has(Effects::DISCARD_ALL);
    !facts.read_only && !of_session
}

/// The first statement that is not transaction control, else the first.
#[must_use]
pub fn main_statement(statements: &[Facts]) -> Option<&Facts> {
    statements.iter().find(|facts| facts.kind != Kind::Transaction).or_else(|| statements.first())
}
