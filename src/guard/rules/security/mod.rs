//! What an application does not say unless somebody else speaks through it.

#[allow(unused_imports)] // what the detectors of a family share
use super::{Facts, Finding, Kind, Opt, Options, Subject, rules, tables};

rules! {
    "security":
    "stacked-statements" => stacked_statements,
    "tautology-predicate" => tautology_predicate,
    "comment-truncation" => comment_truncation,
    "union-injection" => union_injection,
    "server-file-access" => server_file_access,
    "dangerous-function" => dangerous_function,
    "catalog-snooping" => catalog_snooping,
    "role-or-privilege-change" => role_or_privilege_change,
    "forbidden-setting" => forbidden_setting,
}

/// `name` is the pattern, in which `*` stands for any characters.
fn matches_name(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((head, rest)) => name.strip_prefix(head).is_some_and(|mut tail| {
            rest.is_empty()
                || loop {
                    if matches_name(rest, tail) {
                        break true;
                    }
                    let mut chars = tail.chars();
                    if chars.next().is_none() {
                        break false;
                    }
                    tail = chars.as_str();
                }
        }),
    }
}

/// A relation or function without its schema.
fn unqualified(written: &str) -> &str {
    written.rsplit_once('.').map_or(written, |(_, name)| name)
}

/// The first function called that is PostgreSQL's own and among `listed` (`*.name`: in any schema), or among the option
/// `functions` (in any schema, unless the pattern names one), and not in the option `allow`.
fn own_function<'a>(facts: &'a Facts, listed: &[&str], options: &Options) -> Option<&'a str> {
    facts.functions.iter().map(String::as_str).find(|written| {
        let name = unqualified(written);
        let own = written.rsplit_once('.').is_none_or(|(schema, _)| schema == "pg_catalog");
        let is = |pattern: &str| matches_name(pattern, written) || matches_name(pattern, name);
        let is_listed = listed.iter().any(|pattern| match pattern.strip_prefix("*.") {
            Some(anywhere) => matches_name(anywhere, name),
            None => own && matches_name(pattern, name),
        });
        (is_listed || options.texts("functions").iter().any(|pattern| is(pattern)))
            && !options.texts("allow").iter().any(|pattern| is(pattern))
    })
}

#[cfg(test)]
mod tests {
    use super::matches_name;

    #[test]
    fn patterns_of_names() {
        for (pattern, name, expected) in [
            ("a", "a", true),
            ("a", "ab", false),
            ("a*", "a", true),
            ("*b*d", "abcbd", true),
            ("pg_create_*_slot", "pg_create_x_slot", true),
            ("pg_create_*_slot", "pg_create_slot", false),
            ("*", "", true),
        ] {
            assert_eq!(matches_name(pattern, name), expected, "{pattern} {name}");
        }
    }
}
