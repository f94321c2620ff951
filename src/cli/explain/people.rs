//! What `explain` says of a statement, for people: a line for each thing, in colour on a terminal.

use std::io::{self, Write};

use super::contract::{Bounds, Explained, Finding, Verdict, depends, findings, verdict};
use crate::guard::Evaluation;
use crate::guard::facts::{Facts, ReadOptions, read};
use crate::guard::plan::PlanFacts;
use crate::guard::sql::Refusal;

/// Occurrences of a word that are tried as the place of a syntax error.
const TRIED: usize = 50;

/// Colours by what a word means.
struct Paint(bool);

impl Paint {
    fn with(&self, code: &str, text: &str) -> String {
        if self.0 { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn action(&self, action: &str, text: &str) -> String {
        match action {
            "block" => self.with("1;31", text),
            "warn" => self.with("1;33", text),
            "allow" => self.with("1;32", text),
            _ => self.with("1;36", text),
        }
    }
}

pub(super) fn write(subject: &Explained<'_>, colour: bool, out: &mut impl Write) -> io::Result<()> {
    let Evaluation { judgement, reading, decision } = subject.evaluation;
    let paint = Paint(colour);
    let mut line =
        |name: &str, text: &str| writeln!(out, "{} {text}", paint.with("2", &format!("{name:<12}")));
    line("statement", &judgement.normalized)?;
    line("fingerprint", &format!("{:016x}", judgement.fingerprint))?;
    if let Some(refusal) = &reading.refusal {
        line("not parsed", &paint.with("31", &refusal.to_string()))?;
        for shown in caret(subject.sql, refusal) {
            line("", &shown)?;
        }
    }
    for facts in &reading.statements {
        line("facts", &facts_in_words(facts))?;
    }
    if let Some(plan) = subject.around.plan {
        line("plan", &plan_in_words(plan))?;
    }
    if let Some(why) = subject.no_plan {
        line("no plan", &paint.with("31", why))?;
    }
    for advice in subject.advice {
        line("advice", &format!("{} ({})", advice.hint(), advice.why))?;
    }
    for finding in told(subject) {
        let mode = if finding.mode == Some("observe") { ", observed only" } else { "" };
        let action = finding
            .action
            .map_or("no rule".to_owned(), |action| format!("{}{mode}", paint.action(action, action)));
        line("finding", &format!("{} ({action}): {}", paint.with("1", &finding.rule), finding.message))?;
        for text in
            [finding.hint, finding.because.map(|facts| format!("because {facts}")).unwrap_or_default()]
        {
            if !text.is_empty() {
                line("", &text)?;
            }
        }
    }
    let depends = depends(subject);
    for rule in &decision.unanswered {
        let known_later = depends.iter().find(|dependence| *dependence.rule == **rule);
        let text = match known_later {
            Some(dependence) => {
                format!("{rule} depends on {}, which a run knows", dependence.on.join(" and "))
            }
            None => format!("{rule} reads what is not known of this statement"),
        };
        line("no answer", &text)?;
    }
    let whole = verdict(judgement, subject.policies);
    line("verdict", &paint.action(whole.action, &verdict_in_words(&whole)))?;
    if let Some(other) = judgement.with_wildcard.as_deref() {
        let text = verdict_in_words(&verdict(other, subject.policies));
        line("", &format!("{text} if a LIKE parameter starts with a wildcard"))?;
    }
    if let Some(bounds) = whole.limits.as_ref().map(bounds_in_words).filter(|words| !words.is_empty()) {
        line("limits", &bounds)?;
    }
    if !judgement.set.is_empty() {
        let set: Vec<String> =
            judgement.set.iter().map(|(name, value)| format!("{name} = {value}")).collect();
        line("settings", &set.join(", "))?;
    }
    if let Some(rewrite) = &judgement.rewrite {
        line("rewrite", &paint.with("31", &format!("- {}", subject.sql)))?;
        line("", &paint.with("32", &format!("+ {rewrite}")))?;
    }
    writeln!(out)
}

fn verdict_in_words(verdict: &Verdict<'_>) -> String {
    let by = verdict.rule.map_or_else(String::new, |rule| format!(" by {rule}"));
    match verdict.action {
        "block" => format!("block{by}"),
        action if ["primary", "replica"].contains(&verdict.route) => {
            format!("{action}{by}, on the {}", verdict.route)
        }
        action => format!("{action}{by}, in the lane {}", verdict.route),
    }
}

fn bounds_in_words(bounds: &Bounds) -> String {
    let mut words = Vec::new();
    words.extend(bounds.timeout.as_ref().map(|time| format!("timeout {time}")));
    words.extend(bounds.rows.map(|rows| format!("{rows} rows")));
    words.extend(bounds.bytes.map(|bytes| format!("{bytes} bytes")));
    words.extend(bounds.rates.iter().cloned());
    words.extend(bounds.concurrency.iter().map(|most| format!("{most} at once")));
    words.join(", ")
}

/// What a rule says in a detector's words is not said by the detector again.
fn told(subject: &Explained<'_>) -> Vec<Finding> {
    let (ruled, unruled): (Vec<Finding>, Vec<Finding>) =
        findings(subject).into_iter().partition(|finding| finding.action.is_some());
    let more: Vec<Finding> =
        unruled.into_iter().filter(|one| !ruled.iter().any(|other| other.message == one.message)).collect();
    ruled.into_iter().chain(more).collect()
}

fn plan_in_words(plan: &PlanFacts) -> String {
    let mut words = vec![format!("cost {:.0}, {} rows of {} bytes", plan.total_cost, plan.rows, plan.width)];
    if !plan.seq_scan_table.is_empty() {
        words.push(format!("reads all {} rows of {}", plan.seq_scan_rows, plan.seq_scan_table));
    }
    if !plan.indexes.is_empty() {
        words.push(format!("by {}", plan.indexes.join(", ")));
    }
    if plan.cartesian_rows > 0 {
        words.push(format!("pairs {} rows without a condition", plan.cartesian_rows));
    }
    if plan.spill_bytes > 0 {
        words.push(format!("spills {} MB ({})", plan.spill_bytes >> 20, plan.spills.join(", ")));
    }
    if !plan.unpruned.is_empty() {
        words.push(format!("reads every partition of {}", plan.unpruned.join(", ")));
    }
    words.join("; ")
}

/// The facts that say something: names, numbers above zero, and what is true.
fn facts_in_words(facts: &Facts) -> String {
    let value = serde_json::to_value(facts).unwrap_or_default();
    let mut words = Vec::new();
    for (name, value) in value.as_object().into_iter().flatten() {
        match value {
            serde_json::Value::Bool(true) => words.push(name.clone()),
            serde_json::Value::String(text) if !text.is_empty() => words.push(format!("{name} {text}")),
            serde_json::Value::Number(number) if number.as_u64() != Some(0) => {
                words.push(format!("{name} {number}"))
            }
            serde_json::Value::Array(list) if !list.is_empty() => {
                let items =
                    list.iter().map(|item| item.as_str().map_or_else(|| item.to_string(), str::to_owned));
                words.push(format!("{name} {}", items.collect::<Vec<_>>().join(" ")));
            }
            _ => {}
        }
    }
    words.join(", ")
}

/// The line of the text that cannot be read, and a caret below the place.
fn caret(sql: &str, refusal: &Refusal) -> Vec<String> {
    let Some((before, after)) = place(sql, refusal).and_then(|at| sql.split_at_checked(at)) else {
        return Vec::new();
    };
    let start = before.rfind('\n').map_or(0, |at| at + 1);
    let (number, lead) = (before.matches('\n').count() + 1, &before[start..]);
    let text = format!("{lead}{}", after.lines().next().unwrap_or_default());
    if text.len() > 200 {
        return vec![format!("line {number}, character {}", lead.chars().count() + 1)];
    }
    let number = number.to_string();
    let (margin, indent) = (" ".repeat(number.len()), " ".repeat(lead.chars().count()));
    vec![format!("{number} | {}", text.replace('\t', " ")), format!("{margin} | {indent}^ {refusal}")]
}

/// Where a text cannot be read, in bytes.
fn place(sql: &str, refusal: &Refusal) -> Option<usize> {
    match refusal {
        Refusal::NulByte { at }
        | Refusal::NotUtf8 { at }
        | Refusal::Unterminated { at, .. }
        | Refusal::BadToken { at, .. }
        | Refusal::CommentDepth { at }
        | Refusal::OperatorLength { at }
        | Refusal::UnicodeEscape { at }
        | Refusal::Effort { at } => Some(*at),
        Refusal::Syntax(message) if message.ends_with("at end of input") => Some(sql.trim_end().len()),
        Refusal::Syntax(message) => {
            // The grammar names the word and not its place: it is the first one up to which the text fails the same way.
            let word = message.split_once(" at or near \"")?.1.strip_suffix('"')?;
            let fails = |end: usize| {
                let text = sql.get(..end).unwrap_or_default();
                read(text.as_bytes(), &ReadOptions::default()).refusal.as_ref() == Some(refusal)
            };
            let each = || sql.match_indices(word).map(|(at, _)| at).take(TRIED);
            each().find(|at| fails(at + word.len())).or_else(|| each().next())
        }
        Refusal::TooLarge { .. } | Refusal::Nesting { .. } | Refusal::ParserFailed => None,
    }
}
