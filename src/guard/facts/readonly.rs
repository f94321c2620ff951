//! What is provably read-only: the precondition of a replica.
//!
//! A proof from the text alone. It cannot see what a view, a row security policy, a user's operator or
//! cast, or a function in attribute notation (`t.f`) calls; a replica refuses to write whatever it is.

use super::walk::Found;
use crate::guard::sql::parse::{ConstValue, Node, nodes};

pub(super) fn is_read_only(statement: Node<'_>, found: &Found) -> bool {
    match statement {
        Node::VariableShowStmt(_) => true,
        Node::SelectStmt(_) => is_clean(found),
        // Planning runs immutable and stable functions, so these must be known even without ANALYZE.
        Node::ExplainStmt(explain) if !runs(explain) => !found.for_update && !found.unproven,
        Node::ExplainStmt(explain) => matches!(explain.query(), Node::SelectStmt(_)) && is_clean(found),
        _ => false,
    }
}

fn is_clean(found: &Found) -> bool {
    !found.writes && !found.for_update && !found.unproven
}

/// Whether an `EXPLAIN` executes: the last `ANALYZE` option decides, and one without value, or with one
/// that is not plainly false, says yes.
fn runs(explain: &nodes::ExplainStmt) -> bool {
    let mut runs = false;
    for option in explain.options() {
        if option.defname() == Some("analyze") {
            runs = says_yes(option.arg());
        }
    }
    runs
}

/// An option's value, or that it stands without one.
pub(super) fn says_yes(value: Node<'_>) -> bool {
    match value {
        Node::String(text) => !text.sval().is_some_and(is_false),
        Node::Integer(number) => number.ival != 0,
        Node::A_Const(value) => match value.val() {
            Some(ConstValue::Boolean(yes)) => yes,
            Some(ConstValue::Integer(number)) => number != 0,
            Some(ConstValue::String(text)) => !is_false(text),
            _ => true,
        },
        _ => true,
    }
}

/// As `defGetBoolean` reads it.
fn is_false(text: &str) -> bool {
    text.eq_ignore_ascii_case("false") || text.eq_ignore_ascii_case("off")
}
