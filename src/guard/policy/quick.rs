//! The parts of a condition that compare one fact with a literal, answered without CEL: most conditions are made of
//! nothing else, and of the others most are decided by such a part.

use cel::common::ast::{Expr, IdedExpr, ListExpr, LiteralValue};

use super::check::Type;
use super::condition::{Answer, Place};
use crate::guard::Subject;
use crate::guard::fact::Value;

/// The sides of a condition's outermost `&&`.
#[derive(Debug, Default)]
pub(super) struct Quick {
    parts: Vec<Part>,
    /// There are others: what these cannot deny is for CEL to say.
    more: bool,
}

#[derive(Debug)]
enum Part {
    Flag(Place, bool),
    /// Of a number, or of a list's size.
    Number(Place, Op, f64),
    Text(Place, bool, Box<str>),
    Among(Place, Box<[Box<str>]>),
    Holds(Place, Box<str>),
}

#[derive(Clone, Copy, Debug)]
enum Op {
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// Above it a fraction no longer tells whole numbers apart.
const MAX_WHOLE: i64 = 1 << 53;

impl Quick {
    pub(super) fn of(condition: &IdedExpr) -> Self {
        let mut quick = Self::default();
        quick.add(condition);
        quick
    }

    fn add(&mut self, expr: &IdedExpr) {
        if let Expr::Call(call) = &expr.expr
            && call.func_name == "_&&_"
            && call.target.is_none()
        {
            call.args.iter().for_each(|side| self.add(side));
            return;
        }
        match part(expr) {
            Some(part) => self.parts.push(part),
            None => self.more = true,
        }
    }

    /// A no decides, as in CEL; a yes only if there is nothing else to ask.
    pub(super) fn ask(&self, subject: &Subject<'_>) -> Option<Answer> {
        let mut all = Answer::Yes;
        for part in &self.parts {
            all = all.and(part.ask(subject));
            if all == Answer::No {
                return Some(all);
            }
        }
        (!self.more).then_some(all)
    }
}

fn part(expr: &IdedExpr) -> Option<Part> {
    match &expr.expr {
        Expr::Select(_) => {
            place(expr).filter(|place| place.ty == Type::Bool).map(|place| Part::Flag(place, true))
        }
        Expr::Call(call) if call.target.is_none() => match (call.func_name.as_str(), call.args.as_slice()) {
            ("!_", [inner]) => match part(inner)? {
                Part::Flag(place, is) => Some(Part::Flag(place, !is)),
                _ => None,
            },
            ("@in", [item, list]) => among(item, list),
            (name, [a, b]) => {
                let op = Op::of(name)?;
                compare(a, op, b).or_else(|| compare(b, op.turned(), a))
            }
            _ => None,
        },
        _ => None,
    }
}

fn compare(fact: &IdedExpr, op: Op, with: &IdedExpr) -> Option<Part> {
    let sized = match &fact.expr {
        Expr::Call(call) if call.func_name == "size" => {
            match (call.target.as_deref(), call.args.as_slice()) {
                (Some(of), []) | (None, [of]) => place(of).filter(|place| place.ty == Type::Texts),
                _ => None,
            }
        }
        _ => None,
    };
    let place = sized.or_else(|| place(fact))?;
    match (place.ty, literal(with)?) {
        (Type::Int | Type::Float, Literal::Number(number)) => Some(Part::Number(place, op, number)),
        (Type::Texts, Literal::Number(number)) if sized.is_some() => Some(Part::Number(place, op, number)),
        (Type::Text, Literal::Text(text)) => match op {
            Op::Equal => Some(Part::Text(place, true, text)),
            Op::Unequal => Some(Part::Text(place, false, text)),
            _ => None,
        },
        (Type::Bool, Literal::Flag(flag)) => match op {
            Op::Equal => Some(Part::Flag(place, flag)),
            Op::Unequal => Some(Part::Flag(place, !flag)),
            _ => None,
        },
        _ => None,
    }
}

/// `query.kind in ["select", "insert"]`, `"x" in query.functions`.
fn among(item: &IdedExpr, list: &IdedExpr) -> Option<Part> {
    if let (Some(Literal::Text(text)), Some(place)) = (literal(item), place(list)) {
        return (place.ty == Type::Texts).then_some(Part::Holds(place, text));
    }
    let place = place(item).filter(|place| place.ty == Type::Text)?;
    let Expr::List(ListExpr { elements, .. }) = &list.expr else { return None };
    let texts = elements.iter().map(|element| match literal(element) {
        Some(Literal::Text(text)) => Some(text),
        _ => None,
    });
    Some(Part::Among(place, texts.collect::<Option<_>>()?))
}

fn place(expr: &IdedExpr) -> Option<Place> {
    let Expr::Select(select) = &expr.expr else { return None };
    let Expr::Ident(root) = &select.operand.expr else { return None };
    if select.test {
        return None;
    }
    Place::of(root, &select.field).map(|(place, ..)| place)
}

enum Literal {
    Flag(bool),
    Number(f64),
    Text(Box<str>),
}

fn literal(expr: &IdedExpr) -> Option<Literal> {
    let Expr::Literal(literal) = &expr.expr else { return None };
    match literal {
        LiteralValue::Boolean(flag) => Some(Literal::Flag(*flag.inner())),
        LiteralValue::Int(number) if number.inner().unsigned_abs() < MAX_WHOLE.unsigned_abs() => {
            Some(Literal::Number(*number.inner() as f64))
        }
        LiteralValue::Double(number) if number.inner().is_finite() => Some(Literal::Number(*number.inner())),
        LiteralValue::String(text) => Some(Literal::Text(text.inner().into())),
        _ => None,
    }
}

impl Op {
    fn of(name: &str) -> Option<Self> {
        Some(match name {
            "_==_" => Self::Equal,
            "_!=_" => Self::Unequal,
            "_<_" => Self::Less,
            "_<=_" => Self::LessOrEqual,
            "_>_" => Self::Greater,
            "_>=_" => Self::GreaterOrEqual,
            _ => return None,
        })
    }

    /// With its sides changed.
    fn turned(self) -> Self {
        match self {
            Self::Less => Self::Greater,
            Self::LessOrEqual => Self::GreaterOrEqual,
            Self::Greater => Self::Less,
            Self::GreaterOrEqual => Self::LessOrEqual,
            same => same,
        }
    }

    fn holds(self, order: std::cmp::Ordering) -> bool {
        match self {
            Self::Equal => order.is_eq(),
            Self::Unequal => order.is_ne(),
            Self::Less => order.is_lt(),
            Self::LessOrEqual => order.is_le(),
            Self::Greater => order.is_gt(),
            Self::GreaterOrEqual => order.is_ge(),
        }
    }
}

impl Part {
    fn ask(&self, subject: &Subject<'_>) -> Answer {
        match (self, self.place().get(subject)) {
            (Self::Flag(_, is), Value::Bool(value)) => Answer::from(value == *is),
            // Literals are below 2^53, so that a larger fact compares right however it is rounded.
            (Self::Number(_, op, with), Value::Int(value)) => number(value as f64, *op, *with),
            (Self::Number(_, op, with), Value::Float(value)) => number(value, *op, *with),
            (Self::Number(_, op, with), Value::Texts(list)) => number(list.len() as f64, *op, *with),
            (Self::Text(_, equal, with), Value::Text(value)) => Answer::from((value == &**with) == *equal),
            (Self::Among(_, texts), Value::Text(value)) => {
                Answer::from(texts.iter().any(|text| **text == *value))
            }
            (Self::Holds(_, text), Value::Texts(list)) => {
                Answer::from(list.iter().any(|item| **item == **text))
            }
            _ => Answer::Unknown,
        }
    }

    fn place(&self) -> Place {
        match self {
            Self::Flag(place, _)
            | Self::Number(place, ..)
            | Self::Text(place, ..)
            | Self::Among(place, _)
            | Self::Holds(place, _) => *place,
        }
    }
}

fn number(value: f64, op: Op, with: f64) -> Answer {
    value.partial_cmp(&with).map_or(Answer::Unknown, |order| Answer::from(op.holds(order)))
}
