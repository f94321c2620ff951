//! Cleaning a server between two clients, and asking it something of our own. Off the hot path.

use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::server::Server;
use crate::wire::frame::{self, HEADER};
use crate::wire::frontend;

/// A server that can't be cleaned in this time is closed.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// A reply of our own queries is never larger; a server that sends more is not one we know.
const REPLY_MAX: usize = 1 << 20;

/// Why a query of our own failed.
#[derive(Debug)]
pub enum AskError {
    /// The server's ErrorResponse, its body as it came.
    Server(Box<[u8]>),
    Io(std::io::Error),
}

impl From<std::io::Error> for AskError {
    fn from(e: std::io::Error) -> Self {
        Self::Io(e)
    }
}

/// Runs a simple query on an idle server and throws its rows away; settings it reports are kept.
///
/// # Errors
/// [`AskError`]; after an I/O error the server must be dropped.
pub async fn ask(server: &mut Server, sql: &str) -> Result<(), AskError> {
    let mut message = Vec::new();
    frontend::put_query(&mut message, sql.as_bytes());
    server.pipe.stream.write_all(&message).await?;
    flush(server).await?;
    match answer(server).await? {
        None => Ok(()),
        Some(body) => Err(AskError::Server(body)),
    }
}

/// Waits for the answers to what the session asked on its own behalf before the client left.
async fn hear_out(server: &mut Server) -> Result<(), std::io::Error> {
    let owed = server.backend.owes_us().unwrap_or_default();
    for _ in 0..owed {
        answer(server).await?;
    }
    if owed > 0 {
        server.backend.forget_ours();
    }
    Ok(())
}

/// Reads up to a ReadyForQuery; the error in it, if there is one.
async fn answer(server: &mut Server) -> Result<Option<Box<[u8]>>, std::io::Error> {
    let mut buffer = std::mem::take(&mut server.carry);
    let mut refused = None;
    loop {
        while let Some(h) = frame::peek(&buffer, |_| REPLY_MAX).map_err(|_| broken("oversized reply"))? {
            let Some(body) = buffer.get(HEADER..h.total) else { break };
            match h.tag {
                b'E' => refused = Some(body.into()),
                b'S' | b'Z' => server.backend.absorb(h.tag, body),
                _ => {}
            }
            let ready = h.tag == b'Z';
            buffer.drain(..h.total);
            if ready {
                server.carry = buffer;
                return Ok(refused);
            }
        }
        if server.pipe.stream.read_buf(&mut buffer).await? == 0 {
            return refused
                .map_or_else(|| Err(broken("the server closed the connection")), |body| Ok(Some(body)));
        }
    }
}

async fn flush(server: &mut Server) -> std::io::Result<()> {
    poll_fn(|cx| Pin::new(&mut server.pipe.stream).poll_flush(cx)).await
}

fn broken(why: &str) -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::InvalidData, why)
}

/// Makes a server whose client is gone fit for the next one: ends its transaction, discards its state.
/// `None`: it could not be done, the server is closed.
pub async fn clean(mut server: Box<Server>, reset_query: Option<&str>) -> Option<Box<Server>> {
    let work = async {
        poll_fn(|cx| server.poll_canceled(cx)).await;
        if hear_out(&mut server).await.is_err() {
            return false;
        }
        if !server.backend.quiet() || server.pipe.unsent() != 0 {
            return false;
        }
        if server.backend.status() != b'I' && ask(&mut server, "ROLLBACK").await.is_err() {
            return false;
        }
        if let Some(sql) = reset_query {
            if ask(&mut server, sql).await.is_err() {
                return false;
            }
            server.backend.was_reset();
            let again = server.permit.pool().and_then(|pool| pool.terms.connect_query.clone());
            if let Some(sql) = again
                && ask(&mut server, &sql).await.is_err()
            {
                return false;
            }
        }
        server.backend.idle()
    };
    matches!(tokio::time::timeout(PATIENCE, work).await, Ok(true)).then_some(server)
}
