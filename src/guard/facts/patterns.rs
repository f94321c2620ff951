//! `LIKE` patterns: which begin with a wildcard, which are parameters.

use crate::guard::sql::array_has_wildcard;
use crate::guard::sql::parse::{A_Expr_Kind, ConstValue, Node, nodes};

use super::names::Qualified;

/// What is known of one pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pattern {
    /// A literal that starts with `%` or `_`.
    Leading,
    /// `$n`, or a concatenation that begins with it.
    Parameter(u16),
    /// Anything else: a literal prefix, a column, an expression.
    Other,
}

/// The pattern of a `LIKE`, `ILIKE`, `~~`, `~~*`, alone or with `ANY`/`ALL`; `None` for any other operator,
/// and for the `NOT` forms: they read everything anyway.
pub(super) fn of_expression(expression: &nodes::A_Expr) -> Option<Pattern> {
    let Qualified { name, schema } = Qualified::of_list(expression.name())?;
    if !matches!(name, "~~" | "~~*") || !matches!(schema, None | Some("pg_catalog")) {
        return None;
    }
    match expression.kind {
        A_Expr_Kind::AEXPR_OP | A_Expr_Kind::AEXPR_LIKE | A_Expr_Kind::AEXPR_ILIKE => {
            Some(of_node(expression.rexpr()))
        }
        A_Expr_Kind::AEXPR_OP_ANY | A_Expr_Kind::AEXPR_OP_ALL => Some(of_array(expression.rexpr())),
        _ => None,
    }
}

/// The pattern's beginning decides: `'%' || $1`, `concat('%', x)`, `lower($1)`, `'%x' ESCAPE '!'`.
fn of_node(mut node: Node<'_>) -> Pattern {
    loop {
        node = match node {
            Node::A_Const(value) => {
                return match value.val() {
                    Some(ConstValue::String(text)) if !value.isnull && text.starts_with(['%', '_']) => {
                        Pattern::Leading
                    }
                    _ => Pattern::Other,
                };
            }
            Node::ParamRef(parameter) => {
                return u16::try_from(parameter.number).map_or(Pattern::Other, Pattern::Parameter);
            }
            Node::TypeCast(cast) => cast.arg(),
            Node::CollateClause(clause) => clause.arg(),
            Node::A_Expr(expression) if is_concatenation(expression) => expression.lexpr(),
            Node::FuncCall(call) if keeps_beginning(call) => match call.args().first() {
                Some(argument) => argument,
                None => return Pattern::Other,
            },
            _ => return Pattern::Other,
        }
    }
}

/// `ARRAY['%a', …]` or `'{%a,…}'`: one such element is enough.
fn of_array(mut node: Node<'_>) -> Pattern {
    loop {
        node = match node {
            Node::A_ArrayExpr(array) => {
                let leading = array.elements().iter().any(|element| of_node(element) == Pattern::Leading);
                return if leading { Pattern::Leading } else { Pattern::Other };
            }
            Node::A_Const(value) => {
                return match value.val() {
                    Some(ConstValue::String(text))
                        if !value.isnull && array_has_wildcard(text.as_bytes()) =>
                    {
                        Pattern::Leading
                    }
                    _ => Pattern::Other,
                };
            }
            Node::TypeCast(cast) => cast.arg(),
            _ => return Pattern::Other,
        }
    }
}

fn is_concatenation(expression: &nodes::A_Expr) -> bool {
    expression.kind == A_Expr_Kind::AEXPR_OP
        && Qualified::of_list(expression.name()).is_some_and(|operator| operator.name == "||")
}

/// The result begins as the first argument does, case apart.
fn keeps_beginning(call: &nodes::FuncCall) -> bool {
    Qualified::of_list(call.funcname()).is_some_and(|function| {
        function.is_builtin() && matches!(function.name, "concat" | "lower" | "upper" | "like_escape")
    })
}

/// The column compared, through casts, `lower(…)` and the like.
pub(super) fn column(mut node: Node<'_>) -> Option<String> {
    loop {
        node = match node {
            Node::ColumnRef(column) => {
                return column.fields().iter().next_back().and_then(Node::as_str).map(str::to_owned);
            }
            Node::TypeCast(cast) => cast.arg(),
            Node::CollateClause(clause) => clause.arg(),
            Node::A_Indirection(indirection) => indirection.arg(),
            Node::A_Expr(expression) => expression.lexpr(),
            Node::FuncCall(call) => call.args().first()?,
            Node::CoalesceExpr(coalesce) => coalesce.args().first()?,
            _ => return None,
        }
    }
}
