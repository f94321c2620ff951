//! `ALTER TABLE`, subcommand by subcommand, after PostgreSQL 11 and later.

use super::change::{Change, ColumnDefault};
use super::ddl::{last_of, references};
use super::functions;
use super::locks::{self, Lock};
use super::names::Qualified;
use super::types;
use super::walk::Found;
use super::writes::as_written;
use crate::guard::sql::parse::{self, AlterTableType, ConstrType, DropBehavior, Node, ObjectType, nodes};

/// `GENERATED ALWAYS AS (…) VIRTUAL`: computed when read, so nothing is stored.
const VIRTUAL: u8 = b'v';

pub(super) fn table(alter: &nodes::AlterTableStmt, found: &mut Found) {
    let object = as_written(alter.relation());
    let stores = matches!(alter.objtype, ObjectType::OBJECT_TABLE | ObjectType::OBJECT_MATVIEW);
    if matches!(
        alter.objtype,
        ObjectType::OBJECT_TABLE
            | ObjectType::OBJECT_MATVIEW
            | ObjectType::OBJECT_VIEW
            | ObjectType::OBJECT_FOREIGN_TABLE
    ) {
        found.written.named(&object);
    }
    let mut strongest = Lock::AccessShare;
    for command in alter.cmds() {
        let Node::AlterTableCmd(command) = command else { continue };
        strongest = strongest.max(locks::of_subcommand(command));
        let change = subcommand(&object, command, found);
        found.change(Change {
            if_exists: change.if_exists || command.missing_ok,
            cascade: command.behavior == DropBehavior::DROP_CASCADE,
            rewrites: change.rewrites && stores,
            ..change
        });
    }
    found.lock(object, strongest);
}

fn subcommand(object: &str, command: &nodes::AlterTableCmd, found: &mut Found) -> Change {
    match (command.subtype, command.def()) {
        (AlterTableType::AT_AddColumn, Node::ColumnDef(definition)) => {
            column("add column", object, definition, found)
        }
        (AlterTableType::AT_AlterColumnType, Node::ColumnDef(definition)) => Change {
            name: command.name().map(str::to_owned),
            type_name: definition.type_name().map(types::render),
            using: !matches!(definition.raw_default(), Node::None),
            // What it was is not known from the text.
            rewrites: true,
            scans: true,
            ..Change::new("alter column type", object.to_owned())
        },
        (AlterTableType::AT_AddConstraint, Node::Constraint(constraint)) => {
            references(constraint, found);
            add_constraint(object, constraint)
        }
        (
            AlterTableType::AT_AttachPartition | AlterTableType::AT_DetachPartition,
            Node::PartitionCmd(partition),
        )
        | (AlterTableType::AT_DetachPartitionFinalize, Node::PartitionCmd(partition)) => {
            // The partition itself, while its owner may go on.
            found.lock(as_written(partition.name()), Lock::AccessExclusive);
            found.written.table(partition.name());
            let attach = command.subtype == AlterTableType::AT_AttachPartition;
            let what = if attach { "attach partition" } else { "detach partition" };
            Change {
                other: Some(as_written(partition.name())),
                concurrently: partition.concurrent
                    || command.subtype == AlterTableType::AT_DetachPartitionFinalize,
                scans: attach,
                ..Change::new(what, object.to_owned())
            }
        }
        (AlterTableType::AT_AddInherit | AlterTableType::AT_DropInherit, Node::RangeVar(parent)) => {
            let adds = command.subtype == AlterTableType::AT_AddInherit;
            let lock = if adds { Lock::ShareUpdateExclusive } else { Lock::AccessShare };
            found.lock(as_written(Some(parent)), lock);
            let what = if adds { "inherit" } else { "no inherit" };
            Change { other: Some(as_written(Some(parent))), ..Change::new(what, object.to_owned()) }
        }
        (subtype, def) => {
            let (what, rewrites, scans) = plain(subtype, def);
            let name = command.name().map(str::to_owned);
            Change { name, rewrites, scans, ..Change::new(what, object.to_owned()) }
        }
    }
}

/// Word, whether it rewrites the table, whether it reads all of it.
fn plain(subtype: AlterTableType::Type, def: Node<'_>) -> (&'static str, bool, bool) {
    use AlterTableType as T;
    match subtype {
        T::AT_ColumnDefault if matches!(def, Node::None) => ("drop default", false, false),
        T::AT_ColumnDefault => ("set default", false, false),
        T::AT_DropNotNull => ("drop not null", false, false),
        T::AT_SetNotNull => ("set not null", false, true),
        T::AT_SetExpression => ("set expression", true, true),
        T::AT_DropExpression => ("drop expression", false, false),
        T::AT_SetStatistics => ("set statistics", false, false),
        T::AT_DropColumn => ("drop column", false, false),
        T::AT_ValidateConstraint => ("validate constraint", false, true),
        // `ENFORCED` checks what is there.
        T::AT_AlterConstraint => ("alter constraint", false, true),
        T::AT_DropConstraint => ("drop constraint", false, false),
        T::AT_ChangeOwner => ("change owner", false, false),
        T::AT_SetLogged => ("set logged", true, true),
        T::AT_SetUnLogged => ("set unlogged", true, true),
        T::AT_SetAccessMethod => ("set access method", true, true),
        T::AT_SetTableSpace => ("set tablespace", true, true),
        T::AT_EnableTrig
        | T::AT_EnableAlwaysTrig
        | T::AT_EnableReplicaTrig
        | T::AT_EnableTrigAll
        | T::AT_EnableTrigUser => ("enable trigger", false, false),
        T::AT_DisableTrig | T::AT_DisableTrigAll | T::AT_DisableTrigUser => ("disable trigger", false, false),
        T::AT_EnableRule | T::AT_EnableAlwaysRule | T::AT_EnableReplicaRule => ("enable rule", false, false),
        T::AT_DisableRule => ("disable rule", false, false),
        T::AT_EnableRowSecurity | T::AT_ForceRowSecurity => ("enable row security", false, false),
        T::AT_DisableRowSecurity | T::AT_NoForceRowSecurity => ("disable row security", false, false),
        T::AT_AddIdentity => ("add identity", false, false),
        T::AT_DropIdentity => ("drop identity", false, false),
        T::AT_SetRelOptions
        | T::AT_ResetRelOptions
        | T::AT_SetOptions
        | T::AT_ResetOptions
        | T::AT_GenericOptions
        | T::AT_AlterColumnGenericOptions => ("set options", false, false),
        _ => ("alter", false, false),
    }
}

/// `ADD CONSTRAINT`.
fn add_constraint(object: &str, constraint: &nodes::Constraint) -> Change {
    let using_index = constraint.indexname().is_some();
    let checks = !constraint.skip_validation && constraint.is_enforced;
    let (what, scans) = match constraint.contype {
        ConstrType::CONSTR_CHECK => ("add check", checks),
        ConstrType::CONSTR_FOREIGN => ("add foreign key", checks),
        ConstrType::CONSTR_NOTNULL => ("add not null", !constraint.skip_validation),
        // With an index that is there, the columns may still have to be looked through for NULLs.
        ConstrType::CONSTR_PRIMARY => ("add primary key", true),
        ConstrType::CONSTR_UNIQUE => ("add unique", !using_index),
        ConstrType::CONSTR_EXCLUSION => ("add exclusion", true),
        _ => ("alter", false),
    };
    Change {
        name: constraint.conname().map(str::to_owned),
        other: constraint.pktable().map(|table| as_written(Some(table))),
        not_valid: constraint.skip_validation || !constraint.is_enforced,
        unique: matches!(constraint.contype, ConstrType::CONSTR_UNIQUE | ConstrType::CONSTR_PRIMARY),
        primary: constraint.contype == ConstrType::CONSTR_PRIMARY,
        using_index,
        scans,
        ..Change::new(what, object.to_owned())
    }
}

/// A column's definition, in `ADD COLUMN` or `CREATE TABLE`.
pub(super) fn column(
    what: &'static str,
    object: &str,
    column: &nodes::ColumnDef,
    found: &mut Found,
) -> Change {
    let type_name = column.type_name().map(types::render);
    let mut change = Change {
        name: column.colname().map(str::to_owned),
        default: default_of(column.raw_default()),
        not_null: column.is_not_null,
        ..Change::new(what, object.to_owned())
    };
    let mut checks = false;
    let mut virtual_column = false;
    for constraint in column.constraints() {
        let Node::Constraint(constraint) = constraint else { continue };
        match constraint.contype {
            ConstrType::CONSTR_NOTNULL => change.not_null = true,
            ConstrType::CONSTR_DEFAULT => change.default = default_of(constraint.raw_expr()),
            ConstrType::CONSTR_IDENTITY => change.default = ColumnDefault::Generated,
            ConstrType::CONSTR_GENERATED if constraint.generated_kind as u8 == VIRTUAL => {
                virtual_column = true
            }
            ConstrType::CONSTR_GENERATED => change.default = ColumnDefault::Generated,
            ConstrType::CONSTR_CHECK => checks |= constraint.is_enforced,
            ConstrType::CONSTR_PRIMARY => (change.unique, change.primary) = (true, true),
            ConstrType::CONSTR_UNIQUE => change.unique = true,
            ConstrType::CONSTR_FOREIGN => {
                references(constraint, found);
                change.other = Some(as_written(constraint.pktable()));
            }
            _ => {}
        }
    }
    let name = type_name.as_deref().unwrap_or_default();
    if types::is_serial(name) {
        change.default = ColumnDefault::Generated;
        change.not_null = true;
    }
    let has_default = change.default != ColumnDefault::None;
    // A domain with a check makes every row be looked at and written.
    change.rewrites = matches!(change.default, ColumnDefault::Volatile | ColumnDefault::Generated)
        || !(virtual_column || types::is_base(name));
    change.scans = change.rewrites
        || checks
        || change.unique
        || (change.other.is_some() && has_default)
        || (change.not_null && !has_default);
    change.type_name = type_name;
    change
}

/// What an expression gives for the rows that are there: one value, or another for each.
fn default_of(expression: Node<'_>) -> ColumnDefault {
    if matches!(expression, Node::None) {
        return ColumnDefault::None;
    }
    let mut work = vec![expression];
    while let Some(node) = work.pop() {
        match node {
            Node::String(_) | Node::A_Const(_) => continue,
            Node::FuncCall(call) => {
                let known = Qualified::of_list(call.funcname()).is_some_and(functions::is_stable);
                if !known {
                    return ColumnDefault::Volatile;
                }
            }
            Node::A_Expr(expression) if expression.name().len() > 1 => return ColumnDefault::Volatile,
            Node::SubLink(_) => return ColumnDefault::Volatile,
            _ => {}
        }
        if !parse::children(node, |child| work.push(child)) {
            return ColumnDefault::Volatile;
        }
    }
    if is_null(expression) { ColumnDefault::None } else { ColumnDefault::Constant }
}

/// `DEFAULT NULL` is none.
fn is_null(mut node: Node<'_>) -> bool {
    while let Node::TypeCast(cast) = node {
        node = cast.arg();
    }
    matches!(node, Node::A_Const(value) if value.isnull)
}

/// `CREATE DOMAIN`.
pub(super) fn new_domain(create: &nodes::CreateDomainStmt) -> Change {
    let bounds = [ConstrType::CONSTR_CHECK, ConstrType::CONSTR_NOTNULL];
    Change {
        bound: create.constraints().iter().any(|constraint| bounds.contains(&constraint.contype)),
        domain: true,
        ..Change::new("create domain", last_of(create.domainname().iter().map(Node::String)))
    }
}

/// `ALTER DOMAIN`: a constraint makes all tables with such a column be read.
pub(super) fn domain(alter: &nodes::AlterDomainStmt, found: &mut Found) {
    let object = last_of(alter.type_name().iter());
    let (what, scans) = match alter.subtype as u8 {
        b'T' => ("set default", false),
        b'N' => ("drop not null", false),
        b'O' => ("set not null", true),
        b'C' => match alter.def() {
            Node::Constraint(constraint) => ("add check", !constraint.skip_validation),
            _ => ("add check", true),
        },
        b'X' => ("drop constraint", false),
        b'V' => ("validate constraint", true),
        _ => ("alter", false),
    };
    if scans {
        found.lock(String::new(), Lock::Share);
    }
    let not_valid = matches!(alter.def(), Node::Constraint(constraint) if constraint.skip_validation);
    let name = alter.name().map(str::to_owned);
    found.change(Change { scans, not_valid, name, domain: true, ..Change::new(what, object) });
}

/// `ALTER … RENAME`.
pub(super) fn rename(rename: &nodes::RenameStmt, found: &mut Found) {
    let relation = as_written(rename.relation());
    let object = match rename.object() {
        Node::NodeList(parts) => last_of(parts.iter()),
        Node::TypeName(name) => types::render(name),
        other => other.as_str().or(rename.subname()).unwrap_or_default().to_owned(),
    };
    let new = rename.newname().map(str::to_owned);
    let old = rename.subname().map(str::to_owned);
    let (what, lock) = match rename.rename_type {
        ObjectType::OBJECT_TABLE | ObjectType::OBJECT_FOREIGN_TABLE => {
            ("rename table", Lock::AccessExclusive)
        }
        ObjectType::OBJECT_VIEW => ("rename view", Lock::AccessExclusive),
        ObjectType::OBJECT_MATVIEW => ("rename materialized view", Lock::AccessExclusive),
        // A table's, too, if `ALTER INDEX` is used to rename one: then the lock is the strongest.
        ObjectType::OBJECT_INDEX => ("rename index", Lock::ShareUpdateExclusive),
        ObjectType::OBJECT_SEQUENCE => ("rename sequence", Lock::AccessExclusive),
        ObjectType::OBJECT_COLUMN | ObjectType::OBJECT_ATTRIBUTE => ("rename column", Lock::AccessExclusive),
        ObjectType::OBJECT_TABCONSTRAINT => ("rename constraint", Lock::AccessExclusive),
        ObjectType::OBJECT_TYPE | ObjectType::OBJECT_DOMAIN => ("rename type", Lock::AccessExclusive),
        ObjectType::OBJECT_SCHEMA => ("rename schema", Lock::AccessExclusive),
        ObjectType::OBJECT_DATABASE => ("rename database", Lock::AccessExclusive),
        ObjectType::OBJECT_ROLE => ("rename role", Lock::AccessExclusive),
        _ => ("rename", Lock::AccessExclusive),
    };
    let if_exists = rename.missing_ok;
    if relation.is_empty() {
        found.change(Change { name: new, if_exists, ..Change::new(what, object) });
        return;
    }
    if !matches!(rename.rename_type, ObjectType::OBJECT_INDEX | ObjectType::OBJECT_SEQUENCE) {
        found.written.named(&relation);
    }
    found.lock(relation.clone(), lock);
    // Of a column, the old name; of a relation, the new one.
    let name = old.or(new);
    found.change(Change { name, if_exists, ..Change::new(what, relation) });
}
