//! `mirrorkeeperd`: reads the command line, prepares the process, and runs the loop or what was asked for instead.

use anyhow::{Context, Result};
use mirrorkeeper_sys::{Roots, probe};
use mirrorkeeperd::cli::{Cli, Command, HELP, Simulation};
use mirrorkeeperd::config::{self, Config};
use mirrorkeeperd::offline::{self, Host, Report, Task};
use mirrorkeeperd::{daemon, journal, survive};
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

const VERSION: &str = env!("CARGO_PKG_VERSION");

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args_os().skip(1).map(|a| a.to_string_lossy().into_owned()).collect();
    // A probe is a short-lived child that may hang on a disk: it gets no runtime, no log thread and no pinned memory.
    let done = match arguments.split_first() {
        Some((first, rest)) if first == probe::FLAG => {
            probe::main(rest, &Roots::default(), std::io::stdin(), std::io::stdout()).context("probe")
        }
        _ => match Command::parse(&arguments) {
            Ok(Command::Help) => write!(std::io::stdout(), "{HELP}").context("print"),
            Ok(Command::Version) => writeln!(std::io::stdout(), "mirrorkeeperd {VERSION}").context("print"),
            Ok(Command::Run(cli)) => run(cli),
            Ok(Command::Simulate(wish)) => simulate(wish),
            Ok(Command::PrintConfig(cli)) => return print_config(&cli),
            Ok(Command::Offline(task, cli)) => return offline(task, &cli),
            Err(error) => Err(error).context("--help shows the options"),
        },
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mirrorkeeperd: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// No memory is pinned and no privilege used: a simulation heals nothing.
#[cfg(feature = "simulate")]
fn simulate(wish: Simulation) -> Result<()> {
    let log = journal::Log::start(wish.log).context("start logging")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("start the runtime")?;
    let ended = runtime.block_on(mirrorkeeperd::simulate::run(wish));
    runtime.shutdown_background();
    log.flush();
    Ok(ended?)
}

#[cfg(not(feature = "simulate"))]
fn simulate(_: Simulation) -> Result<()> {
    anyhow::bail!(
        "this one was built without its simulator; in the sources: \
         cargo run -p mirrorkeeperd --features simulate -- --simulate"
    )
}

/// The values on standard output, what is wrong on standard error.
fn print_config(cli: &Cli) -> ExitCode {
    let config = Config::load(&cli.config);
    let _ = std::io::stdout().write_all(config.render().as_bytes());
    if config.problems.is_empty() {
        return ExitCode::SUCCESS;
    }
    config.problems.iter().for_each(|problem| eprintln!("{problem}"));
    eprintln!("mirrorkeeperd: {}", config::REFUSED);
    ExitCode::FAILURE
}

/// How long a task may take in all. Package managers and a boot wait for it; on a healthy machine it takes seconds.
const TASK: Duration = Duration::from_secs(50);

fn offline(task: Task, cli: &Cli) -> ExitCode {
    let report = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => {
            let report = runtime.block_on(async { offline::run(task, &cli.state_dir, &mut Host::new(TASK)).await });
            runtime.shutdown_background();
            report
        }
        Err(error) => Report { lines: vec![format!("start the runtime: {error}")], failed: true },
    };
    for line in &report.lines {
        let _ =
            if report.failed { writeln!(std::io::stderr(), "{line}") } else { writeln!(std::io::stdout(), "{line}") };
    }
    // A unit that asks whether there are gated mirrors goes on when nobody knows.
    let good = if task == Task::Gated { !report.lines.is_empty() } else { !report.failed };
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run(cli: Cli) -> Result<()> {
    let refused = survive::prepare();
    let log = journal::Log::start(cli.log).context("start logging")?;
    refused.iter().for_each(|what| tracing::warn!("{what}; going on without"));
    // One thread is enough and the least to go wrong: nothing on it waits. Publishing and healing share it, since a
    // stalled bus leaves only the publisher's task waiting.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("start the runtime")?;
    let ended = runtime.block_on(daemon::run(cli));
    // Not waiting for what may be stuck on a disk; LVM commands live on (KillMode=process).
    runtime.shutdown_background();
    log.flush();
    Ok(ended?)
}
