//! The writing half of a connection: what its socket did not take is kept, and nothing else.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::AsyncWrite;

use super::stream::Stream;

/// A stream with what is still to be written to it.
pub struct Pipe {
    pub stream: Stream,
    /// Freed as soon as it is empty: an idle connection owns no buffer.
    out: Vec<u8>,
    /// TLS may hold records its socket did not take.
    unflushed: bool,
    /// How often a socket that did not take everything has taken more.
    drained: u64,
}

impl Pipe {
    #[must_use]
    pub fn new(stream: Stream) -> Self {
        Self { stream, out: Vec::new(), unflushed: false, drained: 0 }
    }

    /// Bytes not written yet.
    #[must_use]
    #[inline]
    pub fn unsent(&self) -> usize {
        self.out.len() + usize::from(self.unflushed)
    }

    /// Changes whenever a socket that did not take everything has taken more.
    #[must_use]
    pub const fn drained(&self) -> u64 {
        self.drained
    }

    /// Writes, and keeps what the socket does not take.
    ///
    /// # Errors
    /// If the connection is broken.
    pub fn send(&mut self, bytes: &[u8], cx: &mut Context<'_>) -> io::Result<()> {
        if !self.out.is_empty() {
            self.out.extend_from_slice(bytes);
            return Ok(());
        }
        let mut sent = 0;
        while sent < bytes.len() {
            match Pin::new(&mut self.stream).poll_write(cx, &bytes[sent..]) {
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(n)) => sent += n,
                Poll::Ready(Err(e)) => return Err(e),
                Poll::Pending => {
                    self.out.extend_from_slice(&bytes[sent..]);
                    break;
                }
            }
        }
        if self.stream.is_tls() && !bytes.is_empty() {
            self.unflushed = Pin::new(&mut self.stream).poll_flush(cx)?.is_pending();
        }
        Ok(())
    }

    /// Keeps bytes for the next [`Self::drain`]; says how many.
    pub fn push(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> usize {
        let before = self.out.len();
        write(&mut self.out);
        self.out.len() - before
    }

    /// Writes what is left. `true`: nothing is.
    ///
    /// # Errors
    /// If the connection is broken.
    #[inline]
    pub fn drain(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        if self.unsent() == 0 { Ok(true) } else { self.drain_slow(cx) }
    }

    fn drain_slow(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        let mut sent = 0;
        while sent < self.out.len() {
            match Pin::new(&mut self.stream).poll_write(cx, &self.out[sent..])? {
                Poll::Ready(0) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(n) => sent += n,
                Poll::Pending => break,
            }
        }
        self.drained += u64::from(sent > 0);
        if sent == self.out.len() {
            self.out = Vec::new();
        } else {
            self.out.drain(..sent);
        }
        if self.stream.is_tls() {
            self.unflushed = Pin::new(&mut self.stream).poll_flush(cx)?.is_pending();
        }
        Ok(self.unsent() == 0)
    }
}
