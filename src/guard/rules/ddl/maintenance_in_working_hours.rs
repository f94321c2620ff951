//! ### What it does
//! Finds `VACUUM FULL`, `CLUSTER`, `REINDEX` without `CONCURRENTLY` and `REFRESH MATERIALIZED VIEW` without it,
//! between the hours `from` and `until` on `days`. Hours are those of the policy's zone.
//!
//! ### Why it hurts
//! They lock out everybody for as long as they take. At night nobody notices.
//!
//! ### Example
//! ```sql
//! VACUUM FULL orders;
//! ```
//!
//! ### Instead
//! Run it outside of working hours, or in a form that locks nobody out.
//!
//! ### How to silence
//! Set the hours: `with = { from = 8, until = 20, days = ["monday", "friday"] }`.

use super::{Finding, Opt, Options, Subject};

pub(super) const READS: &[&str] = &["query.changes", "query.tables", "time.hour", "time.weekday"];
pub(super) const OPTIONS: &[Opt] = &[
    Opt::int("from", 8, "the first hour of work"),
    Opt::int("until", 18, "the first hour after work; smaller than `from` for a shift over midnight"),
    Opt::texts("days", &["monday", "tuesday", "wednesday", "thursday", "friday"], "days of work"),
];

pub(super) fn check(subject: &Subject<'_>, options: &Options) -> Option<Finding> {
    let time = subject.around.time?;
    let change = subject.facts.ddl.iter().find(|change| match change.what {
        "vacuum full" | "cluster" => true,
        "reindex" | "refresh materialized view" => !change.concurrently,
        _ => false,
    })?;
    let (hour, from, until) = (i64::from(time.hour), options.int("from"), options.int("until"));
    let works = if from <= until { (from..until).contains(&hour) } else { hour >= from || hour < until };
    if !works || !options.texts("days").contains(&time.weekday) {
        return None;
    }
    Some(Finding {
        message: format!("This locks out all that use {} in working hours.", change.subject()),
        hint: format!("Run it before {from} or after {until} o'clock."),
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{Around, flags_in, passes, passes_in};
    use super::Finding;

    #[test]
    fn passes_others() {
        passes("maintenance-in-working-hours", "VACUUM FULL orders");
        passes("maintenance-in-working-hours", "SELECT 1");
    }

    fn flags(sql: &str, around: &Around) -> Finding {
        flags_in("maintenance-in-working-hours", sql, around)
    }

    fn at(hour: u32, weekday: &str) -> Around {
        let time = crate::guard::TimeFacts { hour, weekday: weekday.to_owned(), ..Default::default() };
        Around { time: Some(time), ..Around::default() }
    }

    #[test]
    fn in_working_hours_and_outside() {
        let name = "maintenance-in-working-hours";
        for sql in ["VACUUM FULL orders", "CLUSTER", "REINDEX TABLE orders", "REFRESH MATERIALIZED VIEW v"] {
            let _ = flags(sql, &at(9, "monday"));
            passes_in(name, sql, &at(19, "monday"));
            passes_in(name, sql, &at(9, "sunday"));
        }
        passes_in(name, "REINDEX TABLE CONCURRENTLY orders", &at(9, "monday"));
        let night = at(23, "monday").and_with(name, |with| {
            with.set("from", crate::guard::rules::Given::Int(22));
            with.set("until", crate::guard::rules::Given::Int(6));
        });
        let _ = flags("VACUUM FULL", &night);
    }
}
