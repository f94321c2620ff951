//! Comparisons that filter rows: what is compared, how, and with what.

/// How a column is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Comparison {
    /// `=`, `IN (…)`, `= ANY (…)`, `IS NOT DISTINCT FROM`; a boolean column alone.
    Equal,
    /// `<`, `<=`, `>`, `>=`, `BETWEEN`.
    Range,
    /// `LIKE`, `ILIKE`.
    Like,
    /// `~`, `~*`, `SIMILAR TO`.
    Regex,
    /// `IS NULL`.
    Null,
    /// `<>`, `NOT IN`, `NOT LIKE`, `IS NOT NULL` and any other operator or function.
    Other,
}

/// What a column is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Operand {
    /// A number, or a list of numbers.
    Number,
    /// A truth value, NULL, a text with a type; or a list of different literals.
    Literal,
    /// A string literal, or a list of them (`'5'` against a number takes the column's type; a number against a text casts the column).
    Text,
    Parameter,
    /// An expression without columns and queries: `now() - '1 day'::interval`, `lower($1)`.
    Value,
    /// A column of another relation: a join.
    Column,
    Subquery,
    Expression,
    None,
}

/// One comparison in a `WHERE`, `ON` or `USING`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize)]
pub struct Predicate {
    /// The relation as written (not its alias); empty where the text does not tell.
    pub table: String,
    pub column: String,
    pub comparison: Comparison,
    pub operand: Operand,
    /// The function or operator the column stands in, if it does: `lower`, `->>`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub function: Option<String>,
    /// The column is cast, to this type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cast: Option<String>,
    /// It must hold for a row of its relation to pass: not under `OR` or `NOT`, nor on the kept side of an outer join.
    pub must_hold: bool,
    /// The parameter it is compared with, if it is one alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub param: Option<u16>,
    /// Of a range: the parameters that bound it.
    #[serde(skip)]
    pub bounds: [Option<u16>; 2],
    /// Which of the statement's [`Relation`]s it is about.
    #[serde(skip)]
    pub relation: Option<u32>,
    /// The relation and the column it is compared with, if it is a column alone.
    #[serde(skip)]
    pub other: Option<(u32, String)>,
}

impl Predicate {
    /// The column as facts name it: `orders.id`, or `id` where the table is not known.
    pub fn qualified(&self) -> (Option<&str>, &str) {
        ((!self.table.is_empty()).then_some(self.table.as_str()), &self.column)
    }

    /// The column itself, without function or cast, must equal something.
    #[must_use]
    pub fn is_equality(&self) -> bool {
        self.must_hold
            && self.function.is_none()
            && self.cast.is_none()
            && matches!(self.comparison, Comparison::Equal | Comparison::Null)
    }
}

/// What a statement does with a relation that it names in a `FROM` or as its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    Read,
    Insert,
    Update,
    Delete,
    Merge,
}

/// A relation in a `FROM`, or the target of a write. A table that is named twice is two of them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize)]
pub struct Relation {
    /// As written, without its alias.
    pub table: String,
    pub role: Role,
    /// The query it stands in: numbers of the statement's own.
    pub level: u32,
}
