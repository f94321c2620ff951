//! What stands behind a view: with a catalog, the tables and functions of its query belong to the statement too.

use std::collections::BTreeSet;

use super::{Facts, ReadOptions, read};
use crate::guard::catalog::Catalog;
use crate::guard::{Effects, Kind};

/// Views that are looked behind, of one statement.
const MAX_VIEWS: usize = 64;
/// Views behind views.
const MAX_DEPTH: u32 = 8;

/// Adds to each statement what its views read. Beyond the bounds a statement is `opaque` and not read-only.
pub(in crate::guard) fn with_views(statements: &mut [Facts], catalog: &Catalog) {
    for facts in statements {
        if facts.kind != Kind::Unparsed {
            look_behind(facts, catalog);
            own_functions(facts, catalog);
        }
    }
}

/// A name without a schema is taken for PostgreSQL's function of that name, which a server may not have yet (`gamma` is
/// 18's) or not with these arguments: a volatile one of the database's own may do anything.
fn own_functions(facts: &mut Facts, catalog: &Catalog) {
    let called: Vec<_> =
        facts.functions.iter().filter(|name| catalog.is_own_volatile(name)).cloned().collect();
    for name in called {
        facts.read_only = false;
        add(&mut facts.not_read_only, &format!("function {name}"));
        facts.effects = facts.effects.and(Effects::CALLS);
    }
}

/// A relation that a query names, not yet looked behind.
struct Named {
    name: String,
    written: bool,
    depth: u32,
}

fn look_behind(facts: &mut Facts, catalog: &Catalog) {
    let is_view = |name: &str| {
        catalog.table(name).is_some_and(|table| table.kind == "view" && table.definition.is_some())
    };
    let named = |name: &String, written| Named { name: name.clone(), written, depth: 0 };
    let mut work: Vec<Named> = facts
        .tables_written
        .iter()
        // A definition changes the view, not the rows behind it.
        .filter(|_| facts.kind != Kind::Ddl)
        .map(|name| (name, true))
        .chain(facts.tables_read.iter().map(|name| (name, false)))
        .filter(|(name, _)| is_view(name))
        .map(|(name, written)| named(name, written))
        .collect();
    let mut seen: BTreeSet<(String, bool)> = BTreeSet::new();
    while let Some(Named { name, written, depth }) = work.pop() {
        let Some(definition) = catalog.table(&name).and_then(|table| table.definition.as_deref()) else {
            continue;
        };
        if !seen.insert((name.clone(), written)) {
            continue;
        }
        if seen.len() > MAX_VIEWS || depth >= MAX_DEPTH {
            unknown(facts, &name);
            continue;
        }
        let body = read(definition.as_bytes(), &ReadOptions::default());
        let [body] = body.statements.as_slice() else {
            unknown(facts, &name);
            continue;
        };
        if body.kind == Kind::Unparsed {
            unknown(facts, &name);
            continue;
        }
        add_body(facts, body, written);
        let behind = body.tables_read.iter().filter(|name| is_view(name));
        work.extend(behind.map(|name| Named { name: name.clone(), written, depth: depth + 1 }));
    }
}

fn unknown(facts: &mut Facts, view: &str) {
    facts.opaque = true;
    facts.read_only = false;
    add(&mut facts.not_read_only, &format!("view {view}"));
}

fn add_body(facts: &mut Facts, body: &Facts, written: bool) {
    for table in &body.tables_read {
        add(&mut facts.tables, table);
        add(if written { &mut facts.tables_written } else { &mut facts.tables_read }, table);
    }
    for function in &body.functions {
        add(&mut facts.functions, function);
    }
    if !body.read_only {
        facts.read_only = false;
        for reason in &body.not_read_only {
            add(&mut facts.not_read_only, reason);
        }
    }
    facts.effects = facts.effects.and(body.effects);
    facts.opaque |= body.opaque;
    facts.catalog |= body.catalog;
}

fn add(list: &mut Vec<String>, name: &str) {
    if !list.iter().any(|known| known == name) {
        list.push(name.to_owned());
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::tests::facts;
    use super::*;

    fn catalog(views: &[(&str, &str)]) -> Catalog {
        let tables: Vec<serde_json::Value> = views
            .iter()
            .map(|(name, definition)| {
                serde_json::json!({ "schema": "public", "name": name, "kind": "view", "definition": definition })
            })
            .collect();
        let mut catalog: Catalog = serde_json::from_value(serde_json::json!({ "tables": tables })).unwrap();
        catalog.seal();
        catalog
    }

    fn seen(text: &str, catalog: &Catalog) -> Facts {
        let mut all = [facts(text)];
        with_views(&mut all, catalog);
        let [facts] = all;
        facts
    }

    #[test]
    fn tables_and_functions_behind_views_count() {
        let catalog = catalog(&[
            ("v", "SELECT w.id FROM w WHERE lower(w.name) = 'x'"),
            ("w", " SELECT secret.id, secret.name FROM private.secret;"),
            ("writes", "SELECT nextval('s')"),
        ]);
        let read = seen("SELECT id FROM v", &catalog);
        assert_eq!(read.tables, ["v", "w", "private.secret"]);
        assert_eq!(read.tables_read, ["v", "w", "private.secret"]);
        assert_eq!(read.functions, ["lower"]);
        assert!(read.read_only && read.not_read_only.is_empty() && !read.opaque);
        let moved = seen("SELECT 1 FROM writes", &catalog);
        assert!(!moved.read_only && !moved.not_read_only.is_empty());
        let written = seen("UPDATE w SET name = 'x' WHERE id = 7", &catalog);
        assert_eq!(written.tables_written, ["w", "private.secret"]);
        assert_eq!(seen("DROP VIEW v", &catalog).tables, ["v"]);
        assert_eq!(seen("SELECT id FROM t", &catalog).tables, ["t"]);
    }

    #[test]
    fn rings_end_and_what_goes_too_far_is_opaque() {
        let ring = catalog(&[("a", "SELECT 1 FROM b"), ("b", "SELECT 1 FROM a")]);
        let facts = seen("SELECT 1 FROM a", &ring);
        assert_eq!(facts.tables, ["a", "b"]);
        assert!(facts.read_only && !facts.opaque);
        let chain: Vec<(String, String)> =
            (0..20).map(|n| (format!("v{n}"), format!("SELECT 1 FROM v{}", n + 1))).collect();
        let chain = catalog(&chain.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect::<Vec<_>>());
        let facts = seen("SELECT 1 FROM v0", &chain);
        assert!(facts.opaque && !facts.read_only, "{facts:?}");
        let broken = seen("SELECT 1 FROM v", &catalog(&[("v", "SELEC")]));
        assert!(broken.opaque && !broken.read_only);
    }

    #[test]
    fn a_name_of_the_databases_own_volatile_function_proves_nothing() {
        let functions = serde_json::json!({ "public.gamma": "volatile", "app.lower": "stable", "app.json_value": "volatile" });
        let mut catalog: Catalog =
            serde_json::from_value(serde_json::json!({ "functions": functions })).unwrap();
        catalog.seal();
        let read = |text: &str| {
            let mut all = vec![facts(text)];
            assert!(all[0].read_only, "{text}");
            with_views(&mut all, &catalog);
            all.remove(0)
        };
        let own = read("SELECT gamma(3)");
        assert!(!own.read_only && own.effects.has(Effects::CALLS), "{own:?}");
        assert_eq!(own.not_read_only, ["function gamma"]);
        // Syntax since 17, a call of that function before.
        assert_eq!(read("SELECT JSON_VALUE(a, 'x') FROM t").not_read_only, ["function json_value"]);
        assert!(read("SELECT pg_catalog.gamma(3), lower(b), JSON_EXISTS(a, '$') FROM t").read_only);
    }
}
