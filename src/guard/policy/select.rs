//! Whom and what a rule is about: `only` and `unless`.

use crate::guard::facts::Facts;
use crate::guard::{ClientFacts, Kind};

/// A name with `*` for any characters. Case matters, as in PostgreSQL's stored names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Glob(pub(super) Box<str>);

impl Glob {
    pub(super) fn matches(&self, name: &str) -> bool {
        glob(self.0.as_bytes(), name.as_bytes())
    }
}

/// Linear in both but for backtracking to the last `*`, so no pattern takes more than their product.
fn glob(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p + 1, n));
                p += 1;
            }
            Some(byte) if *byte == name[n] => {
                p += 1;
                n += 1;
            }
            _ => match star {
                Some((after, from)) => {
                    star = Some((after, from + 1));
                    p = after;
                    n = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

/// A table, or tables: `orders` in any schema, `public.orders`, `audit.*`, `pg_*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TablePattern {
    pub(super) schema: Option<Glob>,
    pub(super) table: Glob,
}

impl TablePattern {
    /// May `written` be this table? Written without a schema it may be in any.
    pub(super) fn may_be(&self, written: &str) -> bool {
        let (schema, table) = split(written);
        self.table.matches(table)
            && match (&self.schema, schema) {
                (Some(pattern), Some(schema)) => pattern.matches(schema),
                _ => true,
            }
    }

    /// Is `written` surely this table? A pattern with a schema needs the text to name one.
    fn surely_is(&self, written: &str) -> bool {
        let (schema, table) = split(written);
        self.table.matches(table)
            && match (&self.schema, schema) {
                (Some(pattern), Some(schema)) => pattern.matches(schema),
                (Some(_), None) => false,
                (None, _) => true,
            }
    }
}

fn split(written: &str) -> (Option<&str>, &str) {
    match written.rsplit_once('.') {
        Some((schema, table)) => (Some(schema.rsplit_once('.').map_or(schema, |(_, schema)| schema)), table),
        None => (None, written),
    }
}

/// What a rule is narrowed to. Each list that is given must hold; one entry of it suffices.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Selector {
    pub(super) users: Option<Vec<Glob>>,
    pub(super) databases: Option<Vec<Glob>>,
    pub(super) applications: Option<Vec<Glob>>,
    pub(super) tables: Option<Vec<TablePattern>>,
}

/// What a selector says. `Unknown`: it names tables, and those of the statement are not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Selected {
    Yes,
    No,
    Unknown,
}

impl Selector {
    /// It goes by such a fact.
    pub(super) fn reads(&self, is: impl Fn(&str, &str) -> bool) -> bool {
        (self.users.is_some() && is("client", "user"))
            || (self.databases.is_some() && is("client", "database"))
            || (self.applications.is_some() && is("client", "application"))
            || (self.tables.is_some() && is("query", "tables"))
    }

    fn selects_client(&self, client: &ClientFacts) -> bool {
        let among = |list: &Option<Vec<Glob>>, name: &str| {
            list.as_ref().is_none_or(|list| list.iter().any(|glob| glob.matches(name)))
        };
        among(&self.users, &client.user)
            && among(&self.databases, &client.database)
            && among(&self.applications, &client.application)
    }

    /// For `only`: one of the statement's tables may be among those named.
    pub(super) fn includes(&self, client: &ClientFacts, facts: &Facts) -> Selected {
        if !self.selects_client(client) {
            return Selected::No;
        }
        match &self.tables {
            None => Selected::Yes,
            Some(_) if facts.kind == Kind::Unparsed => Selected::Unknown,
            Some(patterns) if facts.tables.iter().any(|table| patterns.iter().any(|p| p.may_be(table))) => {
                Selected::Yes
            }
            Some(_) => Selected::No,
        }
    }

    /// For `unless`: the statement names tables, and all of them surely are among those named. A statement over an
    /// exempt and another table is not exempt.
    pub(super) fn exempts(&self, client: &ClientFacts, facts: &Facts) -> bool {
        self.selects_client(client)
            && self.tables.as_ref().is_none_or(|patterns| {
                facts.kind != Kind::Unparsed
                    && !facts.tables.is_empty()
                    && facts.tables.iter().all(|table| patterns.iter().any(|p| p.surely_is(table)))
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> TablePattern {
        let (schema, table) = split(text);
        TablePattern { schema: schema.map(|s| Glob(s.into())), table: Glob(table.into()) }
    }

    fn facts(tables: &[&str]) -> Facts {
        let tables = tables.iter().map(ToString::to_string).collect();
        Facts { kind: Kind::Select, tables, ..Facts::unparsed(1) }
    }

    fn class() -> ClientFacts {
        ClientFacts { user: "app".into(), database: "shop".into(), application: "web-7".into() }
    }

    fn of_tables(patterns: &[&str]) -> Selector {
        Selector { tables: Some(patterns.iter().map(|text| pattern(text)).collect()), ..Selector::default() }
    }

    #[test]
    fn globs() {
        for (text, name, expected) in [
            ("web*", "web-7", true),
            ("*", "", true),
            ("*b*d", "abcbd", true),
            ("a*c", "abd", false),
            ("app", "App", false),
            ("", "a", false),
            ("a**", "a", true),
        ] {
            assert_eq!(Glob(text.into()).matches(name), expected, "{text} {name}");
        }
    }

    #[test]
    fn only_means_any_table_that_may_be_it() {
        let only = of_tables(&["public.orders"]);
        for (tables, expected) in [
            (&["public.orders"][..], Selected::Yes),
            (&["orders"], Selected::Yes),
            (&["items", "shop.public.orders"], Selected::Yes),
            (&["archive.orders"], Selected::No),
            (&["items"], Selected::No),
            (&[], Selected::No),
        ] {
            assert_eq!(only.includes(&class(), &facts(tables)), expected, "{tables:?}");
        }
        assert_eq!(only.includes(&class(), &Facts::unparsed(1)), Selected::Unknown);
    }

    #[test]
    fn unless_means_all_tables_and_surely() {
        let unless = of_tables(&["pg_catalog.*", "pg_*"]);
        for (tables, expected) in [
            (&["pg_class", "pg_catalog.pg_namespace"][..], true),
            (&["pg_class", "orders"], false),
            (&["orders"], false),
            (&[], false),
        ] {
            assert_eq!(unless.exempts(&class(), &facts(tables)), expected, "{tables:?}");
        }
        assert!(!of_tables(&["public.small"]).exempts(&class(), &facts(&["small"])));
        assert!(!unless.exempts(&class(), &Facts::unparsed(1)));
    }

    #[test]
    fn lists_of_one_selector_hold_together() {
        let glob = |text: &str| Some(vec![Glob(text.into())]);
        let both = Selector { users: glob("app"), applications: glob("web*"), ..Selector::default() };
        assert_eq!(both.includes(&class(), &facts(&[])), Selected::Yes);
        let other = Selector { users: glob("app"), databases: glob("other"), ..Selector::default() };
        assert_eq!(other.includes(&class(), &facts(&[])), Selected::No);
        assert!(!other.exempts(&class(), &facts(&[])));
    }
}
