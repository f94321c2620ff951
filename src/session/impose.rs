//! Settings that a policy puts in force for a statement's transaction.
//!
//! In a transaction block they are made local to it and taken back behind the statement. Outside of one they are the
//! session's for as long as the statement's batch runs, so that it needs no transaction block (`VACUUM` refuses one),
//! and gone before the client's next statement, or before anybody else uses the server. Where a statement comes amid a
//! batch, they are local to the batch's transaction, and end with it.
//!
//! A timeout that is stricter already stays: which one that is, the server decides.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use super::align::{ParamSet, literal};
use super::backend::Backend;
use super::client::{Mode, Session};
use super::expect::{Expect, Whose};
use super::outlet::Outlet;
use super::turn::Turn;
use crate::guard::Judgement;
use crate::wire::{backend as view, frontend, reply};

/// Settings of which the smaller is the stricter, and 0 is none.
const TIMEOUTS: [&str; 5] = [
    "idle_in_transaction_session_timeout",
    "idle_session_timeout",
    "lock_timeout",
    "statement_timeout",
    "transaction_timeout",
];

/// Our statement and portal amid a client's batch.
const NAME: &[u8] = b"pgsluice_set";

/// What is in force on a server beside its client's settings.
#[derive(Debug)]
pub(super) struct Imposed {
    /// For this statement, in this batch.
    judgement: Arc<Judgement>,
    batch: u64,
    way: Way,
}

#[derive(Debug)]
enum Way {
    /// Aligning takes it back.
    Align,
    /// The values from before are given back, unless the transaction is over.
    Values { local: bool, before: Vec<(Box<str>, Box<str>)> },
    /// It ends by itself.
    Local,
}

impl Session {
    /// Puts the statement's settings in force. Nothing of the client's is under way but its own batch.
    pub(super) fn impose(&mut self, judgement: &Arc<Judgement>, t: &mut Turn<'_, '_>) {
        if judgement.set.is_empty() {
            return;
        }
        let Some(link) = t.link.as_deref_mut() else { return };
        let batch = link.batch();
        let same = |i: &Imposed| i.batch == batch && i.judgement.set == judgement.set;
        if link.status == b'E' || link.imposed.as_deref().is_some_and(same) {
            return;
        }
        let way = if link.unsynced {
            amid(link, &assignments(judgement, true), t.up);
            match link.imposed.take() {
                Some(imposed) if imposed.batch == batch => imposed.way,
                _ => Way::Local,
            }
        } else if link.status == b'I' && self.mode != Mode::Session {
            link.send_hidden(&assignments(judgement, false), Expect::Imposed { asks: false }, t.up);
            let mut settings = ParamSet::clone(&self.settings);
            judgement.set.iter().for_each(|(name, value)| settings.set(name, value));
            link.aligned(&Arc::new(settings));
            Way::Align
        } else {
            let local = link.status == b'T';
            let sql = format!("{};{}", values(judgement), assignments(judgement, local));
            link.send_hidden(&sql, Expect::Imposed { asks: true }, t.up);
            Way::Values { local, before: Vec::new() }
        };
        let judgement = Arc::clone(judgement);
        link.imposed = Some(Box::new(Imposed { judgement, batch, way }));
    }

    /// Takes back what was in force for the last statement. The server owes the client nothing.
    pub(super) fn depose(&self, t: &mut Turn<'_, '_>) {
        if let Some(link) = t.link.as_deref_mut() {
            link.depose(&self.settings, t.up);
        }
    }
}

impl Backend {
    /// The same, for a client with these settings.
    pub(super) fn depose(&mut self, settings: &Arc<ParamSet>, up: &mut Outlet<'_>) {
        let Some(imposed) = self.imposed.take() else { return };
        let own = |name: &str| imposed.judgement.settings.iter().any(|own| **own == *name);
        match imposed.way {
            Way::Align => {
                // What the statement itself has set is its client's: it is asked for, not taken back.
                let mut now = ParamSet::clone(settings);
                let set = imposed.judgement.set.iter().filter(|(name, _)| own(name));
                set.for_each(|(name, value)| now.set(name, value));
                self.align(&Arc::new(now), up);
            }
            Way::Values { local, before } => {
                if local && self.status != b'T' {
                    return;
                }
                let mut sql = String::new();
                for (name, value) in before.iter().filter(|(name, _)| !own(name)) {
                    sql.push_str(if sql.is_empty() { "SELECT " } else { ", " });
                    set_config(&mut sql, name, local, |sql| literal(sql, value));
                }
                if !sql.is_empty() {
                    self.send_hidden(&sql, Expect::Imposed { asks: false }, up);
                }
            }
            Way::Local => {}
        }
    }

    /// Values from before, from the answer to what put others in force.
    pub(super) fn imposed_row(&mut self, body: &[u8]) {
        let Some(imposed) = self.imposed.as_deref_mut() else { return };
        let Way::Values { before, .. } = &mut imposed.way else { return };
        if !before.is_empty() {
            return;
        }
        let values = view::data_row(body).into_iter().flatten();
        for ((name, _), value) in imposed.judgement.set.iter().zip(values) {
            if let Some(value) = value.and_then(|value| std::str::from_utf8(value).ok()) {
                before.push((name.clone(), value.into()));
            }
        }
    }
}

/// A batch of ours in the client's.
fn amid(link: &mut Backend, sql: &str, up: &mut Outlet<'_>) {
    let execute = [NAME, &[0, 0, 0, 0, 0]].concat();
    let portal = [b"P", NAME, &[0]].concat();
    up.add(|v| {
        frontend::put_parse(v, NAME, &[sql.as_bytes(), &[0, 0, 0]].concat());
        frontend::put_bind_head(v, NAME, NAME, 6);
        v.extend_from_slice(&[0; 6]);
        reply::message(v, b'E', |v| v.extend_from_slice(&execute));
        reply::message(v, b'C', |v| v.extend_from_slice(&portal));
        frontend::put_statement_target(v, b'C', NAME);
    });
    let whose = Whose::Ours;
    link.queue.push_back(Expect::Parse { id: 0, serial: 0, whose, effects: crate::guard::Effects::NONE });
    link.queue.push_back(Expect::Imposing);
    link.queue.push_back(Expect::CloseHidden { id: 0, serial: 0 });
}

fn values(judgement: &Judgement) -> String {
    let mut sql = String::from("SELECT ");
    for (i, (name, _)) in judgement.set.iter().enumerate() {
        sql.push_str(if i == 0 { "" } else { ", " });
        sql.push_str("pg_catalog.current_setting(");
        literal(&mut sql, name);
        sql.push_str(", true)");
    }
    sql
}

fn assignments(judgement: &Judgement, local: bool) -> String {
    let mut sql = String::from("SELECT ");
    for (i, (name, value)) in judgement.set.iter().enumerate() {
        sql.push_str(if i == 0 { "" } else { ", " });
        set_config(&mut sql, name, local, |sql| stricter(sql, name, value));
    }
    sql
}

fn set_config(sql: &mut String, name: &str, local: bool, value: impl FnOnce(&mut String)) {
    sql.push_str("pg_catalog.set_config(");
    literal(sql, name);
    sql.push_str(", ");
    value(sql);
    let _ = write!(sql, ", {local})");
}

/// The value, or for a timeout what is in force if that is smaller.
fn stricter(sql: &mut String, name: &str, value: &str) {
    let ours = TIMEOUTS.contains(&name).then(|| time(value)).flatten().filter(|time| !time.is_zero());
    let Some(ours) = ours else { return literal(sql, value) };
    let mut current = String::from("pg_catalog.current_setting(");
    literal(&mut current, name);
    current.push(')');
    let seconds = format!("pg_catalog.date_part('epoch', {current}::pg_catalog.interval)");
    let _ = write!(
        sql,
        "CASE WHEN {seconds} OPERATOR(pg_catalog.>) '0'::pg_catalog.float8 AND {seconds} OPERATOR(pg_catalog.<) \
         '{}'::pg_catalog.float8 THEN {current} ELSE ",
        ours.as_secs_f64()
    );
    literal(sql, value);
    sql.push_str(" END");
}

/// A time as PostgreSQL writes it: a number of milliseconds, or one with a unit.
pub(super) fn time(value: &str) -> Option<Duration> {
    let value = value.trim();
    let digits = value.find(|c: char| !c.is_ascii_digit()).unwrap_or(value.len());
    let (number, unit) = value.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let micros = match unit.trim() {
        "us" => 1,
        "" | "ms" => 1_000,
        "s" => 1_000_000,
        "min" => 60_000_000,
        "h" => 3_600_000_000,
        "d" => 86_400_000_000,
        _ => return None,
    };
    Some(Duration::from_micros(number.checked_mul(micros)?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn times_are_read_as_postgresql_reads_them() {
        assert_eq!(time("5000"), Some(Duration::from_secs(5)));
        assert_eq!(time(" 2s"), Some(Duration::from_secs(2)));
        assert_eq!(time("1 min"), Some(Duration::from_secs(60)));
        assert_eq!(time("1.5s"), None);
        assert_eq!(time("soon"), None);
    }

    #[test]
    fn a_stricter_timeout_stays() {
        let mut sql = String::new();
        stricter(&mut sql, "lock_timeout", "2s");
        assert!(sql.starts_with("CASE WHEN ") && sql.ends_with("ELSE E'2s' END"), "{sql}");
        for (name, value) in [("work_mem", "2s"), ("lock_timeout", "0"), ("lock_timeout", "1.5s")] {
            sql.clear();
            stricter(&mut sql, name, value);
            assert_eq!(sql, format!("E'{value}'"));
        }
    }
}
