//! A client that holds a server and says nothing: what the policies say of it.

use super::Ledger;
use super::backend::Backend;
use super::client::Session;
use crate::guard::policy::OfSilence;
use crate::guard::{Circumstances, ClientFacts, Guard, SessionFacts};

/// What is to be told of a silence: each rule speaks once of it.
#[derive(Debug)]
pub struct Silent {
    pub session: SessionFacts,
    pub said: Vec<OfSilence>,
}

impl Session {
    /// What the rules say of the client as it is at rest. Its server must owe nothing.
    pub fn silence<L: Ledger>(&mut self, guard: &Guard, ledger: &L, link: &Backend) -> Option<Silent> {
        let needs = guard.needs();
        let held = self.holds();
        if !needs.silence || !link.quiet() || (link.status() == b'I' && !held) {
            return None;
        }
        let now = ledger.clock();
        self.history.get_or_insert_default().found(link.status(), held, now);
        let session = self.facts(now, 0, 0);
        let around = Circumstances {
            session: Some(&session),
            now: needs.time.then(|| ledger.unix()),
            who: needs.share.then(|| ledger.share_key()),
            ..Circumstances::default()
        };
        let mut said = guard.policies().of_silence(&ClientFacts::from(&*self.class), &around);
        let (generation, spoken) = &mut self.history.get_or_insert_default().spoken;
        if *generation != guard.generation() {
            *generation = guard.generation();
            spoken.clear();
        }
        said.retain(|one| !spoken.contains(&one.rule));
        spoken.extend(said.iter().map(|one| one.rule));
        (!said.is_empty()).then_some(Silent { session, said })
    }
}

impl Silent {
    /// What is wrong, in the rule's words or ours.
    #[must_use]
    pub fn message(&self, one: &OfSilence) -> String {
        one.message.clone().unwrap_or_else(|| match self.session.in_transaction {
            true => format!("The transaction has been idle for {:.0} seconds.", self.session.idle_seconds),
            false => {
                format!("The session has held its server for {:.0} seconds.", self.session.pinned_seconds)
            }
        })
    }

    /// By which rule, and what was seen.
    #[must_use]
    pub fn detail(&self, one: &OfSilence) -> String {
        let SessionFacts { transaction_seconds, idle_seconds, pinned_seconds, pins, .. } = &self.session;
        let mut seen = Vec::new();
        if self.session.in_transaction {
            seen.push(format!(
                "transaction open for {transaction_seconds:.0} s, idle for {idle_seconds:.0} s"
            ));
        }
        if !pins.is_empty() {
            seen.push(format!("server held for {pinned_seconds:.0} s ({})", pins.join(", ")));
        }
        format!("Rule {} of {}: {}.", one.name, one.file, seen.join("; "))
    }
}
