//! ### What it does
//! Finds a statement of a client that has held its server connection beyond its transactions for `pinned_seconds` or more: by
//! a temporary table, a session's advisory lock, `LISTEN`, a cursor `WITH HOLD`. `allow` lists reasons that do not count.
//! A client that says nothing is looked at every second; `block` ends it.
//!
//! ### Why it hurts
//! A pinned server connection serves nobody else. A pool of twenty with twenty forgotten temporary tables is an outage.
//!
//! ### Example
//! ```sql
//! CREATE TEMP TABLE work (id int);
//! -- and hours of other queries
//! ```
//!
//! ### Instead
//! ```sql
//! CREATE TEMP TABLE work (id int) ON COMMIT DROP;
//! ```
//! Use `pg_advisory_xact_lock`; `DISCARD TEMP`, `UNLISTEN *` when done.
//!
//! ### How to silence
//! A listener holds on purpose: `with = { allow = ["listen"] }`, or `unless = { applications = ["worker"] }`.

use super::{Finding, Opt, Options, Subject};

pub(super) const READS: &[&str] = &["session.pins", "session.pinned_seconds"];
pub(super) const OPTIONS: &[Opt] = &[
    Opt::int("pinned_seconds", 60, "longest that a client may hold its server"),
    Opt::texts("allow", &[], "reasons that may be, as `SHOW CLIENTS` names them"),
];

pub(super) fn check(subject: &Subject<'_>, options: &Options) -> Option<Finding> {
    let session = subject.around.session?;
    if session.pinned_seconds < options.int("pinned_seconds") as f64 {
        return None;
    }
    let pin = session.pins.iter().find(|pin| !options.texts("allow").contains(pin))?;
    Some(Finding {
        message: format!(
            "This session has held its server for {:.0} seconds ({pin}).",
            session.pinned_seconds
        ),
        hint: "Drop what holds it once it is done, or make it end with its transaction.".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::Given;
    use super::super::super::testing::{Around, flags_in, passes, passes_in};
    use crate::guard::SessionFacts;

    fn held(pinned_seconds: f64, pin: &str) -> Around {
        Around::session(SessionFacts { pinned_seconds, pins: vec![pin.into()], ..SessionFacts::blank() })
    }

    #[test]
    fn flags_a_server_held_for_long() {
        let flags = |sql, around: &Around| flags_in("idle-pin", sql, around);
        let found = flags("SELECT 1", &held(61.0, "temp_table"));
        assert_eq!(found.message, "This session has held its server for 61 seconds (temp_table).");
    }

    #[test]
    fn passes_short_and_allowed_pins() {
        passes("idle-pin", "SELECT 1");
        passes_in("idle-pin", "SELECT 1", &held(59.0, "temp_table"));
        passes_in("idle-pin", "SELECT 1", &Around::session(SessionFacts::blank()));
        let lax = held(600.0, "listen")
            .and_with("idle-pin", |options| options.set("allow", Given::Texts(vec!["listen".into()])));
        passes_in("idle-pin", "SELECT 1", &lax);
    }
}
