//! One change that a definition makes.

/// One change that a definition makes: `ALTER TABLE` may make several.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Change {
    /// In words: `add column`, `set not null`, `create index`, `drop table`.
    pub what: &'static str,
    /// The relation or object it is made to, as written; empty for all there are (`VACUUM FULL`).
    pub object: String,
    /// Column, constraint or new name, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The type given, as PostgreSQL itself writes it: of a column; an index method.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub type_name: Option<String>,
    /// The relation that a foreign key points to, that a partition or an heir belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub other: Option<String>,
    pub default: ColumnDefault,
    pub not_null: bool,
    pub not_valid: bool,
    pub concurrently: bool,
    pub unique: bool,
    /// A column that is the primary key, or part of it.
    pub primary: bool,
    /// Of an index, how many columns it is searched by.
    pub columns: u16,
    /// Of a domain, and it constrains its values; of a value of an enum, it is told where it stands.
    pub bound: bool,
    /// Of a domain, not of a table.
    pub domain: bool,
    /// A constraint made of an index that is there.
    pub using_index: bool,
    /// `ALTER COLUMN … TYPE … USING`.
    pub using: bool,
    /// `IF EXISTS` or `IF NOT EXISTS`.
    pub if_exists: bool,
    pub cascade: bool,
    /// It rewrites the whole table, as far as the text tells; yes in doubt.
    pub rewrites: bool,
    /// It reads the whole table while it holds its lock (to check a constraint, to build an index).
    pub scans: bool,
    /// The object is made by the same text: nobody else can wait for it.
    pub new_object: bool,
}

impl Change {
    pub(super) fn new(what: &'static str, object: String) -> Self {
        debug_assert!(WORDS.contains(&what), "{what} is not in WORDS");
        Self { what, object, ..Self::default() }
    }

    /// The relation, or what to call it where there is none.
    #[must_use]
    pub fn object_or(&self, nothing: &'static str) -> &str {
        if self.object.is_empty() { nothing } else { &self.object }
    }

    /// The relation and what of it is changed: `orders.total`, `orders`.
    #[must_use]
    pub fn subject(&self) -> String {
        match &self.name {
            Some(name) if !self.object.is_empty() => format!("{}.{name}", self.object),
            Some(name) => name.clone(),
            None if self.object.is_empty() => "all tables".to_owned(),
            None => self.object.clone(),
        }
    }
}

/// A column's default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ColumnDefault {
    #[default]
    None,
    Constant,
    /// Calls something that gives another value for each row, or that nobody knows.
    Volatile,
    /// `GENERATED ALWAYS AS (…) STORED`, `serial`, identity.
    Generated,
}

/// Every word that [`Change::what`] may be, for `docs/RULES.md`.
#[rustfmt::skip]
pub static WORDS: &[&str] = &[
    "add check", "add column", "add enum value", "add exclusion", "add foreign key", "add identity", "add not null",
    "add primary key", "add unique", "alter", "alter column type", "alter constraint", "attach partition",
    "change owner", "cluster", "comment", "create", "create database", "create domain", "create extension",
    "create function", "create index", "create materialized view", "create policy", "create publication",
    "create role", "create rule", "create schema", "create sequence", "create statistics", "create table",
    "create trigger", "create type", "create view", "define column", "detach partition", "disable row security",
    "disable rule", "disable trigger", "drop", "drop column", "drop constraint", "drop database", "drop default",
    "drop domain", "drop expression", "drop extension", "drop function", "drop identity", "drop index",
    "drop materialized view", "drop not null", "drop owned", "drop policy", "drop role", "drop rule", "drop schema",
    "drop sequence", "drop table", "drop trigger", "drop type", "drop view", "enable row security", "enable rule",
    "enable trigger", "grant", "inherit", "no inherit", "refresh materialized view", "reindex", "rename",
    "rename column", "rename constraint", "rename database", "rename enum value", "rename index",
    "rename materialized view", "rename role", "rename schema", "rename sequence", "rename table", "rename type",
    "rename view", "revoke", "set access method", "set default", "set expression", "set logged", "set not null",
    "set options", "set schema", "set statistics", "set tablespace", "set unlogged", "truncate", "vacuum full",
    "validate constraint",
];
