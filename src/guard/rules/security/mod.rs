//! What an application does not say unless somebody else speaks through it.

use super::names::{bare, is_like};
#[allow(unused_imports)] // what the detectors of a family share
use super::{Facts, Finding, Kind, Opt, Options, Subject, rules, tables};

rules! {
    "security":
    "stacked-statements" => stacked_statements,
    "tautology-predicate" => tautology_predicate,
    "comment-truncation" => comment_truncation,
    "union-injection" | "union-injection-shape" => union_injection,
    "server-file-access" => server_file_access,
    "dangerous-function" => dangerous_function,
    "catalog-snooping" => catalog_snooping,
    "role-or-privilege-change" => role_or_privilege_change,
    "forbidden-setting" | "set-of-forbidden-setting" => forbidden_setting,
}

/// The first function called that is PostgreSQL's own and among `listed` (`*.name`: in any schema), or among the option
/// `functions` (in any schema, unless the pattern names one), and not in the option `allow`.
fn own_function<'a>(facts: &'a Facts, listed: &[&str], options: &Options) -> Option<&'a str> {
    facts.functions.iter().map(String::as_str).find(|written| {
        let name = bare(written);
        let own = written.rsplit_once('.').is_none_or(|(schema, _)| schema == "pg_catalog");
        let is = |pattern: &str| is_like(pattern, written) || is_like(pattern, name);
        let is_listed = listed.iter().any(|pattern| match pattern.strip_prefix("*.") {
            Some(anywhere) => is_like(anywhere, name),
            None => own && is_like(pattern, name),
        });
        (is_listed || options.texts("functions").iter().any(|pattern| is(pattern)))
            && !options.texts("allow").iter().any(|pattern| is(pattern))
    })
}
