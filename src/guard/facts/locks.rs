//! The locks on tables that a statement takes, as PostgreSQL's manual lists them ("Explicit Locking", and each
//! command's page), as far as a text tells.

use super::ddl::last_of;
use super::relations::parts_of_relation;
use super::walk::Found;
use crate::guard::sql::parse::{AlterTableType, ConstrType, Node, ObjectType, nodes};

/// PostgreSQL's table-level lock modes, weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
pub enum Lock {
    #[serde(rename = "access share")]
    AccessShare = 1,
    #[serde(rename = "row share")]
    RowShare,
    #[serde(rename = "row exclusive")]
    RowExclusive,
    #[serde(rename = "share update exclusive")]
    ShareUpdateExclusive,
    #[serde(rename = "share")]
    Share,
    #[serde(rename = "share row exclusive")]
    ShareRowExclusive,
    #[serde(rename = "exclusive")]
    Exclusive,
    #[serde(rename = "access exclusive")]
    AccessExclusive,
}

impl Lock {
    /// In PostgreSQL's order and numbering (lockdefs.h).
    pub const ALL: [Self; 8] = [
        Self::AccessShare,
        Self::RowShare,
        Self::RowExclusive,
        Self::ShareUpdateExclusive,
        Self::Share,
        Self::ShareRowExclusive,
        Self::Exclusive,
        Self::AccessExclusive,
    ];

    /// As the manual calls it, in lower case.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::AccessShare => "access share",
            Self::RowShare => "row share",
            Self::RowExclusive => "row exclusive",
            Self::ShareUpdateExclusive => "share update exclusive",
            Self::Share => "share",
            Self::ShareRowExclusive => "share row exclusive",
            Self::Exclusive => "exclusive",
            Self::AccessExclusive => "access exclusive",
        }
    }

    /// Nobody can write to the table meanwhile.
    #[must_use]
    pub fn stops_writes(self) -> bool {
        self >= Self::Share
    }

    /// Nobody can even read it.
    #[must_use]
    pub fn stops_reads(self) -> bool {
        self == Self::AccessExclusive
    }

    /// Of the number that the grammar gives in `LOCK TABLE`.
    pub(super) fn of_mode(mode: i32) -> Self {
        let at = usize::try_from(mode).ok().and_then(|mode| mode.checked_sub(1));
        at.and_then(|at| Self::ALL.get(at)).copied().unwrap_or(Self::AccessExclusive)
    }
}

/// A lock on one table.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct TableLock {
    /// As written; empty for tables that the text does not name.
    pub table: String,
    pub lock: Lock,
}

/// Sets the strongest lock: of the queries in it, and of its definitions.
pub(super) fn finish(found: &mut Found) {
    if let Some(lock) = found.query_lock
        && !found.facts.table_locks.is_empty()
    {
        found.facts.table_locks.push(TableLock { table: String::new(), lock });
    }
    let strongest = found.facts.table_locks.iter().map(|lock| lock.lock).max().max(found.query_lock);
    found.facts.lock = strongest.map_or("", Lock::name).to_owned();
}

/// Of one subcommand of `ALTER TABLE`, on the table itself. What is not listed takes the strongest.
pub(super) fn of_subcommand(command: &nodes::AlterTableCmd) -> Lock {
    match command.subtype {
        AlterTableType::AT_SetStatistics
        | AlterTableType::AT_ClusterOn
        | AlterTableType::AT_DropCluster
        | AlterTableType::AT_SetOptions
        | AlterTableType::AT_ResetOptions
        | AlterTableType::AT_ValidateConstraint
        | AlterTableType::AT_AttachPartition
        | AlterTableType::AT_DetachPartitionFinalize => Lock::ShareUpdateExclusive,
        AlterTableType::AT_DetachPartition => match command.def() {
            Node::PartitionCmd(partition) if partition.concurrent => Lock::ShareUpdateExclusive,
            _ => Lock::AccessExclusive,
        },
        AlterTableType::AT_EnableTrig
        | AlterTableType::AT_EnableAlwaysTrig
        | AlterTableType::AT_EnableReplicaTrig
        | AlterTableType::AT_EnableTrigAll
        | AlterTableType::AT_EnableTrigUser
        | AlterTableType::AT_DisableTrig
        | AlterTableType::AT_DisableTrigAll
        | AlterTableType::AT_DisableTrigUser => Lock::ShareRowExclusive,
        AlterTableType::AT_AddConstraint => match command.def() {
            Node::Constraint(constraint) if constraint.contype == ConstrType::CONSTR_FOREIGN => {
                Lock::ShareRowExclusive
            }
            _ => Lock::AccessExclusive,
        },
        AlterTableType::AT_SetRelOptions | AlterTableType::AT_ResetRelOptions => of_options(command.def()),
        _ => Lock::AccessExclusive,
    }
}

/// `COMMENT`, `SECURITY LABEL`, `ALTER EXTENSION … ADD`: on the relation itself, or the one its object belongs to.
pub(super) fn of_comment(kind: ObjectType::Type, object: Node<'_>, found: &mut Found) {
    let Node::NodeList(parts) = object else { return };
    let Some(of_relation) = parts_of_relation(kind, parts.len()) else { return };
    found.lock(last_of(parts.iter().take(of_relation)), Lock::ShareUpdateExclusive);
}

/// Storage parameters that only autovacuum and the planner read change under a weak lock.
fn of_options(options: Node<'_>) -> Lock {
    let Node::NodeList(options) = options else { return Lock::AccessExclusive };
    let weak = |option: Node<'_>| match option {
        Node::DefElem(option) => option.defname().is_some_and(|name| {
            name.starts_with("autovacuum_")
                || matches!(
                    name,
                    "fillfactor"
                        | "parallel_workers"
                        | "toast_tuple_target"
                        | "log_autovacuum_min_duration"
                        | "vacuum_index_cleanup"
                        | "vacuum_truncate"
                        | "deduplicate_items"
                )
        }),
        _ => false,
    };
    if options.iter().all(weak) { Lock::ShareUpdateExclusive } else { Lock::AccessExclusive }
}
