//! The detectors: each is one file with its documentation, its check and its tests, listed in the `mod.rs` of its
//! family.
//!
//! A detector reads what is known of one statement and says what is wrong with it, or nothing. What follows from that
//! (a warning, an error, nothing at all) is the policies' business. What a house may see differently (how many joins
//! are too many, which column every query must filter by) is an option: `with = { max = 5 }` in the rule.

use super::facts::Facts;
use super::{Kind, Subject};

mod ddl;
mod names;
mod options;
mod plan;
mod reads;
mod security;
mod session;
#[cfg(test)]
mod testing;
mod writes;

pub use options::{Given, Opt, OptType, Options};

/// What a detector found, in words for the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What the statement does and to what, as a sentence.
    pub message: String,
    /// What to do instead; starts with a verb.
    pub hint: String,
}

/// One built-in detector.
#[derive(Debug)]
pub struct Detector {
    /// As `finds` in a policy names it: after the bad pattern.
    pub name: &'static str,
    /// Other names of it, which `finds` takes, too: other tools' and other habits'.
    pub aliases: &'static [&'static str],
    /// The family it stands in: `reads`, `writes`, `ddl`, `security`, `session`.
    pub family: &'static str,
    /// The facts it reads, as conditions name them: `query.tables`, `session.repeats`.
    pub reads: &'static [&'static str],
    /// What `with` may set.
    pub options: &'static [Opt],
    pub check: fn(&Subject<'_>, &Options) -> Option<Finding>,
    source: &'static str,
}

impl Detector {
    /// One that finds nothing, for tests of what follows from what a detector reads.
    #[cfg(test)]
    pub(in crate::guard) fn that_reads(reads: &'static [&'static str]) -> Self {
        Self { name: "x", aliases: &[], family: "", reads, options: &[], check: |_, _| None, source: "" }
    }

    /// Its documentation, Markdown: the `//!` lines of its file.
    #[must_use]
    pub fn documentation(&self) -> String {
        let lines = self.source.lines().map_while(|line| line.strip_prefix("//!"));
        lines
            .map(|line| line.strip_prefix(' ').unwrap_or(line))
            .fold(String::new(), |text, line| text + line + "\n")
    }
}

/// One family's list: `rules! { "reads": "select-star" => select_star, … }`; `"name" | "other name" => …` has aliases.
macro_rules! rules {
    ($family:literal: $($name:literal $(| $alias:literal)* => $module:ident,)*) => {
        $(mod $module;)*

        pub(super) static DETECTORS: &[$crate::guard::rules::Detector] = &[
            $($crate::guard::rules::Detector {
                name: $name,
                aliases: &[$($alias),*],
                family: $family,
                reads: $module::READS,
                options: $module::OPTIONS,
                check: $module::check,
                source: include_str!(concat!(stringify!($module), ".rs")),
            },)*
        ];
    };
}
use rules;

/// Every detector, family by family.
pub fn detectors() -> impl Iterator<Item = &'static Detector> + Clone {
    [
        reads::DETECTORS,
        writes::DETECTORS,
        ddl::DETECTORS,
        security::DETECTORS,
        session::DETECTORS,
        plan::DETECTORS,
    ]
    .into_iter()
    .flatten()
}

/// The detector of that name, or of that other name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Detector> {
    detectors().find(|detector| detector.name == name || detector.aliases.contains(&name))
}

/// docs/RULES.md.
#[must_use]
pub fn documentation() -> String {
    let mut out = String::from(
        "# Detectors\n\n\
         Generated from `src/guard/rules/`; `UPDATE=1 cargo test` writes it again. A policy names a detector in\n\
         `finds` and says what follows; see `policies/README.md`. Options stand in the rule: `with = { max = 5 }`.\n",
    );
    out += "\n`query.changes` holds these words, one for each kind of change that a statement makes: ";
    out += &super::facts::WORDS.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ");
    out += ".\n";
    let mut family = "";
    for detector in detectors() {
        if detector.family != family {
            family = detector.family;
            out += &format!("\n# Family: {family}\n");
        }
        let facts: Vec<String> = detector.reads.iter().map(|fact| format!("`{fact}`")).collect();
        out += &format!("\n## {}\n\n", detector.name);
        if !detector.aliases.is_empty() {
            let aliases: Vec<String> = detector.aliases.iter().map(|alias| format!("`{alias}`")).collect();
            out += &format!("Also called {}.\n\n", aliases.join(", "));
        }
        out += &format!("{}\nReads {}.\n", detector.documentation(), facts.join(", "));
        if !detector.options.is_empty() {
            out += "\n| option | type | default | |\n|---|---|---|---|\n";
            for option in detector.options {
                let Opt { name, doc, .. } = option;
                out += &format!("| `{name}` | {} | {} | {doc} |\n", option.ty(), option.default_shown());
            }
        }
    }
    out
}

/// `orders`, or `orders and 2 more tables`; `nothing` only if the statement names no table.
fn tables(facts: &Facts, nothing: &str) -> String {
    match facts.tables.as_slice() {
        [] => nothing.to_owned(),
        [only] => only.clone(),
        [first, second] => format!("{first} and {second}"),
        [first, rest @ ..] => format!("{first} and {} more tables", rest.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Who knows squawk's rules, or says what is meant in plain words, finds the detector.
    #[test]
    fn the_catalogue_is_complete() {
        #[rustfmt::skip]
        let plain = [
            "select-star", "wide-row-select", "leading-wildcard-like", "regex-scan", "function-over-indexed-column",
            "implicit-cast-on-column", "cross-join", "too-many-joins", "unbounded-select", "deep-offset",
            "huge-in-list", "order-by-random", "not-in-subquery", "or-across-columns", "count-star-of-big-table",
            "select-for-update-without-limit", "missing-required-predicate", "analytics-shape", "lock-heavy-read",
            "write-without-where", "write-with-always-true-where", "write-without-key", "bulk-write-without-limit",
            "insert-without-columns", "multi-row-insert-too-large", "truncate", "update-of-key",
            "foreign-table-write", "table-rewrite", "add-column-with-volatile-default", "set-not-null",
            "add-foreign-key-without-not-valid", "add-check-without-not-valid",
            "create-index-without-concurrently", "drop-index-without-concurrently", "rename-column",
            "rename-table", "change-column-type", "drop-column", "drop-table", "drop-database",
            "lock-without-lock-timeout", "vacuum-full", "cluster", "maintenance-in-working-hours",
            "ddl-in-long-transaction", "stacked-statements", "tautology-predicate", "comment-truncation",
            "server-file-access", "dangerous-function", "catalog-snooping", "role-or-privilege-change",
            "set-of-forbidden-setting", "union-injection", "transaction-left-open", "repeated-lookup", "idle-pin",
        ];
        // Two of its list are errors of PostgreSQL's own: syntax-error, ban-duplicate-column-assignments.
        #[rustfmt::skip]
        let squawk = [
            "adding-field-with-default", "adding-foreign-key-constraint", "adding-not-nullable-field",
            "adding-required-field", "adding-serial-primary-key-field", "ban-alter-domain-with-add-constraint",
            "ban-char-field", "ban-concurrent-index-creation-in-transaction", "ban-create-domain-with-constraint",
            "ban-drop-column", "ban-drop-database", "ban-drop-not-null", "ban-drop-table", "ban-truncate-cascade",
            "ban-uncommitted-transaction", "changing-column-type", "constraint-missing-not-valid",
            "disallowed-unique-constraint", "identifier-too-long", "prefer-bigint-over-int",
            "prefer-bigint-over-smallint", "prefer-identity", "prefer-repack", "prefer-robust-stmts",
            "prefer-text-field", "prefer-timestamptz", "renaming-column", "renaming-table",
            "require-concurrent-index-creation", "require-concurrent-index-deletion",
            "require-concurrent-partition-detach", "require-concurrent-reindex", "require-enum-value-ordering",
            "require-lock-timeout", "require-statement-timeout", "require-table-schema",
            "require-timeout-settings", "transaction-nesting",
        ];
        let missing: Vec<&str> =
            plain.into_iter().chain(squawk).filter(|name| find(name).is_none()).collect();
        assert_eq!(missing, [""; 0]);
    }

    #[test]
    fn every_detector_has_its_name_its_headings_and_real_facts() {
        let mut names: Vec<&str> = detectors()
            .flat_map(|detector| std::iter::once(detector.name).chain(detector.aliases.iter().copied()))
            .collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count, "two detectors of one name");
        for detector in detectors() {
            let text = detector.documentation();
            let headings = ["What it does", "Why it hurts", "Example", "Instead", "How to silence"];
            for heading in headings {
                assert!(text.contains(&format!("### {heading}\n")), "{}: {heading}", detector.name);
            }
            assert!(
                ["flags(", "flags_in("].iter().any(|call| detector.source.contains(call))
                    && ["passes(", "passes_in("].iter().any(|call| detector.source.contains(call)),
                "{}",
                detector.name
            );
            for fact in detector.reads {
                assert!(crate::guard::policy::is_fact(fact), "{}: {fact}", detector.name);
            }
            let code = detector.source.split("#[cfg(test)]").next().unwrap_or_default();
            for (root, field) in crate::guard::policy::facts() {
                let called = match root {
                    "query" => "facts",
                    "catalog" => "known",
                    root => root,
                };
                let used = code.match_indices(&format!("{called}.{field}")).any(|(at, found)| {
                    let next = code[at + found.len()..].chars().next();
                    !next.is_some_and(|next| next.is_alphanumeric() || next == '_' || next == '(')
                });
                let fact = format!("{root}.{field}");
                assert!(!used || detector.reads.contains(&fact.as_str()), "{} reads {fact}", detector.name);
            }
        }
    }
}
