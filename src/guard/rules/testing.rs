//! Two-sided helpers: `flags` fails on silence, `passes` on noise.

use super::{Detector, Finding, Options};
use crate::guard::catalog::Catalog;
use crate::guard::facts::{ReadOptions, read, with_views};
use crate::guard::plan::PlanFacts;
use crate::guard::{CatalogFacts, Circumstances, ClientFacts, SessionFacts, Subject, TimeFacts};

/// What stands around the statement of a test.
#[derive(Default)]
pub(super) struct Around {
    pub(super) catalog: Option<Catalog>,
    pub(super) session: Option<SessionFacts>,
    pub(super) time: Option<TimeFacts>,
    pub(super) plan: Option<PlanFacts>,
    pub(super) options: Option<Options>,
}

impl Around {
    /// A catalog as JSON.
    pub(super) fn catalog(json: &str) -> Self {
        let mut catalog: Catalog =
            serde_json::from_str(json).unwrap_or_else(|error| panic!("{error}: {json}"));
        catalog.seal();
        Self { catalog: Some(catalog), ..Self::default() }
    }

    pub(super) fn plan(plan: PlanFacts) -> Self {
        Self { plan: Some(plan), ..Self::default() }
    }

    pub(super) fn session(session: SessionFacts) -> Self {
        Self { session: Some(session), ..Self::default() }
    }

    /// The detector's options with some of them set.
    pub(super) fn with(name: &str, set: impl FnOnce(&mut Options)) -> Self {
        Self::default().and_with(name, set)
    }

    pub(super) fn and_with(self, name: &str, set: impl FnOnce(&mut Options)) -> Self {
        let mut options = Options::defaults(detector(name).options);
        set(&mut options);
        Self { options: Some(options), ..self }
    }
}

fn detector(name: &str) -> &'static Detector {
    super::find(name).unwrap_or_else(|| panic!("no detector {name}"))
}

fn findings(name: &str, sql: &str, around: &Around) -> Vec<Finding> {
    let detector = detector(name);
    let mut reading = read(sql.as_bytes(), &ReadOptions::default());
    if let Some(catalog) = &around.catalog {
        with_views(&mut reading.statements, catalog);
    }
    assert!(reading.refusal.is_none(), "not parsed, so it shows nothing: {sql}");
    let client = ClientFacts::blank();
    let defaults = Options::defaults(detector.options);
    let circumstances = Circumstances {
        catalog: around.catalog.as_ref(),
        session: around.session.as_ref(),
        time: around.time.as_ref(),
        plan: around.plan.as_ref(),
        ..Circumstances::default()
    };
    let check = |facts| {
        let known = around.catalog.as_ref().map(|catalog| CatalogFacts::of(catalog, facts));
        let subject = Subject { facts, client: &client, around: &circumstances, known: known.as_ref() };
        (detector.check)(&subject, around.options.as_ref().unwrap_or(&defaults))
    };
    reading.statements.iter().filter_map(check).collect()
}

/// The detector finds something in `sql`; what it says.
pub(super) fn flags(name: &str, sql: &str) -> Finding {
    flags_in(name, sql, &Around::default())
}

/// The detector finds nothing in `sql`.
pub(super) fn passes(name: &str, sql: &str) {
    passes_in(name, sql, &Around::default());
}

/// As [`flags`], with something known around the statement.
pub(super) fn flags_in(name: &str, sql: &str, around: &Around) -> Finding {
    let found = findings(name, sql, around)
        .into_iter()
        .next()
        .unwrap_or_else(|| panic!("{name} is silent on: {sql}"));
    assert!(found.message.ends_with('.') && found.hint.ends_with('.'), "whole sentences: {found:?}");
    found
}

/// As [`passes`], with something known around the statement.
pub(super) fn passes_in(name: &str, sql: &str, around: &Around) {
    let found = findings(name, sql, around);
    assert!(found.is_empty(), "{name} speaks on: {sql}: {found:?}");
}
