//! The types of a condition. CEL itself finds most mistakes only when it runs; a policy must not wait for that.

use std::collections::BTreeSet;

use cel::Program;
use cel::common::ast::{CallExpr, ComprehensionExpr, Expr, IdedExpr, LiteralValue, SelectExpr};

use super::condition::{Fault, KINDS, ROOTS};
use crate::document::closest;
use crate::guard::{LIVE_ROOTS, fact};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    Bool,
    Int,
    Float,
    Text,
    Texts,
    Ints,
    /// A list of something else, or of nothing.
    List,
    /// Not known before it runs.
    Any,
}

impl Type {
    pub(super) fn of(ty: fact::Type) -> Self {
        match ty {
            fact::Type::Bool => Self::Bool,
            fact::Type::Int => Self::Int,
            fact::Type::Float => Self::Float,
            fact::Type::Text => Self::Text,
            fact::Type::Texts => Self::Texts,
        }
    }
    fn name(self) -> &'static str {
        match self {
            Self::Bool => "true or false",
            Self::Int | Self::Float => "a number",
            Self::Text => "a text",
            Self::Texts | Self::Ints | Self::List => "a list",
            Self::Any => "something unknown",
        }
    }
    fn is_list(self) -> bool {
        matches!(self, Self::Texts | Self::Ints | Self::List)
    }
    fn item(self) -> Self {
        match self {
            Self::Texts => Self::Text,
            Self::Ints => Self::Int,
            _ => Self::Any,
        }
    }
    fn is_number(self) -> bool {
        matches!(self, Self::Int | Self::Float | Self::Any)
    }
    /// Whole numbers compare with others, as in CEL.
    fn compares(self, other: Self) -> bool {
        self.fits(other) || (self.is_number() && other.is_number())
    }
    fn fits(self, other: Self) -> bool {
        self == other
            || self == Self::Any
            || other == Self::Any
            || (self.is_list() && other.is_list() && (self == Self::List || other == Self::List))
    }
}

/// The fields that conditions read, as `query.kind`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Reads {
    fields: BTreeSet<(&'static str, &'static str)>,
    /// It asks `has(…)`: what is not known is an answer to it, not an absence of one.
    pub(super) tests: bool,
}

impl Reads {
    pub(super) fn has(&self, root: &str, field: &str) -> bool {
        self.fields.iter().any(|(of, name)| *of == root && *name == field)
    }
    pub(super) fn any(&self, is: impl Fn(&str, &str) -> bool) -> bool {
        self.fields.iter().any(|(root, field)| is(root, field))
    }
    pub(super) fn insert(&mut self, root: &'static str, field: &'static str) {
        self.fields.insert((root, field));
    }
    pub(super) fn has_root(&self, root: &str) -> bool {
        self.fields.iter().any(|(of, _)| *of == root)
    }
    pub(super) fn add(&mut self, others: &Self) {
        self.fields.extend(&others.fields);
        self.tests |= others.tests;
    }
    /// A verdict changes while the text and its client stay the same.
    pub(super) fn is_live(&self) -> bool {
        self.fields.iter().any(|(root, _)| LIVE_ROOTS.contains(root))
    }
    /// The facts of the statement, by name.
    pub(super) fn of_query(&self) -> impl Iterator<Item = &'static str> {
        self.fields.iter().filter(|(root, _)| *root == "query").map(|(_, name)| *name)
    }
}

/// Checks names and types of a whole condition; what it reads.
pub(super) fn check(program: &Program) -> Result<Reads, Vec<Fault>> {
    let mut checker = Checker { program, scope: Vec::new(), reads: Reads::default(), faults: Vec::new() };
    let root = program.expression();
    let ty = checker.infer(root);
    if !ty.fits(Type::Bool) {
        checker.fault(root, format!("the condition is {}, not true or false", ty.name()), None);
    }
    if checker.faults.is_empty() { Ok(checker.reads) } else { Err(checker.faults) }
}

struct Checker<'a> {
    program: &'a Program,
    /// Names that macros such as `exists` bring in.
    scope: Vec<(&'a str, Type)>,
    reads: Reads,
    faults: Vec<Fault>,
}

/// The fields of a root, if there is one of that name.
fn fields(name: &str) -> Option<(&'static str, Vec<(&'static str, Type)>)> {
    ROOTS.iter().find(|root| root.name == name).map(|root| (root.name, (root.fields)()))
}

impl<'a> Checker<'a> {
    fn fault(&mut self, at: &IdedExpr, message: String, cure: Option<String>) {
        let source = self.program.source_info();
        let text = &source.source;
        let span = source.offset_for(at.id).map(|(start, stop)| (start as usize, stop as usize));
        // CEL counts characters; beyond ASCII the place is not trusted.
        let span = span.filter(|_| text.is_ascii()).map(|(start, stop)| {
            let start = start.min(text.len());
            start..(stop + 1).clamp(start, text.len()).max(start)
        });
        self.faults.push(Fault { span, message, cure });
    }

    fn infer(&mut self, at: &'a IdedExpr) -> Type {
        match &at.expr {
            Expr::Literal(literal) => match literal {
                LiteralValue::Boolean(_) => Type::Bool,
                LiteralValue::Int(_) => Type::Int,
                LiteralValue::String(_) => Type::Text,
                LiteralValue::Double(_) => Type::Float,
                LiteralValue::UInt(_) | LiteralValue::Bytes(_) | LiteralValue::Null => Type::Any,
            },
            Expr::Ident(name) => self.name(at, name),
            Expr::Select(select) => self.select(at, select),
            Expr::Call(call) => self.call(at, call),
            Expr::List(list) => {
                let types: Vec<Type> = list.elements.iter().map(|element| self.infer(element)).collect();
                match types.first() {
                    Some(Type::Text) if types.iter().all(|ty| *ty == Type::Text) => Type::Texts,
                    Some(Type::Int) if types.iter().all(|ty| *ty == Type::Int) => Type::Ints,
                    _ => Type::List,
                }
            }
            Expr::Comprehension(comprehension) => self.comprehension(comprehension),
            Expr::Map(_) | Expr::Struct(_) | Expr::Unspecified => {
                self.fault(at, "maps and structures cannot stand in a condition".into(), None);
                Type::Any
            }
        }
    }

    fn name(&mut self, at: &IdedExpr, name: &str) -> Type {
        if let Some((_, ty)) = self.scope.iter().rev().find(|(known, _)| *known == name) {
            return *ty;
        }
        if let Some((root, fields)) = fields(name) {
            let known: Vec<&str> = fields.iter().map(|(name, _)| *name).collect();
            let cure = format!("known are {}", known.join(", "));
            self.fault(at, format!("`{root}` has fields; read one of them"), Some(cure));
        } else {
            let cure =
                format!("known are {}", ROOTS.iter().map(|root| root.name).collect::<Vec<_>>().join(", "));
            self.fault(at, format!("unknown name `{}`", crate::document::short(name)), Some(cure));
        }
        Type::Any
    }

    fn select(&mut self, at: &'a IdedExpr, select: &'a SelectExpr) -> Type {
        let root = match &select.operand.expr {
            Expr::Ident(name) if !self.scope.iter().any(|(known, _)| known == name) => fields(name),
            _ => None,
        };
        let Some((root, fields)) = root else {
            // A name that is unknown, or a field of a field: the operand's own message says which.
            let before = self.faults.len();
            let ty = self.infer(&select.operand);
            if self.faults.len() == before {
                self.fault(at, format!("{} has no fields", ty.name()), None);
            }
            return Type::Any;
        };
        let Some((field, ty)) = fields.iter().find(|(name, _)| *name == select.field) else {
            let known = fields.iter().map(|(name, _)| *name);
            let cure = match closest(&select.field, known.clone()) {
                Some(near) => format!("did you mean `{root}.{near}`?"),
                None => format!("known are {}", known.collect::<Vec<_>>().join(", ")),
            };
            let name = crate::document::short(&select.field);
            self.fault(at, format!("`{root}` has no field `{name}`"), Some(cure));
            self.point_at_field(root, &select.field);
            return Type::Any;
        };
        self.reads.fields.insert((root, field));
        self.reads.tests |= select.test;
        if select.test { Type::Bool } else { *ty }
    }

    /// CEL's place of a selection is its dot; the caret should stand under the field.
    fn point_at_field(&mut self, root: &str, field: &str) {
        let text = &self.program.source_info().source;
        let written = format!("{root}.{field}");
        if let (Some(fault), Some(at)) = (self.faults.last_mut(), text.find(&written)) {
            let start = at + root.len() + 1;
            fault.span = Some(start..start + field.len());
        }
    }

    fn call(&mut self, at: &'a IdedExpr, call: &'a CallExpr) -> Type {
        let target = call.target.as_deref();
        let types: Vec<Type> =
            target.into_iter().chain(call.args.iter()).map(|argument| self.infer(argument)).collect();
        let name = call.func_name.as_str();
        let (result, complaint) = match (name, types.as_slice()) {
            ("_&&_" | "_||_" | "!_" | "@not_strictly_false", all) => {
                let wrong = all.iter().find(|ty| !ty.fits(Type::Bool));
                (Type::Bool, wrong.map(|ty| format!("{} is not true or false", ty.name())))
            }
            ("_==_" | "_!=_", [a, b]) => {
                self.compare_kind(at, call);
                (Type::Bool, (!a.compares(*b)).then(|| format!("compares {} with {}", a.name(), b.name())))
            }
            ("_<_" | "_<=_" | "_>_" | "_>=_", [a, b]) => {
                let fits = a.compares(*b) && !a.is_list() && *a != Type::Bool;
                (Type::Bool, (!fits).then(|| format!("compares {} with {}", a.name(), b.name())))
            }
            ("_+_" | "_-_" | "_*_" | "_/_" | "_%_", [a, b]) => {
                let fits = a.is_number() && b.is_number();
                let mixed = fits && !a.fits(*b);
                let complaint = (!fits).then(|| format!("reckons with {} and {}", a.name(), b.name()));
                let mixed = mixed.then(|| "reckons with a whole number and a fraction: write `5.0`".into());
                (if *a == Type::Any { *b } else { *a }, complaint.or(mixed))
            }
            ("-_", [a]) => (*a, (!a.is_number()).then(|| format!("negates {}", a.name()))),
            ("@in", [item, list]) if list.is_list() || *list == Type::Any => {
                let fits = item.fits(list.item());
                (
                    Type::Bool,
                    (!fits).then(|| format!("looks for {} in a list of {}s", item.name(), plural(*list))),
                )
            }
            ("@in", [_, other]) => (Type::Bool, Some(format!("`in` needs a list, not {}", other.name()))),
            ("_?_:_", [condition, a, b]) => {
                let wrong = !condition.fits(Type::Bool) || !a.fits(*b);
                (*a, wrong.then(|| "`? :` needs true or false, then two values of one type".to_owned()))
            }
            ("_[_]", [list, index]) => {
                let fits = (list.is_list() || *list == Type::Any) && index.fits(Type::Int);
                (list.item(), (!fits).then(|| "`[ ]` needs a list and a number".to_owned()))
            }
            ("size", [of]) => {
                let fits = of.is_list() || of.fits(Type::Text);
                (Type::Int, (!fits).then(|| "`size` is of a text or a list".to_owned()))
            }
            ("contains" | "startsWith" | "endsWith", [of, part]) if target.is_some() => {
                let fits = of.fits(Type::Text) && part.fits(Type::Text);
                (Type::Bool, (!fits).then(|| format!("`{name}` is of a text, with a text")))
            }
            _ => {
                let known = ["size", "contains", "startsWith", "endsWith", "exists", "all", "filter", "map"];
                let cure = match closest(name, known) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("known are {}", known.join(", ")),
                };
                let name = crate::document::short(name);
                self.fault(at, format!("unknown function `{name}`, or wrong arguments to it"), Some(cure));
                return Type::Any;
            }
        };
        if let Some(message) = complaint {
            self.fault(at, message, None);
        }
        result
    }

    /// `query.kind == "selekt"` would load and never match.
    fn compare_kind(&mut self, at: &IdedExpr, call: &CallExpr) {
        let is_kind = |of: &IdedExpr| {
            matches!(&of.expr, Expr::Select(select) if select.field == "kind"
            && matches!(&select.operand.expr, Expr::Ident(name) if name == "query"))
        };
        let [a, b] = call.args.as_slice() else { return };
        let literal = match (is_kind(a), is_kind(b)) {
            (true, _) => &b.expr,
            (_, true) => &a.expr,
            _ => return,
        };
        if let Expr::Literal(LiteralValue::String(text)) = literal {
            let text: &str = text.inner();
            let mut names = KINDS.iter().map(|kind| kind.as_str());
            if !names.any(|name| name == text) {
                let known: Vec<&str> = KINDS.iter().map(|kind| kind.as_str()).collect();
                let message = format!("`query.kind` is never \"{}\"", crate::document::short(text));
                self.fault(at, message, Some(format!("known are {}", known.join(", "))));
            }
        }
    }

    fn comprehension(&mut self, of: &'a ComprehensionExpr) -> Type {
        let range = self.infer(&of.iter_range);
        if !range.is_list() && range != Type::Any {
            self.fault(&of.iter_range, format!("goes through {}, which is no list", range.name()), None);
        }
        let init = self.infer(&of.accu_init);
        let depth = self.scope.len();
        self.scope.push((&of.accu_var, init));
        self.scope.push((&of.iter_var, range.item()));
        if let Some(second) = &of.iter_var2 {
            self.scope.push((second, Type::Any));
        }
        let _ = self.infer(&of.loop_cond);
        // `map` and `filter` add lists: that step is the macro's own and needs no check of its sum.
        if init.is_list() {
            self.steps_of_list(&of.loop_step);
        } else {
            let _ = self.infer(&of.loop_step);
        }
        self.scope.truncate(depth);
        self.scope.push((&of.accu_var, init));
        let result = self.infer(&of.result);
        self.scope.truncate(depth);
        result
    }

    fn steps_of_list(&mut self, step: &'a IdedExpr) {
        match &step.expr {
            Expr::Call(call) if ["_+_", "_?_:_"].contains(&call.func_name.as_str()) => {
                for argument in &call.args {
                    self.steps_of_list(argument);
                }
            }
            _ => {
                let _ = self.infer(step);
            }
        }
    }
}

fn plural(list: Type) -> &'static str {
    match list {
        Type::Texts => "text",
        Type::Ints => "number",
        _ => "value",
    }
}
