//! `only` and `unless`, out of a rule's table.

use std::ops::Range;

use toml::de::DeTable;

use super::select::{Glob, Selector, TablePattern};
use crate::document::{Problems, entry, strings, wrong_type};

/// One selector or an array of them; `None` after a mistake.
pub(super) fn selectors(table: &DeTable<'_>, key: &str, problems: &mut Problems) -> Option<Box<[Selector]>> {
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

pub(super) fn table_pattern(text: &str) -> TablePattern {
    match text.rsplit_once('.') {
        Some((schema, table)) => {
            TablePattern { schema: Some(Glob(schema.into())), table: Glob(table.into()) }
        }
        None => TablePattern { schema: None, table: Glob(text.into()) },
    }
}
