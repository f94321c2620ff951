//! Kinds of session state, and what becomes of each: the one table that the probe and the manual are made from.

use std::fmt::Write as _;

use crate::guard::Effects;

/// What pgsluice does with a kind of state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Treatment {
    /// Goes with the client from server to server.
    Followed,
    /// Holds the server until it is gone; the server is asked behind every statement that may have ended it.
    Held,
    /// The same, but holds the server where what is there can't be made again: asked of the server.
    Mapped,
    /// Holds the server until `DISCARD ALL`, or until the client leaves: nobody can look at it.
    HeldForGood,
}

/// One kind.
#[derive(Debug)]
pub struct StateKind {
    pub effect: Effects,
    pub made_by: &'static str,
    pub treatment: Treatment,
    pub ends: &'static str,
    /// A boolean SQL expression that is true while the state is there. Functions and operators are named with their
    /// schema, since the client may have put anything into its `search_path`.
    pub shows: Option<&'static str>,
}

const fn kind(
    effect: Effects,
    made_by: &'static str,
    treatment: Treatment,
    ends: &'static str,
    shows: Option<&'static str>,
) -> StateKind {
    StateKind { effect, made_by, treatment, ends, shows }
}

/// Stands for the user's name as a literal, in [`StateKind::shows`].
pub(super) const USER: &str = "{user}";

/// Every kind, in the order of [`Effects::PINS`].
pub static KINDS: [StateKind; Effects::PINS.len()] = [
    kind(
        Effects::SETTING,
        "`SET`, `RESET`, `set_config()`, `SET TIME ZONE`, `SET NAMES`, `SET SESSION CHARACTERISTICS`, start-up \
         parameters, `options`; in functions and `DO` blocks, too",
        Treatment::Followed,
        "`RESET` leads back to the start-up value. A value that can't be learned holds the server.",
        None,
    ),
    kind(
        Effects::ROLE,
        "`SET ROLE`, `SET SESSION AUTHORIZATION`",
        Treatment::Held,
        "`RESET ROLE`, `SET ROLE NONE`, `RESET SESSION AUTHORIZATION`",
        Some(
            "pg_catalog.current_setting('role') OPERATOR(pg_catalog.<>) 'none' \
             OR SESSION_USER::pg_catalog.text OPERATOR(pg_catalog.<>) {user}",
        ),
    ),
    kind(
        Effects::TEMP_TABLE,
        "temporary tables, views, sequences, types, functions",
        Treatment::Held,
        "`DROP`, `ON COMMIT DROP`, `DISCARD TEMP`, rollback. The server is closed when its client leaves: it would \
         keep an empty temporary schema.",
        Some(
            "EXISTS (SELECT FROM pg_catalog.pg_depend WHERE refclassid OPERATOR(pg_catalog.=) 2615 \
             AND refobjid OPERATOR(pg_catalog.=) pg_catalog.pg_my_temp_schema())",
        ),
    ),
    kind(
        Effects::LISTEN,
        "`LISTEN`",
        Treatment::Held,
        "`UNLISTEN`",
        Some("EXISTS (SELECT FROM pg_catalog.pg_listening_channels())"),
    ),
    kind(
        Effects::ADVISORY_LOCK,
        "`pg_advisory_lock()` and its like, not those of a transaction",
        Treatment::Held,
        "`pg_advisory_unlock()`, `pg_advisory_unlock_all()`",
        Some(
            "EXISTS (SELECT FROM pg_catalog.pg_locks WHERE locktype OPERATOR(pg_catalog.=) 'advisory' \
             AND pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid())",
        ),
    ),
    kind(
        Effects::SQL_PREPARE,
        "SQL `PREPARE`",
        Treatment::Mapped,
        "`DEALLOCATE`. It is prepared anew on another server. One in a text of several statements, or made by code that \
         is not seen, or under settings of the transaction alone, holds the server, and so do more than 64.",
        Some("EXISTS (SELECT FROM pg_catalog.pg_prepared_statements WHERE from_sql)"),
    ),
    kind(
        Effects::HOLD_CURSOR,
        "`DECLARE … WITH HOLD`",
        Treatment::Held,
        "`CLOSE`",
        Some("EXISTS (SELECT FROM pg_catalog.pg_cursors WHERE is_holdable)"),
    ),
    kind(Effects::LIBRARY, "`LOAD`", Treatment::HeldForGood, "", None),
    kind(
        Effects::OPAQUE,
        "`setseed()`, `dblink_connect()`, `set_config()` with a name the text does not show, a `DO` block that sets a \
         setting of the application's own (`app.user`) or runs SQL that it puts together",
        Treatment::HeldForGood,
        "",
        None,
    ),
    kind(
        Effects::UNPARSED,
        "a text that the grammar does not read, or one above `guard.max_statement_bytes`",
        Treatment::HeldForGood,
        "a syntax error of the server's own",
        None,
    ),
    kind(Effects::SEQUENCE, "`currval()`, `lastval()`", Treatment::HeldForGood, "", None),
    kind(
        Effects::REPLICATION,
        "a replication connection (start-up parameter `replication`)",
        Treatment::HeldForGood,
        "the server connection is closed with it",
        None,
    ),
];

/// The kinds among these that the server shows, each with its expression.
pub(super) fn shown(kinds: Effects) -> impl Iterator<Item = (Effects, &'static str)> {
    let asked = KINDS.iter().filter(move |kind| kinds.has(kind.effect));
    asked.filter_map(|kind| Some((kind.effect, kind.shows?)))
}

/// The table of docs/SESSION.md.
#[must_use]
pub fn table() -> String {
    let mut out = String::from(
        "| reason in `pins_total` | made by | what becomes of it | ends with |\n|---|---|---|---|\n",
    );
    for (kind, (_, label)) in KINDS.iter().zip(Effects::PINS) {
        let becomes = match kind.treatment {
            Treatment::Followed | Treatment::Mapped => "goes with the client",
            Treatment::Held => "holds the server until it is gone",
            Treatment::HeldForGood => "holds the server",
        };
        let ends = match (kind.treatment, kind.ends) {
            (Treatment::Followed | Treatment::Mapped, ends) => ends.to_owned(),
            (_, "") => "`DISCARD ALL`, the client's end".to_owned(),
            (_, ends) => format!("{ends}; `DISCARD ALL`, the client's end"),
        };
        let _ = writeln!(out, "| `{label}` | {} | {becomes} | {ends} |", kind.made_by);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_its_row() {
        for (kind, (effect, label)) in KINDS.iter().zip(Effects::PINS) {
            assert_eq!(kind.effect, effect, "{label}");
            assert_eq!(kind.shows.is_some(), Effects::SHOWN.has(effect), "{label}");
            let asked = matches!(kind.treatment, Treatment::Held | Treatment::Mapped);
            assert_eq!(kind.shows.is_some(), asked, "{label}");
        }
    }
}
