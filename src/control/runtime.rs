//! The control plane's thread: one event loop for probes, credentials and HTTP, apart from the data threads.

use std::io;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

/// How long work off the loop (a metrics page) may take at the end.
const LAST_WORK: Duration = Duration::from_secs(1);

/// The running thread. Dropped, it ends with all its tasks.
#[derive(Debug)]
pub struct ControlThread {
    handle: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl ControlThread {
    /// Starts it.
    ///
    /// # Errors
    /// The system has no thread or file left.
    pub fn start() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().max_blocking_threads(4).build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = thread::Builder::new().name("control".into()).spawn(move || {
            // Told to stop, or whoever would tell is gone.
            let _ = runtime.block_on(stopped);
            runtime.shutdown_timeout(LAST_WORK);
        })?;
        Ok(Self { handle, stop: Some(stop), thread: Some(thread) })
    }

    /// To spawn tasks on it from any thread.
    #[must_use]
    pub fn handle(&self) -> &Handle {
        &self.handle
    }
}

impl Drop for ControlThread {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn tasks_run_on_it_and_end_with_it() {
        let control = ControlThread::start().unwrap();
        let name = async { thread::current().name().map(str::to_owned) };
        let name = control.handle().block_on(control.handle().spawn(name)).unwrap();
        assert_eq!(name.as_deref(), Some("control"));
        let (alive, ended) = std::sync::mpsc::channel::<()>();
        control.handle().spawn(async move {
            let _alive = alive;
            std::future::pending::<()>().await;
        });
        drop(control);
        assert!(ended.recv().is_err(), "the task is gone");
    }
}
