//! The report as tables, or as one JSON object.

use std::io::{self, Write};

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use serde::Serialize;

use super::Outcome;
use super::input::Read;
use super::plans::Asked;
use super::words::{one_line, percent, seconds, thousands};
use crate::replay::{ActionShare, Report, SetReport, Share};

/// As `--json` has it.
#[derive(Serialize)]
struct Whole<'a> {
    logs: &'a [Read],
    #[serde(flatten)]
    report: &'a Report,
    #[serde(skip_serializing_if = "Option::is_none")]
    explain: Option<&'a Asked>,
    seconds_taken: f64,
}

pub(super) fn json(outcome: &Outcome, out: &mut impl Write) -> io::Result<()> {
    let whole = Whole {
        logs: &outcome.inputs,
        report: &outcome.report,
        explain: outcome.asked.as_ref(),
        seconds_taken: outcome.took.as_secs_f64(),
    };
    serde_json::to_writer(&mut *out, &whole)?;
    writeln!(out)
}

/// `width`: of the terminal, if it is one.
pub(super) fn write(
    outcome: &Outcome,
    width: Option<u16>,
    top: usize,
    out: &mut impl Write,
) -> io::Result<()> {
    let report = &outcome.report;
    overview(outcome, out)?;
    let sheet = Sheet { width, timed: report.total.share_of_time.is_some() };
    actions(report, &sheet, out)?;
    sheet.rules("By rule", &report.policies, out)?;
    if let Some(compare) = &report.compare {
        sheet.rules("By rule of --compare", compare, out)?;
        differences(report, &sheet, top, out)?;
    }
    fingerprints(report, &sheet, top, out)?;
    applications(report, &sheet, out)?;
    plans(outcome, &sheet, out)?;
    notes(outcome, out)
}

fn overview(outcome: &Outcome, out: &mut impl Write) -> io::Result<()> {
    let report = &outcome.report;
    let lines: u64 = outcome.inputs.iter().map(|input| input.lines).sum();
    for input in &outcome.inputs {
        writeln!(
            out,
            "{}: {}, {} lines, {} statements",
            one_line(&input.file, 200),
            input.format,
            thousands(input.lines),
            thousands(input.statements)
        )?;
    }
    let total = &report.total;
    let time = match report.timed_calls {
        0 => "their time is not logged".to_owned(),
        timed if timed < total.calls => {
            format!("{} of them took {}", thousands(timed), seconds(total.seconds))
        }
        _ => format!("they took {}", seconds(total.seconds)),
    };
    writeln!(
        out,
        "{} runs of {} statements; {time}; {} failed, {} could not be parsed",
        thousands(total.calls),
        thousands(report.statements),
        thousands(report.failed),
        thousands(report.unparsed.calls)
    )?;
    if let (Some(from), Some(until)) = (&report.from, &report.until) {
        writeln!(out, "from {from} to {until}")?;
    }
    let rate = lines as f64 / outcome.took.as_secs_f64().max(1e-9);
    writeln!(
        out,
        "read in {}, {} lines a second",
        seconds(outcome.took.as_secs_f64()),
        thousands(rate as u64)
    )
}

/// How tables look.
struct Sheet {
    width: Option<u16>,
    /// Some runs have times.
    timed: bool,
}

impl Sheet {
    /// A table; `numbers` are columns to align to the right.
    fn table(&self, header: &[&str], numbers: std::ops::Range<usize>) -> Table {
        let mut table = Table::new();
        table.load_style(presets::UTF8_HORIZONTAL_ONLY).set_header(header.iter().copied());
        if let Some(width) = self.width {
            table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
        }
        for at in numbers {
            if let Some(column) = table.column_mut(at) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        table
    }

    /// Calls, their share, time, its share.
    fn share(&self, share: &Share) -> [String; 4] {
        let time = share.share_of_time.map(|of_time| (seconds(share.seconds), percent(of_time)));
        let (took, of_time) = time.filter(|_| self.timed).unwrap_or_else(|| ("-".to_owned(), "-".to_owned()));
        [thousands(share.calls), percent(share.share_of_calls), took, of_time]
    }

    fn rules(&self, title: &str, set: &SetReport, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "\n{title} ({})", set.paths.join(", "))?;
        if set.rules.is_empty() {
            return writeln!(out, "No rule matches any of it.");
        }
        let header =
            ["rule", "action", "runs", "%", "time", "%", "statements", "beyond limit", "not answered"];
        let mut table = self.table(&header, 2..9);
        for rule in &set.rules {
            let action = match rule.mode {
                "observe" => format!("{}, observed only", rule.action),
                _ => rule.action.to_owned(),
            };
            let [calls, of_calls, time, of_time] = self.share(&rule.share);
            let more = if rule.more_fingerprints { "+" } else { "" };
            let statements = format!("{}{more}", thousands(rule.fingerprints));
            let beyond = rule.exceeded.map_or_else(String::new, |share| thousands(share.calls));
            let mut open = Vec::new();
            if rule.unanswered > 0 {
                open.push(thousands(rule.unanswered));
            }
            if rule.if_wildcard > 0 {
                open.push(format!("{} if a parameter starts with a wildcard", thousands(rule.if_wildcard)));
            }
            let row = [
                rule.rule.clone(),
                action,
                calls,
                of_calls,
                time,
                of_time,
                statements,
                beyond,
                open.join(", "),
            ];
            table.add_row(row);
        }
        writeln!(out, "{table}")?;
        if !set.silent_rules.is_empty() {
            writeln!(out, "without a match: {}", one_line(&set.silent_rules.join(", "), 2000))?;
        }
        Ok(())
    }
}

fn actions(report: &Report, sheet: &Sheet, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "\nWhat would have been done")?;
    let mut header = vec!["action", "runs", "%", "time", "%"];
    if report.compare.is_some() {
        header.extend(["runs (compare)", "%", "time", "%"]);
    }
    let mut table = sheet.table(&header, 1..header.len());
    let nothing = Share {
        calls: 0,
        seconds: 0.0,
        share_of_calls: 0.0,
        share_of_time: report.total.share_of_time.map(|_| 0.0),
    };
    for action in crate::replay::ACTIONS.map(crate::guard::Action::name) {
        let mut row = vec![said(action).to_owned()];
        let sets = [Some(&report.policies), report.compare.as_ref()];
        let shares: Vec<Option<&Share>> =
            sets.into_iter().flatten().map(|set| set.actions.get(action)).collect();
        if shares.iter().all(Option::is_none) {
            continue;
        }
        shares.into_iter().for_each(|share| row.extend(sheet.share(share.unwrap_or(&nothing))));
        table.add_row(row);
    }
    writeln!(out, "{table}")
}

/// An action that was taken.
fn said(action: &str) -> &str {
    match action {
        "block" => "blocked",
        "route" => "rerouted",
        "warn" => "warned of",
        "rewrite" => "rewritten",
        "limit" => "limited",
        "set" => "run with settings",
        _ => "allowed",
    }
}

fn in_words(actions: &ActionShare) -> String {
    let known = crate::replay::ACTIONS.map(crate::guard::Action::name);
    let happened: Vec<_> = known.iter().filter_map(|name| Some((*name, actions.get(name)?))).collect();
    match happened.as_slice() {
        [(only, _)] => (*only).to_owned(),
        several => {
            let each = several.iter().map(|(name, share)| format!("{name} {}", thousands(share.calls)));
            each.collect::<Vec<_>>().join(", ")
        }
    }
}

/// Of a statement; the JSON has all that was kept.
const TEXT: usize = 160;

fn differences(report: &Report, sheet: &Sheet, top: usize, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "\nWhat differs")?;
    if report.moves.is_empty() {
        return writeln!(out, "Nothing: both sets decide every run alike.");
    }
    let mut table = sheet.table(&["--compare", "--policies", "runs", "%", "time", "%"], 2..6);
    for change in &report.moves {
        let [calls, of_calls, time, of_time] = sheet.share(&change.share);
        table.add_row([
            change.compare.to_owned(),
            change.policies.to_owned(),
            calls,
            of_calls,
            time,
            of_time,
        ]);
    }
    writeln!(out, "{table}")?;
    let header = ["fingerprint", "--compare", "--policies", "runs", "%", "time", "%", "statement"];
    let mut table = sheet.table(&header, 3..7);
    for row in report.differences.iter().take(top) {
        let [calls, of_calls, time, of_time] = sheet.share(&row.share);
        let by = |actions: &ActionShare, rules: &[String]| match rules {
            [] => in_words(actions),
            rules => format!("{} ({})", in_words(actions), rules.join(", ")),
        };
        table.add_row([
            row.fingerprint.clone(),
            by(&row.compare, &row.compare_rules),
            by(&row.policies, &row.policies_rules),
            calls,
            of_calls,
            time,
            of_time,
            one_line(&row.normalized, TEXT),
        ]);
    }
    writeln!(out, "{table}")
}

fn fingerprints(report: &Report, sheet: &Sheet, top: usize, out: &mut impl Write) -> io::Result<()> {
    if report.fingerprints.is_empty() {
        return Ok(());
    }
    writeln!(out, "\nBy statement (the first {top} that a rule speaks of)")?;
    let header = ["fingerprint", "action", "rules", "runs", "%", "time", "%", "mean", "statement"];
    let mut table = sheet.table(&header, 3..8);
    for row in &report.fingerprints {
        let [calls, of_calls, time, of_time] = sheet.share(&row.share);
        let mean = if sheet.timed { seconds(row.mean_seconds) } else { "-".to_owned() };
        table.add_row([
            row.fingerprint.clone(),
            in_words(&row.actions),
            row.rules.join(", "),
            calls,
            of_calls,
            time,
            of_time,
            mean,
            one_line(&row.normalized, TEXT),
        ]);
    }
    writeln!(out, "{table}")?;
    if let Some(other) = &report.other {
        let runs = thousands(other.share.calls);
        writeln!(
            out,
            "{runs} runs of statements beyond --fingerprints are added up only: {}",
            in_words(&other.actions)
        )?;
    }
    Ok(())
}

fn applications(report: &Report, sheet: &Sheet, out: &mut impl Write) -> io::Result<()> {
    let named =
        report.applications.iter().any(|group| !(group.user.is_empty() && group.application.is_empty()));
    if !named {
        return Ok(());
    }
    writeln!(out, "\nBy application")?;
    let header = ["user", "database", "application", "runs", "%", "time", "%", "action"];
    let mut table = sheet.table(&header, 3..7);
    for group in &report.applications {
        let [calls, of_calls, time, of_time] = sheet.share(&group.share);
        let name = |text: &str| one_line(text, 64);
        let action = in_words(&group.actions);
        let names = [name(&group.user), name(&group.database), name(&group.application)];
        table.add_row(names.into_iter().chain([calls, of_calls, time, of_time, action]));
    }
    writeln!(out, "{table}")
}

fn plans(outcome: &Outcome, sheet: &Sheet, out: &mut impl Write) -> io::Result<()> {
    let Some(asked) = &outcome.asked else { return Ok(()) };
    writeln!(
        out,
        "\nWhat the planner says ({} statements asked, {} without their parameters, {} without an answer)",
        thousands(asked.statements),
        thousands(asked.generic),
        thousands(asked.failed)
    )?;
    let header = ["fingerprint", "time", "%", "cost", "rows", "reads whole", "statement", "advice"];
    let mut table = sheet.table(&header, 1..5);
    for row in &outcome.report.plans {
        let [_, _, time, of_time] = sheet.share(&row.share);
        let plan = &row.plan;
        let whole = match plan.seq_scan_rows {
            0 => String::new(),
            rows => format!("{} ({} rows)", plan.seq_scan_table, thousands(rows)),
        };
        let advice: Vec<String> = row.advice.iter().map(crate::guard::plan::Advice::hint).collect();
        table.add_row([
            row.fingerprint.clone(),
            time,
            of_time,
            thousands(plan.total_cost.max(0.0) as u64),
            thousands(plan.rows),
            whole,
            one_line(&row.normalized, TEXT),
            advice.join("\n"),
        ]);
    }
    writeln!(out, "{table}")?;
    if asked.not_asked > 0 {
        writeln!(out, "{} runs of statements beyond --explain-max have no plan", thousands(asked.not_asked))?;
    }
    asked.faults.iter().try_for_each(|fault| writeln!(out, "not asked: {}", one_line(fault, 400)))
}

/// What could not be read, and what to do about it.
fn notes(outcome: &Outcome, out: &mut impl Write) -> io::Result<()> {
    for input in &outcome.inputs {
        let file = one_line(&input.file, 200);
        if input.broken > 0 {
            writeln!(out, "\n{} lines of {file} could not be read, such as", thousands(input.broken))?;
            input
                .faults
                .iter()
                .try_for_each(|fault| writeln!(out, "  {file}:{}: {}", fault.line, fault.why))?;
        }
        if input.bare_durations > 0 {
            writeln!(
                out,
                "\n{} durations in {file} stand without their statement (log_duration logs Parse and Bind so; for others \
                 set log_min_duration_statement instead)",
                thousands(input.bare_durations)
            )?;
        }
        if let Some(zone) = &input.unknown_zone {
            let zone = one_line(zone, 40);
            writeln!(
                out,
                "\n{file}: the time zone \"{zone}\" is not known and was taken for UTC: give --log-timezone"
            )?;
        }
        if input.left_out > 0 {
            let count = thousands(input.left_out);
            writeln!(out, "\n{count} statements of {file} are outside of --since and --until")?;
        }
    }
    Ok(())
}
