//! From policy files to [`Policies`]: every mistake at once, with line, column and cure.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use serde_spanned::Spanned;
use toml::de::DeTable;

use super::check::Reads;
use super::condition::{Condition, Fault};
use super::model::{Act, Policies, Rule, Template};
use super::select::{Glob, Selector, TablePattern};
use crate::document::{
    Problem, Problems, Source, closest, entry, short, string, strings, tables, wrong_type,
};
use crate::guard::rules::{Given, OptType, Options};
use crate::guard::{Lane, rules};

const RULE_KEYS: [&str; 14] = [
    "name",
    "finds",
    "with",
    "when",
    "only",
    "unless",
    "action",
    "route",
    "limit",
    "message",
    "hint",
    "mode",
    "sqlstate",
    "on_unknown",
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
        self.rules.iter_mut().for_each(|rule| rule.enforced = false);
        self
    }

    /// All files together, or everything that is wrong with them.
    ///
    /// # Errors
    /// Every mistake of every file.
    pub fn load(sources: &[Arc<Source>]) -> Result<Self, Vec<Problem>> {
        let mut loader =
            Loader { env: Arc::new(cel::Env::stdlib()), rules: Vec::new(), names: HashMap::new() };
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
        let selectors = loader.rules.iter().flat_map(|rule| rule.only.iter().chain(&rule.unless));
        let reads_application = reads.has("client", "application")
            || selectors.into_iter().any(|selector| selector.applications.is_some());
        Ok(Self { rules: loader.rules.into(), env: loader.env, reads, reads_application })
    }
}

struct Loader {
    env: Arc<cel::Env>,
    rules: Vec<Rule>,
    /// Where each name was first used.
    names: HashMap<String, String>,
}

impl Loader {
    fn file(&mut self, source: &Arc<Source>) -> Vec<Problem> {
        let mut problems = Problems::new(source);
        let document = problems.parse(&source.text);
        let top = document.get_ref();
        problems.refuse_unknown_keys(top, "key", &["rule", "mode"], |key| {
            RULE_KEYS.contains(&key).then(|| format!("`{key}` stands in a [[rule]]"))
        });
        let enforced = mode(top, &mut problems).unwrap_or(true);
        let file: Arc<str> = source.name.rsplit('/').next().unwrap_or(&source.name).into();
        for (span, table) in tables(top, "rule", &mut problems) {
            if let Some(rule) = self.rule(span, table, &file, enforced, &mut problems) {
                self.rules.push(rule);
            }
        }
        problems.finish()
    }

    /// A rule, or `None` if it has a mistake (which is among the problems then).
    fn rule(
        &mut self,
        span: Range<usize>,
        table: &DeTable<'_>,
        file: &Arc<str>,
        enforced: bool,
        problems: &mut Problems,
    ) -> Option<Rule> {
        problems.refuse_unknown_keys(table, "key of a rule", &RULE_KEYS, |_| None);
        let name = self.name(&span, table, problems);
        let finds = finds(table, problems);
        let with = options(&span, table, finds, problems);
        let when = self.when(table, problems);
        let only = selectors(table, "only", problems);
        let unless = selectors(table, "unless", problems);
        let act = act(&span, table, problems);
        let message = template(table, "message", problems);
        let hint = template(table, "hint", problems);
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
            finds,
            with,
            when,
            only: only?,
            unless: unless?,
            message,
            hint,
            sqlstate: sqlstate.unwrap_or(if act == Some(Act::Block) { BLOCKED } else { WARNING }),
            match_unknown,
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

/// The index of a string among the possible ones.
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

fn choice(table: &DeTable<'_>, key: &str, possible: &[&str], problems: &mut Problems) -> Option<usize> {
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
fn mode(table: &DeTable<'_>, problems: &mut Problems) -> Option<bool> {
    choice(table, "mode", &["enforce", "observe"], problems).map(|at| at == 0)
}

fn act(span: &Range<usize>, table: &DeTable<'_>, problems: &mut Problems) -> Option<Act> {
    const ACTIONS: [&str; 4] = ["warn", "block", "route", "limit"];
    let unsupported = "limits are not yet supported";
    if let Some(limit) = entry(table, "limit") {
        problems.add(limit.span(), unsupported).cure = Some("leave `limit` out".into());
    }
    let action = choice(table, "action", &ACTIONS, problems);
    if action.is_none() && entry(table, "action").is_none() {
        problems.add(span.clone(), "the rule has no `action`").cure =
            Some("it is warn, block or route".into());
    }
    let route = route(table, problems);
    let lane = entry(table, "route");
    match action? {
        2 if lane.is_none() => {
            let at = entry(table, "action").map_or(span.clone(), Spanned::span);
            problems.add(at, "`action = \"route\"` needs a `route`").cure =
                Some("add `route = \"replica\"`".into());
            None
        }
        2 => route.map(Act::Route),
        3 => {
            let at = entry(table, "action").map_or(span.clone(), Spanned::span);
            problems.add(at, unsupported).cure = Some("use warn, block or route".into());
            None
        }
        other => {
            if let Some(lane) = lane {
                let problem = problems.add(lane.span(), "`route` has no effect here");
                problem.cure = Some("it needs `action = \"route\"`".into());
            }
            Some(if other == 0 { Act::Warn } else { Act::Block })
        }
    }
}

fn route(table: &DeTable<'_>, problems: &mut Problems) -> Option<Lane> {
    let name = string(table, "route", problems)?;
    match *name.get_ref() {
        "replica" => Some(Lane::Replica),
        "primary" => Some(Lane::Primary),
        other => {
            let message = format!("the route `{}` leads nowhere: no such lane is configured", short(other));
            problems.add(name.span(), message).cure = Some("use \"replica\" or \"primary\"".into());
            None
        }
    }
}

fn template(table: &DeTable<'_>, key: &str, problems: &mut Problems) -> Option<Template> {
    let text = string(table, key, problems)?;
    match Template::parse(text.get_ref()) {
        Ok(template) => Some(template),
        Err(message) => {
            let known = Template::PLACEHOLDERS.map(|name| format!("{{{name}}}")).join(", ");
            problems.add(text.span(), message).cure = Some(format!("known are {known}"));
            None
        }
    }
}

fn sqlstate(table: &DeTable<'_>, act: Option<Act>, problems: &mut Problems) -> Option<[u8; 5]> {
    let text = string(table, "sqlstate", problems)?;
    let code: Option<[u8; 5]> = text.get_ref().as_bytes().try_into().ok();
    let code = code.filter(|code| code.iter().all(|byte| byte.is_ascii_digit() || byte.is_ascii_uppercase()));
    let success = code.is_some_and(|code| [*b"00", *b"01", *b"02"].contains(&[code[0], code[1]]));
    let complaint = match (code, act) {
        (None, _) => Some(("`sqlstate` is five of 0-9 and A-Z", "for example \"42501\"")),
        (_, Some(Act::Route(_))) => {
            Some(("`sqlstate` has no effect here", "a route says nothing to the client"))
        }
        (_, Some(Act::Block)) if success => {
            Some(("this `sqlstate` is none of an error", "classes 00, 01 and 02 are success and warnings"))
        }
        (_, Some(Act::Warn)) if !success => {
            Some(("this `sqlstate` is none of a warning", "warnings are of class 01, for example \"01000\""))
        }
        _ => None,
    };
    match complaint {
        Some((message, cure)) => {
            problems.add(text.span(), message).cure = Some(cure.into());
            None
        }
        None => code,
    }
}

/// One selector or an array of them; `None` after a mistake.
fn selectors(table: &DeTable<'_>, key: &str, problems: &mut Problems) -> Option<Box<[Selector]>> {
    let Some(value) = entry(table, key) else { return Some(Box::default()) };
    if let Some(one) = value.get_ref().as_table() {
        return selector(value.span(), one, key, problems).map(|one| Box::from([one]));
    }
    let Some(list) = value.get_ref().as_array() else {
        wrong_type(problems, value, key, "a table such as { users = [\"app\"] }");
        return None;
    };
    let mut found = Vec::new();
    let mut whole = true;
    for item in list.iter() {
        let selector = match item.get_ref().as_table() {
            Some(table) => selector(item.span(), table, key, problems),
            None => {
                wrong_type(problems, item, key, "a table such as { users = [\"app\"] }");
                None
            }
        };
        whole &= selector.is_some();
        found.extend(selector);
    }
    if list.iter().next().is_none() {
        problems.add(value.span(), format!("`{key}` is empty")).cure = Some("leave it out".into());
        whole = false;
    }
    whole.then(|| found.into())
}

fn selector(span: Range<usize>, table: &DeTable<'_>, key: &str, problems: &mut Problems) -> Option<Selector> {
    const KEYS: [&str; 4] = ["users", "databases", "applications", "tables"];
    problems.refuse_unknown_keys(table, &format!("key of `{key}`"), &KEYS, |_| None);
    if !KEYS.iter().any(|known| entry(table, known).is_some()) {
        // Empty, `only` would mean everything and `unless` would switch the rule off.
        problems.add(span, format!("`{key}` names nothing")).cure =
            Some(format!("known are {}", KEYS.join(", ")));
        return None;
    }
    let mut globs = |of: &str| {
        let given = entry(table, of)?;
        let list = strings(table, of, problems)?;
        if list.is_empty() || list.iter().any(|text| text.get_ref().is_empty()) {
            let problem = problems.add(given.span(), format!("`{of}` has nothing that could match"));
            problem.cure = Some("`*` stands for any name".into());
        }
        Some(list.into_iter().map(|text| *text.get_ref()).collect::<Vec<_>>())
    };
    let plain =
        |list: Option<Vec<&str>>| list.map(|list| list.into_iter().map(|name| Glob(name.into())).collect());
    Some(Selector {
        users: plain(globs("users")),
        databases: plain(globs("databases")),
        applications: plain(globs("applications")),
        tables: globs("tables").map(|list| list.into_iter().map(table_pattern).collect()),
    })
}

fn table_pattern(text: &str) -> TablePattern {
    match text.rsplit_once('.') {
        Some((schema, table)) => {
            TablePattern { schema: Some(Glob(schema.into())), table: Glob(table.into()) }
        }
        None => TablePattern { schema: None, table: Glob(text.into()) },
    }
}
