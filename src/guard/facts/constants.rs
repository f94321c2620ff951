//! Conditions that hold whatever the rows: `true`, `1 = 1`, `'a' = 'a'`, `NOT false`, `id = id`.
//!
//! It folds what a person writes, no more: no function is called, and what is not plain has no value.

use std::cmp::Ordering;

use super::names::Qualified;
use crate::guard::sql::parse::{
    A_Expr_Kind, BoolExprType, BoolTestType, ConstValue, Node, NullTestType, SetOperation, SubLinkType, nodes,
};

/// Deeper expressions have no value: nobody writes them by hand.
const MAX_DEPTH: u32 = 48;

/// How an expression is asked for its value.
#[derive(Clone, Copy)]
struct Ask {
    depth: u32,
    /// As a condition or a part of one: there a column equals itself. In an operand it has no value, so that a constant
    /// term names no column, which is how `sql/extras.rs` tells the literals that matter.
    condition: bool,
}

impl Ask {
    fn deeper(self) -> Option<Self> {
        Some(Self { depth: self.depth.checked_sub(1)?, ..self })
    }
    fn operand(self) -> Self {
        Self { condition: false, ..self }
    }
}

/// A constant's value.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Value<'a> {
    Bool(bool),
    Number(f64),
    Text(&'a str),
    Null,
}

/// Whether a condition holds for every row (or for none). `None`: it depends on the rows, or is not plain.
pub(super) fn truth(condition: Node<'_>) -> Option<bool> {
    truth_at(condition, Ask { depth: MAX_DEPTH, condition: true })
}

fn truth_at(condition: Node<'_>, ask: Ask) -> Option<bool> {
    match value(condition, ask)? {
        Value::Bool(truth) => Some(truth),
        Value::Text(text) => boolean(text),
        // A NULL lets no row pass.
        Value::Null => Some(false),
        Value::Number(_) => None,
    }
}

/// As the server reads a text that stands for true or false.
fn boolean(text: &str) -> Option<bool> {
    let is = |words: &[&str]| words.iter().any(|word| text.trim().eq_ignore_ascii_case(word));
    match () {
        () if is(&["t", "true", "tru", "tr", "y", "yes", "ye", "on", "1"]) => Some(true),
        () if is(&["f", "false", "fals", "fal", "fa", "n", "no", "off", "of", "0"]) => Some(false),
        () => None,
    }
}

fn value(node: Node<'_>, ask: Ask) -> Option<Value<'_>> {
    let ask = ask.deeper()?;
    match node {
        Node::A_Const(constant) if constant.isnull => Some(Value::Null),
        Node::A_Const(constant) => match constant.val()? {
            ConstValue::Integer(number) => Some(Value::Number(f64::from(number))),
            ConstValue::Float(number) => number.parse().ok().map(Value::Number),
            ConstValue::Boolean(truth) => Some(Value::Bool(truth)),
            ConstValue::String(text) => Some(Value::Text(text)),
            _ => None,
        },
        Node::TypeCast(cast) => casted(cast, ask.operand()),
        Node::BoolExpr(expression) => boolean_expression(expression, ask),
        Node::A_Expr(expression) => operation(expression, ask),
        Node::NullTest(test) => match value(test.arg(), ask.operand())? {
            Value::Null => Some(Value::Bool(test.nulltesttype == NullTestType::IS_NULL)),
            _ => Some(Value::Bool(test.nulltesttype == NullTestType::IS_NOT_NULL)),
        },
        Node::BooleanTest(test) => {
            let truth = match value(test.arg(), ask.operand())? {
                Value::Null => None,
                Value::Bool(truth) => Some(truth),
                Value::Text(text) => Some(boolean(text)?),
                Value::Number(_) => return None,
            };
            Some(Value::Bool(match test.booltesttype {
                BoolTestType::IS_TRUE => truth == Some(true),
                BoolTestType::IS_NOT_TRUE => truth != Some(true),
                BoolTestType::IS_FALSE => truth == Some(false),
                BoolTestType::IS_NOT_FALSE => truth != Some(false),
                BoolTestType::IS_UNKNOWN => truth.is_none(),
                _ => truth.is_some(),
            }))
        }
        Node::SubLink(link) => subquery(link, ask.operand()),
        _ => None,
    }
}

fn casted<'a>(cast: &'a nodes::TypeCast, ask: Ask) -> Option<Value<'a>> {
    let inner = value(cast.arg(), ask)?;
    let to = super::names::of_type(cast.type_name()?)?;
    match (inner, to) {
        (Value::Text(text), "bool") => boolean(text).map(Value::Bool),
        (Value::Number(number), "bool") => Some(Value::Bool(number != 0.0)),
        (Value::Text(text), "int2" | "int4" | "int8" | "numeric" | "float4" | "float8") => {
            text.trim().parse().ok().map(Value::Number)
        }
        (Value::Text(_), "text" | "varchar") => Some(inner),
        (Value::Number(number), "int2" | "int4" | "int8") => Some(Value::Number(number.round_ties_even())),
        (Value::Number(_), "numeric" | "float8") | (Value::Bool(_), "bool") | (Value::Null, _) => Some(inner),
        _ => None,
    }
}

/// One side may decide alone: `1 = 1 OR x`, `false AND x`.
fn boolean_expression<'a>(expression: &'a nodes::BoolExpr, ask: Ask) -> Option<Value<'a>> {
    let decides = match expression.boolop {
        BoolExprType::NOT_EXPR => {
            return match value(expression.args().first()?, ask)? {
                Value::Bool(truth) => Some(Value::Bool(!truth)),
                Value::Text(text) => boolean(text).map(|truth| Value::Bool(!truth)),
                Value::Null => Some(Value::Null),
                Value::Number(_) => None,
            };
        }
        BoolExprType::OR_EXPR => true,
        _ => false,
    };
    let mut known = true;
    let mut null = false;
    for argument in expression.args() {
        match value(argument, ask) {
            Some(Value::Bool(truth)) if truth == decides => return Some(Value::Bool(decides)),
            Some(Value::Text(text)) if boolean(text) == Some(decides) => return Some(Value::Bool(decides)),
            Some(Value::Bool(_)) => {}
            Some(Value::Null) => null = true,
            Some(_) | None => known = false,
        }
    }
    known.then_some(if null { Value::Null } else { Value::Bool(!decides) })
}

fn operation<'a>(expression: &'a nodes::A_Expr, ask: Ask) -> Option<Value<'a>> {
    // One asked for by schema (`OPERATOR(s.=)`) is not what a person writes.
    let operator = Qualified::of_list(expression.name()).filter(|operator| operator.schema.is_none())?.name;
    let (left, right) = (expression.lexpr(), expression.rexpr());
    let is_same = |left, right| ask.condition && is_same(left, right, ask.depth);
    let ask = ask.operand();
    match expression.kind {
        A_Expr_Kind::AEXPR_OP => {
            if matches!(operator, "=" | "<=" | ">=") && is_same(left, right) {
                return Some(Value::Bool(true));
            }
            if matches!(left, Node::None) {
                return match (operator, value(right, ask)?) {
                    ("-", Value::Number(number)) => Some(Value::Number(-number)),
                    ("+", Value::Number(number)) => Some(Value::Number(number)),
                    _ => None,
                };
            }
            let (left, right) = (value(left, ask)?, value(right, ask)?);
            arithmetic(operator, left, right).or_else(|| compare(operator, left, right))
        }
        A_Expr_Kind::AEXPR_NOT_DISTINCT if is_same(left, right) => Some(Value::Bool(true)),
        A_Expr_Kind::AEXPR_NOT_DISTINCT | A_Expr_Kind::AEXPR_DISTINCT => {
            let same = compare_plain(value(left, ask)?, value(right, ask)?)? == Ordering::Equal;
            Some(Value::Bool(same == (expression.kind == A_Expr_Kind::AEXPR_NOT_DISTINCT)))
        }
        A_Expr_Kind::AEXPR_IN => {
            let Node::NodeList(list) = right else { return None };
            let is_in = operator == "=";
            if list.iter().any(|item| is_same(left, item)) {
                return Some(Value::Bool(is_in));
            }
            let left = value(left, ask)?;
            let mut found = false;
            for item in list {
                found |= compare_plain(left, value(item, ask)?)? == Ordering::Equal;
            }
            Some(Value::Bool(found == is_in))
        }
        A_Expr_Kind::AEXPR_BETWEEN | A_Expr_Kind::AEXPR_NOT_BETWEEN => {
            let Node::NodeList(bounds) = right else { return None };
            let (from, to) = (bounds.get(0)?, bounds.get(1)?);
            let left = value(left, ask)?;
            let inside = compare_plain(value(from, ask)?, left)? != Ordering::Greater
                && compare_plain(left, value(to, ask)?)? != Ordering::Greater;
            Some(Value::Bool(inside == (expression.kind == A_Expr_Kind::AEXPR_BETWEEN)))
        }
        A_Expr_Kind::AEXPR_LIKE | A_Expr_Kind::AEXPR_ILIKE if matches!(operator, "~~" | "~~*") => {
            let Value::Text(pattern) = value(right, ask)? else { return None };
            let matches_all = !pattern.is_empty() && pattern.bytes().all(|byte| byte == b'%');
            // `name LIKE '%'` holds for every name there is; a plain text decides only where it is the pattern.
            (matches_all || matches!(value(left, ask), Some(Value::Text(text)) if text == pattern))
                .then_some(Value::Bool(true))
        }
        _ => None,
    }
}

fn arithmetic<'a>(operator: &str, left: Value<'a>, right: Value<'a>) -> Option<Value<'a>> {
    let (Value::Number(left), Value::Number(right)) = (left, right) else { return None };
    match operator {
        "+" => Some(Value::Number(left + right)),
        "-" => Some(Value::Number(left - right)),
        "*" => Some(Value::Number(left * right)),
        _ => None,
    }
}

fn compare<'a>(operator: &str, left: Value<'a>, right: Value<'a>) -> Option<Value<'a>> {
    if matches!(operator, "=" | "<>" | "!=" | "<" | "<=" | ">" | ">=") {
        if left == Value::Null || right == Value::Null {
            return Some(Value::Null);
        }
        let order = compare_plain(left, right)?;
        // How texts are ordered is the database's to say, but not whether they are equal.
        if matches!(left, Value::Text(_)) && order != Ordering::Equal && operator.starts_with(['<', '>']) {
            return (operator == "<>").then_some(Value::Bool(true));
        }
        return Some(Value::Bool(match operator {
            "=" => order.is_eq(),
            "<>" | "!=" => order.is_ne(),
            "<" => order.is_lt(),
            "<=" => order.is_le(),
            ">" => order.is_gt(),
            _ => order.is_ge(),
        }));
    }
    None
}

/// A text beside a number or a truth value is read as one.
fn compare_plain(left: Value<'_>, right: Value<'_>) -> Option<Ordering> {
    match (left, right) {
        (Value::Bool(left), Value::Bool(right)) => Some(left.cmp(&right)),
        (Value::Number(left), Value::Number(right)) => left.partial_cmp(&right),
        (Value::Text(left), Value::Text(right)) => Some(left.cmp(right)),
        (Value::Text(left), Value::Number(right)) => left.trim().parse::<f64>().ok()?.partial_cmp(&right),
        (Value::Number(left), Value::Text(right)) => left.partial_cmp(&right.trim().parse::<f64>().ok()?),
        (Value::Text(left), Value::Bool(right)) => Some(boolean(left)?.cmp(&right)),
        (Value::Bool(left), Value::Text(right)) => Some(left.cmp(&boolean(right)?)),
        (Value::Null, Value::Null) => Some(Ordering::Equal),
        _ => None,
    }
}

/// The same column or the same parameter, so that only a NULL makes it differ from itself.
fn is_same(left: Node<'_>, right: Node<'_>, depth: u32) -> bool {
    let Some(depth) = depth.checked_sub(1) else { return false };
    match (left, right) {
        (Node::ColumnRef(left), Node::ColumnRef(right)) => {
            left.fields().len() == right.fields().len()
                && left.fields().iter().zip(right.fields()).all(|(left, right)| {
                    matches!((left.as_str(), right.as_str()), (Some(left), Some(right)) if left == right)
                })
        }
        (Node::ParamRef(left), Node::ParamRef(right)) => left.number == right.number,
        (Node::TypeCast(left), Node::TypeCast(right)) => is_same(left.arg(), right.arg(), depth),
        _ => false,
    }
}

/// `EXISTS (SELECT 1)` holds, and `(SELECT true)` is what it selects.
fn subquery<'a>(link: &'a nodes::SubLink, ask: Ask) -> Option<Value<'a>> {
    let Node::SelectStmt(select) = link.subselect() else { return None };
    let plain = select.op == SetOperation::SETOP_NONE
        && select.from_clause().is_empty()
        && select.values_lists().is_empty()
        && select.group_clause().is_empty()
        && matches!(select.where_clause(), Node::None)
        && matches!(select.having_clause(), Node::None)
        && matches!(select.limit_count(), Node::None)
        && matches!(select.limit_offset(), Node::None)
        && select.sort_clause().is_empty()
        && select.distinct_clause().is_empty()
        && select.with_clause().is_none();
    match link.sub_link_type {
        _ if !plain => None,
        SubLinkType::EXISTS_SUBLINK => Some(Value::Bool(true)),
        SubLinkType::EXPR_SUBLINK => {
            let target = select.target_list().iter().next().filter(|target| target.name().is_none())?;
            value(target.val(), ask)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::guard::sql::parse::parse;

    fn truth_of(condition: &str) -> Option<bool> {
        let tree = parse(format!("SELECT 1 FROM t WHERE {condition}").as_bytes(), true, 1 << 20).unwrap();
        let statement = tree.statements().next().unwrap();
        let Node::SelectStmt(select) = statement else { panic!("{condition}") };
        truth(select.where_clause())
    }

    #[test]
    fn what_holds_for_every_row() {
        for text in [
            "true",
            "'t'",
            "1 = 1",
            "1=1 OR id = 5",
            "id = 5 OR 1=1",
            "'a' = 'a'",
            "NOT false",
            "NOT 1 = 2",
            "id = id",
            "o.id = o.id",
            "$1 = $1",
            "$1::int = $1::int",
            "1 < 2",
            "2 > 1 AND 'x' = 'x'",
            "1 + 1 = 2",
            "'1' = 1",
            "1 <> 2",
            "'a' <> 'b'",
            "true IS TRUE",
            "NULL IS NULL",
            "1 IS NOT NULL",
            "1 IN (1, 2)",
            "1 NOT IN (2)",
            "id IN (id)",
            "1 BETWEEN 0 AND 2",
            "'true'::boolean",
            "1::bool",
            "-1 < 0",
            "name LIKE '%'",
            "'a' LIKE 'a'",
            "EXISTS (SELECT 1)",
            "(SELECT true)",
            "1 = (SELECT 1)",
            "true = true",
            "id IS NOT DISTINCT FROM id",
        ] {
            assert_eq!(truth_of(text), Some(true), "{text}");
        }
    }

    #[test]
    fn what_depends_on_the_rows_or_never_holds() {
        for text in [
            "id = 5",
            "1=1 AND id = 5",
            "id = other",
            "a.id = b.id",
            "$1 = $2",
            "active",
            "f()",
            "id LIKE 'a%'",
            "'a' < 'b'",
            "id IN (1)",
            "EXISTS (SELECT 1 WHERE id = 1)",
            "EXISTS (SELECT 1 LIMIT 0)",
            "(SELECT active)",
            "id IS NULL",
            "NOT id = id OR id = 7",
            "1 OPERATOR(pg_catalog.=) 1",
            "(id = id) = true",
            "(SELECT true AS x)",
        ] {
            assert_eq!(truth_of(text), None, "{text}");
        }
        for text in ["false", "1 = 2", "NULL", "NOT true", "1 = 0 AND id = 5", "1 = NULL", "id <> 3 AND 'f'"]
        {
            assert_eq!(truth_of(text), Some(false), "{text}");
        }
    }

    #[test]
    fn depth_has_an_end() {
        assert_eq!(truth_of(&format!("{}true", "NOT ".repeat(500))), None);
        assert_eq!(truth_of(&format!("1{} = 900", " + 1".repeat(899))), None);
        assert_eq!(truth_of(&format!("{}1 = 1", "id = 7 OR ".repeat(5000))), Some(true));
    }
}
