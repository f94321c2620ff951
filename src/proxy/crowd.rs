//! How many clients each user and each database has.

use std::sync::Arc;

use dashmap::DashMap;

use super::thread::Shared;

type Counts = DashMap<Box<str>, usize, ahash::RandomState>;

/// The clients that are logged in, by user and by database. Who has none is not in it.
#[derive(Default)]
pub struct Crowd {
    users: Counts,
    databases: Counts,
}

/// One client in the counts, until it is dropped.
pub(super) struct Place {
    shared: Arc<Shared>,
    user: Box<str>,
    /// Counted for its database too.
    database: Option<Box<str>>,
}

impl Place {
    /// Counts a client that has proved who it is.
    ///
    /// # Errors
    /// What it is told if there is no place left.
    pub(super) fn take(shared: &Arc<Shared>, user: &str, database: &str) -> Result<Self, String> {
        let full = |kind, name, setting| {
            format!("sorry, too many clients already for {kind} \"{name}\" ({setting})")
        };
        if !enter(&shared.crowd.users, user, shared.settings.user_clients(user)) {
            return Err(full("user", user, "max_user_client_connections"));
        }
        let mut place = Self { shared: Arc::clone(shared), user: user.into(), database: None };
        if !enter(&shared.crowd.databases, database, shared.settings.database_clients(database)) {
            return Err(full("database", database, "max_db_client_connections"));
        }
        place.database = Some(database.into());
        Ok(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        leave(&self.shared.crowd.users, &self.user);
        if let Some(database) = &self.database {
            leave(&self.shared.crowd.databases, database);
        }
    }
}

impl Crowd {
    /// Clients of a user.
    #[must_use]
    pub fn of_user(&self, user: &str) -> usize {
        self.users.get(user).map_or(0, |n| *n)
    }

    /// Clients of a database.
    #[must_use]
    pub fn of_database(&self, database: &str) -> usize {
        self.databases.get(database).map_or(0, |n| *n)
    }
}

fn enter(counts: &Counts, name: &str, limit: Option<usize>) -> bool {
    let mut count = counts.entry(name.into()).or_insert(0);
    let room = limit.is_none_or(|limit| *count < limit);
    *count += usize::from(room);
    room
}

fn leave(counts: &Counts, name: &str) {
    if let Some(mut count) = counts.get_mut(name) {
        *count = count.saturating_sub(1);
    }
    counts.remove_if(name, |_, count| *count == 0);
}
