//! Conditions: CEL over the facts of a statement and its client, checked when a policy is loaded, evaluated only
//! when a verdict is made for the first time.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use cel::objects::{Key, Map};
use cel::{Context, Env, Program, Value};

use super::check::{self, Reads, Type};
use super::quick::Quick;
use crate::guard::fact::{self, Field};
use crate::guard::facts::Facts;
use crate::guard::plan::PlanFacts;
use crate::guard::{CatalogFacts, ClientFacts, Kind, SessionFacts, Subject, TimeFacts};

/// A line of the manual: name, type, known of what was not parsed, documentation.
type Line = (&'static str, &'static str, bool, String);
/// Is this field read?
type Wanted<'a> = dyn Fn(&str) -> bool + 'a;

/// A name in conditions that has fields: `query`, `client`, ….
pub(super) struct Root {
    pub(super) name: &'static str,
    about: &'static str,
    /// Its fields, for the manual: name, type, known of what was not parsed, documentation.
    sheet: fn() -> Vec<Line>,
    /// Its fields' names and types.
    pub(super) fields: fn() -> Vec<(&'static str, Type)>,
    /// The values of those that are known and read.
    values: fn(&Subject<'_>, &Wanted<'_>) -> HashMap<Key, Value>,
    /// One value, for what needs no CEL.
    pub(super) get: for<'a> fn(&Subject<'a>, usize) -> fact::Value<'a>,
}

/// A root whose fields are those of a table: its facts of a subject, and whether those of what was parsed are known.
macro_rules! root {
    ($name:literal, $about:literal, $table:ty, |$of:ident| $facts:expr, $parsed:expr) => {
        Root {
            name: $name,
            about: $about,
            sheet: || sheet(<$table>::FIELDS),
            fields: || typed(<$table>::FIELDS),
            values: |$of, reads| values(<$table>::FIELDS, $facts, $parsed, reads),
            get: |$of, at| get(<$table>::FIELDS, at, $facts, $parsed),
        }
    };
}

/// All of them. `query` holds the facts of the statement.
#[rustfmt::skip]
pub(super) const ROOTS: &[Root] = &[
    root!("query", "What the statement is, from its text alone.", Facts, |of| Some(of.facts), of.facts.kind != Kind::Unparsed),
    root!("client", "Who asks.", ClientFacts, |of| Some(of.client), true),
    root!("session", "What the session did before this statement. A rule that reads it is asked at every run.", SessionFacts, |of| of.around.session, true),
    root!("time", "When it is, in the zone the rule names. A rule that reads it is asked at every run.", TimeFacts, |of| of.around.time, true),
    root!("plan", "What the planner expects. A rule that reads it is asked at every run. Unknown while it was not asked, or did not answer in time.", PlanFacts, |of| of.around.plan, true),
    root!("catalog", "What the catalog says of the statement's tables together. Unknown without a catalog, and of tables it does not have.", CatalogFacts, |of| of.known, true),
    Root {
        name: "params",
        about: "What is bound to `$1`, `$2`, …. A rule that reads it is asked at every run. Unknown where one of them is NULL or was sent in binary.",
        sheet: || {
            let doc = "The values in text form, `$1` first: `params.values[0]`.";
            vec![("values", fact::Type::Texts.name(), true, doc.to_owned())]
        },
        fields: || vec![("values", Type::Texts)],
        values: |of, reads| {
            let values = params(of).filter(|_| reads("values"));
            values.into_iter().map(|values| (Key::from("values"), Value::from(values))).collect()
        },
        get: |_, _| fact::Value::Unknown,
    },
];

/// All of them as texts, or nothing.
fn params(of: &Subject<'_>) -> Option<Vec<String>> {
    let text = |value: &Option<&[u8]>| std::str::from_utf8((*value)?).ok().map(str::to_owned);
    of.around.params?.iter().map(text).collect()
}

fn get<'a, T>(fields: &'static [Field<T>], at: usize, of: Option<&'a T>, parsed: bool) -> fact::Value<'a> {
    match (fields.get(at), of) {
        (Some(field), Some(of)) if parsed || field.always => (field.get)(of),
        _ => fact::Value::Unknown,
    }
}

/// A fact by its name: where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    root: usize,
    at: usize,
    pub(super) ty: Type,
}

impl Place {
    /// `query`, `joins`; nothing for what only CEL reads.
    pub(super) fn of(root: &str, field: &str) -> Option<(Self, &'static str, &'static str)> {
        let (index, known) =
            ROOTS.iter().enumerate().find(|(_, known)| known.name == root && root != "params")?;
        let fields = (known.fields)();
        let (at, (name, ty)) = fields.into_iter().enumerate().find(|(_, (name, _))| *name == field)?;
        Some((Self { root: index, at, ty }, known.name, name))
    }

    pub(super) fn get<'a>(self, subject: &Subject<'a>) -> fact::Value<'a> {
        ROOTS.get(self.root).map_or(fact::Value::Unknown, |root| (root.get)(subject, self.at))
    }
}

fn sheet<T>(fields: &'static [Field<T>]) -> Vec<Line> {
    fields.iter().map(|field| (field.name, field.ty.name(), field.always, field.documentation())).collect()
}

/// docs/FACTS.md.
pub(super) fn documentation() -> String {
    let mut out = String::from(
        "# Facts\n\n\
         Generated from the tables in `src/guard/`; `UPDATE=1 cargo test` writes it again. Conditions read them, and\n\
         `pgsluice explain --json` prints those of the statement. Of a statement that the grammar did not read only\n\
         those marked `*` are known; a condition that reads another one has no answer (`on_unknown`).\n",
    );
    for root in ROOTS {
        out += &format!("\n## {}\n\n{}\n\n| fact | type | |\n|---|---|---|\n", root.name, root.about);
        for (name, ty, always, doc) in (root.sheet)() {
            let mark = if always && root.name == "query" { "*" } else { "" };
            out += &format!("| `{}.{name}`{mark} | {ty} | {doc} |\n", root.name);
        }
    }
    out
}

fn typed<T>(fields: &'static [Field<T>]) -> Vec<(&'static str, Type)> {
    fields.iter().map(|field| (field.name, Type::of(field.ty))).collect()
}

fn values<T>(
    fields: &'static [Field<T>],
    of: Option<&T>,
    parsed: bool,
    reads: &Wanted<'_>,
) -> HashMap<Key, Value> {
    let Some(of) = of else { return HashMap::new() };
    let wanted = fields.iter().filter(|field| (parsed || field.always) && reads(field.name));
    wanted.filter_map(|field| Some((Key::from(field.name), value((field.get)(of))?))).collect()
}

fn value(of: fact::Value<'_>) -> Option<Value> {
    Some(match of {
        fact::Value::Bool(value) => Value::from(value),
        fact::Value::Int(value) => Value::from(value),
        fact::Value::Float(value) => Value::from(value),
        fact::Value::Text(value) => Value::from(value.to_owned()),
        fact::Value::Texts(list) => Value::from(list.to_vec()),
        fact::Value::Unknown => return None,
    })
}

/// Every kind, so that a condition cannot compare with one that does not exist.
pub(super) const KINDS: [Kind; 12] = [
    Kind::Select,
    Kind::Insert,
    Kind::Update,
    Kind::Delete,
    Kind::Merge,
    Kind::Copy,
    Kind::Ddl,
    Kind::Transaction,
    Kind::Set,
    Kind::Show,
    Kind::Utility,
    Kind::Unparsed,
];

/// A condition that has been checked.
#[derive(Debug)]
pub(super) struct Condition {
    program: Program,
    /// What it says without CEL.
    quick: Quick,
    /// The fields it reads.
    pub(super) reads: Reads,
}

/// What a condition says of one statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Yes,
    No,
    /// It reads something that is not known of this statement, or its arithmetic failed.
    Unknown,
}

impl Answer {
    /// Both must hold: a no decides, whatever is not known.
    pub(super) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::No, _) | (_, Self::No) => Self::No,
            (Self::Yes, Self::Yes) => Self::Yes,
            _ => Self::Unknown,
        }
    }
}

impl From<bool> for Answer {
    fn from(yes: bool) -> Self {
        if yes { Self::Yes } else { Self::No }
    }
}

/// What is wrong with a condition, and where in its text (bytes), if that is known.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) span: Option<Range<usize>>,
    pub(super) message: String,
    pub(super) cure: Option<String>,
}

/// Longer conditions are mistakes; the parser's time and stack are not theirs.
const MAX_CONDITION: usize = 8192;
const MAX_DEPTH: usize = 20;
const MAX_LINKS: usize = 300;

impl Condition {
    /// Compiles and checks a condition.
    pub(super) fn compile(text: &str, env: &Env) -> Result<Self, Vec<Fault>> {
        let fault = |span, message: &str| Fault { span, message: message.to_owned(), cure: None };
        if !is_shallow(text) {
            let mut too_long = fault(None, "the condition is too long or too deeply nested");
            too_long.cure = Some("split it into several rules".into());
            return Err(vec![too_long]);
        }
        if text.trim().is_empty() {
            return Err(vec![fault(None, "the condition is empty")]);
        }
        // The grammar's generated parser reports most mistakes, and panics on a few.
        let compiled = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| env.compile(text)));
        let program = match compiled {
            Ok(Ok(program)) => program,
            Ok(Err(errors)) => {
                return Err(errors
                    .errors
                    .iter()
                    .map(|error| fault(offset(text, error.pos), first_line(&error.msg)))
                    .collect());
            }
            Err(_) => return Err(vec![fault(None, "the condition cannot be read")]),
        };
        match check::check(&program) {
            Ok(reads) => Ok(Self { quick: Quick::of(program.expression()), program, reads }),
            Err(faults) => Err(faults),
        }
    }

    /// The answer, if the parts that compare a fact with a literal give it.
    pub(super) fn ask_quickly(&self, subject: &Subject<'_>) -> Option<Answer> {
        self.quick.ask(subject)
    }

    pub(super) fn ask(&self, context: &Context<'_, '_>) -> Answer {
        match self.program.execute(context) {
            Ok(Value::Bool(true)) => Answer::Yes,
            Ok(Value::Bool(false)) => Answer::No,
            Ok(_) | Err(_) => Answer::Unknown,
        }
    }
}

/// The context in which all conditions are asked about one statement. Facts that no condition reads are left out,
/// and so are those that are not known: reading one of these is an error in CEL, which `||` and `&&` overrule
/// where the other side decides alone.
pub(super) fn context<'a>(env: &Arc<Env>, subject: &Subject<'_>, reads: &Reads) -> Context<'a, 'a> {
    let mut context = Context::with_env(Arc::clone(env));
    for root in ROOTS {
        let map = (root.values)(subject, &|field| reads.has(root.name, field));
        context.add_variable_from_value(root.name, Value::Map(Map { map: Arc::new(map) }));
    }
    context
}

/// A fact of the statement for people: `tables = orders, items`.
pub(super) fn show(subject: &Subject<'_>, name: &str) -> Option<String> {
    let field = Facts::FIELDS.iter().find(|field| field.name == name)?;
    let value = shown((field.get)(subject.facts))?;
    Some(format!("{name} = {value}"))
}

/// A fact for people; nothing if it is not known.
pub(super) fn shown(value: fact::Value<'_>) -> Option<String> {
    Some(match value {
        fact::Value::Bool(value) => value.to_string(),
        fact::Value::Int(value) => value.to_string(),
        fact::Value::Float(value) => value.to_string(),
        fact::Value::Text(value) => value.to_owned(),
        fact::Value::Texts(names) => list(names),
        fact::Value::Unknown => return None,
    })
}

/// The first few, so that a statement over a thousand tables does not fill the client's screen.
fn list(names: &[String]) -> String {
    let shown = names.iter().take(5).map(|name| crate::document::short(name)).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(5) {
        0 if names.is_empty() => "none".to_owned(),
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// Whether the parser's recursion stays shallow. Brackets nest; chains of operators and selections do too, in the
/// tree. Strings are not told apart, which only errs on the safe side.
fn is_shallow(text: &str) -> bool {
    let (mut depth, mut deepest, mut links) = (0usize, 0, 0);
    for byte in text.bytes() {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            b'.' | b'!' | b'-' | b'+' | b'*' | b'/' | b'%' | b'?' | b'&' | b'|' | b'<' | b'>' | b'=' => {
                links += 1
            }
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    text.len() <= MAX_CONDITION && deepest <= MAX_DEPTH && links <= MAX_LINKS
}

/// Line and column from 1, as CEL counts, to a one-character span.
fn offset(text: &str, (line, column): (isize, isize)) -> Option<Range<usize>> {
    let line = usize::try_from(line).ok()?.checked_sub(1)?;
    let column = usize::try_from(column).ok()?.checked_sub(1)?;
    let start: usize = text.split_inclusive('\n').take(line).map(str::len).sum();
    let at = (start + column).min(text.len());
    text.is_char_boundary(at).then_some(at..(at + 1).min(text.len()))
}

fn first_line(message: &str) -> &str {
    message.lines().next().unwrap_or("the condition cannot be read")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::guard::Circumstances;

    /// By CEL, and quickly where that gives an answer: the same.
    fn ask_around(text: &str, facts: &Facts, around: &Circumstances<'_>) -> Answer {
        let env = Arc::new(Env::stdlib());
        let condition = Condition::compile(text, &env).unwrap();
        let client = ClientFacts { user: "app".into(), database: "shop".into(), application: "web-1".into() };
        let subject = Subject { facts, client: &client, around, known: None };
        let answer = condition.ask(&context(&env, &subject, &condition.reads));
        assert!(condition.ask_quickly(&subject).is_none_or(|quick| quick == answer), "{text}: {answer:?}");
        answer
    }

    fn ask(text: &str, facts: &Facts) -> Answer {
        ask_around(text, facts, &Circumstances::default())
    }

    fn parsed() -> Facts {
        Facts { kind: Kind::Select, tables: vec!["a".into(), "s.b".into()], joins: 3, ..Facts::unparsed(9) }
    }

    #[test]
    fn facts_of_query_and_client_can_be_read() {
        for text in [
            "query.kind == \"select\" && query.joins > 2",
            "query.tables.exists(t, t.startsWith(\"s.\"))",
            "\"a\" in query.tables && size(query.tables) == 2 && query.functions.size() == 0",
            "client.user == \"app\" && client.database != \"other\" && client.application.startsWith(\"web\")",
            "query.kind in [\"select\", \"insert\"] && !query.has_where && query.bytes < 10 && query.statements == 1",
            "query.joins > 5 ? query.group_by : query.params == 0",
        ] {
            assert_eq!(ask(text, &parsed()), Answer::Yes, "{text}");
        }
        assert_eq!(ask("query.group_by", &parsed()), Answer::No);
    }

    #[test]
    fn what_is_not_known_of_an_unparsed_statement_is_neither_yes_nor_no() {
        let unparsed = Facts::unparsed(9);
        assert_eq!(ask("query.kind == \"unparsed\"", &unparsed), Answer::Yes);
        assert_eq!(ask("query.select_star", &unparsed), Answer::Unknown);
        assert_eq!(ask("!query.select_star", &unparsed), Answer::Unknown);
        assert_eq!(ask("query.select_star || query.kind == \"unparsed\"", &unparsed), Answer::Yes);
        assert_eq!(ask("query.select_star && query.kind == \"select\"", &unparsed), Answer::No);
        assert_eq!(ask("query.bytes / (query.statements - 1) > 0", &parsed()), Answer::Unknown);
    }

    #[test]
    fn whole_numbers_compare_with_fractions() {
        let session = SessionFacts { transaction_seconds: 5.5, repeats: 6, ..SessionFacts::blank() };
        let around = Circumstances { session: Some(&session), ..Circumstances::default() };
        for (text, expected) in [
            ("session.transaction_seconds > 5", Answer::Yes),
            ("session.transaction_seconds > 5.5", Answer::No),
            ("session.transaction_seconds >= 5.5", Answer::Yes),
            ("session.repeats > 5.5", Answer::Yes),
            ("session.repeats == 6.0", Answer::Yes),
            ("7 > session.repeats && session.repeats > query.joins", Answer::Yes),
            ("session.transaction_seconds * 2.0 > 11", Answer::No),
            ("session.transaction_seconds > -1", Answer::Yes),
        ] {
            assert_eq!(ask_around(text, &parsed(), &around), expected, "{text}");
            assert_eq!(ask(text, &parsed()), Answer::Unknown, "{text}");
        }
    }

    #[test]
    fn parameters_are_texts_and_unknown_if_one_is_none() {
        let bound: [Option<&[u8]>; 2] = [Some(b"%x"), Some(b"7")];
        let around = Circumstances { params: Some(&bound), ..Circumstances::default() };
        assert_eq!(ask_around("params.values[0].startsWith(\"%\")", &parsed(), &around), Answer::Yes);
        assert_eq!(ask_around("size(params.values) == 2", &parsed(), &around), Answer::Yes);
        assert_eq!(ask_around("params.values[2] == \"\"", &parsed(), &around), Answer::Unknown);
        assert_eq!(ask_around("query.joins > 9 && params.values[2] == \"\"", &parsed(), &around), Answer::No);
        let null: [Option<&[u8]>; 2] = [Some(b"%x"), None];
        let around = Circumstances { params: Some(&null), ..Circumstances::default() };
        assert_eq!(ask_around("params.values[0].startsWith(\"%\")", &parsed(), &around), Answer::Unknown);
    }

    #[test]
    fn mistakes_are_found_when_a_condition_is_compiled() {
        let env = Env::stdlib();
        for (text, at, message) in [
            ("query.join > 1", Some(6), "`query` has no field `join`"),
            ("plane.rows > 1", Some(0), "unknown name `plane`"),
            ("query", Some(0), "`query` has fields; read one of them"),
            ("query.joins", None, "the condition is a number, not true or false"),
            ("query.joins == \"3\"", None, "compares a number with a text"),
            ("query.select_star > 1", None, "compares true or false with a number"),
            ("query.kind && true", None, "a text is not true or false"),
            ("query.kind == \"selekt\"", None, "`query.kind` is never \"selekt\""),
            ("query.tables == \"a\"", None, "compares a list with a text"),
            ("query.joins in query.tables", None, "looks for a number in a list of texts"),
            ("query.kind.matches(\"x\")", None, "unknown function `matches`"),
            ("size(query.joins) > 1", None, "`size` is of a text or a list"),
            ("session.transaction_seconds + 1 > 2.0", None, "write `5.0`"),
            ("params.values == \"x\"", None, "compares a list with a text"),
            ("params.value[0] == \"x\"", Some(7), "`params` has no field `value`"),
            ("query.joins >", None, ""),
            ("", None, "the condition is empty"),
        ] {
            let faults = Condition::compile(text, &env).unwrap_err();
            assert!(faults[0].message.contains(message), "{text}: {faults:?}");
            if let Some(at) = at {
                assert_eq!(faults[0].span.as_ref().unwrap().start, at, "{text}");
            }
        }
    }

    #[test]
    fn hostile_conditions_end_in_an_error() {
        let env = Env::stdlib();
        for text in [
            "(".repeat(5000),
            "!".repeat(5000),
            "[".repeat(300),
            "a.".repeat(3000),
            "\"".into(),
            "\u{0}".into(),
        ] {
            assert!(Condition::compile(&text, &env).is_err());
        }
    }
}
