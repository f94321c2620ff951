//! What differs between two versions of policy files, rule by rule and key by key.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::document::Source;

/// Names in a log line; more are counted.
const SHOWN: usize = 20;

/// What changed, by the names of rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diff {
    pub added: Vec<String>,
    pub removed: Vec<String>,
    /// A rule, or a file for what stands above its rules, and the keys that differ.
    pub changed: Vec<(String, Vec<String>)>,
}

type Keys = BTreeMap<String, toml::Value>;

impl Diff {
    /// From one set of files to another. Both have been loaded, so both can be read.
    #[must_use]
    pub fn between(old: &[Arc<Source>], new: &[Arc<Source>]) -> Self {
        let (old, new) = (rules(old), rules(new));
        let missing_in = |one: &BTreeMap<String, Keys>, other: &BTreeMap<String, Keys>| {
            one.keys().filter(|name| !other.contains_key(*name)).cloned().collect()
        };
        let changed = new.iter().filter_map(|(name, keys)| {
            let before = old.get(name)?;
            let all = before.keys().chain(keys.keys().filter(|key| !before.contains_key(*key)));
            let differing: Vec<String> =
                all.filter(|key| before.get(*key) != keys.get(*key)).cloned().collect();
            (!differing.is_empty()).then(|| (name.clone(), differing))
        });
        Self { added: missing_in(&new, &old), removed: missing_in(&old, &new), changed: changed.collect() }
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Every rule's keys, with what its file says for all of its rules.
fn rules(sources: &[Arc<Source>]) -> BTreeMap<String, Keys> {
    let mut found = BTreeMap::new();
    for source in sources {
        let file = source.name.rsplit('/').next().unwrap_or(&source.name).to_owned();
        let Ok(mut top) = source.text.parse::<toml::Table>() else { continue };
        let rules = top.remove("rule");
        let mode = top.remove("mode").unwrap_or_else(|| "enforce".into());
        for rule in rules.as_ref().and_then(toml::Value::as_array).into_iter().flatten() {
            let Some(table) = rule.as_table() else { continue };
            let Some(name) = table.get("name").and_then(toml::Value::as_str) else { continue };
            let mut keys: Keys = table.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
            keys.entry("mode".to_owned()).or_insert_with(|| mode.clone());
            keys.insert("file".to_owned(), file.clone().into());
            found.insert(name.to_owned(), keys);
        }
        if !top.is_empty() {
            found.insert(file, top.into_iter().collect());
        }
    }
    found
}

impl fmt::Display for Diff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let changed: Vec<String> =
            self.changed.iter().map(|(name, keys)| format!("{name} ({})", keys.join(", "))).collect();
        let parts = [("added", &self.added), ("removed", &self.removed), ("changed", &changed)];
        let mut said = false;
        for (what, names) in parts.into_iter().filter(|(_, names)| !names.is_empty()) {
            let shown = &names[..names.len().min(SHOWN)];
            write!(f, "{}{what} {}", if said { "; " } else { "" }, shown.join(", "))?;
            if names.len() > SHOWN {
                write!(f, " and {} more", names.len() - SHOWN)?;
            }
            said = true;
        }
        if said { Ok(()) } else { f.write_str("no rule differs") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn between(old: &str, new: &str) -> String {
        Diff::between(&[Source::new("a/p.toml", old)], &[Source::new("b/p.toml", new)]).to_string()
    }

    #[test]
    fn a_diff_names_rules_and_keys() {
        let old = "[[rule]]\nname = \"a\"\naction = \"warn\"\n[[rule]]\nname = \"b\"\nhint = \"x\"\n";
        let new = "[[rule]]\nname = \"a\"\naction = \"block\"\nmessage = \"m\"\n[[rule]]\nname = \"c\"\n";
        assert_eq!(between(old, new), "added c; removed b; changed a (action, message)");
        assert_eq!(between(old, old), "no rule differs");
        assert_eq!(between("", old), "added a, b");
    }

    #[test]
    fn what_a_file_says_for_all_counts_for_each() {
        let rule = "[[rule]]\nname = \"a\"\n";
        assert_eq!(between(rule, &format!("mode = \"observe\"\n{rule}")), "changed a (mode)");
        assert_eq!(between(rule, &format!("mode = \"enforce\"\n# comment\n{rule}")), "no rule differs");
        assert_eq!(between(&format!("x = 1\n{rule}"), &format!("x = 2\n{rule}")), "changed p.toml (x)");
    }

    #[test]
    fn a_long_diff_is_cut() {
        let many: String = (0..30).map(|n| format!("[[rule]]\nname = \"r{n:02}\"\n")).collect();
        let shown = between("", &many);
        assert!(shown.ends_with("r19 and 10 more"), "{shown}");
    }
}
