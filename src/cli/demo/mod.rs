//! `pgsluice demo`: a shop, its database, and five things that go wrong without pgsluice.
//!
//! It needs no set-up: it starts a primary and a replica of its own, loads them, starts pgsluice in front, plays
//! the acts and says what each cost. Then it stays up for whoever wants to try things, or leaves (`--exit`).

use std::process::ExitCode;

mod crowd;
mod guard;
mod measure;
mod report;
mod screen;
mod shop;
mod stage;

use screen::{Act, say};
use stage::Stage;

/// Flags of `pgsluice demo`.
#[derive(Clone, Debug, clap::Args)]
pub struct DemoArgs {
    /// Play and leave. The exit code is 0 only if every act did what it says.
    #[arg(long)]
    pub exit: bool,
    /// Orders to load, in millions.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub millions: u32,
}

/// Why the demo could not go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Sandbox(#[from] crate::sandbox::Error),
    #[error("{what}: {}", crate::sandbox::explained(source))]
    Sql { what: &'static str, source: tokio_postgres::Error },
    #[error("{what}: {source}")]
    Io { what: &'static str, source: std::io::Error },
    #[error("a step of the demo ended early: {0}")]
    Task(#[from] tokio::task::JoinError),
}

impl Error {
    fn sql(what: &'static str) -> impl FnOnce(tokio_postgres::Error) -> Self {
        move |source| Self::Sql { what, source }
    }
    fn io(what: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io { what, source }
    }
}

/// Plays the demo; errors are printed.
#[must_use]
pub fn command(args: &DemoArgs) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            screen::complain(&format!("the demo cannot start: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(async {
        tokio::select! {
            outcome = play(args) => match outcome {
                Ok(true) => ExitCode::SUCCESS,
                Ok(false) => ExitCode::FAILURE,
                Err(error) => {
                    screen::complain(&format!("the demo cannot go on: {error}"));
                    ExitCode::FAILURE
                }
            },
            () = interrupted() => {
                say("\nStopping; the servers and their files are removed.");
                // Everybody knows what Ctrl-C is; only `--exit` promised to play to the end.
                if args.exit { ExitCode::from(130) } else { ExitCode::SUCCESS }
            }
        }
    });
    // A step that still blocks is left behind: the sandbox's watchdog clears up after it.
    runtime.shutdown_background();
    code
}

/// -> whether every act did what it says.
async fn play(args: &DemoArgs) -> Result<bool, Error> {
    say("pgsluice demo: a shop on PostgreSQL, with and without pgsluice in front of it.\n");
    let stage = Stage::build(args.millions).await?;
    let mut acts: Vec<Act> = Vec::new();
    for n in 1..=5 {
        let act = match n {
            1 => guard::search(&stage).await?,
            2 => guard::star(&stage).await?,
            3 => guard::update(&stage).await?,
            4 => report::report(&stage).await?,
            _ => crowd::crowd(&stage).await?,
        };
        act.print(n);
        acts.push(act);
    }
    screen::summary(&acts);
    let all_well = acts.iter().all(Act::went_well);
    if args.exit {
        return Ok(all_well);
    }
    say(&stage.directions());
    std::future::pending::<()>().await;
    Ok(all_well)
}

/// Ctrl-C, or somebody wants us to end.
async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}
