//! Rules that speak of a silence: of a client that holds a server and says nothing. They are asked now and then, since no
//! statement comes at which they could be.

use std::sync::Arc;

use super::decide::{Asked, Asking, Outcome, speak};
use super::model::{Act, Policies, Rule};
use crate::guard::facts::Facts;
use crate::guard::{Action, Circumstances, ClientFacts, Subject};

/// What grows while nothing happens.
const AGES: [&str; 3] = ["idle_seconds", "transaction_seconds", "pinned_seconds"];
/// What is known of a client without a statement.
const ROOTS: [&str; 3] = ["session", "client", "time"];

/// What a rule says of a silent client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfSilence {
    /// The rule's number in the policies.
    pub rule: u32,
    pub name: Arc<str>,
    pub file: Arc<str>,
    /// [`Action::Warn`] or [`Action::Block`].
    pub action: Action,
    pub enforced: bool,
    /// `None`: the rule names none.
    pub sqlstate: Option<[u8; 5]>,
    /// `None`: neither the rule nor its detector has words.
    pub message: Option<String>,
    pub hint: String,
}

impl Rule {
    /// It warns of or blocks what only time can show, and needs no statement for it.
    fn is_of_silence(&self) -> bool {
        let in_session = |fact: &&str| fact.starts_with("session.") || *fact == "query.kind";
        let ages = |fact: &&str| fact.strip_prefix("session.").is_some_and(|fact| AGES.contains(&fact));
        let found = self.finds.is_none_or(|detector| detector.reads.iter().all(in_session));
        let asked = self.when.as_ref().is_none_or(|condition| condition.reads.is_within(&ROOTS));
        let grows = self.finds.is_some_and(|detector| detector.reads.iter().any(ages))
            || self.when.as_ref().is_some_and(|c| AGES.iter().any(|age| c.reads.has("session", age)));
        found
            && asked
            && grows
            && !self.is_list
            && matches!(self.act, Act::Warn | Act::Block)
            && self.only.iter().all(|selector| selector.tables.is_none())
    }
}

impl Policies {
    /// Some rule speaks of clients that are silent.
    #[must_use]
    pub fn watches_silence(&self) -> bool {
        self.rules.iter().any(|rule| rule.is_of_silence())
    }

    /// What the rules say of a client that is silent now.
    #[must_use]
    pub fn of_silence(&self, client: &ClientFacts, around: &Circumstances<'_>) -> Vec<OfSilence> {
        let facts = Facts::unparsed(0);
        let subject = Subject { facts: &facts, client, around, known: None };
        let mut asking = Asking::new(&self.env, &self.reads);
        let mut said = Vec::new();
        for (index, rule) in self.rules.iter().enumerate().filter(|(_, rule)| rule.is_of_silence()) {
            let Outcome::Speaks(finding) = asking.ask(rule, &subject, Asked::Now) else { continue };
            let worded = rule.message.is_some() || finding.is_some();
            let number = u32::try_from(index).unwrap_or(u32::MAX);
            let found = speak((number, 0), rule, &subject, 0, finding);
            said.push(OfSilence {
                rule: number,
                name: Arc::clone(&rule.name),
                file: Arc::clone(&rule.file),
                action: rule.act.action(),
                enforced: rule.enforced,
                sqlstate: Some(rule.sqlstate).filter(|code| ![*b"42501", *b"01000"].contains(code)),
                message: worded.then_some(found.message),
                hint: found.hint,
            });
        }
        said
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::Source;
    use crate::guard::SessionFacts;

    fn policies(text: &str) -> Policies {
        Policies::load(&[Source::new("p.toml", text)]).unwrap_or_else(|problems| panic!("{problems:?}"))
    }

    fn said(text: &str, session: &SessionFacts) -> Vec<(String, Option<String>)> {
        let around = Circumstances { session: Some(session), now: Some(0), ..Circumstances::default() };
        let client = ClientFacts { user: "app".into(), ..ClientFacts::blank() };
        let said = policies(text).of_silence(&client, &around);
        said.into_iter().map(|one| (one.name.to_string(), one.message)).collect()
    }

    fn idle(idle_seconds: f64) -> SessionFacts {
        let transaction_seconds = idle_seconds + 1.0;
        SessionFacts { in_transaction: true, idle_seconds, transaction_seconds, ..SessionFacts::blank() }
    }

    #[test]
    fn rules_that_need_no_statement_are_asked_without_one() {
        let rules = "[[rule]]\nname = 'left'\nfinds = 'transaction-left-open'\naction = 'block'\n\
             [[rule]]\nname = 'pin'\nfinds = 'idle-pin'\naction = 'warn'\n\
             [[rule]]\nname = 'own'\nwhen = 'session.idle_seconds > 5.0'\naction = 'warn'\n";
        assert_eq!(said(rules, &idle(3.0)), []);
        let found = said(rules, &idle(12.0));
        assert_eq!(found[0], ("left".into(), Some("The transaction has been idle for 12 seconds.".into())));
        assert_eq!(found[1], ("own".into(), None));
        let pinned =
            SessionFacts { pinned_seconds: 90.0, pins: vec!["listen".into()], ..SessionFacts::blank() };
        assert_eq!(said(rules, &pinned).len(), 1);
        assert!(policies(rules).watches_silence());
    }

    #[test]
    fn rules_about_statements_say_nothing_of_a_silence() {
        for rule in [
            "when = 'query.kind != \"select\" && session.idle_seconds > 1.0'\naction = 'block'",
            "when = 'session.idle_seconds > 1.0'\naction = 'block'\nonly = { tables = ['t'] }",
            "when = 'session.in_transaction'\naction = 'block'",
            "finds = 'repeated-lookup'\naction = 'block'",
            "when = 'session.idle_seconds > 1.0'\naction = 'limit'\nlimit = { rows = 1 }",
        ] {
            let rule = format!("[[rule]]\nname = 'r'\n{rule}\non_unknown = 'match'\n");
            assert!(!policies(&rule).watches_silence(), "{rule}");
            assert_eq!(said(&rule, &idle(100.0)), []);
        }
        let exempt = "[[rule]]\nname = 'r'\nwhen = 'session.idle_seconds > 1.0'\naction = 'block'\nunless = { users = ['app'] }\n";
        assert_eq!(said(exempt, &idle(100.0)), []);
    }
}
