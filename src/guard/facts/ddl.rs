//! From a definition to what it changes, and the locks it takes.

use super::alter;
use super::change::Change;
use super::locks::{self, Lock, TableLock};
use super::names::Qualified;
use super::readonly::says_yes;
use super::types;
use super::walk::{Context, Found};
use super::writes::{self, as_written};
use crate::guard::sql::parse::{
    self, ConstrType, DropBehavior, Node, NodeList, ObjectType, ReindexObjectType, nodes,
};

impl Found {
    pub(super) fn lock(&mut self, table: String, lock: Lock) {
        self.facts.table_locks.push(TableLock { table, lock });
    }

    pub(super) fn change(&mut self, change: Change) {
        if !self.facts.changes.iter().any(|word| word == change.what) {
            self.facts.changes.push(change.what.to_owned());
        }
        self.facts.rewrites |= change.rewrites && !change.new_object;
        self.facts.concurrently |= change.concurrently;
        self.facts.ddl.push(change);
    }

    /// A change of a relation under a lock.
    fn on_table(&mut self, change: Change, lock: Lock) {
        if !change.object.is_empty() {
            self.written.named(&change.object);
        }
        self.lock(change.object.clone(), lock);
        self.change(change);
    }

    /// `CASCADE` reaches tables that the text does not name.
    fn cascade(&mut self, behavior: DropBehavior::Type) -> bool {
        let cascades = behavior == DropBehavior::DROP_CASCADE;
        if cascades {
            self.lock(String::new(), Lock::AccessExclusive);
        }
        cascades
    }
}

/// Adds what a definition changes, and the locks it takes.
pub(super) fn of_node(node: Node<'_>, context: Context, found: &mut Found) {
    if context.body || creates(node, found) || treats(node, found) {
        return;
    }
    match node {
        Node::AlterTableStmt(alter) => alter::table(alter, found),
        Node::DropStmt(drop) => drops(drop, found),
        Node::RenameStmt(rename) => alter::rename(rename, found),
        Node::AlterObjectSchemaStmt(alter) => {
            let change = Change::new("set schema", as_written(alter.relation()));
            let change = Change { name: alter.newschema().map(str::to_owned), ..change };
            relation_or_not(change, alter.relation(), found);
        }
        Node::AlterOwnerStmt(alter) => {
            let change = Change::new("change owner", as_written(alter.relation()));
            relation_or_not(change, alter.relation(), found);
        }
        Node::AlterSeqStmt(alter) => {
            let change = Change::new("alter", as_written(alter.sequence()));
            found.lock(change.object.clone(), Lock::ShareRowExclusive);
            found.change(Change { if_exists: alter.missing_ok, ..change });
        }
        Node::AlterPolicyStmt(policy) => {
            let change = Change::new("alter", as_written(policy.table()));
            found.on_table(change, Lock::AccessExclusive);
        }
        Node::AlterDomainStmt(alter) => alter::domain(alter, found),
        Node::AlterEnumStmt(alter) => {
            let what = if alter.old_val().is_some() { "rename enum value" } else { "add enum value" };
            let name = alter.new_val().map(str::to_owned);
            let object = last_of(alter.type_name().iter().map(Node::String));
            found.change(Change {
                name,
                if_exists: alter.skip_if_new_val_exists,
                bound: alter.new_val_neighbor().is_some(),
                ..Change::new(what, object)
            });
        }
        Node::AlterTableMoveAllStmt(_) => {
            found.lock(String::new(), Lock::AccessExclusive);
            found.change(Change { rewrites: true, ..Change::new("set tablespace", String::new()) });
        }
        Node::AlterObjectDependsStmt(alter) => {
            found.lock(as_written(alter.relation()), Lock::AccessExclusive);
            found.change(Change::new("alter", as_written(alter.relation())));
        }
        other => others(other, found),
    }
}

fn relation_or_not(change: Change, relation: Option<&nodes::RangeVar>, found: &mut Found) {
    if relation.is_some() {
        found.on_table(change, Lock::AccessExclusive);
    } else {
        found.change(change);
    }
}

/// The last two of a dotted name, as written.
pub(super) fn last_of<'a>(parts: impl Iterator<Item = Node<'a>>) -> String {
    match Qualified::of_parts(parts) {
        Some(Qualified { schema: Some(schema), name }) => format!("{schema}.{name}"),
        Some(Qualified { schema: None, name }) => name.to_owned(),
        None => String::new(),
    }
}

fn creates(node: Node<'_>, found: &mut Found) -> bool {
    match node {
        Node::CreateStmt(create) => table(create, found),
        Node::Invalid(_) => match parse::as_foreign_table(node) {
            Some(create) => table(create, found),
            None => return false,
        },
        Node::CreateTableAsStmt(create) => {
            let matview = create.objtype == ObjectType::OBJECT_MATVIEW;
            let what = if matview { "create materialized view" } else { "create table" };
            let relation = create.into().and_then(nodes::IntoClause::rel);
            found.written.table(relation);
            found.change(created(what, as_written(relation), create.if_not_exists));
        }
        Node::ViewStmt(view) => {
            if view.replace {
                found.lock(as_written(view.view()), Lock::AccessExclusive);
            }
            found.written.table(view.view());
            found.change(created("create view", as_written(view.view()), view.replace));
        }
        Node::IndexStmt(index) => {
            let change = Change {
                name: index.idxname().map(str::to_owned),
                type_name: index.access_method().map(str::to_owned),
                concurrently: index.concurrent,
                unique: index.unique,
                columns: u16::try_from(index.index_params().len()).unwrap_or(u16::MAX),
                if_exists: index.if_not_exists,
                scans: true,
                ..Change::new("create index", as_written(index.relation()))
            };
            let lock = if index.concurrent { Lock::ShareUpdateExclusive } else { Lock::Share };
            found.on_table(change, lock);
        }
        Node::CreateTrigStmt(trigger) => {
            let change = Change::new("create trigger", as_written(trigger.relation()));
            let name = trigger.trigname().map(str::to_owned);
            found.on_table(Change { name, ..change }, Lock::ShareRowExclusive);
        }
        Node::RuleStmt(rule) => {
            let change = Change::new("create rule", as_written(rule.relation()));
            let name = rule.rulename().map(str::to_owned);
            found.on_table(Change { name, ..change }, Lock::AccessExclusive);
        }
        Node::CreatePolicyStmt(policy) => {
            let change = Change::new("create policy", as_written(policy.table()));
            let name = policy.policy_name().map(str::to_owned);
            found.on_table(Change { name, ..change }, Lock::AccessExclusive);
        }
        Node::CreateStatsStmt(statistics) => {
            let Node::NodeList(relations) = parse::untyped(statistics.relations()) else { return true };
            for relation in writes::relations(relations) {
                found.lock(as_written(Some(relation)), Lock::ShareUpdateExclusive);
            }
            found.change(Change::new(
                "create statistics",
                last_of(statistics.defnames().iter().map(Node::String)),
            ));
        }
        _ => return false,
    }
    true
}

fn created(what: &'static str, object: String, maybe_there: bool) -> Change {
    Change { if_exists: maybe_there, new_object: !maybe_there, ..Change::new(what, object) }
}

/// `CREATE TABLE`: itself, its columns, and the locks on those it points to.
fn table(create: &nodes::CreateStmt, found: &mut Found) {
    let object = as_written(create.relation());
    let from = found.facts.table_locks.len();
    found.written.named(&object);
    found.change(created("create table", object.clone(), create.if_not_exists));
    for parent in writes::relations(create.inh_relations()) {
        let partition = create.partbound().is_some();
        let lock = if partition { Lock::AccessExclusive } else { Lock::ShareUpdateExclusive };
        found.lock(as_written(Some(parent)), lock);
    }
    for element in create.table_elts() {
        match element {
            Node::ColumnDef(column) => {
                let change = alter::column("define column", &object, column, found);
                found.change(Change { rewrites: false, scans: false, new_object: true, ..change });
            }
            Node::Constraint(constraint) => references(constraint, found),
            Node::TableLikeClause(like) => found.lock(as_written(like.relation()), Lock::AccessShare),
            _ => {}
        }
    }
    // Its own locks nobody can wait for.
    let locks = found.facts.table_locks.split_off(from);
    let others = locks.into_iter().filter(|lock| lock.table != object || create.if_not_exists);
    found.facts.table_locks.extend(others);
}

/// A foreign key locks the table that it points to.
pub(super) fn references(constraint: &nodes::Constraint, found: &mut Found) {
    if constraint.contype == ConstrType::CONSTR_FOREIGN && constraint.pktable().is_some() {
        found.lock(as_written(constraint.pktable()), Lock::ShareRowExclusive);
    }
}

/// Statements that empty, pack, or lock what is there.
fn treats(node: Node<'_>, found: &mut Found) -> bool {
    match node {
        Node::TruncateStmt(truncate) => {
            let cascade = found.cascade(truncate.behavior);
            for relation in writes::relations(truncate.relations()) {
                let change = Change { cascade, ..Change::new("truncate", as_written(Some(relation))) };
                found.on_table(change, Lock::AccessExclusive);
            }
        }
        Node::LockStmt(lock) => {
            for relation in writes::relations(lock.relations()) {
                found.lock(as_written(Some(relation)), Lock::of_mode(lock.mode));
            }
        }
        Node::VacuumStmt(vacuum) => {
            let full = vacuum.is_vacuumcmd && has_option(vacuum.options().iter(), "full");
            let lock = if full { Lock::AccessExclusive } else { Lock::ShareUpdateExclusive };
            let mut tables: Vec<String> = vacuum.rels().iter().map(|of| as_written(of.relation())).collect();
            if tables.is_empty() {
                tables.push(String::new());
            }
            for table in tables {
                found.lock(table.clone(), lock);
                if full {
                    found.change(Change { rewrites: true, ..Change::new("vacuum full", table) });
                }
            }
        }
        Node::ClusterStmt(cluster) => {
            found.lock(as_written(cluster.relation()), Lock::AccessExclusive);
            let change = Change::new("cluster", as_written(cluster.relation()));
            let name = cluster.indexname().map(str::to_owned);
            found.change(Change { rewrites: true, name, ..change });
        }
        Node::ReindexStmt(reindex) => reindexes(reindex, found),
        Node::RefreshMatViewStmt(refresh) => {
            let lock = if refresh.concurrent { Lock::Exclusive } else { Lock::AccessExclusive };
            let change = Change::new("refresh materialized view", as_written(refresh.relation()));
            let concurrently = refresh.concurrent;
            found.on_table(Change { concurrently, rewrites: !concurrently, ..change }, lock);
        }
        Node::CopyStmt(copy) => writes::copy(found, copy),
        _ => return false,
    }
    true
}

/// `REINDEX` locks the table against writes, and each of its indexes against everything: a query that plans with the
/// table locks all of its indexes, so that nothing gets by.
fn reindexes(reindex: &nodes::ReindexStmt, found: &mut Found) {
    let concurrently = has_option(reindex.params().iter(), "concurrently");
    let lock = if concurrently { Lock::ShareUpdateExclusive } else { Lock::AccessExclusive };
    let object = as_written(reindex.relation());
    found.lock(object.clone(), lock);
    let index = reindex.kind == ReindexObjectType::REINDEX_OBJECT_INDEX;
    let (object, name) = if index { (String::new(), Some(object)) } else { (object, None) };
    let name = name.or_else(|| reindex.name().map(str::to_owned));
    found.change(Change { concurrently, name, scans: true, ..Change::new("reindex", object) });
}

/// As `defGetBoolean` reads it: on where it stands without a value. The last one counts.
fn has_option<'a>(options: impl Iterator<Item = &'a nodes::DefElem>, name: &str) -> bool {
    let last = options.filter(|option| option.defname() == Some(name)).last();
    last.is_some_and(|option| says_yes(option.arg()))
}

/// `DROP` of anything but databases and roles.
fn drops(drop: &nodes::DropStmt, found: &mut Found) {
    let what = dropped(drop.remove_type);
    let cascade = found.cascade(drop.behavior);
    for object in drop.objects() {
        let parts = |list: &NodeList, but: usize| last_of(list.iter().take(list.len().saturating_sub(but)));
        let template = Change {
            if_exists: drop.missing_ok,
            concurrently: drop.concurrent,
            cascade,
            ..Change::new(what, String::new())
        };
        let lock = if drop.concurrent { Lock::ShareUpdateExclusive } else { Lock::AccessExclusive };
        match (object, drop.remove_type) {
            (
                Node::NodeList(list),
                ObjectType::OBJECT_TABLE
                | ObjectType::OBJECT_VIEW
                | ObjectType::OBJECT_MATVIEW
                | ObjectType::OBJECT_FOREIGN_TABLE,
            ) => found.on_table(Change { object: parts(list, 0), ..template }, lock),
            (Node::NodeList(list), ObjectType::OBJECT_INDEX | ObjectType::OBJECT_SEQUENCE) => {
                // The index's table is locked, too, whichever it is.
                found.lock(parts(list, 0), lock);
                found.change(Change { name: Some(parts(list, 0)), ..template });
            }
            (
                Node::NodeList(list),
                ObjectType::OBJECT_TRIGGER | ObjectType::OBJECT_RULE | ObjectType::OBJECT_POLICY,
            ) => {
                let name = list.iter().next_back().and_then(Node::as_str).map(str::to_owned);
                found.on_table(Change { object: parts(list, 1), name, ..template }, lock);
            }
            (Node::NodeList(list), ObjectType::OBJECT_STATISTIC_EXT) => {
                found.lock(String::new(), Lock::ShareUpdateExclusive);
                found.change(Change { name: Some(parts(list, 0)), ..template });
            }
            // Their members may be tables.
            (object, ObjectType::OBJECT_SCHEMA | ObjectType::OBJECT_EXTENSION) => {
                found.lock(String::new(), Lock::AccessExclusive);
                found.change(Change { name: object.as_str().map(str::to_owned), ..template });
            }
            (Node::NodeList(list), _) => found.change(Change { name: Some(parts(list, 0)), ..template }),
            (Node::TypeName(name), _) => {
                found.change(Change { name: Some(types::render(name)), ..template });
            }
            (object, _) => found.change(Change { name: object.as_str().map(str::to_owned), ..template }),
        }
    }
}

fn dropped(kind: ObjectType::Type) -> &'static str {
    match kind {
        ObjectType::OBJECT_TABLE | ObjectType::OBJECT_FOREIGN_TABLE => "drop table",
        ObjectType::OBJECT_VIEW => "drop view",
        ObjectType::OBJECT_MATVIEW => "drop materialized view",
        ObjectType::OBJECT_INDEX => "drop index",
        ObjectType::OBJECT_SEQUENCE => "drop sequence",
        ObjectType::OBJECT_SCHEMA => "drop schema",
        ObjectType::OBJECT_TYPE => "drop type",
        ObjectType::OBJECT_DOMAIN => "drop domain",
        ObjectType::OBJECT_FUNCTION
        | ObjectType::OBJECT_PROCEDURE
        | ObjectType::OBJECT_ROUTINE
        | ObjectType::OBJECT_AGGREGATE => "drop function",
        ObjectType::OBJECT_TRIGGER => "drop trigger",
        ObjectType::OBJECT_RULE => "drop rule",
        ObjectType::OBJECT_POLICY => "drop policy",
        ObjectType::OBJECT_EXTENSION => "drop extension",
        _ => "drop",
    }
}

/// Definitions that lock no table, or one that only a comment or a publication is about.
fn others(node: Node<'_>, found: &mut Found) {
    let named = |what, name: Option<&str>| Change {
        name: name.map(str::to_owned),
        ..Change::new(what, String::new())
    };
    let change = match node {
        Node::DropdbStmt(drop) => {
            Change { if_exists: drop.missing_ok, ..named("drop database", drop.dbname()) }
        }
        Node::CreatedbStmt(create) => named("create database", create.dbname()),
        Node::CreateSchemaStmt(create) => {
            Change { if_exists: create.if_not_exists, ..named("create schema", create.schemaname()) }
        }
        Node::CreateExtensionStmt(create) => {
            Change { if_exists: create.if_not_exists, ..named("create extension", create.extname()) }
        }
        Node::CreateSeqStmt(create) => {
            // `OWNED BY` looks the table up.
            found.query_lock = found.query_lock.max(Some(Lock::AccessShare));
            created("create sequence", as_written(create.sequence()), create.if_not_exists)
        }
        Node::CreateFunctionStmt(create) => Change::new("create function", last_of(create.funcname().iter())),
        Node::CreateDomainStmt(create) => alter::new_domain(create),
        Node::CompositeTypeStmt(create) => Change::new("create type", as_written(create.typevar())),
        Node::CreateEnumStmt(_) | Node::CreateRangeStmt(_) => named("create type", None),
        Node::CreateRoleStmt(_) => named("create role", None),
        Node::DropRoleStmt(_) => named("drop role", None),
        Node::DropOwnedStmt(_) => {
            found.lock(String::new(), Lock::AccessExclusive);
            named("drop owned", None)
        }
        Node::GrantStmt(grant) => named(if grant.is_grant { "grant" } else { "revoke" }, None),
        Node::GrantRoleStmt(grant) => named(if grant.is_grant { "grant" } else { "revoke" }, None),
        Node::CommentStmt(comment) => {
            locks::of_comment(comment.objtype, comment.object(), found);
            named("comment", None)
        }
        Node::SecLabelStmt(label) => {
            locks::of_comment(label.objtype, label.object(), found);
            named("comment", None)
        }
        Node::CreatePublicationStmt(create) => named("create publication", create.pubname()),
        Node::PublicationObjSpec(object) => {
            if let Some(table) = object.pubtable() {
                found.lock(as_written(table.relation()), Lock::ShareUpdateExclusive);
            }
            return;
        }
        Node::AlterExtensionContentsStmt(alter) => {
            locks::of_comment(alter.objtype, alter.object(), found);
            named("alter", None)
        }
        // What an extension's script or another owner's list holds is not known.
        Node::AlterExtensionStmt(_) | Node::ReassignOwnedStmt(_) => {
            found.lock(String::new(), Lock::AccessExclusive);
            named("alter", None)
        }
        Node::AlterRoleStmt(_)
        | Node::AlterRoleSetStmt(_)
        | Node::AlterDatabaseStmt(_)
        | Node::AlterDatabaseSetStmt(_)
        | Node::AlterSystemStmt(_)
        | Node::AlterFunctionStmt(_)
        | Node::AlterTypeStmt(_)
        | Node::AlterPublicationStmt(_) => named("alter", None),
        Node::DefineStmt(_) => named("create", None),
        _ => return,
    };
    found.change(change);
}
