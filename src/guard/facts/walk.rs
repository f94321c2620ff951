//! Walks a statement's tree and gathers what it finds.
//!
//! The walk keeps its own stack of work: a tree as deep as the grammar allows costs no thread stack.

use super::Facts;
use super::filters;
use super::functions;
use super::levels::{LevelId, Levels, LinkId, Must, Owner};
use super::locks::{self, Lock};
use super::names::{Names, Qualified};
use super::patterns::{self, Pattern};
use super::readonly::Against;
use super::scope::{ScopeId, Scopes};
use super::{ddl, effects, relations, security, writes};
use crate::guard::Effects;
use crate::guard::sql::parse::{self, BoolExprType, Node, SubLinkType, nodes};

/// Whether a `*` in a target list counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Star {
    Counts,
    /// Not in this query's own list: its rows go into a table (`INSERT … SELECT *`) or a comparison.
    InnocentHere,
    /// Nowhere in it: `EXISTS (SELECT * …)` fetches nothing.
    Innocent,
}

/// Where in its query a node stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) level: LevelId,
    /// Queries around it.
    pub(super) depth: u32,
    /// In a `WHERE` or `ON`.
    pub(super) filter: bool,
    /// As a condition of a `WHERE`, `ON` or `HAVING`, not in an operand of one.
    pub(super) condition: bool,
    /// As a condition there that filters rows of relations.
    pub(super) boolean: bool,
    /// What the condition must hold for.
    pub(super) must: Must,
    /// The condition that it may connect relations by.
    pub(super) link: LinkId,
}

impl Place {
    const TOP: Self = Self {
        level: Levels::NONE,
        depth: 0,
        filter: false,
        condition: false,
        boolean: false,
        must: Must::ALL,
        link: 0,
    };

    pub(super) fn in_level(self, level: LevelId) -> Self {
        Self { level, depth: self.depth, ..Self::TOP }
    }
    /// In a subquery of it.
    pub(super) fn deeper(self) -> Self {
        Self { depth: self.depth.saturating_add(1), level: self.level, ..Self::TOP }
    }
}

/// What a node's surroundings say of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Context {
    pub(super) scope: ScopeId,
    pub(super) star: Star,
    /// In the body of a rule or function: it does not run now.
    pub(super) body: bool,
    pub(super) place: Place,
}

impl Context {
    pub(super) const TOP: Self =
        Self { scope: Scopes::NONE, star: Star::Counts, body: false, place: Place::TOP };

    /// In a query's condition.
    pub(super) fn filter(self, must: Must) -> Self {
        self.at(Place { filter: true, condition: true, boolean: true, must, link: 0, ..self.place })
    }
    /// In a condition on groups.
    pub(super) fn having(self) -> Self {
        self.at(Place { condition: true, ..self.place })
    }
    pub(super) fn at(self, place: Place) -> Self {
        Self { place, ..self }
    }

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
    pub(super) columns: Names,
    pub(super) tables_read: Names,
    pub(super) select_star: bool,
    pub(super) unfiltered_write: bool,
    pub(super) joins: u32,
    pub(super) aggregates: u32,
    pub(super) group_by: bool,
    pub(super) distinct: bool,
    pub(super) for_update: bool,
    /// A row lock waits.
    pub(super) lock_waits: bool,
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
    /// Why it is not read-only.
    pub(super) against: Against,
    pub(super) privileges: Names,
    pub(super) settings_named: Names,
    /// Runs code that is not seen.
    pub(super) opaque: bool,
}

#[derive(Clone, Copy)]
pub(super) struct Item<'a> {
    pub(super) node: Node<'a>,
    pub(super) context: Context,
}

#[derive(Default)]
pub(super) struct Walk<'a> {
    pub(super) work: Vec<Item<'a>>,
    pub(super) scopes: Scopes<'a>,
    pub(super) levels: Levels<'a>,
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
        walk.found.facts.cross_joins = walk.levels.cross_joins();
        walk.found.facts.relations = walk.levels.relations;
        filters::lists(&mut walk.found.facts);
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
            Node::JoinExpr(join) => self.join(join, context),
            Node::RangeTableSample(sample) => self.sample(sample, context),
            Node::ParamRef(parameter) => {
                let number = u16::try_from(parameter.number).unwrap_or(0);
                self.found.params = self.found.params.max(number);
            }
            Node::FuncCall(call) => self.call(call, context),
            Node::A_Expr(expression) => self.expression(expression, context),
            Node::BoolExpr(expression) => self.boolean(expression, context),
            Node::ColumnRef(column) => self.column(column, context),
            Node::NullTest(test) if context.place.boolean => {
                filters::of_null_test(self, test, context);
                let operand = self.operand(context);
                self.push(test.arg(), operand);
            }
            Node::TypeCast(cast) => {
                self.push(cast.arg(), context);
                self.type_name(cast.type_name(), context);
            }
            Node::ResTarget(target) => {
                self.push_all(target.indirection(), context);
                self.push(target.val(), context);
            }
            Node::SubLink(link) => self.sublink(link, context),
            Node::RangeSubselect(query) => self.subquery(query.subquery(), context),
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
            Node::A_Const(_) | Node::String(_) | Node::None => {}
            _ => self.below(node, context),
        }
    }

    fn sublink(&mut self, link: &'a nodes::SubLink, context: Context) {
        self.found.facts.in_list = self.found.facts.in_list.max(filters::listed_values(link));
        self.found.facts.not_in_subquery |= filters::is_not_in(Node::SubLink(link));
        if context.place.boolean {
            filters::of_sublink(self, link, context);
        }
        let operand = self.operand(context);
        self.push(link.testexpr(), operand);
        let star = match link.sub_link_type {
            SubLinkType::EXISTS_SUBLINK => Star::Innocent,
            SubLinkType::ANY_SUBLINK | SubLinkType::ALL_SUBLINK => Star::InnocentHere,
            _ => Star::Counts,
        };
        self.subquery(link.subselect(), context.star(star));
    }

    fn sample(&mut self, sample: &'a nodes::RangeTableSample, context: Context) {
        // A sampling method is a function, too.
        let method = Qualified::of_list(sample.method());
        let known = method.is_some_and(|m| m.is_builtin() && matches!(m.name, "system" | "bernoulli"));
        if !known {
            self.found.doubt("sampling method");
        }
        self.push(sample.relation(), context);
        self.push_all(sample.args(), context);
        self.push(sample.repeatable(), context);
    }

    /// The nodes under one that has no meaning of its own.
    fn below(&mut self, node: Node<'a>, context: Context) {
        if let Some(name) = functions::was_a_call(node) {
            self.found.functions.add_qualified(None, name);
        }
        let context = if context.place.boolean { self.operand(context) } else { context };
        if !parse::children(node, |child| self.push(child, context)) {
            let effects = effects::of_statement(node, &mut self.found);
            self.found.effects = self.found.effects.and(effects);
            ddl::of_node(node, context, &mut self.found);
            security::statement(node, &mut self.found);
            if !relations::utility(self, node, context) {
                self.found.doubt("other");
            }
        }
    }

    pub(super) fn type_name(&mut self, name: Option<&'a nodes::TypeName>, context: Context) {
        if let Some(name) = name {
            self.push_all(name.typmods(), context);
        }
    }

    fn boolean(&mut self, expression: &'a nodes::BoolExpr, context: Context) {
        let mut place = context.place;
        if expression.boolop == BoolExprType::OR_EXPR {
            self.found.facts.or_across_columns |= place.boolean && filters::crosses_columns(expression);
            if place.condition {
                security::alternatives(expression, &mut self.found);
            }
            place.must = Must::NONE;
        }
        if expression.boolop == BoolExprType::NOT_EXPR {
            self.found.facts.not_in_subquery |= filters::is_not_in(Node::BoolExpr(expression));
            // `NOT active` is as good as an equality.
            if !matches!(expression.args().first(), Some(Node::ColumnRef(_))) {
                place.must = Must::NONE;
            }
        }
        self.push_all(expression.args(), context.at(place));
    }

    fn column(&mut self, column: &'a nodes::ColumnRef, context: Context) {
        let Some(name) = column.fields().iter().next_back().and_then(Node::as_str) else { return };
        if context.place.boolean {
            filters::of_alone(self, Node::ColumnRef(column), context);
        }
        let level = context.place.level;
        let owner = self.levels.owner(level, column);
        if context.place.link != 0 {
            self.levels.linked(context.place.link, level, owner);
        }
        match self.levels.table_of(owner) {
            Some(table) => self.found.columns.add_qualified(Some(table), name),
            // Of a query, of a function or of an alias that renames: no relation has it.
            None if owner != Owner::Unknown => {}
            None => {
                let mut before = column.fields().iter().rev().skip(1).map(|part| part.as_str());
                match before.next().flatten() {
                    Some("excluded") => {}
                    qualifier => self.found.columns.add_qualified(qualifier, name),
                }
            }
        }
    }

    /// In an operand of a condition: what is in it connects, but filters nothing by itself.
    fn operand(&mut self, context: Context) -> Context {
        let Place { filter, link, .. } = context.place;
        let link = if filter && link == 0 { self.levels.link() } else { link };
        context.at(Place { boolean: false, condition: false, link, ..context.place })
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
                // What a name tells it tells once. (A quoted name with a dot may look like another with a schema.)
                let known = self.found.functions.len();
                self.found.functions.add_qualified(function.schema, function.name);
                let fresh = self.found.functions.len() > known;
                if fresh || function.name.contains('.') || function.schema.is_some() {
                    self.found.calls(function);
                    self.found.calls |= !functions::is_stateless(function);
                }
            }
            let effects = functions::effects(function, call, &mut self.found);
            self.found.effects = self.found.effects.and(effects);
            security::call(function, call, &mut self.found);
            let aggregate = functions::is_aggregate(call, function);
            self.found.aggregates = self.found.aggregates.saturating_add(u32::from(aggregate));
            if context.place.filter {
                filters::of_call(self, call, function);
            }
        } else {
            self.found.doubt("function");
            self.found.calls = true;
        }
        if context.place.boolean {
            filters::of_alone(self, Node::FuncCall(call), context);
        }
        let context = self.operand(context);
        self.found.facts.windows = self.found.facts.windows.saturating_add(u32::from(call.over().is_some()));
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
            if !builtin {
                self.found.doubt("operator");
            }
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
        self.found.facts.in_list = self.found.facts.in_list.max(filters::listed_elements(expression));
        if context.place.boolean {
            filters::of_expression(self, expression, context);
        }
        let context = self.operand(context);
        self.push(expression.lexpr(), context);
        self.push(expression.rexpr(), context);
    }
}

/// `*`, `t.*`, `(expression).*`.
pub(super) fn is_star(target: Node<'_>) -> bool {
    let last = match target {
        Node::ColumnRef(column) => column.fields().iter().next_back(),
        Node::A_Indirection(indirection) => indirection.indirection().iter().next_back(),
        _ => None,
    };
    matches!(last, Some(Node::A_Star(_)))
}
