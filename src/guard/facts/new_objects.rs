//! Tables that a text makes before it goes on with them: nobody else can see them, let alone wait for them.

use std::collections::BTreeSet;

use super::Facts;
use super::locks::Lock;
use crate::guard::{Effects, Kind};

/// Marks changes of tables that an earlier statement of the same text made, and leaves their locks out.
///
/// A name stands for what was made only until something may give it another meaning: the end of a transaction, a
/// setting, code that is not seen.
pub(super) fn mark(statements: &mut [Facts]) {
    if statements.len() < 2 {
        return;
    }
    let mut made: BTreeSet<String> = BTreeSet::new();
    for facts in statements {
        if !made.is_empty() {
            leave_out(facts, &made);
        }
        let known = matches!(
            facts.kind,
            Kind::Select | Kind::Insert | Kind::Update | Kind::Delete | Kind::Merge | Kind::Copy | Kind::Ddl
        );
        if !known || facts.effects.has(Effects::SETTING) {
            made.clear();
        }
        note(facts, &mut made);
    }
}

fn leave_out(facts: &mut Facts, made: &BTreeSet<String>) {
    for change in facts.ddl.iter_mut().filter(|change| made.contains(&change.object)) {
        change.new_object = true;
    }
    if facts.table_locks.iter().any(|lock| made.contains(&lock.table)) {
        facts.table_locks.retain(|lock| !made.contains(&lock.table));
        facts.lock = facts.table_locks.iter().map(|lock| lock.lock).max().map_or("", Lock::name).to_owned();
    }
    facts.rewrites = facts.ddl.iter().any(|change| change.rewrites && !change.new_object);
}

fn note(facts: &Facts, made: &mut BTreeSet<String>) {
    // A table in CREATE SCHEMA lies in that schema, whatever its name says.
    let schema = facts.ddl.iter().any(|change| change.what == "create schema");
    for change in &facts.ddl {
        match change.what {
            "create table" | "create materialized view" if !change.if_exists && !schema => {
                made.insert(change.object.clone());
            }
            "rename table" | "rename view" | "rename materialized view" | "rename index" => {
                let was = made.remove(&change.object);
                let schema = change.object.rsplit_once('.').map(|(schema, _)| schema);
                let new = change.name.as_deref().unwrap_or_default();
                let new = schema.map_or_else(|| new.to_owned(), |schema| format!("{schema}.{new}"));
                if was {
                    made.insert(new);
                } else {
                    made.remove(&new);
                }
            }
            "drop table" | "drop view" | "drop materialized view" | "set schema" | "create view" => {
                made.remove(&change.object);
            }
            "drop schema" | "drop owned" | "rename schema" => made.clear(),
            _ => {}
        }
    }
}
