//! Which names are common table expressions where.
//!
//! A `WITH` name hides a table of that name, but only where it is visible: in the statement it belongs to,
//! and in the other `WITH` queries of its clause, all of them if `RECURSIVE`, else the later ones only.
//! `WITH t AS (SELECT * FROM t) SELECT * FROM t` reads the table `t`, once.

use std::collections::BTreeMap;

use crate::guard::sql::parse::{Node, nodes};

/// Names a scope; the outermost, without any `WITH`, is [`Scopes::NONE`].
pub(super) type ScopeId = u32;

struct Clause<'a> {
    /// Each name's place in its clause, and its query.
    places: BTreeMap<&'a str, (u32, Node<'a>)>,
    outer: ScopeId,
}

struct Scope {
    /// Index into the clauses.
    clause: u32,
    /// Names of its clause before this place are visible.
    visible: u32,
}

#[derive(Default)]
pub(super) struct Scopes<'a> {
    clauses: Vec<Clause<'a>>,
    scopes: Vec<Scope>,
}

impl<'a> Scopes<'a> {
    pub(super) const NONE: ScopeId = 0;

    /// Opens a `WITH` clause. Gives the scope of the statement it stands in; `query_scope` is called with
    /// each of its queries' scopes, in order.
    pub(super) fn open(
        &mut self,
        with: &'a nodes::WithClause,
        outer: ScopeId,
        mut query_scope: impl FnMut(&'a nodes::CommonTableExpr, ScopeId),
    ) -> ScopeId {
        let mut places = BTreeMap::new();
        let count = with.ctes().len() as u32;
        for (place, query) in with.ctes().iter().enumerate() {
            if let Some(name) = query.ctename() {
                places.entry(name).or_insert((place as u32, query.ctequery()));
            }
        }
        let clause = self.clauses.len() as u32;
        self.clauses.push(Clause { places, outer });
        for (place, query) in with.ctes().iter().enumerate() {
            let visible = if with.recursive { count } else { place as u32 };
            let scope = self.add(clause, visible);
            query_scope(query, scope);
        }
        self.add(clause, count)
    }

    fn add(&mut self, clause: u32, visible: u32) -> ScopeId {
        self.scopes.push(Scope { clause, visible });
        self.scopes.len() as ScopeId
    }

    /// Whether an unqualified name is a common table expression in this scope.
    pub(super) fn knows(&self, scope: ScopeId, name: &str) -> bool {
        self.query(scope, name).is_some()
    }

    /// The query of that name.
    pub(super) fn query(&self, mut scope: ScopeId, name: &str) -> Option<Node<'a>> {
        // Number 0 is no scope, so that scope n stands at n - 1.
        while let Some(Scope { clause, visible }) =
            scope.checked_sub(1).and_then(|index| self.scopes.get(index as usize))
        {
            let clause = self.clauses.get(*clause as usize)?;
            if let Some((_, query)) = clause.places.get(name).filter(|(place, _)| place < visible) {
                return Some(*query);
            }
            scope = clause.outer;
        }
        None
    }
}
