//! Programs that run to their end, within a bound.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use super::{Error, tail};

/// Runs a program to its end with its output in `log`; a failure carries the log's last lines.
pub(super) fn to_end(command: &mut Command, what: &str, log: &Path, limit: Duration) -> Result<(), Error> {
    let mut child = with_log(command, log)?.spawn().map_err(Error::io(what))?;
    match wait(&mut child, limit).map_err(Error::io(what))? {
        Some(status) if status.success() => Ok(()),
        Some(status) => Err(Error::Failed { what: what.to_owned(), status: Some(status), log: tail(log) }),
        None => {
            let _ = child.kill();
            let _ = child.wait();
            Err(Error::TooSlow { what: what.to_owned(), limit, log: tail(log) })
        }
    }
}

/// Sends both outputs of a command to the end of a file.
pub(super) fn with_log<'a>(command: &'a mut Command, log: &Path) -> Result<&'a mut Command, Error> {
    let opened = File::options().create(true).append(true).open(log);
    let file = opened.map_err(Error::io(format!("opening {}", log.display())))?;
    let copy = file.try_clone().map_err(Error::io(format!("opening {}", log.display())))?;
    Ok(command.stdout(file).stderr(copy))
}

/// Waits for a child; `None` when the time is up.
pub(super) fn wait(child: &mut Child, limit: Duration) -> std::io::Result<Option<ExitStatus>> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() > deadline {
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}
