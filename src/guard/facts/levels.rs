//! Which relation a column belongs to, and which relations of a `FROM` are connected.
//!
//! Every query of a statement has a level: the relations that its columns may name. They are entered before the walk
//! meets the first column, since a target list stands before its `FROM`.

use std::collections::BTreeMap;
use std::ops::Range;

use super::functions;
use super::names::Qualified;
use super::predicates::{Relation, Role};
use crate::guard::sql::parse::{JoinType, Node, SetOperation, nodes};

/// Names a level; outside of any query it is [`Levels::NONE`].
pub(super) type LevelId = u32;
/// A source's number among all of the statement.
pub(super) type SourceId = u32;

/// Names of this many sources are looked through one by one.
const FEW: usize = 12;
/// Targets among which an aggregate is looked for, each time that the query is named.
const MAX_TARGETS: usize = 16;
/// Queries around a query in which a column's relation is looked for.
const MAX_OUTER: usize = 32;

/// Something in a `FROM`.
struct Source<'a> {
    /// Its alias, or the relation's own name.
    name: &'a str,
    schema: Option<&'a str>,
    level: LevelId,
    /// A table's place in the statement's relations; none of a query or function, or where an alias renames columns.
    relation: Option<u32>,
    /// Of one row, or made for each row of another: a join with it needs no condition.
    free: bool,
}

struct Level<'a> {
    outer: LevelId,
    sources: Range<SourceId>,
    /// The next of its joins that the walk has not met.
    next_join: usize,
    /// Comparisons of columns whose relations the text does not tell: each may connect two.
    loose: u32,
    names: BTreeMap<&'a str, SourceId>,
}

/// The relations on both sides of a join.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sides {
    left: SourceId,
    right: SourceId,
    end: SourceId,
}

/// Sources for which a condition must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Must {
    from: SourceId,
    to: SourceId,
}

impl Must {
    pub(super) const ALL: Self = Self { from: 0, to: SourceId::MAX };
    pub(super) const NONE: Self = Self { from: 0, to: 0 };

    fn holds(self, source: SourceId) -> bool {
        (self.from..self.to).contains(&source)
    }
}

impl Sides {
    /// An outer join keeps the rows of one side whatever its condition says.
    pub(super) fn must(self, join: JoinType::Type) -> Must {
        match join {
            JoinType::JOIN_INNER => Must { from: self.left, to: self.end },
            JoinType::JOIN_LEFT => Must { from: self.right, to: self.end },
            JoinType::JOIN_RIGHT => Must { from: self.left, to: self.right },
            _ => Must::NONE,
        }
    }
}

/// A condition that may connect relations, while the walk is in it.
#[derive(Default)]
struct Link {
    first: Option<SourceId>,
    columns: u32,
    unknown: bool,
    counted: bool,
}

/// Names a link; 0 is none.
pub(super) type LinkId = u32;

/// Whose column it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    Source(SourceId),
    Unknown,
}

#[derive(Default)]
pub(super) struct Levels<'a> {
    levels: Vec<Level<'a>>,
    sources: Vec<Source<'a>>,
    /// Union-find over the sources.
    parents: Vec<SourceId>,
    joins: Vec<Sides>,
    links: Vec<Link>,
    pub(super) relations: Vec<Relation>,
}

enum Step<'a> {
    Enter(Node<'a>),
    Middle(usize),
    Leave(usize),
}

impl<'a> Levels<'a> {
    pub(super) const NONE: LevelId = 0;

    /// Opens a query's level with its target, if it writes, and its `FROM`. `free_query` tells of an unqualified name
    /// whether it is a `WITH` query, and then whether that has one row.
    pub(super) fn open(
        &mut self,
        outer: LevelId,
        target: Option<(&'a nodes::RangeVar, Role)>,
        from: impl Iterator<Item = Node<'a>>,
        free_query: impl Fn(&str) -> Option<bool>,
    ) -> LevelId {
        let first = self.sources.len() as SourceId;
        let level = self.levels.len() as LevelId + 1;
        let next_join = self.joins.len();
        self.levels.push(Level { outer, sources: first..first, next_join, loose: 0, names: BTreeMap::new() });
        if let Some((relation, role)) = target {
            self.relation(relation, role, level, None);
        }
        let mut steps = Vec::new();
        for item in from {
            steps.push(Step::Enter(item));
            while let Some(step) = steps.pop() {
                match step {
                    Step::Enter(Node::JoinExpr(join)) => {
                        let place = self.joins.len();
                        self.joins.push(Sides { left: self.next(), ..Sides::default() });
                        steps.extend([
                            Step::Leave(place),
                            Step::Enter(join.rarg()),
                            Step::Middle(place),
                            Step::Enter(join.larg()),
                        ]);
                    }
                    Step::Enter(node) => self.item(node, level, &free_query),
                    Step::Middle(place) => self.joins[place].right = self.next(),
                    Step::Leave(place) => self.joins[place].end = self.next(),
                }
            }
        }
        let end = self.next();
        if let Some(level) = self.levels.last_mut() {
            level.sources.end = end;
            if level.sources.len() > FEW {
                let named = level.sources.clone().zip(&self.sources[first as usize..]);
                level.names = named.map(|(id, source)| (source.name, id)).collect();
            }
        }
        level
    }

    fn next(&self) -> SourceId {
        self.sources.len() as SourceId
    }

    fn item(&mut self, node: Node<'a>, level: LevelId, free_query: &impl Fn(&str) -> Option<bool>) {
        match node {
            Node::RangeVar(relation) => {
                let unqualified = relation.relname().filter(|_| relation.schemaname().is_none());
                self.relation(relation, Role::Read, level, unqualified.and_then(free_query));
            }
            Node::RangeTableSample(sample) => self.item(sample.relation(), level, free_query),
            Node::RangeSubselect(query) => {
                let name = query.alias().and_then(nodes::Alias::aliasname);
                let free = query.lateral || has_one_row(query.subquery());
                self.add(Source {
                    name: name.unwrap_or_default(),
                    schema: None,
                    level,
                    relation: None,
                    free,
                });
            }
            Node::RangeFunction(function) => {
                let name = function.alias().and_then(nodes::Alias::aliasname);
                let name = name.unwrap_or_default();
                self.add(Source { name, schema: None, level, relation: None, free: true });
            }
            _ => self.add(Source { name: "", schema: None, level, relation: None, free: true }),
        }
    }

    /// `query`: it names a `WITH` query, which has one row or more.
    fn relation(&mut self, named: &'a nodes::RangeVar, role: Role, level: LevelId, query: Option<bool>) {
        let Some(Qualified { schema, name }) = Qualified::of_relation(named) else { return };
        let alias = named.alias();
        // With new names for the columns their own are not known.
        let renamed = alias.is_some_and(|alias| !alias.colnames().is_empty());
        let alias = alias.and_then(nodes::Alias::aliasname);
        let mut relation = None;
        if query.is_none() {
            relation = (!renamed).then_some(self.relations.len() as u32);
            let table = schema.map_or_else(|| name.to_owned(), |schema| format!("{schema}.{name}"));
            self.relations.push(Relation { table, role, level });
        }
        self.add(Source {
            name: alias.unwrap_or(name),
            schema: if alias.is_some() { None } else { schema },
            level,
            relation,
            free: query.unwrap_or(false),
        });
    }

    fn add(&mut self, source: Source<'a>) {
        self.parents.push(self.next());
        self.sources.push(source);
    }

    /// The sides of the next join of a level: joins are met in the order in which they were entered.
    pub(super) fn next_join(&mut self, level: LevelId) -> Option<Sides> {
        let level = level.checked_sub(1).and_then(|at| self.levels.get_mut(at as usize))?;
        let sides = self.joins.get(level.next_join).copied();
        level.next_join += 1;
        sides
    }

    /// Both sides of a `USING` or `NATURAL` join: connected, and the sources if either side is one alone.
    pub(super) fn connect(&mut self, sides: Sides) -> [Option<SourceId>; 2] {
        if sides.left < sides.right && sides.right < sides.end {
            self.unite(sides.left, sides.right);
        }
        let only = |range: Range<SourceId>| (range.len() == 1).then_some(range.start);
        [only(sides.left..sides.right), only(sides.right..sides.end)]
    }

    /// Whose column that is, as seen from a level: the name before its own tells, or that there is but one relation.
    pub(super) fn owner(&self, mut level: LevelId, column: &'a nodes::ColumnRef) -> Owner {
        let mut parts = column.fields().iter().rev().skip(1).map(|part| part.as_str());
        let qualifier = parts.next().flatten();
        let schema = parts.next().flatten();
        for _ in 0..MAX_OUTER {
            let Some(inner) = level.checked_sub(1).and_then(|at| self.levels.get(at as usize)) else { break };
            match qualifier {
                None if inner.sources.len() == 1 => return Owner::Source(inner.sources.start),
                None if inner.sources.is_empty() => {}
                None => break,
                Some(name) => {
                    if let Some(found) = self.named(inner, schema, name) {
                        return Owner::Source(found);
                    }
                }
            }
            level = inner.outer;
        }
        Owner::Unknown
    }

    fn named(&self, level: &Level<'a>, schema: Option<&str>, name: &str) -> Option<SourceId> {
        let is = |source: &Source<'_>| {
            source.name == name && (schema.is_none() || source.schema.is_none() || schema == source.schema)
        };
        if level.names.is_empty() {
            let sources = self.sources.get(level.sources.start as usize..level.sources.end as usize)?;
            let at = sources.iter().position(is)?;
            return Some(level.sources.start + at as SourceId);
        }
        let found = *level.names.get(name)?;
        self.sources.get(found as usize).filter(|source| is(source)).map(|_| found)
    }

    /// The table of a source, if it is one: its place among the relations.
    pub(super) fn relation_of(&self, owner: Owner) -> Option<u32> {
        let Owner::Source(source) = owner else { return None };
        self.sources.get(source as usize)?.relation
    }

    /// The table as written, if the owner is one.
    pub(super) fn table_of(&self, owner: Owner) -> Option<&str> {
        Some(&self.relations.get(self.relation_of(owner)? as usize)?.table)
    }

    /// Whether a condition of that level must hold for the owner's rows.
    pub(super) fn must_hold(&self, owner: Owner, level: LevelId, must: Must) -> bool {
        match owner {
            Owner::Source(source) => {
                must.holds(source) && self.sources.get(source as usize).is_some_and(|s| s.level == level)
            }
            Owner::Unknown => must == Must::ALL,
        }
    }

    /// Whether a join's condition must hold for the owner's rows.
    pub(super) fn holds(&self, owner: Owner, must: Must) -> bool {
        matches!(owner, Owner::Source(source) if must.holds(source))
    }

    /// A condition begins.
    pub(super) fn link(&mut self) -> LinkId {
        self.links.push(Link::default());
        self.links.len() as LinkId
    }

    /// A column stands in a condition.
    pub(super) fn linked(&mut self, link: LinkId, level: LevelId, owner: Owner) {
        let Some(link) = link.checked_sub(1).and_then(|at| self.links.get_mut(at as usize)) else { return };
        link.columns += 1;
        let unite = match owner {
            Owner::Source(source) => link.first.replace(source).map(|first| (first, source)),
            Owner::Unknown => {
                link.unknown = true;
                None
            }
        };
        if link.unknown && link.columns > 1 && !std::mem::replace(&mut link.counted, true) {
            let level = level.checked_sub(1).and_then(|at| self.levels.get_mut(at as usize));
            if let Some(level) = level {
                level.loose += 1;
            }
        }
        if let Some((one, other)) = unite {
            self.unite(one, other);
        }
    }

    fn root(&mut self, mut source: SourceId) -> SourceId {
        while let Some(&parent) = self.parents.get(source as usize)
            && parent != source
        {
            let above = self.parents.get(parent as usize).copied().unwrap_or(parent);
            if let Some(place) = self.parents.get_mut(source as usize) {
                *place = above;
            }
            source = above;
        }
        source
    }

    fn unite(&mut self, one: SourceId, other: SourceId) {
        let (one, other) = (self.root(one), self.root(other));
        if let Some(place) = self.parents.get_mut(one as usize) {
            *place = other;
        }
    }

    /// Groups of relations of one `FROM` beyond the first that nothing connects, of all levels.
    pub(super) fn cross_joins(&mut self) -> u32 {
        let mut all = 0;
        for at in 0..self.levels.len() {
            let sources = self.levels[at].sources.clone();
            if sources.len() < 2 {
                continue;
            }
            let bound: Vec<SourceId> =
                sources.filter(|source| !self.sources[*source as usize].free).collect();
            let mut roots: Vec<SourceId> = bound.iter().map(|source| self.root(*source)).collect();
            roots.sort_unstable();
            roots.dedup();
            all += (roots.len() as u32).saturating_sub(1).saturating_sub(self.levels[at].loose);
        }
        all
    }
}

/// A query of at most one row as far as its text tells, or of rows written out: a join with it multiplies nothing.
pub(super) fn has_one_row(query: Node<'_>) -> bool {
    let Node::SelectStmt(select) = query else { return false };
    if select.op != SetOperation::SETOP_NONE {
        return false;
    }
    let limited = matches!(select.limit_count(), Node::A_Const(value) if !value.isnull);
    let aggregates = |target: &nodes::ResTarget| match target.val() {
        Node::FuncCall(call) => {
            Qualified::of_list(call.funcname()).is_some_and(|name| functions::is_aggregate(call, name))
        }
        _ => false,
    };
    select.from_clause().is_empty()
        || limited
        || (select.group_clause().is_empty() && select.target_list().iter().take(MAX_TARGETS).any(aggregates))
}
