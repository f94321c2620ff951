//! Conditions that filter rows: their comparisons, as [`Predicate`]s, and what stands out in them.

use super::levels::{Must, Owner};
use super::names::{self, Names, Qualified};
use super::predicates::{Comparison, Operand, Predicate};
use super::walk::{Context, Walk};
use super::{Facts, functions};
use crate::guard::sql::parse::{
    A_Expr_Kind, BoolExprType, ConstValue, Node, NullTestType, SubLinkType, nodes,
};

/// Functions and operators around a column that are looked through.
const MAX_WRAPPED: u32 = 12;
/// Comparisons kept of one statement; more than that no rule reads one by one.
const MAX_PREDICATES: usize = 2_000;
/// Columns looked at in one side of an `OR`.
const MAX_ARM: usize = 8;

/// One side of a comparison.
#[derive(Clone, Copy)]
struct Side<'a> {
    column: Option<&'a nodes::ColumnRef>,
    function: Option<&'a str>,
    cast: Option<&'a str>,
    operand: Operand,
    param: Option<u16>,
    /// The same, or of a list of two the one and the other.
    bounds: [Option<u16>; 2],
}

impl<'a> Side<'a> {
    fn plain(operand: Operand) -> Self {
        Self { column: None, function: None, cast: None, operand, param: None, bounds: [None; 2] }
    }
    fn in_function(self, name: &'a str) -> Self {
        Self { function: Some(name), param: None, bounds: [None; 2], ..self }
    }
}

/// What stands on one side: the column in it with what is around it, or what it is instead.
fn side(node: Node<'_>, depth: u32) -> Side<'_> {
    let Some(depth) = depth.checked_sub(1) else { return Side::plain(Operand::Expression) };
    match node {
        Node::None => Side::plain(Operand::None),
        Node::ColumnRef(column) => Side { column: Some(column), ..Side::plain(Operand::Column) },
        Node::ParamRef(parameter) => {
            let param = u16::try_from(parameter.number).ok();
            Side { param, bounds: [param, None], ..Side::plain(Operand::Parameter) }
        }
        Node::A_Const(value) => Side::plain(match value.val() {
            _ if value.isnull => Operand::Literal,
            Some(ConstValue::String(_)) => Operand::Text,
            Some(ConstValue::Integer(_) | ConstValue::Float(_)) => Operand::Number,
            _ => Operand::Literal,
        }),
        Node::TypeCast(cast) => {
            let inner = side(cast.arg(), depth);
            let operand = match inner.operand {
                Operand::Text | Operand::Number => Operand::Literal,
                other => other,
            };
            let to = inner.column.and_then(|_| cast.type_name().and_then(names::of_type));
            Side { cast: to.or(inner.cast), operand, ..inner }
        }
        Node::CollateClause(clause) => side(clause.arg(), depth),
        Node::A_Indirection(indirection) => side(indirection.arg(), depth).in_function("[]"),
        Node::FuncCall(call) => {
            let name = Qualified::of_list(call.funcname()).map_or("", |name| name.name);
            first_column(call.args().iter(), depth).in_function(name)
        }
        Node::CoalesceExpr(coalesce) => first_column(coalesce.args().iter(), depth).in_function("coalesce"),
        Node::A_Expr(expression) => {
            let name = Qualified::of_list(expression.name()).map_or("", |name| name.name);
            first_column([expression.lexpr(), expression.rexpr()].into_iter(), depth).in_function(name)
        }
        Node::SQLValueFunction(_) => Side::plain(Operand::Value),
        Node::SubLink(_) => Side::plain(Operand::Subquery),
        Node::NodeList(list) => listed(list.iter(), depth),
        Node::A_ArrayExpr(array) => listed(array.elements().iter(), depth),
        Node::RowExpr(row) => listed(row.args().iter(), depth),
        _ => Side::plain(Operand::Expression),
    }
}

/// The first of some arguments with a column in it; a value if none has any.
fn first_column<'a>(arguments: impl Iterator<Item = Node<'a>>, depth: u32) -> Side<'a> {
    let mut operand = Operand::Value;
    for argument in arguments {
        let side = side(argument, depth);
        if side.column.is_some() {
            return side;
        }
        if !matches!(
            side.operand,
            Operand::Literal
                | Operand::Number
                | Operand::Text
                | Operand::Parameter
                | Operand::Value
                | Operand::None
        ) {
            operand = Operand::Expression;
        }
    }
    Side::plain(operand)
}

/// A list is what all of it is.
fn listed<'a>(items: impl Iterator<Item = Node<'a>>, depth: u32) -> Side<'a> {
    let mut all = None;
    let mut bounds = [None; 2];
    for (at, item) in items.enumerate() {
        let one = side(item, depth);
        if let Some(bound) = bounds.get_mut(at) {
            *bound = one.param;
        }
        let operand = match one.operand {
            plain @ (Operand::Number
            | Operand::Text
            | Operand::Literal
            | Operand::Parameter
            | Operand::Value) => plain,
            _ => return Side::plain(Operand::Expression),
        };
        all = Some(match all {
            None => operand,
            Some(same) if same == operand => same,
            Some(Operand::Parameter | Operand::Value) => Operand::Value,
            Some(_) if matches!(operand, Operand::Parameter | Operand::Value) => Operand::Value,
            Some(_) => Operand::Literal,
        });
    }
    Side { bounds, ..Side::plain(all.unwrap_or(Operand::Literal)) }
}

/// How an operator compares.
fn comparison(expression: &nodes::A_Expr) -> Option<Comparison> {
    let operator = Qualified::of_list(expression.name())?.name;
    Some(match (expression.kind, operator) {
        (A_Expr_Kind::AEXPR_NULLIF, _) => return None,
        (A_Expr_Kind::AEXPR_NOT_DISTINCT, _) => Comparison::Equal,
        (A_Expr_Kind::AEXPR_BETWEEN | A_Expr_Kind::AEXPR_BETWEEN_SYM, _) => Comparison::Range,
        (A_Expr_Kind::AEXPR_SIMILAR, "~" | "~*") => Comparison::Regex,
        (A_Expr_Kind::AEXPR_OP | A_Expr_Kind::AEXPR_IN | A_Expr_Kind::AEXPR_OP_ANY, "=") => Comparison::Equal,
        (A_Expr_Kind::AEXPR_OP, "<" | "<=" | ">" | ">=") => Comparison::Range,
        (A_Expr_Kind::AEXPR_DISTINCT | A_Expr_Kind::AEXPR_OP_ALL, _) => Comparison::Other,
        (_, "~~" | "~~*") => Comparison::Like,
        (_, "~" | "~*") => Comparison::Regex,
        _ => Comparison::Other,
    })
}

/// A regular expression, negated or not.
fn is_regex(expression: &nodes::A_Expr) -> bool {
    Qualified::of_list(expression.name())
        .is_some_and(|operator| matches!(operator.name, "~" | "~*" | "!~" | "!~*"))
}

/// A comparison in a filter.
pub(super) fn of_expression<'a>(walk: &mut Walk<'a>, expression: &'a nodes::A_Expr, context: Context) {
    let Some(comparison) = comparison(expression) else { return };
    let (left, right) = (expression.lexpr(), expression.rexpr());
    if let Node::RowExpr(row) = left {
        return rows(walk, row, right, comparison, context);
    }
    let (left, right) = (side(left, MAX_WRAPPED), side(right, MAX_WRAPPED));
    walk.found.facts.regex |= is_regex(expression) && left.column.is_some();
    compare(walk, left, right, comparison, context);
}

/// `(a, b) = (1, 2)` compares each; `(a, b) IN (…)`, too; of `(a, b) > (1, 2)` only the first is sure.
fn rows<'a>(
    walk: &mut Walk<'a>,
    left: &'a nodes::RowExpr,
    right: Node<'a>,
    comparison: Comparison,
    context: Context,
) {
    let pairs = match right {
        Node::RowExpr(right) if right.args().len() == left.args().len() => Some(right.args()),
        _ => None,
    };
    let whole = if pairs.is_some() { Side::plain(Operand::None) } else { side(right, MAX_WRAPPED) };
    for (at, item) in left.args().iter().enumerate() {
        let other = pairs.and_then(|pairs| pairs.get(at)).map_or(whole, |other| side(other, MAX_WRAPPED));
        let comparison =
            if at > 0 && comparison == Comparison::Range { Comparison::Other } else { comparison };
        compare(walk, side(item, MAX_WRAPPED), other, comparison, context);
    }
}

/// A column on either side gives a predicate, a column on both sides two.
fn compare<'a>(
    walk: &mut Walk<'a>,
    left: Side<'a>,
    right: Side<'a>,
    comparison: Comparison,
    context: Context,
) {
    add(walk, left, right, comparison, context);
    add(walk, right, left, comparison, context);
}

fn add<'a>(walk: &mut Walk<'a>, of: Side<'a>, with: Side<'a>, comparison: Comparison, context: Context) {
    let Some((column, name)) =
        of.column.and_then(|column| Some((column, column.fields().iter().next_back()?.as_str()?)))
    else {
        return;
    };
    if walk.found.facts.predicates.len() >= MAX_PREDICATES {
        return;
    }
    let level = context.place.level;
    let owner = walk.levels.owner(level, column);
    let mut operand = with.operand;
    let mut other = None;
    if let Some(column) = with.column {
        let theirs = walk.levels.owner(level, column);
        if theirs == owner {
            // Of the same relation, so no value is known before its row is read.
            operand = Operand::Expression;
        } else {
            operand = Operand::Column;
            let name = column.fields().iter().next_back().and_then(Node::as_str);
            if let (Some(relation), Some(name)) = (walk.levels.relation_of(theirs), name)
                && with.function.is_none()
            {
                other = Some((relation, name.to_owned()));
            }
        }
    }
    let predicate = Predicate {
        table: walk.levels.table_of(owner).unwrap_or_default().to_owned(),
        column: name.to_owned(),
        comparison,
        operand,
        function: of.function.map(str::to_owned),
        cast: of.cast.map(str::to_owned),
        must_hold: walk.levels.must_hold(owner, level, context.place.must),
        param: with.param,
        bounds: if comparison == Comparison::Range { with.bounds } else { [None; 2] },
        relation: walk.levels.relation_of(owner),
        other,
    };
    // A column of a query or a function is nobody's that a rule knows.
    if predicate.relation.is_some() || owner == Owner::Unknown {
        walk.found.facts.predicates.push(predicate);
    }
}

/// `IS NULL`, `IS NOT NULL`.
pub(super) fn of_null_test<'a>(walk: &mut Walk<'a>, test: &'a nodes::NullTest, context: Context) {
    let comparison =
        if test.nulltesttype == NullTestType::IS_NULL { Comparison::Null } else { Comparison::Other };
    add(walk, side(test.arg(), MAX_WRAPPED), Side::plain(Operand::None), comparison, context);
}

/// A boolean column, or a function over one, that stands alone: `WHERE active`, `WHERE starts_with(name, 'x')`.
pub(super) fn of_alone<'a>(walk: &mut Walk<'a>, node: Node<'a>, context: Context) {
    let of = side(node, MAX_WRAPPED);
    let comparison = if of.function.is_some() { Comparison::Other } else { Comparison::Equal };
    add(walk, of, Side::plain(Operand::None), comparison, context);
}

/// `x IN (SELECT …)`, `x = ANY (SELECT …)`, `x <> ALL (SELECT …)`.
pub(super) fn of_sublink<'a>(walk: &mut Walk<'a>, link: &'a nodes::SubLink, context: Context) {
    if matches!(link.testexpr(), Node::None) {
        return;
    }
    let operator = Qualified::of_list(link.oper_name()).map_or("=", |operator| operator.name);
    let equal = link.sub_link_type == SubLinkType::ANY_SUBLINK && operator == "=";
    let comparison = if equal { Comparison::Equal } else { Comparison::Other };
    let with = Side::plain(Operand::Subquery);
    match link.testexpr() {
        Node::RowExpr(row) => {
            for item in row.args() {
                add(walk, side(item, MAX_WRAPPED), with, comparison, context);
            }
        }
        test => add(walk, side(test, MAX_WRAPPED), with, comparison, context),
    }
}

/// Columns of `JOIN … USING`: each joins both sides, where either side is one relation.
pub(super) fn of_using<'a>(walk: &mut Walk<'a>, column: &'a str, sides: [Owner; 2], must: Must) {
    for (owner, theirs) in [(sides[0], sides[1]), (sides[1], sides[0])] {
        let Some(relation) = walk.levels.relation_of(owner) else { continue };
        let table = walk.levels.table_of(owner).unwrap_or_default().to_owned();
        walk.found.columns.add_qualified(Some(&table), column);
        if walk.found.facts.predicates.len() < MAX_PREDICATES {
            walk.found.facts.predicates.push(Predicate {
                table,
                column: column.to_owned(),
                comparison: Comparison::Equal,
                operand: Operand::Column,
                function: None,
                cast: None,
                must_hold: walk.levels.holds(owner, must),
                param: None,
                bounds: [None; 2],
                relation: Some(relation),
                other: walk.levels.relation_of(theirs).map(|other| (other, column.to_owned())),
            });
        }
    }
}

/// A regular expression function in a filter over a column.
pub(super) fn of_call(walk: &mut Walk<'_>, call: &nodes::FuncCall, name: Qualified<'_>) {
    if name.name.starts_with("regexp_") && name.is_builtin() {
        walk.found.facts.regex |=
            call.args().first().is_some_and(|of| side(of, MAX_WRAPPED).column.is_some());
    }
}

/// Elements of an `IN (…)` list or an `ANY (ARRAY[…])`.
pub(super) fn listed_elements(expression: &nodes::A_Expr) -> u32 {
    let elements = match (expression.kind, expression.rexpr()) {
        (A_Expr_Kind::AEXPR_IN, Node::NodeList(list)) => list.len(),
        (A_Expr_Kind::AEXPR_OP_ANY | A_Expr_Kind::AEXPR_OP_ALL, Node::A_ArrayExpr(array)) => {
            array.elements().len()
        }
        _ => 0,
    };
    u32::try_from(elements).unwrap_or(u32::MAX)
}

/// `IN (VALUES …)`.
pub(super) fn listed_values(link: &nodes::SubLink) -> u32 {
    match link.subselect() {
        Node::SelectStmt(select) if link.sub_link_type == SubLinkType::ANY_SUBLINK => {
            u32::try_from(select.values_lists().len()).unwrap_or(u32::MAX)
        }
        _ => 0,
    }
}

/// `x NOT IN (SELECT …)`, `x <> ALL (SELECT …)`; `NOT x IN (SELECT …)` is the same.
pub(super) fn is_not_in(node: Node<'_>) -> bool {
    let (link, negated) = match node {
        Node::BoolExpr(not) if not.boolop == BoolExprType::NOT_EXPR => match not.args().first() {
            Some(Node::SubLink(link)) => (link, true),
            _ => return false,
        },
        Node::SubLink(link) => (link, false),
        _ => return false,
    };
    // A list of rows written out holds no NULL unless it says so.
    let from = matches!(link.subselect(), Node::SelectStmt(select) if select.values_lists().is_empty());
    let operator = Qualified::of_list(link.oper_name()).map_or("=", |operator| operator.name);
    from && match link.sub_link_type {
        SubLinkType::ANY_SUBLINK => negated && operator == "=",
        SubLinkType::ALL_SUBLINK => !negated && matches!(operator, "<>" | "!="),
        _ => false,
    }
}

/// An `OR` all of whose sides compare columns, and no column is in all of them: no one index serves it.
pub(super) fn crosses_columns(or: &nodes::BoolExpr) -> bool {
    let mut common: Option<Vec<&nodes::ColumnRef>> = None;
    for arm in or.args() {
        let columns = columns_of(arm);
        if columns.is_empty() {
            return false;
        }
        common = Some(match common {
            None => columns,
            Some(mut common) => {
                common.retain(|column| columns.iter().any(|other| is_same_column(column, other)));
                common
            }
        });
    }
    common.is_some_and(|common| common.is_empty())
}

fn is_same_column(one: &nodes::ColumnRef, other: &nodes::ColumnRef) -> bool {
    let (many, few) = (one.fields().iter().rev(), other.fields().iter().rev());
    many.zip(few).all(|(one, other)| one.as_str() == other.as_str())
}

/// Columns that a condition compares with something, the first few.
fn columns_of(condition: Node<'_>) -> Vec<&nodes::ColumnRef> {
    let mut columns = Vec::new();
    let mut work = vec![condition];
    while let Some(node) = work.pop() {
        if columns.len() >= MAX_ARM || work.len() > MAX_ARM {
            break;
        }
        match node {
            Node::BoolExpr(expression) => work.extend(expression.args().iter().take(MAX_ARM)),
            Node::A_Expr(expression) => {
                let sides = [expression.lexpr(), expression.rexpr()].map(|node| side(node, MAX_WRAPPED));
                columns.extend(sides.iter().filter_map(|side| side.column));
            }
            Node::NullTest(test) => columns.extend(side(test.arg(), MAX_WRAPPED).column),
            Node::SubLink(link) => columns.extend(side(link.testexpr(), MAX_WRAPPED).column),
            Node::ColumnRef(column) => columns.push(column),
            _ => {}
        }
    }
    columns
}

/// Whether an `ORDER BY` shuffles.
pub(super) fn is_random(node: Node<'_>) -> bool {
    let random = |node: Node<'_>| match node {
        Node::FuncCall(call) => Qualified::of_list(call.funcname()).is_some_and(|name| {
            name.is_builtin() && matches!(name.name, "random" | "gen_random_uuid" | "uuid_generate_v4")
        }),
        _ => false,
    };
    match node {
        Node::A_Expr(expression) => random(expression.lexpr()) || random(expression.rexpr()),
        Node::TypeCast(cast) => random(cast.arg()),
        Node::FuncCall(call) => random(node) || call.args().iter().take(4).any(random),
        _ => false,
    }
}

/// `count(*)` or `count(1)` over all rows.
pub(super) fn is_count_star(node: Node<'_>) -> bool {
    let Node::FuncCall(call) = node else { return false };
    let counts = Qualified::of_list(call.funcname())
        .is_some_and(|name| name.name == "count" && functions::is_aggregate(call, name));
    counts
        && !call.agg_distinct
        && (call.agg_star || matches!(call.args().first(), Some(Node::A_Const(value)) if !value.isnull))
}

/// The lists that conditions read, made of the comparisons.
pub(super) fn lists(facts: &mut Facts) {
    let [mut functions, mut casts, mut equal, mut all] = [(); 4].map(|()| Names::default());
    for predicate in &facts.predicates {
        let (table, column) = predicate.qualified();
        all.add_qualified(table, column);
        if predicate.function.is_some() {
            functions.add_qualified(table, column);
        }
        if predicate.cast.is_some() {
            casts.add_qualified(table, column);
        }
        if predicate.is_equality() && predicate.operand != Operand::Expression {
            equal.add_qualified(table, column);
        }
    }
    facts.function_columns = functions.into_vec();
    facts.cast_columns = casts.into_vec();
    facts.equality_columns = equal.into_vec();
    facts.filter_columns = all.into_vec();
}
