//! A pgsluice of a test's own: the real binary, started on free ports and killed at the end.

use std::process::{Command, ExitStatus};

use pgsluice::sandbox::Program;
use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{Database, Lab, Raw, SOON, Session, direct};

/// How a test's pgsluice is to be.
pub struct Builder {
    lab: &'static Lab,
    policy: String,
    settings: String,
    flags: Vec<String>,
    primary: String,
    replica: bool,
    policies: bool,
}

impl Builder {
    pub fn new(lab: &'static Lab) -> Self {
        let primary = lab.cluster.url("postgres");
        Self {
            lab,
            policy: String::new(),
            settings: String::new(),
            flags: Vec::new(),
            primary,
            replica: false,
            policies: true,
        }
    }

    /// Rules as in a file of `policies/`. Without this there are none.
    pub fn policy(mut self, toml: &str) -> Self {
        self.policy.push_str(toml);
        self
    }

    /// Names no policy at all.
    pub fn without_policies(mut self) -> Self {
        self.policies = false;
        self
    }

    /// Lines of the settings file.
    pub fn setting(mut self, toml: &str) -> Self {
        self.settings.push_str(toml);
        self.settings.push('\n');
        self
    }

    /// A command line flag and its value.
    pub fn flag(mut self, name: &str, value: impl ToString) -> Self {
        self.flags.extend([name.to_owned(), value.to_string()]);
        self
    }

    pub fn pool_size(self, size: u32) -> Self {
        self.flag("--pool-size", size)
    }

    /// `transaction` (the default), `session` or `statement`.
    pub fn mode(self, mode: &str) -> Self {
        self.flag("--pool-mode", mode)
    }

    /// The primary's URL; without this over TCP as the superuser.
    pub fn primary(mut self, url: String) -> Self {
        self.primary = url;
        self
    }

    /// Tell it of the replica.
    pub fn replica(mut self, yes: bool) -> Self {
        self.replica = yes;
        self
    }

    /// In front of a database made for it.
    pub fn start(self) -> Sluice {
        let database = self.lab.database();
        self.start_for(database)
    }

    /// PostgreSQL itself with a fresh database, to compare with.
    pub fn start_without(self) -> Sluice {
        Sluice::direct(self.lab.database())
    }

    /// In front of that database (and, pooling being what it is, of every other of the same primary).
    pub fn start_for(self, database: Database<'static>) -> Sluice {
        if direct() {
            return Sluice::direct(database);
        }
        let (mut command, directory) = self.command();
        let program = Program::start(self.lab.cluster.home(), &mut command).unwrap();
        let port = program.port_after("listening on 127.0.0.1:", SOON).unwrap_or_else(|e| panic!("{e}"));
        let http = program.port_after("http on 127.0.0.1:", SOON).unwrap_or_else(|e| panic!("{e}"));
        Sluice { port, http, database, process: Some(Process { program, directory }) }
    }

    /// The command and the directory of its files. For tests of a start that must fail.
    pub fn command(&self) -> (Command, std::path::PathBuf) {
        use std::sync::atomic::{AtomicU32, Ordering};
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let directory = self.lab.cluster.home().path().join(format!("sluice{n}"));
        std::fs::create_dir(&directory).unwrap();
        std::fs::write(directory.join("policy.toml"), &self.policy).unwrap();
        std::fs::write(directory.join("pgsluice.toml"), &self.settings).unwrap();
        let cluster = &self.lab.cluster;
        let mut command = Command::new(env!("CARGO_BIN_EXE_pgsluice"));
        command.arg("run").arg(directory.join("pgsluice.toml")).env("RUST_BACKTRACE", "1");
        command.args(["--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"]);
        command.args(["--primary", &self.primary]);
        if self.replica {
            command.args(["--replica", &cluster.replica_url("postgres").unwrap()]);
        }
        if self.policies {
            command.arg("--policies").arg(directory.join("policy.toml"));
        }
        command.args(&self.flags);
        (command, directory)
    }
}

/// A running pgsluice (or PostgreSQL itself, see [`direct`]) and the test's database behind it.
pub struct Sluice {
    pub port: u16,
    http: u16,
    pub database: Database<'static>,
    process: Option<Process>,
}

struct Process {
    program: Program,
    directory: std::path::PathBuf,
}

impl Sluice {
    fn direct(database: Database<'static>) -> Self {
        Self { port: database.lab.cluster.server().port(), http: 0, database, process: None }
    }

    pub fn url(&self) -> String {
        self.database.url(self.port)
    }

    /// How the test's role connects through pgsluice.
    pub fn config(&self) -> tokio_postgres::Config {
        self.url().parse().unwrap()
    }

    /// A client through pgsluice.
    pub async fn connect(&self) -> Session {
        Session::open(&self.url()).await.0
    }

    /// A client through pgsluice for another database and role of the lab.
    pub async fn connect_as(&self, database: &Database<'_>) -> Session {
        Session::open(&database.url(self.port)).await.0
    }

    /// Frames by hand, logged in through pgsluice.
    pub async fn raw(&self) -> Raw {
        self.database.raw(self.port).await
    }

    pub fn pid(&self) -> u32 {
        self.process.as_ref().map_or(0, |p| p.program.pid())
    }

    /// Resident memory in bytes.
    pub fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    /// Everything it has written so far.
    pub fn log(&self) -> String {
        self.process.as_ref().map(|p| p.program.output()).unwrap_or_default()
    }

    /// Writes its policy file anew, in one step, as editors and deployments do.
    pub fn write_policy(&self, toml: &str) {
        self.write_beside("policy.toml", toml);
    }

    /// A file beside the policy, whole at once.
    pub fn write_beside(&self, name: &str, text: &str) {
        std::fs::write(self.beside("half.new"), text).unwrap();
        std::fs::rename(self.beside("half.new"), self.beside(name)).unwrap();
    }

    pub fn beside(&self, name: &str) -> std::path::PathBuf {
        self.process.as_ref().unwrap().directory.join(name)
    }

    pub fn signal(&self, signal: Signal) {
        self.process.as_ref().unwrap().program.signal(signal);
    }

    /// Waits for its end.
    pub async fn exit(&mut self) -> ExitStatus {
        let program = &mut self.process.as_mut().unwrap().program;
        for _ in 0..1000 {
            if let Some(status) = program.wait(std::time::Duration::ZERO).unwrap() {
                return status;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        panic!("pgsluice does not end\n{}", program.output());
    }

    /// GET of its HTTP port. -> status and body.
    pub async fn get(&self, path: &str) -> (u16, String) {
        let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", self.http)).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    /// Sum of the samples of a metric whose labels contain each of `labels` (`rule="x"`); 0 if there is none.
    ///
    /// A page is served for up to a second, and a thread tells of its caches once a second: wait with
    /// [`super::eventually`].
    pub async fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let (status, body) = self.get("/metrics").await;
        assert_eq!(status, 200);
        sum_of(&body, name, labels)
    }
}

/// See [`Sluice::metric`].
pub fn sum_of(exposition: &str, name: &str, labels: &[&str]) -> f64 {
    let samples = exposition.lines().filter(|line| {
        let rest = line.strip_prefix(name);
        rest.is_some_and(|r| r.starts_with(['{', ' '])) && labels.iter().all(|l| line.contains(l))
    });
    samples.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

impl Drop for Sluice {
    fn drop(&mut self) {
        let Some(Process { program, directory }) = self.process.take() else { return };
        let log = program.output();
        drop(program);
        let _ = std::fs::remove_dir_all(directory);
        // Some 8 MB on each server; the lab may be gone already if it was private.
        let drop_database = format!("DROP DATABASE {} WITH (FORCE)", self.database.name);
        let _ = self.database.lab.cluster.sql("postgres", &drop_database);
        if std::thread::panicking() {
            println!("--- pgsluice's log ---\n{log}---");
        } else {
            assert!(!log.contains("panicked"), "pgsluice panicked:\n{log}");
        }
    }
}
