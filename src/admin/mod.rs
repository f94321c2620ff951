//! The console: a database of pgsluice's own, with PgBouncer's commands.
//!
//! `commands.rs` is the only list of commands, with who may run them, `columns.rs` has their columns; `ask.rs` reads a
//! text, `talk.rs` the protocol, `sheet.rs` writes answers: all pure. `rows.rs` reads the cards, `stats.rs` the counters; `session.rs` serves a
//! client on the control thread, and makes answers on a blocking thread: the data threads have no part in it.

mod advice;
mod ask;
mod columns;
pub mod commands;
mod limits;
mod policies;
mod lanes;
mod rows;
mod session;
pub mod sheet;
mod stats;
mod talk;

use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use crate::config::Settings;
use commands::Role;
pub use session::enter;
pub use stats::sample;

/// The databases that are the console.
pub const DATABASES: [&str; 2] = ["pgsluice", "pgbouncer"];

/// Logins at once of those who may be administrators, when there is no room for other clients.
const DOOR: usize = 8;

/// What the console needs beside what all threads share.
pub struct Console {
    /// The control thread's.
    handle: Handle,
    averages: stats::Averages,
    pub(crate) door: Semaphore,
}

impl Console {
    #[must_use]
    pub fn new(handle: Handle) -> Self {
        Self { handle, averages: stats::Averages::default(), door: Semaphore::new(DOOR) }
    }
}

/// Whether a database is the console.
#[must_use]
pub fn is_console(database: &str) -> bool {
    DATABASES.contains(&database)
}

/// What a user may do in the console; `None`: not even enter it.
#[must_use]
pub fn role(settings: &Settings, user: &str) -> Option<Role> {
    let is_in = |list: &[String]| list.iter().any(|name| name == user);
    if is_in(&settings.admin.admin_users) {
        return Some(Role::Admin);
    }
    is_in(&settings.admin.stats_users).then_some(Role::Stats)
}
