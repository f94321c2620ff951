//! Real clients, each run twice: on PostgreSQL itself and through pgsluice. Check by check they must see the same.
//!
//! A program in `tests/drivers/` prints one line per check, its name and what it saw. `known.txt` there lists what
//! still differs.

mod compare;
mod noise;
mod tokio_postgres;

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::lab;
use compare::same;

/// Where `scripts/setup-drivers.sh` has put the drivers.
fn home() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("drivers")
}

fn program(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/drivers").join(name)
}

/// Says why a driver is not tried. Where all are wanted (`PGSLUICE_DRIVERS=all`) that is a failure.
fn skip(why: &str) {
    let all = std::env::var("PGSLUICE_DRIVERS").is_ok_and(|v| v == "all");
    assert!(!all, "{why}");
    println!("skipped: {why}");
}

fn works(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}

fn psycopg(file: &str) {
    let python = home().join("python/bin/python");
    if !works(Command::new(&python).args(["-c", "import psycopg"])) {
        return skip("no Python with psycopg here (scripts/setup-drivers.sh gets it)");
    }
    same(file.trim_end_matches(".py"), || {
        let mut command = Command::new(&python);
        command.arg(program(file)).env("PYTHONDONTWRITEBYTECODE", "1").env("PYTHONUTF8", "1");
        command
    });
}

#[test]
fn psycopg_sees_no_difference() {
    psycopg("psycopg_sync.py");
}

#[test]
fn psycopg_sees_no_difference_in_asyncio() {
    psycopg("psycopg_async.py");
}

#[test]
fn psycopg_sees_no_difference_in_pipelines() {
    psycopg("psycopg_pipeline.py");
}

#[test]
fn node_postgres_sees_no_difference() {
    let modules = home().join("node/node_modules");
    if !works(Command::new("node").args(["-e", "require('pg')"]).env("NODE_PATH", &modules)) {
        return skip("no Node.js with node-postgres here (scripts/setup-drivers.sh gets it)");
    }
    same("node_pg", || {
        let mut command = Command::new("node");
        command.arg("--no-deprecation").arg(program("node_pg.js")).env("NODE_PATH", &modules);
        command
    });
}

#[test]
fn jdbc_sees_no_difference() {
    let jar = Path::new("/usr/share/java/postgresql.jar");
    if !jar.exists() || !works(Command::new("javac").arg("-version")) {
        return skip("no JDK with PostgreSQL's JDBC driver here (scripts/setup-drivers.sh gets the driver)");
    }
    same("jdbc", || {
        let mut command = Command::new("java");
        command.args(["-XX:TieredStopAtLevel=1", "-Dfile.encoding=UTF-8", "-Dstdout.encoding=UTF-8", "-cp"]);
        command.arg(jar).arg(program("JdbcChecks.java"));
        command
    });
}

#[test]
fn the_tools_of_postgresql_see_no_difference() {
    let binaries = lab().cluster.home().binaries().path("psql");
    let mut path = vec![binaries.parent().unwrap().to_owned()];
    path.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
    let path = std::env::join_paths(path).unwrap();
    same("libpq_tools", || {
        let mut command = Command::new("bash");
        command.arg(program("libpq_tools.sh")).env("PATH", &path);
        command
    });
}
