//! The detectors: each is one file with its documentation, its check and its tests. Here is the only list.
//!
//! A detector reads the facts of one statement and says what is wrong with it, or nothing. What follows from that
//! (a warning, an error, nothing at all) is the policies' business.

use super::Kind;
use super::facts::Facts;

#[cfg(test)]
mod testing;

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
    /// The facts it reads, as in `query.…`.
    pub reads: &'static [&'static str],
    pub check: fn(&Facts) -> Option<Finding>,
    source: &'static str,
}

impl Detector {
    /// Its documentation, Markdown: the `//!` lines of its file.
    #[must_use]
    pub fn documentation(&self) -> String {
        let lines = self.source.lines().map_while(|line| line.strip_prefix("//!"));
        lines
            .map(|line| line.strip_prefix(' ').unwrap_or(line))
            .fold(String::new(), |text, line| text + line + "\n")
    }
}

macro_rules! rules {
    ($($name:literal => $module:ident,)+) => {
        $(mod $module;)+

        /// Every detector.
        pub static DETECTORS: &[Detector] = &[
            $(Detector {
                name: $name,
                reads: $module::READS,
                check: $module::check,
                source: include_str!(concat!(stringify!($module), ".rs")),
            },)+
        ];
    };
}

rules! {
    "leading-wildcard-like" => leading_wildcard_like,
    "select-star" => select_star,
    "write-without-where" => write_without_where,
}

/// The detector of that name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Detector> {
    DETECTORS.iter().find(|detector| detector.name == name)
}

/// docs/RULES.md.
#[must_use]
pub fn documentation() -> String {
    let mut out = String::from(
        "# Detectors\n\n\
         Generated from `src/guard/rules/`; `UPDATE=1 cargo test` writes it again. A policy names a detector in\n\
         `finds` and says what follows; see `policies/README.md`.\n",
    );
    for detector in DETECTORS {
        let facts: Vec<String> = detector.reads.iter().map(|fact| format!("`query.{fact}`")).collect();
        out +=
            &format!("\n## {}\n\n{}\nReads {}.\n", detector.name, detector.documentation(), facts.join(", "));
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

    #[test]
    fn every_detector_has_its_name_its_headings_and_real_facts() {
        for detector in DETECTORS {
            let text = detector.documentation();
            let headings = ["What it does", "Why it hurts", "Example", "Instead", "How to silence"];
            for heading in headings {
                assert!(text.contains(&format!("### {heading}\n")), "{}: {heading}", detector.name);
            }
            assert!(
                detector.source.contains("flags(") && detector.source.contains("passes("),
                "{}",
                detector.name
            );
            for fact in detector.reads {
                assert!(crate::guard::policy::QUERY_FIELDS.contains(fact), "{}: {fact}", detector.name);
            }
        }
    }
}
