//! What the query log gets of a statement.

use std::borrow::Cow;
use std::time::SystemTime;

use super::books::Books;
use crate::guard::{Kind, sql};
use crate::observe::query_log::{Fingerprint, Line, Moment, Params, Rules, Shown};
use crate::session::{CUT, End, Run};

/// Most bytes of a text.
const TEXT_MAX: usize = 64 * 1024;
/// A text that may hold a password, and that nobody could read well enough to leave it out.
const NOT_SHOWN: &str = "-- not shown: it may hold a password";

impl Books<'_> {
    /// Writes the statement's line, if it is to have one. `nanos`: that it took; `None`: it did not run.
    #[inline(never)]
    pub(super) fn log(&self, run: &Run, end: &End<'_>, nanos: Option<u64>) {
        let (Some(pen), Some(card)) = (&self.thread.pen, self.card) else { return };
        // What we refuse for other reasons than a rule's is a verdict, too.
        if !pen.takes(!run.hits.is_empty() || nanos.is_none(), nanos.unwrap_or(0)) {
            return;
        }
        let words = run.words.as_deref();
        let sql = self.shown_text(run, pen.wants().text);
        let policies = words.and_then(|words| words.policies.as_deref());
        let rules = |enforced| Rules { hits: &run.hits, enforced, policies };
        pen.write(&Line {
            ts: Shown(Moment(SystemTime::now())),
            database: &self.ident.class.database,
            user: &self.ident.class.user,
            application: end.settings.get("application_name").unwrap_or_default(),
            client: Shown(&card.peer),
            session: card.id,
            fingerprint: Shown(Fingerprint(run.fingerprint)),
            kind: run.kind,
            cut: sql.ends_with(CUT),
            sql,
            params: words.and_then(|words| words.params.as_deref()).map(Params),
            continued: run.continued,
            seconds: nanos.unwrap_or(0) as f64 / 1e9,
            rows: end.rows,
            bytes: end.bytes,
            failed: end.failed,
            sqlstate: std::str::from_utf8(&end.sqlstate).ok().filter(|code| *code != "\0\0\0\0\0"),
            action: run.action.name(),
            rules: rules(true),
            observed: rules(false),
            server: nanos.map(|_| self.server()),
        });
    }

    fn shown_text<'a>(&self, run: &'a Run, full: bool) -> Cow<'a, str> {
        let words = run.words.as_deref();
        if run.kind == Kind::Unparsed && words.is_some_and(|words| words.secret) {
            return NOT_SHOWN.into();
        }
        match words.and_then(|words| Some((words.text()?, words.secret))) {
            Some((text, false)) if full => String::from_utf8_lossy(text),
            Some((text, _)) if run.normalized.ends_with(CUT) => {
                let strings = self.ident.class.standard_conforming_strings;
                sql::normalized(text, strings, TEXT_MAX).into()
            }
            _ => Cow::Borrowed(&*run.normalized),
        }
    }

    /// The name of the server whose counters these are.
    fn server(&self) -> &str {
        let replicas = self.ident.replica_meters.iter().zip(&self.ident.replicas);
        let replica = replicas.into_iter().find(|(meter, _)| std::ptr::eq(&***meter, self.meter));
        &replica.map_or(&self.ident.primary, |(_, pool)| pool).node.name
    }
}
