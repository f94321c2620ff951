//! `rewrite`, out of a rule's table.

use toml::de::DeTable;

use super::load::choice;
use super::load_actions::count;
use super::load_select::table_pattern;
use super::model::Act;
use super::rewrite::{Required, Rewrite};
use crate::document::{Problems, entry, short, string, strings, wrong_type};

/// `rewrite`, as the action or beside one that lets the statement run.
pub(super) fn rewrite(table: &DeTable<'_>, act: Option<Act>, problems: &mut Problems) -> Option<Rewrite> {
    const KEYS: [&str; 5] = ["limit", "where", "tables", "columns", "otherwise"];
    let value = entry(table, "rewrite")?;
    let Some(given) = value.get_ref().as_table() else {
        wrong_type(problems, value, "rewrite", "a table such as { limit = 1000 }");
        return None;
    };
    problems.refuse_unknown_keys(given, "key of `rewrite`", &KEYS, |_| None);
    if act == Some(Act::Block) {
        problems.add(value.span(), "`rewrite` has no effect here").cure =
            Some("a blocked statement does not run; leave it out".into());
    }
    let limit = count(given, "limit", problems);
    let predicate = predicate(given, problems);
    let columns = match entry(given, "columns").map(|value| (value, value.get_ref().as_bool())) {
        Some((value, None)) => {
            wrong_type(problems, value, "columns", "true or false");
            false
        }
        Some((_, Some(columns))) => columns,
        None => false,
    };
    if !columns && !["limit", "where"].iter().any(|key| entry(given, key).is_some()) {
        problems.add(value.span(), "`rewrite` changes nothing").cure =
            Some("give it `limit`, `where` or `columns = true`".into());
    }
    let lenient = choice(given, "otherwise", &["block", "run"], problems) == Some(1);
    Some(Rewrite { limit, predicate, columns, lenient })
}

fn predicate(table: &DeTable<'_>, problems: &mut Problems) -> Option<Required> {
    let tables = strings(table, "tables", problems).unwrap_or_default();
    let Some(text) = string(table, "where", problems) else {
        if let Some(value) = entry(table, "tables") {
            problems.add(value.span(), "`tables` has no effect here").cure =
                Some("it belongs to `where`".into());
        }
        return None;
    };
    if entry(table, "tables").is_some() && tables.is_empty() {
        problems.add(text.span(), "`tables` names none, so the predicate is never added").cure =
            Some("leave it out for every table".into());
    }
    let patterns = tables.iter().map(|name| table_pattern(name.get_ref())).collect();
    match Required::parse(text.get_ref(), patterns) {
        Ok(required) => Some(required),
        Err(reason) => {
            let message = format!("`where` cannot be \"{}\": {reason}", short(text.get_ref()));
            problems.add(text.span(), message).cure = Some("for example `tenant_id = 7`".into());
            None
        }
    }
}
