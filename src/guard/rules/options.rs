//! What a rule may tell its detector: `with = { max = 5, columns = ["tenant_id"] }`.

use std::collections::BTreeMap;

/// An option's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OptType {
    Int(i64),
    Texts(&'static [&'static str]),
    Bool(bool),
}

/// One option of a detector, with its default.
#[derive(Clone, Debug)]
pub struct Opt {
    pub name: &'static str,
    pub default: OptType,
    pub doc: &'static str,
}

impl Opt {
    pub(super) const fn int(name: &'static str, default: i64, doc: &'static str) -> Self {
        Self { name, default: OptType::Int(default), doc }
    }
    pub(super) const fn texts(
        name: &'static str,
        default: &'static [&'static str],
        doc: &'static str,
    ) -> Self {
        Self { name, default: OptType::Texts(default), doc }
    }
    pub(super) const fn bool(name: &'static str, default: bool, doc: &'static str) -> Self {
        Self { name, default: OptType::Bool(default), doc }
    }

    /// Its type in words.
    #[must_use]
    pub const fn ty(&self) -> &'static str {
        match self.default {
            OptType::Int(_) => "a whole number",
            OptType::Texts(_) => "a list of texts",
            OptType::Bool(_) => "true or false",
        }
    }

    /// Its default as it would be written.
    #[must_use]
    pub fn default_shown(&self) -> String {
        match &self.default {
            OptType::Int(value) => format!("`{value}`"),
            OptType::Bool(value) => format!("`{value}`"),
            OptType::Texts(values) => format!("`{values:?}`"),
        }
    }
}

/// A value that a rule gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Given {
    Int(i64),
    Texts(Vec<String>),
    Bool(bool),
}

/// The options of one rule: what it gives, else the detector's defaults.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options(BTreeMap<&'static str, Given>);

impl Options {
    /// The defaults of a detector's options.
    #[must_use]
    pub fn defaults(options: &[Opt]) -> Self {
        let given = |option: &Opt| match &option.default {
            OptType::Int(value) => Given::Int(*value),
            OptType::Bool(value) => Given::Bool(*value),
            OptType::Texts(values) => Given::Texts(values.iter().map(|&text| text.to_owned()).collect()),
        };
        Self(options.iter().map(|option| (option.name, given(option))).collect())
    }

    /// Sets one; its type must be the option's.
    pub fn set(&mut self, name: &'static str, value: Given) {
        self.0.insert(name, value);
    }

    /// What an option stands at.
    #[must_use]
    pub fn given(&self, name: &str) -> Option<&Given> {
        self.0.get(name)
    }

    /// A number; 0 if there is no such option.
    pub(super) fn int(&self, name: &str) -> i64 {
        match self.0.get(name) {
            Some(Given::Int(value)) => *value,
            _ => 0,
        }
    }

    /// A list; empty if there is no such option.
    pub(super) fn texts(&self, name: &str) -> &[String] {
        match self.0.get(name) {
            Some(Given::Texts(values)) => values,
            _ => &[],
        }
    }

    pub(super) fn bool(&self, name: &str) -> bool {
        matches!(self.0.get(name), Some(Given::Bool(true)))
    }
}
