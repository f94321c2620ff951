//! PostgreSQL's own grammar: the only file that knows the crate it comes from.
//!
//! What the grammar must not see is refused before: NUL, other bytes than UTF-8, texts too large, and
//! what would cost it quadratic time or a deep stack (`lexer`, `depth`).

use std::borrow::Cow;
use std::ops::{ControlFlow, Range};
use std::panic::{AssertUnwindSafe, catch_unwind};

use pg_raw_parse::walk::{Recurse, walk_manual};
use pg_raw_parse::{Owned, StmtList};

use super::lexer::{Kind, Lexer, Token, gaps, may_hold_comment};
use super::{Refusal, depth};

pub(in crate::guard) use pg_raw_parse::list::NodeList;
pub(in crate::guard) use pg_raw_parse::raw::{
    A_Expr_Kind, AlterTableType, BoolExprType, BoolTestType, CmdType, CoercionForm, ConstrType, DiscardMode,
    DropBehavior, GrantTargetType, JoinType, JsonExprOp, LockWaitPolicy, NullTestType, ObjectType,
    ReindexObjectType, SetOperation, SubLinkType, TransactionStmtKind, VariableSetKind,
};
pub(in crate::guard) use pg_raw_parse::{ConstValue, Node, nodes};

/// `CURSOR_OPT_HOLD` of PostgreSQL's parsenodes.h.
pub(in crate::guard) const CURSOR_OPT_HOLD: i32 = 0x0020;

/// Longest syntax error kept, in characters: it quotes the client's text.
const MAX_MESSAGE: usize = 200;

/// A parsed text.
pub(in crate::guard) struct Tree(Owned<StmtList>);

impl Tree {
    /// The statements in order; none in an empty text.
    pub(in crate::guard) fn statements(&self) -> impl Iterator<Item = Node<'_>> {
        self.0.stmts()
    }
}

/// Parses a text of at most `max_bytes` bytes.
pub(in crate::guard) fn parse(
    text: &[u8],
    standard_conforming_strings: bool,
    max_bytes: usize,
) -> Result<Tree, Refusal> {
    if text.len() > max_bytes {
        return Err(Refusal::TooLarge { bytes: text.len(), max: max_bytes });
    }
    if let Some(at) = memchr::memchr(0, text) {
        return Err(Refusal::NulByte { at });
    }
    let utf8 = as_utf8(text);
    depth::check(text, standard_conforming_strings)?;
    let sql = for_grammar(&utf8, standard_conforming_strings)?;
    // A belt: nothing is known to panic here, and one statement must not end the connection if it does.
    match catch_unwind(AssertUnwindSafe(|| pg_raw_parse::parse(&sql))) {
        Ok(Ok(tree)) => Ok(Tree(tree.into_inner())),
        Ok(Err(pg_raw_parse::Error::Parse(error))) => {
            Err(Refusal::Syntax(error.to_string().chars().take(MAX_MESSAGE).collect()))
        }
        Ok(Err(_)) | Err(_) => Err(Refusal::ParserFailed),
    }
}

/// The statements of a text as PostgreSQL's printer writes them.
pub(super) fn canonical(text: &str) -> Option<String> {
    let tree = parse(text.as_bytes(), true, text.len()).ok()?;
    let printed = catch_unwind(AssertUnwindSafe(|| pg_raw_parse::deparse_stmts(tree.statements())));
    printed.ok()?.ok()
}

/// The text for a grammar that wants UTF-8. What is not UTF-8 is read byte by byte as LATIN1: in every encoding
/// in which bytes below 0x80 are ASCII the structure is the same, only names with letters outside of ASCII are
/// right in LATIN1 alone. (A server that expects UTF-8 refuses such a text, so nothing of it runs.)
fn as_utf8(text: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(text) {
        Ok(utf8) => Cow::Borrowed(utf8),
        Err(_) => Cow::Owned(text.iter().map(|&byte| char::from(byte)).collect()),
    }
}

/// The same statements in words that this build of the grammar reads as a server would:
///
/// - a comment is written as a blank, or as a newline where it stands between the parts of a string:
///   where the server looks ahead (`NOT /* … */ LIKE`, `'a' -- …⏎ 'b'`), this grammar sees the comment and
///   refuses;
/// - where `standard_conforming_strings` is off, a string with a backslash is written with its `E`: this
///   grammar has the setting on.
fn for_grammar(text: &str, standard_conforming_strings: bool) -> Result<Cow<'_, str>, Refusal> {
    let bytes = text.as_bytes();
    let comments = may_hold_comment(bytes);
    let escapes = !standard_conforming_strings && bytes.iter().any(|byte| matches!(byte, b'\\' | b'&'));
    if !comments && !escapes {
        return Ok(Cow::Borrowed(text));
    }
    let mut rewrite = Rewrite { text, out: String::with_capacity(text.len() + 16), copied: 0 };
    let mut lexer = Lexer::new(bytes, standard_conforming_strings);
    let mut before = 0;
    while let Some(Token { kind, start, end }) = lexer.next()? {
        let token = bytes.get(start..end).unwrap_or_default();
        if has_comment(bytes.get(before..start)) {
            // Never a newline, which could join two strings.
            rewrite.replace(before..start, " ");
        }
        before = end;
        if !standard_conforming_strings && needs_escape(kind, token, start)? {
            // The blank keeps the E apart from a word that touches the quote.
            rewrite.replace(start..start, " E");
        }
        let escapes = match kind {
            Kind::Str { escapes } => escapes,
            Kind::UnicodeStr | Kind::National | Kind::Bits | Kind::Hex => false,
            _ => continue,
        };
        for gap in gaps(token, escapes) {
            if has_comment(token.get(gap.clone())) {
                rewrite.replace(start + gap.start..start + gap.end, "\n");
            }
        }
    }
    rewrite.replace(before..before, "");
    Ok(Cow::Owned(rewrite.out))
}

/// A text copied with some of its parts replaced, in order.
struct Rewrite<'a> {
    text: &'a str,
    out: String,
    copied: usize,
}

impl Rewrite<'_> {
    fn replace(&mut self, range: Range<usize>, with: &str) {
        self.out.push_str(self.text.get(self.copied..range.start).unwrap_or_default());
        self.out.push_str(with);
        self.copied = range.end;
    }
}

/// Whether what stands between two tokens is more than white space.
fn has_comment(gap: Option<&[u8]>) -> bool {
    gap.is_some_and(|gap| gap.iter().any(|byte| matches!(byte, b'-' | b'/')))
}

/// Whether a string means something else to a grammar with `standard_conforming_strings` on.
fn needs_escape(kind: Kind, token: &[u8], at: usize) -> Result<bool, Refusal> {
    let backslash = token.contains(&b'\\');
    match kind {
        Kind::UnicodeStr | Kind::UnicodeQuoted => {
            Err(Refusal::BadToken { what: "U& while standard_conforming_strings is off", at })
        }
        Kind::National if backslash => Err(Refusal::BadToken { what: "N'…' with a backslash escape", at }),
        Kind::Str { .. } => Ok(backslash && token.first() == Some(&b'\'')),
        _ => Ok(false),
    }
}

/// Calls `visit` with every node directly under `node`; false where the grammar's own walker does not
/// know the node (every utility statement and its parts), and nothing was visited.
pub(in crate::guard) fn children<'a>(node: Node<'a>, mut visit: impl FnMut(Node<'a>)) -> bool {
    match node {
        // The walker reads through the pointer, which is null for an empty list.
        Node::None => return true,
        Node::NodeList(list) => {
            list.iter().for_each(visit);
            return true;
        }
        _ if !is_query_node(node) => return false,
        _ => {}
    }
    walk_manual::<()>(node, |child| {
        visit(child);
        ControlFlow::Continue(Recurse::No)
    });
    true
}

/// A list whose elements may be other nodes than the crate's type says: it panics on those.
pub(in crate::guard) fn untyped<T>(list: &pg_raw_parse::list::CastNodeList<T>) -> Node<'_> {
    // SAFETY: CastNodeList is a transparent wrapper around NodeList (its only other field has no size), and lives as
    // long as the tree it borrows from.
    #[allow(unsafe_code)] // the crate's safe interface has no way back
    Node::NodeList(unsafe { &*std::ptr::from_ref(list).cast::<NodeList>() })
}

/// What `raw_expression_tree_walker` of PostgreSQL 18 accepts: it raises an error for any other node,
/// which the crate turns into a panic.
#[rustfmt::skip]
fn is_query_node(node: Node<'_>) -> bool {
    use Node::*;
    matches!(
        node,
        JsonFormat(_) | SetToDefault(_) | CurrentOfExpr(_) | SQLValueFunction(_) | Integer(_) | Float(_)
            | Boolean(_) | String(_) | BitString(_) | ParamRef(_) | A_Const(_) | A_Star(_)
            | MergeSupportFunc(_) | ReturningOption(_) | Alias(_) | RangeVar(_) | GroupingFunc(_)
            | SubLink(_) | CaseExpr(_) | RowExpr(_) | CoalesceExpr(_) | MinMaxExpr(_) | XmlExpr(_)
            | JsonReturning(_) | JsonValueExpr(_) | JsonParseExpr(_) | JsonScalarExpr(_)
            | JsonSerializeExpr(_) | JsonConstructorExpr(_) | JsonIsPredicate(_) | JsonArgument(_)
            | JsonFuncExpr(_) | JsonBehavior(_) | JsonTable(_) | JsonTableColumn(_)
            | JsonTablePathSpec(_) | NullTest(_) | BooleanTest(_) | JoinExpr(_) | IntoClause(_)
            | InsertStmt(_) | DeleteStmt(_) | UpdateStmt(_) | MergeStmt(_) | MergeWhenClause(_)
            | ReturningClause(_) | SelectStmt(_) | PLAssignStmt(_) | A_Expr(_) | BoolExpr(_)
            | ColumnRef(_) | FuncCall(_) | NamedArgExpr(_) | A_Indices(_) | A_Indirection(_)
            | A_ArrayExpr(_) | ResTarget(_) | MultiAssignRef(_) | TypeCast(_) | CollateClause(_)
            | SortBy(_) | WindowDef(_) | RangeSubselect(_) | RangeFunction(_) | RangeTableSample(_)
            | RangeTableFunc(_) | RangeTableFuncCol(_) | TypeName(_) | ColumnDef(_) | IndexElem(_)
            | GroupingSet(_) | LockingClause(_) | XmlSerialize(_) | WithClause(_) | InferClause(_)
            | OnConflictClause(_) | CommonTableExpr(_) | JsonOutput(_) | JsonKeyValue(_)
            | JsonObjectConstructor(_) | JsonArrayConstructor(_) | JsonAggConstructor(_)
            | JsonObjectAgg(_) | JsonArrayAgg(_) | JsonArrayQueryConstructor(_)
    )
}

/// The relation of a `CREATE FOREIGN TABLE`, which the crate gives no type.
pub(in crate::guard) fn as_foreign_table<'a>(node: Node<'a>) -> Option<&'a nodes::CreateStmt> {
    match node {
        Node::Invalid(raw) if raw.type_ == pg_raw_parse::raw::NodeTag::T_CreateForeignTableStmt => {
            // SAFETY: the tag says that this is PostgreSQL's CreateForeignTableStmt, whose first field is
            // a whole CreateStmt; both live in the tree's memory, as long as 'a.
            #[allow(unsafe_code)] // the crate's safe interface has no way to this node
            Some(unsafe { &*std::ptr::from_ref(raw).cast::<nodes::CreateStmt>() })
        }
        _ => None,
    }
}
