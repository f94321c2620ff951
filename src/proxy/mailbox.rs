//! How others reach a client's task: a cancel request, a shutdown, an administrator who ends it, a time that has run
//! out.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Waker};

use super::card::ClientCard;

const CANCEL: u8 = 1;
const SHUTDOWN: u8 = 2;
const KILL: u8 = 4;
const TIMEOUT: u8 = 8;
const LOOK: u8 = 16;

/// One client's, found by the process id it was given at login.
pub struct Mailbox {
    flags: AtomicU8,
    /// The task's, set at its first poll: a task's waker stays the same.
    waker: Mutex<Option<Waker>>,
    /// What a CancelRequest must show: 4 bytes in protocol 3.0, 32 in 3.2.
    key: Box<[u8]>,
    /// What the console shows of it.
    pub card: Arc<ClientCard>,
}

impl Mailbox {
    #[must_use]
    pub fn new(key: Box<[u8]>, card: Arc<ClientCard>) -> Self {
        Self { flags: AtomicU8::new(0), waker: Mutex::new(None), key, card }
    }

    /// What BackendKeyData says.
    #[must_use]
    pub fn key(&self) -> &[u8] {
        &self.key
    }

    /// The cancel key, compared in constant time.
    #[must_use]
    pub fn opens_with(&self, key: &[u8]) -> bool {
        self.key.len() == key.len() && self.key.iter().zip(key).fold(0, |d, (a, b)| d | (a ^ b)) == 0
    }

    /// Registers the task.
    #[inline]
    pub fn listen(&self, cx: &Context<'_>) {
        const LISTENING: u8 = 128;
        if self.flags.load(Ordering::Relaxed) & LISTENING == 0 {
            *self.waker.lock().unwrap_or_else(PoisonError::into_inner) = Some(cx.waker().clone());
            self.flags.fetch_or(LISTENING, Ordering::SeqCst);
        }
    }

    #[inline]
    #[must_use]
    pub fn has_mail(&self) -> bool {
        self.flags.load(Ordering::Relaxed) & (CANCEL | SHUTDOWN | KILL | TIMEOUT | LOOK) != 0
    }

    #[must_use]
    pub fn take_cancel(&self) -> bool {
        self.flags.fetch_and(!CANCEL, Ordering::SeqCst) & CANCEL != 0
    }

    #[must_use]
    pub fn take_timeout(&self) -> bool {
        self.flags.fetch_and(!TIMEOUT, Ordering::SeqCst) & TIMEOUT != 0
    }

    #[must_use]
    pub fn take_look(&self) -> bool {
        self.flags.load(Ordering::Relaxed) & LOOK != 0
            && self.flags.fetch_and(!LOOK, Ordering::SeqCst) & LOOK != 0
    }

    #[must_use]
    pub fn shutting_down(&self) -> bool {
        self.flags.load(Ordering::Relaxed) & SHUTDOWN != 0
    }

    #[must_use]
    pub fn killed(&self) -> bool {
        self.flags.load(Ordering::Relaxed) & KILL != 0
    }

    /// Asks the task to cancel what it runs.
    pub fn cancel(&self) {
        self.post(CANCEL);
    }

    /// Asks the task to end as soon as it is between transactions.
    pub fn shut_down(&self) {
        self.post(SHUTDOWN);
    }

    /// Asks the task to end at once.
    pub fn kill(&self) {
        self.post(KILL);
    }

    /// Tells the task that a time has run out.
    pub fn time_out(&self) {
        self.post(TIMEOUT);
    }

    /// Asks the task to look at itself.
    pub fn look(&self) {
        self.post(LOOK);
    }

    fn post(&self, flag: u8) {
        self.flags.fetch_or(flag, Ordering::SeqCst);
        if let Some(waker) = self.waker.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
            waker.wake_by_ref();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::card::tests::card;

    #[test]
    fn a_key_must_be_whole() {
        let mailbox = Mailbox::new(Box::new([1, 2, 3, 4]), card("ann", "shop", ""));
        assert!(mailbox.opens_with(&[1, 2, 3, 4]));
        assert!(!mailbox.opens_with(&[1, 2, 3]));
        assert!(!mailbox.opens_with(&[1, 2, 3, 5]));
    }

    #[test]
    fn a_cancel_is_taken_once() {
        let mailbox = Mailbox::new(Box::new([0; 4]), card("ann", "shop", ""));
        mailbox.cancel();
        assert!(mailbox.has_mail());
        assert!(mailbox.take_cancel());
        assert!(!mailbox.take_cancel());
        mailbox.shut_down();
        assert!(mailbox.shutting_down() && !mailbox.killed());
        mailbox.kill();
        assert!(mailbox.killed());
    }
}
