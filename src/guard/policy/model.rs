//! Policies that cannot hold a mistake: only `load.rs` makes them, and it has checked all of it.

use std::sync::Arc;
use std::time::Duration;

use super::allow::{self, AllowList};
use super::check::Reads;
use super::condition::Condition;
use super::rewrite::Rewrite;
use super::schedule::Schedule;
use super::select::Selector;
use super::template::Template;
use crate::document::{Problem, Source};
use crate::guard::facts::Facts;
use crate::guard::rules::{Detector, Options};
use crate::guard::sql::Wanted;
use crate::guard::{Action, Concurrency, Kind, LIVE_ROOTS, Lane, Lanes, Rate};

/// What a rule does where it matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// The statement runs, the client gets a NOTICE.
    Warn,
    /// The client gets an error.
    Block,
    /// The statement may run there.
    Route(Lane),
    /// It may cost no more than the rule's limit.
    Limit,
    /// The rule's settings are in force for it.
    Set,
    /// Another text runs instead.
    Rewrite,
}

impl Act {
    #[must_use]
    pub fn action(self) -> Action {
        match self {
            Self::Warn => Action::Warn,
            Self::Block => Action::Block,
            Self::Route(_) => Action::Route,
            Self::Limit => Action::Limit,
            Self::Set => Action::Set,
            Self::Rewrite => Action::Rewrite,
        }
    }
}

/// What a rule lets a statement cost.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuleLimit {
    pub timeout: Option<Duration>,
    pub rows: Option<u64>,
    pub bytes: Option<u64>,
    pub rate: Option<Rate>,
    pub concurrency: Option<Concurrency>,
}

impl std::fmt::Display for RuleLimit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let parts = [
            self.timeout.map(|time| format!("{time:?}")),
            self.rows.map(|rows| format!("{rows} rows")),
            self.bytes.map(|bytes| format!("{bytes} bytes")),
            self.rate.map(|rate| format!("{} in {:?}", rate.count, rate.within)),
            self.concurrency.map(|concurrency| format!("{} at once", concurrency.most)),
        ];
        f.write_str(&parts.into_iter().flatten().collect::<Vec<_>>().join(", "))
    }
}

/// When the plan of a statement is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlanAsk {
    /// The statement waits for it.
    Inline,
    /// It is asked for beside it; until it is there the plan is unknown.
    Background,
}

/// One rule.
#[derive(Debug)]
pub struct Rule {
    pub name: Arc<str>,
    /// Name of its file, without directories: for the DETAIL of errors.
    pub file: Arc<str>,
    pub act: Act,
    /// False in `mode = "observe"`: it is counted, and nothing else happens.
    pub enforced: bool,
    /// It stands for the allow-list, and only that speaks for it.
    pub(super) is_list: bool,
    pub(super) finds: Option<&'static Detector>,
    /// The detector's options.
    pub(super) with: Options,
    pub(super) when: Option<Condition>,
    /// One of them must include the statement; none given includes all.
    pub(super) only: Box<[Selector]>,
    /// None of them may exempt it.
    pub(super) unless: Box<[Selector]>,
    pub(super) message: Option<Template>,
    pub(super) hint: Option<Template>,
    /// What message and hint show.
    pub(super) shows: Reads,
    pub(super) sqlstate: [u8; 5],
    /// `on_unknown = "match"`: a condition that cannot be answered counts as met.
    pub(super) match_unknown: bool,
    /// What it costs at most, beside the action or as it.
    pub limit: Option<RuleLimit>,
    /// Settings in force for the statement, in the words of `SET`.
    pub set: Box<[(Box<str>, Box<str>)]>,
    /// When the plan it reads is asked for; `None`: as the settings say.
    pub(super) plan: Option<PlanAsk>,
    /// How it changes the statement.
    pub(super) rewrite: Option<Rewrite>,
    /// When, and for which share of the clients, it holds.
    pub(super) schedule: Schedule,
}

impl Rule {
    /// Its detector reads what changes from run to run.
    pub(super) fn finds_live(&self) -> bool {
        self.finds.is_some_and(|detector| {
            let live = |fact: &&'static str| {
                fact.split_once('.').is_some_and(|(root, _)| LIVE_ROOTS.contains(&root))
            };
            detector.reads.iter().any(live)
        })
    }

    /// No statement of that kind is its business, whatever is known of the session, the time and the plan.
    pub(super) fn is_foreign_to(&self, facts: &Facts) -> bool {
        let family = self.finds.map_or("", |detector| detector.family);
        match facts.kind {
            Kind::Unparsed => false,
            Kind::Select | Kind::Insert | Kind::Update | Kind::Delete | Kind::Merge => {
                family == "ddl" || (family == "plan" && facts.tables.is_empty())
            }
            Kind::Ddl | Kind::Utility | Kind::Copy => family == "plan",
            Kind::Transaction | Kind::Set | Kind::Show => ["ddl", "plan"].contains(&family),
        }
    }

    /// What its answer depends on that a run knows and the text does not.
    #[must_use]
    pub fn depends_on(&self) -> Vec<&'static str> {
        let mut on: Vec<&'static str> = LIVE_ROOTS.into_iter().filter(|root| self.reads_root(root)).collect();
        if self.schedule.reads_time() && !on.contains(&"time") {
            on.push("time");
        }
        if self.schedule.share.is_some() {
            on.push("the client's share");
        }
        on
    }

    pub(super) fn reads_time(&self) -> bool {
        self.reads_root("time")
    }

    /// Its detector, its condition, its words, or what it is narrowed to read such a fact.
    fn reads(&self, is: impl Fn(&str, &str) -> bool) -> bool {
        let of_detector = self.finds.into_iter().flat_map(|detector| detector.reads);
        let mut of_detector = of_detector.filter_map(|fact| fact.split_once('.'));
        let mut of_cel = self.when.iter().map(|condition| &condition.reads).chain([&self.shows]);
        of_detector.any(|(root, field)| is(root, field))
            || of_cel.any(|reads| reads.any(&is))
            || self.only.iter().chain(&self.unless).any(|selector| selector.reads(&is))
    }

    /// It reads a field of that root.
    pub(super) fn reads_root(&self, root: &str) -> bool {
        self.reads(|of, _| of == root)
    }

    /// It must be asked at every run: its words change, or whether it matches.
    pub(super) fn shows_live(&self) -> bool {
        self.shows.is_live()
    }
}

/// Every rule of every file, checked, and what they need to be asked.
pub struct Policies {
    pub(super) rules: Box<[Arc<Rule>]>,
    pub(super) env: Arc<cel::Env>,
    /// All that any condition reads.
    pub(super) reads: Reads,
    /// And the index of its rule.
    pub(super) allow_list: Option<(AllowList, u32)>,
    /// Those that rules may name.
    pub(super) lanes: Lanes,
}

impl std::fmt::Debug for Policies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.rules.iter().map(|rule| &rule.name)).finish()
    }
}

impl Policies {
    /// In the order of files and of rules in them; [`crate::guard::Hit::rule`] is an index into this.
    #[must_use]
    pub fn rules(&self) -> &[Arc<Rule>] {
        &self.rules
    }

    /// The statements that may run, if a policy has such a list. Its file has to be given to [`Policies::know`].
    #[must_use]
    pub fn allow_list(&self) -> Option<&AllowList> {
        self.allow_list.as_ref().map(|(list, _)| list)
    }

    /// Adds the statements of the allow-list's file.
    ///
    /// # Errors
    /// Every mistake in it.
    pub fn know(&mut self, source: &Arc<Source>) -> Result<(), Vec<Problem>> {
        let learned = allow::read_learned(source)?;
        if let Some((list, _)) = &mut self.allow_list {
            list.know(&learned);
        }
        Ok(())
    }

    /// A verdict may depend on `application_name`. If not, leave it out of [`crate::guard::Class`].
    #[must_use]
    pub fn reads_application(&self) -> bool {
        self.reads_fact("client", "application")
    }

    /// [`crate::guard::Circumstances::session`] is read.
    #[must_use]
    pub fn reads_session(&self) -> bool {
        self.rules.iter().any(|rule| rule.reads_root("session"))
    }

    /// A field of the session is read: `repeats`.
    #[must_use]
    pub fn reads_session_fact(&self, field: &str) -> bool {
        self.reads_fact("session", field)
    }

    /// [`crate::guard::Circumstances::now`] is read.
    #[must_use]
    pub fn reads_time(&self) -> bool {
        self.rules.iter().any(|rule| rule.reads_root("time") || rule.schedule.reads_time())
    }

    /// [`crate::guard::Circumstances::params`] is read.
    #[must_use]
    pub fn reads_params(&self) -> bool {
        self.rules.iter().any(|rule| rule.reads_root("params"))
    }

    /// [`crate::guard::Circumstances::plan`] is read. Whether one text's verdict waits for it: [`super::Live::reads_plan`].
    #[must_use]
    pub fn reads_plan(&self) -> bool {
        self.rules.iter().any(|rule| rule.reads_root("plan"))
    }

    /// [`crate::guard::Circumstances::who`] is read.
    #[must_use]
    pub fn reads_share(&self) -> bool {
        self.rules.iter().any(|rule| rule.schedule.share.is_some())
    }

    /// Some rule counts statements: by a rate, or how many run at once.
    #[must_use]
    pub fn counts_turns(&self) -> bool {
        let counts = |limit: &RuleLimit| limit.rate.is_some() || limit.concurrency.is_some();
        self.rules.iter().any(|rule| rule.enforced && rule.limit.as_ref().is_some_and(counts))
    }

    /// Some rule sends statements elsewhere than to the primary.
    #[must_use]
    pub fn routes(&self) -> bool {
        self.rules.iter().any(|rule| match rule.act {
            Act::Route(lane) => lane != Lane::Primary && rule.enforced,
            _ => false,
        })
    }

    /// Some rule sends statements there, or would if it did not observe only.
    #[must_use]
    pub fn routes_to(&self, lane: Lane) -> bool {
        self.rules.iter().any(|rule| rule.act == Act::Route(lane))
    }

    /// The lanes that rules may name, for their names.
    #[must_use]
    pub fn lanes(&self) -> &Lanes {
        &self.lanes
    }

    /// The literals of a text that a verdict may depend on.
    pub(in crate::guard) fn reads_literals(&self) -> Wanted {
        let any = |facts: &[&str]| facts.iter().any(|fact| self.reads_fact("query", fact));
        Wanted { bounds: any(&["limit", "offset"]), constants: any(&["always_true", "tautology"]) }
    }

    /// A verdict may depend on the length of the text, so that texts of one shape may differ in it.
    pub(in crate::guard) fn reads_bytes(&self) -> bool {
        self.reads_fact("query", "bytes")
    }

    /// A verdict may depend on the comments of the text, which are no part of its shape.
    pub(in crate::guard) fn reads_comments(&self) -> bool {
        ["comments", "trailing_comment", "tags"].iter().any(|fact| self.reads_fact("query", fact))
    }

    /// Some rule reads this fact, in whatever part of it.
    fn reads_fact(&self, root: &str, field: &str) -> bool {
        self.rules.iter().any(|rule| rule.reads(|of, name| of == root && name == field))
    }
}
