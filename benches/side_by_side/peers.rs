//! The server, and what is put in front of it.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use pgsluice::sandbox::{Cluster, Options, Program, free_port};
use rustix::process::Signal;

pub const USER: &str = "bench";
pub const PASSWORD: &str = "bench";
pub const DATABASE: &str = "bench";
/// Server connections of each pool.
pub const POOL_SIZE: u32 = 20;
/// Rows of the big result: 1 kB each.
pub const WIDE_ROWS: u64 = 200_000;

/// One PostgreSQL with pgbench's tables and a wide one.
pub struct Lab {
    pub cluster: Cluster,
    pub pgbouncer: Option<(PathBuf, String)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Direct,
    PgBouncer,
    Pgsluice,
    /// With a unix socket to the server.
    PgsluiceLocal,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::PgBouncer => "PgBouncer",
            Self::Pgsluice => "pgsluice",
            Self::PgsluiceLocal => "pgsluice by unix socket",
        }
    }
}

/// Something a client can connect to.
pub struct Peer {
    pub kind: Kind,
    pub port: u16,
    program: Option<Program>,
}

impl Lab {
    pub fn start() -> Self {
        eprintln!("starting PostgreSQL and filling its tables");
        let options = Options { max_connections: 400, ..Options::default() };
        let cluster = Cluster::primary(&options.setting("shared_buffers", "512MB")).unwrap();
        let role = format!("CREATE ROLE {USER} LOGIN PASSWORD '{PASSWORD}'");
        cluster.sql("postgres", &role).unwrap();
        cluster.sql("postgres", &format!("CREATE DATABASE {DATABASE} OWNER {USER}")).unwrap();
        let lab = Self { cluster, pgbouncer: pgbouncer() };
        if lab.pgbouncer.is_none() {
            eprintln!("pgbouncer was not found: `make bench` installs it; its column stays empty");
        }
        let direct = lab.direct();
        let out = lab.client("pgbench", &direct).args(["-i", "-q", "-s", "10", DATABASE]).output().unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        let wide = format!(
            "SET ROLE {USER}; CREATE TABLE wide AS SELECT repeat('x', 1000) AS s FROM generate_series(1, {WIDE_ROWS});
             VACUUM ANALYZE wide"
        );
        for statement in wide.split(';') {
            lab.cluster.sql(DATABASE, statement).unwrap();
        }
        lab.cluster.sql(DATABASE, &format!("GRANT SELECT ON wide TO {USER}")).unwrap();
        lab
    }

    pub fn direct(&self) -> Peer {
        Peer { kind: Kind::Direct, port: self.cluster.server().port(), program: None }
    }

    /// A client program of PostgreSQL's, pointed at a peer.
    pub fn client(&self, name: &str, peer: &Peer) -> Command {
        let mut command = Command::new(self.cluster.home().binaries().path(name));
        command.env("PGHOST", "127.0.0.1").env("PGPORT", peer.port.to_string()).env("PGUSER", USER);
        command.env("PGPASSWORD", PASSWORD).env("LC_ALL", "C");
        command
    }

    /// Every proxy there is here, the yardstick first.
    pub fn proxies(&self) -> Vec<Kind> {
        let pgbouncer = self.pgbouncer.as_ref().map(|_| Kind::PgBouncer);
        pgbouncer.into_iter().chain([Kind::Pgsluice]).collect()
    }

    /// PgBouncer from 1.21 on keeps prepared statements in transaction mode.
    pub fn can_prepare(&self, kind: Kind) -> bool {
        let Some((_, version)) = &self.pgbouncer else { return true };
        let mut numbers = version.split('.').filter_map(|n| n.parse::<u32>().ok());
        let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
        kind != Kind::PgBouncer || version >= (1, 21)
    }

    pub fn start_peer(&self, kind: Kind) -> Peer {
        self.start_wrapped(kind, &[])
    }

    /// Starts a proxy, perhaps under another program (`valgrind …`).
    pub fn start_wrapped(&self, kind: Kind, wrapper: &[String]) -> Peer {
        let (command, port) = match kind {
            Kind::Direct => return self.direct(),
            Kind::PgBouncer => self.pgbouncer_command(wrapper),
            Kind::Pgsluice => {
                let primary = self.cluster.url("postgres");
                (self.pgsluice_command("pgsluice.toml", &primary, "baseline", "", wrapper), None)
            }
            Kind::PgsluiceLocal => {
                let primary = self.cluster.socket_url("postgres");
                (self.pgsluice_command("local.toml", &primary, "baseline", "", wrapper), None)
            }
        };
        self.start_program(kind, command, port)
    }

    /// A pgsluice with rules of its own, and more settings.
    pub fn start_ruled(&self, name: &str, rules: &str, settings: &str) -> Peer {
        let file = self.cluster.home().path().join(format!("{name}-rules.toml"));
        std::fs::write(&file, rules).unwrap();
        let (primary, policies) = (self.cluster.url("postgres"), file.display().to_string());
        let command = self.pgsluice_command(&format!("{name}.toml"), &primary, &policies, settings, &[]);
        self.start_program(Kind::Pgsluice, command, None)
    }

    fn start_program(&self, kind: Kind, mut command: Command, port: Option<u16>) -> Peer {
        let program = Program::start(self.cluster.home(), &mut command).unwrap();
        let limit = Duration::from_secs(60);
        let port = match port {
            Some(port) => port,
            None => program.port_after("listening on 127.0.0.1:", limit).unwrap(),
        };
        let deadline = Instant::now() + limit;
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < deadline, "{} does not start:\n{}", kind.name(), program.output());
            std::thread::sleep(Duration::from_millis(50));
        }
        Peer { kind, port, program: Some(program) }
    }

    fn pgbouncer_command(&self, wrapper: &[String]) -> (Command, Option<u16>) {
        let (path, _) = self.pgbouncer.as_ref().unwrap();
        let home = self.cluster.home();
        let directory = home.path().join("pgbouncer");
        if !directory.exists() {
            home.directory("pgbouncer").unwrap();
        }
        let port = free_port().unwrap();
        let server = self.cluster.server().port();
        let prepared = if self.can_prepare(Kind::PgBouncer) { "max_prepared_statements = 200" } else { "" };
        let verifier = format!("SELECT rolpassword FROM pg_authid WHERE rolname = '{USER}'");
        let verifier = self.cluster.sql("postgres", &verifier).unwrap()[0][0].clone().unwrap();
        let ini = format!(
            "[databases]\n{DATABASE} = host=127.0.0.1 port={server}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
             listen_port = {port}\nunix_socket_dir =\npool_mode = transaction\ndefault_pool_size = {POOL_SIZE}\n\
             max_client_conn = 20000\nauth_type = scram-sha-256\nauth_file = {}\nlog_connections = 0\n\
             log_disconnections = 0\nignore_startup_parameters = extra_float_digits\n{prepared}\n",
            directory.join("userlist.txt").display()
        );
        std::fs::write(directory.join("pgbouncer.ini"), ini).unwrap();
        std::fs::write(directory.join("userlist.txt"), format!("\"{USER}\" \"{verifier}\"\n")).unwrap();
        let mut command = wrapped(wrapper, path, |p| home.command(p));
        command.arg("-q").arg(directory.join("pgbouncer.ini"));
        (command, Some(port))
    }

    fn pgsluice_command(
        &self,
        file: &str,
        primary: &str,
        policies: &str,
        more: &str,
        wrapper: &[String],
    ) -> Command {
        let settings = self.cluster.home().path().join(file);
        let text = format!(
            "listen = [\"127.0.0.1:0\"]\nhttp = \"127.0.0.1:0\"\nprimary = \"{primary}\"\npolicies = [\"{policies}\"]\n\
             [pool]\npool_size = {POOL_SIZE}\nmax_client_conn = 20000\n\
             [log]\nlog_connections = false\nlog_disconnections = false\n{more}"
        );
        std::fs::write(&settings, text).unwrap();
        let path = PathBuf::from(env!("CARGO_BIN_EXE_pgsluice"));
        let mut command = wrapped(wrapper, &path, |p| Command::new(p));
        command.arg("run").arg(settings);
        command
    }
}

/// `wrapper… program`, or only the program.
fn wrapped(
    wrapper: &[String],
    program: &std::path::Path,
    make: impl Fn(&std::path::Path) -> Command,
) -> Command {
    match wrapper {
        [] => make(program),
        [first, rest @ ..] => {
            let mut command = make(std::path::Path::new(first));
            command.args(rest).arg(program);
            command
        }
    }
}

impl Peer {
    /// The proxy's process; the postmaster has no figures here.
    pub fn pid(&self) -> Option<u32> {
        self.program.as_ref().map(Program::pid)
    }

    /// Ends it politely and waits, as a profiler that writes at the end needs it.
    pub fn finish(mut self) {
        if let Some(program) = &mut self.program {
            program.signal(Signal::INT);
            if !matches!(program.wait(Duration::from_secs(60)), Ok(Some(_))) {
                eprintln!(
                    "{} does not end: what was counted is lost\n{}",
                    self.kind.name(),
                    program.output()
                );
            }
        }
    }
}

/// Path and version of PgBouncer.
fn pgbouncer() -> Option<(PathBuf, String)> {
    let places =
        std::env::var_os("PATH").map(|p| std::env::split_paths(&p).collect::<Vec<_>>()).unwrap_or_default();
    let more = ["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from);
    let path = places.into_iter().chain(more).map(|d| d.join("pgbouncer")).find(|p| p.is_file())?;
    let output = Command::new(&path).arg("--version").output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let version = text.split_whitespace().nth(1)?.to_owned();
    Some((path, version))
}
