//! A statement's kind.

use crate::guard::Kind;
use crate::guard::sql::parse::Node;

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
