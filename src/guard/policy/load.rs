//! From policy files to [`Policies`]: every mistake at once, with line, column and cure.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use serde_spanned::Spanned;
use toml::de::DeTable;

use super::allow::{self, AllowList, ListMode};
use super::check::Reads;
use super::condition::{Condition, Fault};
use super::load_actions::{act, limit, set, sqlstate, template};
use super::load_rewrite::rewrite;
use super::load_schedule::{schedule, zone};
use super::load_select::selectors;
use super::model::{Act, PlanAsk, Policies, Rule};
use crate::document::{Problem, Problems, Source, closest, entry, short, string, tables, wrong_type};
use crate::guard::rules::{Given, OptType, Options};
use crate::guard::{Lanes, rules};

/// What may stand in a rule.
pub const RULE_KEYS: [&str; 23] = [
    "name",
    "finds",
    "with",
    "when",
    "only",
    "unless",
    "action",
    "route",
    "limit",
    "set",
    "rewrite",
    "share",
    "valid_from",
    "valid_until",
    "hours",
    "days",
    "zone",
    "message",
    "hint",
    "mode",
    "sqlstate",
    "on_unknown",
    "plan",
];
/// Names become metric labels and stand in every error.
const MAX_NAME: usize = 63;
const BLOCKED: [u8; 5] = *b"42501";
const WARNING: [u8; 5] = *b"01000";

impl Policies {
    /// The built-in policy, for who names none.
    #[must_use]
    pub fn baseline() -> Self {
        Self::load(&[Self::baseline_source()]).expect("a test loads the baseline")
    }

    /// Its text.
    #[must_use]
    pub fn baseline_source() -> Arc<Source> {
        super::PACKS[0].source()
    }

    /// The same rules, all in `mode = "observe"`.
    #[must_use]
    pub fn observing(mut self) -> Self {
        for rule in &mut self.rules {
            Arc::get_mut(rule).expect("nothing has been judged by them yet").enforced = false;
        }
        self
    }

    /// All files together, or everything that is wrong with them. There are no lanes but the primary and the replicas.
    ///
    /// # Errors
    /// Every mistake of every file.
    pub fn load(sources: &[Arc<Source>]) -> Result<Self, Vec<Problem>> {
        Self::load_with(sources, &Lanes::default())
    }

    /// The same, with these lanes.
    ///
    /// # Errors
    /// Every mistake of every file.
    pub fn load_with(sources: &[Arc<Source>], lanes: &Lanes) -> Result<Self, Vec<Problem>> {
        let mut loader = Loader {
            lanes: lanes.clone(),
            env: Arc::new(cel::Env::stdlib()),
            rules: Vec::new(),
            names: HashMap::new(),
            allow_list: None,
        };
        let mut problems = Vec::new();
        for source in sources {
            problems.append(&mut loader.file(source));
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let mut reads = Reads::default();
        for condition in loader.rules.iter().filter_map(|rule| rule.when.as_ref()) {
            reads.add(&condition.reads);
        }
        loader.rules.iter().for_each(|rule| reads.add(&rule.shows));
        Ok(Self {
            rules: loader.rules.into_iter().map(Arc::new).collect(),
            env: loader.env,
            reads,
            allow_list: loader.allow_list,
            lanes: loader.lanes,
        })
    }
}

struct Loader {
    lanes: Lanes,
    env: Arc<cel::Env>,
    rules: Vec<Rule>,
    allow_list: Option<(AllowList, u32)>,
    /// Where each name was first used.
    names: HashMap<String, String>,
}

impl Loader {
    fn file(&mut self, source: &Arc<Source>) -> Vec<Problem> {
        let mut problems = Problems::new(source);
        let document = problems.parse(&source.text);
        let top = document.get_ref();
        // What an allow-list has learned may lie beside the policies of a directory. It is read where it is named.
        if entry(top, "allowed").is_some() && top.len() == 1 {
            return problems.finish();
        }
        problems.refuse_unknown_keys(top, "key", &["rule", "mode", "zone", "plan", "allow_list"], |key| {
            RULE_KEYS.contains(&key).then(|| format!("`{key}` stands in a [[rule]]"))
        });
        let enforced = mode(top, &mut problems).unwrap_or(true);
        let zone = zone(top, &mut problems).unwrap_or(jiff::tz::TimeZone::UTC);
        let plan = plan(top, &mut problems);
        let file: Arc<str> = source.name.rsplit('/').next().unwrap_or(&source.name).into();
        for (span, table) in tables(top, "rule", &mut problems) {
            if let Some(rule) = self.rule(span, table, &file, (enforced, &zone, plan), &mut problems) {
                self.rules.push(rule);
            }
        }
        self.allow_list(top, &file, &mut problems);
        problems.finish()
    }

    /// The list is a rule of its own, so that it is counted and told as one.
    fn allow_list(&mut self, top: &DeTable<'_>, file: &Arc<str>, problems: &mut Problems) {
        let Some(list) = AllowList::load(top, problems) else { return };
        if let Some(there) = self.names.get(allow::RULE) {
            let at = entry(top, "allow_list").map_or(0..0, Spanned::span);
            problems.add(at, format!("there is an allow-list already, at {there}")).cure =
                Some("one is for all policies; take one of them out".into());
            return;
        }
        self.names.insert(allow::RULE.to_owned(), problems.source.name.to_string());
        let index = u32::try_from(self.rules.len()).unwrap_or(u32::MAX);
        self.rules.push(Rule {
            name: allow::RULE.into(),
            file: Arc::clone(file),
            act: Act::Block,
            enforced: list.mode == ListMode::Enforce,
            is_list: true,
            finds: None,
            with: Options::default(),
            when: None,
            only: Box::default(),
            unless: Box::default(),
            message: None,
            hint: None,
            shows: Reads::default(),
            sqlstate: BLOCKED,
            match_unknown: false,
            limit: None,
            set: Box::default(),
            plan: None,
            rewrite: None,
            schedule: Default::default(),
        });
        self.allow_list = Some((list, index));
    }

    /// A rule, or `None` if it has a mistake (which is among the problems then).
    fn rule(
        &mut self,
        span: Range<usize>,
        table: &DeTable<'_>,
        file: &Arc<str>,
        (enforced, zone, asked): (bool, &jiff::tz::TimeZone, Option<PlanAsk>),
        problems: &mut Problems,
    ) -> Option<Rule> {
        problems.refuse_unknown_keys(table, "key of a rule", &RULE_KEYS, |_| None);
        let name = self.name(&span, table, problems);
        let finds = finds(table, problems);
        let with = options(&span, table, finds, problems);
        let when = self.when(table, problems);
        let only = selectors(table, "only", problems);
        let unless = selectors(table, "unless", problems);
        let act = act(&span, table, &mut self.lanes, problems);
        let limit = limit(table, act, problems);
        let set = set(table, act, problems);
        let rewrite = rewrite(table, act, problems);
        let schedule = schedule(table, name.as_deref().unwrap_or_default(), zone, problems);
        let message = template(table, "message", problems);
        let hint = template(table, "hint", problems);
        let mut shows = Reads::default();
        for (key, template) in [("message", &message), ("hint", &hint)] {
            let Some(template) = template else { continue };
            template.reads(&mut shows);
            if template.names_limit() && limit.is_none() {
                let at = entry(table, key).map_or(span.clone(), Spanned::span);
                problems.add(at, "`{limit}` is the rule's `limit`, and it has none").cure =
                    Some("`{query.limit}` is the statement's".into());
            }
        }
        let enforced = mode(table, problems).unwrap_or(enforced);
        let sqlstate = sqlstate(table, act, problems);
        let match_unknown = choice(table, "on_unknown", &["match", "no-match"], problems) == Some(0);
        let asks = ["finds", "when", "only"].iter().any(|key| entry(table, key).is_some());
        if !asks {
            let problem = problems.add(span, "the rule says nothing of what it is about");
            problem.cure = Some("give it `finds`, `when` or `only`".into());
        }
        Some(Rule {
            name: name?.into(),
            file: Arc::clone(file),
            act: act?,
            enforced,
            is_list: false,
            finds,
            with,
            when,
            only: only?,
            unless: unless?,
            message,
            hint,
            shows,
            sqlstate: sqlstate.unwrap_or(match act {
                Some(Act::Block | Act::Rewrite) => BLOCKED,
                _ => WARNING,
            }),
            match_unknown,
            limit,
            set,
            plan: plan(table, problems).or(asked),
            rewrite,
            schedule,
        })
    }

    fn name(&mut self, span: &Range<usize>, table: &DeTable<'_>, problems: &mut Problems) -> Option<String> {
        let Some(name) = string(table, "name", problems) else {
            if entry(table, "name").is_none() {
                problems.add(span.clone(), "the rule has no `name`");
            }
            return None;
        };
        let text = *name.get_ref();
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if text.is_empty() || text.len() > MAX_NAME || !text.chars().all(plain) {
            let message = format!("`{}` cannot be a rule's name", short(text));
            problems.add(name.span(), message).cure =
                Some("use up to 63 of a-z, A-Z, 0-9, `-`, `_` and `.`".into());
            return None;
        }
        let source = &problems.source;
        let here = format!("{}:{}", source.name, source.place(name.span().start).0);
        if let Some(there) = self.names.get(text) {
            let message = format!("a rule `{text}` is there already, at {there}");
            problems.add(name.span(), message).cure = Some("give one of them another name".into());
            return None;
        }
        self.names.insert(text.to_owned(), here);
        Some(text.to_owned())
    }

    fn when(&self, table: &DeTable<'_>, problems: &mut Problems) -> Option<Condition> {
        let text = string(table, "when", problems)?;
        match Condition::compile(text.get_ref(), &self.env) {
            Ok(condition) => Some(condition),
            Err(faults) => {
                for Fault { span, message, cure } in faults {
                    let span = inside(problems, &text, span);
                    problems.add(span, message).cure = cure;
                }
                None
            }
        }
    }
}

/// A span within a string value, in the file; the whole value if escapes stand between.
fn inside(problems: &Problems, value: &Spanned<&str>, span: Option<Range<usize>>) -> Range<usize> {
    let whole = value.span();
    let written = problems.source.text.get(whole.clone()).unwrap_or_default();
    match (span, written.find(*value.get_ref())) {
        (Some(span), Some(start)) => whole.start + start + span.start..whole.start + start + span.end,
        _ => whole,
    }
}

fn finds(table: &DeTable<'_>, problems: &mut Problems) -> Option<&'static rules::Detector> {
    let name = string(table, "finds", problems)?;
    let found = rules::find(name.get_ref());
    if found.is_none() {
        let known = rules::detectors().map(|detector| detector.name);
        let problem = problems.add(name.span(), format!("there is no detector `{}`", short(name.get_ref())));
        problem.cure = Some(match closest(name.get_ref(), known.clone()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("known are {}", known.collect::<Vec<_>>().join(", ")),
        });
    }
    found
}

/// `with`: the detector's options, each of its type.
fn options(
    span: &Range<usize>,
    table: &DeTable<'_>,
    finds: Option<&'static rules::Detector>,
    problems: &mut Problems,
) -> Options {
    let known = finds.map_or(&[][..], |detector| detector.options);
    let mut options = Options::defaults(known);
    let Some(value) = entry(table, "with") else { return options };
    if finds.is_none() {
        problems.add(span.clone(), "`with` are the options of a detector").cure =
            Some("name the detector in `finds`".into());
        return options;
    }
    let Some(given) = value.get_ref().as_table() else {
        wrong_type(problems, value, "with", "a table such as { max = 5 }");
        return options;
    };
    let names: Vec<&str> = known.iter().map(|option| option.name).collect();
    problems.refuse_unknown_keys(given, "option of the detector", &names, |_| None);
    for option in known {
        let Some(value) = entry(given, option.name) else { continue };
        let read = match option.default {
            OptType::Int(_) => value
                .get_ref()
                .as_integer()
                .and_then(|n| i64::from_str_radix(n.as_str(), n.radix()).ok())
                .map(Given::Int),
            OptType::Bool(_) => value.get_ref().as_bool().map(Given::Bool),
            OptType::Texts(_) => value
                .get_ref()
                .as_array()
                .and_then(|list| {
                    list.iter().map(|item| item.get_ref().as_str().map(str::to_owned)).collect::<Option<_>>()
                })
                .map(Given::Texts),
        };
        match read {
            Some(value) => options.set(option.name, value),
            None => wrong_type(problems, value, option.name, option.ty()),
        }
    }
    options
}

/// The index of a string among the possible ones.
pub(super) fn choice(
    table: &DeTable<'_>,
    key: &str,
    possible: &[&str],
    problems: &mut Problems,
) -> Option<usize> {
    let value = string(table, key, problems)?;
    let found = possible.iter().position(|name| name == value.get_ref());
    if found.is_none() {
        let message = format!("`{key}` cannot be \"{}\"", short(value.get_ref()));
        let cure = match closest(value.get_ref(), possible.iter().copied()) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => format!("it is one of {}", possible.join(", ")),
        };
        problems.add(value.span(), message).cure = Some(cure);
    }
    found
}

/// True to enforce.
/// When the plan is asked for.
fn plan(table: &DeTable<'_>, problems: &mut Problems) -> Option<PlanAsk> {
    let asks = choice(table, "plan", &["inline", "background"], problems)?;
    Some(if asks == 0 { PlanAsk::Inline } else { PlanAsk::Background })
}

fn mode(table: &DeTable<'_>, problems: &mut Problems) -> Option<bool> {
    choice(table, "mode", &["enforce", "observe"], problems).map(|at| at == 0)
}
