//! What a statement may cost at most: `action = "limit"`, or `limit` beside another action.

use std::sync::Arc;
use std::time::Duration;

/// A bound, and the rule (an index into the policies' rules) that set it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound<T> {
    pub at: T,
    pub rule: u32,
}

/// Whose statements are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Per {
    /// All that the rule matches.
    Rule,
    User,
    Database,
    Application,
    /// One client connection.
    Client,
    /// The client's address.
    Address,
    Fingerprint,
}

impl Per {
    /// As policies call it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rule => "rule",
            Self::User => "user",
            Self::Database => "database",
            Self::Application => "application",
            Self::Client => "client",
            Self::Address => "address",
            Self::Fingerprint => "fingerprint",
        }
    }
}

/// So many statements in so long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    pub count: u32,
    pub within: Duration,
    pub per: Per,
}

/// So many at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Concurrency {
    pub most: u32,
    pub per: Per,
}

/// The bounds of one statement: the smallest of each kind over all rules that matched; rates and concurrencies of
/// different rules stand side by side, since each counts its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Time from the statement's start to its end: 57014.
    pub timeout: Option<Bound<Duration>>,
    /// Rows that the server may send: 54000.
    pub rows: Option<Bound<u64>>,
    /// Bytes that the server may send: 54000.
    pub bytes: Option<Bound<u64>>,
    /// 53400.
    pub rates: Box<[Bound<Rate>]>,
    /// A statement beyond it waits for its turn to the queue deadline, then 53300.
    pub concurrency: Box<[Bound<Concurrency>]>,
    /// Of the rules that set them, so that a name stays right when other policies have come.
    pub names: Box<[(u32, Arc<str>)]>,
}

impl Limits {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.without_rules() == Self::default()
    }

    /// The rule with that number.
    #[must_use]
    pub fn name(&self, rule: u32) -> &str {
        self.names.iter().find(|(known, _)| *known == rule).map_or("", |(_, name)| name)
    }

    /// The same bounds, whichever rules set them: to compare those of two versions of the policies.
    #[must_use]
    pub fn without_rules(&self) -> Self {
        fn plain<T: Copy>(bound: &Bound<T>) -> Bound<T> {
            Bound { rule: 0, ..*bound }
        }
        Self {
            timeout: self.timeout.as_ref().map(plain),
            rows: self.rows.as_ref().map(plain),
            bytes: self.bytes.as_ref().map(plain),
            rates: self.rates.iter().map(plain).collect(),
            concurrency: self.concurrency.iter().map(plain).collect(),
            names: Box::default(),
        }
    }

    /// Bytes that it keeps alive.
    pub(super) fn size(&self) -> usize {
        size_of::<Self>()
            + size_of_val(&*self.rates)
            + size_of_val(&*self.concurrency)
            + size_of_val(&*self.names)
    }
}
