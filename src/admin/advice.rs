//! What the console shows of indexes that would help.

use super::rows::time;
use super::sheet::{Sheet, Value};
use crate::observe::advice::Row;
use crate::observe::metrics::fingerprint_label;
use crate::proxy::thread::Shared;

pub(super) fn write(shared: &Shared, sheet: &mut Sheet) {
    let snapshot = shared.snapshot.load();
    // Once the index is there, there is nothing to advise.
    let stands =
        |row: &Row| snapshot.catalogs.get(&row.database).is_none_or(|catalog| !row.advice.is_done(catalog));
    for row in shared.meters.advice().rows(stands) {
        let (advice, tally) = (&row.advice, &row.tally);
        let gain = advice.gain().map(|gain| format!("{:.0} %", gain * 100.0));
        sheet.row(&[
            Value::Text(&row.database),
            Value::Text(&fingerprint_label(row.fingerprint)),
            Value::Text(&advice.table),
            Value::Text(&advice.statement),
            Value::Text(&advice.check()),
            Value::Number(tally.calls),
            Value::Number(tally.blocked),
            Value::Number(tally.nanos / 1_000_000),
            gain.as_deref().map_or(Value::Null, Value::Text),
            time(tally.last),
            Value::Text(&advice.why),
            Value::Text(&row.normalized),
        ]);
    }
}
