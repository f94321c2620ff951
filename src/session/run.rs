//! A run of a statement, as the accountant is told of it: its judgement, and beside it what a log wants of its words.

use std::ops::Deref;
use std::sync::Arc;

use super::ParamSet;
use super::names::Named;
use super::statement::Statement;
use super::values;
use crate::guard::policy::Policies;
use crate::guard::{Judgement, Kind};

/// Texts, and parameters together, above this are not kept for a log.
const WORDS_MAX: usize = 64 * 1024;
/// A normalised text that ends so was cut.
pub const CUT: char = '…';

/// What a log wants of the statements that run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wants {
    /// Anything at all.
    pub log: bool,
    /// Texts as they were written.
    pub text: bool,
    /// Values of parameters.
    pub params: bool,
}

/// One run. Without [`Words`] where nobody wants them.
#[derive(Clone, Debug)]
pub struct Run {
    judgement: Arc<Judgement>,
    pub words: Option<Arc<Words>>,
    /// More of what a portal has given before.
    pub continued: bool,
}

impl Deref for Run {
    type Target = Arc<Judgement>;
    fn deref(&self) -> &Arc<Judgement> {
        &self.judgement
    }
}

impl From<Arc<Judgement>> for Run {
    fn from(judgement: Arc<Judgement>) -> Self {
        Self { judgement, words: None, continued: false }
    }
}

/// How it ended.
#[derive(Clone, Copy, Debug)]
pub struct End<'a> {
    /// By its command tag.
    pub rows: u64,
    /// That the server sent for it.
    pub bytes: u64,
    pub failed: bool,
    /// What the server said then; zeros if it said nothing.
    pub sqlstate: [u8; 5],
    /// The client's.
    pub settings: &'a ParamSet,
}

/// Values in order, each as text or NULL.
pub type Params = Box<[Option<Box<[u8]>>]>;

/// What a judgement does not keep of a statement.
#[derive(Debug)]
pub struct Words {
    text: Text,
    /// It may hold a password: it is never shown as it was written.
    pub secret: bool,
    /// Values of its parameters, if all can be told as text.
    pub params: Option<Params>,
    /// What judged it, where a rule spoke: its hits are numbers.
    pub policies: Option<Arc<Policies>>,
}

#[derive(Debug)]
enum Text {
    Unknown,
    Own(Box<[u8]>),
    Prepared(Arc<Statement>),
}

impl Words {
    /// As the client wrote it; `None` where it was not kept.
    #[must_use]
    pub fn text(&self) -> Option<&[u8]> {
        match &self.text {
            Text::Unknown => None,
            Text::Own(text) => Some(text),
            Text::Prepared(statement) => Some(statement.text()),
        }
    }
}

impl Wants {
    /// A text that is about to run as it is, or was refused.
    pub(super) fn plain(self, judgement: &Arc<Judgement>, text: &[u8], policies: &Arc<Policies>) -> Run {
        if !self.log {
            return Run::from(Arc::clone(judgement));
        }
        let kept = self.keeps(judgement, text);
        let words = Words {
            text: if kept { Text::Own(text.into()) } else { Text::Unknown },
            secret: self.hides(judgement, text),
            params: None,
            policies: spoken(judgement, policies),
        };
        Run { words: words.filled(), ..Run::from(Arc::clone(judgement)) }
    }

    /// A statement that a Bind gives values to. `rest`: behind its names, if the whole Bind is there.
    pub(super) fn bound(self, named: &Named, rest: Option<&[u8]>, policies: &Arc<Policies>) -> Run {
        let judgement = &named.judgement;
        if !self.log {
            return Run::from(Arc::clone(judgement));
        }
        let text = named.statement.text();
        let secret = self.hides(judgement, text);
        // What a policy has rewritten is not what the client wrote.
        let kept = judgement.rewrite.is_none() && self.keeps(judgement, text);
        let wanted = rest.filter(|rest| self.params && !secret && rest.len() <= WORDS_MAX);
        let values = wanted.and_then(|rest| values::of_bind(rest, named));
        let words = Words {
            text: if kept { Text::Prepared(Arc::clone(&named.statement)) } else { Text::Unknown },
            secret,
            params: values.map(|values| values.iter().map(|value| value.as_deref().map(Box::from)).collect()),
            policies: spoken(judgement, policies),
        };
        Run { words: words.filled(), ..Run::from(Arc::clone(judgement)) }
    }

    /// It may hold a password, where that makes a difference: the normal form of what could be read shows none.
    fn hides(self, judgement: &Judgement, text: &[u8]) -> bool {
        (self.text || self.params || judgement.kind == Kind::Unparsed)
            && may_hold_secret(text, judgement.kind)
    }

    /// The text itself is wanted, or needed since its normal form was cut.
    fn keeps(self, judgement: &Judgement, text: &[u8]) -> bool {
        (self.text || judgement.normalized.ends_with(CUT)) && !text.is_empty() && text.len() <= WORDS_MAX
    }
}

impl Words {
    fn filled(self) -> Option<Arc<Self>> {
        let told = self.secret || self.params.is_some() || self.policies.is_some();
        (told || !matches!(self.text, Text::Unknown)).then(|| Arc::new(self))
    }
}

fn spoken(judgement: &Judgement, policies: &Arc<Policies>) -> Option<Arc<Policies>> {
    (!judgement.hits.is_empty()).then(|| Arc::clone(policies))
}

/// Whether a text may hold a password, or where one is: rather too often than not often enough.
fn may_hold_secret(text: &[u8], kind: Kind) -> bool {
    const ANYWHERE: [&[u8]; 4] = [b"password", b"passwd", b"secret", b"://"];
    const IN_OTHERS: [&[u8]; 2] = [b"connection", b"options"];
    let text = text.to_ascii_lowercase();
    let has = |word: &&[u8]| memchr::memmem::find(&text, word).is_some();
    let plain = matches!(
        kind,
        Kind::Select | Kind::Insert | Kind::Update | Kind::Delete | Kind::Merge | Kind::Transaction
    );
    ANYWHERE.iter().any(has) || (!plain && IN_OTHERS.iter().any(has))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_may_hold_a_password_is_known_by_its_words() {
        for (text, kind) in [
            ("ALTER ROLE a PassWord 'x'", Kind::Ddl),
            ("CREATE SUBSCRIPTION s CONNECTION 'host=h pass=x' PUBLICATION p", Kind::Ddl),
            ("SELECT dblink_connect('postgres://u:x@h/d')", Kind::Select),
            ("DO $$ BEGIN EXECUTE 'ALTER ROLE a PASSWORD ''x'''; END $$", Kind::Utility),
            ("ALTER USER MAPPING FOR a SERVER s OPTIONS (SET pw 'x')", Kind::Ddl),
            ("UPDATE users SET passwd = 'x'", Kind::Update),
        ] {
            assert!(may_hold_secret(text.as_bytes(), kind), "{text}");
        }
        assert!(!may_hold_secret(b"SELECT options FROM orders WHERE id = 7", Kind::Select));
    }
}
