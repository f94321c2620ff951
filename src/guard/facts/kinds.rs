//! A statement's kind.

use crate::guard::Kind;
use crate::guard::sql::parse::{Node, TransactionStmtKind as Command};

/// The kind of a statement. Whatever is no query, no transaction control and no treatment of data or
/// session defines something: it is `ddl`.
pub(super) fn of(statement: Node<'_>) -> Kind {
    match statement {
        // `SELECT … INTO` is a select that writes; `CREATE TABLE AS` is a definition.
        Node::SelectStmt(_) => Kind::Select,
        Node::InsertStmt(_) => Kind::Insert,
        Node::UpdateStmt(_) => Kind::Update,
        Node::DeleteStmt(_) => Kind::Delete,
        Node::MergeStmt(_) => Kind::Merge,
        Node::CopyStmt(_) => Kind::Copy,
        Node::TransactionStmt(_) => Kind::Transaction,
        Node::VariableSetStmt(_) | Node::ConstraintsSetStmt(_) => Kind::Set,
        Node::VariableShowStmt(_) => Kind::Show,
        Node::ExplainStmt(_)
        | Node::PrepareStmt(_)
        | Node::ExecuteStmt(_)
        | Node::DeallocateStmt(_)
        | Node::DeclareCursorStmt(_)
        | Node::FetchStmt(_)
        | Node::ClosePortalStmt(_)
        | Node::DiscardStmt(_)
        | Node::ListenStmt(_)
        | Node::UnlistenStmt(_)
        | Node::NotifyStmt(_)
        | Node::LoadStmt(_)
        | Node::DoStmt(_)
        | Node::CallStmt(_)
        | Node::LockStmt(_)
        | Node::VacuumStmt(_)
        | Node::ClusterStmt(_)
        | Node::ReindexStmt(_)
        | Node::RefreshMatViewStmt(_)
        | Node::CheckPointStmt(_) => Kind::Utility,
        _ => Kind::Ddl,
    }
}

/// The words of transaction control; empty for anything else.
pub(super) fn transaction(statement: Node<'_>) -> &'static str {
    let Node::TransactionStmt(command) = statement else { return "" };
    match command.kind {
        Command::TRANS_STMT_BEGIN | Command::TRANS_STMT_START => "begin",
        Command::TRANS_STMT_COMMIT => "commit",
        Command::TRANS_STMT_ROLLBACK => "rollback",
        Command::TRANS_STMT_SAVEPOINT => "savepoint",
        Command::TRANS_STMT_RELEASE => "release savepoint",
        Command::TRANS_STMT_ROLLBACK_TO => "rollback to savepoint",
        Command::TRANS_STMT_PREPARE => "prepare transaction",
        Command::TRANS_STMT_COMMIT_PREPARED => "commit prepared",
        Command::TRANS_STMT_ROLLBACK_PREPARED => "rollback prepared",
        _ => "",
    }
}
