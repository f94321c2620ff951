//! Indexes that would help, for `SHOW ADVICE`: a bounded table over all threads and databases.
//!
//! A row comes with the first plan that an index would make better, is checked or refuted some time later, and goes once
//! the index is there. Nothing of it is on a seen statement's path: each thread counts for itself the statements that
//! have a row, and adds to it once a second.

use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use super::locked;
use crate::guard::plan::Advice;

/// Rows; beyond them the one goes that costs least.
pub const MOST: usize = 200;

/// What the statements of a fingerprint did since it was told last.
#[derive(Clone, Debug)]
pub struct Tally {
    pub calls: u64,
    /// Times that a policy refused it.
    pub blocked: u64,
    pub nanos: u64,
    pub last: SystemTime,
}

/// An index that would help a statement.
#[derive(Clone, Debug)]
pub struct Row {
    pub database: Box<str>,
    pub fingerprint: u64,
    pub normalized: Arc<str>,
    pub advice: Advice,
    /// Since the row is there.
    pub tally: Tally,
}

impl Row {
    /// Nanoseconds that the index would have saved, as far as anybody knows: all of them if it was not checked.
    #[must_use]
    pub fn lost(&self) -> f64 {
        self.tally.nanos as f64 * self.advice.gain().unwrap_or(1.0)
    }

    /// The order of the table: by time lost; what is refused loses none, and is counted.
    fn rank(&self) -> (u64, u64) {
        (self.lost() as u64, self.tally.blocked)
    }
}

/// The table.
#[derive(Debug, Default)]
pub struct AdviceTable {
    rows: Mutex<Vec<Row>>,
}

impl AdviceTable {
    /// A plan was made: these indexes would help, checked or not. What is known of them already is kept.
    pub fn note(
        &self,
        database: &str,
        fingerprint: u64,
        normalized: &Arc<str>,
        advice: &[Advice],
        now: SystemTime,
    ) {
        let mut rows = locked(&self.rows);
        for advice in advice {
            let known = rows.iter_mut().find(|row| {
                row.fingerprint == fingerprint
                    && *row.database == *database
                    && row.advice.statement == advice.statement
            });
            if let Some(row) = known {
                row.advice = Advice { checked: advice.checked.or(row.advice.checked), ..advice.clone() };
                continue;
            }
            if rows.len() >= MOST
                && let Some((least, _)) = rows.iter().enumerate().min_by_key(|(_, row)| row.rank())
            {
                rows.swap_remove(least);
            }
            rows.push(Row {
                database: database.into(),
                fingerprint,
                normalized: Arc::clone(normalized),
                advice: advice.clone(),
                tally: Tally { calls: 0, blocked: 0, nanos: 0, last: now },
            });
        }
    }

    /// The planner would not use these.
    pub fn refute(&self, database: &str, fingerprint: u64, refuted: &[Advice]) {
        locked(&self.rows).retain(|row| {
            let same = row.fingerprint == fingerprint && *row.database == *database;
            !(same && refuted.iter().any(|advice| advice.statement == row.advice.statement))
        });
    }

    /// Statements of that fingerprint ran, or were refused. -> it has a row.
    pub fn add(&self, database: &str, fingerprint: u64, tally: &Tally) -> bool {
        let mut rows = locked(&self.rows);
        let of_it =
            rows.iter_mut().filter(|row| row.fingerprint == fingerprint && *row.database == *database);
        let mut any = false;
        for row in of_it {
            any = true;
            row.tally.calls += tally.calls;
            row.tally.blocked += tally.blocked;
            row.tally.nanos += tally.nanos;
            row.tally.last = row.tally.last.max(tally.last);
        }
        any
    }

    /// The rows that still stand, those that lost most time first; the others go.
    #[must_use]
    pub fn rows(&self, stands: impl Fn(&Row) -> bool) -> Vec<Row> {
        let mut rows = locked(&self.rows);
        rows.retain(|row| stands(row));
        let mut rows = rows.clone();
        rows.sort_by(|a, b| {
            let names = || {
                (&a.database, a.fingerprint, &a.advice.statement).cmp(&(
                    &b.database,
                    b.fingerprint,
                    &b.advice.statement,
                ))
            };
            b.rank().cmp(&a.rank()).then_with(names)
        });
        rows
    }

    /// How many there are: checked, and not.
    #[must_use]
    pub fn counts(&self) -> [usize; 2] {
        let rows = locked(&self.rows);
        let checked = rows.iter().filter(|row| row.advice.checked.is_some()).count();
        [checked, rows.len() - checked]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn advice(columns: &str, checked: Option<(f64, f64)>) -> Advice {
        Advice {
            table: "t".into(),
            columns: vec![columns.into()],
            method: "btree",
            statement: format!("CREATE INDEX CONCURRENTLY ON t ({columns})"),
            why: String::new(),
            checked,
            equal: 1,
        }
    }

    fn tally(calls: u64, nanos: u64, blocked: u64) -> Tally {
        Tally { calls, nanos, blocked, last: SystemTime::UNIX_EPOCH }
    }

    fn noted(table: &AdviceTable, fingerprint: u64, advice: &Advice) {
        table.note("d", fingerprint, &"q".into(), std::slice::from_ref(advice), SystemTime::UNIX_EPOCH);
    }

    #[test]
    fn rows_are_ordered_by_the_time_that_they_lost() {
        let table = AdviceTable::default();
        for (fingerprint, checked) in [(1, None), (2, Some((100.0, 50.0))), (3, None), (4, None)] {
            noted(&table, fingerprint, &advice("a", checked));
        }
        for (fingerprint, tally) in [(1, tally(1, 600, 0)), (2, tally(1, 1000, 0)), (3, tally(0, 0, 5))] {
            assert!(table.add("d", fingerprint, &tally));
        }
        assert!(!table.add("other", 1, &tally(1, 1, 0)));
        let rows = table.rows(|_| true);
        assert_eq!(rows.iter().map(|row| row.fingerprint).collect::<Vec<_>>(), [1, 2, 3, 4]);
        assert_eq!(table.counts(), [1, 3]);
        assert_eq!(table.rows(|row| row.fingerprint != 1).len(), 3);
        assert_eq!(table.rows(|_| true).len(), 3, "what does not stand is gone");
    }

    #[test]
    fn what_was_checked_stays_checked_and_what_is_refuted_goes() {
        let table = AdviceTable::default();
        noted(&table, 1, &advice("a", Some((9.0, 1.0))));
        noted(&table, 1, &advice("a", None));
        noted(&table, 1, &advice("b", None));
        assert_eq!(table.counts(), [1, 1]);
        table.refute("d", 1, &[advice("b", None)]);
        assert_eq!(table.counts(), [1, 0]);
    }

    #[test]
    fn there_are_so_many_and_the_dear_ones_stay() {
        let table = AdviceTable::default();
        noted(&table, 0, &advice("a", None));
        let _ = table.add("d", 0, &tally(1, 1000, 0));
        for fingerprint in 1..1000 {
            noted(&table, fingerprint, &advice("a", None));
        }
        let rows = table.rows(|_| true);
        assert_eq!((rows.len(), rows[0].fingerprint), (MOST, 0));
    }
}
