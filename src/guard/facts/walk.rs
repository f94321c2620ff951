//! Walks a statement's tree and gathers what it finds.
//!
//! The walk keeps its own stack of work: a tree as deep as the grammar allows costs no thread stack.

use super::Facts;
use super::functions;
use super::names::{Names, Qualified};
use super::patterns::{self, Pattern};
use super::scope::{ScopeId, Scopes};
use super::locks::{self, Lock};
use super::{ddl, effects, relations, writes};
use crate::guard::Effects;
use crate::guard::sql::parse::{self, Node, SetOperation, SubLinkType, nodes};

/// Whether a `*` in a target list counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Star {
    Counts,
    /// Not in this query's own list: its rows go into a table (`INSERT … SELECT *`) or a comparison.
    InnocentHere,
    /// Nowhere in it: `EXISTS (SELECT * …)` fetches nothing.
    Innocent,
}

/// What a node's surroundings say of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Context {
    pub(super) scope: ScopeId,
    pub(super) star: Star,
    /// In the body of a rule or function: it does not run now.
    pub(super) body: bool,
}

impl Context {
    pub(super) const TOP: Self = Self { scope: Scopes::NONE, star: Star::Counts, body: false };

    pub(super) fn star(self, star: Star) -> Self {
        let star = if self.star == Star::Innocent { Star::Innocent } else { star };
        Self { star, ..self }
    }
}

/// What the walk gathers; `Facts` are made of it.
#[derive(Default)]
pub(super) struct Found {
    /// Facts that are written as they are found; the fields below end up in others of its fields.
    pub(super) facts: Facts,
    pub(super) tables: Names,
    pub(super) written: writes::Written,
    /// Strongest lock of its queries; that of its definitions stands in the facts.
    pub(super) query_lock: Option<Lock>,
    pub(super) functions: Names,
    pub(super) select_star: bool,
    pub(super) unfiltered_write: bool,
    pub(super) joins: u32,
    pub(super) aggregates: u32,
    pub(super) group_by: bool,
    pub(super) distinct: bool,
    pub(super) for_update: bool,
    pub(super) leading_wildcard: bool,
    pub(super) like_column: Option<String>,
    pub(super) like_params: Vec<u16>,
    pub(super) params: u16,
    pub(super) effects: Effects,
    /// Settings that it sets or resets by name.
    pub(super) settings: Vec<String>,
    /// Settings of the application's own that it reads.
    pub(super) custom_settings: Vec<Box<str>>,
    /// Names of prepared statements in SQL; true: deallocated.
    pub(super) prepared: Vec<(Box<str>, bool)>,
    /// Calls a function that is not PostgreSQL's own.
    pub(super) calls: bool,
    /// `INSERT`, `UPDATE`, `DELETE`, `MERGE` or `SELECT … INTO`, at any level.
    pub(super) writes: bool,
    /// Calls a function not known to be harmless, or holds something this walk does not know.
    pub(super) unproven: bool,
}

#[derive(Clone, Copy)]
struct Item<'a> {
    node: Node<'a>,
    context: Context,
}

#[derive(Default)]
pub(super) struct Walk<'a> {
    work: Vec<Item<'a>>,
    scopes: Scopes<'a>,
    pub(super) found: Found,
}

impl<'a> Walk<'a> {
    /// Everything found in a statement.
    pub(super) fn over(statement: Node<'a>) -> Found {
        let mut walk = Self::default();
        walk.push(statement, Context::TOP);
        while let Some(item) = walk.work.pop() {
            let from = walk.work.len();
            walk.visit(item.node, item.context);
            // Last in, first out: what was pushed first comes first, in the text's order.
            if let Some(pushed) = walk.work.get_mut(from..) {
                pushed.reverse();
            }
        }
        writes::finish(&mut walk.found);
        locks::finish(&mut walk.found);
        walk.found
    }

    pub(super) fn push(&mut self, node: Node<'a>, context: Context) {
        if !matches!(node, Node::None | Node::A_Const(_)) {
            self.work.push(Item { node, context });
        }
    }

    pub(super) fn push_all(&mut self, nodes: impl IntoIterator<Item = Node<'a>>, context: Context) {
        for node in nodes {
            self.push(node, context);
        }
    }

    /// A relation that is never a common table expression: what a statement writes or defines.
    pub(super) fn table(&mut self, relation: Option<&'a nodes::RangeVar>) {
        if let Some(Qualified { schema, name }) = relation.and_then(Qualified::of_relation) {
            self.found.tables.add_qualified(schema, name);
        }
    }

    fn visit(&mut self, node: Node<'a>, context: Context) {
        match node {
            Node::NodeList(list) => self.push_all(list, context),
            Node::SelectStmt(select) => self.select(select, context),
            Node::InsertStmt(insert) => self.insert(insert, context),
            Node::UpdateStmt(update) => self.update(update, context),
            Node::DeleteStmt(delete) => self.delete(delete, context),
            Node::MergeStmt(merge) => self.merge(merge, context),
            Node::RangeVar(relation) => self.relation(relation, context),
            Node::JoinExpr(join) => {
                self.found.joins = self.found.joins.saturating_add(1);
                self.push_all([join.larg(), join.rarg(), join.quals()], context);
            }
            Node::RangeTableSample(sample) => {
                // A sampling method is a function, too.
                let method = Qualified::of_list(sample.method());
                let known =
                    method.is_some_and(|m| m.is_builtin() && matches!(m.name, "system" | "bernoulli"));
                self.found.unproven |= !known;
                self.push(sample.relation(), context);
                self.push_all(sample.args(), context);
                self.push(sample.repeatable(), context);
            }
            Node::ParamRef(parameter) => {
                let number = u16::try_from(parameter.number).unwrap_or(0);
                self.found.params = self.found.params.max(number);
            }
            Node::FuncCall(call) => self.call(call, context),
            Node::A_Expr(expression) => self.expression(expression, context),
            Node::BoolExpr(expression) => self.push_all(expression.args(), context),
            Node::TypeCast(cast) => {
                self.push(cast.arg(), context);
                self.type_name(cast.type_name(), context);
            }
            Node::ResTarget(target) => {
                self.push_all(target.indirection(), context);
                self.push(target.val(), context);
            }
            Node::SubLink(link) => {
                self.push(link.testexpr(), context);
                let star = match link.sub_link_type {
                    SubLinkType::EXISTS_SUBLINK => Star::Innocent,
                    SubLinkType::ANY_SUBLINK | SubLinkType::ALL_SUBLINK => Star::InnocentHere,
                    _ => Star::Counts,
                };
                self.push(link.subselect(), context.star(star));
            }
            Node::ReturningClause(returning) => {
                self.stars(returning.exprs(), context);
                self.push_all(returning.exprs(), context);
            }
            Node::JsonObjectAgg(_) | Node::JsonArrayAgg(_) => {
                self.found.aggregates = self.found.aggregates.saturating_add(1);
                self.below(node, context);
            }
            // The grammar's walker passes over their constraints.
            Node::ColumnDef(column) => relations::column(self, column, context),
            Node::ColumnRef(_) | Node::A_Const(_) | Node::String(_) | Node::None => {}
            _ => self.below(node, context),
        }
    }

    /// The nodes under one that has no meaning of its own.
    fn below(&mut self, node: Node<'a>, context: Context) {
        if !parse::children(node, |child| self.push(child, context)) {
            let effects = effects::of_statement(node, &mut self.found);
            self.found.effects = self.found.effects.and(effects);
            ddl::of_node(node, context, &mut self.found);
            self.found.unproven |= !relations::utility(self, node, context);
        }
    }

    pub(super) fn type_name(&mut self, name: Option<&'a nodes::TypeName>, context: Context) {
        if let Some(name) = name {
            self.push_all(name.typmods(), context);
        }
    }

    /// Opens a statement's `WITH`; the context of the statement itself.
    fn with(&mut self, with: Option<&'a nodes::WithClause>, context: Context) -> Context {
        let Some(with) = with else { return context };
        let work = &mut self.work;
        let inner = context.star(Star::Counts);
        let scope = self.scopes.open(with, context.scope, |query, scope| {
            work.push(Item { node: query.ctequery(), context: Context { scope, ..inner } });
        });
        Context { scope, ..context }
    }

    fn select(&mut self, select: &'a nodes::SelectStmt, context: Context) {
        writes::select(&mut self.found, select, context);
        let context = self.with(select.with_clause(), context);
        // What is inherited from a surrounding EXISTS stays; what was said of this list alone does not.
        let inner = context.star(Star::Counts);
        if context.star == Star::Counts {
            let mut targets = select.target_list().iter();
            self.found.select_star |= targets.any(|target| is_star(target.val()));
        }
        if select.op != SetOperation::SETOP_NONE {
            self.push_all(select.larg().map(Node::SelectStmt), context);
            self.push_all(select.rarg().map(Node::SelectStmt), context);
        }
        if let Some(into) = select.into_clause() {
            self.found.writes = true;
            let effects = effects::of_target(into.rel()).and(Effects::SCHEMA);
            self.found.effects = self.found.effects.and(effects);
            self.table(into.rel());
        }
        self.found.distinct |= !select.distinct_clause().is_empty();
        self.found.group_by |= !select.group_clause().is_empty();
        self.found.for_update |= !select.locking_clause().is_empty();
        self.push_all(select.distinct_clause(), inner);
        self.push_all(select.target_list().iter().map(Node::ResTarget), inner);
        self.from(select.from_clause(), inner);
        self.push(select.where_clause(), inner);
        self.push_all(select.group_clause(), inner);
        self.push(select.having_clause(), inner);
        self.push_all(select.window_clause(), inner);
        self.push_all(select.values_lists(), inner);
        self.push_all(select.sort_clause().iter().map(Node::SortBy), inner);
        self.push(select.limit_offset(), inner);
        self.push(select.limit_count(), inner);
    }

    fn from(&mut self, from: &'a parse::NodeList, context: Context) {
        let further = u32::try_from(from.len().saturating_sub(1)).unwrap_or(u32::MAX);
        self.found.joins = self.found.joins.saturating_add(further);
        self.push_all(from, context);
    }

    fn insert(&mut self, insert: &'a nodes::InsertStmt, context: Context) {
        self.found.writes = true;
        writes::insert(&mut self.found, insert, context);
        let context = self.with(insert.with_clause(), context);
        self.table(insert.relation());
        self.push_all(insert.cols(), context);
        self.push(insert.select_stmt(), context.star(Star::InnocentHere));
        self.push_all(insert.on_conflict_clause().map(Node::OnConflictClause), context);
        self.push_all(insert.returning_clause().map(Node::ReturningClause), context);
    }

    fn update(&mut self, update: &'a nodes::UpdateStmt, context: Context) {
        self.found.writes = true;
        self.found.unfiltered_write |= !context.body && matches!(update.where_clause(), Node::None);
        writes::update(&mut self.found, update, context);
        let context = self.with(update.with_clause(), context);
        self.table(update.relation());
        self.push_all(update.target_list().iter().map(Node::ResTarget), context);
        self.from(update.from_clause(), context);
        self.push(update.where_clause(), context);
        self.push_all(update.returning_clause().map(Node::ReturningClause), context);
    }

    fn delete(&mut self, delete: &'a nodes::DeleteStmt, context: Context) {
        self.found.writes = true;
        self.found.unfiltered_write |= !context.body && matches!(delete.where_clause(), Node::None);
        writes::delete(&mut self.found, delete, context);
        let context = self.with(delete.with_clause(), context);
        self.table(delete.relation());
        self.from(delete.using_clause(), context);
        self.push(delete.where_clause(), context);
        self.push_all(delete.returning_clause().map(Node::ReturningClause), context);
    }

    fn merge(&mut self, merge: &'a nodes::MergeStmt, context: Context) {
        self.found.writes = true;
        writes::merge(&mut self.found, merge, context);
        let context = self.with(merge.with_clause(), context);
        self.table(merge.relation());
        self.push(merge.source_relation(), context);
        self.push(merge.join_condition(), context);
        self.push_all(merge.merge_when_clauses().iter().map(Node::MergeWhenClause), context);
        self.push_all(merge.returning_clause().map(Node::ReturningClause), context);
    }

    fn relation(&mut self, relation: &'a nodes::RangeVar, context: Context) {
        let qualified = relation.schemaname().is_some();
        let is_query =
            !qualified && relation.relname().is_some_and(|name| self.scopes.knows(context.scope, name));
        if !is_query {
            self.found.query_lock = self.found.query_lock.max(Some(Lock::AccessShare));
            self.table(Some(relation));
        }
    }

    fn stars(&mut self, targets: &'a parse::NodeList, context: Context) {
        if context.star != Star::Innocent {
            self.found.select_star |= targets
                .iter()
                .any(|target| matches!(target, Node::ResTarget(target) if is_star(target.val())));
        }
    }

    fn call(&mut self, call: &'a nodes::FuncCall, context: Context) {
        if let Some(function) = Qualified::of_list(call.funcname()) {
            if functions::is_written_as_call(call) {
                self.found.functions.add_qualified(function.schema, function.name);
                self.found.unproven |= !functions::is_read_only(function);
                self.found.calls |= !functions::is_stateless(function);
            }
            let effects = functions::effects(function, call, &mut self.found);
            self.found.effects = self.found.effects.and(effects);
            let aggregate = functions::is_aggregate(call, function);
            self.found.aggregates = self.found.aggregates.saturating_add(u32::from(aggregate));
        } else {
            self.found.unproven = true;
            self.found.calls = true;
        }
        self.push_all(call.args(), context);
        self.push_all(call.agg_order().iter().map(Node::SortBy), context);
        self.push(call.agg_filter(), context);
        self.push_all(call.over().map(Node::WindowDef), context);
    }

    fn expression(&mut self, expression: &'a nodes::A_Expr, context: Context) {
        // Operators are taken as harmless: those of PostgreSQL are, and one that an extension or a user
        // defines for writing would be refused by a replica, which runs read-only transactions only. An
        // operator asked for by schema is unusual enough not to be trusted.
        if expression.name().len() > 1 {
            let builtin = Qualified::of_list(expression.name()).is_some_and(Qualified::is_builtin);
            self.found.unproven |= !builtin;
        }
        match patterns::of_expression(expression) {
            Some(Pattern::Leading) => {
                if !self.found.leading_wildcard {
                    self.found.leading_wildcard = true;
                    self.found.like_column = patterns::column(expression.lexpr());
                }
            }
            Some(Pattern::Parameter(number)) => {
                let found = &mut self.found;
                if found.like_params.is_empty() && !found.leading_wildcard {
                    found.like_column = patterns::column(expression.lexpr());
                }
                found.like_params.push(number);
            }
            Some(Pattern::Other) | None => {}
        }
        self.push(expression.lexpr(), context);
        self.push(expression.rexpr(), context);
    }
}

/// `*`, `t.*`, `(expression).*`.
fn is_star(target: Node<'_>) -> bool {
    let last = match target {
        Node::ColumnRef(column) => column.fields().iter().next_back(),
        Node::A_Indirection(indirection) => indirection.indirection().iter().next_back(),
        _ => None,
    };
    matches!(last, Some(Node::A_Star(_)))
}
