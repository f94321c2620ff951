//! One postmaster: a primary or a copy of one.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::backup::{self, Source};
use super::{Binaries, Error, Home, Options, PATIENCE, SUPERUSER, free_port, run, tail, user};

/// A PostgreSQL server of the sandbox. Dropping it stops it at once.
#[derive(Debug)]
pub struct Server {
    account: Option<user::Account>,
    binaries: Binaries,
    /// Holds `data/`, the socket and the log.
    directory: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    port: u16,
    child: Option<Child>,
}

impl Server {
    /// `initdb` and the settings; does not start it.
    pub(super) fn init(home: &Home, options: &Options, password: &str) -> Result<Self, Error> {
        let server = Self::new(home, "primary")?;
        let secret = server.directory.join("password");
        write_file(&secret, password, 0o600)?;
        user::give(&secret, home.account())?;
        let mut command = home.command(&home.binaries().path("initdb"));
        command.arg("-D").arg(server.data()).arg("--pwfile").arg(&secret);
        command.args(["-U", SUPERUSER, "-A", "scram-sha-256", "-E", "UTF8", "--locale=C", "--no-sync"]);
        run::to_end(&mut command, "initdb", &server.log(), PATIENCE)?;
        std::fs::remove_file(&secret).map_err(Error::io("removing the password file"))?;
        server.configure(options)?;
        Ok(server)
    }

    /// A copy of a running primary that will stream from it, by a replication slot of the copy's name; does not start
    /// it.
    pub(super) fn copy(home: &Home, of: &Self, name: &str, password: &str) -> Result<Self, Error> {
        let server = Self::new(home, name)?;
        let data = home.directory(&format!("{name}/data"))?;
        let url = of.url(SUPERUSER, password, "postgres");
        let source = Source { url: &url, major: home.binaries().major(), data: of.data(), slot: name };
        backup::take(&source, &data, home.account())?;
        let signal = data.join("standby.signal");
        write_file(&signal, "", 0o600)?;
        user::give(&signal, home.account())?;
        let port = of.port();
        edit_file(&data.join("postgresql.auto.conf"), |old| {
            old + &format!(
                "primary_conninfo = 'host=127.0.0.1 port={port} user={SUPERUSER} password={password}'\n\
                 primary_slot_name = '{name}'\n"
            )
        })?;
        Ok(server)
    }

    fn new(home: &Home, name: &str) -> Result<Self, Error> {
        let directory = home.directory(name)?;
        // ".s.PGSQL.65535.lock" and the NUL must fit into sun_path.
        if directory.as_os_str().len() > 107 - 20 {
            return Err(Error::PathTooLong(directory));
        }
        let log = directory.join("log");
        write_file(&log, "", 0o644)?;
        user::give(&log, home.account())?;
        Ok(Self {
            account: home.account().cloned(),
            binaries: home.binaries().clone(),
            directory,
            state: Mutex::new(State { port: free_port()?, child: None }),
        })
    }

    fn configure(&self, options: &Options) -> Result<(), Error> {
        let mut lines = vec![
            ("max_connections", options.max_connections.to_string()),
            ("superuser_reserved_connections", "3".into()),
            ("wal_level", "logical".into()),
            ("max_wal_senders", "10".into()),
            ("max_replication_slots", "10".into()),
            ("hot_standby", "on".into()),
            // A replica asks about its own rows, so that long queries there are not cancelled.
            ("hot_standby_feedback", "on".into()),
            ("wal_receiver_status_interval", "1s".into()),
            ("shared_preload_libraries", "''".into()),
            ("log_line_prefix", "'%m [%p] %q%u@%d %a '".into()),
            ("timezone", "'UTC'".into()),
            ("log_timezone", "'UTC'".into()),
            ("logging_collector", "off".into()),
        ];
        if !options.durable {
            lines.extend(["fsync", "synchronous_commit", "full_page_writes"].map(|s| (s, "off".into())));
        }
        if let Some(pem) = &options.tls {
            for (name, text) in [("server.crt", &pem.certificate), ("server.key", &pem.key)] {
                let path = self.data().join(name);
                write_file(&path, text, 0o600)?;
                user::give(&path, self.account.as_ref())?;
            }
            lines.push(("ssl", "on".into()));
        }
        let mut text = String::from("\n# sandbox\n");
        for (name, value) in &lines {
            text.push_str(&format!("{name} = {value}\n"));
        }
        for (name, value) in &options.settings {
            text.push_str(&format!("{name} = '{}'\n", value.replace('\'', "''")));
        }
        edit_file(&self.data().join("postgresql.conf"), |old| old + &text)?;
        if !options.hba.is_empty() {
            let first = options.hba.join("\n") + "\n";
            edit_file(&self.data().join("pg_hba.conf"), |old| first + &old)?;
        }
        Ok(())
    }

    /// Starts it, on another port if somebody took its own, and waits until it takes queries.
    pub fn start(&self) -> Result<(), Error> {
        let mut state = self.state();
        for attempt in 1.. {
            let mut child = self.spawn(state.port)?;
            match self.wait_ready(&mut child) {
                Ok(()) => {
                    state.child = Some(child);
                    return Ok(());
                }
                Err(error) => {
                    let _ = child.kill();
                    let _ = child.wait();
                    let clash = self.log_tail().contains("Address already in use");
                    if !clash || attempt == 5 {
                        return Err(error);
                    }
                    state.port = free_port()?;
                    write_file(&self.log(), "", 0o644)?;
                }
            }
        }
        Ok(())
    }

    fn spawn(&self, port: u16) -> Result<Child, Error> {
        let mut command =
            user::command(&self.binaries.path("postgres"), self.account.as_ref(), &self.directory);
        command.arg("-D").arg(self.data()).arg("-k").arg(&self.directory).arg("-p").arg(port.to_string());
        command.args(["-c", "listen_addresses=127.0.0.1"]);
        run::with_log(&mut command, &self.log())?.spawn().map_err(Error::io("starting postgres"))
    }

    /// The postmaster writes its state into the eighth line of its pid file, as `pg_ctl` reads it.
    fn wait_ready(&self, child: &mut Child) -> Result<(), Error> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = child.try_wait().map_err(Error::io("waiting for postgres"))? {
                let what = "starting postgres".to_owned();
                return Err(Error::Failed { what, status: Some(status), log: self.log_tail() });
            }
            let pid_file = std::fs::read_to_string(self.data().join("postmaster.pid")).unwrap_or_default();
            let lines: Vec<_> = pid_file.lines().map(str::trim).collect();
            let ours = lines.first() == Some(&child.id().to_string().as_str());
            if ours && lines.get(7) == Some(&"ready") {
                return Ok(());
            }
            if Instant::now() > deadline {
                let what = "starting postgres".to_owned();
                return Err(Error::TooSlow { what, limit: PATIENCE, log: self.log_tail() });
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// `pg_ctl stop -m fast`: sessions are ended, and it may be started again. Nothing if it does not run.
    pub fn stop(&self) -> Result<(), Error> {
        self.end(Signal::INT)
    }

    fn end(&self, signal: Signal) -> Result<(), Error> {
        let Some(mut child) = self.state().child.take() else { return Ok(()) };
        let _ = kill_process(Pid::from_child(&child), signal);
        if run::wait(&mut child, Duration::from_secs(30)).map_err(Error::io("stopping postgres"))?.is_none() {
            child.kill().map_err(Error::io("stopping postgres"))?;
            child.wait().map_err(Error::io("stopping postgres"))?;
        }
        Ok(())
    }

    /// TCP port on 127.0.0.1; also the unix socket's number.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.state().port
    }

    /// Process id of the postmaster, if it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.state().child.as_ref().map(Child::id)
    }

    /// The directory of its unix socket.
    #[must_use]
    pub fn socket_directory(&self) -> &Path {
        &self.directory
    }

    /// `postgresql://…` over TCP. Name and password are put in as they are: letters and digits only.
    #[must_use]
    pub fn url(&self, user: &str, password: &str, database: &str) -> String {
        format!("postgresql://{user}:{password}@127.0.0.1:{}/{database}", self.port())
    }

    /// The same over the unix socket.
    #[must_use]
    pub fn socket_url(&self, user: &str, password: &str, database: &str) -> String {
        let (directory, port) = (self.directory.display(), self.port());
        format!("postgresql://{user}:{password}@/{database}?host={directory}&port={port}")
    }

    /// The last lines of its log.
    #[must_use]
    pub fn log_tail(&self) -> String {
        tail(&self.log())
    }

    /// Path of its log.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.directory.join("log")
    }

    fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Immediate: nobody will read these files again.
        let _ = self.end(Signal::QUIT);
    }
}

pub(super) fn write_file(path: &Path, text: &str, mode: u32) -> Result<(), Error> {
    let opened = std::fs::File::options().write(true).create(true).truncate(true).mode(mode).open(path);
    let written = opened.and_then(|mut f| f.write_all(text.as_bytes()));
    written.map_err(Error::io(format!("writing {}", path.display())))
}

/// Rewrites a file in place, so that its owner stays.
fn edit_file(path: &Path, edit: impl FnOnce(String) -> String) -> Result<(), Error> {
    let old = std::fs::read_to_string(path).map_err(Error::io(format!("reading {}", path.display())))?;
    write_file(path, &edit(old), 0o600)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use crate::sandbox::{Cluster, Options, sql};

    #[test]
    fn a_primary_streams_to_its_replica_and_both_go_with_the_cluster() {
        let mut cluster = Cluster::primary(&Options::default().setting("work_mem", "5MB")).unwrap();
        assert_eq!(cluster.sql("postgres", "SHOW work_mem").unwrap(), [[Some("5MB".to_owned())]]);
        assert_eq!(sql(&cluster.socket_url("postgres"), "SELECT 1").unwrap(), [[Some("1".to_owned())]]);

        cluster.add_replica().unwrap();
        let replica = cluster.replica_url("postgres").unwrap();
        assert_eq!(sql(&replica, "SELECT pg_is_in_recovery()").unwrap(), [[Some("t".to_owned())]]);
        cluster.replicas()[0].stop().unwrap();
        assert!(sql(&replica, "SELECT 1").is_err());
        cluster.replicas()[0].start().unwrap();
        cluster.wait_streaming("replica1").unwrap();

        let path = cluster.home().path().to_owned();
        let pid = cluster.server().pid().unwrap();
        cluster.stop();
        assert!(!path.exists());
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    }
}
