//! What a definition changes.

/// One change that a definition makes: `ALTER TABLE` may make several.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Change {
    /// In words: `add column`, `set not null`, `create index`, `drop table`.
    pub what: &'static str,
    /// The relation or object it is made to, as written.
    pub object: String,
    /// Column, constraint or new name, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The type given, as written in lower case: of a column, an index method.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub type_name: Option<String>,
    pub default: ColumnDefault,
    pub not_null: bool,
    pub not_valid: bool,
    pub concurrently: bool,
    pub unique: bool,
    pub if_exists: bool,
    pub cascade: bool,
    /// It rewrites the whole table, as far as the text tells.
    pub rewrites: bool,
    /// It reads the whole table while it holds its lock (to check a constraint, to build an index).
    pub scans: bool,
    /// The object is made by the same text: nobody else can wait for it.
    pub new_object: bool,
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
