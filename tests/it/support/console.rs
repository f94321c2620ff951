//! The console as a test sees it: a pgsluice with an administrator, and answers as tables.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::raw::{Frame, tags};
use super::{Builder, Database, Raw, SOON, Sluice, lab};

/// A pgsluice whose test's own role is an administrator.
pub fn with_admin(builder: Builder) -> Sluice {
    let database = lab().database();
    let setting = format!("[admin]\nadmin_users = [\"{}\"]", database.user);
    builder.setting(&setting).start_for(database)
}

/// The test's own role in the console.
pub async fn console(sluice: &Sluice) -> Raw {
    enter(sluice, &sluice.database).await.unwrap()
}

pub async fn enter(sluice: &Sluice, role: &Database<'_>) -> Result<Raw, Frame> {
    Raw::login(sluice.port, &role.user, &role.password, "pgsluice", &[]).await
}

/// A row: values by column, NULL is none.
pub type Row = HashMap<String, Option<String>>;

/// An answer with rows.
pub struct Table {
    /// Name and type.
    pub columns: Vec<(String, i32)>,
    pub rows: Vec<Row>,
}

impl Table {
    pub fn names(&self) -> Vec<&str> {
        self.columns.iter().map(|(name, _)| name.as_str()).collect()
    }

    /// The rows in which a column has this value.
    pub fn with(&self, column: &str, value: &str) -> Vec<&Row> {
        self.rows.iter().filter(|row| row[column].as_deref() == Some(value)).collect()
    }
}

pub fn text<'a>(row: &'a Row, column: &str) -> &'a str {
    row[column].as_deref().unwrap_or_else(|| panic!("{column} is NULL"))
}

pub async fn show(console: &mut Raw, command: &str) -> Table {
    let frames = console.query(command).await;
    assert_eq!(tags(&frames).replace('D', ""), "TCZ", "{command}: {frames:?}");
    let mut rest = &frames[0].body[2..];
    let mut columns = Vec::new();
    while let Some(end) = rest.iter().position(|b| *b == 0) {
        let name = String::from_utf8(rest[..end].to_vec()).unwrap();
        let fixed = &rest[end + 1..end + 19];
        columns.push((name, i32::from_be_bytes(fixed[6..10].try_into().unwrap())));
        rest = &rest[end + 19..];
    }
    let row = |frame: &Frame| {
        let values = frame.columns();
        assert_eq!(values.len(), columns.len());
        columns.iter().map(|(name, _)| name.clone()).zip(values).collect()
    };
    let rows = frames.iter().filter(|frame| frame.tag == b'D').map(row).collect();
    Table { columns, rows }
}

/// An answer that is as it should be, soon: a client hears of its end before its card does.
pub async fn show_until(console: &mut Raw, command: &str, right: impl Fn(&Table) -> bool) -> Table {
    let deadline = Instant::now() + SOON;
    loop {
        let shown = show(console, command).await;
        if right(&shown) {
            return shown;
        }
        assert!(Instant::now() < deadline, "not soon enough: {command}: {:?}", shown.rows);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The number of a client in the console.
pub async fn id_of(console: &mut Raw, client: &Raw) -> String {
    let port = client.stream.local_addr().unwrap().port().to_string();
    text(show(console, "SHOW CLIENTS").await.with("port", &port)[0], "id").to_owned()
}

/// The one error of an answer: its SQLSTATE and its fields.
pub async fn refused(console: &mut Raw, command: &str) -> (String, Frame) {
    let frames = console.query(command).await;
    assert_eq!(tags(&frames), "EZ", "{command}: {frames:?}");
    (frames[0].field(b'C').unwrap(), frames[0].clone())
}
