//! Watching a client that waits: one that goes must lose its place, and what one sends ahead must not be lost.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead as _, ReadBuf};
use tokio::time::Sleep;

use super::stream::Stream;

/// Most bytes that a waiting client may send ahead; the rest stays in its socket.
const AHEAD: usize = 8 * 1024;
/// How often a client that has sent more is looked at.
const LOOK: Duration = Duration::from_millis(250);

/// The watch over one client.
pub(super) struct Vigil {
    /// Bytes the client's buffer may hold.
    most: usize,
    look: Option<Pin<Box<Sleep>>>,
}

impl Vigil {
    /// Over a client whose buffer holds `held` bytes now.
    pub(super) const fn new(held: usize) -> Self {
        Self { most: held.saturating_add(AHEAD), look: None }
    }

    /// Ready when the client has closed its connection. What it sends goes to `kept`.
    pub(super) fn poll(&mut self, stream: &mut Stream, kept: &mut Vec<u8>, cx: &mut Context<'_>) -> Poll<()> {
        while kept.len() < self.most {
            let mut bytes = [0; 1024];
            let mut buf = ReadBuf::new(&mut bytes);
            match Pin::new(&mut *stream).poll_read(cx, &mut buf) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(())) if !buf.filled().is_empty() => kept.extend_from_slice(buf.filled()),
                Poll::Ready(_) => return Poll::Ready(()),
            }
        }
        // The end stands behind what is not read: only the socket's own state tells of it.
        loop {
            if stream.is_hung_up() {
                return Poll::Ready(());
            }
            let look = self.look.get_or_insert_with(|| Box::pin(tokio::time::sleep(LOOK)));
            std::task::ready!(look.as_mut().poll(cx));
            self.look = None;
        }
    }

    /// Waits until the client has closed its connection.
    pub(super) async fn keep(mut self, stream: &mut Stream, kept: &mut Vec<u8>) {
        std::future::poll_fn(|cx| self.poll(stream, kept, cx)).await;
    }
}
