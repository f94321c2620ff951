//! One connection to a PostgreSQL server.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use tokio::io::{AsyncRead, ReadBuf};
use tokio::sync::oneshot;

use super::card::Shown;
use super::owner::ClientId;
use super::queue::Permit;
use crate::proxy::pipe::Pipe;
use crate::proxy::stream::Stream;
use crate::session::Backend;
use crate::wire::{backend, frame};

/// More than this is no farewell.
const LAST_WORDS_MAX: usize = 16 * 1024;

/// A connection with its place under the cap: dropping it closes the one and frees the other.
pub struct Server {
    pub pipe: Pipe,
    pub backend: Backend,
    /// The start of a message from the server that is not whole yet.
    pub carry: Vec<u8>,
    /// What a CancelRequest to it must say.
    pub pid: i32,
    pub cancel_key: Box<[u8]>,
    /// Which of its node's hosts it is connected to.
    pub host: usize,
    /// The data thread its socket is registered with.
    pub thread: usize,
    pub idle_since: Instant,
    /// The client that used it last, as long as it is there.
    pub owner: ClientId,
    /// A client has used it.
    pub used: bool,
    /// It has been in a state that a new connection is not in, even after a reset: closed when its owner leaves.
    pub worn: bool,
    /// End of its lifetime.
    pub expires: Instant,
    /// A CancelRequest under way: the server must not be lent on before it is through.
    pub canceling: Option<oneshot::Receiver<()>>,
    /// What the console shows of it.
    pub card: Shown,
    /// Its place under the cap, and the pool it belongs to.
    pub permit: Permit,
}

impl Server {
    /// An idle server that has something to say (an error, a notice, its end) is not used again.
    ///
    /// Costs no system call unless the socket was reported ready.
    pub fn is_dead(&mut self) -> bool {
        self.watch(&mut Context::from_waker(Waker::noop()))
    }

    /// The same; wakes the task when it becomes so.
    pub fn watch(&mut self, cx: &mut Context<'_>) -> bool {
        let mut byte = [0u8; 1];
        let mut buf = ReadBuf::new(&mut byte);
        if self.carry.is_empty() && Pin::new(&mut self.pipe.stream).poll_read(cx, &mut buf).is_pending() {
            return false;
        }
        self.carry.extend_from_slice(buf.filled());
        true
    }

    /// The last words of a server that is dead: the body of its FATAL ErrorResponse, as far as it is here already.
    pub fn last_words(&mut self) -> Option<Vec<u8>> {
        let mut chunk = [0u8; 1024];
        let mut cx = Context::from_waker(Waker::noop());
        while self.carry.len() < LAST_WORDS_MAX {
            let mut buf = ReadBuf::new(&mut chunk);
            match Pin::new(&mut self.pipe.stream).poll_read(&mut cx, &mut buf) {
                Poll::Ready(Ok(())) if !buf.filled().is_empty() => self.carry.extend_from_slice(buf.filled()),
                _ => break,
            }
        }
        let mut said = self.carry.as_slice();
        while let Ok(Some(h)) = frame::peek(said, |_| LAST_WORDS_MAX) {
            let body = said.get(frame::HEADER..h.total)?;
            if h.tag == b'E' && backend::field(body, b'V') == Some(b"FATAL") {
                return Some(body.to_vec());
            }
            said = said.get(h.total..)?;
        }
        None
    }

    /// Registers the socket with the current thread's runtime.
    ///
    /// # Errors
    /// If the operating system refuses; the connection is lost then.
    pub fn rehome(mut self: Box<Self>, thread: usize) -> std::io::Result<Box<Self>> {
        if self.thread == thread {
            return Ok(self);
        }
        let (unused, _) = std::os::unix::net::UnixStream::pair()?;
        unused.set_nonblocking(true)?;
        let placeholder = Stream::from_unix(tokio::net::UnixStream::from_std(unused)?);
        let stream = std::mem::replace(&mut self.pipe.stream, placeholder);
        self.pipe.stream = stream.detach()?.attach()?;
        self.thread = thread;
        Ok(self)
    }

    /// A cancel that is under way is through.
    pub fn poll_canceled(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(done) = &mut self.canceling else { return Poll::Ready(()) };
        // Both ends mean the same: the cancel connection is closed.
        let _ = std::task::ready!(Pin::new(done).poll(cx));
        self.canceling = None;
        Poll::Ready(())
    }
}
