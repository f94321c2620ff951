//! The settings a client started with, and the query that gives them to a server that has others.

use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

use super::backend::Backend;
use super::expect::Expect;
use super::outlet::Outlet;
use crate::wire::frontend;

/// Start-up parameters that are settings: lower-case name and value, sorted by name, each name once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ParamSet {
    values: Vec<(Box<str>, Box<str>)>,
    hash: u64,
}

impl ParamSet {
    /// Later values win, as in a start-up packet.
    pub fn new<'a>(params: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut values: Vec<(Box<str>, Box<str>)> = Vec::new();
        for (name, value) in params {
            let name = name.to_ascii_lowercase();
            match values.binary_search_by(|(n, _)| n.as_ref().cmp(&name)) {
                Ok(at) => values[at].1 = value.into(),
                Err(at) => values.insert(at, (name.into(), value.into())),
            }
        }
        // The application's name changes what no statement means: it must not split the statements.
        let mut h = ahash::RandomState::with_seeds(5, 6, 7, 8).build_hasher();
        for (name, value) in values.iter().filter(|(n, _)| n.as_ref() != "application_name") {
            h.write(name.as_bytes());
            h.write_u8(0);
            h.write(value.as_bytes());
            h.write_u8(0);
        }
        Self { values, hash: h.finish() }
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
        let mut separator = "SELECT ";
        for (name, value) in self.values.iter().filter(|(n, v)| current.get(n) != Some(v.as_ref())) {
            sql.push_str(separator);
            separator = ", ";
            sql.push_str("pg_catalog.set_config(");
            literal(&mut sql, name);
            sql.push_str(", ");
            literal(&mut sql, value);
            sql.push_str(", false)");
        }
        (!sql.is_empty()).then_some(sql)
    }
}

fn literal(sql: &mut String, value: &str) {
    sql.push_str("E'");
    for c in value.chars() {
        if c == '\'' || c == '\\' {
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
            up.add(|v| frontend::put_query(v, sql.as_bytes()));
            self.drop_unnamed();
            self.expect_end(Expect::Hidden);
        }
        self.aligned(settings);
    }

    /// The same for what follows a `DISCARD ALL` that is on its way.
    pub(super) fn realign(&mut self, settings: &ParamSet, up: &mut Outlet<'_>) {
        if let Some(sql) = self.anew(settings) {
            up.add(|v| frontend::put_query(v, sql.as_bytes()));
            self.expect_end(Expect::Hidden);
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
