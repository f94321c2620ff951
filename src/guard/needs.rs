//! What a guard is asked, and what it needs to be told at a run.

use std::sync::Arc;

use super::judge::Keyed;
use super::policy::Policies;
use super::{Class, Guard, Judgement};

/// What the policies read of the circumstances of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    pub session: bool,
    /// Of the session, how often a fingerprint came.
    pub repeats: bool,
    pub time: bool,
    pub params: bool,
    pub share: bool,
}

impl Needs {
    #[must_use]
    pub fn of(policies: &Policies) -> Self {
        let repeats = ["repeats", "repeat_seconds"].iter().any(|fact| policies.reads_session_fact(fact));
        Self {
            session: policies.reads_session(),
            repeats,
            time: policies.reads_time(),
            params: policies.reads_params(),
            share: policies.reads_share(),
        }
    }
}

impl Guard {
    /// Other policies from now on. What was judged by the old ones is forgotten.
    pub fn set_policies(&mut self, policies: Arc<Policies>) {
        self.needs = Needs::of(&policies);
        self.keyed = Keyed::of(&policies);
        self.policies = policies;
        self.generation += 1;
        self.forget();
    }

    /// What a session must keep for the policies.
    #[inline]
    #[must_use]
    pub fn needs(&self) -> Needs {
        self.needs
    }

    /// The judgement of a text (one or several statements) from a client of that class.
    pub fn judge(&mut self, text: &[u8], class: &Arc<Class>) -> Arc<Judgement> {
        let judgement = self.judged(text, class);
        #[cfg(test)]
        if let Some(amend) = self.amend {
            let mut amended = Judgement::clone(&judgement);
            amend(text, &mut amended);
            return Arc::new(amended);
        }
        judgement
    }
}
