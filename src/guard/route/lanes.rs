//! The lanes that policies may name: the primary, the replicas, and those that the settings declare.

use crate::document::closest;

/// Where a statement may run. A lane is a wish: the topology decides whether one of its servers can take it.
///
/// The order is precedence: of two wishes the lesser holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    Primary,
    /// One of the settings' own, by its place among [`Lanes`].
    Named(u8),
    Replica,
}

const PRIMARY: &str = "primary";
const REPLICA: &str = "replica";

/// The lanes by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lanes {
    names: Vec<Box<str>>,
    /// What a policy names is taken for a lane: nobody knows the settings that it will meet.
    open: bool,
}

impl Lanes {
    /// Most of them beside the primary and the replicas.
    pub const MOST: usize = 64;

    /// These, in this order, beside the primary and the replicas.
    pub fn new<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        Self { names: names.into_iter().map(Box::from).collect(), open: false }
    }

    /// For policies without settings: every name that can be a lane's is one.
    #[must_use]
    pub fn any() -> Self {
        Self { names: Vec::new(), open: true }
    }

    /// Why a lane cannot have this name, as the end of a sentence.
    #[must_use]
    pub fn misnamed(name: &str) -> Option<&'static str> {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_".contains(c);
        if [PRIMARY, REPLICA].contains(&name) {
            Some("is the name of a lane that is always there")
        } else if name.is_empty() || name.len() > 40 || !name.chars().all(plain) {
            Some("cannot be a lane's name: use up to 40 of a-z, 0-9, `-` and `_`")
        } else {
            None
        }
    }

    /// The lane of that name, if there is one.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<Lane> {
        match name {
            PRIMARY => Some(Lane::Primary),
            REPLICA => Some(Lane::Replica),
            name => {
                let at = self.names.iter().position(|known| **known == *name)?;
                u8::try_from(at).ok().map(Lane::Named)
            }
        }
    }

    /// The same; one that is not known is taken up where nobody knows the settings, but for a slip of the pen.
    pub(in crate::guard) fn resolve(&mut self, name: &str) -> Option<Lane> {
        let new = self.open
            && self.names.len() < Self::MOST
            && self.find(name).is_none()
            && Self::misnamed(name).is_none()
            && closest(name, [PRIMARY, REPLICA]).is_none();
        if new {
            self.names.push(name.into());
        }
        self.find(name)
    }

    /// As policies and settings call it.
    #[must_use]
    pub fn name(&self, lane: Lane) -> &str {
        match lane {
            Lane::Primary => PRIMARY,
            Lane::Replica => REPLICA,
            Lane::Named(at) => self.names.get(usize::from(at)).map_or("unknown", |name| name),
        }
    }

    /// Every name.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        [REPLICA, PRIMARY].into_iter().chain(self.declared())
    }

    /// Those that are not always there.
    pub fn declared(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(|name| &**name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_is_found_by_its_name_and_named_by_itself() {
        let lanes = Lanes::new(["analytics", "export"]);
        for name in lanes.names() {
            assert_eq!(lanes.find(name).map(|lane| lanes.name(lane)), Some(name));
        }
        assert_eq!(lanes.find("export"), Some(Lane::Named(1)));
        assert_eq!(lanes.clone().resolve("reports"), None);
        assert_eq!(Lanes::default().names().collect::<Vec<_>>(), ["replica", "primary"]);
    }

    #[test]
    fn without_settings_any_name_is_a_lane_but_a_slip_of_the_pen_is_not() {
        let mut lanes = Lanes::any();
        assert_eq!(lanes.find("analytics"), None);
        assert_eq!(lanes.resolve("analytics"), Some(Lane::Named(0)));
        assert_eq!(lanes.resolve("export"), Some(Lane::Named(1)));
        assert_eq!(lanes.resolve("analytics"), Some(Lane::Named(0)));
        for slip in ["replcia", "replicas", "primry", "Analytics", "", "a b"] {
            assert_eq!(lanes.resolve(slip), None, "{slip}");
        }
        assert_eq!(lanes.resolve("replica"), Some(Lane::Replica));
    }

    #[test]
    fn names_are_labels() {
        for good in ["analytics", "big-reports", "etl_2"] {
            assert_eq!(Lanes::misnamed(good), None, "{good}");
        }
        for bad in ["", "primary", "replica", "Über", "a b", "a\"b", &"x".repeat(41)] {
            assert!(Lanes::misnamed(bad).is_some(), "{bad}");
        }
    }
}
