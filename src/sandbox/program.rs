//! A program that runs beside the servers: pgsluice itself, or one to compare it with.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::{Adopted, Error, Home, run};

/// Most of the output that is kept, in bytes: the end of it.
const KEPT: usize = 1 << 20;

/// A running program. Dropping it kills it; the sandbox's watchdog does so if we die first.
#[derive(Debug)]
pub struct Program {
    name: String,
    child: Child,
    output: Arc<Output>,
    _adopted: Adopted,
}

impl Program {
    /// Starts it in a process group of its own, with an empty input and both outputs kept.
    pub fn start(home: &Home, command: &mut Command) -> Result<Self, Error> {
        let name = command.get_program().to_string_lossy().into_owned();
        command.process_group(0).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(Error::io(format!("starting {name}")))?;
        let adopted = home.adopt(child.id())?;
        let output = Arc::new(Output::default());
        if let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) {
            output.clone().follow(stdout);
            output.clone().follow(stderr);
        }
        Ok(Self { name, child, output, _adopted: adopted })
    }

    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it wrote so far, both outputs together, line by line.
    #[must_use]
    pub fn output(&self) -> String {
        self.output.state().text.clone()
    }

    /// Waits for a line with `text` and a number right behind it: `listening on 127.0.0.1:6432`. -> the number
    pub fn port_after(&self, text: &str, limit: Duration) -> Result<u16, Error> {
        let what = format!("waiting for `{text}…` from {}", self.name);
        self.output.wait_for(limit, &what, |output| {
            let (_, rest) = output.split_once(text)?;
            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
            digits.parse().ok()
        })
    }

    /// Sends a signal; nothing if it has ended.
    pub fn signal(&self, signal: Signal) {
        let _ = kill_process(Pid::from_child(&self.child), signal);
    }

    /// Waits for its end; `None` if that does not come in time.
    pub fn wait(&mut self, limit: Duration) -> Result<Option<ExitStatus>, Error> {
        run::wait(&mut self.child, limit).map_err(Error::io(format!("waiting for {}", self.name)))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[derive(Debug, Default)]
struct Output {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Whole lines only.
    text: String,
    /// How many of the two outputs have ended.
    ended: u32,
}

impl Output {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn follow(self: Arc<Self>, pipe: impl Read + Send + 'static) {
        std::thread::spawn(move || {
            for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
                let mut state = self.state();
                state.text.push_str(&String::from_utf8_lossy(&line));
                state.text.push('\n');
                if state.text.len() > KEPT {
                    let cut = state.text.len() - KEPT / 2;
                    let cut = (cut..state.text.len()).find(|i| state.text.is_char_boundary(*i));
                    state.text.drain(..cut.unwrap_or(0));
                }
                self.changed.notify_all();
            }
            self.state().ended += 1;
            self.changed.notify_all();
        });
    }

    fn wait_for<T>(&self, limit: Duration, what: &str, find: impl Fn(&str) -> Option<T>) -> Result<T, Error> {
        let deadline = Instant::now() + limit;
        let mut state = self.state();
        loop {
            if let Some(found) = find(&state.text) {
                return Ok(found);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if state.ended == 2 {
                return Err(Error::Failed { what: what.to_owned(), status: None, log: state.text.clone() });
            }
            if left.is_zero() {
                return Err(Error::TooSlow { what: what.to_owned(), limit, log: state.text.clone() });
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}
