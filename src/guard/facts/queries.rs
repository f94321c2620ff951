//! The walk through the queries of a statement: what each reads and writes, and in which level its columns are sought.

use super::levels::{self, Levels, Must, Owner};
use super::locks::Lock;
use super::names::Qualified;
use super::predicates::Role;
use super::walk::{Context, Item, Star, Walk, is_star};
use super::{constants, effects, filters, security, writes};
use crate::guard::Effects;
use crate::guard::sql::parse::{self, LockWaitPolicy, Node, SetOperation, nodes};

impl<'a> Walk<'a> {
    /// Opens a statement's `WITH`; the context of the statement itself.
    pub(super) fn with(&mut self, with: Option<&'a nodes::WithClause>, context: Context) -> Context {
        let Some(with) = with else { return context };
        let (work, found) = (&mut self.work, &mut self.found);
        let inner = context.star(Star::Counts);
        let scope = self.scopes.open(with, context.scope, |query, scope| {
            found.with_query(query.ctequery(), context);
            found.facts.subqueries = found.facts.subqueries.saturating_add(1);
            let context = Context { scope, place: inner.place.deeper(), ..inner };
            work.push(Item { node: query.ctequery(), context });
        });
        Context { scope, ..context }
    }

    /// Opens the level of a query with its target and its `FROM`.
    pub(super) fn open(
        &mut self,
        target: Option<(&'a nodes::RangeVar, Role)>,
        from: impl IntoIterator<Item = Node<'a>>,
        context: Context,
    ) -> Context {
        let scopes = &self.scopes;
        let free = |name: &str| scopes.query(context.scope, name).map(levels::has_one_row);
        let level = self.levels.open(context.place.level, target, from.into_iter(), free);
        let depth = &mut self.found.facts.depth;
        *depth = (*depth).max(context.place.depth.saturating_add(1));
        context.at(context.place.in_level(level))
    }

    pub(super) fn select(&mut self, select: &'a nodes::SelectStmt, context: Context) {
        writes::select(&mut self.found, select, context);
        let context = self.with(select.with_clause(), context);
        let outer = context;
        let context = self.open(None, select.from_clause(), context);
        // What is inherited from a surrounding EXISTS stays; what was said of this list alone does not.
        let inner = context.star(Star::Counts);
        if context.star == Star::Counts {
            let mut targets = select.target_list().iter();
            self.found.select_star |= targets.any(|target| is_star(target.val()));
        }
        if select.op != SetOperation::SETOP_NONE {
            self.found.facts.unions = self.found.facts.unions.saturating_add(1);
            self.push_all(select.larg().map(Node::SelectStmt), outer);
            self.push_all(select.rarg().map(Node::SelectStmt), outer);
        }
        security::set_operation(select, &mut self.found);
        if let Some(into) = select.into_clause() {
            self.found.writes("select into", context);
            let effects = effects::of_target(into.rel()).and(Effects::SCHEMA);
            self.found.effects = self.found.effects.and(effects);
            self.table(into.rel());
        }
        self.found.distinct |= !select.distinct_clause().is_empty();
        self.found.group_by |= !select.group_clause().is_empty();
        for lock in select.locking_clause() {
            self.found.for_update = true;
            self.found.lock_waits |= lock.wait_policy == LockWaitPolicy::LockWaitBlock;
        }
        for sort in select.sort_clause() {
            self.found.facts.order_by_random |= filters::is_random(sort.node());
        }
        self.push_all(select.distinct_clause(), inner);
        self.push_all(select.target_list().iter().map(Node::ResTarget), inner);
        self.from(select.from_clause(), inner);
        self.push(select.where_clause(), inner.filter(Must::ALL));
        let few = select.group_clause().len().max(select.sort_clause().len()) <= MAX_OUTPUTS;
        let groups = select.group_clause().iter().filter(|node| !(few && is_output(select, *node)));
        self.push_all(groups, inner);
        self.push(select.having_clause(), inner.having());
        self.push_all(select.window_clause(), inner);
        self.push_all(select.values_lists(), inner);
        let sorts = select.sort_clause().iter().filter(|sort| !(few && is_output(select, sort.node())));
        self.push_all(sorts.map(Node::SortBy), inner);
        if outer.place.depth == 0 && self.found.facts.unions == 0 {
            self.ordered(select, inner);
        }
        self.push(select.limit_offset(), inner);
        self.push(select.limit_count(), inner);
    }

    fn from(&mut self, from: &'a parse::NodeList, context: Context) {
        let further = u32::try_from(from.len().saturating_sub(1)).unwrap_or(u32::MAX);
        self.found.joins = self.found.joins.saturating_add(further);
        self.push_all(from, context);
    }

    pub(super) fn subquery(&mut self, query: Node<'a>, context: Context) {
        self.found.facts.subqueries = self.found.facts.subqueries.saturating_add(1);
        self.push(query, context.at(context.place.deeper()));
    }

    pub(super) fn join(&mut self, join: &'a nodes::JoinExpr, context: Context) {
        self.found.joins = self.found.joins.saturating_add(1);
        let sides = self.levels.next_join(context.place.level);
        let must = sides.map_or(Must::NONE, |sides| sides.must(join.jointype));
        self.push_all([join.larg(), join.rarg()], context);
        self.push(join.quals(), context.filter(must));
        if let Some(sides) = sides
            && (join.is_natural || !join.using_clause().is_empty())
        {
            let only = self.levels.connect(sides).map(|side| side.map_or(Owner::Unknown, Owner::Source));
            for column in join.using_clause().iter().filter_map(nodes::String::sval) {
                filters::of_using(self, column, only, must);
            }
        }
    }

    pub(super) fn insert(&mut self, insert: &'a nodes::InsertStmt, context: Context) {
        self.found.writes("insert", context);
        writes::insert(&mut self.found, insert, context);
        let context = self.with(insert.with_clause(), context);
        self.table(insert.relation());
        let outer = context;
        let context = self.open(insert.relation().map(|to| (to, Role::Insert)), [], context);
        self.push_all(insert.cols(), context);
        self.push(insert.select_stmt(), outer.star(Star::InnocentHere));
        self.push_all(insert.on_conflict_clause().map(Node::OnConflictClause), context);
        self.push_all(insert.returning_clause().map(Node::ReturningClause), context);
    }

    pub(super) fn update(&mut self, update: &'a nodes::UpdateStmt, context: Context) {
        self.found.writes("update", context);
        security::update(update, &mut self.found);
        self.filtered(update.where_clause(), context);
        writes::update(&mut self.found, update, context);
        let context = self.with(update.with_clause(), context);
        self.table(update.relation());
        let target = update.relation().map(|to| (to, Role::Update));
        let context = self.open(target, update.from_clause(), context);
        self.push_all(update.target_list().iter().map(Node::ResTarget), context);
        self.from(update.from_clause(), context);
        self.push(update.where_clause(), context.filter(Must::ALL));
        self.push_all(update.returning_clause().map(Node::ReturningClause), context);
    }

    pub(super) fn delete(&mut self, delete: &'a nodes::DeleteStmt, context: Context) {
        self.found.writes("delete", context);
        self.filtered(delete.where_clause(), context);
        writes::delete(&mut self.found, delete, context);
        let context = self.with(delete.with_clause(), context);
        self.table(delete.relation());
        let target = delete.relation().map(|to| (to, Role::Delete));
        let context = self.open(target, delete.using_clause(), context);
        self.from(delete.using_clause(), context);
        self.push(delete.where_clause(), context.filter(Must::ALL));
        self.push_all(delete.returning_clause().map(Node::ReturningClause), context);
    }

    pub(super) fn merge(&mut self, merge: &'a nodes::MergeStmt, context: Context) {
        self.found.writes("merge", context);
        writes::merge(&mut self.found, merge, context);
        let context = self.with(merge.with_clause(), context);
        self.table(merge.relation());
        let target = merge.relation().map(|to| (to, Role::Merge));
        let context = self.open(target, [merge.source_relation()], context);
        self.push(merge.source_relation(), context);
        // Its rows are those that match, and with WHEN NOT MATCHED all others too.
        self.push(merge.join_condition(), context.filter(Must::NONE));
        self.push_all(merge.merge_when_clauses().iter().map(Node::MergeWhenClause), context);
        self.push_all(merge.returning_clause().map(Node::ReturningClause), context);
    }

    /// The `WHERE` of an `UPDATE` or `DELETE`.
    fn filtered(&mut self, condition: Node<'a>, context: Context) {
        if !context.body {
            self.found.unfiltered_write |= matches!(condition, Node::None);
            self.found.facts.always_true |= constants::truth(condition) == Some(true);
        }
    }

    /// The columns that the statement itself is ordered by, up to the first that is none.
    fn ordered(&mut self, select: &'a nodes::SelectStmt, context: Context) {
        let mut columns = Vec::new();
        for sort in select.sort_clause().iter().take(MAX_ORDER) {
            let Node::ColumnRef(column) = sort.node() else { break };
            let name = column.fields().iter().next_back().and_then(Node::as_str);
            let Some(name) = name.filter(|_| !is_output(select, sort.node())) else { break };
            let table = self.levels.table_of(self.levels.owner(context.place.level, column));
            columns.push(table.map_or_else(|| name.to_owned(), |table| format!("{table}.{name}")));
        }
        self.found.facts.order_columns = columns;
    }

    pub(super) fn relation(&mut self, relation: &'a nodes::RangeVar, context: Context) {
        let qualified = relation.schemaname().is_some();
        let is_query =
            !qualified && relation.relname().is_some_and(|name| self.scopes.knows(context.scope, name));
        if !is_query {
            self.found.query_lock = self.found.query_lock.max(Some(Lock::AccessShare));
            self.table(Some(relation));
            // Elsewhere than in a query it is what a utility statement treats.
            if let Some(Qualified { schema, name }) = Qualified::of_relation(relation)
                && context.place.level != Levels::NONE
            {
                self.found.tables_read.add_qualified(schema, name);
            }
        }
    }
}

/// Columns of an `ORDER BY` that are kept.
const MAX_ORDER: usize = 16;

/// Most targets among which a name in `ORDER BY` is looked for, and most names that are.
const MAX_OUTPUTS: usize = 64;

/// A bare name in `ORDER BY` or `GROUP BY` that names a column of the result, not one of a relation.
fn is_output(select: &nodes::SelectStmt, node: Node<'_>) -> bool {
    let Node::ColumnRef(column) = node else { return false };
    let mut fields = column.fields().iter();
    let (Some(name), None) = (fields.next().and_then(Node::as_str), fields.next()) else { return false };
    select.op != SetOperation::SETOP_NONE
        || select.target_list().iter().take(MAX_OUTPUTS).any(|target| target.name() == Some(name))
}
