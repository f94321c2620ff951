//! A second reading of a statement, by another parser with nothing in common with the first: kind, tables,
//! `WHERE` and `*`. Where both readings agree, neither is likely to be wrong.

use std::collections::{BTreeSet, HashSet};
use std::ops::ControlFlow;

use sqlparser::ast::{
    CopySource, Delete, Expr, FromTable, Insert, ObjectName, ObjectNamePart, ObjectType, Query, Select,
    SelectItem, SetExpr, Statement, TableFactor, TableObject, TableWithJoins, Visit, Visitor,
};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;

/// What is compared, in the words of `guard::facts::Facts`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Reading {
    pub(crate) kind: &'static str,
    pub(crate) tables: BTreeSet<String>,
    pub(crate) has_where: bool,
    pub(crate) select_star: bool,
}

/// Reads a text of one statement; the parser's words where it refuses it or sees another number of them.
pub(crate) fn read(sql: &str) -> Result<Reading, String> {
    let statements = Parser::parse_sql(&PostgreSqlDialect {}, sql).map_err(|error| error.to_string())?;
    let [statement] = &statements[..] else { return Err(format!("{} statements", statements.len())) };
    let mut reader = Reader::default();
    let _ = statement.visit(&mut reader);
    reader.unvisited(statement);
    Ok(Reading {
        kind: kind(statement),
        tables: reader.tables,
        has_where: has_where(statement),
        select_star: reader.star,
    })
}

fn kind(statement: &Statement) -> &'static str {
    match statement {
        Statement::Query(query) => kind_of_body(&query.body),
        Statement::Insert(_) => "insert",
        Statement::Update(_) => "update",
        Statement::Delete(_) => "delete",
        Statement::Merge(_) => "merge",
        Statement::Copy { .. } => "copy",
        Statement::StartTransaction { .. }
        | Statement::Commit { .. }
        | Statement::Rollback { .. }
        | Statement::Savepoint { .. }
        | Statement::ReleaseSavepoint { .. } => "transaction",
        Statement::Set(_) | Statement::Reset(_) => "set",
        Statement::ShowVariable { .. } => "show",
        Statement::Explain { .. }
        | Statement::Prepare { .. }
        | Statement::Execute { .. }
        | Statement::Deallocate { .. }
        | Statement::Declare { .. }
        | Statement::Fetch { .. }
        | Statement::Close { .. }
        | Statement::Discard { .. }
        | Statement::LISTEN { .. }
        | Statement::UNLISTEN { .. }
        | Statement::NOTIFY { .. }
        | Statement::Load { .. }
        | Statement::Call(_)
        | Statement::Lock(_)
        | Statement::Analyze(_)
        | Statement::Vacuum(_) => "utility",
        _ => "ddl",
    }
}

/// `WITH … DELETE` is a query whose body is the statement.
fn kind_of_body(body: &SetExpr) -> &'static str {
    match body {
        SetExpr::Insert(_) => "insert",
        SetExpr::Update(_) => "update",
        SetExpr::Delete(_) => "delete",
        SetExpr::Merge(_) => "merge",
        SetExpr::Query(query) => kind_of_body(&query.body),
        _ => "select",
    }
}

fn has_where(statement: &Statement) -> bool {
    match statement {
        Statement::Query(query) => body_has_where(&query.body),
        Statement::Update(update) => update.selection.is_some(),
        Statement::Delete(delete) => delete.selection.is_some(),
        Statement::Explain { statement, .. } | Statement::Prepare { statement, .. } => has_where(statement),
        Statement::Declare { stmts } => {
            stmts.iter().any(|s| s.for_query.as_ref().is_some_and(|query| body_has_where(&query.body)))
        }
        _ => false,
    }
}

fn body_has_where(body: &SetExpr) -> bool {
    match body {
        SetExpr::Select(select) => select.selection.is_some(),
        SetExpr::Query(query) => body_has_where(&query.body),
        SetExpr::Update(statement) | SetExpr::Delete(statement) => has_where(statement),
        _ => false,
    }
}

/// One query's `WITH` names and the addresses of their bodies.
struct Frame {
    names: Vec<String>,
    bodies: Vec<*const Query>,
    recursive: bool,
    /// How many of the names the part now visited sees.
    visible: usize,
}

#[derive(Default)]
struct Reader {
    tables: BTreeSet<String>,
    star: bool,
    frames: Vec<Frame>,
    /// How many `EXISTS` are open.
    exists: u32,
    /// Selects whose own list feeds no client: compared, or stored by the statement around them.
    quiet: HashSet<*const Select>,
    /// Names in FROM that are functions.
    functions: HashSet<*const ObjectName>,
}

impl Reader {
    fn is_cte(&self, name: &str) -> bool {
        self.frames.iter().any(|frame| frame.names.iter().take(frame.visible).any(|known| known == name))
    }

    fn table(&mut self, name: &ObjectName) {
        self.tables.insert(text(name));
    }

    fn factor(&mut self, factor: &TableFactor) {
        if let TableFactor::Table { name, .. } = factor {
            self.table(name);
        }
    }

    fn targets(&mut self, tables: &[TableWithJoins]) {
        for table in tables {
            self.factor(&table.relation);
        }
    }

    fn hush(&mut self, body: &SetExpr) {
        match body {
            SetExpr::Select(select) => {
                self.quiet.insert(&raw const **select);
            }
            SetExpr::Query(query) => self.hush(&query.body),
            SetExpr::SetOperation { left, right, .. } => {
                self.hush(left);
                self.hush(right);
            }
            _ => {}
        }
    }

    fn returning(&mut self, items: Option<&Vec<SelectItem>>) {
        self.star |= items.is_some_and(|items| items.iter().any(is_star));
    }

    /// Relations that the parser's visitor passes over.
    fn unvisited(&mut self, statement: &Statement) {
        match statement {
            Statement::Copy { source: CopySource::Table { table_name, .. }, .. } => self.table(table_name),
            Statement::Drop { object_type, names, .. } if *object_type != ObjectType::Schema => {
                names.iter().for_each(|name| self.table(name));
            }
            _ => {}
        }
    }
}

impl Visitor for Reader {
    type Break = ();

    fn pre_visit_statement(&mut self, statement: &Statement) -> ControlFlow<()> {
        // Targets are never WITH names, so they are noted apart from other relations.
        match statement {
            Statement::Insert(Insert { table, source, returning, .. }) => {
                if let TableObject::TableName(name) = table {
                    self.table(name);
                }
                if let Some(source) = source {
                    self.hush(&source.body);
                }
                self.returning(returning.as_ref());
            }
            Statement::Update(update) => {
                self.factor(&update.table.relation);
                self.returning(update.returning.as_ref());
            }
            Statement::Delete(Delete { from, returning, .. }) => {
                let (FromTable::WithFromKeyword(tables) | FromTable::WithoutKeyword(tables)) = from;
                self.targets(tables);
                self.returning(returning.as_ref());
            }
            Statement::Merge(merge) => self.factor(&merge.table),
            Statement::CreateTable(create) => {
                if let Some(query) = &create.query {
                    self.hush(&query.body);
                }
            }
            Statement::CreateView(create) => self.hush(&create.query.body),
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        if let Some(outer) = self.frames.last_mut()
            && let Some(place) = outer.bodies.iter().position(|body| std::ptr::eq(*body, query))
            && !outer.recursive
        {
            outer.visible = place;
        }
        let tables = query.with.as_ref().map(|with| &with.cte_tables[..]).unwrap_or_default();
        self.frames.push(Frame {
            names: tables.iter().map(|table| ident(&table.alias.name)).collect(),
            bodies: tables.iter().map(|table| &raw const *table.query).collect(),
            recursive: query.with.as_ref().is_some_and(|with| with.recursive),
            visible: tables.len(),
        });
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        self.frames.pop();
        if let Some(outer) = self.frames.last_mut() {
            outer.visible = outer.names.len();
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
        if self.exists == 0 && !self.quiet.contains(&std::ptr::from_ref(select)) {
            self.star |= select.projection.iter().any(is_star);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        match expr {
            Expr::Exists { .. } => self.exists += 1,
            Expr::InSubquery { subquery, .. } => self.hush(&subquery.body),
            Expr::AnyOp { right, .. } | Expr::AllOp { right, .. } => {
                if let Expr::Subquery(query) = &**right {
                    self.hush(&query.body);
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        if matches!(expr, Expr::Exists { .. }) {
            self.exists -= 1;
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        if let TableFactor::Table { name, args: Some(_), .. } = factor {
            self.functions.insert(name);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<()> {
        let name = text(relation);
        if !self.functions.contains(&std::ptr::from_ref(relation)) && !self.is_cte(&name) {
            self.tables.insert(name);
        }
        ControlFlow::Continue(())
    }
}

fn is_star(item: &SelectItem) -> bool {
    matches!(item, SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..))
}

/// The last two parts of a name, folded as PostgreSQL folds them.
fn text(name: &ObjectName) -> String {
    let parts: Vec<String> = name.0.iter().filter_map(ObjectNamePart::as_ident).map(ident).collect();
    parts[parts.len().saturating_sub(2)..].join(".")
}

fn ident(ident: &sqlparser::ast::Ident) -> String {
    if ident.quote_style.is_none() { ident.value.to_ascii_lowercase() } else { ident.value.clone() }
}
