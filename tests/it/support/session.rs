//! A tokio-postgres client that keeps its notices and notifications.

use std::future::poll_fn;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex};

use tokio::task::JoinHandle;
use tokio_postgres::error::DbError;
use tokio_postgres::{AsyncMessage, Client, Config, Error, NoTls, Notification};

use super::eventually;

/// One connection and what came unasked over it.
pub struct Session {
    client: Client,
    notices: Arc<Mutex<Vec<DbError>>>,
    notifications: Arc<Mutex<Vec<Notification>>>,
}

impl Session {
    pub async fn open(url: &str) -> (Self, JoinHandle<Option<Error>>) {
        Self::with(&url.parse().unwrap()).await.unwrap_or_else(|e| panic!("connecting: {e:?}"))
    }

    /// -> the session and, when the connection ends, why.
    pub async fn with(config: &Config) -> Result<(Self, JoinHandle<Option<Error>>), Error> {
        let (client, mut connection) = config.connect(NoTls).await?;
        let notices = Arc::new(Mutex::new(Vec::new()));
        let notifications = Arc::new(Mutex::new(Vec::new()));
        let (to_notices, to_notifications) = (notices.clone(), notifications.clone());
        let driver = tokio::spawn(async move {
            while let Some(message) = poll_fn(|cx| connection.poll_message(cx)).await {
                match message {
                    Ok(AsyncMessage::Notice(notice)) => to_notices.lock().unwrap().push(notice),
                    Ok(AsyncMessage::Notification(n)) => to_notifications.lock().unwrap().push(n),
                    Ok(_) => {}
                    Err(error) => return Some(error),
                }
            }
            None
        });
        Ok((Self { client, notices, notifications }, driver))
    }

    /// Notices so far; they stay.
    pub fn notices(&self) -> Vec<DbError> {
        self.notices.lock().unwrap().clone()
    }

    /// Payloads of the notifications so far.
    pub fn notifications(&self) -> Vec<String> {
        self.notifications.lock().unwrap().iter().map(|n| n.payload().to_owned()).collect()
    }

    pub async fn wait_for_notification(&self, payload: &str) {
        let what = format!("a notification `{payload}`");
        eventually(&what, || async { self.notifications().iter().any(|p| p == payload) }).await;
    }

    /// The first column of the first row, as text, by the simple protocol.
    pub async fn text(&self, sql: &str) -> String {
        self.try_text(sql).await.unwrap_or_else(|e| panic!("{sql}: {e:?}"))
    }

    pub async fn try_text(&self, sql: &str) -> Result<String, Error> {
        let messages = self.client.simple_query(sql).await?;
        let row = messages.iter().find_map(|m| match m {
            tokio_postgres::SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap_or("NULL").to_owned()),
            _ => None,
        });
        Ok(row.unwrap_or_default())
    }

    /// Process id of the server connection that runs this.
    pub async fn backend(&self) -> i32 {
        self.text("SELECT pg_backend_pid()").await.parse().unwrap()
    }

    /// The SQLSTATE with which a text fails; panics if it succeeds.
    pub async fn failure(&self, sql: &str) -> String {
        match self.client.batch_execute(sql).await {
            Ok(()) => panic!("`{sql}` was to fail"),
            Err(error) => super::sqlstate(&error).to_owned(),
        }
    }
}

impl Deref for Session {
    type Target = Client;
    fn deref(&self) -> &Client {
        &self.client
    }
}

impl DerefMut for Session {
    fn deref_mut(&mut self) -> &mut Client {
        &mut self.client
    }
}
