//! `[allow_list]`: learn which statements come, then refuse what never came.
//!
//! What a statement is known by is the fingerprint of its shape where its literals cannot matter, else that of its
//! whole text (`DO`, `SET`, several statements). What cannot be shaped or parsed is never allowed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use toml::de::DeTable;

use super::load::choice;
use super::select::Glob;
use crate::document::{Problem, Problems, Source, entry, short, string, strings, tables, wrong_type};
use crate::guard::{ClientFacts, Kind, facts::Facts, sql};

/// The name of its rule, in errors and metrics.
pub(super) const RULE: &str = "allow-list";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListMode {
    /// Nothing is refused; what comes is written down.
    Learn,
    /// What is not in the list is counted.
    Observe,
    /// What is not in the list is refused.
    Enforce,
}

/// User and database.
type Whose = (Box<str>, Box<str>);

/// The statements that may run.
#[derive(Clone, Debug)]
pub struct AllowList {
    pub mode: ListMode,
    /// As the policy names it; from the policy's own directory if it is no absolute path.
    pub file: Box<str>,
    /// Whose statements it is about; all if empty.
    users: Vec<Glob>,
    known: BTreeMap<u64, BTreeSet<Whose>>,
}

/// A statement as the list has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Learned {
    pub fingerprint: u64,
    pub user: Box<str>,
    pub database: Box<str>,
    /// For people.
    pub normalized: Arc<str>,
    /// `2026-05-31T08:00:00Z`, if it is known.
    pub first_seen: Option<Box<str>>,
}

/// By what a text is looked up; `None` for one that is in no list.
pub(in crate::guard) fn key(text: &[u8], shape: Option<(&[u8], bool)>, statements: &[Facts]) -> Option<u64> {
    let (shape, cacheable) = shape?;
    if statements.iter().any(|facts| facts.kind == Kind::Unparsed) {
        return None;
    }
    Some(if cacheable { sql::fingerprint(shape) } else { sql::fingerprint(&[b"text\0", text].concat()) })
}

/// Nothing that a list need know of: an empty text, or BEGIN, COMMIT and the like alone.
fn is_harmless(statements: &[Facts]) -> bool {
    statements.iter().all(|facts| facts.kind == Kind::Transaction)
}

impl AllowList {
    /// It is about this client's statements.
    fn is_about(&self, client: &ClientFacts) -> bool {
        self.users.is_empty() || self.users.iter().any(|glob| glob.matches(&client.user))
    }

    /// The text may not run.
    pub(in crate::guard) fn refuses(
        &self,
        client: &ClientFacts,
        key: Option<u64>,
        statements: &[Facts],
    ) -> bool {
        self.mode != ListMode::Learn
            && self.is_about(client)
            && !is_harmless(statements)
            && !key.is_some_and(|key| self.has(client, key))
    }

    /// The text is to be written down.
    pub(in crate::guard) fn learns(
        &self,
        client: &ClientFacts,
        key: Option<u64>,
        statements: &[Facts],
    ) -> Option<u64> {
        let new = self.mode == ListMode::Learn && self.is_about(client) && !is_harmless(statements);
        key.filter(|key| new && !self.has(client, *key))
    }

    fn has(&self, client: &ClientFacts, key: u64) -> bool {
        self.known.get(&key).is_some_and(|whose| {
            whose.iter().any(|(user, database)| **user == *client.user && **database == *client.database)
        })
    }

    /// Statements in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.known.values().map(BTreeSet::len).sum()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Out of a policy file.
    pub(super) fn load(top: &DeTable<'_>, problems: &mut Problems) -> Option<Self> {
        let value = entry(top, "allow_list")?;
        let Some(table) = value.get_ref().as_table() else {
            wrong_type(problems, value, "allow_list", "written as [allow_list]");
            return None;
        };
        problems.refuse_unknown_keys(table, "key of the allow-list", &["mode", "file", "users"], |_| None);
        for key in ["mode", "file"].into_iter().filter(|key| entry(table, key).is_none()) {
            problems.add(value.span(), format!("the allow-list has no `{key}`")).cure = Some(match key {
                "mode" => "it is learn, observe or enforce".into(),
                _ => "for example `file = \"fingerprints.toml\"`".into(),
            });
        }
        let mode = choice(table, "mode", &["learn", "observe", "enforce"], problems)?;
        let mode = [ListMode::Learn, ListMode::Observe, ListMode::Enforce][mode];
        let file = string(table, "file", problems)?;
        if file.get_ref().is_empty() || file.get_ref().contains('\0') {
            problems.add(file.span(), "`file` names no file");
            return None;
        }
        let users = strings(table, "users", problems);
        if users.as_ref().is_some_and(Vec::is_empty) {
            problems.add(value.span(), "`users` names nobody").cure = Some("leave it out for all".into());
        }
        let users =
            users.unwrap_or_default().into_iter().map(|name| Glob((*name.get_ref()).into())).collect();
        let directory = problems.source.name.rsplit_once('/').map(|(directory, _)| directory);
        let file = match directory.filter(|_| !file.get_ref().starts_with('/')) {
            Some(directory) => format!("{directory}/{}", file.get_ref()),
            None => (*file.get_ref()).to_owned(),
        };
        Some(Self { mode, file: file.into(), users, known: BTreeMap::new() })
    }

    pub(super) fn know(&mut self, learned: &[Learned]) {
        for Learned { fingerprint, user, database, .. } in learned {
            self.known.entry(*fingerprint).or_default().insert((user.clone(), database.clone()));
        }
    }
}

/// Reads the file of an allow-list.
///
/// # Errors
/// Every mistake in it.
pub fn read_learned(source: &Arc<Source>) -> Result<Vec<Learned>, Vec<Problem>> {
    const KEYS: [&str; 5] = ["fingerprint", "user", "database", "first_seen", "statement"];
    let mut problems = Problems::new(source);
    let document = problems.parse(&source.text);
    problems.refuse_unknown_keys(document.get_ref(), "key", &["allowed"], |_| None);
    let mut learned = Vec::new();
    for (span, table) in tables(document.get_ref(), "allowed", &mut problems) {
        problems.refuse_unknown_keys(table, "key of an allowed statement", &KEYS, |_| None);
        let mut text = |key: &str| string(table, key, &mut problems).map(|text| (*text.get_ref()).to_owned());
        let (fingerprint, user, database) = (text("fingerprint"), text("user"), text("database"));
        let (first_seen, normalized) = (text("first_seen"), text("statement"));
        let number = fingerprint.as_deref().filter(|hex| hex.len() == 16);
        match (number.and_then(|hex| u64::from_str_radix(hex, 16).ok()), user, database) {
            (Some(fingerprint), Some(user), Some(database)) => learned.push(Learned {
                fingerprint,
                user: user.into(),
                database: database.into(),
                normalized: normalized.unwrap_or_default().into(),
                first_seen: first_seen.map(Into::into),
            }),
            (None, ..) => {
                let shown = short(fingerprint.as_deref().unwrap_or_default());
                problems.add(span, format!("`{shown}` is no fingerprint")).cure =
                    Some("it is 16 hexadecimal digits, as `explain` shows them".into());
            }
            _ => {
                problems.add(span, "an allowed statement has `fingerprint`, `user` and `database`");
            }
        }
    }
    if problems.is_empty() { Ok(learned) } else { Err(problems.finish()) }
}

/// The file of an allow-list, by user, database and fingerprint, so that two versions compare line by line.
#[must_use]
pub fn write_learned(learned: &[Learned]) -> String {
    let mut sorted: Vec<&Learned> = learned.iter().collect();
    sorted.sort_by(|a, b| (&a.user, &a.database, a.fingerprint).cmp(&(&b.user, &b.database, b.fingerprint)));
    sorted.dedup_by(|a, b| (&a.user, &a.database, a.fingerprint) == (&b.user, &b.database, b.fingerprint));
    let mut out = String::from("# Statements that may run, learned by pgsluice. Take out what should not.\n");
    for one in sorted {
        let quoted = |text: &str| toml::Value::from(text).to_string();
        out += &format!(
            "\n[[allowed]]\nfingerprint = \"{:016x}\"\nuser = {}\ndatabase = {}\n",
            one.fingerprint,
            quoted(&one.user),
            quoted(&one.database)
        );
        if let Some(seen) = &one.first_seen {
            out += &format!("first_seen = {}\n", quoted(seen));
        }
        out += &format!("statement = {}\n", quoted(&one.normalized));
    }
    out
}
