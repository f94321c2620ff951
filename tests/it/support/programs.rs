//! PostgreSQL's own client programs.

use std::process::Command;

use super::{Sluice, lab};

/// What a program wrote, and whether it was content.
#[derive(Debug)]
pub struct Outcome {
    pub ok: bool,
    pub stdout: String,
    pub stderr: String,
}

/// `psql -X` through pgsluice with each text as a `-c` of its own.
pub fn psql(sluice: &Sluice, commands: &[&str]) -> Outcome {
    let mut command = program("psql", sluice);
    command.args(["-X", "-A", "-t", "-v", "VERBOSITY=verbose"]);
    for text in commands {
        command.args(["-c", text]);
    }
    run(command)
}

/// `pgbench` through pgsluice.
pub fn pgbench(sluice: &Sluice, arguments: &[&str]) -> Outcome {
    let mut command = program("pgbench", sluice);
    command.args(arguments).arg(&sluice.database.name);
    run(command)
}

/// A program with the test's role, database and pgsluice in its environment.
pub fn program(name: &str, sluice: &Sluice) -> Command {
    let mut command = Command::new(lab().cluster.home().binaries().path(name));
    environment(&mut command, sluice);
    command
}

/// Where and as whom a program that goes by libpq's variables is to connect.
pub fn environment(command: &mut Command, sluice: &Sluice) {
    let database = &sluice.database;
    command.env("PGHOST", "127.0.0.1").env("PGPORT", sluice.port.to_string());
    command.env("PGUSER", &database.user).env("PGPASSWORD", &database.password);
    command.env("PGDATABASE", &database.name).env("PGCONNECT_TIMEOUT", "20").env("LC_ALL", "C");
}

/// Whether PostgreSQL's program of that name talks to the run's servers: those that stream refuse a server newer than
/// themselves.
pub fn is_new_enough(name: &str) -> bool {
    let output = Command::new(lab().cluster.home().binaries().path(name)).arg("--version").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let number = text.split(") ").nth(1).and_then(|rest| rest.split(['.', ' ', '\n', 'b', 'r']).next());
    number.and_then(|major| major.parse::<u32>().ok()).unwrap() >= super::lab::major()
}

pub fn run(mut command: Command) -> Outcome {
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Outcome { ok: output.status.success(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
}
