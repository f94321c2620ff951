//! A driver of another language: psycopg, from the Python package index, in a virtual environment.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{Sluice, programs, proxy};

/// The environment's Python, or why there is none.
fn python() -> Result<PathBuf, String> {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("psycopg");
    let python = directory.join("bin/python");
    if imports(&python) {
        return Ok(python);
    }
    step(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&directory))?;
    step(Command::new(&python).args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--retries",
        "1",
        "psycopg[binary]>=3.1,<4",
    ]))?;
    imports(&python).then_some(python).ok_or_else(|| "psycopg was installed but does not import".into())
}

fn imports(python: &Path) -> bool {
    Command::new(python).args(["-c", "import psycopg"]).output().is_ok_and(|o| o.status.success())
}

fn step(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|e| format!("{command:?}: {e}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!(
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr).lines().last().unwrap_or_default()
    ))
}

fn smoke(sluice: &Sluice, python: &Path) {
    let mut command = programs::program("psql", sluice);
    let environment: Vec<_> =
        command.get_envs().filter_map(|(k, v)| Some((k.to_owned(), v?.to_owned()))).collect();
    command = Command::new(python);
    command.envs(environment).arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/drivers/psycopg_smoke.py"));
    let out = programs::run(command);
    assert!(out.ok, "{}\n{}", out.stdout, out.stderr);
    assert!(out.stdout.contains("all of it works"), "{out:?}");
}

#[test]
fn psycopg_works() {
    match python() {
        Ok(python) => smoke(&proxy().pool_size(2).start(), &python),
        Err(why) => println!("skipped: no Python with psycopg here ({why})"),
    }
}
