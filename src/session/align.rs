//! A client's settings, and the query that gives them to a server that has others.

use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

use super::backend::Backend;
use super::expect::Expect;
use super::outlet::Outlet;

/// Settings under which a text is read: constants are folded and names found when it is prepared.
const MEANING: [&str; 11] = [
    "backslash_quote",
    "client_encoding",
    "datestyle",
    "default_text_search_config",
    "intervalstyle",
    "lc_monetary",
    "search_path",
    "standard_conforming_strings",
    "timezone",
    "transform_null_equals",
    "xmloption",
];

/// Settings of a session: lower-case name and value, sorted by name, each name once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ParamSet {
    values: Vec<(Box<str>, Box<str>)>,
    hash: u64,
}

impl ParamSet {
    /// Later values win, as in a start-up packet.
    pub fn new<'a>(params: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut set = Self::default();
        params.into_iter().for_each(|(name, value)| set.put(&name.to_ascii_lowercase(), value));
        set.rehash();
        set
    }

    fn put(&mut self, name: &str, value: &str) {
        match self.values.binary_search_by(|(n, _)| n.as_ref().cmp(name)) {
            Ok(at) => {
                if let Some(slot) = self.values.get_mut(at) {
                    slot.1 = value.into();
                }
            }
            Err(at) => self.values.insert(at, (name.into(), value.into())),
        }
    }

    /// Only what changes the meaning of a text counts: the rest must not split the prepared statements.
    fn rehash(&mut self) {
        let mut h = ahash::RandomState::with_seeds(5, 6, 7, 8).build_hasher();
        let mut any = false;
        for (name, value) in self.values.iter().filter(|(n, _)| MEANING.contains(&n.as_ref())) {
            h.write(name.as_bytes());
            h.write_u8(0);
            h.write(value.as_bytes());
            h.write_u8(0);
            any = true;
        }
        self.hash = if any { h.finish() } else { 0 };
    }

    /// Gives a setting (lower case) this value.
    pub(super) fn set(&mut self, name: &str, value: &str) {
        self.put(name, value);
        self.rehash();
    }

    /// Every name and value.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.values.iter().map(|(name, value)| (name.as_ref(), value.as_ref()))
    }

    /// The query that gives a server these settings, those of the names that are chosen; `None` if there are none.
    pub(super) fn assignments(&self, chosen: impl Fn(&str) -> bool) -> Option<String> {
        self.assign(chosen, "false")
    }

    /// The same for the transaction that is open.
    pub(super) fn local_assignments(&self, chosen: impl Fn(&str) -> bool) -> Option<String> {
        self.assign(chosen, "true")
    }

    fn assign(&self, chosen: impl Fn(&str) -> bool, local: &str) -> Option<String> {
        let mut sql = String::new();
        for (name, value) in self.iter().filter(|(name, _)| chosen(name)) {
            sql.push_str(if sql.is_empty() { "SELECT " } else { ", " });
            sql.push_str("pg_catalog.set_config(");
            literal(&mut sql, name);
            sql.push_str(", ");
            literal(&mut sql, value);
            sql.push_str(", ");
            sql.push_str(local);
            sql.push(')');
        }
        (!sql.is_empty()).then_some(sql)
    }

    /// Equal for sets under which a text means the same.
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.hash
    }

    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        let at = self.values.binary_search_by(|(n, _)| n.as_ref().cmp(name)).ok()?;
        Some(&self.values.get(at)?.1)
    }

    /// The two differ at most in these settings.
    #[must_use]
    pub fn same_but(&self, other: &Self, names: &[&str]) -> bool {
        fn rest<'a>(set: &'a ParamSet, names: &'a [&str]) -> impl Iterator<Item = &'a (Box<str>, Box<str>)> {
            set.values.iter().filter(|(n, _)| !names.contains(&n.as_ref()))
        }
        rest(self, names).eq(rest(other, names))
    }

    fn names_all_of(&self, other: &Self) -> bool {
        other.values.iter().all(|(name, _)| self.get(name).is_some())
    }

    /// The query that takes a server from `current` to these settings; `None` if nothing differs.
    ///
    /// `set_config` reads a value as a start-up packet's is read (`SET search_path TO 'a, b'` would be one
    /// schema named "a, b"). `E''` strings mean the same whatever `standard_conforming_strings` says.
    #[must_use]
    pub fn align_from(&self, current: &Self) -> Option<String> {
        let mut sql = String::new();
        for (name, _) in current.values.iter().filter(|(n, _)| self.get(n).is_none()) {
            sql.push_str("RESET ");
            for (i, part) in name.split('.').enumerate() {
                sql.push_str(if i == 0 { "\"" } else { ".\"" });
                sql.push_str(&part.replace('"', "\"\""));
                sql.push('"');
            }
            sql.push(';');
        }
        if let Some(differing) = self.assignments(|name| current.get(name) != self.get(name)) {
            sql.push_str(&differing);
        }
        (!sql.is_empty()).then_some(sql)
    }
}

/// A string in SQL, in ASCII: it reads the same in every client encoding and whatever `standard_conforming_strings` is.
/// (`\U` escapes would not do in a database of encoding `SQL_ASCII`, where the bytes themselves are what counts.)
pub(super) fn literal(sql: &mut String, value: &str) {
    use std::fmt::Write as _;
    if !value.is_ascii() {
        sql.push_str("pg_catalog.convert_from(pg_catalog.decode('");
        for b in value.bytes() {
            let _ = write!(sql, "{b:02x}");
        }
        sql.push_str("', 'hex'), 'UTF8')");
        return;
    }
    sql.push_str("E'");
    for c in value.chars() {
        if matches!(c, '\'' | '\\') {
            sql.push(c);
        }
        sql.push(c);
    }
    sql.push('\'');
}

impl Backend {
    /// Gives the server `settings` by a hidden query put in front of whatever comes next. Call when idle.
    pub fn align(&mut self, settings: &Arc<ParamSet>, up: &mut Outlet<'_>) {
        if Arc::ptr_eq(settings, &self.settings) && !self.unaligned {
            return;
        }
        if let Some(sql) = self.alignment(settings) {
            self.send_hidden(&sql, Expect::Hidden, up);
        }
        self.aligned(settings);
    }

    /// The same for what follows a `DISCARD ALL` that is on its way.
    pub(super) fn realign(&mut self, settings: &ParamSet, up: &mut Outlet<'_>) {
        if let Some(sql) = self.anew(settings) {
            self.send_hidden(&sql, Expect::Hidden, up);
        }
    }

    /// The query that [`Self::align`] would send, for who wants to wait for its answer; `None` if none is needed.
    #[must_use]
    pub fn alignment(&self, settings: &ParamSet) -> Option<String> {
        // `RESET` takes a setting to the server's default, not to what the connect query made of it.
        let spoils = self.connect_query.is_some() && !settings.names_all_of(&self.settings);
        if !self.unaligned && !spoils {
            return settings.align_from(&self.settings);
        }
        Some(format!("RESET ALL;{}", self.anew(settings).unwrap_or_default()))
    }

    /// The query that takes a server without any settings of its own to these.
    pub(super) fn anew(&self, settings: &ParamSet) -> Option<String> {
        let rest = settings.align_from(&self.base);
        match &self.connect_query {
            Some(sql) => Some(format!("{sql};{}", rest.unwrap_or_default())),
            None => rest,
        }
    }

    /// `sql` has run on a connection that nobody has used yet; it runs again whenever all settings are reset.
    pub fn connected_with(&mut self, sql: &Arc<str>) {
        self.connect_query = Some(Arc::clone(sql));
    }

    /// The server has these settings now.
    pub fn aligned(&mut self, settings: &Arc<ParamSet>) {
        self.unaligned = false;
        self.settings = Arc::clone(settings);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_what_differs_is_set() {
        let base = ParamSet::default();
        let a = ParamSet::new([("TimeZone", "UTC"), ("search_path", "a, b")]);
        assert_eq!(base.align_from(&base), None);
        assert_eq!(a.align_from(&a.clone()), None);
        assert_eq!(
            a.align_from(&base).unwrap(),
            "SELECT pg_catalog.set_config(E'search_path', E'a, b', false), pg_catalog.set_config(E'timezone', E'UTC', false)"
        );
        assert_eq!(base.align_from(&a).unwrap(), r#"RESET "search_path";RESET "timezone";"#);
    }

    #[test]
    fn no_value_leaves_its_quotes() {
        let a = ParamSet::new([("x.y", r"\'; DROP TABLE t; --")]);
        assert!(a.align_from(&ParamSet::default()).unwrap().contains(r"E'\\''; DROP TABLE t; --'"));
        let evil = ParamSet::new([(r#"x"; DROP TABLE t; --"#, "1")]);
        assert!(
            ParamSet::default().align_from(&evil).unwrap().starts_with(r#"RESET "x""; drop table t; --""#)
        );
    }

    #[test]
    fn the_application_does_not_change_a_texts_meaning() {
        let a = ParamSet::new([("application_name", "a"), ("timezone", "UTC")]);
        let b = ParamSet::new([("application_name", "b"), ("timezone", "UTC")]);
        assert_ne!(a, b);
        assert_eq!(a.hash(), b.hash());
        assert_ne!(a.hash(), ParamSet::default().hash());
    }
}
