//! Comparisons that filter rows: what is compared, how, and with what.

/// How a column is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Comparison {
    /// `=`, `IN (…)`, `= ANY (…)`, `IS NOT DISTINCT FROM`.
    Equal,
    /// `<`, `<=`, `>`, `>=`, `BETWEEN`.
    Range,
    /// `LIKE`, `ILIKE`.
    Like,
    /// `~`, `~*`, `SIMILAR TO`.
    Regex,
    /// `IS NULL`, `IS NOT NULL`.
    Null,
    /// `<>`, `NOT IN`, `NOT LIKE` and any other operator.
    Other,
}

/// What a column is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Operand {
    Literal,
    /// A string literal (`'5'` against a number takes the column's type; a number against a text casts the column).
    Text,
    Parameter,
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
    /// The function the column stands in, if it does: `lower`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub function: Option<String>,
    /// The column is cast, to this type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cast: Option<String>,
    /// It must hold for a row to pass: not under `OR` or `NOT`.
    pub must_hold: bool,
    /// The parameter it is compared with, if it is one alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub param: Option<u16>,
}
