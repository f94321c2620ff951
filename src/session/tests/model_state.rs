//! What a session of the model has: settings and a temporary table, in and out of transactions.

use std::collections::{BTreeMap, HashMap};

use crate::wire::reply;

/// Names, and the texts that prepared them.
pub(super) type Prepared = HashMap<Vec<u8>, Vec<u8>>;

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct State {
    pub(super) settings: BTreeMap<String, String>,
    pub(super) temp: bool,
}

/// The state, and what a rollback brings back.
#[derive(Debug, Default)]
pub(super) struct Kept {
    pub(super) now: State,
    before: Option<State>,
    /// Values from before those that are a transaction's own.
    local: BTreeMap<String, Option<String>>,
}

impl Kept {
    pub(super) fn begin(&mut self) {
        self.before.get_or_insert_with(|| self.now.clone());
    }
    pub(super) fn end(&mut self, rolls_back: bool) {
        if let Some(before) = self.before.take().filter(|_| rolls_back) {
            self.now = before;
        }
        self.batch_ends();
    }
    /// Outside of a transaction block a batch is one.
    pub(super) fn batch_ends(&mut self) {
        for (name, value) in std::mem::take(&mut self.local) {
            match value {
                Some(value) => drop(self.now.settings.insert(name, value)),
                None => drop(self.now.settings.remove(&name)),
            }
        }
    }
    /// The tag of a statement about settings or the table; `None`: it is another.
    pub(super) fn run(&mut self, text: &str) -> Option<&'static str> {
        if let Some(rest) = text.strip_prefix("set ") {
            let (name, value) = rest.split_once(" = ")?;
            self.now.settings.insert(name.into(), value.into());
            return Some("SET");
        }
        match text {
            "reset all" => {
                self.now.settings.clear();
                Some("RESET")
            }
            "reset a" => {
                self.now.settings.remove("a");
                Some("RESET")
            }
            "create temp table t ()" => {
                self.now.temp = true;
                Some("CREATE TABLE")
            }
            "drop table if exists t" => {
                self.now.temp = false;
                Some("DROP TABLE")
            }
            _ => None,
        }
    }
    /// What a query about them shows.
    pub(super) fn look(&self, text: &str) -> Option<String> {
        match text {
            "select current_setting('a')" => Some(self.now.settings.get("a").cloned().unwrap_or_default()),
            "table t" => Some(format!("temp {}", self.now.temp)),
            _ => None,
        }
    }

    /// Our own queries: alignment, restoration, and the question of what is left.
    pub(super) fn ours(&mut self, text: &str, sql: &Prepared, out: &mut Vec<u8>) -> bool {
        if text.contains("/* pgsluice: what the session left */") {
            self.probe(text, sql, out);
            return true;
        }
        if text.starts_with("SELECT pg_catalog.current_setting(") {
            let (asks, sets) = text.split_once(';').unwrap();
            let names = asks.split("current_setting(E'").skip(1).map(|rest| rest.split('\'').next().unwrap());
            let values: Vec<_> =
                names.map(|name| self.now.settings.get(name).cloned().unwrap_or_default()).collect();
            let values: Vec<_> = values.iter().map(|value| Some(value.as_str())).collect();
            reply::data_row(out, &values);
            reply::command_complete(out, "SELECT 1");
            return self.ours(sets, sql, out);
        }
        let aligns = text.starts_with("RESET \"") || text.starts_with("SELECT pg_catalog.set_config(");
        if aligns {
            let mut quoted = text.split("RESET \"");
            quoted.next();
            quoted.for_each(|rest| drop(self.now.settings.remove(rest.split('"').next().unwrap())));
            for call in text.split("set_config(E'").skip(1) {
                let mut parts = call.split("E'");
                let name = parts.next().unwrap().split('\'').next().unwrap();
                let value = parts.next().unwrap().split('\'').next().unwrap();
                if call.contains(", true)") {
                    let before = self.now.settings.get(name).cloned();
                    self.local.entry(name.into()).or_insert(before);
                }
                self.now.settings.insert(name.into(), value.into());
            }
            reply::command_complete(out, "SELECT 1");
        }
        aligns
    }

    fn probe(&self, text: &str, sql: &Prepared, out: &mut Vec<u8>) {
        let mut row = vec![Some(String::new())];
        let kinds = [
            ("current_setting('role')", false),
            ("pg_my_temp_schema()", self.now.temp),
            ("pg_listening_channels()", false),
            ("pg_locks", false),
            ("EXISTS (SELECT FROM pg_catalog.pg_prepared_statements", !sql.is_empty()),
            ("is_holdable", false),
        ];
        for (_, held) in kinds.iter().filter(|(mark, _)| text.contains(mark)) {
            row.push(Some(if *held { "t" } else { "f" }.into()));
        }
        for name in text.split("current_setting(E'").skip(1) {
            row.push(self.now.settings.get(name.split('\'').next().unwrap()).cloned());
        }
        let values: Vec<_> = row.iter().map(Option::as_deref).collect();
        reply::data_row(out, &values);
        reply::command_complete(out, "SELECT 1");
        if text.contains("pg_settings") {
            for (name, value) in &self.now.settings {
                reply::data_row(out, &[Some(name), Some(value)]);
            }
            reply::command_complete(out, "SELECT");
        }
        if text.contains("SELECT name, statement") {
            for (name, statement) in sql {
                let text = |bytes| std::str::from_utf8(bytes).unwrap();
                reply::data_row(out, &[Some(text(name)), Some(text(statement)), Some("")]);
            }
            reply::command_complete(out, "SELECT");
        }
    }
}
