//! `pgsluice schema`: JSON Schemas of the files people write, for editors. Made of the tables that the readers use.

use std::io::{self, Write};
use std::process::ExitCode;

use serde_json::{Map, Value, json};

use super::args::{Schema, SchemaArgs};
use crate::config::{NAMED_SECTIONS, NAMED_SETTINGS, SECTIONS, SETTINGS, Setting};
use crate::guard::Action;
use crate::guard::fact::{Field, Type};
use crate::guard::plan::PlanFacts;
use crate::guard::policy::{CASE_KEYS, EXPECTED_ACTIONS, LIMIT_KEYS, RULE_KEYS, facts};
use crate::guard::rules::{Detector, Given, Options, detectors};
use crate::guard::{SessionFacts, TimeFacts};

pub fn command(args: &SchemaArgs) -> ExitCode {
    print(args.of)
}

pub(super) fn print(of: Schema) -> ExitCode {
    match io::stdout().lock().write_all(text(of).as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// The schema as text, with a line feed at its end.
pub(super) fn text(of: Schema) -> String {
    let (title, mut schema) = match of {
        Schema::Policies => ("Policies of pgsluice", policies()),
        Schema::Cases => ("Cases of a policy of pgsluice", cases()),
        Schema::Config => ("Settings of pgsluice", config()),
    };
    if let Some(top) = schema.as_object_mut() {
        top.insert("$schema".to_owned(), "http://json-schema.org/draft-07/schema#".into());
        top.insert("title".to_owned(), title.into());
    }
    // A map of serde_json is sorted, so that the text is always the same.
    serde_json::to_string_pretty(&schema).unwrap_or_default() + "\n"
}

fn object(properties: Map<String, Value>, required: &[&str]) -> Value {
    json!({ "type": "object", "additionalProperties": false, "properties": properties, "required": required })
}

fn policies() -> Value {
    let rule = RULE_KEYS.iter().map(|key| ((*key).to_owned(), rule_key(key).unwrap_or_default()));
    let mut rule = object(rule.collect(), &["name", "action"]);
    // What `with` may hold depends on the detector.
    let options: Vec<Value> =
        detectors().filter(|detector| !detector.options.is_empty()).map(options).collect();
    if let Some(rule) = rule.as_object_mut().filter(|_| !options.is_empty()) {
        rule.insert("allOf".to_owned(), options.into());
    }
    let top = [
        ("rule", json!({ "type": "array", "items": rule })),
        ("mode", mode("The default of the file's rules.")),
        ("plan", plan("The default of the file's rules.")),
        (
            "allow_list",
            json!({ "type": "object", "description": "Statements that were learned, and no others: { mode = \"learn\", file = \"fingerprints.toml\" }." }),
        ),
        (
            "zone",
            json!({ "type": "string", "description": "The time zone of the file's rules: \"Europe/Zurich\"." }),
        ),
    ];
    object(top.into_iter().map(|(key, value)| (key.to_owned(), value)).collect(), &[])
}

fn plan(about: &str) -> Value {
    json!({ "enum": ["inline", "background"], "description": about })
}

fn mode(about: &str) -> Value {
    json!({ "enum": ["enforce", "observe"], "description": about })
}

/// `if` it finds that, `then` its options are these.
fn options(detector: &'static Detector) -> Value {
    let defaults = Options::defaults(detector.options);
    let each = detector.options.iter().map(|option| {
        let mut schema = match defaults.given(option.name) {
            Some(Given::Int(value)) => json!({ "type": "integer", "default": value }),
            Some(Given::Bool(value)) => json!({ "type": "boolean", "default": value }),
            Some(Given::Texts(value)) => {
                json!({ "type": "array", "items": { "type": "string" }, "default": value })
            }
            None => json!({}),
        };
        if let Some(schema) = schema.as_object_mut() {
            schema.insert("description".to_owned(), option.doc.into());
        }
        (option.name.to_owned(), schema)
    });
    json!({
        "if": { "properties": { "finds": { "const": detector.name } }, "required": ["finds"] },
        "then": { "properties": { "with": object(each.collect(), &[]) } },
    })
}

fn texts(about: &str) -> Value {
    json!({ "type": "array", "items": { "type": "string" }, "description": about })
}

fn selector(about: &str) -> Value {
    let one = object(
        [
            ("users", "Login names; `*` stands for any characters."),
            ("databases", "As clients name them."),
            ("applications", "By `application_name`."),
            ("tables", "`orders` in any schema, `audit.*` all of one."),
        ]
        .into_iter()
        .map(|(key, about)| (key.to_owned(), texts(about)))
        .collect(),
        &[],
    );
    json!({ "oneOf": [one, { "type": "array", "items": one, "minItems": 1 }], "description": about })
}

fn string(about: &str) -> Value {
    json!({ "type": "string", "description": about })
}

fn amount(about: &str) -> Value {
    json!({ "type": ["string", "integer"], "description": about })
}

/// `limit = { … }`.
fn limit() -> Value {
    let keys = [
        ("timeout", amount("Longest time: \"5s\".")),
        ("rows", json!({ "type": "integer", "description": "Most rows of the result." })),
        ("bytes", amount("Largest result: \"64MB\".")),
        ("rate", amount("Most statements in a time: \"100/s\".")),
        ("concurrency", json!({ "type": "integer", "description": "Most at once." })),
        (
            "per",
            json!({ "enum": ["rule", "user", "database", "application", "client", "address", "fingerprint"], "description": "Whose are counted together." }),
        ),
    ];
    object(keys.into_iter().map(|(key, value)| (key.to_owned(), value)).collect(), &[])
}

/// `rewrite = { … }`.
fn rewrite() -> Value {
    let keys = [
        ("limit", json!({ "type": "integer", "minimum": 1, "description": "Adds a LIMIT, or lowers it." })),
        ("where", string("Adds this predicate wherever one of `tables` is read or written.")),
        ("tables", texts("Those that the predicate is for; left out: every table.")),
        (
            "columns",
            json!({ "type": "boolean", "description": "Writes `*` as the columns that the catalog knows." }),
        ),
        (
            "otherwise",
            json!({ "enum": ["block", "run"], "description": "What becomes of a statement that cannot be rewritten." }),
        ),
    ];
    object(keys.into_iter().map(|(key, value)| (key.to_owned(), value)).collect(), &[])
}

/// What may stand at a key of a rule; `None` if nobody has said it yet, which fails the tests.
fn rule_key(key: &str) -> Option<Value> {
    Some(match key {
        "name" => {
            json!({ "type": "string", "pattern": "^[A-Za-z0-9._-]{1,63}$", "description": "Unique over all files; a label of the metrics." })
        }
        "finds" => json!({
            "oneOf": detectors().map(|detector| json!({ "const": detector.name, "description": first_sentence(detector) })).collect::<Vec<_>>(),
            "description": "A built-in detector (docs/RULES.md).",
        }),
        "with" => json!({ "type": "object", "description": "Options of the detector." }),
        "when" => {
            string(&format!("A condition in CEL over facts (docs/FACTS.md): {}.", fact_names().join(", ")))
        }
        "only" => selector("Whom and what the rule is about."),
        "unless" => selector("Whom and what it is not about."),
        "action" => {
            json!({ "enum": EXPECTED_ACTIONS.map(Action::name), "description": "What follows where it matches; of all rules that match the strictest counts." })
        }
        "route" => {
            json!({ "type": ["string", "array"], "items": { "type": "string" }, "examples": ["replica", "primary", "analytics", ["analytics", "replica"]], "description": "Where the statement may run, with action = \"route\": `replica`, `primary`, or a lane of the settings; of several the first that is there." })
        }
        "limit" => limit(),
        "rewrite" => rewrite(),
        "set" => {
            json!({ "type": "object", "additionalProperties": { "type": ["string", "integer", "number", "boolean"] }, "description": "Settings in force for the statement: { lock_timeout = \"2s\" }." })
        }
        "share" => {
            json!({ "type": "number", "minimum": 0, "maximum": 1, "description": "Share of the clients that it holds for." })
        }
        "valid_from" => string("Holds from this moment: 2026-05-31T14:30:00+02:00."),
        "valid_until" => string("Holds until this moment."),
        "hours" => {
            json!({ "type": ["string", "array"], "description": "Times of the day: \"08:00-18:00\"." })
        }
        "days" => {
            json!({ "type": ["string", "array"], "description": "Days of the week: [\"monday\", \"tuesday\"]." })
        }
        "zone" => string("Time zone of `hours`, `days` and `time.…`: \"Europe/Zurich\"."),
        "message" => string("What the client is told; {table}, {column}, {rule} are filled in."),
        "hint" => string("What to do instead."),
        "mode" => mode("observe: it is counted, and nothing else happens."),
        "plan" => plan(
            "Whether the statement waits for its plan, where the rule reads it; else as `plan.mode` says.",
        ),
        "sqlstate" => {
            json!({ "type": "string", "pattern": "^[0-9A-Z]{5}$", "description": "Instead of 42501 (block) or 01000 (warn)." })
        }
        "on_unknown" => {
            json!({ "enum": ["match", "no-match"], "description": "Whether a condition without an answer counts as met." })
        }
        _ => return None,
    })
}

/// The first sentence under "What it does".
fn first_sentence(detector: &Detector) -> String {
    let text = detector.documentation();
    let text = text.split_once("### What it does\n").map_or("", |(_, rest)| rest).trim();
    let paragraph = text.split("\n\n").next().unwrap_or_default().replace('\n', " ");
    paragraph.split_inclusive(". ").next().unwrap_or_default().trim().to_owned()
}

fn fact_names() -> Vec<String> {
    facts().map(|(root, name)| format!("{root}.{name}")).collect()
}

fn of_facts<T>(fields: &'static [Field<T>], about: &str) -> Value {
    let each = fields.iter().map(|field| {
        let mut schema = match field.ty {
            Type::Bool => json!({ "type": "boolean" }),
            Type::Int => json!({ "type": "integer" }),
            Type::Float => json!({ "type": "number" }),
            Type::Text => json!({ "type": "string" }),
            Type::Texts => json!({ "type": "array", "items": { "type": "string" } }),
        };
        if let Some(schema) = schema.as_object_mut() {
            schema.insert("description".to_owned(), field.documentation().into());
        }
        (field.name.to_owned(), schema)
    });
    let mut schema = object(each.collect(), &[]);
    if let Some(schema) = schema.as_object_mut() {
        schema.insert("description".to_owned(), about.into());
    }
    schema
}

fn cases() -> Value {
    let case = CASE_KEYS.iter().map(|key| ((*key).to_owned(), case_key(key).unwrap_or_default()));
    let case = object(case.collect(), &["sql", "expect"]);
    let top = [
        ("case", json!({ "type": "array", "items": case })),
        ("catalog", case_key("catalog").unwrap_or_default()),
    ];
    object(top.into_iter().map(|(key, value)| (key.to_owned(), value)).collect(), &[])
}

fn case_key(key: &str) -> Option<Value> {
    let string = |about: &str| json!({ "type": "string", "description": about });
    Some(match key {
        "name" => string("What the case is about."),
        "sql" => string("The statement, or several."),
        "user" => string("Who sends it."),
        "database" => string("The database that the client asked for."),
        "application" => string("Its application_name."),
        "catalog" => {
            json!({ "type": ["array", "object", "string"], "description": "Tables: [{ name = \"orders\", rows = 3000000, columns = [\"id\"], indexes = [\"id\"] }], or a file beside this one that has them." })
        }
        "session" => of_facts(SessionFacts::FIELDS, "What the session did before."),
        "time" => {
            json!({ "oneOf": [{ "type": "string" }, of_facts(TimeFacts::FIELDS, "Some facts of the time.")], "description": "When it is: 2026-05-31T14:30:00+02:00." })
        }
        "plan" => of_facts(PlanFacts::FIELDS, "What the planner expects."),
        "params" => {
            json!({ "type": "array", "items": { "type": ["string", "number", "boolean", "object"] }, "description": "Values of its parameters, $1 first; {} is NULL." })
        }
        "expect" => {
            let rule = json!({ "type": "string", "description": "A rule of the policy beside this file." });
            let action = json!({ "enum": EXPECTED_ACTIONS.map(Action::name) });
            let one = object(
                [("rule".to_owned(), rule), ("action".to_owned(), action)].into_iter().collect(),
                &["rule", "action"],
            );
            json!({ "type": "array", "items": one, "description": "All that must fire; nothing else may." })
        }
        "route" => string("Where it runs: `primary`, `replica`, or a lane that a rule names."),
        "limits" => {
            let each =
                LIMIT_KEYS.iter().map(|key| ((*key).to_owned(), json!({ "type": ["string", "integer"] })));
            object(each.collect(), &[])
        }
        "set" => {
            json!({ "type": "object", "description": "Settings in force for it, as `pgsluice explain` shows them." })
        }
        "rewrite" => string("The text that runs instead."),
        _ => return None,
    })
}

fn config() -> Value {
    let mut top: Map<String, Value> = section("", SETTINGS);
    for of in SECTIONS {
        let mut schema = object(section(of.name, SETTINGS), &[]);
        describe(&mut schema, of.doc);
        top.insert(of.name.to_owned(), schema);
    }
    for of in NAMED_SECTIONS {
        let one = object(section(of.name, NAMED_SETTINGS), &[]);
        let mut schema = json!({ "type": "object", "additionalProperties": one });
        describe(&mut schema, of.doc);
        top.insert(of.name.to_owned(), schema);
    }
    object(top, &[])
}

fn describe(schema: &mut Value, doc: &[&str]) {
    if let Some(schema) = schema.as_object_mut().filter(|_| !doc.is_empty()) {
        let text: Vec<&str> = doc.iter().map(|line| line.trim()).collect();
        schema.insert("description".to_owned(), text.join(" ").into());
    }
}

fn section(name: &str, settings: &[Setting]) -> Map<String, Value> {
    settings
        .iter()
        .filter(|setting| setting.section == name)
        .map(|s| (s.key.to_owned(), setting(s)))
        .collect()
}

fn setting(setting: &Setting) -> Value {
    let array = setting.default.starts_with('[');
    let mut schema = match setting.expected {
        _ if array => json!({ "type": "array", "items": { "type": "string" } }),
        "an array of strings" => json!({ "type": "array", "items": { "type": "string" } }),
        "true or false" => json!({ "type": "boolean" }),
        "a whole number" => json!({ "type": "integer", "minimum": 0 }),
        text if text.starts_with("one of ") => json!({ "enum": text.split(' ').skip(2).collect::<Vec<_>>() }),
        text if text.starts_with("a duration") || text.starts_with("a size") => {
            json!({ "type": ["string", "integer", "number"] })
        }
        _ => json!({ "type": "string" }),
    };
    describe(&mut schema, setting.doc);
    let default = format!("x = {}", setting.default).parse::<toml::Table>().ok();
    let default = default.and_then(|table| serde_json::to_value(table.get("x")?).ok());
    if let (Some(schema), Some(default)) = (schema.as_object_mut(), default) {
        if let Some(Value::Array(possible)) = schema.get_mut("enum")
            && !possible.contains(&default)
        {
            possible.push(default.clone());
        }
        schema.insert("default".to_owned(), default);
    }
    schema
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_key_is_described() {
        for key in RULE_KEYS {
            assert!(rule_key(key).is_some(), "describe `{key}` of a rule in schema.rs");
        }
        for key in CASE_KEYS {
            assert!(case_key(key).is_some(), "describe `{key}` of a case in schema.rs");
        }
        for detector in detectors() {
            assert!(!first_sentence(detector).is_empty(), "{}", detector.name);
        }
    }

    #[test]
    fn a_schema_knows_what_the_readers_know() {
        let of = |schema| serde_json::from_str::<Value>(&text(schema)).unwrap();
        let policies = of(Schema::Policies);
        let finds =
            policies["properties"]["rule"]["items"]["properties"]["finds"]["oneOf"].as_array().unwrap();
        assert_eq!(finds.len(), detectors().count());
        let when = &policies["properties"]["rule"]["items"]["properties"]["when"]["description"];
        assert!(when.as_str().unwrap().contains("query.read_only, "), "{when}");
        let config = of(Schema::Config);
        assert_eq!(config["properties"]["pool"]["properties"]["pool_size"]["default"], 20);
        assert_eq!(config["properties"]["pool"]["properties"]["pool_mode"]["enum"][0], "transaction");
        assert_eq!(config["properties"]["replicas"]["type"], "array");
        assert_eq!(of(Schema::Cases)["properties"]["case"]["items"]["required"][1], "expect");
    }
}
