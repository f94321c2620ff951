//! The relations, queries and expressions in utility statements, which the grammar's own walker does
//! not enter.

use super::locks::Lock;
use super::names::Qualified;
use super::walk::{Context, Star, Walk};
use super::writes::as_written;
use crate::guard::sql::parse::{self, GrantTargetType, Node, ObjectType, nodes};

/// Adds what a utility statement, or a part of one, names and holds; false if the node is not known here.
pub(super) fn utility<'a>(walk: &mut Walk<'a>, node: Node<'a>, context: Context) -> bool {
    carrier(walk, node, context) || definition(walk, node, context) || change(walk, node, context)
}

/// Statements around another statement.
fn carrier<'a>(walk: &mut Walk<'a>, node: Node<'a>, context: Context) -> bool {
    match node {
        Node::RawStmt(raw) => walk.push(raw.stmt(), context),
        Node::ExplainStmt(explain) => walk.push(explain.query(), context),
        Node::PrepareStmt(prepare) => walk.push(prepare.query(), context),
        Node::DeclareCursorStmt(declare) => walk.push(declare.query(), context),
        Node::ExecuteStmt(execute) => walk.push_all(execute.params(), context),
        Node::CallStmt(call) => walk.push_all(call.funccall().map(Node::FuncCall), context),
        Node::ReturnStmt(give) => walk.push(give.returnval(), context),
        Node::CopyStmt(copy) => {
            walk.table(copy.relation());
            walk.push(copy.query(), context);
            walk.push(copy.where_clause(), context);
        }
        Node::CreateTableAsStmt(create) => {
            walk.table(create.into().and_then(nodes::IntoClause::rel));
            walk.push(create.query(), context.star(Star::InnocentHere));
        }
        Node::ViewStmt(view) => {
            walk.table(view.view());
            walk.push(view.query(), context.star(Star::InnocentHere));
        }
        Node::RuleStmt(rule) => {
            walk.table(rule.relation());
            walk.push(rule.where_clause(), context);
            let body = Context { body: true, ..context }.star(Star::Innocent);
            walk.push_all(rule.actions(), body);
        }
        Node::CreateFunctionStmt(create) => {
            walk.push_all(create.parameters().iter().map(nodes::FunctionParameter::defexpr), context);
            let body = Context { body: true, ..context }.star(Star::Innocent);
            walk.push(create.sql_body(), body);
        }
        Node::CreateSchemaStmt(create) => walk.push_all(create.schema_elts(), context),
        _ => return false,
    }
    true
}

/// Statements that create something, and their parts.
fn definition<'a>(walk: &mut Walk<'a>, node: Node<'a>, context: Context) -> bool {
    match node {
        Node::CreateStmt(create) => table(walk, create, context),
        Node::Invalid(_) => match parse::as_foreign_table(node) {
            Some(create) => table(walk, create, context),
            None => return false,
        },
        Node::Constraint(constraint) => {
            walk.push(constraint.raw_expr(), context);
            walk.table(constraint.pktable());
            walk.push_all(constraint.exclusions(), context);
            walk.push(constraint.where_clause(), context);
        }
        Node::TableLikeClause(like) => walk.table(like.relation()),
        Node::PartitionBoundSpec(bound) => {
            walk.push_all(bound.listdatums(), context);
            walk.push_all(bound.lowerdatums(), context);
            walk.push_all(bound.upperdatums(), context);
        }
        Node::PartitionElem(element) => walk.push(element.expr(), context),
        Node::IndexStmt(index) => {
            walk.table(index.relation());
            walk.push_all(index.index_params().iter().map(Node::IndexElem), context);
            walk.push(index.where_clause(), context);
        }
        Node::CreateTrigStmt(trigger) => {
            walk.table(trigger.relation());
            walk.table(trigger.constrrel());
            walk.push(trigger.when_clause(), context);
        }
        Node::CreateSeqStmt(create) => walk.table(create.sequence()),
        Node::CreatePolicyStmt(policy) => {
            walk.table(policy.table());
            walk.push(policy.qual(), context);
            walk.push(policy.with_check(), context);
        }
        Node::CreatePublicationStmt(publication) => walk.push_all(publication.pubobjects(), context),
        Node::PublicationObjSpec(object) => {
            if let Some(table) = object.pubtable() {
                walk.table(table.relation());
                walk.push(table.where_clause(), context);
            }
        }
        Node::CreateStatsStmt(statistics) => {
            // The grammar takes any FROM list here; only the server insists on one table.
            walk.push(parse::untyped(statistics.relations()), context);
            walk.push_all(statistics.exprs(), context);
        }
        Node::StatsElem(element) => walk.push(element.expr(), context),
        Node::CreateDomainStmt(domain) => {
            walk.push_all(domain.constraints().iter().map(Node::Constraint), context);
        }
        Node::CompositeTypeStmt(create) => {
            walk.push_all(create.coldeflist().iter().map(Node::ColumnDef), context);
        }
        _ => return false,
    }
    true
}

fn table<'a>(walk: &mut Walk<'a>, create: &'a nodes::CreateStmt, context: Context) {
    walk.table(create.relation());
    walk.push_all(create.table_elts(), context);
    walk.push_all(create.inh_relations(), context);
    walk.push_all(create.constraints().iter().map(Node::Constraint), context);
    walk.push_all(create.partbound().map(Node::PartitionBoundSpec), context);
    if let Some(by) = create.partspec() {
        walk.push_all(by.part_params().iter().map(Node::PartitionElem), context);
    }
}

pub(super) fn column<'a>(walk: &mut Walk<'a>, column: &'a nodes::ColumnDef, context: Context) {
    walk.type_name(column.type_name(), context);
    walk.push(column.raw_default(), context);
    walk.push_all(column.constraints(), context);
}

/// Statements that change, remove or treat what exists.
fn change<'a>(walk: &mut Walk<'a>, node: Node<'a>, context: Context) -> bool {
    match node {
        Node::AlterTableStmt(alter) => {
            walk.table(alter.relation());
            walk.push_all(alter.cmds(), context);
        }
        Node::AlterTableCmd(command) => walk.push(command.def(), context),
        Node::PartitionCmd(partition) => {
            walk.table(partition.name());
            walk.push_all(partition.bound().map(Node::PartitionBoundSpec), context);
        }
        Node::AlterDomainStmt(alter) => walk.push(alter.def(), context),
        Node::AlterSeqStmt(alter) => walk.table(alter.sequence()),
        Node::AlterPolicyStmt(policy) => {
            walk.table(policy.table());
            walk.push(policy.qual(), context);
            walk.push(policy.with_check(), context);
        }
        Node::AlterPublicationStmt(publication) => walk.push_all(publication.pubobjects(), context),
        Node::RenameStmt(rename) => {
            walk.table(rename.relation());
            named_object(walk, rename.rename_type, rename.object());
        }
        Node::AlterObjectSchemaStmt(alter) => walk.table(alter.relation()),
        Node::AlterOwnerStmt(alter) => walk.table(alter.relation()),
        Node::CommentStmt(comment) => named_object(walk, comment.objtype, comment.object()),
        Node::SecLabelStmt(label) => named_object(walk, label.objtype, label.object()),
        Node::AlterExtensionContentsStmt(alter) => named_object(walk, alter.objtype, alter.object()),
        Node::DropStmt(drop) => {
            for object in drop.objects() {
                named_object(walk, drop.remove_type, object);
            }
        }
        Node::TruncateStmt(truncate) => walk.push_all(truncate.relations(), context),
        Node::LockStmt(lock) => walk.push_all(lock.relations(), context),
        Node::VacuumStmt(vacuum) => {
            for relation in vacuum.rels() {
                walk.table(relation.relation());
            }
        }
        Node::ClusterStmt(cluster) => walk.table(cluster.relation()),
        Node::RefreshMatViewStmt(refresh) => walk.table(refresh.relation()),
        Node::ReindexStmt(reindex) => walk.table(reindex.relation()),
        Node::GrantStmt(grant) => {
            let relations = matches!(grant.objtype, ObjectType::OBJECT_TABLE | ObjectType::OBJECT_SEQUENCE);
            if relations && grant.targtype == GrantTargetType::ACL_TARGET_OBJECT {
                for relation in grant.objects() {
                    // From PostgreSQL 18 on.
                    walk.found.lock(as_written(Some(relation)), Lock::AccessShare);
                    walk.table(Some(relation));
                }
            }
        }
        Node::ImportForeignSchemaStmt(import) => {
            for relation in import.table_list() {
                walk.table(Some(relation));
            }
        }
        _ => return false,
    }
    true
}

/// How many of an object's `parts` name a relation: all, or all but the object's own where it belongs to one. `None`:
/// it has nothing to do with relations.
pub(super) fn parts_of_relation(kind: ObjectType::Type, parts: usize) -> Option<usize> {
    match kind {
        ObjectType::OBJECT_TABLE
        | ObjectType::OBJECT_VIEW
        | ObjectType::OBJECT_MATVIEW
        | ObjectType::OBJECT_FOREIGN_TABLE
        | ObjectType::OBJECT_SEQUENCE
        | ObjectType::OBJECT_INDEX => Some(parts),
        // The last part is the column, trigger, rule, … itself.
        ObjectType::OBJECT_COLUMN
        | ObjectType::OBJECT_TRIGGER
        | ObjectType::OBJECT_RULE
        | ObjectType::OBJECT_POLICY
        | ObjectType::OBJECT_TABCONSTRAINT => Some(parts.saturating_sub(1)),
        _ => None,
    }
}

/// An object given by its kind and a list of names: a relation, or something that belongs to one.
fn named_object<'a>(walk: &mut Walk<'a>, kind: ObjectType::Type, object: Node<'a>) {
    let Node::NodeList(parts) = object else { return };
    let Some(count) = parts_of_relation(kind, parts.len()) else { return };
    if let Some(Qualified { schema, name }) = Qualified::of_parts(parts.iter().take(count)) {
        walk.found.tables.add_qualified(schema, name);
    }
}
