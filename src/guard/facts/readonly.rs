//! What is provably read-only, and why not: the precondition of a replica.
//!
//! A proof from the text alone. It cannot see what a view, a row security policy, a user's operator or
//! cast, or a function in attribute notation (`t.f`) calls; a replica refuses to write whatever it is.

use super::functions;
use super::kinds;
use super::names::{Names, Qualified};
use super::walk::{Context, Found};
use crate::guard::Kind;
use crate::guard::sql::parse::{ConstValue, Node, nodes};

/// What speaks against a statement.
#[derive(Default)]
pub(super) struct Against {
    /// What it writes when it runs.
    writes: Names,
    /// What might write, even when it is only planned.
    doubts: Names,
}

impl Found {
    /// An `INSERT`, `UPDATE`, `DELETE`, `MERGE` or `INTO`.
    pub(super) fn writes(&mut self, what: &str, context: Context) {
        self.writes = true;
        // A rule's or function's body does not run now.
        if !context.body {
            self.against.writes.add(what);
        }
    }

    pub(super) fn doubt(&mut self, what: &str) {
        self.unproven = true;
        self.against.doubts.add(what);
    }

    /// A query of a `WITH`.
    pub(super) fn with_query(&mut self, query: Node<'_>, context: Context) {
        let modifies = matches!(kinds::of(query), Kind::Insert | Kind::Update | Kind::Delete | Kind::Merge);
        if modifies && !context.body {
            self.against.writes.add("data-modifying with");
        }
    }

    /// A call of this function.
    pub(super) fn calls(&mut self, function: Qualified<'_>) {
        if functions::is_read_only(function) {
            return;
        }
        let builtin = function.is_builtin();
        let what = match function.name {
            "nextval" | "setval" | "currval" | "lastval" if builtin => "sequence",
            name if builtin && (name.starts_with("pg_advisory_") || name.starts_with("pg_try_advisory_")) => {
                "advisory lock"
            }
            _ => "function",
        };
        self.unproven = true;
        match function.schema {
            Some(schema) => self.against.doubts.add_joined(&[what, " ", schema, ".", function.name]),
            None => self.against.doubts.add_joined(&[what, " ", function.name]),
        };
    }
}

/// Writes down whether the statement is read-only, and whether it explains.
pub(super) fn tell(statement: Node<'_>, found: &mut Found) {
    let not_read_only = reasons(statement, found);
    let explain = match statement {
        Node::ExplainStmt(explain) => Some(analyzes(explain)),
        _ => None,
    };
    let facts = &mut found.facts;
    facts.read_only = not_read_only.is_empty();
    facts.not_read_only = not_read_only;
    facts.explain = explain.is_some();
    facts.analyze = explain == Some(true);
}

/// Why the statement is not provably read-only; nothing if it is.
fn reasons(statement: Node<'_>, found: &mut Found) -> Vec<String> {
    let Against { writes, doubts } = std::mem::take(&mut found.against);
    let mut reasons = Names::default();
    let whole = match statement {
        Node::VariableShowStmt(_) => return Vec::new(),
        Node::SelectStmt(_) => None,
        // Planning runs immutable and stable functions, so these must be known even without ANALYZE.
        Node::ExplainStmt(explain) if !analyzes(explain) => {
            return listed(found.for_update, Names::default(), doubts, reasons);
        }
        Node::ExplainStmt(explain) => {
            let query = matches!(explain.query(), Node::SelectStmt(_));
            let clean = query && !found.writes && !found.for_update && !found.unproven;
            (!clean).then_some("explain analyze")
        }
        Node::CopyStmt(copy) => Some(match (copy.is_from, copy.is_program, copy.filename()) {
            (true, ..) => "copy from",
            (false, true, _) => "copy to program",
            (false, false, Some(_)) => "copy to file",
            (false, false, None) => "copy to stdout",
        }),
        Node::DoStmt(_) => Some("do"),
        Node::CallStmt(_) => Some("call"),
        Node::ExecuteStmt(_) => Some("execute"),
        _ => match kinds::of(statement) {
            Kind::Insert | Kind::Update | Kind::Delete | Kind::Merge => None,
            Kind::Ddl => Some("ddl"),
            Kind::Transaction => Some("transaction"),
            Kind::Set => Some("set"),
            _ => Some("other"),
        },
    };
    if let Some(whole) = whole {
        reasons.add(whole);
    }
    listed(found.for_update, writes, doubts, reasons)
}

fn listed(for_update: bool, writes: Names, doubts: Names, mut reasons: Names) -> Vec<String> {
    reasons.append(writes);
    if for_update {
        reasons.add("row lock");
    }
    reasons.append(doubts);
    let mut reasons = reasons.into_vec();
    if reasons.len() > 1 {
        reasons.retain(|reason| reason != "other");
    }
    reasons
}

/// Whether an `EXPLAIN` executes: the last `ANALYZE` option decides, and one without value, or with one
/// that is not plainly false, says yes.
fn analyzes(explain: &nodes::ExplainStmt) -> bool {
    let mut runs = false;
    for option in explain.options() {
        if option.defname() == Some("analyze") {
            runs = says_yes(option.arg());
        }
    }
    runs
}

/// An option's value, or that it stands without one.
pub(super) fn says_yes(value: Node<'_>) -> bool {
    match value {
        Node::String(text) => !text.sval().is_some_and(is_false),
        Node::Integer(number) => number.ival != 0,
        Node::A_Const(value) => match value.val() {
            Some(ConstValue::Boolean(yes)) => yes,
            Some(ConstValue::Integer(number)) => number != 0,
            Some(ConstValue::String(text)) => !is_false(text),
            _ => true,
        },
        _ => true,
    }
}

/// As `defGetBoolean` reads it.
fn is_false(text: &str) -> bool {
    text.eq_ignore_ascii_case("false") || text.eq_ignore_ascii_case("off")
}

/// A `FunctionCall` message names a function by its number: nothing is known of it.
impl super::Facts {
    #[must_use]
    pub fn function_call(bytes: usize) -> Self {
        Self { not_read_only: vec!["function call".to_owned()], ..Self::unparsed(bytes) }
    }
}
