//! Replication clients (`replication=true` or `database` in the start-up packet): each gets a walsender of its own.
//!
//! It is opened with the client's own settings in its start-up packet (a walsender without a database takes no SET),
//! counts under the cap, serves this client alone and is closed with it. Everything the client says is judged as
//! from any other; what only a walsender understands is `unparsed`.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt as _;

use super::drive::Drive;
use super::greet::{self, Unserved};
use super::thread::{Ident, IdentKey, Thread};
use crate::guard::Effects;
use crate::pool::key::LoginKey;
use crate::pool::open::{self, OpenError};
use crate::pool::{Grant, Purpose, Server};
use crate::session::{Mode, ParamSet, Session};
use crate::wire::startup::Replication;

/// The database of physical replication, which has none: `pg_hba.conf` calls it so.
const NO_DATABASE: &str = "replication";

/// Opens a walsender for a client. Whatever its start-up packet gets wrong fails here, with the server's own words.
pub(super) async fn meet(
    thread: &Rc<Thread>,
    key: &mut IdentKey,
    kind: Replication,
    login: &LoginKey,
) -> Result<(Rc<Ident>, Option<Box<Server>>), Unserved> {
    if kind == Replication::Physical {
        // The name would be the client's to choose, and nobody checks it.
        key.database = NO_DATABASE.into();
    }
    let pool = thread.shared.primary.pool_for(&key.user, &key.database, Purpose::Dedicated);
    pool.set_login(login);
    let deadline = pool.terms.query_wait_timeout.map(|wait| Instant::now() + wait);
    let permit = match greet::grant(thread, &pool, deadline).await? {
        Grant::Permit(permit) => permit,
        Grant::Server(_) => return Err(OpenError::Lost.into()), // nothing of such a pool is ever idle
    };
    let asked = [("replication", kind.value())];
    let own = key.params.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let parameters: Vec<_> = asked.into_iter().chain(own).collect();
    let server = open::open_with(permit, login, &parameters, thread.index, deadline).await?;
    let reported = server.backend.reported().map(|(name, value)| (name.into(), value.into())).collect();
    let settings = Arc::new(ParamSet::new(key.params.iter().map(|(k, v)| (k.as_str(), v.as_str()))));
    let mut ident = greet::ident(thread, key, &pool, settings, reported);
    (ident.may_route, ident.replicas, ident.replica_meters) = (false, Vec::new(), Vec::new());
    Ok((Rc::new(ident), Some(server)))
}

/// A session that keeps its server, which has the client's settings already.
pub(super) fn session(ident: &Ident) -> Session {
    Session::new(Mode::Session, Arc::clone(&ident.class), Arc::default())
}

/// Says goodbye to a walsender that listens; closing the connection ends any.
pub(super) async fn close(mut server: Box<Server>) {
    if server.backend.quiet() && server.pipe.unsent() == 0 {
        let goodbye = async {
            server.pipe.stream.write_all(b"X\0\0\0\x04").await?;
            server.pipe.stream.flush().await
        };
        let _ = tokio::time::timeout(Duration::from_secs(1), goodbye).await;
    }
}

impl Drive {
    /// Gives the client a server of its own.
    pub(super) fn dedicate(&mut self, server: Box<Server>) {
        self.own = true;
        self.presence.pinned(Effects::REPLICATION);
        self.thread.meters.pinned(Effects::REPLICATION);
        self.link(server);
    }
}
