//! `explain --primary`: sizes, indexes and plans from a server.

use std::time::Duration;

use crate::cli::primary::{Primary, Session};
use crate::document::Problem;
use crate::guard::catalog::Catalog;
use crate::guard::facts::Reading;
use crate::guard::plan::{Advice, PlanFacts, Surroundings, forget, imagine, kept, read};
use crate::guard::{Circumstances, Kind};

/// Longest time for one plan: somebody waits for it.
const PATIENCE: Duration = Duration::from_secs(5);

/// A server that is asked.
pub(super) struct Asked {
    primary: Primary,
    session: Session,
    pub(super) catalog: Option<Catalog>,
}

impl Asked {
    pub(super) fn connect(url: &str) -> Result<Self, Problem> {
        let fault = |why: String| Problem::new(format!("--primary: {why}"));
        let primary = Primary::new(url, "pgsluice explain", PATIENCE)?;
        let database = primary.server.url.database.clone();
        let session = primary.open(&database).map_err(fault)?;
        let catalog = primary.catalog(&database).map_err(fault)?;
        Ok(Self { primary, session, catalog: Some(catalog) })
    }

    /// The plan of a statement that stands alone and has one; `Err`: why there is none.
    pub(super) fn plan(
        &self,
        sql: &str,
        reading: &Reading,
        params: Option<&[Option<&[u8]>]>,
    ) -> Option<Result<PlanFacts, String>> {
        let [only] = reading.statements.as_slice() else { return None };
        let planned =
            matches!(only.kind, Kind::Select | Kind::Insert | Kind::Update | Kind::Delete | Kind::Merge);
        if !planned || only.explain {
            return None;
        }
        let params: Option<Vec<Option<Vec<u8>>>> =
            params.map(|params| params.iter().map(|value| value.map(<[u8]>::to_vec)).collect());
        let json = self.primary.explain(&self.session, sql, params.as_deref());
        let around = Surroundings {
            catalog: self.catalog.as_ref(),
            work_mem: self.session.work_mem,
            hash_mem_percent: self.session.hash_mem_percent,
        };
        Some(json.and_then(|(json, _)| read(&json, &around).map_err(|error| error.to_string())))
    }

    /// The advice that the planner would follow, where the database has `hypopg`; else all of it, not checked.
    pub(super) fn check(&self, sql: &str, around: &Circumstances<'_>, advice: Vec<Advice>) -> Vec<Advice> {
        let (Some(plan), Some(schema)) =
            (around.plan, around.catalog.and_then(|catalog| catalog.hypopg.as_deref()))
        else {
            return advice;
        };
        let known = Surroundings {
            catalog: self.catalog.as_ref(),
            work_mem: self.session.work_mem,
            hash_mem_percent: self.session.hash_mem_percent,
        };
        let values =
            |params: &[Option<&[u8]>]| params.iter().map(|value| value.map(<[u8]>::to_vec)).collect();
        let params: Option<Vec<Option<Vec<u8>>>> = around.params.map(values);
        let keep = |advice: Advice| {
            let calls = [imagine(schema, &advice), forget(schema)];
            let with = self.primary.explain_with(&self.session, &calls, sql, params.as_deref());
            match with.and_then(|(json, _)| read(&json, &known).map_err(|error| error.to_string())) {
                Ok(with) => kept(&advice, plan, &with),
                Err(_) => Some(advice),
            }
        };
        advice.into_iter().filter_map(keep).collect()
    }
}
