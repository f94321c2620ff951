//! `pg_stat_statements` as CSV with a header: `COPY (SELECT * FROM pg_stat_statements) TO … CSV HEADER`, or with names of
//! users and databases joined in. Times are milliseconds there.

use super::Entry;
use super::csv::Record;

/// Where the columns stand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Columns {
    query: usize,
    calls: Option<usize>,
    total: Option<usize>,
    mean: Option<usize>,
    rows: Option<usize>,
    user: Option<usize>,
    database: Option<usize>,
    toplevel: Option<usize>,
}

impl Columns {
    /// `None` if this is no such header.
    pub(super) fn of(header: &Record) -> Option<Self> {
        let find = |names: &[&str]| {
            names.iter().find_map(|name| {
                (0..header.len()).find(|n| {
                    header.get(*n).trim_ascii().trim_ascii_start().eq_ignore_ascii_case(name.as_bytes())
                })
            })
        };
        Some(Self {
            query: find(&["query"])?,
            // What tells it from any other table with a column of that name.
            calls: Some(find(&["calls"])?),
            total: find(&["total_exec_time", "total_time"]),
            mean: find(&["mean_exec_time", "mean_time"]),
            rows: find(&["rows"]),
            user: find(&["user", "usename", "username", "rolname", "user_name"]),
            database: find(&["datname", "database", "dbname", "database_name"]),
            toplevel: find(&["toplevel"]),
        })
    }
}

/// A row: a statement and all its runs. `Ok(None)` for what no client has sent.
pub(super) fn entry(columns: &Columns, record: &Record, line: u64) -> Result<Option<Entry>, &'static str> {
    let field = |column: Option<usize>| {
        let bytes = record.get(column?).trim_ascii();
        std::str::from_utf8(bytes).ok().filter(|text| !text.is_empty())
    };
    let number = |column| field(column).and_then(|text| text.parse::<f64>().ok()).filter(|n| n.is_finite());
    // Run by a function, not by a client.
    if field(columns.toplevel).is_some_and(|value| matches!(value, "f" | "false")) {
        return Ok(None);
    }
    let sql = record.get(columns.query);
    if sql.is_empty() || sql == b"<insufficient privilege>" {
        return Err(
            "the role that read pg_stat_statements was not allowed to see the text: read it as a member of pg_read_all_stats",
        );
    }
    let calls = number(columns.calls).filter(|calls| *calls >= 0.0).ok_or("`calls` is no number")?;
    let total = number(columns.total).or_else(|| Some(number(columns.mean)? * calls));
    let name = |column| field(column).unwrap_or_default().into();
    Ok(Some(Entry {
        line,
        user: name(columns.user),
        database: name(columns.database),
        sql: sql.to_vec(),
        calls: calls as u64,
        seconds: total.map(|ms| ms / 1000.0),
        rows: number(columns.rows).map(|rows| rows as u64),
        ..Entry::default()
    }))
}
