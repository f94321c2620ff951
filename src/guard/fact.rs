//! What a fact is: a documented field of a table, with a type that conditions are checked against.
//!
//! [`fact_table!`] declares a struct and its table at once, so that a fact is written in one place: its name, its
//! documentation (docs/FACTS.md is made of it), its type, and what holds when nothing is known.

use super::Kind;

/// The type of a fact as conditions see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    Bool,
    Int,
    Float,
    Text,
    Texts,
}

impl Type {
    /// In the documentation.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::Int => "int",
            Self::Float => "float",
            Self::Text => "text",
            Self::Texts => "list of texts",
        }
    }
}

/// The value of a fact.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'a> {
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(&'a str),
    Texts(&'a [String]),
    /// Not known of this statement: a condition that reads it has no answer.
    Unknown,
}

/// One fact of a table over `T`.
pub struct Field<T: 'static> {
    pub name: &'static str,
    /// Lines of its documentation, each with the space it was written with.
    pub doc: &'static [&'static str],
    pub ty: Type,
    /// Known even of a statement that the grammar did not read.
    pub always: bool,
    pub get: fn(&T) -> Value<'_>,
}

impl<T> Field<T> {
    /// Its documentation on one line.
    #[must_use]
    pub fn documentation(&self) -> String {
        self.doc.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ")
    }
}

/// What can be a fact.
pub trait AsFact {
    const TYPE: Type;
    fn value(&self) -> Value<'_>;
}

impl AsFact for bool {
    const TYPE: Type = Type::Bool;
    fn value(&self) -> Value<'_> {
        Value::Bool(*self)
    }
}

macro_rules! integers {
    ($($ty:ty),+) => {$(
        impl AsFact for $ty {
            const TYPE: Type = Type::Int;
            fn value(&self) -> Value<'_> {
                Value::Int(i64::try_from(*self).unwrap_or(i64::MAX))
            }
        }
    )+};
}
integers!(u16, u32, u64, i64);

impl AsFact for f64 {
    const TYPE: Type = Type::Float;
    fn value(&self) -> Value<'_> {
        Value::Float(*self)
    }
}

impl AsFact for String {
    const TYPE: Type = Type::Text;
    fn value(&self) -> Value<'_> {
        Value::Text(self)
    }
}

impl AsFact for &'static str {
    const TYPE: Type = Type::Text;
    fn value(&self) -> Value<'_> {
        Value::Text(self)
    }
}

impl AsFact for Kind {
    const TYPE: Type = Type::Text;
    fn value(&self) -> Value<'_> {
        Value::Text(self.as_str())
    }
}

impl AsFact for Vec<String> {
    const TYPE: Type = Type::Texts;
    fn value(&self) -> Value<'_> {
        Value::Texts(self)
    }
}

impl<T: AsFact> AsFact for Option<T> {
    const TYPE: Type = T::TYPE;
    fn value(&self) -> Value<'_> {
        self.as_ref().map_or(Value::Unknown, AsFact::value)
    }
}

/// Declares a struct of facts with its table.
///
/// `fact name: Type = default;` is a fact of what was parsed, `always name: …` is known of any statement, and
/// `inner name: …` is a field that conditions do not see.
macro_rules! fact_table {
    (
        $(#[$struct_meta:meta])*
        pub struct $name:ident {
            $($(#[doc = $doc:literal])+ $(#[serde($($serde:tt)+)])? $role:ident $field:ident: $ty:ty = $default:expr;)+
        }
    ) => {
        $(#[$struct_meta])*
        pub struct $name {
            $($(#[doc = $doc])+ $(#[serde($($serde)+)])? pub $field: $ty,)+
        }

        impl Default for $name {
            fn default() -> Self {
                Self::blank()
            }
        }

        impl $name {
            /// Nothing is known.
            #[must_use]
            pub fn blank() -> Self {
                Self { $($field: $default,)+ }
            }
            /// Its facts, in the order of their documentation.
            pub const FIELDS: &'static [$crate::guard::fact::Field<$name>] = {
                const ALL: &[Option<$crate::guard::fact::Field<$name>>] =
                    &[$($crate::guard::fact::fact_table!(@field $role $name $field $ty, $($doc)+),)+];
                &$crate::guard::fact::present::<$name, { $crate::guard::fact::count(ALL) }>(ALL)
            };
        }
    };
    (@field inner $name:ident $field:ident $ty:ty, $($doc:literal)+) => { None };
    (@field fact $name:ident $field:ident $ty:ty, $($doc:literal)+) => {
        $crate::guard::fact::fact_table!(@known false $name $field $ty, $($doc)+)
    };
    (@field always $name:ident $field:ident $ty:ty, $($doc:literal)+) => {
        $crate::guard::fact::fact_table!(@known true $name $field $ty, $($doc)+)
    };
    (@known $always:literal $name:ident $field:ident $ty:ty, $($doc:literal)+) => {
        Some($crate::guard::fact::Field {
            name: stringify!($field),
            doc: &[$($doc),+],
            ty: <$ty as $crate::guard::fact::AsFact>::TYPE,
            always: $always,
            get: |of: &$name| $crate::guard::fact::AsFact::value(&of.$field),
        })
    };
}
pub(crate) use fact_table;

/// How many of them are there.
#[must_use]
pub const fn count<T>(fields: &[Option<Field<T>>]) -> usize {
    let (mut at, mut count) = (0, 0);
    while at < fields.len() {
        if fields[at].is_some() {
            count += 1;
        }
        at += 1;
    }
    count
}

/// Those that are there; `N` is their [`count`].
#[must_use]
pub const fn present<T, const N: usize>(fields: &'static [Option<Field<T>>]) -> [Field<T>; N] {
    let mut out =
        [const { Field { name: "", doc: &[], ty: Type::Bool, always: false, get: |_| Value::Unknown } }; N];
    let (mut at, mut to) = (0, 0);
    while at < fields.len() {
        if let Some(field) = &fields[at] {
            out[to] = Field {
                name: field.name,
                doc: field.doc,
                ty: field.ty,
                always: field.always,
                get: field.get,
            };
            to += 1;
        }
        at += 1;
    }
    out
}
